/* clone and clone3 as such: shared memory, shared descriptors, exit signals, bad flags. */
#include "t.h"
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>

static volatile int shared;
static int fd;

static int child(void *arg)
{
  shared = *(int *)arg;
  close(fd);
  return 6;
}

static char stack[65536] __attribute__((aligned(16)));

static void run(const char *what, int flags)
{
  int value = 42;
  shared = 0;
  fd = open("f", O_RDONLY);
  pid_t pid = clone(child, stack + sizeof stack, flags | SIGCHLD, &value);
  if (pid < 0) {
    show(what, -1);
    return;
  }
  wait_for(pid, what);
  say("%s: shared %d, descriptor %s", what, shared, fcntl(fd, F_GETFD) < 0 ? "closed" : "open");
  close(fd);
}

/* What a caller that knows more than the kernel has set decides. */
static void sizes(void)
{
  struct {
    struct clone_args known;
    char more[64];
  } args = {{.flags = CLONE_FS | CLONE_NEWNS, .exit_signal = SIGCHLD}, ""};
  char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page + 4096, 4096);
  T(syscall(SYS_clone3, &args, 8));
  T(syscall(SYS_clone3, &args, 64));
  T(syscall(SYS_clone3, &args, sizeof args));
  args.more[60] = 1;
  T(syscall(SYS_clone3, &args, sizeof args));
  T(syscall(SYS_clone3, &args, 8192));
  struct clone_args *last = (struct clone_args *)(page + 4096 - sizeof args.known);
  *last = args.known;
  T(syscall(SYS_clone3, last, sizeof args.known));
  T(syscall(SYS_clone3, last, sizeof args.known + 8));
}

int main(void)
{
  make("f", "x");
  run("nothing shared", 0);
  run("memory", CLONE_VM | CLONE_VFORK);
  run("descriptors", CLONE_FILES);
  run("all", CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_VFORK);
  struct clone_args args = {.exit_signal = SIGCHLD};
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (!pid)
    _exit(11);
  if (pid > 0)
    wait_for((pid_t)pid, "clone3");
  else
    say("clone3: not to be had");
  sizes();
  T(clone(child, stack + sizeof stack, CLONE_SIGHAND | SIGCHLD, 0));
  T(clone(child, stack + sizeof stack, CLONE_THREAD | SIGCHLD, 0));
  return 0;
}
