/*
 * Large files of the slave that are mapped: what is looked at is fetched then, part by part, with more behind it while
 * that goes on in order.
 *
 * The memfd of such a store has holes. A program that maps it has the kernel tell us, by a userfaultfd of that mapping,
 * when it comes upon one, and sleeps until we have filled it; before it hands such memory to the kernel it asks for it
 * (W_FETCH).
 *
 * Owns which parts are there, the userfaultfds, and who waits. A hole that somebody could look at unseen would be zeros
 * to him: a userfaultfd is closed only when its mapping has gone or nothing is missing any more. Must never believe a
 * program's addresses: they are used with its own userfaultfd only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hub/readahead.h"
#include "hub/store.h"

#define PART (64u << 10)
#define WINDOW_MAX 64u /* parts */
#define PAGE 4096u
#define FAULTS 16 /* read at once */
#define UNDER_WAY_MIN 4u

enum part { ABSENT, ASKED, AGAIN /* asked, and written to since: what comes is old */, PRESENT };

struct range {
  struct range *next;
  uint32_t number, ctx;
  int uffd;
  uint64_t addr, len, off;
};

/* Parts that somebody waits for. */
struct need {
  struct need *next;
  uint32_t from, asked, to; /* before `from' all are there, before `asked' all have been asked for */
  int64_t tag;              /* the W_FETCH to be answered then; -1: none is */
};

static uint32_t parts_of(uint64_t size)
{
  return (uint32_t)((size + PART - 1) / PART);
}

bool lazy_begin(struct store *st)
{
  uint64_t size = st->attr.size;
  if (size > (uint64_t)UINT32_MAX * PART || ftruncate(st->memfd, (off_t)size))
    return false;
  st->part = calloc(parts_of(size), 1);
  if (!st->part)
    return false;
  st->parts = st->absent = parts_of(size);
  st->size = size;
  st->lazy = true;
  return true;
}

uint64_t lazy_bytes(const struct store *st)
{
  return (uint64_t)(st->parts - st->absent) * PART;
}

/* ---- asking ---- */

static bool skip_asked(struct store *st, uint32_t *at, uint32_t to)
{
  while (*at < to && st->part[*at] != ABSENT)
    ++*at;
  return *at < to;
}

/* The part that is wanted most. */
static bool next_wanted(struct store *st, uint32_t *part)
{
  for (struct need *n = st->needs; n; n = n->next)
    if (skip_asked(st, &n->asked, n->to)) {
      *part = n->asked;
      return true;
    }
  if (!st->whole || !skip_asked(st, &st->cursor, st->parts))
    return false;
  *part = st->cursor;
  return true;
}

static uint32_t part_len(const struct store *st, uint32_t part)
{
  uint64_t from = (uint64_t)part * PART;
  return st->size <= from ? 0 : st->size - from < PART ? (uint32_t)(st->size - from) : PART;
}

static void ask_part(struct hub *h, struct store *st, unsigned fill, uint32_t part)
{
  st->part[part] = ASKED;
  st->fill[fill].active = true;
  st->fill[fill].offset = (uint64_t)part * PART;
  st->fill[fill].left = part_len(st, part);
  st->fill[fill].asked = readahead_asked();
  store_ask(h, st, fill);
}

static unsigned under_way(const struct store *st)
{
  unsigned n = 0;
  for (unsigned i = 0; i < FILLS; i++)
    n += st->fill[i].active;
  return n;
}

/* As much at a time as delays nobody for long. */
void lazy_more(struct hub *h, struct store *st)
{
  uint64_t room = readahead_allowed() / PART;
  unsigned n = under_way(st), most = room < UNDER_WAY_MIN ? UNDER_WAY_MIN : room > FILLS ? FILLS : (unsigned)room;
  uint32_t part;
  for (unsigned i = 0; i < FILLS && n < most; i++)
    if (!st->fill[i].active && next_wanted(st, &part)) {
      ask_part(h, st, i, part);
      n++;
    }
}

/* ---- what comes ---- */

/* Whoever sleeps on these bytes looks again. */
static void wake(const struct store *st, uint64_t from, uint64_t to)
{
  for (const struct range *r = st->ranges; r; r = r->next) {
    uint64_t begin = from > r->off ? from : r->off, end = to < r->off + r->len ? to : r->off + r->len;
    struct uffdio_range at = {r->addr + (begin - r->off), (end - begin + PAGE - 1) / PAGE * PAGE};
    if (begin < end)
      ioctl(r->uffd, UFFDIO_WAKE, &at); /* of a process that has gone nobody sleeps */
  }
}

static void is_there(struct store *st, uint32_t part)
{
  if (st->part[part] == PRESENT)
    return;
  st->part[part] = PRESENT;
  st->absent--;
}

static void answer_needs(struct hub *h, struct store *st, int64_t result)
{
  for (struct need **at = &st->needs; *at;) {
    struct need *n = *at;
    uint32_t to = n->to < st->parts ? n->to : st->parts;
    while (n->from < to && st->part[n->from] == PRESENT)
      n->from++;
    if (n->from < to && !result) {
      at = &n->next;
      continue;
    }
    *at = n->next;
    if (n->tag >= 0)
      slot_complete(h, (uint32_t)n->tag, result);
    free(n);
  }
}

/* There is nothing from there on, or it cannot be read: who looks at it gets a SIGBUS, as natively. */
static void cut(struct store *st, uint64_t size)
{
  if (ftruncate(st->memfd, (off_t)size))
    st->failed = true;
  st->size = size;
  for (uint32_t i = (uint32_t)(size / PART); i < st->parts; i++)
    if (i >= parts_of(size) || st->part[i] == ASKED)
      is_there(st, i);
  wake(st, size / PAGE * PAGE, INT64_MAX);
}

static void put(struct store *st, unsigned fill, const uint8_t *data, uint32_t n)
{
  uint64_t at = st->fill[fill].offset;
  if (pwrite(st->memfd, data, n, (off_t)at) != (ssize_t)n) {
    cut(st, at); /* no memory */
    return;
  }
  st->fill[fill].offset += n;
  st->fill[fill].left -= n;
  if (st->fill[fill].left)
    return;
  uint32_t part = (uint32_t)(at / PART);
  is_there(st, part);
  wake(st, (uint64_t)part * PART, (uint64_t)(part + 1) * PART);
}

/* Asks for what is missing of the part, or for the next that somebody wants; or all rests. */
static void go_on(struct hub *h, struct store *st, unsigned fill, uint32_t part)
{
  bool missing = part < st->parts && st->part[part] != PRESENT;
  if (missing && st->part[part] == AGAIN) {
    ask_part(h, st, fill, part);
  } else if (missing) {
    st->fill[fill].active = true;
    st->fill[fill].asked = readahead_asked();
    store_ask(h, st, fill);
  }
  lazy_more(h, st);
  if (under_way(st))
    return;
  if (!st->absent)
    store_filled(h, st);
  else
    store_rests(h, st);
}

void lazy_took(struct hub *h, struct store *st, unsigned fill, int64_t result, const uint8_t *data, uint32_t n)
{
  uint32_t part = (uint32_t)(st->fill[fill].offset / PART);
  readahead_came(st->fill[fill].asked, n);
  st->fill[fill].active = false;
  bool wanted = part < st->parts && st->part[part] == ASKED;
  if (wanted && (result < 0 || !n))
    cut(st, result < 0 ? (uint64_t)part * PART : st->fill[fill].offset);
  else if (wanted)
    put(st, fill, data, n);
  answer_needs(h, st, 0);
  go_on(h, st, fill, part);
}

/* ---- the session's own changes ---- */

/* What is behind the end of the file is zeros until somebody writes there. */
static bool grow(struct store *st, uint64_t size)
{
  uint32_t parts = parts_of(size);
  if (size <= st->size)
    return true;
  if (parts > st->parts) {
    uint8_t *more = realloc(st->part, parts);
    if (!more)
      return false;
    memset(more + st->parts, PRESENT, parts - st->parts);
    st->part = more;
    st->parts = parts;
  }
  st->size = size;
  return !ftruncate(st->memfd, (off_t)size);
}

bool lazy_written(struct store *st, uint64_t offset, const void *data, uint32_t n)
{
  if (offset > INT64_MAX - FRAME_DATA_MAX || !grow(st, offset + n))
    return false;
  for (uint64_t at = offset, end = offset + n; at < end;) {
    uint32_t part = (uint32_t)(at / PART);
    uint64_t next = (uint64_t)(part + 1) * PART < end ? (uint64_t)(part + 1) * PART : end;
    const uint8_t *from = (const uint8_t *)data + (at - offset);
    if (st->part[part] == ASKED)
      st->part[part] = AGAIN;
    if (st->part[part] == PRESENT && pwrite(st->memfd, from, next - at, (off_t)at) != (ssize_t)(next - at))
      return false;
    at = next;
  }
  return true;
}

bool lazy_resized(struct store *st, uint64_t size)
{
  if (size > INT64_MAX || size / PART >= UINT32_MAX)
    return false;
  if (size >= st->size)
    return grow(st, size);
  uint32_t last = (uint32_t)(size / PART);
  if (size % PART && st->part[last] == ASKED)
    st->part[last] = AGAIN;
  cut(st, size);
  return true;
}

/* ---- faults ---- */

/* One that looks at the next after all that was fetched last goes on in order: twice as much. */
static void want_from(struct hub *h, struct store *st, uint32_t part)
{
  bool in_order = part && part == st->expected;
  st->window = !in_order ? 1 : 2 * st->window < WINDOW_MAX ? 2 * st->window : WINDOW_MAX;
  struct need *n = malloc(sizeof *n);
  if (!n) {
    hub_abort(h, true, "out of memory");
    return;
  }
  uint32_t to = st->parts - part < st->window ? st->parts : part + st->window;
  *n = (struct need){st->needs, part, part, to, -1};
  st->needs = n;
  st->expected = to;
  hub_count(h, N_WAITED, 1);
  __atomic_fetch_add(&h->s->waits[OP_pread64], 1, __ATOMIC_RELAXED);
  lazy_more(h, st);
}

static void took_fault(struct hub *h, struct store *st, const struct range *r, uint64_t addr)
{
  if (addr < r->addr || addr - r->addr >= r->len)
    return;
  uint64_t at = r->off + (addr - r->addr) / PAGE * PAGE, part = at / PART;
  bool here = at >= st->size || part >= st->parts || st->part[part] == PRESENT;
  if (here && at < st->size && fallocate(st->memfd, FALLOC_FL_KEEP_SIZE, (off_t)at, PAGE)) /* a hole that is one */
    cut(st, at);
  if (here)
    wake(st, at, at + PAGE);
  else if (st->part[part] == ABSENT)
    want_from(h, st, (uint32_t)part);
}

static struct range *range_numbered(struct hub *h, uint32_t number, struct store **of)
{
  for (struct store *st = h->stores; st; st = st->next)
    for (struct range *r = st->ranges; r; r = r->next)
      if (r->number == number) {
        *of = st;
        return r;
      }
  return 0;
}

void lazy_faults(struct hub *h, uint32_t number)
{
  struct store *st;
  struct uffd_msg msg[FAULTS];
  const struct range *r = range_numbered(h, number, &st);
  ssize_t n = r ? read(r->uffd, msg, sizeof msg) : 0;
  for (ssize_t i = 0; i < n / (ssize_t)sizeof *msg; i++)
    if (msg[i].event == UFFD_EVENT_PAGEFAULT)
      took_fault(h, st, r, msg[i].arg.pagefault.address);
}

/* ---- mappings ---- */

static void range_free(struct range **at)
{
  struct range *r = *at;
  *at = r->next;
  close(r->uffd);
  free(r);
}

void lazy_unmapped(struct hub *h, struct store *st)
{
  (void)h;
  while (st->ranges)
    range_free(&st->ranges);
}

void lazy_end(struct hub *h, struct store *st)
{
  answer_needs(h, st, -EIO);
  lazy_unmapped(h, st);
  free(st->part);
  st->part = 0;
  st->lazy = false;
}

void lazy_process_gone(struct hub *h, uint32_t ctx)
{
  for (struct store *st = h->stores; st; st = st->next)
    for (struct range **at = &st->ranges; *at;)
      if ((*at)->ctx == ctx)
        range_free(at);
      else
        at = &(*at)->next;
}

static void forget_range(struct store *st, uint32_t ctx, uint64_t addr)
{
  struct range **at = &st->ranges;
  while (*at && ((*at)->ctx != ctx || (*at)->addr != addr))
    at = &(*at)->next;
  if (*at)
    range_free(at);
}

/* Reading what is no userfaultfd might never end. */
static bool is_uffd(int fd)
{
  char path[32], name[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(path, name, sizeof name - 1);
  name[n < 0 ? 0 : n] = 0;
  int flags = fcntl(fd, F_GETFL);
  return !strcmp(name, "anon_inode:[userfaultfd]") && flags >= 0 && flags & O_NONBLOCK;
}

static int add_range(struct hub *h, struct store *st, const struct range *like)
{
  static uint32_t next_number = 1;
  struct range *r = malloc(sizeof *r);
  if (!r)
    return -ENOMEM;
  *r = *like;
  r->number = next_number++;
  r->next = st->ranges;
  if (hub_watch(h, r->uffd, EPOLLIN, SRC_FAULT, r->number)) {
    free(r);
    return -ENOMEM;
  }
  st->ranges = r;
  return 0;
}

/* Who cannot be served must not sleep for ever, nor see zeros. */
int lazy_place(struct hub *h, struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct store *st = store_by_id(h, get_u64(&r));
  struct range like = {.ctx = m->f.ctx, .uffd = m->fd};
  like.addr = get_u64(&r);
  like.len = get_u64(&r);
  like.off = get_u64(&r);
  if (r.bad || like.len > INT64_MAX || like.off > INT64_MAX - like.len)
    return -EPROTO;
  if (m->fd < 0 && st)
    forget_range(st, like.ctx, like.addr);
  if (m->fd < 0 || !st || !st->lazy) /* nothing is missing: the message's descriptor is closed, which wakes */
    return 0;
  if (!is_uffd(m->fd))
    return -EPROTO;
  if (add_range(h, st, &like))
    hub_abort(h, true, "out of memory");
  else
    m->fd = -1;
  return 0;
}

/* ---- W_FETCH ---- */

static bool all_there(const struct store *st, uint32_t from, uint32_t to)
{
  while (from < to && st->part[from] == PRESENT)
    from++;
  return from >= to;
}

/* Holes that are ones get memory, or the kernel cannot be handed them. */
static void fill_holes(const struct store *st, uint64_t off, uint64_t len)
{
  uint64_t left = off < st->size ? st->size - off : 0;
  if (left && fallocate(st->memfd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)(len < left ? len : left)))
    return; /* the kernel says EFAULT then */
}

int lazy_fetch(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct store *st = store_by_id(h, get_u64(&r));
  uint64_t off = get_u64(&r), len = get_u64(&r);
  struct pending *c = &h->calls[m->f.tag];
  if (r.bad || m->f.type != F_CALL || c->active || len > INT64_MAX || off > INT64_MAX - len)
    return -EPROTO;
  *c = (struct pending){.active = true, .op = W_FETCH, .ctx = m->f.ctx};
  uint64_t end = st && off + len > st->size ? st->size : off + len;
  struct need *n = 0;
  if (st && st->lazy && off < end && !all_there(st, (uint32_t)(off / PART), parts_of(end)) &&
      !(n = malloc(sizeof *n))) {
    slot_complete(h, m->f.tag, -ENOMEM);
    return 0;
  }
  if (!n) {
    if (st)
      fill_holes(st, off, len);
    slot_complete(h, m->f.tag, 0);
    return 0;
  }
  *n = (struct need){st->needs, (uint32_t)(off / PART), (uint32_t)(off / PART), parts_of(end), m->f.tag};
  st->needs = n;
  lazy_more(h, st);
  return 0;
}
