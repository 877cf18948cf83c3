/*
 * The key by which a machine is known: ed25519, made by nexecd at its first start.
 *
 * It is written as OpenSSH writes such keys ("ssh-ed25519 AAAA..."), so that its tools show and remove it.
 */
#ifndef LOGIN_HOSTKEY_H
#define LOGIN_HOSTKEY_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOSTKEY_LEN 32
#define HOSTKEY_SIG 64
#define HOSTKEY_TEXT 96     /* "ssh-ed25519 " and 68 characters */
#define FINGERPRINT_TEXT 64 /* "SHA256:" and 43 characters */

struct hostkey {
  EVP_PKEY *key; /* the private one; 0 after hostkey_forget() */
  uint8_t public[HOSTKEY_LEN];
  X509 *certificate; /* self-signed: TLS wants one, nobody looks at anything in it but the key */
};

/* $NEXEC_HOST_KEY; else root's is in /etc/nexec, others' in ~/.config/nexec; malloc'd, 0 without a home. */
char *hostkey_path(void);
/* Reads it from `path', which is made if it is missing, with PATH.pub beside it. False: said why. */
bool hostkey_open(const char *path, struct hostkey *k);
/* Signs; 0 or -1. */
int hostkey_sign(const struct hostkey *k, const void *text, size_t n, uint8_t signature[HOSTKEY_SIG]);
/* Clears the private key from this process. */
void hostkey_forget(struct hostkey *k);

void hostkey_text(const uint8_t public[HOSTKEY_LEN], char out[HOSTKEY_TEXT]);
/* Of any key in OpenSSH's binary form. */
void key_fingerprint(const void *blob, size_t n, char out[FINGERPRINT_TEXT]);
void hostkey_fingerprint(const uint8_t public[HOSTKEY_LEN], char out[FINGERPRINT_TEXT]);

#endif
