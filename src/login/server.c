/*
 * Letting callers in: the side of nexecd that decides.
 *
 * Owns the process that talks to the stranger (stranger.h) until the login is over. Must never believe that one: what
 * comes from it is a stranger's word with its lengths checked here again.
 */
#include "login/server.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "login/authkeys.h"
#include "login/stranger.h"
#include "login/verify.h"

struct talk {
  struct door *d;
  struct caller *c;
  char address[48]; /* the caller's, without a port */
  int ctl;
  bool has_signed;
  uint64_t until;
  char *why; /* 256 bytes */
};

static int fail(char why[256], const char *format, const char *detail)
{
  snprintf(why, 256, format, detail);
  return -1;
}

static void printable(char *text)
{
  for (; *text; text++)
    if ((uint8_t)*text < ' ' || *text == 127)
      *text = ' ';
}

/* ---- deciding ---- */

static bool knows_secret(const struct door *d, const struct login *l, uint8_t proof[PROOF])
{
  uint8_t want[PROOF];
  if (!l->has_secret || !d->secret.n)
    return false;
  login_prove(&d->secret, "nexec", l->exported, want);
  if (CRYPTO_memcmp(want, l->secret, PROOF))
    return false;
  login_prove(&d->secret, "nexecd", l->exported, proof);
  return true;
}

static void refuse(struct stranger_answer *a, const char *text)
{
  a->verdict = V_SECRET;
  snprintf(a->text, sizeof a->text, "%s", text);
}

/* As a user we serve that user alone, whatever the caller's name is elsewhere. */
static const struct passwd *account(const struct login *l, char why[256])
{
  const char *name = l->user[0] ? l->user : l->caller;
  const struct passwd *pw = geteuid() ? getpwuid(geteuid()) : getpwnam(name);
  bool ours = pw && (!geteuid() || !l->user[0] || !strcmp(pw->pw_name, l->user));
  if (!ours)
    snprintf(why, 256, "there is no account %s to log in to", name);
  return ours ? pw : 0;
}

/* The first of the offered keys from `from' up to `to' that may log in; LOGIN_KEYS: none. */
static unsigned allowed_key(const struct talk *t, const struct login *l, const char *text, unsigned from, unsigned to)
{
  char why[256];
  for (unsigned i = from; i < to; i++) {
    if (authkeys_allow(text, l->key[i].blob, l->key[i].n, t->address, time(0), why))
      return i;
    if (strncmp(why, "no line", 7) || !t->why[0])
      snprintf(t->why, 256, "%s", why);
  }
  return LOGIN_KEYS;
}

static void say_key(struct talk *t, const struct login *l, const struct passwd *pw)
{
  const struct login_key *k = &l->key[l->signed_by];
  char fingerprint[FINGERPRINT_TEXT];
  key_fingerprint(k->blob, k->n, fingerprint);
  snprintf(t->c->how, sizeof t->c->how, "the key %s", fingerprint);
  snprintf(t->c->user, sizeof t->c->user, "%s", pw->pw_name);
}

static void decide_key(struct talk *t, const struct login *l, struct stranger_answer *a)
{
  const struct passwd *pw = account(l, t->why);
  char *path = pw ? authkeys_path(t->d->authorized_keys, pw) : 0, *text = path ? authkeys_read(path, pw, t->why) : 0;
  bool is_signed = text && l->nsignature && allowed_key(t, l, text, l->signed_by, l->signed_by + 1) == l->signed_by;
  refuse(a, "no key of yours is accepted there");
  if (is_signed && verify_signature(l, t->why)) {
    a->verdict = V_OK;
    *a->text = 0;
    say_key(t, l, pw);
  } else if (text && !is_signed) {
    unsigned i = allowed_key(t, l, text, 0, l->nkeys);
    if (i < LOGIN_KEYS && !(l->nsignature && i == l->signed_by)) {
      a->verdict = V_KEY;
      snprintf(a->text, sizeof a->text, "%u", i);
    }
  }
  free(text);
  free(path);
}

/* What is said to who is refused tells nothing of the account; why it was is for the log. */
static void decide(struct talk *t, const struct login *l, struct stranger_answer *a)
{
  *t->why = 0;
  if (knows_secret(t->d, l, a->proof)) {
    memcpy(t->c->user, l->user, sizeof t->c->user);
    strcpy(t->c->how, "the secret");
    a->verdict = V_OK;
  } else if (l->nkeys) {
    decide_key(t, l, a);
  } else {
    refuse(a, l->has_secret ? "the secret is refused" : "the login is refused");
    fail(t->why, "%s", l->has_secret ? "wrong secret" : "nothing that could be accepted");
  }
}

/* ---- what the stranger's process asks ---- */

static int answer_sign(struct talk *t, const struct stranger_message *m, size_t n)
{
  uint8_t signature[HOSTKEY_SIG];
  if (t->has_signed || !tls_is_server_proof(m->to_sign, n) || hostkey_sign(&t->d->key, m->to_sign, n, signature))
    return fail(t->why, "%s", "something else than TLS was to be signed");
  t->has_signed = true;
  return send(t->ctl, signature, sizeof signature, MSG_NOSIGNAL) == sizeof signature ? 0 : -1;
}

/* 1: let in. */
static int answer_login(struct talk *t, struct login *l)
{
  struct stranger_answer a = {0};
  bool sound = !l->user[LOGIN_USER_MAX - 1] && !l->caller[LOGIN_USER_MAX - 1] && l->nkeys <= LOGIN_KEYS &&
               l->nsignature <= LOGIN_SIG_MAX && (!l->nsignature || l->signed_by < l->nkeys);
  for (unsigned i = 0; sound && i < l->nkeys; i++)
    sound = l->key[i].n <= LOGIN_KEY_MAX;
  if (!sound)
    return fail(t->why, "%s", "a login that cannot be");
  printable(l->user);
  printable(l->caller);
  decide(t, l, &a);
  if (send(t->ctl, &a, sizeof a, MSG_NOSIGNAL) != sizeof a)
    return fail(t->why, "%s", "it closed the connection");
  return a.verdict == V_OK;
}

static int answer(struct talk *t)
{
  static struct stranger_message m;
  struct pollfd p = {.fd = t->ctl, .events = POLLIN};
  uint64_t now = now_ms();
  const size_t head = offsetof(struct stranger_message, login);
  if (now >= t->until || (poll(&p, 1, (int)(t->until - now)) <= 0 && errno != EINTR))
    return fail(t->why, "%s", "it took too long");
  ssize_t n = recv(t->ctl, &m, sizeof m, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return 0;
  if (n < (ssize_t)head)
    return *t->why ? -1 : fail(t->why, "%s", "it closed the connection");
  size_t len = (size_t)n - head;
  if (m.kind == ST_SIGN)
    return answer_sign(t, &m, len);
  if (m.kind == ST_LOGIN && len == sizeof m.login)
    return answer_login(t, &m.login);
  m.why[len < ST_TEXT ? len : ST_TEXT - 1] = 0;
  printable(m.why);
  return *t->why ? -1 : fail(t->why, "%s", m.kind == ST_FAILED ? m.why : "it cannot be understood");
}

/* ---- */

/* An IPv4 address that came by an IPv6 socket is one all the same. */
static void say_from(int sock, char from[64], char address[48])
{
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  char host[48], port[8];
  if (getpeername(sock, (struct sockaddr *)&a, &n) ||
      getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
    return;
  const char *plain = strncmp(host, "::ffff:", 7) ? host : host + 7;
  strcpy(address, plain);
  snprintf(from, 64, strchr(plain, ':') ? "[%s]:%s" : "%s:%s", address, port);
}

static pid_t start_stranger(struct door *d, int sock, int ctl[2], int stream[2], void (*forget)(void))
{
  pid_t parent = getpid(), pid = fork();
  if (pid)
    return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent)
    _exit(1);
  close(ctl[0]);
  close(stream[0]);
  explicit_bzero(&d->secret, sizeof d->secret);
  hostkey_forget(&d->key);
  forget();
  stranger_run(sock, ctl[1], stream[1], &d->key);
}

int door_open(struct door *d, int sock, void (*forget)(void), struct caller *c, char why[256])
{
  int ctl[2], stream[2], r = 0, room = 64 << 10;
  *c = (struct caller){.from = "?"};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ctl) ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream))
    return fail(why, "no sockets: %s", strerror(errno));
  /* What lies here delays whatever comes behind it. */
  setsockopt(stream[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  struct talk t = {.d = d, .c = c, .ctl = ctl[0], .until = now_ms() + d->grace_ms, .why = why};
  *why = 0;
  say_from(sock, c->from, t.address);
  pid_t pid = start_stranger(d, sock, ctl, stream, forget);
  close(ctl[1]);
  close(stream[1]);
  if (pid < 0)
    r = fail(why, "no process: %s", strerror(errno));
  while (!r)
    r = answer(&t);
  close(ctl[0]);
  if (r > 0)
    return stream[0];
  close(stream[0]);
  return -1;
}

int door_open_unix(int sock, struct caller *c, char why[256])
{
  static struct login l;
  static uint8_t body[LOGIN_MAX];
  struct ucred u;
  socklen_t n = sizeof u;
  uint8_t head[LOGIN_HEAD];
  uint32_t len, ahead;
  uint64_t until = request_deadline();
  *c = (struct caller){.from = "unix"};
  if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &u, &n))
    return fail(why, "%s", strerror(errno));
  snprintf(c->from, sizeof c->from, "unix:%d", (int)u.uid);
  strcpy(c->how, "the socket");
  c->uid = u.uid;
  int err = read_until(sock, head, sizeof head, until);
  if (err)
    return fail(why, "%s", request_reason(err));
  enum verdict v = login_get_head(head, &len, &ahead, why);
  if (!v && (read_until(sock, body, len, until) || !login_get(&l, body, len)))
    v = fail(why, "%s", "malformed login") ? V_REQUEST : V_OK;
  if (v)
    return request_verdict(sock, v, why), -1;
  printable(l.user);
  memcpy(c->user, l.user, sizeof c->user);
  return sock;
}
