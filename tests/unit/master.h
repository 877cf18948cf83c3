/*
 * A small master for tests: starts a slave in a child process, sends it frames and takes its answers.
 */
#ifndef UNIT_MASTER_H
#define UNIT_MASTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "slave/slave.h"

struct master {
  int fd;              /* the stream */
  pid_t pid;           /* the slave */
  int in[2], out[2];   /* pipes: in[1] is its standard input's other end, out[0] its standard output's */
  int status, control; /* read the status here, write signals there */
  uint64_t seq, acked;
  uint32_t tag;
  struct frame f; /* the frame taken last, and its body */
  uint8_t body[FRAME_MAX];
  struct wbuf w; /* the request being built */
  uint8_t request[FRAME_MAX];
};

void master_start(struct master *m);
/* Greets, with the facts of a master of this version and these rules ("WHERE PREFIX", up to a null). */
void master_hello(struct master *m, const char *const *rules);
void master_send(struct master *m, uint8_t type, uint8_t flags, uint16_t op, int64_t result, const void *body,
                 uint32_t n);
/* Takes the next frame; false at the end of the stream. Fails the test after some seconds of nothing. */
bool master_take(struct master *m);
/* Takes frames until one of this type; others but ACK, WINDOW and INVALID fail the test. */
void master_expect(struct master *m, uint8_t type);
void master_begin(struct master *m);
/* Sends what was built as a CALL; its tag. */
uint32_t master_call(struct master *m, uint16_t op, uint8_t flags);
void master_post(struct master *m, uint16_t op);
long master_reply(struct master *m, uint32_t tag); /* takes the reply: its result */
long master_open(struct master *m, uint64_t base, const char *path, int flags, int mode, uint32_t handle);
/* Ends in order with that status; the slave's exit status. */
int master_end(struct master *m, int status);
int master_wait(struct master *m);

#endif
