/*
 * The ledger: an open-addressed table of numbers, emptied by shifting back, so that it never has to be rebuilt.
 *
 * Owns nothing: the room is its user's. Must never allocate, and never hold more than the limit.
 */
#include <errno.h>

#include "syslink/ledger.h"

void sl_ledger_init(struct ledger *l, struct ledger_entry *at, uint32_t room, uint32_t limit)
{
  *l = (struct ledger){.at = at, .room = room, .limit = limit};
}

/* Numbers that follow each other lie beside each other: users count, and few pages are touched. */
static uint32_t home(const struct ledger *l, uint64_t id)
{
  return (uint32_t)(id ^ id >> 17 ^ id >> 32) & (l->room - 1);
}

static struct ledger_entry *place(struct ledger *l, uint64_t id)
{
  uint32_t i = home(l, id);
  while (l->at[i].used && l->at[i].id != id)
    i = (i + 1) & (l->room - 1);
  return &l->at[i];
}

int sl_ledger_add(struct ledger *l, uint64_t id, struct ledger_entry **out)
{
  struct ledger_entry *e = place(l, id);
  if (e->used)
    return -EEXIST;
  if (l->count >= l->limit)
    return -EAGAIN;
  *e = (struct ledger_entry){.id = id, .used = 1, .stamp = ++l->stamps};
  l->count++;
  *out = e;
  return 0;
}

struct ledger_entry *sl_ledger_find(struct ledger *l, uint64_t id)
{
  struct ledger_entry *e = place(l, id);
  return e->used ? e : 0;
}

/* Every entry behind the gap that is not reached any more without it moves into it. */
void sl_ledger_drop(struct ledger *l, struct ledger_entry *e)
{
  uint32_t mask = l->room - 1, gap = (uint32_t)(e - l->at);
  for (uint32_t i = (gap + 1) & mask; l->at[i].used; i = (i + 1) & mask) {
    uint32_t from_home = (i - home(l, l->at[i].id)) & mask;
    if (from_home < ((i - gap) & mask))
      continue;
    l->at[gap] = l->at[i];
    gap = i;
  }
  l->at[gap].used = 0;
  l->count--;
}

struct ledger_entry *sl_ledger_next(struct ledger *l, struct ledger_entry *from)
{
  for (; from < l->at + l->room; from++)
    if (from->used)
      return from;
  return 0;
}
