/* made.c: directories that this session has made, and every name in them. */
#ifndef HUB_MADE_H
#define HUB_MADE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire.h"

#define MADE_DEPTH 256 /* directories further down than this are not kept */

struct made {
  uint64_t dev, ino; /* 0: the slave has not answered yet */
  uint64_t number;
  uint32_t mode, depth;
  bool full;    /* so little room is left there that who asks must wait for the answer */
  bool told;    /* attr is: as it was when it was made */
  bool touched; /* something has been done to it since */
  bool gone;    /* forgotten, but for those who hold it */
  unsigned holds;
  struct wire_attr attr;
  struct made_entry *entry; /* its name in another such directory; 0: it lies in one of somebody else's */
  struct made_entry *first;
  struct made **call; /* who waits for the slave's answer, and must not when this is gone */
  struct made *next_id, *older, *newer;
};

struct made_entry {
  struct made *in;
  struct made *dir; /* of a directory; 0: no longer known */
  uint32_t type;    /* S_IFREG, ... */
  uint32_t len;
  bool linked;       /* may have another name */
  uint64_t dev, ino; /* 0: not known yet */
  struct made_entry **call;
  struct made_entry *next_name, *next, **back;
  char name[];
};

struct made *made_by_id(uint64_t dev, uint64_t ino);
struct made_entry *made_find(const struct made *d, const char *name, uint32_t n);
/* 0 without memory. */
struct made *made_new(uint32_t mode);
struct made_entry *made_add(struct made *d, const char *name, uint32_t n, uint32_t type);
void made_attach(struct made_entry *e, struct made *dir);
void made_identify(struct made *d, uint64_t dev, uint64_t ino);
/* With a directory, all that is known below it. */
void made_remove(struct made_entry *e);
void made_forget(struct made *d);
void made_forget_all(void);
/* Keeps it in memory; it may be `gone'. */
void made_hold(struct made *d);
void made_release(struct made *d);
void made_used(struct made *d);
bool made_above(const struct made *d, const struct made *below); /* or the same */

#endif
