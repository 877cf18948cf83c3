/*
 * What programs send: checked against the table, remembered, passed on in the order in which the kernel queued it.
 *
 * Owns nothing but the order. A close that the kernel told us of is put behind the last message that speaks of its
 * handle and ahead of everything later: what a program does after its close finds the file closed. Where locks or
 * watches make that matter, programs mark the places of their closes, and closes are looked for again before a message
 * that depends on them. Must never pass on a body that body_check() did not accept.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "hub/ahead.h"
#include "hub/internal.h"
#include "hub/readahead.h"

#define BATCH_MAX 4096
#define BATCH_BYTES (4u << 20)
#define COPY_TO 16 /* where copy_file_range names the file it writes to */

struct batch {
  struct message *m;
  unsigned n, room;
  size_t bytes;
};

/* ---- what a message speaks of ---- */

/* Calls f with every handle in a checked body; true if one of them is `handle'. */
static bool speaks_of(const char *args, const uint8_t *body, uint32_t n, uint32_t handle)
{
  struct rbuf r = {body, body + n, false};
  uint32_t len;
  for (; *args && !r.bad; args++)
    switch (*args) {
    case 'H':
      if (get_u64(&r) == handle)
        return true;
      break;
    case 'A':
    case 'P':
      if (get_u64(&r) == handle)
        return true;
      get_blob(&r, &len, FRAME_MAX);
      break;
    case 'S':
    case 'B':
      get_blob(&r, &len, FRAME_MAX);
      break;
    case 'I':
      get_u64(&r);
      break;
    default: /* no row has a handle behind these */
      return false;
    }
  return false;
}

static const char *args_of(uint16_t op)
{
  const struct row *row = row_of_op(op);
  return row ? row->args : 0;
}

static bool mentions(const struct message *m, uint32_t handle)
{
  const char *args = args_of(m->f.op);
  return args && m->f.type != F_CANCEL && speaks_of(args, m->body, m->n, handle);
}

/* ---- bookkeeping of what passes ---- */

static bool changes(uint16_t op, const struct message *m)
{
  switch (op) {
  case OP_write:
  case OP_pwrite64:
  case OP_ftruncate:
  case OP_fallocate:
  case OP_copy_file_range:
  case OP_fchmod:
  case OP_fchown:
  case OP_fchownat:
  case OP_fchmodat:
  case OP_fchmodat2:
  case OP_utimensat:
  case OP_fsetxattr:
  case OP_fremovexattr:
  case OP_ioctl:
  case OP_mkdirat:
  case OP_mknodat:
  case OP_unlinkat:
  case OP_linkat:
  case OP_renameat2:
    return true;
  case OP_fcntl:
    return m->n >= 16 && m->body[8] == 4; /* F_SETFL */
  default:
    return false;
  }
}

static uint64_t int_at(const struct message *m, uint32_t at)
{
  struct rbuf r = {m->body + (at < m->n ? at : m->n), m->body + m->n, false};
  return get_u64(&r);
}

static void note_write(struct hub *h, const struct file *f, const struct message *m)
{
  struct store *st = store_of(h, f);
  struct rbuf r = {m->body + 8, m->body + m->n, false};
  uint32_t n;
  if (!st)
    return;
  const void *data = get_blob(&r, &n, FRAME_DATA_MAX);
  uint64_t offset = m->f.op == OP_pwrite64 && !(f->flags & LINUX_O_APPEND) ? get_u64(&r) : UINT64_MAX;
  if (!r.bad)
    store_written(st, offset, data, n);
}

/* Before the message goes: what mappings hold must be there first. After it: what it does to the file in them. */
static void note_store(struct hub *h, const struct message *m)
{
  struct file *f = m->n >= 8 && h->stores ? file_at(h, (uint32_t)int_at(m, 0)) : 0;
  struct store *st = f ? store_of(h, f) : 0;
  if (!st || m->f.op == OP_close)
    return;
  if (m->f.op == OP_pread64 && int_at(m, 16) <= INT64_MAX) /* who reads a part sees that as it is */
    store_flush_range(h, st, int_at(m, 16), int_at(m, 8));
  else
    store_flush(h, st);
  if (m->f.op == OP_write || m->f.op == OP_pwrite64)
    note_write(h, f, m);
  if (m->f.op == OP_ftruncate)
    store_resized(st, int_at(m, 8));
}

static bool is_lock(uint64_t cmd)
{
  return (cmd >= LINUX_F_GETLK && cmd <= LINUX_F_SETLKW) || (cmd >= LINUX_F_OFD_GETLK && cmd <= LINUX_F_OFD_SETLKW);
}

/* Whoever asks for a lock may have waited for the end of a process that held it. */
static void note_lock(struct hub *h, const struct message *m)
{
  if (is_lock(int_at(m, 8)))
    procs_unlock_dead(h);
}

static uint32_t changed_at(const struct message *m)
{
  return m->f.op == OP_copy_file_range ? COPY_TO : 0;
}

void file_touched(struct hub *h, uint64_t dev, uint64_t ino, uint64_t seq)
{
  uint32_t gen = file_gen(dev, ino);
  h->gen_seq[gen] = seq;
  __atomic_fetch_add(&h->s->gens[gen], 1, __ATOMIC_SEQ_CST);
}

static void note_change(struct hub *h, const struct message *m, uint64_t seq)
{
  struct file *f = m->n >= changed_at(m) + 8 ? file_at(h, (uint32_t)int_at(m, changed_at(m))) : 0;
  if (!f || !f->known || !changes(m->f.op, m))
    return;
  file_touched(h, f->dev, f->ino, seq);
}

/* What is copied on the slave would be missing in the mappings of the file here: it has to come by. */
static bool copy_unseen(struct hub *h, const struct message *m)
{
  struct file *f = m->f.op == OP_copy_file_range ? file_at(h, (uint32_t)int_at(m, COPY_TO)) : 0;
  struct store *st = f ? store_of(h, f) : 0;
  return st && store_shared(st);
}

int note_before(struct hub *h, const struct message *m)
{
  note_store(h, m);
  if (m->f.op == OP_fcntl)
    note_lock(h, m);
  if (m->f.op == OP_openat)
    return m->f.type == F_CALL ? file_opening(h, m) : -EPROTO;
  if (m->f.op == OP_open_by_handle_at)
    return m->f.type == F_CALL ? file_making(h, m, K_REG) : -EPROTO;
  if (m->f.op == OP_inotify_init1)
    return m->f.type == F_CALL ? file_making(h, m, K_NOTIFY) : -EPROTO;
  if (m->f.op == W_SOCKET)
    return sock_making(h, m);
  if (m->f.op == W_NCONNECT) {
    struct file *f = m->f.type == F_CALL ? file_at(h, (uint32_t)int_at(m, 0)) : 0;
    if (f && f->sk)
      sock_connecting(h, f, m);
    return m->f.type == F_CALL ? 0 : -EPROTO;
  }
  if (m->f.op == W_UBIND)
    return m->f.type == F_CALL ? file_making(h, m, K_BOUND) : -EPROTO;
  if (m->f.op == W_UCONNECT)
    return m->f.type == F_CALL ? file_making(h, m, K_SOCKET) : -EPROTO;
  return 0;
}

void note_after(struct hub *h, const struct message *m, uint64_t seq)
{
  note_change(h, m, seq);
  if (m->f.op == W_CONTEXT)
    proc_context(h, m->f.ctx);
  if (m->f.op == OP_fcntl && (int_at(m, 8) == LINUX_F_SETLK || int_at(m, 8) == LINUX_F_SETLKW))
    proc_locked(h, m->f.ctx);
  if (m->f.op != OP_close)
    return;
  struct file *f = file_at(h, (uint32_t)int_at(m, 0));
  if (f)
    file_forget(h, f, seq);
}

/* ---- passing on ---- */

static uint32_t subject_of(const char *args, const struct message *m)
{
  return *args == 'H' || *args == 'A' || *args == 'P' ? (uint32_t)int_at(m, 0) : (uint32_t)H_NONE;
}

static int relay(struct hub *h, const struct message *m)
{
  const char *args = args_of(m->f.op);
  bool call = m->f.type == F_CALL;
  struct pending *c = &h->calls[m->f.tag];
  if (!args || (call && c->active))
    return -EPROTO;
  int refused = h->out < 0 ? -ENOSYS : copy_unseen(h, m) ? -EXDEV : 0;
  if (refused) {
    if (call)
      slot_fail(h, m->f.tag, refused);
    return 0;
  }
  bool reads = call && m->f.op == OP_pread64;
  if (reads && store_read(h, m))
    return 0;
  if (reads && readahead_read(h, m))
    return readahead_follow(h, m), 0;
  if (call && ahead_call(h, m))
    return 0;
  if (call)
    *c = (struct pending){.active = true, .op = m->f.op, .ctx = m->f.ctx, .subject = subject_of(args, m)};
  int err = note_before(h, m);
  if (err)
    return err;
  struct frame f = {.type = m->f.type, .flags = m->f.flags & FF_CONTENTS, .op = m->f.op, .tag = m->f.tag};
  f.flags |= call ? ahead_flags(h, m) : 0;
  f.ctx = m->f.ctx;
  f.result = m->f.result;
  struct iovec part = {m->body, m->n};
  uint64_t seq = hub_send(h, f, &part, 1);
  if (call)
    c->seq = seq;
  if (reads)
    c->offset = int_at(m, 16);
  note_after(h, m, seq);
  if (reads)
    readahead_follow(h, m);
  return 0;
}

static int trace(struct hub *h, const struct message *m)
{
  struct iovec part = {m->body, m->n};
  if (h->out >= 0 && !(h->o.flags & SF_REVERSE))
    hub_send(h, (struct frame){.type = F_TRACE}, &part, 1);
  else if (writev(h->o.trace_fd, &part, 1) < 0)
    return 0; /* nobody reads the trace any more: the programs go on */
  return 0;
}

static void mark(struct hub *h, const struct message *m)
{
  struct file *f = file_at(h, (uint32_t)int_at(m, 0));
  if (f)
    f->marked = true;
}

static int own_op(struct hub *h, struct message *m)
{
  switch (m->f.op) {
  case W_PLACE: {
    int err = file_place(h, m);
    m->fd = err ? m->fd : -1;
    return err;
  }
  case W_BIND:
    proc_bind(h, m);
    return 0;
  case W_MAPFD:
    return store_want(h, m);
  case W_FLUSH:
    return store_flush_call(h, m);
  case W_LAZY:
    return lazy_place(h, m);
  case W_FETCH:
    return lazy_fetch(h, m);
  case W_TRACE:
    return trace(h, m);
  case W_CLOSED:
    mark(h, m);
    return 0;
  case W_WATCH:
    return notes_watch(h, m);
  case W_UNWATCH:
    return notes_unwatch(h, m);
  case W_EVENTS:
    return notes_events(h, m);
  case W_SHUTDOWN:
    return sock_shutdown(h, m) ? 0 : relay(h, m);
  case W_BOUND:
    return bound_place(h, m);
  case W_POLL:
    return notes_poll(h, m) ? 0 : relay(h, m);
  default:
    return relay(h, m);
  }
}

static int cancel(struct hub *h, const struct message *m)
{
  const struct pending *c = &h->calls[m->f.tag];
  if (c->active)
    hub_send(h, (struct frame){.type = F_CANCEL, .op = c->op, .tag = m->f.tag, .ctx = c->ctx}, 0, 0);
  return 0;
}

static int pass(struct hub *h, struct message *m)
{
  static uint8_t room[FRAME_MAX];
  if (h->over) {
    if (m->f.type == F_CALL)
      slot_fail(h, m->f.tag, -ECONNABORTED);
    return 0;
  }
  if (m->f.flags & FF_OOB && slot_take_data(h, m, room))
    return -EPROTO;
  if (m->f.type == F_CANCEL)
    return cancel(h, m);
  const char *args = args_of(m->f.op);
  if (args && body_check(args, m->body, m->n))
    return -EPROTO;
  return m->f.op >= WIRE_MAX ? own_op(h, m) : relay(h, m);
}

/* The one place where a message of a program is acted on; what it brought is closed here unless somebody kept it. */
static void handle(struct hub *h, struct message *m)
{
  uint16_t op = m->f.op;
  if (pass(h, m))
    hub_abort(h, true, "malformed request from process %d (operation %u)", m->pid, op);
  if (m->fd >= 0)
    close(m->fd);
}

/* ---- taking ---- */

/* 1: a message, in `room' (FRAME_MAX bytes); 0: none waits. */
static int take(struct hub *h, struct message *m, uint8_t *room)
{
  for (;;) {
    struct received r = recv_with_fd(h->request, room, FRAME_MAX);
    if (!r.len) { /* nobody holds the other end; an empty message of someone who does is not worth telling apart */
      h->requests_ended = true;
      return 0;
    }
    if (r.len == -EAGAIN)
      return 0;
    *m = (struct message){.body = room + sizeof m->f, .fd = r.fd, .pid = r.pid};
    bool good = r.len >= (ssize_t)sizeof m->f && frame_get(&m->f, room) && m->f.tag < SESSION_SLOTS &&
                (m->f.type == F_CALL || m->f.type == F_POST || m->f.type == F_CANCEL);
    if (!good) {
      hub_abort(h, true, "malformed message from process %d", r.pid);
      if (r.fd >= 0)
        close(r.fd);
      return 0;
    }
    m->n = (uint32_t)r.len - (uint32_t)sizeof m->f;
    h->taken++;
    if (r.pid > 0)
      h->slot_pid[m->f.tag] = r.pid;
    return 1;
  }
}

static bool batch_add(struct batch *b, const struct message *m)
{
  if (b->n == b->room) {
    unsigned room = b->room ? 2 * b->room : 16;
    struct message *more = realloc(b->m, room * sizeof *more);
    if (!more)
      return false;
    b->m = more;
    b->room = room;
  }
  struct message *to = &b->m[b->n];
  *to = *m;
  to->body = malloc(m->n ? m->n : 1);
  if (!to->body)
    return false;
  memcpy(to->body, m->body, m->n);
  b->bytes += m->n;
  b->n++;
  return true;
}

/*
 * A close comes behind the last message that speaks of the file: its own place, where a program has told that; and if
 * an end of a process was the close, behind whatever that one had sent.
 */
static bool precedes_close(const struct message *m, const struct file *f)
{
  return mentions(m, f->handle) || (m->gone && !f->marked);
}

static void close_where_last(struct hub *h, struct batch *b, unsigned after, bool drained)
{
  for (struct file *f = h->closing, *next; f; f = next) {
    next = f->next_closing;
    bool later = !drained && !all_taken_since(h, f->ended_at);
    for (unsigned i = after; i < b->n && !later; i++)
      later = precedes_close(&b->m[i], f);
    if (!later)
      file_close(h, f);
  }
}

/* True if nothing is left to take. */
static bool batch_fill(struct hub *h, struct batch *b, uint8_t *room)
{
  struct message m;
  while (b->n < BATCH_MAX && b->bytes < BATCH_BYTES) {
    if (!take(h, &m, room))
      return true;
    m.gone = proc_gone(h, m.pid);
    if (!batch_add(b, &m)) {
      hub_abort(h, true, "out of memory");
      return false;
    }
  }
  return false;
}

/* Whether its effect depends on which files have been closed by now. */
static bool minds_closes(struct hub *h, const struct message *m)
{
  const struct file *f;
  switch (m->f.op) {
  case W_CLOSED:
  case W_NBIND:
  case W_NCONNECT:
  case OP_flock:
  case OP_inotify_add_watch:
    return true;
  case OP_fcntl:
    return is_lock(int_at(m, 8));
  case OP_read:
    f = file_at(h, (uint32_t)int_at(m, 0));
    return f && f->kind == K_NOTIFY;
  default:
    return false;
  }
}

/* Closes are known, or are to be: everything that waits is looked at before it goes, to find their places. */
static bool pump_closes(struct hub *h, uint8_t *room, const struct message *first)
{
  struct batch b = {0};
  if (first && !batch_add(&b, first))
    hub_abort(h, true, "out of memory");
  bool drained = batch_fill(h, &b, room);
  for (unsigned i = 0; i < b.n; i++) {
    if (minds_closes(h, &b.m[i])) {
      files_read_closes(h);
      drained = batch_fill(h, &b, room);
    }
    if (drained && h->closing)
      close_where_last(h, &b, i, drained);
    uint8_t *body = b.m[i].body;
    handle(h, &b.m[i]);
    free(body);
  }
  if (h->closing)
    close_where_last(h, &b, b.n, drained);
  free(b.m);
  return drained;
}

bool pump(struct hub *h)
{
  static uint8_t room[FRAME_MAX];
  struct message m;
  if (h->requests_ended && !h->closing) {
    files_read_closes(h);
    if (!h->closing)
      return true;
  }
  for (;;) {
    if (h->queue.bytes > QUEUE_MAX)
      hub_flush(h);
    if (h->queue.bytes > QUEUE_MAX && !h->over)
      return false;
    files_read_closes(h);
    if (h->closing) {
      if (pump_closes(h, room, 0) && !h->closing)
        return true;
      continue;
    }
    int n = 0;
    while (n < 16 && take(h, &m, room)) {
      if (minds_closes(h, &m)) {
        pump_closes(h, room, &m);
        n = 16;
        break;
      }
      handle(h, &m);
      n++;
    }
    if (n < 16)
      return true;
  }
}
