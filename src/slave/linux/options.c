/*
 * Sockets: which options may be read and set, and how their values are laid out; the domains that are this system's
 * own.
 *
 * Owns that list. Must never: pass one on that is not in it, since its value might hold addresses of this process.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/icmp6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <linux/netlink.h>

#include "slave/sock.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif
#ifndef IP_UNICAST_IF
#define IP_UNICAST_IF 50
#endif
#ifndef SOL_RAW
#define SOL_RAW 255
#endif
#define ICMP_FILTER 1 /* linux/icmp.h does not go with netinet's */

/* Layouts of values (wire_order). */
#define INTS "64w"
#define BYTES ""
#define GROUP4 "8bw" /* addresses, then an interface's number */
#define GROUP6 "16bw"
#define TCPINFO "8b24w4q6w4q2w2q6w"

static const struct option {
  uint16_t level, option; /* x86-64's numbers */
  const char *layout;
  int native_level, native;
} options[] = {
    {1, 2, INTS, SOL_SOCKET, SO_REUSEADDR},
    {1, 4, INTS, SOL_SOCKET, SO_ERROR},
    {1, 5, INTS, SOL_SOCKET, SO_DONTROUTE},
    {1, 6, INTS, SOL_SOCKET, SO_BROADCAST},
    {1, 7, INTS, SOL_SOCKET, SO_SNDBUF},
    {1, 8, INTS, SOL_SOCKET, SO_RCVBUF},
    {1, 9, INTS, SOL_SOCKET, SO_KEEPALIVE},
    {1, 10, INTS, SOL_SOCKET, SO_OOBINLINE},
    {1, 11, INTS, SOL_SOCKET, SO_NO_CHECK},
    {1, 12, INTS, SOL_SOCKET, SO_PRIORITY},
    {1, 13, INTS, SOL_SOCKET, SO_LINGER},
    {1, 15, INTS, SOL_SOCKET, SO_REUSEPORT},
    {1, 25, BYTES, SOL_SOCKET, SO_BINDTODEVICE},
    {1, 32, INTS, SOL_SOCKET, SO_SNDBUFFORCE},
    {1, 33, INTS, SOL_SOCKET, SO_RCVBUFFORCE},
    {1, 36, INTS, SOL_SOCKET, SO_MARK},
    {1, 46, INTS, SOL_SOCKET, SO_BUSY_POLL},
    {1, 47, INTS, SOL_SOCKET, SO_MAX_PACING_RATE},
    {1, 49, INTS, SOL_SOCKET, SO_INCOMING_CPU},
    {1, 62, INTS, SOL_SOCKET, SO_BINDTOIFINDEX},
    {0, 1, INTS, IPPROTO_IP, IP_TOS},
    {0, 2, INTS, IPPROTO_IP, IP_TTL},
    {0, 3, INTS, IPPROTO_IP, IP_HDRINCL},
    {0, 4, BYTES, IPPROTO_IP, IP_OPTIONS},
    {0, 10, INTS, IPPROTO_IP, IP_MTU_DISCOVER},
    {0, 11, INTS, IPPROTO_IP, IP_RECVERR},
    {0, 14, INTS, IPPROTO_IP, IP_MTU},
    {0, 15, INTS, IPPROTO_IP, IP_FREEBIND},
    {0, 19, INTS, IPPROTO_IP, IP_TRANSPARENT},
    {0, 21, INTS, IPPROTO_IP, IP_MINTTL},
    {0, 24, INTS, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {0, 32, GROUP4, IPPROTO_IP, IP_MULTICAST_IF},
    {0, 33, INTS, IPPROTO_IP, IP_MULTICAST_TTL},
    {0, 34, INTS, IPPROTO_IP, IP_MULTICAST_LOOP},
    {0, 35, GROUP4, IPPROTO_IP, IP_ADD_MEMBERSHIP},
    {0, 36, GROUP4, IPPROTO_IP, IP_DROP_MEMBERSHIP},
    {0, 37, BYTES, IPPROTO_IP, IP_UNBLOCK_SOURCE},
    {0, 38, BYTES, IPPROTO_IP, IP_BLOCK_SOURCE},
    {0, 39, BYTES, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP},
    {0, 40, BYTES, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP},
    {0, 49, INTS, IPPROTO_IP, IP_MULTICAST_ALL},
    {0, 50, BYTES, IPPROTO_IP, IP_UNICAST_IF},
    {41, 16, INTS, IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {41, 17, INTS, IPPROTO_IPV6, IPV6_MULTICAST_IF},
    {41, 18, INTS, IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    {41, 19, INTS, IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    {41, 20, GROUP6, IPPROTO_IPV6, IPV6_JOIN_GROUP},
    {41, 21, GROUP6, IPPROTO_IPV6, IPV6_LEAVE_GROUP},
    {41, 23, INTS, IPPROTO_IPV6, IPV6_MTU_DISCOVER},
    {41, 24, INTS, IPPROTO_IPV6, IPV6_MTU},
    {41, 25, INTS, IPPROTO_IPV6, IPV6_RECVERR},
    {41, 26, INTS, IPPROTO_IPV6, IPV6_V6ONLY},
    {41, 67, INTS, IPPROTO_IPV6, IPV6_TCLASS},
    {41, 72, INTS, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES},
    {41, 78, INTS, IPPROTO_IPV6, IPV6_FREEBIND},
    {58, 1, INTS, IPPROTO_ICMPV6, ICMP6_FILTER},
    {255, 1, INTS, SOL_RAW, ICMP_FILTER},
    {6, 1, INTS, IPPROTO_TCP, TCP_NODELAY},
    {6, 2, INTS, IPPROTO_TCP, TCP_MAXSEG},
    {6, 3, INTS, IPPROTO_TCP, TCP_CORK},
    {6, 4, INTS, IPPROTO_TCP, TCP_KEEPIDLE},
    {6, 5, INTS, IPPROTO_TCP, TCP_KEEPINTVL},
    {6, 6, INTS, IPPROTO_TCP, TCP_KEEPCNT},
    {6, 7, INTS, IPPROTO_TCP, TCP_SYNCNT},
    {6, 8, INTS, IPPROTO_TCP, TCP_LINGER2},
    {6, 9, INTS, IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {6, 10, INTS, IPPROTO_TCP, TCP_WINDOW_CLAMP},
    {6, 11, TCPINFO, IPPROTO_TCP, TCP_INFO},
    {6, 12, INTS, IPPROTO_TCP, TCP_QUICKACK},
    {6, 13, BYTES, IPPROTO_TCP, TCP_CONGESTION},
    {6, 16, INTS, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS},
    {6, 18, INTS, IPPROTO_TCP, TCP_USER_TIMEOUT},
    {6, 23, INTS, IPPROTO_TCP, TCP_FASTOPEN},
    {6, 25, INTS, IPPROTO_TCP, TCP_NOTSENT_LOWAT},
    {17, 1, INTS, IPPROTO_UDP, UDP_CORK},
    {270, 1, INTS, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP},
    {270, 2, INTS, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP},
    {270, 4, INTS, SOL_NETLINK, NETLINK_BROADCAST_ERROR},
    {270, 5, INTS, SOL_NETLINK, NETLINK_NO_ENOBUFS},
    {270, 10, INTS, SOL_NETLINK, NETLINK_CAP_ACK},
    {270, 11, INTS, SOL_NETLINK, NETLINK_EXT_ACK},
    {270, 12, INTS, SOL_NETLINK, NETLINK_GET_STRICT_CHK},
};

static const struct option *option_of(const struct call *c)
{
  for (unsigned i = 0; i < sizeof options / sizeof *options; i++)
    if (options[i].level == c->a[1] && options[i].option == c->a[2])
      return &options[i];
  return 0;
}

/* netlink's messages are as this kernel makes them: another byte order than the master's is of no use to it. */
bool socket_of_system(int domain, int protocol)
{
  if (domain != AF_NETLINK || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
    return false;
  return protocol == NETLINK_ROUTE || protocol == NETLINK_SOCK_DIAG;
}

int64_t do_getopt(struct call *c)
{
  const struct option *o = option_of(c);
  socklen_t n = c->o_room;
  if (!c->h[0]->sock)
    return -ENOTSOCK;
  if (!o)
    return -ENOPROTOOPT;
  if (getsockopt(c->h[0]->fd, o->native_level, o->native, c->o_at, &n))
    return -errno;
  wire_order(c->o_at, n, o->layout);
  return (long)n;
}

int64_t do_setopt(struct call *c)
{
  uint8_t value[256];
  const struct option *o = option_of(c);
  if (!c->h[0]->sock)
    return -ENOTSOCK;
  if (!o)
    return -ENOPROTOOPT;
  if (c->blob_len > sizeof value)
    return -EINVAL;
  memcpy(value, c->blob, c->blob_len);
  wire_order(value, c->blob_len, o->layout);
  return setsockopt(c->h[0]->fd, o->native_level, o->native, value, c->blob_len) ? -errno : 0;
}
