/* wait4, waitid, waitpid: options, stops and continuations, resource usage, no children. */
#include "t.h"
#include <sys/resource.h>

static pid_t sleeper(void)
{
  pid_t pid = fork();
  if (!pid)
    for (;;)
      pause();
  return pid;
}

static void info(const char *what, siginfo_t *i, pid_t pid)
{
  say("%s: code %d status %d %s", what, i->si_code, i->si_status, i->si_pid == pid ? "the child" : "no child");
}

int main(void)
{
  int status;
  siginfo_t i = {0};
  struct rusage ru;
  T(waitpid(-1, &status, 0));
  pid_t pid = sleeper();
  T(waitpid(pid, &status, WNOHANG));
  kill(pid, SIGSTOP);
  YES(waitpid(pid, &status, WUNTRACED) == pid);
  show_status("stop", status);
  kill(pid, SIGCONT);
  YES(waitpid(pid, &status, WCONTINUED) == pid);
  show_status("cont", status);
  kill(pid, SIGTERM);
  T(waitid(P_PID, (id_t)pid, &i, WEXITED | WNOWAIT));
  info("left there", &i, pid);
  YES(wait4(pid, &status, 0, &ru) == pid);
  show_status("term", status);
  YES(ru.ru_utime.tv_sec < 5);
  T(waitpid(pid, &status, 0));
  pid = fork();
  if (!pid)
    _exit(300);
  T(waitid(P_ALL, 0, &i, WEXITED));
  info("exit 300", &i, pid);
  T(waitid(P_ALL, 0, &i, 0));
  T(waitid(99, 0, &i, WEXITED));
  pid = fork();
  if (!pid) {
    setpgid(0, 0);
    _exit(2);
  }
  setpgid(pid, pid);
  YES(waitpid(-pid, &status, 0) == pid);
  show_status("by group", status);
  signal(SIGCHLD, SIG_IGN);
  pid = fork();
  if (!pid)
    _exit(0);
  T(waitpid(pid, &status, 0));
  pid = fork();
  if (!pid)
    abort();
  T(waitpid(pid, &status, 0));
  return 0;
}
