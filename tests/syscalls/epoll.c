/* epoll: levels and edges, one-shot, removal, what it refuses. */
#include "t.h"
#include <sys/epoll.h>

int main(void)
{
  struct epoll_event e = {.events = EPOLLIN, .data.u64 = 7}, got[4];
  int p[2];
  char c;
  pipe(p);
  make("f", "x");
  int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
  T(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
  T(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
  T(epoll_wait(ep, got, 4, 0));
  T(write(p[1], "ab", 2));
  T(epoll_wait(ep, got, 4, 1000));
  T(got[0].data.u64);
  T(epoll_wait(ep, got, 4, 0));
  e.events = EPOLLIN | EPOLLET;
  T(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
  T(epoll_wait(ep, got, 4, 0));
  T(epoll_wait(ep, got, 4, 0));
  T(write(p[1], "c", 1));
  T(epoll_wait(ep, got, 4, 0));
  e.events = EPOLLIN | EPOLLONESHOT;
  T(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
  T(epoll_wait(ep, got, 4, 0));
  T(read(p[0], &c, 1));
  T(epoll_wait(ep, got, 4, 0));
  T(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], 0));
  T(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], 0));
  int f = open("f", O_RDONLY), dir = open(".", O_RDONLY);
  T(epoll_ctl(ep, EPOLL_CTL_ADD, f, &e));
  T(epoll_ctl(ep, EPOLL_CTL_ADD, dir, &e));
  T(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e));
  T(epoll_ctl(ep, EPOLL_CTL_ADD, 999, &e));
  T(epoll_wait(ep, got, 0, 0));
  T(epoll_pwait(ep, got, 4, 5, 0));
  T(epoll_create(0));
  return 0;
}
