/* alarm, setitimer, timer_create, clock_nanosleep. */
#include "t.h"
#include <sys/time.h>

static volatile int hits;

static void handler(int s)
{
  (void)s;
  hits++;
}

static long elapsed_ms(struct timespec a)
{
  struct timespec b;
  clock_gettime(CLOCK_MONOTONIC, &b);
  return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
}

int main(void)
{
  struct timespec start, ts = {0, 50000000};
  struct itimerval iv = {{0, 10000}, {0, 10000}}, old;
  clock_gettime(CLOCK_MONOTONIC, &start);
  signal(SIGALRM, handler);
  T(alarm(100));
  T(alarm(0) > 98);
  T(setitimer(ITIMER_REAL, &iv, 0));
  while (hits < 3)
    pause();
  iv = (struct itimerval){0};
  T(setitimer(ITIMER_REAL, &iv, &old));
  T(old.it_interval.tv_usec);
  YES(elapsed_ms(start) >= 30);
  clock_gettime(CLOCK_MONOTONIC, &start);
  T(clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, 0));
  YES(elapsed_ms(start) >= 50);
  ts = start;
  T(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, 0));
  clock_gettime(CLOCK_REALTIME, &ts);
  clock_gettime(CLOCK_MONOTONIC, &start);
  ts.tv_nsec += 60000000;
  if (ts.tv_nsec >= 1000000000)
    ts.tv_sec++, ts.tv_nsec -= 1000000000;
  T(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, 0));
  YES(elapsed_ms(start) >= 55 && elapsed_ms(start) < 2000);
  timer_t t;
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  struct itimerspec its = {{0, 0}, {0, 20000000}};
  signal(SIGUSR1, handler);
  hits = 0;
  T(timer_create(CLOCK_MONOTONIC, &ev, &t));
  T(timer_settime(t, 0, &its, 0));
  while (!hits)
    pause();
  T(timer_delete(t));
  ts.tv_nsec = 2000000000;
  T(clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, 0));
  T(nanosleep(&ts, 0));
  return 0;
}
