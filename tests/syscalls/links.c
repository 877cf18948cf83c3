/* link, symlink, readlink, unlink. */
#include "t.h"

int main(void)
{
  char buf[64];
  make("f", "data");
  mkdir("d", 0755);
  T(link("f", "h"));
  T(link("f", "h"));
  T(link("absent", "x"));
  T(link("d", "dl"));
  T(link("f", "absent/x"));
  show_stat("f");
  T(symlink("f", "l"));
  T(symlink("f", "l"));
  T(symlink("", "e"));
  T(readlink("l", buf, sizeof buf));
  T(readlink("l", buf, 0));
  T(symlink("a/rather/long/target", "long"));
  T(readlink("long", buf, 6));
  say("%.6s", buf);
  T(readlink("f", buf, sizeof buf));
  T(readlink("absent", buf, sizeof buf));
  T(readlink("", buf, sizeof buf));
  int here = open(".", O_RDONLY), path = open("f", O_PATH), of_link = open("l", O_PATH | O_NOFOLLOW);
  T(readlinkat(AT_FDCWD, "", buf, sizeof buf));
  T(readlinkat(here, "", buf, sizeof buf));
  T(readlinkat(path, "", buf, sizeof buf));
  T(readlinkat(of_link, "", buf, sizeof buf));
  T(readlinkat(here, "l", buf, sizeof buf));
  T(readlinkat(here, ".", buf, sizeof buf));
  T(readlinkat(path, "x", buf, sizeof buf));
  T(linkat(AT_FDCWD, "l", AT_FDCWD, "l2", 0));
  show_stat("l2");
  T(linkat(AT_FDCWD, "l", AT_FDCWD, "l3", AT_SYMLINK_FOLLOW));
  show_stat("l3");
  T(unlink("d"));
  T(unlink("absent"));
  T(unlink("l"));
  int fd = open("f", O_RDWR);
  T(unlink("f"));
  T(write(fd, "DATA", 4));
  show_fd("unlinked", fd);
  struct stat st;
  T(fstat(fd, &st));
  T(st.st_nlink);
  show_file("h");
  T(unlink("h/"));
  T(unlink(""));
  T(rmdir("h"));
  return 0;
}
