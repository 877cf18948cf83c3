/*
 * Links and their ends: making them, finding what is known of one, ending them.
 *
 * An end is a socket of sequenced packets. What has no reply yet is known to the process that uses the end, by the
 * kernel's cookie of the socket: duplicates of a descriptor are one end, and a number that was closed and used again is
 * another. Owns the registry of ends. Lock order: an end's `reading', the registry, an end's `lock'. Must never
 * sleep with any but `reading', which a fork does not wait for.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "syslink/end.h"

#define BUCKETS 64
#define LEDGER_ROOM (2 * SYSLINK_UNREPLIED_MAX)
#define SOCKET_ROOM (1 << 20) /* the kernel gives what it allows */
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

static struct {
  pthread_mutex_t lock;
  pthread_cond_t left; /* somebody has given an end back that is being closed */
  pthread_once_t once;
  struct end *by_cookie[BUCKETS];
} R = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER, .once = PTHREAD_ONCE_INIT};

/* ---- fork: the child's copy is taken while nothing is half changed ---- */

static void each_end(void (*f)(struct end *))
{
  for (unsigned i = 0; i < BUCKETS; i++)
    for (struct end *e = R.by_cookie[i]; e; e = e->next)
      f(e);
}

static void hold(struct end *e)
{
  pthread_mutex_lock(&e->lock);
}

static void let_go(struct end *e)
{
  pthread_mutex_unlock(&e->lock);
}

/* Threads that were sending, waiting or reading are not in the child: what they have just taken is the parent's. */
static void alone(struct end *e)
{
  for (struct ledger_entry *c = e->sent.at; (c = sl_ledger_next(&e->sent, c)); c++)
    c->state = ENTRY_SETTLED;
  for (struct ledger_entry *c = e->taken.at; (c = sl_ledger_next(&e->taken, c)); c++)
    c->state = ENTRY_SETTLED;
  e->waiting = 0;
  if (e->room >= 0)
    close(e->room);
  e->room = -1;
  pthread_cond_init(&e->settled, 0);
  pthread_mutex_init(&e->reading, 0);
  let_go(e);
}

static void fork_before(void)
{
  pthread_mutex_lock(&R.lock);
  each_end(hold);
}

static void fork_parent(void)
{
  each_end(let_go);
  pthread_mutex_unlock(&R.lock);
}

static void fork_child(void)
{
  each_end(alone);
  pthread_mutex_unlock(&R.lock);
}

static void prepare(void)
{
  pthread_atfork(fork_before, fork_parent, fork_child);
}

/* ---- the registry ---- */

static uint64_t cookie_of(int fd)
{
  uint64_t cookie = 0;
  socklen_t n = sizeof cookie;
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n) ? 0 : cookie;
}

static bool is_end(int fd)
{
  int type = 0, domain = 0;
  socklen_t n = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n))
    return false;
  if (type == SOCK_SEQPACKET && domain == AF_UNIX)
    return true;
  errno = EINVAL;
  return false;
}

static void end_free(struct end *e)
{
  if (e->room >= 0)
    close(e->room);
  free(e->sent.at);
  free(e->taken.at);
  pthread_cond_destroy(&e->settled);
  pthread_mutex_destroy(&e->lock);
  pthread_mutex_destroy(&e->reading);
  free(e);
}

/* What close(2) has taken away is forgotten, once there is nothing to be known of it. */
static void sweep(struct end **at)
{
  for (struct end *e; (e = *at);) {
    if (e->refs || e->sent.count || e->taken.count || cookie_of(e->fd) == e->cookie) {
      at = &e->next;
      continue;
    }
    *at = e->next;
    end_free(e);
  }
}

static struct end *end_new(uint64_t cookie)
{
  struct end *e = calloc(1, sizeof *e);
  struct ledger_entry *sent = calloc(LEDGER_ROOM, sizeof *sent), *taken = calloc(LEDGER_ROOM, sizeof *taken);
  if (!e || !sent || !taken) {
    free(e);
    free(sent);
    free(taken);
    errno = ENOMEM;
    return 0;
  }
  e->cookie = cookie;
  e->room = -1;
  e->why = ECONNABORTED;
  sl_ledger_init(&e->sent, sent, LEDGER_ROOM, SYSLINK_UNREPLIED_MAX);
  sl_ledger_init(&e->taken, taken, LEDGER_ROOM, SYSLINK_UNREPLIED_MAX);
  pthread_mutex_init(&e->reading, 0);
  pthread_mutex_init(&e->lock, 0);
  pthread_cond_init(&e->settled, 0);
  return e;
}

static struct end *end_add(uint64_t cookie, int fd)
{
  struct end **at = &R.by_cookie[cookie % BUCKETS], *e;
  sweep(at);
  if (!is_end(fd) || !(e = end_new(cookie)))
    return 0;
  e->next = *at;
  *at = e;
  return e;
}

struct end *sl_end_get(int fd)
{
  uint64_t cookie = cookie_of(fd);
  if (!cookie)
    return 0;
  pthread_once(&R.once, prepare);
  pthread_mutex_lock(&R.lock);
  struct end *e = R.by_cookie[cookie % BUCKETS];
  while (e && e->cookie != cookie)
    e = e->next;
  if (!e)
    e = end_add(cookie, fd);
  bool closing = e && e->closing;
  if (closing)
    errno = EBADF;
  else if (e) {
    e->refs++;
    e->fd = fd;
  }
  pthread_mutex_unlock(&R.lock);
  return closing ? 0 : e;
}

void sl_end_put(struct end *e)
{
  pthread_mutex_lock(&R.lock);
  e->refs--;
  if (e->closing)
    pthread_cond_broadcast(&R.left);
  pthread_mutex_unlock(&R.lock);
}

void sl_end_break(struct end *e, int fd, int why)
{
  shutdown(fd, SHUT_RDWR);
  pthread_mutex_lock(&e->lock);
  if (!e->dead)
    e->why = why;
  e->dead = true;
  pthread_mutex_unlock(&e->lock);
}

/* ---- the calls ---- */

int syslink(int cmd, struct syslink_info *info, size_t bytes)
{
  int room = SOCKET_ROOM;
  if (cmd != SYSLINK_CMD_NEW || bytes != sizeof *info || info->version ||
      info->flags & ~(SYSLINK_CLOEXEC | SYSLINK_NONBLOCK)) {
    errno = EINVAL;
    return -1;
  }
  int type = SOCK_SEQPACKET | (info->flags & SYSLINK_CLOEXEC ? SOCK_CLOEXEC : 0) |
             (info->flags & SYSLINK_NONBLOCK ? SOCK_NONBLOCK : 0);
  if (socketpair(AF_UNIX, type, 0, info->fd))
    return -1;
  for (int i = 0; i < 2; i++)
    setsockopt(info->fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  return 0;
}

static void end_forget(struct end *e)
{
  struct end **at = &R.by_cookie[e->cookie % BUCKETS];
  while (*at != e)
    at = &(*at)->next;
  *at = e->next;
  end_free(e);
}

/*
 * Who sleeps on the end wakes by its shutdown, and is waited for: the number must not become another file's before they
 * have left. None of them sleeps again on an end that is dead.
 */
int syslink_close(int fd)
{
  struct end *e = sl_end_get(fd);
  if (!e)
    return -1;
  sl_end_break(e, fd, ECONNABORTED);
  pthread_mutex_lock(&R.lock);
  bool mine = !e->closing;
  e->closing = true;
  while (mine && e->refs > 1)
    pthread_cond_wait(&R.left, &R.lock);
  int r = mine ? close(fd) : -1;
  if (mine)
    end_forget(e);
  pthread_mutex_unlock(&R.lock);
  if (mine)
    return r;
  sl_end_put(e);
  errno = EBADF;
  return -1;
}
