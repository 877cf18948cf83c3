/*
 * The tests' master. Owns one slave per struct; must never leave one behind: master_wait() or master_end() comes last.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master.h"
#include "unit.h"

#define PATIENCE_MS 20000

static void be_slave(const struct master *m, int stream, int status, int control)
{
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(m->in[0], 0);
  dup2(m->out[1], 1);
  close(m->in[0]);
  close(m->in[1]);
  close(m->out[0]);
  close(m->out[1]);
  close(m->fd);
  close(m->status);
  close(m->control);
  struct slave_options o = {
      .in = stream, .out = stream, .status_fd = status, .control_fd = control, .stats_fd = 2, .trace_fd = 2};
  _exit(slave_run(&o));
}

void master_start(struct master *m)
{
  int stream[2], status[2], control[2];
  memset(m, 0, sizeof *m);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
  assert_int_equal(pipe(status) | pipe(control) | pipe(m->in) | pipe(m->out), 0);
  m->fd = stream[0];
  m->status = status[0];
  m->control = control[1];
  fflush(0);
  m->pid = fork();
  assert_true(m->pid >= 0);
  if (!m->pid)
    be_slave(m, stream[1], status[1], control[0]);
  close(stream[1]);
  close(status[1]);
  close(control[0]);
  close(m->in[0]);
  close(m->out[1]);
}

static void write_all(int fd, const void *p, size_t n)
{
  while (n) {
    ssize_t r = send(fd, p, n, MSG_NOSIGNAL);
    assert_true(r > 0);
    p = (const char *)p + r;
    n -= (size_t)r;
  }
}

void master_send(struct master *m, uint8_t type, uint8_t flags, uint16_t op, int64_t result, const void *body,
                 uint32_t n)
{
  uint8_t head[sizeof(struct frame)];
  struct frame f = {.len = (uint32_t)sizeof f + n,
                    .type = type,
                    .flags = flags,
                    .op = op,
                    .tag = m->tag,
                    .ctx = 1,
                    .seq = type == F_ACK ? 0 : ++m->seq,
                    .ack = m->f.seq,
                    .result = result};
  frame_put(head, &f);
  write_all(m->fd, head, sizeof head);
  write_all(m->fd, body, n);
}

static bool read_all(int fd, void *p, size_t n)
{
  while (n) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1)
      fail_msg("the slave says nothing");
    ssize_t r = read(fd, p, n);
    if (r <= 0)
      return false;
    p = (char *)p + r;
    n -= (size_t)r;
  }
  return true;
}

bool master_take(struct master *m)
{
  uint8_t head[sizeof(struct frame)];
  uint64_t seq = m->f.seq;
  if (!read_all(m->fd, head, sizeof head))
    return false;
  assert_true(frame_get(&m->f, head));
  if (m->f.type == F_ACK)
    m->f.seq = seq;
  else
    assert_int_equal(m->f.seq, seq + 1);
  assert_true(m->f.ack >= m->acked && m->f.ack <= m->seq);
  m->acked = m->f.ack;
  return read_all(m->fd, m->body, m->f.len - sizeof m->f);
}

void master_expect(struct master *m, uint8_t type)
{
  for (;;) {
    assert_true(master_take(m));
    if (m->f.type == type)
      return;
    if (m->f.type != F_ACK && m->f.type != F_WINDOW && m->f.type != F_INVALID)
      fail_msg("a frame of type %d came, not %d: %.*s", m->f.type, type, m->f.type == F_ABORT ? 80 : 0, m->body);
  }
}

void master_hello(struct master *m, const char *const *rules)
{
  master_begin(m);
  put_fact_ints(&m->w, FACT_MAGIC, (uint64_t[]){WIRE_MAGIC}, 1);
  put_fact_ints(&m->w, FACT_VERSION, (uint64_t[]){WIRE_VERSION}, 1);
  for (; rules && *rules; rules++)
    put_fact(&m->w, FACT_RULE, *rules, (uint32_t)strlen(*rules));
  master_send(m, F_HELLO, 0, 0, 0, m->request, (uint32_t)(m->w.at - m->request));
  master_expect(m, F_HELLO);
}

void master_begin(struct master *m)
{
  m->w = (struct wbuf){m->request, m->request + sizeof m->request, false};
}

uint32_t master_call(struct master *m, uint16_t op, uint8_t flags)
{
  m->tag++;
  master_send(m, F_CALL, flags, op, 022, m->request, (uint32_t)(m->w.at - m->request));
  return m->tag;
}

void master_post(struct master *m, uint16_t op)
{
  master_send(m, F_POST, 0, op, 022, m->request, (uint32_t)(m->w.at - m->request));
}

long master_reply(struct master *m, uint32_t tag)
{
  master_expect(m, F_REPLY);
  assert_int_equal(m->f.tag, tag);
  return (long)m->f.result;
}

long master_open(struct master *m, uint64_t base, const char *path, int flags, int mode, uint32_t handle)
{
  master_begin(m);
  put_u64(&m->w, base);
  put_blob(&m->w, path, (uint32_t)strlen(path));
  put_u64(&m->w, (uint64_t)flags);
  put_u64(&m->w, (uint64_t)mode);
  put_u64(&m->w, handle);
  return master_reply(m, master_call(m, OP_openat, FF_CONTENTS));
}

int master_wait(struct master *m)
{
  int status;
  close(m->fd);
  close(m->status);
  close(m->control);
  close(m->in[1]);
  close(m->out[0]);
  assert_int_equal(waitpid(m->pid, &status, 0), m->pid);
  if (!WIFEXITED(status))
    fail_msg("the slave was killed by signal %d", WTERMSIG(status));
  return WEXITSTATUS(status);
}

int master_end(struct master *m, int status)
{
  char line[16] = "", want[16];
  master_send(m, F_EXIT, 0, 0, status, "", 0);
  assert_true(read(m->status, line, sizeof line - 1) > 0);
  snprintf(want, sizeof want, "%d\n", status);
  assert_string_equal(line, want);
  master_send(m, F_DONE, 0, 0, 0, "", 0);
  while (master_take(m))
    ;
  return master_wait(m);
}
