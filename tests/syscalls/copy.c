/* copy_file_range, sendfile, splice, tee. */
#include "t.h"
#include <sys/inotify.h>
#include <sys/sendfile.h>

static void ranges(int a, int b)
{
  off_t in = 4, out = 2;
  T(copy_file_range(a, &in, b, &out, 5, 0));
  T(in);
  T(out);
  T(copy_file_range(a, 0, b, 0, 100, 0));
  T(lseek(a, 0, SEEK_CUR));
  T(lseek(b, 0, SEEK_CUR));
  show_fd("b", b);
  T(copy_file_range(a, 0, b, 0, 100, 0));
  T(copy_file_range(a, 0, b, 0, 0, 0));
  T(copy_file_range(a, 0, b, 0, 1, 99));
  T(copy_file_range(-1, 0, b, 0, 1, 0));
  T(copy_file_range(a, 0, -1, 0, 1, 0));
  in = 3;
  T(copy_file_range(a, &in, b, 0, 4, 0));
  T(lseek(b, 0, SEEK_CUR));
  T(in);
  in = -1;
  T(copy_file_range(a, &in, b, 0, 1, 0));
  T(copy_file_range(a, (off_t *)1, b, 0, 1, 0));
}

/* Within one file; the wrong ways round; other kinds. */
static void oddities(int a)
{
  off_t in = 0, out = 20;
  int p[2];
  pipe(p);
  T(copy_file_range(a, &in, a, &out, 8, 0));
  in = 0, out = 4;
  T(copy_file_range(a, &in, a, &out, 8, 0));
  in = lseek(a, -3, SEEK_END), out = in + 100; /* what is copied lies behind the end as it was */
  T(copy_file_range(a, &in, a, &out, 8, 0));
  ftruncate(a, out - 103);
  show_fd("a", a);
  int ro = open("a", O_RDONLY), wo = open("c", O_WRONLY | O_CREAT, 0644), ap = open("c", O_WRONLY | O_APPEND);
  int dir = open(".", O_RDONLY), path = open("a", O_PATH);
  T(copy_file_range(a, 0, ro, 0, 1, 0));
  T(copy_file_range(wo, 0, a, 0, 1, 0));
  T(copy_file_range(a, &in, ap, 0, 1, 0));
  T(copy_file_range(dir, 0, a, 0, 1, 0));
  T(copy_file_range(a, 0, dir, 0, 1, 0));
  T(copy_file_range(path, 0, wo, 0, 1, 0));
  T(copy_file_range(a, 0, p[1], 0, 1, 0));
  T(sendfile(ap, a, &in, 1));
  T(splice(p[0], 0, ap, 0, 1, SPLICE_F_NONBLOCK));
}

/* What was read before is not taken for true after; two numbers of one description share the offset that moves. */
static void seen(void)
{
  make("s", "new new new");
  make("d", "old old old");
  char buf[12] = "";
  int s = open("s", O_RDONLY), s2 = dup(s), d = open("d", O_RDONLY), w = open("d", O_WRONLY);
  struct stat st;
  T(pread(d, buf, 11, 0));
  T(copy_file_range(s, 0, w, 0, 7, 0));
  T(pread(d, buf, 11, 0));
  puts(buf);
  T(read(s2, buf, 11));
  T(lseek(w, 100000, SEEK_SET));
  T(lseek(s, 0, SEEK_SET));
  T(copy_file_range(s, 0, w, 0, 11, 0));
  T(fstat(d, &st));
  T(st.st_size);
}

/* Larger than what goes at once. */
static void large(void)
{
  static char buf[1 << 20], back[1 << 20];
  int l = open("l", O_RDWR | O_CREAT, 0644), m = open("m", O_RDWR | O_CREAT, 0644);
  memset(buf, 'x', sizeof buf);
  for (int i = 0; i < 5; i++)
    T(write(l, buf, sizeof buf));
  off_t in = 0;
  T(copy_file_range(l, &in, m, 0, 5 << 20, 0));
  T(lseek(m, 0, SEEK_CUR));
  in = 1;
  T(sendfile(m, l, &in, 3 << 20));
  T(in);
  T(lseek(m, 0, SEEK_END));
  T(pread(m, back, sizeof back, 7 << 20));
  YES(!memcmp(buf, back, sizeof buf));
}

int main(void)
{
  int p[2], q[2];
  char buf[64];
  make("a", "0123456789abcdef");
  int a = open("a", O_RDWR), b = open("b", O_RDWR | O_CREAT, 0644);
  off_t in;
  ranges(a, b);
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
  int wo = open("b", O_WRONLY), path = open("a", O_PATH);
  in = 0;
  T(sendfile(ro, a, &in, 1));
  T(sendfile(b, wo, &in, 1));
  T(sendfile(b, path, &in, 1));
  T(splice(a, &in, p[0], 0, 1, 0));
  T(splice(wo, &in, p[1], 0, 1, 0));
  T(splice(p[1], 0, b, 0, 1, 0));
  T(splice(p[0], 0, ro, 0, 1, 0));
  T(splice(open(".", O_RDONLY), 0, p[1], 0, 1, 0));
  int watch = inotify_init();
  inotify_add_watch(watch, ".", IN_CREATE);
  T(splice(watch, 0, p[1], 0, 1, 0));
  oddities(a);
  seen();
  large();
  return 0;
}
