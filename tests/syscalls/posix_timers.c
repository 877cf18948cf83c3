/* timer_create and its kin: signals with values, threads as targets, periods and overruns, absolute times, wrong ones.
 */
#include "t.h"
#include <pthread.h>

static volatile sig_atomic_t ticks, value, code;
static void on_tick(int sig, siginfo_t *info, void *context)
{
  (void)sig;
  (void)context;
  ticks++;
  value = info->si_value.sival_int;
  code = info->si_code == SI_TIMER;
}

static void wait_tick(void)
{
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, &old);
  while (!ticks)
    sigsuspend(&old);
  sigprocmask(SIG_SETMASK, &old, 0);
}

static void *by_thread(void *arg)
{
  timer_t t;
  sigset_t set;
  siginfo_t info;
  (void)arg;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  struct sigevent e = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 5};
  e._sigev_un._tid = (int)syscall(SYS_gettid);
  T(timer_create(CLOCK_MONOTONIC, &e, &t));
  struct itimerspec soon = {{0, 0}, {0, 2000000}};
  T(timer_settime(t, 0, &soon, 0));
  T(sigwaitinfo(&set, &info) == SIGUSR2);
  say("value %d", info.si_value.sival_int);
  T(timer_delete(t));
  return 0;
}

int main(void)
{
  timer_t t;
  pthread_t thread;
  sigset_t set;
  struct itimerspec soon = {{0, 0}, {0, 2000000}}, left, bad = {{0, 0}, {0, 2000000000}};
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, 0);
  sigaction(SIGUSR1, &(struct sigaction){.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO}, 0);
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
  T(timer_create(CLOCK_REALTIME, &e, &t));
  T(timer_settime(t, 0, &soon, 0));
  wait_tick();
  say("value %d code %d", (int)value, (int)code);
  T(timer_gettime(t, &left));
  YES(!left.it_value.tv_sec && !left.it_value.tv_nsec);
  ticks = 0;
  clock_gettime(CLOCK_REALTIME, &soon.it_value);
  soon.it_value.tv_sec -= 5;
  T(timer_settime(t, TIMER_ABSTIME, &soon, 0));
  wait_tick();
  clock_gettime(CLOCK_REALTIME, &soon.it_value);
  soon.it_value.tv_sec += 1000;
  T(timer_settime(t, TIMER_ABSTIME, &soon, 0));
  T(timer_gettime(t, &left));
  YES(left.it_value.tv_sec > 990 && left.it_value.tv_sec <= 1000);
  struct itimerspec fast = {{0, 1000}, {0, 1000}};
  sigset_t block;
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  sigprocmask(SIG_BLOCK, &block, 0);
  ticks = 0;
  T(timer_settime(t, 0, &fast, 0));
  sleep_ms(5);
  siginfo_t info;
  T(sigwaitinfo(&block, &info) == SIGUSR1);
  YES(timer_getoverrun(t) > 0);
  T(timer_settime(t, 0, &bad, 0));
  T(timer_delete(t));
  T(timer_create(99, &e, &t));
  pthread_create(&thread, 0, by_thread, 0);
  pthread_join(thread, 0);
  T(timer_create(CLOCK_PROCESS_CPUTIME_ID, 0, &t));
  T(timer_delete(t));
  T(syscall(SYS_timer_delete, 12345));
  return 0;
}
