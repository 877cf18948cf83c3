/*
 * What libsyslink does with bytes of an enemy: messages are checked, turned and walked through; packets reach an end
 * past the library, between commands of its own. Whatever comes, every command has one reply in the end, and nothing
 * fails.
 *
 * An input is a sequence of packets, each behind its length (2 bytes).
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "syslink/syslink.h"

#define COMMANDS 4

union room {
  struct syslink_msg msg;
  uint8_t bytes[SYSLINK_MSG_MAX];
};

static unsigned walk(const struct syslink_elm *in, int depth)
{
  unsigned sum = 0;
  assert(depth <= SYSLINK_DEPTH_MAX);
  for (const struct syslink_elm *e = syslink_elm_first(in); e; e = syslink_elm_next(in, e)) {
    const uint8_t *data = syslink_elm_data(e);
    assert((const uint8_t *)e + e->se_bytes <= (const uint8_t *)in + in->se_bytes);
    if (e->se_cmd & SE_NESTED)
      sum += walk(e, depth + 1);
    for (size_t i = 0; !(e->se_cmd & SE_NESTED) && i < syslink_elm_bytes(e); i++)
      sum += data[i];
  }
  return sum;
}

static void one_message(const uint8_t *p, size_t n)
{
  struct syslink_msg *m = malloc(n); /* of that size, for whoever reads beyond it */
  memcpy(m, p, n);
  if (!syslink_msg_check(m, n)) {
    syslink_msg_native(m);
    assert(!syslink_msg_check(m, n));
    assert(!syslink_msg_native(m));
    assert(syslink_msg_buffer_bytes(m) <= SYSLINK_BUF_MAX);
    walk(&m->sm_head, 0);
  }
  free(m);
}

static void command(int fd, uint64_t id)
{
  struct syslink_builder b;
  union room r;
  syslink_msg_begin(&b, &r, sizeof r, 1, id);
  struct iovec iov = {&r, (size_t)syslink_msg_end(&b)};
  assert(syslink_writev(fd, &iov, 1) > 0);
}

/* Reads as one who looks first, or as one with room for everything. */
static void read_all(int fd, int roomy)
{
  static uint8_t buffer[SYSLINK_BUF_MAX];
  unsigned replies = 0;
  union room r;
  struct iovec iov[2] = {{&r, sizeof r}, {buffer, roomy ? sizeof buffer : sizeof buffer - 1}};
  ssize_t n;
  while ((n = syslink_readv(fd, iov, 2)) > 0) {
    assert(!syslink_msg_check(&r, (size_t)n));
    syslink_msg_native(&r.msg);
    walk(&r.msg.sm_head, 0);
    if (r.msg.sm_proto & SM_PROTO_REPLY)
      replies |= 1u << r.msg.sm_msgid;
  }
  assert(n == 0 && replies == (1u << COMMANDS) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
  struct syslink_info info = {.flags = SYSLINK_CLOEXEC};
  int roomy = n % 2;
  assert(!syslink(SYSLINK_CMD_NEW, &info, sizeof info));
  for (unsigned i = 0; i < COMMANDS; i++)
    command(info.fd[0], i);
  while (n > 2) {
    size_t len = (p[0] | (size_t)p[1] << 8) % (SYSLINK_MSG_MAX + 64);
    p += 2;
    n -= 2;
    len = len < n ? len : n;
    one_message(p, len);
    send(info.fd[1], p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    p += len;
    n -= len;
  }
  close(info.fd[1]);
  read_all(info.fd[0], roomy);
  assert(!syslink_close(info.fd[0]));
  return 0;
}

/* Good packets to begin with: commands in both orders, with elements and buffers, and replies to what was asked. */
size_t fuzz_seed(unsigned which, uint8_t *out, size_t room)
{
  struct syslink_builder b;
  union room r = {0};
  uint32_t buffer = which % 3 == 1 ? 32 : 0;
  syslink_msg_begin(&b, &r, sizeof r, 3, which % COMMANDS);
  if (buffer)
    syslink_msg_buffer(&b, buffer);
  for (unsigned i = 0; i < which % 12; i++)
    i % 3 ? syslink_elm_put(&b, 4, 5, "data", i % 5) : syslink_elm_open(&b, 6, 7);
  for (unsigned i = 0; i < which % 12; i += 3)
    syslink_elm_close(&b);
  size_t n = (size_t)syslink_msg_end(&b), all = buffer ? SYSLINK_MSG_MAX + buffer : n;
  if (which % 4 == 3)
    r.msg.sm_proto |= SM_PROTO_REPLY;
  if (all + 2 > room)
    return 0;
  memset(out, 0, all + 2);
  out[0] = (uint8_t)all;
  out[1] = (uint8_t)(all >> 8);
  memcpy(out + 2, &r, n);
  return all + 2;
}
