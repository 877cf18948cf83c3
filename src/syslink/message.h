/* Messages as the library itself looks at them. Freestanding, but for errno in syslink_*(). */
#ifndef SYSLINK_MESSAGE_H
#define SYSLINK_MESSAGE_H

#include "syslink/syslink.h"

struct message {
  uint64_t id, sessid;
  uint32_t label, buffer; /* buffer: bytes, 0: none */
  uint16_t bytes, cmd;
  uint8_t reply, swapped; /* swapped: written in the other byte order */
};

/* Enough to tell of a message that is still queued how large it and its buffer are. */
#define MESSAGE_PEEK (sizeof(struct syslink_msg) + sizeof(struct syslink_elm))

/* What the first bytes say: 0 or -EINVAL, without a look at the elements. `n' may be more than the message, if `whole'
   is unset. */
int sl_message_head(const void *p, size_t n, int whole, struct message *m);
/* All of it, n being its size: 0, -EINVAL or -EFBIG. */
int sl_message_check(const void *p, size_t n, struct message *m);
/* The reply that nobody sent: sizeof(struct syslink_msg) bytes. */
void sl_message_answer(void *out, const struct message *command, int error);

#endif
