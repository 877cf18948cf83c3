/* readv, writev, preadv, pwritev and their second versions. */
#include "t.h"
#include <limits.h>
#include <sys/uio.h>

int main(void)
{
  char a[4] = "", b[8] = "", c[16] = "";
  struct iovec out[3] = {{"one", 3}, {"", 0}, {"twelve", 6}};
  struct iovec in[3] = {{a, 3}, {b, 4}, {c, 15}};
  int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
  T(writev(fd, out, 3));
  T(lseek(fd, 0, SEEK_SET));
  T(readv(fd, in, 3));
  say("%s %s %s", a, b, c);
  T(pwritev(fd, out, 3, 4));
  T(preadv(fd, in, 3, 1));
  say("%s %s %s", a, b, c);
  T(preadv2(fd, in, 2, 0, 0));
  T(pwritev2(fd, out, 1, -1, 0));
  T(pwritev2(fd, out, 1, 0, RWF_APPEND));
  show_fd("f", fd);
  T(readv(fd, in, -1));
  T(readv(fd, in, IOV_MAX + 1));
  T(writev(fd, out, 0));
  struct iovec bad[2] = {{"good", 4}, {(void *)1, 4}};
  T(pwritev(fd, bad, 1, 100));
  T(writev(-1, out, 1));
  T(preadv(fd, in, 1, -5));
  return 0;
}
