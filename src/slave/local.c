/*
 * Unix sockets by their paths. What a program of the session binds to a path of this machine is, to its programs, a
 * socket of the master; here a socket bound to that path stands for it, and is what others find there.
 *
 * Owns nothing: a bound socket is a handle, known by the device and inode of its file. The file keeps that inode while
 * the socket is bound, whatever becomes of its name. Must never: leave the working directory where a bind needed it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "slave/sock.h"

typedef int named_call(int fd, const struct sockaddr *a, socklen_t n);

/* The name alone, from its directory: a path through /proc might be longer than an address may be. */
static int call_at(named_call *call, int fd, const struct spot *s)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  size_t n = strlen(s->name);
  if (!n)
    return call == bind ? -EADDRINUSE : -ECONNREFUSED;
  if (n > sizeof a.sun_path)
    return -ENAMETOOLONG;
  memcpy(a.sun_path, s->name, n);
  if (fchdir(s->dir))
    return -errno;
  int err = call(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) ? -errno : 0;
  return chdir("/") ? -errno : err;
}

/* An abstract name comes in hexadecimal. Its address's length, or -errno. */
static int abstract_name(const char *hex, struct sockaddr_un *a)
{
  size_t n = strlen(hex) / 2;
  if (!n || n > sizeof a->sun_path || strlen(hex) % 2 || strspn(hex, "0123456789abcdef") != 2 * n)
    return -EINVAL;
  *a = (struct sockaddr_un){.sun_family = AF_UNIX};
  for (size_t i = 0; i < n; i++) {
    const char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
    a->sun_path[i] = (char)strtoul(byte, 0, 16);
  }
  return a->sun_path[0] ? -EINVAL : (int)(offsetof(struct sockaddr_un, sun_path) + n);
}

static bool is_abstract(const struct call *c)
{
  return c->a[2] & UNIX_ABSTRACT;
}

/* As the call says: by the path that has been walked, or by the name. */
static int call_by_name(struct call *c, named_call *call, int fd)
{
  struct sockaddr_un a;
  if (!is_abstract(c))
    return call_at(call, fd, &c->at[0]);
  int n = abstract_name(c->path[0].text, &a);
  return n < 0 ? n : call(fd, (struct sockaddr *)&a, (socklen_t)n) ? -errno : 0;
}

static int bound_new(struct call *c, int type)
{
  struct stat st;
  const struct spot *s = &c->at[0];
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -errno;
  int err = call_by_name(c, bind, fd);
  bool made = !err && !is_abstract(c);
  if (!err && (made ? fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) : fstat(fd, &st)))
    err = -errno;
  if (!err)
    err = sock_add(c->a[3], fd, type, &st);
  if (err && made)
    unlinkat(s->dir, s->name, 0);
  if (err)
    close(fd);
  return err;
}

static bool type_known(uint64_t type)
{
  return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET;
}

int64_t do_ubind(struct call *c)
{
  int type = (int)(c->a[2] & ~(uint64_t)UNIX_ABSTRACT), err = type_known((uint64_t)type) ? 0 : -EPROTOTYPE;
  if (!err && !is_abstract(c))
    err = call_walk(c);
  return err ? err : bound_new(c, type);
}

/* Another program's: of streams, the connection becomes the handle. Its queue may be full: a worker waits. */
static long connect_other(struct call *c, int type)
{
  if (type != SOCK_STREAM)
    return -ECONNREFUSED;
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | (c->worker ? 0 : SOCK_NONBLOCK), 0);
  if (fd < 0)
    return -errno;
  int err = call_by_name(c, connect, fd);
  if (err == -EAGAIN && !c->worker)
    err = CALL_DEFER;
  if (!err && c->worker && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK))
    err = -errno;
  if (!err)
    err = sock_add(c->a[3], fd, type, 0);
  if (err)
    close(fd);
  return err;
}

static long connect_abstract(struct call *c)
{
  struct sockaddr_un a;
  int type = (int)(c->a[2] & ~(uint64_t)UNIX_ABSTRACT), n = abstract_name(c->path[0].text, &a);
  uint32_t num = n < 0 ? 0 : handle_bound_name(&a, (socklen_t)n);
  return n < 0 ? n : num ? (long)num : connect_other(c, type);
}

int64_t do_uconnect(struct call *c)
{
  struct stat st;
  if (is_abstract(c))
    return connect_abstract(c);
  int err = type_known(c->a[2]) ? call_walk(c) : -EPROTOTYPE;
  if (err)
    return err;
  const struct spot *s = &c->at[0];
  if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
    return -errno;
  if (!S_ISSOCK(st.st_mode))
    return -ECONNREFUSED;
  if (faccessat(s->dir, s->name, W_OK, AT_EACCESS))
    return -EACCES;
  uint32_t num = handle_bound(st.st_dev, st.st_ino);
  return num ? (long)num : connect_other(c, (int)c->a[2]);
}
