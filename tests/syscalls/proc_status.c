/* What /proc says of the program's ids, signals and filters, and of the host, is what its calls say. */
#include "t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static void handler(int s)
{
  (void)s;
}

static void show_lines(const char *path, const char *const *wanted)
{
  char line[256];
  FILE *f = fopen(path, "re");
  while (f && fgets(line, sizeof line, f))
    for (const char *const *w = wanted; *w; w++)
      if (!strncmp(line, *w, strlen(*w)))
        say("%.*s|", (int)strcspn(line, "\n"), line);
  if (f)
    fclose(f);
}

static void own(void)
{
  static const char *const lines[] = {
      "Uid:", "Gid:", "Groups:", "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", 0};
  char path[64];
  show_lines("/proc/self/status", lines);
  snprintf(path, sizeof path, "/proc/%d/status", getpid());
  show_lines(path, lines);
}

int main(void)
{
  static const char *const ids[] = {"Uid:", "Gid:", "Groups:", 0}, *const any[] = {"", 0};
  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {1, &allow};
  sigset_t set;
  char path[64], name[65] = "";
  own();
  signal(SIGUSR1, handler);
  signal(SIGSEGV, handler);
  signal(SIGBUS, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  sigfillset(&set);
  sigprocmask(SIG_SETMASK, &set, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
  own();
  pid_t pid = fork();
  if (!pid) {
    pause();
    _exit(0);
  }
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  show_lines(path, ids);
  kill(pid, SIGKILL);
  show_lines("/proc/sys/kernel/hostname", any);
  gethostname(name, sizeof name);
  say("%s", name);
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  T(fcntl(fd, F_GETFD));
  T(fcntl(fd, F_GETFL) & O_ACCMODE);
  T(open("/proc/self/status", O_RDONLY | O_DIRECTORY));
  return 0;
}
