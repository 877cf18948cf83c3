/*
 * What nexec and nexecd say to each other before the session's own frames.
 *
 *   nexecd   greeting: magic, version, nonce
 *   nexec    proof: magic, version, nonce, HMAC-SHA256(secret, "nexec" both nonces)
 *   nexecd   verdict: code, length of text, text, HMAC-SHA256(secret, "nexecd" both nonces)
 *   nexec    request: length, body (a list of facts, enum request_fact)
 *   nexecd   verdict again; then fmaster's frames follow
 *
 * The secret never travels, each side proves that it has it, and nothing of the caller's is sent before.
 */
#ifndef CMD_HANDSHAKE_H
#define CMD_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/request.h"

#define NEXEC_PORT "57005"
#define NEXEC_VERSION 1

struct secret {
  uint8_t bytes[256];
  size_t n;
};

/* $NEXEC_SECRET_FILE, or ~/.config/nexec/secret; malloc'd, 0 without a home. */
char *secret_path(void);
/* Reads it; the file must be the user's own and nobody else's to read. create: made with fresh random bytes if there is
   none. False: said why. */
bool secret_read(const char *path, bool create, struct secret *s);

/* Both sides: 0, or -1 (or the verdict) with a line in `why' (for a person, without the program's name). */
int handshake_client(int sock, const struct secret *s, char why[256]);
int handshake_server(int sock, const struct secret *s, char why[256]);

#endif
