/* Calls relative to a directory descriptor. */
#include "t.h"

int main(void)
{
  struct stat st;
  char buf[32];
  mkdir("d", 0755);
  int dir = (int)OK(open("d", O_RDONLY | O_DIRECTORY));
  int fd = (int)OK(openat(dir, "f", O_RDWR | O_CREAT, 0600));
  T(write(fd, "abc", 3));
  T(mkdirat(dir, "e", 0711));
  T(symlinkat("f", dir, "l"));
  T(linkat(dir, "f", dir, "h", 0));
  T(fstatat(dir, "l", &st, AT_SYMLINK_NOFOLLOW));
  YES(S_ISLNK(st.st_mode));
  T(fstatat(dir, "l", &st, 0));
  T(st.st_nlink);
  T(readlinkat(dir, "l", buf, sizeof buf));
  T(faccessat(dir, "f", R_OK, 0));
  T(fchmodat(dir, "f", 0640, 0));
  T(renameat(dir, "h", AT_FDCWD, "moved"));
  T(unlinkat(dir, "e", 0));
  T(unlinkat(dir, "e", AT_REMOVEDIR));
  OK(openat(fd, "x", O_RDONLY));
  OK(openat(-1, "x", O_RDONLY));
  OK(openat(999, "x", O_RDONLY));
  T(rename("d", "renamed"));
  OK(openat(dir, "f", O_RDONLY));
  show_stat("renamed/f");
  show_stat("moved");
  T(rmdir("renamed"));
  return 0;
}
