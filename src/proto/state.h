/*
 * The state of a file of the slave, in which what it holds is known: its identity, its size, and the time of its last
 * change. No other state of it has all of these, if the last change was OLD_AFTER before somebody looked (FF_OLD).
 */
#ifndef PROTO_STATE_H
#define PROTO_STATE_H

#include "proto/wire.h"

#define HAVE_MAX 32768u /* states told with F_HAVE */
#define OLD_AFTER 3     /* seconds: more than any clock of a file system goes by */

static inline uint32_t state_hash(const struct wire_attr *a)
{
  const uint64_t v[] = {a->dev, a->ino, a->size, (uint64_t)a->ctime, (uint64_t)a->ctime_nsec};
  uint64_t x = 0;
  for (unsigned i = 0; i < sizeof v / sizeof *v; i++) {
    x = (x ^ v[i]) * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
  }
  return (uint32_t)(x >> 32);
}

static inline int state_same(const struct wire_attr *a, const struct wire_attr *b)
{
  return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->ctime == b->ctime &&
         a->ctime_nsec == b->ctime_nsec;
}

#endif
