/* lseek with every whence, holes, shared offsets, things that have no offset. */
#include "t.h"

int main(void)
{
  char buf[8];
  int p[2];
  int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
  T(lseek(fd, 100, SEEK_SET));
  T(lseek(fd, -30, SEEK_CUR));
  T(lseek(fd, -1000, SEEK_CUR));
  T(lseek(fd, 0, SEEK_END));
  T(lseek(fd, 1 << 20, SEEK_SET));
  T(write(fd, "data", 4));
  T(lseek(fd, 0, SEEK_END));
  T(lseek(fd, -2, SEEK_END));
  T(read(fd, buf, 8));
  T(lseek(fd, 0, SEEK_DATA));
  T(lseek(fd, 0, SEEK_HOLE));
  T(lseek(fd, 1 << 20, SEEK_HOLE));
  T(lseek(fd, 2 << 20, SEEK_DATA));
  T(lseek(fd, 0, 99));
  T(lseek(-1, 0, SEEK_SET));
  pipe(p);
  T(lseek(p[0], 0, SEEK_SET));
  int d = dup(fd);
  T(lseek(d, 7, SEEK_SET));
  T(lseek(fd, 0, SEEK_CUR));
  if (!fork())
    _exit(lseek(fd, 5, SEEK_CUR) == 12 ? 3 : 4);
  int status;
  wait(&status);
  show_status("child", status);
  T(lseek(fd, 0, SEEK_CUR));
  int other = open("f", O_RDONLY);
  T(lseek(other, 0, SEEK_CUR));
  return 0;
}
