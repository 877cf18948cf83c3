/* getrlimit, setrlimit, prlimit; what RLIMIT_NOFILE and RLIMIT_FSIZE do. */
#include "t.h"
#include <sys/resource.h>

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
  return 0;
}
