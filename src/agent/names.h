/* names.c: the slave's names from memory. */
#ifndef AGENT_NAMES_H
#define AGENT_NAMES_H

#include "agent/call.h"
#include "proto/names.h"

enum known {
  KNOWN_NOT, /* ask the slave */
  KNOWN_THERE,
  KNOWN_ABSENT, /* ENOENT */
  KNOWN_NO_DIR, /* ENOTDIR */
};
struct name_answer {
  bool full; /* all of attr can be relied on; else only type, device and inode */
  struct wire_attr attr;
  uint32_t target_len; /* of a symbolic link's text, 0: not known */
  char target[TARGET_ROOM];
};
/* Where a path that is not local leads. follow: not known if it ends at a symbolic link. */
enum known names_ask(struct call *c, const struct at *at, bool follow, struct name_answer *a);
/* -ENOENT or -ENOTDIR if memory says so, else 0. */
long names_error(struct call *c, const struct at *at, bool follow);
/* access(2) by what is known; false: ask. */
bool names_access(struct call *c, const struct at *at, unsigned want, bool follow, long *result);
bool names_memory(unsigned long addr, unsigned long len);

#endif
