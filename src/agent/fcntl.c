/*
 * fcntl and flock on the slave's files. Descriptors and their close-on-exec flag are the kernel's, on the placeholder;
 * O_NONBLOCK is kept in hstate (the slave's open file may be shared with others, who did not ask for it); locks are
 * the slave's, owned by the process context.
 */
#include <linux/fs.h>

#include "agent/io.h"

#define O_ASYNC FASYNC
#define SETTABLE (O_NONBLOCK | O_ASYNC | O_APPEND | O_DIRECT | O_NOATIME)

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

/* A lock relative to the file's offset: the slave does not know that offset. */
static long absolute(const struct rfile *f, struct flock_k *k)
{
  if (k->whence != SEEK_CUR || f->s->offset_remote)
    return 0;
  long off = sys3(__NR_lseek, f->fd, 0, SEEK_CUR);
  if (off < 0)
    return off;
  k->whence = SEEK_SET;
  k->start += off;
  return k->start < 0 ? -EINVAL : 0;
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

static long get_flock(struct req *q, struct flock_k *k)
{
  uint32_t n;
  const uint8_t *blob = get_blob(&q->r, &n, sizeof(struct flock_wire));
  if (!blob || n != sizeof(struct flock_wire))
    return -EIO;
  struct rbuf r = {blob, blob + n, false};
  k->type = (int16_t)get_u64(&r);
  k->whence = (int16_t)get_u64(&r);
  k->start = (int64_t)get_u64(&r);
  k->len = (int64_t)get_u64(&r);
  k->pid = (int32_t)get_u64(&r);
  return 0;
}

static bool may_lock(const struct hstate *s, int cmd, int type)
{
  if (cmd == F_GETLK || cmd == F_OFD_GETLK || type == F_UNLCK)
    return true;
  return type == F_RDLCK ? may_read(s) : may_write(s);
}

static long record_lock(struct call *c, struct rfile *f, int cmd)
{
  struct flock_k k;
  struct req q;
  if (copy_in(&k, (void *)c->a[2], sizeof k))
    return -EFAULT;
  if (k.type != F_RDLCK && k.type != F_WRLCK && k.type != F_UNLCK)
    return -EINVAL;
  if (!may_lock(f->s, cmd, k.type))
    return -EBADF;
  long r = absolute(f, &k);
  if (r < 0)
    return r;
  req_start(&q, c->t, ROW(fcntl));
  req_handle(&q, f->h);
  req_u64(&q, (uint64_t)cmd);
  put_flock(&q, &k);
  c->where = N_WAITED;
  r = req_call(&q, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
  if (r < 0 || (cmd != F_GETLK && cmd != F_OFD_GETLK))
    return r;
  r = get_flock(&q, &k);
  return r < 0 ? r : copy_out((void *)c->a[2], &k, sizeof k);
}

/* What the agent keeps: O_NONBLOCK and the like; what the slave must know: O_APPEND, O_DIRECT, O_NOATIME. */
static long set_flags(struct call *c, struct rfile *f)
{
  struct req q;
  uint32_t set = (uint32_t)c->a[2] & SETTABLE, old = f->s->flags, told = O_APPEND | O_DIRECT | O_NOATIME;
  if (old & O_PATH)
    return -EBADF;
  if ((set ^ old) & told && !is_stream(f->s)) {
    req_start(&q, c->t, ROW(fcntl));
    req_handle(&q, f->h);
    req_u64(&q, F_SETFL);
    req_u64(&q, IOA_INT);
    req_u64(&q, set & told);
    c->where = N_WAITED;
    long r = req_call(&q, false);
    if (r < 0)
      return r;
  }
  f->s->flags = (old & ~(uint32_t)SETTABLE) | set;
  return 0;
}

/* A number made by the kernel stands for what the old one does. */
static long dup_fd(struct call *c)
{
  if (c->a[2] >= c->p->rlim_cur)
    return -EINVAL;
  long r = fd_new(c->p, pass(c));
  if (r >= 0)
    vft_dup(c->p, (int)c->a[0], (int)r);
  return r;
}

static long ask_int(struct call *c, struct rfile *f, unsigned cmd)
{
  struct req q;
  req_start(&q, c->t, ROW(fcntl));
  req_handle(&q, f->h);
  req_u64(&q, cmd);
  req_u64(&q, IOA_INT);
  req_u64(&q, c->a[2]);
  c->where = N_WAITED;
  return req_call(&q, false);
}

static long remote_fcntl(struct call *c, struct rfile *f, unsigned cmd)
{
  switch (cmd) {
  case F_GETFL:
    c->where = N_MEMORY;
    return f->s->flags;
  case F_SETFL:
    return set_flags(c, f);
  case F_GETLK:
  case F_OFD_GETLK:
  case F_SETLK:
  case F_OFD_SETLK:
  case F_SETLKW:
  case F_OFD_SETLKW:
    return f->s->flags & O_PATH ? -EBADF : record_lock(c, f, (int)cmd);
  case F_GETPIPE_SZ:
  case F_SETPIPE_SZ:
    return is_stream(f->s) ? ask_int(c, f, cmd) : -EBADF;
  case F_GETLEASE:
    return F_UNLCK;
  default:
    return -EINVAL;
  }
}

/* Those that concern the descriptor alone, or who is told of events: the placeholder's. */
static bool is_native(unsigned cmd)
{
  static const uint16_t native[] = {F_GETFD, F_SETFD, F_GETOWN, F_SETOWN, F_GETSIG, F_SETSIG, F_GETOWN_EX, F_SETOWN_EX};
  for (unsigned i = 0; i < sizeof native / sizeof *native; i++)
    if (cmd == native[i])
      return true;
  return false;
}

long a_fcntl(struct call *c)
{
  struct rfile f;
  unsigned cmd = (unsigned)c->a[1];
  if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
    return dup_fd(c);
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  return is_native(cmd) ? pass(c) : remote_fcntl(c, &f, cmd);
}

long a_flock(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if (f.s->flags & O_PATH)
    return -EBADF;
  return file_call(c, c->row, &f, (uint64_t[]){c->a[1]}, 1, !(c->a[1] & LOCK_NB));
}
