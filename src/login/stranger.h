/*
 * Between the process that talks to a stranger and has no rights, and the one that decides and speaks to no stranger: a
 * SOCK_SEQPACKET pair. Each message is a kind and, behind it, what it is about.
 *
 *   asked      ST_SIGN      what TLS wants signed by the host key       answered: HOSTKEY_SIG bytes
 *              ST_LOGIN     struct login                                answered: struct stranger_answer
 *              ST_FAILED    a text: why it ends                         (no answer)
 */
#ifndef LOGIN_STRANGER_H
#define LOGIN_STRANGER_H

#include "login/login.h"

enum stranger_kind { ST_SIGN = 1, ST_LOGIN, ST_FAILED };
#define ST_TEXT 200

struct stranger_message {
  uint32_t kind;
  union {
    uint8_t to_sign[256];
    char why[ST_TEXT];
    struct login login;
  };
};

struct stranger_answer {
  uint32_t verdict;
  char text[ST_TEXT];
  uint8_t proof[PROOF];
};

/*
 * The process without rights: gives them up, has TLS spoken with `sock', asks on `ctl' whether the stranger may come
 * in, and from then on carries bytes between TLS and `stream'. All other descriptors are closed.
 */
void stranger_run(int sock, int ctl, int stream, const struct hostkey *k) __attribute__((noreturn));

#endif
