/*
 * Sending: one frame at a time, each with what has been applied so far, each after the invalidations that precede it.
 *
 * Owns the outgoing descriptor, the sequence numbers and the lock that makes them one order. Must never: send anything
 * before the watches have been drained, or say anything after the stream has been lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/link.h"
#include "proto/pack.h"
#include "slave/slave.h"
#include "syslink/ledger.h"

#define ACK_FRAMES 32
#define ACK_BYTES (64u << 10)
#define PAIRS_MAX 512
#define OWED_MAX 16384 /* replies; more than there can be workers */

static struct {
  pthread_mutex_t lock;
  int fd, wake;
  uint64_t seq;
  uint64_t applied, told; /* atomic: the master's highest seq dealt with, and what it knows of that */
  uint32_t bytes;         /* main thread: taken since the last acknowledgement */
  uint64_t late_seq;      /* of the last F_LATE, and what it said */
  int late;
  bool telling;    /* files are being read whose attributes have not been sent ... */
  unsigned nagain; /* ... so what is said of changes meanwhile is said again behind them */
  uint64_t again[2 * PAIRS_MAX];
  bool lost; /* atomic */
  struct link link;
  struct packer *packer; /* 0: the master takes no packed frames */
} O = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct ledger_entry owed_room[2 * OWED_MAX]; /* by itself: what begins as zeros takes no room in the binary */
static struct {
  pthread_mutex_t lock;
  struct ledger calls;
} owed = {.lock = PTHREAD_MUTEX_INITIALIZER, .calls = {.at = owed_room, .room = 2 * OWED_MAX, .limit = OWED_MAX}};

bool out_owe(uint32_t tag)
{
  struct ledger_entry *e;
  pthread_mutex_lock(&owed.lock);
  bool new = !sl_ledger_add(&owed.calls, tag, &e);
  pthread_mutex_unlock(&owed.lock);
  return new;
}

/* From here on its number may be used again. */
static bool pay(uint32_t tag)
{
  pthread_mutex_lock(&owed.lock);
  struct ledger_entry *e = sl_ledger_find(&owed.calls, tag);
  if (e)
    sl_ledger_drop(&owed.calls, e);
  pthread_mutex_unlock(&owed.lock);
  return e;
}

void out_start(int fd, int link_fd, int wake_fd)
{
  O.fd = fd;
  O.wake = wake_fd;
  link_start(&O.link, link_fd);
  lift_start(fd);
}

void out_pack(void)
{
  pthread_mutex_lock(&O.lock);
  O.packer = O.packer ? O.packer : packer_new();
  pthread_mutex_unlock(&O.lock);
}

bool out_packs(void)
{
  pthread_mutex_lock(&O.lock);
  bool packs = O.packer && pack_pays(O.packer, link_rate(&O.link));
  pthread_mutex_unlock(&O.lock);
  return packs;
}

bool out_lost(void)
{
  return __atomic_load_n(&O.lost, __ATOMIC_ACQUIRE);
}

static bool lose(void)
{
  __atomic_store_n(&O.lost, true, __ATOMIC_RELEASE);
  wake_set(O.wake);
  return false;
}

static void skip_sent(struct iovec *v, size_t n)
{
  for (int i = 0; i < 2; i++) {
    size_t take = n < v[i].iov_len ? n : v[i].iov_len;
    v[i].iov_base = (char *)v[i].iov_base + take;
    v[i].iov_len -= take;
    n -= take;
  }
}

/* More: what follows at once goes into the same packets. */
static bool send_all(struct iovec v[2], bool more)
{
  while (v[0].iov_len + v[1].iov_len) {
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
    link_write(&O.link);
    ssize_t n = more ? sendmsg(O.fd, &m, MSG_MORE | MSG_NOSIGNAL) : writev(O.fd, v, 2);
    if (n >= 0) {
      link_wrote(&O.link, (size_t)n);
      skip_sent(v, (size_t)n);
    } else if (errno == EAGAIN)
      poll(&(struct pollfd){.fd = O.fd, .events = POLLOUT}, 1, -1);
    else if (errno != EINTR)
      return lose();
  }
  return true;
}

/* Pages that lie in the pipe; where the stream does not take them so, their bytes. */
static bool send_lifted(uint32_t n)
{
  static uint8_t copy[65536];
  while (n) {
    ssize_t r = lift_send(O.fd, n);
    if (r == -EINVAL) {
      r = read(lift_pipe(), copy, n < sizeof copy ? n : sizeof copy);
      if (r > 0 && !send_all((struct iovec[2]){{copy, (size_t)r}, {0}}, false))
        return false;
      r = r < 0 ? -errno : r;
    }
    if (r > 0)
      n -= (uint32_t)r;
    else if (r == -EAGAIN)
      poll(&(struct pollfd){.fd = O.fd, .events = POLLOUT}, 1, -1);
    else if (r != -EINTR)
      return lose();
  }
  return true;
}

/* The same frame packed, if that is sooner there: its length, in `out'; else 0. */
static uint32_t pack_frame(const uint8_t *head, const void *body, uint32_t n, uint8_t **out)
{
  static uint8_t whole[PACK_MAX], packed[PACK_MAX];
  uint64_t rate = O.packer && n >= PACK_MIN ? link_rate(&O.link) : 0;
  if (!pack_pays(O.packer, rate))
    return 0;
  memcpy(whole, head, sizeof(struct frame));
  memcpy(whole + sizeof(struct frame), body, n);
  *out = packed;
  return pack(O.packer, rate, whole, (uint32_t)sizeof(struct frame) + n, packed);
}

/* With the lock held. `lifted' bytes of the body's end are in the pipe. */
static bool send_with(struct frame *f, const void *body, uint32_t n, uint32_t lifted)
{
  uint8_t head[sizeof *f];
  if (out_lost())
    return false;
  f->len = (uint32_t)sizeof *f + n + lifted;
  f->seq = f->type == F_ACK ? 0 : ++O.seq;
  if (f->type == F_LATE && f->result != -EPIPE) {
    O.late_seq = f->seq;
    O.late = (int)f->result;
  }
  f->flags |= space_tight() ? FF_TIGHT : 0;
  f->ack = __atomic_load_n(&O.applied, __ATOMIC_ACQUIRE);
  __atomic_store_n(&O.told, f->ack, __ATOMIC_RELEASE);
  frame_put(head, f);
  uint8_t *packed;
  uint32_t less = lifted ? 0 : pack_frame(head, body, n, &packed);
  if (less)
    return send_all((struct iovec[2]){{packed, less}, {0}}, false);
  return send_all((struct iovec[2]){{head, sizeof head}, {(void *)body, n}}, lifted) && send_lifted(lifted);
}

static bool send_locked(struct frame *f, const void *body, uint32_t n)
{
  return send_with(f, body, n, 0);
}

/* More than fit: everything that has been told is withdrawn. */
static void keep_pairs(const uint64_t *pairs, unsigned n)
{
  if (!O.telling)
    return;
  if (O.nagain + n > PAIRS_MAX) {
    names_all_gone();
    return;
  }
  memcpy(O.again + 2 * O.nagain, pairs, 16ul * n);
  O.nagain += n;
}

static void again_locked(void)
{
  uint8_t body[sizeof O.again];
  struct wbuf w = {body, body + sizeof body, false};
  for (unsigned i = 0; i < 2 * O.nagain; i++)
    put_u64(&w, O.again[i]);
  if (O.nagain)
    send_locked(&(struct frame){.type = F_INVALID}, body, 16 * O.nagain);
  O.nagain = 0;
  O.telling = false;
}

static void invalid_locked(void)
{
  uint64_t pairs[2 * PAIRS_MAX];
  uint8_t body[sizeof pairs];
  for (;;) {
    unsigned n = watch_drain(pairs, PAIRS_MAX);
    if (!n)
      return;
    keep_pairs(pairs, n);
    struct wbuf w = {body, body + sizeof body, false};
    for (unsigned i = 0; i < 2 * n; i++)
      put_u64(&w, pairs[i]);
    send_locked(&(struct frame){.type = F_INVALID}, body, 16 * n);
  }
}

static void unknown_locked(void)
{
  static uint8_t body[FRAME_DATA_MAX];
  uint32_t n;
  while ((n = names_drain(body, sizeof body)))
    send_locked(&(struct frame){.type = F_NAMES}, body, n);
}

void out_names_begin(void)
{
  pthread_mutex_lock(&O.lock);
  O.telling = true;
  pthread_mutex_unlock(&O.lock);
}

void out_names(const uint8_t *body, uint32_t n, bool last)
{
  pthread_mutex_lock(&O.lock);
  invalid_locked();
  unknown_locked();
  if (n)
    send_locked(&(struct frame){.type = F_NAMES}, body, n);
  if (last) {
    again_locked();
    names_told();
  }
  unknown_locked();
  pthread_mutex_unlock(&O.lock);
}

void out_invalid(void)
{
  pthread_mutex_lock(&O.lock);
  invalid_locked();
  unknown_locked();
  pthread_mutex_unlock(&O.lock);
}

bool out_send(struct frame *f, const void *body, uint32_t n, const struct promise *p)
{
  if (f->type == F_REPLY && !pay(f->tag))
    abort(); /* a second reply to one call */
  pthread_mutex_lock(&O.lock);
  invalid_locked();
  unknown_locked();
  if (p && p->stamp && !watch_holds(p->stamp))
    f->flags &= (uint8_t) ~(FF_CACHEABLE | FF_OLD | (p->contents ? FF_CONTENTS : 0));
  bool ok = send_with(f, body, n, p ? p->lifted : 0);
  pthread_mutex_unlock(&O.lock);
  return ok;
}

bool out_note(uint8_t type, uint16_t op, int64_t result, const uint64_t *ints, unsigned n)
{
  uint8_t body[4 * 8];
  struct wbuf w = {body, body + sizeof body, false};
  for (unsigned i = 0; i < n; i++)
    put_u64(&w, ints[i]);
  return out_send(&(struct frame){.type = type, .op = op, .result = result}, body, 8 * n, 0);
}

void out_applied(uint64_t seq, uint32_t bytes)
{
  __atomic_store_n(&O.applied, seq, __ATOMIC_RELEASE);
  O.bytes += bytes;
}

void out_ack(bool idle)
{
  uint64_t behind = __atomic_load_n(&O.applied, __ATOMIC_ACQUIRE) - __atomic_load_n(&O.told, __ATOMIC_ACQUIRE);
  if (!behind || !(idle || behind >= ACK_FRAMES || O.bytes >= ACK_BYTES)) {
    O.bytes = behind ? O.bytes : 0;
    return;
  }
  O.bytes = 0;
  out_send(&(struct frame){.type = F_ACK}, "", 0, 0);
}

int out_late_since(uint64_t ack)
{
  pthread_mutex_lock(&O.lock);
  int err = O.late_seq > ack ? O.late : 0;
  pthread_mutex_unlock(&O.lock);
  return err;
}
