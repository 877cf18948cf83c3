/* Faults: while their signal is blocked, ignored or handled; a second one inside the handler; one that was only sent.
 */
#include <setjmp.h>
#include <sys/mman.h>

#include "t.h"

static sigjmp_buf back;
static volatile int handled;

static void leave(int s)
{
  (void)s;
  handled++;
  siglongjmp(back, 1);
}

static void again(int s)
{
  (void)s;
  *(volatile int *)8 = 1;
}

static void ends_well(int s)
{
  (void)s;
  _exit(5);
}

static void note(int s)
{
  handled = s;
}

static void on(int sig, void (*f)(int))
{
  struct sigaction sa = {.sa_handler = f};
  sigaction(sig, &sa, 0);
}

static void block(int sig)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  sigprocmask(SIG_BLOCK, &set, 0);
}

static void touch_nothing(void)
{
  *(volatile int *)8 = 1;
}

static void touch_beyond(void)
{
  int fd = open("short", O_RDWR | O_CREAT, 0600);
  char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  (void)*(volatile char *)p;
}

static void divide(void)
{
  __asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; div %%ecx" ::: "eax", "ecx", "edx");
}

static void undefined(void)
{
  __asm__ volatile("ud2");
}

static void trap(void)
{
  __asm__ volatile("int3");
}

static const struct kind {
  const char *name;
  int sig;
  void (*fault)(void);
} kinds[] = {
    {"SEGV", SIGSEGV, touch_nothing}, {"BUS", SIGBUS, touch_beyond}, {"FPE", SIGFPE, divide},
    {"ILL", SIGILL, undefined},       {"TRAP", SIGTRAP, trap},
};

static void ends(const struct kind *k, const char *how, void (*handler)(int), int blocked)
{
  int status;
  pid_t pid = fork();
  if (!pid) {
    on(k->sig, handler);
    if (blocked)
      block(k->sig);
    k->fault();
    _exit(7);
  }
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status))
    say("%s, %s: killed by %d", k->name, how, WTERMSIG(status));
  else
    say("%s, %s: status %d", k->name, how, WEXITSTATUS(status));
}

static void handles(const struct kind *k)
{
  on(k->sig, leave);
  handled = 0;
  for (int i = 0; i < 3; i++)
    if (!sigsetjmp(back, 1))
      k->fault();
  say("%s, left by siglongjmp %d times", k->name, handled);
  on(k->sig, SIG_DFL);
}

static void sent(int sig)
{
  sigset_t set;
  on(sig, note);
  block(sig);
  handled = 0;
  raise(sig);
  say("sent %d while blocked: handled %d", sig, handled);
  sigemptyset(&set);
  sigprocmask(SIG_SETMASK, &set, 0);
  say("unblocked: handled %d", handled);
}

/* A bad pointer is the call's error, whatever is blocked. */
static void bad_pointers(void)
{
  sigset_t set;
  sigfillset(&set);
  sigprocmask(SIG_SETMASK, &set, 0);
  T(open((char *)8, O_RDONLY));
  T(syscall(SYS_rt_sigprocmask, SIG_SETMASK, 8, 0, 8));
  T(syscall(SYS_newfstatat, AT_FDCWD, ".", 8, 0));
  T(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", 8, 100));
  sigemptyset(&set);
  sigprocmask(SIG_SETMASK, &set, 0);
}

int main(void)
{
  bad_pointers();
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    ends(&kinds[i], "default", SIG_DFL, 0);
    ends(&kinds[i], "ignored", SIG_IGN, 0);
    ends(&kinds[i], "blocked", SIG_DFL, 1);
    ends(&kinds[i], "blocked with a handler", ends_well, 1);
    ends(&kinds[i], "with a handler", ends_well, 0);
    handles(&kinds[i]);
  }
  ends(&kinds[0], "faults in its handler", again, 0);
  sent(SIGSEGV);
  sent(SIGBUS);
  return 0;
}
