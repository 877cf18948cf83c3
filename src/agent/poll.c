/*
 * Waiting for descriptors: poll, ppoll, select, pselect6. Sets without a stream of the slave go to the kernel as they
 * are.
 *
 * A stream is watched through its placeholder socket. A byte in that socket is a wake-up, nothing more; what is true is
 * in hstate.ready (what the slave said last) and in the credit window (whether a write would wait). Never trusts the
 * kernel's own view of a placeholder socket: it is always writable, and readable for reasons of ours.
 */
#include <asm/poll.h>
#include <linux/stat.h>
#include <linux/time_types.h>

#include "agent/io.h"

#define ALWAYS (POLLERR | POLLHUP)
#define ANY_IN (POLLIN | POLLRDNORM | POLLPRI | POLLRDHUP)
#define ANY_OUT (POLLOUT | POLLWRNORM)
#define SELECT_IN (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define SELECT_OUT (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)
#define MONOTONIC 1
#define MSG_DONTWAIT 0x40
#define SECOND 1000000000l
#define FOREVER INT64_MAX
#define FD_MAX 1048576u

/* ---- one stream ---- */

uint32_t stream_now(struct hstate *s, uint32_t events)
{
  uint32_t ready = __atomic_load_n(&s->ready, __ATOMIC_ACQUIRE);
  uint32_t now = ready & ((events & ANY_IN) | ALWAYS);
  if (events & POLLRDNORM && ready & POLLIN)
    now |= POLLRDNORM;
  bool failed = __atomic_load_n(&s->late, __ATOMIC_ACQUIRE) != 0;
  if (may_write(s) && (failed || stream_credit(s) >= PIPE_ATOMIC))
    now |= events & ANY_OUT;
  return failed ? now | POLLERR : now;
}

long stream_ask(struct call *c, struct rfile *f, uint32_t events)
{
  struct req q;
  req_start_op(&q, c->t, W_POLL);
  req_handle(&q, f->h);
  req_u64(&q, events);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r > 0)
    __atomic_fetch_or(&f->s->ready, (uint32_t)r, __ATOMIC_ACQ_REL);
  return r;
}

void stream_arm(struct call *c, struct handle h, struct hstate *s, uint32_t events)
{
  if (events & ANY_OUT)
    stream_arm_out(s);
  uint32_t ask = (events & ~(uint32_t)POLLPRI & ANY_IN ? POLLIN : 0) | (events & POLLPRI);
  uint32_t mark = ask | ALWAYS;
  if ((__atomic_fetch_or(&s->armed, mark, __ATOMIC_ACQ_REL) & mark) == mark && (ask || !may_read(s)))
    return; /* of a mark without IN nobody can say whether it outlived a READY for IN */
  struct req q;
  req_start_op(&q, c->t, W_POLL);
  req_handle(&q, h);
  req_u64(&q, mark);
  req_post(&q, -1);
}

void stream_drain(int fd)
{
  uint8_t bytes[64];
  while (sys6(__NR_recvfrom, fd, (long)bytes, sizeof bytes, MSG_DONTWAIT, 0, 0) == sizeof bytes)
    ;
}

/* ---- a set of descriptors ---- */

struct waitset {
  struct pollfd *fds, *kernel; /* the program's wishes, copied; what the kernel is asked */
  unsigned n;
  int64_t deadline; /* monotonic nanoseconds, or FOREVER */
  bool at_once;
  const uint64_t *mask; /* the program's mask meanwhile, 0: as it is */
};

static int64_t now_ns(void)
{
  struct __kernel_timespec ts = {0, 0};
  sys2(__NR_clock_gettime, MONOTONIC, &ts);
  return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void set_timeout(struct waitset *w, const struct __kernel_timespec *ts)
{
  w->at_once = ts && !ts->tv_sec && !ts->tv_nsec;
  w->deadline = FOREVER;
  if (ts && ts->tv_sec < FOREVER / SECOND / 2)
    w->deadline = now_ns() + ts->tv_sec * SECOND + ts->tv_nsec;
}

static struct __kernel_timespec time_left(const struct waitset *w)
{
  int64_t left = w->deadline - now_ns();
  if (left < 0)
    left = 0;
  return (struct __kernel_timespec){left / SECOND, left % SECOND};
}

static bool stream_of(struct call *c, int fd, struct rfile *f)
{
  return fd >= 0 && file_of(c, fd, f) && is_stream(f->s);
}

/* What holds of the streams without asking anybody. How many have something to tell. */
static unsigned look(struct call *c, struct waitset *w)
{
  struct rfile f;
  unsigned found = 0;
  for (unsigned i = 0; i < w->n; i++) {
    w->fds[i].revents = 0;
    if (stream_of(c, w->fds[i].fd, &f))
      w->fds[i].revents = (short)stream_now(f.s, (uint16_t)w->fds[i].events);
    found += w->fds[i].revents != 0;
  }
  return found;
}

/* A FIFO in whose other end the program itself writes: what is still under way there is to be read soon, or others' is.
 */
static bool comes_back(const struct hstate *s)
{
  return S_ISFIFO(s->attr.mode) && may_read(s) && may_write(s);
}

/* A question to the slave: what is there to be read. */
static void ask_one(struct call *c, struct pollfd *p, struct rfile *f)
{
  uint32_t in = (uint16_t)p->events & ANY_IN;
  long events;
  for (;;) {
    uint64_t written = __atomic_load_n(&f->s->written, __ATOMIC_ACQUIRE);
    bool comes = in && comes_back(f->s) && __atomic_load_n(&f->s->sent, __ATOMIC_ACQUIRE) != written;
    events = stream_ask(c, f, in);
    if (!comes || events || stream_wait_written(c, f->s, (uint32_t)written) < 0)
      break;
  }
  if (events > 0)
    p->revents |= (short)((uint32_t)events & (in | ALWAYS));
}

/* For each stream that nothing is known of; for calls that do not wait. */
static unsigned ask(struct call *c, struct waitset *w)
{
  struct rfile f;
  unsigned found = 0;
  for (unsigned i = 0; i < w->n; i++) {
    if (!stream_of(c, w->fds[i].fd, &f) || w->fds[i].revents)
      continue;
    ask_one(c, &w->fds[i], &f);
    found += w->fds[i].revents != 0;
  }
  return found;
}

/* Of a stream that can be written to and that is also to be read from, both are told. */
static void ask_both(struct call *c, struct waitset *w)
{
  struct rfile f;
  for (unsigned i = 0; i < w->n; i++)
    if (w->fds[i].events & ANY_IN && w->fds[i].revents && !(w->fds[i].revents & ~ANY_OUT) &&
        stream_of(c, w->fds[i].fd, &f) && may_read(f.s))
      ask_one(c, &w->fds[i], &f);
}

static void arm(struct call *c, struct waitset *w)
{
  struct rfile f;
  for (unsigned i = 0; i < w->n; i++)
    if (stream_of(c, w->fds[i].fd, &f)) {
      stream_drain(f.fd); /* what lies there has been seen by look() */
      stream_arm(c, f.h, f.s, (uint16_t)w->fds[i].events);
    }
}

/* The kernel watches what is local as asked, and the placeholders of silent streams for a wake-up. */
static void fill_kernel(struct call *c, struct waitset *w)
{
  struct rfile f;
  for (unsigned i = 0; i < w->n; i++) {
    w->kernel[i] = w->fds[i];
    w->kernel[i].revents = 0;
    if (!stream_of(c, w->fds[i].fd, &f))
      continue;
    w->kernel[i].events = POLLIN;
    if (w->fds[i].revents)
      w->kernel[i].fd = -1;
  }
}

/* `most': nanoseconds. */
static long sleep_kernel(struct call *c, struct waitset *w, int64_t most)
{
  struct __kernel_timespec left = {0, 0};
  if (w->deadline != FOREVER && most)
    left = time_left(w);
  if (w->deadline == FOREVER || left.tv_sec * SECOND + left.tv_nsec > most)
    left = (struct __kernel_timespec){most / SECOND, most % SECOND};
  long ts = w->deadline == FOREVER && most == FOREVER ? 0 : (long)&left;
  if (!w->mask)
    return cp_call(c->t, __NR_ppoll, (long)w->kernel, w->n, ts, 0, 0, 0);
  return cp_masked(c->t, w->mask, __NR_ppoll, (long)w->kernel, w->n, ts, 0, 0, 0);
}

/* A stream whose window is full is waited for. */
static bool out_wanted(struct call *c, const struct waitset *w)
{
  struct rfile f;
  for (unsigned i = 0; i < w->n; i++)
    if (w->fds[i].events & ANY_OUT && stream_of(c, w->fds[i].fd, &f))
      return true;
  return false;
}

/* Brings what the kernel found and what the streams say now together. */
static unsigned merge(struct call *c, struct waitset *w)
{
  struct rfile f;
  unsigned found = 0;
  for (unsigned i = 0; i < w->n; i++) {
    if (!stream_of(c, w->fds[i].fd, &f))
      w->fds[i].revents = w->kernel[i].revents;
    else if (!w->fds[i].revents)
      w->fds[i].revents = (short)(stream_now(f.s, (uint16_t)w->fds[i].events) | (w->kernel[i].revents & ALWAYS));
    found += w->fds[i].revents != 0;
  }
  return found;
}

/* Asks what has to be asked; how long the kernel may sleep then. */
static int64_t before_sleep(struct call *c, struct waitset *w)
{
  unsigned found = look(c, w);
  if (found)
    ask_both(c, w);
  else if (w->at_once)
    found = ask(c, w);
  else
    arm(c, w);
  enum prepared p = epoll_prepare(c, w->at_once);
  /* Between look() and the draining in arm() something may have been told. */
  if (w->at_once || found || p == SOMETHING || look(c, w))
    return 0;
  return p == OUT_WANTED || out_wanted(c, w) ? LOOK_UP : FOREVER;
}

/* How many have something to tell, or -errno; fds[].revents are set. */
static long wait_set(struct call *c, struct waitset *w)
{
  for (bool slept = false;; slept = true) {
    int64_t most = before_sleep(c, w);
    fill_kernel(c, w);
    long r = sleep_kernel(c, w, most);
    if (r < 0) /* a signal between two sleeps has interrupted the wait all the same */
      return slept && r == -ERESTART_CALL ? -EINTR : r;
    unsigned found = merge(c, w);
    if (found || w->at_once || now_ns() >= w->deadline)
      return found;
  }
}

/* A set with an epoll in it may lead to a stream, too. */
static bool any_stream(struct call *c, const struct pollfd *fds, unsigned n)
{
  struct rfile f;
  if (epoll_has_streams())
    return true;
  for (unsigned i = 0; i < n; i++)
    if (stream_of(c, fds[i].fd, &f))
      return true;
  return false;
}

/* ---- poll and ppoll ---- */

#define POLL_SMALL 64

struct pollset {
  struct waitset w;
  struct pollfd small[2 * POLL_SMALL];
};

static long pollset_new(struct pollset *s, unsigned long n)
{
  if (n > FD_MAX)
    return -EINVAL;
  s->w.n = (unsigned)n;
  s->w.fds = n > POLL_SMALL ? pages_new(2 * n * sizeof *s->w.fds) : s->small;
  if (!s->w.fds)
    return -ENOMEM;
  s->w.kernel = s->w.fds + n;
  return 0;
}

static void pollset_free(struct pollset *s)
{
  if (s->w.fds != s->small)
    pages_free(s->w.fds, 2 * s->w.n * sizeof *s->w.fds);
}

static long store_revents(struct pollset *s, unsigned long user)
{
  for (unsigned i = 0; i < s->w.n; i++)
    if (copy_out((char *)user + i * sizeof *s->w.fds + offsetof(struct pollfd, revents), &s->w.fds[i].revents, 2))
      return -EFAULT;
  return 0;
}

/* poll's work, where there may be streams in the set. 1: there are none, the kernel is to do it. */
static long poll_set(struct call *c, const struct __kernel_timespec *ts, const uint64_t *mask, long *found)
{
  struct pollset s;
  if (standalone())
    return 1;
  long r = pollset_new(&s, c->a[1]);
  if (r < 0)
    return r;
  if (s.w.n && copy_in(s.w.fds, (void *)c->a[0], s.w.n * sizeof *s.w.fds))
    r = -EFAULT;
  else if (!any_stream(c, s.w.fds, s.w.n))
    r = 1;
  if (r == 0) {
    s.w.mask = mask;
    set_timeout(&s.w, ts);
    *found = wait_set(c, &s.w);
    r = *found < 0 ? *found : store_revents(&s, c->a[0]);
  }
  pollset_free(&s);
  return r;
}

long a_poll(struct call *c)
{
  int ms = (int)c->a[2];
  struct __kernel_timespec ts = {ms / 1000, ms % 1000 * 1000000l};
  long found = 0, r = poll_set(c, ms < 0 ? 0 : &ts, 0, &found);
  return r == 1 ? pass(c) : r < 0 ? r : found;
}

static bool bad_time(const struct __kernel_timespec *ts)
{
  return ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= SECOND;
}

/* The program's timeout becomes what is left of it, as the kernel does. */
static void store_left(unsigned long user, int64_t deadline, long unit)
{
  struct waitset w = {.deadline = deadline};
  struct __kernel_timespec left = time_left(&w);
  left.tv_nsec /= unit;
  copy_out((void *)user, &left, sizeof left);
}

static int64_t deadline_of(const struct __kernel_timespec *ts)
{
  struct waitset w;
  set_timeout(&w, ts);
  return w.deadline;
}

static long load_mask(unsigned long user, unsigned long size, uint64_t *mask)
{
  if (!user)
    return 0;
  if (size != sizeof *mask)
    return -EINVAL;
  return copy_in(mask, (void *)user, sizeof *mask) ? -EFAULT : 1;
}

/* ppoll as it stands, but for the mask. */
static long ppoll_native(struct call *c, const uint64_t *mask)
{
  if (!mask)
    return pass(c);
  return cp_masked(c->t, mask, __NR_ppoll, (long)c->a[0], (long)c->a[1], (long)c->a[2], 0, 0, 0);
}

long a_ppoll(struct call *c)
{
  struct __kernel_timespec ts;
  uint64_t mask;
  long has_mask = load_mask(c->a[3], c->a[4], &mask), found = 0;
  if (has_mask < 0)
    return has_mask;
  if (c->a[2] && copy_in(&ts, (void *)c->a[2], sizeof ts))
    return -EFAULT;
  if (c->a[2] && bad_time(&ts))
    return -EINVAL;
  int64_t deadline = c->a[2] ? deadline_of(&ts) : FOREVER;
  long r = poll_set(c, c->a[2] ? &ts : 0, has_mask ? &mask : 0, &found);
  if (r == 1)
    return ppoll_native(c, has_mask ? &mask : 0);
  if (c->a[2])
    store_left(c->a[2], deadline, 1);
  return r < 0 ? r : found;
}

/* ---- select and pselect6 ---- */

/* The three sets: bits of the program's memory, copied in, answered, copied out. */
#define SELECT_MAX 1024u /* a set on the stack; larger ones lie in pages */
struct sets {
  unsigned n, words;
  uint64_t *bits[3], *room;
  uint64_t small[3 * SELECT_MAX / 64];
};
static const uint16_t set_events[3] = {POLLIN, POLLOUT, POLLPRI};
static const uint16_t set_answer[3] = {SELECT_IN, SELECT_OUT, POLLPRI};

static void sets_free(struct sets *s)
{
  if (s->room != s->small)
    pages_free(s->room, 3 * s->words * 8);
}

static long sets_load(struct sets *s, struct call *c)
{
  if ((int)c->a[0] < 0)
    return -EINVAL;
  s->n = (unsigned)c->a[0] < FD_MAX ? (unsigned)c->a[0] : FD_MAX;
  s->words = (s->n + 63) / 64;
  s->room = s->n > SELECT_MAX ? pages_new(3 * s->words * 8) : s->small;
  if (!s->room)
    return -ENOMEM;
  for (unsigned i = 0; i < 3; i++) {
    s->bits[i] = s->room + i * s->words;
    memset(s->bits[i], 0, s->words * 8);
    if (c->a[1 + i] && copy_in(s->bits[i], (void *)c->a[1 + i], s->words * 8)) {
      sets_free(s);
      return -EFAULT;
    }
  }
  return 0;
}

static bool set_has(const struct sets *s, unsigned i, unsigned fd)
{
  return s->bits[i][fd / 64] >> fd % 64 & 1;
}

static uint16_t sets_events(const struct sets *s, unsigned fd)
{
  uint16_t events = 0;
  for (unsigned i = 0; i < 3; i++)
    if (set_has(s, i, fd))
      events |= set_events[i];
  return events;
}

/* The members as a list for poll; with fds 0 only counted. */
static unsigned sets_list(const struct sets *s, struct pollfd *fds)
{
  unsigned n = 0;
  for (unsigned fd = 0; fd < s->n; fd++) {
    uint16_t events = sets_events(s, fd);
    if (!events)
      continue;
    if (fds)
      fds[n] = (struct pollfd){.fd = (int)fd, .events = (short)events};
    n++;
  }
  return n;
}

/* The answer as sets: how many bits, or -EBADF. */
static long sets_answer(struct sets *s, const struct pollfd *fds, unsigned n)
{
  long count = 0;
  for (unsigned j = 0; j < n; j++) {
    if (fds[j].revents & POLLNVAL)
      return -EBADF;
    for (unsigned i = 0, fd = (unsigned)fds[j].fd; i < 3; i++) {
      if (!set_has(s, i, fd))
        continue;
      if ((uint16_t)fds[j].revents & set_answer[i])
        count++;
      else
        s->bits[i][fd / 64] &= ~(1ull << fd % 64);
    }
  }
  return count;
}

static long sets_store(const struct sets *s, struct call *c)
{
  for (unsigned i = 0; i < 3; i++)
    if (c->a[1 + i] && copy_out((void *)c->a[1 + i], s->bits[i], s->words * 8))
      return -EFAULT;
  return 0;
}

/* select's work where a stream is in the sets; 1: there is none. */
static long select_sets(struct call *c, struct sets *s, const struct __kernel_timespec *ts, const uint64_t *mask,
                        long *found)
{
  struct pollset p;
  long r = pollset_new(&p, sets_list(s, 0));
  if (r < 0)
    return r;
  sets_list(s, p.w.fds);
  if (!any_stream(c, p.w.fds, p.w.n)) {
    r = 1;
  } else {
    p.w.mask = mask;
    set_timeout(&p.w, ts);
    r = wait_set(c, &p.w);
    *found = r < 0 ? r : sets_answer(s, p.w.fds, p.w.n);
    r = *found < 0 ? *found : sets_store(s, c);
  }
  pollset_free(&p);
  return r;
}

/* Common to both; `unit': nanoseconds that the program's second field counts in. 1: the kernel is to do it. */
static long select_any(struct call *c, long unit, const uint64_t *mask, long *found)
{
  struct __kernel_timespec ts;
  struct sets s;
  if (standalone())
    return 1;
  if (c->a[4] && copy_in(&ts, (void *)c->a[4], sizeof ts))
    return -EFAULT;
  if (c->a[4] && unit > 1) {
    ts.tv_sec += ts.tv_nsec / 1000000;
    ts.tv_nsec = ts.tv_nsec % 1000000 * unit;
  }
  if (c->a[4] && bad_time(&ts))
    return -EINVAL;
  long r = sets_load(&s, c);
  if (r < 0)
    return r;
  int64_t deadline = c->a[4] ? deadline_of(&ts) : FOREVER;
  r = select_sets(c, &s, c->a[4] ? &ts : 0, mask, found);
  if (c->a[4] && r != 1)
    store_left(c->a[4], deadline, unit);
  sets_free(&s);
  return r;
}

long a_select(struct call *c)
{
  long found = 0, r = select_any(c, 1000, 0, &found);
  return r == 1 ? pass(c) : r < 0 ? r : found;
}

struct sigset_arg {
  uint64_t mask, size;
};

long a_pselect(struct call *c)
{
  struct sigset_arg arg = {0, 0};
  uint64_t mask;
  if (c->a[5] && copy_in(&arg, (void *)c->a[5], sizeof arg))
    return -EFAULT;
  long has_mask = load_mask(arg.mask, arg.size, &mask), found = 0;
  if (has_mask < 0)
    return has_mask;
  long r = select_any(c, 1, has_mask ? &mask : 0, &found);
  if (r != 1)
    return r < 0 ? r : found;
  if (!has_mask)
    return pass(c);
  return cp_masked(c->t, &mask, __NR_pselect6, (long)c->a[0], (long)c->a[1], (long)c->a[2], (long)c->a[3],
                   (long)c->a[4], 0);
}
