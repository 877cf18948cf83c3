/* The keys that an ssh-agent holds ($SSH_AUTH_SOCK), by its protocol. */
#ifndef LOGIN_AGENT_H
#define LOGIN_AGENT_H

#include "login/login.h"

/* Fills at most `room' keys; how many. None if there is no agent, or it does not answer as one. */
unsigned agent_keys(struct login_key *keys, unsigned room);
/* Its signature of `text' by this key, in the form of signatures of files; the length, 0: it does not sign. The agent
   may ask its user first. */
size_t agent_sign(const struct login_key *key, const void *text, size_t n, uint8_t *out, size_t size);

#endif
