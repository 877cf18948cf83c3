/*
 * The caller's side of a login over TCP.
 *
 * Owns the TLS connection until a process of its own carries it. Must never send anything of the caller's to a machine
 * that is not known: by its host key, by the secret, or because the user has been shown that it is new.
 */
#include "login/client.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/log.h"
#include "login/confine.h"
#include "login/keys.h"
#include "login/known.h"
#include "proto/codec.h"

struct meeting {
  const struct client *c;
  struct tls *t;
  uint8_t key[HOSTKEY_LEN];
  enum known known;
  struct known_line line;
  struct secret secret; /* n 0: none */
  struct keyring ring;
  struct login login;
  const uint8_t *request;
  size_t n;
  bool asked, trusted;
  char how[FINGERPRINT_TEXT]; /* what was accepted */
  char said[VERDICT_TEXT];
};

#define BY_SECRET "secret"

static int say(const struct meeting *m, const char *what)
{
  log_line("%s: %s", m->c->where, what);
  return -1;
}

static const char *reason(int err)
{
  return err == -EPROTO ? "it does not speak TLS 1.3, which nexec's protocol wants" : request_reason(err);
}

/* ---- whose machine it is ---- */

static int refuse_changed(const struct meeting *m, const char *fingerprint)
{
  log_line("THE HOST KEY OF %s HAS CHANGED. Nothing was sent.", m->c->name);
  log_line("It is %s now; %s, line %u, has %s.", fingerprint, known_path(), m->line.number, m->line.fingerprint);
  log_line("Somebody may be between you and that machine, or its nexecd has a new key. If you know that it has:");
  log_line("  ssh-keygen -f '%s' -R '%s'", known_path(), m->c->name);
  return -1;
}

static int look_at_host(struct meeting *m)
{
  char fingerprint[FINGERPRINT_TEXT];
  if (!tls_peer_key(m->t, m->key))
    return say(m, "it has no ed25519 host key");
  m->known = known_look(m->c->name, m->key, &m->line);
  hostkey_fingerprint(m->key, fingerprint);
  if (m->known == KNOWN_CHANGED)
    return refuse_changed(m, fingerprint);
  return m->known == KNOWN_UNREADABLE ? -1 : 0;
}

/* ---- who we are ---- */

static void fill_in(const struct meeting *m, struct login *l)
{
  const struct passwd *pw = getpwuid(getuid());
  snprintf(l->user, sizeof l->user, "%s", m->c->user ? m->c->user : "");
  snprintf(l->caller, sizeof l->caller, "%s", pw ? pw->pw_name : "");
}

/* The login, and the request behind it unless whoever reads it has to prove something first. */
static int send_login(struct meeting *m, const struct login *l, bool ahead)
{
  size_t n;
  uint64_t until = request_deadline();
  uint8_t *text = login_put(l, ahead ? (uint32_t)m->n + 4 : 0, &n), head[4];
  struct wbuf w = {head, head + sizeof head, false};
  put_u32(&w, (uint32_t)m->n);
  int err = text ? tls_write(m->t, text, n, until) : -ENOMEM;
  free(text);
  if (!err && ahead)
    err = tls_write(m->t, head, sizeof head, until);
  if (!err && ahead)
    err = tls_write(m->t, m->request, m->n, until + HANDSHAKE_MS);
  return err ? say(m, reason(err)) : 0;
}

/* The verdict, or -1, which has been said. */
static int read_verdict(struct meeting *m, uint8_t proof[PROOF], char text[VERDICT_TEXT])
{
  uint8_t head[8];
  uint64_t until = request_deadline() + HANDSHAKE_MS;
  uint32_t n;
  int v = V_OK, err = tls_read(m->t, head, sizeof head, until);
  if (!err && !verdict_head(head, &v, &n))
    return say(m, "it does not speak nexec's protocol");
  err = err ? err : tls_read(m->t, text, n, until);
  err = err ? err : tls_read(m->t, proof, PROOF, until);
  if (err)
    return say(m, reason(err));
  verdict_text(text, n);
  return v;
}

/* Sends it and reads what is said to it. */
static int attempt(struct meeting *m, const struct login *l, bool ahead, uint8_t proof[PROOF])
{
  if (send_login(m, l, ahead))
    return -1;
  int v = read_verdict(m, proof, m->said);
  if (v < 0 || v == V_OK || v == V_SECRET || v == V_KEY)
    return v;
  return say(m, m->said);
}

/* ---- by the secret ---- */

/* One that was named has to be there. -1: said why; 1: there is none. */
static int find_secret(struct meeting *m)
{
  const char *given = getenv("NEXEC_SECRET_FILE");
  const char *path = m->c->secret_file ? m->c->secret_file : secret_path();
  bool named = m->c->secret_file || (given && *given);
  if (!path || (!named && access(path, F_OK) && errno == ENOENT))
    return 1;
  return secret_read(path, false, &m->secret) ? 0 : -1;
}

static int try_secret(struct meeting *m)
{
  struct login *l = &m->login;
  uint8_t proof[PROOF], want[PROOF];
  bool ahead = m->known == KNOWN_SAME;
  login_prove(&m->secret, "nexec", l->exported, l->secret);
  l->has_secret = true;
  int v = attempt(m, l, ahead, proof);
  l->has_secret = false;
  if (v == V_KEY)
    v = V_SECRET;
  if (v)
    return v;
  login_prove(&m->secret, "nexecd", l->exported, want);
  if (CRYPTO_memcmp(proof, want, PROOF))
    return say(m, "it does not know the secret");
  m->asked = ahead;
  strcpy(m->how, BY_SECRET);
  return V_OK;
}

/* ---- by a key ---- */

/* Nobody proves that it is the right machine: the user is told what was believed. */
static void trust(struct meeting *m)
{
  char fingerprint[FINGERPRINT_TEXT];
  if (m->known == KNOWN_SAME)
    return;
  hostkey_fingerprint(m->key, fingerprint);
  log_line("%s is new; its host key is %s (ED25519), and is remembered", m->c->name, fingerprint);
  m->known = KNOWN_SAME;
  m->trusted = true;
}

static bool sign(struct meeting *m, unsigned i)
{
  struct login *l = &m->login;
  uint8_t text[LOGIN_TEXT_MAX];
  size_t n = login_text(l, text);
  l->signed_by = i;
  l->nsignature = (uint32_t)keys_sign(&m->ring, i, text, n, l->signature, sizeof l->signature);
  return l->nsignature;
}

/* The number that was named, LOGIN_KEYS if it is none of ours. */
static unsigned named_key(const struct meeting *m)
{
  char *end;
  unsigned long i = strtoul(m->said, &end, 10);
  return end > m->said && !*end && i < m->ring.n ? (unsigned)i : LOGIN_KEYS;
}

/*
 * The first key signs at once if that costs nobody anything: the agent has it, or it was the right one the last time.
 * Otherwise it is asked first which one may.
 */
static int try_keys(struct meeting *m)
{
  struct login *l = &m->login;
  uint8_t proof[PROOF];
  char first[FINGERPRINT_TEXT];
  keys_find(&m->ring, m->c->identity, m->line.comment);
  if (!m->ring.n)
    return V_SECRET;
  trust(m);
  l->nkeys = m->ring.n;
  memcpy(l->key, m->ring.key, sizeof l->key);
  key_fingerprint(l->key[0].blob, l->key[0].n, first);
  bool at_once = !m->ring.file[0] || !strcmp(first, m->line.comment);
  int v = at_once && sign(m, 0) ? attempt(m, l, true, proof) : attempt(m, l, false, proof);
  m->asked = l->nsignature;
  if (v == V_KEY) {
    unsigned i = named_key(m);
    if (i == LOGIN_KEYS || (l->nsignature && i == l->signed_by))
      return say(m, "it does not speak nexec's protocol");
    if (!sign(m, i))
      return say(m, "the key that it would accept does not sign");
    v = attempt(m, l, true, proof);
    m->asked = true;
  }
  if (!v && !l->nsignature)
    return say(m, "it does not speak nexec's protocol");
  if (!v)
    key_fingerprint(l->key[l->signed_by].blob, l->key[l->signed_by].n, m->how);
  return v;
}

/* ---- */

/* What worked the last time comes first. What was said to the last attempt is what the user is told. */
static int log_in(struct meeting *m)
{
  int none = find_secret(m), v = V_SECRET;
  if (none < 0)
    return -1;
  fill_in(m, &m->login);
  if (!tls_exported(m->t, m->login.exported))
    return say(m, "TLS exports nothing");
  bool keys_first = none || m->c->identity || (!strncmp(m->line.comment, "SHA256:", 7) && !m->c->secret_file);
  if (keys_first)
    v = try_keys(m);
  if (v == V_SECRET && !none)
    v = try_secret(m);
  if (v == V_SECRET && !keys_first)
    v = try_keys(m);
  if (v && !m->said[0])
    return v < 0 ? -1
                 : say(m,
                       "there is nothing to log in with: no SSH key of yours, in an agent or in ~/.ssh, and no secret");
  if (v)
    return v < 0 ? -1 : say(m, m->said);
  if (m->known == KNOWN_NEW || m->trusted)
    known_add(m->c->name, m->key, m->how);
  return 0;
}

/* ---- the process that carries ---- */

/* It is nobody's child to wait for, and has nothing of ours but the two descriptors. */
static void carry_alone(struct tls *t, int sock, int pair)
{
  setsid();
  prctl(PR_SET_NAME, "nexec-tls");
  if (!confine_descriptors((const int[]){sock, pair}, 2))
    _exit(1);
  if (!set_nonblocking(pair))
    tls_carry(t, pair);
  _exit(0);
}

static int start_carrying(const struct meeting *m, int sock)
{
  int pair[2], how = 1, room = 64 << 10;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
    return say(m, strerror(errno));
  /* What lies here delays whatever comes behind it. */
  setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  pid_t middle = fork();
  if (!middle) {
    pid_t child = fork();
    if (!child)
      carry_alone(m->t, sock, pair[1]);
    _exit(child < 0);
  }
  close(pair[1]);
  if (middle > 0 && waitpid(middle, &how, 0) == middle && !how)
    return pair[0];
  close(pair[0]);
  return say(m, "cannot start a process");
}

/* ---- */

int client_login(const struct client *c, int sock, const uint8_t *request, size_t n, bool *asked)
{
  static struct meeting m;
  int stream = -1;
  sighandler_t before = signal(SIGPIPE, SIG_IGN);
  m = (struct meeting){.c = c, .t = tls_client(sock), .request = request, .n = n};
  int err = m.t ? tls_handshake(m.t, request_deadline() + HANDSHAKE_MS) : -ENOMEM;
  if (err)
    say(&m, reason(err));
  else if (!look_at_host(&m) && !log_in(&m))
    stream = start_carrying(&m, sock);
  explicit_bzero(&m.secret, sizeof m.secret);
  tls_free(m.t);
  signal(SIGPIPE, before);
  *asked = m.asked;
  return stream;
}

int client_login_unix(const struct client *c, int sock)
{
  static struct meeting m;
  size_t n;
  m.c = c;
  fill_in(&m, &m.login);
  uint8_t *text = login_put(&m.login, 0, &n);
  int err = text ? write_until(sock, text, n, request_deadline()) : -ENOMEM;
  free(text);
  return err;
}
