/* vfork: the child runs in the parent's memory while the parent waits. */
#include "t.h"

static volatile int shared;

int main(void)
{
  pid_t pid = vfork();
  if (!pid) {
    shared = 5;
    _exit(3);
  }
  T(shared);
  wait_for(pid, "exit");
  pid = vfork();
  if (!pid) {
    execl("/bin/sh", "sh", "-c", "echo from sh; exit 9", (char *)0);
    _exit(1);
  }
  wait_for(pid, "exec");
  pid = vfork();
  if (!pid) {
    execl("/absent", "absent", (char *)0);
    shared = errno;
    _exit(127);
  }
  say("%s", err_name(shared));
  wait_for(pid, "failed exec");
  make("f", "abc");
  int fd = open("f", O_RDONLY);
  pid = vfork();
  if (!pid) {
    close(fd);
    _exit(0);
  }
  wait_for(pid, "close");
  show_fd("still open", fd);
  for (int i = 0; i < 20; i++) {
    pid = vfork();
    if (!pid)
      _exit(i);
    int status;
    waitpid(pid, &status, 0);
    shared += WEXITSTATUS(status);
  }
  T(shared);
  return 0;
}
