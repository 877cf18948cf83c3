/* ahead.c: calls that are answered before the slave has made them. */
#ifndef HUB_AHEAD_H
#define HUB_AHEAD_H

#include "hub/internal.h"

/* Tags of calls whose replies nobody waits for. */
#define AHEAD_TAG 0x80000000u

/* A CALL of a program, its body checked: true if it has been passed on and answered. */
bool ahead_call(struct hub *h, const struct message *m);
/* Flags with which a call goes that is not. */
uint8_t ahead_flags(struct hub *h, const struct message *m);
/* Such a call's reply. */
void ahead_waited(struct hub *h, const struct pending *c, const struct frame *f, const uint8_t *body, uint32_t n);
/* A reply to a tag of ours. 0 or -EPROTO */
int ahead_reply(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n);
/* Whether all calls up to that number have been answered by the slave. */
bool ahead_done(uint64_t seq);
/* Somebody else has changed that directory; or any may have been. */
void ahead_changed(uint64_t dev, uint64_t ino);
void ahead_changed_all(struct hub *h); /* and mounts */

#endif
