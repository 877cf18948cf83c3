/*
 * Whole reads and writes, with deadlines.
 *
 * Owns nothing. Must never interpret what it carries.
 */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock)
{
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void)
{
  return clock_ns(CLOCK_MONOTONIC);
}

uint64_t now_ms(void)
{
  return now_ns() / 1000000;
}

int64_t wall_ns(void)
{
  return (int64_t)clock_ns(CLOCK_REALTIME);
}

static int wait_for(int fd, short events, uint64_t deadline)
{
  struct pollfd p = {.fd = fd, .events = events};
  for (;;) {
    uint64_t now = now_ms();
    if (now >= deadline)
      return -ETIMEDOUT;
    uint64_t left = deadline - now;
    int n = poll(&p, 1, left > 1000000 ? 1000000 : (int)left);
    if (n > 0)
      return 0;
    if (n < 0 && errno != EINTR)
      return -errno;
  }
}

int read_until(int fd, void *buf, size_t n, uint64_t deadline)
{
  char *at = buf;
  while (n) {
    int err = wait_for(fd, POLLIN, deadline);
    if (err)
      return err;
    ssize_t got = read(fd, at, n);
    if (!got)
      return -ENODATA;
    if (got < 0 && errno != EINTR && errno != EAGAIN)
      return -errno;
    if (got > 0)
      at += got, n -= (size_t)got;
  }
  return 0;
}

int write_until(int fd, const void *buf, size_t n, uint64_t deadline)
{
  const char *at = buf;
  while (n) {
    int err = wait_for(fd, POLLOUT, deadline);
    if (err)
      return err;
    ssize_t put = write(fd, at, n);
    if (put < 0 && errno != EINTR && errno != EAGAIN)
      return -errno;
    if (put > 0)
      at += put, n -= (size_t)put;
  }
  return 0;
}

int write_full(int fd, const void *buf, size_t n)
{
  return write_until(fd, buf, n, UINT64_MAX);
}

char *read_all(int fd, size_t max, size_t *n)
{
  size_t room = 4096, have = 0;
  char *buf = malloc(room + 1);
  while (buf) {
    ssize_t got = read(fd, buf + have, room - have);
    if (got < 0 || have + (size_t)(got > 0 ? got : 0) > max) {
      int err = got < 0 ? errno : EFBIG;
      free(buf);
      errno = err;
      return 0;
    }
    if (!got)
      break;
    have += (size_t)got;
    if (have == room) {
      char *more = realloc(buf, 2 * room + 1);
      if (!more)
        free(buf);
      buf = more;
      room *= 2;
    }
  }
  if (buf)
    buf[have] = 0;
  *n = have;
  return buf;
}

char *read_file(const char *path, size_t max, size_t *n)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0)
    return 0;
  char *text = read_all(fd, max, n);
  int err = errno;
  close(fd);
  errno = err;
  return text;
}
