/*
 * Calls that name files by path, or change a file by descriptor, and need nothing but being sent where the name leads.
 *
 * Owns the choice between the kernel here and the slave for them. Two paths that lie on different sides are two file
 * systems: EXDEV. What the program's user owns on the master is shown as the slave user's (stat.c), so giving a
 * local file to the slave's user means giving it to the master's.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/time_types.h>

#include "agent/io.h"
#include "agent/light.h"
#include "agent/names.h"

#define NSEC_PER_USEC 1000
#define ACCESS_WIRE (syscall_rows[__NR_faccessat2].wire)

/* ---- where the paths are among the registers ---- */

struct path_args {
  unsigned n;
  unsigned reg[2]; /* of the path itself */
  bool has_dirfd;  /* in the register before it */
};

static struct path_args find_paths(const char *args)
{
  struct path_args p = {0};
  unsigned reg = 0;
  for (; *args; args++) {
    if (*args == 'A')
      p.has_dirfd = true;
    if (*args == 'A' || *args == 'P')
      p.reg[p.n++ & 1] = reg + (*args == 'A');
    reg += *args == 'A' || *args == 'B' || *args == 'O' ? 2 : 1;
  }
  return p;
}

/* AT_ flags of the call that matter to the route of its which'th path. */
static int route_flags(const struct call *c, unsigned which)
{
  unsigned traits = c->row->traits;
  int no_reg = TRAIT_NOFOLLOW_REG(traits), yes_reg = TRAIT_FOLLOW_REG(traits);
  if (which == 1)
    return AT_SYMLINK_NOFOLLOW;
  if (no_reg >= 0)
    return (int)c->a[no_reg] & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
  if (yes_reg >= 0)
    return ((int)c->a[yes_reg] & AT_EMPTY_PATH) | ((int)c->a[yes_reg] & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW);
  return traits & NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;
}

static int route_paths(struct call *c, const struct path_args *p, struct at at[2])
{
  for (unsigned i = 0; i < p->n; i++) {
    int dirfd = p->has_dirfd ? (int)c->a[p->reg[i] - 1] : AT_FDCWD;
    int r = route(c, dirfd, (const void *)c->a[p->reg[i]], route_flags(c, i), &at[i], (int)i);
    if (r)
      return r;
  }
  return 0;
}

static void take_local(struct call *c, const struct path_args *p, const struct at at[2])
{
  for (unsigned i = 0; i < p->n; i++) {
    c->a[p->reg[i]] = (unsigned long)at[i].path;
    if (p->has_dirfd)
      c->a[p->reg[i] - 1] = (unsigned long)at[i].dirfd;
  }
}

/* A directory may have been renamed or removed: working directories below it have to ask for their names. */
static long names_changed(const struct call *c, long r)
{
  if (r == 0 && (c->nr == __NR_renameat2 || (c->nr == __NR_unlinkat && c->a[2])))
    __atomic_fetch_add(&session->gens[GEN_NAMES], 1, __ATOMIC_ACQ_REL);
  return r;
}

/* Two paths that lie on different sides, if both can be walked from where they start. */
static long apart(const struct path_args *p, const struct at at[2])
{
  struct stat_k st;
  for (unsigned i = 0; i < 2; i++) {
    int dirfd = p->has_dirfd && at[i].local ? at[i].dirfd : AT_FDCWD;
    bool relative = dirfd != AT_FDCWD && *at[i].path && *at[i].path != '/';
    long r = relative ? sys2(__NR_fstat, dirfd, &st) : 0;
    if (r || (relative && !S_ISDIR(st.mode)))
      return r ? r : -ENOTDIR;
  }
  return -EXDEV;
}

/* Nothing that is only asked for changes the file. */
static bool changes(const struct row *row)
{
  return !strchr(row->args, 'O') && !strchr(row->args, 'F');
}

/* What memory knows not to be there need not be asked about; what would make it is not asked. */
static long known_error(struct call *c, struct at *at)
{
  return changes(c->row) ? 0 : names_error(c, at, !(at->flags & AT_SYMLINK_NOFOLLOW));
}

long a_path(struct call *c)
{
  struct path_args p = find_paths(c->row->args);
  struct at at[2] = {{0}};
  int r = route_paths(c, &p, at);
  if (r)
    return r;
  if (p.n == 2 && at[0].local != at[1].local)
    return apart(&p, at);
  long known;
  if (!at[0].local && c->row->wire == ACCESS_WIRE &&
      names_access(c, &at[0], (unsigned)c->a[2], !(c->a[3] & AT_SYMLINK_NOFOLLOW), &known))
    return known;
  known = !at[0].local && p.n == 1 ? known_error(c, &at[0]) : 0;
  if (known)
    return known;
  if (!at[0].local)
    return names_changed(c, remote_row(c, c->row, c->a, at));
  take_local(c, &p, at);
  return pass(c);
}

/* Beyond the limit of a file's size, what the file is now says whether that matters. */
long a_truncate(struct call *c)
{
  int flags = O_WRONLY | O_NONBLOCK | O_CLOEXEC;
  if (standalone() || (long)c->a[1] <= 0 || c->a[1] <= size_limit())
    return a_path(c);
  long fd = as_program(c->t, __NR_openat, (unsigned long)AT_FDCWD, c->a[0], (unsigned long)flags);
  if (fd < 0)
    return fd == -ENXIO ? -EINVAL : fd;
  long r = as_program(c->t, __NR_ftruncate, (unsigned long)fd, c->a[1], 0);
  as_program(c->t, __NR_close, (unsigned long)fd, 0, 0);
  return r;
}

long a_fd(struct call *c)
{
  if (fd_hidden(c->p, (int)c->a[0]))
    return -EBADF;
  struct handle h = vft_remote(c->p, (int)c->a[0]);
  if (h.v == H_NONE)
    return pass(c);
  long r = remote_row(c, c->row, c->a, 0);
  if (changes(c->row))
    file_changed(hstate(h));
  return r;
}

long a_fstatfs(struct call *c)
{
  long r;
  return light_statfs(c, (int)c->a[0], &r) ? r : a_fd(c);
}

/* ---- readlink ---- */

static long give_link(struct call *c, const char *text)
{
  size_t n = strlen(text), room = (size_t)(int)c->a[3];
  n = n < room ? n : room;
  return copy_out((void *)c->a[2], text, n) ? -EFAULT : (long)n;
}

/* A placeholder shows the file that it stands for. Terminals by the name that ttyname(3) can find again. */
static long link_of_handle(struct call *c, struct handle h)
{
  unsigned long a[6] = {0, 0, c->a[2], c->a[3]};
  struct at at = {.base = h, .path = ""};
  const struct hstate *s = hstate(h);
  if (s->kind == K_TTY && session->facts.ttyname[0]) {
    c->where = N_MEMORY;
    return give_link(c, session->facts.ttyname);
  }
  return remote_row(c, &syscall_rows[__NR_readlinkat], a, &at);
}

/* The process's own links; 0: not one of those, or the kernel's answer is right. */
static long self_link(struct call *c, const struct at *at)
{
  struct self_name s = self_name(c, at->lexical);
  if (*s.rest)
    return 0;
  if (s.what == SELF_OTHER || s.what == SELF_NO)
    return 0;
  char *buf = c->t->path_buf[3];
  struct handle h = self_target(c, &s, buf);
  if (s.what == SELF_EXE)
    return *buf ? give_link(c, buf) : 0;
  if (s.what == SELF_CWD && !s.pid && h.v != H_NONE) {
    cwd_get(c->p, c->t->path_buf[2]);
    return give_link(c, root_seen(c->p, c->t->path_buf[2]));
  }
  return h.v == H_NONE ? 0 : link_of_handle(c, h);
}

static long link_here(struct call *c, struct at *at)
{
  long r = *at->lexical ? self_link(c, at) : 0;
  if (r)
    return r;
  c->a[0] = (unsigned long)at->dirfd;
  c->a[1] = (unsigned long)at->path;
  return pass(c);
}

/* Without a name it is what is open, which is no link's name unless that is a link. */
static bool is_nameless(const struct at *at)
{
  return !*at->path && !S_ISLNK(hstate(at->base)->attr.mode);
}

/* A link's text is never changed, only the link replaced. */
static long link_there(struct call *c, struct at *at)
{
  struct name_answer a;
  if (is_nameless(at))
    return -ENOENT;
  enum known k = names_ask(c, at, false, &a);
  if (k == KNOWN_LOCAL)
    return link_here(c, at);
  bool link = k == KNOWN_THERE && S_ISLNK(a.attr.mode);
  if (k == KNOWN_NOT || (link && !a.target_len))
    return remote_row(c, c->row, c->a, at);
  c->where = N_MEMORY;
  if (!link)
    return k == KNOWN_THERE ? -EINVAL : a.error;
  uint32_t n = a.target_len < (uint32_t)c->a[3] ? a.target_len : (uint32_t)c->a[3];
  return copy_out((void *)c->a[2], a.target, n) ? -EFAULT : (long)n;
}

long a_readlinkat(struct call *c)
{
  struct at at;
  if ((int)c->a[3] <= 0)
    return -EINVAL;
  long r = route(c, (int)c->a[0], (const void *)c->a[1], AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, &at, 0);
  if (r)
    return r;
  return at.local ? link_here(c, &at) : link_there(c, &at);
}

/* ---- owners ---- */

static void to_master(unsigned long *uid, unsigned long *gid)
{
  const struct facts *f = &session->facts;
  if (standalone())
    return;
  if ((uint32_t)*uid == f->euid)
    *uid = f->master_uid;
  if ((uint32_t)*gid == f->egid)
    *gid = f->master_gid;
}

static long fchown_fd(struct call *c)
{
  if (!fd_hidden(c->p, (int)c->a[0]) && vft_remote(c->p, (int)c->a[0]).v == H_NONE)
    to_master(&c->a[1], &c->a[2]);
  return a_fd(c);
}

long a_chownat(struct call *c)
{
  if (c->nr == __NR_fchown)
    return fchown_fd(c);
  struct at at;
  int flags = (int)c->a[4];
  long r = route(c, (int)c->a[0], (const void *)c->a[1], flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), &at, 0);
  if (r)
    return r;
  if (!at.local)
    return remote_row(c, c->row, c->a, &at);
  c->a[0] = (unsigned long)at.dirfd;
  c->a[1] = (unsigned long)at.path;
  to_master(&c->a[2], &c->a[3]);
  return pass(c);
}

/* ---- times ---- */

static const struct row *const utimensat_row = &syscall_rows[__NR_utimensat];

/* `ts' may lie in the agent's memory. */
static long set_times(struct call *c, const struct at *at, const void *ts, unsigned long flags)
{
  unsigned long a[6] = {(unsigned long)at->dirfd, (unsigned long)at->path, (unsigned long)ts, flags};
  struct at copy = *at;
  return remote_row(c, utimensat_row, a, &copy);
}

/* futimens(3): no path, the descriptor itself. */
static long times_of_fd(struct call *c)
{
  struct at at = {.path = ""};
  if (fd_hidden(c->p, (int)c->a[0]))
    return -EBADF;
  at.base = vft_remote(c->p, (int)c->a[0]);
  if (at.base.v == H_NONE)
    return pass(c);
  long r = set_times(c, &at, (const void *)c->a[2], c->a[3] | AT_EMPTY_PATH);
  file_changed(hstate(at.base));
  return r;
}

long a_utimensat(struct call *c)
{
  struct at at;
  if (!c->a[1])
    return times_of_fd(c);
  long r = route(c, (int)c->a[0], (const void *)c->a[1], (int)c->a[3] & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), &at, 0);
  if (r)
    return r;
  if (!at.local)
    return set_times(c, &at, (const void *)c->a[2], c->a[3]);
  c->a[0] = (unsigned long)at.dirfd;
  c->a[1] = (unsigned long)at.path;
  return pass(c);
}

/* The older calls: their times are made the newer one's, which serves on both sides. */
static long times_at(struct call *c, int dirfd, const void *path, const struct __kernel_timespec *ts)
{
  struct at at;
  long r = route(c, dirfd, path, 0, &at, 0);
  if (r)
    return r;
  if (!at.local)
    return set_times(c, &at, ts, 0);
  return sys4(__NR_utimensat, at.dirfd, at.path, ts, 0);
}

long a_utime(struct call *c)
{
  int64_t t[2];
  if (!c->a[1])
    return times_at(c, AT_FDCWD, (const void *)c->a[0], 0);
  if (copy_in(t, (const void *)c->a[1], sizeof t))
    return -EFAULT;
  struct __kernel_timespec ts[2] = {{.tv_sec = t[0]}, {.tv_sec = t[1]}};
  return times_at(c, AT_FDCWD, (const void *)c->a[0], ts);
}

static long to_timespec(struct __kernel_timespec *ts, const int64_t *tv)
{
  if (tv[1] < 0 || tv[1] >= 1000000)
    return -EINVAL;
  *ts = (struct __kernel_timespec){.tv_sec = tv[0], .tv_nsec = tv[1] * NSEC_PER_USEC};
  return 0;
}

long a_utimes(struct call *c)
{
  bool at = c->nr == __NR_futimesat;
  int dirfd = at ? (int)c->a[0] : AT_FDCWD;
  const void *path = (const void *)c->a[at], *times = (const void *)c->a[at + 1];
  struct __kernel_timespec ts[2];
  int64_t tv[4];
  if (!times)
    return times_at(c, dirfd, path, 0);
  if (copy_in(tv, times, sizeof tv))
    return -EFAULT;
  if (to_timespec(&ts[0], tv) || to_timespec(&ts[1], tv + 2))
    return -EINVAL;
  return times_at(c, dirfd, path, ts);
}
