/*
 * Sockets of the slave: bytes between the programs' ends of socket pairs and the stream.
 *
 * A program reads and writes one end of a pair; the other is ours. What lies in ours is taken as far as the window to
 * the slave goes, kept, and sent when all messages are passed on that programs had sent before: so bytes never overtake
 * what was done to files. What the slave sends goes into the pair, and its credit grows as the pair takes it. New
 * connections go, as descriptors, into the listening socket's pair. The programs' direction of a pair is never shut
 * down by them (shutdown is a message): its end is the last close.
 *
 * Owns struct sock of each file. Must never wait for a program, or queue more for one than its credit.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/tmpdir.h"
#include "hub/internal.h"

#define TAKE 65536u /* at once */
#define SHORT_MS 50
#define DATAGRAM_ROOM (sizeof(struct wire_dgram) + 65536u)

struct piece {
  struct piece *next;
  uint32_t n, done;
  uint8_t bytes[];
};
struct pieces {
  struct piece *first, **last;
  uint64_t bytes;
};

struct sock { /* of a file */
  bool datagrams;
  bool native;  /* the program's end is its own: an end of its bytes need not be its last close */
  bool fresh;   /* not connected: what is in the pair is no bytes of the program's */
  bool stopped; /* nothing is taken from the program: the window is full */
  bool connecting;
  bool end;                      /* the program's last close has been seen */
  bool half;                     /* native: no more bytes will come of the program */
  bool eof, eof_done;            /* the slave's end; and has been passed on */
  uint32_t shut;                 /* how + 1: to be passed on when the pair is empty */
  uint64_t filler;               /* bytes in the pair that are not the program's */
  uint64_t sent, written, taken; /* bytes to the slave: sent, written there; taken from the pair */
  uint64_t may;                  /* be under way to the slave */
  uint64_t mark, mark_at;        /* `written' at that time, see widen() */
  struct pieces out, in;         /* to the slave; to the program */
  uint64_t fed, limit, window;   /* bytes that the pair took; that the slave may send in all */
  uint32_t watched;              /* events */
  struct file *next;             /* that have something in `out' */
  bool listed;
};

/* ---- pieces ---- */

static bool pieces_add(struct pieces *p, const void *bytes, uint32_t n)
{
  struct piece *c = malloc(sizeof *c + n);
  if (!c)
    return false;
  *c = (struct piece){.n = n};
  memcpy(c->bytes, bytes, n);
  if (!p->first)
    p->last = &p->first;
  *p->last = c;
  p->last = &c->next;
  p->bytes += n;
  return true;
}

static void pieces_used(struct pieces *p, uint32_t n)
{
  struct piece *c = p->first;
  c->done += n;
  p->bytes -= n;
  if (c->done < c->n)
    return;
  p->first = c->next;
  free(c);
}

static void pieces_free(struct pieces *p)
{
  while (p->first)
    pieces_used(p, p->first->n - p->first->done);
}

/* ---- what is watched ---- */

static struct hstate *state_of(struct hub *h, const struct file *f)
{
  return &h->s->handles[HANDLE_INDEX(f->handle) & (SESSION_HANDLES - 1)];
}

static struct sock_state *shown(struct hub *h, const struct file *f)
{
  struct hstate *s = state_of(h, f);
  return __atomic_load_n(&s->handle, __ATOMIC_ACQUIRE) == f->handle ? &s->sock : 0;
}

static void watch(struct hub *h, struct file *f)
{
  struct sock *s = f->sk;
  uint32_t want = s->stopped || s->end || s->half ? 0 : s->fresh ? EPOLLRDHUP : EPOLLIN | EPOLLRDHUP;
  want |= s->in.first ? EPOLLOUT : 0;
  want |= s->half && !s->end ? EPOLLHUP : 0; /* told in any case, but only of what is watched */
  if (f->sock < 0 || want == s->watched)
    return;
  struct epoll_event e = {.events = want, .data.u32 = f->handle};
  epoll_ctl(h->ends, !want ? EPOLL_CTL_DEL : s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, f->sock, &e);
  s->watched = want;
}

/* ---- from the program ---- */

static void list(struct hub *h, struct file *f)
{
  if (f->sk->listed)
    return;
  f->sk->listed = true;
  f->sk->next = h->sending;
  h->sending = f;
}

static void unlist(struct hub *h, struct file *f)
{
  for (struct file **at = &h->sending; *at; at = &(*at)->sk->next)
    if (*at == f) {
      *at = f->sk->next;
      break;
    }
  f->sk->listed = false;
}

/* How much of the program's may be taken now. */
static uint64_t room(const struct sock *s)
{
  uint64_t under_way = s->taken - s->written;
  return under_way < s->may ? s->may - under_way : 0;
}

/* A window that is used up in a short while is too small for the way. So at most that while's bytes are under way. */
static void widen(struct sock *s)
{
  if (s->written - s->mark < s->may)
    return;
  uint64_t now = now_ms();
  if (s->stopped && now - s->mark_at < SHORT_MS && s->may < SOCK_WINDOW_MAX)
    s->may *= 2;
  s->mark = s->written;
  s->mark_at = now;
}

/* Bytes that only kept the program's end from being writable. */
static void drop_filler(struct file *f)
{
  static uint8_t waste[TAKE];
  struct sock *s = f->sk;
  while (s->filler) {
    ssize_t n = recv(f->sock, waste, s->filler < sizeof waste ? s->filler : sizeof waste, MSG_DONTWAIT);
    if (n <= 0)
      return;
    s->filler -= (uint64_t)n;
  }
}

static bool pair_empty(const struct sock *s)
{
  return !s->stopped && !s->out.first;
}

static void pass_shutdown(struct hub *h, struct file *f)
{
  uint8_t body[16];
  struct wbuf w = {body, body + sizeof body, false};
  if (!f->sk->shut || !pair_empty(f->sk))
    return;
  put_u64(&w, f->handle);
  put_u64(&w, f->sk->shut - 1);
  f->sk->shut = 0;
  hub_post(h, W_SHUTDOWN, f->ctx, &w, body);
}

static bool hung_up(const struct file *f)
{
  struct pollfd p = {.fd = f->sock};
  return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

/* The end of the program's bytes, and of all if the other direction has ended, too. */
static void half_closed(struct hub *h, struct file *f)
{
  struct sock *s = f->sk;
  if (!s->half && !s->shut)
    s->shut = SHUT_WR + 1;
  s->half = true;
  s->end = s->end || hung_up(f);
  list(h, f);
}

/* Until the pair is empty or the window full. */
static void take(struct hub *h, struct file *f)
{
  static uint8_t buf[DATAGRAM_ROOM];
  struct sock *s = f->sk;
  bool ended = s->end;
  while (!s->end && !s->half && !s->fresh) {
    uint64_t most = room(s);
    s->stopped = !most;
    if (!most)
      break;
    ssize_t n = recv(f->sock, buf, s->datagrams ? sizeof buf : most < TAKE ? most : TAKE, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      break;
    if (n <= 0 && s->native) {
      half_closed(h, f);
      break;
    }
    s->end = n <= 0;
    if (n > 0 && !pieces_add(&s->out, buf, (uint32_t)n))
      hub_abort(h, true, "out of memory");
    s->taken += n > 0 ? (uint64_t)n : 0;
  }
  if (s->out.first || s->shut)
    list(h, f);
  watch(h, f);
  if (s->end && !ended)
    file_ends(h, f);
}

void sock_send_now(struct hub *h, struct file *f)
{
  struct sock *s = f->sk;
  while (s->out.first) {
    struct piece *c = s->out.first;
    uint8_t head[12];
    struct wbuf w = {head, head + sizeof head, false};
    put_u64(&w, f->handle);
    put_u32(&w, c->n);
    struct iovec parts[] = {{head, sizeof head}, {c->bytes, c->n}};
    hub_send(h, (struct frame){.type = F_POST, .op = OP_write}, parts, 2);
    s->sent += c->n;
    pieces_used(&s->out, c->n);
  }
  pass_shutdown(h, f);
}

/* What was taken before the messages that are passed on by now. */
void socks_send(struct hub *h)
{
  while (h->sending) {
    struct file *f = h->sending;
    unlist(h, f);
    sock_send_now(h, f);
  }
}

/* ---- to the program ---- */

static void grant(struct hub *h, struct file *f)
{
  struct sock *s = f->sk;
  uint8_t body[16];
  struct wbuf w = {body, body + sizeof body, false};
  if (s->limit - s->fed > s->window * 3 / 4 || s->eof)
    return;
  /* Whoever keeps up may have more under way. */
  if (!s->in.first && s->window < SOCK_WINDOW_MAX)
    s->window *= 2;
  s->limit = s->fed + s->window;
  put_u64(&w, f->handle);
  put_u64(&w, s->limit);
  hub_post(h, W_CREDIT, f->ctx, &w, body);
}

/* 0: all of it, or nobody wants it any more; else -EAGAIN: `*n' went. What comes before the pair is there waits. */
static int give(const struct file *f, const uint8_t *p, uint32_t *n)
{
  if (!f->placed) {
    *n = 0;
    return -EAGAIN;
  }
  ssize_t r = f->sock < 0 ? (ssize_t)*n : send(f->sock, p, *n, MSG_DONTWAIT | MSG_NOSIGNAL);
  bool full = r < 0 && (errno == EAGAIN || errno == ENOBUFS);
  if (r < 0 && !full)
    return 0;
  bool part = full || (uint32_t)r < *n;
  *n = full ? 0 : (uint32_t)r;
  return part ? -EAGAIN : 0;
}

static void pass_eof(struct file *f)
{
  struct sock *s = f->sk;
  if (!s->eof || s->eof_done || s->in.first || f->sock < 0)
    return;
  s->eof_done = true;
  shutdown(f->sock, SHUT_WR);
}

static void feed(struct hub *h, struct file *f)
{
  struct sock *s = f->sk;
  while (s->in.first) {
    struct piece *c = s->in.first;
    uint32_t n = c->n - c->done;
    int err = give(f, c->bytes + c->done, &n);
    s->fed += n;
    if (n)
      pieces_used(&s->in, n);
    if (err)
      break;
  }
  grant(h, f);
  pass_eof(f);
  watch(h, f);
}

static void take_data(struct hub *h, struct file *f, const uint8_t *p, uint32_t n)
{
  struct sock *s = f->sk;
  uint32_t went = n;
  if (s->in.first)
    went = 0;
  else
    give(f, p, &went);
  s->fed += went;
  if (went < n && !pieces_add(&s->in, p + went, n - went))
    hub_abort(h, true, "out of memory");
  grant(h, f);
  watch(h, f);
}

/* ---- states ---- */

static void set_error(struct hub *h, struct file *f, int err)
{
  struct sock_state *st = shown(h, f);
  if (st)
    __atomic_store_n(&st->error, err, __ATOMIC_SEQ_CST);
}

/* A reader of datagrams is woken by an address that is none. */
static void wake_datagrams(const struct file *f)
{
  struct wire_dgram none = {.len = UINT32_MAX};
  uint8_t bytes[sizeof none];
  uint32_t n = sizeof bytes;
  dgram_put(bytes, &none);
  give(f, bytes, &n);
}

static void failed(struct hub *h, struct file *f, int err)
{
  struct sock *s = f->sk;
  struct sock_state *st = shown(h, f);
  if (s->datagrams) {
    set_error(h, f, err);
    wake_datagrams(f);
    return;
  }
  if (st && !s->native && !__atomic_exchange_n(&st->failed, 1, __ATOMIC_SEQ_CST))
    set_error(h, f, err);
  if (s->native && f->sock >= 0) { /* the kernel tells the program */
    close(f->sock);
    f->sock = -1;
    s->end = true;
    file_ends(h, f);
    return;
  }
  s->eof = true;
  s->written = s->taken; /* nothing waits for a window any more */
  pass_eof(f);
  if (s->stopped)
    take(h, f);
}

/* The first result of connecting, whoever brings it. */
static void settled(struct hub *h, struct file *f, int err)
{
  struct sock *s = f->sk;
  struct sock_state *st = shown(h, f);
  if (!s->connecting)
    return;
  if (st && err)
    st->error = err;
  if (st)
    __atomic_store_n(&st->place, err ? SOCK_REFUSED : SOCK_JOINED, __ATOMIC_SEQ_CST);
  s->connecting = false;
  s->fresh = err;
  drop_filler(f);
  take(h, f);
}

/* ---- new connections ---- */

static uint32_t handle_new(struct hub *h)
{
  for (uint32_t i = H_FIRST; i < SESSION_HANDLES; i++) {
    struct hstate *s = &h->s->handles[i];
    uint32_t none = 0, handle = (s->next_gen & 0xfff) << HANDLE_INDEX_BITS | i;
    if (h->files[i] ||
        !__atomic_compare_exchange_n(&s->handle, &none, handle, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      continue;
    uint32_t high = __atomic_load_n(&h->s->high_handle, __ATOMIC_RELAXED);
    while (high <= i &&
           !__atomic_compare_exchange_n(&h->s->high_handle, &high, i + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    s->next_gen = (handle >> HANDLE_INDEX_BITS) + 1;
    return handle;
  }
  return H_NONE;
}

static void describe(struct hstate *s, const struct sock_state *listener, const struct wire_dgram names[2],
                     uint64_t ino)
{
  memset(&s->sock, 0, sizeof s->sock);
  s->sock.domain = listener->domain;
  s->sock.type = listener->type;
  s->sock.protocol = listener->protocol;
  s->sock.place = SOCK_JOINED;
  s->sock.peer = names[0];
  s->sock.own = names[1];
  s->kind = K_SOCKET;
  s->flags = 2; /* O_RDWR */
  s->late = 0;
  s->snap = SNAP_NONE;
  s->sent = s->written = 0;
  s->armed = s->ready = 0;
  s->offset_remote = s->notes = s->minded = 0;
  __atomic_store_n(&s->sock_ino, ino, __ATOMIC_RELEASE);
}

/* The program's end goes into the listening socket's pair. */
static int deliver(const struct file *listener, uint32_t handle, const struct wire_dgram *peer, int fd)
{
  struct sock_accepted a = {.handle = handle, .peer = *peer};
  return send_with_fd(listener->sock, &a, sizeof a, fd);
}

static void post_three(struct hub *h, uint16_t op, uint64_t a, uint64_t b, uint64_t c)
{
  uint8_t body[24];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, a);
  put_u64(&w, b);
  put_u64(&w, c);
  hub_post(h, op, 0, &w, body);
}

static void post_two(struct hub *h, uint16_t op, uint64_t a, uint64_t b)
{
  uint8_t body[16];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, a);
  put_u64(&w, b);
  hub_post(h, op, 0, &w, body);
}

static int place_pair(struct hub *h, struct file *f, int pair[2])
{
  int err = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
  if (!err && (err = file_place_fd(h, f, pair[0]))) {
    close(pair[0]);
    close(pair[1]);
  }
  return err;
}

static void take_connection(struct hub *h, struct file *l, uint64_t token, const uint8_t *p, uint32_t n)
{
  struct wire_dgram names[2];
  struct stat st;
  int pair[2];
  struct sock_state *listener = shown(h, l);
  if (n != 2 * sizeof names[0] || !listener || l->sock < 0)
    return; /* it is being closed, and the connection with it */
  dgram_get(&names[0], p);
  dgram_get(&names[1], p + sizeof names[0]);
  if (names[0].len > SOCK_ADDR_MAX || names[1].len > SOCK_ADDR_MAX)
    return;
  uint32_t handle = handle_new(h);
  struct file *f = handle == H_NONE ? 0 : sock_new(h, handle, l->ctx, SOCK_STREAMING);
  if (!f) {
    hub_abort(h, true, "no handle or no memory for a connection");
    return;
  }
  post_three(h, W_ADOPT, l->handle, token, handle);
  if (place_pair(h, f, pair)) {
    file_close(h, f);
    return;
  }
  if (!fstat(pair[1], &st))
    describe(state_of(h, f), listener, names, st.st_ino);
  deliver(l, handle, &names[0], pair[1]); /* what does not fit ends with its only descriptor */
  close(pair[1]);
}

/* Somebody on the slave has connected to a socket that a program has bound there. */
static void sock_visitor(struct hub *h, struct file *bound, uint64_t token)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  snprintf(a.sun_path, sizeof a.sun_path, "%s" TMPDIR_SOCKETS "/%x", h->o.tmpdir, bound->handle);
  uint32_t handle = handle_new(h);
  struct file *f = handle == H_NONE ? 0 : sock_new(h, handle, bound->ctx, SOCK_NATIVE);
  if (!f) {
    hub_abort(h, true, "no handle or no memory for a connection");
    return;
  }
  post_three(h, W_ADOPT, bound->handle, token, handle);
  post_two(h, W_CREDIT, bound->handle, 1);
  state_of(h, f)->kind = K_SOCKET;
  state_of(h, f)->sock_ino = 0;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  bool joined = fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a);
  if (joined && !file_place_fd(h, f, fd))
    return;
  if (fd >= 0)
    close(fd);
  file_close(h, f);
}

/* ---- what the parts call ---- */

struct file *sock_new(struct hub *h, uint32_t handle, uint32_t ctx, enum sock_manner manner)
{
  struct file *f = file_fixed(h, handle, K_SOCKET, 2, 0, 0);
  struct sock *s = f ? calloc(1, sizeof *s) : 0;
  if (!s)
    return 0;
  *s = (struct sock){.limit = SOCK_WINDOW, .window = SOCK_WINDOW, .may = STREAM_WINDOW};
  s->datagrams = manner == SOCK_DATAGRAMS;
  s->fresh = manner == SOCK_FRESH;
  s->native = manner == SOCK_NATIVE;
  f->known = false;
  f->ctx = ctx;
  f->sk = s;
  return f;
}

void sock_placed(struct hub *h, struct file *f)
{
  feed(h, f);
}

void sock_free(struct hub *h, struct file *f)
{
  if (f->sk->listed)
    unlist(h, f);
  pieces_free(&f->sk->out);
  pieces_free(&f->sk->in);
  free(f->sk);
  f->sk = 0;
}

void sock_ready(struct hub *h, struct file *f, uint32_t events)
{
  if (events & EPOLLOUT)
    feed(h, f);
  if (f->sk->fresh && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) && !f->sk->end) {
    f->sk->end = true;
    watch(h, f);
    file_ends(h, f);
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) && !f->sk->stopped && !f->sk->fresh && !f->sk->half)
    take(h, f);
  if (f->sk->half && !f->sk->end && events & (EPOLLHUP | EPOLLERR)) {
    f->sk->end = true;
    watch(h, f);
    file_ends(h, f);
  }
}

void sock_window(struct hub *h, struct file *f, uint64_t written)
{
  struct sock *s = f->sk;
  if (written > s->sent || written < s->written)
    return;
  s->written = written;
  widen(s);
  if (s->stopped)
    take(h, f);
}

int sock_take_event(struct hub *h, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  uint32_t len;
  uint64_t handle = get_u64(&r), event = get_u64(&r), value = get_u64(&r);
  const uint8_t *data = get_blob(&r, &len, FRAME_DATA_MAX);
  if (r.bad || r.at != r.end || event < SOCK_DATA || event > SOCK_CONNECTION ||
      (event != SOCK_CONNECTION && value > 4095))
    return -EPROTO;
  struct file *f = file_at(h, handle);
  if (f && f->kind == K_BOUND && event == SOCK_CONNECTION)
    sock_visitor(h, f, value);
  if (!f || !f->sk)
    return 0; /* closed meanwhile */
  if (event == SOCK_DATA)
    take_data(h, f, data, len);
  else if (event == SOCK_CONNECTION)
    take_connection(h, f, value, data, len);
  else if (event == SOCK_CONNECTED)
    settled(h, f, (int)value);
  else if (event == SOCK_FAILED)
    failed(h, f, (int)value);
  else
    f->sk->eof = true;
  pass_eof(f);
  return 0;
}

/* ---- messages of programs ---- */

int sock_making(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  get_u64(&r);
  uint64_t type = get_u64(&r);
  get_u64(&r);
  uint64_t handle = get_u64(&r);
  if (m->f.type != F_POST || handle >= H_NONE || HANDLE_INDEX(handle) < H_FIRST)
    return -EPROTO;
  enum sock_manner manner = type == SOCK_STREAM ? SOCK_FRESH : SOCK_DATAGRAMS;
  return sock_new(h, (uint32_t)handle, m->f.ctx, manner) ? 0 : -EPROTO;
}

/* Handle, address, how much fills the pair and whether the slave waits: our part is taken out of the body. */
void sock_connecting(struct hub *h, struct file *f, const struct message *m)
{
  uint32_t n;
  struct rbuf r = {m->body + 8, m->body + m->n, false};
  get_blob(&r, &n, FRAME_DATA_MAX);
  uint8_t *at = m->body + (r.at - m->body);
  uint64_t v = get_u64(&r);
  struct wbuf w = {at, at + 8, false};
  if (r.bad)
    return;
  put_u64(&w, v & 1);
  h->calls[m->f.tag].handle = f->handle;
  if (!f->sk->fresh || f->sk->connecting)
    return;
  f->sk->filler = v >> 32;
  f->sk->connecting = true;
}

void sock_connected(struct hub *h, uint32_t handle, int64_t result)
{
  struct file *f = file_at(h, handle);
  if (!f || !f->sk || result == -EINPROGRESS)
    return;
  bool told = f->sk->connecting && result < 0;
  settled(h, f, result < 0 ? (int)-result : 0);
  if (!told || !shown(h, f)) /* by the call itself */
    return;
  shown(h, f)->error = 0;
  __atomic_store_n(&shown(h, f)->place, SOCK_NEW, __ATOMIC_SEQ_CST);
}

/* True: it will be passed on when what was written before has been. */
bool sock_shutdown(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t handle = get_u64(&r), how = get_u64(&r);
  struct file *f = file_at(h, handle);
  if (!f || !f->sk || f->sock < 0 || how > SHUT_RDWR)
    return false;
  if (how != SHUT_WR) {
    f->sk->eof = true;
    pieces_free(&f->sk->in);
    pass_eof(f);
  }
  f->sk->shut = f->sk->shut ? SHUT_RDWR + 1 : (uint32_t)how + 1;
  if (!f->sk->stopped)
    take(h, f);
  list(h, f);
  return true;
}

/* Bytes that programs have written before they ended are on their way. */
bool socks_busy(const struct hub *h)
{
  for (uint32_t i = H_FIRST; i < SESSION_HANDLES; i++) {
    const struct file *f = h->files[i];
    if (f && f->sk && f->placed && (!f->sk->end || f->sk->out.first))
      return true;
  }
  return false;
}
