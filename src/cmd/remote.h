/* The far end of a command's standard input and output: getting fslave or fmaster to run there. */
#ifndef CMD_REMOTE_H
#define CMD_REMOTE_H

#include <stdbool.h>

/* What fslave and fmaster say first with --serve, a line; the request follows. */
#define REMOTE_READY "FSYSCALL READY 1"

/* A command line for the login shell there, which needs nothing but a POSIX sh: it starts the part that the
   conversation below names or sends. Static storage. */
char *remote_command(void);
/*
 * One line of what the command says. 1: the part runs and waits for its request; 0: go on, it was answered or is not
 * for us; -1: it cannot be had, which has been said.
 */
int remote_line(const char *where, int fd, bool reverse, const char *line);

#endif
