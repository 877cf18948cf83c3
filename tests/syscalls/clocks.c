/* Clocks: they move forward, agree with each other, and with the times of files. */
#include "t.h"
#include <sys/time.h>

static long long ns(clockid_t id)
{
  struct timespec ts;
  clock_gettime(id, &ts);
  return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int main(void)
{
  struct timespec ts;
  struct timeval tv;
  struct stat st;
  long long a = ns(CLOCK_MONOTONIC), b = ns(CLOCK_MONOTONIC);
  YES(b >= a && b - a < 1000000000);
  gettimeofday(&tv, 0);
  YES(llabs(ns(CLOCK_REALTIME) - (tv.tv_sec * 1000000000ll + tv.tv_usec * 1000ll)) < 1000000000);
  YES(labs((long)(time(0) - tv.tv_sec)) <= 1);
  YES(labs((long)(syscall(SYS_time, 0) - tv.tv_sec)) <= 1);
  YES(llabs(ns(CLOCK_REALTIME_COARSE) - ns(CLOCK_REALTIME)) < 1000000000);
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts);
  YES(labs((long)(ts.tv_sec - tv.tv_sec)) <= 1);
  T(clock_getres(CLOCK_MONOTONIC, &ts));
  T(clock_gettime(9999, &ts));
  T(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
  make("f", "x");
  stat("f", &st);
  YES(labs((long)(st.st_mtime - time(0))) <= 2);
  int backwards = 0;
  for (int i = 0; i < 100000; i++) {
    long long c = ns(CLOCK_REALTIME);
    backwards += i && c < a;
    a = c;
  }
  T(backwards);
  return 0;
}
