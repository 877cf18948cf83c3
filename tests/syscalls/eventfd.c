/* eventfd, timerfd, signalfd, memfd, pidfd, inotify's descriptor. */
#include "t.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static void events(void)
{
  uint64_t v = 3;
  int e = (int)OK(eventfd(2, EFD_NONBLOCK | EFD_CLOEXEC));
  T(write(e, &v, 8));
  T(read(e, &v, 8));
  T(v);
  T(read(e, &v, 8));
  T(write(e, &v, 4));
  int s = (int)OK(eventfd(2, EFD_SEMAPHORE));
  T(read(s, &v, 8));
  T(v);
}

static void timer(void)
{
  uint64_t v;
  struct itimerspec its = {{0, 5000000}, {0, 5000000}};
  int t = (int)OK(timerfd_create(CLOCK_MONOTONIC, 0));
  T(timerfd_settime(t, 0, &its, 0));
  sleep_ms(22);
  T(read(t, &v, 8));
  YES(v >= 4 && v < 100);
  struct pollfd f = {t, POLLIN, 0};
  T(poll(&f, 1, 1000));
  its = (struct itimerspec){.it_value = {time(0) - 5, 0}};
  int r = (int)OK(timerfd_create(CLOCK_REALTIME, 0));
  T(timerfd_settime(r, TFD_TIMER_ABSTIME, &its, 0));
  T(read(r, &v, 8));
  T(v);
}

static void signals(void)
{
  struct signalfd_siginfo i;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, 0);
  int s = (int)OK(signalfd(-1, &set, SFD_NONBLOCK));
  T(read(s, &i, sizeof i));
  kill(getpid(), SIGUSR1);
  T(read(s, &i, sizeof i));
  T(i.ssi_signo);
  YES(i.ssi_pid == (unsigned)getpid());
  struct rlimit limit = {(rlim_t)s + 1, 1024};
  OK(setrlimit(RLIMIT_NOFILE, &limit));
  T(signalfd(-1, &set, 0));
  T(signalfd(s, &set, 0) == s);
  limit.rlim_cur = 1024;
  OK(setrlimit(RLIMIT_NOFILE, &limit));
}

int main(void)
{
  events();
  timer();
  signals();
  int m = (int)OK(memfd_create("name", MFD_ALLOW_SEALING));
  T(write(m, "mem", 3));
  T(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE));
  T(write(m, "x", 1));
  show_fd("memfd", m);
  pid_t pid = fork();
  if (!pid)
    _exit(4);
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  struct pollfd f = {fd, POLLIN, 0};
  T(poll(&f, 1, 2000));
  T(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
  wait_for(pid, "child");
  T(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
  return 0;
}
