/*
 * TLS 1.3 over a connected socket, which is made non-blocking. No certificates in the usual sense: the server has an
 * ed25519 key, and who it belongs to is its peer's to know.
 *
 * Results: 0 or -errno; -ENODATA: the other side has closed, -ETIMEDOUT: now_ms() reached `until', -EPROTO: what came
 * is no TLS, or was changed on its way.
 */
#ifndef LOGIN_TLS_H
#define LOGIN_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "login/hostkey.h"

#define EXPORTED 32

struct tls;

/* 0: out of memory. The socket stays the caller's. */
struct tls *tls_client(int sock);
/* The private key stays elsewhere: `sign' is called once with what TLS wants signed; 0 or -1. */
typedef int tls_sign(const void *text, size_t n, uint8_t signature[HOSTKEY_SIG]);
struct tls *tls_server(int sock, const struct hostkey *k, tls_sign *sign);
void tls_free(struct tls *t);

int tls_handshake(struct tls *t, uint64_t until);
int tls_read(struct tls *t, void *buf, size_t n, uint64_t until);
int tls_write(struct tls *t, const void *buf, size_t n, uint64_t until);
/* What both ends of this connection and nobody else can compute (RFC 8446, 7.5). */
bool tls_exported(struct tls *t, uint8_t out[EXPORTED]);
bool tls_peer_key(struct tls *t, uint8_t key[HOSTKEY_LEN]);

/* Says that nothing more follows, and waits until the other side has seen it. */
void tls_end(struct tls *t, uint64_t until);
/* Carries bytes both ways between it and `pair', which has to be non-blocking, until both directions have ended, or one
 * of them is broken. */
void tls_carry(struct tls *t, int pair);

/* True if this is what a TLS 1.3 server signs to prove its key, and nothing else. */
bool tls_is_server_proof(const void *text, size_t n);

#endif
