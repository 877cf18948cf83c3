/* TCP on the loopback: states and their errors, connections made with and without waiting, ends, options, readiness. */
#include "t.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

static struct sockaddr_in loopback(in_port_t port)
{
  return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct sockaddr_in name(int fd, int (*ask)(int, struct sockaddr *, socklen_t *))
{
  struct sockaddr_in a = {0};
  socklen_t n = sizeof a;
  T(ask(fd, (struct sockaddr *)&a, &n));
  YES(n == sizeof a && a.sin_family == AF_INET);
  return a;
}

static int listener(struct sockaddr_in *a)
{
  int l = (int)OK(socket(AF_INET, SOCK_STREAM, 0)), on = 1;
  *a = loopback(0);
  T(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
  T(bind(l, (struct sockaddr *)a, sizeof *a));
  T(listen(l, 5));
  *a = name(l, getsockname);
  YES(a->sin_port && a->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  return l;
}

static int poll_now(int fd, int ms)
{
  struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
  poll(&p, 1, ms);
  return p.revents;
}

static void wait_in(int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  poll(&p, 1, -1);
}

static void unconnected(void)
{
  char c;
  int s = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  YES(fcntl(s, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(s, F_GETFD) == FD_CLOEXEC);
  signal(SIGPIPE, SIG_IGN);
  T(read(s, &c, 1));
  T(write(s, "x", 1));
  T(shutdown(s, SHUT_WR));
  T(getpeername(s, (struct sockaddr *)&(struct sockaddr_in){0}, &(socklen_t){16}));
  T(accept(s, 0, 0));
  T(connect(s, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET}, 5));
  T(socket(AF_INET, 77, 0));
  T(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  T(bind(s, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)}, 16));
  T(lseek(s, 0, SEEK_SET));
  T(pread(s, &c, 1, 0));
  struct stat st;
  T(fstat(s, &st));
  YES(S_ISSOCK(st.st_mode));
  T(close(s));
}

static void options(int s)
{
  int v = 1;
  socklen_t n = sizeof v;
  T(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, sizeof v));
  v = 0;
  T(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, &n));
  YES(v && n == sizeof v);
  T(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
  T(v);
  T(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &n));
  T(v);
  T(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &v, &n));
  T(v);
  T(getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &v, &n));
  T(v);
  n = 2;
  v = -1;
  T(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, &n));
  YES(n == 2);
  T(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, 2));
  T(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, (void *)8, 4));
  T(setsockopt(s, 99, 99, &v, sizeof v));
  struct timeval tv = {.tv_usec = 20000};
  T(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
  T(read(s, &v, 1));
  tv.tv_usec = 0;
  T(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
}

/* A connected pair: c the client's end, the result the server's. */
static int pair(int l, const struct sockaddr_in *a, int *c)
{
  *c = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
  T(connect(*c, (const struct sockaddr *)a, sizeof *a));
  struct sockaddr_in from = {0};
  socklen_t n = sizeof from;
  int s = (int)OK(accept4(l, (struct sockaddr *)&from, &n, SOCK_CLOEXEC));
  struct sockaddr_in own = name(*c, getsockname), peer = name(s, getpeername);
  YES(n == sizeof from && from.sin_port == own.sin_port && peer.sin_port == own.sin_port);
  YES(name(s, getsockname).sin_port == a->sin_port && name(*c, getpeername).sin_port == a->sin_port);
  return s;
}

static void talk(int l, const struct sockaddr_in *a)
{
  char buf[16] = "";
  int c, s = pair(l, a, &c);
  T(connect(c, (const struct sockaddr *)a, sizeof *a));
  T(poll_now(c, 0));
  T(write(c, "hello", 5));
  wait_in(s);
  T(poll_now(s, 0));
  T(recv(s, buf, 2, MSG_PEEK));
  T(recv(s, buf, sizeof buf, MSG_DONTWAIT));
  T(recv(s, buf, sizeof buf, MSG_DONTWAIT));
  struct iovec v[2] = {{"one ", 4}, {"two", 3}};
  T(writev(s, v, 2));
  T(recv(c, buf, 7, MSG_WAITALL));
  say("%.7s", buf);
  options(c);
  T(shutdown(c, SHUT_WR));
  T(send(c, "x", 1, MSG_NOSIGNAL));
  T(read(s, buf, sizeof buf));
  T(write(s, "after", 5));
  T(close(s));
  T(recv(c, buf, 5, MSG_WAITALL));
  T(read(c, buf, sizeof buf));
  T(close(c));
}

static void resets(int l, const struct sockaddr_in *a)
{
  char buf[16] = "";
  int c, s = pair(l, a, &c);
  struct linger now = {1, 0};
  T(setsockopt(s, SOL_SOCKET, SO_LINGER, &now, sizeof now));
  T(close(s));
  wait_in(c);
  T(read(c, buf, sizeof buf));
  T(read(c, buf, sizeof buf));
  T(send(c, "x", 1, MSG_NOSIGNAL));
  T(close(c));
}

static void not_waiting(int l, const struct sockaddr_in *a)
{
  int c = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)), err = -1;
  socklen_t n = sizeof err;
  long r = connect(c, (const struct sockaddr *)a, sizeof *a);
  YES(r == 0 || errno == EINPROGRESS);
  struct pollfd p = {.fd = c, .events = POLLOUT};
  T(poll(&p, 1, -1));
  T(p.revents);
  T(getsockopt(c, SOL_SOCKET, SO_ERROR, &err, &n));
  T(err);
  int s = (int)OK(accept(l, 0, 0));
  T(write(c, "abc", 3));
  char buf[4];
  T(recv(s, buf, 3, MSG_WAITALL));
  T(read(c, buf, 1));
  T(close(s));
  wait_in(c);
  T(read(c, buf, 1));
  T(close(c));
  T(fcntl(l, F_SETFL, O_NONBLOCK));
  T(accept(l, 0, 0));
}

/* Until it is settled: its error. */
static int outcome(int c, bool ask)
{
  struct pollfd p = {.fd = c, .events = POLLOUT};
  int err = 0;
  socklen_t n = sizeof err;
  poll(&p, 1, -1);
  if (ask)
    getsockopt(c, SOL_SOCKET, SO_ERROR, &err, &n);
  return err;
}

/* Refused, a socket can be connected anew, once its error has been told. */
static void refused_again(int l, const struct sockaddr_in *a)
{
  struct sockaddr_in nobody;
  int closed = listener(&nobody), s;
  close(closed);
  int c = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
  T(connect(c, (struct sockaddr *)&nobody, sizeof nobody));
  T(outcome(c, true));
  T(connect(c, (const struct sockaddr *)a, sizeof *a));
  s = (int)OK(accept(l, 0, 0));
  T(write(s, "a", 1));
  T(read(c, &(char){0}, 1));
  close(s);
  close(c);
  for (int ask = 0; ask < 2; ask++) {
    c = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    T(connect(c, (struct sockaddr *)&nobody, sizeof nobody));
    say("%s", err_name(outcome(c, ask)));
    T(connect(c, (const struct sockaddr *)a, sizeof *a));
    T(connect(c, (const struct sockaddr *)a, sizeof *a));
    T(outcome(c, true));
    s = (int)OK(accept(l, 0, 0));
    T(write(c, "a", 1));
    T(read(s, &(char){0}, 1));
    close(s);
    close(c);
  }
}

static void refused(void)
{
  struct sockaddr_in a;
  int l = listener(&a), err = 0;
  socklen_t n = sizeof err;
  T(close(l));
  int c = (int)OK(socket(AF_INET, SOCK_STREAM, 0));
  T(connect(c, (struct sockaddr *)&a, sizeof a));
  T(close(c));
  c = (int)OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  long r = connect(c, (struct sockaddr *)&a, sizeof a);
  if (r < 0 && errno == EINPROGRESS) {
    struct pollfd p = {.fd = c, .events = POLLOUT};
    poll(&p, 1, -1);
    getsockopt(c, SOL_SOCKET, SO_ERROR, &err, &n);
    errno = err;
  }
  YES(errno == ECONNREFUSED);
  T(close(c));
}

/* Much more than any window, both ways at once. */
static void much(int l, const struct sockaddr_in *a)
{
  enum { TOTAL = 3 << 20 };
  int c, s = pair(l, a, &c);
  pid_t pid = fork();
  if (!pid) {
    static char buf[50000];
    long n, sum = 0, total = 0;
    close(c);
    while ((n = read(s, buf, sizeof buf)) > 0) {
      for (long i = 0; i < n; i++)
        sum += (unsigned char)buf[i];
      total += n;
      for (long at = 0; at < n;) {
        long w = write(s, buf + at, (size_t)(n - at));
        if (w < 0)
          _exit(1);
        at += w;
      }
    }
    _exit(total == TOTAL && sum % 251 == 0 ? 0 : 2);
  }
  close(s);
  fcntl(c, F_SETFL, O_NONBLOCK);
  static char out[TOTAL], in[TOTAL];
  long sent = 0, got = 0, sum = 0;
  for (long i = 0; i < TOTAL; i++) {
    out[i] = (char)(i * 7 + i / 4096);
    sum += (unsigned char)out[i];
  }
  out[0] = (char)(out[0] + (251 - sum % 251) % 251);
  int ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
  epoll_ctl(ep, EPOLL_CTL_ADD, c, &e);
  while (got < TOTAL) {
    epoll_wait(ep, &e, 1, -1);
    for (long n; sent < TOTAL && (n = write(c, out + sent, (size_t)(TOTAL - sent))) > 0;)
      if ((sent += n) == TOTAL)
        shutdown(c, SHUT_WR);
    for (long n; got < TOTAL && (n = read(c, in + got, (size_t)(TOTAL - got))) > 0;)
      got += n;
  }
  YES(!memcmp(in, out, TOTAL));
  wait_for(pid, "echo");
  close(c);
}

int main(void)
{
  struct sockaddr_in a;
  unconnected();
  int l = listener(&a);
  T(bind(l, (struct sockaddr *)&a, sizeof a));
  T(connect(l, (struct sockaddr *)&a, sizeof a));
  int twice = socket(AF_INET, SOCK_STREAM, 0);
  T(bind(twice, (struct sockaddr *)&a, sizeof a));
  talk(l, &a);
  resets(l, &a);
  much(l, &a);
  refused_again(l, &a);
  not_waiting(l, &a);
  refused();
  T(shutdown(l, SHUT_RD));
  T(close(l));
  l = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  T(bind(l, (struct sockaddr *)&a, sizeof a));
  return 0;
}
