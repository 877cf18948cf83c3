/*
 * fcntl and flock on the slave's files. Descriptors and their close-on-exec flag are the kernel's, on the placeholder;
 * O_NONBLOCK is kept in hstate (the slave's open file may be shared with others, who did not ask for it); locks are
 * the slave's, see locks.c.
 */
#include <linux/fs.h>

#include "agent/light.h"

#define O_ASYNC FASYNC
#define SETTABLE (O_NONBLOCK | O_ASYNC | O_APPEND | O_DIRECT | O_NOATIME)

static long ask_int(struct call *c, struct rfile *f, unsigned cmd, uint64_t value)
{
  return file_call(c, ROW(fcntl), f, (uint64_t[]){cmd, IOA_INT, value}, 3, false);
}

/* What the agent keeps: O_NONBLOCK and the like; what the slave must know: O_APPEND, O_DIRECT, O_NOATIME. */
static long set_flags(struct call *c, struct rfile *f)
{
  uint32_t set = (uint32_t)c->a[2] & SETTABLE, old = f->s->flags, told = O_APPEND | O_DIRECT | O_NOATIME;
  if (old & O_PATH)
    return -EBADF;
  if ((set ^ old) & told && !is_stream(f->s)) {
    long r = ask_int(c, f, F_SETFL, set & told);
    if (r < 0)
      return r;
  }
  f->s->flags = (old & ~(uint32_t)SETTABLE) | set;
  return 0;
}

/* A number made by the kernel stands for what the old one does. */
static long dup_fd(struct call *c)
{
  if (c->a[2] >= nofile_now(c->p))
    return -EINVAL;
  long r = fd_new(c->p, pass(c));
  if (r >= 0)
    vft_dup(c->p, (int)c->a[0], (int)r);
  return r;
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
    return f->s->flags & O_PATH ? -EBADF : locks_fcntl(c, f, (int)cmd);
  case F_CREATED_QUERY_CMD:
    return f->s->flags & O_PATH ? -EBADF : ask_int(c, f, cmd, c->a[2]);
  case F_GETPIPE_SZ:
  case F_SETPIPE_SZ:
    return is_stream(f->s) ? ask_int(c, f, cmd, c->a[2]) : -EBADF;
  case F_GETLEASE:
    return F_UNLCK;
  case F_NOTIFY: /* there is nothing to be taken back, and nothing to be had, as without CONFIG_DNOTIFY */
    return c->a[2] & ~DN_MULTISHOT ? -EINVAL : 0;
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
  long flags;
  unsigned cmd = (unsigned)c->a[1];
  if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
    return dup_fd(c);
  if (is_native(cmd) && vft_light(c->p, (int)c->a[0]) >= 0)
    return pass(c);
  if (cmd == F_GETFL && light_flags(c, (int)c->a[0], &flags))
    return flags;
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
  locks_mind(f.s);
  return file_call(c, c->row, &f, (uint64_t[]){c->a[1]}, 1, !(c->a[1] & LOCK_NB));
}
