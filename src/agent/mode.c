/*
 * The modes of fsyscall.h: where a thread's calls run (LOCAL, REMOTE), and whether descriptors and signals go through
 * the virtual tables (MAPPED, UNMAPPED).
 *
 * REMOTE|MAPPED is the rest of the agent. LOCAL|MAPPED differs in what a name means (route.c) and in what is asked of
 * the slave without one (time.c, creds.c, ident.c, net.c). LOCAL|UNMAPPED is the kernel here: the virtual file table
 * says of every descriptor that it is local. REMOTE|UNMAPPED is raw.c. Owns the control file. Must never: let a mode
 * keep a process from being born, executed or ended as always.
 */
#include "agent/call.h"
#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define WORDS_MAX 64

static long mode_set(struct thread *t, int mode)
{
  int old = t->mode;
  if (mode < 0 || mode & ~MODE_ALL)
    return -EINVAL;
  if (mode & FSYSCALL_REMOTE && standalone())
    return -ENOTCONN;
  t->mode = t->told_mode = (uint8_t)mode;
  return old;
}

long mode_call(struct call *c)
{
  switch (c->a[0]) {
  case FSYSCALL_GET_MODE:
    return c->t->mode;
  case FSYSCALL_SET_MODE:
    return mode_set(c->t, c->a[1] > MODE_ALL ? -1 : (int)c->a[1]);
  default:
    return -EINVAL;
  }
}

bool mode_structural(const struct call *c)
{
  switch (c->nr) {
  case SYS_clone:
  case SYS_clone3:
  case SYS_fork:
  case SYS_vfork:
  case SYS_execve:
  case SYS_execveat:
  case SYS_exit:
  case SYS_exit_group:
  case SYS_unshare:
  case SYS_close_range:
    return true;
  default:
    return false;
  }
}

long as_mapped(struct call *c)
{
  c->t->mode |= FSYSCALL_MAPPED;
  long r = handlers[c->nr](c);
  c->t->mode = c->t->told_mode;
  return r;
}

/* Numbers that go away or become others' are to be known as such in either mode. */
static bool changes_numbers(int nr)
{
  return nr == SYS_close || nr == SYS_dup || nr == SYS_dup2 || nr == SYS_dup3 || nr == SYS_fcntl;
}

/* The kernel's own directory, unless it is the program's as well. */
static bool about_cwd(const struct call *c)
{
  return (c->nr == SYS_chdir || c->nr == SYS_fchdir || c->nr == SYS_getcwd) && c->p->cwd.v != H_NONE;
}

static long raw_local(struct call *c)
{
  if (mode_structural(c) || changes_numbers(c->nr))
    return as_mapped(c);
  if (c->nr == SYS_rt_sigprocmask)
    return signal_raw_mask(c);
  if (c->nr == SYS_rt_sigaction)
    return signal_raw_action(c);
  return about_cwd(c) ? a_local(c) : handlers[c->nr](c);
}

long mode_serve(struct call *c)
{
  if (mode_raw_remote())
    return raw_remote(c);
  long r = mode_raw() ? raw_local(c) : handlers[c->nr](c);
  return c->p->control ? mode_written(c, r) : r;
}

/* ---- the control file ---- */

/* The words as they stand in the file now: what was written in pieces counts when it is whole. */
long mode_written(struct call *c, long result)
{
  char text[WORDS_MAX];
  struct stat_k st;
  if (result <= 0 || (c->nr != SYS_write && c->nr != SYS_writev && c->nr != SYS_pwrite64))
    return result;
  int fd = (int)c->a[0];
  if (sys2(SYS_fstat, fd, &st) || st.ino != c->p->control || st.nlink)
    return result;
  long n = sys4(SYS_pread64, fd, text, sizeof text - 1, 0);
  text[n < 0 ? 0 : n] = 0;
  int mode = mode_parse(text, c->t->mode);
  long r = mode < 0 ? -EINVAL : mode_set(c->t, mode);
  return r < 0 ? r : result;
}

long mode_open(struct call *c, unsigned long flags)
{
  char text[WORDS_MAX];
  struct stat_k st;
  int n = fmt(text, sizeof text, "%s\n", mode_text(c->t->told_mode));
  long fd = fd_new(c->p, sys2(SYS_memfd_create, "fsyscall-mode", flags & O_CLOEXEC ? 1 : 0));
  if (fd < 0)
    return fd;
  if (!(flags & O_TRUNC))
    sys4(SYS_pwrite64, fd, text, n, 0);
  if (flags & O_ACCMODE && !sys2(SYS_fstat, fd, &st))
    c->p->control = st.ino;
  vft_local(c->p, (int)fd);
  return fd;
}
