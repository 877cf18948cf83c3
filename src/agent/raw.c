/*
 * REMOTE|UNMAPPED: every call is the slave's. A raw descriptor is a number of this process context's own table of what
 * it has open there; the slave's own descriptors are nobody's to name.
 *
 * Raw number n is the descriptor RAW_BASE + n of the kernel here, a placeholder like any other: so it is inherited,
 * executed and closed as all are. proc.raw says which of them are in use. 0 to 2 are the slave's standard descriptors
 * as far as the program has them under these numbers. What cannot be asked of the slave for a raw descriptor (poll,
 * sockets' calls) fails with ENOSYS. Must never touch a descriptor of the program that is not in the table.
 */
#include "agent/call.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define RAW_BASE 512
#define SYS_fchmodat2_k 452

/* Which arguments are descriptors; of calls about names, AT_FDCWD is one too. */
static const struct raw_row {
  uint16_t nr;
  uint8_t fds;
  bool makes; /* the result is a new one */
} rows[] = {
    {SYS_read, 1, false},
    {SYS_write, 1, false},
    {SYS_fstat, 1, false},
    {SYS_lseek, 1, false},
    {SYS_mmap, 16, false},
    {SYS_ioctl, 1, false},
    {SYS_pread64, 1, false},
    {SYS_pwrite64, 1, false},
    {SYS_readv, 1, false},
    {SYS_writev, 1, false},
    {SYS_preadv, 1, false},
    {SYS_pwritev, 1, false},
    {SYS_preadv2, 1, false},
    {SYS_pwritev2, 1, false},
    {SYS_dup, 1, true},
    {SYS_flock, 1, false},
    {SYS_fsync, 1, false},
    {SYS_fdatasync, 1, false},
    {SYS_ftruncate, 1, false},
    {SYS_getdents, 1, false},
    {SYS_getdents64, 1, false},
    {SYS_fchdir, 1, false},
    {SYS_fchmod, 1, false},
    {SYS_fchown, 1, false},
    {SYS_fstatfs, 1, false},
    {SYS_fsetxattr, 1, false},
    {SYS_fgetxattr, 1, false},
    {SYS_flistxattr, 1, false},
    {SYS_fremovexattr, 1, false},
    {SYS_fallocate, 1, false},
    {SYS_fadvise64, 1, false},
    {SYS_readahead, 1, false},
    {SYS_syncfs, 1, false},
    {SYS_sync_file_range, 1, false},
    {SYS_copy_file_range, 5, false},
    {SYS_openat, 1, true},
    {SYS_openat2, 1, true},
    {SYS_mkdirat, 1, false},
    {SYS_mknodat, 1, false},
    {SYS_fchownat, 1, false},
    {SYS_futimesat, 1, false},
    {SYS_newfstatat, 1, false},
    {SYS_unlinkat, 1, false},
    {SYS_renameat2, 5, false},
    {SYS_linkat, 5, false},
    {SYS_symlinkat, 2, false},
    {SYS_readlinkat, 1, false},
    {SYS_fchmodat, 1, false},
    {SYS_fchmodat2_k, 1, false},
    {SYS_faccessat2, 1, false},
    {SYS_utimensat, 1, false},
    {SYS_statx, 1, false},
    {SYS_socket, 0, true},
};

/* About descriptors, and not for raw ones. */
static const uint16_t refused[] = {
    SYS_poll,
    SYS_select,
    SYS_sendfile,
    SYS_connect,
    SYS_accept,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_shutdown,
    SYS_bind,
    SYS_listen,
    SYS_getsockname,
    SYS_getpeername,
    SYS_socketpair,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_pipe,
    SYS_pipe2,
    SYS_epoll_wait,
    SYS_epoll_ctl,
    SYS_epoll_create,
    SYS_epoll_create1,
    SYS_epoll_pwait,
    SYS_pselect6,
    SYS_ppoll,
    SYS_splice,
    SYS_tee,
    SYS_vmsplice,
    SYS_inotify_init1,
    SYS_signalfd,
    SYS_signalfd4,
    SYS_eventfd,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_accept4,
    SYS_recvmmsg,
    SYS_sendmmsg,
    SYS_memfd_create,
    SYS_io_submit,
    SYS_inotify_add_watch,
    SYS_epoll_pwait2,
    SYS_timerfd_gettime,
    SYS_inotify_rm_watch,
};

static const struct raw_row *row_of(int nr)
{
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].nr == nr)
      return &rows[i];
  return 0;
}

static bool is_refused(int nr)
{
  for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++)
    if (refused[i] == nr)
      return true;
  return false;
}

/* ---- the table ---- */

static void mark(struct proc *p, unsigned long n, bool used)
{
  uint64_t bit = 1ul << n % 64;
  if (used)
    __atomic_fetch_or(&p->raw[n / 64], bit, __ATOMIC_ACQ_REL);
  else
    __atomic_fetch_and(&p->raw[n / 64], ~bit, __ATOMIC_ACQ_REL);
}

static int raw_fd(const struct proc *p, unsigned long n)
{
  n = (uint32_t)n;
  if (n >= RAW_MAX || !(__atomic_load_n(&p->raw[n / 64], __ATOMIC_ACQUIRE) >> n % 64 & 1))
    return -EBADF;
  return RAW_BASE + (int)n;
}

static long mapped(struct thread *t, int nr, unsigned long a, unsigned long b, unsigned long d)
{
  t->mode = MODE_ALL;
  long r = as_program(t, nr, a, b, d);
  t->mode = t->told_mode;
  return r;
}

/* A descriptor from RAW_BASE on becomes the raw one of that place. */
static long enter(struct call *c, long fd)
{
  if (fd < 0)
    return fd;
  if (fd < RAW_BASE || fd >= RAW_BASE + RAW_MAX) {
    mapped(c->t, SYS_close, (unsigned long)fd, 0, 0);
    return -EMFILE;
  }
  mark(c->p, (unsigned long)fd - RAW_BASE, true);
  return fd - RAW_BASE;
}

/* What the slave has opened moves to its place; what is this machine's is no answer of the slave's. */
static long move(struct call *c, long fd)
{
  bool remote = vft_remote(c->p, (int)fd).v != H_NONE || vft_socket(c->p, (int)fd).v != H_NONE;
  long cloexec = sys2(SYS_fcntl, fd, F_GETFD);
  long at =
      remote ? mapped(c->t, SYS_fcntl, (unsigned long)fd, cloexec == 1 ? F_DUPFD_CLOEXEC : F_DUPFD, RAW_BASE) : -EXDEV;
  mapped(c->t, SYS_close, (unsigned long)fd, 0, 0);
  return enter(c, at);
}

/* Once for each context. */
static void standard(struct call *c)
{
  c->p->raw_ready = true;
  for (unsigned long n = 0; n < 3; n++)
    if (raw_fd(c->p, n) < 0 && vft_remote(c->p, (int)n).v == H_STDIN + n &&
        sys2(SYS_fcntl, RAW_BASE + n, F_GETFD) == -EBADF && mapped(c->t, SYS_dup2, n, RAW_BASE + n, 0) >= 0)
      mark(c->p, n, true);
}

/* ---- calls that change the table ---- */

static long raw_close(struct call *c)
{
  unsigned long n = (uint32_t)c->a[0];
  int fd = raw_fd(c->p, n);
  if (fd < 0)
    return fd;
  mark(c->p, n, false);
  c->a[0] = (unsigned long)fd;
  return as_mapped(c);
}

static long raw_dup2(struct call *c)
{
  unsigned long to = (uint32_t)c->a[1];
  int fd = raw_fd(c->p, c->a[0]);
  if (fd < 0 || to >= RAW_MAX)
    return -EBADF;
  c->a[0] = (unsigned long)fd;
  c->a[1] = RAW_BASE + to;
  return enter(c, as_mapped(c));
}

static long raw_fcntl(struct call *c)
{
  int fd = raw_fd(c->p, c->a[0]);
  bool makes = c->a[1] == F_DUPFD || c->a[1] == F_DUPFD_CLOEXEC;
  if (fd < 0)
    return fd;
  c->a[0] = (unsigned long)fd;
  if (!makes)
    return as_mapped(c);
  if (c->a[2] >= RAW_MAX)
    return -EINVAL;
  c->a[2] += RAW_BASE;
  return enter(c, as_mapped(c));
}

/* ---- the rest ---- */

static long translate(struct call *c, const struct raw_row *row)
{
  bool names = c->row->args && (strchr(c->row->args, 'A') || c->nr == SYS_newfstatat || c->nr == SYS_futimesat);
  for (unsigned i = 0; i < 6; i++) {
    if (!(row->fds >> i & 1) || ((int)c->a[i] == AT_FDCWD && (names || c->nr == SYS_statx || c->nr == SYS_openat2)))
      continue;
    int fd = raw_fd(c->p, c->a[i]);
    if (fd < 0)
      return fd;
    c->a[i] = (unsigned long)fd;
  }
  return 0;
}

long raw_remote(struct call *c)
{
  const struct raw_row *row = row_of(c->nr);
  if (!c->p->raw_ready)
    standard(c);
  switch (c->nr) {
  case SYS_close:
    return raw_close(c);
  case SYS_dup2:
  case SYS_dup3:
    return raw_dup2(c);
  case SYS_fcntl:
    return raw_fcntl(c);
  default:
    break;
  }
  if (mode_structural(c) || (c->nr == SYS_mmap && c->a[3] & MAP_ANONYMOUS))
    return as_mapped(c);
  if (is_refused(c->nr)) {
    c->where = N_ENOSYS;
    return -ENOSYS;
  }
  long r = row ? translate(c, row) : 0;
  if (!r)
    r = handlers[c->nr](c);
  return r >= 0 && row && row->makes ? move(c, r) : r;
}
