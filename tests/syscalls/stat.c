/* stat, lstat, fstat, fstatat, access. */
#include "t.h"

int main(void)
{
  struct stat a, b;
  make("f", "12345");
  mkdir("d", 0750);
  symlink("f", "l");
  link("f", "h");
  mkfifo("p", 0600);
  const char *names[] = {"f", "d", "l", "h", "p", "absent", "f/x", "."};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    show_stat(names[i]);
  T(stat("l", &a));
  show_stat_buf("l, followed", &a);
  T(stat("f", &a));
  T(stat("h", &b));
  YES(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  int fd = open("f", O_RDONLY);
  T(fstat(fd, &b));
  YES(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  YES(a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec);
  YES(a.st_blksize > 0 && a.st_blocks > 0);
  T(stat("d/..", &b));
  T(stat(".", &a));
  YES(a.st_ino == b.st_ino);
  T(fstatat(fd, "", &a, AT_EMPTY_PATH));
  T(a.st_size);
  T(fstatat(AT_FDCWD, "f", &a, 0x80000));
  T(fstat(-1, &a));
  T(stat("", &a));
  T(stat((char *)1, &a));
  T(syscall(SYS_stat, "f", (void *)1));
  time_t now = time(0);
  YES(b.st_mtime <= now + 1 && b.st_mtime > now - 100);
  return 0;
}
