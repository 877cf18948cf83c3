/*
 * The table of open file descriptions, by the numbers that the master chose for them.
 *
 * Owns the table and, through references, the descriptors: a handle that is closed while a worker still uses it lives
 * until that one has finished. Must never: take a number whose generation does not match.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

static struct {
  pthread_mutex_t lock;
  struct handle *at[SESSION_HANDLES];
  unsigned high; /* above the highest index ever used */
} T = {.lock = PTHREAD_MUTEX_INITIALIZER};

uint32_t kind_of(const struct stat *st, bool path_only)
{
  if (path_only)
    return K_PATH;
  switch (st->st_mode & S_IFMT) {
  case S_IFREG:
    return K_REG;
  case S_IFDIR:
    return K_DIR;
  case S_IFBLK:
    return K_BLK;
  case S_IFCHR:
    return device_kind(st->st_rdev);
  default:
    return K_STREAM;
  }
}

static int add(struct handle *h)
{
  pthread_mutex_lock(&T.lock);
  struct handle **at = &T.at[HANDLE_INDEX(h->num)];
  bool taken = *at;
  if (!taken)
    *at = h;
  if (HANDLE_INDEX(h->num) >= T.high)
    T.high = (unsigned)HANDLE_INDEX(h->num) + 1;
  pthread_mutex_unlock(&T.lock);
  if (taken)
    free(h);
  return taken ? -EBADF : 0;
}

static struct handle *handle_new(uint64_t num, int fd, uint32_t kind, const struct stat *st)
{
  struct handle *h = calloc(1, sizeof *h);
  if (h)
    *h = (struct handle){.num = (uint32_t)num, .fd = fd, .kind = kind, .refs = 1, .dev = st->st_dev, .ino = st->st_ino};
  return h;
}

static bool bad_number(uint64_t num)
{
  return num >= H_NONE || HANDLE_INDEX(num) >= SESSION_HANDLES;
}

int handle_add(uint64_t num, int fd, uint32_t kind, const struct stat *st, uint32_t flags)
{
  struct handle *h = bad_number(num) ? 0 : handle_new(num, fd, kind, st);
  if (!h)
    return bad_number(num) ? -EMFILE : -ENOMEM;
  h->access = flags & O_PATH ? O_PATH : flags & O_ACCMODE;
  return add(h);
}

int handle_add_sock(uint64_t num, int fd, uint32_t kind, const struct stat *st, struct sock *s)
{
  struct handle *h = bad_number(num) ? 0 : handle_new(num, fd, kind, st);
  if (!h)
    return bad_number(num) ? -EMFILE : -ENOMEM;
  h->access = O_RDWR;
  h->sock = s;
  return add(h);
}

static void add_fixed(uint32_t num, int fd, bool directory)
{
  struct stat st;
  int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && !fstat(fd, &st))
    handle_add(num, fd, directory ? (uint32_t)K_DIR : kind_of(&st, false), &st, (uint32_t)flags);
}

void handles_start(void)
{
  for (int i = 0; i < 3; i++)
    add_fixed(H_STDIN + (uint32_t)i, i, false);
  add_fixed(H_ROOT, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), true);
  add_fixed(H_CWD, open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), true);
  add_fixed(H_TTY, open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC), false);
}

struct handle *handle_get(uint64_t num)
{
  struct handle *h = 0;
  if (num >= H_NONE || HANDLE_INDEX(num) >= SESSION_HANDLES)
    return 0;
  pthread_mutex_lock(&T.lock);
  h = T.at[HANDLE_INDEX(num)];
  if (h && h->num != num)
    h = 0;
  if (h)
    __atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
  pthread_mutex_unlock(&T.lock);
  return h;
}

int handle_put(struct handle *h)
{
  if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
    return 0;
  stream_free(h);
  int err = close(h->fd) ? -errno : 0;
  free(h->sock);
  free(h);
  return err;
}

int handle_close(uint64_t num)
{
  struct handle *h = handle_get(num);
  if (!h)
    return -EBADF;
  pthread_mutex_lock(&T.lock);
  bool mine = T.at[HANDLE_INDEX(num)] == h;
  if (mine)
    T.at[HANDLE_INDEX(num)] = 0;
  pthread_mutex_unlock(&T.lock);
  if (mine) {
    events_forget(h);
    if (h->sock)
      sock_close(h);
    stream_close(h);
    handle_put(h);
  }
  return handle_put(h);
}

uint32_t handle_bound_name(const struct sockaddr_un *name, socklen_t n)
{
  uint32_t num = 0;
  pthread_mutex_lock(&T.lock);
  for (unsigned i = 0; i < T.high && !num; i++) {
    struct sockaddr_un a;
    socklen_t len = sizeof a;
    if (T.at[i] && T.at[i]->kind == K_BOUND && !getsockname(T.at[i]->fd, (struct sockaddr *)&a, &len) && len == n &&
        !memcmp(&a, name, n))
      num = T.at[i]->num;
  }
  pthread_mutex_unlock(&T.lock);
  return num;
}

uint32_t handle_bound(uint64_t dev, uint64_t ino)
{
  uint32_t num = 0;
  pthread_mutex_lock(&T.lock);
  for (unsigned i = 0; i < T.high && !num; i++)
    if (T.at[i] && T.at[i]->kind == K_BOUND && T.at[i]->dev == dev && T.at[i]->ino == ino)
      num = T.at[i]->num;
  pthread_mutex_unlock(&T.lock);
  return num;
}
