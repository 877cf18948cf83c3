/*
 * The end of the command and of the session: nothing posted is lost, nothing late is left unsaid.
 *
 * Owns the order of the last frames: the figures, EXIT, and DONE when the last program has gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "hub/ahead.h"
#include "hub/internal.h"

#define STATUS_IOERR 74 /* EX_IOERR of sysexits.h */
#define LINE_MAX_ 4608
#define STATS_LINE 80 /* bytes of a figure's line at most */

/* ---- the figures ---- */

static const struct {
  enum counter n;
  const char *text;
} figures[] = {
    {N_LOCAL, "calls run by the master's kernel"},
    {N_MEMORY, "calls answered from memory"},
    {N_WAITED, "round trips"},
    {N_POSTED, "calls sent without waiting"},
    {N_TRAPPED, "calls that came by trap"},
    {N_REWRITTEN, "calls through rewritten sites"},
    {N_SITES, "sites rewritten"},
    {N_PROCESSES, "processes"},
    {N_THREADS, "threads"},
    {N_EXECS, "programs executed"},
    {N_SIGNALS, "signals handled"},
    {N_BYTES_OUT, "bytes to the slave"},
    {N_BYTES_IN, "bytes from the slave"},
    {N_SAVED_OUT, "bytes to the slave that packing saved"},
    {N_SAVED_IN, "bytes from the slave that packing saved"},
    {N_STORED, "bytes kept by earlier sessions"},
    {N_FRAMES_OUT, "frames to the slave"},
    {N_FRAMES_IN, "frames from the slave"},
    {N_AHEAD, "bytes that came before a program asked for them"},
    {N_WASTED, "of those, bytes that none did ask for"},
    {N_ENOSYS, "calls without a row"},
};

static const char *name_of(uint16_t op)
{
  const struct row *row = row_of_op(op);
  return row && row->name ? row->name : "matters of the session";
}

/* The round trips by call, most of them first. */
static size_t waits_text(const struct hub *h, char *text, size_t room)
{
  uint64_t left[WAITS_MAX];
  size_t n = 0;
  for (unsigned i = 0; i < WAITS_MAX; i++)
    left[i] = __atomic_load_n(&h->s->waits[i], __ATOMIC_RELAXED);
  for (;;) {
    unsigned most = 0;
    for (unsigned i = 1; i < WAITS_MAX; i++)
      most = left[i] > left[most] ? i : most;
    if (!left[most])
      return n;
    n += (size_t)snprintf(text + n, room - n, "%12lu   for %s\n", left[most], name_of((uint16_t)most));
    left[most] = 0;
  }
}

/* Text of the figures, malloc'd; its length in *n. */
static char *stats_text(struct hub *h, size_t *n)
{
  size_t room = STATS_LINE * (sizeof figures / sizeof figures[0] + WAITS_MAX);
  char *text = malloc(room);
  *n = 0;
  for (unsigned i = 0; text && i < sizeof figures / sizeof figures[0]; i++) {
    if (figures[i].n == N_WASTED)
      kept_count_unused(h);
    unsigned long v = __atomic_load_n(&h->s->counters[figures[i].n], __ATOMIC_RELAXED);
    *n += (size_t)snprintf(text + *n, room - *n, "%12lu %s\n", v, figures[i].text);
    if (figures[i].n == N_WAITED)
      *n += waits_text(h, text + *n, room - *n);
  }
  return text;
}

static void tell_stats(struct hub *h)
{
  size_t n;
  char *text = h->o.stats ? stats_text(h, &n) : 0;
  if (!text)
    return;
  struct iovec part = {text, n};
  if (h->out >= 0 && !(h->o.flags & SF_REVERSE))
    hub_send(h, (struct frame){.type = F_STATS}, &part, 1);
  else if (writev(STDERR_FILENO, &part, 1) < 0)
    log_more("the figures could not be written");
  free(text);
}

/* ---- late failures ---- */

/* Through the slave's standard error, as the program itself would have said it. */
static void tell_late(struct hub *h, const struct late *l)
{
  char line[LINE_MAX_];
  if (h->o.flags & SF_REVERSE) {
    log_line("%s: %s", l->path, strerror(-l->err));
    return;
  }
  uint8_t head[12];
  bool raw = h->pty.wanted && h->s->facts.stdio[2].kind == K_TTY;
  int n = snprintf(line, sizeof line, "nexec: %s: %s%s", l->path, strerror(-l->err), raw ? "\r\n" : "\n");
  size_t len = n < (int)sizeof line ? (size_t)n : sizeof line - 1;
  struct wbuf w = {head, head + sizeof head, false};
  put_u64(&w, H_STDERR);
  put_u32(&w, (uint32_t)len);
  struct iovec parts[] = {{head, sizeof head}, {line, len}};
  hub_send(h, (struct frame){.type = F_POST, .op = OP_write}, parts, 2);
}

static bool tell_all_late(struct hub *h)
{
  bool any = false;
  files_collect_late(h);
  for (struct late *l = h->late, *next; l; l = next) {
    next = l->next;
    tell_late(h, l);
    free(l);
    any = true;
  }
  h->late = 0;
  return any;
}

/* ---- the command ---- */

void command_ended(struct hub *h)
{
  siginfo_t info = {0};
  if (h->status >= 0 || waitid(P_PID, (id_t)h->command, &info, WEXITED | WNOHANG) || !info.si_pid)
    return;
  h->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
  close(h->command_fd);
  stores_flush(h);
  h->barrier = h->seq;
}

static void send_exit(struct hub *h)
{
  if (tell_all_late(h) && !h->status)
    h->status = STATUS_IOERR;
  tell_stats(h);
  hub_send(h, (struct frame){.type = F_EXIT, .result = h->status}, 0, 0);
  h->result = h->status;
  h->exit_sent = true;
  pty_hangup(h);
  /* Kept open until here for what had to be said. */
  struct file *f = file_at(h, H_STDERR);
  if (f && f->kept) {
    f->kept = false;
    file_close(h, f);
  }
}

/* The stream is closed by the slave, who has read everything then. */
static void send_done(struct hub *h)
{
  uint64_t deadline = now_ms() + 10000;
  char rest[4096];
  hub_send(h, (struct frame){.type = F_DONE}, 0, 0);
  hub_flush(h);
  while (h->queue.bytes && !h->over && !h->out_error && now_ms() < deadline) {
    struct epoll_event e;
    epoll_wait(h->epoll, &e, 1, 50);
    hub_flush(h);
  }
  shutdown(h->out, SHUT_WR);
  close(h->out);
  h->out = -1;
  while (now_ms() < deadline && !read_until(h->in, rest, 1, deadline))
    continue;
}

void finish_step(struct hub *h, bool drained)
{
  if (h->over || h->status < 0)
    return;
  if (!h->exit_sent && h->peer_ack >= h->barrier && pty_empty(h) && ahead_done(h->barrier))
    send_exit(h);
  if (!h->exit_sent || !h->requests_ended || !drained || h->closing || socks_busy(h))
    return;
  if (h->out >= 0)
    send_done(h);
  h->over = true;
}
