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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/log.h"
#include "login/known.h"
#include "proto/codec.h"

struct meeting {
  const struct client *c;
  struct tls *t;
  uint8_t key[HOSTKEY_LEN];
  enum known known;
  struct known_line line;
  struct secret secret; /* n 0: none */
  const uint8_t *request;
  size_t n;
  bool asked;
};

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

/* A file that was named has to be there. */
static int find_secret(struct meeting *m)
{
  const char *given = m->c->secret_file ? m->c->secret_file : getenv("NEXEC_SECRET_FILE");
  const char *path = m->c->secret_file ? m->c->secret_file : secret_path();
  if (!path)
    return say(m, "no secret: HOME is not set; use --secret-file");
  if (access(path, F_OK) && errno == ENOENT && !(given && *given))
    return say(m, "there is no secret");
  return secret_read(path, false, &m->secret) ? 0 : -1;
}

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

static int try_secret(struct meeting *m)
{
  static struct login l;
  uint8_t proof[PROOF], want[PROOF];
  char text[VERDICT_TEXT];
  bool ahead = m->known == KNOWN_SAME;
  if (find_secret(m))
    return -1;
  if (!tls_exported(m->t, l.exported))
    return say(m, "TLS exports nothing");
  fill_in(m, &l);
  login_prove(&m->secret, "nexec", l.exported, l.secret);
  l.has_secret = true;
  if (send_login(m, &l, ahead))
    return -1;
  int v = read_verdict(m, proof, text);
  if (v)
    return v < 0 ? -1 : say(m, text);
  login_prove(&m->secret, "nexecd", l.exported, want);
  if (CRYPTO_memcmp(proof, want, PROOF))
    return say(m, "it does not know the secret");
  m->asked = ahead;
  if (m->known == KNOWN_NEW)
    known_add(m->c->name, m->key, "secret");
  return 0;
}

/* ---- the process that carries ---- */

/* It is nobody's child to wait for, and has nothing of ours but the two descriptors. */
static void carry_alone(struct tls *t, int sock, int pair)
{
  int null = open("/dev/null", O_RDWR);
  setsid();
  prctl(PR_SET_NAME, "nexec-tls");
  for (int i = 0; i < 3 && null >= 0; i++)
    dup2(null, i);
  int low = sock < pair ? sock : pair, high = sock < pair ? pair : sock;
  syscall(SYS_close_range, 3, low - 1, 0);
  syscall(SYS_close_range, low + 1, high - 1, 0);
  syscall(SYS_close_range, high + 1, ~0u, 0);
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
  struct meeting m = {.c = c, .t = tls_client(sock), .request = request, .n = n};
  int stream = -1;
  int err = m.t ? tls_handshake(m.t, request_deadline() + HANDSHAKE_MS) : -ENOMEM;
  if (err)
    say(&m, reason(err));
  else if (!look_at_host(&m) && !try_secret(&m))
    stream = start_carrying(&m, sock);
  explicit_bzero(&m.secret, sizeof m.secret);
  tls_free(m.t);
  *asked = m.asked;
  return stream;
}

int client_login_unix(const struct client *c, int sock)
{
  static struct login l;
  struct meeting m = {.c = c};
  size_t n;
  fill_in(&m, &l);
  uint8_t *text = login_put(&l, 0, &n);
  int err = text ? write_until(sock, text, n, request_deadline()) : -ENOMEM;
  free(text);
  return err;
}
