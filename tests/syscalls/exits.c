/* Exit statuses: every small one, exit_group, atexit order, deaths by signal. */
#include "t.h"
#include <sys/resource.h>

static void one(void)
{
  say("first registered");
}

static void two(void)
{
  say("second registered");
}

int main(void)
{
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  int codes[] = {0, 1, 2, 126, 127, 128, 255, 256, -1};
  for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
    pid_t pid = fork();
    if (!pid)
      _exit(codes[i]);
    wait_for(pid, "exit");
  }
  int signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGABRT, SIGFPE,
                   SIGKILL, SIGSEGV, SIGPIPE, SIGALRM, SIGTERM, SIGSYS};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    pid_t pid = fork();
    if (!pid) {
      raise(signals[i]);
      _exit(0);
    }
    wait_for(pid, "raise");
  }
  pid_t pid = fork();
  if (!pid)
    *(volatile int *)8 = 1;
  wait_for(pid, "bad address");
  pid = fork();
  if (!pid) {
    __asm__ volatile("ud2");
  }
  wait_for(pid, "bad instruction");
  atexit(one);
  atexit(two);
  return 77;
}
