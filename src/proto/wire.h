/*
 * What crosses the stream between the two hubs, and (with the same header) the socket between agents and their hub.
 *
 * Everything is little-endian. Numbers of errno, signals, open flags, modes and the like are those of x86-64 Linux
 * whatever either machine is. docs/protocol.md describes each message for people; change both together.
 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdint.h>

#define WIRE_VERSION 1
#define WIRE_MAGIC 0x31637366u /* "fsc1", the first word of HELLO's body */

#define FRAME_DATA_MAX (128u << 10)               /* the largest single buffer of a call */
#define FRAME_MAX (FRAME_DATA_MAX + (16u << 10))  /* the largest frame, header included */
#define WIRE_PATH_MAX 4096                        /* with the terminating NUL that is not sent */
#define WIRE_NOEXEC (1ull << 32)                  /* in the flags of openat's reply: nothing there may be executed */
#define WIRE_LARGEFILE 0100000                    /* O_LARGEFILE: in the flags of every file opened, whatever the slave's word size */
#define WIRE_EXECUTE (1u << 31)                   /* in the flags of openat's request: the file is to be executed */
#define F_CREATED_QUERY_CMD 1028                  /* F_CREATED_QUERY, Linux 6.12: has this open made the file? */
#define WIRE_RESOLVE_SHIFT 32                     /* openat's flags: openat2's resolve is above */

/*
 * A body is a sequence of fields in the order of the row's args string.
 *   integers  8 bytes            strings and buffers  4 bytes of length, then the bytes
 * Request:  H  8 bytes: handle        I  8 bytes             S  string          B  buffer
 *           A  8 bytes base handle, then string path         P  the same as A
 *           O  8 bytes: room          M  8 bytes: 1 if present, then 4 x 8 bytes (sec, nsec, sec, nsec)
 *           U, L  8 bytes: kind of argument (enum ioctl_arg), then nothing, 8 bytes (INT, OUT) or a buffer (IN, INOUT).
 *              A struct flock is an INOUT buffer of 5 x 8 bytes: type, whence, start, len, pid
 *           X, F  nothing
 * Reply:    in the same order, O: buffer, X: struct wire_attr, F: struct wire_statfs, U: buffer, L: buffer or nothing
 * A reply with a negative result has no body, except where the flag says so.
 */
struct frame {
  uint32_t len;   /* of the whole frame, header included */
  uint8_t type;   /* enum frame_type */
  uint8_t flags;  /* enum frame_flag */
  uint16_t op;    /* wire number of the table's row, or enum wire_op */
  uint32_t tag;   /* names the request; its reply carries the same */
  uint32_t ctx;   /* process context on the master, 0: the hub itself */
  uint64_t seq;   /* counts frames of this direction that carry effects (all but ACK), from 1 */
  uint64_t ack;   /* the highest seq of the other direction that has been taken and, if posted, applied */
  int64_t result; /* replies: what the call returned, or -errno. requests: the umask of the caller */
};

enum frame_type {
  F_HELLO = 1,  /* first frame each way; body: a list of facts (struct wire_fact) */
  F_CALL,       /* wants exactly one REPLY */
  F_POST,       /* wants none: covered by ack */
  F_REPLY,
  F_CANCEL,     /* master: interrupt the CALL with this tag; its REPLY still comes */
  F_ACK,        /* nothing but its ack field; has seq 0 */
  F_LATE,       /* slave: a posted call on handle (ctx field unused; body: 8 bytes handle) failed with result */
  F_WINDOW,     /* body 8 bytes handle, 8 bytes: bytes of that stream written out so far, in total. master: of F_INPUT,
                   handle H_STDIN; slave: of any other, F_OUTPUT being H_STDOUT's */
  F_READY,      /* slave: body 8 bytes handle, 8 bytes poll events that are true now (answer to an armed poll) */
  F_INVALID,    /* slave: body a list of 8 byte device, 8 byte inode: what was sent of these may be stale */
  F_SIGNAL,     /* slave: result = signal number, op = 1: to the command's process group, 0: to the command */
  F_WINSIZE,    /* slave: body 4 x 8 bytes: rows, columns, x and y pixels of its terminal */
  F_EXIT,       /* master: the command ended, result = exit status (0 to 255, 128 + signal); nothing posted is left */
  F_STATS,      /* master: body: text for the person, printed by --stats */
  F_TRACE,      /* master: body: text lines of --trace */
  F_DONE,       /* master: the last process of the session has gone; the slave ends */
  F_ABORT,      /* either: the session ends now; body: one line of text that says why */
  F_NAMES,      /* slave: what directories hold, see names.h */
  F_INPUT,      /* slave: what was typed, for the program's terminal. FF_EOF: nothing follows; op 1: since the user's
                   terminal has gone */
  F_OUTPUT,     /* master: what the program's terminal shows. op 1: what has not been shown yet is not to be, then this */
  F_SOCK,       /* slave: body 8 bytes handle, 8 bytes enum sock_event, 8 bytes value, buffer: of a socket */
  F_PACKED,     /* either, to who has CAP_ZSTD: body: 4 bytes: how many there will be; then whole frames, none of them
                   F_PACKED, as one block of zstd's format. Has seq and ack 0; the frames have theirs */
  F_HAVE,       /* master: body: 4 byte state_hash() of files, in the states whose contents it has from earlier sessions:
                   they need not be sent. Behind its HELLO, at most HAVE_MAX in all */
  F_LAST = F_HAVE
};

enum frame_flag {
  FF_REDIRECT = 1, /* reply: the walk left the slave's part of the name space; result: which path of the call it was
                      (0 or 1), body: string, the absolute path where the master's own rules go on */
  FF_OWN = 2,      /* request: what it changes in directories the hub has accounted for already: their watches say
                      nothing of it. What is made is told behind the reply: struct wire_attr */
  FF_MADE = 8,     /* request mkdirat: the directory is to be watched. Its struct wire_attr is behind the reply, which is
                      FF_CACHEABLE if nobody else has put anything into it before that */
  FF_OLD = 8,      /* reply with attributes, FF_CACHEABLE: the file was last changed so long before they were read that any
                      later change will have a time of its own */
  FF_OOB = 2,      /* agent to hub only: the bytes of the body's one buffer are in slot(tag).data[frame.ack], its 4 bytes
                      of length in the body; the hub puts them in at body offset frame.seq */
  FF_CONTENTS = 4, /* request openat: the reply may bring contents. reply: it did. request read: it does not wait */
  FF_POSTED = 2,   /* hub to agent only: the reply is the hub's, the slave's is still to come */
  FF_KNOWN = 8,    /* hub to agent only: the reply is the hub's, and the slave has not been asked */
  FF_FD = 8,       /* agent to hub only: a descriptor comes with the message */
  FF_CACHEABLE = 16, /* reply: attributes and contents are watched; F_INVALID will say when they are stale */
  FF_TIGHT = 64, /* any frame of the slave: space runs low where the session writes, so writes are to wait for their reply */
  FF_SYNC = 128, /* reply to openat: the same for this file alone, from the start */
  FF_EOF = 32,     /* reply to getdents64: nothing follows this block */
};

/* Operations that are not rows of the table. */
#define UNIX_ABSTRACT 0x100
enum wire_op {
  W_POLL = 64,   /* CALL or POST: "HI": arm: tell by READY once when any of these poll events is true. CALL with
                    FF_CONTENTS unset replies at once with the events true now */
  W_PLACE,       /* agent to hub, POST + FF_FD: "HI" handle, enum place: here is the placeholder */
  W_BIND,        /* agent to hub, POST: process `ctx' exists; its pid comes as SCM_CREDENTIALS */
  W_MAPFD,       /* agent to hub, POST + FF_FD: "HI" handle, enum mapfd: send the contents memfd of that file, filled,
                    through the socket that comes with this, with 8 bytes of 0 */
  W_FLUSH,       /* agent to hub, CALL: "II" dev, ino: write back what shared mappings changed (0, 0: everything) */
  W_TRACE,       /* agent to hub, POST: body: text */
  W_UNLOCK,      /* POST: "II" dev, ino: process context `ctx' lets go of its POSIX record locks on that file (0, 0: on
                    all files) */
  W_WATCH,       /* agent to hub, CALL + FF_FD: "HI" inotify handle, mask: watch the local file that comes with this. wd */
  W_UNWATCH,     /* agent to hub, CALL: "HI" inotify handle, wd of W_WATCH */
  W_CLOSED,      /* agent to hub, POST: "H" handle: a descriptor of it has just been closed; if it was the last, this is
                    the place of the close among the session's messages */
  W_CONTEXT,     /* POST: "HIIIIB": what process context `ctx' is to the slave's kernel from here on: its root directory
                    (H_ROOT: the slave's own), real and file system uid, real and file system gid, supplementary
                    groups (4 bytes each). A first uid of CONTEXT_OVER: nothing but the session's own any more */
  W_EVENTS,      /* agent to hub, CALL: "HI" inotify handle, room: events of local files, a buffer; how many bytes. Room
                    0: how many wait */
  W_UBIND,       /* CALL: "AII" path, socket type (UNIX_ABSTRACT: the path is an abstract name in hex), new handle: a unix socket bound there. Its programs' own socket is one
                    of the master's, whose hidden name is the handle's number */
  W_UCONNECT,    /* CALL: "AII" path, socket type, new handle: whom a unix socket's path leads to: the handle that W_UBIND
                    made, if it is one of this session's */
  W_BOUND,       /* agent to hub, POST: "HI" handle of W_UBIND, inode of the socket here that stands for it */
  W_SOCKET,      /* POST: "IIII" domain, type, protocol, new handle. Its failure is a SOCK_FAILED */
  W_NBIND,       /* CALL: "HBO" address, room: the socket's own address */
  W_NCONNECT,    /* CALL: "HBIO" address, 1: waits until it is connected (0: EINPROGRESS, then SOCK_CONNECTED), room: the
                    socket's own address. Between agent and hub the integer's upper half says how many bytes fill the
                    placeholder meanwhile */
  W_LISTEN,      /* CALL: "HI" backlog. Connections are accepted and told (SOCK_CONNECTION) as far as credit goes */
  W_SHUTDOWN,    /* POST: "HI" how, of shutdown(2); behind what has been posted before */
  W_SOCKNAME,    /* CALL: "HIO" 1: the peer's, room: an address */
  W_GETOPT,      /* CALL: "HIIO" level, option, room */
  W_SETOPT,      /* CALL or POST: "HIIB" level, option, value */
  W_CREDIT,      /* POST: "HI": so many bytes may be sent of that socket in all; of a listening one: so many connections
                    more may be accepted */
  W_ADOPT,       /* POST: "HII" listening socket, token, new handle: that connection's number */
  W_AHEAD,       /* POST: "I": what the slave sent ahead under that number is being used: more of it */
  W_LAZY,        /* agent to hub, POST + FF_FD: "IIII" number that W_MAPFD gave, address, length, offset: the userfaultfd
                    that comes with this tells where that mapping is looked at. Without one: the mapping has gone */
  W_FETCH,       /* agent to hub, CALL: "III" that number, offset, length: is to be there */
  W_END,
};

#define CONTEXT_OVER UINT64_MAX
#define CONTEXT_GROUPS 256

/* Handles: chosen by the master. index in the low 20 bits, generation above; the whole number must match. */
#define HANDLE_INDEX_BITS 20
#define HANDLE_INDEX(h) ((h) & ((1u << HANDLE_INDEX_BITS) - 1))
enum fixed_handle {
  H_NONE = 0xffffffff,
  H_ROOT = 0,   /* base of absolute paths */
  H_STDIN = 1,
  H_STDOUT = 2,
  H_STDERR = 3,
  H_CWD = 4,    /* the directory in which the slave was started */
  H_TTY = 5,    /* the slave's controlling terminal, if any */
  H_FIRST = 16, /* the first that the master hands out */
};

/* What a handle leads to; in openat's reply and in the facts about 0 to 2. */
enum file_kind { K_NONE, K_REG, K_DIR, K_TTY, K_STREAM /* pipe, FIFO, socket */, K_CHR, K_BLK, K_NULL /* /dev/null */, K_PATH /* O_PATH */, K_NOTIFY /* inotify */, K_BOUND /* W_UBIND */, K_SOCKET };

/* Facts: each a 2-byte number, a 4-byte length, then the value; unknown ones are skipped. Integers are 8 bytes. */
enum wire_fact {
  FACT_MAGIC = 1, /* WIRE_MAGIC, always first */
  FACT_VERSION,
  FACT_CAPS,      /* capability bits, enum wire_cap */
  FACT_PID,
  FACT_IDS,       /* ruid euid suid rgid egid sgid: 6 integers */
  FACT_GROUPS,    /* integers */
  FACT_UMASK,
  FACT_CWD,       /* string */
  FACT_HOSTNAME,
  FACT_DOMAIN,
  FACT_CLOCK,     /* nanoseconds since 1970 on the slave at the moment of sending */
  FACT_STDIO,     /* for 0 to 2: kind, open flags, device, inode: 12 integers */
  FACT_WINSIZE,   /* 4 integers, only with a terminal */
  FACT_ENV,       /* NAME=VALUE, one fact each */
  FACT_TTYNAME,   /* path of the slave's terminal */
  FACT_RULE,      /* master to slave: "WHERE PREFIX": one rule, so that walks know where the slave's part ends */
  FACT_RELEASE,   /* uname -r of the sender */
  FACT_EXE,
  FACT_DIRS, /* device and inode of the root, then of the working directory: 4 integers */
  FACT_TERMIOS,   /* slave: the program gets a terminal of its own with these modes: input, output, control and local
                     flags, then TERMIOS_CHARS characters, all integers; empty: with those of any new terminal */
};
#define TERMIOS_CHARS 19
enum wire_cap { CAP_WATCH = 1, CAP_CONTENTS = 2, CAP_NAMES = 4 /* master: wants F_NAMES */, CAP_ZSTD = 8 /* takes F_PACKED */ };

/* Attributes of a file, as statx gives them. */
struct wire_attr {
  uint64_t mask, attributes, attributes_mask;
  uint64_t mode, nlink, uid, gid;
  uint64_t rdev, dev; /* makedev() of x86-64 */
  uint64_t ino, size, blocks, blksize, mnt_id;
  int64_t atime, atime_nsec, btime, btime_nsec, ctime, ctime_nsec, mtime, mtime_nsec;
};
struct wire_statfs {
  uint64_t type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags;
};

/*
 * openat's request: base, path, flags, mode, the handle to open it as (chosen by the master). An empty path opens the
 * base's own file anew, as /proc/self/fd/N would; readlinkat with an empty path on what is no symbolic link tells the
 * base's canonical path.
 * openat's reply: 8 bytes enum file_kind, struct wire_attr, 8 bytes open flags as F_GETFL tells them, then a buffer:
 * contents of a whole small regular file, or for directories the canonical path, and behind a NUL, if they were asked for
 * and are no more than DIR_NAMES_MAX, all records that getdents64 would give (FF_CONTENTS says that the buffer is
 * meaningful).
 */
#define CONTENTS_MAX (64u << 10)
#define DIR_NAMES_MAX (32u << 10)
/* The most of one file that is told without being asked for, in pieces of CONTENTS_MAX. */
#define WHOLE_MAX (1u << 20)

/* How much of F_INPUT and of F_OUTPUT may be under way, each: what is still shown after an interrupt. */
#define TERMINAL_WINDOW (64u << 10)
#define TERMINAL_PIECE (16u << 10) /* the most in one of them */

/* What W_PLACE brings: the memfd itself, or the hub's end of the socket pair. */
enum place { PLACE_FILE, PLACE_STREAM };

/* What W_MAPFD's memfd is for: a shared mapping, or looking at the contents as they are now. */
enum mapfd { MAPFD_SHARED, MAPFD_CONTENTS, MAPFD_LAZY = 2 /* besides: it need not be filled yet, if the file is large:
                                                              what comes with it is then not 0, but names it */ };
#define MAP_LAZY_MIN (4u << 20) /* smaller files are not worth it */

/* In the pid of a lock that was found: the low half is the process context that holds it. */
#define LOCK_CTX (1ll << 32)

/* Of F_SOCK. Addresses are x86-64's struct sockaddr, at most SOCK_ADDR_MAX bytes. */
enum sock_event {
  SOCK_DATA = 1,   /* buffer: bytes; of a socket that keeps boundaries: one message, behind a struct wire_dgram */
  SOCK_EOF,        /* no more bytes will come */
  SOCK_FAILED,     /* value: errno; nothing more will come */
  SOCK_CONNECTED,  /* value: 0, or errno */
  SOCK_CONNECTION, /* of a listening socket: value: token for W_ADOPT; buffer: two struct wire_dgram: who, and to whom */
};
#define SOCK_ADDR_MAX 28
struct wire_dgram {
  uint32_t len; /* of the address; 0: none */
  uint8_t addr[SOCK_ADDR_MAX];
};
/* How much a socket may send before W_CREDIT, and how many connections a listening one may accept. */
#define SOCK_WINDOW (256u << 10)
#define SOCK_WINDOW_MAX (4u << 20)
#define SOCK_BACKLOG 128u

enum ioctl_arg { IOA_NONE, IOA_INT /* 8 bytes by value */, IOA_IN /* buffer */, IOA_OUT /* 8 bytes: size */, IOA_INOUT /* buffer */ };

#endif
