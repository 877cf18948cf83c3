/* The secret that nexec and nexecd may share: a file on both machines that only its user can read. */
#ifndef LOGIN_SECRET_H
#define LOGIN_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret {
  uint8_t bytes[256];
  size_t n; /* 0: there is none */
};

/* $NEXEC_SECRET_FILE, or ~/.config/nexec/secret; malloc'd, 0 without a home. */
char *secret_path(void);
/* Reads it; the file must be the user's own and nobody else's to read. create: made with fresh random bytes if there is
   none. False: said why. */
bool secret_read(const char *path, bool create, struct secret *s);

#endif
