/*
 * Bodies of frames, read and written field by field. Owns no memory; every read is checked against the end, every
 * write against the room.
 *
 * Must never: use libc (the agent links this too), trust a length before it is compared with what is there.
 */
#include "proto/codec.h"

void *memcpy(void *, const void *, size_t);

enum { EPROTO_ = 71 };

static bool room(struct wbuf *w, size_t n)
{
  if (w->bad || (size_t)(w->end - w->at) < n)
    w->bad = true;
  return !w->bad;
}

static bool more(struct rbuf *r, size_t n)
{
  if (r->bad || (size_t)(r->end - r->at) < n)
    r->bad = true;
  return !r->bad;
}

static void store(uint8_t *p, uint64_t v, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t load(const uint8_t *p, unsigned n)
{
  uint64_t v = 0;
  for (unsigned i = 0; i < n; i++)
    v |= (uint64_t)p[i] << (8 * i);
  return v;
}

static void put_int(struct wbuf *w, uint64_t v, unsigned n)
{
  if (!room(w, n))
    return;
  store(w->at, v, n);
  w->at += n;
}

static uint64_t get_int(struct rbuf *r, unsigned n)
{
  if (!more(r, n))
    return 0;
  uint64_t v = load(r->at, n);
  r->at += n;
  return v;
}

void put_u16(struct wbuf *w, uint16_t v)
{
  put_int(w, v, 2);
}

void put_u32(struct wbuf *w, uint32_t v)
{
  put_int(w, v, 4);
}

void put_u64(struct wbuf *w, uint64_t v)
{
  put_int(w, v, 8);
}

void put_raw(struct wbuf *w, const void *p, uint32_t n)
{
  if (!room(w, n) || !n)
    return;
  memcpy(w->at, p, n);
  w->at += n;
}

void put_blob(struct wbuf *w, const void *p, uint32_t n)
{
  put_u32(w, n);
  put_raw(w, p, n);
}

uint16_t get_u16(struct rbuf *r)
{
  return (uint16_t)get_int(r, 2);
}

uint32_t get_u32(struct rbuf *r)
{
  return (uint32_t)get_int(r, 4);
}

uint64_t get_u64(struct rbuf *r)
{
  return get_int(r, 8);
}

const void *get_blob(struct rbuf *r, uint32_t *n, uint32_t max)
{
  *n = get_u32(r);
  if (*n > max)
    r->bad = true;
  if (!more(r, *n)) {
    *n = 0;
    return 0;
  }
  const void *p = r->at;
  r->at += *n;
  return p;
}

bool get_str(struct rbuf *r, char *buf, uint32_t size)
{
  uint32_t n;
  const uint8_t *p = get_blob(r, &n, size ? size - 1 : 0);
  for (uint32_t i = 0; i < n; i++)
    if (!p[i])
      r->bad = true;
  if (r->bad || !size)
    return false;
  if (n)
    memcpy(buf, p, n);
  buf[n] = 0;
  return true;
}

/* Both structures are nothing but 64-bit integers, so they travel as arrays of them. */
_Static_assert(sizeof(struct wire_attr) == 22 * 8, "wire_attr is 22 integers");
_Static_assert(sizeof(struct wire_statfs) == 11 * 8, "wire_statfs is 11 integers");

static void put_ints(struct wbuf *w, const void *p, unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    uint64_t v;
    memcpy(&v, (const uint8_t *)p + 8 * i, 8);
    put_u64(w, v);
  }
}

static void get_ints(struct rbuf *r, void *p, unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    uint64_t v = get_u64(r);
    memcpy((uint8_t *)p + 8 * i, &v, 8);
  }
}

void put_attr(struct wbuf *w, const struct wire_attr *a)
{
  put_ints(w, a, sizeof *a / 8);
}

void get_attr(struct rbuf *r, struct wire_attr *a)
{
  get_ints(r, a, sizeof *a / 8);
}

void put_statfs(struct wbuf *w, const struct wire_statfs *s)
{
  put_ints(w, s, sizeof *s / 8);
}

void get_statfs(struct rbuf *r, struct wire_statfs *s)
{
  get_ints(r, s, sizeof *s / 8);
}

void put_fact(struct wbuf *w, unsigned fact, const void *p, uint32_t n)
{
  put_u16(w, (uint16_t)fact);
  put_blob(w, p, n);
}

void put_fact_ints(struct wbuf *w, unsigned fact, const uint64_t *v, unsigned n)
{
  put_u16(w, (uint16_t)fact);
  put_u32(w, 8 * n);
  for (unsigned i = 0; i < n; i++)
    put_u64(w, v[i]);
}

unsigned get_fact(struct rbuf *r, const uint8_t **value, uint32_t *n)
{
  if (r->bad || r->at == r->end)
    return 0;
  unsigned fact = get_u16(r);
  *value = get_blob(r, n, FRAME_MAX);
  if (!fact)
    r->bad = true;
  return r->bad ? 0 : fact;
}

uint64_t fact_int(const uint8_t *value, uint32_t n, unsigned i)
{
  return i < n / 8 ? load(value + 8 * (size_t)i, 8) : 0;
}

void frame_put(uint8_t out[sizeof(struct frame)], const struct frame *f)
{
  store(out, f->len, 4);
  out[4] = f->type;
  out[5] = f->flags;
  store(out + 6, f->op, 2);
  store(out + 8, f->tag, 4);
  store(out + 12, f->ctx, 4);
  store(out + 16, f->seq, 8);
  store(out + 24, f->ack, 8);
  store(out + 32, (uint64_t)f->result, 8);
}

_Static_assert(sizeof(struct frame) == 40, "the header is 40 bytes");

bool frame_get(struct frame *f, const uint8_t in[sizeof(struct frame)])
{
  f->len = (uint32_t)load(in, 4);
  f->type = in[4];
  f->flags = in[5];
  f->op = (uint16_t)load(in + 6, 2);
  f->tag = (uint32_t)load(in + 8, 4);
  f->ctx = (uint32_t)load(in + 12, 4);
  f->seq = load(in + 16, 8);
  f->ack = load(in + 24, 8);
  f->result = (int64_t)load(in + 32, 8);
  return f->len >= sizeof *f && f->len <= FRAME_MAX && f->type >= F_HELLO && f->type <= F_LAST;
}

static void skip(struct rbuf *r, unsigned ints)
{
  while (ints--)
    get_u64(r);
}

static void check_str(struct rbuf *r)
{
  uint32_t n;
  const uint8_t *p = get_blob(r, &n, WIRE_PATH_MAX - 1);
  for (uint32_t i = 0; i < n; i++)
    if (!p[i])
      r->bad = true;
}

static void check_kind(struct rbuf *r)
{
  uint32_t n;
  switch (get_u64(r)) {
  case IOA_NONE:
    break;
  case IOA_INT:
  case IOA_OUT:
    skip(r, 1);
    break;
  case IOA_IN:
  case IOA_INOUT:
    get_blob(r, &n, FRAME_DATA_MAX);
    break;
  default:
    r->bad = true;
  }
}

static void check_field(struct rbuf *r, char kind)
{
  uint32_t n;
  switch (kind) {
  case 'H':
  case 'I':
  case 'O':
    skip(r, 1);
    break;
  case 'A':
  case 'P':
    skip(r, 1);
    check_str(r);
    break;
  case 'S':
    check_str(r);
    break;
  case 'B':
    get_blob(r, &n, FRAME_DATA_MAX);
    break;
  case 'M':
    skip(r, 5);
    break;
  case 'U':
  case 'L':
    check_kind(r);
    break;
  case 'X':
  case 'F':
    break;
  default:
    r->bad = true;
  }
}

int body_check(const char *args, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  for (; *args && !r.bad; args++)
    check_field(&r, *args);
  return r.bad || r.at != r.end ? -EPROTO_ : 0;
}

void dgram_put(uint8_t out[sizeof(struct wire_dgram)], const struct wire_dgram *d)
{
  struct wbuf w = {out, out + sizeof *d, false};
  put_u32(&w, d->len);
  put_raw(&w, d->addr, sizeof d->addr);
}

void dgram_get(struct wire_dgram *d, const uint8_t in[sizeof(struct wire_dgram)])
{
  struct rbuf r = {in, in + sizeof *d, false};
  d->len = get_u32(&r);
  for (unsigned i = 0; i < sizeof d->addr; i++)
    d->addr[i] = r.at[i];
}
