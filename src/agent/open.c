/*
 * Opening, closing and duplicating descriptors, here and on the slave.
 *
 * Owns the path from an OPEN's reply to a placeholder. Never lets the program close or replace a descriptor of the
 * agent's. A remote file's close needs no message: the hub sees the placeholder's last close.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/openat2.h>
#include <linux/resource.h>
#include <linux/stat.h>

#include "agent/call.h"
#include "agent/light.h"

#define NOFOLLOW_OF(flags) ((flags)&O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0)
#define X_OK 1
#define EXCLUSIVE (O_CREAT | O_EXCL)
#define PROGRAM_MAX (64u << 20) /* the largest file of a program that is brought as a whole for being read */

long fd_new(struct proc *p, long fd)
{
  if (fd < 0 || (!fd_hidden(p, (int)fd) && (uint64_t)fd < nofile_now(p)))
    return fd;
  sys1(__NR_close, fd);
  return -EMFILE;
}

/* ---- on the slave ---- */

static bool wants_contents(unsigned long flags)
{
  return (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_TRUNC | O_DIRECT | O_PATH));
}

static long send_open(struct call *c, const struct at *at, unsigned long flags, unsigned long mode, struct opened *o)
{
  struct req *q = &o->q;
  req_start(q, c->t, &syscall_rows[__NR_openat]);
  req_handle(q, at->base);
  req_str(q, at->path);
  req_u64(q, flags);
  req_u64(q, mode);
  req_handle(q, o->h);
  if (wants_contents(flags) || flags & (O_DIRECTORY | O_PATH))
    q->flags |= FF_CONTENTS;
  c->where = N_WAITED;
  return req_call(q, true);
}

static long take_reply(struct opened *o)
{
  struct hstate *s = hstate(o->h);
  struct rbuf *r = &o->q.r;
  s->kind = (uint32_t)get_u64(r);
  get_attr(r, &o->attr);
  uint64_t flags = get_u64(r);
  s->flags = (uint32_t)flags;
  s->noexec = (flags & WIRE_NOEXEC) != 0;
  const void *p = get_blob(r, &o->len, FRAME_DATA_MAX);
  if (r->bad)
    return -EIO;
  o->contents = o->q.reply_flags & FF_CONTENTS ? p : 0;
  if (o->q.reply_flags & FF_POSTED)
    return 0; /* the hub says which file it is, once the slave has said it */
  s->sync = (o->q.reply_flags & FF_SYNC) != 0;
  snap_take(s, &o->q, &o->attr, SNAP_ATTR);
  return 0;
}

static long open_once(struct call *c, struct at *at, unsigned long flags, unsigned long mode, struct opened *o)
{
  long lost = at_settle(c, at);
  if (lost)
    return lost;
  o->h = handle_new();
  if (o->h.v == H_NONE)
    return -ENFILE;
  long r = send_open(c, at, flags, mode, o);
  bool opened = r >= 0 && !(o->q.reply_flags & FF_REDIRECT);
  if (!opened) {
    handle_drop(o->h);
    return r;
  }
  r = take_reply(o);
  if (r)
    handle_close(c->t, o->h);
  return r;
}

long open_bare(struct call *c, struct at *at, unsigned long flags, struct opened *o)
{
  long r = open_once(c, at, flags, 0, o);
  return r < 0 ? r : o->q.reply_flags & FF_REDIRECT ? 1 : 0;
}

long open_remote(struct call *c, struct at *at, unsigned long flags, unsigned long mode, struct opened *o)
{
  long known = flags & O_CREAT ? 0 : names_error(c, at, !(flags & O_NOFOLLOW));
  if (known || at->local)
    return known ? known : 1;
  for (;;) {
    long r = open_once(c, at, flags, mode, o);
    if (r < 0 || !(o->q.reply_flags & FF_REDIRECT))
      return r < 0 ? r : 0;
    r = route_again(c, &o->q, at, 0);
    if (r < 0)
      return r;
    if (at->local) {
      c->where = N_LOCAL;
      return 1;
    }
  }
}

/* A memfd is a file, too, to RLIMIT_FSIZE: what does not fit is not kept, or the program would get SIGXFSZ for it. */
bool memory_fits(size_t n)
{
  struct rlimit64 limit;
  return sys4(__NR_prlimit64, 0, RLIMIT_FSIZE, 0, &limit) == 0 && n <= limit.rlim_cur;
}

/* Behind the path, a small directory's records: kept in the placeholder (dir.c). The length of the path. */
static size_t dir_names(struct hstate *s, const char *p, size_t n, int fd)
{
  size_t path = 0;
  while (path < n && p[path])
    path++;
  size_t len = n > path + 1 ? n - path - 1 : 0;
  if (len && s->snap && memory_fits(DIR_NAMES_AT + len) &&
      sys4(__NR_pwrite64, fd, p + path + 1, len, DIR_NAMES_AT) == (long)len)
    s->names_len = (uint32_t)len, s->names_gen = session->gens[GEN_NAMES];
  return path;
}

/* A small file's contents make its placeholder readable here; a directory's placeholder holds its path. */
static void fill(struct opened *o, const struct at *at, int fd)
{
  struct hstate *s = hstate(o->h);
  const void *p = o->contents;
  size_t n = o->len;
  if (S_ISDIR(o->attr.mode) && !p) {
    p = at->lexical;
    n = strlen(at->lexical);
  } else if (S_ISDIR(o->attr.mode)) {
    n = dir_names(s, p, n, fd);
  }
  bool contents = s->kind == K_REG && s->snap && n == o->attr.size;
  if (!p || !(S_ISDIR(o->attr.mode) || contents) || !memory_fits(n))
    return;
  bool whole = n == 0 || sys4(__NR_pwrite64, fd, p, n, 0) == (long)n;
  if (whole && contents)
    __atomic_fetch_or(&s->snap, SNAP_CONTENTS, __ATOMIC_ACQ_REL);
}

long open_place(struct call *c, struct opened *o, const struct at *at, int cloexec)
{
  long fd = handle_place(c, o->h, cloexec, at->lexical);
  if (fd >= 0) {
    fill(o, at, (int)fd);
    placeholder_seal((int)fd);
  }
  return fd;
}

long open_taken(struct call *c, struct opened *o, int cloexec)
{
  char nowhere[1] = "";
  struct at at = {.lexical = nowhere};
  long r = take_reply(o);
  if (r) {
    handle_close(c->t, o->h);
    return r;
  }
  return open_place(c, o, &at, cloexec);
}

/* ---- openat ---- */

long pass_newfd(struct call *c)
{
  long fd = fd_new(c->p, pass(c));
  if (fd >= 0)
    vft_local(c->p, (int)fd);
  return fd;
}

static long open_here(struct call *c, const struct at *at, unsigned long flags)
{
  long shown = view_open(c, at, flags);
  if (shown != NO_VIEW)
    return shown;
  c->a[0] = (unsigned long)at->dirfd;
  c->a[1] = (unsigned long)at->path;
  long fd = pass_newfd(c);
  bool reads = !(flags & (O_ACCMODE | O_PATH | O_DIRECTORY));
  return fd >= 0 && reads && at->lexical[0] ? proc_view(c, at->lexical, fd) : fd;
}

/* Libraries are read by every program: their contents move once a session. */
static void note_program(const struct opened *o, const struct at *at)
{
  struct hstate *s = hstate(o->h);
  uint64_t size = o->attr.size;
  bool large = size > CONTENTS_MAX && size <= PROGRAM_MAX;
  if (large && s->kind == K_REG && (s->flags & O_ACCMODE) == O_RDONLY && route_program(at->lexical))
    __atomic_fetch_or(&s->snap, SNAP_STORE, __ATOMIC_ACQ_REL);
}

/* LIGHT_NO: memory does not say, or `at' has become local. */
static long open_known(struct call *c, struct at *at, unsigned long flags)
{
  struct name_answer a;
  if (flags & O_CREAT)
    return LIGHT_NO;
  enum known k = names_ask(c, at, !(flags & O_NOFOLLOW), &a);
  if (k == KNOWN_ERROR)
    c->where = N_MEMORY;
  return k == KNOWN_ERROR ? a.error : k == KNOWN_THERE ? light_open(c, at, flags, &a) : LIGHT_NO;
}

static long open_at(struct call *c, unsigned long flags, unsigned long mode)
{
  struct at at;
  struct opened o;
  int nofollow = (flags & EXCLUSIVE) == EXCLUSIVE ? AT_SYMLINK_NOFOLLOW : NOFOLLOW_OF(flags);
  long r = route(c, (int)c->a[0], (const void *)c->a[1], nofollow, &at, 0);
  if (r)
    return r;
  if (at.local)
    return open_here(c, &at, flags);
  r = open_known(c, &at, flags);
  if (r != LIGHT_NO)
    return r;
  if (at.local)
    return open_here(c, &at, flags);
  r = open_remote(c, &at, flags & ~(unsigned long)O_CLOEXEC, mode, &o);
  if (r < 0)
    return r;
  if (r == 0)
    note_program(&o, &at);
  return r == 1 ? open_here(c, &at, flags) : open_place(c, &o, &at, (int)(flags & O_CLOEXEC));
}

long a_openat(struct call *c)
{
  unsigned long mode = c->a[2] & (O_CREAT | __O_TMPFILE) ? c->a[3] : 0;
  return open_at(c, (uint32_t)c->a[2] & ~WIRE_EXECUTE, mode & 07777);
}

/* ---- openat2 ---- */

#define SCOPED (RESOLVE_BENEATH | RESOLVE_IN_ROOT)

/* Redirects and remembered names are for lookups without restrictions. */
static long open_restricted(struct call *c, struct at *at, const struct open_how *how, struct opened *o)
{
  bool links = !(how->resolve & (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS));
  if (!*at->path && !links)
    return -ELOOP; /* it was a name of /proc/self/fd */
  uint64_t flags = (how->flags & ~(uint64_t)O_CLOEXEC) | how->resolve << WIRE_RESOLVE_SHIFT;
  long r = open_once(c, at, flags, how->mode, o);
  return r < 0 ? r : 0;
}

static long openat2_remote(struct call *c, struct at *at, const struct open_how *how)
{
  struct opened o;
  if (how->resolve & RESOLVE_CACHED)
    return -EAGAIN;
  long r = how->resolve ? open_restricted(c, at, how, &o)
                        : open_remote(c, at, how->flags & ~(uint64_t)O_CLOEXEC, how->mode, &o);
  if (r < 0)
    return r;
  return r == 1 ? open_here(c, at, how->flags) : open_place(c, &o, at, (int)(how->flags & O_CLOEXEC));
}

/* The directory that a lookup must not leave, and the path as it was given. */
static long scope(struct call *c, int dirfd, struct at *at)
{
  char *path = c->t->path_buf[0];
  *at = (struct at){.local = true, .dirfd = dirfd, .path = path, .lexical = c->t->path_buf[1]};
  at->base = dirfd == AT_FDCWD ? cwd_get(c->p, at->lexical) : vft_remote(c->p, dirfd);
  at->local = at->base.v == H_NONE;
  at->lexical[0] = 0;
  long n = copy_str(path, (const void *)c->a[1], WIRE_PATH_MAX);
  return n < 0 ? n : n ? 0 : -ENOENT;
}

/* Below a local directory there may be names of the slave's, which only a restricted lookup on both could reach. */
static long openat2_scoped(struct call *c, int dirfd, const struct open_how *how)
{
  struct at at, below;
  long r = scope(c, dirfd, &at);
  if (r)
    return r;
  if (!at.local)
    return at.path[0] == '/' && how->resolve & RESOLVE_BENEATH ? -EXDEV : openat2_remote(c, &at, how);
  if (at.path[0] == '/' || standalone())
    return pass_newfd(c);
  r = route(c, dirfd, (const void *)c->a[1], NOFOLLOW_OF(how->flags), &below, 0);
  return r < 0 ? r : below.local ? pass_newfd(c) : -EXDEV;
}

/* The kernel judges the arguments: with them in order, it is the empty path that it does not like. */
static long take_how(struct open_how *how, unsigned long user, unsigned long size)
{
  long r = sys4(__NR_openat2, -1, "", user, size);
  return r != -ENOENT ? r : copy_in(how, (const void *)user, sizeof *how) ? -EFAULT : 0;
}

/* A restricted lookup must see the path as it was given, or the restriction would mean something else. */
long a_openat2(struct call *c)
{
  struct open_how how;
  struct at at;
  int dirfd = (int)c->a[0];
  long r = take_how(&how, c->a[2], c->a[3]);
  if (r)
    return r;
  if (fd_hidden(c->p, dirfd))
    return -EBADF;
  if (how.resolve & SCOPED)
    return openat2_scoped(c, dirfd, &how);
  r = route(c, dirfd, (const void *)c->a[1], NOFOLLOW_OF(how.flags), &at, 0);
  if (r)
    return r;
  if (at.hops && how.resolve & (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS))
    return -ELOOP; /* /proc/self/exe */
  if (at.hops && how.resolve & RESOLVE_NO_XDEV)
    return -EXDEV;
  if (!at.local)
    return openat2_remote(c, &at, &how);
  if (how.resolve && at.dirfd != dirfd && at.path[0] != '/')
    return -EXDEV;
  return open_here(c, &at, how.flags);
}

/* ---- close ---- */

#define LOCKED_MAX 256 /* descriptors of one close_range that others mind */

static long late_of(struct proc *p, int fd)
{
  struct handle h = vft_light(p, fd) >= 0 ? (struct handle){H_NONE} : vft_remote(p, fd);
  return h.v == H_NONE ? 0 : late_error(hstate(h));
}

long a_close(struct call *c)
{
  int fd = (int)c->a[0];
  if (fd_hidden(c->p, fd))
    return -EBADF;
  long late = late_of(c->p, fd);
  struct locked l = locks_on(c->p, fd);
  long r = pass(c);
  vft_forget(c->p, fd);
  locks_drop(c->t, &l);
  return r < 0 ? r : late;
}

static long close_part(struct call *c, unsigned first, unsigned last)
{
  if (first > last)
    return 0;
  struct locked l[LOCKED_MAX];
  bool marks = c->a[2] & CLOSE_RANGE_CLOEXEC;
  unsigned n = marks ? 0 : locks_in_range(c->p, first, last, l, LOCKED_MAX);
  long r = sys3(__NR_close_range, first, last, c->a[2]);
  if (r < 0 || marks)
    return r;
  vft_forget_range(c->p, first, last);
  for (unsigned i = 0; i < n; i++)
    locks_drop(c->t, &l[i]);
  return 0;
}

/* In two parts, around the agent's own. */
long a_close_range(struct call *c)
{
  unsigned first = (unsigned)c->a[0], last = (unsigned)c->a[1];
  unsigned own = (unsigned)c->p->afd_base, behind = own + AFD_COUNT;
  if (first > last || c->a[2] & ~(unsigned long)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC))
    return -EINVAL;
  if (last < own || first >= behind)
    return close_part(c, first, last);
  long r = first < own ? close_part(c, first, own - 1) : 0;
  return r < 0 || last < behind ? r : close_part(c, behind, last);
}

/* ---- more numbers for what is open ---- */

long a_dup(struct call *c)
{
  if (fd_hidden(c->p, (int)c->a[0]))
    return -EBADF;
  long fd = fd_new(c->p, pass(c));
  if (fd >= 0)
    vft_dup(c->p, (int)c->a[0], (int)fd);
  return fd;
}

long a_dup2(struct call *c)
{
  int from = (int)c->a[0], to = (int)c->a[1];
  if (fd_hidden(c->p, from) || fd_hidden(c->p, to) || (from != to && (unsigned)to >= nofile_now(c->p)))
    return -EBADF;
  struct locked l = locks_on(c->p, from == to ? -1 : to);
  long r = pass(c);
  if (r < 0 || from == to)
    return r;
  vft_dup(c->p, from, to);
  locks_drop(c->t, &l);
  return r;
}

/* Two numbers that the kernel wrote into the program's memory. */
static long two_new(struct call *c, const void *user)
{
  int fd[2];
  if (copy_in(fd, user, sizeof fd))
    return -EFAULT;
  if (fd_new(c->p, fd[0]) < 0) {
    sys1(__NR_close, fd[1]);
    return -EMFILE;
  }
  if (fd_new(c->p, fd[1]) < 0) {
    sys1(__NR_close, fd[0]);
    return -EMFILE;
  }
  vft_local(c->p, fd[0]);
  vft_local(c->p, fd[1]);
  return 0;
}

long a_pipe(struct call *c)
{
  long r = pass(c);
  return r < 0 ? r : two_new(c, (const void *)c->a[0]);
}

long a_newfd(struct call *c)
{
  if (c->nr != __NR_socketpair)
    return pass_newfd(c);
  long r = pass(c);
  return r < 0 ? r : two_new(c, (const void *)c->a[3]);
}

/* ---- for exec ---- */

static bool in_group(uint64_t gid)
{
  const struct ids *f = &self()->proc->ids;
  if (gid == f->fsgid)
    return true;
  for (uint32_t i = 0; i < f->ngroups; i++)
    if (f->groups[i] == gid)
      return true;
  return false;
}

bool attr_executable(const struct wire_attr *a)
{
  const struct ids *f = &self()->proc->ids;
  if (f->fsuid == 0)
    return S_ISDIR(a->mode) || a->mode & 0111;
  if (a->uid == f->fsuid)
    return a->mode & 0100;
  return a->mode & (in_group(a->gid) ? 0010 : 0001);
}

static long open_nofollow(const struct at *at)
{
  return at->flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0;
}

/* The name that the kernel knows an open file by. */
static long name_of(long fd, char *real)
{
  char link[40];
  fmt(link, sizeof link, "/proc/thread-self/fd/%ld", fd);
  long n = sys3(__NR_readlink, link, real, 4095);
  if (n >= 0)
    real[n] = 0;
  return n;
}

/* A file that somebody has open for writing is not executed. A kernel that cannot be asked (before 6.14) says EINVAL.
 */
static long check_written(long fd)
{
  char *const argv[] = {"", 0}, *const envp[] = {0};
  long r = sys5(__NR_execveat, fd, "", argv, envp, AT_EMPTY_PATH | AT_EXECVE_CHECK_FLAG);
  return r == -ETXTBSY ? r : 0;
}

static long check_exec_here(long fd)
{
  struct stat_k st;
  long r = sys2(__NR_fstat, fd, &st);
  if (!r && !S_ISREG(st.mode))
    r = -EACCES;
  if (!r)
    r = sys4(__NR_faccessat2, fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS);
  return r ? r : check_written(fd);
}

static long exec_here(const struct at *at, char *real)
{
  long fd = sys4(__NR_openat, at->dirfd, at->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | open_nofollow(at), 0);
  if (fd < 0)
    return fd;
  long r = check_exec_here(fd);
  if (!r && real && name_of(fd, real) < 0) /* no /proc below this root */
    memcpy(real, at->path, strlen(at->path) + 1);
  if (r >= 0)
    return fd;
  sys1(__NR_close, fd);
  return r;
}

/* The slave's own name of the file, all links resolved; the one it was asked for if it does not say. */
static void real_name(struct call *c, struct handle h, const struct at *at, char *real)
{
  const char *given = *at->lexical ? at->lexical : at->path;
  memcpy(real, given, strlen(given) + 1);
  if (handle_name(c, h, real))
    return;
  const char *seen = root_seen(c->p, real);
  if (seen != real)
    memmove(real, seen, strlen(seen) + 1);
}

static long exec_contents(struct call *c, struct opened *o, const char *path)
{
  char name[250];
  if (!o->contents || o->len != o->attr.size || !memory_fits(o->len))
    return contents_fd(c, o->h, path);
  int n = fmt(name, sizeof name, "fsyscall-file:%lx:%lx:%lx:", (unsigned long)session->id, (unsigned long)o->attr.dev,
              (unsigned long)o->attr.ino);
  if ((size_t)n + strlen(path) < sizeof name)
    memcpy(name + n, path, strlen(path) + 1);
  long fd = sys2(__NR_memfd_create, name, MFD_CLOEXEC);
  if (fd >= 0 && sys4(__NR_pwrite64, fd, o->contents, o->len, 0) != (long)o->len) {
    sys1(__NR_close, fd);
    return -ENOMEM;
  }
  return fd;
}

/* An ELF file that would run as somebody else; what a script says of that, the kernel ignores, too. */
static bool is_set_id(const struct wire_attr *a, long fd)
{
  const struct ids *f = &self()->proc->ids;
  bool suid = a->mode & S_ISUID && a->uid != f->euid,
       sgid = a->mode & S_ISGID && a->mode & S_IXGRP && a->gid != f->egid;
  char magic[4];
  return (suid || sgid) && f->euid != 0 && sys4(__NR_pread64, fd, magic, 4, 0) == 4 && !memcmp(magic, "\177ELF", 4);
}

static long exec_remote(struct call *c, struct at *at, char *real)
{
  struct opened o;
  long r = open_remote(c, at, (unsigned long)(O_RDONLY | O_NONBLOCK | open_nofollow(at)) | WIRE_EXECUTE, 0, &o);
  if (r < 0)
    return r;
  if (r == 1)
    return exec_here(at, real);
  long fd = -EACCES;
  if (S_ISREG(o.attr.mode) && attr_executable(&o.attr) && !hstate(o.h)->noexec) {
    fd = exec_contents(c, &o, at->lexical);
    if (fd >= 0 && !c->t->no_new_privs && is_set_id(&o.attr, fd)) {
      sys1(__NR_close, fd);
      fd = -EPERM;
    }
    if (fd >= 0 && real)
      real_name(c, o.h, at, real);
  }
  handle_close(c->t, o.h);
  return fd;
}

/* fexecve(3): the descriptor itself, opened anew since it may have been opened for something else. */
static int name_descriptor(struct call *c, struct at *at)
{
  if (sys2(__NR_fcntl, at->dirfd, F_GETFD) < 0)
    return -EBADF;
  at->path = c->t->path_buf[0];
  fmt(at->path, 40, "/proc/thread-self/fd/%d", at->dirfd);
  at->dirfd = AT_FDCWD;
  return 0;
}

int route_open_exec(struct call *c, int dirfd, const char *path, int flags, char *real)
{
  struct at at;
  int r = route(c, dirfd, path, flags, &at, 0);
  if (!r && at.local && !*at.path)
    r = name_descriptor(c, &at);
  if (r)
    return r;
  return (int)(at.local ? exec_here(&at, real) : exec_remote(c, &at, real));
}
