/* Modes in words, "remote,mapped". Freestanding. */
#ifndef PROTO_MODE_H
#define PROTO_MODE_H

#define FSYSCALL_NUMBERS_ONLY
#include "proto/fsyscall.h"

#define MODE_ALL (FSYSCALL_REMOTE | FSYSCALL_MAPPED)

const char *mode_text(int mode);
/* Up to the end or the end of the line; of what is not named, `mode' stays. -1: these are no such words. */
int mode_parse(const char *text, int mode);

#endif
