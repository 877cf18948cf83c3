/* read, write, pread, pwrite: offsets, short reads, holes, bad arguments. */
#include "t.h"

int main(void)
{
  char buf[32] = "";
  int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
  T(write(fd, "0123456789", 10));
  T(lseek(fd, 2, SEEK_SET));
  T(read(fd, buf, 3));
  say("%s", buf);
  T(pread(fd, buf, 4, 6));
  say("%.4s", buf);
  T(lseek(fd, 0, SEEK_CUR));
  T(pwrite(fd, "ABC", 3, 1));
  T(lseek(fd, 0, SEEK_CUR));
  T(read(fd, buf, 32));
  T(read(fd, buf, 32));
  T(pread(fd, buf, 5, 100));
  T(pwrite(fd, "end", 3, 20));
  show_fd("f", fd);
  T(write(fd, "", 0));
  T(read(fd, buf, 0));
  T(pread(fd, buf, 1, -1));
  T(read(fd, (void *)1, 4));
  T(write(fd, (void *)1, 4));
  T(read(-1, buf, 1));
  T(write(999, buf, 1));
  int ro = open("f", O_RDONLY);
  T(write(ro, "x", 1));
  T(pwrite(ro, "x", 1, 0));
  int wo = open("f", O_WRONLY);
  T(read(wo, buf, 1));
  int dir = open(".", O_RDONLY);
  T(read(dir, buf, 1));
  T(close(fd));
  T(close(fd));
  T(read(fd, buf, 1));
  return 0;
}
