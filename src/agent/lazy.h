/*
 * lazy.c: mappings of large files of the slave, whose contents come when they are looked at.
 */
#ifndef AGENT_LAZY_H
#define AGENT_LAZY_H

#include "agent/call.h"

/* The mmap of `c' with the hub's memfd in a[4], of the store with that number, of which parts may be missing. */
long lazy_map(struct call *c, uint64_t id);
/* Before any call: what it hands to the kernel is there. */
extern bool lazy_any;
void lazy_before(struct call *c);
/* The range shows something else now, or nothing. */
void lazy_unmapped(struct call *c, uint64_t addr, uint64_t len);
/* Around an mremap that moves or resizes: everything of both is there, so that it may go anywhere. */
struct lazy_moved {
  uint64_t id, off;
  bool shared;
};
struct lazy_moved lazy_moving(struct call *c, uint64_t addr, uint64_t len);
void lazy_moved(struct call *c, const struct lazy_moved *m, uint64_t addr, uint64_t len);
/* A mapping of a file that was opened for reading only. */
bool lazy_not_writable(uint64_t addr, uint64_t len);
/* In the child of a fork, before the program goes on. */
void lazy_forked(struct thread *t);

#endif
