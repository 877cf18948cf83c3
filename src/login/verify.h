/* Checking a signature by an SSH key with OpenSSH's own tool. */
#ifndef LOGIN_VERIFY_H
#define LOGIN_VERIFY_H

#include "login/login.h"

/* True if l->signature is one of login_text() by the key l->signed_by. ssh-keygen does it, as `nobody' if we are root:
   it reads what a stranger wrote. */
bool verify_signature(const struct login *l, char why[256]);

#endif
