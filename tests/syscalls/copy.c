/* copy_file_range, sendfile, splice, tee. */
#include "t.h"
#include <sys/sendfile.h>

/* copy_file_range as programs use it: where it says EXDEV, as between file systems, they read and write. */
static ssize_t copy_range(int from, off_t *in, int to, off_t *out, size_t n)
{
  char buf[128];
  ssize_t r = copy_file_range(from, in, to, out, n, 0);
  if (r >= 0 || errno != EXDEV)
    return r;
  r = in ? pread(from, buf, n, *in) : read(from, buf, n);
  if (r > 0)
    r = out ? pwrite(to, buf, (size_t)r, *out) : write(to, buf, (size_t)r);
  if (r > 0 && in)
    *in += r;
  if (r > 0 && out)
    *out += r;
  return r;
}

int main(void)
{
  int p[2], q[2];
  char buf[64];
  make("a", "0123456789abcdef");
  int a = open("a", O_RDWR), b = open("b", O_RDWR | O_CREAT, 0644);
  off_t in = 4, out = 2;
  T(copy_range(a, &in, b, &out, 5));
  T(in);
  T(out);
  T(copy_range(a, 0, b, 0, 100));
  T(lseek(a, 0, SEEK_CUR));
  show_fd("b", b);
  T(copy_range(a, 0, b, 0, 100));
  T(copy_file_range(a, 0, b, 0, 1, 99));
  T(copy_range(-1, 0, b, 0, 1));
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
  T(sendfile(ro, a, 0, 1));
  return 0;
}
