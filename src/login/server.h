/* Letting callers in: the side of nexecd that decides. It never reads a byte that came from the network itself. */
#ifndef LOGIN_SERVER_H
#define LOGIN_SERVER_H

#include <sys/types.h>

#include "login/login.h"

/* What nexecd lets people in by. */
struct door {
  struct hostkey key;
  struct secret secret;        /* n 0: none */
  const char *authorized_keys; /* the pattern of the files' names (authkeys.h) */
  unsigned grace_ms;           /* how long a login may take */
};

/* Who was let in. */
struct caller {
  char user[LOGIN_USER_MAX]; /* the account asked for, "": none in particular */
  char from[64];             /* address and port, or "unix:" and the peer's number */
  uid_t uid;                 /* the peer's, of a unix socket */
  char how[128];             /* by what, for the log */
};

/*
 * TLS and a login on `sock', which stays the caller's. `forget' is called in the process that talks to the stranger,
 * and closes and clears what that one must not have. Returns the stream with the request behind it, or -1 with a line
 * in `why'.
 */
int door_open(struct door *d, int sock, void (*forget)(void), struct caller *c, char why[256]);
/* The same over a unix socket, without TLS: the kernel knows who is there, and whether they may come in is for the
   caller to say, who sends the verdict. Returns `sock' or -1. */
int door_open_unix(int sock, struct caller *c, char why[256]);

#endif
