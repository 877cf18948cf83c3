/*
 * Messages: checked, read and built, in either byte order.
 *
 * Owns nothing. A message may come from an enemy and may change while it is looked at only if its owner lets it: the
 * library checks its own copies. Must never read beyond the size that it was given.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "syslink/message.h"

#define HEAD_AT offsetof(struct syslink_msg, sm_head)
#define ROUND8(n) (((n) + 7u) & ~7u)

static uint16_t swap16(uint16_t v)
{
  return (uint16_t)(v << 8 | v >> 8);
}

/* ---- checking ---- */

static int order_of(uint16_t proto, struct message *m)
{
  m->swapped = (proto & ~SM_PROTO_REPLY) != SM_PROTO;
  if (m->swapped)
    proto = swap16(proto);
  m->reply = (proto & SM_PROTO_REPLY) != 0;
  return (proto & ~SM_PROTO_REPLY) == SM_PROTO ? 0 : -EINVAL;
}

static struct syslink_elm elm_at(const uint8_t *p, int swapped)
{
  struct syslink_elm e;
  memcpy(&e, p, sizeof e);
  if (!swapped)
    return e;
  return (struct syslink_elm){swap16(e.se_cmd), swap16(e.se_bytes), (int32_t)__builtin_bswap32((uint32_t)e.se_aux)};
}

static int buffer_of(const uint8_t *p, size_t n, struct message *m)
{
  if (!(m->cmd & SE_NESTED) || n < MESSAGE_PEEK)
    return -EINVAL;
  struct syslink_elm e = elm_at(p + sizeof(struct syslink_msg), m->swapped);
  if (e.se_cmd != SE_CMD_BUFFER || e.se_bytes != sizeof e || e.se_aux <= 0 || e.se_aux > SYSLINK_BUF_MAX)
    return -EINVAL;
  m->buffer = (uint32_t)e.se_aux;
  return 0;
}

int sl_message_head(const void *p, size_t n, int whole, struct message *m)
{
  struct syslink_msg s;
  *m = (struct message){0};
  if (n < sizeof s)
    return -EINVAL;
  memcpy(&s, p, sizeof s);
  if (order_of(s.sm_proto, m))
    return -EINVAL;
  struct syslink_elm head = elm_at((const uint8_t *)p + HEAD_AT, m->swapped);
  m->bytes = m->swapped ? swap16(s.sm_bytes) : s.sm_bytes;
  m->label = m->swapped ? __builtin_bswap32(s.sm_label) : s.sm_label;
  m->id = m->swapped ? __builtin_bswap64(s.sm_msgid) : s.sm_msgid;
  m->sessid = m->swapped ? __builtin_bswap64(s.sm_sessid) : s.sm_sessid;
  m->cmd = head.se_cmd;
  if (m->bytes < sizeof s || m->bytes > SYSLINK_MSG_MAX || m->bytes % 8 || (whole && m->bytes != n) ||
      head.se_bytes != m->bytes - HEAD_AT)
    return -EINVAL;
  return m->cmd & SE_BUFFER ? buffer_of(p, n < m->bytes ? n : m->bytes, m) : 0;
}

/* Depth first, without recursion: `end' of every element that is open. */
static int elements_check(const uint8_t *p, const struct message *m)
{
  uint32_t end[SYSLINK_DEPTH_MAX + 1] = {m->bytes}, at = sizeof(struct syslink_msg);
  int depth = 0;
  for (;;) {
    while (at == end[depth])
      if (depth-- == 0)
        return 0;
    if (end[depth] - at < sizeof(struct syslink_elm) || depth == SYSLINK_DEPTH_MAX)
      return -EINVAL;
    struct syslink_elm e = elm_at(p + at, m->swapped);
    bool first = at == sizeof(struct syslink_msg);
    if (e.se_bytes < sizeof e || ROUND8(e.se_bytes) > end[depth] - at || e.se_cmd & SE_BUFFER ||
        ((e.se_cmd & SE_CMD_MASK) >= SE_APP_END && !(first && m->buffer)))
      return -EINVAL;
    if (e.se_cmd & SE_NESTED && e.se_bytes % 8)
      return -EINVAL;
    if (e.se_cmd & SE_NESTED) {
      end[++depth] = at + e.se_bytes;
      at += (uint32_t)sizeof e;
    } else {
      at += ROUND8(e.se_bytes);
    }
  }
}

int sl_message_check(const void *p, size_t n, struct message *m)
{
  if (n > SYSLINK_MSG_MAX)
    return -EFBIG;
  if (sl_message_head(p, n, true, m) || (m->cmd & SE_CMD_MASK) >= SE_APP_END)
    return -EINVAL;
  return m->cmd & SE_NESTED ? elements_check(p, m) : 0;
}

int syslink_msg_check(const void *msg, size_t bytes)
{
  struct message m;
  int err = sl_message_check(msg, bytes, &m);
  if (err)
    errno = -err;
  return err ? -1 : 0;
}

/* ---- reading ---- */

static void elements_native(uint8_t *at, const uint8_t *end)
{
  while (at < end) {
    struct syslink_elm e = elm_at(at, true);
    memcpy(at, &e, sizeof e);
    at += e.se_cmd & SE_NESTED ? sizeof e : ROUND8(e.se_bytes);
  }
}

int syslink_msg_native(struct syslink_msg *msg)
{
  struct message m;
  if (sl_message_head(msg, sizeof *msg + sizeof(struct syslink_elm), false, &m) || !m.swapped)
    return 0;
  msg->sm_proto = swap16(msg->sm_proto);
  msg->sm_bytes = m.bytes;
  msg->sm_label = m.label;
  msg->sm_msgid = m.id;
  msg->sm_sessid = m.sessid;
  msg->sm_head = elm_at((const uint8_t *)&msg->sm_head, true);
  if (m.cmd & SE_NESTED)
    elements_native((uint8_t *)(msg + 1), (uint8_t *)msg + m.bytes);
  return 1;
}

uint32_t syslink_msg_buffer_bytes(const struct syslink_msg *msg)
{
  const struct syslink_elm *e = msg->sm_head.se_cmd & SE_BUFFER ? syslink_elm_first(&msg->sm_head) : 0;
  return e ? (uint32_t)e->se_aux : 0;
}

const struct syslink_elm *syslink_elm_first(const struct syslink_elm *in)
{
  return in->se_cmd & SE_NESTED && in->se_bytes > sizeof *in ? in + 1 : 0;
}

const struct syslink_elm *syslink_elm_next(const struct syslink_elm *in, const struct syslink_elm *after)
{
  const uint8_t *at = (const uint8_t *)after + ROUND8(after->se_bytes), *end = (const uint8_t *)in + in->se_bytes;
  return at < end ? (const struct syslink_elm *)at : 0;
}

/* ---- building ---- */

static struct syslink_elm *elm_of(struct syslink_builder *b, size_t at)
{
  return (struct syslink_elm *)((uint8_t *)b->msg + at);
}

/* Room for an element at the end; 0 and bad without. */
static struct syslink_elm *append(struct syslink_builder *b, uint16_t cmd, int32_t aux, size_t data)
{
  size_t n = data <= SYSLINK_MSG_MAX ? ROUND8(sizeof(struct syslink_elm) + data) : SYSLINK_MSG_MAX + 8;
  if (!b->bad)
    b->bad = b->depth == SYSLINK_DEPTH_MAX ? EINVAL : b->room - b->bytes < n ? EMSGSIZE : 0;
  if (b->bad)
    return 0;
  struct syslink_elm *e = elm_of(b, b->bytes);
  memset(e, 0, n);
  *e = (struct syslink_elm){cmd, (uint16_t)(sizeof *e + data), aux};
  elm_of(b, b->open[b->depth])->se_cmd |= SE_NESTED;
  b->bytes += n;
  return e;
}

void syslink_msg_begin(struct syslink_builder *b, void *room, size_t size, uint16_t cmd, uint64_t id)
{
  *b = (struct syslink_builder){.msg = room, .room = size < SYSLINK_MSG_MAX ? size : SYSLINK_MSG_MAX};
  b->open[0] = HEAD_AT;
  b->bytes = sizeof *b->msg;
  b->bad = (uintptr_t)room % 8 || cmd >= SE_APP_END ? EINVAL : size < sizeof *b->msg ? EMSGSIZE : 0;
  if (!b->bad)
    *b->msg = (struct syslink_msg){.sm_proto = SM_PROTO, .sm_msgid = id, .sm_head = {.se_cmd = cmd}};
}

void syslink_msg_reply(struct syslink_builder *b, void *room, size_t size, const struct syslink_msg *command, int error)
{
  struct message m;
  int err = sl_message_head(command, sizeof *command + sizeof(struct syslink_elm), false, &m);
  syslink_msg_begin(b, room, size, err ? SE_APP_END : m.cmd & SE_CMD_MASK, m.id);
  if (b->bad)
    return;
  b->msg->sm_proto |= SM_PROTO_REPLY;
  b->msg->sm_label = m.label;
  b->msg->sm_sessid = m.sessid;
  b->msg->sm_head.se_aux = error;
}

void syslink_msg_buffer(struct syslink_builder *b, uint32_t bytes)
{
  if (b->bytes != sizeof *b->msg || !bytes || bytes > SYSLINK_BUF_MAX)
    b->bad = EINVAL;
  else if (append(b, SE_CMD_BUFFER, (int32_t)bytes, 0))
    b->msg->sm_head.se_cmd |= SE_BUFFER;
}

void syslink_elm_put(struct syslink_builder *b, uint16_t cmd, int32_t aux, const void *data, size_t bytes)
{
  struct syslink_elm *e = append(b, cmd, aux, bytes);
  if (e && bytes)
    memcpy(e + 1, data, bytes);
  if (cmd >= SE_APP_END)
    b->bad = EINVAL;
}

void syslink_elm_open(struct syslink_builder *b, uint16_t cmd, int32_t aux)
{
  if (cmd >= SE_APP_END)
    b->bad = EINVAL;
  size_t at = b->bytes;
  if (!append(b, cmd | SE_NESTED, aux, 0))
    return;
  b->open[++b->depth] = (uint16_t)at;
}

void syslink_elm_close(struct syslink_builder *b)
{
  if (!b->depth)
    b->bad = EINVAL;
  if (b->bad)
    return;
  elm_of(b, b->open[b->depth])->se_bytes = (uint16_t)(b->bytes - b->open[b->depth]);
  b->depth--;
}

ssize_t syslink_msg_end(struct syslink_builder *b)
{
  if (b->depth && !b->bad)
    b->bad = EINVAL;
  if (b->bad) {
    errno = b->bad;
    return -1;
  }
  b->msg->sm_bytes = (uint16_t)b->bytes;
  b->msg->sm_head.se_bytes = (uint16_t)(b->bytes - HEAD_AT);
  return (ssize_t)b->bytes;
}

void sl_message_answer(void *out, const struct message *command, int error)
{
  struct syslink_msg s = {.sm_proto = SM_PROTO | SM_PROTO_REPLY, .sm_bytes = sizeof s, .sm_label = command->label};
  s.sm_msgid = command->id;
  s.sm_sessid = command->sessid;
  s.sm_head = (struct syslink_elm){command->cmd & SE_CMD_MASK, sizeof(struct syslink_elm), error};
  if (command->swapped) {
    s.sm_proto = swap16(s.sm_proto);
    s.sm_bytes = swap16(s.sm_bytes);
    s.sm_label = __builtin_bswap32(s.sm_label);
    s.sm_msgid = __builtin_bswap64(s.sm_msgid);
    s.sm_sessid = __builtin_bswap64(s.sm_sessid);
    s.sm_head = elm_at((const uint8_t *)&s.sm_head, true);
  }
  memcpy(out, &s, sizeof s);
}
