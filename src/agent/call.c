/*
 * Asking the slave: building a request, sending it on the session's request socket, sleeping on the thread's slot.
 *
 * Owns the slots of this process (proto/session.h) and the threads' message buffers. A thread builds one message at a
 * time. Never interprets a call beyond the argument letters of its row; never leaves a request without its one
 * reply, also when a signal wants to end the wait: the slave's answer decides.
 */
#include <asm/errno.h>
#include <linux/mman.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/poll.h>
#include <linux/time_types.h>
#include <linux/fcntl.h>

#include "agent/call.h"

#define INLINE_MAX 2048 /* larger buffers go through the slot's shared memory */
#define SCM_RIGHTS_TYPE 1
#define SOL_SOCKET_LEVEL 1
#define MSG_NOSIGNAL_FLAG 0x4000
#define LOST_EXIT 255

struct iov {
  const void *base;
  size_t len;
};
struct msg {
  void *name;
  uint32_t namelen;
  struct iov *iov;
  size_t iovlen;
  void *control;
  size_t controllen;
  uint32_t flags;
};
struct fd_control {
  size_t len;
  int level, type;
  int fd;
};

static const struct __kernel_timespec one_second = {.tv_sec = 1};

/* ---- the hub's life ---- */

/* Nothing of the program can go on truthfully without its hub; the hub's side says why it went. */
static void __attribute__((noreturn)) hub_gone(void)
{
  for (;;)
    sys1(__NR_exit_group, LOST_EXIT);
}

static void check_hub(struct thread *t)
{
  struct pollfd pf = {.fd = afd(t->proc, AFD_REQUEST)};
  struct __kernel_timespec none = {0};
  if (__atomic_load_n(&session->over, __ATOMIC_ACQUIRE))
    hub_gone();
  if (sys5(__NR_ppoll, &pf, 1, &none, 0, 0) == 1 && pf.revents & (POLLHUP | POLLERR | POLLNVAL))
    hub_gone();
}

static void nap(long nsec)
{
  struct __kernel_timespec ts = {.tv_nsec = nsec};
  sys2(__NR_nanosleep, &ts, 0);
}

/* ---- slots ---- */

static struct slot *slot_map(struct thread *t, uint32_t i)
{
  long p = sys6(__NR_mmap, (long)t->slot_room, SESSION_SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                afd(t->proc, AFD_SESSION), (long)SESSION_SLOT_OFFSET(i));
  return p < 0 && p > -4096 ? 0 : (struct slot *)p;
}

/* Its thread ended without a word and nothing is under way for it. */
static bool slot_abandoned(uint32_t owner, uint32_t state)
{
  return state != SLOT_WAITING && sys2(__NR_kill, owner, 0) == -ESRCH;
}

static bool slot_claim(struct thread *t, uint32_t i, uint32_t owner)
{
  struct slot *s = slot_map(t, i);
  if (!s)
    return false;
  if (!__atomic_compare_exchange_n(&s->owner, &owner, (uint32_t)t->tid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    return false;
  t->slot = s;
  t->slot_index = i;
  t->slot_pid = (uint32_t)t->tid;
  return true;
}

/* Slots of others are looked at through the descriptor: mapping each one would cost more. */
static bool slot_try(struct thread *t, uint32_t i, bool abandoned_too)
{
  uint32_t head[2]; /* state, owner */
  if (sys4(__NR_pread64, afd(t->proc, AFD_SESSION), head, sizeof head, SESSION_SLOT_OFFSET(i)) != sizeof head)
    return false;
  if (head[1] == 0 || head[1] == (uint32_t)t->tid)
    return slot_claim(t, i, head[1]);
  return abandoned_too && slot_abandoned(head[1], head[0]) && slot_claim(t, i, head[1]);
}

static bool slot_search(struct thread *t, bool abandoned_too)
{
  uint32_t hint = __atomic_load_n(&session->next_slot, __ATOMIC_RELAXED) % SESSION_SLOTS;
  for (uint32_t n = 0; n < SESSION_SLOTS; n++) {
    uint32_t i = (hint + n) % SESSION_SLOTS;
    if (!slot_try(t, i, abandoned_too))
      continue;
    __atomic_store_n(&session->next_slot, (i + 1) % SESSION_SLOTS, __ATOMIC_RELAXED);
    return true;
  }
  return false;
}

static struct slot *slot_need(struct thread *t)
{
  if (t->slot && t->slot_pid == (uint32_t)t->tid)
    return t->slot;
  while (!slot_search(t, false) && !slot_search(t, true)) {
    check_hub(t);
    nap(10000000);
  }
  return t->slot;
}

/* Low numbers first, so that few of the slots' pages are ever touched. */
static void slot_hint(uint32_t i)
{
  uint32_t hint = __atomic_load_n(&session->next_slot, __ATOMIC_RELAXED);
  while (i < hint &&
         !__atomic_compare_exchange_n(&session->next_slot, &hint, i, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

/* A buffer still under way keeps its busy word, which the slot's next owner honours. */
static void slot_release(struct thread *t)
{
  if (!t->slot)
    return;
  if (t->slot_pid == (uint32_t)t->tid) {
    __atomic_store_n(&t->slot->state, SLOT_IDLE, __ATOMIC_RELAXED);
    __atomic_store_n(&t->slot->owner, 0, __ATOMIC_RELEASE);
    slot_hint(t->slot_index);
  }
  t->kept.len = 0;
  t->slot = 0; /* what is still mapped there, the next one replaces */
}

/* What was the parent's is not the child's. */
void call_forked(struct thread *t)
{
  t->mode = t->told_mode;
  t->slot = 0;
  t->kept.len = 0;
}

void call_thread_end(struct thread *t)
{
  slot_release(t);
}

/* ---- out-of-band data ---- */

static int buffer_free(const struct slot *s)
{
  for (int i = 0; i < SLOT_BUFFERS; i++)
    if (!__atomic_load_n(&s->buffer[i].busy, __ATOMIC_ACQUIRE))
      return i;
  return -1;
}

/* The hub copies buffers in the order they were sent, so that waiting for either is waiting for the next. */
static int buffer_take(struct thread *t)
{
  struct slot *s = slot_need(t);
  int i;
  while ((i = buffer_free(s)) < 0)
    if (sys6(__NR_futex, (long)&s->buffer[0].busy, FUTEX_WAIT, 1, (long)&one_second, 0, 0) == -ETIMEDOUT)
      check_hub(t);
  return i;
}

/* ---- building ---- */

static uint8_t *body_of(const struct req *q)
{
  return q->t->msg + sizeof(struct frame);
}

static void start(struct req *q, struct thread *t, const struct row *row, uint16_t op)
{
  *q = (struct req){.t = t, .row = row, .op = op, .oob = -1};
  q->w = (struct wbuf){.at = body_of(q), .end = t->msg + MSG_ROOM};
}

void req_start(struct req *q, struct thread *t, const struct row *row)
{
  start(q, t, row, row->wire);
}

void req_start_op(struct req *q, struct thread *t, enum wire_op op)
{
  start(q, t, 0, (uint16_t)op);
}

void req_u64(struct req *q, uint64_t v)
{
  put_u64(&q->w, v);
}

void req_handle(struct req *q, struct handle h)
{
  put_u64(&q->w, h.v);
}

void req_str(struct req *q, const char *s)
{
  put_blob(&q->w, s, (uint32_t)strlen(s));
}

static int data_inline(struct req *q, const void *user, uint32_t n)
{
  if ((size_t)(q->w.end - q->w.at) < n)
    return -ENAMETOOLONG;
  int r = copy_in(q->w.at, user, n);
  q->w.at += n;
  return r;
}

static int data_shared(struct req *q, const void *user, uint32_t n)
{
  int i = buffer_take(q->t);
  int r = copy_in(q->t->slot->data[i], user, n);
  if (r)
    return r;
  q->t->slot->buffer[i].len = n;
  q->oob = i;
  q->oob_at = (uint32_t)(q->w.at - body_of(q));
  return 0;
}

int req_data(struct req *q, const void *user, uint32_t n)
{
  int r = n <= FRAME_DATA_MAX ? 0 : -EINVAL;
  put_u32(&q->w, n);
  if (!r && n > 0)
    r = n <= INLINE_MAX ? data_inline(q, user, n) : data_shared(q, user, n);
  if (r && !q->err)
    q->err = r;
  return r;
}

/* A string of the program. */
static void put_user_str(struct req *q, const void *user, unsigned max)
{
  char *buf = q->t->path_buf[3];
  long n = copy_str(buf, user, max);
  if (n < 0)
    q->err = (int)n;
  else
    put_blob(&q->w, buf, (uint32_t)n);
}

/* ---- sending ---- */

static void header(struct req *q, enum frame_type type, bool fd)
{
  struct frame f = {
      .len = (uint32_t)(q->w.at - q->t->msg),
      .type = (uint8_t)type,
      .flags = (uint8_t)(q->flags | (fd ? FF_FD : 0)),
      .op = q->op,
      .tag = q->t->slot_index,
      .ctx = q->t->proc->ctx,
      .result = q->t->proc->umask,
  };
  if (q->oob >= 0) {
    f.flags |= FF_OOB;
    f.seq = q->oob_at;
    f.ack = (uint64_t)q->oob;
  }
  frame_put(q->t->msg, &f);
}

/* Retried while the kernel is short of something; only the hub's end ends it otherwise. */
static void send_bytes(struct thread *t, const void *bytes, size_t n, int fd)
{
  struct iov v = {bytes, n};
  struct fd_control ctl = {.len = sizeof(size_t) + 3 * sizeof(int), SOL_SOCKET_LEVEL, SCM_RIGHTS_TYPE, fd};
  struct msg m = {.iov = &v, .iovlen = 1, .control = fd < 0 ? 0 : &ctl, .controllen = fd < 0 ? 0 : sizeof ctl};
  for (;;) {
    long r = sys3(__NR_sendmsg, afd(t->proc, AFD_REQUEST), &m, MSG_NOSIGNAL_FLAG);
    if (r >= 0)
      return;
    if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN || r == -EBADF || r == -ENOTSOCK)
      hub_gone();
    if (r == -EMSGSIZE || r == -EFAULT || r == -EINVAL)
      fatal("request socket: error %d", (int)-r);
    if (r != -EINTR)
      nap(1000000);
  }
}

static int finish(struct req *q)
{
  if (q->w.bad && !q->err)
    q->err = -ENAMETOOLONG;
  return q->err;
}

/* Marks the shared buffer before the hub can hear of it. */
static void transmit(struct req *q, enum frame_type type, int fd)
{
  header(q, type, fd >= 0);
  if (q->oob >= 0)
    __atomic_store_n(&q->t->slot->buffer[q->oob].busy, 1, __ATOMIC_RELEASE);
  send_bytes(q->t, q->t->msg, (size_t)(q->w.at - q->t->msg), fd);
}

long req_post_uncounted(struct req *q, int fd)
{
  if (finish(q))
    return q->err;
  slot_need(q->t);
  transmit(q, F_POST, fd);
  return 0;
}

long req_post(struct req *q, int fd)
{
  long r = req_post_uncounted(q, fd);
  if (!r)
    count(N_POSTED);
  return r;
}

/* ---- waiting ---- */

static void cancel(struct req *q)
{
  struct frame f = {.len = sizeof f, .type = F_CANCEL, .tag = q->t->slot_index, .ctx = q->t->proc->ctx};
  uint8_t bytes[sizeof f];
  frame_put(bytes, &f);
  send_bytes(q->t, bytes, sizeof bytes, -1);
}

static long slot_sleep(struct req *q, bool interruptible)
{
  long word = (long)&q->t->slot->state, ts = (long)&one_second;
  return interruptible ? cp_call(q->t, __NR_futex, word, FUTEX_WAIT, SLOT_WAITING, ts, 0, 0)
                       : sys6(__NR_futex, word, FUTEX_WAIT, SLOT_WAITING, ts, 0, 0);
}

static void slot_wait(struct req *q, bool interruptible)
{
  while (__atomic_load_n(&q->t->slot->state, __ATOMIC_ACQUIRE) == SLOT_WAITING) {
    long r = slot_sleep(q, interruptible);
    if (interruptible && (r == -EINTR || r == -ERESTART_CALL)) {
      cancel(q);
      interruptible = false;
    } else if (r == -ETIMEDOUT) {
      check_hub(q->t);
    }
  }
}

static long reply(struct req *q)
{
  struct slot *s = q->t->slot;
  uint32_t len = s->reply_len <= sizeof s->reply ? s->reply_len : 0;
  q->r = (struct rbuf){.at = s->reply, .end = s->reply + len};
  q->reply_flags = s->flags;
  q->reply_gen = s->reply_gen;
  s->state = SLOT_IDLE;
  return s->result;
}

static void count_wait(uint16_t op)
{
  count(N_WAITED);
  if (op < WAITS_MAX)
    __atomic_fetch_add(&session->waits[op], 1, __ATOMIC_RELAXED);
}

static long ask(struct req *q, bool blocking, int fd)
{
  if (finish(q))
    return q->err;
  if (blocking && __atomic_load_n(&q->t->pending, __ATOMIC_RELAXED))
    return -ERESTART_CALL;
  struct slot *s = slot_need(q->t);
  q->t->kept.len = 0;
  __atomic_store_n(&s->state, SLOT_WAITING, __ATOMIC_RELEASE);
  transmit(q, F_CALL, fd);
  slot_wait(q, blocking);
  long r = reply(q);
  uint32_t by_hub = q->reply_flags & (FF_POSTED | FF_KNOWN);
  q->t->waited |= !by_hub;
  q->t->posted |= by_hub & FF_POSTED;
  if (!by_hub)
    count_wait(q->op);
  else if (by_hub & FF_POSTED)
    count(N_POSTED);
  return r;
}

long req_call(struct req *q, bool blocking)
{
  return ask(q, blocking, -1);
}

long req_call_fd(struct req *q, int fd)
{
  return ask(q, false, fd);
}

/* What others may want to know of the process. */
void call_publish(struct proc *p)
{
  struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  char *exe = session->exes[p->ctx % SESSION_PROCS];
  size_t n = strlen(p->exe);
  memcpy(exe, n < SESSION_EXE ? p->exe : "", n < SESSION_EXE ? n + 1 : 1);
  __atomic_store_n(&e->pid, (uint32_t)p->pid, __ATOMIC_RELAXED);
  __atomic_store_n(&e->nofile_cur, p->rlim_cur, __ATOMIC_RELAXED);
  __atomic_store_n(&e->nofile_max, p->rlim_max, __ATOMIC_RELAXED);
  space_tell(p, e);
  e->afd_base = p->afd_base;
  e->no_new_privs = self()->no_new_privs;
  e->cwd = p->cwd.v;
  e->caught = signals_caught(p->sig);
  __atomic_store_n(&e->ctx, p->ctx, __ATOMIC_RELEASE);
}

void call_bind(struct proc *p)
{
  struct req q;
  struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  __atomic_store_n(&e->ctx, 0, __ATOMIC_RELEASE);
  __atomic_store_n(&e->locks, 0, __ATOMIC_RELAXED);
  call_publish(p);
  req_start_op(&q, self(), W_BIND);
  req_post_uncounted(&q, -1);
}

/* ---- whole regular calls ---- */

/* All five integers travel, also where the program gave no times. */
static void put_times(struct req *q, const void *user)
{
  struct __kernel_timespec ts[2] = {{0}};
  if (user && copy_in(ts, user, sizeof ts))
    q->err = -EFAULT;
  put_u64(&q->w, user != 0);
  for (int i = 0; i < 2; i++) {
    put_u64(&q->w, (uint64_t)ts[i].tv_sec);
    put_u64(&q->w, (uint64_t)ts[i].tv_nsec);
  }
}

/* One argument from registers `a'; returns how many of them it took. */
static unsigned encode_arg(struct req *q, char kind, const unsigned long *a, const struct at *at)
{
  switch (kind) {
  case 'H':
    req_handle(q, vft_remote(q->t->proc, (int)a[0]));
    return 1;
  case 'A':
  case 'P':
    req_handle(q, at->base);
    req_str(q, at->path);
    return kind == 'A' ? 2 : 1;
  case 'I':
    req_u64(q, a[0]);
    return 1;
  case 'S':
    put_user_str(q, (const void *)a[0], WIRE_PATH_MAX);
    return 1;
  case 'B':
    req_data(q, (const void *)a[0], a[1] > FRAME_DATA_MAX ? FRAME_DATA_MAX : (uint32_t)a[1]);
    return 2;
  case 'O':
    req_u64(q, a[1] > FRAME_DATA_MAX ? FRAME_DATA_MAX : a[1]);
    return 2;
  case 'M':
    put_times(q, (const void *)a[0]);
    return 1;
  case 'X':
  case 'F':
    return 1;
  default: /* ioctl and fcntl arguments have shapes that only their own handlers know */
    q->err = -ENOSYS;
    return 1;
  }
}

static void encode(struct req *q, const struct row *row, const unsigned long *a, const struct at *at)
{
  for (const char *k = row->args; *k; k++) {
    a += encode_arg(q, *k, a, at);
    if (*k == 'A' || *k == 'P')
      at++;
  }
}

static long decode_buffer(struct rbuf *r, const unsigned long *a)
{
  uint32_t n;
  const void *p = get_blob(r, &n, FRAME_DATA_MAX);
  if (r->bad)
    return -EIO;
  return copy_out((void *)a[0], p, n < a[1] ? n : a[1]);
}

static long decode_attr(const struct row *row, struct rbuf *r, const unsigned long *a)
{
  struct wire_attr attr;
  get_attr(r, &attr);
  return r->bad ? -EIO : attr_out(row, (void *)a[0], &attr);
}

static long decode_statfs(struct rbuf *r, const unsigned long *a)
{
  struct wire_statfs f;
  get_statfs(r, &f);
  return r->bad ? -EIO : statfs_out((void *)a[0], &f);
}

static long decode(struct req *q, const struct row *row, const unsigned long *a, long result)
{
  long r = 0;
  for (const char *k = row->args; *k && !r; k++) {
    if (*k == 'O')
      r = decode_buffer(&q->r, a);
    else if (*k == 'X')
      r = decode_attr(row, &q->r, a);
    else if (*k == 'F')
      r = decode_statfs(&q->r, a);
    a += *k == 'A' || *k == 'B' || *k == 'O' ? 2 : 1;
  }
  return r ? r : result;
}

/* Every path of the call has turned out to be local: the kernel here goes on with what the walk found. */
static long row_here(const struct row *row, const unsigned long args[6], const struct at *at)
{
  unsigned long v[6];
  memcpy(v, args, sizeof v);
  unsigned reg = 0;
  for (const char *k = row->args; *k; k++) {
    if (*k == 'A')
      v[reg] = (unsigned long)at->dirfd;
    if (*k == 'A' || *k == 'P')
      v[reg + (*k == 'A')] = (unsigned long)(at++)->path;
    reg += *k == 'A' || *k == 'B' || *k == 'O' ? 2 : 1;
  }
  return sys6(row_nr(row), (long)v[0], (long)v[1], (long)v[2], (long)v[3], (long)v[4], (long)v[5]);
}

static unsigned count_paths(const struct row *row)
{
  unsigned n = 0;
  for (const char *k = row->args; *k; k++)
    n += *k == 'A' || *k == 'P';
  return n;
}

/* After a redirect: 0 go on asking, 1 all local now, -EXDEV when the two paths lie on different sides. */
static int redirected(struct call *c, struct req *q, struct at *at, unsigned npaths, long which)
{
  if (which < 0 || which >= (long)npaths)
    return -EIO;
  int r = route_again(c, q, &at[which], (int)which);
  if (r)
    return r;
  if (npaths == 2 && at[0].local != at[1].local)
    return -EXDEV;
  return at[0].local;
}

long remote_row(struct call *c, const struct row *row, const unsigned long a[6], struct at *at)
{
  unsigned npaths = count_paths(row);
  for (;;) {
    struct req q;
    for (unsigned i = 0; i < npaths; i++) {
      long lost = at_settle(c, &at[i]);
      if (lost)
        return lost;
    }
    req_start(&q, c->t, row);
    encode(&q, row, a, at);
    c->where = N_WAITED;
    long r = req_call(&q, row->traits & BLOCKS);
    if (r < 0)
      return r;
    if (!(q.reply_flags & FF_REDIRECT))
      return decode(&q, row, a, r);
    r = redirected(c, &q, at, npaths, r);
    if (r < 0)
      return r;
    if (r == 1) {
      c->where = N_LOCAL;
      return row_here(row, a, at);
    }
  }
}
