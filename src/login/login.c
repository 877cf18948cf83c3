/*
 * How somebody who calls nexecd over TCP says who they are; see the header.
 *
 * Owns the wire form of it. Must never believe a length that came from outside.
 */
#include "login/login.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"

#define MAGIC 0x6c63656eu /* "necl" */

uint8_t *login_put(const struct login *l, uint32_t ahead, size_t *n)
{
  uint8_t *buf = malloc(LOGIN_HEAD + LOGIN_MAX);
  if (!buf)
    return 0;
  struct wbuf head = {buf, buf + LOGIN_HEAD, false}, w = {buf + LOGIN_HEAD, buf + LOGIN_HEAD + LOGIN_MAX, false};
  uint64_t by = l->signed_by;
  if (l->user[0])
    put_fact(&w, LF_USER, l->user, (uint32_t)strlen(l->user));
  if (l->caller[0])
    put_fact(&w, LF_CALLER, l->caller, (uint32_t)strlen(l->caller));
  if (l->has_secret)
    put_fact(&w, LF_SECRET, l->secret, PROOF);
  for (uint32_t i = 0; i < l->nkeys; i++)
    put_fact(&w, LF_KEY, l->key[i].blob, l->key[i].n);
  if (l->nsignature) {
    put_fact_ints(&w, LF_SIGNED_BY, &by, 1);
    put_fact(&w, LF_SIGNATURE, l->signature, l->nsignature);
  }
  put_u32(&head, MAGIC);
  put_u32(&head, LOGIN_VERSION);
  put_u32(&head, (uint32_t)(w.at - buf) - LOGIN_HEAD);
  put_u32(&head, ahead);
  *n = (size_t)(w.at - buf);
  if (!w.bad)
    return buf;
  free(buf);
  return 0;
}

enum verdict login_get_head(const uint8_t head[LOGIN_HEAD], uint32_t *n, uint32_t *ahead, char why[256])
{
  struct rbuf r = {head, head + LOGIN_HEAD, false};
  uint32_t magic = get_u32(&r), version = get_u32(&r);
  *n = get_u32(&r);
  *ahead = get_u32(&r);
  if (magic != MAGIC) {
    snprintf(why, 256, "it does not speak nexec's protocol");
    return V_VERSION;
  }
  if (version != LOGIN_VERSION) {
    snprintf(why, 256, "it speaks version %u of nexec's protocol, this is version %u", version, LOGIN_VERSION);
    return V_VERSION;
  }
  if (*n > LOGIN_MAX || *ahead > REQUEST_MAX + 4) {
    snprintf(why, 256, "the login is too long");
    return V_REQUEST;
  }
  return V_OK;
}

static bool take_name(char out[LOGIN_USER_MAX], const uint8_t *v, uint32_t n)
{
  if (!n || n >= LOGIN_USER_MAX || memchr(v, 0, n))
    return false;
  memcpy(out, v, n);
  out[n] = 0;
  return true;
}

static bool take_blob(uint8_t *out, uint32_t *len, uint32_t max, const uint8_t *v, uint32_t n)
{
  if (!n || n > max)
    return false;
  memcpy(out, v, n);
  *len = n;
  return true;
}

static bool take_fact(struct login *l, unsigned fact, const uint8_t *v, uint32_t n)
{
  struct login_key *k = &l->key[l->nkeys < LOGIN_KEYS ? l->nkeys : 0];
  switch (fact) {
  case LF_USER:
    return take_name(l->user, v, n);
  case LF_CALLER:
    return take_name(l->caller, v, n);
  case LF_SECRET:
    if (n == PROOF)
      memcpy(l->secret, v, n);
    l->has_secret = n == PROOF;
    return l->has_secret;
  case LF_KEY:
    return l->nkeys < LOGIN_KEYS && take_blob(k->blob, &k->n, LOGIN_KEY_MAX, v, n) && ++l->nkeys;
  case LF_SIGNED_BY:
    l->signed_by = (uint32_t)fact_int(v, n, 0);
    return true;
  case LF_SIGNATURE:
    return take_blob(l->signature, &l->nsignature, LOGIN_SIG_MAX, v, n);
  default:
    return true; /* of a later version, and not needed for this one */
  }
}

bool login_get(struct login *l, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  const uint8_t *v;
  uint32_t len;
  for (unsigned fact; (fact = get_fact(&r, &v, &len));)
    if (!take_fact(l, fact, v, len))
      return false;
  return !r.bad && (!l->nsignature || l->signed_by < l->nkeys);
}

void login_prove(const struct secret *s, const char *who, const uint8_t exported[EXPORTED], uint8_t proof[PROOF])
{
  uint8_t text[16 + EXPORTED] = {0};
  unsigned n = PROOF;
  snprintf((char *)text, 16, "%s", who);
  memcpy(text + 16, exported, EXPORTED);
  HMAC(EVP_sha256(), s->bytes, (int)s->n, text, sizeof text, proof, &n);
}

size_t login_text(const struct login *l, uint8_t out[LOGIN_TEXT_MAX])
{
  static const char head[16] = "nexec login 1";
  size_t n = strnlen(l->user, LOGIN_USER_MAX - 1);
  memcpy(out, head, sizeof head);
  memcpy(out + sizeof head, l->exported, EXPORTED);
  memcpy(out + sizeof head + EXPORTED, l->user, n);
  return sizeof head + EXPORTED + n;
}
