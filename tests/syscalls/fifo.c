/* FIFOs: reading without waiting, with and without a writer; a full one, and epoll that tells once. */
#include "t.h"
#include <poll.h>
#include <sys/epoll.h>

int main(void)
{
  char buf[16];
  struct epoll_event e = {.events = EPOLLOUT | EPOLLONESHOT}, got;
  mkfifo("f", 0600);
  T(open("f", O_WRONLY | O_NONBLOCK));
  int r = (int)OK(open("f", O_RDONLY | O_NONBLOCK));
  T(read(r, buf, sizeof buf));
  int w = (int)OK(open("f", O_WRONLY | O_NONBLOCK));
  T(read(r, buf, sizeof buf));
  T(write(w, "abc", 3));
  struct pollfd p = {.fd = r, .events = POLLIN};
  T(poll(&p, 1, -1));
  T(read(r, buf, sizeof buf));
  T(read(r, buf, sizeof buf));
  T(fcntl(r, F_SETFL, 0));
  pid_t pid = fork();
  if (!pid) {
    poll(0, 0, 30);
    _exit(write(w, "de", 2) != 2);
  }
  T(read(r, buf, sizeof buf));
  wait_for(pid, "writer");
  static char much[65536];
  int ep = epoll_create1(0);
  do /* what is under way to the slave goes on for a moment after the first refusal */
    while (write(w, much, sizeof much) > 0 || errno != EAGAIN)
      continue;
  while (p.fd = w, p.events = POLLOUT, poll(&p, 1, 200));
  T(epoll_ctl(ep, EPOLL_CTL_ADD, w, &e));
  T(epoll_wait(ep, &got, 1, 60));
  pid = fork();
  if (!pid) {
    close(w);
    while (read(r, much, sizeof much) > 0)
      continue;
    _exit(0);
  }
  T(epoll_wait(ep, &got, 1, -1));
  YES(got.events == EPOLLOUT);
  T(epoll_wait(ep, &got, 1, 60)); /* not a second time */
  T(epoll_ctl(ep, EPOLL_CTL_MOD, w, &e));
  T(epoll_wait(ep, &got, 1, -1));
  close(w);
  wait_for(pid, "reader");
  T(read(r, buf, sizeof buf));
  return 0;
}
