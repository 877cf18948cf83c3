/*
 * Bytes on their way to the stream, in order.
 *
 * Owns its memory, whose pieces hold whole frames. Must never reorder, and never block.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/internal.h"

#define CHUNK_SIZE (2u * FRAME_MAX)
#define WRITE_PIECES 16
#define READY_ENOUGH                                                                                                   \
  FRAME_DATA_MAX /* so much is under way already: what is behind it may still grow into a better block */

struct chunk {
  struct chunk *next;
  size_t from, to, ready; /* ready: a border of frames; what lies before it is to be packed no more */
  uint8_t data[CHUNK_SIZE];
};

static struct chunk *chunk_new(struct queue *q)
{
  struct chunk *c = q->spare ? q->spare : malloc(sizeof *c);
  q->spare = 0;
  if (!c)
    return 0;
  c->next = 0;
  c->from = c->to = c->ready = 0;
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

/* ---- packing, in place ---- */

static uint32_t frame_len(const uint8_t *at)
{
  struct frame f;
  frame_get(&f, at);
  return f.len;
}

/* The first border of frames that is not behind what has been sent. */
static size_t border(struct chunk *c)
{
  while (c->ready < c->from)
    c->ready += frame_len(c->data + c->ready);
  return c->ready;
}

/* Whole frames from there on, as many as make one block. */
static uint32_t block_at(const struct chunk *c, size_t at)
{
  uint32_t n = frame_len(c->data + at);
  while (at + n < c->to && n + frame_len(c->data + at + n) <= FRAME_DATA_MAX)
    n += frame_len(c->data + at + n);
  return n;
}

static size_t pack_chunk(struct chunk *c, struct packer *p, uint64_t rate)
{
  static uint8_t packed[PACK_MAX];
  size_t from = border(c), to = from, before = c->to;
  while (from < c->to) {
    uint32_t n = block_at(c, from), less = pack(p, rate, c->data + from, n, packed);
    if (less)
      memcpy(c->data + to, packed, less);
    else
      memmove(c->data + to, c->data + from, n);
    from += n;
    to += less ? less : n;
  }
  c->ready = c->to = to;
  return before - to;
}

size_t queue_pack(struct queue *q, struct packer *p, uint64_t rate)
{
  size_t saved = 0, ready = 0;
  for (struct chunk *c = q->first; c && ready < READY_ENOUGH && pack_pays(p, rate); c = c->next) {
    saved += border(c) < c->to ? pack_chunk(c, p, rate) : 0;
    ready += c->to - c->from;
  }
  q->bytes -= saved;
  return saved;
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
