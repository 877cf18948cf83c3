/* copy_file_range, sendfile, splice, tee. */
#include "t.h"
#include <sys/sendfile.h>

int main(void)
{
  int p[2], q[2];
  char buf[64];
  make("a", "0123456789abcdef");
  int a = open("a", O_RDWR), b = open("b", O_RDWR | O_CREAT, 0644);
  off_t in = 4, out = 2;
  T(copy_file_range(a, &in, b, &out, 5, 0));
  T(in);
  T(out);
  T(copy_file_range(a, 0, b, 0, 100, 0));
  T(lseek(a, 0, SEEK_CUR));
  show_fd("b", b);
  T(copy_file_range(a, 0, b, 0, 100, 0));
  T(copy_file_range(a, 0, b, 0, 1, 99));
  T(copy_file_range(-1, 0, b, 0, 1, 0));
  in = 10;
  T(sendfile(b, a, &in, 3));
  T(in);
  T(lseek(b, 0, SEEK_CUR));
  pipe(p);
  pipe(q);
  lseek(a, 0, SEEK_SET);
  T(sendfile(p[1], a, 0, 6));
  T(read(p[0], buf, sizeof buf));
  in = 1;
  T(splice(a, &in, p[1], 0, 4, 0));
  T(tee(p[0], q[1], 4, 0));
  T(splice(p[0], 0, b, 0, 4, 0));
  T(read(q[0], buf, sizeof buf));
  show_fd("b", b);
  T(splice(a, 0, b, 0, 1, 0));
  int ro = open("a", O_RDONLY);
  T(copy_file_range(a, 0, ro, 0, 1, 0));
  T(sendfile(ro, a, 0, 1));
  return 0;
}
