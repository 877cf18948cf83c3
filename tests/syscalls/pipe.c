/* Pipes: order, end of file, EPIPE, capacity, atomic writes of two writers. */
#include "t.h"

static void fill(int fd, char c)
{
  char block[4096];
  memset(block, c, sizeof block);
  for (int i = 0; i < 20; i++)
    write(fd, block, sizeof block);
  _exit(0);
}

int main(void)
{
  int p[2];
  char buf[4096];
  T(pipe(p));
  T(write(p[1], "abc", 3));
  T(read(p[0], buf, 2));
  T(close(p[1]));
  T(read(p[0], buf, 2));
  T(read(p[0], buf, 2));
  T(close(p[0]));
  T(pipe2(p, O_NONBLOCK | O_CLOEXEC));
  long total = 0;
  for (ssize_t n; (n = write(p[1], buf, sizeof buf)) > 0;)
    total += n;
  T(total);
  T(write(p[1], buf, 1));
  close(p[0]);
  signal(SIGPIPE, SIG_IGN);
  T(write(p[1], "x", 1));
  T(pipe2(p, 0x12345678));
  T(pipe((int *)1));
  pipe(p);
  pid_t a = fork();
  if (!a)
    fill(p[1], 'a');
  pid_t b = fork();
  if (!b)
    fill(p[1], 'b');
  close(p[1]);
  int as = 0, bs = 0, mixed = 0;
  for (size_t have = 0;; have = 0) {
    ssize_t n;
    while (have < sizeof buf && (n = read(p[0], buf + have, sizeof buf - have)) > 0)
      have += (size_t)n;
    if (have < sizeof buf)
      break;
    mixed += memchr(buf, buf[0] == 'a' ? 'b' : 'a', sizeof buf) != 0;
    *(buf[0] == 'a' ? &as : &bs) += 1;
  }
  say("%d %d mixed %d", as, bs, mixed);
  wait_for(a, "a");
  wait_for(b, "b");
  pid_t dies = fork();
  if (!dies) {
    signal(SIGPIPE, SIG_DFL);
    pipe(p);
    close(p[0]);
    write(p[1], "x", 1);
    _exit(1);
  }
  wait_for(dies, "SIGPIPE");
  return 0;
}
