/*
 * Bytes on their way to the stream, in order.
 *
 * Owns its memory. Must never reorder, and never block.
 */
#include <errno.h>
#include <stdlib.h>

#include "hub/internal.h"

#define CHUNK_SIZE (2u * FRAME_MAX)
#define WRITE_PIECES 16

struct chunk {
  struct chunk *next;
  size_t from, to;
  uint8_t data[CHUNK_SIZE];
};

static struct chunk *chunk_new(struct queue *q)
{
  struct chunk *c = q->spare ? q->spare : malloc(sizeof *c);
  q->spare = 0;
  if (!c)
    return 0;
  c->next = 0;
  c->from = c->to = 0;
  if (q->last)
    q->last->next = c;
  else
    q->first = c;
  q->last = c;
  return c;
}

uint8_t *queue_add(struct queue *q, size_t n)
{
  struct chunk *c = q->last;
  if (!c || CHUNK_SIZE - c->to < n)
    c = chunk_new(q);
  if (!c)
    return 0;
  uint8_t *at = c->data + c->to;
  c->to += n;
  q->bytes += n;
  return at;
}

static void chunk_done(struct queue *q)
{
  struct chunk *c = q->first;
  q->first = c->next;
  if (!q->first)
    q->last = 0;
  if (q->spare)
    free(c);
  else
    q->spare = c;
}

static void queue_drop(struct queue *q, size_t n)
{
  q->bytes -= n;
  while (n) {
    struct chunk *c = q->first;
    size_t have = c->to - c->from;
    if (n < have) {
      c->from += n;
      return;
    }
    n -= have;
    chunk_done(q);
  }
}

int queue_write(struct queue *q, int fd)
{
  while (q->bytes) {
    struct iovec iov[WRITE_PIECES];
    int n = 0;
    for (struct chunk *c = q->first; c && n < WRITE_PIECES; c = c->next)
      iov[n++] = (struct iovec){c->data + c->from, c->to - c->from};
    ssize_t put = writev(fd, iov, n);
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    queue_drop(q, (size_t)put);
  }
  return 0;
}
