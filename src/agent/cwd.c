/*
 * The working directory, the root and the umask: what a process's paths and new files start from.
 *
 * Owns proc.cwd and cwd_path (under proc.lock) and AFD_CWD, which keeps a remote directory's placeholder open for as
 * long as it is somebody's working directory. The kernel's own working directory follows only local ones. A local
 * directory's name is kept too: it chooses the rules that a relative path falls under. "": it lies too deep for a name.
 * The same for the root: a directory of the slave becomes one there (creds.c tells), where no rule leads out of it; a
 * local one is the kernel's, and then every absolute path is.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "agent/call.h"

#define PATH_SIZE 4096

static uint32_t names_now(void)
{
  return __atomic_load_n(&session->gens[GEN_NAMES], __ATOMIC_ACQUIRE);
}

/* One of the agent's numbers that nobody uses, or the usual one. */
static int number_free(const struct proc *p)
{
  struct stat_k st, idle;
  sys2(__NR_fstat, afd(p, AFD_SESSION), &idle);
  for (int fd = p->afd_base + AFD_SPARE + 2; fd < p->afd_base + AFD_COUNT; fd++)
    if (sys2(__NR_fstat, fd, &st) == 0 && st.ino == idle.ino && st.dev == idle.dev)
      return fd;
  return afd(p, AFD_CWD);
}

static int cwd_number(const struct proc *p)
{
  return p->cwd_fd >= 0 ? p->cwd_fd : afd(p, AFD_CWD);
}

/* Keeps the directory open. Where others have the same descriptors, AFD_CWD may be what keeps theirs. */
static void cwd_keep(struct proc *p, long keep)
{
  if (p->files_shared && p->cwd_fd < 0)
    p->cwd_fd = number_free(p);
  sys3(__NR_dup3, keep, cwd_number(p), 0);
}

void cwd_own(struct proc *p)
{
  if (p->cwd_fd >= 0 && p->cwd_fd != afd(p, AFD_CWD)) {
    sys3(__NR_dup3, p->cwd_fd, afd(p, AFD_CWD), 0);
    sys3(__NR_dup3, afd(p, AFD_SESSION), p->cwd_fd, 0);
  }
  p->cwd_fd = -1;
}

/* `keep': the placeholder, 0 or less: none is needed (local, or a handle that is always open). */
static void cwd_set(struct call *c, struct handle h, const char *path, uint32_t gen, long keep)
{
  struct proc *p = c->p;
  if (keep >= 0)
    cwd_keep(p, keep);
  lock(&p->lock);
  p->cwd = h;
  session->procs[p->ctx % SESSION_PROCS].cwd = h.v;
  p->cwd_gen = gen;
  memcpy(p->cwd_path, path, strlen(path) + 1);
  unlock(&p->lock);
  if (keep < 0 && !p->files_shared)
    sys1(__NR_close, cwd_number(p));
}

/* The kernel has changed its own. */
static long went_local(struct call *c)
{
  char *path = c->t->path_buf[0];
  long n = sys2(__NR_getcwd, path, PATH_SIZE);
  bool named = n > 0 && path[0] == '/';
  cwd_set(c, (struct handle){H_NONE}, named ? path : n == -ENAMETOOLONG ? "" : "/", 0, -1);
  return 0;
}

/* ---- chdir ---- */

static long chdir_here(struct call *c, const struct at *at)
{
  long r = sys1(__NR_chdir, at->path);
  return r < 0 || standalone() ? r : went_local(c);
}

/* The directory is open; its name goes with it, and no number of the program's stays behind. */
static long enter(struct call *c, struct opened *o, const struct at *at, uint32_t gen)
{
  if (!attr_executable(&o->attr)) {
    handle_close(c->t, o->h);
    return -EACCES;
  }
  long fd = open_place(c, o, at, O_CLOEXEC);
  if (fd < 0)
    return fd;
  char *path = c->t->path_buf[2];
  long r = dir_path((int)fd, o->h, path);
  if (r == -ENOENT)
    r = path[0] = 0; /* too deep for a name */
  if (!r)
    cwd_set(c, o->h, path, gen, fd);
  sys1(__NR_close, fd);
  vft_forget(c->p, (int)fd);
  return r;
}

long a_chdir(struct call *c)
{
  struct at at;
  struct opened o;
  long r = route(c, AT_FDCWD, (const void *)c->a[0], 0, &at, 0);
  if (r)
    return r;
  if (at.local)
    return chdir_here(c, &at);
  uint32_t gen = names_now();
  r = open_remote(c, &at, O_PATH | O_DIRECTORY, 0, &o);
  if (r < 0)
    return r;
  return r == 1 ? chdir_here(c, &at) : enter(c, &o, &at, gen);
}

/* ---- fchdir ---- */

long handle_name(struct call *c, struct handle h, char *path)
{
  struct req q;
  uint32_t n;
  req_start(&q, c->t, &syscall_rows[__NR_readlinkat]);
  req_handle(&q, h);
  req_str(&q, "");
  req_u64(&q, PATH_SIZE - 1);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r < 0)
    return r;
  const char *p = get_blob(&q.r, &n, PATH_SIZE - 1);
  if (q.r.bad || n == 0 || p[0] != '/')
    return -ENOENT;
  memcpy(path, p, n);
  path[n] = 0;
  return 0;
}

/* What was opened keeps its name in the placeholder, as it was then. */
static long name_of_dir(struct call *c, int fd, struct handle h, char *path)
{
  long r = dir_path(fd, h, path);
  if (!r || r == -ENOTDIR)
    return r;
  r = handle_name(c, h, path);
  if (r == -ENAMETOOLONG)
    r = path[0] = 0;
  return r;
}

long a_fchdir(struct call *c)
{
  int fd = (int)c->a[0];
  if (fd_hidden(c->p, fd))
    return -EBADF;
  struct handle h = vft_remote(c->p, fd);
  if (h.v == H_NONE) {
    long r = pass(c);
    return r < 0 || standalone() ? r : went_local(c);
  }
  char *path = c->t->path_buf[2];
  c->where = N_MEMORY;
  if (hstate(h)->attr.mode && S_ISDIR(hstate(h)->attr.mode) && !attr_executable(&hstate(h)->attr))
    return -EACCES;
  long r = name_of_dir(c, fd, h, path);
  if (!r)
    cwd_set(c, h, path, 0, fd); /* the name may be as old as the descriptor */
  return r;
}

/* ---- the rest ---- */

/* The kernel marks the name of what was removed so; the link count tells it from a name that only looks like it. */
static bool is_removed(struct call *c, struct handle h, const char *path)
{
  static const char mark[] = " (deleted)";
  struct wire_attr a;
  size_t n = strlen(path), m = sizeof mark - 1;
  return n > m && !strcmp(path + n - m, mark) && !attr_of_handle(c, h, &a) && a.nlink == 0;
}

/* Directories have been renamed or removed since the name was learnt. */
static long refresh(struct call *c, struct handle h, char *path)
{
  struct proc *p = c->p;
  uint32_t gen = names_now();
  if (p->cwd_gen == gen)
    return 0;
  long r = handle_name(c, h, path);
  if (r || is_removed(c, h, path))
    return r ? r : -ENOENT;
  lock(&p->lock);
  if (p->cwd.v == h.v) {
    memcpy(p->cwd_path, path, strlen(path) + 1);
    p->cwd_gen = gen;
  }
  unlock(&p->lock);
  return 0;
}

/* As the kernel names what lies outside a process's root; what does not fit has no name. */
static const char *beyond_root(char *path)
{
  static const char mark[] = "(unreachable)";
  size_t n = strlen(path) + 1, m = sizeof mark - 1;
  if (n + m > PATH_SIZE)
    return "";
  memmove(path + m, path, n);
  memcpy(path, mark, m);
  return path;
}

long a_getcwd(struct call *c)
{
  char *path = c->t->path_buf[2];
  struct handle h = cwd_get(c->p, path);
  if (standalone() || h.v == H_NONE)
    return pass(c);
  c->where = N_MEMORY;
  long r = refresh(c, h, path);
  if (r)
    return r;
  const char *seen = root_seen(c->p, path);
  if (seen == path && c->p->rooted == ROOT_REMOTE && c->p->root_path[1] && *path)
    seen = beyond_root(path);
  size_t n = strlen(seen) + 1;
  if (n == 1)
    return -ENAMETOOLONG;
  if (c->a[1] < n)
    return -ERANGE;
  return copy_out((void *)c->a[0], seen, n) ? -EFAULT : (long)n;
}

/* ---- chroot ---- */

static long root_here(struct call *c, const struct at *at)
{
  c->a[0] = (unsigned long)at->path;
  long r = pass(c);
  if (!r && !standalone())
    c->p->rooted = ROOT_LOCAL;
  return r;
}

static bool is_session_root(const struct wire_attr *a)
{
  return a->dev == session->root_dev && a->ino == session->root_ino;
}

static void root_set(struct proc *p, struct handle h, const char *path, int fd)
{
  sys3(__NR_dup3, fd, afd(p, AFD_ROOT), 0);
  lock(&p->lock);
  memcpy(p->root_path, path, strlen(path) + 1);
  p->root = h;
  p->rooted = ROOT_REMOTE;
  unlock(&p->lock);
  creds_tell(p);
}

/* The directory is open on the slave. */
static long root_there(struct call *c, struct opened *o, const struct at *at)
{
  struct proc *p = c->p;
  char *path = c->t->path_buf[2];
  long r = !attr_executable(&o->attr) ? -EACCES : p->ids.euid ? -EPERM : 0;
  if (r || (p->rooted == ROOT_SESSION && is_session_root(&o->attr))) {
    handle_close(c->t, o->h);
    return r;
  }
  long fd = open_place(c, o, at, O_CLOEXEC);
  if (fd < 0)
    return fd;
  if (!p->root_path && !(p->root_path = small_new(PATH_SIZE)))
    r = -ENOMEM;
  if (!r)
    r = dir_path((int)fd, o->h, path);
  if (!r)
    root_set(p, o->h, path, (int)fd);
  sys1(__NR_close, fd);
  vft_forget(p, (int)fd);
  return r;
}

long a_chroot(struct call *c)
{
  struct at at;
  struct opened o;
  long r = route(c, AT_FDCWD, (const void *)c->a[0], 0, &at, 0);
  if (r)
    return r;
  if (at.local)
    return root_here(c, &at);
  r = open_remote(c, &at, O_PATH | O_DIRECTORY, 0, &o);
  if (r < 0)
    return r;
  return r == 1 ? root_here(c, &at) : root_there(c, &o, &at);
}

/* A name on the slave as a process with that root sees it. */
const char *root_seen(const struct proc *p, const char *path)
{
  size_t n = p->rooted == ROOT_REMOTE ? strlen(p->root_path) : 0;
  if (n < 2 || strncmp(path, p->root_path, n) || (path[n] && path[n] != '/'))
    return path;
  return path[n] ? path + n : "/";
}

/* ---- umask ---- */

/* The kernel's own for local files; every request carries it to the slave. */
long a_umask(struct call *c)
{
  uint32_t mask = (uint32_t)c->a[0] & 0777;
  uint32_t old = __atomic_exchange_n(&c->p->umask, mask, __ATOMIC_RELAXED);
  sys1(__NR_umask, mask);
  return old;
}
