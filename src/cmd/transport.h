/*
 * The byte stream to the other machine, by whatever leads there.
 *
 *   [USER@]HOST[:PORT]        nexecd there, over TCP with TLS (login/login.h)
 *   unix:PATH                 nexecd here, on a unix socket; it knows who we are
 *   ssh://[USER@]HOST[:PORT]  OpenSSH's client
 *   exec:COMMAND              COMMAND's standard input and output (by /bin/sh)
 *
 * With a remote shell of the caller's (-e, as rsync has it) HOST is its business: SHELL HOST COMMAND.
 */
#ifndef CMD_TRANSPORT_H
#define CMD_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transport {
  const char *where;       /* one of the forms above */
  const char *shell;       /* of -e, or 0 */
  const char *secret_file; /* or 0: the usual place */
  const char *identity;    /* the file of an SSH key that comes first, or 0 */
  bool reverse;            /* fslave is wanted there, not fmaster */
  int link;                /* set by transport_open(): the TCP connection below the stream, or -1 */
};

/* Opens it, and has the other side do what is asked (request.h). A descriptor above 9, close-on-exec. What fails has
   been said: -1, or with a verdict of the other side its number, negative. */
int transport_open(struct transport *t, const uint8_t *request, size_t n);

#endif
