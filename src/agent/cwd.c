/*
 * The working directory, the root and the umask: what a process's paths and new files start from.
 *
 * Owns proc.cwd and cwd_path (under proc.lock) and AFD_CWD, which keeps a remote directory's placeholder open for as
 * long as it is somebody's working directory. The kernel's own working directory follows only local ones. A local
 * directory's name is kept too: it chooses the rules that a relative path falls under.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "agent/call.h"

#define PATH_SIZE 4096

/* `keep': the placeholder, 0 or less: none is needed (local, or a handle that is always open). */
static void cwd_set(struct call *c, struct handle h, const char *path, long keep)
{
  struct proc *p = c->p;
  int own = afd(p, AFD_CWD);
  if (keep >= 0)
    sys3(__NR_dup3, keep, own, 0);
  lock(&p->lock);
  p->cwd = h;
  memcpy(p->cwd_path, path, strlen(path) + 1);
  unlock(&p->lock);
  if (keep < 0)
    sys1(__NR_close, own);
}

/* The kernel has changed its own. */
static long went_local(struct call *c)
{
  char *path = c->t->path_buf[0];
  long n = sys2(__NR_getcwd, path, PATH_SIZE);
  cwd_set(c, (struct handle){H_NONE}, n > 0 && path[0] == '/' ? path : "/", -1);
  return 0;
}

/* ---- chdir ---- */

static long chdir_here(struct call *c, const struct at *at)
{
  long r = sys1(__NR_chdir, at->path);
  return r < 0 || standalone() ? r : went_local(c);
}

/* The directory is open; its name goes with it, and no number of the program's stays behind. */
static long enter(struct call *c, struct opened *o, const struct at *at)
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
  if (!r)
    cwd_set(c, o->h, path, fd);
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
  r = open_remote(c, &at, O_PATH | O_DIRECTORY, 0, &o);
  if (r < 0)
    return r;
  return r == 1 ? chdir_here(c, &at) : enter(c, &o, &at);
}

/* ---- fchdir ---- */

/* Inherited directories have no name in their placeholder: the slave knows it. */
static long name_of_dir(struct call *c, int fd, struct handle h, char *path)
{
  struct req q;
  long r = dir_path(fd, h, path);
  if (r != -ENOENT)
    return r;
  req_start(&q, c->t, &syscall_rows[__NR_readlinkat]);
  req_handle(&q, h);
  req_str(&q, "");
  req_u64(&q, PATH_SIZE - 1);
  c->where = N_WAITED;
  r = req_call(&q, false);
  if (r < 0)
    return r;
  return get_str(&q.r, path, PATH_SIZE) && path[0] == '/' ? 0 : -ENOTDIR;
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
    cwd_set(c, h, path, fd);
  return r;
}

/* ---- the rest ---- */

long a_getcwd(struct call *c)
{
  char *path = c->t->path_buf[2];
  if (standalone() || cwd_get(c->p, path).v == H_NONE)
    return pass(c);
  size_t n = strlen(path) + 1;
  c->where = N_MEMORY;
  if (c->a[1] < n)
    return -ERANGE;
  return copy_out((void *)c->a[0], path, n) ? -EFAULT : (long)n;
}

/* A root on the slave would leave the programs' own files behind: refused as to one without the privilege. */
long a_chroot(struct call *c)
{
  struct at at;
  long r = route(c, AT_FDCWD, (const void *)c->a[0], 0, &at, 0);
  if (r)
    return r;
  if (!at.local)
    return -EPERM;
  c->a[0] = (unsigned long)at.path;
  return pass(c);
}

/* The kernel's own for local files; every request carries it to the slave. */
long a_umask(struct call *c)
{
  uint32_t mask = (uint32_t)c->a[0] & 0777;
  uint32_t old = __atomic_exchange_n(&c->p->umask, mask, __ATOMIC_RELAXED);
  sys1(__NR_umask, mask);
  return old;
}
