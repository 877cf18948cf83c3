/*
 * Reading and writing bodies of frames (wire.h). Freestanding; used by agent, hubs, slave, tests.
 *
 * A writer or reader that runs out of room turns bad and stays bad: check once at the end.
 */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

struct wbuf {
  uint8_t *at, *end;
  bool bad;
};
struct rbuf {
  const uint8_t *at, *end;
  bool bad;
};

void put_u16(struct wbuf *w, uint16_t v);
void put_u32(struct wbuf *w, uint32_t v);
void put_u64(struct wbuf *w, uint64_t v);
void put_blob(struct wbuf *w, const void *p, uint32_t n); /* length, bytes */
void put_raw(struct wbuf *w, const void *p, uint32_t n);  /* bytes alone */
void put_attr(struct wbuf *w, const struct wire_attr *a);
void put_statfs(struct wbuf *w, const struct wire_statfs *s);
void put_fact(struct wbuf *w, unsigned fact, const void *p, uint32_t n);
void put_fact_ints(struct wbuf *w, unsigned fact, const uint64_t *v, unsigned n);

uint16_t get_u16(struct rbuf *r);
uint32_t get_u32(struct rbuf *r);
uint64_t get_u64(struct rbuf *r);
/* Points into the reader's memory; *n at most `max', else bad. Not NUL-terminated. */
const void *get_blob(struct rbuf *r, uint32_t *n, uint32_t max);
/* Copies a string into buf and terminates it. False (and bad) if it does not fit or holds a NUL. */
bool get_str(struct rbuf *r, char *buf, uint32_t size);
void get_attr(struct rbuf *r, struct wire_attr *a);
void get_statfs(struct rbuf *r, struct wire_statfs *s);
/* The next fact: its number, value and length; 0 at the end or when bad. */
unsigned get_fact(struct rbuf *r, const uint8_t **value, uint32_t *n);
uint64_t fact_int(const uint8_t *value, uint32_t n, unsigned i); /* 0 if there is no i-th integer */

/* An address in front of a message: 4 bytes of length, then room for the address. */
void dgram_put(uint8_t out[sizeof(struct wire_dgram)], const struct wire_dgram *d);
void dgram_get(struct wire_dgram *d, const uint8_t in[sizeof(struct wire_dgram)]);

void frame_put(uint8_t out[sizeof(struct frame)], const struct frame *f);
/* False if the header cannot be right: length out of bounds or an unknown type. */
bool frame_get(struct frame *f, const uint8_t in[sizeof(struct frame)]);

/*
 * Checks a request body against an args string: every field present, every length within bounds, nothing left over.
 * Used where a body is only passed on or before it is acted on. 0 or -EPROTO.
 */
int body_check(const char *args, const uint8_t *body, uint32_t n);

#endif
