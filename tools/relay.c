/*
 * The wire between the two test hosts: a TUN device in each one's network namespace, and this process between them.
 *
 * Owns the delay, the rate, the losses, the cut, and the counts of what passed. Must never change a packet, and must
 * never let one overtake another of its direction.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define VNET sizeof(struct virtio_net_hdr)
#define PACKET_MAX (VNET + 65536)
#define MTU 1500
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

struct packet {
  struct packet *next;
  uint64_t due;   /* CLOCK_MONOTONIC, nanoseconds */
  uint64_t chain; /* see struct way */
  size_t len;
  uint8_t data[];
};

/* One direction. */
struct way {
  int in, out;
  struct packet *first, **last;
  size_t queued;      /* bytes */
  uint64_t busy_till; /* when the last byte accepted so far has left the sender, at the link's rate */
  uint64_t packets, bytes, payload;
  /* What the sender has seen, as a logical clock: the longest chain of payload packets, each sent after the one before
     it had arrived, that ends at this sender. Half of it is the number of round trips that somebody waited for. */
  uint64_t chain;
};

static struct way ways[2]; /* 0: here to there, 1: there to here */
static uint64_t one_way, rate /* bits per second, 0: as fast as it goes */, dropped, turnarounds, longest;
static double loss;
static bool cut;
static int last_payload = -1; /* direction of the last packet that carried data */

static void die(const char *what)
{
  fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- the two devices ---- */

static void set_address(int sock, struct ifreq *ifr, unsigned long request, const char *address)
{
  struct sockaddr_in *in = (struct sockaddr_in *)&ifr->ifr_addr;
  memset(in, 0, sizeof *in);
  in->sin_family = AF_INET;
  inet_pton(AF_INET, address, &in->sin_addr);
  if (ioctl(sock, request, ifr))
    die("interface address");
}

static void bring_up(int sock, const char *name)
{
  struct ifreq ifr = {0};
  snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
  if (ioctl(sock, SIOCGIFFLAGS, &ifr))
    die(name);
  ifr.ifr_flags |= IFF_UP;
  if (ioctl(sock, SIOCSIFFLAGS, &ifr))
    die(name);
}

static void configure(const char *address)
{
  struct ifreq ifr = {.ifr_name = "link0"};
  int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sock < 0)
    die("socket");
  set_address(sock, &ifr, SIOCSIFADDR, address);
  set_address(sock, &ifr, SIOCSIFNETMASK, "255.255.255.0");
  ifr.ifr_mtu = MTU;
  if (ioctl(sock, SIOCSIFMTU, &ifr))
    die("interface mtu");
  bring_up(sock, "link0");
  bring_up(sock, "lo");
  close(sock);
}

/* Segmentation is left to nobody when the link has a rate: packets of 64 KiB would hold up the small ones. */
static int open_end(const char *netns, const char *address)
{
  struct ifreq ifr = {.ifr_name = "link0", .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  int ns = open(netns, O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNET))
    die(netns);
  close(ns);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0 || ioctl(tun, TUNSETIFF, &ifr))
    die("/dev/net/tun");
  if (!rate && ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))
    die("TUNSETOFFLOAD");
  configure(address);
  return tun;
}

/* ---- packets ---- */

/* Bytes of data in a TCP packet over IPv4; 0 for anything else. */
static size_t tcp_payload(const uint8_t *p, size_t len)
{
  if (len < 40 || p[0] >> 4 != 4 || p[9] != 6)
    return 0;
  size_t ip = (p[0] & 15) * 4u, total = (size_t)p[2] << 8 | p[3];
  if (total > len || ip + 20 > total)
    return 0;
  size_t head = ip + (p[ip + 12] >> 4) * 4u;
  return total > head ? total - head : 0;
}

static void count_packet(int direction, struct packet *p)
{
  struct way *w = &ways[direction];
  size_t payload = tcp_payload(p->data + VNET, p->len - VNET);
  w->packets++;
  w->bytes += p->len - VNET;
  if (!payload)
    return;
  w->payload += payload;
  p->chain = w->chain + 1;
  if (p->chain > longest)
    longest = p->chain;
  turnarounds += last_payload >= 0 && last_payload != direction;
  last_payload = direction;
}

static void deliver(int direction, struct packet *p)
{
  struct way *back = &ways[!direction];
  if (p->chain > back->chain)
    back->chain = p->chain;
  if (write(ways[direction].out, p->data, p->len) < 0)
    dropped++;
  free(p);
}

static size_t queue_limit(void)
{
  if (!rate)
    return 256u << 20;
  uint64_t in_flight = rate / 8 * (2 * one_way + 100 * NS_PER_MS) / NS_PER_S;
  return in_flight > (64u << 10) ? in_flight : 64u << 10;
}

static void enqueue(int direction, struct packet *p)
{
  struct way *w = &ways[direction];
  uint64_t t = now();
  if (cut || w->queued + p->len > queue_limit() || (loss > 0 && drand48() * 100 < loss)) {
    dropped++;
    free(p);
    return;
  }
  uint64_t start = w->busy_till > t ? w->busy_till : t;
  w->busy_till = start + (rate ? (p->len - VNET) * 8 * NS_PER_S / rate : 0);
  p->due = w->busy_till + one_way;
  count_packet(direction, p);
  *w->last = p;
  w->last = &p->next;
  w->queued += p->len;
}

/* Sends what is due; returns when the next one is, or UINT64_MAX. */
static uint64_t send_due(int direction)
{
  struct way *w = &ways[direction];
  while (w->first && w->first->due <= now()) {
    struct packet *p = w->first;
    w->first = p->next;
    if (!w->first)
      w->last = &w->first;
    w->queued -= p->len;
    deliver(direction, p);
  }
  return w->first ? w->first->due : UINT64_MAX;
}

/* Takes a bounded number, so that the other direction is served as well. */
static void take_in(int direction)
{
  static uint8_t buf[PACKET_MAX];
  for (int i = 0; i < 64; i++) {
    ssize_t n = read(ways[direction].in, buf, sizeof buf);
    if (n <= (ssize_t)VNET)
      return;
    struct packet *p = calloc(1, sizeof *p + (size_t)n);
    if (!p)
      die("memory");
    p->len = (size_t)n;
    memcpy(p->data, buf, p->len);
    enqueue(direction, p);
  }
}

/* ---- control ---- */

static int report(char *out, size_t size)
{
  return snprintf(out, size,
                  "here_packets %lu\nhere_bytes %lu\nhere_payload %lu\nthere_packets %lu\nthere_bytes %lu\n"
                  "there_payload %lu\nturnarounds %lu\nroundtrips %lu\ndropped %lu\n",
                  ways[0].packets, ways[0].bytes, ways[0].payload, ways[1].packets, ways[1].bytes, ways[1].payload,
                  turnarounds, (longest + 1) / 2, dropped);
}

/* Packets under way keep their old numbers: they may not count for what comes next. */
static void reset(void)
{
  for (int i = 0; i < 2; i++) {
    struct way *w = &ways[i];
    w->packets = w->bytes = w->payload = w->chain = 0;
    for (struct packet *p = w->first; p; p = p->next)
      p->chain = 0;
  }
  turnarounds = longest = dropped = 0;
  last_payload = -1;
}

static int obey(char *line, char *out, size_t size)
{
  double value;
  line[strcspn(line, "\n")] = 0;
  if (!strcmp(line, "stats"))
    return report(out, size);
  if (!strcmp(line, "reset"))
    reset();
  else if (!strcmp(line, "cut") || !strcmp(line, "restore"))
    cut = line[0] == 'c';
  else if (sscanf(line, "rtt %lf", &value) == 1 && value >= 0)
    one_way = (uint64_t)(value * NS_PER_MS / 2);
  else if (sscanf(line, "rate %lf", &value) == 1 && value >= 0)
    rate = (uint64_t)(value * 1e6);
  else if (sscanf(line, "loss %lf", &value) == 1 && value >= 0 && value <= 100)
    loss = value;
  else
    return snprintf(out, size, "error unknown command\n");
  return snprintf(out, size, "ok\n");
}

static void serve_control(int listener)
{
  char line[128], out[1024];
  struct timeval patience = {.tv_usec = 100000};
  int s = accept4(listener, 0, 0, SOCK_CLOEXEC);
  if (s < 0)
    return;
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ssize_t n = recv(s, line, sizeof line - 1, 0);
  if (n > 0) {
    line[n] = 0;
    int len = obey(line, out, sizeof out);
    send(s, out, (size_t)len, MSG_NOSIGNAL);
  }
  close(s);
}

static int open_control(const char *path)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
  if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 16) || chmod(path, 0666))
    die(path);
  return s;
}

/* ---- */

static void run(int control)
{
  for (;;) {
    uint64_t next = send_due(0), other = send_due(1), t = now();
    if (other < next)
      next = other;
    uint64_t wait = next <= t ? 0 : next - t;
    struct timespec ts = {.tv_sec = (time_t)(wait / NS_PER_S), .tv_nsec = (long)(wait % NS_PER_S)};
    struct pollfd fds[3] = {{ways[0].in, POLLIN, 0}, {ways[1].in, POLLIN, 0}, {control, POLLIN, 0}};
    if (ppoll(fds, 3, next == UINT64_MAX ? 0 : &ts, 0) < 0)
      continue;
    for (int i = 0; i < 2; i++)
      if (fds[i].revents)
        take_in(i);
    if (fds[2].revents)
      serve_control(control);
  }
}

/* relay HERE_NETNS THERE_NETNS CONTROL_SOCKET RTT_MS RATE_MBIT LOSS_PERCENT; says "ready" on standard output. */
int main(int argc, char **argv)
{
  if (argc != 7) {
    fprintf(stderr, "usage: relay HERE_NETNS THERE_NETNS CONTROL_SOCKET RTT_MS RATE_MBIT LOSS_PERCENT\n");
    return 2;
  }
  one_way = (uint64_t)(strtod(argv[4], 0) * NS_PER_MS / 2);
  rate = (uint64_t)(strtod(argv[5], 0) * 1e6);
  loss = strtod(argv[6], 0);
  prctl(PR_SET_TIMERSLACK, 1);
  int here = open_end(argv[1], "10.57.0.1"), there = open_end(argv[2], "10.57.0.2");
  ways[0] = (struct way){.in = here, .out = there, .last = &ways[0].first};
  ways[1] = (struct way){.in = there, .out = here, .last = &ways[1].first};
  int control = open_control(argv[3]);
  if (write(1, "ready\n", 6) != 6)
    die("standard output");
  run(control);
}
