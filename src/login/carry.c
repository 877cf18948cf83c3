/*
 * Carrying bytes between TLS and the descriptor of a part that knows nothing of it.
 *
 * Each direction holds one buffer and takes no more before it is empty, and nothing is taken while TCP has as much
 * unsent as near_socket() allows: the queues that may be long are those of the parts, which know what is urgent. The
 * end of one direction is handed on and does not end the other. Owns nothing. Must never interpret what it carries.
 */
#include "login/carry.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"

#define LINGER_MS 10000 /* for the other side to take what was sent last */

struct way {
  size_t at, n; /* what is in the buffer, from `at' on */
  bool ended;   /* nothing more comes in */
  bool closed;  /* and that has been handed on */
  char buf[CARRY_BUF];
};

struct carrying {
  SSL *ssl;
  int sock, pair;
  bool broken, gone;              /* gone: the pair's other end is closed in both directions */
  short sock_events, pair_events; /* what is waited for */
  struct way out, in;             /* from the pair to TLS; from TLS to the pair */
};

static struct carrying C;

/* ---- TLS ---- */

/* What a result of the library's means; true: it is only a matter of waiting. */
static bool must_wait(struct carrying *c, int result)
{
  switch (SSL_get_error(c->ssl, result)) {
  case SSL_ERROR_WANT_READ:
    c->sock_events |= POLLIN;
    return true;
  case SSL_ERROR_WANT_WRITE:
    c->sock_events |= POLLOUT;
    return true;
  default:
    return false;
  }
}

/* An end that the other side has not signed may be anybody's: then nothing is handed on as an end in order. */
static void tls_in(struct carrying *c)
{
  struct way *w = &c->in;
  while (!c->broken && !w->ended && !w->n) {
    ERR_clear_error();
    int r = SSL_read_ex(c->ssl, w->buf, sizeof w->buf, &w->n);
    w->at = 0;
    if (r == 1)
      return;
    w->n = 0;
    if (must_wait(c, r))
      return;
    if (SSL_get_error(c->ssl, r) == SSL_ERROR_ZERO_RETURN)
      w->ended = true;
    else
      c->broken = true;
  }
}

static void tls_out(struct carrying *c)
{
  struct way *w = &c->out;
  while (!c->broken && w->n) {
    size_t put = 0;
    ERR_clear_error();
    int r = SSL_write_ex(c->ssl, w->buf + w->at, w->n, &put);
    if (r == 1) {
      w->at += put;
      w->n -= put;
    } else {
      c->broken = !must_wait(c, r);
      return;
    }
  }
  if (!w->n && w->ended && !w->closed && !c->broken) {
    int r = SSL_shutdown(c->ssl);
    if (r < 0 && must_wait(c, r))
      return;
    shutdown(c->sock, SHUT_WR);
    w->closed = true;
  }
}

/* ---- the pair ---- */

static void pair_in(struct carrying *c)
{
  struct way *w = &c->out;
  if (w->ended || w->n)
    return;
  ssize_t n = read(c->pair, w->buf, sizeof w->buf);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    c->pair_events |= POLLIN;
    return;
  }
  w->at = 0;
  w->n = n > 0 ? (size_t)n : 0;
  w->ended = n <= 0;
}

static void pair_out(struct carrying *c)
{
  struct way *w = &c->in;
  while (w->n) {
    ssize_t n = send(c->pair, w->buf + w->at, w->n, MSG_NOSIGNAL);
    if (n > 0) {
      w->at += (size_t)n;
      w->n -= (size_t)n;
    } else if (errno == EAGAIN) {
      c->pair_events |= POLLOUT;
      return;
    } else if (errno != EINTR) {
      w->n = 0; /* nobody reads there any more: what comes is thrown away, so that it ends */
    }
  }
  if (w->ended && !w->closed) {
    shutdown(c->pair, SHUT_WR);
    w->closed = true;
  }
}

/* ---- both ---- */

/* True if all that there was has passed, and there may be more. */
static bool step_out(struct carrying *c)
{
  pair_in(c);
  bool some = c->out.n;
  tls_out(c);
  return some && !c->out.n;
}

static bool step_in(struct carrying *c)
{
  tls_in(c);
  bool some = c->in.n;
  pair_out(c);
  return some && !c->in.n;
}

/* By turns, so that neither direction waits for the other's end; until both would have to wait. */
static void move(struct carrying *c)
{
  bool out, in;
  do {
    c->sock_events = c->pair_events = 0;
    out = step_out(c);
    in = step_in(c);
  } while (!c->broken && (out || in));
}

static bool is_over(const struct carrying *c)
{
  return c->broken || (c->out.closed && c->in.closed);
}

/* The pair's other end may be closed altogether while we wait for nothing of it. */
static void wait_for(struct carrying *c, uint64_t until)
{
  uint64_t now = now_ms();
  struct pollfd p[] = {{.fd = c->sock_events ? c->sock : -1, .events = c->sock_events},
                       {.fd = c->gone && !c->pair_events ? -1 : c->pair, .events = c->pair_events}};
  poll(p, 2, until == UINT64_MAX ? -1 : until > now ? (int)(until - now) : 0);
  c->gone |= p[1].revents & POLLHUP;
}

/* Nobody is there any more to receive anything; what was sent last has to arrive, though. */
static uint64_t patience(const struct carrying *c, uint64_t until)
{
  if (!c->gone || (c->out.closed && until != UINT64_MAX))
    return until;
  return now_ms() + LINGER_MS;
}

void carry(SSL *ssl, int sock, int pair)
{
  struct carrying *c = &C;
  uint64_t until = UINT64_MAX;
  *c = (struct carrying){.ssl = ssl, .sock = sock, .pair = pair};
  for (move(c); !is_over(c) && now_ms() < until; move(c)) {
    until = patience(c, until);
    wait_for(c, until);
  }
}
