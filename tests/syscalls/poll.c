/* poll, ppoll, select, pselect on pipes, files and nothing at all. */
#include "t.h"
#include <poll.h>
#include <sys/select.h>

/* Both directions of a named pipe are told at once. */
static void fifo(void)
{
  struct timeval none = {0, 0}, some = {10, 0};
  fd_set in, out;
  T(mkfifo("fifo", 0600));
  int fd = open("fifo", O_RDWR);
  struct pollfd p = {.fd = fd, .events = POLLIN};
  for (int i = 0; i < 3; i++) {
    FD_ZERO(&in);
    FD_SET(fd, &in);
    out = in;
    T(select(fd + 1, &in, &out, 0, i == 1 ? &some : &none));
    T(FD_ISSET(fd, &in) ? 1 : 0);
    T(FD_ISSET(fd, &out) ? 1 : 0);
    if (i == 0)
      T(write(fd, "x", 1));
  }
  p.events = POLLIN | POLLOUT;
  T(poll(&p, 1, -1));
  T(p.revents);
}

int main(void)
{
  int p[2];
  pipe(p);
  make("f", "x");
  int f = open("f", O_RDWR);
  struct pollfd fds[4] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {f, POLLIN | POLLOUT, 0}, {999, POLLIN, 0}};
  T(poll(fds, 4, 0));
  for (int i = 0; i < 4; i++)
    say("%d: %x", i, fds[i].revents);
  T(poll(fds, 1, 10));
  T(write(p[1], "x", 1));
  T(poll(fds, 1, 1000));
  say("%x", fds[0].revents);
  close(p[1]);
  T(poll(fds, 1, 1000));
  say("%x", fds[0].revents);
  T(poll(0, 0, 5));
  T(poll((void *)1, 1, 0));
  struct timespec ts = {0, 1000000};
  fds[0].fd = -7;
  T(ppoll(fds, 1, &ts, 0));
  fd_set r, w;
  FD_ZERO(&r);
  FD_ZERO(&w);
  FD_SET(p[0], &r);
  FD_SET(f, &r);
  FD_SET(f, &w);
  struct timeval tv = {1, 0};
  T(select(100, &r, &w, 0, &tv));
  YES(FD_ISSET(p[0], &r) && FD_ISSET(f, &r) && FD_ISSET(f, &w));
  FD_SET(60, &r);
  T(select(61, &r, 0, 0, &tv));
  tv = (struct timeval){0, 1000};
  T(select(0, 0, 0, 0, &tv));
  T(tv.tv_usec);
  T(select(-1, 0, 0, 0, &tv));
  int q[2];
  pipe(q);
  FD_ZERO(&r);
  FD_SET(q[0], &r);
  T(pselect(q[0] + 1, &r, 0, 0, &ts, 0));
  pid_t pid = fork();
  if (!pid) {
    sleep_ms(30);
    write(q[1], "x", 1);
    _exit(0);
  }
  struct pollfd one = {q[0], POLLIN, 0};
  T(poll(&one, 1, -1));
  wait_for(pid, "writer");
  fifo();
  return 0;
}
