/* Datagrams on the loopback: boundaries, addresses, connected and not, truncation, several at once, what is refused. */
#include "t.h"
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static struct sockaddr_in bound(int fd)
{
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  T(bind(fd, (struct sockaddr *)&a, sizeof a));
  T(getsockname(fd, (struct sockaddr *)&a, &n));
  return a;
}

static void wait_in(int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  poll(&p, 1, -1);
}

static void several(int from, int to, struct sockaddr_in *a)
{
  char text[3][8] = {"one", "", "three"}, got[4][8] = {""};
  struct iovec v[4];
  struct mmsghdr m[4] = {0};
  for (int i = 0; i < 3; i++) {
    v[i] = (struct iovec){text[i], strlen(text[i])};
    m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1, .msg_name = a, .msg_namelen = sizeof *a};
  }
  T(sendmmsg(from, m, 3, 0));
  T(m[2].msg_len);
  int n = 0;
  while (n < 3) { /* they may come one after the other */
    wait_in(to);
    for (int i = n; i < 4; i++) {
      v[i] = (struct iovec){got[i], sizeof got[i]};
      m[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &v[i], .msg_iovlen = 1}};
    }
    n += recvmmsg(to, m + n, (unsigned)(4 - n), MSG_DONTWAIT, 0);
  }
  for (int i = 0; i < n; i++)
    say("%u %s", m[i].msg_len, got[i]);
}

int main(void)
{
  char buf[32] = "";
  struct sockaddr_in from = {0};
  socklen_t n = sizeof from;
  int a = (int)OK(socket(AF_INET, SOCK_DGRAM, 0)), b = (int)OK(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  struct sockaddr_in at = bound(a), bt = bound(b);
  T(send(b, "x", 1, 0));
  T(recv(b, buf, 1, 0));
  T(sendto(b, "hello", 5, 0, (struct sockaddr *)&at, sizeof at));
  T(recvfrom(a, buf, sizeof buf, MSG_PEEK, (struct sockaddr *)&from, &n));
  YES(n == sizeof from && from.sin_port == bt.sin_port && from.sin_addr.s_addr == bt.sin_addr.s_addr);
  T(recv(a, buf, 2, MSG_TRUNC));
  T(recv(a, buf, 2, MSG_DONTWAIT));
  T(sendto(b, "", 0, 0, (struct sockaddr *)&at, sizeof at));
  T(recv(a, buf, sizeof buf, 0));
  T(connect(b, (struct sockaddr *)&at, sizeof at));
  T(getpeername(b, (struct sockaddr *)&from, &n));
  YES(from.sin_port == at.sin_port);
  T(write(b, "connected", 9));
  struct iovec v[2] = {{buf, 3}, {buf + 10, 2}};
  struct msghdr m = {.msg_iov = v, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof from};
  T(recvmsg(a, &m, 0));
  YES(m.msg_flags == MSG_TRUNC && m.msg_namelen == sizeof from && from.sin_port == bt.sin_port);
  say("%.3s %.2s", buf, buf + 10);
  T(sendto(a, "back", 4, 0, (struct sockaddr *)&bt, sizeof bt));
  wait_in(b);
  T(read(b, buf, sizeof buf));
  several(b, a, &at);
  static char big[70000];
  T(send(b, big, 60000, 0));
  T(recv(a, big, sizeof big, 0));
  T(listen(a, 1));
  T(accept(a, 0, 0));
  int type = 0;
  n = sizeof type;
  T(getsockopt(a, SOL_SOCKET, SO_TYPE, &type, &n));
  T(type);
  T(close(a));
  T(send(b, "nobody", 6, 0));
  wait_in(b);
  T(recv(b, buf, sizeof buf, 0));
  T(recv(b, buf, sizeof buf, 0));
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  T(connect(b, &none, sizeof none));
  T(send(b, "x", 1, 0));
  return 0;
}
