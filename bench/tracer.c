/*
 * The smallest tracer: stops a program and its children at entry and exit of every system call, and lets them go on.
 *
 * It shows what any mechanism costs that stops the program beside it; nothing else may be concluded from it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS                                                                                                        \
  (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |       \
   PTRACE_O_EXITKILL)

/* The signal to hand on when a stopped process continues: none for stops that the tracing itself made. */
static int signal_of(int status)
{
  int s = WSTOPSIG(status);
  return s == (SIGTRAP | 0x80) || s == SIGTRAP || s == SIGSTOP ? 0 : s;
}

static int trace(pid_t main_pid)
{
  int status, result = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
    if (WIFSTOPPED(status))
      ptrace(PTRACE_SYSCALL, pid, 0, signal_of(status));
    else if (pid == main_pid)
      result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return result;
}

int main(int argc, char **argv)
{
  if (argc < 2) {
    fprintf(stderr, "usage: tracer PROGRAM [ARG...]\n");
    return 2;
  }
  pid_t pid = fork();
  if (!pid) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    _exit(127);
  }
  int status;
  waitpid(pid, &status, 0);
  ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS);
  ptrace(PTRACE_SYSCALL, pid, 0, 0);
  return trace(pid);
}
