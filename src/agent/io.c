/*
 * Reading, writing, seeking, sizing and syncing of the slave's files. Owns the rule where a file's offset lies: in the
 * placeholder's kernel offset, except for hstate.offset_remote. Never sleeps under the offset lock for anything that
 * another program decides: streams have no offset and take no lock.
 *
 * Lock order: the lock of the thread's process (io_locks), then the record lock on the placeholder. Never two files.
 */
#include <asm/mman.h>
#include <asm/poll.h>
#include <linux/fadvise.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/resource.h>
#include <linux/time_types.h>

#include "agent/light.h"

#define SIGNAL_PIPE 13
#define SIGNAL_FSIZE 25

#define KEPT_MAX (64u << 10)
#define LOCKS 1024
static uint32_t *io_locks; /* a page that is zero again in a fork's child, where nobody is left to unlock */

struct flock_k {
  int16_t type, whence;
  int64_t start, len;
  int32_t pid;
};

/* ---- which file ---- */

bool file_of(struct call *c, int fd, struct rfile *f)
{
  f->fd = fd;
  f->h = vft_remote(c->p, fd);
  if (f->h.v == H_NONE)
    return false;
  f->s = hstate(f->h);
  return true;
}

bool may_read(const struct hstate *s)
{
  return !(s->flags & O_PATH) && (s->flags & O_ACCMODE) != O_WRONLY;
}

bool may_write(const struct hstate *s)
{
  return !(s->flags & O_PATH) && (s->flags & O_ACCMODE) != O_RDONLY;
}

/* ---- the offset's lock ---- */

static uint32_t *lock_of(struct handle h)
{
  uint32_t *page = __atomic_load_n(&io_locks, __ATOMIC_ACQUIRE), *none = 0;
  if (!page) {
    page = pages_new(LOCKS * sizeof *page);
    if (!page)
      fatal("no memory for locks");
    sys3(__NR_madvise, page, LOCKS * sizeof *page, MADV_WIPEONFORK);
    if (!__atomic_compare_exchange_n(&io_locks, &none, page, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
      pages_free(page, LOCKS * sizeof *page);
      page = none;
    }
  }
  return &page[HANDLE_INDEX(h.v) % LOCKS];
}

/* Not lock(): that one is for sections so short that a fork can wait for them. */
static void thread_lock(uint32_t *word)
{
  uint32_t none = 0;
  if (__atomic_compare_exchange_n(word, &none, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return;
  while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE))
    sys4(__NR_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2, 0);
}

static void thread_unlock(uint32_t *word)
{
  if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
    sys3(__NR_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

static void record_lock(int fd, int type)
{
  struct flock_k k = {.type = (int16_t)type};
  long r;
  /* No thread waits for two, but the kernel takes a process for one party, and so sees circles that are none. */
  while ((r = sys3(__NR_fcntl, fd, F_SETLKW, &k)) == -EINTR || r == -EDEADLK)
    ;
}

void offset_lock(const struct rfile *f)
{
  thread_lock(lock_of(f->h));
  record_lock(f->fd, F_WRLCK);
}

void offset_unlock(const struct rfile *f)
{
  record_lock(f->fd, F_UNLCK);
  thread_unlock(lock_of(f->h));
}

/* ---- the program's memory in pieces ---- */

static void spans_skip_empty(struct spans *sp)
{
  while (sp->n && sp->at >= sp->v->len)
    sp->v++, sp->n--, sp->at = 0;
}

static uint64_t spans_piece(const struct spans *sp)
{
  uint64_t piece = sp->v->len - sp->at;
  return piece < sp->left ? piece : sp->left;
}

static void spans_advance(struct spans *sp, uint64_t n)
{
  sp->at += n;
  sp->left -= n;
}

long spans_out(struct spans *sp, const uint8_t *from, uint64_t n)
{
  uint64_t done = 0;
  while (done < n) {
    spans_skip_empty(sp);
    uint64_t piece = spans_piece(sp);
    if (piece > n - done)
      piece = n - done;
    if (copy_out((void *)(sp->v->base + sp->at), (void *)(from + done), piece))
      return done ? (long)done : -EFAULT;
    spans_advance(sp, piece);
    done += piece;
  }
  return (long)done;
}

/* The first and last byte of what is next can be read: the likely mistakes show before anything is taken from a stream.
 */
static bool spans_sane(struct spans *sp)
{
  uint8_t byte;
  spans_skip_empty(sp);
  uint64_t at = sp->v->base + sp->at;
  return !copy_in(&byte, (void *)at, 1) && !copy_in(&byte, (void *)(at + spans_piece(sp) - 1), 1);
}

static int gather(struct spans *sp, uint8_t *to, uint64_t n)
{
  for (uint64_t done = 0, piece; done < n; done += piece) {
    spans_skip_empty(sp);
    piece = spans_piece(sp);
    if (piece > n - done)
      piece = n - done;
    if (copy_in(to + done, (void *)(sp->v->base + sp->at), piece))
      return -EFAULT;
    spans_advance(sp, piece);
  }
  return 0;
}

/* Many small pieces travel as one buffer: so they stay together, and a line is one message. */
static __attribute__((noinline)) long put_gathered(struct req *q, struct spans *sp, uint64_t n)
{
  uint8_t buf[PIPE_ATOMIC];
  struct spans before = *sp;
  if (gather(sp, buf, n)) {
    *sp = before;
    return -EFAULT;
  }
  put_blob(&q->w, buf, (uint32_t)n);
  return (long)n;
}

/* The B field of a request, at most `max' bytes of what is left: how many, or -EFAULT. */
static long put_spans(struct req *q, struct spans *sp, uint64_t max)
{
  spans_skip_empty(sp);
  if (max > sp->left)
    max = sp->left;
  uint64_t piece = spans_piece(sp);
  if (piece < max && piece < PIPE_ATOMIC)
    return put_gathered(q, sp, max < PIPE_ATOMIC ? max : PIPE_ATOMIC);
  if (piece > max)
    piece = max;
  if (piece > FRAME_DATA_MAX)
    piece = FRAME_DATA_MAX;
  if (req_data(q, (void *)(sp->v->base + sp->at), (uint32_t)piece))
    return -EFAULT;
  spans_advance(sp, piece);
  return (long)piece;
}

/* ---- simple questions ---- */

long file_call(struct call *c, const struct row *row, const struct rfile *f, const uint64_t *v, unsigned n,
               bool blocking)
{
  struct req q;
  req_start(&q, c->t, row);
  req_handle(&q, f->h);
  for (unsigned i = 0; i < n; i++)
    req_u64(&q, v[i]);
  c->where = N_WAITED;
  return req_call(&q, blocking);
}

long file_attr(struct call *c, struct rfile *f, struct wire_attr *a)
{
  if (snap_true(f->s, SNAP_ATTR)) {
    *a = f->s->attr;
    if (snap_true(f->s, SNAP_ATTR))
      return 0;
  }
  struct req q;
  req_start(&q, c->t, ROW(fstat));
  req_handle(&q, f->h);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r < 0)
    return r;
  get_attr(&q.r, a);
  if (q.r.bad)
    return -EIO;
  snap_take(f->s, &q, a, SNAP_ATTR);
  return 0;
}

/* ---- reading ---- */

bool contents_here(const struct hstate *s)
{
  return has_offset(s) && snap_true(s, SNAP_CONTENTS) && !map_shows(s);
}

bool read_is_native(const struct rfile *f)
{
  return may_read(f->s) && !f->s->offset_remote && contents_here(f->s);
}

/* Who reads a watched file in order by small pieces gets a larger one, the rest of which stays in the slot. */
static uint64_t room_for(const struct thread *t, const struct rfile *f, const struct spans *sp, uint64_t off)
{
  uint64_t left = sp->left < FRAME_DATA_MAX ? sp->left : FRAME_DATA_MAX;
  bool in_order = t->last_read.handle == f->h.v && t->last_read.end == off;
  return in_order && left < KEPT_MAX && off != OWN_OFFSET && f->s->kind == K_REG && snap_true(f->s, SNAP_ATTR)
             ? KEPT_MAX
             : left;
}

/* Behind the question: who asks anew forgets what was kept. The counter is as it was before it. */
static void keep_rest(struct thread *t, const struct rfile *f, uint64_t off, const uint8_t *at, uint32_t n,
                      uint32_t gen)
{
  t->kept.handle = f->h.v;
  t->kept.gen = gen;
  t->kept.offset = off;
  t->kept.at = at;
  t->kept.len = n;
}

static bool kept_has(const struct thread *t, const struct rfile *f, uint64_t off)
{
  return t->kept.len && t->kept.handle == f->h.v && off >= t->kept.offset && off - t->kept.offset < t->kept.len &&
         t->kept.gen == f->s->snap_gen && snap_true(f->s, SNAP_ATTR) && !map_shows(f->s);
}

static long read_kept(const struct thread *t, struct spans *sp, uint64_t off)
{
  uint64_t from = off - t->kept.offset, n = t->kept.len - from;
  return spans_out(sp, t->kept.at + from, n < sp->left ? n : sp->left);
}

enum manner { READ_SURE /* it cannot block */, READ_WAITS, READ_NOW };

/* One question, at most a frame's worth of bytes. */
static long read_chunk(struct call *c, struct rfile *f, struct spans *sp, uint64_t off, enum manner how)
{
  struct req q;
  bool own = off == OWN_OFFSET;
  uint32_t n, gen = f->s->snap_gen;
  req_start(&q, c->t, own ? ROW(read) : ROW(pread64));
  req_handle(&q, f->h);
  uint64_t room = room_for(c->t, f, sp, off), left = sp->left;
  req_u64(&q, room);
  if (!own)
    req_u64(&q, off);
  q.flags |= how == READ_NOW ? FF_CONTENTS : 0;
  long r = req_call(&q, how == READ_WAITS);
  c->where = q.reply_flags & FF_KNOWN ? N_MEMORY : N_WAITED;
  if (r < 0)
    return r;
  const uint8_t *data = get_blob(&q.r, &n, (uint32_t)room);
  if (!data)
    return -EIO;
  if (n > left)
    keep_rest(c->t, f, off, data, n, gen);
  return spans_out(sp, data, n < left ? n : left);
}

/* From what is kept, as far as it goes, and by a question. */
static long read_piece(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  long done = 0, r;
  if (kept_has(c->t, f, off)) {
    uint64_t want = sp->left < FRAME_DATA_MAX ? sp->left : FRAME_DATA_MAX;
    c->where = N_MEMORY;
    done = read_kept(c->t, sp, off);
    if (done < 0 || (uint64_t)done >= want)
      return done;
  }
  r = read_chunk(c, f, sp, off + (uint64_t)done, READ_SURE);
  return r < 0 ? (done ? done : r) : done + r;
}

static long read_stored(struct call *c, const struct rfile *f, struct spans *sp, uint64_t off)
{
  uint64_t want = sp->left < FRAME_DATA_MAX ? sp->left : FRAME_DATA_MAX, done = 0, piece;
  for (long r = 1; r > 0 && done < want; done += (uint64_t)r) {
    spans_skip_empty(sp);
    piece = spans_piece(sp) < want - done ? spans_piece(sp) : want - done;
    r = contents_read(c, f, (void *)(sp->v->base + sp->at), piece, off + done);
    if (r < 0)
      return done ? (long)done : r;
    spans_advance(sp, (uint64_t)r);
  }
  return (long)done;
}

static long read_part(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  bool stored = off != OWN_OFFSET && snap_true(f->s, SNAP_ATTR | SNAP_STORE);
  return stored              ? read_stored(c, f, sp, off)
         : off == OWN_OFFSET ? read_chunk(c, f, sp, off, READ_SURE)
                             : read_piece(c, f, sp, off);
}

/* Until the buffer is full or the slave has no more. */
static long read_chunks(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  long done = 0;
  while (sp->left) {
    uint64_t want = sp->left < FRAME_DATA_MAX ? sp->left : FRAME_DATA_MAX;
    long r = read_part(c, f, sp, off == OWN_OFFSET ? off : off + (uint64_t)done);
    if (r < 0)
      return done ? done : r;
    done += r;
    if ((uint64_t)r < want)
      break;
  }
  c->t->last_read.handle = f->h.v;
  c->t->last_read.end = off + (uint64_t)done;
  return done;
}

static long read_moving(struct call *c, struct rfile *f, struct spans *sp)
{
  offset_lock(f);
  long off = sys3(__NR_lseek, f->fd, 0, SEEK_CUR);
  long r = off < 0 ? off : read_chunks(c, f, sp, (uint64_t)off);
  if (r > 0)
    sys3(__NR_lseek, f->fd, off + r, SEEK_SET);
  offset_unlock(f);
  return r;
}

static long read_stream(struct call *c, struct rfile *f, struct spans *sp)
{
  if (!spans_sane(sp))
    return -EFAULT;
  /* Whether to wait is this program's wish: the descriptor there may be others', too. */
  long r = read_chunk(c, f, sp, OWN_OFFSET, f->s->flags & O_NONBLOCK ? READ_NOW : READ_WAITS);
  if (r < 0 && r != -EAGAIN)
    return r;
  __atomic_store_n(&f->s->ready, 0, __ATOMIC_RELEASE);
  stream_drain(f->fd);
  epoll_rearm(c, f);
  return r;
}

long file_read(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  if (!may_read(f->s))
    return -EBADF;
  if (f->s->kind == K_DIR)
    return -EISDIR;
  if (f->s->kind == K_NULL || !sp->left)
    return 0;
  if (is_stream(f->s) && off != OWN_OFFSET)
    return -ESPIPE;
  if (is_stream(f->s))
    return f->s->kind == K_NOTIFY ? notify_read(c, f, sp) : read_stream(c, f, sp);
  if (f->s->kind == K_CHR)
    return read_chunk(c, f, sp, off, READ_WAITS);
  if (off == OWN_OFFSET && !f->s->offset_remote)
    return read_moving(c, f, sp);
  return read_chunks(c, f, sp, off);
}

/* ---- writing ---- */

static void raise_signal(struct call *c, int signal)
{
  sys3(__NR_tgkill, sys0(__NR_getpid), c->t->tid, signal);
}

/* One message. Posted unless the file is to be synchronous or may block. */
static long write_chunk(struct call *c, struct rfile *f, struct spans *sp, uint64_t off, uint64_t max)
{
  struct req q;
  bool own = off == OWN_OFFSET;
  bool wait = f->s->kind == K_CHR || (has_offset(f->s) && (f->s->flags & O_DSYNC || f->s->sync || session->tight));
  req_start(&q, c->t, own ? ROW(write) : ROW(pwrite64));
  req_handle(&q, f->h);
  long n = put_spans(&q, sp, max);
  if (n < 0)
    q.err = (int)n;
  if (!own)
    req_u64(&q, off);
  c->where = wait ? N_WAITED : N_POSTED;
  long r = wait ? req_call(&q, f->s->kind == K_CHR) : req_post(&q, -1);
  return r < 0 ? r : wait ? r : n;
}

static long write_chunks(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  long done = 0;
  while (sp->left) {
    uint64_t before = sp->left;
    long r = write_chunk(c, f, sp, off == OWN_OFFSET ? off : off + (uint64_t)done, sp->left);
    if (r < 0)
      return done ? done : r;
    done += r;
    if ((uint64_t)r != before - sp->left)
      break;
  }
  return done;
}

/* Where a write will begin, for the sake of the size limit. */
static long write_begin(struct call *c, struct rfile *f, uint64_t off)
{
  struct wire_attr a;
  if (f->s->flags & O_APPEND) {
    long r = file_attr(c, f, &a);
    return r < 0 ? r : (long)a.size;
  }
  if (off != OWN_OFFSET)
    return (long)off;
  if (f->s->offset_remote)
    return file_call(c, ROW(lseek), f, (uint64_t[]){0, SEEK_CUR}, 2, false);
  return sys3(__NR_lseek, f->fd, 0, SEEK_CUR);
}

uint64_t size_limit(void)
{
  struct rlimit64 lim = {RLIM64_INFINITY, RLIM64_INFINITY};
  sys4(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, &lim);
  return lim.rlim_cur;
}

long file_bound(struct call *c, struct rfile *f, uint64_t off, uint64_t *n)
{
  uint64_t limit = size_limit();
  if (limit == RLIM64_INFINITY || f->s->kind != K_REG)
    return 0;
  long begin = write_begin(c, f, off);
  if (begin < 0)
    return begin;
  if ((uint64_t)begin >= limit) {
    raise_signal(c, SIGNAL_FSIZE);
    return -EFBIG;
  }
  if (*n > limit - (uint64_t)begin)
    *n = limit - (uint64_t)begin;
  return 0;
}

/* At the file's own offset, which moves on with it. */
static long write_moving(struct call *c, struct rfile *f, struct spans *sp)
{
  offset_lock(f);
  long off = sys3(__NR_lseek, f->fd, 0, SEEK_CUR);
  long r = off < 0 ? off : write_chunks(c, f, sp, (uint64_t)off);
  if (r > 0)
    sys3(__NR_lseek, f->fd, off + r, SEEK_SET);
  offset_unlock(f);
  return r;
}

static long write_regular(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  long r = late_error(f->s);
  if (r == 0)
    r = file_bound(c, f, off, &sp->left);
  if (r < 0)
    return r;
  if (off == OWN_OFFSET && f->s->flags & O_APPEND)
    f->s->offset_remote = 1; /* only the slave knows where the end is */
  if (off == OWN_OFFSET && !f->s->offset_remote)
    r = write_moving(c, f, sp);
  else
    r = write_chunks(c, f, sp, off);
  if (r > 0) {
    file_changed(f->s);
    map_follow(f->s);
  }
  return r;
}

/* Takes `n' bytes of the window; false if so much is not free. */
static bool credit_take(struct hstate *s, uint64_t n)
{
  uint64_t sent = __atomic_load_n(&s->sent, __ATOMIC_ACQUIRE);
  do {
    if (sent - __atomic_load_n(&s->written, __ATOMIC_ACQUIRE) + n > STREAM_WINDOW)
      return false;
  } while (!__atomic_compare_exchange_n(&s->sent, &sent, sent + n, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
  return true;
}

/* Until more of the window may be free. 0, or what interrupted it. Looks up once a second, for late errors. */
long stream_wait_written(struct call *c, struct hstate *s, uint32_t seen)
{
  struct __kernel_timespec second = {1, 0};
  __atomic_fetch_add(&s->window_waiters, 1, __ATOMIC_ACQ_REL);
  long r = cp_call(c->t, __NR_futex, (long)&s->written, FUTEX_WAIT, (long)seen, (long)&second, 0, 0);
  __atomic_fetch_sub(&s->window_waiters, 1, __ATOMIC_ACQ_REL);
  if (r == -EINTR || r == -ERESTART_CALL)
    return r;
  return session->over ? -EIO : 0;
}

long stream_room(struct call *c, struct rfile *f)
{
  for (;;) {
    uint32_t seen = (uint32_t)__atomic_load_n(&f->s->written, __ATOMIC_ACQUIRE);
    uint64_t n = stream_credit(f->s);
    if (n || __atomic_load_n(&f->s->late, __ATOMIC_ACQUIRE))
      return (long)(n ? n : 1);
    long r = f->s->flags & O_NONBLOCK ? -EAGAIN : stream_wait_written(c, f->s, seen);
    if (r < 0)
      return r;
  }
}

/* Reserves room for the next piece: its size, or -errno. */
static long credit_get(struct call *c, struct rfile *f, uint64_t want, bool whole)
{
  for (;;) {
    uint32_t seen = (uint32_t)__atomic_load_n(&f->s->written, __ATOMIC_ACQUIRE);
    long late = late_error(f->s);
    if (late)
      return late;
    uint64_t n = stream_credit(f->s);
    n = whole || n > want ? want : n;
    if (n && credit_take(f->s, n))
      return (long)n;
    if (f->s->flags & O_NONBLOCK)
      return -EAGAIN;
    long r = stream_wait_written(c, f->s, seen);
    if (r < 0)
      return r;
  }
}

/* One message of a stream; room that it did not use goes back. */
static long write_piece(struct call *c, struct rfile *f, struct spans *sp, uint64_t total)
{
  uint64_t want = sp->left < FRAME_DATA_MAX ? sp->left : FRAME_DATA_MAX;
  long room = credit_get(c, f, want, total <= PIPE_ATOMIC);
  if (room < 0)
    return room;
  long r = write_chunk(c, f, sp, OWN_OFFSET, (uint64_t)room);
  uint64_t used = r > 0 ? (uint64_t)r : 0;
  if (used < (uint64_t)room)
    __atomic_fetch_sub(&f->s->sent, (uint64_t)room - used, __ATOMIC_ACQ_REL);
  return r;
}

static long write_stream(struct call *c, struct rfile *f, struct spans *sp)
{
  uint64_t total = sp->left;
  long done = 0, r = 0;
  while (sp->left) {
    r = write_piece(c, f, sp, total);
    if (r < 0)
      break;
    done += r;
  }
  if (r == -EPIPE)
    raise_signal(c, SIGNAL_PIPE);
  return done ? done : r;
}

long file_write(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  if (!may_write(f->s))
    return -EBADF;
  if (f->s->kind == K_NULL || !sp->left)
    return (long)sp->left;
  if (is_stream(f->s) && off != OWN_OFFSET)
    return -ESPIPE;
  if (is_stream(f->s))
    return write_stream(c, f, sp);
  return write_regular(c, f, sp, off);
}

static void set_append(struct call *c, struct rfile *f, uint64_t flags)
{
  struct req q;
  req_start(&q, c->t, ROW(fcntl));
  req_handle(&q, f->h);
  req_u64(&q, F_SETFL);
  req_u64(&q, IOA_INT);
  req_u64(&q, flags);
  req_post(&q, -1);
}

/* The slave's descriptor appends for as long as this one write takes; others that move the offset wait meanwhile. */
long file_append(struct call *c, struct rfile *f, struct spans *sp, uint64_t off)
{
  uint64_t flags = f->s->flags & (O_APPEND | O_DIRECT | O_NOATIME);
  if (off == OWN_OFFSET || f->s->kind != K_REG || !may_write(f->s))
    return f->s->kind == K_REG && may_write(f->s) ? -EOPNOTSUPP : file_write(c, f, sp, off);
  offset_lock(f);
  set_append(c, f, flags | O_APPEND);
  long r = file_write(c, f, sp, off);
  set_append(c, f, flags);
  offset_unlock(f);
  return r;
}

/* ---- handlers ---- */

static struct spans one_span(struct iov *v, unsigned long base, unsigned long len)
{
  v->base = base;
  v->len = len < IO_MAX ? len : IO_MAX;
  return (struct spans){.v = v, .n = 1, .left = v->len};
}

long a_read(struct call *c)
{
  struct rfile f;
  struct iov v;
  long r;
  if (light_read(c, (int)c->a[0], (void *)c->a[1], c->a[2], OWN_OFFSET, &r))
    return r;
  if (!file_of(c, (int)c->a[0], &f))
    return net_read(c);
  if (read_is_native(&f)) {
    c->where = N_MEMORY;
    return pass(c);
  }
  struct spans sp = one_span(&v, c->a[1], c->a[2]);
  return file_read(c, &f, &sp, OWN_OFFSET);
}

long a_write(struct call *c)
{
  struct rfile f;
  struct iov v;
  if (!file_of(c, (int)c->a[0], &f))
    return net_write(c);
  struct spans sp = one_span(&v, c->a[1], c->a[2]);
  return file_write(c, &f, &sp, OWN_OFFSET);
}

long a_pread(struct call *c)
{
  struct rfile f;
  struct iov v;
  long r;
  if ((long)c->a[3] >= 0 && light_read(c, (int)c->a[0], (void *)c->a[1], c->a[2], c->a[3], &r))
    return r;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if ((long)c->a[3] < 0)
    return -EINVAL;
  if (may_read(f.s) && contents_here(f.s)) {
    c->where = N_MEMORY;
    return pass(c);
  }
  struct spans sp = one_span(&v, c->a[1], c->a[2]);
  return file_read(c, &f, &sp, c->a[3]);
}

long a_pwrite(struct call *c)
{
  struct rfile f;
  struct iov v;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if ((long)c->a[3] < 0)
    return -EINVAL;
  struct spans sp = one_span(&v, c->a[1], c->a[2]);
  return file_write(c, &f, &sp, c->a[3]);
}

/* The slave finds the place (the end, a hole), the placeholder then stands there. A directory's place is only the
   slave's, and what dir.c noted in the placeholder is void. */
static long seek_by_slave(struct call *c, struct rfile *f)
{
  offset_lock(f);
  long r = f->s->kind == K_DIR ? dir_settle(c, f->h) : 0;
  if (r >= 0)
    r = file_call(c, ROW(lseek), f, (uint64_t[]){c->a[1], c->a[2]}, 2, false);
  if (f->s->kind == K_DIR)
    sys3(__NR_lseek, f->fd, 0, SEEK_SET);
  else if (r >= 0 && !f->s->offset_remote)
    r = sys3(__NR_lseek, f->fd, r, SEEK_SET);
  offset_unlock(f);
  return r;
}

long a_lseek(struct call *c)
{
  struct rfile f;
  long r;
  if (light_seek(c, (int)c->a[0], (int64_t)c->a[1], (unsigned)c->a[2], &r))
    return r;
  if (!file_of(c, (int)c->a[0], &f) || is_stream(f.s))
    return pass(c);
  if (f.s->flags & O_PATH)
    return -EBADF;
  bool here =
      has_offset(f.s) && !f.s->offset_remote && (c->a[2] == SEEK_SET || c->a[2] == SEEK_CUR || contents_here(f.s));
  if (here || f.s->kind == K_NULL) {
    c->where = N_MEMORY;
    return pass(c);
  }
  return seek_by_slave(c, &f);
}

static long sized_kind(const struct hstate *s, bool fallocate)
{
  if (!may_write(s))
    return fallocate || s->flags & O_PATH ? -EBADF : -EINVAL;
  if (is_stream(s))
    return fallocate ? -ESPIPE : -EINVAL;
  return s->kind == K_REG ? 0 : fallocate ? -ENODEV : -EINVAL;
}

/* ftruncate(fd, length) and fallocate(fd, mode, offset, length). */
static bool grows_to(struct call *c, struct rfile *f, uint64_t end)
{
  struct wire_attr a;
  return file_attr(c, f, &a) == 0 && end > a.size;
}

long a_ftruncate(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  bool fallocate = c->row == ROW(fallocate);
  long r = sized_kind(f.s, fallocate);
  if (r < 0)
    return r;
  bool grows = !fallocate || !(c->a[1] & FALLOC_FL_KEEP_SIZE);
  uint64_t end = fallocate ? c->a[2] + c->a[3] : c->a[1];
  if (grows && (long)end > 0 && end > size_limit() && grows_to(c, &f, end)) {
    raise_signal(c, SIGNAL_FSIZE);
    return -EFBIG;
  }
  r = file_call(c, c->row, &f, (uint64_t[]){c->a[1], c->a[2], c->a[3]}, fallocate ? 3 : 1, false);
  if (r >= 0) {
    file_changed(f.s);
    map_follow(f.s);
  }
  return r;
}

/* fsync, fdatasync, syncfs, sync_file_range: the reply comes after all that was posted, so late errors are known then.
 */
long a_fsync(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if (f.s->flags & O_PATH)
    return -EBADF;
  if (is_stream(f.s) && c->row == ROW(sync_file_range))
    return -ESPIPE;
  if (is_stream(f.s) && c->row != ROW(syncfs))
    return -EINVAL;
  unsigned n = c->row == ROW(sync_file_range) ? 3 : 0;
  long r = file_call(c, c->row, &f, (uint64_t[]){c->a[1], c->a[2], c->a[3]}, n, false);
  long late = late_error(f.s);
  return late ? late : r;
}

long a_sync(struct call *c)
{
  struct req q;
  long r = pass(c);
  if (standalone())
    return r;
  map_flush_all(c->p);
  req_start(&q, c->t, c->row);
  c->where = N_WAITED;
  req_call(&q, false);
  return r;
}

/* fadvise64 and readahead: advice, so there is nothing to do for a remote file once the arguments are right. */
static long advise(struct call *c, bool stream, bool seeks)
{
  c->where = N_MEMORY;
  if (c->row == ROW(readahead))
    return seeks ? 0 : -EINVAL;
  if (stream)
    return -ESPIPE;
  return (long)c->a[2] < 0 || c->a[3] > POSIX_FADV_NOREUSE ? -EINVAL : 0;
}

long a_fadvise(struct call *c)
{
  struct rfile f;
  uint64_t dev, ino;
  if (vft_light(c->p, (int)c->a[0]) >= 0)
    return advise(c, false, !light_dir(c->p, (int)c->a[0], 0, &dev, &ino));
  if (!file_of(c, (int)c->a[0], &f))
    return pass(c);
  if (f.s->flags & O_PATH || (c->row == ROW(readahead) && !may_read(f.s)))
    return -EBADF;
  return advise(c, is_stream(f.s), has_offset(f.s));
}
