/*
 * What happens on this machine without having been asked for: the terminal changes its size, a signal is to be
 * forwarded, an armed poll comes true, a watched file changes. One thread waits for all of it.
 *
 * Owns its poller and the thread. Must never: execute a call, or block anywhere but in poller_wait and in
 * sending.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

#define NUDGE_MS 3 /* between two signals to a cancelled worker */

/* What an event is about: a handle's number, or one of these. */
enum { ABOUT_SIGNAL = 1, ABOUT_CONTROL, ABOUT_WATCH, ABOUT_WAKE, ABOUT_HANDLE };
#define ABOUT(what, num) ((uint64_t)(what) << 32 | (num))

static struct {
  int poller, signals, control, wake;
  pthread_mutex_t lock; /* arming and forgetting */
} E = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void forward(int sig, bool group)
{
  out_note(F_SIGNAL, group, sig, 0, 0);
}

/* The program there is told to stop first, unless it has a terminal of its own, whose keys stop it. A thread that waits
   in a read of the terminal must not take what is typed for others meanwhile, so this process stops as well, as whoever
   started it would see its program stop. */
static void stop(void)
{
  if (!terminal_on())
    forward(SIGTSTP, true);
  kill(getpid(), SIGSTOP);
}

static void tell_winsize(void)
{
  uint64_t ws[4];
  if (!hello_winsize(ws))
    out_note(F_WINSIZE, 0, 0, ws, 4);
}

static void take_signal(void)
{
  int sig = signals_take(E.signals);
  if (sig == SIGWINCH)
    tell_winsize();
  else if (sig && E.control < 0)
    forward(sig, true);
}

static void take_byte(uint8_t byte)
{
  int sig = byte & 127;
  if (sig == SIGTSTP)
    stop();
  else if (sig == SIGWINCH && terminal_on())
    tell_winsize();
  else if (sig > 0 && sig <= 64)
    forward(sig, byte & 128);
}

static void take_control(void)
{
  uint8_t byte[64];
  ssize_t n = read(E.control, byte, sizeof byte);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n <= 0)
    poller_forget(E.poller, E.control);
  for (ssize_t i = 0; i < n; i++)
    take_byte(byte[i]);
}

static void take_ready(uint32_t num, uint32_t events)
{
  struct handle *h = handle_get(num);
  if (!h)
    return;
  uint32_t armed = __atomic_exchange_n(&h->armed, 0, __ATOMIC_ACQ_REL);
  uint32_t now = events & (armed | POLLERR | POLLHUP);
  if (armed && now)
    out_note(F_READY, 0, 0, (uint64_t[]){num, now}, 2);
  handle_put(h);
}

static void take_event(const struct ready *e)
{
  switch (e->about >> 32) {
  case ABOUT_SIGNAL:
    take_signal();
    break;
  case ABOUT_CONTROL:
    take_control();
    break;
  case ABOUT_WATCH:
    out_invalid();
    break;
  case ABOUT_WAKE:
    if (!wake_clear(E.wake))
      poller_forget(E.poller, E.wake);
    break;
  default:
    take_ready((uint32_t)e->about, e->events);
  }
}

static void *events(void *arg)
{
  struct ready e[16];
  bool nudging = false;
  (void)arg;
  for (;;) {
    int n = poller_wait(E.poller, e, 16, nudging ? NUDGE_MS : -1);
    for (int i = 0; i < n; i++)
      take_event(&e[i]);
    nudging = worker_nudge();
  }
  return 0;
}

static int listen_to(int fd, uint64_t about)
{
  return fd < 0 ? 0 : poller_want(E.poller, fd, POLLIN, false, false, about);
}

/* Signals that the terminal sends to everyone on it: whoever started us forwards them, or else we do. */
static int signals_start(void)
{
  sigset_t set;
  sigemptyset(&set);
  const int mine[] = {SIGWINCH, SIGINT, SIGQUIT, SIGHUP};
  for (unsigned i = 0; i < sizeof mine / sizeof *mine; i++)
    sigaddset(&set, mine[i]);
  signal(SIGPIPE, SIG_IGN); /* errors, not ends: EPIPE and EFBIG go to the program */
  signal(SIGXFSZ, SIG_IGN);
  if (E.control >= 0)
    signal(SIGTSTP, SIG_IGN); /* not before it has been forwarded: stop() */
  pthread_sigmask(SIG_BLOCK, &set, 0);
  E.signals = signals_open(&set);
  return E.signals < 0 ? E.signals : 0;
}

int events_start(int control_fd)
{
  E.control = control_fd;
  E.poller = poller_open();
  E.wake = wake_open();
  int err = E.poller < 0 ? E.poller : E.wake < 0 ? E.wake : signals_start();
  if (!err)
    err = listen_to(E.signals, ABOUT(ABOUT_SIGNAL, 0));
  if (!err)
    err = listen_to(control_fd, ABOUT(ABOUT_CONTROL, 0));
  if (!err)
    err = listen_to(watch_fd(), ABOUT(ABOUT_WATCH, 0));
  if (!err)
    err = listen_to(names_fd(), ABOUT(ABOUT_WATCH, 0));
  if (!err)
    err = listen_to(E.wake, ABOUT(ABOUT_WAKE, 0));
  return err ? err : thread_start(events, 0);
}

void events_wake(void)
{
  wake_set(E.wake);
}

long poll_now(const struct handle *h, uint32_t want)
{
  struct pollfd p = {.fd = h->fd, .events = (short)want};
  if (h->kind == K_PATH)
    return POLLNVAL;
  return poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

int events_arm(struct handle *h, uint32_t want)
{
  pthread_mutex_lock(&E.lock);
  __atomic_or_fetch(&h->armed, want, __ATOMIC_ACQ_REL);
  want |= __atomic_load_n(&h->armed, __ATOMIC_ACQUIRE);
  int err = poller_want(E.poller, h->fd, want, true, true, ABOUT(ABOUT_HANDLE, h->num));
  if (err)
    __atomic_store_n(&h->armed, 0, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&E.lock);
  return err;
}

void events_forget(struct handle *h)
{
  pthread_mutex_lock(&E.lock);
  __atomic_store_n(&h->armed, 0, __ATOMIC_RELEASE);
  poller_forget(E.poller, h->fd);
  pthread_mutex_unlock(&E.lock);
}
