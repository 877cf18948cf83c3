/*
 * Calls on sockets of this machine: made, bound, connected, listened on, asked about.
 *
 * Owns the list of options that may be read and set. Must never: block on the main thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "slave/sock.h"

#define LOOK_MS 50 /* a cancelled call's signal may come just before it waits */

static int socket_new(const struct call *c)
{
  int domain = (int)c->a[0], type = (int)c->a[1];
  if (domain != AF_INET && domain != AF_INET6)
    return -EAFNOSUPPORT;
  int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, (int)c->a[2]);
  if (fd < 0)
    return -errno;
  int err = sock_add(c->a[3], fd, type, 0);
  if (err)
    close(fd);
  return err;
}

/* Nobody waits for the reply: what went wrong is told of the socket. */
long do_socket(struct call *c)
{
  int err = socket_new(c);
  if (err)
    sock_failed(&(struct handle){.num = (uint32_t)c->a[3]}, err);
  return 0;
}

static long not_socket(const struct call *c)
{
  return c->h[0]->sock ? 0 : -ENOTSOCK;
}

static long put_name(struct call *c, bool peer)
{
  struct sockaddr_storage a;
  struct wire_dgram name;
  socklen_t n = sizeof a;
  int fd = c->h[0]->fd;
  if (peer ? getpeername(fd, (struct sockaddr *)&a, &n) : getsockname(fd, (struct sockaddr *)&a, &n))
    return -errno;
  addr_to_wire(&name, &a, n);
  if (name.len > c->o_room)
    return -EINVAL;
  memcpy(c->o_at, name.addr, name.len);
  return name.len;
}

long do_nbind(struct call *c)
{
  struct sockaddr_storage a;
  socklen_t n = addr_from_wire(&a, c->blob, c->blob_len);
  if (not_socket(c))
    return -ENOTSOCK;
  if (bind(c->h[0]->fd, (struct sockaddr *)&a, n))
    return -errno;
  return put_name(c, false);
}

/* A worker's wait for a connection that is being made: 0, or errno. Interrupted, it goes on being made. */
static int wait_connected(struct call *c)
{
  struct pollfd p = {.fd = c->h[0]->fd, .events = POLLOUT};
  while (poll(&p, 1, LOOK_MS) <= 0)
    if (worker_cancelled())
      return EINTR;
  return sock_connect_result(p.fd);
}

/* Called once more for the same address (after a signal, or on a worker) it waits for the same connection. */
long do_nconnect(struct call *c)
{
  struct sockaddr_storage a;
  struct handle *h = c->h[0];
  bool waits = c->a[3];
  if (not_socket(c))
    return -ENOTSOCK;
  socklen_t n = addr_from_wire(&a, c->blob, c->blob_len);
  int err = connect(h->fd, (struct sockaddr *)&a, n) ? errno : 0;
  if (err == EALREADY && waits)
    err = EINPROGRESS;
  if (err == EINPROGRESS && waits && !c->worker)
    return CALL_DEFER;
  if (err == EISCONN && waits && c->worker)
    err = 0;
  if (err == EINPROGRESS && waits)
    err = wait_connected(c);
  if (err == EINPROGRESS)
    sock_connecting(h, false);
  if (err)
    return -err;
  sock_connecting(h, true);
  return put_name(c, false);
}

long do_listen(struct call *c)
{
  if (not_socket(c))
    return -ENOTSOCK;
  if (listen(c->h[0]->fd, (int)c->a[1]))
    return -errno;
  int backlog = (int)c->a[1];
  sock_listening(c->h[0], backlog < 0 ? SOCK_BACKLOG : (uint32_t)backlog);
  return 0;
}

long do_shutdown(struct call *c)
{
  if (not_socket(c))
    return -ENOTSOCK;
  stream_shutdown(c->h[0], (int)c->a[1]);
  return 0;
}

long do_sockname(struct call *c)
{
  return not_socket(c) ? -ENOTSOCK : put_name(c, c->a[1]);
}

long do_credit(struct call *c)
{
  if (not_socket(c))
    return -ENOTSOCK;
  sock_credit(c->h[0], c->a[1]);
  return 0;
}

/* If it cannot be, the connection is closed, and its handle's end is told. */
long do_adopt(struct call *c)
{
  int fd = not_socket(c) ? -1 : sock_take_waiting(c->h[0], c->a[1]);
  int err = fd < 0 ? -ECONNABORTED : sock_add(c->a[2], fd, SOCK_STREAM, 0);
  if (err && fd >= 0)
    close(fd);
  if (err)
    sock_failed(&(struct handle){.num = (uint32_t)c->a[2]}, err);
  return 0;
}

/* ---- options ---- */

enum shape { INT = 1, LINGER, BYTES };
static const struct option {
  uint16_t level, option; /* x86-64's numbers */
  uint8_t shape;
  int native_level, native;
} options[] = {
    {1, 2, INT, SOL_SOCKET, SO_REUSEADDR},
    {1, 4, INT, SOL_SOCKET, SO_ERROR},
    {1, 5, INT, SOL_SOCKET, SO_DONTROUTE},
    {1, 6, INT, SOL_SOCKET, SO_BROADCAST},
    {1, 7, INT, SOL_SOCKET, SO_SNDBUF},
    {1, 8, INT, SOL_SOCKET, SO_RCVBUF},
    {1, 9, INT, SOL_SOCKET, SO_KEEPALIVE},
    {1, 10, INT, SOL_SOCKET, SO_OOBINLINE},
    {1, 12, INT, SOL_SOCKET, SO_PRIORITY},
    {1, 13, LINGER, SOL_SOCKET, SO_LINGER},
    {1, 15, INT, SOL_SOCKET, SO_REUSEPORT},
    {1, 25, BYTES, SOL_SOCKET, SO_BINDTODEVICE},
    {1, 36, INT, SOL_SOCKET, SO_MARK},
    {1, 46, INT, SOL_SOCKET, SO_BUSY_POLL},
    {0, 1, INT, IPPROTO_IP, IP_TOS},
    {0, 2, INT, IPPROTO_IP, IP_TTL},
    {0, 10, INT, IPPROTO_IP, IP_MTU_DISCOVER},
    {0, 14, INT, IPPROTO_IP, IP_MTU},
    {0, 15, INT, IPPROTO_IP, IP_FREEBIND},
    {0, 24, INT, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {0, 32, BYTES, IPPROTO_IP, IP_MULTICAST_IF},
    {0, 33, INT, IPPROTO_IP, IP_MULTICAST_TTL},
    {0, 34, INT, IPPROTO_IP, IP_MULTICAST_LOOP},
    {0, 35, BYTES, IPPROTO_IP, IP_ADD_MEMBERSHIP},
    {0, 36, BYTES, IPPROTO_IP, IP_DROP_MEMBERSHIP},
    {41, 16, INT, IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {41, 17, INT, IPPROTO_IPV6, IPV6_MULTICAST_IF},
    {41, 18, INT, IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    {41, 19, INT, IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    {41, 20, BYTES, IPPROTO_IPV6, IPV6_JOIN_GROUP},
    {41, 21, BYTES, IPPROTO_IPV6, IPV6_LEAVE_GROUP},
    {41, 26, INT, IPPROTO_IPV6, IPV6_V6ONLY},
    {41, 67, INT, IPPROTO_IPV6, IPV6_TCLASS},
    {6, 1, INT, IPPROTO_TCP, TCP_NODELAY},
    {6, 2, INT, IPPROTO_TCP, TCP_MAXSEG},
    {6, 3, INT, IPPROTO_TCP, TCP_CORK},
    {6, 4, INT, IPPROTO_TCP, TCP_KEEPIDLE},
    {6, 5, INT, IPPROTO_TCP, TCP_KEEPINTVL},
    {6, 6, INT, IPPROTO_TCP, TCP_KEEPCNT},
    {6, 7, INT, IPPROTO_TCP, TCP_SYNCNT},
    {6, 8, INT, IPPROTO_TCP, TCP_LINGER2},
    {6, 9, INT, IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {6, 10, INT, IPPROTO_TCP, TCP_WINDOW_CLAMP},
    {6, 11, BYTES, IPPROTO_TCP, TCP_INFO},
    {6, 12, INT, IPPROTO_TCP, TCP_QUICKACK},
    {6, 13, BYTES, IPPROTO_TCP, TCP_CONGESTION},
    {6, 18, INT, IPPROTO_TCP, TCP_USER_TIMEOUT},
    {6, 23, INT, IPPROTO_TCP, TCP_FASTOPEN},
    {6, 25, INT, IPPROTO_TCP, TCP_NOTSENT_LOWAT},
};

static const struct option *option_of(const struct call *c)
{
  for (unsigned i = 0; i < sizeof options / sizeof *options; i++)
    if (options[i].level == c->a[1] && options[i].option == c->a[2])
      return &options[i];
  return 0;
}

/* Integers of this machine's byte order from and to the wire's, in place. */
static void from_wire(uint8_t *p, unsigned n)
{
  for (unsigned i = 0; i + 4 <= n; i += 4) {
    struct rbuf r = {p + i, p + i + 4, false};
    uint32_t v = get_u32(&r);
    memcpy(p + i, &v, sizeof v);
  }
}

static void to_wire(uint8_t *p, unsigned n)
{
  for (unsigned i = 0; i + 4 <= n; i += 4) {
    struct wbuf w = {p + i, p + i + 4, false};
    uint32_t v;
    memcpy(&v, p + i, sizeof v);
    put_u32(&w, v);
  }
}

long do_getopt(struct call *c)
{
  const struct option *o = option_of(c);
  socklen_t n = c->o_room;
  if (not_socket(c))
    return -ENOTSOCK;
  if (!o)
    return -ENOPROTOOPT;
  if (getsockopt(c->h[0]->fd, o->native_level, o->native, c->o_at, &n))
    return -errno;
  if (o->shape != BYTES)
    to_wire(c->o_at, n);
  return (long)n;
}

long do_setopt(struct call *c)
{
  uint8_t value[256];
  const struct option *o = option_of(c);
  if (not_socket(c))
    return -ENOTSOCK;
  if (!o)
    return -ENOPROTOOPT;
  if (c->blob_len > sizeof value)
    return -EINVAL;
  memcpy(value, c->blob, c->blob_len);
  if (o->shape != BYTES)
    from_wire(value, c->blob_len);
  return setsockopt(c->h[0]->fd, o->native_level, o->native, value, c->blob_len) ? -errno : 0;
}
