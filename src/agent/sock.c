/*
 * Sockets of the master's kernel, where they meet descriptors, paths and ids of the slave: descriptors and
 * ids in messages, who is at the other end, unix socket names. Sockets themselves are local and pass.
 */
#include "agent/sock.h"

#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define SO_PEERCRED 17
#define SO_PEERGROUPS 59
#define CONTROL_MAX 65536u
#define IDS_CONTROL_MAX 2048 /* as many descriptors as a message may carry, and ids */
#define MESSAGES_MAX 1024u   /* the kernel's bound of one sendmmsg */

struct mmsg_k {
  struct msg_k msg;
  uint32_t len, pad;
};
struct cmsg_k {
  uint64_t len;
  int32_t level, type;
};
struct ucred_k {
  int32_t pid;
  uint32_t uid, gid;
};

/* A stream of the slave is a socket to the kernel here, which is nobody's business: what the program is told instead,
 * or 0. */
static long no_socket(struct call *c)
{
  struct rfile f;
  if (!file_of(c, (int)c->a[0], &f))
    return 0;
  return f.s->flags & O_PATH ? -EBADF : -ENOTSOCK;
}

long a_listen(struct call *c)
{
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  long r = net_settle(c, (int)c->a[0], 0);
  if (r < 0)
    return r;
  if (net_of(c, (int)c->a[0], &n))
    return net_listen(c, &n);
  r = pass(c);
  if (!r)
    unix_listening(c, (int)c->a[0]);
  return r;
}

long a_shutdown(struct call *c)
{
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  return net_of(c, (int)c->a[0], &n) ? net_shutdown(c, &n) : pass(c);
}

long a_setsockopt(struct call *c)
{
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  return net_of(c, (int)c->a[0], &n) ? net_setsockopt(c, &n) : pass(c);
}

/* ---- what travels beside a message ---- */

typedef long item_fn(struct call *c, const struct cmsg_k *m, uint64_t data);

/* Calls `each' for every item of the socket level's in control data, until one gives something else than 0. */
static long each_item(struct call *c, const struct msg_k *msg, item_fn *each)
{
  struct cmsg_k m;
  uint64_t len = msg->control && msg->controllen <= CONTROL_MAX ? msg->controllen : 0;
  for (uint64_t at = 0; at + sizeof m <= len; at += (m.len + 7) & ~7ul) {
    if (copy_in(&m, (void *)(msg->control + at), sizeof m))
      return -EFAULT;
    if (m.len < sizeof m || m.len > len - at)
      return 0; /* the kernel has something to say about that */
    long r = m.level == SOL_SOCKET ? each(c, &m, msg->control + at + sizeof m) : 0;
    if (r)
      return r;
  }
  return 0;
}

static long each_right(struct call *c, const struct cmsg_k *m, uint64_t data, long (*each)(struct call *c, int fd))
{
  int fd;
  long r = 0;
  for (uint64_t at = 0; !r && m->type == SCM_RIGHTS && at + sizeof fd <= m->len - sizeof *m; at += sizeof fd)
    r = copy_in(&fd, (void *)(data + at), sizeof fd) ? -EFAULT : each(c, fd);
  return r;
}

static long is_ids(struct call *c, const struct cmsg_k *m, uint64_t data)
{
  (void)c;
  (void)data;
  return m->type == SCM_CREDENTIALS && m->len - sizeof *m >= sizeof(struct ucred_k);
}

/* ---- sending ---- */

static long hidden(struct call *c, int fd)
{
  return fd_hidden(c->p, fd) ? -EBADF : 0;
}

static long refuse_hidden(struct call *c, const struct cmsg_k *m, uint64_t data)
{
  return each_right(c, m, data, hidden);
}

/* In the agent's copy: what the program takes for its own ids are not, to the kernel here. */
static long put_own_ids(struct call *c, const struct cmsg_k *m, uint64_t data)
{
  struct ucred_k *u = (struct ucred_k *)data;
  if (!is_ids(c, m, data))
    return 0;
  if (u->uid == uid_shown(session->facts.master_uid))
    u->uid = session->facts.master_uid;
  if (u->gid == gid_shown(session->facts.master_gid))
    u->gid = session->facts.master_gid;
  return 0;
}

static __attribute__((noinline)) long send_ids(struct call *c, struct msg_k *m)
{
  _Alignas(8) uint8_t control[IDS_CONTROL_MAX];
  if (m->controllen > sizeof control || copy_in(control, (void *)m->control, m->controllen))
    return pass(c);
  m->control = (uint64_t)control;
  each_item(c, m, put_own_ids);
  c->a[1] = (uint64_t)m;
  return pass(c);
}

/* A message to a name: sent to what the name stands for. `to' has room for that. */
static long lead_message(struct call *c, struct msg_k *m, struct addr *to)
{
  if (standalone() || !m->name || addr_in(to, m->name, (uint32_t)m->namelen))
    return 0;
  long r = unix_lead(c, (int)c->a[0], to);
  m->name = (uint64_t)to->bytes;
  m->namelen = to->len;
  c->a[1] = (unsigned long)m;
  return r;
}

static long net_sendmsg(struct call *c, struct nsock *n, const struct msg_k *m)
{
  struct addr to = {.len = 0};
  long r = m->name ? addr_in(&to, m->name, (uint32_t)m->namelen) : 0;
  return r ? r : net_send(c, n, m, &to, (int)c->a[2]);
}

long a_sendmsg(struct call *c)
{
  struct msg_k m;
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  if (copy_in(&m, (void *)c->a[1], sizeof m))
    return pass(c);
  if (net_of(c, (int)c->a[0], &n))
    return net_sendmsg(c, &n, &m);
  struct addr to;
  long r = m.name && net_ruled() && !addr_in(&to, m.name, (uint32_t)m.namelen) ? net_settle(c, (int)c->a[0], &to) : 0;
  if (r)
    return r > 0 && net_of(c, (int)c->a[0], &n) ? net_sendmsg(c, &n, &m) : r;
  r = each_item(c, &m, refuse_hidden);
  if (r == 0)
    r = lead_message(c, &m, &to);
  if (r < 0)
    return r;
  return !standalone() && each_item(c, &m, is_ids) > 0 ? send_ids(c, &m) : pass(c);
}

/* One by one, as the kernel does it; an error after the first is told by the next call, if it is still one then. */
static long send_each(struct call *c, unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    struct mmsg_k *at = (struct mmsg_k *)c->a[1] + i;
    struct call one = *c;
    one.nr = __NR_sendmsg;
    one.a[1] = (unsigned long)at;
    one.a[2] = c->a[3];
    long r = a_sendmsg(&one);
    uint32_t sent = (uint32_t)r;
    if (r >= 0)
      r = copy_out(&at->len, &sent, sizeof sent);
    if (r < 0)
      return i ? (long)i : r;
  }
  return n;
}

/* Together, unless there is more to them than bytes. */
long a_sendmmsg(struct call *c)
{
  struct mmsg_k m;
  unsigned n = (unsigned)c->a[2] < MESSAGES_MAX ? (unsigned)c->a[2] : MESSAGES_MAX;
  struct nsock net;
  long none = no_socket(c);
  if (none)
    return none;
  if (net_of(c, (int)c->a[0], &net))
    return send_each(c, n);
  for (unsigned i = 0; i < n; i++)
    if (!copy_in(&m, (struct mmsg_k *)c->a[1] + i, sizeof m) && (m.msg.control || m.msg.name))
      return send_each(c, n);
  return pass(c);
}

/* ---- receiving ---- */

static long forget(struct call *c, int fd)
{
  vft_forget(c->p, fd);
  return 0;
}

/* Descriptors that came are new: what they stand for is to be found out. The sender's ids are shown as all are. */
static long received(struct call *c, const struct cmsg_k *m, uint64_t data)
{
  struct ucred_k u;
  if (!is_ids(c, m, data))
    return each_right(c, m, data, forget);
  if (copy_in(&u, (void *)data, sizeof u))
    return -EFAULT;
  u.uid = uid_shown(u.uid);
  u.gid = gid_shown(u.gid);
  return copy_out((void *)data, &u, sizeof u);
}

/* What the kernel stores in a program's message, which it has been given a copy of. */
static long store_message(struct msg_k *user, const struct msg_k *m, const struct addr *from)
{
  uint32_t room = (uint32_t)m->namelen, n = room < from->len ? room : from->len;
  uint32_t flags = (uint32_t)m->flags;
  bool named = m->name;
  if ((int)room < 0 || n > sizeof from->bytes || (named && copy_out((void *)m->name, from->bytes, n)) ||
      (named && copy_out(&user->namelen, &from->len, sizeof from->len)) ||
      copy_out(&user->controllen, &m->controllen, sizeof m->controllen) || copy_out(&user->flags, &flags, sizeof flags))
    return -EFAULT;
  return 0;
}

static long receive(struct call *c, struct msg_k *m)
{
  struct nsock n;
  struct msg_k *user = (struct msg_k *)c->a[1];
  struct msg_k copy = *m;
  struct addr from;
  if (net_of(c, (int)c->a[0], &n)) {
    long r = net_receive(c, &n, m, &from, (int)c->a[2]);
    long stored = r < 0 ? r : store_message(user, m, &from);
    return stored ? stored : r;
  }
  if (standalone() || !m->name)
    return pass(c);
  copy.name = (uint64_t)from.bytes;
  copy.namelen = sizeof from.bytes;
  c->a[1] = (unsigned long)&copy;
  long r = pass(c);
  c->a[1] = (unsigned long)user;
  if (r < 0)
    return r;
  from.len = (uint32_t)copy.namelen;
  unix_show(&from);
  m->controllen = copy.controllen;
  m->flags = copy.flags;
  long stored = store_message(user, m, &from);
  return stored ? stored : r;
}

long a_recvmsg(struct call *c)
{
  struct msg_k m;
  long none = no_socket(c);
  if (none)
    return none;
  if (copy_in(&m, (void *)c->a[1], sizeof m))
    return pass(c);
  long r = receive(c, &m);
  if (r >= 0 && !copy_in(&m, (void *)c->a[1], sizeof m))
    each_item(c, &m, received);
  return r;
}

/* The kernel has told it already, and cut it where the program's room ended. */
static void show_sender(struct mmsg_k *user, const struct msg_k *m)
{
  struct addr from;
  if (standalone() || !m->name || addr_in(&from, m->name, (uint32_t)m->namelen))
    return;
  unix_show(&from);
  if (!copy_out((void *)m->name, from.bytes, from.len < m->namelen ? from.len : m->namelen))
    copy_out(&user->msg.namelen, &from.len, sizeof from.len);
}

#define MSG_DONTWAIT 0x40
#define MSG_WAITFORONE 0x10000

/* Network sockets: one by one. Only the first is waited for: there is no time-out between calls here. */
static long receive_each(struct call *c, unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    struct mmsg_k *at = (struct mmsg_k *)c->a[1] + i;
    struct call one = *c;
    one.nr = __NR_recvmsg;
    one.a[1] = (unsigned long)at;
    one.a[2] = (c->a[3] & ~(unsigned long)MSG_WAITFORONE) | (i ? MSG_DONTWAIT : 0);
    long r = a_recvmsg(&one);
    uint32_t got = (uint32_t)r;
    if (r >= 0)
      r = copy_out(&at->len, &got, sizeof got);
    if (r < 0)
      return i ? (long)i : r;
  }
  return n;
}

long a_recvmmsg(struct call *c)
{
  struct mmsg_k m;
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  if (net_of(c, (int)c->a[0], &n))
    return receive_each(c, (unsigned)c->a[2] < MESSAGES_MAX ? (unsigned)c->a[2] : MESSAGES_MAX);
  long r = pass(c);
  for (long i = 0; i < r; i++)
    if (!copy_in(&m, (struct mmsg_k *)c->a[1] + i, sizeof m)) {
      each_item(c, &m.msg, received);
      show_sender((struct mmsg_k *)c->a[1] + i, &m.msg);
    }
  return r;
}

/* ---- who is at the other end ---- */

static long show_ids(struct call *c, uint32_t len)
{
  struct ucred_k u = {0, 0, 0};
  if (len > sizeof u)
    len = sizeof u;
  if (copy_in(&u, (void *)c->a[3], len))
    return -EFAULT;
  u.uid = uid_shown(u.uid);
  u.gid = gid_shown(u.gid);
  return copy_out((void *)c->a[3], &u, len);
}

static long show_groups(struct call *c, uint32_t len)
{
  for (uint32_t at = 0; at + 4 <= len; at += 4) {
    uint32_t gid;
    if (copy_in(&gid, (void *)(c->a[3] + at), sizeof gid))
      return -EFAULT;
    gid = gid_shown(gid);
    if (copy_out((void *)(c->a[3] + at), &gid, sizeof gid))
      return -EFAULT;
  }
  return 0;
}

long a_getsockopt(struct call *c)
{
  uint32_t len;
  bool ids = c->a[1] == SOL_SOCKET && c->a[2] == SO_PEERCRED,
       groups = c->a[1] == SOL_SOCKET && c->a[2] == SO_PEERGROUPS;
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  if (net_of(c, (int)c->a[0], &n))
    return net_getsockopt(c, &n);
  long r = pass(c);
  if (r < 0 || !(ids || groups) || copy_in(&len, (void *)c->a[4], sizeof len))
    return r;
  return ids ? show_ids(c, len) : show_groups(c, len);
}

/* ---- addresses ---- */

long addr_in(struct addr *a, unsigned long user, unsigned long len)
{
  if ((int)len < 0 || (uint32_t)len > sizeof a->bytes)
    return -EINVAL;
  memset(a, 0, sizeof *a);
  a->len = (uint32_t)len;
  return copy_in(a->bytes, (void *)user, a->len);
}

long addr_out(const struct addr *a, unsigned long user, unsigned long lenp)
{
  int room;
  if (copy_in(&room, (void *)lenp, sizeof room))
    return -EFAULT;
  if (room < 0)
    return -EINVAL;
  uint32_t n = (uint32_t)room < a->len ? (uint32_t)room : a->len;
  if (n > sizeof a->bytes || copy_out((void *)user, a->bytes, n))
    return -EFAULT;
  return copy_out((void *)lenp, &a->len, sizeof a->len);
}

long int_option(int fd, int level, int option)
{
  int v = 0;
  uint32_t len = sizeof v;
  long r = sys5(__NR_getsockopt, fd, level, option, &v, &len);
  return r < 0 ? r : v;
}

/* The call with an address of our own in place of the program's. */
static long pass_addr(struct call *c, const struct addr *a, unsigned at)
{
  c->a[at] = (unsigned long)a->bytes;
  c->a[at + 1] = a->len;
  return pass(c);
}

long a_bind(struct call *c)
{
  struct addr a;
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  if (net_of(c, (int)c->a[0], &n))
    return net_bind(c, &n);
  if (standalone() || addr_in(&a, c->a[1], c->a[2]))
    return pass(c);
  long r = net_settle(c, (int)c->a[0], &a);
  if (r)
    return r > 0 && net_of(c, (int)c->a[0], &n) ? net_bind(c, &n) : r;
  r = unix_bind(c, &a);
  return r == 1 ? pass_addr(c, &a, 1) : r;
}

long a_connect(struct call *c)
{
  struct addr a;
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  if (net_of(c, (int)c->a[0], &n))
    return net_connect(c, &n);
  if (standalone() || addr_in(&a, c->a[1], c->a[2]))
    return pass(c);
  long r = net_settle(c, (int)c->a[0], &a);
  if (r)
    return r > 0 && net_of(c, (int)c->a[0], &n) ? net_connect(c, &n) : r;
  r = unix_lead(c, (int)c->a[0], &a);
  return r ? (r < 0 ? r : 0) : pass_addr(c, &a, 1);
}

static long net_sendto(struct call *c, struct nsock *n)
{
  struct addr to = {.len = 0};
  struct iov v = {c->a[1], c->a[2]};
  struct msg_k m = {.iov = (uint64_t)&v, .iovlen = 1};
  long r = c->a[4] ? addr_in(&to, c->a[4], c->a[5]) : 0;
  return r ? r : net_send(c, n, &m, &to, (int)c->a[3]);
}

long a_sendto(struct call *c)
{
  struct addr a;
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  if (net_of(c, (int)c->a[0], &n))
    return net_sendto(c, &n);
  if (standalone() || !c->a[4] || addr_in(&a, c->a[4], c->a[5]))
    return pass(c);
  long r = net_settle(c, (int)c->a[0], &a);
  if (r)
    return r > 0 && net_of(c, (int)c->a[0], &n) ? net_sendto(c, &n) : r;
  r = unix_lead(c, (int)c->a[0], &a);
  return r < 0 ? r : pass_addr(c, &a, 4);
}

/* Calls that tell an address: where it goes and its length are arguments `at' and the next. */
static long tell_addr(struct call *c, unsigned at)
{
  unsigned long user = c->a[at], lenp = c->a[at + 1];
  struct addr a = {.len = sizeof a.bytes};
  long none = no_socket(c);
  if (none)
    return none;
  if (standalone() || !user || !lenp)
    return pass(c);
  c->a[at] = (unsigned long)a.bytes;
  c->a[at + 1] = (unsigned long)&a.len;
  long r = pass(c);
  if (r < 0)
    return r;
  unix_show(&a);
  long stored = addr_out(&a, user, lenp);
  return stored ? stored : r;
}

long a_sockname(struct call *c)
{
  struct nsock n;
  struct addr a;
  if (!net_of(c, (int)c->a[0], &n))
    return tell_addr(c, 1);
  long r = net_name(c, &n, c->row == ROW(getpeername), &a);
  return r < 0 ? r : addr_out(&a, c->a[1], c->a[2]);
}

long a_recvfrom(struct call *c)
{
  struct nsock n;
  struct addr from;
  struct iov v = {c->a[1], c->a[2]};
  struct msg_k m = {.iov = (uint64_t)&v, .iovlen = 1};
  if (!net_of(c, (int)c->a[0], &n))
    return tell_addr(c, 4);
  long r = net_receive(c, &n, &m, &from, (int)c->a[3]);
  long stored = r >= 0 && c->a[4] ? addr_out(&from, c->a[4], c->a[5]) : 0;
  return stored ? stored : r;
}

/* A descriptor whose address nobody wants to have is not lost by the kernel either: it is not made. */
long a_accept(struct call *c)
{
  unsigned long user = c->a[1], lenp = c->a[2];
  struct addr a = {.len = sizeof a.bytes};
  struct nsock n;
  long none = no_socket(c);
  if (none)
    return none;
  bool net = net_of(c, (int)c->a[0], &n);
  if (user) {
    c->a[1] = (unsigned long)a.bytes;
    c->a[2] = (unsigned long)&a.len;
  }
  long r = net ? net_accept(c, &n, c->row == ROW(accept4) ? (int)c->a[3] : 0, &a) : fd_new(c->p, pass(c));
  if (r < 0)
    return r;
  unix_show(&a);
  long stored = user ? addr_out(&a, user, lenp) : 0;
  if (stored) {
    vft_forget(c->p, (int)r);
    sys1(__NR_close, r);
    return stored;
  }
  if (!net)
    vft_local(c->p, (int)r);
  return r;
}
