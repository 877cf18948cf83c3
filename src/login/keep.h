/* Small files that belong to one user alone: the secret, the host key. */
#ifndef LOGIN_KEEP_H
#define LOGIN_KEEP_H

#include <stdbool.h>
#include <stddef.h>

/* $VARIABLE if it is set, else ~/.config/nexec/NAME; malloc'd, 0 without a home. */
char *keep_path(const char *variable, const char *name);
/* Makes the directories (0700) above `path'. 0 or -errno. */
int keep_directories(const char *path);
/* Writes a new file of mode 0600, complete before it has its name. If there is one already it stays. 0 or -errno. */
int keep_create(const char *path, const void *data, size_t n);
/* Reads a file of at most `max' bytes that is our own and nobody else's to read, malloc'd; 0 with errno, or with errno
   0 if it has been said why. */
char *keep_read(const char *path, size_t max, size_t *n);

#endif
