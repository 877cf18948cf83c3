/* What a process that talks to strangers gives up before it reads the first byte of theirs. */
#ifndef LOGIN_CONFINE_H
#define LOGIN_CONFINE_H

#include <stdbool.h>

#define CONFINE_EMPTY "/run/nexecd/empty" /* an empty directory of root's */
#define CONFINE_USER "nobody"

/* As root, once, at the start: makes the directory and looks whether the rights can be given up. In a user namespace
   that has no other user than root they cannot: that is said, and the filter is all then. False: said why. */
bool confine_prepare(void);
/* As root: becomes CONFINE_USER for good, where there is one. False: it could not be done. */
bool confine_user(void);
/* Closes every descriptor but these, and makes 0 to 2 /dev/null. False: it could not be done. */
bool confine_descriptors(const int *kept, unsigned n);
/*
 * No files, no other processes, no new sockets, no executing: what is left is reading and writing what is open,
 * waiting, and memory. As root also another user and another root directory. False: it could not be done, and the
 * process must end.
 */
bool confine_self(void);

#endif
