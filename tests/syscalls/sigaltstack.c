/* Alternate signal stacks: use, flags, overflow of the ordinary stack. */
#include "t.h"
#include <setjmp.h>
#include <sys/resource.h>

static char *low, *high;
static sigjmp_buf env;

static void on_alt(int s)
{
  char here;
  stack_t now;
  sigaltstack(0, &now);
  say("%d: on the alternate stack %d, flags %d", s, &here >= low && &here < high, now.ss_flags);
  if (s == SIGSEGV)
    siglongjmp(env, 1);
}

__attribute__((noinline)) static int deep(volatile int n)
{
  volatile char room[1024];
  room[0] = (char)n;
  return deep(n + 1) + room[0];
}

int main(void)
{
  size_t size = 65536;
  low = malloc(size);
  high = low + size;
  stack_t st = {.ss_sp = low, .ss_size = size}, old;
  T(sigaltstack(0, &old));
  T(old.ss_flags);
  T(sigaltstack(&st, 0));
  T(sigaltstack(0, &old));
  YES(old.ss_sp == low && old.ss_size == size && old.ss_flags == 0);
  struct sigaction sa = {.sa_handler = on_alt, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &sa, 0);
  sigaction(SIGSEGV, &sa, 0);
  sa.sa_flags = 0;
  sigaction(SIGUSR2, &sa, 0);
  raise(SIGUSR1);
  raise(SIGUSR2);
  struct rlimit rl = {1 << 20, 1 << 20};
  setrlimit(RLIMIT_STACK, &rl);
  if (!sigsetjmp(env, 1))
    deep(0);
  say("back from the overflow");
  sigaltstack(0, &old);
  T(old.ss_flags);
  st.ss_size = 16;
  T(sigaltstack(&st, 0));
  st.ss_flags = 1234;
  T(sigaltstack(&st, 0));
  st = (stack_t){.ss_flags = SS_DISABLE};
  T(sigaltstack(&st, 0));
  raise(SIGUSR1);
  return 0;
}
