/*
 * Large reads without copying: the pages of a regular file are put into a pipe, and from there into the stream.
 *
 * Owns the pipe; what lies in it belongs to the one reply that is being made, of the main thread. How much there is to
 * read is known before the reply's head is sent. Must never be used where the stream is not TCP: what else it may be
 * (a pipe, ssh, a relay) would be handed pages that change.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slave/slave.h"

#define LIFT_MIN (32u << 10)
#define PIPE_ROOM (2 * FRAME_DATA_MAX) /* a page more than the data, if they begin within one */

static struct {
  int r, w;
  bool usable;
} L = {.r = -1};

void lift_start(int stream)
{
  int domain = 0, ends[2];
  socklen_t n = sizeof domain;
  if (getsockopt(stream, SOL_SOCKET, SO_DOMAIN, &domain, &n) || (domain != AF_INET && domain != AF_INET6))
    return;
  if (pipe2(ends, O_CLOEXEC))
    return;
  L.r = ends[0];
  L.w = ends[1];
  L.usable = fcntl(L.w, F_SETPIPE_SZ, PIPE_ROOM) >= (int)PIPE_ROOM;
}

int lift_pipe(void)
{
  return L.r;
}

uint32_t lift(int fd, uint64_t offset, uint32_t n)
{
  uint32_t done = 0;
  loff_t at = (loff_t)offset;
  if (!L.usable || n < LIFT_MIN || offset > (uint64_t)INT64_MAX - n)
    return 0;
  while (done < n) {
    ssize_t r = splice(fd, &at, L.w, 0, n - done, SPLICE_F_NONBLOCK);
    if (r < 0 && errno == EINTR)
      continue;
    if (r <= 0)
      break;
    done += (uint32_t)r;
  }
  return done;
}

long lift_send(int stream, uint32_t n)
{
  ssize_t r = splice(L.r, 0, stream, 0, n, 0);
  return r < 0 ? -errno : r;
}
