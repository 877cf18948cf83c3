/* Huge stacks: one without a limit, also for what is executed then; threads with 1 GiB; coroutines; a handler that runs
   on 64 MiB of its own. */
#include "t.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

/* Calls at the bottom of that many bytes, each page of which has been used. */
static long __attribute__((noinline)) deep(long bytes)
{
  volatile char page[64 << 10];
  memset((char *)page, 1, sizeof page);
  if (bytes > (long)sizeof page)
    return deep(bytes - (long)sizeof page) + page[9];
  make("deep", "written from far below");
  show_file("deep");
  return page[9];
}

static void *in_thread(void *arg)
{
  T(deep((long)arg));
  return 0;
}

static void thread_of(size_t stack, long used)
{
  pthread_attr_t a;
  pthread_t t;
  pthread_attr_init(&a);
  T(pthread_attr_setstacksize(&a, stack));
  errno = pthread_create(&t, &a, in_thread, (void *)used);
  show("pthread_create", errno ? -1 : pthread_join(t, 0));
}

static ucontext_t here, there;

static void coroutine(void)
{
  T(deep(4 << 20));
  swapcontext(&there, &here);
  T(deep(4 << 20));
}

static void coroutines(void)
{
  size_t size = 512l << 20;
  getcontext(&there);
  there.uc_stack.ss_sp = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  there.uc_stack.ss_size = size;
  there.uc_link = &here;
  makecontext(&there, coroutine, 0);
  swapcontext(&here, &there);
  say("back");
  swapcontext(&here, &there);
}

static void on_usr1(int s)
{
  T(deep(32 << 20));
  say("signal %d", s);
}

static void on_a_stack(void)
{
  size_t size = 64l << 20;
  stack_t alt = {.ss_sp = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
                 .ss_size = size};
  struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_ONSTACK};
  T(sigaltstack(&alt, 0));
  sigaction(SIGUSR1, &sa, 0);
  raise(SIGUSR1);
}

static void limit(const char *what, rlim_t cur)
{
  struct rlimit r;
  getrlimit(RLIMIT_STACK, &r);
  r.rlim_cur = cur;
  show(what, setrlimit(RLIMIT_STACK, &r));
}

/* The kernel maps from below, if a program's stack may grow without end. */
static void child(char *self, const char *what, rlim_t cur)
{
  pid_t pid = fork();
  if (!pid) {
    limit(what, cur);
    execl(self, self, what, (char *)0);
    _exit(1);
  }
  wait_for(pid, what);
}

int main(int argc, char **argv)
{
  if (argc > 1 && !strcmp(argv[1], "small")) {
    show_file("deep");
    thread_of(1l << 20, 256 << 10);
    return 0;
  }
  if (argc > 1) {
    T(deep(48 << 20));
    thread_of(64 << 20, 32 << 20);
    child(argv[0], "small", 256 << 10);
    return 0;
  }
  T(deep(4 << 20));
  thread_of(1l << 30, 64 << 20);
  coroutines();
  on_a_stack();
  child(argv[0], "unlimited", RLIM_INFINITY);
  child(argv[0], "large", 1l << 30);
  return 0;
}
