/*
 * epoll with streams of the slave in the set. The kernel's epoll holds the placeholder sockets; this file keeps a list
 * of which stream is in which epoll, to ask for readiness before a wait and to tell the truth after it. Without a
 * stream in any epoll of this address space everything passes.
 *
 * The list may name what has been closed since: that costs a needless message at worst, and goes when it is noticed. A
 * stream that came into an epoll before an exec is not in the list: it is told by the kernel's view of the placeholder.
 */
#include <asm/poll.h>
#include <linux/eventpoll.h>
#include <linux/time_types.h>

#include "agent/io.h"

#define WATCHED (EPOLLIN | EPOLLRDNORM | EPOLLPRI | EPOLLRDHUP | EPOLLOUT | EPOLLWRNORM)
#define EPOLL_OUT (EPOLLOUT | EPOLLWRNORM)
#define MSG_PEEK 2
#define MSG_DONTWAIT 0x40
#define SECOND 1000000000l
#define MONOTONIC 1

/* A stream in an epoll. `told' is what the kernel was told to look for; it lacks OUT while no write would go through.
 */
struct entry {
  struct entry *next;
  int epfd, fd;
  struct handle h;
  uint32_t events, told;
  bool fired; /* EPOLLONESHOT: it has been reported, and is not looked at until it is set again */
  uint64_t data;
};
static struct entry *list;
static struct lock list_lock;

bool epoll_has_streams(void)
{
  return __atomic_load_n(&list, __ATOMIC_ACQUIRE);
}

/* ---- the list; the caller holds list_lock ---- */

static struct entry **entry_at(int epfd, int fd)
{
  struct entry **at = &list;
  while (*at && !((*at)->epfd == epfd && (*at)->fd == fd))
    at = &(*at)->next;
  return at;
}

static void entry_drop(struct entry **at)
{
  struct entry *e = *at;
  __atomic_store_n(at, e->next, __ATOMIC_RELEASE);
  small_free(e, sizeof *e);
}

static void entry_set(int epfd, int fd, struct handle h, const struct epoll_event *ev)
{
  struct entry *e = *entry_at(epfd, fd);
  if (!e) {
    e = small_new(sizeof *e);
    if (!e)
      fatal("no memory to remember an epoll entry");
    e->next = list;
    e->epfd = epfd;
    e->fd = fd;
    __atomic_store_n(&list, e, __ATOMIC_RELEASE);
  }
  e->h = h;
  e->events = e->told = ev->events;
  e->fired = false;
  e->data = ev->data;
}

/* ---- epoll_ctl ---- */

static void note(struct call *c, int epfd, int op, int fd, const struct epoll_event *ev)
{
  struct rfile f;
  bool stream = op != EPOLL_CTL_DEL && file_of(c, fd, &f) && is_stream(f.s);
  if (!stream && !epoll_has_streams())
    return;
  lock(&list_lock);
  if (stream)
    entry_set(epfd, fd, f.h, ev);
  else if (*entry_at(epfd, fd))
    entry_drop(entry_at(epfd, fd));
  unlock(&list_lock);
}

static bool is_path_only(struct call *c, int fd)
{
  struct rfile f;
  return file_of(c, fd, &f) && f.s->flags & O_PATH;
}

long a_epoll_ctl(struct call *c)
{
  struct epoll_event ev = {0, 0};
  int op = (int)c->a[1], fd = (int)c->a[2];
  if (op != EPOLL_CTL_DEL && copy_in(&ev, (void *)c->a[3], sizeof ev))
    return -EFAULT;
  long r = pass(c);
  if (r == -EPERM && is_path_only(c, fd))
    return -EBADF;
  if (r == 0)
    note(c, (int)c->a[0], op, fd, &ev);
  return r;
}

/* ---- before a wait ---- */

/*
 * The kernel holds a placeholder writable at all times. While a write would have to wait, it is not told to look for
 * that, but for the byte that will say that the window has opened. What has been reported once and for all stays so.
 */
static void tell_kernel(struct entry *e, struct hstate *s)
{
  uint32_t want = e->events;
  if (want & EPOLLEXCLUSIVE || e->fired)
    return;
  if (want & EPOLL_OUT && !stream_now(s, POLLOUT)) {
    stream_arm_out(s);
    if (!stream_now(s, POLLOUT))
      want = (want & ~(uint32_t)EPOLL_OUT) | EPOLLIN;
  }
  if (want == e->told)
    return;
  struct epoll_event ev = {want, e->data};
  if (sys4(__NR_epoll_ctl, e->epfd, EPOLL_CTL_MOD, e->fd, &ev) == 0)
    e->told = want;
}

/* A copy of the list's next entry behind `last' (0 at first), since asking must not happen under the lock. */
static bool next_entry(const struct entry **last, struct entry *copy)
{
  lock(&list_lock);
  const struct entry *e = list;
  if (*last) {
    while (e && e != *last)
      e = e->next;
    e = e ? e->next : 0;
  }
  *last = e;
  if (e)
    *copy = *e;
  unlock(&list_lock);
  return e;
}

static void entry_gone(const struct entry *gone)
{
  lock(&list_lock);
  struct entry **at = entry_at(gone->epfd, gone->fd);
  if (*at && (*at)->h.v == gone->h.v)
    entry_drop(at);
  unlock(&list_lock);
}

static void keep_told(const struct entry *copy)
{
  lock(&list_lock);
  struct entry *e = *entry_at(copy->epfd, copy->fd);
  if (e && e->h.v == copy->h.v)
    e->told = copy->told;
  unlock(&list_lock);
}

static bool byte_waits(int fd)
{
  uint8_t byte;
  return sys6(__NR_recvfrom, fd, (long)&byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0) == 1;
}

/* Puts the kernel's set right for one stream, and asks what it is not known to have. */
static enum prepared prepare_entry(struct call *c, struct entry *e, struct rfile *f, bool at_once)
{
  tell_kernel(e, f->s);
  keep_told(e);
  uint32_t ask = e->events & WATCHED & ~(uint32_t)EPOLL_OUT;
  if (byte_waits(f->fd))
    return NOTHING_YET; /* and the kernel knows */
  if (at_once && ask)
    stream_ask(c, f, ask);
  else if (ask || !may_read(f->s))
    stream_arm(c, f->h, f->s, ask);
  if (stream_now(f->s, ask))
    return SOMETHING;
  return e->told == e->events ? NOTHING_YET : OUT_WANTED;
}

static bool handle_lives(struct handle h)
{
  return HANDLE_INDEX(h.v) < H_FIRST || __atomic_load_n(&hstate(h)->handle, __ATOMIC_ACQUIRE) == h.v;
}

enum prepared epoll_prepare(struct call *c, bool at_once)
{
  struct entry e;
  struct rfile f;
  enum prepared all = NOTHING_YET;
  for (const struct entry *last = 0; next_entry(&last, &e);) {
    if (!handle_lives(e.h)) {
      entry_gone(&e);
    } else if (file_of(c, e.fd, &f) && f.h.v == e.h.v) {
      enum prepared p = prepare_entry(c, &e, &f, at_once);
      if (all != SOMETHING && p != NOTHING_YET)
        all = p;
    }
  }
  return all;
}

void epoll_rearm(struct call *c, struct rfile *f)
{
  struct entry e;
  if (!epoll_has_streams())
    return;
  for (const struct entry *last = 0; next_entry(&last, &e);)
    if (e.h.v == f->h.v && e.events & (WATCHED & ~(uint32_t)EPOLL_OUT))
      stream_arm(c, f->h, f->s, e.events & WATCHED & ~(uint32_t)EPOLL_OUT);
}

/* ---- after a wait ---- */

/* The one stream in this epoll that carries these data, if it is the only one. */
static bool entry_of_data(int epfd, uint64_t data, struct entry *found)
{
  unsigned n = 0;
  lock(&list_lock);
  for (const struct entry *e = list; e; e = e->next)
    if (e->epfd == epfd && e->data == data && n++ == 0)
      *found = *e;
  unlock(&list_lock);
  return n == 1;
}

/* A wake-up that nothing stands behind: the byte goes, and what fires once is set again. */
static void take_back(struct entry *e)
{
  struct epoll_event ev = {e->told, e->data};
  stream_drain(e->fd);
  if (e->events & EPOLLONESHOT)
    sys4(__NR_epoll_ctl, e->epfd, EPOLL_CTL_MOD, e->fd, &ev);
}

static void note_fired(const struct entry *copy)
{
  lock(&list_lock);
  struct entry *e = *entry_at(copy->epfd, copy->fd);
  if (e && e->h.v == copy->h.v)
    e->fired = true;
  unlock(&list_lock);
}

/* What the event means for a stream; 0: nothing. */
static uint32_t true_events(struct call *c, int epfd, const struct epoll_event *ev)
{
  struct entry e = {0};
  struct rfile f;
  if (!entry_of_data(epfd, ev->data, &e) || !file_of(c, e.fd, &f) || f.h.v != e.h.v)
    return ev->events;
  uint32_t now = stream_now(f.s, e.events & WATCHED);
  uint32_t events =
      (now & ~(uint32_t)EPOLL_OUT) | (now & ev->events & EPOLL_OUT) | (ev->events & (EPOLLERR | EPOLLHUP));
  if (!events)
    take_back(&e);
  else if (e.events & EPOLLONESHOT)
    note_fired(&e);
  return events;
}

/* Corrects the events in the program's memory; how many are left. */
static long correct(struct call *c, int epfd, uint64_t events, long n)
{
  struct epoll_event ev;
  long kept = 0;
  for (long i = 0; i < n; i++) {
    if (copy_in(&ev, (void *)(events + (uint64_t)i * sizeof ev), sizeof ev))
      return -EFAULT;
    ev.events = true_events(c, epfd, &ev);
    if (!ev.events)
      continue;
    if (copy_out((void *)(events + (uint64_t)kept * sizeof ev), &ev, sizeof ev))
      return -EFAULT;
    kept++;
  }
  return kept;
}

static bool is_told(uint64_t events, long n, uint64_t data)
{
  struct epoll_event ev;
  for (long i = 0; i < n; i++)
    if (!copy_in(&ev, (void *)(events + (uint64_t)i * sizeof ev), sizeof ev) && ev.data == data)
      return true;
  return false;
}

/* Events that are known here, but that the kernel cannot see, since no byte says so; behind the `n' it has told. */
static long add_known(struct call *c, int epfd, uint64_t events, long n, long max)
{
  struct entry e;
  struct rfile f;
  for (const struct entry *last = 0; n < max && next_entry(&last, &e);) {
    if (e.epfd != epfd || e.events & EPOLLONESHOT || !file_of(c, e.fd, &f) || f.h.v != e.h.v || byte_waits(e.fd))
      continue;
    struct epoll_event ev = {stream_now(f.s, e.events & WATCHED & ~(uint32_t)EPOLL_OUT), e.data};
    if (!ev.events || is_told(events, n, e.data))
      continue;
    if (copy_out((void *)(events + (uint64_t)n * sizeof ev), &ev, sizeof ev))
      return -EFAULT;
    n++;
  }
  return n;
}

/* ---- epoll_wait, epoll_pwait, epoll_pwait2 ---- */

struct wait {
  bool forever, at_once, has_mask;
  int64_t deadline; /* monotonic nanoseconds */
  uint64_t mask;
};

static int64_t now_ns(void)
{
  struct __kernel_timespec ts = {0, 0};
  sys2(__NR_clock_gettime, MONOTONIC, &ts);
  return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void wait_until(struct wait *w, int64_t sec, int64_t nsec)
{
  w->at_once = !sec && !nsec;
  w->forever = sec >= INT64_MAX / SECOND / 2;
  if (!w->at_once && !w->forever)
    w->deadline = now_ns() + sec * SECOND + nsec;
}

static long load_time(struct call *c, struct wait *w)
{
  struct __kernel_timespec ts;
  if (c->row != ROW(epoll_pwait2)) {
    int ms = (int)c->a[3];
    w->forever = ms < 0;
    if (ms >= 0)
      wait_until(w, ms / 1000, ms % 1000 * 1000000l);
    return 0;
  }
  w->forever = !c->a[3];
  if (w->forever)
    return 0;
  if (copy_in(&ts, (void *)c->a[3], sizeof ts))
    return -EFAULT;
  if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= SECOND)
    return -EINVAL;
  wait_until(w, ts.tv_sec, ts.tv_nsec);
  return 0;
}

static long load_wait(struct call *c, struct wait *w)
{
  *w = (struct wait){0};
  if (c->row != ROW(epoll_wait) && c->a[4]) {
    if (c->a[5] != sizeof w->mask)
      return -EINVAL;
    if (copy_in(&w->mask, (void *)c->a[4], sizeof w->mask))
      return -EFAULT;
    w->has_mask = true;
  }
  return load_time(c, w);
}

/* One wait of the kernel's, until the deadline, but at most so many nanoseconds. */
static long kernel_wait(struct call *c, const struct wait *w, int64_t most)
{
  int64_t left = w->forever ? INT64_MAX : w->at_once ? 0 : w->deadline - now_ns();
  left = left < 0 ? 0 : left < most ? left : most;
  struct __kernel_timespec ts = {left / SECOND, left % SECOND};
  long at = left == INT64_MAX ? 0 : (long)&ts;
  if (!w->has_mask)
    return cp_call(c->t, __NR_epoll_pwait2, (long)c->a[0], (long)c->a[1], (long)c->a[2], at, 0, 0);
  return cp_masked(c->t, &w->mask, __NR_epoll_pwait2, (long)c->a[0], (long)c->a[1], (long)c->a[2], at, 0, 0);
}

static long wait_streams(struct call *c, const struct wait *w)
{
  static const int64_t most[] = {[NOTHING_YET] = INT64_MAX, [SOMETHING] = 0, [OUT_WANTED] = LOOK_UP};
  for (bool slept = false;; slept = true) {
    long n = kernel_wait(c, w, most[epoll_prepare(c, w->at_once)]);
    if (slept && n == -ERESTART_CALL) /* a signal between two sleeps has interrupted the wait all the same */
      return -EINTR;
    if (n > 0)
      n = correct(c, (int)c->a[0], c->a[1], n);
    if (n >= 0)
      n = add_known(c, (int)c->a[0], c->a[1], n, (int)c->a[2]);
    if (n || w->at_once || (!w->forever && now_ns() >= w->deadline))
      return n;
  }
}

/* Without streams the call passes as it stands, but for a mask. */
static long wait_native(struct call *c, const struct wait *w)
{
  if (!w->has_mask)
    return pass(c);
  return cp_masked(c->t, &w->mask, c->nr, (long)c->a[0], (long)c->a[1], (long)c->a[2], (long)c->a[3], 0, 0);
}

long a_epoll_wait(struct call *c)
{
  struct wait w;
  if (!epoll_has_streams() && c->row == ROW(epoll_wait))
    return pass(c);
  long r = load_wait(c, &w);
  if (r < 0)
    return r;
  return epoll_has_streams() ? wait_streams(c, &w) : wait_native(c, &w);
}
