/*
 * The session: takes frames in the order in which they come, each by a row of the table below.
 *
 * Owns the incoming descriptor and the session's end. Must never: take a frame before the earlier posted ones have
 * been applied, hang once the stream is lost, or believe a length.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/pack.h"
#include "slave/slave.h"

#define IN_ROOM (2 * FRAME_MAX)
#define FLUSH_MS 2000      /* for what is still queued when the master is gone */
#define EX_IOERR_STATUS 74 /* a command that succeeded, but whose last output could not be written */

static struct {
  const struct slave_options *o;
  uint8_t in[IN_ROOM];
  size_t have;
  int wake;
  uint64_t seq; /* of the last frame taken */
  bool greeted; /* the master's HELLO has come */
  bool exited;  /* F_EXIT has come ... */
  int status;   /* ... with this ... */
  uint64_t ack; /* ... when the master had heard this much of us */
  bool told;    /* the status has been passed on; with the lock */
  bool over;    /* nothing more is taken ... */
  int result;   /* ... and this is how it ended */
  pthread_mutex_t lock;
  pthread_cond_t telling;
} V = {.lock = PTHREAD_MUTEX_INITIALIZER, .telling = PTHREAD_COND_INITIALIZER};

void say(const char *format, ...)
{
  char line[1024];
  va_list ap;
  va_start(ap, format);
  vsnprintf(line, sizeof line, format, ap);
  va_end(ap);
  dprintf(STDERR_FILENO, "fslave: %s%s", line, terminal_newline(STDERR_FILENO));
}

static void end(int result)
{
  V.over = true;
  V.result = result;
}

/* The master broke the protocol: says so at both ends. */
static void broken(const char *format, ...)
{
  char line[256];
  va_list ap;
  va_start(ap, format);
  vsnprintf(line, sizeof line, format, ap);
  va_end(ap);
  say("%s", line);
  out_send(&(struct frame){.type = F_ABORT, .result = -EPROTO}, line, (uint32_t)strlen(line), 0);
  end(SLAVE_FAILED);
}

/* ---- frames ---- */

static void take_hello(const struct frame *f, const uint8_t *body, uint32_t n)
{
  char why[128];
  (void)f;
  if (V.greeted)
    broken("the master greeted twice");
  else if (hello_take(body, n, why))
    broken("%s", why);
  V.greeted = true;
}

static void take_call(const struct frame *f, const uint8_t *body, uint32_t n)
{
  if (f->type == F_CALL && !out_owe(f->tag))
    broken("call %u of the master has the number of another", f->op);
  else if (!call_run(f, body, n, false))
    broken("malformed call %u from the master", f->op);
}

static void take_cancel(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)body;
  (void)n;
  worker_cancel(f->tag);
}

static void take_nothing(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)f;
  (void)body;
  (void)n;
}

static void tell_status(int status)
{
  terminal_stop();
  if (V.o->status_fd >= 0)
    dprintf(V.o->status_fd, "%d\n", status);
}

/* The command's output comes first, however long its reader takes. */
static void *tell_exit(void *arg)
{
  streams_flush_old();
  int late = out_late_since(V.ack);
  if (late)
    say("the command's last output was lost: %s", strerror(-late));
  pthread_mutex_lock(&V.lock);
  if (late && !V.status)
    V.status = EX_IOERR_STATUS;
  tell_status(V.status);
  V.told = true;
  pthread_cond_signal(&V.telling);
  pthread_mutex_unlock(&V.lock);
  return arg;
}

/* What other programs of the session want is served meanwhile. */
static void take_exit(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)body;
  (void)n;
  if (V.exited) {
    broken("the master told two statuses");
    return;
  }
  V.exited = true;
  V.status = (int)(f->result & 255);
  V.ack = f->ack;
  streams_mark_old();
  if (thread_start(tell_exit, 0))
    tell_exit(0);
}

static void wait_told(void)
{
  pthread_mutex_lock(&V.lock);
  while (!V.told)
    pthread_cond_wait(&V.telling, &V.lock);
  pthread_mutex_unlock(&V.lock);
}

static bool put_some(int fd, const void *bytes, size_t n)
{
  for (const uint8_t *p = bytes; n;) {
    ssize_t r = write(fd, p, n);
    if (r < 0 && errno != EINTR)
      return false;
    p += r > 0 ? r : 0;
    n -= r > 0 ? (size_t)r : 0;
  }
  return true;
}

static void put_out(int fd, const uint8_t *p, size_t n)
{
  const char *newline = terminal_newline(fd);
  const uint8_t *end;
  while (newline[0] == '\r' && (end = memchr(p, '\n', n))) {
    if (!put_some(fd, p, (size_t)(end - p)) || !put_some(fd, newline, 2))
      return;
    n -= (size_t)(end - p) + 1;
    p = end + 1;
  }
  put_some(fd, p, n);
}

static void take_stats(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)f;
  put_out(V.o->stats_fd, body, n);
}

static void take_trace(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)f;
  put_out(V.o->trace_fd, body, n);
}

static void take_done(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)f;
  (void)body;
  (void)n;
  streams_flush(-1);
  if (V.exited)
    wait_told();
  else
    say("the master ended the session without a status");
  end(!V.exited ? SLAVE_FAILED : V.o->status_fd >= 0 ? 0 : V.status);
}

/* Other people's text: one line of it, and nothing that a terminal would obey. */
static void take_abort(const struct frame *f, const uint8_t *body, uint32_t n)
{
  char line[512];
  size_t len = n < sizeof line - 1 ? n : sizeof line - 1;
  (void)f;
  memcpy(line, body, len);
  line[len] = 0;
  for (char *p = line; *p; p++)
    if ((unsigned char)*p < ' ' || *p == 127)
      *p = ' ';
  say("the master ended the session: %s", line);
  end(SLAVE_FAILED);
}

static void take_window(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)f;
  if (!terminal_window(body, n))
    broken("malformed window from the master");
}

static void take_output(const struct frame *f, const uint8_t *body, uint32_t n)
{
  if (!terminal_output(f, body, n))
    broken("malformed output of the program's terminal");
}

static void take_have(const struct frame *f, const uint8_t *body, uint32_t n)
{
  (void)f;
  if (!have_take(body, n))
    broken("malformed list of files from the master");
}

typedef void take_fn(const struct frame *f, const uint8_t *body, uint32_t n);
static take_fn take_packed;
static take_fn *const takes[F_LAST + 1] = {
    [F_HELLO] = take_hello,   [F_CALL] = take_call,   [F_POST] = take_call,     [F_CANCEL] = take_cancel,
    [F_ACK] = take_nothing,   [F_EXIT] = take_exit,   [F_STATS] = take_stats,   [F_TRACE] = take_trace,
    [F_DONE] = take_done,     [F_ABORT] = take_abort, [F_WINDOW] = take_window, [F_OUTPUT] = take_output,
    [F_PACKED] = take_packed, [F_HAVE] = take_have,
};

static void take(const struct frame *f, const uint8_t *body)
{
  bool counted = f->type != F_ACK && f->type != F_PACKED;
  if (!takes[f->type])
    broken("the master sent a message of type %u", f->type);
  else if (!V.greeted && f->type != F_HELLO && f->type != F_ABORT)
    broken("the master did not greet");
  else if (counted && f->seq != V.seq + 1)
    broken("a message of the master is missing");
  else
    takes[f->type](f, body, f->len - (uint32_t)sizeof *f);
  if (!counted)
    return;
  V.seq = f->seq;
  out_applied(f->seq, f->len);
}

/* A stranger may stop after a few bytes and wait for an answer. */
static bool strange(void)
{
  uint8_t head[sizeof(struct frame)] = {0};
  struct frame f;
  memcpy(head, V.in, V.have < sizeof head ? V.have : sizeof head);
  return !V.greeted && V.have > 4 && (!frame_get(&f, head) || (f.type != F_HELLO && f.type != F_ABORT));
}

/* Takes every whole frame of these bytes; how many of them that were. A block holds none that is one itself. */
static size_t take_frames(const uint8_t *from, size_t n, bool block)
{
  size_t at = 0;
  while (!V.over && n - at >= sizeof(struct frame)) {
    struct frame f;
    if (!frame_get(&f, from + at) || (block && f.type == F_PACKED)) {
      broken("malformed message from the master");
      break;
    }
    if (f.len > n - at)
      break;
    take(&f, from + at + sizeof f);
    at += f.len;
    out_ack(false);
  }
  return at;
}

static void take_packed(const struct frame *f, const uint8_t *body, uint32_t n)
{
  static uint8_t room[PACK_MAX];
  static struct packer *packer;
  packer = packer ? packer : packer_new();
  uint32_t have = f->seq ? 0 : unpack(packer, body, n, room);
  if ((!have || take_frames(room, have, true) != have) && !V.over)
    broken("malformed packed message from the master");
}

static void take_all(void)
{
  if (strange())
    broken("what came is not fsyscall's protocol");
  size_t at = take_frames(V.in, V.have, false);
  V.have -= at;
  memmove(V.in, V.in + at, V.have);
}

/* ---- the stream ---- */

static void lost(const char *why)
{
  streams_flush(FLUSH_MS);
  say("the connection to the master was lost%s%s", *why ? ": " : "", why);
  end(SLAVE_FAILED);
}

static void read_more(void)
{
  ssize_t n = read(V.o->in, V.in + V.have, sizeof V.in - V.have);
  if (n > 0)
    V.have += (size_t)n;
  else if (!n)
    lost("");
  else if (errno != EAGAIN && errno != EINTR)
    lost(strerror(errno));
}

static void wait_more(void)
{
  struct pollfd p[3] = {{.fd = V.o->in, .events = POLLIN}, {.fd = V.wake, .events = POLLIN}, {.fd = -1}};
  if (poll(p, 2, 0) == 0) {
    out_ack(true);
    if (guess_wants())
      p[2] = (struct pollfd){.fd = V.o->out, .events = POLLOUT};
    poll(p, 3, -1);
  }
  /* What the master said last comes first: that it could not be answered may be because it has left. */
  if (p[0].revents)
    read_more();
  else if (out_lost())
    lost("");
  else if (p[2].revents)
    guess_step();
}

static void raise_limits(void)
{
  struct rlimit r;
  if (!getrlimit(RLIMIT_NOFILE, &r)) {
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
  }
}

static int start(void)
{
  V.wake = wake_open();
  if (V.wake < 0)
    return V.wake;
  raise_limits();
  out_start(V.o->out, V.o->link ? V.o->link : V.o->out, V.wake);
  walk_start();
  handles_start();
  watch_start();
  names_start();
  return events_start(V.o->control_fd);
}

int slave_run(const struct slave_options *o)
{
  V.o = o;
  int err = start();
  if (err) {
    say("cannot start: %s", strerror(-err));
    return SLAVE_FAILED;
  }
  if (!hello_send())
    lost("");
  err = terminal_start();
  if (err)
    broken("the terminal cannot be read: %s", strerror(-err));
  while (!V.over) {
    wait_more();
    if (!V.over)
      take_all();
  }
  return V.result;
}
