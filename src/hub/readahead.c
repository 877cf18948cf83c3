/*
 * Reading ahead within large files: what a program that reads one from its beginning on will want next is asked for
 * before it does, and given from memory.
 *
 * Owns the blocks, a bounded number for the session, and the tags with which they are asked for. How far ahead grows
 * with use: a file read in order doubles its window. How much is under way at all is bounded by what the stream
 * carries in a short time: the rest would wait in a queue, and with it what a person is waiting for.
 *
 * What lies here is the file's contents while the file's counter stands where it stood when the slave promised (with
 * FF_CACHEABLE) to tell of changes; that is looked at when a block is asked for and again when it is given. Must never
 * give a program less than it asked for except at the file's end, nor read ahead of a file that nobody watches.
 */
#include "hub/readahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define BLOCKS 192 /* 24 MiB */
#define BLOCK_SIZE FRAME_DATA_MAX
#define WINDOW_MAX 144        /* blocks of one file */
#define UNDER_WAY_MIN 2       /* blocks */
#define DELAY_ALLOWED 50000   /* microseconds that a reply may wait behind others */
#define MOMENT 10000          /* microseconds */
#define DELAY_KNOWN 10000000u /* microseconds after which the shortest delay is measured anew */

enum state { FREE, ASKED, THERE, UNWANTED /* asked, but its reply is for nobody */ };

struct block {
  struct block *next; /* of the same file, in the order of their offsets */
  enum state state;
  uint32_t handle, len;
  uint64_t offset;
  uint64_t asked; /* when */
  uint8_t *data;  /* BLOCK_SIZE bytes, kept for the next */
};

struct readahead {
  struct block *first, **last;
  uint64_t from; /* where the last read began: whoever asks for more than its program wants may begin again within it */
  uint64_t next; /* where a program goes on that reads in order */
  uint64_t end;  /* where the next block begins */
  uint64_t size; /* the file's */
  uint32_t gen;  /* its counter when the slave promised */
  bool asking;   /* the promise is being asked for again */
  unsigned window, held;
  uint64_t in_order;  /* bytes read so since the window grew */
  uint64_t asked_seq; /* of that question */
  struct {
    bool active;
    uint32_t tag, ctx, room;
    uint64_t offset;
  } waiter; /* a program that waits for blocks that have been asked for */
};

static struct {
  struct block block[BLOCKS];
  unsigned under_way, allowed, questions;
  uint64_t shortest, measured; /* the shortest delay, and when that was */
  uint64_t bytes, since;       /* so many have come since then */
} A = {.allowed = 4};

static uint32_t gen_now(const struct hub *h, const struct file *f)
{
  return __atomic_load_n(&h->s->gens[file_gen(f->dev, f->ino)], __ATOMIC_SEQ_CST);
}

/* ---- how much the stream carries ---- */

/* What comes in the time of a round trip, and DELAY_ALLOWED more: a link that is idle now and then is not used, one on
   which more than that lies makes others wait. Measured over a round trip and a moment: what comes at once says
   nothing. */
static void came(uint64_t now, uint64_t delay, uint32_t bytes)
{
  if (!A.measured || delay <= A.shortest || now - A.measured > DELAY_KNOWN) {
    A.shortest = delay;
    A.measured = now;
  }
  A.bytes += bytes;
  if (now - A.since < A.shortest + MOMENT)
    return;
  uint64_t blocks = A.bytes * (A.shortest + DELAY_ALLOWED) / (now - A.since) / BLOCK_SIZE;
  A.allowed = blocks < UNDER_WAY_MIN ? UNDER_WAY_MIN : blocks > BLOCKS ? BLOCKS : (unsigned)blocks;
  A.since = now;
  A.bytes = 0;
}

static void began(uint64_t now)
{
  if (A.under_way++)
    return;
  A.since = now;
  A.bytes = 0;
}

uint64_t readahead_allowed(void)
{
  return (uint64_t)A.allowed * BLOCK_SIZE;
}

uint64_t readahead_asked(void)
{
  uint64_t now = now_ns() / 1000;
  began(now);
  return now;
}

void readahead_came(uint64_t asked, uint32_t bytes)
{
  uint64_t now = now_ns() / 1000;
  A.under_way--;
  came(now, now - asked, bytes);
}

/* ---- blocks ---- */

static struct block *block_free(void)
{
  for (unsigned i = 0; i < BLOCKS; i++)
    if (A.block[i].state == FREE)
      return &A.block[i];
  return 0;
}

/* The first block of a file is no longer of use; its reply may still be to come. */
static void drop_first(struct hub *h, struct readahead *ra)
{
  struct block *b = ra->first;
  ra->first = b->next;
  if (!ra->first)
    ra->last = &ra->first;
  ra->held--;
  uint64_t unread = b->offset > ra->next ? b->offset : ra->next;
  if (b->state == THERE && b->offset + b->len > unread)
    hub_count(h, N_WASTED, b->offset + b->len - unread);
  b->state = b->state == ASKED ? UNWANTED : FREE;
}

static void drop_all(struct hub *h, struct readahead *ra)
{
  while (ra->first)
    drop_first(h, ra);
  ra->end = ra->next;
}

/* Longest unused first: the files that nobody reads on. */
static bool reclaim(struct hub *h, const struct readahead *for_whom)
{
  struct file *oldest = 0;
  for (unsigned i = 0; i < BLOCKS; i++) {
    const struct block *b = &A.block[i];
    struct file *f = b->state == THERE ? file_at(h, b->handle) : 0;
    if (f && f->ahead && f->ahead != for_whom && (!oldest || b->asked < oldest->ahead->first->asked))
      oldest = f;
  }
  if (!oldest || oldest->ahead->waiter.active)
    return false;
  oldest->ahead->window = 0;
  drop_all(h, oldest->ahead);
  return true;
}

static void ask_read(struct hub *h, uint32_t tag, uint32_t ctx, uint32_t handle, uint64_t offset, uint64_t room)
{
  uint8_t body[24];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, handle);
  put_u64(&w, room);
  put_u64(&w, offset);
  struct iovec part = {body, sizeof body};
  uint64_t seq = hub_send(h, (struct frame){.type = F_CALL, .op = OP_pread64, .tag = tag, .ctx = ctx}, &part, 1);
  if (tag < SESSION_SLOTS) {
    h->calls[tag].seq = seq;
    h->calls[tag].offset = offset;
  }
}

static bool ask_block(struct hub *h, const struct file *f)
{
  struct readahead *ra = f->ahead;
  struct block *b = block_free();
  if (!b && reclaim(h, ra))
    b = block_free();
  if (!b || (!b->data && !(b->data = malloc(BLOCK_SIZE))))
    return false;
  uint64_t left = ra->size - ra->end;
  uint8_t *data = b->data;
  *b = (struct block){.state = ASKED, .handle = f->handle, .offset = ra->end, .asked = now_ns() / 1000, .data = data};
  b->len = left < BLOCK_SIZE ? (uint32_t)left : BLOCK_SIZE;
  *ra->last = b;
  ra->last = &b->next;
  ra->end += b->len;
  ra->held++;
  began(b->asked);
  ask_read(h, READAHEAD_TAG + (uint32_t)(b - A.block), 0, f->handle, b->offset, b->len);
  return true;
}

/* Blocks that the program has yet to read. */
static unsigned held_ahead(const struct readahead *ra)
{
  unsigned n = ra->held;
  uint64_t read = ra->waiter.active ? ra->from : ra->next;
  for (const struct block *b = ra->first; b && b->offset + b->len <= read; b = b->next)
    n--;
  return n;
}

static void ask_more(struct hub *h, const struct file *f)
{
  struct readahead *ra = f->ahead;
  if (ra->gen != gen_now(h, f))
    return;
  while (held_ahead(ra) < ra->window && A.under_way < A.allowed && ra->end < ra->size && ask_block(h, f))
    continue;
}

/* ---- promises ---- */

void readahead_promised(struct file *f, uint32_t gen, uint64_t size)
{
  struct readahead *ra = f->ahead;
  if (!ra && (f->kind != K_REG || size <= CONTENTS_MAX))
    return;
  if (!ra && !(ra = f->ahead = calloc(1, sizeof *ra)))
    return;
  if (!ra->last)
    ra->last = &ra->first;
  ra->gen = gen;
  ra->size = size;
}

static void ask_promise(struct hub *h, const struct file *f)
{
  uint8_t body[8];
  struct wbuf w = {body, body + sizeof body, false};
  struct readahead *ra = f->ahead;
  struct frame q = {.type = F_CALL, .op = OP_fstat, .tag = READAHEAD_TAG + BLOCKS + HANDLE_INDEX(f->handle)};
  if (ra->asking || hub_asks(h, q.tag)) /* the same, or an earlier file of that index */
    return;
  put_u64(&w, f->handle);
  struct iovec part = {body, sizeof body};
  ra->asking = true;
  A.questions++;
  ra->asked_seq = hub_send(h, q, &part, 1);
}

/* Attributes of a file that has changed since the last promise. A change that was passed on meanwhile makes them old.
 */
static int took_promise(struct hub *h, uint32_t index, const struct frame *reply, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  struct file *f = h->files[index];
  struct wire_attr a = {0};
  if (!A.questions)
    return -EPROTO;
  A.questions--;
  if (reply->result >= 0)
    get_attr(&r, &a);
  if (r.bad)
    return -EPROTO;
  if (!f || !f->ahead || !f->ahead->asking || a.dev != f->dev || a.ino != f->ino)
    return 0;
  f->ahead->asking = false;
  if (reply->flags & FF_CACHEABLE && h->gen_seq[file_gen(f->dev, f->ino)] <= f->ahead->asked_seq)
    readahead_promised(f, gen_now(h, f), a.size);
  return 0;
}

/* ---- giving ---- */

/* Whether all blocks of the range have been asked for; `there': have come. The range is not empty. */
static bool covered(const struct readahead *ra, uint64_t offset, uint64_t end, bool there)
{
  const struct block *b = ra->first;
  while (b && b->offset + b->len <= offset)
    b = b->next;
  if (!b || b->offset > offset)
    return false;
  for (; b && (!there || b->state == THERE); b = b->next)
    if (b->offset + b->len >= end)
      return true;
  return false;
}

static uint64_t range_end(const struct readahead *ra, uint64_t offset, uint64_t room)
{
  return offset >= ra->size ? offset : room < ra->size - offset ? offset + room : ra->size;
}

static void give(struct hub *h, struct readahead *ra, uint32_t tag, uint64_t offset, uint64_t end)
{
  struct iovec parts[8];
  int n = 0;
  for (const struct block *b = ra->first; b && b->offset < end && n < 8; b = b->next) {
    if (b->offset + b->len <= offset)
      continue;
    uint64_t from = offset > b->offset ? offset - b->offset : 0;
    uint64_t to = end < b->offset + b->len ? end - b->offset : b->len;
    parts[n++] = (struct iovec){b->data + from, to - from};
  }
  slot_data(h, tag, parts, n);
}

/* Behind the place where the program is now, at least. */
static void drop_read(struct hub *h, struct readahead *ra)
{
  while (ra->first && ra->first->offset + ra->first->len <= ra->from)
    drop_first(h, ra);
}

static void pass_waiter(struct hub *h, const struct file *f)
{
  struct readahead *ra = f->ahead;
  if (!ra->waiter.active)
    return;
  ra->waiter.active = false;
  ask_read(h, ra->waiter.tag, ra->waiter.ctx, f->handle, ra->waiter.offset, ra->waiter.room);
}

/* The waiting program is given what has come, or goes its way without us. */
static void serve_waiter(struct hub *h, const struct file *f)
{
  struct readahead *ra = f->ahead;
  if (!ra->waiter.active)
    return;
  uint64_t end = range_end(ra, ra->waiter.offset, ra->waiter.room);
  if (ra->gen != gen_now(h, f) || !covered(ra, ra->waiter.offset, end, false)) {
    pass_waiter(h, f);
  } else if (covered(ra, ra->waiter.offset, end, true)) {
    ra->waiter.active = false;
    give(h, ra, ra->waiter.tag, ra->waiter.offset, end);
    drop_read(h, ra);
  }
}

static void wait_for(struct hub *h, struct readahead *ra, const struct message *m, uint64_t offset, uint64_t room)
{
  h->calls[m->f.tag] = (struct pending){.active = true, .op = m->f.op, .ctx = m->f.ctx, .seq = h->seq};
  ra->waiter.active = true;
  ra->waiter.tag = m->f.tag;
  ra->waiter.ctx = m->f.ctx;
  ra->waiter.offset = offset;
  ra->waiter.room = (uint32_t)room;
}

/* It goes on where it was. When it has read as much as is read ahead, twice as much is worth asking for. */
static void in_order(struct readahead *ra, uint64_t n)
{
  ra->in_order += n;
  if (ra->window && ra->in_order < (uint64_t)ra->window * BLOCK_SIZE)
    return;
  ra->in_order = 0;
  ra->window = !ra->window ? 1 : 2 * ra->window < WINDOW_MAX ? 2 * ra->window : WINDOW_MAX;
}

static void out_of_order(struct hub *h, const struct file *f)
{
  pass_waiter(h, f);
  drop_all(h, f->ahead);
  f->ahead->window = 0;
}

/* Whether all of the range has been asked for; what is missing at its end is, now. */
static bool cover(struct hub *h, const struct file *f, uint64_t offset, uint64_t end)
{
  struct readahead *ra = f->ahead;
  if (!ra->first || offset < ra->first->offset || offset >= ra->end)
    return false;
  while (ra->end < end)
    if (!ask_block(h, f))
      return false;
  return true;
}

/* A read of a file whose contents are promised: true if it has been answered, or will be. */
static bool serve(struct hub *h, const struct file *f, const struct message *m, uint64_t offset, uint64_t room)
{
  struct readahead *ra = f->ahead;
  uint64_t end = range_end(ra, offset, room);
  bool ordered = offset >= ra->from && offset <= ra->next, known = end == offset || cover(h, f, offset, end);
  bool there = known && (end == offset || covered(ra, offset, end, true));
  if (ordered)
    in_order(ra, end > ra->next ? end - ra->next : 0);
  else if (!known)
    ra->window = 0;
  if (!known)
    pass_waiter(h, f);
  ra->from = offset;
  ra->next = end;
  if (!known)
    drop_all(h, ra);
  if (!there && (!known || ra->waiter.active))
    return false;
  if (there)
    give(h, ra, m->f.tag, offset, end);
  else
    wait_for(h, ra, m, offset, room);
  return true;
}

static struct file *file_of(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t handle = get_u64(&r);
  struct file *f = file_at(h, handle);
  return f && f->ahead && !store_of(h, f) ? f : 0;
}

bool readahead_read(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body + 8, m->body + m->n, false};
  struct file *f = file_of(h, m);
  uint64_t room = get_u64(&r), offset = get_u64(&r);
  if (!f || room == 0 || offset > INT64_MAX)
    return false;
  room = room < BLOCK_SIZE ? room : BLOCK_SIZE;
  if (f->ahead->gen == gen_now(h, f))
    return serve(h, f, m, offset, room);
  out_of_order(h, f);
  f->ahead->from = offset;
  f->ahead->next = f->ahead->end = offset + room;
  ask_promise(h, f);
  return false;
}

void readahead_follow(struct hub *h, const struct message *m)
{
  const struct file *f = file_of(h, m);
  if (!f)
    return;
  if (!f->ahead->waiter.active)
    drop_read(h, f->ahead);
  ask_more(h, f);
}

/* ---- what comes ---- */

static void took_block(struct hub *h, const struct file *f, struct block *b, const uint8_t *data)
{
  uint8_t *own = b->data;
  disk_read_piece(h, file_at(h, f->handle), b->offset, data, b->len);
  b->state = THERE;
  b->data = (uint8_t *)(uintptr_t)data;
  serve_waiter(h, f);
  b->data = own;
  if (b->state == THERE)
    memcpy(own, data, b->len);
  ask_more(h, f);
}

/* The file is not what it was, or cannot be read there: whoever reads on is told by the slave itself. */
static void took_less(struct hub *h, const struct file *f, struct block *b)
{
  b->state = THERE;
  b->len = 0;
  out_of_order(h, f);
}

int readahead_reply(struct hub *h, const struct frame *reply, const uint8_t *body, uint32_t n)
{
  uint32_t i = reply->tag - READAHEAD_TAG, len = 0;
  struct rbuf r = {body, body + n, false};
  if (i >= BLOCKS)
    return i - BLOCKS < SESSION_HANDLES ? took_promise(h, i - BLOCKS, reply, body, n) : -EPROTO;
  struct block *b = &A.block[i];
  if (b->state != ASKED && b->state != UNWANTED)
    return -EPROTO;
  const uint8_t *data = reply->result < 0 ? 0 : get_blob(&r, &len, b->len);
  if (r.bad)
    return -EPROTO;
  A.under_way--;
  uint64_t now = now_ns() / 1000;
  came(now, now - b->asked, len);
  hub_count(h, N_AHEAD, len);
  struct file *f = b->state == ASKED ? file_at(h, b->handle) : 0;
  if (!f) {
    hub_count(h, N_WASTED, len);
    b->state = FREE;
  } else if (data && len == b->len) {
    took_block(h, f, b, data);
  } else {
    took_less(h, f, b);
  }
  return 0;
}

void readahead_forget(struct hub *h, struct file *f)
{
  if (!f->ahead)
    return;
  pass_waiter(h, f);
  drop_all(h, f->ahead);
  free(f->ahead);
  f->ahead = 0;
}
