/*
 * Which commands of one direction have no reply yet: the rule that every command gets exactly one.
 *
 * Freestanding: the library's ends use it, and so do the hub and the slave for the calls between them. It takes no lock
 * and allocates nothing.
 */
#ifndef SYSLINK_LEDGER_H
#define SYSLINK_LEDGER_H

#include <stdint.h>

struct ledger_entry {
  uint64_t id;
  uint64_t sessid;
  uint32_t label;
  uint16_t cmd;
  uint8_t used, state; /* state: the owner's; 0 at first */
  uint32_t stamp;      /* counts what was ever entered */
  uint32_t swapped;    /* the command came in the other byte order */
};

struct ledger {
  struct ledger_entry *at;
  uint32_t room; /* entries at `at': a power of two, at least twice `limit' */
  uint32_t limit, count, stamps;
};

void sl_ledger_init(struct ledger *l, struct ledger_entry *at, uint32_t room, uint32_t limit);
/* -EEXIST: that number has no reply yet; -EAGAIN: the limit is reached; else 0, and *out is good until the next change.
 */
int sl_ledger_add(struct ledger *l, uint64_t id, struct ledger_entry **out);
/* 0: there is no such command, or it has had its reply. */
struct ledger_entry *sl_ledger_find(struct ledger *l, uint64_t id);
void sl_ledger_drop(struct ledger *l, struct ledger_entry *e);
/* The first entry at `from' or behind it; 0: none. For going through all: from `at', then from the one behind. */
struct ledger_entry *sl_ledger_next(struct ledger *l, struct ledger_entry *from);

#endif
