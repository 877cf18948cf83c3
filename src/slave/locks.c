/*
 * POSIX record locks of processes that live elsewhere. The kernel would give all of them to this one process, where
 * they never conflict; so each process context has an open file description of its own for each file it locks, and the
 * locks are the description's (F_OFD_SETLK): those conflict as the contexts' own would.
 *
 * A context's locks on a file go when it closes any descriptor of it, as far as the slave hears of that: the handle
 * by which they were taken, a close that names the context, the last handle of the file. Deadlocks are not detected.
 *
 * Owns the lock descriptions. Must never: close one while a worker waits on it (references).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "slave/slave.h"

struct owner {
  struct owner *next;
  uint32_t ctx, via; /* via: the handle last used */
  uint64_t dev, ino;
  int fd;
  unsigned refs; /* the list's is one */
};

static struct {
  pthread_mutex_t lock;
  struct owner *list;
} L = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A description of its own, with as much access as the file gives. */
static int open_again(const struct handle *h)
{
  static const int modes[] = {O_RDWR, O_RDONLY, O_WRONLY};
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", h->fd);
  for (unsigned i = 0; i < 3; i++) {
    int fd = open(path, modes[i] | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0)
      return fd;
  }
  return -ENOLCK;
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
  int fd = o ? open_again(h) : -1;
  if (fd < 0) {
    free(o);
    return 0;
  }
  *o = (struct owner){.next = L.list, .ctx = ctx, .dev = h->dev, .ino = h->ino, .fd = fd, .refs = 1};
  L.list = o;
  return o;
}

static struct owner *owner_get(uint32_t ctx, const struct handle *h, bool make)
{
  pthread_mutex_lock(&L.lock);
  struct owner *o = find(ctx, h);
  if (!o && make)
    o = owner_new(ctx, h);
  if (o) {
    o->refs++;
    o->via = h->num;
  }
  pthread_mutex_unlock(&L.lock);
  return o;
}

/* With the lock held. */
static void owner_put(struct owner *o)
{
  if (--o->refs)
    return;
  close(o->fd);
  free(o);
}

static bool may_lock(const struct handle *h, int64_t type)
{
  if (type == F_RDLCK)
    return h->access == O_RDONLY || h->access == O_RDWR;
  if (type == F_WRLCK)
    return h->access == O_WRONLY || h->access == O_RDWR;
  return true;
}

static int set_or_wait(int fd, int cmd, struct flock *fl)
{
  static const int ofd[] = {[F_GETLK] = F_OFD_GETLK, [F_SETLK] = F_OFD_SETLK, [F_SETLKW] = F_OFD_SETLKW};
  for (;;) {
    if (worker_cancelled())
      return -EINTR;
    if (!fcntl(fd, ofd[cmd], fl))
      return 0;
    if (errno != EINTR)
      return -errno;
  }
}

long lock_call(uint32_t ctx, struct handle *h, int cmd, int64_t lk[5])
{
  struct flock fl = {.l_type = (short)lk[0], .l_whence = (short)lk[1], .l_start = lk[2], .l_len = lk[3]};
  if (h->kind == K_PATH || (cmd != F_GETLK && !may_lock(h, lk[0])))
    return -EBADF;
  if (fl.l_whence == SEEK_CUR) { /* the lock's description has an offset of its own */
    fl.l_start += lseek(h->fd, 0, SEEK_CUR);
    fl.l_whence = SEEK_SET;
  }
  bool unlock = cmd != F_GETLK && fl.l_type == F_UNLCK;
  struct owner *o = owner_get(ctx, h, !unlock);
  if (!o)
    return unlock ? 0 : -ENOLCK;
  int err = set_or_wait(o->fd, cmd, &fl);
  pthread_mutex_lock(&L.lock);
  owner_put(o);
  pthread_mutex_unlock(&L.lock);
  if (!err && cmd == F_GETLK) {
    lk[0] = fl.l_type;
    if (fl.l_type != F_UNLCK) {
      lk[1] = fl.l_whence;
      lk[2] = fl.l_start;
      lk[3] = fl.l_len;
      lk[4] = fl.l_pid;
    }
  }
  return err;
}

static bool drops(const struct owner *o, const struct handle *h, uint32_t ctx, bool last)
{
  return o->dev == h->dev && o->ino == h->ino && (last || o->via == h->num || (ctx && o->ctx == ctx));
}

void locks_dropped(const struct handle *h, uint32_t ctx)
{
  if (!__atomic_load_n(&L.list, __ATOMIC_ACQUIRE))
    return;
  bool last = handle_last_of(h->dev, h->ino);
  pthread_mutex_lock(&L.lock);
  for (struct owner **at = &L.list; *at;) {
    struct owner *o = *at;
    if (!drops(o, h, ctx, last)) {
      at = &o->next;
      continue;
    }
    *at = o->next;
    owner_put(o);
  }
  pthread_mutex_unlock(&L.lock);
}
