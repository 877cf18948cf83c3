/* prctl: name, dumpable, parent-death signal, no_new_privs. */
#include "t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>

static void comm(void)
{
  char buf[32] = "";
  int fd = open("/proc/self/comm", O_RDONLY);
  ssize_t n = read(fd, buf, sizeof buf - 1);
  say("comm %.*s", (int)(n > 0 ? n - 1 : 0), buf);
  close(fd);
}

static void *thread(void *arg)
{
  (void)arg;
  T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  return 0;
}

/* Each thread's own, inherited; who has not got it may not install filters. */
static void no_new_privs(void)
{
  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {1, &allow};
  pthread_t t;
  T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  T(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  T(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
  T(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (geteuid())
    T(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0));
  if (geteuid())
    T(syscall(SYS_landlock_restrict_self, -1, 0));
  T(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0, 0, 0));
  T(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  pthread_create(&t, 0, thread, 0);
  pthread_join(t, 0);
  T(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0));
  T(prctl(PR_GET_SECCOMP));
}

int main(int argc, char **argv)
{
  if (argc > 1) {
    T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return 0;
  }
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
  no_new_privs();
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
  execl(argv[0], argv[0], "executed", (char *)0);
  return 1;
}
