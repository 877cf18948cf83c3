/* Carrying bytes between TLS and the descriptor of a part that knows nothing of it. */
#ifndef LOGIN_CARRY_H
#define LOGIN_CARRY_H

#include <openssl/ssl.h>

#define CARRY_BUF (64u << 10)

/* Until both directions have ended, or one of them is broken. Both descriptors have to be non-blocking. */
void carry(SSL *ssl, int sock, int pair);

#endif
