/*
 * libsyslink: message pipes. Every command gets exactly one reply, whatever becomes of who was to send it.
 *
 * syslink(3) tells of the descriptors and the rules, syslink_msg(5) of the messages. This header stands alone: C11 or
 * C++, no other header of this project.
 */
#ifndef SYSLINK_H
#define SYSLINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYSLINK_MSG_MAX 4096        /* bytes of the largest message */
#define SYSLINK_BUF_MAX (128 << 10) /* bytes of the largest out-of-band buffer */
#define SYSLINK_DEPTH_MAX 10        /* of elements below the head */
#define SYSLINK_UNREPLIED_MAX 1024  /* commands of one end without a reply; then writers block, or get EAGAIN */

/* ---- messages: syslink_msg(5) ---- */

/* se_bytes counts this head and what is behind it; the next element begins at the next multiple of 8. */
struct syslink_elm {
  uint16_t se_cmd;   /* the application's number below SE_APP_END, and flags */
  uint16_t se_bytes; /* at least 8 */
  int32_t se_aux;    /* head of a reply: 0 or an errno; of a buffer's element: its length; else the application's */
};
struct syslink_msg {
  uint16_t sm_proto;          /* SM_PROTO, SM_PROTO_REPLY */
  uint16_t sm_bytes;          /* of the whole message: a multiple of 8 */
  uint32_t sm_label;          /* for routing: replies bring it back unchanged */
  uint64_t sm_msgid;          /* names the command among those of its end without a reply */
  uint64_t sm_sessid;         /* as sm_label */
  struct syslink_elm sm_head; /* se_bytes: sm_bytes less 24 */
};

#define SM_PROTO 0x1a53       /* in the byte order of who wrote the message */
#define SM_PROTO_REPLY 0x8000 /* ored to it */

#define SE_NESTED 0x8000 /* holds elements; without it, bytes of the application's */
#define SE_BUFFER 0x4000 /* head only: a buffer comes with the message; its first element is SE_CMD_BUFFER */
#define SE_CMD_MASK 0x3fff
#define SE_CMD_BUFFER 0x3fff
#define SE_APP_END 0x3f00 /* numbers from here on are the library's */

/* Building a message in room of the caller's, aligned to 8. What does not fit is told once, by syslink_msg_end(). */
struct syslink_builder {
  struct syslink_msg *msg;
  size_t room, bytes;
  uint16_t open[SYSLINK_DEPTH_MAX + 1]; /* where the elements begin that are being filled; the first is the head */
  int depth;                            /* of the innermost */
  int bad;
};
void syslink_msg_begin(struct syslink_builder *, void *room, size_t size, uint16_t cmd, uint64_t id);
/* Label, number and session are the command's, in this machine's byte order; error: 0 or an errno. */
void syslink_msg_reply(struct syslink_builder *, void *room, size_t size, const struct syslink_msg *command, int error);
/* A buffer of `bytes' will be in iov[1]. Before any other element. */
void syslink_msg_buffer(struct syslink_builder *, uint32_t bytes);
void syslink_elm_put(struct syslink_builder *, uint16_t cmd, int32_t aux, const void *data, size_t bytes);
void syslink_elm_open(struct syslink_builder *, uint16_t cmd, int32_t aux);
void syslink_elm_close(struct syslink_builder *);
/* The message's size, for iov[0].iov_len; -1 with errno EMSGSIZE or EINVAL. */
ssize_t syslink_msg_end(struct syslink_builder *);

/* 0, or -1 with errno EINVAL or EFBIG: what syslink_writev() would say of such a message. In either byte order. */
int syslink_msg_check(const void *msg, size_t bytes);
/* Of a message that has passed: everything but the application's own bytes is put into this machine's byte order. 1 if
   it came in the other one, else 0. */
int syslink_msg_native(struct syslink_msg *);
/* Bytes of its buffer, 0: it has none. Of a native message, as all below. */
uint32_t syslink_msg_buffer_bytes(const struct syslink_msg *);
/* The elements within one, in order; 0 behind the last. */
const struct syslink_elm *syslink_elm_first(const struct syslink_elm *in);
const struct syslink_elm *syslink_elm_next(const struct syslink_elm *in, const struct syslink_elm *after);
static inline const void *syslink_elm_data(const struct syslink_elm *e)
{
  return e + 1;
}
static inline size_t syslink_elm_bytes(const struct syslink_elm *e)
{
  return e->se_bytes - sizeof *e;
}

/* ---- links: syslink(3) ---- */

enum syslink_cmd { SYSLINK_CMD_NEW = 1 };
#define SYSLINK_CLOEXEC 1u
#define SYSLINK_NONBLOCK 2u
struct syslink_info {
  uint32_t version; /* 0 */
  uint32_t flags;
  int fd[2]; /* filled in: the two ends */
};
/* 0, or -1 with errno. */
int syslink(int cmd, struct syslink_info *info, size_t bytes);
/* iov[0] is the message, iov[1] its buffer. Bytes of iov[0], 0 at the link's end, -1 with errno. */
ssize_t syslink_readv(int fd, const struct iovec *iov, int iovcnt);
ssize_t syslink_writev(int fd, const struct iovec *iov, int iovcnt);
/* Ends the link for both sides and whoever else holds this end, wakes all who sleep on it, closes the descriptor. */
int syslink_close(int fd);

/* Page-aligned memory whose contents cross a link without being copied. 0 with errno. */
void *syslink_alloc(size_t bytes);
/* At any time, also while a command with it has no reply: who has received it keeps what it holds. -1: not from above.
 */
int syslink_free(void *);

#ifdef __cplusplus
}
#endif

#endif
