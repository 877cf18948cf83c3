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
#define GREETING (8 + NONCE)

static int fail(char why[256], const char *format, const char *detail)
{
  snprintf(why, 256, format, detail);
  return -1;
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
  int err = read_until(sock, theirs, sizeof theirs, request_deadline());
  if (err)
    return fail(why, "%s", request_reason(err));
  bool wrong = check_head(theirs, MAGIC_SERVER, why);
  if (!put_head(ours, MAGIC_CLIENT))
    return fail(why, "%s", "no random numbers");
  prove(s, "nexec", theirs + 8, ours + 8, ours + GREETING);
  if (wrong)
    return -1;
  err = write_until(sock, ours, sizeof ours, request_deadline());
  if (err)
    return fail(why, "%s", request_reason(err));
  if (verdict_read(sock, proof, why))
    return -1;
  prove(s, "nexecd", theirs + 8, ours + 8, want);
  return CRYPTO_memcmp(proof, want, PROOF) ? fail(why, "%s", "it does not know the secret") : 0;
}

static int refuse(int sock, enum verdict v, const char *text)
{
  request_verdict(sock, v, text);
  return -1;
}

int handshake_server(int sock, const struct secret *s, char why[256])
{
  uint8_t ours[GREETING], theirs[GREETING + PROOF], want[PROOF], proof[PROOF];
  if (!put_head(ours, MAGIC_SERVER))
    return fail(why, "%s", "no random numbers");
  int err = write_until(sock, ours, sizeof ours, request_deadline());
  uint64_t until = request_deadline();
  err = err ? err : read_until(sock, theirs, 8, until);
  if (err)
    return fail(why, "%s", request_reason(err));
  if (check_head(theirs, MAGIC_CLIENT, why))
    return refuse(sock, V_VERSION, why);
  err = read_until(sock, theirs + 8, sizeof theirs - 8, until);
  if (err)
    return fail(why, "%s", request_reason(err));
  prove(s, "nexec", ours + 8, theirs + 8, want);
  if (CRYPTO_memcmp(want, theirs + GREETING, PROOF)) {
    fail(why, "%s", "wrong secret");
    return refuse(sock, V_SECRET, "the secret is refused");
  }
  prove(s, "nexecd", ours + 8, theirs + 8, proof);
  return verdict_send(sock, V_OK, "", proof) ? fail(why, "%s", "the connection broke") : 0;
}
