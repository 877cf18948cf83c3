/* An end of a link as this process knows it. */
#ifndef SYSLINK_END_H
#define SYSLINK_END_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "syslink/ledger.h"
#include "syslink/message.h"

/* State of an entry: its message is being handed to the kernel. */
enum { ENTRY_SETTLED, ENTRY_SENDING };

struct end {
  struct end *next;
  uint64_t cookie; /* the kernel's name for the socket, whatever the descriptor's number */
  int fd;          /* by which it was last used */
  unsigned refs;
  bool closing; /* under the registry's lock, as all above */

  pthread_mutex_t reading; /* around taking a message from the socket and entering it; before `lock' */
  pthread_mutex_t lock;    /* what follows */
  pthread_cond_t settled;  /* an entry has left ENTRY_SENDING */
  struct ledger sent;      /* our commands without a reply */
  struct ledger taken;     /* theirs that have been read here, and not been answered */
  bool dead;               /* nothing more comes, or goes */
  int why;                 /* errno of the replies that are made up then */
  unsigned waiting;        /* writers for room in `sent' */
  int room;                /* eventfd by which they are woken; -1: nobody has waited yet */
};

/* The end behind the descriptor, to be given back; 0 with errno. */
struct end *sl_end_get(int fd);
void sl_end_put(struct end *e);
/* Both sides learn that it is over. Not for descriptors that others are to go on with. */
void sl_end_break(struct end *e, int fd, int why);

/* ---- buffer.c ---- */

/* Where memory of syslink_alloc() lies in which file; -1: it does not, or cannot be shared. */
int sl_buffer_file(const void *p, size_t n, uint64_t *offset);
/* n bytes at `offset' of that file, mapped in place of `to' or copied there. 0 or -errno. */
int sl_buffer_take(int file, uint64_t offset, void *to, size_t n);
/* A file with a copy of the bytes, or -errno. */
int sl_buffer_copy(const void *p, size_t n);

#endif
