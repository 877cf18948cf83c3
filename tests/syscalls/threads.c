/* Threads: creation, joining, locks, conditions, thread-local data, files used by many at once. */
#include "t.h"
#include <pthread.h>

#define N 16
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static __thread int mine;
static int total, turn;

static void *work(void *arg)
{
  long id = (long)arg;
  char name[16];
  mine = (int)id;
  pthread_barrier_wait(&barrier);
  snprintf(name, sizeof name, "t%ld", id);
  for (int i = 0; i < 50; i++) {
    make(name, name);
    pthread_mutex_lock(&mutex);
    total++;
    pthread_mutex_unlock(&mutex);
  }
  pthread_mutex_lock(&mutex);
  while (turn != id)
    pthread_cond_wait(&cond, &mutex);
  say("thread %ld, %d", id, mine);
  turn++;
  pthread_cond_broadcast(&cond);
  pthread_mutex_unlock(&mutex);
  return (void *)(id * id);
}

static void *exits(void *arg)
{
  pthread_exit(arg);
}

int main(void)
{
  pthread_t t[N];
  long sum = 0;
  void *r;
  pthread_barrier_init(&barrier, 0, N);
  for (long i = 0; i < N; i++)
    sum += pthread_create(&t[i], 0, work, (void *)i);
  for (int i = 0; i < N; i++) {
    pthread_join(t[i], &r);
    sum += (long)r;
  }
  T(sum);
  T(total);
  show_file("t15");
  pthread_create(t, 0, exits, (void *)77);
  pthread_join(t[0], &r);
  T((long)r);
  for (int i = 0; i < 300; i++) {
    pthread_create(t, 0, exits, 0);
    pthread_join(t[0], 0);
  }
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
  T(pthread_create(t, &a, exits, 0));
  if (!fork())
    _exit(N);
  int status;
  wait(&status);
  show_status("fork beside threads", status);
  return 0;
}
