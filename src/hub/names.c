/*
 * What the slave tells of its directories, written where the programs read it (proto/names.h).
 *
 * Owns that memory; nobody else writes it. Whatever the slave says is bounded, and says nothing about anything but
 * names: at worst programs are told wrong names by the machine whose names they are.
 *
 * Attributes come with the generation of their file (session.h, file_gen): a change that was passed on after the slave
 * had looked makes them void from birth.
 */
#include <errno.h>
#include <string.h>

#include "hub/ahead.h"
#include "hub/internal.h"
#include "proto/kept.h"

#define IS_DIR(mode) (((mode)&0170000) == 0040000)
#define FRAME_ENTRIES (FRAME_MAX / 64) /* more than fit in a frame */

struct taking {
  struct hub *h;
  struct names *m;
  struct name_dir *dir;   /* selected, 0: none or not known */
  uint64_t dev, ino;      /* the same */
  bool old;               /* a program has changed names in it since the slave looked */
  uint64_t ack;           /* what the slave had applied when it looked */
  bool drained;           /* all that programs had sent by then is counted in gen_seq */
  uint32_t *gens, ngens;  /* by entry, in order; read before the programs' queue was emptied */
  struct wire_attr state; /* of the last STATE */
};

struct told {
  uint8_t flags;
  const char *name, *target;
  uint32_t len, target_len;
  struct wire_attr attr;
};

static struct names *memory(struct hub *h)
{
  return (struct names *)(h->memory + SESSION_NAMES_OFFSET);
}

/* ---- directories ---- */

static struct name_dir *dir_find(struct names *m, uint64_t dev, uint64_t ino)
{
  struct name_dir *d = &m->dirs[name_dir_at(dev, ino)];
  for (unsigned i = 0; i < NAME_DIR_WAYS; i++)
    if (d[i].instance && d[i].dev == dev && d[i].ino == ino)
      return &d[i];
  return 0;
}

static void dir_set(struct name_dir *d, uint32_t instance, uint32_t flags)
{
  write_begin(&d->seq);
  d->instance = instance;
  d->flags = flags;
  write_end(&d->seq);
}

/* A place for a directory that is known from now on; what was known of it before is void. */
static struct name_dir *dir_take(struct hub *h, struct names *m, uint64_t dev, uint64_t ino)
{
  struct name_dir *d = dir_find(m, dev, ino), *way = &m->dirs[name_dir_at(dev, ino)];
  for (unsigned i = 0; !d && i < NAME_DIR_WAYS; i++)
    d = way[i].instance ? 0 : &way[i];
  if (!d)
    d = &way[h->name_victim++ % NAME_DIR_WAYS];
  write_begin(&d->seq);
  d->dev = dev;
  d->ino = ino;
  d->flags = ND_KNOWN;
  d->instance = ++h->name_instances ? h->name_instances : ++h->name_instances;
  write_end(&d->seq);
  h->name_live[d - m->dirs] = 0;
  return d;
}

uint32_t names_instance(struct hub *h, uint64_t dev, uint64_t ino)
{
  const struct name_dir *d = dir_find(memory(h), dev, ino);
  return d && d->flags & ND_COMPLETE ? d->instance : 0;
}

static void all_void(struct names *m)
{
  for (unsigned i = 0; i < NAME_DIRS; i++)
    if (m->dirs[i].instance)
      dir_set(&m->dirs[i], 0, 0);
}

/* ---- entries ---- */

static bool is_current(struct names *m, const struct name_entry *e)
{
  const struct name_dir *d = e->state == NS_FREE ? 0 : dir_find(m, e->dev, e->ino);
  return d && d->instance == e->instance;
}

static struct name_entry *entry_find(struct names *m, const struct name_dir *d, const char *name, uint32_t n)
{
  struct name_entry *e = &m->entries[name_entry_at(d->dev, d->ino, name_hash(name, n))];
  for (unsigned i = 0; i < NAME_ENTRY_WAYS; i++)
    if (e[i].instance == d->instance && e[i].state != NS_FREE && e[i].dev == d->dev && e[i].ino == d->ino &&
        e[i].len == n && !memcmp(e[i].name, name, n))
      return &e[i];
  return 0;
}

/* A place that is free, or void, or at last somebody's: whose directory then no longer is complete. */
static struct name_entry *entry_take(struct taking *t, const char *name, uint32_t n)
{
  struct name_entry *e = entry_find(t->m, t->dir, name, n);
  struct name_entry *way = &t->m->entries[name_entry_at(t->dir->dev, t->dir->ino, name_hash(name, n))];
  for (unsigned i = 0; !e && i < NAME_ENTRY_WAYS; i++)
    if (!is_current(t->m, &way[i]))
      e = &way[i];
  if (e)
    return e;
  e = &way[t->h->name_victim++ % NAME_ENTRY_WAYS];
  struct name_dir *loser = dir_find(t->m, e->dev, e->ino);
  dir_set(loser, loser->instance, loser->flags & ~(uint32_t)ND_COMPLETE);
  return e;
}

static void entry_put(struct taking *t, const struct told *o, enum name_state state, uint32_t gen)
{
  const struct name_entry *old = entry_find(t->m, t->dir, o->name, o->len);
  t->h->name_live[t->dir - t->m->dirs] += (state != NS_ABSENT) - (old && old->state != NS_ABSENT);
  struct name_entry *e = entry_take(t, o->name, o->len);
  write_begin(&e->seq);
  e->instance = t->dir->instance;
  e->dev = t->dir->dev;
  e->ino = t->dir->ino;
  e->state = (uint8_t)state;
  e->flags = o->flags;
  e->len = (uint8_t)o->len;
  e->target_len = (uint8_t)o->target_len;
  e->gen = gen;
  memcpy(e->name, o->name, o->len);
  if (o->target_len)
    memcpy(e->target, o->target, o->target_len);
  e->attr = o->attr;
  write_end(&e->seq);
}

/* ---- items ---- */

static bool get_name(struct rbuf *r, struct told *o)
{
  *o = (struct told){0};
  o->name = get_blob(r, &o->len, NAME_ROOM - 1);
  return !r->bad && o->len;
}

static int take_dir(struct taking *t, struct rbuf *r, bool fresh)
{
  uint64_t dev = get_u64(r), ino = get_u64(r);
  if (r->bad)
    return -EPROTO;
  t->dev = dev;
  t->ino = ino;
  t->old = t->h->name_seq[file_gen(dev, ino)] > t->ack;
  t->dir = fresh ? dir_take(t->h, t->m, dev, ino) : dir_find(t->m, dev, ino);
  return 0;
}

static int take_self(struct taking *t, struct rbuf *r)
{
  struct wire_attr a;
  get_attr(r, &a);
  if (r->bad)
    return -EPROTO;
  if (!t->dir || t->old || a.dev != t->dir->dev || a.ino != t->dir->ino)
    return 0;
  write_begin(&t->dir->seq);
  t->dir->self = a;
  t->dir->flags |= ND_SELF;
  write_end(&t->dir->seq);
  return 0;
}

static int get_entry(struct rbuf *r, struct told *o)
{
  if (r->end - r->at < 1)
    return -EPROTO;
  uint8_t flags = *r->at++;
  if (!get_name(r, o))
    return -EPROTO;
  o->flags = flags;
  get_attr(r, &o->attr);
  o->target = get_blob(r, &o->target_len, TARGET_ROOM - 1);
  return r->bad ? -EPROTO : 0;
}

static int take_entry(struct taking *t, struct rbuf *r)
{
  struct told o;
  if (get_entry(r, &o))
    return -EPROTO;
  uint32_t index = file_gen(o.attr.dev, o.attr.ino), gen = t->gens[t->ngens++];
  if (t->dir && !t->old)
    entry_put(t, &o, NS_THERE, t->drained && t->h->gen_seq[index] <= t->ack ? gen : gen - 1);
  return 0;
}

/* What is not remembered needs no withdrawal, unless its absence follows from the directory's being complete. */
static int take_name(struct taking *t, struct rbuf *r, unsigned item)
{
  struct told o;
  if (!get_name(r, &o))
    return -EPROTO;
  if (item == NI_UNKNOWN)
    ahead_changed(t->dev, t->ino);
  if (!t->dir || (item == NI_ABSENT && t->old))
    return 0;
  if (item == NI_UNKNOWN)
    kept_drop(t->h, t->dir->dev, t->dir->ino);
  if (item == NI_UNKNOWN && t->dir->flags & ND_SELF)
    dir_set(t->dir, t->dir->instance, t->dir->flags & ~(uint32_t)ND_SELF);
  if (item == NI_ABSENT || t->dir->flags & ND_COMPLETE || entry_find(t->m, t->dir, o.name, o.len))
    entry_put(t, &o, item == NI_ABSENT ? NS_ABSENT : NS_UNKNOWN, 0);
  return 0;
}

static int get_keep(struct rbuf *r, struct keep *k)
{
  *k = (struct keep){.dev = get_u64(r), .ino = get_u64(r), .ahead = get_u32(r), .unasked = true};
  k->data = get_blob(r, &k->n, CONTENTS_MAX);
  return r->bad || !k->ino ? -EPROTO : 0;
}

static int get_part(struct rbuf *r, struct keep *k)
{
  *k = (struct keep){.dev = get_u64(r), .ino = get_u64(r), .ahead = get_u32(r), .unasked = true};
  k->size = get_u64(r);
  k->offset = get_u64(r);
  k->data = get_blob(r, &k->n, CONTENTS_MAX);
  bool fits = k->size <= KEPT_MAX && k->n && k->offset <= k->size && k->n <= k->size - k->offset;
  return r->bad || !k->ino || !fits ? -EPROTO : 0;
}

/* The STATE before it was this file's. */
static bool is_state(const struct taking *t, const struct keep *k)
{
  return t->state.ino == k->ino && t->state.dev == k->dev;
}

/* A directory's records are tied to what is known of its names; a file's to its counter. */
static int take_keep(struct taking *t, struct rbuf *r)
{
  struct keep k;
  if (get_keep(r, &k))
    return -EPROTO;
  uint32_t index = file_gen(k.dev, k.ino);
  k.gen = t->gens[t->ngens++];
  k.instance = names_instance(t->h, k.dev, k.ino);
  if (t->drained && t->h->gen_seq[index] <= t->ack && t->h->name_seq[index] <= t->ack)
    kept_put(t->h, &k);
  if (is_state(t, &k) && k.n == t->state.size)
    disk_save(t->h, &t->state, k.data);
  return 0;
}

static int get_stored(struct rbuf *r, struct keep *k)
{
  *k = (struct keep){.dev = get_u64(r), .ino = get_u64(r), .ahead = get_u32(r), .unasked = true};
  return r->bad || !k->ino ? -EPROTO : 0;
}

/* What a KEEP would bring comes from the disk; if it is not there after all, nobody has been promised anything. */
static int take_stored(struct taking *t, struct rbuf *r)
{
  static uint8_t bytes[KEPT_MAX];
  struct keep k;
  if (get_stored(r, &k))
    return -EPROTO;
  uint32_t index = file_gen(k.dev, k.ino);
  k.gen = t->gens[t->ngens++];
  k.data = bytes;
  k.n = is_state(t, &k) && t->state.size <= KEPT_MAX ? (uint32_t)t->state.size : 0;
  if (k.n && t->drained && t->h->gen_seq[index] <= t->ack && disk_read(t->h, &t->state, bytes))
    kept_put(t->h, &k);
  return 0;
}

/* A piece of a file, and then all of it, is true only if it has not changed since the first. */
static int take_part(struct taking *t, struct rbuf *r)
{
  struct keep k;
  if (get_part(r, &k))
    return -EPROTO;
  uint32_t index = file_gen(k.dev, k.ino);
  k.gen = t->gens[t->ngens++];
  k.state = is_state(t, &k) && t->state.size == k.size ? &t->state : 0;
  if (t->drained && t->h->gen_seq[index] <= t->ack)
    kept_part(t->h, &k);
  else
    kept_part_drop(t->h);
  return 0;
}

static int take_item(struct taking *t, unsigned item, struct rbuf *r)
{
  switch (item) {
  case NI_DIR:
  case NI_IN:
    return take_dir(t, r, item == NI_DIR);
  case NI_SELF:
    return take_self(t, r);
  case NI_ENTRY:
    return take_entry(t, r);
  case NI_ABSENT:
  case NI_UNKNOWN:
    return take_name(t, r, item);
  case NI_COMPLETE:
    if (t->dir && !t->old)
      dir_set(t->dir, t->dir->instance, t->dir->flags | ND_COMPLETE);
    return 0;
  case NI_FORGET:
    ahead_changed(t->dev, t->ino);
    kept_drop(t->h, t->dev, t->ino);
    if (t->dir)
      dir_set(t->dir, 0, 0);
    t->dir = 0;
    return 0;
  case NI_FLUSH:
    ahead_changed_all(t->h);
    all_void(t->m);
    kept_drop_dirs(t->h);
    t->dir = 0;
    return 0;
  case NI_KEEP:
    return take_keep(t, r);
  case NI_PART:
    return take_part(t, r);
  case NI_STATE:
    get_attr(r, &t->state);
    return r->bad ? -EPROTO : 0;
  case NI_STORED:
    return take_stored(t, r);
  default:
    return -EPROTO;
  }
}

static uint32_t gen_of(const struct hub *h, uint64_t dev, uint64_t ino)
{
  return __atomic_load_n(&h->s->gens[file_gen(dev, ino)], __ATOMIC_SEQ_CST);
}

/* The counters of all files told of, before the programs' queue is emptied: a change in it makes them old. */
static int read_gens(struct hub *h, struct rbuf r, uint32_t *gens)
{
  uint32_t n = 0;
  struct wire_attr a;
  struct told o;
  while (r.at < r.end && !r.bad) {
    unsigned item = *r.at++;
    if (item == NI_DIR || item == NI_IN) {
      get_u64(&r);
      get_u64(&r);
    } else if (item == NI_SELF || item == NI_STATE) {
      get_attr(&r, &a);
    } else if (item == NI_STORED) {
      struct keep k;
      if (get_stored(&r, &k) || n == FRAME_ENTRIES)
        return -EPROTO;
      gens[n++] = gen_of(h, k.dev, k.ino);
    } else if (item == NI_ABSENT || item == NI_UNKNOWN) {
      get_name(&r, &o);
    } else if (item == NI_ENTRY) {
      if (get_entry(&r, &o) || n == FRAME_ENTRIES)
        return -EPROTO;
      gens[n++] = gen_of(h, o.attr.dev, o.attr.ino);
    } else if (item == NI_KEEP || item == NI_PART) {
      struct keep k;
      if ((item == NI_KEEP ? get_keep : get_part)(&r, &k) || n == FRAME_ENTRIES)
        return -EPROTO;
      gens[n++] = gen_of(h, k.dev, k.ino);
    }
  }
  return r.bad ? -EPROTO : (int)n;
}

int names_take(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  static uint32_t gens[FRAME_ENTRIES];
  struct rbuf r = {body, body + n, false};
  int entries = read_gens(h, r, gens);
  if (entries < 0)
    return entries;
  bool drained = !entries || pump(h);
  struct taking t = {.h = h, .m = memory(h), .ack = f->ack, .drained = drained, .gens = gens};
  while (r.at < r.end) {
    unsigned item = *r.at++;
    int err = take_item(&t, item, &r);
    if (err)
      return err;
  }
  return 0;
}

/* ---- what the hub itself has to say ---- */

bool names_child_dir(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, uint64_t id[2])
{
  struct wire_attr a;
  if (!names_entry(h, dev, ino, name, n, &a) || !IS_DIR(a.mode))
    return false;
  id[0] = a.dev;
  id[1] = a.ino;
  return true;
}

uint32_t names_self(struct hub *h, uint64_t dev, uint64_t ino, struct wire_attr *self, bool *full)
{
  const struct name_dir *d = dir_find(memory(h), dev, ino);
  *full = d && d->flags & ND_SELF;
  if (*full)
    *self = d->self;
  return d ? d->instance : 0;
}

bool names_entry(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, struct wire_attr *a)
{
  struct names *m = memory(h);
  const struct name_dir *d = n < NAME_ROOM ? dir_find(m, dev, ino) : 0;
  const struct name_entry *e = d ? entry_find(m, d, name, n) : 0;
  if (!e || e->state != NS_THERE)
    return false;
  *a = e->attr;
  return true;
}

bool names_empty(struct hub *h, uint64_t dev, uint64_t ino)
{
  struct names *m = memory(h);
  const struct name_dir *d = dir_find(m, dev, ino);
  return d && d->flags & ND_COMPLETE && !h->name_live[d - m->dirs];
}

void names_void(struct hub *h, uint64_t dev, uint64_t ino)
{
  kept_drop(h, dev, ino);
  struct name_dir *d = dir_find(memory(h), dev, ino);
  if (d)
    dir_set(d, 0, 0);
}

static void own_change(struct hub *h, uint64_t dev, uint64_t ino, const struct told *o, enum name_state state)
{
  kept_drop(h, dev, ino);
  struct names *m = memory(h);
  struct taking t = {.h = h, .m = m, .dir = dir_find(m, dev, ino)};
  if (!t.dir)
    return;
  if (t.dir->flags & ND_SELF)
    dir_set(t.dir, t.dir->instance, t.dir->flags & ~(uint32_t)ND_SELF);
  bool entry = o->len < NAME_ROOM && !(o->len == 1 && *o->name == '.');
  if (entry && (t.dir->flags & ND_COMPLETE || entry_find(m, t.dir, o->name, o->len)))
    entry_put(&t, o, state, 0);
}

void names_removed(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, uint64_t seq)
{
  h->name_seq[file_gen(dev, ino)] = seq;
  own_change(h, dev, ino, &(struct told){.name = name, .len = n}, NS_ABSENT);
}

void names_dir_made(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, const struct wire_attr *a)
{
  struct names *m = memory(h);
  struct taking t = {.h = h, .m = m, .dir = dir_find(m, dev, ino)};
  if (t.dir && n < NAME_ROOM)
    entry_put(&t, &(struct told){.name = name, .len = n, .attr = *a}, NS_THERE, 0);
}

void names_own(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, uint64_t seq)
{
  h->name_seq[file_gen(dev, ino)] = seq;
  own_change(h, dev, ino, &(struct told){.name = name, .len = n}, NS_UNKNOWN);
}
