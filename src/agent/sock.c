/*
 * Sockets and watches of the master's kernel, where they meet descriptors and paths of the slave: descriptors in
 * messages, unix socket names, inotify. Sockets themselves are local and pass.
 */
#include "agent/io.h"

#define AF_UNIX 1
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define MSG_CTRUNC 8
#define IN_DONT_FOLLOW 0x02000000
#define CONTROL_MAX 65536u

struct msg_k {
  uint64_t name, namelen, iov, iovlen, control, controllen, flags;
};
struct cmsg_k {
  uint64_t len;
  int32_t level, type;
};

/* A stream of the slave is a socket to the kernel here, which is nobody's business. */
static bool not_a_socket(struct call *c)
{
  struct rfile f;
  return file_of(c, (int)c->a[0], &f);
}

/* The calls on a socket of which nothing else is to be said. */
long a_sockop(struct call *c)
{
  return not_a_socket(c) ? -ENOTSOCK : pass(c);
}

/* Calls `each' for every descriptor that the program's control data carry; its first error ends the walk. */
static long each_right(struct call *c, uint64_t control, uint64_t len, long (*each)(struct call *c, int fd))
{
  struct cmsg_k m;
  for (uint64_t at = 0; at + sizeof m <= len; at += (m.len + 7) & ~7ul) {
    if (copy_in(&m, (void *)(control + at), sizeof m))
      return -EFAULT;
    if (m.len < sizeof m || m.len > len - at)
      return 0; /* the kernel has something to say about that */
    if (m.level != SOL_SOCKET || m.type != SCM_RIGHTS)
      continue;
    for (uint64_t i = sizeof m; i + 4 <= m.len; i += 4) {
      int fd;
      if (copy_in(&fd, (void *)(control + at + i), sizeof fd))
        return -EFAULT;
      long r = each(c, fd);
      if (r < 0)
        return r;
    }
  }
  return 0;
}

static long refuse_hidden(struct call *c, int fd)
{
  return fd_hidden(c->p, fd) ? -EBADF : 0;
}

static long forget(struct call *c, int fd)
{
  vft_forget(c->p, fd);
  return 0;
}

long a_sendmsg(struct call *c)
{
  struct msg_k m;
  if (not_a_socket(c))
    return -ENOTSOCK;
  if (copy_in(&m, (void *)c->a[1], sizeof m))
    return pass(c);
  long r = m.control && m.controllen <= CONTROL_MAX ? each_right(c, m.control, m.controllen, refuse_hidden) : 0;
  return r < 0 ? r : pass(c);
}

/* The numbers that came with the message are new: what they stand for is to be found out. */
long a_recvmsg(struct call *c)
{
  struct msg_k m;
  if (not_a_socket(c))
    return -ENOTSOCK;
  long r = pass(c);
  if (r < 0 || copy_in(&m, (void *)c->a[1], sizeof m))
    return r;
  if (m.control && m.controllen)
    each_right(c, m.control, m.controllen, forget);
  return r;
}

/* ---- names of unix sockets ---- */

#define SUN_PATH_AT 2
#define SUN_MAX 110

/*
 * A socket's name in the file system, led to where its path leads. 0: the kernel is to go on with the arguments as
 * they are now; `refused' if the path is the slave's.
 */
static long lead_name(struct call *c, char sun[SUN_MAX], long refused)
{
  struct at at;
  uint16_t family;
  uint64_t len = c->a[2];
  if (standalone() || len <= SUN_PATH_AT || len > SUN_MAX || copy_in(sun, (void *)c->a[1], len))
    return 0;
  memcpy(&family, sun, sizeof family);
  if (family != AF_UNIX || !sun[SUN_PATH_AT])
    return 0;
  /* A path that fills its room has no end of its own there. */
  char path[SUN_MAX + 1];
  memcpy(path, sun + SUN_PATH_AT, len - SUN_PATH_AT);
  path[len - SUN_PATH_AT] = 0;
  long r = route(c, AT_FDCWD, path, 0, &at, 0);
  return r < 0 ? r : at.local ? 0 : refused;
}

long a_bind(struct call *c)
{
  char sun[SUN_MAX];
  if (not_a_socket(c))
    return -ENOTSOCK;
  long r = lead_name(c, sun, -EPERM);
  return r < 0 ? r : pass(c);
}

long a_connect(struct call *c)
{
  char sun[SUN_MAX];
  if (not_a_socket(c))
    return -ENOTSOCK;
  long r = lead_name(c, sun, -ECONNREFUSED);
  return r < 0 ? r : pass(c);
}

/* ---- inotify ---- */

/* A file of the slave cannot be watched from here: the error that makes programs look for themselves. */
long a_inotify_add_watch(struct call *c)
{
  struct at at;
  if (standalone())
    return pass(c);
  long r = route(c, AT_FDCWD, (void *)c->a[1], c->a[2] & IN_DONT_FOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &at, 0);
  if (r < 0)
    return r;
  if (!at.local)
    return -ENOSPC;
  return pass(c);
}
