/*
 * authorized_keys: which keys may log in to an account, in the form that sshd(8) describes.
 *
 * Of the options, from= and expiry-time= are respected. Those that only take away what nexec does not have (agent and
 * X11 forwarding, user-rc) and those that give (pty, port-forwarding ...) change nothing. Any other, command= and
 * restrict among them, has the key refused: a session runs programs over files that the caller has in hand, so that
 * nothing less than the whole account could be promised.
 */
#ifndef LOGIN_AUTHKEYS_H
#define LOGIN_AUTHKEYS_H

#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* The file of an account: `pattern' with %h, %u and %%, below the home if it is not absolute; malloc'd. */
char *authkeys_path(const char *pattern, const struct passwd *pw);
/* Its text, read with the rights of its account, malloc'd; 0 with a line in `why'. It and the directories above it, up
   to the home, must be nobody else's to write. */
char *authkeys_read(const char *path, const struct passwd *pw, char why[256]);
/* Whether a line of it lets `key' in, from a numeric address, at a time. False: `why' says what was in the way. */
bool authkeys_allow(const char *text, const uint8_t *key, size_t n, const char *address, time_t now, char why[256]);

#endif
