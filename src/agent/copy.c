/*
 * Copying between two descriptors by one call: sendfile, splice, tee, vmsplice, copy_file_range. With two local ends
 * the kernel does it. sendfile, splice and vmsplice with an end on the slave are done as a read and a write, one piece
 * at a time. copy_file_range and tee are refused there, as between file systems: every caller has another way.
 */
#include <asm/poll.h>
#include <linux/fs.h>

#include "agent/io.h"

#define PIECE (64ul << 10)
#define SPLICE_F_NONBLOCK 2

/* One end of a copy: remote or local, with an offset of the program's or its own. */
struct end {
  struct rfile f;
  bool remote;
  uint64_t off;  /* or OWN_OFFSET */
  uint64_t user; /* where the program keeps it, 0 */
  bool sure;     /* local, and a write does not wait: it need not be interruptible */
};

static long end_open(struct call *c, struct end *e, int fd, uint64_t user)
{
  e->remote = file_of(c, fd, &e->f);
  e->user = user;
  e->sure = false;
  e->off = OWN_OFFSET;
  if (user && copy_in(&e->off, (void *)user, sizeof e->off))
    return -EFAULT;
  return user && (int64_t)e->off < 0 ? -EINVAL : 0;
}

static void end_moved(struct end *e, long n)
{
  if (e->user)
    e->off += (uint64_t)n;
}

static long end_store(const struct end *e)
{
  return e->user && copy_out((void *)e->user, &e->off, sizeof e->off) ? -EFAULT : 0;
}

static struct spans page_span(struct iov *v, uint8_t *buf, uint64_t n)
{
  *v = (struct iov){(uint64_t)buf, n};
  return (struct spans){.v = v, .n = 1, .left = n};
}

static long end_read(struct call *c, struct end *e, uint8_t *buf, uint64_t n)
{
  struct iov v;
  struct spans sp = page_span(&v, buf, n);
  if (!e->remote && e->off == OWN_OFFSET)
    return cp_call(c->t, __NR_read, e->f.fd, (long)buf, (long)n, 0, 0, 0);
  if (!e->remote)
    return cp_call(c->t, __NR_pread64, e->f.fd, (long)buf, (long)n, (long)e->off, 0, 0);
  if (e->off == OWN_OFFSET && read_is_native(&e->f))
    return sys3(__NR_read, e->f.fd, buf, n);
  return file_read(c, &e->f, &sp, e->off);
}

static long end_write_some(struct call *c, struct end *e, uint8_t *buf, uint64_t n)
{
  struct iov v;
  struct spans sp = page_span(&v, buf, n);
  if (e->remote)
    return file_write(c, &e->f, &sp, e->off);
  long nr = e->off == OWN_OFFSET ? __NR_write : __NR_pwrite64;
  if (e->sure)
    return sys6(nr, e->f.fd, (long)buf, (long)n, (long)e->off, 0, 0);
  return cp_call(c->t, nr, e->f.fd, (long)buf, (long)n, (long)e->off, 0, 0);
}

/* What was not written goes back to a source that can be turned back; `n' bytes. */
static void unread(struct call *c, struct end *e, long n)
{
  struct rfile *f = &e->f;
  if (e->off != OWN_OFFSET)
    return;
  if (e->remote && f->s->offset_remote)
    file_call(c, ROW(lseek), f, (uint64_t[]){(uint64_t)-n, SEEK_CUR}, 2, false);
  else
    sys3(__NR_lseek, f->fd, -n, SEEK_CUR);
}

/* One piece from one end to the other: bytes, 0 at the end, or -errno. */
static long move_piece(struct call *c, struct end *from, struct end *to, uint8_t *buf, uint64_t n)
{
  long got = end_read(c, from, buf, n);
  if (got <= 0)
    return got;
  long put = end_write_some(c, to, buf, (uint64_t)got);
  long done = put > 0 ? put : 0;
  if (done < got)
    unread(c, from, got - done);
  end_moved(from, done);
  end_moved(to, done);
  return put;
}

static long move(struct call *c, struct end *from, struct end *to, uint64_t n)
{
  long done = 0, r = 0;
  uint8_t *buf = pages_new(PIECE);
  if (!buf)
    return -ENOMEM;
  while ((uint64_t)done < n) {
    uint64_t want = n - (uint64_t)done < PIECE ? n - (uint64_t)done : PIECE;
    r = move_piece(c, from, to, buf, want);
    if (r <= 0)
      break;
    done += r;
    if ((uint64_t)r < want)
      break;
  }
  pages_free(buf, PIECE);
  long in = end_store(from), out = end_store(to);
  if (in < 0 || out < 0)
    return -EFAULT;
  return done ? done : r;
}

static bool is_remote(struct call *c, int fd)
{
  struct rfile f;
  return file_of(c, fd, &f);
}

/* sendfile(out, in, offset, count) */
long a_sendfile(struct call *c)
{
  struct end from, to;
  if (!is_remote(c, (int)c->a[0]) && !is_remote(c, (int)c->a[1]))
    return pass(c);
  long r = end_open(c, &from, (int)c->a[1], c->a[2]);
  if (r < 0)
    return r;
  end_open(c, &to, (int)c->a[0], 0);
  if (from.remote && !has_offset(from.f.s))
    return -EINVAL;
  if (from.remote && from.off == OWN_OFFSET && read_is_native(&from.f) && !to.remote) {
    c->where = N_MEMORY;
    return pass(c); /* the placeholder holds the contents, and the kernel moves its offset */
  }
  return move(c, &from, &to, c->a[3] < IO_MAX ? c->a[3] : IO_MAX);
}

/* Is the local descriptor a pipe? */
static bool is_pipe(int fd)
{
  return sys3(__NR_fcntl, fd, F_GETPIPE_SZ, 0) >= 0;
}

static bool end_is_pipe(const struct end *e)
{
  return e->remote ? e->f.s->kind == K_STREAM : is_pipe(e->f.fd);
}

/*
 * How much `to' takes without waiting, so that nothing taken out of a pipe is left in our hands when a signal comes. At
 * least 1, or -errno.
 */
static long room_of(struct call *c, struct end *to, bool nonblock)
{
  if (to->remote)
    return is_stream(to->f.s) ? stream_room(c, &to->f) : (long)PIECE;
  if (!is_pipe(to->f.fd))
    return PIECE;
  struct pollfd p = {.fd = to->f.fd, .events = POLLOUT};
  long r = cp_call(c->t, __NR_poll, (long)&p, 1, nonblock ? 0 : -1, 0, 0, 0);
  return r < 0 ? r : r ? (long)PIPE_ATOMIC : -EAGAIN;
}

/* splice(in, off_in, out, off_out, len, flags): one end is a pipe. */
long a_splice(struct call *c)
{
  struct end from, to;
  if (!is_remote(c, (int)c->a[0]) && !is_remote(c, (int)c->a[2]))
    return pass(c);
  long r = end_open(c, &from, (int)c->a[0], c->a[1]);
  if (r == 0)
    r = end_open(c, &to, (int)c->a[2], c->a[3]);
  if (r < 0)
    return r;
  bool in = end_is_pipe(&from), out = end_is_pipe(&to);
  if (!in && !out)
    return -EINVAL;
  if ((in && from.user) || (out && to.user))
    return -ESPIPE;
  long room = room_of(c, &to, c->a[5] & SPLICE_F_NONBLOCK);
  if (room < 0)
    return room;
  to.sure = true;
  if ((uint64_t)room > PIECE)
    room = PIECE;
  return move(c, &from, &to, c->a[4] < (uint64_t)room ? c->a[4] : (uint64_t)room);
}

long a_tee(struct call *c)
{
  return is_remote(c, (int)c->a[0]) || is_remote(c, (int)c->a[1]) ? -EINVAL : pass(c);
}

/* vmsplice(fd, iov, count, flags): with a pipe of the slave, writev or readv. */
long a_vmsplice(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if (f.s->kind != K_STREAM)
    return -EBADF;
  return may_write(f.s) ? a_writev(c) : a_readv(c);
}

/* copy_file_range(in, off_in, out, off_out, len, flags) */
long a_copy_file_range(struct call *c)
{
  if (!is_remote(c, (int)c->a[0]) && !is_remote(c, (int)c->a[2]))
    return pass(c);
  return c->a[5] ? -EINVAL : -EXDEV;
}
