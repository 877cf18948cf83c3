/* O_CLOEXEC and FD_CLOEXEC: which descriptors a program that was exec'd still has. */
#include "t.h"

static void look(int fd)
{
  char buf[8] = "";
  errno = 0;
  ssize_t n = read(fd, buf, 4);
  say("descriptor: %ld %s %s", (long)n, n < 0 ? err_name(errno) : "", buf);
}

int main(int argc, char **argv)
{
  char a[12], b[12], c[12];
  if (argc == 4) {
    for (int i = 1; i < 4; i++)
      look(atoi(argv[i]));
    return 0;
  }
  make("f", "contents");
  int keep = open("f", O_RDONLY), lose = open("f", O_RDONLY | O_CLOEXEC), later = open("f", O_RDONLY);
  T(fcntl(keep, F_GETFD));
  T(fcntl(lose, F_GETFD));
  T(fcntl(later, F_SETFD, FD_CLOEXEC));
  T(fcntl(later, F_GETFD));
  T(read(keep, a, 3));
  snprintf(a, sizeof a, "%d", keep);
  snprintf(b, sizeof b, "%d", lose);
  snprintf(c, sizeof c, "%d", later);
  execl("/proc/self/exe", argv[0], a, b, c, (char *)0);
  show("execl", -1);
  return 1;
}
