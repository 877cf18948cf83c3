/* sigprocmask, sigpending, sigsuspend, sigwaitinfo, sigtimedwait, order of queued real-time signals. */
#include "t.h"

static void handler(int s, siginfo_t *i, void *u)
{
  (void)u;
  say("handler %d value %d", s < SIGRTMIN ? s : s - SIGRTMIN + 1000, i->si_value.sival_int);
}

static void plain(int s)
{
  say("plain %d", s);
}

int main(void)
{
  struct sigaction rt = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
  sigset_t set, old, empty, pending;
  siginfo_t i;
  struct timespec ts = {0, 1000000};
  sigfillset(&rt.sa_mask);
  for (int s = SIGRTMIN; s < SIGRTMIN + 4; s++)
    sigaction(s, &rt, 0);
  signal(SIGUSR1, plain);
  sigemptyset(&empty);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  for (int s = SIGRTMIN; s < SIGRTMIN + 4; s++)
    sigaddset(&set, s);
  T(sigprocmask(SIG_BLOCK, &set, &old));
  raise(SIGUSR1);
  raise(SIGUSR1);
  for (int n = 0; n < 3; n++)
    for (int s = SIGRTMIN + 3; s >= SIGRTMIN; s--)
      sigqueue(getpid(), s, (union sigval){.sival_int = n});
  sigpending(&pending);
  YES(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGRTMIN));
  say("unblocking");
  T(sigprocmask(SIG_SETMASK, &old, 0));
  sigprocmask(SIG_BLOCK, &set, 0);
  raise(SIGUSR1);
  T(sigsuspend(&empty));
  sigprocmask(SIG_SETMASK, 0, &pending);
  YES(sigismember(&pending, SIGUSR1));
  sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 5});
  YES(sigwaitinfo(&set, &i) == SIGRTMIN + 1);
  T(i.si_value.sival_int);
  T(sigtimedwait(&set, &i, &ts));
  int got;
  raise(SIGUSR1);
  T(sigwait(&set, &got));
  T(got);
  T(sigprocmask(77, &set, 0));
  T(sigprocmask(77, 0, 0));
  pid_t pid = fork();
  if (!pid) {
    sigprocmask(SIG_SETMASK, 0, &pending);
    _exit(sigismember(&pending, SIGUSR1));
  }
  wait_for(pid, "mask inherited");
  return 0;
}
