/*
 * The one table (syscalls.def) as data: numbers, traits and argument kinds, for the agent, the slave and the tools.
 *
 * Freestanding: usable in the agent, which has no libc.
 */
#ifndef PROTO_TABLE_H
#define PROTO_TABLE_H

#include <stdint.h>

enum trait {
  POSTED = 1 << 0,
  BLOCKS = 1 << 1,
  RESTART = 1 << 2,
  NORESTART = 1 << 3,
  CREATES = 1 << 4,
  FOLLOW = 1 << 5,
  NOFOLLOW = 1 << 6,
  NOFOLLOW2 = 1 << 7,
};
/* Which argument register holds the flag that decides about the last symbolic link; stored plus one, 0 is none. */
#define FLAG_NOFOLLOW(reg) (((reg) + 1) << 8)
#define FLAG_FOLLOW(reg) (((reg) + 1) << 12)
#define TRAIT_NOFOLLOW_REG(traits) ((((traits) >> 8) & 15) - 1)
#define TRAIT_FOLLOW_REG(traits) ((((traits) >> 12) & 15) - 1)

enum level { LEVEL_FULL, LEVEL_PART, LEVEL_NONE };

struct row {
  const char *name;
  const char *args;   /* a letter per argument, see syscalls.def */
  const char *note;   /* AKA rows: how the target's arguments are made */
  uint16_t wire;      /* permanent operation number, 0: never sent */
  uint16_t traits;    /* enum trait, FLAG_NOFOLLOW(), FLAG_FOLLOW() */
  int16_t target;     /* AKA rows: the number of the row that serves; else -1 */
  int16_t refuse;     /* NO rows: the errno; else 0 */
  uint8_t level;      /* enum level */
};

#define SYSCALL_MAX 512 /* numbers at or above are unknown: ENOSYS */
#define WIRE_MAX 64     /* operation numbers on the wire are below */

extern const struct row syscall_rows[SYSCALL_MAX]; /* by x86-64 number; name 0: no such call */

/* The row whose wire number is `wire', or 0. */
const struct row *row_of_wire(unsigned wire);

/* The same of any operation: those that are no system calls (enum wire_op) have rows of their own; a name only where the
   slave hears of it. */
const struct row *row_of_op(unsigned op);

/* The x86-64 number of a row. */
static inline int row_nr(const struct row *r)
{
  return (int)(r - syscall_rows);
}

#endif
