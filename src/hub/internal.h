/*
 * What the hub's parts know of each other.
 *
 * hub.c the loop; stream.c frames from and to the slave; request.c messages of programs; slot.c replies; file.c open
 * files; pty.c the program's terminal; proc.c processes; store.c contents of mapped and executed files; hello.c the
 * first frames; finish.c the end.
 */
#ifndef HUB_INTERNAL_H
#define HUB_INTERNAL_H

#include <sys/ioctl.h>
#include <sys/uio.h>

#include "hub/hub.h"
#include "proto/names.h"
#include "base/link.h"
#include "proto/codec.h"
#include "proto/pack.h"
#include "proto/table.h"
#include "syslink/ledger.h"

/* Wire numbers of the rows, OP_openat and so on. */
enum wire_row {
#define SYS(nr, name, handler, args, wire, traits, level, note) OP_##name = wire,
#include "proto/syscalls.def"
};

#define QUEUE_MAX (1u << 20) /* above this, no more requests are taken */
#define LINUX_F_GETLK 5      /* numbers of the wire, those of x86-64 */
#define LINUX_F_SETLK 6
#define LINUX_F_SETLKW 7
#define LINUX_F_OFD_GETLK 36
#define LINUX_F_OFD_SETLKW 38
#define LINUX_O_ACCMODE 3
#define LINUX_O_APPEND 02000u
#define LINUX_O_CREAT 0100u
#define LINUX_O_EXCL 0200u

/* ---- queue.c: bytes for the stream ---- */
struct chunk;
struct queue {
  struct chunk *first, *last, *spare;
  size_t bytes;
};
/* Room for `n' bytes (at most FRAME_MAX) at the end; they count as queued. 0 without memory. */
uint8_t *queue_add(struct queue *q, size_t n);
/* Packs what is to be written next, as far as that is sooner there on a stream of that rate. How many bytes it saves. */
size_t queue_pack(struct queue *q, struct packer *p, uint64_t rate);
/* Writes what the descriptor takes. 0, -EAGAIN (some are left), or another -errno. */
int queue_write(struct queue *q, int fd);

/* A message of a program, or what is left to do of it. */
struct message {
  struct frame f;
  uint8_t *body;
  uint32_t n;
  int fd;    /* that came along, -1: none */
  pid_t pid; /* who sent it */
  bool gone; /* he had ended when it was taken */
};

/* An open file description on the slave, as the hub itself has seen it made; never read from shared memory. */
struct file {
  uint32_t handle;
  uint32_t ctx;             /* who opened it */
  bool answered;            /* the slave has opened it */
  bool placed;              /* a placeholder exists, by whose end we learn the file's */
  bool known;               /* kind, flags, dev, ino are */
  bool kept;                /* the programs' last close has come; a store still writes through it */
  bool marked;              /* a program has told the place of a close of it */
  bool had_late, told_late; /* a posted call on it failed; the program has been told */
  bool mine;                /* this session has made it */
  uint32_t names_instance;  /* directories: of what is known of its names, when this was found out: */
  uint64_t mount;           /* 0: entries may not be removed, or that is not known */
  bool sticky;              /* only one's own */
  int unborn;               /* -errno: it was to be opened ahead of the reply, and could not be */
  uint32_t kind, flags;
  uint64_t dev, ino;
  int notes;               /* inotify: our own instance, for files of the master; -1 */
  struct sock *sk;         /* K_SOCKET: sock.c */
  int wd, sock;            /* the placeholder: its inotify watch, or our end of the pair; -1 */
  uint64_t bound;          /* K_BOUND: inode of the programs' socket, once it is bound */
  char *path;              /* as it was opened, for people */
  struct readahead *ahead; /* readahead.c; 0 */
  struct saving *saving;   /* disk.c; 0 */
  struct file *next_wd, *next_closing;
  uint64_t ended_at;  /* h->taken when the last close was seen */
  uint64_t close_seq; /* closed: of the close that was sent; until it is acknowledged the file stays in h->closed */
};

struct pending {
  bool active;
  bool orphan; /* its process has gone: the slot is freed when the reply comes */
  uint16_t op;
  uint32_t ctx, handle /* openat: to be opened */, subject /* what it is about, H_NONE: it is no file */;
  uint64_t seq, offset /* pread64 */;
};

struct process {
  pid_t pid;
  uint32_t ctx;
  bool context; /* the slave has been told whom it is */
  bool locks;   /* it has taken POSIX record locks */
  int pidfd;
  bool ended;
  uint64_t ended_at; /* h->taken when that was seen */
  struct process *next;
};

struct store;
struct flush;
struct late {
  struct late *next;
  int err;
  char path[];
};

#define PTY_MODES (4 + TERMIOS_CHARS)
struct pty {
  bool wanted, known; /* the slave asked for one, and told its modes */
  uint64_t modes[PTY_MODES];
  struct winsize size;
  int master, slave; /* -1: there is none, or it has been hung up */
  uint32_t watched;  /* epoll's events */

  uint8_t in[TERMINAL_WINDOW + 2]; /* typed and not yet taken by the kernel */
  uint32_t waiting;
  uint64_t taken, put, told; /* bytes from the slave, of them given to the kernel, what the slave knows of that */
  bool line_start, input_ended;

  uint8_t out[TERMINAL_PIECE]; /* shown and not yet sent */
  uint32_t have;
  bool flush;           /* what was sent before is not to be shown any more */
  bool dry;             /* the last reading found nothing more */
  uint64_t read_at;     /* h->taken at that time */
  uint64_t sent, shown; /* bytes to the slave, of them written there */
  uint32_t left;        /* bytes read since the command's end */
};

#define WD_BUCKETS 1024
#define STORE_BUCKETS 256

struct hub {
  struct session *s;
  uint8_t *memory;
  int session_fd, request, program_end, epoll, ends /* epoll of stream placeholders */, inotify, signals;
  pid_t parent; /* as it was at the start */
  struct hub_options o;
  char **env;

  /* stream */
  int in, out;                 /* -1: no slave */
  bool out_waits, out_watched; /* for room; and epoll has been told so */
  int out_error;               /* -errno: nothing can be sent any more; what the slave has said is still taken */
  struct queue queue;
  struct link link;      /* how fast `out' is */
  struct packer *packer; /* may be 0 */
  bool packs;            /* the slave takes packed frames */
  uint64_t seq, peer_seq, peer_ack, acked /* what we told last */;
  struct ledger asked; /* calls that the slave has not answered, by tag */
  uint8_t *inbuf;
  uint32_t in_have;

  /* calls and slots */
  struct pending calls[SESSION_SLOTS];
  pid_t slot_pid[SESSION_SLOTS];   /* who last sent from it, 0: unused */
  uint64_t taken;                  /* messages of programs, so far */
  uint64_t gen_seq[SESSION_GENS];  /* the last change passed on to a file of that counter */
  uint64_t name_seq[SESSION_GENS]; /* ... and to a name in such a directory, that was answered ahead of the slave */

  /* files */
  struct file *files[SESSION_HANDLES];
  struct file *by_wd[WD_BUCKETS];
  struct file *closing, *closed;
  struct file *sending; /* sockets with bytes for the slave */
  unsigned nbound;      /* files that stand for bound unix sockets */
  struct late *late;

  struct process *processes;
  bool contexts; /* some process has, or has had, ids or a root of its own */
  struct store *stores, *stores_by_file[STORE_BUCKETS];
  struct flush *flushes;
  uint32_t name_victim, name_instances; /* names.c */
  uint32_t name_live[NAME_DIRS];        /* entries of that directory that are not known to be absent */
  uint64_t writable[4];                 /* mounts on which this session has changed something */
  unsigned nwritable;
  struct kept_ring *kept; /* kept.c */
  struct disk *disk;      /* disk.c; 0: nothing is kept for later sessions */
  uint64_t tick;          /* now_ms() of the next */

  struct pty pty;

  /* the end */
  pid_t command;
  int command_fd, status; /* status -1: still running */
  bool command_over;
  uint64_t command_over_at;
  uint64_t barrier;
  bool exit_sent, requests_ended, requests_paused, over, lost, left;
  int result;
};

/* Where an event comes from, in the high half of epoll's data. */
enum source {
  SRC_REQUEST,
  SRC_IN,
  SRC_OUT,
  SRC_INOTIFY,
  SRC_ENDS,
  SRC_PROCESS,
  SRC_COMMAND,
  SRC_SIGNAL,
  SRC_NOTES,
  SRC_PTY,
  SRC_FAULT
};
int hub_watch(struct hub *h, int fd, uint32_t events, enum source src, uint32_t value);

/* ---- stream.c ---- */
/* Queues a frame; len, seq and ack are filled in here. Gives its seq. A session without slave drops it. */
uint64_t hub_send(struct hub *h, struct frame f, const struct iovec *parts, int n);
/* A call of that tag has no reply yet. */
bool hub_asks(struct hub *h, uint32_t tag);
/* A posted call of the hub's own. */
uint64_t hub_post(struct hub *h, uint16_t op, uint32_t ctx, const struct wbuf *w, const uint8_t *body);
void hub_flush(struct hub *h);
void stream_read(struct hub *h);
/* The slave has ended the session: its line. */
void hub_aborted(struct hub *h, const uint8_t *body, uint32_t n);
/* The session ends: programs are answered and killed. Says why, to the person here and (if `tell') to the slave. */
void hub_abort(struct hub *h, bool tell, const char *format, ...) __attribute__((format(printf, 3, 4)));

static inline void hub_count(struct hub *h, enum counter n, uint64_t by)
{
  __atomic_fetch_add(&h->s->counters[n], by, __ATOMIC_RELAXED);
}

/* Around the writing of what programs read without a lock (names.h, kept.h): `seq' is odd meanwhile. */
static inline void write_begin(uint32_t *seq)
{
  __atomic_store_n(seq, *seq + 1, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
static inline void write_end(uint32_t *seq)
{
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  __atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE);
}

/* ---- request.c ---- */
/* Takes what programs have sent and passes it on, closes in their places. True if nothing is left there. */
bool pump(struct hub *h);
/* More messages than the request socket holds: who sends without pause must not keep ends from being seen. */
#define REQUESTS_MAX 16384
static inline bool all_taken_since(const struct hub *h, uint64_t then)
{
  return h->taken - then >= REQUESTS_MAX;
}

/* What was remembered of the file is not true from that frame on. */
void file_touched(struct hub *h, uint64_t dev, uint64_t ino, uint64_t seq);
/* What a message does to the files that it speaks of, before it is passed on (0 or -EPROTO) and after. */
int note_before(struct hub *h, const struct message *m);
void note_after(struct hub *h, const struct message *m, uint64_t seq);

/* ---- slot.c ---- */
/* The bytes of an out-of-band buffer put in at their place. 0 or -EPROTO. `room': FRAME_MAX bytes. */
int slot_take_data(struct hub *h, struct message *m, uint8_t *room);
void slot_reply(struct hub *h, uint32_t tag, int64_t result, uint32_t flags, const uint8_t *body, uint32_t n,
                uint32_t gen);
void slot_fail(struct hub *h, uint32_t tag, int err);
/* The same with one buffer, put together from these pieces; the slave has not been asked for it. */
void slot_data(struct hub *h, uint32_t tag, const struct iovec *parts, int n);
/* The end of a call that the hub itself serves. */
void slot_complete(struct hub *h, uint32_t tag, int64_t result);
/* A reply from the slave. 0 or -EPROTO. */
int reply_take(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n);
void slots_of_dead(struct hub *h, pid_t pid);
void slots_sweep(struct hub *h);
void slots_fail_all(struct hub *h);

/* ---- file.c ---- */
struct file *file_at(struct hub *h, uint64_t handle); /* whatever came as one; 0 if there is none */
struct file *file_fixed(struct hub *h, uint32_t handle, uint32_t kind, uint32_t flags, uint64_t dev, uint64_t ino);
/* 0 or -EPROTO */
int file_opening(struct hub *h, const struct message *m);
/* The same of what has a number but no file: inotify_init1. */
int file_making(struct hub *h, const struct message *m, uint32_t kind);
/* Anything but 0: it has not been made. */
void file_made(struct hub *h, uint32_t handle, int64_t result);
void file_opened(struct hub *h, uint32_t handle, int64_t result, const uint8_t *body, uint32_t n);
/* A file that is made ahead of the slave's reply; false if its number is in use. And that reply: it is there (tight: so
   little room is left that writes to it wait), or a call on it has failed (unborn: the one that was to open it). */
bool file_ahead(struct hub *h, const struct message *m, uint32_t handle, uint32_t flags);
void file_came(struct hub *h, uint32_t handle, bool tight);
void file_failed(struct hub *h, uint32_t handle, int err, bool unborn);
/* A close has been passed on with that number, or (0) it was never opened. */
void file_forget(struct hub *h, struct file *f, uint64_t close_seq);
void files_acked(struct hub *h);
int file_place(struct hub *h, const struct message *m);
int file_place_fd(struct hub *h, struct file *f, int fd);
void file_close(struct hub *h, struct file *f); /* posts the slave's close */
void file_ends(struct hub *h, struct file *f);  /* its last close has been seen */
void files_read_closes(struct hub *h);          /* fills h->closing */
void file_window(struct hub *h, uint32_t handle, uint64_t written);
void file_ready(struct hub *h, uint32_t handle, uint64_t events);
void file_late(struct hub *h, uint32_t handle, int64_t result);
void files_of_dead(struct hub *h, uint32_t ctx);
void files_wake_all(struct hub *h);
int file_take_late(struct hub *h, const struct file *f); /* -errno once, or 0 */
/* A failure that no program can be told of. */
void late_add(struct hub *h, int err, const char *path);
/* malloc'd; may be 0 */
char *path_for_people(struct hub *h, uint32_t base, const uint8_t *path, uint32_t n);
/* Everything that stayed unreported moves to h->late. */
void files_collect_late(struct hub *h);

/* ---- sock.c: sockets of the slave ---- */
int sock_making(struct hub *h, const struct message *m); /* W_SOCKET passes; 0 or -EPROTO */
/* Without memory, or if the number is taken: 0. */
enum sock_manner {
  SOCK_FRESH,     /* a stream that is not connected yet */
  SOCK_STREAMING, /* one that is */
  SOCK_DATAGRAMS,
  SOCK_NATIVE, /* a stream; the program's end is a unix socket of its own, which it may shut down as it likes */
};
struct file *sock_new(struct hub *h, uint32_t handle, uint32_t ctx, enum sock_manner manner);
void sock_placed(struct hub *h, struct file *f);
void sock_free(struct hub *h, struct file *f);
/* Events of our end of the pair. */
void sock_ready(struct hub *h, struct file *f, uint32_t events);
void sock_window(struct hub *h, struct file *f, uint64_t written);
int sock_take_event(struct hub *h, const uint8_t *body, uint32_t n);          /* F_SOCK; 0 or -EPROTO */
void sock_connecting(struct hub *h, struct file *f, const struct message *m); /* W_NCONNECT passes */
void sock_connected(struct hub *h, uint32_t handle, int64_t result);          /* its reply */
bool sock_shutdown(struct hub *h, const struct message *m);                   /* W_SHUTDOWN; false: pass it on */
void sock_send_now(struct hub *h, struct file *f);
void socks_send(struct hub *h); /* when all has been passed on that programs had sent before */
bool socks_busy(const struct hub *h);

/* ---- bound.c: unix sockets of programs, under paths of the slave ---- */
int bound_place(struct hub *h, const struct message *m); /* W_BOUND; 0 or -EPROTO */
/* Closes those that nobody holds any more. */
void bound_sweep(struct hub *h);

/* ---- inotify.c ---- */
int notes_watch(struct hub *h, const struct message *m);   /* W_WATCH; 0 or -EPROTO */
int notes_unwatch(struct hub *h, const struct message *m); /* W_UNWATCH */
int notes_events(struct hub *h, const struct message *m);  /* W_EVENTS */
/* A W_POLL passes: true if it has been answered and the slave need not hear of it. */
bool notes_poll(struct hub *h, const struct message *m);
void notes_ready(struct hub *h, uint32_t handle);

/* ---- proc.c ---- */
void proc_bind(struct hub *h, const struct message *m);
void proc_ended(struct hub *h, pid_t pid); /* seen; acted upon when all that it sent has been passed on: */
void procs_settle(struct hub *h, bool drained);
/* A request for a POSIX record lock has been passed on. */
void proc_context(struct hub *h, uint32_t ctx);
/* It has, so it may be another user, or have another root, than the session. */
bool proc_has_context(struct hub *h, uint32_t ctx);
void proc_locked(struct hub *h, uint32_t ctx);
/* The process has ended. */
bool proc_gone(struct hub *h, pid_t pid);
/* Who has ended holds none any more: its parent knows of the end, and may be about to lock the same. */
void procs_unlock_dead(struct hub *h);

/* ---- store.c: contents of files that are mapped or executed ---- */
int store_want(struct hub *h, struct message *m); /* W_MAPFD; 0 or -EPROTO */
struct store *store_of(struct hub *h, const struct file *f);
/* Posts what programs changed. Without a store it does nothing. */
void store_flush(struct hub *h, struct store *st);
void store_flush_range(struct hub *h, struct store *st, uint64_t offset, uint64_t n);
int store_flush_call(struct hub *h, const struct message *m); /* W_FLUSH */
void store_written(struct store *st, uint64_t offset, const void *data, uint32_t n);
void store_resized(struct store *st, uint64_t size);
bool store_shared(const struct store *st);             /* a program may have a shared mapping */
bool store_needs(struct hub *h, const struct file *f); /* it writes through this handle */
bool store_reply(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n); /* false: not its tag */
/* A read of a file whose contents are all here: true if it has been answered. */
bool store_read(struct hub *h, const struct message *m);
bool store_event(struct hub *h, int wd);
void stores_flush(struct hub *h);
/* What a file that has just been opened holds is on the disk here. */
void store_stored(struct hub *h, const struct file *f, const struct wire_attr *a, uint32_t gen);
void stores_acked(struct hub *h);
void stores_go_on(struct hub *h);
bool stores_busy(const struct hub *h); /* there is more to compare, as soon as there is room */
void stores_tick(struct hub *h);

/* ---- disk.c: contents kept for later sessions. Of a state that the slave has told with FF_OLD or NI_STATE ---- */
void disk_start(struct hub *h); /* when the slave has greeted */
bool disk_has(struct hub *h, const struct wire_attr *a);
/* All of it into a file, or to memory, room for its size. False: it is not there, or not what was kept. */
bool disk_load(struct hub *h, const struct wire_attr *a, int to);
bool disk_read(struct hub *h, const struct wire_attr *a, uint8_t *to);
void disk_save(struct hub *h, const struct wire_attr *a, const uint8_t *data);
void disk_save_fd(struct hub *h, const struct wire_attr *a, int from);
/* A large file in that state has been opened, which is true at `gen'; a piece of it has come; it is closed. */
void disk_read_begins(struct hub *h, struct file *f, const struct wire_attr *a, uint32_t gen);
void disk_read_piece(struct hub *h, struct file *f, uint64_t offset, const uint8_t *data, uint32_t n);
void disk_read_ends(struct file *f);

/* ---- lazy.c: mapped files that are fetched where they are looked at ---- */
int lazy_place(struct hub *h, struct message *m);       /* W_LAZY; 0 or -EPROTO */
int lazy_fetch(struct hub *h, const struct message *m); /* W_FETCH */
void lazy_faults(struct hub *h, uint32_t number);       /* of a userfaultfd */
void lazy_process_gone(struct hub *h, uint32_t ctx);    /* or it executes another program */

/* ---- names.c: what the slave tells of its directories ---- */
int names_take(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n); /* 0 or -EPROTO */
/* A directory in another one, by what is known: its identity, and true. */
bool names_child_dir(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, uint64_t id[2]);
/* What is known of a directory itself: an instance of what is known of its names, 0: nothing. */
uint32_t names_self(struct hub *h, uint64_t dev, uint64_t ino, struct wire_attr *self, bool *full);
/* A name that is there. */
bool names_entry(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, struct wire_attr *a);
/* All names in it are known, and none is there. */
bool names_empty(struct hub *h, uint64_t dev, uint64_t ino);
/* It is removed by a call with that number; what it stood for is gone if it was a directory. */
void names_removed(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, uint64_t seq);
/* The slave has told of a directory that we have made there. */
void names_dir_made(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, const struct wire_attr *a);
/* Nothing is known of its names any more. */
void names_void(struct hub *h, uint64_t dev, uint64_t ino);
/* A name in it is changed by a call with that number; ".": only the directory itself. */
void names_own(struct hub *h, uint64_t dev, uint64_t ino, const char *name, uint32_t n, uint64_t seq);
/* The instance of a directory that is known whole, else 0. */
uint32_t names_instance(struct hub *h, uint64_t dev, uint64_t ino);

/* ---- kept.c: contents in the memory that programs read ---- */
struct keep {
  uint64_t dev, ino;
  uint32_t gen;      /* gens[] of the file when this was true */
  uint32_t instance; /* of a directory, else 0 */
  uint32_t ahead;    /* number for W_AHEAD, 0: none */
  bool unasked;      /* nobody has asked for it */
  const uint8_t *data;
  uint32_t n;
  uint64_t size, offset; /* of a piece: of the whole file, and where it lies */
  const struct wire_attr *state; /* the file's, if that names what it holds for later sessions; else 0 */
};
void kept_put(struct hub *h, const struct keep *k);
/* The next piece of a file; with the last one the file is put. What came of another before is dropped. */
void kept_part(struct hub *h, const struct keep *k);
void kept_part_drop(struct hub *h);
/* All of a file that has been fetched for other reasons: its bytes are read from `fd'. */
void kept_file(struct hub *h, const struct keep *k, int fd);
void kept_drop(struct hub *h, uint64_t dev, uint64_t ino);
void kept_drop_dirs(struct hub *h);
void kept_count_unused(struct hub *h); /* into N_WASTED, at the session's end */
/* The reply to openat brought them. `gen': at which they are true. */
void kept_opened(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n, uint32_t gen);

/* ---- pty.c: the program's own terminal ---- */
void pty_fact_modes(struct pty *p, const uint8_t *v, uint32_t n);
void pty_fact_size(struct pty *p, const uint8_t *v, uint32_t n);
int pty_open(struct hub *h); /* if one is wanted; 0, or -errno, the session has been ended then */
int pty_input(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n); /* 0 or -EPROTO */
void pty_resize(struct hub *h, const uint64_t size[4]);
void pty_signal(struct hub *h, int sig);
void pty_shown(struct hub *h, uint64_t bytes);
void pty_step(struct hub *h);
bool pty_empty(const struct hub *h); /* all that programs wrote has been sent */
void pty_hangup(struct hub *h);

/* ---- finish.c ---- */
void finish_step(struct hub *h, bool drained);
void command_ended(struct hub *h);

/* ---- hello.c ---- */
int hello_exchange(struct hub *h);
void facts_local(struct hub *h);

#endif
