/*
 * Descriptors: passing them, memfds, futexes in shared memory.
 *
 * Owns nothing. Must never leave a received descriptor open that it did not hand to its caller.
 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

union control {
  char room[CMSG_SPACE(8 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
  struct cmsghdr align;
};

int send_with_fd(int sock, const void *buf, size_t n, int fd)
{
  struct iovec iov = {(void *)(uintptr_t)buf, n};
  union control control = {0};
  struct msghdr m = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof fd)};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(c), &fd, sizeof fd);
  return sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* The first descriptor is kept, any more are closed: nobody here sends two. */
static void take_fds(struct received *r, const struct cmsghdr *c)
{
  size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (size_t i = 0; i < n; i++) {
    int fd;
    memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
    if (r->fd < 0)
      r->fd = fd;
    else
      close(fd);
  }
}

static void take_control(struct received *r, struct msghdr *m)
{
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level != SOL_SOCKET)
      continue;
    if (c->cmsg_type == SCM_RIGHTS)
      take_fds(r, c);
    if (c->cmsg_type == SCM_CREDENTIALS) {
      struct ucred who;
      memcpy(&who, CMSG_DATA(c), sizeof who);
      r->pid = who.pid;
    }
  }
}

struct received recv_with_fd(int sock, void *buf, size_t size)
{
  struct received r = {.fd = -1};
  struct iovec iov = {buf, size};
  union control control;
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  do
    r.len = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (r.len < 0 && errno == EINTR);
  if (r.len < 0) {
    r.len = -errno;
    return r;
  }
  take_control(&r, &m);
  if (m.msg_flags & MSG_TRUNC) {
    if (r.fd >= 0)
      close(r.fd);
    r.fd = -1;
    r.len = -EMSGSIZE;
  }
  return r;
}

int memfd_new(const char *name, bool executable)
{
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = executable ? memfd_create(name, flags | MFD_EXEC) : -1;
  /* Kernels before 6.3 do not know MFD_EXEC and need no asking. */
  if (fd < 0)
    fd = memfd_create(name, flags);
  return fd < 0 ? -errno : fd;
}

int memfd_of(const char *name, const void *data, size_t n, bool executable)
{
  int fd = memfd_new(name, executable);
  if (fd < 0)
    return fd;
  int err = write_full(fd, data, n);
  if (!err && lseek(fd, 0, SEEK_SET) < 0)
    err = -errno;
  if (!err && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
    err = -errno;
  if (err) {
    close(fd);
    return err;
  }
  return fd;
}

int set_nonblocking(int fd)
{
  int flags = fcntl(fd, F_GETFL);
  return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? -errno : 0;
}

int set_cloexec(int fd, bool on)
{
  return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) ? -errno : 0;
}

int move_above(int fd, int least)
{
  int to = fcntl(fd, F_DUPFD_CLOEXEC, least);
  if (to < 0)
    return -errno;
  close(fd);
  return to;
}

void futex_wake(const uint32_t *word, int n)
{
  syscall(SYS_futex, word, FUTEX_WAKE, n, 0, 0, 0);
}
