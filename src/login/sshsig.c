/*
 * OpenSSH's own forms; see the header.
 *
 * Owns nothing. Must never read or write past what it was given.
 */
#include "login/sshsig.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "login/login.h"

#define MAGIC "SSHSIG"
#define HASH "sha512"
#define BEGIN "-----BEGIN SSH SIGNATURE-----\n"
#define END "-----END SSH SIGNATURE-----\n"
#define LINE 70

void ssh_put(struct sshbuf *b, const void *p, size_t n)
{
  if (b->bad || n > (size_t)(b->end - b->at)) {
    b->bad = true;
    return;
  }
  memcpy(b->at, p, n);
  b->at += n;
}

void ssh_put_u32(struct sshbuf *b, uint32_t v)
{
  ssh_put(b, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4);
}

void ssh_put_string(struct sshbuf *b, const void *p, size_t n)
{
  ssh_put_u32(b, (uint32_t)n);
  ssh_put(b, p, n);
}

bool ssh_get_u32(const uint8_t **at, size_t *left, uint32_t *v)
{
  const uint8_t *p = *at;
  if (*left < 4)
    return false;
  *v = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  *at += 4;
  *left -= 4;
  return true;
}

bool ssh_get_string(const uint8_t **at, size_t *left, const uint8_t **p, size_t *n)
{
  uint32_t len;
  if (!ssh_get_u32(at, left, &len) || len > *left)
    return false;
  *p = *at;
  *n = len;
  *at += len;
  *left -= len;
  return true;
}

bool ssh_key_type(const uint8_t *blob, size_t n, char out[64])
{
  const uint8_t *p;
  size_t len;
  if (!ssh_get_string(&blob, &n, &p, &len) || !len || len >= 64)
    return false;
  for (size_t i = 0; i < len; i++)
    if (p[i] <= ' ' || p[i] > '~' || p[i] == '"' || p[i] == ',')
      return false;
  memcpy(out, p, len);
  out[len] = 0;
  return true;
}

/* ---- signatures ---- */

size_t sshsig_to_sign(const void *text, size_t n, uint8_t *out, size_t size)
{
  uint8_t md[64];
  unsigned len = sizeof md;
  struct sshbuf b = {out, out + size, !EVP_Digest(text, n, md, &len, EVP_sha512(), 0)};
  ssh_put(&b, MAGIC, strlen(MAGIC));
  ssh_put_string(&b, LOGIN_NAMESPACE, strlen(LOGIN_NAMESPACE));
  ssh_put_string(&b, "", 0);
  ssh_put_string(&b, HASH, strlen(HASH));
  ssh_put_string(&b, md, len);
  return b.bad ? 0 : (size_t)(b.at - out);
}

size_t sshsig_make(const void *key, size_t nkey, const void *signature, size_t n, uint8_t *out, size_t size)
{
  struct sshbuf b = {out, out + size, false};
  ssh_put(&b, MAGIC, strlen(MAGIC));
  ssh_put_u32(&b, 1);
  ssh_put_string(&b, key, nkey);
  ssh_put_string(&b, LOGIN_NAMESPACE, strlen(LOGIN_NAMESPACE));
  ssh_put_string(&b, "", 0);
  ssh_put_string(&b, HASH, strlen(HASH));
  ssh_put_string(&b, signature, n);
  return b.bad ? 0 : (size_t)(b.at - out);
}

char *sshsig_armour(const uint8_t *signature, size_t n)
{
  char *letters = base64_of(signature, n);
  size_t len = letters ? strlen(letters) : 0;
  char *text = letters ? malloc(len + len / LINE + 2 + strlen(BEGIN) + strlen(END)) : 0, *at = text;
  if (text)
    at = stpcpy(at, BEGIN);
  for (size_t i = 0; text && i < len; i += LINE) {
    size_t some = len - i < LINE ? len - i : LINE;
    at = mempcpy(at, letters + i, some);
    *at++ = '\n';
  }
  if (text)
    strcpy(at, END);
  free(letters);
  return text;
}

size_t sshsig_bare(const char *text, uint8_t *out, size_t size)
{
  const char *from = strstr(text, BEGIN), *to = from ? strstr(from, END) : 0;
  char *letters = to ? malloc((size_t)(to - from) + 1) : 0;
  size_t n = 0;
  if (!letters)
    return 0;
  for (from += strlen(BEGIN); from < to; from++)
    if (*from != '\n' && *from != '\r')
      letters[n++] = *from;
  n = base64_bytes(letters, n, out, size);
  free(letters);
  return n;
}

/* ---- letters ---- */

char *base64_of(const void *p, size_t n)
{
  char *out = n < 1u << 20 ? malloc((n + 2) / 3 * 4 + 1) : 0;
  if (out)
    EVP_EncodeBlock((uint8_t *)out, p, (int)n);
  return out;
}

size_t base64_bytes(const char *text, size_t n, uint8_t *out, size_t size)
{
  if (!n || n % 4 || n > 1u << 20)
    return 0;
  size_t pad = text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;
  if (memchr(text, '=', n - pad))
    return 0;
  uint8_t *all = malloc(n / 4 * 3);
  int len = all ? EVP_DecodeBlock(all, (const uint8_t *)text, (int)n) : -1;
  size_t got = len > (int)pad ? (size_t)len - pad : 0;
  if (got > size)
    got = 0;
  if (got)
    memcpy(out, all, got);
  free(all);
  return got;
}
