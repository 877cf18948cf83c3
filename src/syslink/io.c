/*
 * Messages in and out of an end, and the replies that nobody sent.
 *
 * A packet is the message; with a buffer it is the message, zeros up to SYSLINK_MSG_MAX, and the buffer's bytes, or
 * (the buffer's file comes along) its offset in there: so a reader with room for anything receives both in place at
 * once. Owns nothing. Must never leave a command of ours without its one reply, nor enter what the other side sent
 * without checking it: a message that no library would have sent ends the link.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "syslink/end.h"

#define SHARE_MIN 16384 /* a smaller buffer is copied faster than it is mapped */

union control {
  struct cmsghdr head;
  char room[CMSG_SPACE(sizeof(int))];
};

struct packet {
  struct message m;
  size_t bytes; /* of all of it */
  int file;     /* that came along, -1 */
};

static bool nonblocking(int fd)
{
  return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

/* ---- out ---- */

static int error_of_send(void)
{
  switch (errno) {
  case ECONNREFUSED:
  case ECONNRESET:
  case ENOTCONN:
  case ESHUTDOWN:
    return -EPIPE;
  default:
    return -errno;
  }
}

static int send_packet(int fd, const struct iovec *parts, int n, int file)
{
  union control c;
  struct msghdr h = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)n};
  if (file >= 0) {
    memset(&c, 0, sizeof c);
    h.msg_control = &c;
    h.msg_controllen = sizeof c;
    c.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof file), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&c.head), &file, sizeof file);
  }
  return sendmsg(fd, &h, MSG_NOSIGNAL) < 0 ? error_of_send() : 0;
}

static int send_file(int fd, const struct iovec *message, int file, uint64_t offset)
{
  static const char zeros[SYSLINK_MSG_MAX];
  struct iovec parts[3] = {*message, {(void *)(uintptr_t)zeros, SYSLINK_MSG_MAX - message->iov_len}, {&offset, 8}};
  return send_packet(fd, parts, 3, file);
}

static int send_inline(int fd, const struct iovec *iov)
{
  static const char zeros[SYSLINK_MSG_MAX];
  struct iovec parts[3] = {iov[0], {(void *)(uintptr_t)zeros, SYSLINK_MSG_MAX - iov[0].iov_len}, iov[1]};
  return send_packet(fd, parts, 3, -1);
}

/* Where a packet of this size is more than the system lets a socket hold. */
static int send_copied(int fd, const struct iovec *iov)
{
  int file = sl_buffer_copy(iov[1].iov_base, iov[1].iov_len);
  if (file < 0)
    return file;
  int err = send_file(fd, iov, file, 0);
  close(file);
  return err;
}

/* What a reply brings is copied: its sender never learns when it may use the memory again. */
static int transmit(int fd, const struct iovec *iov, const struct message *m)
{
  uint64_t offset;
  if (!m->buffer)
    return send_packet(fd, iov, 1, -1);
  int file = m->reply || m->buffer < SHARE_MIN ? -1 : sl_buffer_file(iov[1].iov_base, m->buffer, &offset);
  int err = file >= 0 ? send_file(fd, iov, file, offset) : -ETOOMANYREFS;
  if (err == -ETOOMANYREFS)
    err = send_inline(fd, iov);
  return err == -EMSGSIZE ? send_copied(fd, iov) : err;
}

/* With the end's lock. Others wait for what is settled: whoever finds the link's end. */
static void settle(struct end *e, struct ledger *l, const struct message *m, uint32_t stamp, bool drop)
{
  struct ledger_entry *c = sl_ledger_find(l, m->id);
  if (c && c->stamp == stamp && drop)
    sl_ledger_drop(l, c);
  else if (c && c->stamp == stamp)
    c->state = ENTRY_SETTLED;
  if (e->dead)
    pthread_cond_broadcast(&e->settled);
}

/* Room for one more command may come by a reply's being read, or not at all: -EPIPE, -EINTR, -EAGAIN. */
static int wait_room(struct end *e, int fd)
{
  if (nonblocking(fd))
    return -EAGAIN;
  if (e->room < 0 && (e->room = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) < 0)
    return -errno;
  struct pollfd p[2] = {{.fd = fd}, {.fd = e->room, .events = POLLIN}};
  e->waiting++;
  pthread_mutex_unlock(&e->lock);
  int n = poll(p, 2, -1), err = n < 0 ? -errno : 0;
  uint64_t one;
  if (!err && p[1].revents && read(e->room, &one, sizeof one) < 0)
    err = errno == EAGAIN ? 0 : -errno;
  pthread_mutex_lock(&e->lock);
  e->waiting--;
  return !err && p[0].revents & (POLLHUP | POLLERR | POLLNVAL) ? -EPIPE : err;
}

/* With the lock, but for the time of waiting. */
static int enter_command(struct end *e, int fd, const struct message *m, uint32_t *stamp)
{
  struct ledger_entry *c;
  int err;
  while ((err = e->dead ? -EPIPE : sl_ledger_add(&e->sent, m->id, &c)))
    if (err != -EAGAIN || (err = wait_room(e, fd)))
      return err;
  c->sessid = m->sessid;
  c->label = m->label;
  c->cmd = m->cmd;
  c->swapped = m->swapped;
  c->state = ENTRY_SENDING;
  *stamp = c->stamp;
  return 0;
}

/* With the lock. While it is on its way it is no command that a second reply could be for. */
static int enter_reply(struct end *e, const struct message *m, uint32_t *stamp)
{
  struct ledger_entry *c = sl_ledger_find(&e->taken, m->id);
  if (!c || c->state == ENTRY_SENDING)
    return -ENOENT;
  if (c->label != m->label || c->sessid != m->sessid)
    return -EINVAL;
  c->state = ENTRY_SENDING;
  *stamp = c->stamp;
  return 0;
}

static int write_message(struct end *e, int fd, const struct iovec *iov, const struct message *m)
{
  struct ledger *l = m->reply ? &e->taken : &e->sent;
  uint32_t stamp;
  pthread_mutex_lock(&e->lock);
  int err = m->reply ? enter_reply(e, m, &stamp) : enter_command(e, fd, m, &stamp);
  pthread_mutex_unlock(&e->lock);
  if (err)
    return err;
  err = transmit(fd, iov, m);
  pthread_mutex_lock(&e->lock);
  settle(e, l, m, stamp, m->reply ? !err || err == -EPIPE : err);
  pthread_mutex_unlock(&e->lock);
  return err;
}

static int check_out(const struct iovec *iov, int n, struct message *m)
{
  size_t buffer = n == 2 ? iov[1].iov_len : 0;
  if (n > 2 || (n > 0 && iov[0].iov_len > SYSLINK_MSG_MAX) || buffer > SYSLINK_BUF_MAX)
    return -EFBIG;
  if (n < 1)
    return -EINVAL;
  int err = sl_message_check(iov[0].iov_base, iov[0].iov_len, m);
  return err ? err : m->buffer != buffer ? -EINVAL : 0;
}

static ssize_t finish(struct end *e, ssize_t r)
{
  sl_end_put(e);
  if (r >= 0)
    return r;
  errno = (int)-r;
  return -1;
}

ssize_t syslink_writev(int fd, const struct iovec *iov, int iovcnt)
{
  struct message m;
  struct end *e = sl_end_get(fd);
  if (!e)
    return -1;
  int err = check_out(iov, iovcnt, &m);
  if (!err)
    err = write_message(e, fd, iov, &m);
  return finish(e, err ? err : (ssize_t)m.bytes);
}

/* ---- in ---- */

/* The descriptor that came along; none of a message that is not ours stays open. */
static int file_of(struct msghdr *h)
{
  int file = -1;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof file))
      memcpy(&file, CMSG_DATA(c), sizeof file);
  return file;
}

/* What comes next, and how large it is: more than 0, 0 at the end, -EAGAIN, -EPROTO. */
static int peek(int fd, struct message *m)
{
  _Alignas(8) char head[MESSAGE_PEEK];
  ssize_t n = recv(fd, head, sizeof head, MSG_PEEK);
  if (n <= 0)
    return n ? -errno : 0;
  return sl_message_head(head, (size_t)n, false, m) ? -EPROTO : 1;
}

/* Into the caller's memory, in place. */
static int take_packet(int fd, const struct iovec *iov, int n, struct packet *p)
{
  char gap[SYSLINK_MSG_MAX]; /* what comes here are zeros */
  size_t first = iov[0].iov_len < SYSLINK_MSG_MAX ? iov[0].iov_len : SYSLINK_MSG_MAX;
  size_t second = n < 2 ? 0 : iov[1].iov_len < SYSLINK_BUF_MAX ? iov[1].iov_len : SYSLINK_BUF_MAX;
  struct iovec parts[3] = {{iov[0].iov_base, first}, {gap, SYSLINK_MSG_MAX - first}};
  union control c;
  struct msghdr h = {.msg_iov = parts, .msg_iovlen = 3, .msg_control = &c, .msg_controllen = sizeof c};
  if (second)
    parts[2] = (struct iovec){iov[1].iov_base, second};
  ssize_t r = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
  if (r <= 0)
    return r ? -errno : 0;
  p->bytes = (size_t)r;
  p->file = file_of(&h);
  return h.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO : 1;
}

static int take_buffer(const struct iovec *iov, int n, const struct packet *p)
{
  uint64_t offset;
  if (!p->m.buffer)
    return p->bytes == p->m.bytes && p->file < 0 ? 0 : -EPROTO;
  if (n < 2 || iov[1].iov_len < p->m.buffer)
    return -EPROTO;
  if (p->file < 0)
    return p->bytes == SYSLINK_MSG_MAX + p->m.buffer ? 0 : -EPROTO;
  if (p->bytes != SYSLINK_MSG_MAX + sizeof offset || p->m.buffer < sizeof offset || p->m.reply)
    return -EPROTO;
  memcpy(&offset, iov[1].iov_base, sizeof offset);
  return sl_buffer_take(p->file, offset, iov[1].iov_base, p->m.buffer);
}

static int check_in(const struct iovec *iov, int n, struct packet *p)
{
  size_t have = p->bytes < iov[0].iov_len ? p->bytes : iov[0].iov_len;
  if (sl_message_head(iov[0].iov_base, have, false, &p->m) || p->m.bytes > have ||
      sl_message_check(iov[0].iov_base, p->m.bytes, &p->m))
    return -EPROTO;
  return take_buffer(iov, n, p) ? -EPROTO : 0;
}

static int enter_taken(struct end *e, const struct message *m)
{
  struct ledger_entry *c;
  if (sl_ledger_add(&e->taken, m->id, &c))
    return -EPROTO;
  c->label = m->label;
  c->sessid = m->sessid;
  return 0;
}

static int enter_replied(struct end *e, const struct message *m)
{
  struct ledger_entry *c = sl_ledger_find(&e->sent, m->id);
  uint64_t one = 1;
  if (!c || c->label != m->label || c->sessid != m->sessid)
    return -EPROTO;
  sl_ledger_drop(&e->sent, c);
  return e->waiting && write(e->room, &one, sizeof one) < 0 ? -errno : 0;
}

static int enter(struct end *e, const struct message *m)
{
  pthread_mutex_lock(&e->lock);
  int err = m->reply ? enter_replied(e, m) : enter_taken(e, m);
  pthread_mutex_unlock(&e->lock);
  return err;
}

/* Bytes of a message; 0 at the end; -EAGAIN, -ENOSPC: it stays where it is; -EPROTO: no library sent that. */
static int take(struct end *e, int fd, const struct iovec *iov, int n)
{
  struct packet p = {.file = -1};
  bool roomy = n == 2 && iov[0].iov_len >= SYSLINK_MSG_MAX && iov[1].iov_len >= SYSLINK_BUF_MAX;
  int r = roomy ? 1 : peek(fd, &p.m);
  if (r > 0 && !roomy && (p.m.bytes > iov[0].iov_len || (p.m.buffer && (n < 2 || p.m.buffer > iov[1].iov_len))))
    return -ENOSPC;
  if (r > 0)
    r = take_packet(fd, iov, n, &p);
  if (r > 0)
    r = check_in(iov, n, &p);
  else
    r = r ? r : -ESHUTDOWN;
  if (!r)
    r = enter(e, &p.m);
  if (p.file >= 0)
    close(p.file);
  return r == -ESHUTDOWN ? 0 : r ? r : p.m.bytes;
}

/* One of our own commands that has no reply and cannot get one any more. */
static struct ledger_entry *unreplied(struct end *e)
{
  struct ledger_entry *c = e->sent.at;
  while ((c = sl_ledger_next(&e->sent, c)) && c->state == ENTRY_SENDING)
    c++;
  return c;
}

/* With `reading': the reply that the other side owes, or 0 when it owes none. */
static int answer(struct end *e, const struct iovec *iov)
{
  struct ledger_entry *c;
  int r = 0;
  pthread_mutex_lock(&e->lock);
  while (!(c = unreplied(e)) && e->sent.count)
    pthread_cond_wait(&e->settled, &e->lock);
  if (c && iov[0].iov_len < sizeof(struct syslink_msg)) {
    r = -ENOSPC;
  } else if (c) {
    struct message m = {.id = c->id, .sessid = c->sessid, .label = c->label, .cmd = c->cmd, .swapped = c->swapped != 0};
    sl_message_answer(iov[0].iov_base, &m, e->why);
    sl_ledger_drop(&e->sent, c);
    r = sizeof(struct syslink_msg);
  }
  pthread_mutex_unlock(&e->lock);
  return r;
}

static bool is_dead(struct end *e)
{
  pthread_mutex_lock(&e->lock);
  bool dead = e->dead;
  pthread_mutex_unlock(&e->lock);
  return dead;
}

/*
 * One thread waits in the kernel, the others for their turn: a message goes to one of them without waking all.
 * A connection that was reset says so once, in front of what it still holds.
 */
static int read_once(struct end *e, int fd, const struct iovec *iov, int n)
{
  pthread_mutex_lock(&e->reading);
  int r = -ECONNRESET;
  while (r == -ECONNRESET)
    r = is_dead(e) ? 0 : take(e, fd, iov, n);
  if (!r || r == -EPROTO) {
    sl_end_break(e, fd, r ? EPROTO : ECONNABORTED);
    r = answer(e, iov);
  }
  pthread_mutex_unlock(&e->reading);
  return r;
}

ssize_t syslink_readv(int fd, const struct iovec *iov, int iovcnt)
{
  struct end *e = sl_end_get(fd);
  if (!e)
    return -1;
  return finish(e, iovcnt > 2 ? -EFBIG : iovcnt < 1 ? -EINVAL : read_once(e, fd, iov, iovcnt));
}
