/*
 * io_submit and its kin on the slave's files. A request on a remote file is carried out at once, as the kernel does
 * with one that it cannot do in the background; its completion then has to come out of the kernel's own queue, so that
 * whoever waits there, by io_getevents, an eventfd or the ring in memory, is woken.
 *
 * For that the program's iocb becomes, while it is submitted, a write to /dev/null of as many bytes as were
 * transferred; a failure becomes one to /dev/full. Owns the list of failures: the events of those are corrected when
 * they are fetched. Must never leave the iocb other than the kernel would have.
 */
#include <linux/aio_abi.h>
#include <linux/fs.h>

#include "agent/io.h"
#include "agent/start.h"

#define SUBMIT_MAX 65536l /* more than any context holds: as the kernel cuts it */

/* ---- failures ---- */

struct failure {
  struct failure *next;
  uint64_t ctx, obj, data;
  int64_t error;
};
static struct failure *failures;
static struct lock failures_lock;

static void failure_add(uint64_t ctx, uint64_t obj, const struct iocb *b, long error)
{
  struct failure *f = small_new(sizeof *f);
  if (!f)
    return; /* then it stays EFAULT */
  *f = (struct failure){.ctx = ctx, .obj = obj, .data = b->aio_data, .error = error};
  lock(&failures_lock);
  f->next = failures;
  __atomic_store_n(&failures, f, __ATOMIC_RELEASE);
  unlock(&failures_lock);
}

/* Takes the failure that an event tells of out of the list: its error, or 0. */
static long failure_take(uint64_t ctx, const struct io_event *e)
{
  long error = 0;
  lock(&failures_lock);
  for (struct failure **at = &failures, *f; (f = *at); at = &f->next) {
    if (f->ctx != ctx || f->obj != e->obj || f->data != e->data)
      continue;
    error = f->error;
    *at = f->next;
    small_free(f, sizeof *f);
    break;
  }
  unlock(&failures_lock);
  return error;
}

/* ---- completing ---- */

static long submit_one(uint64_t ctx, uint64_t user)
{
  return sys3(__NR_io_submit, ctx, 1, &user);
}

/* What the kernel is to make of the iocb for its event to say `result', or EFAULT if that is negative. */
static struct iocb stand_in(const struct iocb *b, int fd, long result)
{
  struct iocb k = *b;
  k.aio_lio_opcode = result < 0 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
  k.aio_fildes = (uint32_t)fd;
  k.aio_buf = (uint64_t)agent_text_begin;
  k.aio_nbytes = result < 0 ? 1 : (uint64_t)result;
  k.aio_offset = 0;
  k.aio_rw_flags = 0;
  return k;
}

static long complete(uint64_t ctx, uint64_t user, const struct iocb *b, long result)
{
  long fd = sys4(__NR_openat, AT_FDCWD, result < 0 ? "/dev/zero" : "/dev/null", O_RDWR | O_CLOEXEC, 0);
  if (fd < 0)
    return -EAGAIN;
  struct iocb k = stand_in(b, (int)fd, result), back = *b;
  bool listed = result < 0 && result != -EFAULT;
  if (listed)
    failure_add(ctx, user, b, result);
  long r = copy_out((void *)user, &k, sizeof k) ? -EFAULT : submit_one(ctx, user);
  back.aio_key = 0; /* KIOCB_KEY */
  copy_out((void *)user, &back, sizeof back);
  sys1(__NR_close, fd);
  if (r != 1 && listed)
    failure_take(ctx, &(struct io_event){.obj = user, .data = b->aio_data});
  return r;
}

/* ---- what a request asks for ---- */

/* Wrong from the start: such a request has no event. */
static long check(const struct rfile *f, const struct iocb *b)
{
  unsigned op = b->aio_lio_opcode;
  bool reads = op == IOCB_CMD_PREAD || op == IOCB_CMD_PREADV, writes = op == IOCB_CMD_PWRITE || op == IOCB_CMD_PWRITEV;
  if (b->aio_reserved2)
    return -EINVAL;
  if (f->s->flags & O_PATH)
    return -EBADF;
  if (op == IOCB_CMD_FSYNC || op == IOCB_CMD_FDSYNC)
    return is_stream(f->s) || b->aio_buf || b->aio_offset || b->aio_nbytes || b->aio_rw_flags ? -EINVAL : 0;
  if (op == IOCB_CMD_NOOP || (!reads && !writes))
    return -EINVAL;
  if (reads ? !may_read(f->s) : !may_write(f->s))
    return -EBADF;
  if (f->s->kind == K_DIR || ((int64_t)b->aio_offset < 0 && !is_stream(f->s)))
    return -EINVAL;
  return 0;
}

static long carry_out(struct call *c, struct rfile *f, const struct iocb *b)
{
  unsigned op = b->aio_lio_opcode;
  bool write = op == IOCB_CMD_PWRITE || op == IOCB_CMD_PWRITEV;
  uint64_t off = is_stream(f->s) ? OWN_OFFSET : (uint64_t)b->aio_offset;
  if (op == IOCB_CMD_FSYNC || op == IOCB_CMD_FDSYNC) {
    long r = file_call(c, op == IOCB_CMD_FSYNC ? ROW(fsync) : ROW(fdatasync), f, 0, 0, false), late = late_error(f->s);
    return late ? late : r;
  }
  if (op == IOCB_CMD_PREADV || op == IOCB_CMD_PWRITEV)
    return vector_transfer(c, f, b->aio_buf, b->aio_nbytes, write, off, b->aio_rw_flags);
  struct iov v = {b->aio_buf, b->aio_nbytes < IO_MAX ? b->aio_nbytes : IO_MAX};
  struct spans sp = {.v = &v, .n = 1, .left = v.len};
  return file_transfer(c, f, &sp, write, off, b->aio_rw_flags);
}

static long submit_remote(struct call *c, struct rfile *f, uint64_t user, const struct iocb *b)
{
  long r = check(f, b);
  if (r == 0)
    r = carry_out(c, f, b);
  else
    return r;
  if (r == -ERESTART_CALL || r == -EINTR || r == -EAGAIN)
    return r == -ERESTART_CALL ? r : -EAGAIN; /* nothing was done */
  return complete(c->a[0], user, b, r);
}

/* ---- the calls ---- */

static long iocb_in(const struct call *c, long i, uint64_t *user, struct iocb *b)
{
  if (copy_in(user, (char *)c->a[2] + 8 * i, sizeof *user) || copy_in(b, (void *)*user, sizeof *b))
    return -EFAULT;
  return 0;
}

/* The first request on a remote file, or `n'. What cannot be read is the kernel's to complain of. */
static long first_remote(struct call *c, long n)
{
  struct rfile f;
  struct iocb b;
  uint64_t user;
  for (long i = 0; i < n; i++)
    if (iocb_in(c, i, &user, &b) || file_of(c, (int)b.aio_fildes, &f))
      return i;
  return n;
}

/* One after the other: the program may rely on nothing else, and an error ends the list. */
static long submit_each(struct call *c, long n)
{
  struct rfile f;
  struct iocb b;
  uint64_t user;
  for (long i = 0; i < n; i++) {
    long r = iocb_in(c, i, &user, &b);
    if (r == 0 && fd_hidden(c->p, (int)b.aio_fildes))
      r = -EBADF;
    if (r == 0)
      r = file_of(c, (int)b.aio_fildes, &f) ? submit_remote(c, &f, user, &b) : submit_one(c->a[0], user);
    if (r < 0)
      return i ? i : r;
  }
  return n;
}

/* io_submit(ctx, n, list) */
long a_io_submit(struct call *c)
{
  long n = (long)c->a[1] < SUBMIT_MAX ? (long)c->a[1] : SUBMIT_MAX;
  if (standalone() || n <= 0 || first_remote(c, n) == n)
    return pass(c);
  long r = sys3(__NR_io_submit, c->a[0], 0, 0); /* is it a context at all? */
  return r < 0 ? r : submit_each(c, n);
}

static void correct(const struct call *c, long n)
{
  struct io_event e;
  for (long i = 0; i < n; i++) {
    char *user = (char *)c->a[3] + i * (long)sizeof e;
    long error = copy_in(&e, user, sizeof e) || e.res != -EFAULT ? 0 : failure_take(c->a[0], &e);
    if (!error)
      continue;
    e.res = error;
    copy_out(user, &e, sizeof e);
  }
}

static long masked(struct call *c)
{
  uint64_t set[2], mask;
  if (copy_in(set, (void *)c->a[5], sizeof set))
    return -EFAULT;
  if (!set[0])
    return pass(c);
  if (set[1] != sizeof mask)
    return -EINVAL;
  if (copy_in(&mask, (void *)set[0], sizeof mask))
    return -EFAULT;
  return cp_masked(c->t, &mask, c->nr, (long)c->a[0], (long)c->a[1], (long)c->a[2], (long)c->a[3], (long)c->a[4], 0);
}

/* io_getevents(ctx, least, most, events, timeout), io_pgetevents with a mask in the sixth. */
long a_io_getevents(struct call *c)
{
  long r = c->row == ROW(io_pgetevents) && c->a[5] ? masked(c) : pass(c);
  if (r > 0 && __atomic_load_n(&failures, __ATOMIC_ACQUIRE))
    correct(c, r);
  return r;
}
