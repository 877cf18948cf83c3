/*
 * Waiting: for many descriptors, for signals, for another thread's word.
 *
 * Owns nothing. Must never wait but in poller_wait().
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "slave/system.h"

#define AT_ONCE 64

_Static_assert(EPOLLIN == POLLIN && EPOLLPRI == POLLPRI && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
                   EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP,
               "epoll's events are poll's");

int poller_open(void)
{
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int poller_want(int poller, int fd, uint32_t events, bool once, bool known, uint64_t about)
{
  struct epoll_event e = {.events = events | (once ? EPOLLONESHOT : 0), .data.u64 = about};
  if (!epoll_ctl(poller, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e))
    return 0;
  if (errno != (known ? ENOENT : EEXIST))
    return -errno;
  return epoll_ctl(poller, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e) ? -errno : 0;
}

void poller_forget(int poller, int fd)
{
  struct epoll_event none = {0};
  epoll_ctl(poller, EPOLL_CTL_DEL, fd, &none);
}

int poller_wait(int poller, struct ready *r, int max, int ms)
{
  struct epoll_event e[AT_ONCE];
  int n = epoll_wait(poller, e, max < AT_ONCE ? max : AT_ONCE, ms);
  for (int i = 0; i < n; i++)
    r[i] = (struct ready){.about = e[i].data.u64, .events = e[i].events};
  return n;
}

int signals_open(const sigset_t *set)
{
  int fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

int signals_take(int fd)
{
  struct signalfd_siginfo si;
  return read(fd, &si, sizeof si) == sizeof si ? (int)si.ssi_signo : 0;
}

int wake_open(void)
{
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

bool wake_set(int fd)
{
  uint64_t one = 1;
  return write(fd, &one, sizeof one) == sizeof one || errno == EAGAIN;
}

bool wake_clear(int fd)
{
  uint64_t count;
  return read(fd, &count, sizeof count) > 0 || errno == EAGAIN;
}
