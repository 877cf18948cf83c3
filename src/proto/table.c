/*
 * syscalls.def as data, and the operations that are no system calls. Owns the arrays, all constant.
 *
 * Must never: use libc or kernel headers (the agent links this too); table_check.c holds it against the kernel's.
 */
#include "proto/table.h"

#include "proto/wire.h"

enum { NO_EPERM = 1, NO_ENOSYS = 38 };

enum {
#define SYS(nr, name, handler, args, wire, traits, level, note) NR_##name = nr,
#define AKA(nr, name, target, map) NR_##name = nr,
#define NO(nr, name, err, note) NR_##name = nr,
#include "proto/syscalls.def"
};

#define NAMED(text) #text

const struct row syscall_rows[SYSCALL_MAX] = {
#define SYS(nr, name, handler, args, wire, traits, level, note)                                                        \
  [nr] = {NAMED(name), args, note, wire, traits, -1, 0, LEVEL_##level},
#define AKA(nr, name, target, map) [nr] = {NAMED(name), "", map, 0, 0, NR_##target, 0, LEVEL_FULL},
#define NO(nr, name, err, note) [nr] = {NAMED(name), "", note, 0, 0, -1, NO_##err, LEVEL_NONE},
#include "proto/syscalls.def"
};

/* Rows that are never sent get places of their own above WIRE_MAX, so that two rows in one place do not compile. */
static const uint16_t nr_of_wire[WIRE_MAX + SYSCALL_MAX] = {
#define SYS(nr, name, handler, args, wire, traits, level, note) [(wire) ? (wire) : WIRE_MAX + (nr)] = (nr),
#include "proto/syscalls.def"
};

const struct row *row_of_wire(unsigned wire)
{
  if (!wire || wire >= WIRE_MAX)
    return 0;
  const struct row *r = &syscall_rows[nr_of_wire[wire]];
  return r->wire == wire ? r : 0;
}

#define OP(op, name, args, traits) [(op)-WIRE_MAX] = {name, args, "", op, traits, -1, 0, LEVEL_FULL}
static const struct row op_rows[W_END - WIRE_MAX] = {
    OP(W_POLL, 0, "HI", 0),
    OP(W_PLACE, 0, "HI", 0),
    OP(W_MAPFD, 0, "HI", 0),
    OP(W_FLUSH, 0, "II", 0),
    OP(W_UNLOCK, 0, "II", 0),
    OP(W_WATCH, 0, "HI", 0),
    OP(W_UNWATCH, 0, "HI", 0),
    OP(W_CLOSED, 0, "H", 0),
    OP(W_CONTEXT, 0, "HIIIIB", 0),
    OP(W_EVENTS, 0, "HI", 0),
    OP(W_UBIND, "bind", "AII", CREATES),
    OP(W_UCONNECT, "connect", "AII", FOLLOW),
    OP(W_BOUND, 0, "HI", 0),
    OP(W_SOCKET, "socket", "IIII", 0),
    OP(W_NBIND, "bind", "HBO", 0),
    OP(W_NCONNECT, "connect", "HBIO", BLOCKS),
    OP(W_LISTEN, "listen", "HI", 0),
    OP(W_SHUTDOWN, "shutdown", "HI", 0),
    OP(W_SOCKNAME, "getsockname", "HIO", 0),
    OP(W_GETOPT, "getsockopt", "HIIO", 0),
    OP(W_SETOPT, "setsockopt", "HIIB", 0),
    OP(W_CREDIT, "credit", "HI", 0),
    OP(W_ADOPT, "adopt", "HII", 0),
    OP(W_AHEAD, 0, "I", 0),
    OP(W_LAZY, 0, "IIII", 0),
    OP(W_FETCH, 0, "III", 0),
};

const struct row *row_of_op(unsigned op)
{
  if (op < WIRE_MAX)
    return row_of_wire(op);
  return op < W_END && op_rows[op - WIRE_MAX].args ? &op_rows[op - WIRE_MAX] : 0;
}
