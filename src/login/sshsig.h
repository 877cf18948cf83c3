/* OpenSSH's own forms: strings with a length in front, big-endian, and its signatures of files (PROTOCOL.sshsig). */
#ifndef LOGIN_SSHSIG_H
#define LOGIN_SSHSIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A buffer that is written from the front; `bad' once something did not fit. */
struct sshbuf {
  uint8_t *at, *end;
  bool bad;
};
void ssh_put_u32(struct sshbuf *b, uint32_t v);
void ssh_put(struct sshbuf *b, const void *p, size_t n); /* bytes alone */
void ssh_put_string(struct sshbuf *b, const void *p, size_t n);
/* The next string of what begins at *at; false if there is none whole. Both move on. */
bool ssh_get_string(const uint8_t **at, size_t *left, const uint8_t **p, size_t *n);
bool ssh_get_u32(const uint8_t **at, size_t *left, uint32_t *v);

/* The name of a public key's type, as its form begins with it. False if it is none that could be. */
bool ssh_key_type(const uint8_t *blob, size_t n, char out[64]);

/* What has to be signed for a signature of `text'; its length, 0: it does not fit. */
size_t sshsig_to_sign(const void *text, size_t n, uint8_t *out, size_t size);
/* The signature of a file, made of a key's and its signature of that; its length. */
size_t sshsig_make(const void *key, size_t nkey, const void *signature, size_t n, uint8_t *out, size_t size);
/* To and from the form with lines of letters; malloc'd, and the length, 0: it is not of that form or too long. */
char *sshsig_armour(const uint8_t *signature, size_t n);
size_t sshsig_bare(const char *text, uint8_t *out, size_t size);

/* Letters for bytes and back. The first is malloc'd; the second's result is a length, 0: they are none. */
char *base64_of(const void *p, size_t n);
size_t base64_bytes(const char *text, size_t n, uint8_t *out, size_t size);

#endif
