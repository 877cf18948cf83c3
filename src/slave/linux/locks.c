/*
 * Record locks of processes that live elsewhere. The kernel would give all POSIX locks to this one process, where they
 * never conflict; so each process context has an open file description of its own for each file it locks, and the
 * locks are the description's (F_OFD_SETLK): those conflict as the contexts' own would, and with everybody else's.
 *
 * What the kernel does not do for such locks is done here: who holds one (the kernel tells, in fdinfo, which ranges a
 * description has locked), circles of contexts that wait for each other, and letting go, which the master asks for.
 *
 * Owns the lock descriptions and the list of who waits. Must never: close one while a worker waits on it (references).
 * A circle that leads through a process outside the session is not seen, as with any lock of a description.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

#define CIRCLE_MAX 10 /* how far a circle is followed; the kernel's own bound */

struct owner {
  struct owner *next;
  uint32_t ctx;
  uint64_t dev, ino;
  int fd;
  unsigned refs; /* the list's is one */
};
struct span {
  bool writes;
  int64_t first, last;
};
struct wait {
  struct wait *next;
  struct owner *o;
  struct span want;
};

static struct {
  pthread_mutex_t lock;
  struct owner *list;
  struct wait *waits;
} L = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- lock descriptions; with the lock held ---- */

static int open_as(const struct handle *h, int mode)
{
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", h->fd);
  return open(path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* A description of its own for both kinds of lock; where the file may not be opened so any more, what can be had. */
static int lock_fd(const struct handle *h)
{
  int fd = open_as(h, O_RDWR);
  if (fd < 0 && h->access != O_RDWR)
    fd = open_as(h, (int)h->access);
  return fd < 0 ? fcntl(h->fd, F_DUPFD_CLOEXEC, 3) : fd;
}

static struct owner *find(uint32_t ctx, const struct handle *h)
{
  for (struct owner *o = L.list; o; o = o->next)
    if (o->ctx == ctx && o->dev == h->dev && o->ino == h->ino)
      return o;
  return 0;
}

static struct owner *owner_new(uint32_t ctx, const struct handle *h)
{
  struct owner *o = calloc(1, sizeof *o);
  int fd = o ? lock_fd(h) : -1;
  if (fd < 0) {
    free(o);
    return 0;
  }
  *o = (struct owner){.next = L.list, .ctx = ctx, .dev = h->dev, .ino = h->ino, .fd = fd, .refs = 1};
  L.list = o;
  return o;
}

static void let_go(const struct owner *o)
{
  struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  fcntl(o->fd, F_OFD_SETLK, &all);
}

static void owner_put(struct owner *o)
{
  if (--o->refs)
    return;
  let_go(o); /* the description may live on, as a file's own */
  close(o->fd);
  free(o);
}

/* ---- who holds what; with the lock held ---- */

static struct span span_of(const struct flock *fl)
{
  return (struct span){fl->l_type == F_WRLCK, fl->l_start, fl->l_len ? fl->l_start + fl->l_len - 1 : INT64_MAX};
}

static bool conflict(const struct span *a, const struct span *b)
{
  return (a->writes || b->writes) && a->first <= b->last && b->first <= a->last;
}

static bool same(const struct span *a, const struct span *b)
{
  return a->writes == b->writes && a->first == b->first && a->last == b->last;
}

/* "lock: 1: OFDLCK ADVISORY WRITE -1 08:02:1234 0 EOF" */
static bool span_parse(const char *line, struct span *s)
{
  char kind[8], last[24];
  long long first;
  if (sscanf(line, "lock: %*s OFDLCK %*s %7s %*s %*s %lld %23s", kind, &first, last) != 3)
    return false;
  *s = (struct span){!strcmp(kind, "WRITE"), first, strcmp(last, "EOF") ? atoll(last) : INT64_MAX};
  return true;
}

static bool holds(const struct owner *o, const struct span *what, bool test(const struct span *, const struct span *))
{
  char path[48], line[256];
  struct span s;
  bool found = false;
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", o->fd);
  FILE *f = fopen(path, "re");
  while (f && !found && fgets(line, sizeof line, f))
    found = span_parse(line, &s) && test(&s, what);
  if (f)
    fclose(f);
  return found;
}

static bool of_file(const struct owner *o, uint64_t dev, uint64_t ino)
{
  return o->dev == dev && o->ino == ino;
}

/* Whether the one who waits so waits, by way of others, for `ctx'. What is held is looked up anew at every step. */
static bool leads_to(const struct wait *w, uint32_t ctx, unsigned depth)
{
  for (const struct owner *o = depth < CIRCLE_MAX ? L.list : 0; o; o = o->next) {
    if (o->ctx == w->o->ctx || !of_file(o, w->o->dev, w->o->ino) || !holds(o, &w->want, conflict))
      continue;
    if (o->ctx == ctx)
      return true;
    for (const struct wait *next = L.waits; next; next = next->next)
      if (next->o->ctx == o->ctx && leads_to(next, ctx, depth + 1))
        return true;
  }
  return false;
}

/* ---- setting ---- */

static bool may_lock(const struct handle *h, int64_t type)
{
  if (type == F_RDLCK)
    return h->access == O_RDONLY || h->access == O_RDWR;
  if (type == F_WRLCK)
    return h->access == O_WRONLY || h->access == O_RDWR;
  return true;
}

/* From the file's beginning: the lock's description has an offset of its own. */
static int absolute(const struct handle *h, struct flock *fl)
{
  struct stat st;
  int64_t base = 0;
  if (fl->l_whence == SEEK_CUR)
    base = lseek(h->fd, 0, SEEK_CUR);
  else if (fl->l_whence == SEEK_END)
    base = fstat(h->fd, &st) ? -1 : st.st_size;
  else if (fl->l_whence != SEEK_SET)
    return -EINVAL;
  if (base < 0)
    base = 0; /* what has no offset stands at its beginning */
  if (fl->l_start > INT64_MAX - base)
    return -EOVERFLOW;
  fl->l_whence = SEEK_SET;
  fl->l_start += base;
  if (fl->l_len < 0) {
    fl->l_start += fl->l_start < 0 ? 0 : fl->l_len;
    fl->l_len = -fl->l_len;
  }
  if (fl->l_start < 0)
    return -EINVAL;
  return fl->l_len && fl->l_len - 1 > INT64_MAX - fl->l_start ? -EOVERFLOW : 0;
}

static int set_or_wait(int fd, int cmd, struct flock *fl)
{
  for (;;) {
    if (worker_cancelled())
      return -EINTR;
    if (!fcntl(fd, cmd, fl))
      return 0;
    if (errno != EINTR)
      return -errno;
  }
}

static void wait_ends(struct wait *w)
{
  struct wait **at = &L.waits;
  while (*at != w)
    at = &(*at)->next;
  *at = w->next;
}

/* On a worker. The list is left before the owner's reference: a context that has ended loses what it is given now. */
static int wait_as(struct owner *o, struct flock *fl)
{
  struct wait w = {.o = o, .want = span_of(fl)};
  pthread_mutex_lock(&L.lock);
  bool circle = leads_to(&w, o->ctx, 0);
  if (!circle) {
    w.next = L.waits;
    L.waits = &w;
  }
  pthread_mutex_unlock(&L.lock);
  if (circle)
    return -EDEADLK;
  int err = set_or_wait(o->fd, F_OFD_SETLKW, fl);
  pthread_mutex_lock(&L.lock);
  wait_ends(&w);
  pthread_mutex_unlock(&L.lock);
  return err;
}

static int set_as(uint32_t ctx, struct handle *h, int cmd, struct flock *fl)
{
  pthread_mutex_lock(&L.lock);
  struct owner *o = find(ctx, h);
  if (!o && fl->l_type != F_UNLCK)
    o = owner_new(ctx, h);
  if (o)
    o->refs++;
  pthread_mutex_unlock(&L.lock);
  if (!o)
    return fl->l_type == F_UNLCK ? 0 : -ENOLCK;
  int err = set_or_wait(o->fd, F_OFD_SETLK, fl);
  if (err == -EAGAIN && cmd == F_SETLKW)
    err = wait_as(o, fl);
  pthread_mutex_lock(&L.lock);
  owner_put(o);
  pthread_mutex_unlock(&L.lock);
  return err;
}

/* ---- asking ---- */

static int64_t holder(const struct handle *h, const struct flock *found)
{
  struct span s = span_of(found);
  for (const struct owner *o = L.list; o && found->l_pid == -1; o = o->next)
    if (of_file(o, h->dev, h->ino) && holds(o, &s, same))
      return LOCK_CTX | o->ctx;
  return found->l_pid;
}

/* Asked through the context's own description, if it has one: its own locks are none to it. */
static int get_as(uint32_t ctx, struct handle *h, bool own, struct flock *fl, int64_t lk[5])
{
  pthread_mutex_lock(&L.lock);
  const struct owner *o = own ? 0 : find(ctx, h);
  int spare = own || o ? -1 : open_as(h, O_RDONLY), fd = o ? o->fd : spare >= 0 ? spare : h->fd;
  int err = fcntl(fd, F_OFD_GETLK, fl) ? -errno : 0;
  lk[0] = fl->l_type;
  if (!err && fl->l_type != F_UNLCK) {
    const int64_t found[4] = {fl->l_whence, fl->l_start, fl->l_len, holder(h, fl)};
    memcpy(lk + 1, found, sizeof found);
  }
  pthread_mutex_unlock(&L.lock);
  if (spare >= 0)
    close(spare);
  return err;
}

/* ---- calls ---- */

/* Before Linux 3.15 descriptions have no locks, and a process's own would end with any close of the file in it. */
static bool able(int fd)
{
  static _Atomic int known = -1;
  struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (known < 0)
    known = !fcntl(fd, F_OFD_GETLK, &fl) || errno != EINVAL;
  return known;
}

/* As where no locks can be had; nobody of the session holds one that others would be told of. */
static long without_locks(struct handle *h, int cmd, struct flock *fl, int64_t lk[5])
{
  if (cmd == F_SETLK || cmd == F_SETLKW)
    return fl->l_type == F_UNLCK ? 0 : -ENOLCK;
  if (cmd != F_GETLK)
    return -EINVAL;
  if (fcntl(h->fd, F_GETLK, fl))
    return -errno;
  lk[0] = fl->l_type;
  if (fl->l_type != F_UNLCK)
    lk[1] = fl->l_whence, lk[2] = fl->l_start, lk[3] = fl->l_len, lk[4] = fl->l_pid;
  return 0;
}

static bool is_get(int cmd)
{
  return cmd == F_GETLK || cmd == F_OFD_GETLK;
}

static long run(uint32_t ctx, struct handle *h, int cmd, struct flock *fl, int64_t lk[5])
{
  if (is_get(cmd))
    return get_as(ctx, h, cmd == F_OFD_GETLK, fl, lk);
  if (cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW)
    return set_or_wait(h->fd, cmd, fl);
  return set_as(ctx, h, cmd, fl);
}

long lock_call(uint32_t ctx, struct handle *h, int cmd, bool may_wait, int64_t lk[5])
{
  bool ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
  bool waits = cmd == F_SETLKW || cmd == F_OFD_SETLKW;
  struct flock fl = {.l_type = (short)lk[0], .l_whence = (short)lk[1], .l_start = lk[2], .l_len = lk[3]};
  if (h->kind == K_PATH)
    return -EBADF;
  int err = ofd && lk[4] ? -EINVAL : absolute(h, &fl);
  if (!err && !is_get(cmd) && !may_lock(h, lk[0]))
    err = -EBADF;
  if (err)
    return err;
  if (!able(h->fd))
    return without_locks(h, cmd, &fl, lk);
  if (waits && !may_wait)
    cmd = ofd ? F_OFD_SETLK : F_SETLK;
  long r = run(ctx, h, cmd, &fl, lk);
  return r == -EAGAIN && waits && !may_wait ? CALL_DEFER : r;
}

/* What waits meanwhile goes on waiting, and gets its lock if the context still lives then. */
void locks_release(uint32_t ctx, uint64_t dev, uint64_t ino)
{
  bool all = !dev && !ino;
  pthread_mutex_lock(&L.lock);
  for (struct owner **at = &L.list; *at;) {
    struct owner *o = *at;
    if (o->ctx != ctx || !(all || of_file(o, dev, ino))) {
      at = &o->next;
      continue;
    }
    let_go(o);
    if (!all && o->refs > 1) {
      at = &o->next;
      continue;
    }
    *at = o->next;
    owner_put(o);
  }
  pthread_mutex_unlock(&L.lock);
}
