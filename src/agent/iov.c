/*
 * The vectored transfers on the slave's files: readv, writev, preadv, pwritev and their forms with flags. Only takes
 * the program's vector apart; what happens to the bytes is io.c's.
 */
#include <linux/fs.h>

#include "agent/io.h"

#define IOV_SMALL 16

/* The program's vector, copied once, so that nobody can change it between check and use. */
struct vector {
  struct iov small[IOV_SMALL];
  struct iov *v;
  unsigned n;
};

static void vector_free(struct vector *x)
{
  if (x->v != x->small)
    pages_free(x->v, x->n * sizeof *x->v);
}

static long vector_load(struct vector *x, unsigned long from, unsigned long n)
{
  if (n > IOV_COUNT_MAX)
    return -EINVAL;
  x->n = (unsigned)n;
  x->v = n > IOV_SMALL ? pages_new(n * sizeof *x->v) : x->small;
  if (!x->v)
    return -ENOMEM;
  if (!n || !copy_in(x->v, (void *)from, n * sizeof *x->v))
    return 0;
  vector_free(x);
  return -EFAULT;
}

/* As the kernel bounds it: no negative length, and a transfer is cut rather than refused. */
static long vector_spans(struct vector *x, struct spans *sp)
{
  *sp = (struct spans){.v = x->v, .n = x->n};
  for (unsigned i = 0; i < x->n; i++) {
    if ((int64_t)x->v[i].len < 0)
      return -EINVAL;
    uint64_t room = IO_MAX - sp->left;
    sp->left += x->v[i].len < room ? x->v[i].len : room;
  }
  return 0;
}

/* The flags that are hints, or that only what is local could mean, change nothing. */
#define RWF_DONTCACHE_K 0x80
#define RWF_SERVED (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_DONTCACHE_K)

/* True if a transfer on a stream would have to wait. */
static bool would_wait(struct call *c, struct rfile *f, bool write)
{
  if (!is_stream(f->s))
    return false;
  return write ? stream_credit(f->s) < PIPE_ATOMIC : stream_ask(c, f, POLLIN) == 0;
}

static long sync_written(struct call *c, struct rfile *f, unsigned long flags, long done)
{
  if (done <= 0 || f->s->kind != K_REG || !(flags & (RWF_DSYNC | RWF_SYNC)))
    return done;
  long r = file_call(c, flags & RWF_SYNC ? ROW(fsync) : ROW(fdatasync), f, 0, 0, false), late = late_error(f->s);
  return late ? late : r < 0 ? r : done;
}

long file_transfer(struct call *c, struct rfile *f, struct spans *sp, bool write, uint64_t off, unsigned long flags)
{
  if (flags & ~(unsigned long)RWF_SERVED)
    return -EOPNOTSUPP;
  if (flags & RWF_NOWAIT && would_wait(c, f, write))
    return -EAGAIN;
  if (!write)
    return file_read(c, f, sp, off);
  return sync_written(c, f, flags, flags & RWF_APPEND ? file_append(c, f, sp, off) : file_write(c, f, sp, off));
}

long vector_transfer(struct call *c, struct rfile *f, unsigned long from, unsigned long n, bool write, uint64_t off,
                     unsigned long flags)
{
  struct vector x;
  struct spans sp;
  long r = vector_load(&x, from, n);
  if (r < 0)
    return r;
  r = vector_spans(&x, &sp);
  if (r == 0)
    r = file_transfer(c, f, &sp, write, off, flags);
  vector_free(&x);
  return r;
}

long a_readv(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return net_read(c);
  if (read_is_native(&f)) {
    c->where = N_MEMORY;
    return pass(c);
  }
  return vector_transfer(c, &f, c->a[1], c->a[2], false, OWN_OFFSET, 0);
}

long a_writev(struct call *c)
{
  struct rfile f;
  return file_of(c, (int)c->a[0], &f) ? vector_transfer(c, &f, c->a[1], c->a[2], true, OWN_OFFSET, 0) : net_write(c);
}

/* preadv, pwritev (no flags), and the second forms, where offset -1 is the file's own. */
static long at_offset(struct call *c, bool write, bool second)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  uint64_t off = c->a[3];
  if ((int64_t)off < 0 && !(second && off == OWN_OFFSET))
    return -EINVAL;
  return vector_transfer(c, &f, c->a[1], c->a[2], write, off, second ? c->a[5] : 0);
}

long a_preadv(struct call *c)
{
  return at_offset(c, false, c->row == ROW(preadv2));
}

long a_pwritev(struct call *c)
{
  return at_offset(c, true, c->row == ROW(pwritev2));
}
