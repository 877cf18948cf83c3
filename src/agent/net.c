/*
 * Sockets of the slave. The program holds one end of a socket pair, the hub moves what is in it (src/hub/sock.c):
 * reading, writing and waiting are the kernel's own. Here is what a pair does not know: addresses, states, options,
 * errors.
 *
 * What is true of a socket lies in its hstate; the hub changes it when a connection is made or broken. A message of a
 * datagram socket carries its address in front, in both directions. A socket that is being connected to without
 * waiting is filled first, so that it is not writable until it is connected. Must never tell of a pair what a network
 * socket would not tell.
 */
#include "agent/net.h"

#define SOCK_TYPES 15
#define SOCK_FLAGS (O_NONBLOCK | O_CLOEXEC)
#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_ERRQUEUE 0x2000
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define SCM_RIGHTS 1
#define SIGNAL_PIPE 13
#define NETLINK_ROUTE 0
#define NETLINK_SOCK_DIAG 4
#define PROTOCOL_ICMP 1
#define PROTOCOL_ICMPV6 58
#define NAME_ROOM SOCK_ADDR_MAX
#define FILL 32768
#define PIECES_SMALL 8

bool net_of(struct call *c, int fd, struct nsock *n)
{
  n->fd = fd;
  n->h = vft_socket(c->p, fd);
  if (n->h.v == H_NONE)
    return false;
  n->s = &hstate(n->h)->sock;
  return true;
}

static void set_place(struct nsock *n, enum sock_place where)
{
  __atomic_store_n(&n->s->place, where, __ATOMIC_RELEASE);
}

/* ---- making one ---- */

/* What tells of the network belongs where the network is. */
static bool of_network(const struct call *c)
{
  bool tells = c->a[0] == AF_NETLINK && (c->a[2] == NETLINK_ROUTE || c->a[2] == NETLINK_SOCK_DIAG);
  return c->a[0] == AF_INET || c->a[0] == AF_INET6 || tells;
}

static bool is_ours(const struct call *c)
{
  unsigned long type = c->a[1] & SOCK_TYPES;
  return !standalone() && mode_remote() && !(session->flags & SF_NET_LOCAL) && of_network(c) && type &&
         !(c->a[1] & ~(unsigned long)(SOCK_TYPES | SOCK_FLAGS));
}

/* Sockets for which a right is needed: the slave's kernel has to be asked. */
static bool needs_right(const struct call *c)
{
  return c->a[0] != AF_NETLINK &&
         ((c->a[1] & SOCK_TYPES) == SOCK_RAW || c->a[2] == PROTOCOL_ICMP || c->a[2] == PROTOCOL_ICMPV6);
}

/* The kernel here judges the arguments. */
static long judge(struct call *c)
{
  long fd = sys3(__NR_socket, c->a[0], c->a[1] | O_CLOEXEC, c->a[2]);
  if (fd >= 0)
    sys1(__NR_close, fd);
  return fd < 0 ? fd : 0;
}

long net_make(struct call *c, long domain, long type, long protocol, int flags, struct handle *h)
{
  struct req q;
  *h = handle_new();
  if (h->v == H_NONE)
    return -ENFILE;
  struct hstate *s = hstate(*h);
  s->kind = K_SOCKET;
  s->flags = O_RDWR;
  s->sock.domain = (uint32_t)domain;
  s->sock.type = (uint32_t)type;
  s->sock.protocol = (uint32_t)protocol;
  req_start_op(&q, c->t, W_SOCKET);
  req_u64(&q, (uint64_t)domain);
  req_u64(&q, (uint64_t)type);
  req_u64(&q, (uint64_t)protocol);
  req_handle(&q, *h);
  req_post(&q, -1);
  return socket_place(c, *h, type != SOCK_STREAM, flags);
}

/* Its descriptor, or why the slave has not made it. */
static long if_made(struct call *c, int fd, struct handle h)
{
  struct nsock n = {fd, h, &hstate(h)->sock};
  struct addr own;
  long r = net_name(c, &n, false, &own);
  if (r >= 0)
    return fd;
  vft_forget(c->p, fd);
  sys1(__NR_close, fd);
  return r;
}

long a_socket(struct call *c)
{
  struct handle h;
  bool asks = needs_right(c);
  if (!is_ours(c) || (net_ruled() && !asks && c->a[0] != AF_NETLINK))
    return pass_newfd(c);
  long r = asks ? 0 : judge(c);
  if (r < 0)
    return r;
  c->where = N_POSTED;
  long fd = net_make(c, (int)c->a[0], (long)(c->a[1] & SOCK_TYPES), (int)c->a[2], (int)(c->a[1] & SOCK_FLAGS), &h);
  return fd < 0 || !asks ? fd : if_made(c, (int)fd, h);
}

/* ---- asking the slave ---- */

static void take_name(struct req *q, struct wire_dgram *name)
{
  uint32_t len;
  const void *p = get_blob(&q->r, &len, SOCK_ADDR_MAX);
  if (!p)
    return;
  memset(name->addr, 0, sizeof name->addr);
  memcpy(name->addr, p, len);
  __atomic_store_n(&name->len, len, __ATOMIC_RELEASE);
}

static void put_addr(struct req *q, const struct addr *a)
{
  put_blob(&q->w, a->bytes, a->len < SOCK_ADDR_MAX ? a->len : SOCK_ADDR_MAX);
}

/* ---- bind and connect ---- */

static long wanted_addr(struct call *c, struct nsock *n, struct addr *a)
{
  long r = addr_in(a, c->a[1], c->a[2]);
  uint32_t least = n->s->domain == AF_INET6 ? 24 : n->s->domain == AF_NETLINK ? 12 : 16;
  if (r)
    return r;
  bool none = a->len >= 2 && !a->bytes[0] && !a->bytes[1]; /* AF_UNSPEC */
  return a->len < (none ? 2 : least) ? -EINVAL : 0;
}

long net_bind(struct call *c, struct nsock *n)
{
  struct addr a;
  struct req q;
  long r = wanted_addr(c, n, &a);
  if (r)
    return r;
  ask_start(c, &q, n, W_NBIND);
  put_addr(&q, &a);
  req_u64(&q, NAME_ROOM);
  r = said(n, req_call(&q, false));
  if (r < 0)
    return r;
  take_name(&q, &n->s->own);
  return 0;
}

/* Until it takes no more: how much that was. */
static uint64_t fill(int fd)
{
  static const uint8_t bytes[FILL];
  uint64_t filled = 0;
  long r;
  while ((r = sys6(__NR_sendto, fd, (long)bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0)) > 0)
    filled += (uint64_t)r;
  return filled;
}

static bool nonblocking(int fd)
{
  long flags = sys2(__NR_fcntl, fd, F_GETFL);
  return flags >= 0 && flags & O_NONBLOCK;
}

static long connect_to(struct call *c, struct nsock *n, const struct addr *a, bool waits)
{
  struct req q;
  uint64_t filler = 0;
  bool stream = !datagrams(n);
  if (stream && !waits) {
    filler = fill(n->fd);
    set_place(n, SOCK_CONNECTING);
  }
  n->s->own.len = n->s->peer.len = 0;
  ask_start(c, &q, n, W_NCONNECT);
  put_addr(&q, a);
  req_u64(&q, filler << 32 | (stream && waits));
  req_u64(&q, NAME_ROOM);
  long r = said(n, req_call(&q, stream && waits));
  if (r >= 0)
    take_name(&q, &n->s->own);
  if (r >= 0)
    set_place(n, a->bytes[0] || a->bytes[1] ? SOCK_JOINED : SOCK_NEW);
  return r < 0 ? r : 0;
}

long net_connect(struct call *c, struct nsock *n)
{
  struct addr a;
  long r = wanted_addr(c, n, &a);
  if (r)
    return r;
  if (!datagrams(n) && place(n) == SOCK_JOINED)
    return -EISCONN;
  if (place(n) == SOCK_LISTENING)
    return -EISCONN;
  if (place(n) == SOCK_CONNECTING)
    return -EALREADY;
  r = error_taken(n);
  if (place(n) == SOCK_REFUSED) {
    set_place(n, SOCK_NEW);
    return r ? r : -ECONNABORTED;
  }
  return r ? r : connect_to(c, n, &a, !nonblocking(n->fd));
}

/* ---- listen and accept ---- */

long net_listen(struct call *c, struct nsock *n)
{
  struct req q;
  if (datagrams(n))
    return -EOPNOTSUPP;
  ask_start(c, &q, n, W_LISTEN);
  req_u64(&q, c->a[1]);
  long r = said(n, req_call(&q, false));
  if (r >= 0)
    set_place(n, SOCK_LISTENING);
  return r < 0 ? r : 0;
}

/* The connection stays where it is while there is no number for its descriptor. */
static long number_left(struct call *c, int fd)
{
  long r = fd_new(c->p, sys1(__NR_dup, fd));
  if (r >= 0)
    sys1(__NR_close, r);
  return r < 0 ? r : 0;
}

static void may_accept_more(struct call *c, const struct nsock *n)
{
  struct req q;
  req_start_op(&q, c->t, W_CREDIT);
  req_handle(&q, n->h);
  req_u64(&q, 1);
  req_post(&q, -1);
}

struct fd_room {
  uint64_t len;
  int32_t level, type;
  int fd, pad;
};

static long take_connection(struct call *c, struct nsock *n, struct sock_accepted *a, int flags, int *fd)
{
  struct iov v = {(uint64_t)a, sizeof *a};
  struct fd_room room = {.fd = -1};
  struct msg_k m = {.iov = (uint64_t)&v, .iovlen = 1, .control = (uint64_t)&room, .controllen = 20};
  long r = cp_call(c->t, __NR_recvmsg, n->fd, (long)&m, flags & O_CLOEXEC ? MSG_CMSG_CLOEXEC : 0, 0, 0, 0);
  if (r < 0)
    return r;
  *fd = room.type == SCM_RIGHTS && m.controllen ? room.fd : -1;
  if (r == sizeof *a && *fd >= 0)
    return 0;
  return r == 0 ? -EINVAL : -EMFILE; /* shut down; or the last number was taken meanwhile */
}

long net_accept(struct call *c, struct nsock *n, int flags, struct addr *from)
{
  struct sock_accepted a;
  int fd;
  if (flags & ~SOCK_FLAGS)
    return -EINVAL;
  if (place(n) != SOCK_LISTENING)
    return datagrams(n) ? -EOPNOTSUPP : -EINVAL;
  long r = number_left(c, n->fd);
  if (!r)
    r = take_connection(c, n, &a, flags, &fd);
  if (r)
    return r;
  may_accept_more(c, n);
  if (flags & O_NONBLOCK)
    sys3(__NR_fcntl, fd, F_SETFL, O_RDWR | O_NONBLOCK);
  vft_set_socket(c->p, fd, (struct handle){a.handle});
  from->len = a.peer.len < sizeof a.peer.addr ? a.peer.len : sizeof a.peer.addr;
  memcpy(from->bytes, a.peer.addr, from->len);
  c->where = N_MEMORY;
  return fd;
}

/* ---- shutdown and names ---- */

long net_shutdown(struct call *c, struct nsock *n)
{
  struct req q;
  unsigned how = (unsigned)c->a[1];
  if (how > 2)
    return -EINVAL;
  if (place(n) != SOCK_JOINED && place(n) != SOCK_LISTENING)
    return -ENOTCONN;
  if (place(n) == SOCK_LISTENING && how == 1)
    return 0;
  __atomic_fetch_or(&n->s->shut, how + 1, __ATOMIC_ACQ_REL); /* 0, 1, 2: SHUT_IN, SHUT_OUT, both */
  ask_start(c, &q, n, W_SHUTDOWN);
  req_u64(&q, how);
  c->where = N_POSTED;
  return req_post(&q, -1);
}

long net_name(struct call *c, struct nsock *n, bool peer, struct addr *a)
{
  struct wire_dgram *known = peer ? &n->s->peer : &n->s->own;
  struct req q;
  if (peer && place(n) != SOCK_JOINED)
    return -ENOTCONN;
  if (!__atomic_load_n(&known->len, __ATOMIC_ACQUIRE)) {
    struct wire_dgram name = {0};
    ask_start(c, &q, n, W_SOCKNAME);
    req_u64(&q, peer);
    req_u64(&q, NAME_ROOM);
    long r = said(n, req_call(&q, false));
    if (r < 0)
      return r;
    take_name(&q, &name);
    if (place(n) == SOCK_JOINED)
      *known = name;
    a->len = name.len;
    memcpy(a->bytes, name.addr, sizeof name.addr);
    return 0;
  }
  a->len = known->len < sizeof known->addr ? known->len : sizeof known->addr;
  memcpy(a->bytes, known->addr, a->len);
  c->where = N_MEMORY;
  return 0;
}

/* ---- sending ---- */

static long broken(struct call *c, int flags)
{
  if (!(flags & MSG_NOSIGNAL))
    sys3(__NR_tgkill, sys0(__NR_getpid), c->t->tid, SIGNAL_PIPE);
  return -EPIPE;
}

/* What keeps anything from being sent; 0: nothing. */
static long send_refused(struct call *c, struct nsock *n, int flags)
{
  long r = error_taken(n);
  if (r)
    return r;
  if (flags & MSG_OOB)
    return -EOPNOTSUPP;
  bool joined = datagrams(n) || place(n) == SOCK_JOINED || place(n) == SOCK_CONNECTING;
  return !joined || n->s->failed || n->s->shut & SHUT_OUT ? broken(c, flags) : 0;
}

/* The program's pieces behind one of ours. `small' has room for PIECES_SMALL; else pages, to be freed. */
static struct iov *with_head(const struct msg_k *m, struct iov *small, void *head)
{
  struct iov *v = m->iovlen < PIECES_SMALL ? small : pages_new((m->iovlen + 1) * sizeof *v);
  if (!v)
    return 0;
  v[0] = (struct iov){(uint64_t)head, sizeof(struct wire_dgram)};
  if (!copy_in(v + 1, (void *)m->iov, m->iovlen * sizeof *v))
    return v;
  if (v != small)
    pages_free(v, (m->iovlen + 1) * sizeof *v);
  return 0;
}

static void free_pieces(const struct msg_k *m, struct iov *v, struct iov *small)
{
  if (v != small)
    pages_free(v, (m->iovlen + 1) * sizeof *v);
}

static long send_datagram(struct call *c, struct nsock *n, const struct msg_k *m, const struct addr *to, int flags)
{
  struct iov small[PIECES_SMALL];
  struct wire_dgram name = {0};
  uint8_t head[sizeof name];
  if (!to->len && place(n) != SOCK_JOINED && n->s->domain != AF_NETLINK) /* whose is the kernel then */
    return -EDESTADDRREQ;
  if (m->iovlen > IOV_COUNT_MAX)
    return -EMSGSIZE;
  name.len = to->len < sizeof name.addr ? to->len : sizeof name.addr;
  memcpy(name.addr, to->bytes, name.len);
  dgram_put(head, &name);
  struct iov *v = with_head(m, small, head);
  if (!v)
    return -EFAULT;
  struct msg_k out = {.iov = (uint64_t)v, .iovlen = m->iovlen + 1};
  long r = cp_call(c->t, __NR_sendmsg, n->fd, (long)&out, flags & (MSG_DONTWAIT | MSG_NOSIGNAL), 0, 0, 0);
  free_pieces(m, v, small);
  return r < 0 ? r : r - (long)sizeof head;
}

long net_send(struct call *c, struct nsock *n, const struct msg_k *m, const struct addr *to, int flags)
{
  long r = send_refused(c, n, flags);
  if (r)
    return r;
  if (datagrams(n))
    return send_datagram(c, n, m, to, flags);
  struct msg_k out = {.iov = m->iov, .iovlen = m->iovlen};
  return cp_call(c->t, __NR_sendmsg, n->fd, (long)&out, flags, 0, 0, 0);
}

/* ---- receiving ---- */

/* Something that was only to wake: true if there is an error to tell, or nothing. */
static bool was_wake(struct nsock *n, const struct wire_dgram *d, int flags)
{
  uint8_t head[sizeof *d];
  if (d->len != UINT32_MAX)
    return false;
  if (flags & MSG_PEEK)
    sys6(__NR_recvfrom, n->fd, (long)head, sizeof head, MSG_DONTWAIT, 0, 0);
  return true;
}

static long receive_datagram(struct call *c, struct nsock *n, struct msg_k *m, struct addr *from, int flags)
{
  struct iov small[PIECES_SMALL];
  struct wire_dgram name;
  uint8_t head[sizeof name];
  if (m->iovlen > IOV_COUNT_MAX)
    return -EMSGSIZE;
  struct iov *v = with_head(m, small, head);
  if (!v)
    return -EFAULT;
  long r;
  for (;;) {
    r = error_taken(n);
    if (r)
      break;
    struct msg_k in = {.iov = (uint64_t)v, .iovlen = m->iovlen + 1};
    r = cp_call(c->t, __NR_recvmsg, n->fd, (long)&in, flags & ~MSG_CMSG_CLOEXEC, 0, 0, 0);
    m->flags = in.flags & MSG_TRUNC;
    if (r < (long)sizeof head)
      break; /* an error, or shut down */
    dgram_get(&name, head);
    if (was_wake(n, &name, flags))
      continue;
    from->len = name.len < sizeof name.addr ? name.len : sizeof name.addr;
    memcpy(from->bytes, name.addr, from->len);
    r -= (long)sizeof head;
    break;
  }
  free_pieces(m, v, small);
  return r;
}

static bool wants_bytes(const struct msg_k *m)
{
  struct iov v;
  for (uint64_t i = 0; i < m->iovlen && i < IOV_COUNT_MAX; i++)
    if (!copy_in(&v, (struct iov *)m->iov + i, sizeof v) && v.len)
      return true;
  return false;
}

long net_receive(struct call *c, struct nsock *n, struct msg_k *m, struct addr *from, int flags)
{
  from->len = 0;
  m->controllen = 0;
  if (flags & MSG_ERRQUEUE)
    return -EAGAIN;
  if (flags & MSG_OOB)
    return -EINVAL;
  if (datagrams(n))
    return receive_datagram(c, n, m, from, flags);
  if (place(n) == SOCK_NEW || place(n) == SOCK_LISTENING || place(n) == SOCK_REFUSED) {
    long r = error_taken(n);
    return r ? r : -ENOTCONN;
  }
  struct msg_k in = {.iov = m->iov, .iovlen = m->iovlen};
  long r = cp_call(c->t, __NR_recvmsg, n->fd, (long)&in, flags, 0, 0, 0);
  m->flags = in.flags;
  if (r == 0 && n->s->error && wants_bytes(m))
    r = error_taken(n);
  return r;
}

/* ---- read and write ---- */

/* The pieces of read, readv, write or writev. */
static struct msg_k as_message(struct call *c, struct iov *one)
{
  if (c->row == ROW(readv) || c->row == ROW(writev))
    return (struct msg_k){.iov = c->a[1], .iovlen = c->a[2]};
  *one = (struct iov){c->a[1], c->a[2]};
  return (struct msg_k){.iov = (uint64_t)one, .iovlen = 1};
}

long net_read(struct call *c)
{
  struct nsock n;
  struct addr from;
  struct iov one;
  if (!net_of(c, (int)c->a[0], &n))
    return pass(c);
  struct msg_k m = as_message(c, &one);
  return net_receive(c, &n, &m, &from, 0);
}

long net_write(struct call *c)
{
  struct nsock n;
  struct addr none = {.len = 0};
  struct iov one;
  if (!net_of(c, (int)c->a[0], &n))
    return pass(c);
  struct msg_k m = as_message(c, &one);
  return net_send(c, &n, &m, &none, 0);
}
