/* POSIX message queues: priorities, timeouts, limits, notification, descriptors in poll, what is inherited. */
#include "t.h"
#include <mqueue.h>
#include <poll.h>

static volatile sig_atomic_t told;
static void on_signal(int sig, siginfo_t *info, void *context)
{
  (void)sig;
  (void)context;
  told = info->si_value.sival_int;
}

int main(void)
{
  char name[64], buf[64];
  unsigned priority;
  struct mq_attr attr = {.mq_maxmsg = 3, .mq_msgsize = 32}, now;
  struct timespec past = {1, 0};
  snprintf(name, sizeof name, "/fsyscall-test-%d", getpid());
  mqd_t q = (mqd_t)OK(mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0600, &attr));
  T(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr));
  T(mq_send(q, "low", 4, 1));
  T(mq_send(q, "high", 5, 9));
  T(mq_send(q, "also low", 9, 1));
  T(mq_send(q, "too many", 9, 1));
  struct pollfd p = {q, POLLIN | POLLOUT, 0};
  T(poll(&p, 1, 0));
  T(p.revents);
  T(mq_getattr(q, &now));
  say("max %ld size %ld now %ld flags %lx", now.mq_maxmsg, now.mq_msgsize, now.mq_curmsgs, now.mq_flags);
  for (int i = 0; i < 3; i++) {
    T(mq_receive(q, buf, sizeof buf, &priority));
    say("%s %u", buf, priority);
  }
  T(mq_receive(q, buf, sizeof buf, &priority));
  T(mq_receive(q, buf, 8, &priority));
  attr.mq_flags = 0;
  T(mq_setattr(q, &attr, 0));
  T(mq_timedreceive(q, buf, sizeof buf, &priority, &past));
  sigaction(SIGUSR1, &(struct sigaction){.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART}, 0);
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
  T(mq_notify(q, &e));
  T(mq_notify(q, &e));
  pid_t pid = fork();
  if (!pid)
    _exit(mq_send(q, "from the child", 15, 0) ? 1 : 0);
  wait_for(pid, "child");
  T(told);
  T(mq_receive(q, buf, sizeof buf, &priority));
  say("%s", buf);
  T(mq_unlink(name));
  T(mq_unlink(name));
  T(mq_close(q));
  T(mq_close(q));
  T(mq_open(name, O_RDONLY));
  return 0;
}
