/*
 * What store.c and lazy.c share: the contents of one file, in a memfd.
 */
#ifndef HUB_STORE_H
#define HUB_STORE_H

#include "hub/internal.h"

#define FILLS 32 /* reads under way for one store, at most */

struct waiter {
  struct waiter *next;
  int sock;
  bool may_write;
  bool lazy; /* takes what is still to be filled */
};

struct store {
  struct store *next, *next_of_file;
  uint64_t id; /* never used again */
  uint64_t dev, ino;
  char *path;              /* or 0 */
  uint32_t reader, writer; /* handles; H_NONE */
  int memfd, wd;
  int base; /* a file with what the slave has, once there is a writer; else -1 */
  uint64_t size;
  bool filled, eof, failed;
  struct {
    bool active;
    uint64_t offset, asked; /* when, in microseconds */
    uint32_t left;
  } fill[FILLS];
  uint32_t tag;         /* of fill[0] */
  uint64_t flush_at;    /* writeback.c: how far a pass has come */
  bool passing, ending; /* one is under way; at its end the store is to go, if nobody maps it again */
  uint64_t next_fill, next_flush, seq /* of the last write posted */;
  bool asked_state;      /* fill[0] asks for the attributes, ahead of the contents */
  struct wire_attr attr; /* when filling began */
  bool old;              /* they name what it holds also to later sessions (FF_OLD) */
  uint32_t gen;          /* the file's counter then ... */
  bool watched;          /* ... whose standing still means that the contents are true */
  bool shared;           /* a program has, or had until lately, a shared mapping: the memfd is the file to it */
  bool retired;          /* stale: lives on for those who wait for it, or have it mapped */
  uint64_t used;         /* now_ms() when somebody last wanted it */
  struct waiter *waiters;

  /* lazy.c: filled where it is looked at, until it is filled whole */
  bool lazy, whole;       /* whole: somebody wants all of it */
  uint8_t *part;          /* enum part of each */
  uint32_t parts, absent; /* how many there are, and are not there yet */
  uint32_t cursor;        /* before it, none has to be asked for on behalf of `whole' */
  uint32_t window,
      expected; /* how much was asked for at the last fault, and where the next is if it goes on in order */
  struct need *needs;
  struct range *ranges;
};

/* store.c */
#define STORE_FLUSH_EVERY 2000 /* milliseconds */
struct store *store_by_id(struct hub *h, uint64_t id);
struct store *store_at(struct hub *h, uint64_t dev, uint64_t ino); /* that new mappings of the file get */
void store_ask(struct hub *h, struct store *st, unsigned fill);    /* what that fill says is still to come */
void store_filled(struct hub *h, struct store *st);                /* nothing is missing any more; may drop it */
void store_rests(struct hub *h, struct store *st);                 /* lazy, and nothing is under way; may drop it */

/* writeback.c */
bool store_base(struct store *st); /* from here on what programs change is compared with what is there now */
/* Goes on with a pass, as far as there is room. True: it has come to its end. */
bool store_flush_some(struct hub *h, struct store *st);

/* lazy.c */

bool lazy_begin(struct store *st); /* of the size of its attributes; false: no memory */
void lazy_more(struct hub *h, struct store *st);
void lazy_took(struct hub *h, struct store *st, unsigned fill, int64_t result, const uint8_t *data, uint32_t n);
bool lazy_written(struct store *st, uint64_t offset, const void *data, uint32_t n);
bool lazy_resized(struct store *st, uint64_t size);
uint64_t lazy_bytes(const struct store *st);         /* that are there */
void lazy_unmapped(struct hub *h, struct store *st); /* by nobody, that is */
void lazy_end(struct hub *h, struct store *st);      /* all is there, or the store goes */

#endif
