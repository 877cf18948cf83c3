/* Standard input, output and error as they were given; /dev/null and /dev/zero. */
#include "t.h"

int main(void)
{
  char buf[32] = "";
  T(read(0, buf, 5));
  say("%s", buf);
  T(read(0, buf, sizeof buf));
  T(read(0, buf, sizeof buf));
  T(isatty(0));
  T(isatty(1));
  T(write(2, "to error\n", 9));
  int n = (int)OK(open("/dev/null", O_RDWR));
  T(write(n, "swallowed", 9));
  T(read(n, buf, 4));
  int z = (int)OK(open("/dev/zero", O_RDONLY));
  T(read(z, buf, 4));
  T(buf[0]);
  int r = (int)OK(open("/dev/urandom", O_RDONLY));
  T(read(r, buf, 16));
  OK(open("/dev/tty", O_RDWR) < 0 && errno != ENOENT ? 0 : 0);
  T(close(0));
  T(open("/dev/null", O_RDONLY));
  T(read(0, buf, 1));
  T(dup2(n, 1) == 1 ? 1 : 0);
  return 5;
}
