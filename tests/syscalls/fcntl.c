/* fcntl: status flags, owner, pipe size, leases refused, bad commands. */
#include "t.h"

int main(void)
{
  char c;
  int p[2];
  make("f", "0123456789");
  int fd = open("f", O_RDWR);
  T(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  T(fcntl(fd, F_SETFL, O_APPEND));
  T(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  T(write(fd, "+", 1));
  int d = dup(fd);
  T(fcntl(d, F_SETFL, 0));
  T(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  T(pwrite(fd, "P", 1, 0));
  show_fd("f", fd);
  pipe2(p, O_NONBLOCK);
  T(read(p[0], &c, 1));
  T(fcntl(p[0], F_GETFL) & (O_ACCMODE | O_NONBLOCK));
  T(fcntl(p[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK));
  T(fcntl(p[1], F_SETPIPE_SZ, 8192));
  T(fcntl(p[0], F_GETPIPE_SZ));
  T(fcntl(-1, F_GETFL));
  T(fcntl(fd, 4711));
  T(fcntl(fd, F_SETOWN, getpid()));
  YES(fcntl(fd, F_GETOWN) == getpid());
  int ro = open("f", O_RDONLY);
  T(fcntl(ro, F_GETFL) & O_ACCMODE);
  int dir = open(".", O_RDONLY);
  T(fcntl(dir, F_NOTIFY, DN_MULTISHOT));
  T(fcntl(dir, F_NOTIFY, 0));
  T(fcntl(ro, 1028 /* F_CREATED_QUERY */));
  T(fcntl(open("new", O_WRONLY | O_CREAT, 0600), 1028));
  T(fcntl(open("new", O_WRONLY | O_CREAT, 0600), 1028));
  return 0;
}
