/* The caller's SSH keys: those of the agent, and those in files, for which ssh-keygen signs. */
#ifndef LOGIN_KEYS_H
#define LOGIN_KEYS_H

#include "login/login.h"

struct keyring {
  unsigned n;
  struct login_key key[LOGIN_KEYS];
  char *file[LOGIN_KEYS]; /* of the private key; 0: the agent has it */
};

/* Finds them: `identity', a file, or 0, comes first; the one with this fingerprint before all. */
void keys_find(struct keyring *r, const char *identity, const char *fingerprint);
/* The signature of `text' by key i; its length, 0: there is none. ssh-keygen may ask for a passphrase, on the terminal.
 */
size_t keys_sign(const struct keyring *r, unsigned i, const void *text, size_t n, uint8_t *out, size_t size);

#endif
