/*
 * Directories that this session has made and that nobody else has touched since: the hub knows every name in them.
 *
 * Owns that knowledge, and nothing of how it is used (ahead.c). A directory is forgotten, with all below it, as soon as
 * the slave tells of a change that was not ours, or no longer watches it. Must never: keep a directory that the slave
 * has withdrawn.
 */
#include <stdlib.h>
#include <string.h>

#include "hub/internal.h"
#include "hub/made.h"
#include "proto/names.h"

#define BUCKETS 4096
#define MADE_MAX 200000 /* entries; then the oldest directories are forgotten */

static struct {
  struct made_entry *by_name[BUCKETS];
  struct made *by_id[BUCKETS];
  struct made *oldest, *newest;
  unsigned entries;
  uint64_t numbers;
} M;

static struct made_entry **name_bucket(const struct made *d, const char *name, uint32_t n)
{
  return &M.by_name[(name_hash(name, n) + d->number * 0x9e3779b97f4a7c15u) % BUCKETS];
}

static struct made **id_bucket(uint64_t dev, uint64_t ino)
{
  return &M.by_id[name_mix(dev, ino, 0) % BUCKETS];
}

struct made *made_by_id(uint64_t dev, uint64_t ino)
{
  struct made *d = *id_bucket(dev, ino);
  while (d && !(d->dev == dev && d->ino == ino))
    d = d->next_id;
  return d;
}

struct made_entry *made_find(const struct made *d, const char *name, uint32_t n)
{
  struct made_entry *e = *name_bucket(d, name, n);
  while (e && !(e->in == d && e->len == n && !memcmp(e->name, name, n)))
    e = e->next_name;
  return e;
}

/* ---- directories ---- */

static void link_newest(struct made *d)
{
  d->older = M.newest;
  d->newer = 0;
  *(M.newest ? &M.newest->newer : &M.oldest) = d;
  M.newest = d;
}

static void unlink_use(struct made *d)
{
  *(d->older ? &d->older->newer : &M.oldest) = d->newer;
  *(d->newer ? &d->newer->older : &M.newest) = d->older;
}

struct made *made_new(uint32_t mode)
{
  struct made *d = calloc(1, sizeof *d);
  if (!d)
    return 0;
  d->number = ++M.numbers;
  d->mode = mode;
  link_newest(d);
  return d;
}

void made_identify(struct made *d, uint64_t dev, uint64_t ino)
{
  struct made *other = made_by_id(dev, ino);
  if (other)
    made_forget(other);
  d->dev = dev;
  d->ino = ino;
  d->next_id = *id_bucket(dev, ino);
  *id_bucket(dev, ino) = d;
}

static void unlink_id(struct made *d)
{
  struct made **at = id_bucket(d->dev, d->ino);
  while (*at && *at != d)
    at = &(*at)->next_id;
  if (*at)
    *at = d->next_id;
}

void made_forget(struct made *d)
{
  while (d->first)
    made_remove(d->first);
  if (d->entry)
    d->entry->dir = 0;
  d->entry = 0;
  if (d->call)
    *d->call = 0;
  d->call = 0;
  if (d->ino)
    unlink_id(d);
  unlink_use(d);
  d->gone = true;
  if (!d->holds)
    free(d);
}

void made_hold(struct made *d)
{
  d->holds++;
}

void made_release(struct made *d)
{
  if (!--d->holds && d->gone)
    free(d);
}

void made_forget_all(void)
{
  while (M.oldest)
    made_forget(M.oldest);
}

/* ---- entries ---- */

struct made_entry *made_add(struct made *d, const char *name, uint32_t n, uint32_t type)
{
  struct made_entry *e = malloc(sizeof *e + n);
  if (!e)
    return 0;
  *e = (struct made_entry){.in = d, .type = type, .len = n};
  memcpy(e->name, name, n);
  e->next_name = *name_bucket(d, name, n);
  *name_bucket(d, name, n) = e;
  e->next = d->first;
  if (e->next)
    e->next->back = &e->next;
  e->back = &d->first;
  d->first = e;
  M.entries++;
  return e;
}

/* Only the name goes: what it stood for is `dir', still whole if the caller has taken it out. */
void made_remove(struct made_entry *e)
{
  struct made_entry **at = name_bucket(e->in, e->name, e->len);
  while (*at != e)
    at = &(*at)->next_name;
  *at = e->next_name;
  *e->back = e->next;
  if (e->next)
    e->next->back = e->back;
  if (e->call)
    *e->call = 0;
  struct made *dir = e->dir;
  M.entries--;
  free(e);
  if (dir) {
    dir->entry = 0;
    made_forget(dir);
  }
}

void made_attach(struct made_entry *e, struct made *dir)
{
  e->dir = dir;
  dir->entry = e;
  dir->depth = e->in->depth + 1;
}

/* The subtree of a directory that is in use is never the oldest: what is looked at becomes the newest, and so do those
 * above it. */
void made_used(struct made *d)
{
  for (;; d = d->entry->in) {
    unlink_use(d);
    link_newest(d);
    if (!d->entry)
      break;
  }
  while (M.entries > MADE_MAX && M.oldest != M.newest)
    made_forget(M.oldest);
}

bool made_above(const struct made *d, const struct made *below)
{
  while (below && below != d)
    below = below->entry ? below->entry->in : 0;
  return below;
}
