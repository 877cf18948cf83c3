/* Interrupted calls: with SA_RESTART they go on, without they give EINTR, some never restart. */
#include "t.h"
#include <poll.h>
#include <sys/wait.h>

static volatile int hits;

static void handler(int s)
{
  (void)s;
  hits++;
}

static void install(int flags)
{
  struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};
  sigaction(SIGUSR1, &sa, 0);
  hits = 0;
}

/* Signals us after 60 ms, then writes into the pipe after 120. */
static pid_t helper(int fd)
{
  pid_t parent = getpid(), pid = fork();
  if (!pid) {
    sleep_ms(60);
    kill(parent, SIGUSR1);
    sleep_ms(60);
    write(fd, "x", 1);
    _exit(3);
  }
  return pid;
}

static void reap(pid_t pid)
{
  while (waitpid(pid, 0, 0) < 0 && errno == EINTR)
    ;
}

int main(void)
{
  int p[2];
  char c;
  pipe(p);
  install(SA_RESTART);
  pid_t pid = helper(p[1]);
  T(read(p[0], &c, 1));
  T(hits);
  reap(pid);
  install(0);
  pid = helper(p[1]);
  T(read(p[0], &c, 1));
  T(hits);
  reap(pid);
  T(read(p[0], &c, 1));
  install(SA_RESTART);
  struct pollfd f = {p[0], POLLIN, 0};
  pid = helper(p[1]);
  T(poll(&f, 1, -1));
  reap(pid);
  T(read(p[0], &c, 1));
  pid = helper(p[1]);
  struct timespec ts = {10, 0}, left;
  T(nanosleep(&ts, &left));
  YES(left.tv_sec == 9);
  reap(pid);
  T(read(p[0], &c, 1));
  pid = helper(p[1]);
  int status;
  T(waitpid(pid, &status, 0) == pid);
  show_status("wait restarted", status);
  install(0);
  pid = helper(p[1]);
  T(waitpid(pid, &status, 0));
  reap(pid);
  pid = helper(p[1]);
  T(pause());
  reap(pid);
  signal(SIGUSR1, SIG_IGN);
  read(p[0], &c, 1);
  read(p[0], &c, 1);
  read(p[0], &c, 1);
  pid = helper(p[1]);
  T(read(p[0], &c, 1));
  reap(pid);
  return 0;
}
