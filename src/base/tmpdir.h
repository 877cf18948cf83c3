/* The private directory of a session: found again by whoever clears up after it. */
#ifndef BASE_TMPDIR_H
#define BASE_TMPDIR_H

#include <stdint.h>

#define TMPDIR_FORMAT "/tmp/fsyscall-%lx" /* the session's id */

#define TMPDIR_SOCKETS "/.sockets" /* in it: what unix sockets under paths of the slave are bound to */

/* Makes both, for its user alone. 0 or -errno; it is an error if it is there. */
int tmpdir_make(uint64_t id, char path[64]);
/* Removes it with all that is in it, if it is there and our own. */
void tmpdir_remove(uint64_t id);

#endif
