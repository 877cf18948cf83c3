/*
 * The stream to the slave: frames out with their sequence numbers, frames in with theirs checked.
 *
 * Owns the queue and the input buffer. Must never act on a field of a frame before it is bounded; a frame that cannot
 * be right ends the session, never this process.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "hub/internal.h"

#define INPUT_ROOM (4u * FRAME_MAX)
#define READS_MAX 8  /* a turn, so that programs are heard too */
#define ACK_EVERY 64 /* frames taken without anything to send: say so */

#define ASKED_MAX (1u << 17)       /* all tags that can be in use at once: slots, files, blocks, fills */
#define ASKED_ROOM (2 * ASKED_MAX) /* of which pages are touched as they are used */

/* Every call gets one reply: its tag is taken until then. */
static int ask(struct hub *h, const struct frame *f)
{
  struct ledger_entry *c;
  if (!h->asked.at) {
    struct ledger_entry *at = calloc(ASKED_ROOM, sizeof *at);
    if (!at)
      return -ENOMEM;
    sl_ledger_init(&h->asked, at, ASKED_ROOM, ASKED_MAX);
  }
  int err = sl_ledger_add(&h->asked, f->tag, &c);
  if (!err)
    c->cmd = f->op;
  return err;
}

bool hub_asks(struct hub *h, uint32_t tag)
{
  return h->asked.at && sl_ledger_find(&h->asked, tag);
}

/* The reply to a call of ours, and no other. */
static bool asked(struct hub *h, const struct frame *f)
{
  struct ledger_entry *c = h->asked.at ? sl_ledger_find(&h->asked, f->tag) : 0;
  if (!c || c->cmd != f->op)
    return false;
  sl_ledger_drop(&h->asked, c);
  return true;
}

uint64_t hub_send(struct hub *h, struct frame f, const struct iovec *parts, int n)
{
  if (h->out < 0 || h->lost)
    return h->seq;
  size_t len = sizeof f;
  for (int i = 0; i < n; i++)
    len += parts[i].iov_len;
  int err = f.type == F_CALL ? ask(h, &f) : 0;
  uint8_t *at = err ? 0 : queue_add(&h->queue, len);
  if (!at) {
    hub_abort(h, false, "%s", err && err != -ENOMEM ? "two calls of one number" : "out of memory");
    return h->seq;
  }
  f.len = (uint32_t)len;
  f.seq = f.type == F_ACK ? 0 : ++h->seq;
  f.ack = h->acked = h->peer_seq;
  frame_put(at, &f);
  at += sizeof f;
  for (int i = 0; i < n; i++) {
    if (parts[i].iov_len)
      memcpy(at, parts[i].iov_base, parts[i].iov_len);
    at += parts[i].iov_len;
  }
  hub_count(h, N_FRAMES_OUT, 1);
  hub_count(h, N_BYTES_OUT, len);
  return h->seq;
}

uint64_t hub_post(struct hub *h, uint16_t op, uint32_t ctx, const struct wbuf *w, const uint8_t *body)
{
  struct iovec part = {(void *)(uintptr_t)body, (size_t)(w->at - body)};
  return hub_send(h, (struct frame){.type = F_POST, .op = op, .ctx = ctx}, &part, 1);
}

/* Where the slave is slow to reach, and takes it. */
static void hub_pack(struct hub *h)
{
  uint64_t rate = h->packs && h->queue.bytes >= PACK_MIN ? link_rate(&h->link) : 0;
  if (!pack_pays(h->packer, rate))
    return;
  size_t saved = queue_pack(&h->queue, h->packer, rate);
  hub_count(h, N_BYTES_OUT, -(uint64_t)saved);
  hub_count(h, N_SAVED_OUT, saved);
}

void hub_flush(struct hub *h)
{
  if (h->out < 0 || h->lost || h->out_error)
    return;
  if (h->peer_seq - h->acked >= ACK_EVERY && !h->queue.bytes)
    hub_send(h, (struct frame){.type = F_ACK}, 0, 0);
  hub_pack(h);
  size_t before = h->queue.bytes;
  if (before)
    link_write(&h->link);
  int err = queue_write(&h->queue, h->out);
  if (h->queue.bytes < before)
    link_wrote(&h->link, before - h->queue.bytes);
  if (err == -EAGAIN)
    link_write(&h->link);
  h->out_error = err == -EAGAIN ? 0 : err;
  h->out_waits = err == -EAGAIN;
}

static void say_to_slave(struct hub *h, const char *line)
{
  struct iovec part = {(void *)(uintptr_t)line, strlen(line)};
  hub_send(h, (struct frame){.type = F_ABORT}, &part, 1);
  hub_flush(h);
}

void hub_abort(struct hub *h, bool tell, const char *format, ...)
{
  char line[512];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (h->over)
    return;
  h->over = true;
  h->result = 255;
  log_line("session ended: %s", line);
  if (tell)
    say_to_slave(h, line);
  h->lost = true;
}

/* ---- frames in ---- */

static int take_window(struct hub *h, const struct frame *f, struct rbuf *r)
{
  uint32_t handle = (uint32_t)get_u64(r);
  uint64_t v = get_u64(r);
  if (r->bad || r->at != r->end)
    return -EPROTO;
  if (f->type == F_WINDOW && handle == H_STDOUT && h->pty.wanted)
    pty_shown(h, v);
  else if (f->type == F_WINDOW)
    file_window(h, handle, v);
  else
    file_ready(h, handle, v);
  return 0;
}

static int take_late(struct hub *h, const struct frame *f, struct rbuf *r)
{
  uint32_t handle = (uint32_t)get_u64(r);
  if (r->bad || r->at != r->end || f->result >= 0 || f->result < -4095)
    return -EPROTO;
  if (f->op == OP_close && f->result == -EBADF) /* it has never been made, which has been told */
    return 0;
  if (handle == H_STDOUT && h->pty.wanted)
    pty_hangup(h); /* nobody can see it */
  if (handle != H_STDOUT || !h->pty.wanted || f->result != -EIO)
    file_late(h, handle, f->result);
  return 0;
}

static int take_invalid(struct hub *h, struct rbuf *r)
{
  while (!r->bad && r->at != r->end) {
    uint64_t dev = get_u64(r), ino = get_u64(r);
    if (!r->bad)
      __atomic_fetch_add(&h->s->gens[file_gen(dev, ino)], 1, __ATOMIC_SEQ_CST);
  }
  return r->bad ? -EPROTO : 0;
}

static int take_signal(struct hub *h, const struct frame *f)
{
  if (f->result < 1 || f->result > 64)
    return -EPROTO;
  if (f->op && h->pty.wanted)
    pty_signal(h, (int)f->result);
  else if (h->command > 0 && h->status < 0)
    kill(f->op ? -h->command : h->command, (int)f->result);
  return 0;
}

static int take_winsize(struct hub *h, struct rbuf *r)
{
  uint64_t size[4];
  if (r->end - r->at != sizeof size)
    return -EPROTO;
  for (unsigned i = 0; i < 4; i++)
    size[i] = get_u64(r);
  if (h->pty.wanted)
    pty_resize(h, size);
  else if (h->command > 0 && h->status < 0)
    kill(-h->command, SIGWINCH);
  return 0;
}

void hub_aborted(struct hub *h, const uint8_t *body, uint32_t n)
{
  char line[256];
  size_t len = n < sizeof line ? n : sizeof line - 1;
  for (size_t i = 0; i < len; i++)
    line[i] = body[i] >= ' ' && body[i] < 127 ? (char)body[i] : ' ';
  line[len] = 0;
  hub_abort(h, false, "%s", n ? line : "the slave ended it");
}

static int dispatch(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  bool of_person = f->type == F_SIGNAL || f->type == F_WINSIZE || f->type == F_INPUT;
  if (of_person && h->o.flags & SF_REVERSE) /* who is on our side */
    return 0;
  switch (f->type) {
  case F_REPLY:
    return asked(h, f) ? reply_take(h, f, body, n) : -EPROTO;
  case F_ACK:
    return n ? -EPROTO : 0;
  case F_LATE:
    return take_late(h, f, &r);
  case F_WINDOW:
  case F_READY:
    return take_window(h, f, &r);
  case F_INVALID:
    return take_invalid(h, &r);
  case F_SIGNAL:
    return take_signal(h, f);
  case F_WINSIZE:
    return take_winsize(h, &r);
  case F_INPUT:
    return pty_input(h, f, body, n);
  case F_NAMES:
    return names_take(h, f, body, n);
  case F_SOCK:
    return sock_take_event(h, body, n);
  case F_ABORT:
    hub_aborted(h, body, n);
    return 0;
  default:
    return -EPROTO;
  }
}

static int take_frame(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  bool counted = f->type != F_ACK;
  if ((counted ? f->seq != h->peer_seq + 1 : f->seq != 0) || f->ack < h->peer_ack || f->ack > h->seq)
    return -EPROTO;
  if (counted)
    h->peer_seq++;
  h->peer_ack = f->ack;
  h->s->tight = (f->flags & FF_TIGHT) != 0;
  hub_count(h, N_FRAMES_IN, 1);
  return dispatch(h, f, body, n);
}

static int take_packed(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n);

/* Every whole frame of these bytes; how many of them that were. Those of a block must all be whole, and none a block.
 */
static uint32_t take_frames(struct hub *h, const uint8_t *from, uint32_t n, bool block)
{
  uint32_t at = 0;
  while (!h->over && n - at >= sizeof(struct frame)) {
    struct frame f;
    bool good = frame_get(&f, from + at) && !(block && f.type == F_PACKED);
    if (good && n - at < f.len)
      break;
    const uint8_t *body = from + at + sizeof f;
    uint32_t len = f.len - (uint32_t)sizeof f;
    if (!good || (f.type == F_PACKED ? take_packed(h, &f, body, len) : take_frame(h, &f, body, len))) {
      hub_abort(h, true, "malformed frame from the slave (type %u, operation %u)", f.type, f.op);
      return at;
    }
    at += f.len;
  }
  return at;
}

static int take_packed(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  static uint8_t room[PACK_MAX];
  uint32_t have = f->seq || f->ack ? 0 : unpack(h->packer, body, n, room);
  if (!have)
    return -EPROTO;
  hub_count(h, N_SAVED_IN, have - f->len);
  return take_frames(h, room, have, true) == have || h->over ? 0 : -EPROTO;
}

static void take_input(struct hub *h)
{
  uint32_t taken = take_frames(h, h->inbuf, h->in_have, false);
  h->in_have -= taken;
  memmove(h->inbuf, h->inbuf + taken, h->in_have);
}

/* The end of the stream is an error here: the slave leaves only after F_DONE, when nobody reads any more. */
void stream_read(struct hub *h)
{
  if (!h->inbuf && !(h->inbuf = malloc(INPUT_ROOM))) {
    hub_abort(h, true, "out of memory");
    return;
  }
  for (int i = 0; i < READS_MAX && !h->over; i++) {
    ssize_t n = read(h->in, h->inbuf + h->in_have, INPUT_ROOM - h->in_have);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0) {
      hub_abort(h, false, "the connection to the slave broke%s%s", n ? ": " : "", n ? strerror(errno) : "");
      return;
    }
    h->in_have += (uint32_t)n;
    hub_count(h, N_BYTES_IN, (uint64_t)n);
    take_input(h);
  }
}
