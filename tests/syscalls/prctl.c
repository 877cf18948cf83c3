/* prctl: name, dumpable, parent-death signal, no_new_privs. */
#include "t.h"
#include <sys/prctl.h>

static void comm(void)
{
  char buf[32] = "";
  int fd = open("/proc/self/comm", O_RDONLY);
  ssize_t n = read(fd, buf, sizeof buf - 1);
  say("comm %.*s", (int)(n > 0 ? n - 1 : 0), buf);
  close(fd);
}

int main(void)
{
  char name[16];
  comm();
  T(prctl(PR_GET_NAME, name));
  say("%s", name);
  T(prctl(PR_SET_NAME, "a name that is too long"));
  T(prctl(PR_GET_NAME, name));
  say("%s", name);
  comm();
  T(prctl(PR_SET_PDEATHSIG, SIGTERM));
  int sig;
  T(prctl(PR_GET_PDEATHSIG, &sig));
  T(sig);
  T(prctl(PR_GET_DUMPABLE));
  T(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  T(prctl(123456));
  T(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t pid = fork();
  if (!pid) {
    if (!fork()) {
      sleep_ms(20);
      _exit(12);
    }
    _exit(0);
  }
  wait_for(pid, "child");
  int status;
  YES(wait(&status) > 0);
  show_status("adopted", status);
  return 0;
}
