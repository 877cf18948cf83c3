/* readahead.c: large files that are read from their beginning on. */
#ifndef HUB_READAHEAD_H
#define HUB_READAHEAD_H

#include "hub/internal.h"

/* Tags of its own questions. */
#define READAHEAD_TAG 0x40000000u

/* The slave tells of changes to that file: its size, and its counter, at which that is true. */
void readahead_promised(struct file *f, uint32_t gen, uint64_t size);
/* A pread64 CALL of a program, its body checked: true if it is answered from here. If not, it goes to the slave, and
 * then: */
bool readahead_read(struct hub *h, const struct message *m);
void readahead_follow(struct hub *h, const struct message *m);
/* A reply to a tag from READAHEAD_TAG on. 0 or -EPROTO */
int readahead_reply(struct hub *h, const struct frame *reply, const uint8_t *body, uint32_t n);
/* What others ask for in blocks counts, too: how many bytes may be under way; some have been asked for, and have come.
 */
uint64_t readahead_allowed(void);
uint64_t readahead_asked(void); /* when, for: */
void readahead_came(uint64_t asked, uint32_t bytes);
/* Before the file's close is sent. */
void readahead_forget(struct hub *h, struct file *f);

#endif
