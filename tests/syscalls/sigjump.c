/* Leaving a handler by longjmp, faults that are repaired and go on, registers over a signal. */
#include "t.h"
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

static sigjmp_buf env;
static char *page;
static volatile int faults;

static void jump(int s)
{
  siglongjmp(env, s);
}

static void repair(int s, siginfo_t *i, void *u)
{
  (void)s;
  (void)u;
  faults++;
  say("fault at the page: %d", (char *)i->si_addr == page + 5);
  mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void skip(int s, siginfo_t *i, void *u)
{
  (void)i;
  ucontext_t *c = u;
  say("%d: skipping", s);
  c->uc_mcontext.gregs[REG_RIP] += 2;
}

int main(void)
{
  sigset_t set;
  signal(SIGUSR1, jump);
  for (int i = 0; i < 3; i++) {
    int s = sigsetjmp(env, 1);
    if (!s)
      raise(SIGUSR1);
    say("round %d: %d", i, s);
  }
  sigprocmask(SIG_SETMASK, 0, &set);
  YES(!sigismember(&set, SIGUSR1));
  page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct sigaction sa = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &sa, 0);
  page[5] = 'r';
  T(page[5]);
  T(faults);
  sa.sa_sigaction = skip;
  sigaction(SIGILL, &sa, 0);
  __asm__ volatile("ud2");
  say("went on");
  double x = 1.5;
  signal(SIGUSR2, SIG_IGN);
  for (int i = 0; i < 1000; i++) {
    raise(SIGUSR2);
    x = x * 1.0001;
  }
  say("%.6f", x);
  if (!sigsetjmp(env, 1)) {
    signal(SIGALRM, jump);
    ualarm(20000, 0);
    for (;;)
      getppid();
  }
  say("out of a loop of calls");
  if (!sigsetjmp(env, 1)) {
    ualarm(20000, 0);
    pause();
  }
  say("out of pause");
  return 0;
}
