/* futex by hand: wait, wake, changed values, time-outs, requeueing. */
#include "t.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>

static int *word;

static long futex(int *at, int op, int value, struct timespec *ts)
{
  return syscall(SYS_futex, at, op, value, ts, 0, 0);
}

static void *waker(void *arg)
{
  sleep_ms(20);
  *word = 1;
  show("wake", futex(word, FUTEX_WAKE_PRIVATE, 1, 0));
  return arg;
}

int main(void)
{
  struct timespec ts = {0, 10000000};
  pthread_t t;
  word = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  T(futex(word, FUTEX_WAIT, 5, 0));
  T(futex(word, FUTEX_WAIT, 0, &ts));
  T(futex(word, FUTEX_WAKE, 10, 0));
  static int own;
  word = &own;
  pthread_create(&t, 0, waker, 0);
  while (!own)
    futex(&own, FUTEX_WAIT_PRIVATE, 0, 0);
  pthread_join(t, 0);
  word = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t pid = fork();
  if (!pid) {
    while (!*word)
      futex(word, FUTEX_WAIT, 0, 0);
    _exit(*word);
  }
  sleep_ms(20);
  *word = 9;
  futex(word, FUTEX_WAKE, 1, 0);
  wait_for(pid, "woken over processes");
  clock_gettime(CLOCK_REALTIME, &ts);
  ts.tv_sec -= 5;
  T(syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 9, &ts, 0, -1));
  T(futex((int *)1, FUTEX_WAIT, 0, 0));
  T(futex(word, 99, 0, 0));
  return 0;
}
