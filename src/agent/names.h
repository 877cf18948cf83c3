/* names.c: the slave's names from memory. */
#ifndef AGENT_NAMES_H
#define AGENT_NAMES_H

#include "agent/call.h"
#include "proto/names.h"

enum known {
  KNOWN_NOT, /* ask the slave */
  KNOWN_THERE,
  KNOWN_ABSENT, /* inside names.c, as the next two: ENOENT */
  KNOWN_NO_DIR, /* ENOTDIR */
  KNOWN_LINK,   /* a symbolic link that is to be followed */
  KNOWN_UP,     /* `..' */
  KNOWN_ERROR,  /* name_answer.error */
  KNOWN_LOCAL,  /* a link led to the master's side: `at' is local now */
};
struct name_answer {
  bool full; /* all of attr can be relied on; else only type, device and inode */
  uint8_t flags; /* enum name_flag, with `full' */
  struct wire_attr attr;
  uint32_t target_len; /* of a symbolic link's text, 0: not known */
  char target[TARGET_ROOM];
  int error;
  uint32_t instance; /* of a directory that is known, 0: it is not */
};
/* Where a path that is not local leads; follow: also if it ends at a symbolic link. `at' is moved on past links. */
enum known names_ask(struct call *c, struct at *at, bool follow, struct name_answer *a);
/* -errno if memory says so, else 0; `at' may have become local. */
long names_error(struct call *c, struct at *at, bool follow);
/* access(2) by what is known; false: ask, or (at->local) the kernel here is to be asked. */
bool names_access(struct call *c, struct at *at, unsigned want, bool follow, long *result);
/* What the hub writes, mapped; 0 if nothing may be used. And a copy of a part of it that it was not writing meanwhile.
 */
const struct names *names_view(struct proc *p);
bool names_copy(void *to, const void *from, size_t n, const uint32_t *seq);
/* The attributes of a directory that is known. */
bool names_dir_attr(struct proc *p, uint64_t dev, uint64_t ino, struct wire_attr *a);
bool names_memory(unsigned long addr, unsigned long len);

#endif
