/* chmod, fchmod, fchmodat, chown and what it refuses. */
#include "t.h"

int main(void)
{
  make("f", "x");
  mkdir("d", 0755);
  symlink("f", "l");
  T(chmod("f", 0600));
  show_stat("f");
  T(chmod("l", 0640));
  show_stat("f");
  T(chmod("f", 07777));
  show_stat("f");
  T(chmod("d", 01770));
  show_stat("d");
  T(chmod("absent", 0644));
  int fd = open("f", O_RDONLY);
  T(fchmod(fd, 0400));
  show_stat("f");
  T(fchmodat(AT_FDCWD, "f", 0644, 0));
  T(fchmodat(AT_FDCWD, "f", 0644, 0x8000));
  T(fchmod(-1, 0));
  if (geteuid()) {
    T(chown("f", 0, -1));
    T(chown("/", 12345, 12345));
    T(lchown("l", 0, 0));
  }
  T(chown("f", -1, -1));
  T(chown("f", geteuid(), getegid()));
  T(fchown(fd, geteuid(), -1));
  T(fchownat(AT_FDCWD, "l", geteuid(), -1, AT_SYMLINK_NOFOLLOW));
  T(chown("absent", -1, -1));
  T(fchown(-1, 0, 0));
  return 0;
}
