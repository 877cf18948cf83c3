/*
 * Calls on sockets of this machine: made, bound, connected, listened on, asked about.
 *
 * Owns nothing. Must never: block on the main thread.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "slave/sock.h"

#define LOOK_MS 50 /* a cancelled call's signal may come just before it waits */

static int socket_new(const struct call *c)
{
  int domain = (int)c->a[0], type = (int)c->a[1];
  if (domain != AF_INET && domain != AF_INET6 && !socket_of_system(domain, (int)c->a[2]))
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
int64_t do_socket(struct call *c)
{
  int err = socket_new(c);
  if (err)
    sock_failed(&(struct handle){.num = (uint32_t)c->a[3]}, err);
  return 0;
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

int64_t do_nbind(struct call *c)
{
  struct sockaddr_storage a;
  socklen_t n = addr_from_wire(&a, c->blob, c->blob_len);
  if (!c->h[0]->sock)
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
int64_t do_nconnect(struct call *c)
{
  struct sockaddr_storage a;
  struct handle *h = c->h[0];
  bool waits = c->a[3];
  if (!c->h[0]->sock)
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

int64_t do_listen(struct call *c)
{
  if (!c->h[0]->sock)
    return -ENOTSOCK;
  if (listen(c->h[0]->fd, (int)c->a[1]))
    return -errno;
  int backlog = (int)c->a[1];
  sock_listening(c->h[0], backlog < 0 ? SOCK_BACKLOG : (uint32_t)backlog);
  return 0;
}

int64_t do_shutdown(struct call *c)
{
  if (!c->h[0]->sock)
    return -ENOTSOCK;
  stream_shutdown(c->h[0], (int)c->a[1]);
  return 0;
}

int64_t do_sockname(struct call *c)
{
  return !c->h[0]->sock ? -ENOTSOCK : put_name(c, c->a[1]);
}

int64_t do_credit(struct call *c)
{
  if (!c->h[0]->sock)
    return -ENOTSOCK;
  sock_credit(c->h[0], c->a[1]);
  return 0;
}

/* If it cannot be, the connection is closed, and its handle's end is told. */
int64_t do_adopt(struct call *c)
{
  int fd = !c->h[0]->sock ? -1 : sock_take_waiting(c->h[0], c->a[1]);
  int err = fd < 0 ? -ECONNABORTED : sock_add(c->a[2], fd, SOCK_STREAM, 0);
  if (err && fd >= 0)
    close(fd);
  if (err)
    sock_failed(&(struct handle){.num = (uint32_t)c->a[2]}, err);
  return 0;
}
