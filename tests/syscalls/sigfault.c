/* SIGSEGV and SIGBUS that somebody sends: blocked, pending, released; a handler's frame that cannot be written. */
#include "t.h"
#include <sys/mman.h>

static char *alt;
static volatile int got[65];

static void handler(int s)
{
  char here;
  got[s]++;
  say("handler %d on the %s stack", s, &here > alt && &here < alt + 65536 ? "alternate" : "usual");
}

/* Leaves with its frame in memory that can only be read. */
static void lock_frame(int s)
{
  got[s]++;
  mprotect(alt, 65536, PROT_READ);
}

static void handle(int sig, void (*f)(int), int flags)
{
  struct sigaction a = {.sa_handler = f, .sa_flags = flags};
  sigaction(sig, &a, 0);
}

static void sent_while_blocked(int sig)
{
  sigset_t set, pending;
  siginfo_t info;
  struct stat st;
  handle(sig, handler, 0);
  sigemptyset(&set);
  sigaddset(&set, sig);
  sigprocmask(SIG_BLOCK, &set, 0);
  T(kill(getpid(), sig));
  for (int i = 0; i < 100; i++)
    stat(".", &st);
  pid_t pid = fork(); /* and what else is done with all signals blocked */
  if (!pid)
    _exit(0);
  wait_for(pid, "child");
  T(got[sig]);
  sigpending(&pending);
  T(sigismember(&pending, sig));
  T(sigprocmask(SIG_UNBLOCK, &set, (sigset_t *)8));
  T(sigprocmask(SIG_UNBLOCK, &set, 0));
  T(got[sig]);
  sigprocmask(SIG_BLOCK, &set, 0);
  kill(getpid(), sig);
  T(sigwaitinfo(&set, &info));
  T(info.si_code);
  sigprocmask(SIG_UNBLOCK, &set, 0);
  T(got[sig]);
}

static void no_room(void)
{
  alt = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t ss = {.ss_sp = alt, .ss_size = 65536};
  sigaltstack(&ss, 0);
  handle(SIGUSR1, handler, SA_ONSTACK);
  handle(SIGSEGV, handler, 0);
  T(raise(SIGUSR1));
  mprotect(alt, 65536, PROT_READ);
  T(raise(SIGUSR1));
  mprotect(alt, 65536, PROT_READ | PROT_WRITE);
  handle(SIGUSR2, lock_frame, SA_ONSTACK);
  T(raise(SIGUSR2));
  T(got[SIGUSR2]);
  pid_t pid = fork();
  if (!pid) {
    handle(SIGSEGV, handler, SA_ONSTACK);
    raise(SIGUSR1);
    _exit(0);
  }
  wait_for(pid, "no stack for SIGSEGV either");
}

int main(void)
{
  sent_while_blocked(SIGSEGV);
  sent_while_blocked(SIGBUS);
  no_room();
  return 0;
}
