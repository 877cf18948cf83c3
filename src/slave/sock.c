/*
 * Sockets of this machine for programs of the session: calls on them, and a thread that reads what comes.
 *
 * Bytes are pushed to the master as far as its credit goes, so that no read has to ask; connections are accepted ahead
 * in the same way. What programs send is written by stream.c. Every socket is O_NONBLOCK here.
 *
 * Owns what is known of a socket beside its handle, the thread and its poller. The lock guards those; it is not held
 * while something is sent. Must never: block anywhere but in poller_wait and in sending, or send more than the credit.
 */
#include "slave/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (64u << 10)
#define EVENTS 64
#define DATAGRAMS_MAX 16 /* of one socket in a turn */

struct waiting { /* accepted, and not yet the master's */
  struct waiting *next;
  uint64_t token;
  int fd;
};

struct sock { /* belongs to its handle; the lock guards it */
  int type;
  bool listening, connecting, ended /* nothing more is read */, closed, watched;
  uint64_t sent, limit; /* bytes, or connections */
  struct waiting *waiting;
};

static struct {
  pthread_mutex_t lock;
  int poller; /* 0: no thread yet */
  uint64_t token;
} N = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- telling ---- */

static void tell(uint32_t num, enum sock_event event, uint64_t value, const void *data, uint32_t n)
{
  static __thread uint8_t body[28 + CHUNK + sizeof(struct wire_dgram)];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, num);
  put_u64(&w, event);
  put_u64(&w, value);
  put_blob(&w, data, n);
  out_send(&(struct frame){.type = F_SOCK}, body, (uint32_t)(w.at - body), 0);
}

void sock_failed(const struct handle *h, int err)
{
  tell(h->num, SOCK_FAILED, (uint64_t)-err, 0, 0);
}

/* ---- addresses ---- */

/* The wire's family is little-endian, all else is the network's own. */
void addr_to_wire(struct wire_dgram *to, const struct sockaddr_storage *a, socklen_t n)
{
  struct wbuf w = {to->addr, to->addr + sizeof to->addr, false};
  memset(to, 0, sizeof *to);
  if (n < 2 || n > sizeof to->addr)
    return;
  memcpy(to->addr, a, n);
  put_u16(&w, a->ss_family);
  to->len = n;
}

socklen_t addr_from_wire(struct sockaddr_storage *to, const uint8_t *p, uint32_t n)
{
  struct rbuf r = {p, p + n, false};
  memset(to, 0, sizeof *to);
  if (n < 2 || n > SOCK_ADDR_MAX)
    return 0;
  memcpy(to, p, n);
  to->ss_family = get_u16(&r);
  return n;
}

/* ---- watching ---- */

/* With the lock held. What is wanted of a socket now; nothing: it is not looked at, or its end would be told for ever.
 */
static uint32_t wants(const struct sock *s)
{
  if (s->connecting)
    return POLLOUT;
  if (s->ended || s->sent >= s->limit)
    return 0;
  return POLLIN;
}

static void watch(struct handle *h)
{
  struct sock *s = h->sock;
  uint32_t events = wants(s);
  if (events)
    poller_want(N.poller, h->fd, events, false, s->watched, h->num);
  else if (s->watched)
    poller_forget(N.poller, h->fd);
  s->watched = events;
}

static void watch_again(struct handle *h)
{
  pthread_mutex_lock(&N.lock);
  watch(h);
  pthread_mutex_unlock(&N.lock);
}

/* ---- what comes ---- */

/* Nothing more comes, and the kernel would go on saying so. */
static void stop_reading(struct handle *h)
{
  pthread_mutex_lock(&N.lock);
  h->sock->ended = true;
  watch(h);
  pthread_mutex_unlock(&N.lock);
}

static void end_reading(struct handle *h, enum sock_event event, int err)
{
  stop_reading(h);
  tell(h->num, event, (uint64_t)err, 0, 0);
}

static bool nothing_yet(int err)
{
  return err == EAGAIN || err == EINTR;
}

/* So much more may be sent now; it counts as sent. */
static uint32_t credit_take(struct sock *s, uint32_t want)
{
  pthread_mutex_lock(&N.lock);
  uint64_t left = s->limit > s->sent ? s->limit - s->sent : 0;
  uint32_t n = left < want ? (uint32_t)left : want;
  s->sent += n;
  pthread_mutex_unlock(&N.lock);
  return n;
}

/* All of it, or nothing would come of a message that is longer than what is left. False: there is none left. */
static bool credit_use(struct sock *s, uint32_t n)
{
  pthread_mutex_lock(&N.lock);
  s->sent += n;
  bool left = s->sent < s->limit;
  pthread_mutex_unlock(&N.lock);
  return left;
}

static void credit_return(struct sock *s, uint32_t n)
{
  pthread_mutex_lock(&N.lock);
  s->sent -= n;
  pthread_mutex_unlock(&N.lock);
}

static void read_bytes(struct handle *h)
{
  uint8_t buf[CHUNK];
  uint32_t room = credit_take(h->sock, sizeof buf);
  if (!room)
    return;
  ssize_t n = recv(h->fd, buf, room, MSG_DONTWAIT);
  int err = errno;
  credit_return(h->sock, room - (n > 0 ? (uint32_t)n : 0));
  if (n > 0)
    tell(h->num, SOCK_DATA, 0, buf, (uint32_t)n);
  else if (!n)
    end_reading(h, SOCK_EOF, 0);
  else if (!nothing_yet(err))
    end_reading(h, SOCK_FAILED, err);
}

/* A datagram socket that was shut down is readable for ever, with nothing to read. */
static bool is_shut(const struct handle *h)
{
  struct pollfd p = {.fd = h->fd, .events = POLLRDHUP};
  return poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP);
}

/* What IP_RECVERR collects: its error has been told, and it would be told for ever. */
static void drop_errors(const struct handle *h)
{
  uint8_t byte;
  while (recv(h->fd, &byte, sizeof byte, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0)
    ;
}

/* An error of a datagram socket is one message's that was sent before: more may come. */
static void read_datagrams(struct handle *h)
{
  static uint8_t buf[sizeof(struct wire_dgram) + CHUNK];
  for (int i = 0; i < DATAGRAMS_MAX; i++) {
    struct wire_dgram from;
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    ssize_t n = recvfrom(h->fd, buf + sizeof from, CHUNK, MSG_DONTWAIT, (struct sockaddr *)&a, &len);
    int err = errno;
    if (n < 0 && !i && nothing_yet(err) && is_shut(h)) {
      stop_reading(h);
      return;
    }
    if (n < 0 && !nothing_yet(err))
      tell(h->num, SOCK_FAILED, (uint64_t)err, 0, 0);
    if (n < 0) {
      drop_errors(h);
      return;
    }
    addr_to_wire(&from, &a, len);
    dgram_put(buf, &from);
    if (!credit_use(h->sock, (uint32_t)(sizeof from + (size_t)n))) /* what does not fit any more is the last */
      i = DATAGRAMS_MAX;
    tell(h->num, SOCK_DATA, 0, buf, (uint32_t)(sizeof from + (size_t)n));
  }
}

/* Asking by connecting again leaves a socket behind that can be connected anew; SO_ERROR would not. */
int sock_connect_result(int fd)
{
  struct sockaddr_storage a = {0};
  socklen_t n = sizeof a;
  getsockname(fd, (struct sockaddr *)&a, &n); /* any address of its family */
  return !connect(fd, (struct sockaddr *)&a, n) || errno == EISCONN ? 0 : errno;
}

static void finish_connect(struct handle *h)
{
  int err = sock_connect_result(h->fd);
  if (err == EALREADY || err == EINPROGRESS)
    return;
  pthread_mutex_lock(&N.lock);
  h->sock->connecting = false;
  h->sock->ended = err;
  watch(h);
  pthread_mutex_unlock(&N.lock);
  tell(h->num, SOCK_CONNECTED, (uint64_t)err, 0, 0);
}

/* False: without memory, or the listening socket has been closed meanwhile. */
static bool keep_waiting(struct sock *s, uint64_t *token, int fd)
{
  struct waiting *w = malloc(sizeof *w);
  pthread_mutex_lock(&N.lock);
  bool kept = w && !s->closed;
  if (kept) {
    *token = ++N.token;
    *w = (struct waiting){s->waiting, *token, fd};
    s->waiting = w;
    s->sent++;
  }
  pthread_mutex_unlock(&N.lock);
  if (!kept)
    free(w);
  return kept;
}

static void accept_one(struct handle *h)
{
  struct sockaddr_storage a, own;
  struct wire_dgram name;
  uint8_t names[2 * sizeof name];
  socklen_t n = sizeof a, m = sizeof own;
  uint64_t token;
  int fd = accept4(h->fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) { /* it has gone again; or none can come any more */
    if (errno == EINVAL || errno == EBADF || errno == ENOTSOCK || errno == EOPNOTSUPP)
      stop_reading(h);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
      nanosleep(&(struct timespec){.tv_nsec = 10000000}, 0); /* the kernel keeps it until there is room */
    return;
  }
  addr_to_wire(&name, &a, n);
  dgram_put(names, &name);
  if (getsockname(fd, (struct sockaddr *)&own, &m))
    m = 0;
  addr_to_wire(&name, &own, m);
  dgram_put(names + sizeof name, &name);
  if (keep_waiting(h->sock, &token, fd))
    tell(h->num, SOCK_CONNECTION, token, names, sizeof names);
  else
    close(fd);
}

static void handle_event(uint32_t num)
{
  struct handle *h = handle_get(num);
  struct sock *s = h ? h->sock : 0;
  if (!s) {
    if (h)
      handle_put(h);
    return;
  }
  if (s->connecting)
    finish_connect(h);
  else if (s->listening)
    accept_one(h);
  else if (s->type == SOCK_STREAM)
    read_bytes(h);
  else
    read_datagrams(h);
  watch_again(h);
  handle_put(h);
}

static void *run(void *arg)
{
  struct ready e[EVENTS];
  for (;;) {
    int n = poller_wait(N.poller, e, EVENTS, -1);
    for (int i = 0; i < n; i++)
      handle_event((uint32_t)e[i].about);
  }
  return arg;
}

/* Main thread. 0 or -errno */
static int start(void)
{
  if (N.poller)
    return 0;
  N.poller = poller_open();
  int err = N.poller < 0 ? N.poller : thread_start(run, 0);
  if (err && N.poller > 0)
    close(N.poller);
  if (err)
    N.poller = 0;
  return err;
}

/* ---- making and ending ---- */

/* Reading from what is not connected yet would only tell an end. */
static bool reads_now(int fd, int type)
{
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  return type != SOCK_STREAM || !getpeername(fd, (struct sockaddr *)&a, &n);
}

int sock_add(uint64_t num, int fd, int type, const struct stat *bound)
{
  struct stat st;
  int err = fstat(fd, &st) ? -errno : start();
  struct sock *s = err ? 0 : calloc(1, sizeof *s);
  if (!s)
    return err ? err : -ENOMEM;
  *s = (struct sock){.type = type, .limit = SOCK_WINDOW, .ended = bound || !reads_now(fd, type)};
  err = handle_add_sock(num, fd, bound ? K_BOUND : K_SOCKET, bound ? bound : &st, s);
  if (err)
    free(s);
  struct handle *h = err ? 0 : handle_get(num);
  if (h) {
    watch_again(h);
    handle_put(h);
  }
  return err;
}

void sock_close(struct handle *h)
{
  struct waiting *w = 0;
  pthread_mutex_lock(&N.lock);
  struct sock *s = h->sock;
  if (s) {
    s->ended = s->closed = true;
    s->connecting = false;
    watch(h);
    w = s->waiting;
    s->waiting = 0;
    if (s->listening) /* at once, although the thread may still use it */
      shutdown(h->fd, SHUT_RD);
  }
  pthread_mutex_unlock(&N.lock);
  while (w) {
    struct waiting *next = w->next;
    close(w->fd);
    free(w);
    w = next;
  }
}

void sock_connecting(struct handle *h, bool now)
{
  pthread_mutex_lock(&N.lock);
  h->sock->connecting = !now;
  h->sock->ended = false;
  watch(h);
  pthread_mutex_unlock(&N.lock);
}

void sock_listening(struct handle *h, uint32_t backlog)
{
  pthread_mutex_lock(&N.lock);
  if (!h->sock->listening)
    h->sock->limit = h->sock->sent + (backlog < 1 ? 1 : backlog < SOCK_BACKLOG ? backlog : SOCK_BACKLOG);
  h->sock->listening = true;
  h->sock->ended = false;
  watch(h);
  pthread_mutex_unlock(&N.lock);
}

void sock_credit(struct handle *h, uint64_t n)
{
  pthread_mutex_lock(&N.lock);
  struct sock *s = h->sock;
  if (s->listening)
    s->limit += n < SOCK_BACKLOG ? n : SOCK_BACKLOG;
  else if (n > s->limit)
    s->limit = n;
  watch(h);
  pthread_mutex_unlock(&N.lock);
}

bool sock_datagrams(const struct handle *h)
{
  return h->sock->type != SOCK_STREAM;
}

int sock_send(struct handle *h, const uint8_t *p, uint32_t n)
{
  struct wire_dgram to;
  struct sockaddr_storage a;
  if (n < sizeof to)
    return -EPROTO;
  dgram_get(&to, p);
  if (to.len > sizeof to.addr)
    return -EPROTO;
  socklen_t len = addr_from_wire(&a, to.addr, to.len);
  struct sockaddr *at = len ? (struct sockaddr *)&a : 0;
  return sendto(h->fd, p + sizeof to, n - sizeof to, MSG_DONTWAIT | MSG_NOSIGNAL, at, len) < 0 ? -errno : 0;
}

int sock_take_waiting(struct handle *h, uint64_t token)
{
  int fd = -1;
  pthread_mutex_lock(&N.lock);
  for (struct waiting **at = &h->sock->waiting, *w; (w = *at); at = &w->next)
    if (w->token == token) {
      fd = w->fd;
      *at = w->next;
      free(w);
      break;
    }
  pthread_mutex_unlock(&N.lock);
  return fd;
}
