/*
 * Asking the slave (call.c): building a request, sending it, reading its reply. And where a path or descriptor leads
 * (route.c, vft.c), as the file handlers need it.
 */
#ifndef AGENT_CALL_H
#define AGENT_CALL_H

#include "agent/agent.h"
#include "proto/codec.h"

/* A request being built; lives on the agent's stack, its bytes in t's slot-independent message page. */
struct req {
  struct thread *t;
  const struct row *row; /* 0 for enum wire_op operations */
  uint16_t op;
  uint8_t flags;
  struct wbuf w;   /* after the frame header, in the thread's message buffer (4 KiB + path room) */
  int oob;         /* data buffer in use, -1: none */
  uint32_t oob_at; /* body offset where the hub puts it in */
  int err;         /* first failure while building: -EFAULT ... */
  struct rbuf r;   /* after req_call(): the reply's body */
  uint32_t reply_flags, reply_gen;
};

void req_start(struct req *q, struct thread *t, const struct row *row); /* row->wire becomes op */
void req_start_op(struct req *q, struct thread *t, enum wire_op op);
void req_u64(struct req *q, uint64_t v);
void req_handle(struct req *q, struct handle h);
void req_str(struct req *q, const char *s);                /* agent memory */
int req_data(struct req *q, const void *user, uint32_t n); /* program memory, at most FRAME_DATA_MAX; 0 or -EFAULT */
/* Sends and waits. May-block requests (`blocking') can be interrupted by a signal: -EINTR, after the slave
   confirmed that nothing was done; a true result wins. Others are waited for without interruption. Returns the
   slave's result, or -errno. Counts N_WAITED. */
long req_call(struct req *q, bool blocking);
/* The same, with a descriptor that goes along. */
long req_call_fd(struct req *q, int fd);
/* Sends without waiting; 0 or -errno of building it. Counts N_POSTED. fd >= 0 goes along. */
long req_post(struct req *q, int fd);
/* The same for what only the hub hears: it is no call, and nothing of it crosses the stream. */
long req_post_uncounted(struct req *q, int fd);

/* A whole regular call: encodes c->a by `row->args' (a[] laid out as for the row's own native call, H arguments being
   program descriptors that are remote, A/P already resolved into `at'), calls, decodes into the program's memory. */
struct at {
  bool local;         /* the kernel here goes on: dirfd, path below */
  int dirfd;          /* local: descriptor or AT_FDCWD to use */
  struct handle base; /* remote: H_ROOT or a directory's handle */
  char *path;         /* in t->path_buf[]; what to walk from there */
  char *lexical;      /* absolute, by the rules; for messages and as the cwd's name */
  unsigned hops;      /* redirects so far */
  int flags, which;   /* as given to route() */
  uint64_t dev, ino;  /* base H_LIGHT: the directory's */
};
/* A base of which the slave does not know: a directory opened from memory, under the descriptor at->dirfd. */
#define H_LIGHT 0xfffffffeu
/* Before `at' goes to the slave. 0, or -errno if the directory is not there any more. */
long at_settle(struct call *c, struct at *at);
/* `at': one for each path of the row. */
long remote_row(struct call *c, const struct row *row, const unsigned long a[6], struct at *at);

/* route.c: decides where (dirfd, path) leads; `path' is the program's pointer. which: 0 or 1, selects the
   buffers. -errno: EFAULT, ENOENT (empty path without AT_EMPTY_PATH in `flags'), ENAMETOOLONG, EACCES (denied) ... An
   empty path with AT_EMPTY_PATH gives base = the handle itself and path = "". AT_SYMLINK_NOFOLLOW in `flags' leaves the
   links of /proc/self what they are. */
int route(struct call *c, int dirfd, const void *path, int flags, struct at *at, int which);
/* A remote path that belongs to the programs that are taken from the slave. */
bool route_program(const char *lexical);
/* After a reply with FF_REDIRECT: the same for the path in it. 0, or -ELOOP after 40. */
int route_again(struct call *c, struct req *q, struct at *at, int which);

/* The same for the absolute path to which a link is known to lead; `path' is not in any of at's buffers. */
int route_link(struct call *c, struct at *at, const char *path);

/* A name under /proc or /dev that means something of the calling process itself. */
enum self_what { SELF_NO, SELF_OTHER, SELF_EXE, SELF_CWD, SELF_FD, SELF_TTY, SELF_TTY_NAME };
struct self_name {
  enum self_what what; /* SELF_OTHER: another file of /proc/self */
  int pid;             /* 0: the calling process; else another of the session, of which EXE, CWD and FD are known */
  int fd;              /* SELF_FD */
  const char *rest;    /* what follows, "" or "/..." */
};
struct self_name self_name(struct call *c, const char *lexical);
/* Where its EXE (a path into buf, 4096 bytes; or "" if it is not known), CWD or FD leads. */
struct handle self_target(struct call *c, const struct self_name *s, char *buf);
/* The absolute path of a directory handle that `fd' (a placeholder) stands for, into buf (4096 bytes). 0 or -errno. */
long dir_path(int fd, struct handle h, char *buf);
/* cwd.c: the slave's name now of what a handle leads to, into path (4096 bytes). 0 or -errno. */
long handle_name(struct call *c, struct handle h, char *path);
/* `cwd_path' as it is now, into buf (4096 bytes), and the handle that goes with it. */
void cwd_own(struct proc *p); /* the descriptors are shared no more */
struct handle cwd_get(struct proc *p, char *buf);

/* open.c */
struct opened {
  struct handle h;
  struct wire_attr attr;
  struct req q;
  const void *contents; /* 0: the reply brought none. Valid until the thread's next req_call() */
  uint32_t len;
};
/* Opens on the slave and follows redirects. 0: opened, not yet placed; 1: `at' has become local; -errno. */
long open_remote(struct call *c, struct at *at, unsigned long flags, unsigned long mode, struct opened *o);
/* One question, and what memory knows is not asked. 0: opened; 1: it led out of the slave's part; -errno. */
long open_bare(struct call *c, struct at *at, unsigned long flags, struct opened *o);
/* Gives the opened handle a descriptor, with the contents or the directory's path in it. Number or -errno. */
long open_place(struct call *c, struct opened *o, const struct at *at, int cloexec);
/* The same for a descriptor that another call than openat has opened: o's request has been answered with success. */
long open_taken(struct call *c, struct opened *o, int cloexec);
/* Whether a memfd may grow so long; the program gets SIGXFSZ for it otherwise. */
bool memory_fits(size_t n);
/* Closes a handle that has no placeholder. */
void handle_close(struct thread *t, struct handle h);
/* Whether the slave's user may execute (or enter) a file with these attributes. */
bool attr_executable(const struct wire_attr *a);
/* A number fresh from the kernel: -EMFILE if it is one that the program must not see. */
long fd_new(struct proc *p, long fd);
/* Another number, for a remote file, of what is open as `fd': the lowest free one, with SF_HIGH from FD_HIGH on. */
long fd_remote(struct proc *p, int fd, int cloexec);
/* The call as it is, which makes one that is the kernel's here. */
long pass_newfd(struct call *c);

/* procview.c: a file of /proc that has just been opened for reading shows what the program is to see. `fd' */
long proc_view(struct call *c, const char *path, long fd);

/* vft.c */
/* What the text of a link in /proc/PID/fd of a process of the session stands for. */
struct handle vft_of_link(const char *name);
/* A handle that somebody told of, H_NONE if it is not open (any longer). */
struct handle handle_open(uint32_t h);
/* True if everything below a local directory descriptor is local too and has no names of its own kind (/proc, /dev). */
bool vft_pure(struct proc *p, int fd);
void vft_set_pure(struct proc *p, int fd);
void vft_forget_range(struct proc *p, unsigned first, unsigned last); /* both included */
/* Takes a free handle; H_NONE and -ENFILE when there is none. */
struct handle handle_new(void);
void handle_drop(struct handle h); /* never opened */
/* Makes the placeholder for a freshly opened handle and tells the hub. The new descriptor number or -errno (the
   handle is then closed). hstate's kind, flags, gen are set before. cloexec: O_CLOEXEC or 0. */
long handle_place(struct call *c, struct handle h, int cloexec, const char *path);
/* The same of a socket: a pair that keeps boundaries or not, with SOCK_NONBLOCK and SOCK_CLOEXEC. */
long socket_place(struct call *c, struct handle h, bool datagrams, int flags);
/* Nobody writes into a file's placeholder from here on; with SF_HIGH a write that slips past the agent
   fails instead of being lost. */
void placeholder_seal(int fd);
/* The handle of a socket of the slave, H_NONE: it is something else (vft_remote() tells none of them). */
struct handle vft_socket(struct proc *p, int fd);
void vft_set_socket(struct proc *p, int fd, struct handle h);
/* Tells the hub its end of a pair. */
void stream_placed(struct call *c, struct handle h, int fd);
/* True while what hstate remembers (SNAP_ATTR, SNAP_CONTENTS) is true. */
bool snap_true(const struct hstate *s, enum snap what);
void snap_take(struct hstate *s, const struct req *q, const struct wire_attr *a, uint32_t what);
/* After posting a change to the file: raises its counter. */
void file_changed(struct hstate *s);
/* The counter that programs raise when a directory of the slave may have another name, or none, from now on. */
#define GEN_NAMES 0
/* -errno of an earlier posted call on this handle, once; else 0. */
long late_error(struct hstate *s);

/* view.c: files under /proc that tell of a process of the session, as it sees itself */
#define NO_VIEW (-100000)
/* For a local path that is to be opened: a descriptor, -errno, or NO_VIEW: it is none of those. */
long view_open(struct call *c, const struct at *at, unsigned long flags);

/* attr.c */
struct stat_k { /* the kernel's struct stat of x86-64 */
  uint64_t dev, ino, nlink;
  uint32_t mode, uid, gid, pad;
  uint64_t rdev;
  int64_t size, blksize, blocks;
  int64_t atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec;
  int64_t unused[3];
};
void attr_to_stat(struct stat_k *st, const struct wire_attr *a); /* with the slave's st_dev */
#define SLAVE_DEV (1ul << 44)
/* Attributes and file system figures into the program's memory, as the row's call lays them out. 0 or -EFAULT. */
long attr_out(const struct row *row, void *user, const struct wire_attr *a);
long statfs_out(void *user, const struct wire_statfs *f);

/* stat.c */
/* The attributes of an open file, from memory or in one round trip. 0 or -errno. */
long attr_of_handle(struct call *c, struct handle h, struct wire_attr *a);
/* Waits until it is known which file it is, if it is one that is being made ahead of the slave's reply. 0 or -errno. */
long handle_known(struct call *c, struct handle h);

/* locks.c: what others mind of a close: the process's POSIX record locks go with any descriptor of their file, and with
   the last of a description its own locks. */
struct locked {
  uint64_t dev, ino;   /* the file on which the process may hold locks; 0, 0: none */
  struct handle place; /* whose close is to have its place; H_NONE: it does not matter */
};
/* Of a descriptor that is to be closed; and what there is to say once it is. */
struct locked locks_on(struct proc *p, int fd);
void locks_drop(struct thread *t, const struct locked *l);
/* Of all descriptors in a range, both ends included: how many there are, the first `max' of them. */
unsigned locks_in_range(struct proc *p, unsigned first, unsigned last, struct locked *l, unsigned max);
/* Around an exec, which closes descriptors as well. */
void locks_carry(struct proc *p, struct carry *carry);
void locks_start(const struct carry *carry);

/* map.c */
/* A descriptor, O_CLOEXEC, for reading the whole contents of a remote regular file, from the session's store. -errno.
   path: what it is called, "" if that is not known. */
long contents_fd(struct call *c, struct handle h, const char *path);

/* dir.c: before an lseek on a directory: the slave's position is what the program believes. 0 or more, or -errno */
long dir_settle(struct call *c, struct handle h);

#endif
