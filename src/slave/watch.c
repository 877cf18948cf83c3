/*
 * Watches on the files whose attributes or contents the master was allowed to keep.
 *
 * A watch speaks once and is gone (NOTE_ONCE): after the first change the master knows that what it keeps is stale,
 * and asks again if it still cares, which sets the next watch. So a file that is written all day costs one message.
 *
 * Owns its notify descriptor and the table of live watches. Must never: promise anything about a file system whose
 * changes the kernel does not see, or forget a promise without telling (what is given up is drained as changed).
 * `lock' is taken inside out.c's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

#define WATCHES_MAX 32768
#define BUCKETS 8192 /* a power of two */
#define NONE 0xffffu
#define FILE_EVENTS (NOTE_MODIFY | NOTE_ATTRIB | NOTE_CLOSE_WRITE | NOTE_MOVE_SELF | NOTE_DELETE_SELF)
#define DIR_EVENTS                                                                                                     \
  (NOTE_ATTRIB | NOTE_CREATE | NOTE_DELETE | NOTE_MOVED_FROM | NOTE_MOVED_TO | NOTE_MOVE_SELF | NOTE_DELETE_SELF)

struct watch {
  uint64_t stamp; /* 0: free */
  uint64_t dev, ino;
  int wd;
  uint16_t chain;        /* next in its bucket, or in the free list */
  uint16_t older, newer; /* by use */
};

static struct {
  pthread_mutex_t lock;
  bool on;
  int fd;
  uint64_t stamps;
  uint16_t bucket[BUCKETS], free, oldest, newest;
  struct watch w[WATCHES_MAX];
  unsigned nstale;                 /* given up, not yet told */
  uint64_t stale[4 * WATCHES_MAX]; /* pairs; room for a full table on top of what take_events() lets gather */
} I;                               /* zeroed by the loader: a quarter of a megabyte need not be in the file */

bool watch_start(void)
{
  I.fd = notify_open();
  memset(I.bucket, 0xff, sizeof I.bucket);
  I.oldest = I.newest = NONE;
  I.free = 0;
  for (unsigned i = 0; i < WATCHES_MAX; i++)
    I.w[i].chain = (uint16_t)(i + 1 < WATCHES_MAX ? i + 1 : NONE);
  I.on = I.fd >= 0;
  return I.on;
}

int watch_fd(void)
{
  return I.on ? I.fd : -1;
}

static uint16_t *bucket_of(int wd)
{
  return &I.bucket[(unsigned)wd % BUCKETS];
}

static struct watch *find(int wd)
{
  for (uint16_t i = *bucket_of(wd); i != NONE; i = I.w[i].chain)
    if (I.w[i].wd == wd)
      return &I.w[i];
  return 0;
}

static void unlink_use(struct watch *w)
{
  *(w->older == NONE ? &I.oldest : &I.w[w->older].newer) = w->newer;
  *(w->newer == NONE ? &I.newest : &I.w[w->newer].older) = w->older;
}

static void link_newest(struct watch *w)
{
  uint16_t i = (uint16_t)(w - I.w);
  w->older = I.newest;
  w->newer = NONE;
  *(I.newest == NONE ? &I.oldest : &I.w[I.newest].newer) = i;
  I.newest = i;
}

/* Takes the watch out of the table; its file counts as changed. */
static void retire(struct watch *w)
{
  uint16_t i = (uint16_t)(w - I.w), *at = bucket_of(w->wd);
  while (*at != i)
    at = &I.w[*at].chain;
  *at = w->chain;
  unlink_use(w);
  if (w->ino) {
    I.stale[2 * I.nstale] = w->dev;
    I.stale[2 * I.nstale++ + 1] = w->ino;
  }
  w->stamp = 0;
  w->chain = I.free;
  I.free = i;
}

static void give_up_oldest(void)
{
  struct watch *w = &I.w[I.oldest];
  notify_remove(I.fd, w->wd);
  retire(w);
}

static uint64_t enter(int wd)
{
  struct watch *w = find(wd);
  if (w) {
    unlink_use(w);
    link_newest(w);
    return w->stamp;
  }
  if (I.free == NONE)
    give_up_oldest();
  w = &I.w[I.free];
  I.free = w->chain;
  *w = (struct watch){.stamp = ++I.stamps, .wd = wd, .chain = *bucket_of(wd)};
  *bucket_of(wd) = (uint16_t)(w - I.w);
  link_newest(w);
  return w->stamp;
}

uint64_t watch_add(int fd, bool directory)
{
  uint64_t stamp = 0;
  if (!I.on || !watchable(fd))
    return 0;
  pthread_mutex_lock(&I.lock);
  /* The list of what has to be told is bounded too: no new promises until it has been sent. */
  if (I.nstale < WATCHES_MAX / 2) {
    int wd = notify_add(I.fd, fd, NOTE_ONCE | (directory ? DIR_EVENTS : FILE_EVENTS));
    if (wd == -ENOSPC && I.oldest != NONE) {
      give_up_oldest();
      wd = notify_add(I.fd, fd, NOTE_ONCE | (directory ? DIR_EVENTS : FILE_EVENTS));
    }
    stamp = wd < 0 ? 0 : enter(wd);
  }
  pthread_mutex_unlock(&I.lock);
  return stamp;
}

static struct watch *by_stamp(uint64_t stamp)
{
  for (uint16_t i = I.newest; i != NONE; i = I.w[i].older)
    if (I.w[i].stamp == stamp)
      return &I.w[i];
  return 0;
}

void watch_name(uint64_t stamp, uint64_t dev, uint64_t ino)
{
  pthread_mutex_lock(&I.lock);
  struct watch *w = by_stamp(stamp);
  if (w) {
    w->dev = dev;
    w->ino = ino;
  }
  pthread_mutex_unlock(&I.lock);
}

bool watch_holds(uint64_t stamp)
{
  pthread_mutex_lock(&I.lock);
  bool holds = by_stamp(stamp) != 0;
  pthread_mutex_unlock(&I.lock);
  return holds;
}

static void take_event(int wd, uint32_t what, const char *name)
{
  (void)name;
  if (what & NOTE_LOST) {
    while (I.oldest != NONE)
      give_up_oldest();
    return;
  }
  struct watch *w = find(wd);
  if (w)
    retire(w);
}

static void take_events(void)
{
  /* Every watch in the table adds at most one pair to the list, which has room for that. */
  while (I.nstale < WATCHES_MAX / 2 && notify_take(I.fd, take_event))
    ;
}

/* Of what no event tells. Few enough to be looked for one by one. */
void watch_stale(uint64_t dev, uint64_t ino)
{
  if (!I.on)
    return;
  pthread_mutex_lock(&I.lock);
  for (uint16_t i = I.newest, older; i != NONE; i = older) {
    older = I.w[i].older;
    if (I.w[i].dev == dev && I.w[i].ino == ino) {
      notify_remove(I.fd, I.w[i].wd);
      retire(&I.w[i]);
    }
  }
  pthread_mutex_unlock(&I.lock);
}

unsigned watch_drain(uint64_t *pairs, unsigned max)
{
  if (!I.on)
    return 0;
  pthread_mutex_lock(&I.lock);
  take_events();
  unsigned n = I.nstale < max ? I.nstale : max;
  I.nstale -= n;
  memcpy(pairs, I.stale + 2 * I.nstale, 16ul * n);
  pthread_mutex_unlock(&I.lock);
  return n;
}
