/*
 * Record locks on the slave's files: POSIX ones, which belong to the process context, and those of descriptions.
 *
 * The slave keeps them. What it cannot see happens here: a process that closes any descriptor of a file loses its POSIX
 * locks on it, though others still have that file open. Which files a process may have locked is noted in the session's
 * memory (struct proc_entry), where it outlives an exec and a fork's child begins with nothing; a note that is wrong
 * costs a needless message, never a lock. And where others mind the last close of a description, since it held a lock
 * or files are watched, the place of every close among the session's messages is told: the hub sees that a placeholder
 * has gone, but not when. Must never: let go of a lock for a close that failed.
 */
#include <linux/fs.h>

#include "agent/light.h"

#define ENTRIES_ROOM 2048

/* struct flock, as the program has it and as it travels. */
struct flock_k {
  int16_t type, whence;
  int32_t pad;
  int64_t start, len;
  int32_t pid, pad2;
};
struct flock_wire {
  uint64_t type, whence, start, len, pid;
};

/* ---- setting and asking ---- */

static bool is_get(int cmd)
{
  return cmd == F_GETLK || cmd == F_OFD_GETLK;
}

/* A lock relative to the file's offset: the slave does not know that offset. */
static long absolute(const struct rfile *f, struct flock_k *k)
{
  if (k->whence != SEEK_CUR || f->s->offset_remote)
    return 0;
  long off = sys3(__NR_lseek, f->fd, 0, SEEK_CUR);
  if (off < 0)
    return off == -ESPIPE ? 0 : off;
  if (k->start > INT64_MAX - off)
    return -EOVERFLOW;
  k->whence = SEEK_SET;
  k->start += off;
  return 0;
}

static void put_flock(struct req *q, const struct flock_k *k)
{
  put_u64(&q->w, IOA_INOUT);
  put_u32(&q->w, sizeof(struct flock_wire));
  put_u64(&q->w, (uint64_t)(int64_t)k->type);
  put_u64(&q->w, (uint64_t)(int64_t)k->whence);
  put_u64(&q->w, (uint64_t)k->start);
  put_u64(&q->w, (uint64_t)k->len);
  put_u64(&q->w, (uint64_t)(int64_t)k->pid);
}

/* A process of the session by its own number, one of the slave's by the slave's. */
static int32_t pid_shown(uint64_t holder)
{
  uint32_t ctx = (uint32_t)holder;
  const struct proc_entry *e = &session->procs[ctx % SESSION_PROCS];
  if ((int64_t)holder < 0 || !(holder & LOCK_CTX))
    return (int32_t)holder;
  uint32_t pid = __atomic_load_n(&e->pid, __ATOMIC_ACQUIRE);
  return __atomic_load_n(&e->ctx, __ATOMIC_ACQUIRE) == ctx ? (int32_t)pid : -1;
}

/* Where nothing conflicts, the question stays as it was but for its type. */
static long get_flock(struct req *q, struct flock_k *k)
{
  uint32_t n;
  const uint8_t *blob = get_blob(&q->r, &n, sizeof(struct flock_wire));
  if (!blob || n != sizeof(struct flock_wire))
    return -EIO;
  struct rbuf r = {blob, blob + n, false};
  k->type = (int16_t)get_u64(&r);
  if (k->type == F_UNLCK)
    return 0;
  k->whence = (int16_t)get_u64(&r);
  k->start = (int64_t)get_u64(&r);
  k->len = (int64_t)get_u64(&r);
  k->pid = pid_shown(get_u64(&r));
  return 0;
}

/* Noted before it is asked for: the thread that closes may be another. */
static void note(const struct proc *p, const struct hstate *s)
{
  struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  if (__atomic_load_n(&e->ctx, __ATOMIC_ACQUIRE) == p->ctx)
    __atomic_fetch_or(&e->locks, 1ul << (file_gen(s->attr.dev, s->attr.ino) & 63), __ATOMIC_ACQ_REL);
}

/* One that gives a lock up as it stands can neither fail nor be held up: nobody need wait for it. The pid is looked at
   for locks of descriptions only. */
static bool gives_up(const struct rfile *f, int cmd, const struct flock_k *k)
{
  return !is_get(cmd) && k->type == F_UNLCK && k->whence == SEEK_SET && k->start >= 0 && k->len >= 0 &&
         k->start <= INT64_MAX - k->len && (k->pid == 0 || cmd == F_SETLK || cmd == F_SETLKW) && f->s->kind == K_REG &&
         !(f->s->flags & O_PATH);
}

static long give_up(struct call *c, struct req *q)
{
  c->where = N_POSTED;
  return req_post(q, -1);
}

long locks_fcntl(struct call *c, struct rfile *f, int cmd)
{
  struct flock_k k, asked;
  struct req q;
  if (copy_in(&k, (void *)c->a[2], sizeof k))
    return -EFAULT;
  if ((k.type != F_RDLCK && k.type != F_WRLCK && k.type != F_UNLCK) || (cmd == F_GETLK && k.type == F_UNLCK))
    return -EINVAL;
  asked = k;
  long r = absolute(f, &k);
  if (r < 0)
    return r;
  r = handle_known(c, f->h);
  if (r < 0)
    return r;
  if ((cmd == F_SETLK || cmd == F_SETLKW) && k.type != F_UNLCK)
    note(c->p, f->s);
  if (cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW)
    locks_mind(f->s);
  req_start(&q, c->t, ROW(fcntl));
  req_handle(&q, f->h);
  req_u64(&q, (uint64_t)cmd);
  put_flock(&q, &k);
  if (gives_up(f, cmd, &k))
    return give_up(c, &q);
  c->where = N_WAITED;
  r = req_call(&q, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
  if (r < 0 || !is_get(cmd))
    return r;
  r = get_flock(&q, &asked);
  return r < 0 ? r : copy_out((void *)c->a[2], &asked, sizeof asked);
}

/* ---- letting go ---- */

static uint64_t noted(const struct proc *p)
{
  const struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  uint64_t locks = __atomic_load_n(&e->locks, __ATOMIC_ACQUIRE);
  return __atomic_load_n(&e->ctx, __ATOMIC_ACQUIRE) == p->ctx ? locks : ~0ul;
}

struct locked locks_on(struct proc *p, int fd)
{
  struct locked l = {0, 0, {H_NONE}};
  uint64_t locks = standalone() ? 0 : noted(p);
  uint32_t minded = __atomic_load_n(&session->minded, __ATOMIC_ACQUIRE);
  struct handle h = {H_NONE};
  if ((locks || minded) && vft_light(p, fd) < 0)
    h = vft_remote(p, fd);
  if (h.v == H_NONE)
    return l;
  const struct hstate *s = hstate(h);
  if (locks >> (file_gen(s->attr.dev, s->attr.ino) & 63) & 1)
    l.dev = s->attr.dev, l.ino = s->attr.ino;
  if (minded & MINDED_WATCHES || __atomic_load_n(&s->minded, __ATOMIC_ACQUIRE))
    l.place = h;
  return l;
}

static bool says_nothing(const struct locked *l)
{
  return !l->dev && !l->ino && l->place.v == H_NONE;
}

void locks_drop(struct thread *t, const struct locked *l)
{
  struct req q;
  if (l->dev || l->ino) {
    req_start_op(&q, t, W_UNLOCK);
    req_u64(&q, l->dev);
    req_u64(&q, l->ino);
    req_post(&q, -1);
  }
  if (l->place.v != H_NONE) {
    req_start_op(&q, t, W_CLOSED);
    req_handle(&q, l->place);
    req_post_uncounted(&q, -1);
  }
}

void locks_mind(struct hstate *s)
{
  __atomic_store_n(&s->minded, 1, __ATOMIC_RELEASE);
  __atomic_fetch_or(&session->minded, MINDED_LOCKS, __ATOMIC_ACQ_REL);
}

static int number(const char *s)
{
  int n = 0;
  if (*s < '0' || *s > '9')
    return -1;
  while (*s >= '0' && *s <= '9')
    n = n * 10 + (*s++ - '0');
  return n;
}

typedef void each_fn(struct proc *p, int fd, void *arg);

/* The kernel's own list of the process's descriptors. */
static void each_open(struct proc *p, each_fn *each, void *arg)
{
  _Alignas(8) char buf[ENTRIES_ROOM];
  long dir = sys4(__NR_openat, AT_FDCWD, "/proc/thread-self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;
  if (dir < 0)
    return;
  while ((n = sys3(__NR_getdents64, dir, buf, sizeof buf)) > 0)
    for (char *at = buf; at < buf + n; at += *(uint16_t *)(at + 16)) {
      int fd = number(at + 19);
      if (fd >= 0 && fd != dir)
        each(p, fd, arg);
    }
  sys1(__NR_close, dir);
}

struct range {
  unsigned first, last;
  struct locked *l;
  unsigned n, max;
};

static void find_in_range(struct proc *p, int fd, void *arg)
{
  struct range *r = arg;
  if ((unsigned)fd < r->first || (unsigned)fd > r->last || r->n == r->max)
    return;
  r->l[r->n] = locks_on(p, fd);
  r->n += !says_nothing(&r->l[r->n]);
}

unsigned locks_in_range(struct proc *p, unsigned first, unsigned last, struct locked *l, unsigned max)
{
  struct range r = {first, last, l, 0, max};
  if (!standalone() && (noted(p) || __atomic_load_n(&session->minded, __ATOMIC_ACQUIRE)))
    each_open(p, find_in_range, &r);
  return r.n;
}

/* ---- exec ---- */

static void carry_one(struct proc *p, int fd, void *arg)
{
  struct carry *k = arg;
  struct locked l = locks_on(p, sys2(__NR_fcntl, fd, F_GETFD) == FD_CLOEXEC ? fd : -1);
  if ((!l.dev && !l.ino) || k->nunlock == CARRY_UNLOCK_MAX)
    return;
  k->unlock[k->nunlock].dev = l.dev;
  k->unlock[k->nunlock++].ino = l.ino;
}

void locks_carry(struct proc *p, struct carry *carry)
{
  carry->nunlock = 0;
  if (!standalone() && noted(p))
    each_open(p, carry_one, carry);
}

void locks_start(const struct carry *carry)
{
  for (uint32_t i = 0; i < carry->nunlock && i < CARRY_UNLOCK_MAX; i++) {
    struct locked l = {carry->unlock[i].dev, carry->unlock[i].ino, {H_NONE}};
    locks_drop(self(), &l);
  }
}
