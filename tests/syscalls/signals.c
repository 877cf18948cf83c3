/* sigaction: delivery, siginfo, masks during handlers, nesting, SA_RESETHAND, SA_NODEFER, ignoring. */
#include "t.h"

static volatile int depth, deepest, count;

static void nested(int s)
{
  depth++;
  if (depth > deepest)
    deepest = depth;
  say("in %d, depth %d", s, depth);
  if (s == SIGUSR1)
    raise(SIGUSR2);
  depth--;
}

static void info(int s, siginfo_t *i, void *u)
{
  say("%d: code %d value %d from me %d, context %d", s, i->si_code, i->si_code == SI_QUEUE ? i->si_value.sival_int : 0,
      i->si_pid == getpid() && i->si_uid == getuid(), u != 0);
}

static void counts(int s)
{
  count += s;
}

static void install(int s, void (*f)(int), int flags)
{
  struct sigaction sa = {.sa_handler = f, .sa_flags = flags};
  show("sigaction", sigaction(s, &sa, 0));
}

int main(void)
{
  struct sigaction sa = {.sa_sigaction = info, .sa_flags = SA_SIGINFO}, old;
  install(SIGUSR1, nested, 0);
  install(SIGUSR2, nested, 0);
  raise(SIGUSR1);
  T(deepest);
  sa.sa_handler = nested;
  sa.sa_flags = 0;
  sigaddset(&sa.sa_mask, SIGUSR2);
  sigaction(SIGUSR1, &sa, &old);
  YES(old.sa_handler == nested);
  raise(SIGUSR1);
  sa = (struct sigaction){.sa_sigaction = info, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &sa, 0);
  raise(SIGUSR1);
  kill(getpid(), SIGUSR1);
  T(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 99}));
  install(SIGUSR2, counts, SA_RESETHAND);
  raise(SIGUSR2);
  T(count);
  sigaction(SIGUSR2, 0, &old);
  YES(old.sa_handler == SIG_DFL);
  install(SIGUSR2, SIG_IGN, 0);
  raise(SIGUSR2);
  T(sigaction(SIGKILL, &sa, 0));
  T(sigaction(0, &sa, 0));
  T(sigaction(99, &sa, 0));
  T(kill(getpid(), 0));
  T(kill(getpid(), 99));
  T(kill(99999999, 0));
  T(raise(SIGCHLD));
  pid_t pid = fork();
  if (!pid) {
    kill(getpid(), SIGUSR1);
    _exit(0);
  }
  wait_for(pid, "handler inherited");
  return 0;
}
