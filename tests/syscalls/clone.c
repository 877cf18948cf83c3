/* clone and clone3 as such: shared memory, shared descriptors, exit signals, bad flags. */
#include "t.h"
#include <linux/sched.h>
#include <sched.h>

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
  T(clone(child, stack + sizeof stack, CLONE_SIGHAND | SIGCHLD, 0));
  T(clone(child, stack + sizeof stack, CLONE_THREAD | SIGCHLD, 0));
  return 0;
}
