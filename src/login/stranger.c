/*
 * The process that talks to a stranger; see the header.
 *
 * It reads what anybody may have written, so it is the one that may be taken over: it has no key, no secret, no file
 * and no other process, and what it says is believed by nobody. Must never be given any of these.
 */
#include "login/stranger.h"

#include <errno.h>
#include <openssl/rand.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "login/confine.h"
#include "proto/codec.h"

#define LOGIN_MS 60000 /* who waits for us has a shorter patience */

static struct {
  int ctl;
  struct stranger_message m;
} S;

static bool ask(size_t n, void *answer, size_t size)
{
  n += offsetof(struct stranger_message, login);
  return send(S.ctl, &S.m, n, 0) == (ssize_t)n && recv(S.ctl, answer, size, 0) == (ssize_t)size;
}

static int sign_by_asking(const void *text, size_t n, uint8_t signature[HOSTKEY_SIG])
{
  S.m.kind = ST_SIGN;
  if (n > sizeof S.m.to_sign)
    return -1;
  memcpy(S.m.to_sign, text, n);
  return ask(n, signature, HOSTKEY_SIG) ? 0 : -1;
}

static void give_up(const char *why) __attribute__((noreturn));
static void give_up(const char *why)
{
  S.m.kind = ST_FAILED;
  size_t n = strnlen(why, ST_TEXT - 1);
  memcpy(S.m.why, why, n);
  send(S.ctl, &S.m, offsetof(struct stranger_message, login) + n, MSG_NOSIGNAL);
  _exit(1);
}

static const char *reason(int err)
{
  return err == -EPROTO ? "it does not speak TLS 1.3" : request_reason(err);
}

static int send_answer(struct tls *t, const struct stranger_answer *a, uint64_t until)
{
  uint8_t buf[8 + ST_TEXT + PROOF];
  struct wbuf w = {buf, buf + sizeof buf, false};
  put_u32(&w, a->verdict);
  put_blob(&w, a->text, (uint32_t)strnlen(a->text, ST_TEXT));
  put_raw(&w, a->proof, PROOF);
  return tls_write(t, buf, (size_t)(w.at - buf), until);
}

static void refuse(struct tls *t, enum verdict v, const char *why, uint64_t until) __attribute__((noreturn));
static void refuse(struct tls *t, enum verdict v, const char *why, uint64_t until)
{
  struct stranger_answer a = {.verdict = v};
  snprintf(a.text, sizeof a.text, "%.190s", why);
  send_answer(t, &a, until);
  tls_end(t, until);
  give_up(why);
}

/* The request that came with a login that was not accepted. */
static int skip(struct tls *t, uint32_t n, uint64_t until)
{
  char waste[4096];
  int err = 0;
  while (n && !err) {
    uint32_t some = n < sizeof waste ? n : sizeof waste;
    err = tls_read(t, waste, some, until);
    n -= some;
  }
  return err;
}

/* Returns how much came ahead of the verdict. */
static uint32_t read_login(struct tls *t, uint64_t until)
{
  static uint8_t body[LOGIN_MAX];
  uint8_t head[LOGIN_HEAD];
  uint32_t n, ahead;
  char why[256];
  int err = tls_read(t, head, sizeof head, until);
  if (err)
    give_up(reason(err));
  enum verdict v = login_get_head(head, &n, &ahead, why);
  if (v)
    refuse(t, v, why, until);
  err = tls_read(t, body, n, until);
  if (err)
    give_up(reason(err));
  S.m = (struct stranger_message){.kind = ST_LOGIN};
  if (!login_get(&S.m.login, body, n))
    refuse(t, V_REQUEST, "malformed login", until);
  if (!tls_exported(t, S.m.login.exported))
    refuse(t, V_FAILED, "TLS exports nothing", until);
  return ahead;
}

/* Who decides has been ended if the stranger is to be turned away; perhaps before this was said to the kernel. */
static void end_with_parent(void)
{
  struct pollfd p = {.fd = S.ctl};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (poll(&p, 1, 0) > 0)
    _exit(1);
}

static void let_in(struct tls *t, uint64_t until)
{
  for (unsigned i = 0; i < LOGIN_TRIES; i++) {
    struct stranger_answer a;
    uint32_t ahead = read_login(t, until);
    /* Who lets it in may be gone at once, and what was said last has to be carried all the same. */
    prctl(PR_SET_PDEATHSIG, 0);
    if (!ask(sizeof S.m.login, &a, sizeof a))
      _exit(1);
    if (a.verdict != V_OK && a.verdict != V_SECRET && a.verdict != V_KEY)
      refuse(t, a.verdict, a.text, until);
    int err = send_answer(t, &a, until);
    if (err)
      give_up(reason(err));
    if (a.verdict == V_OK)
      return;
    end_with_parent();
    err = skip(t, ahead, until);
    if (err)
      give_up(reason(err));
  }
  refuse(t, V_FAILED, "too many attempts", until);
}

void stranger_run(int sock, int ctl, int stream, const struct hostkey *k)
{
  uint64_t until = now_ms() + LOGIN_MS;
  uint8_t seed[1];
  S.ctl = ctl;
  /* What it needs from files and of the clock's device it needs before. */
  struct tls *t = RAND_bytes(seed, 1) && !set_nonblocking(stream) ? tls_server(sock, k, sign_by_asking) : 0;
  if (!t)
    give_up("out of memory");
  if (!confine_descriptors((const int[]){sock, ctl, stream}, 3) || !confine_self())
    give_up("the process that talks to strangers could not give up its rights");
  end_with_parent();
  int err = tls_handshake(t, until);
  if (err)
    give_up(reason(err));
  let_in(t, until);
  close(ctl);
  tls_carry(t, stream);
  _exit(0);
}
