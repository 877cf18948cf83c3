/*
 * Writing back what shared mappings changed.
 *
 * Nobody tells of a change in a mapping: the memfd is compared with a base copy of what the slave has, now and then and
 * whenever somebody is to see it. Only bytes (in words of 8) that differ are written, so that what others change
 * elsewhere in the file stays. A pass over a large file that has changed all over stops while there is much to be sent
 * and goes on later, so that neither it nor its base takes the hub's memory.
 *
 * Owns the base copies, and the W_FLUSH calls that are not answered yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "hub/store.h"

#define COMPARE_SIZE (64u << 10)
#define WORD 8u
#define BASE_IN_MEMORY (16ull << 20) /* the base copies of larger files are on a disk */
#define FLUSH_SHARE 20               /* at most this part of the time is spent on comparing */

/* A W_FLUSH. */
struct flush {
  struct flush *next;
  uint32_t tag, writer;
  bool all, scanned; /* of all stores; whatever differed has been posted */
  uint64_t id, at;   /* the store that is being compared, and how far */
  uint64_t seq;      /* ... of the last write posted: it is answered when the slave has that */
};

/* ---- the base ---- */

/* A copy of a large file would take as much memory again; on a disk the kernel may write it out. */
static int base_file(uint64_t size)
{
  int fd = size > BASE_IN_MEMORY ? open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
  return fd >= 0 ? fd : memfd_new("fsyscall-base", false);
}

static bool copy_to_base(const struct store *st, int to)
{
  static uint8_t piece[COMPARE_SIZE];
  for (uint64_t at = 0; at < st->size;) {
    ssize_t n = pread(st->memfd, piece, sizeof piece, (off_t)at);
    if (n <= 0 || pwrite(to, piece, (size_t)n, (off_t)at) != n)
      return false;
    at += (uint64_t)n;
  }
  return true;
}

/* From here on what programs change is compared with what the memfd holds now. */
bool store_base(struct store *st)
{
  if (st->base >= 0)
    return true;
  int to = base_file(st->size);
  if (to >= 0 && copy_to_base(st, to))
    st->base = to;
  else if (to >= 0)
    close(to);
  return st->base >= 0;
}

/* ---- comparing ---- */

static void post_range(struct hub *h, struct store *st, uint64_t offset, const uint8_t *data, uint32_t n)
{
  uint8_t head[12], tail[8];
  struct wbuf w = {head, head + sizeof head, false}, t = {tail, tail + sizeof tail, false};
  put_u64(&w, st->writer);
  put_u32(&w, n);
  put_u64(&t, offset);
  struct iovec parts[] = {{head, sizeof head}, {(void *)(uintptr_t)data, n}, {tail, sizeof tail}};
  st->seq = hub_send(h, (struct frame){.type = F_POST, .op = OP_pwrite64}, parts, 3);
}

static uint32_t differ(const uint8_t *now, const uint8_t *base, uint32_t at, uint32_t n, bool want)
{
  while (at < n) {
    uint32_t word = n - at < WORD ? n - at : WORD;
    if (!memcmp(now + at, base + at, word) != want)
      break;
    at += word;
  }
  return at < n ? at : n;
}

/* Runs of words that changed since they were read or written; the base's file follows. */
static bool flush_chunk(struct hub *h, struct store *st, uint64_t offset, const uint8_t *now, uint32_t n)
{
  static uint8_t base[COMPARE_SIZE];
  bool any = false;
  if (pread(st->base, base, n, (off_t)offset) != (ssize_t)n) { /* the disk fails: all of it is written */
    post_range(h, st, offset, now, n);
    return true;
  }
  if (!memcmp(now, base, n)) /* most of a large file, and much faster than word by word */
    return false;
  for (uint32_t at = differ(now, base, 0, n, true); at < n;) {
    uint32_t end = differ(now, base, at, n, false);
    post_range(h, st, offset + at, now + at, end - at);
    any = true;
    at = differ(now, base, end, n, true);
  }
  if (pwrite(st->base, now, n, (off_t)offset) != (ssize_t)n)
    return any; /* no room: it is written back once more */
  return any;
}

static void changed(struct hub *h, const struct store *st)
{
  uint32_t gen = file_gen(st->dev, st->ino);
  h->gen_seq[gen] = st->seq;
  __atomic_fetch_add(&h->s->gens[gen], 1, __ATOMIC_SEQ_CST);
}

/* From *from to `end', until so much waits to be sent. True: to the end. */
static bool flush_to(struct hub *h, struct store *st, uint64_t *from, uint64_t end, uint64_t most)
{
  static uint8_t now[COMPARE_SIZE];
  bool any = false;
  if (st->base < 0 || st->writer == H_NONE || !file_at(h, st->writer))
    return true;
  ssize_t n = 1;
  end = end < st->size ? end : st->size;
  while (*from < end && !h->over && n > 0 && h->queue.bytes < most) {
    uint64_t want = end - *from < COMPARE_SIZE ? end - *from : COMPARE_SIZE;
    n = pread(st->memfd, now, want, (off_t)*from);
    if (n <= 0)
      break;
    any |= flush_chunk(h, st, *from, now, (uint32_t)n);
    *from += (uint64_t)n;
  }
  if (any)
    changed(h, st);
  return *from >= end || h->over || n <= 0;
}

static bool flush_from(struct hub *h, struct store *st, uint64_t *from, uint64_t most)
{
  return flush_to(h, st, from, UINT64_MAX, most);
}

void store_flush(struct hub *h, struct store *st)
{
  store_flush_range(h, st, 0, UINT64_MAX);
}

void store_flush_range(struct hub *h, struct store *st, uint64_t offset, uint64_t n)
{
  uint64_t at = offset - offset % WORD, end = n < UINT64_MAX - offset ? offset + n : UINT64_MAX;
  flush_to(h, st, &at, end < UINT64_MAX - WORD ? (end + WORD - 1) / WORD * WORD : end, UINT64_MAX);
}

bool store_flush_some(struct hub *h, struct store *st)
{
  uint64_t start = now_ms();
  st->passing = !flush_from(h, st, &st->flush_at, QUEUE_MAX);
  uint64_t end = now_ms(), pause = (end - start) * FLUSH_SHARE;
  if (st->passing)
    return false;
  st->flush_at = 0;
  st->next_flush = end + (pause > STORE_FLUSH_EVERY ? pause : STORE_FLUSH_EVERY);
  return true;
}

void stores_flush(struct hub *h)
{
  for (struct store *st = h->stores; st; st = st->next)
    store_flush(h, st);
}

/* ---- W_FLUSH ---- */

static struct store *to_compare(struct hub *h, const struct flush *f)
{
  struct store *next = 0;
  for (struct store *st = h->stores; st; st = st->next)
    if (f->all ? st->id >= f->id && (!next || st->id < next->id) : st->id == f->id)
      next = st;
  return next;
}

static void flush_go_on(struct hub *h, struct flush *f)
{
  struct store *st;
  while (!f->scanned && (st = to_compare(h, f))) {
    if (!flush_from(h, st, &f->at, QUEUE_MAX))
      return;
    f->seq = st->seq > f->seq ? st->seq : f->seq;
    f->scanned = !f->all;
    f->id = st->id + 1;
    f->at = 0;
  }
  f->scanned = true;
}

static void flush_wait(struct hub *h, const struct message *m, const struct store *st, bool all)
{
  struct flush *f = malloc(sizeof *f);
  if (!f) {
    slot_complete(h, m->f.tag, -ENOMEM);
    return;
  }
  *f = (struct flush){.next = h->flushes, .tag = m->f.tag, .writer = st->writer, .all = all, .id = all ? 0 : st->id};
  h->flushes = f;
}

int store_flush_call(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t dev = get_u64(&r), ino = get_u64(&r);
  struct pending *c = &h->calls[m->f.tag];
  if (m->f.type != F_CALL || c->active)
    return -EPROTO;
  *c = (struct pending){.active = true, .op = W_FLUSH, .ctx = m->f.ctx};
  bool all = !dev && !ino;
  struct store *st = all ? h->stores : store_at(h, dev, ino);
  if (!st) {
    slot_complete(h, m->f.tag, 0);
    return 0;
  }
  flush_wait(h, m, st, all);
  stores_acked(h);
  return 0;
}

void stores_acked(struct hub *h)
{
  for (struct flush **at = &h->flushes; *at;) {
    struct flush *f = *at;
    flush_go_on(h, f);
    if (!f->scanned || f->seq > h->peer_ack) {
      at = &f->next;
      continue;
    }
    *at = f->next;
    const struct file *writer = file_at(h, f->writer);
    slot_complete(h, f->tag, writer ? file_take_late(h, writer) : 0);
    free(f);
  }
}

/* ---- time ---- */

bool stores_busy(const struct hub *h)
{
  bool busy = false;
  for (const struct store *st = h->stores; st && !busy; st = st->next)
    busy = st->passing || st->ending;
  for (const struct flush *f = h->flushes; f && !busy; f = f->next)
    busy = !f->scanned;
  return busy;
}

void stores_go_on(struct hub *h)
{
  for (struct store *st = h->stores, *next; st; st = next) {
    next = st->next;
    if (st->ending)
      store_event(h, st->wd); /* may drop it */
    else if (st->passing)
      store_flush_some(h, st);
  }
}

void stores_tick(struct hub *h)
{
  uint64_t now = now_ms();
  for (struct store *st = h->stores; st; st = st->next)
    if (st->filled && now >= st->next_flush)
      store_flush_some(h, st);
}
