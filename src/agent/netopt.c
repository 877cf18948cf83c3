/*
 * Options of the slave's sockets, and requests about its interfaces.
 *
 * Owns the lists of what the slave need not be asked, or waited for. Must never: tell of a pair what a network socket
 * would not tell.
 */
#include <asm/ioctls.h>
#include <linux/sockios.h>

#include "agent/net.h"

#define OPTION_MAX 256u
#define MSG_PEEK_TRUNC 0x62 /* and MSG_DONTWAIT */
#define IFREQ_SIZE 40u
#define IFCONF_MAX 16384u

/* ---- options ---- */

enum who { SLAVE, PAIR, STATE };
static const struct {
  uint8_t option;
  uint8_t who;
} own_options[] = {
    {3, STATE}, {4, STATE}, {30, STATE}, {38, STATE}, {39, STATE}, /* TYPE ERROR ACCEPTCONN PROTOCOL DOMAIN */
    {18, PAIR}, {20, PAIR}, {21, PAIR},  {66, PAIR},  {67, PAIR},  /* RCVLOWAT and time-outs */
};

static enum who who_knows(uint64_t level, uint64_t option)
{
  for (unsigned i = 0; level == SOL_SOCKET && i < sizeof own_options / sizeof *own_options; i++)
    if (own_options[i].option == option)
      return (enum who)own_options[i].who;
  return SLAVE;
}

static int of_state(struct nsock *n, uint64_t option)
{
  switch (option) {
  case SO_TYPE:
    return (int)n->s->type;
  case SO_DOMAIN:
    return (int)n->s->domain;
  case 38:
    if (n->s->protocol || n->s->domain == AF_NETLINK)
      return (int)n->s->protocol;
    return n->s->type == SOCK_STREAM ? SOL_TCP : 17;
  case 30:
    return place(n) == SOCK_LISTENING;
  default:
    return (int)-error_taken(n);
  }
}

static long option_out(struct call *c, const void *value, uint32_t n)
{
  int room;
  if (copy_in(&room, (void *)c->a[4], sizeof room))
    return -EFAULT;
  if (room < 0)
    return -EINVAL;
  n = n < (uint32_t)room ? n : (uint32_t)room;
  return copy_out((void *)c->a[3], value, n) || copy_out((void *)c->a[4], &n, sizeof n) ? -EFAULT : 0;
}

long net_getsockopt(struct call *c, struct nsock *n)
{
  struct req q;
  int room, value;
  uint32_t len;
  enum who who = who_knows(c->a[1], c->a[2]);
  if (who == PAIR)
    return pass(c);
  if (copy_in(&room, (void *)c->a[4], sizeof room))
    return -EFAULT;
  if (room < 0)
    return -EINVAL;
  c->where = N_MEMORY;
  if (who == STATE) {
    value = of_state(n, c->a[2]);
    return option_out(c, &value, sizeof value);
  }
  ask_start(c, &q, n, W_GETOPT);
  req_u64(&q, c->a[1]);
  req_u64(&q, c->a[2]);
  req_u64(&q, (uint32_t)room < OPTION_MAX ? (uint32_t)room : OPTION_MAX);
  long r = said(n, req_call(&q, false));
  if (r < 0)
    return r;
  const void *p = get_blob(&q.r, &len, OPTION_MAX);
  return p ? option_out(c, p, len) : -EIO;
}

/* Those that cannot fail, once they are long enough. */
static bool sure(uint64_t level, uint64_t option, uint64_t len)
{
  static const uint8_t general[] = {2, 6, 7, 8, 9, 10, 15}, tcp[] = {1, 3, 12};
  if (level == SOL_SOCKET && option == 13)
    return len >= 8;
  for (unsigned i = 0; level == SOL_SOCKET && i < sizeof general; i++)
    if (general[i] == option)
      return len >= 4;
  for (unsigned i = 0; level == SOL_TCP && i < sizeof tcp; i++)
    if (tcp[i] == option)
      return len >= 4;
  return false;
}

long net_setsockopt(struct call *c, struct nsock *n)
{
  struct req q;
  if (who_knows(c->a[1], c->a[2]) == PAIR)
    return pass(c);
  if (who_knows(c->a[1], c->a[2]) == STATE)
    return -ENOPROTOOPT;
  if ((int)c->a[4] < 0 || (uint32_t)c->a[4] > OPTION_MAX)
    return -EINVAL;
  if (c->a[1] == SOL_TCP && datagrams(n))
    return -ENOPROTOOPT;
  ask_start(c, &q, n, W_SETOPT);
  req_u64(&q, c->a[1]);
  req_u64(&q, c->a[2]);
  if (req_data(&q, (void *)c->a[3], (uint32_t)c->a[4]))
    return -EFAULT;
  if (!sure(c->a[1], c->a[2], (uint32_t)c->a[4]))
    return said(n, req_call(&q, false));
  c->where = N_POSTED;
  return req_post(&q, -1);
}

void net_option(struct call *c, struct handle h, uint64_t level, uint64_t option, const void *value, uint32_t n)
{
  struct req q;
  req_start_op(&q, c->t, W_SETOPT);
  req_handle(&q, h);
  req_u64(&q, level);
  req_u64(&q, option);
  put_blob(&q.w, value, n);
  req_post(&q, -1);
}

/* ---- interfaces ---- */

/* Where the list goes, and how long it may be: the kernel's struct ifconf. */
struct ifconf_k {
  int32_t len, pad;
  uint64_t to;
};

static long interfaces(struct call *c, struct nsock *n)
{
  struct req q;
  struct ifconf_k conf;
  uint32_t len;
  if (copy_in(&conf, (void *)c->a[2], sizeof conf))
    return -EFAULT;
  req_start(&q, c->t, ROW(ioctl));
  req_handle(&q, n->h);
  req_u64(&q, SIOCGIFCONF);
  req_u64(&q, IOA_OUT);
  req_u64(&q, IFCONF_MAX);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  const void *list = r < 0 ? 0 : get_blob(&q.r, &len, IFCONF_MAX);
  if (!list)
    return r < 0 ? r : -EIO;
  if (conf.to && conf.len >= 0) {
    uint32_t room = (uint32_t)conf.len / IFREQ_SIZE * IFREQ_SIZE;
    len = len < room ? len : room;
    if (copy_out((void *)conf.to, list, len))
      return -EFAULT;
  }
  return copy_out((void *)c->a[2], &len, sizeof len);
}

static long of_interface(struct call *c, struct nsock *n, uint32_t nr)
{
  struct req q;
  uint32_t len;
  req_start(&q, c->t, ROW(ioctl));
  req_handle(&q, n->h);
  req_u64(&q, nr);
  req_u64(&q, IOA_INOUT);
  if (req_data(&q, (void *)c->a[2], IFREQ_SIZE))
    return -EFAULT;
  c->where = N_WAITED;
  long r = req_call(&q, false);
  const void *is = r < 0 ? 0 : get_blob(&q.r, &len, IFREQ_SIZE);
  if (!is)
    return r < 0 ? r : -EIO;
  return copy_out((void *)c->a[2], is, len) ? -EFAULT : r;
}

/* Of a datagram, without the address in front of it. */
static long next_datagram(struct call *c, struct nsock *n)
{
  uint8_t head[sizeof(struct wire_dgram)];
  long r = sys6(__NR_recvfrom, n->fd, (long)head, sizeof head, MSG_PEEK_TRUNC, 0, 0);
  int left = r > (long)sizeof head ? (int)(r - (long)sizeof head) : 0;
  return copy_out((void *)c->a[2], &left, sizeof left);
}

bool net_ioctl(struct call *c, long *r)
{
  struct nsock n;
  uint32_t nr = (uint32_t)c->a[1];
  bool about = nr >= SIOCGIFNAME && nr <= SIOCGIFMAP;
  if ((!about && nr != FIONREAD) || !net_of(c, (int)c->a[0], &n))
    return false;
  if (nr == FIONREAD && !datagrams(&n))
    return false;
  *r = nr == FIONREAD ? next_datagram(c, &n) : nr == SIOCGIFCONF ? interfaces(c, &n) : of_interface(c, &n, nr);
  return true;
}
