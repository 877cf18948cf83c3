/* pidfd_open, pidfd_send_signal, pidfd_getfd, waitid on a descriptor, clone3 with one, poll. */
#include "t.h"
#include <linux/sched.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>

static int child_with(int ready, int fd)
{
  int p[2];
  (void)fd;
  pipe(p);
  pid_t pid = fork();
  if (!pid) {
    write(ready, "r", 1);
    close(p[1]);
    char c;
    read(p[0], &c, 1);
    pause();
    _exit(7);
  }
  close(p[0]);
  return pid;
}

int main(void)
{
  int ready[2];
  char c, text[16] = "";
  siginfo_t info = {0};
  make("f", "contents of a file");
  pipe(ready);
  int file = open("f", O_RDONLY);
  pid_t pid = child_with(ready[1], file);
  read(ready[0], &c, 1);
  int fd = (int)OK(pidfd_open(pid, 0));
  T(fcntl(fd, F_GETFD) == FD_CLOEXEC);
  struct pollfd p = {fd, POLLIN, 0};
  T(poll(&p, 1, 0));
  T(pidfd_send_signal(fd, 0, 0, 0));
  int got = (int)pidfd_getfd(fd, file, 0);
  YES(got >= 0);
  T(pread(got, text, 8, 0));
  say("%s", text);
  T(lseek(got, 5, SEEK_SET));
  T(lseek(file, 0, SEEK_CUR));
  T(close(got));
  T(pidfd_getfd(fd, 999, 0));
  T(pidfd_getfd(fd, file, 1));
  T(pidfd_send_signal(fd, SIGTERM, 0, 0));
  T(poll(&p, 1, -1));
  T(p.revents);
  T(waitid(P_PIDFD, (id_t)fd, &info, WEXITED));
  say("%d %d", info.si_code == CLD_KILLED, info.si_status);
  T(pidfd_send_signal(fd, SIGTERM, 0, 0));
  T(waitid(P_PIDFD, (id_t)fd, &info, WEXITED));
  T(close(fd));
  T(pidfd_open(-1, 0));
  T(pidfd_open(getpid(), 0x8000));
  int from_clone = -1;
  struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&from_clone, .exit_signal = SIGCHLD};
  pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (!pid)
    _exit(9);
  YES(from_clone >= 0);
  T(waitid(P_PIDFD, (id_t)from_clone, &info, WEXITED));
  T(info.si_status);
  int self = pidfd_open(getpid(), 0);
  T(pidfd_getfd(self, file, 0) > 0);
  return 0;
}
