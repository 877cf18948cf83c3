/*
 * A thread for each call that may block, and how one of them is interrupted.
 *
 * Cancelling is a flag and a signal that does nothing but interrupt. The signal may come just before the worker enters
 * the kernel and be without effect; so it is sent again, every few milliseconds, until the worker is done. A call
 * that had a result before has it still: only EINTR together with the flag means "nothing was done".
 *
 * Owns the list of workers. Must never: signal a thread that has left the list.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "slave/slave.h"

#define WORKERS_MAX 8192
#define STACK_SIZE (256u << 10)
#define SIG_CANCEL SIGUSR1

struct worker {
  struct worker *next, **prev;
  pthread_t thread;
  struct frame f;
  bool cancelled; /* atomic */
  bool started;
  uint32_t n;
  uint8_t body[];
};

static struct {
  pthread_mutex_t lock;
  struct worker *list;
  unsigned count;
  bool signal_ready;
} K = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __thread struct worker *mine;

static void nothing(int sig)
{
  (void)sig;
}

static void leave_list(struct worker *w)
{
  pthread_mutex_lock(&K.lock);
  *w->prev = w->next;
  if (w->next)
    w->next->prev = w->prev;
  __atomic_sub_fetch(&K.count, 1, __ATOMIC_RELAXED);
  pthread_mutex_unlock(&K.lock);
}

static void *work(void *arg)
{
  struct worker *w = arg;
  sigset_t set;
  pthread_mutex_lock(&K.lock);
  w->thread = pthread_self();
  w->started = true;
  pthread_mutex_unlock(&K.lock);
  sigemptyset(&set);
  sigaddset(&set, SIG_CANCEL);
  pthread_sigmask(SIG_UNBLOCK, &set, 0);
  context_own_umask(); /* this call's */
  mine = w;
  call_run(&w->f, w->body, w->n, true);
  leave_list(w);
  free(w);
  return 0;
}

/* What the terminal does to a process in the background it does to this one: with the signals blocked, reading would be
   an error. */
int thread_start(void *(*run)(void *), void *arg)
{
  pthread_t t;
  pthread_attr_t attr;
  sigset_t all, old;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, STACK_SIZE);
  sigfillset(&all);
  sigdelset(&all, SIGTTIN);
  sigdelset(&all, SIGTTOU);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int err = pthread_create(&t, &attr, run, arg);
  pthread_sigmask(SIG_SETMASK, &old, 0);
  pthread_attr_destroy(&attr);
  return -err;
}

static void enter_list(struct worker *w)
{
  pthread_mutex_lock(&K.lock);
  w->next = K.list;
  w->prev = &K.list;
  if (w->next)
    w->next->prev = &w->next;
  K.list = w;
  __atomic_add_fetch(&K.count, 1, __ATOMIC_RELAXED);
  if (!K.signal_ready)
    sigaction(SIG_CANCEL, &(struct sigaction){.sa_handler = nothing}, 0);
  K.signal_ready = true;
  pthread_mutex_unlock(&K.lock);
}

int worker_start(const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct worker *w = __atomic_load_n(&K.count, __ATOMIC_RELAXED) < WORKERS_MAX ? malloc(sizeof *w + n) : 0;
  if (!w)
    return -ENOMEM;
  *w = (struct worker){.f = *f, .n = n};
  if (n)
    memcpy(w->body, body, n);
  enter_list(w);
  int err = thread_start(work, w);
  if (err) {
    leave_list(w);
    free(w);
  }
  return err;
}

void worker_cancel(uint32_t tag)
{
  pthread_mutex_lock(&K.lock);
  for (struct worker *w = K.list; w; w = w->next)
    if (w->f.tag == tag && w->f.type == F_CALL)
      __atomic_store_n(&w->cancelled, true, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&K.lock);
  if (worker_nudge())
    events_wake();
}

bool worker_nudge(void)
{
  bool any = false;
  pthread_mutex_lock(&K.lock);
  for (struct worker *w = K.list; w; w = w->next) {
    if (!__atomic_load_n(&w->cancelled, __ATOMIC_ACQUIRE))
      continue;
    any = true;
    if (w->started)
      pthread_kill(w->thread, SIG_CANCEL);
  }
  pthread_mutex_unlock(&K.lock);
  return any;
}

bool worker_cancelled(void)
{
  return mine && __atomic_load_n(&mine->cancelled, __ATOMIC_ACQUIRE);
}
