/*
 * Holds syscalls.def against the kernel's headers and against itself: whatever is wrong does not compile.
 *
 * kernel_numbers.h is made at build time from <asm/unistd.h>: a line KERNEL(number, name) for each call it knows.
 */
#include "proto/session.h"
#include "proto/table.h"

enum {
#define SYS(nr, name, handler, args, wire, traits, level, note) ROW_##nr = nr, NUMBER_OF_##name = nr,
#define AKA(nr, name, target, map) ROW_##nr = nr, NUMBER_OF_##name = nr,
#define NO(nr, name, err, note) ROW_##nr = nr, NUMBER_OF_##name = nr,
#include "proto/syscalls.def"
};

/* A number without a row, or with another call's row, stops here. */
#define KERNEL(nr, name) _Static_assert(ROW_##nr == (nr) && NUMBER_OF_##name == (nr), #name " has no row of its own");
#include "kernel_numbers.h"

#define SYS(nr, name, handler, args, wire, traits, level, note)                                                        \
  _Static_assert((nr) < SYSCALL_MAX && (wire) < WIRE_MAX, #name " is out of bounds");                                  \
  _Static_assert((traits) >= 0 && (traits) < 65536, #name " has traits that do not fit");
#define AKA(nr, name, target, map) _Static_assert(NUMBER_OF_##target != (nr), #name " serves itself");
#include "proto/syscalls.def"

/* Never called: two rows with one operation number would be two equal cases. */
int table_wire_unique(unsigned wire);
int table_wire_unique(unsigned wire)
{
  switch (wire) {
#define SYS(nr, name, handler, args, wire, traits, level, note)                                                        \
  case (wire) ? (wire):                                                                                                \
    WIRE_MAX + (nr) :
#include "proto/syscalls.def"
    return 1;
  default:
    return 0;
  }
}

_Static_assert(sizeof(struct slot) == 8192 + FRAME_MAX + SLOT_BUFFERS * FRAME_DATA_MAX, "slot: an 8 KiB head");
_Static_assert(sizeof(struct rule) == 256, "a rule is 256 bytes");
