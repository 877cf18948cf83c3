/*
 * Input and output on files of the slave: what io.c, iov.c, copy.c, map.c, poll.c, epoll.c, ioctl.c, fcntl.c and sock.c
 * share, and what they need from the core.
 */
#ifndef AGENT_IO_H
#define AGENT_IO_H

#include <asm/poll.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>

#include "agent/call.h"

#define ROW(name) (&syscall_rows[__NR_##name])
#define PIPE_ATOMIC 4096u   /* writes up to this are never torn */
#define IO_MAX 0x7ffff000ul /* the kernel's bound of one transfer */
#define IOV_COUNT_MAX 1024u

/* An open file of the slave under one of the program's numbers. */
struct rfile {
  int fd;
  struct handle h;
  struct hstate *s;
};
/* False: local, or not open (the kernel will say so). */
bool file_of(struct call *c, int fd, struct rfile *f);
static inline bool is_stream(const struct hstate *s)
{
  return s->kind == K_STREAM || s->kind == K_TTY || s->kind == K_NOTIFY;
}
static inline bool has_offset(const struct hstate *s)
{
  return s->kind == K_REG || s->kind == K_BLK;
}
bool may_read(const struct hstate *s);
bool may_write(const struct hstate *s);

/* The kernel's struct iovec. */
struct iov {
  uint64_t base, len;
};
/* Memory of the program, in pieces, and how far it has been used. */
struct spans {
  const struct iov *v;
  unsigned n;
  uint64_t at;   /* in v[0] */
  uint64_t left; /* in all */
};
#define OWN_OFFSET (~0ull) /* where the file stands, which moves on */
/* One transfer, at `off' or OWN_OFFSET: bytes, or -errno. */
long file_read(struct call *c, struct rfile *f, struct spans *sp, uint64_t off);
long file_write(struct call *c, struct rfile *f, struct spans *sp, uint64_t off);
/* The same at the file's end, wherever the program says. */
long file_append(struct call *c, struct rfile *f, struct spans *sp, uint64_t off);
/* Cuts a transfer to `off' at RLIMIT_FSIZE. 0 or -EFBIG, after the signal. */
long file_bound(struct call *c, struct rfile *f, uint64_t off, uint64_t *n);
uint64_t size_limit(void); /* RLIMIT_FSIZE */
/* Waits until a write to the stream would not wait: how much it would take (or fail at), or -errno. */
long stream_room(struct call *c, struct rfile *f);
/* True if the placeholder holds the file's contents as they are. */
bool contents_here(const struct hstate *s);
/* True if a read at OWN_OFFSET can be left to the kernel, on the placeholder. */
bool read_is_native(const struct rfile *f);

/* A lock on one file's offset, among the threads of this process and all processes that share the placeholder. */
void offset_lock(const struct rfile *f);
void offset_unlock(const struct rfile *f);
/* The attributes, from memory or in one round trip. 0 or -errno. */
long file_attr(struct call *c, struct rfile *f, struct wire_attr *a);
/* iov.c: either, with the flags of preadv2 and pwritev2 */
long file_transfer(struct call *c, struct rfile *f, struct spans *sp, bool write, uint64_t off, unsigned long flags);
/* The same for a vector of the program's, of `n' pieces. */
long vector_transfer(struct call *c, struct rfile *f, unsigned long from, unsigned long n, bool write, uint64_t off,
                     unsigned long flags);
long a_readv(struct call *c);
long a_writev(struct call *c);
/* A round trip with the handle and up to 4 integers: the slave's result. */
long file_call(struct call *c, const struct row *row, const struct rfile *f, const uint64_t *v, unsigned n,
               bool blocking);

/* poll.c: readiness of streams. Poll events that hold now as far as is known here, of those in `events', plus ERR, HUP.
 */
uint32_t stream_now(struct hstate *s, uint32_t events);
/* Asks the slave: events that hold now, which are then remembered. One round trip; -errno. */
long stream_ask(struct call *c, struct rfile *f, uint32_t events);
/* Asks to be told once, through the placeholder, when one of the events holds. POLLOUT is no matter for the slave: */
static inline void stream_arm_out(struct hstate *s)
{
  __atomic_fetch_or(&s->armed, POLLOUT, __ATOMIC_SEQ_CST); /* the hub says when the window opens; look again after this */
}
void stream_arm(struct call *c, struct handle h, struct hstate *s, uint32_t events);
/* Until more of what was posted to the stream has been written than the low word of `written' said, or a second. 0, or
   what interrupted it. */
long stream_wait_written(struct call *c, struct hstate *s, uint32_t seen);
/* Takes waiting readiness bytes out of the placeholder. */
void stream_drain(int fd);
/* Room for more bytes under way. */
static inline uint64_t stream_credit(struct hstate *s)
{
  uint64_t sent = __atomic_load_n(&s->sent, __ATOMIC_ACQUIRE), written = __atomic_load_n(&s->written, __ATOMIC_ACQUIRE);
  return sent - written >= STREAM_WINDOW ? 0 : STREAM_WINDOW - (sent - written);
}
/* epoll.c: somebody read from this stream: whoever waits for it in an epoll wants to be told again. */
void epoll_rearm(struct call *c, struct rfile *f);
/* Is there a stream of the slave in any epoll of this process? */
bool epoll_has_streams(void);
/* Before a wait that may be for an epoll: asks for the streams in all of them. */
enum prepared { NOTHING_YET, SOMETHING, OUT_WANTED /* nothing, and a write is waited for */ };
enum prepared epoll_prepare(struct call *c, bool at_once);
/* A byte says that a window has opened; should another process have taken it, a sleeper looks so often himself. */
#define LOOK_UP 1000000000l

/* net.c: read, readv, write, writev of what may be a socket of the slave. */
long net_read(struct call *c);
long net_write(struct call *c);

/* map.c: reads the session's copy of a whole watched file into the program's memory: bytes, or -errno. */
long contents_read(struct call *c, const struct rfile *f, void *to, uint64_t n, uint64_t off);
/* Spreads `n' bytes over the program's memory; how many went, or -EFAULT if none did. */
long spans_out(struct spans *sp, const uint8_t *from, uint64_t n);
/* inotify.c: events of an instance; bytes, or -errno. And FIONREAD of one. */
long notify_read(struct call *c, struct rfile *f, struct spans *sp);
long notify_waiting(struct call *c, struct rfile *f);
/* locks.c: one of fcntl's record lock commands */
long locks_fcntl(struct call *c, struct rfile *f, int cmd);
/* The description is about to take a lock of its own. */
void locks_mind(struct hstate *s);

/* map.c: this process has a shared mapping of the file: what is remembered of its contents may be older. */
bool map_shows(const struct hstate *s);
void map_follow(const struct hstate *s);

#endif
