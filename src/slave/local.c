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

static int bound_new(struct call *c, int type)
{
  struct stat st;
  const struct spot *s = &c->at[0];
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -errno;
  int err = call_at(bind, fd, s);
  if (!err && fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW))
    err = -errno;
  if (!err)
    err = sock_add(c->a[3], fd, type, &st);
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
  int err = type_known(c->a[2]) ? call_walk(c) : -EPROTOTYPE;
  return err ? err : bound_new(c, (int)c->a[2]);
}

/* Another program's: of streams, the connection becomes the handle. Its queue may be full: a worker waits. */
static long connect_other(struct call *c, int type)
{
  if (type != SOCK_STREAM)
    return -ECONNREFUSED;
  int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | (c->worker ? 0 : SOCK_NONBLOCK), 0);
  if (fd < 0)
    return -errno;
  int err = call_at(connect, fd, &c->at[0]);
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

int64_t do_uconnect(struct call *c)
{
  struct stat st;
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
