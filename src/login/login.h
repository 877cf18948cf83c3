/*
 * How somebody who calls nexecd over TCP says who they are. All of it travels inside TLS (tls.h).
 *
 *   nexec    login: magic[4], version[4], length[4], ahead[4], a list of facts (enum login_fact) of that length
 *   nexecd   verdict (request.h): V_OK, with its own proof if the secret was proved; V_KEY: the number of the key that
 * may sign; V_SECRET: no. Unless it was V_OK, what came `ahead' is thrown away, and another login may follow. nexec
 * request, verdict, frames: as on any other stream
 *
 * The request may be sent together with the login, `ahead' of its verdict, if the machine is known by its host key.
 * Both proofs and the signature are over a value that only the two ends of this TLS connection can compute: they are
 * worth nothing to anybody else, on no other connection.
 */
#ifndef LOGIN_LOGIN_H
#define LOGIN_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/request.h"
#include "login/secret.h"
#include "login/tls.h"

#define LOGIN_VERSION 1
#define LOGIN_TRIES 6
#define LOGIN_MAX (64u << 10)
#define LOGIN_KEYS 16
#define LOGIN_KEY_MAX 2400 /* a public key in OpenSSH's binary form: RSA of 16384 bits */
#define LOGIN_SIG_MAX 8192 /* OpenSSH's signature format (PROTOCOL.sshsig), binary */
#define LOGIN_USER_MAX 64
#define LOGIN_NAMESPACE "nexec-login@fsyscall"
#define LOGIN_TEXT_MAX (16 + EXPORTED + LOGIN_USER_MAX)

enum login_fact {
  LF_USER = 1,  /* the account that is asked for; without: whom nexecd serves, or LF_CALLER */
  LF_CALLER,    /* the caller's name on its own machine */
  LF_SECRET,    /* HMAC-SHA256(secret, "nexec" and what TLS exports) */
  LF_KEY,       /* a public key that could sign, one each */
  LF_SIGNED_BY, /* integer: which of them has */
  LF_SIGNATURE, /* its signature of login_text() */
};

struct login_key {
  uint32_t n;
  uint8_t blob[LOGIN_KEY_MAX];
};

/* One login, taken apart. Of fixed size, so that it can be handed from one process to another as it is. */
struct login {
  uint8_t exported[EXPORTED];
  char user[LOGIN_USER_MAX], caller[LOGIN_USER_MAX];
  bool has_secret;
  uint8_t secret[PROOF];
  uint32_t nkeys, signed_by, nsignature;
  struct login_key key[LOGIN_KEYS];
  uint8_t signature[LOGIN_SIG_MAX];
};

/* Writes it as a message; its length, malloc'd. 0: no memory, or it does not fit. */
uint8_t *login_put(const struct login *l, uint32_t ahead, size_t *n);
#define LOGIN_HEAD 16
/* The head: 0, or a verdict with a line in `why'. */
enum verdict login_get_head(const uint8_t head[LOGIN_HEAD], uint32_t *n, uint32_t *ahead, char why[256]);
/* False if it is malformed. `exported' stays as it is. */
bool login_get(struct login *l, const uint8_t *body, uint32_t n);

/* The proof of `who' ("nexec" or "nexecd") that it knows the secret. */
void login_prove(const struct secret *s, const char *who, const uint8_t exported[EXPORTED], uint8_t proof[PROOF]);
/* What a key signs, for the account `user' ("" if none was named); its length. */
size_t login_text(const struct login *l, uint8_t out[LOGIN_TEXT_MAX]);

#endif
