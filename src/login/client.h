/* The caller's side of a login over TCP: TLS, whose machine it is, who we are. */
#ifndef LOGIN_CLIENT_H
#define LOGIN_CLIENT_H

#include "login/login.h"

struct client {
  const char *where;       /* as the user wrote it, for messages */
  const char *name;        /* "[HOST]:PORT" */
  const char *user;        /* the account there, or 0 */
  const char *identity;    /* the file of an SSH key that comes first, or 0 */
  const char *secret_file; /* or 0: the usual place, where there may be none */
};

/*
 * Logs in on `sock', and leaves a process that carries bytes to and from it. Returns the stream;
 * *asked: the request, of n bytes, has been sent on it. What fails has been said: -1.
 */
int client_login(const struct client *c, int sock, const uint8_t *request, size_t n, bool *asked);
/* The login over a unix socket, where the kernel tells who we are. 0 or -errno. */
int client_login_unix(const struct client *c, int sock);

#endif
