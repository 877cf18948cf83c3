/*
 * The slave: executes the session's calls on this machine. What its files offer each other.
 *
 * One session per process: umask, descriptors and signals are the process's, so the state of each part is static in its
 * file. Threads: the main one takes frames in order and runs what cannot block; a worker for each call that may; one
 * writer for each stream in use; one for events (terminal size, signals, armed polls, watches).
 *
 * Lock order: out (sending) -> watch. handle, stream, lock and worker locks are leaves: nothing else is taken inside.
 */
#ifndef SLAVE_H
#define SLAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

#include "proto/codec.h"
#include "proto/session.h"
#include "proto/table.h"
#include "slave/system.h"

/* Operation numbers by the name of their row. */
enum slave_op {
#define SYS(nr, name, handler, args, wire, traits, level, note) OP_##name = wire,
#include "proto/syscalls.def"
};

struct slave_options {
  int in, out;            /* the stream to the master */
  int status_fd;          /* the command's status as a decimal line, -1: none, it is what slave_run() returns */
  int control_fd;         /* signals to forward, -1: none */
  int stats_fd, trace_fd; /* text for people */
  int link;               /* the TCP connection that carries the stream, if that is not its own descriptor; else 0 */
};

#define SLAVE_FAILED 255 /* status of a session that did not end in order */

/* Serves one session. Returns the status to exit with; what went wrong has been said on standard error. */
int slave_run(const struct slave_options *o);

/* One line on standard error, "fslave: ..." */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Somebody watches who opens and reads: nothing is read for any other reason than that a program does it. */
extern bool reads_watched;

/* ---- order.c ---- */
/* Swaps, where that is needed, the integers of a structure between this machine's byte order and the wire's. layout:
   how many of which size, in order (b, h, w, q: 1, 2, 4, 8 bytes; "4w20b2w"); what it does not reach stays as it is. */
void wire_order(void *bytes, uint32_t n, const char *layout);

/* ---- handles.c: open file descriptions, by the master's numbers ---- */
struct stream;
struct sock;
struct handle {
  uint32_t num;
  int fd;
  uint32_t kind;   /* enum file_kind */
  uint32_t access; /* O_RDONLY, O_WRONLY or O_RDWR, or O_PATH */
  uint64_t dev, ino;
  uint32_t refs;         /* atomic; the last reference closes fd */
  uint32_t armed;        /* atomic: poll events to be told once */
  struct stream *stream; /* its output; stream.c */
  struct sock *sock;     /* K_SOCKET: sock.c */
};
void handles_start(void);
/* Takes fd over. 0, or -errno: fd is then still the caller's. */
int handle_add(uint64_t num, int fd, uint32_t kind, const struct stat *st, uint32_t flags);
/* The same of a socket, with what sock.c knows of it (allocated). */
int handle_add_sock(uint64_t num, int fd, uint32_t kind, const struct stat *st, struct sock *s);
struct handle *handle_get(uint64_t num); /* a reference, or 0 */
int handle_put(struct handle *h);        /* close()'s result if it was the last */
int handle_close(uint64_t num);
/* The number of the unix socket that this session has bound to that file, 0: none. */
uint32_t handle_bound(uint64_t dev, uint64_t ino);
/* The same of an abstract name. */
uint32_t handle_bound_name(const struct sockaddr_un *name, socklen_t n);
uint32_t kind_of(const struct stat *st, bool path_only);
static inline bool handle_streams(const struct handle *h)
{
  return h->kind == K_STREAM || h->kind == K_TTY || h->kind == K_CHR || h->kind == K_SOCKET;
}

/* ---- have.c: what the master has from earlier sessions ---- */
bool have_take(const uint8_t *body, uint32_t len); /* F_HAVE; false: malformed */
bool have_wanted(void);                            /* the master keeps contents for later ones */
bool have_it(const struct wire_attr *a);           /* of the file in that state, as it has just been read */
bool state_old(const struct wire_attr *a);

/* ---- lift.c: large reads without copying; the main thread's ---- */
void lift_start(int stream);
/* Puts at most `n' bytes of a regular file into the pipe: how many; 0: it has to be read as usual. */
uint32_t lift(int fd, uint64_t offset, uint32_t n);
int lift_pipe(void);

/* ---- out.c: everything that is sent ---- */
void out_start(int fd, int link_fd, int wake_fd);
void out_pack(void);  /* the master takes packed frames */
bool out_packs(void); /* the stream is so slow that large frames are packed just now */
/* What a reply that may be kept depends on; stamp 0: nothing. */
struct promise {
  uint64_t stamp;
  bool contents;   /* FF_CONTENTS depends on it, too */
  uint32_t lifted; /* so many bytes of the body, its last ones, lie in lift_pipe() */
};
/* Fills in length, seq and ack, and sends. If the promise was broken meanwhile, takes FF_CACHEABLE (and a file's
   FF_CONTENTS) out. False if the stream is lost: nothing more can be said. */
bool out_send(struct frame *f, const void *body, uint32_t n, const struct promise *p);
/* A call has come, and its one reply is owed. False: its number is in use, or nobody could owe so many. */
bool out_owe(uint32_t tag);
/* Before what is to be told is read ... */
void out_names_begin(void);
/* ... and when it has been: sends items of names.h; `last': with what has to be withdrawn of them right behind. */
void out_names(const uint8_t *body, uint32_t n, bool last);
bool out_note(uint8_t type, uint16_t op, int64_t result, const uint64_t *ints, unsigned n);
void out_applied(uint64_t seq, uint32_t bytes); /* main thread: that frame has been dealt with */
void out_ack(bool idle);                        /* sends a bare ACK if one is due */
void out_invalid(void);                         /* sends what the watches have seen */
bool out_lost(void);
/* -errno of a posted call that failed after the master had acknowledged `ack', so that it cannot know; else 0. A broken
   pipe is not told: whether its writer notices is a race without us, too. */
int out_late_since(uint64_t ack);

/* ---- watch.c: what the master keeps ---- */
bool watch_start(void);
int watch_fd(void);
/* Watches the file, before its attributes are read. A stamp, or 0 if it cannot be watched. */
uint64_t watch_add(int fd, bool directory);
void watch_name(uint64_t stamp, uint64_t dev, uint64_t ino);
bool watch_holds(uint64_t stamp);
void watch_stale(uint64_t dev, uint64_t ino); /* counts as changed, although no event says so */
/* Collects up to `max' pairs (device, inode) that may have changed. */
unsigned watch_drain(uint64_t *pairs, unsigned max);

/* ---- names.c: what the master knows of directories ---- */
bool names_start(void);
void names_wanted(void); /* the master wants to be told */
int names_fd(void);
/* A call has been made at that spot: main thread only. resend: the master does not know the name, or not any longer. */
struct spot;
void names_touch(const struct spot *s, bool resend);
void names_refresh(const struct spot *s);      /* a name there has been made, removed or replaced */
void names_touch_dir(int dirfd, bool list);    /* a directory has been looked at, or opened */
void names_link(int dirfd, const char *name);  /* a symbolic link is followed; any thread */
void names_missed(int base, const char *path); /* its walk ended at a name that does not exist */
/* What has to be withdrawn: items for a body of at most `max' bytes; how many bytes. */
uint32_t names_drain(uint8_t *body, uint32_t max);
void names_all_gone(void);                      /* withdraws everything */
void names_stale(uint64_t dev, uint64_t ino);   /* that directory has changed, although no event says so */
void names_told(void);                          /* what has been read has been sent: withdrawals may follow */
void names_look(void);                          /* takes in what the watches have seen */
bool names_watch(int dirfd);                    /* false: it cannot be watched */
void names_give_up(uint64_t dev, uint64_t ino); /* is no longer watched, and the master is told so */

/* ---- own.c: what the master knows, having done it itself ---- */
struct call;
void own_begin(const struct call *c); /* its paths have been walked */
/* True if the call under way causes that event of a watched directory. */
bool own_event(uint64_t dev, uint64_t ino, const char *name, uint32_t mask);
void own_end(bool made);       /* the call has been made, or has failed */
void own_made(struct call *c); /* what it has made, for its reply */
/* Opens what is read on nobody's behalf: its access time stays, if this user may have that. */
int open_unnoticed(int dirfd, const char *name, int flags);
/* What nobody has asked about: a directory with all that it lists, what a small file holds (a number above 0: done).
   `ahead': what the master says when that is used, see names.h. Main thread only. */
bool names_ahead_dir(int dirfd, uint32_t ahead);
uint32_t names_ahead_file(int dirfd, const char *name, uint32_t ahead);
/* A larger one is told in pieces: it is opened (-1: it is not one, or above `most'), and each call tells the next. 0:
   no more follow. */
int names_ahead_large(int dirfd, const char *name, uint64_t most, uint64_t *size);
uint32_t names_ahead_piece(int fd, uint64_t size, uint64_t offset, uint32_t ahead);

/* ---- guess.c: what will be asked for next; main thread only ---- */
bool guess_wants(void); /* there is something to tell, when nothing else is to be done and the stream takes it */
void guess_step(void);
bool guess_used(uint64_t number); /* W_AHEAD */
void guess_dir_opened(int dirfd);
void guess_dir_touched(int dirfd);                    /* a call was made in a directory that was not known */
void guess_file_opened(int dirfd, const char *name);  /* for reading */
void guess_large_opened(int dirfd, const char *name); /* the same of one whose contents did not come with that */

/* ---- walk.c ---- */
struct spot {
  int dir;            /* descriptor of the directory, or of the thing itself when name is "" */
  bool owned;         /* dir is to be closed */
  char name[256 + 2]; /* "" : dir itself */
};
enum walk_flag {
  WALK_FOLLOW = 1, /* the last component's symbolic link */
  WALK_PARENT = 2, /* the last component is what it is, as mkdir, unlink and rename see it */
  WALK_CREATE = 4, /* a trailing slash is EISDIR, as for open(O_CREAT) */
};
void walk_start(void);
void walk_rule(const char *text, uint32_t n); /* "WHERE PREFIX" */
/* 0; -errno; or WALK_LEFT: `left' (WIRE_PATH_MAX) is where the master goes on. base: -1 for the root. root: a
   descriptor of another root than the slave's, which nothing leads out of and of which the master's rules say nothing;
   -1: none. */
#define WALK_LEFT 1
int walk(int root, int base, const char *path, unsigned flags, struct spot *s, char *left);
/* The kernel's own walk, with restrictions (openat2's resolve): a descriptor or -errno. */
int walk_open(int base, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
/* Whether the master's rules keep the path of that descriptor away from here. */
bool walk_elsewhere(int fd);
void spot_done(struct spot *s);
/* Absolute path of a directory; 0 or -errno. */
int real_path(int fd, char out[WIRE_PATH_MAX]);

/* ---- call.c: one call ---- */
struct taken {
  int root; /* descriptor of the context's root directory, -1: the slave's own */
  bool ids; /* the calling thread acts as somebody else */
};
struct call_path {
  uint64_t base; /* handle */
  const char *text;
  unsigned reg; /* first register that it fills: A two, P one */
  char letter;
};
struct call {
  struct frame f;
  const struct row *row;
  const struct act *act;
  bool worker; /* runs on a thread of its own: may block */
  bool rooted; /* below a root of its context's own */
  bool asked;  /* a CALL, as opposed to a POST */
  uint8_t reply_flags;
  struct promise promise;
  struct taken context;
  struct wbuf out; /* the reply's body */
  uint8_t *reply;  /* its beginning */
  unsigned op;     /* the call to make natively (enum slave_op), and its registers */
  uint64_t a[6];
  struct handle *h[3]; /* references held; H arguments first */
  unsigned nhandles;
  uint64_t num; /* number of the first, open or not */
  struct call_path path[2];
  struct spot at[2]; /* where they lead, after call_walk() */
  unsigned npaths, nspots;
  int object_fd; /* of call_object(), -1: none */
  uint8_t *o_at; /* O: where its data go, and how many fit */
  uint32_t o_room;
  const uint8_t *blob; /* B, and the buffer of U and L */
  uint32_t blob_len;
  uint64_t kind, value; /* U, L: enum ioctl_arg, and its integer */
  int64_t times[4];
  unsigned ntexts;
  /* not cleared before use */
  char object[64 + 256];
  char text[3][WIRE_PATH_MAX];
};
/* Results beyond -errno. */
#define CALL_DEFER (-100000) /* would block: again on a worker */
#define CALL_LEFT (-100001)  /* redirect: the body is set */
typedef int64_t do_fn(struct call *c);
/* Runs a CALL or POST and answers it. False if it was malformed: nothing has been done then. */
bool call_run(const struct frame *f, const uint8_t *body, uint32_t n, bool worker);
/* Its only path's base: a descriptor, -1: the root, or -errno below that. */
int call_base(struct call *c);
int call_walk(struct call *c);      /* all its paths: 0, -errno, CALL_LEFT */
int64_t call_plain(struct call *c); /* walks and makes the native call */
/* A path by which calls that know no directory descriptor reach what path[0] leads to: `object'. 0 or -errno. */
int call_object(struct call *c, bool follow);

/* call.c, file.c, control.c: calls with functions of their own */
do_fn do_openat, do_read, do_pread, do_write, do_pwrite, do_close, do_fstat, do_statx, do_getdents, do_readlinkat,
    do_linkat, do_faccessat2, do_fchmodat2, do_slow, do_flock, do_ioctl, do_fcntl, do_copy_file_range;
/* The end of an opening call: its reply, and the handle `num' for `fd', which is closed if that fails. 0 or -errno. */
long open_finish(struct call *c, int fd, int flags, uint64_t num);
/* fs.c */
do_fn do_file_getattr, do_file_setattr, do_name_to_handle, do_open_by_handle, do_quotactl;
/* file.c: the records of a small directory, all of them or none. The descriptor stands where it stood. */
uint32_t all_names(int dirfd, uint8_t to[DIR_NAMES_MAX]);
/* attr.c */
do_fn do_utimensat;
/* A hook for tests: seconds by which this slave's clock pretends to be ahead ($FSLAVE_CLOCK_SHIFT), in what it tells of
   its clock and of files' times, and in times it is given. */
int64_t clock_shift(void);
/* Whether less is free than what may be under way at any time; file.c looks as the session opens and writes. */
bool space_tight(void);
/* Whether so little is free where this file or directory lies. */
bool space_short(int fd);
int attr_read(int dir, const char *name, int flags, unsigned mask, struct wire_attr *a);
/* context.c: process contexts with a root or ids of their own. Body of W_CONTEXT, checked; false: not to be had. */
bool context_set(uint32_t ctx, const uint8_t *body, uint32_t n);
/* The calling thread takes on the context's ids; 0 or -errno, and nothing is taken then. */
int context_enter(uint32_t ctx, struct taken *t);
void context_leave(struct taken *t);
/* inotify.c */
do_fn do_inotify_init, do_inotify_add;
/* local.c: unix sockets by their paths */
do_fn do_ubind, do_uconnect;
/* do_sock.c: calls on sockets */
do_fn do_socket, do_nbind, do_nconnect, do_listen, do_shutdown, do_sockname, do_getopt, do_setopt, do_credit, do_adopt;
/* sock.c: what comes on sockets. Nothing more is read; and that writing to it has failed (-errno). */
void sock_close(struct handle *h);
void sock_failed(const struct handle *h, int err);
/* One message with its address in front. 0 or -errno. */
int sock_send(struct handle *h, const uint8_t *p, uint32_t n);
bool sock_datagrams(const struct handle *h);
/* locks.c: record locks, POSIX ones of process context `ctx' and those of descriptions; lk: type, whence, start, len,
   pid. CALL_DEFER: it would have to wait, and may not. */
long lock_call(uint32_t ctx, struct handle *h, int cmd, bool may_wait, int64_t lk[5]);
/* The context's POSIX locks on that file, or (0, 0) on all. */
void locks_release(uint32_t ctx, uint64_t dev, uint64_t ino);

/* ---- stream.c: output that may block ---- */
/* Queues, or writes, if that cannot block. What fails is told (F_LATE). False: no memory. */
bool stream_post(struct handle *h, const uint8_t *p, uint32_t n);
long stream_call(struct handle *h, const uint8_t *p, uint32_t n); /* on a worker: after what is queued */
int stream_drain(struct handle *h);                               /* on a worker: until nothing is queued */
void stream_shutdown(struct handle *h, int how);                  /* of a socket, behind what is queued */
void stream_close(struct handle *h);                              /* no more will be posted; nothing is lost */
void stream_free(struct handle *h);                               /* nobody uses it any more */
/* Waits until all streams have been written out; at most so long, -1: as long as it takes. */
void streams_flush(int timeout_ms);
/* What is queued now is old; waits until all of that has been written out. */
void streams_mark_old(void);
void streams_flush_old(void);

/* What is queued and not being written just now is forgotten; it counts as written. */
void stream_discard(struct handle *h);
/* There is room again in what it is written to, which the kernel does not tell who waits for it. */
void stream_look_again(struct handle *h);

/* ---- terminal.c: the user's terminal, when the program has one of its own ---- */
bool terminal_set(const char *modes); /* `stty -g', or "-": not known. False: neither */
void terminal_escape(int c);
bool terminal_on(void);
int terminal_start(void); /* reading what is typed; 0 or -errno */
void terminal_stop(void); /* when it returns nothing more is read */
void terminal_fact(struct wbuf *w);
/* From the master; false: malformed. */
bool terminal_window(const uint8_t *body, uint32_t n);
bool terminal_output(const struct frame *f, const uint8_t *body, uint32_t n);
const char *terminal_newline(int fd);

/* ---- worker.c: threads that may block ---- */
int worker_start(const struct frame *f, const uint8_t *body, uint32_t n); /* 0 or -errno */
void worker_cancel(uint32_t tag);
bool worker_nudge(void);     /* signals the cancelled ones again; false: there are none */
bool worker_cancelled(void); /* the calling thread's call has been cancelled */
int thread_start(void *(*run)(void *), void *arg);

/* ---- events.c ---- */
int events_start(int control_fd);
/* Arms a poll; 0 or -errno. */
int events_arm(struct handle *h, uint32_t events);
void events_forget(struct handle *h);
void events_wake(void); /* a cancel is under way */
long poll_now(const struct handle *h, uint32_t events);

/* ---- hello.c ---- */
bool hello_send(void);
/* 0, or a line for the abort in `why'. */
int hello_take(const uint8_t *body, uint32_t n, char why[128]);
int hello_winsize(uint64_t ws[4]); /* 0, or -errno */

#endif
