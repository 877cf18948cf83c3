/*
 * Slots: where a thread waits for the reply to its call.
 *
 * Owns the table of calls under way. What lies in a slot is the programs' to change at any moment: every value is
 * copied once, bounded, then used. Must never free a slot while a reply to it is still to come.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "hub/ahead.h"
#include "hub/internal.h"
#include "hub/readahead.h"

static struct slot *slot_at(struct hub *h, uint32_t tag)
{
  return (struct slot *)(h->memory + SESSION_SLOT_OFFSET(tag));
}

int slot_take_data(struct hub *h, struct message *m, uint8_t *room)
{
  uint64_t at = m->f.seq, which = m->f.ack;
  if (which >= SLOT_BUFFERS || at < 4 || at > m->n)
    return -EPROTO;
  struct rbuf r = {m->body + at - 4, m->body + at, false};
  uint32_t n = get_u32(&r);
  if (n > FRAME_DATA_MAX || m->n + n > FRAME_MAX - sizeof(struct frame))
    return -EPROTO;
  struct slot *s = slot_at(h, m->f.tag);
  memcpy(room, m->body, at);
  memcpy(room + at, s->data[which], n);
  memcpy(room + at + n, m->body + at, m->n - at);
  m->body = room;
  m->n += n;
  __atomic_store_n(&s->buffer[which].busy, 0, __ATOMIC_RELEASE);
  futex_wake(&s->buffer[which].busy, INT_MAX);
  return 0;
}

/* What `reply' holds already. */
static void publish(struct slot *s, int64_t result, uint32_t flags, uint32_t n, uint32_t gen)
{
  s->result = result;
  s->flags = flags;
  s->reply_len = n;
  s->reply_gen = gen;
  __atomic_store_n(&s->state, SLOT_DONE, __ATOMIC_RELEASE);
  futex_wake(&s->state, INT_MAX);
}

void slot_reply(struct hub *h, uint32_t tag, int64_t result, uint32_t flags, const uint8_t *body, uint32_t n,
                uint32_t gen)
{
  if (n)
    memcpy(slot_at(h, tag)->reply, body, n);
  publish(slot_at(h, tag), result, flags, n, gen);
}

void slot_fail(struct hub *h, uint32_t tag, int err)
{
  slot_reply(h, tag, err, 0, 0, 0, 0);
}

/*
 * Only if its thread is gone: another may have taken the slot and not sent anything yet. It is ours while its fields
 * are set, for programs look for slots of the dead, too.
 */
static void slot_free(struct hub *h, uint32_t tag)
{
  struct slot *s = slot_at(h, tag);
  uint32_t owner = __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE);
  h->slot_pid[tag] = 0;
  if (!owner || owner > INT_MAX || !kill((pid_t)owner, 0) || errno != ESRCH ||
      !__atomic_compare_exchange_n(&s->owner, &owner, (uint32_t)getpid(), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    return;
  for (int i = 0; i < SLOT_BUFFERS; i++)
    __atomic_store_n(&s->buffer[i].busy, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&s->state, SLOT_IDLE, __ATOMIC_RELAXED);
  __atomic_store_n(&s->owner, 0, __ATOMIC_RELEASE);
}

static bool makes_handle(uint16_t op)
{
  return op == OP_inotify_init1 || op == W_UBIND || op == W_UCONNECT;
}

static bool opens_file(uint16_t op)
{
  return op == OP_openat || op == OP_open_by_handle_at;
}

static void slot_abandon(struct hub *h, uint32_t tag)
{
  struct pending *c = &h->calls[tag];
  if (!c->active) {
    slot_free(h, tag);
  } else if (!c->orphan) {
    c->orphan = true;
    if (c->op < WIRE_MAX || c->op == W_POLL || row_of_op(c->op)->name)
      hub_send(h, (struct frame){.type = F_CANCEL, .op = c->op, .tag = tag, .ctx = c->ctx}, 0, 0);
  }
}

void slots_of_dead(struct hub *h, pid_t pid)
{
  for (uint32_t i = 0; i < SESSION_SLOTS; i++)
    if (h->slot_pid[i] == pid)
      slot_abandon(h, i);
}

/* Threads that ended without a word: killed by an exec of another thread. */
void slots_sweep(struct hub *h)
{
  for (uint32_t i = 0; i < SESSION_SLOTS; i++) {
    if (!h->slot_pid[i])
      continue;
    uint32_t owner = __atomic_load_n(&slot_at(h, i)->owner, __ATOMIC_ACQUIRE);
    if (owner && owner <= INT_MAX && kill((pid_t)owner, 0) && errno == ESRCH)
      slot_abandon(h, i);
  }
}

void slots_fail_all(struct hub *h)
{
  for (uint32_t i = 0; i < SESSION_SLOTS; i++)
    if (h->calls[i].active) {
      h->calls[i].active = false;
      slot_fail(h, i, -ECONNABORTED);
    }
}

/* ---- replies ---- */

/* The file that the attributes in a reply are about. */
static bool reply_file(uint16_t op, const struct frame *f, const uint8_t *body, uint32_t n, uint32_t *gen)
{
  struct rbuf r = {body, body + n, false};
  struct wire_attr a;
  if (f->result < 0 || f->flags & FF_REDIRECT || (!opens_file(op) && op != OP_fstat && op != OP_statx))
    return false;
  if (opens_file(op))
    get_u64(&r);
  get_attr(&r, &a);
  *gen = file_gen(a.dev, a.ino);
  return !r.bad;
}

/*
 * The counter at which these attributes are true. It is read before the requests that wait are passed on: a change
 * among them, or any that was passed on after the question, makes the answer stale from birth, which is told by a
 * counter that was.
 */
static uint32_t reply_gen(struct hub *h, const struct pending *c, const struct frame *f, const uint8_t *body,
                          uint32_t n)
{
  uint32_t index;
  if (!reply_file(c->op, f, body, n, &index))
    return 0;
  uint32_t gen = __atomic_load_n(&h->s->gens[index], __ATOMIC_SEQ_CST);
  bool drained = pump(h);
  return drained && h->gen_seq[index] <= c->seq ? gen : gen - 1;
}

void slot_complete(struct hub *h, uint32_t tag, int64_t result)
{
  struct pending *c = &h->calls[tag];
  c->active = false;
  if (!c->orphan) {
    slot_reply(h, tag, result, 0, 0, 0, 0);
    return;
  }
  c->orphan = false;
  slot_free(h, tag);
}

void slot_data(struct hub *h, uint32_t tag, const struct iovec *parts, int n)
{
  struct slot *s = slot_at(h, tag);
  uint32_t len = 0;
  if (h->calls[tag].orphan) {
    slot_complete(h, tag, 0);
    return;
  }
  for (int i = 0; i < n; i++) {
    memcpy(s->reply + 4 + len, parts[i].iov_base, parts[i].iov_len);
    len += (uint32_t)parts[i].iov_len;
  }
  struct wbuf w = {s->reply, s->reply + 4, false};
  put_u32(&w, len);
  h->calls[tag].active = false;
  publish(s, len, FF_KNOWN, 4 + len, 0);
}

static void note_promise(struct hub *h, const struct pending *c, const struct frame *f, const uint8_t *body, uint32_t n,
                         uint32_t gen)
{
  struct rbuf r = {body, body + n, false};
  struct file *file = c->op == OP_openat && f->result >= 0 && f->flags & FF_CACHEABLE ? file_at(h, c->handle) : 0;
  struct wire_attr a;
  if (!file)
    return;
  get_u64(&r);
  get_attr(&r, &a);
  if (!r.bad && f->flags & FF_OLD && a.size > CONTENTS_MAX)
    disk_read_begins(h, file, &a, gen);
  if (!r.bad)
    readahead_promised(file, gen, a.size);
}

/* Who uses a file that could not be made learns of that, not of a number that does not exist. */
static int64_t result_of(struct hub *h, const struct pending *c, const struct frame *f)
{
  struct file *about = f->result == -EBADF && c->subject != H_NONE ? file_at(h, c->subject) : 0;
  if (!about || !about->unborn)
    return f->result;
  file_take_late(h, about);
  return about->unborn;
}

static void note_piece(struct hub *h, const struct pending *c, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  uint32_t len;
  if (!h->disk || c->op != OP_pread64 || f->result <= 0)
    return;
  const uint8_t *data = get_blob(&r, &len, FRAME_DATA_MAX);
  if (!r.bad)
    disk_read_piece(h, file_at(h, c->subject), c->offset, data, len);
}

/* openat of a small file whose contents an earlier session has kept: they are put where they would have been. */
static const uint8_t *with_stored(struct hub *h, uint16_t op, struct frame *f, const uint8_t *body, uint32_t *n,
                                  uint32_t gen)
{
  static uint8_t whole[8 + sizeof(struct wire_attr) + 8 + 4 + CONTENTS_MAX];
  const uint32_t before = sizeof whole - CONTENTS_MAX;
  struct rbuf r = {body + 8, body + *n, false};
  struct wire_attr a;
  if (!h->disk || op != OP_openat || f->result < 0 || *n != before || !(f->flags & FF_CACHEABLE) ||
      f->flags & (FF_CONTENTS | FF_REDIRECT))
    return body;
  get_attr(&r, &a);
  if (!a.size || a.size > CONTENTS_MAX || (a.mode & 0170000) != 0100000 || !(f->flags & FF_OLD) ||
      !disk_read(h, &a, whole + before))
    return body;
  memcpy(whole, body, before);
  struct wbuf w = {whole + before - 4, whole + before, false};
  put_u32(&w, (uint32_t)a.size);
  f->flags |= FF_CONTENTS;
  *n = before + (uint32_t)a.size;
  kept_opened(h, f, whole, *n, gen);
  return whole;
}

int reply_take(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  if (f->tag >= AHEAD_TAG)
    return ahead_reply(h, f, body, n);
  if (f->tag >= READAHEAD_TAG)
    return readahead_reply(h, f, body, n);
  if (f->tag >= SESSION_SLOTS)
    return store_reply(h, f, body, n) ? 0 : -EPROTO;
  struct pending *c = &h->calls[f->tag];
  if (opens_file(c->op))
    file_opened(h, c->handle, f->flags & FF_REDIRECT ? -ELOOP : f->result, body, n);
  if (c->op == W_NCONNECT)
    sock_connected(h, c->handle, f->result);
  if (makes_handle(c->op))
    file_made(h, c->handle, f->flags & FF_REDIRECT ? -ELOOP : f->result);
  ahead_waited(h, c, f, body, n);
  uint32_t gen = reply_gen(h, c, f, body, n);
  note_promise(h, c, f, body, n, gen);
  if (c->op == OP_openat && f->result >= 0 && f->flags & FF_CONTENTS && f->flags & FF_CACHEABLE)
    kept_opened(h, f, body, n, gen);
  note_piece(h, c, f, body, n);
  c->active = false;
  struct frame said = *f;
  body = with_stored(h, c->op, &said, body, &n, gen);
  said.flags &= (uint8_t)~FF_OLD;
  if (!c->orphan) {
    slot_reply(h, f->tag, result_of(h, c, f), said.flags, body, n, gen);
    return 0;
  }
  c->orphan = false;
  slot_free(h, f->tag);
  if (opens_file(c->op) || makes_handle(c->op))
    files_of_dead(h, c->ctx);
  return 0;
}
