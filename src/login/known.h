/* The host keys that this user has seen: ~/.config/nexec/known_hosts, in the form of OpenSSH's file of that name. */
#ifndef LOGIN_KNOWN_H
#define LOGIN_KNOWN_H

#include "login/hostkey.h"

enum known { KNOWN_SAME, KNOWN_NEW, KNOWN_CHANGED, KNOWN_UNREADABLE };

struct known_line {
  unsigned number;                    /* of KNOWN_CHANGED */
  char fingerprint[FINGERPRINT_TEXT]; /* of the key that was there */
  char comment[FINGERPRINT_TEXT];     /* of KNOWN_SAME: how the login was done when the line was written */
};

/* $NEXEC_KNOWN_HOSTS, or the usual place; 0 without a home. Static storage. */
const char *known_path(void);
/* `name' is "[HOST]:PORT". KNOWN_UNREADABLE: said why. */
enum known known_look(const char *name, const uint8_t key[HOSTKEY_LEN], struct known_line *line);
/* Adds a line. What fails has been said; it is no reason to go no further. */
void known_add(const char *name, const uint8_t key[HOSTKEY_LEN], const char *comment);

#endif
