/*
 * What nexec and nexecd say to each other before the session's own frames; see the header.
 *
 * Owns the wire form of it. Must never send the secret, and never compare a proof in a time that depends on it.
 */
#include "cmd/handshake.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/io.h"
#include "proto/codec.h"

#define MAGIC_SERVER 0x7363656eu /* "necs" */
#define MAGIC_CLIENT 0x6363656eu /* "necc" */
#define NONCE 32
#define PROOF 32
#define GREETING (8 + NONCE)
#define TEXT_MAX 200

static int fail(char why[256], const char *format, const char *detail)
{
  snprintf(why, 256, format, detail);
  return -1;
}

static uint64_t deadline(void)
{
  return now_ms() + HANDSHAKE_MS;
}

static const char *reason(int err)
{
  return err == -ENODATA ? "it closed the connection" : err == -ETIMEDOUT ? "it does not answer" : strerror(-err);
}

static void prove(const struct secret *s, const char *who, const uint8_t server[NONCE], const uint8_t client[NONCE],
                  uint8_t proof[PROOF])
{
  uint8_t text[16 + 2 * NONCE] = {0};
  unsigned n = PROOF;
  snprintf((char *)text, 16, "%s", who);
  memcpy(text + 16, server, NONCE);
  memcpy(text + 16 + NONCE, client, NONCE);
  HMAC(EVP_sha256(), s->bytes, (int)s->n, text, sizeof text, proof, &n);
}

/* ---- verdicts ---- */

static int send_verdict(int sock, enum verdict v, const char *text, const uint8_t proof[PROOF])
{
  uint8_t buf[8 + TEXT_MAX + PROOF];
  uint32_t n = (uint32_t)strnlen(text, TEXT_MAX);
  struct wbuf w = {buf, buf + sizeof buf, false};
  put_u32(&w, v);
  put_blob(&w, text, n);
  put_raw(&w, proof, PROOF);
  return write_until(sock, buf, (size_t)(w.at - buf), deadline());
}

int handshake_verdict(int sock, enum verdict v, const char *text)
{
  static const uint8_t none[PROOF];
  return send_verdict(sock, v, text, none);
}

/* The verdict, V_OK is 0, or -1; `proof' gets what came. Text from outside is shown without control characters. */
static int read_verdict(int sock, uint8_t proof[PROOF], char why[256])
{
  uint8_t head[8];
  char text[TEXT_MAX + 1] = {0};
  uint64_t until = deadline();
  int err = read_until(sock, head, sizeof head, until);
  struct rbuf r = {head, head + sizeof head, false};
  uint32_t code = get_u32(&r), n = get_u32(&r);
  if (!err && n > TEXT_MAX)
    return fail(why, "%s", "it does not speak nexec's protocol");
  err = err ? err : read_until(sock, text, n, until);
  err = err ? err : read_until(sock, proof, PROOF, until);
  if (err)
    return fail(why, "%s", reason(err));
  for (uint32_t i = 0; i < n; i++)
    if ((uint8_t)text[i] < ' ' || text[i] == 127)
      text[i] = ' ';
  if (code == V_OK)
    return 0;
  fail(why, "%s", text);
  return code <= V_TOO_LONG ? (int)code : V_FAILED;
}

/* ---- the two sides ---- */

static int wrong_version(uint32_t theirs, char why[256])
{
  char text[96];
  snprintf(text, sizeof text, "it speaks version %u of nexec's protocol, this is version %u", theirs, NEXEC_VERSION);
  return fail(why, "%s", text);
}

static int check_head(const uint8_t *buf, uint32_t magic, char why[256])
{
  struct rbuf r = {buf, buf + 8, false};
  if (get_u32(&r) != magic)
    return fail(why, "%s", "it does not speak nexec's protocol");
  uint32_t version = get_u32(&r);
  return version == NEXEC_VERSION ? 0 : wrong_version(version, why);
}

static bool put_head(uint8_t *buf, uint32_t magic)
{
  struct wbuf w = {buf, buf + 8, false};
  put_u32(&w, magic);
  put_u32(&w, NEXEC_VERSION);
  return getrandom(buf + 8, NONCE, 0) == NONCE;
}

int handshake_client(int sock, const struct secret *s, char why[256])
{
  uint8_t theirs[GREETING], ours[GREETING + PROOF], proof[PROOF], want[PROOF];
  int err = read_until(sock, theirs, sizeof theirs, deadline());
  if (err)
    return fail(why, "%s", reason(err));
  bool wrong = check_head(theirs, MAGIC_SERVER, why);
  if (!put_head(ours, MAGIC_CLIENT))
    return fail(why, "%s", "no random numbers");
  prove(s, "nexec", theirs + 8, ours + 8, ours + GREETING);
  if (wrong)
    return -1;
  err = write_until(sock, ours, sizeof ours, deadline());
  if (err)
    return fail(why, "%s", reason(err));
  if (read_verdict(sock, proof, why))
    return -1;
  prove(s, "nexecd", theirs + 8, ours + 8, want);
  return CRYPTO_memcmp(proof, want, PROOF) ? fail(why, "%s", "it does not know the secret") : 0;
}

int handshake_request(int sock, const uint8_t *body, size_t n, char why[256])
{
  uint8_t head[4], proof[PROOF];
  struct wbuf w = {head, head + sizeof head, false};
  put_u32(&w, (uint32_t)n);
  int err = write_until(sock, head, sizeof head, deadline());
  err = err ? err : write_until(sock, body, n, deadline() + HANDSHAKE_MS);
  if (err)
    return fail(why, "%s", reason(err));
  return read_verdict(sock, proof, why);
}

static int refuse(int sock, enum verdict v, const char *text)
{
  handshake_verdict(sock, v, text);
  return -1;
}

int handshake_server(int sock, const struct secret *s, char why[256])
{
  uint8_t ours[GREETING], theirs[GREETING + PROOF], want[PROOF], proof[PROOF];
  if (!put_head(ours, MAGIC_SERVER))
    return fail(why, "%s", "no random numbers");
  int err = write_until(sock, ours, sizeof ours, deadline());
  uint64_t until = deadline();
  err = err ? err : read_until(sock, theirs, 8, until);
  if (err)
    return fail(why, "%s", reason(err));
  if (check_head(theirs, MAGIC_CLIENT, why))
    return refuse(sock, V_VERSION, why);
  err = read_until(sock, theirs + 8, sizeof theirs - 8, until);
  if (err)
    return fail(why, "%s", reason(err));
  prove(s, "nexec", ours + 8, theirs + 8, want);
  if (CRYPTO_memcmp(want, theirs + GREETING, PROOF)) {
    fail(why, "%s", "wrong secret");
    return refuse(sock, V_SECRET, "the secret is refused");
  }
  prove(s, "nexecd", ours + 8, theirs + 8, proof);
  return send_verdict(sock, V_OK, "", proof) ? fail(why, "%s", "the connection broke") : 0;
}

uint8_t *handshake_read_request(int sock, size_t *n, char why[256])
{
  uint8_t head[4];
  uint64_t until = deadline() + HANDSHAKE_MS;
  int err = read_until(sock, head, sizeof head, until);
  struct rbuf r = {head, head + sizeof head, false};
  *n = get_u32(&r);
  if (!err && *n > REQUEST_MAX) {
    fail(why, "%s", "the request is too long");
    refuse(sock, V_REQUEST, why);
    return 0;
  }
  uint8_t *body = err ? 0 : malloc(*n + 1);
  err = err ? err : body ? read_until(sock, body, *n, until) : -ENOMEM;
  if (!err)
    return body;
  fail(why, "%s", reason(err));
  free(body);
  return 0;
}
