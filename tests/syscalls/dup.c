/* dup, dup2, dup3, F_DUPFD, and numbers of descriptors. */
#include "t.h"

int main(void)
{
  char c;
  make("f", "0123456789");
  int fd = open("f", O_RDWR);
  int d = dup(fd);
  YES(d == fd + 1);
  T(read(d, &c, 1));
  T(lseek(fd, 0, SEEK_CUR));
  T(dup2(fd, 50));
  T(dup2(50, 50));
  T(dup2(99, 50));
  T(dup2(99, 99));
  T(read(50, &c, 1));
  T(c);
  T(dup3(fd, 51, O_CLOEXEC));
  T(fcntl(51, F_GETFD));
  T(fcntl(50, F_GETFD));
  T(dup3(fd, fd, 0));
  T(dup3(fd, 52, 1));
  T(fcntl(fd, F_DUPFD, 40));
  T(fcntl(fd, F_DUPFD, 40));
  T(fcntl(fd, F_DUPFD_CLOEXEC, 60));
  T(dup2(fd, -1));
  T(fcntl(fd, F_DUPFD, -1));
  T(dup(-1));
  T(close(fd));
  T(read(d, &c, 1));
  int again = open("f", O_RDONLY);
  YES(again == fd);
  T(lseek(again, 0, SEEK_CUR));
  int out = dup(1);
  T(dup2(50, 1));
  T(dup2(out, 1));
  int p[2];
  pipe(p);
  T(dup2(p[1], 50));
  T(write(50, "x", 1));
  T(read(p[0], &c, 1));
  return 0;
}
