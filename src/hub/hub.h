/*
 * The hub of a session on the master's side: between the programs (session.h) and the stream to the slave (wire.h).
 *
 * One per process, one thread, one loop. Functions give 0 or -errno of our own; what is wrong for a person to know has
 * been said with log_line() then.
 */
#ifndef HUB_HUB_H
#define HUB_HUB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hub/rules.h"
#include "proto/session.h"

struct hub;

/* What sessions of this user have kept for later ones (hub_options.store) goes. */
void disk_erase(void);
#define HUB_STORE_BYTES (512ull << 20)

struct hub_options {
  uint64_t id;    /* of the session */
  uint32_t flags; /* enum session_flag, without SF_TIME */
  bool stats;     /* print the figures at the end */
  int trace_fd;   /* where lines of the trace go without a slave */
  uint64_t store; /* bytes that may be kept for later sessions; 0: nothing is */
  int link;       /* the TCP connection that carries the stream, for what it knows of its age and rate; -1: not known */
  const struct rules *rules;
  const char *tmpdir; /* private directory on the master */
};

/* The session's memory and sockets. 0 on failure, with errno. */
struct hub *hub_new(const struct hub_options *o);
/* Speaks to a slave over two descriptors (may be one twice), which become the hub's. Exchanges HELLO, fills the facts.
 */
int hub_connect(struct hub *h, int in, int out);
struct session *hub_session(struct hub *h);
/* NAME=VALUE of the slave, a 0 at the end. */
char **hub_slave_env(struct hub *h);

/* For who starts the program: the descriptors that it inherits. */
int hub_program_end(const struct hub *h); /* of the request socket */
int hub_session_fd(const struct hub *h);
/* A local descriptor (close-on-exec) that stands for a fixed handle; -errno. */
int hub_placeholder(struct hub *h, uint32_t handle);

/* The program's own terminal, -1: it has none; and whether descriptor i of the program is to be that. */
int hub_terminal(const struct hub *h);
bool hub_on_terminal(const struct hub *h, unsigned i);

/* Ends the session with a reason before the program was started. */
void hub_give_up(struct hub *h, const char *reason);
/*
 * Serves until the session is over. `command' is our child. Gives the exit status as a shell tells it, or 255. Without
 * a slave it returns when the command has ended; what is left of the session is then served by a process of its own.
 */
int hub_run(struct hub *h, pid_t command);
/* After that: a child of this process goes on serving other programs of the session, whose private directory is still used. */
bool hub_left(const struct hub *h);

#endif
