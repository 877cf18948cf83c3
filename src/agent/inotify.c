/*
 * inotify across the two machines. An instance has two halves: the slave's, an inotify descriptor there under a handle,
 * and the hub's, made at the first watch on a local file. The program's descriptor is the placeholder of the handle, a
 * socket as for every stream; so its number, its being inherited and passed on, and polling it are what they are for
 * streams, and either half being readable puts the waking byte into it. A read asks the hub's half, then the slave's;
 * since the slave has carried out whatever the session sent before, a program finds the events of its own doings there.
 *
 * Queues, their bounds, merging and IN_Q_OVERFLOW are the two kernels'. Watch descriptors and cookies of the halves are
 * kept apart by their lowest bit, so nothing has to be remembered of them: the slave's wd n is 2n - 1, the hub's 2n.
 * What happens on both sides is not put in one order. Owns nothing.
 *
 * A session without a slave has none of this: every call passes.
 */
#include <linux/inotify.h>
#include <asm/ioctls.h>

#include "agent/io.h"

#define EVENT_SIZE sizeof(struct inotify_event)
#define IN_BITS                                                                                                        \
  (IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK |            \
   IN_MASK_CREATE | IN_MASK_ADD | IN_ISDIR | IN_ONESHOT)

enum half { OF_SLAVE, OF_HUB };

static int wd_shown(int wd, enum half half)
{
  return half == OF_HUB ? 2 * wd : 2 * wd - 1;
}

/* ---- making one ---- */

long a_inotify_init(struct call *c)
{
  struct req q;
  uint32_t flags = (uint32_t)c->a[0];
  if (standalone())
    return pass_newfd(c);
  if (flags & ~(uint32_t)(IN_CLOEXEC | IN_NONBLOCK))
    return -EINVAL;
  struct handle h = handle_new();
  if (h.v == H_NONE)
    return -ENFILE;
  req_start(&q, c->t, ROW(inotify_init1));
  req_u64(&q, flags);
  req_handle(&q, h);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r < 0) {
    handle_drop(h);
    return r;
  }
  __atomic_fetch_or(&session->minded, MINDED_WATCHES, __ATOMIC_ACQ_REL);
  hstate(h)->kind = K_NOTIFY;
  hstate(h)->flags = O_RDONLY | (flags & IN_NONBLOCK);
  return handle_place(c, h, flags & IN_CLOEXEC, "");
}

/* ---- watches ---- */

/* Led to the file already, by a descriptor: the hub knows nothing of the program's names. */
static long watch_here(struct call *c, const struct rfile *f, const struct at *at, uint32_t mask)
{
  struct req q;
  long flags = O_PATH | O_CLOEXEC | (mask & IN_DONT_FOLLOW ? O_NOFOLLOW : 0) | (mask & IN_ONLYDIR ? O_DIRECTORY : 0);
  long fd = sys4(__NR_openat, at->dirfd, at->path, flags, 0);
  if (fd < 0)
    return fd;
  __atomic_store_n(&f->s->notes, 1, __ATOMIC_RELEASE);
  req_start_op(&q, c->t, W_WATCH);
  req_handle(&q, f->h);
  req_u64(&q, mask);
  long wd = req_call_fd(&q, (int)fd);
  sys1(__NR_close, fd);
  return wd < 0 ? wd : wd_shown((int)wd, OF_HUB);
}

/* 1: the path has turned out to be local. */
static long watch_there(struct call *c, const struct rfile *f, struct at *at, uint32_t mask, long *wd)
{
  for (;;) {
    struct req q;
    req_start(&q, c->t, ROW(inotify_add_watch));
    req_handle(&q, f->h);
    req_handle(&q, at->base);
    req_str(&q, at->path);
    req_u64(&q, mask);
    c->where = N_WAITED;
    *wd = req_call(&q, false);
    if (*wd < 0 || !(q.reply_flags & FF_REDIRECT))
      return *wd < 0 ? *wd : 0;
    long r = route_again(c, &q, at, 0);
    if (r < 0 || at->local)
      return r < 0 ? r : 1;
  }
}

static long add_watch(struct call *c, const struct rfile *f, uint32_t mask)
{
  struct at at;
  long wd = 0, r = route(c, AT_FDCWD, (void *)c->a[1], mask & IN_DONT_FOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &at, 0);
  if (r == 0 && !at.local)
    r = watch_there(c, f, &at, mask, &wd);
  if (r < 0)
    return r;
  return at.local ? watch_here(c, f, &at, mask) : wd_shown((int)wd, OF_SLAVE);
}

long a_inotify_add_watch(struct call *c)
{
  struct rfile f;
  uint32_t mask = (uint32_t)c->a[2];
  if (!file_of(c, (int)c->a[0], &f)) /* no instance of a session with a slave is local */
    return pass(c);
  if (!(mask & IN_BITS) || f.s->kind != K_NOTIFY || (mask & IN_MASK_ADD && mask & IN_MASK_CREATE))
    return -EINVAL;
  return add_watch(c, &f, mask);
}

long a_inotify_rm_watch(struct call *c)
{
  struct rfile f;
  struct req q;
  int wd = (int)c->a[1];
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if (f.s->kind != K_NOTIFY || wd <= 0)
    return -EINVAL;
  if (wd & 1) {
    req_start(&q, c->t, ROW(inotify_rm_watch));
    c->where = N_WAITED;
  } else {
    req_start_op(&q, c->t, W_UNWATCH);
  }
  req_handle(&q, f.h);
  req_u64(&q, (uint64_t)((wd + 1) / 2));
  return req_call(&q, false);
}

/* ---- reading ---- */

/* In the reply, which is this thread's until its next request. */
static void show_events(uint8_t *events, uint32_t n, enum half half)
{
  struct inotify_event e;
  for (uint32_t at = 0; at + EVENT_SIZE <= n; at += (uint32_t)EVENT_SIZE + e.len) {
    memcpy(&e, events + at, EVENT_SIZE);
    if (e.len > n - at - EVENT_SIZE)
      return;
    if (e.wd > 0)
      e.wd = wd_shown(e.wd, half);
    if (e.cookie)
      e.cookie = e.cookie << 1 | (half == OF_HUB);
    memcpy(events + at, &e, EVENT_SIZE);
  }
}

/* The events of one half that are there and fit. -EAGAIN: none are; -EINVAL: the first does not fit. */
static long take(struct call *c, const struct rfile *f, struct spans *sp, enum half half)
{
  struct req q;
  uint32_t n;
  uint64_t room = sp->left < FRAME_DATA_MAX ? sp->left : FRAME_DATA_MAX;
  if (half == OF_SLAVE) {
    req_start(&q, c->t, ROW(read));
    c->where = N_WAITED;
  } else {
    req_start_op(&q, c->t, W_EVENTS);
  }
  req_handle(&q, f->h);
  req_u64(&q, room);
  long r = req_call(&q, false);
  if (r < 0)
    return r;
  const uint8_t *events = get_blob(&q.r, &n, (uint32_t)room);
  if (!events)
    return -EIO;
  show_events((uint8_t *)(uintptr_t)events, n, half);
  return spans_out(sp, events, n);
}

static long take_both(struct call *c, const struct rfile *f, struct spans *sp)
{
  long here = __atomic_load_n(&f->s->notes, __ATOMIC_ACQUIRE) ? take(c, f, sp, OF_HUB) : -EAGAIN;
  if (here < 0 && here != -EAGAIN)
    return here;
  if (here > 0 && sp->left < EVENT_SIZE)
    return here;
  long there = take(c, f, sp, OF_SLAVE);
  if (here <= 0)
    return there;
  return there > 0 ? here + there : here;
}

/* Until the waking byte comes. Whoever else reads this instance may take it, and then there is nothing to read. */
static long wait(struct call *c, struct rfile *f)
{
  struct pollfd p = {.fd = f->fd, .events = POLLIN};
  stream_arm(c, f->h, f->s, POLLIN);
  long r = cp_call(c->t, __NR_ppoll, (long)&p, 1, 0, 0, 0, 0);
  return r < 0 ? r : 0;
}

/* The byte goes before the events are taken: what comes after them wakes again. */
long notify_read(struct call *c, struct rfile *f, struct spans *sp)
{
  long r;
  for (;;) {
    stream_drain(f->fd);
    __atomic_store_n(&f->s->ready, 0, __ATOMIC_RELEASE);
    r = take_both(c, f, sp);
    if (r != -EAGAIN || f->s->flags & O_NONBLOCK)
      break;
    r = wait(c, f);
    if (r < 0)
      break;
  }
  epoll_rearm(c, f);
  return r;
}

/* What a read would give, of both halves. */
long notify_waiting(struct call *c, struct rfile *f)
{
  struct req q;
  uint32_t n;
  int there;
  req_start(&q, c->t, ROW(ioctl));
  req_handle(&q, f->h);
  req_u64(&q, FIONREAD);
  req_u64(&q, IOA_OUT);
  req_u64(&q, sizeof there);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r < 0)
    return r;
  const void *reply = get_blob(&q.r, &n, sizeof there);
  if (!reply || n != sizeof there)
    return -EIO;
  memcpy(&there, reply, sizeof there);
  if (__atomic_load_n(&f->s->notes, __ATOMIC_ACQUIRE)) {
    req_start_op(&q, c->t, W_EVENTS);
    req_handle(&q, f->h);
    req_u64(&q, 0);
    r = req_call(&q, false);
    there += r > 0 ? (int)r : 0;
  }
  return copy_out((void *)c->a[2], &there, sizeof there);
}
