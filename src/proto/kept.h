/*
 * Contents of the slave's small files, and what its directories list, as the master remembers them.
 *
 * The hub alone writes it, into memory that every program maps read-only, right behind proto/names.h: a table by
 * (device, inode), and a ring of bytes in which the oldest make room for the newest. What an entry says is true while
 * gens[] of its file stands still; what a directory lists, also while the directory's instance in the table of
 * directories lives. Bytes read are the entry's if `seq' is the same afterwards.
 */
#ifndef PROTO_KEPT_H
#define PROTO_KEPT_H

#include <stdint.h>

#include "proto/names.h"

#define KEPT_WAYS 8
#define KEPT_UNIT 64 /* bytes; where an entry's begin is counted in these */
#define KEPT_ROOM (64u << 20)
#define KEPT_MAX WHOLE_MAX /* of one file; a directory's records come in one piece */

struct kept {
  uint32_t seq; /* odd while the hub writes */
  uint32_t gen;
  uint64_t dev, ino; /* inode 0: free */
  uint32_t instance; /* of the directory, 0: a regular file */
  uint32_t at, len;
  uint32_t ahead; /* not 0: whoever uses it first says W_AHEAD with this number, for more of what follows */
};

struct kept_memory {
  struct kept files[KEPT_FILES];
  _Alignas(4096) uint8_t room[KEPT_ROOM];
};

static inline uint32_t kept_at(uint64_t dev, uint64_t ino)
{
  return name_mix(dev, ino, 7) % (KEPT_FILES / KEPT_WAYS) * KEPT_WAYS;
}

#define SESSION_KEPT_OFFSET (SESSION_NAMES_OFFSET + SESSION_NAMES_SIZE)
#define SESSION_KEPT_SIZE ((sizeof(struct kept_memory) + 4095) & ~4095ul)
#define SESSION_SIZE (SESSION_KEPT_OFFSET + SESSION_KEPT_SIZE)
#define SESSION_TOLD_SIZE (SESSION_SIZE - SESSION_NAMES_OFFSET) /* what programs map to read */

#endif
