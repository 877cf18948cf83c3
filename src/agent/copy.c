/*
 * Copying between two descriptors by one call: sendfile, splice, tee, vmsplice, copy_file_range. With two local ends
 * the kernel does it. Between two files of the slave, copy_file_range and sendfile are done there, and no contents come
 * here, unless they are here already, from memory, and few: then they are written, which nobody waits for. sendfile,
 * splice and vmsplice with an end on the slave are otherwise done as a read and a write, one piece at a time.
 * copy_file_range between the hosts and tee are refused, as between file systems: every caller has another way.
 */
#include <asm/poll.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "agent/io.h"
#include "agent/light.h"

#define PIECE (64ul << 10)
#define COPY_PIECE (64ul << 20) /* at most so much is copied on the slave before a signal is noticed */
#define SPLICE_F_NONBLOCK 2
#define FAR (1ull << 62)

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

/* Nothing is read from what is open for writing only, nor written the other way. */
static long wrong_modes(const struct end *from, const struct end *to)
{
  long in = from->remote ? (long)from->f.s->flags : sys3(__NR_fcntl, from->f.fd, F_GETFL, 0);
  long out = to->remote ? (long)to->f.s->flags : sys3(__NR_fcntl, to->f.fd, F_GETFL, 0);
  bool bad = in < 0 || out < 0 || (in | out) & O_PATH || (in & O_ACCMODE) == O_WRONLY || (out & O_ACCMODE) == O_RDONLY;
  return bad ? -EBADF : 0;
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

/* ---- from one file of the slave to another ---- */

/* Where an end stands: an offset for the slave, or OWN_OFFSET if only the slave knows. */
static uint64_t end_place(const struct end *e)
{
  bool here = e->off == OWN_OFFSET && !e->f.s->offset_remote && has_offset(e->f.s);
  return here ? (uint64_t)sys3(__NR_lseek, e->f.fd, 0, SEEK_CUR) : e->off;
}

/* As in the kernel, which locks neither offset: it is read before and set behind. */
static void end_copied(struct end *e, uint64_t place, long n)
{
  end_moved(e, n);
  if (!e->user && place != OWN_OFFSET)
    sys3(__NR_lseek, e->f.fd, place + (uint64_t)n, SEEK_SET);
}

static long copy_piece(struct call *c, struct end *from, struct end *to, uint64_t n)
{
  struct req q;
  uint64_t in = end_place(from), out = end_place(to);
  req_start(&q, c->t, ROW(copy_file_range));
  req_handle(&q, from->f.h);
  req_u64(&q, in);
  req_handle(&q, to->f.h);
  req_u64(&q, out);
  req_u64(&q, n);
  req_u64(&q, 0);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r <= 0)
    return r;
  end_copied(from, in, r);
  end_copied(to, out, r);
  file_changed(to->f.s);
  return r;
}

static long copy_there(struct call *c, struct end *from, struct end *to, uint64_t n)
{
  uint64_t done = 0, piece;
  long r = late_error(to->f.s);
  if (r == 0 && n && may_write(to->f.s))
    r = file_bound(c, &to->f, to->off, &n);
  if (r < 0)
    return r;
  do { /* less than asked for is the end, even if the copy itself has moved that */
    piece = n - done < COPY_PIECE ? n - done : COPY_PIECE;
    r = copy_piece(c, from, to, piece);
    done += r > 0 ? (uint64_t)r : 0;
  } while (r == (long)piece && done < n && !c->t->pending);
  return done ? (long)done : r;
}

/* ---- handlers ---- */

static bool both_files(const struct end *a, const struct end *b)
{
  return a->remote && b->remote && a->f.s->kind == K_REG && b->f.s->kind == K_REG;
}

/* Nothing is sent or spliced to what is written at its end only. */
static bool appends(const struct end *e)
{
  long flags = e->remote ? (long)e->f.s->flags : sys3(__NR_fcntl, e->f.fd, F_GETFL, 0);
  return flags >= 0 && flags & O_APPEND;
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
  if ((r = wrong_modes(&from, &to)))
    return r;
  if ((from.remote && !has_offset(from.f.s)) || appends(&to))
    return -EINVAL;
  if (from.remote && from.off == OWN_OFFSET && read_is_native(&from.f) && !to.remote) {
    c->where = N_MEMORY;
    return pass(c); /* the placeholder holds the contents, and the kernel moves its offset */
  }
  uint64_t n = c->a[3] < IO_MAX ? c->a[3] : IO_MAX;
  if (both_files(&from, &to) && n > PIECE) { /* what it does not copy, like files of /proc, is read and written */
    r = copy_there(c, &from, &to, n);
    if (r > 0)
      return end_store(&from) < 0 ? -EFAULT : r;
  }
  return move(c, &from, &to, n);
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

static bool not_spliced(const struct end *e)
{
  return e->remote && (e->f.s->kind == K_DIR || e->f.s->kind == K_NOTIFY);
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
  if (r == 0)
    r = wrong_modes(&from, &to);
  if (r < 0)
    return r;
  bool in = end_is_pipe(&from), out = end_is_pipe(&to);
  if ((!in && !out) || not_spliced(&from) || not_spliced(&to))
    return -EINVAL;
  if ((in && from.user) || (out && to.user))
    return -ESPIPE;
  if (appends(&to))
    return -EINVAL;
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

/* An end here, the other there: what the kernel would say of the one here. */
static long not_between(const struct end *here, unsigned long flags)
{
  struct stat_k st;
  long r = sys2(__NR_fstat, here->f.fd, &st);
  return r < 0 ? r : S_ISDIR(st.mode) ? -EISDIR : flags || !S_ISREG(st.mode) ? -EINVAL : -EXDEV;
}

/* What the kernel says of an offset that is negative. */
static long wrong_offset(const struct end *e, uint64_t n)
{
  return e->user && e->off + n < e->off ? -EOVERFLOW : -EINVAL;
}

/* Nothing is left behind where the copy would begin, as far as the file's attributes are known: every copy ends so. */
static bool at_end(struct end *from, const struct end *to)
{
  if (!both_files(from, to) || wrong_modes(from, to) || appends(to) || !snap_true(from->f.s, SNAP_ATTR))
    return false;
  uint64_t place = end_place(from);
  uint64_t behind = to->off == OWN_OFFSET ? 0 : to->off; /* where a sum would overflow, the slave says so */
  return place < FAR && behind < FAR && place >= from->f.s->attr.size && !to->f.s->late;
}

/* Where the bytes come from: a small file that is open from memory. */
struct held {
  int fd;
  uint64_t off, n;
};

/* Whether the call is of such a file and one of the slave's that is to be written to, not the same. */
static bool known_ends(struct call *c, struct held *k, struct end *to)
{
  struct wire_attr a;
  long at;
  k->fd = (int)c->a[0];
  if (c->a[5] || vft_light(c->p, k->fd) < 0 || end_open(c, to, (int)c->a[2], c->a[3]) < 0 || !to->remote)
    return false;
  const struct hstate *s = to->f.s;
  if (s->kind != K_REG || !may_write(s) || s->flags & O_APPEND || !light_attr(c, k->fd, &a) || !S_ISREG(a.mode))
    return false;
  if (s->attr.ino && (s->attr.dev != a.dev || s->attr.ino == a.ino))
    return false;
  if (c->a[1] ? copy_in(&at, (void *)c->a[1], sizeof at) : !light_seek(c, k->fd, 0, SEEK_CUR, &at))
    return false;
  uint64_t left = at < 0 || (uint64_t)at >= a.size ? 0 : a.size - (uint64_t)at;
  k->off = (uint64_t)at;
  k->n = c->a[4] < left ? c->a[4] : left;
  return at >= 0 && k->n <= PIECE;
}

/* False: it has not been done. */
static bool write_known(struct call *c, const struct held *k, struct end *to, uint8_t *buf, long *r)
{
  struct iov v;
  long got = 0, at;
  if (k->n && (!light_read(c, k->fd, buf, k->n, k->off, &got) || got != (long)k->n))
    return false;
  struct spans sp = page_span(&v, buf, k->n);
  *r = k->n ? file_write(c, &to->f, &sp, to->off) : 0;
  if (*r <= 0)
    return true;
  uint64_t in = k->off + (uint64_t)*r;
  end_moved(to, *r);
  bool told = c->a[1] ? !copy_out((void *)c->a[1], &in, sizeof in) : light_seek(c, k->fd, (long)in, SEEK_SET, &at);
  if (!told || end_store(to) < 0)
    *r = -EFAULT;
  c->where = N_POSTED;
  return true;
}

static bool copy_known(struct call *c, long *r)
{
  struct held k;
  struct end to;
  if (!known_ends(c, &k, &to))
    return false;
  uint8_t *buf = pages_new(PIECE);
  bool done = buf && write_known(c, &k, &to, buf, r);
  if (buf)
    pages_free(buf, PIECE);
  return done;
}

/* copy_file_range(in, off_in, out, off_out, len, flags) */
long a_copy_file_range(struct call *c)
{
  struct end from, to;
  long r;
  if (copy_known(c, &r))
    return r;
  if (!is_remote(c, (int)c->a[0]) && !is_remote(c, (int)c->a[2]))
    return pass(c);
  r = end_open(c, &from, (int)c->a[0], c->a[1]);
  long r2 = end_open(c, &to, (int)c->a[2], c->a[3]);
  if (!from.remote || !to.remote)
    return not_between(from.remote ? &to : &from, c->a[5]);
  if (r == -EFAULT || r2 == -EFAULT)
    return -EFAULT;
  if (r < 0 || r2 < 0 || c->a[5])
    return c->a[5] ? -EINVAL : wrong_offset(r < 0 ? &from : &to, c->a[4]);
  if (at_end(&from, &to)) {
    c->where = N_MEMORY;
    return 0;
  }
  r = copy_there(c, &from, &to, c->a[4] < IO_MAX ? c->a[4] : IO_MAX);
  if (r > 0 && (end_store(&from) < 0 || end_store(&to) < 0))
    return -EFAULT;
  return r;
}
