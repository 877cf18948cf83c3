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

typedef long transfer(struct call *c, struct rfile *f, struct spans *sp, uint64_t off);

static long vector_transfer(struct call *c, struct rfile *f, transfer *go, uint64_t off)
{
  struct vector x;
  struct spans sp;
  long r = vector_load(&x, c->a[1], c->a[2]);
  if (r < 0)
    return r;
  r = vector_spans(&x, &sp);
  if (r == 0)
    r = go(c, f, &sp, off);
  vector_free(&x);
  return r;
}

long a_readv(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if (read_is_native(&f)) {
    c->where = N_MEMORY;
    return pass(c);
  }
  return vector_transfer(c, &f, file_read, OWN_OFFSET);
}

long a_writev(struct call *c)
{
  struct rfile f;
  return file_of(c, (int)c->a[0], &f) ? vector_transfer(c, &f, file_write, OWN_OFFSET) : pass(c);
}

/* preadv, pwritev (no flags), and the second forms, where offset -1 is the file's own. */
static long at_offset(struct call *c, transfer *go, bool second)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  uint64_t off = c->a[3];
  if (second && c->a[5] & ~(unsigned long)(RWF_HIPRI | (go == file_write ? RWF_APPEND : 0)))
    return -EOPNOTSUPP;
  if (second && c->a[5] & RWF_APPEND)
    go = file_append;
  if ((int64_t)off < 0 && !(second && off == OWN_OFFSET))
    return -EINVAL;
  return vector_transfer(c, &f, go, off);
}

long a_preadv(struct call *c)
{
  return at_offset(c, file_read, c->row == ROW(preadv2));
}

long a_pwritev(struct call *c)
{
  return at_offset(c, file_write, c->row == ROW(pwritev2));
}
