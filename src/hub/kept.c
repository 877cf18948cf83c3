/*
 * Contents of small files and listings of directories, in the memory that every program reads (proto/kept.h).
 *
 * Owns that memory, and the ring by which it is given out: the oldest bytes make room for the newest, and what lay in
 * them is not known any more. What the slave says is bounded before it comes here.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/internal.h"
#include "proto/kept.h"

#define UNITS (KEPT_ROOM / KEPT_UNIT)

/* What lies in the ring, oldest first. An entry that has been replaced since keeps its place here until its turn. */
struct placed {
  uint32_t entry, at, units;
};
struct kept_ring {
  uint32_t head;     /* the next unit to be given out */
  uint32_t first, n; /* of placed[] */
  struct placed placed[KEPT_FILES];
  bool unasked[KEPT_FILES];
  struct keep whole; /* being put together from pieces: ino 0: none, n: how much there is */
  uint8_t *bytes;    /* KEPT_MAX, for that */
};

static struct kept_memory *memory(struct hub *h)
{
  return (struct kept_memory *)(h->memory + SESSION_KEPT_OFFSET);
}

static bool ready(struct hub *h)
{
  if (!h->kept)
    h->kept = calloc(1, sizeof *h->kept);
  return h->kept;
}

static void waste(struct hub *h, uint32_t i)
{
  if (h->kept->unasked[i] && !__atomic_load_n(&h->s->kept_used[i], __ATOMIC_RELAXED))
    __atomic_fetch_add(&h->s->counters[N_WASTED], memory(h)->files[i].len, __ATOMIC_RELAXED);
  h->kept->unasked[i] = false;
}

static void drop(struct hub *h, uint32_t i)
{
  struct kept *k = &memory(h)->files[i];
  if (!k->ino)
    return;
  waste(h, i);
  write_begin(&k->seq);
  k->ino = 0;
  write_end(&k->seq);
}

static struct kept *find(struct kept_memory *m, uint64_t dev, uint64_t ino)
{
  struct kept *way = &m->files[kept_at(dev, ino)];
  for (unsigned i = 0; i < KEPT_WAYS; i++)
    if (way[i].ino == ino && way[i].dev == dev)
      return &way[i];
  return 0;
}

void kept_drop(struct hub *h, uint64_t dev, uint64_t ino)
{
  struct kept_memory *m = memory(h);
  struct kept *k = h->kept ? find(m, dev, ino) : 0;
  if (k)
    drop(h, (uint32_t)(k - m->files));
}

void kept_drop_dirs(struct hub *h)
{
  for (uint32_t i = 0; h->kept && i < KEPT_FILES; i++)
    if (memory(h)->files[i].instance)
      drop(h, i);
}

/* ---- the ring ---- */

static void drop_oldest(struct hub *h)
{
  struct kept_ring *r = h->kept;
  const struct placed *p = &r->placed[r->first % KEPT_FILES];
  if (memory(h)->files[p->entry].at == p->at)
    drop(h, p->entry);
  r->first = (r->first + 1) % KEPT_FILES;
  r->n--;
}

static bool oldest_in(const struct kept_ring *r, uint32_t at, uint32_t end)
{
  const struct placed *p = &r->placed[r->first % KEPT_FILES];
  return r->n && p->at < end && p->at + p->units > at;
}

/* Where so many units may be written. */
static uint32_t ring_take(struct hub *h, uint32_t units)
{
  struct kept_ring *r = h->kept;
  if (r->head + units > UNITS) {
    while (r->n && r->placed[r->first].at >= r->head)
      drop_oldest(h);
    r->head = 0;
  }
  while (oldest_in(r, r->head, r->head + units) || r->n == KEPT_FILES)
    drop_oldest(h);
  uint32_t at = r->head;
  r->head += units;
  return at;
}

/* A place in the table: the file's own, a free one, or somebody's. */
static struct kept *entry_take(struct hub *h, uint64_t dev, uint64_t ino)
{
  struct kept_memory *m = memory(h);
  struct kept *way = &m->files[kept_at(dev, ino)], *k = find(m, dev, ino);
  for (unsigned i = 0; !k && i < KEPT_WAYS; i++)
    k = way[i].ino ? 0 : &way[i];
  k = k ? k : &way[h->name_victim++ % KEPT_WAYS];
  drop(h, (uint32_t)(k - m->files));
  return k;
}

void kept_put(struct hub *h, const struct keep *o)
{
  if (!ready(h) || o->n > KEPT_MAX || !o->ino)
    return;
  struct kept_memory *m = memory(h);
  uint32_t units = o->n / KEPT_UNIT + 1, at = ring_take(h, units);
  struct kept *k = entry_take(h, o->dev, o->ino);
  uint32_t i = (uint32_t)(k - m->files);
  if (o->n)
    memcpy(m->room + (size_t)at * KEPT_UNIT, o->data, o->n);
  h->kept->placed[(h->kept->first + h->kept->n++) % KEPT_FILES] = (struct placed){i, at, units};
  h->kept->unasked[i] = o->unasked;
  if (o->unasked)
    __atomic_fetch_add(&h->s->counters[N_AHEAD], o->n, __ATOMIC_RELAXED);
  __atomic_store_n(&h->s->kept_used[i], 0, __ATOMIC_RELAXED);
  write_begin(&k->seq);
  k->gen = o->gen;
  k->dev = o->dev;
  k->ino = o->ino;
  k->instance = o->instance;
  k->at = at;
  k->len = o->n;
  k->ahead = o->ahead;
  write_end(&k->seq);
}

/* ---- larger files ---- */

void kept_part_drop(struct hub *h)
{
  if (!h->kept || !h->kept->whole.ino)
    return;
  hub_count(h, N_AHEAD, h->kept->whole.n);
  hub_count(h, N_WASTED, h->kept->whole.n);
  h->kept->whole.ino = 0;
}

static bool bytes_ready(struct hub *h)
{
  if (ready(h) && !h->kept->bytes)
    h->kept->bytes = malloc(KEPT_MAX);
  return h->kept && h->kept->bytes;
}

void kept_part(struct hub *h, const struct keep *k)
{
  if (!bytes_ready(h))
    return;
  struct keep *w = &h->kept->whole;
  if (!k->offset) {
    kept_part_drop(h);
    *w = *k;
    w->n = 0;
  }
  if (w->ino != k->ino || w->dev != k->dev || w->gen != k->gen || w->size != k->size || w->n != k->offset) {
    kept_part_drop(h);
    return;
  }
  memcpy(h->kept->bytes + w->n, k->data, k->n);
  w->n += k->n;
  if (w->n < w->size)
    return;
  w->data = h->kept->bytes;
  kept_put(h, w);
  if (k->state)
    disk_save(h, k->state, w->data);
  w->ino = 0;
}

void kept_file(struct hub *h, const struct keep *k, int fd)
{
  if (k->size > KEPT_MAX || !bytes_ready(h))
    return;
  kept_part_drop(h);
  struct keep whole = *k;
  whole.data = h->kept->bytes;
  whole.n = (uint32_t)k->size;
  if (pread(fd, h->kept->bytes, k->size, 0) == (ssize_t)k->size)
    kept_put(h, &whole);
}

/* ---- what comes with an open ---- */

void kept_opened(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n, uint32_t gen)
{
  struct rbuf r = {body, body + n, false};
  struct wire_attr a;
  struct keep k = {.gen = gen};
  get_u64(&r);
  get_attr(&r, &a);
  get_u64(&r);
  k.data = get_blob(&r, &k.n, FRAME_DATA_MAX);
  if (r.bad)
    return;
  k.dev = a.dev, k.ino = a.ino;
  if ((a.mode & 0170000) == 0040000) { /* a path, and behind its end the records, if they came */
    const uint8_t *end = memchr(k.data, 0, k.n);
    k.instance = end ? names_instance(h, a.dev, a.ino) : 0;
    if (!k.instance || h->name_seq[file_gen(a.dev, a.ino)] > f->ack)
      return;
    k.n -= (uint32_t)(end + 1 - k.data);
    k.data = end + 1;
  } else if (k.n != a.size) {
    return;
  } else if (f->flags & FF_OLD) {
    disk_save(h, &a, k.data);
  }
  kept_put(h, &k);
}

void kept_count_unused(struct hub *h)
{
  for (uint32_t i = 0; h->kept && i < KEPT_FILES; i++)
    if (memory(h)->files[i].ino)
      waste(h, i);
}
