/*
 * TLS 1.3 over a connected socket; see the header.
 *
 * Owns the library's objects. Must never speak an older version, resume a session, or hold a private key.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP_PKEY_METHOD: how a key that is elsewhere signs */
#include "login/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "login/carry.h"

#define EXPORT_LABEL "EXPORTER-nexec-login"

struct tls {
  SSL *ssl;
  SSL_CTX *ctx;
  int sock;
};

static tls_sign *signer;

/* ---- a key that is elsewhere ---- */

static int sign_elsewhere(EVP_MD_CTX *c, uint8_t *signature, size_t *n, const uint8_t *text, size_t len)
{
  (void)c;
  if (signature && (*n < HOSTKEY_SIG || signer(text, len, signature)))
    return 0;
  *n = HOSTKEY_SIG;
  return 1;
}

static int accept_control(EVP_PKEY_CTX *c, int type, int p1, void *p2)
{
  (void)c, (void)p1, (void)p2;
  return type == EVP_PKEY_CTRL_MD || type == EVP_PKEY_CTRL_DIGESTINIT ? 1 : -2;
}

static bool install_signer(tls_sign *sign)
{
  EVP_PKEY_METHOD *m = EVP_PKEY_meth_new(EVP_PKEY_ED25519, EVP_PKEY_FLAG_SIGCTX_CUSTOM);
  if (!m)
    return false;
  signer = sign;
  EVP_PKEY_meth_set_digestsign(m, sign_elsewhere);
  EVP_PKEY_meth_set_ctrl(m, accept_control, 0);
  return EVP_PKEY_meth_add0(m);
}

bool tls_is_server_proof(const void *text, size_t n)
{
  static const char context[] = "TLS 1.3, server CertificateVerify";
  const uint8_t *p = text;
  if (n != 64 + sizeof context + 32 && n != 64 + sizeof context + 48)
    return false;
  for (unsigned i = 0; i < 64; i++)
    if (p[i] != ' ')
      return false;
  return !memcmp(p + 64, context, sizeof context);
}

/* ---- beginning ---- */

/* Any certificate will do: its key is compared by whoever asked for the connection. */
static int any_certificate(X509_STORE_CTX *store, void *unused)
{
  (void)store, (void)unused;
  return 1;
}

static struct tls *tls_new(int sock, const SSL_METHOD *method)
{
  struct tls *t = calloc(1, sizeof *t);
  if (!t)
    return 0;
  t->sock = sock;
  t->ctx = SSL_CTX_new(method);
  if (!t->ctx || !SSL_CTX_set_min_proto_version(t->ctx, TLS1_3_VERSION) || set_nonblocking(sock)) {
    tls_free(t);
    return 0;
  }
  SSL_CTX_set_num_tickets(t->ctx, 0);
  SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(t->ctx, 1);
  SSL_CTX_set_default_read_buffer_len(t->ctx, CARRY_BUF);
  return t;
}

static struct tls *tls_ready(struct tls *t)
{
  t->ssl = SSL_new(t->ctx);
  if (t->ssl && SSL_set_fd(t->ssl, t->sock))
    return t;
  tls_free(t);
  return 0;
}

struct tls *tls_client(int sock)
{
  struct tls *t = tls_new(sock, TLS_client_method());
  if (!t)
    return 0;
  SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, 0);
  SSL_CTX_set_cert_verify_callback(t->ctx, any_certificate, 0);
  SSL_CTX_set1_sigalgs_list(t->ctx, "ed25519");
  t = tls_ready(t);
  if (t)
    SSL_set_connect_state(t->ssl);
  return t;
}

struct tls *tls_server(int sock, const struct hostkey *k, tls_sign *sign)
{
  struct tls *t = tls_new(sock, TLS_server_method());
  EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, 0, k->public, HOSTKEY_LEN);
  bool good = t && key && install_signer(sign) && SSL_CTX_use_certificate(t->ctx, k->certificate) &&
              SSL_CTX_use_PrivateKey(t->ctx, key);
  EVP_PKEY_free(key);
  if (!good) {
    tls_free(t);
    return 0;
  }
  t = tls_ready(t);
  if (t)
    SSL_set_accept_state(t->ssl);
  return t;
}

void tls_free(struct tls *t)
{
  if (!t)
    return;
  SSL_free(t->ssl);
  SSL_CTX_free(t->ctx);
  free(t);
}

/* ---- with deadlines ---- */

static int wait_for(int fd, short events, uint64_t until)
{
  struct pollfd p = {.fd = fd, .events = events};
  uint64_t now = now_ms();
  if (now >= until)
    return -ETIMEDOUT;
  uint64_t left = until - now;
  return poll(&p, 1, left > 1000000 ? 1000000 : (int)left) < 0 && errno != EINTR ? -errno : 0;
}

/* What a result of the library's means; 0: it was worth waiting for, and is to be tried again. */
static int again(struct tls *t, int result, uint64_t until)
{
  int err = errno;
  switch (SSL_get_error(t->ssl, result)) {
  case SSL_ERROR_WANT_READ:
    return wait_for(t->sock, POLLIN, until);
  case SSL_ERROR_WANT_WRITE:
    return wait_for(t->sock, POLLOUT, until);
  case SSL_ERROR_ZERO_RETURN:
    return -ENODATA;
  case SSL_ERROR_SYSCALL:
    return err ? -err : -ENODATA;
  default:
    return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? -ENODATA : -EPROTO;
  }
}

int tls_handshake(struct tls *t, uint64_t until)
{
  for (;;) {
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(t->ssl);
    int err = r == 1 ? 0 : again(t, r, until);
    if (err || r == 1)
      return err;
  }
}

int tls_read(struct tls *t, void *buf, size_t n, uint64_t until)
{
  for (size_t done = 0, got; done < n; done += got) {
    got = 0;
    ERR_clear_error();
    errno = 0;
    int r = SSL_read_ex(t->ssl, (char *)buf + done, n - done, &got);
    int err = r == 1 ? 0 : again(t, r, until);
    if (err)
      return err;
  }
  return 0;
}

int tls_write(struct tls *t, const void *buf, size_t n, uint64_t until)
{
  for (size_t done = 0, put; done < n; done += put) {
    put = 0;
    ERR_clear_error();
    errno = 0;
    int r = SSL_write_ex(t->ssl, (const char *)buf + done, n - done, &put);
    int err = r == 1 ? 0 : again(t, r, until);
    if (err)
      return err;
  }
  return 0;
}

bool tls_exported(struct tls *t, uint8_t out[EXPORTED])
{
  return SSL_export_keying_material(t->ssl, out, EXPORTED, EXPORT_LABEL, strlen(EXPORT_LABEL), 0, 0, 0) == 1;
}

bool tls_peer_key(struct tls *t, uint8_t key[HOSTKEY_LEN])
{
  size_t n = HOSTKEY_LEN;
  X509 *x = SSL_get0_peer_certificate(t->ssl);
  EVP_PKEY *k = x ? X509_get0_pubkey(x) : 0;
  return k && EVP_PKEY_get_base_id(k) == EVP_PKEY_ED25519 && EVP_PKEY_get_raw_public_key(k, key, &n) &&
         n == HOSTKEY_LEN;
}

/* What still comes is thrown away: to close with it unread would take back what was sent. */
void tls_end(struct tls *t, uint64_t until)
{
  char waste[4096];
  ERR_clear_error();
  SSL_shutdown(t->ssl);
  shutdown(t->sock, SHUT_WR);
  while (!tls_read(t, waste, 1, until))
    continue;
}

void tls_carry(struct tls *t, int pair)
{
  carry(t->ssl, t->sock, pair);
}
