/*
 * The rate of a stream: TCP's own idea of it, or for what else carries the session (a pipe to ssh) how long writes
 * to it take.
 *
 * Owns nothing but what it has counted. Must never wait, and never take a guess for knowledge: a rate that is not known
 * is 0.
 */
#include "base/link.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/io.h"

#define LOOK_EVERY 5000000u           /* nanoseconds */
#define FAR 5000                      /* microseconds there and back */
#define WINDOW (256u << 10)           /* bytes of one measurement */
#define WAITED_SHARE(t) ((t) / 4 * 3) /* so much of the time in writing: the stream is the limit */

void link_start(struct link *l, int fd)
{
  int domain = 0;
  socklen_t n = sizeof domain;
  bool known = !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n);
  *l = (struct link){.fd = fd, .tcp = known && (domain == AF_INET || domain == AF_INET6)};
}

static void end_window(struct link *l, uint64_t now)
{
  uint64_t took = now - l->start;
  bool limit = took && l->waited >= WAITED_SHARE(took);
  uint64_t rate = limit ? l->bytes * 1000000u / (took / 1000u + 1) : 0;
  l->rate = l->rate && rate ? (l->rate + rate) / 2 : rate;
  l->start = now;
  l->waited = l->bytes = 0;
}

void link_write(struct link *l)
{
  if (!l->tcp && !l->tried)
    l->tried = now_ns();
}

void link_wrote(struct link *l, size_t n)
{
  if (l->tcp || !l->tried)
    return;
  uint64_t now = now_ns();
  l->waited += now - l->tried;
  l->tried = 0;
  l->bytes += n;
  if (l->bytes >= WINDOW)
    end_window(l, now);
}

/*
 * Far away: what may be under way at once, in the time that it takes to hear of its arrival. Near, where that says
 * nothing before much has been sent: how fast bytes have arrived when there were always more of them; else it is not
 * known.
 */
static uint64_t tcp_rate(int fd)
{
  struct tcp_info i = {0};
  socklen_t n = sizeof i;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n) || !i.tcpi_rtt)
    return 0;
  if (i.tcpi_rtt >= FAR)
    return (uint64_t)i.tcpi_snd_cwnd * i.tcpi_snd_mss * 1000000u / i.tcpi_rtt;
  return i.tcpi_delivery_rate_app_limited ? 0 : i.tcpi_delivery_rate;
}

uint64_t link_rate(struct link *l)
{
  uint64_t now = l->tcp ? now_ns() : 0;
  if (l->tcp && now - l->looked >= LOOK_EVERY) {
    l->rate = tcp_rate(l->fd);
    l->looked = now;
  }
  return l->rate;
}
