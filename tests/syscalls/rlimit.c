/* getrlimit, setrlimit, prlimit; what RLIMIT_NOFILE and RLIMIT_FSIZE do. */
#include "t.h"
#include <sys/resource.h>

static int signals;

static void on_size(int s)
{
  signals += s == SIGXFSZ;
}

int main(void)
{
  struct rlimit old, now;
  T(getrlimit(RLIMIT_NOFILE, &old));
  YES(old.rlim_cur >= 64 && old.rlim_cur <= old.rlim_max);
  now = old;
  now.rlim_cur = 40;
  T(setrlimit(RLIMIT_NOFILE, &now));
  T(getrlimit(RLIMIT_NOFILE, &now));
  T(now.rlim_cur);
  make("f", "x");
  int last = -1, n = 0;
  for (int fd; (fd = open("f", O_RDONLY)) >= 0; n++)
    last = fd;
  show("open until full", -1);
  T(last);
  T(dup2(0, 40));
  T(dup2(0, 39));
  T(fcntl(0, F_DUPFD, 40));
  int p[2];
  T(pipe(p));
  for (int fd = last - n + 1; fd <= last; fd++)
    close(fd);
  T(getdtablesize());
  now.rlim_cur = old.rlim_cur;
  T(prlimit(0, RLIMIT_NOFILE, &now, &old));
  T(old.rlim_cur);
  now.rlim_cur = now.rlim_max + 1;
  if (now.rlim_max != RLIM_INFINITY)
    T(setrlimit(RLIMIT_NOFILE, &now));
  T(getrlimit(9999, &now));
  signal(SIGXFSZ, SIG_IGN);
  now = (struct rlimit){100, 100};
  T(setrlimit(RLIMIT_FSIZE, &now));
  T(getrlimit(RLIMIT_FSIZE, &old));
  T(old.rlim_cur);
  char text[90] = "";
  int fd = open("big", O_RDWR | O_CREAT, 0600);
  T(write(fd, text, sizeof text));
  T(write(fd, text, sizeof text));
  T(write(fd, text, sizeof text));
  T(ftruncate(fd, 101));
  T(truncate("big", 101));
  T(truncate("big", 100));
  T(truncate("absent", 101));
  T(truncate("/", 101));
  T(fallocate(fd, 0, 0, 200));
  now = (struct rlimit){50, 100};
  T(setrlimit(RLIMIT_FSIZE, &now));
  T(truncate("big", 80));
  T(ftruncate(fd, 70));
  T(ftruncate(fd, 71));
  T(pwrite(fd, text, 10, 45));
  T(pwrite(fd, text, 10, 50));
  signal(SIGXFSZ, on_size);
  T(truncate("big", 90));
  T(ftruncate(fd, 90));
  T(write(fd, text, 1));
  T(signals);
  show_stat("big");
  pid_t pid = fork();
  if (!pid) {
    signal(SIGXFSZ, SIG_DFL);
    now.rlim_cur = now.rlim_max = 0;
    setrlimit(RLIMIT_CORE, &now);
    truncate("big", 90);
    _exit(0);
  }
  wait_for(pid, "too much");
  return 0;
}
