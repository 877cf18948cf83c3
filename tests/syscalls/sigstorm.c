/* A timer's signals while the program does file calls: nothing is lost, nothing is done twice. */
#include "t.h"
#include <sys/time.h>

static volatile int ticks;

static void tick(int s)
{
  (void)s;
  ticks++;
}

int main(void)
{
  struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
  struct itimerval every = {{0, 700}, {0, 700}}, off = {0};
  struct stat st;
  char line[16];
  int bad = 0, at = 0;
  sigaction(SIGALRM, &sa, 0);
  setitimer(ITIMER_REAL, &every, 0);
  int fd = open("f", O_RDWR | O_CREAT, 0644);
  for (int i = 0; i < 3000; i++) {
    int n = snprintf(line, sizeof line, "%d\n", i);
    bad += write(fd, line, (size_t)n) != n;
    at += n;
    bad += fstat(fd, &st) != 0 || st.st_size != at;
    bad += access("absent", F_OK) != -1;
  }
  setitimer(ITIMER_REAL, &off, 0);
  T(bad);
  show_stat("f");
  YES(ticks > 0);
  return 0;
}
