/*
 * The memory that a session's hub and programs share, and what its messages say about it.
 *
 * One memfd per session, laid out as below. The hub creates it; every program maps the head (struct session) read and
 * write, and of the slots its own. The hub treats everything here as written by an enemy: copy, bound, then use. Nothing
 * in it is ever trusted to be a pointer or an index without a check.
 *
 * The request socket: one SOCK_SEQPACKET pair for the session. All programs hold the same end and send on it; the kernel's
 * queue is the session's program order. A message is a struct frame (wire.h) and a body; frame.tag is the sender's
 * slot. The hub answers a CALL in the slot: body into slot.reply, result and flags, then state = SLOT_DONE and
 * futex-wake. When every program has gone the hub reads end of file there.
 */
#ifndef PROTO_SESSION_H
#define PROTO_SESSION_H

#include <stdint.h>

#include "proto/wire.h"

#define SESSION_MAGIC 0x6e656365u
#define SESSION_HANDLES 65536
#define SESSION_SLOTS 4096
#define SESSION_GENS 65536
#define SESSION_RULES 128
#define SESSION_UNIX 32
#define KEPT_FILES 32768 /* see kept.h */
#define SLOT_BUFFERS 2

/* Where the agent's own descriptors lie: at the program's soft limit of open files, see agent/hide.c. */
enum agent_fd { AFD_REQUEST, AFD_SESSION, AFD_AGENT, AFD_CARRY, AFD_CWD, AFD_MAPPED, AFD_ROOT, AFD_LIGHT, AFD_SPARE, AFD_COUNT = 16 };

struct rule {
  uint8_t where; /* enum where */
  uint8_t len;   /* of prefix */
  char prefix[254];
};
enum where { WHERE_REMOTE, WHERE_LOCAL, WHERE_DENY };

/* Whose network a socket belongs to that is bound or connected to these addresses: more bits win, then a port, then one
   protocol. All zero bits: of both families. */
#define SESSION_NETS 64
struct net_rule {
  uint8_t where;    /* enum where */
  uint8_t family;   /* 4 or 6; 0: any address */
  uint8_t protocol; /* 6: streams, 17: datagrams */
  uint8_t bits;     /* of addr that count */
  uint16_t port;    /* 0: any */
  uint8_t addr[16];
};

enum session_flag {
  SF_REWRITE = 1,    /* call sites are rewritten */
  SF_TRACE = 2,      /* one line a call goes to the hub */
  SF_STANDALONE = 4, /* no slave: every path is local, identity and time too */
  SF_TIME = 8,       /* time is the slave's: clock_offset applies */
  SF_REVERSE = 64, /* the program's standard descriptors and its terminal are the master's */
  SF_NAMES = 32, /* what the slave told of its directories may be used */
  SF_NET_LOCAL = 128, /* network sockets are the master's */
  SF_VFT = 256,       /* each program's table of descriptors goes to the hub when it ends */
  SF_HIGH = 512,      /* for tests: numbers of remote files start at FD_HIGH */
  SF_PROGRAMS_HERE = 16, /* programs and libraries come from the slave */
};

#define FD_HIGH 512 /* still one that select() takes */

/* The programs are in the hub's own process group, with its standard descriptors. */
#define SF_NEAR (SF_STANDALONE | SF_REVERSE)

enum minded { MINDED_LOCKS = 1 /* some descriptions have locks */, MINDED_WATCHES = 2 /* files are watched (inotify) */ };

/* What --stats prints. Counted by the programs (relaxed) and by the hub. */
enum counter {
  N_LOCAL,      /* calls run by the master's kernel as they were */
  N_MEMORY,     /* calls about the slave that were answered from memory */
  N_WAITED,     /* calls for which a program waited for the slave: round trips */
  N_POSTED,     /* calls sent without waiting */
  N_TRAPPED,    /* calls that came by trap ... */
  N_REWRITTEN,  /* ... and through a rewritten site */
  N_SITES,      /* sites rewritten */
  N_PROCESSES, N_THREADS, N_EXECS, N_SIGNALS,
  N_BYTES_OUT, N_BYTES_IN, N_FRAMES_OUT, N_FRAMES_IN, /* the hub's, on the stream */
  N_ENOSYS,     /* calls without a row */
  N_AHEAD,      /* bytes that came before a program asked for them ... */
  N_WASTED,     /* ... and that none did ask for */
  N_SAVED_OUT,  /* bytes that were not sent, since packed they were fewer; and not received */
  N_SAVED_IN,
  N_STORED,     /* bytes of files that an earlier session had kept */
  N_COUNT = 32,
};

#define WAITS_MAX 128

struct facts {
  uint32_t ruid, euid, suid, rgid, egid, sgid;
  uint32_t ngroups, groups[64];
  uint32_t umask;
  uint32_t master_uid, master_gid; /* whose files on the master are shown as the slave user's */
  int64_t clock_offset;            /* nanoseconds to add to the master's CLOCK_REALTIME */
  char hostname[65], domain[65];
  char cwd[4096]; /* absolute path on the slave */
  char tmpdir[256];
  char ttyname[64];
  struct {
    uint32_t kind;  /* enum file_kind */
    uint32_t flags; /* open flags */
    uint64_t dev, ino; /* so that two that are one are seen as one */
  } stdio[3];
};

/* A socket of the slave as programs see it. */
enum sock_place { SOCK_NEW, SOCK_CONNECTING, SOCK_JOINED /* connected */, SOCK_LISTENING, SOCK_REFUSED /* which connect() is still to be told */ };
enum sock_shut { SHUT_IN = 1, SHUT_OUT = 2 };
struct sock_state {
  uint32_t domain, type, protocol;
  uint32_t place;   /* enum sock_place; the hub makes CONNECTING something else */
  uint32_t shut;    /* enum sock_shut: what programs have shut down */
  int32_t error;    /* errno to be told once, as SO_ERROR; the hub sets it */
  uint32_t failed;  /* 1: the connection has been broken off */
  struct wire_dgram own, peer; /* len 0: not known */
};
/* What accept finds in a listening socket's placeholder, with the new one's in a message. */
struct sock_accepted {
  uint32_t handle, pad;
  struct wire_dgram peer;
};

/* One open file description on the slave. Written by the program that opened it, then by whoever holds it. */
struct hstate {
  uint32_t handle;   /* the full number with its generation; 0: free. Taken by compare-and-swap from 0 */
  uint32_t next_gen; /* generation to use at the next taking */
  uint32_t kind;     /* enum file_kind */
  uint32_t flags;    /* open flags as F_GETFL tells them */
  int32_t late;      /* -errno of a posted call that failed, taken (swapped with 0) by the next call that reports */
  uint32_t gen;      /* index into session.gens of this file */
  uint32_t snap_gen; /* value of gens[gen] at which attr (and the contents) were true */
  uint32_t snap;     /* enum snap */
  uint32_t minded;   /* 1: others mind when it is closed: it has held a lock */
  uint32_t offset_remote; /* 1: the file offset lives on the slave (inherited descriptors; after an appending write) */
  uint32_t window_waiters;
  uint32_t notes;    /* inotify: 1: local files are watched, too */
  uint32_t names_gen; /* directories: gens[GEN_NAMES] when the records came */
  uint32_t names_len; /* directories: bytes of records in the placeholder at DIR_NAMES_AT, still to be given from there */
  uint32_t noexec;   /* 1: its mount allows no execution */
  uint32_t sync;     /* 1: writes wait for their reply (FF_SYNC) */
  uint64_t sent, written; /* streams: bytes posted by programs, bytes that reached the slave's descriptor (futex on the
                             low word of written) */
  uint32_t ready;    /* streams: poll events last reported */
  uint32_t armed;    /* streams: events asked for and not yet reported; POLLOUT: the window is to say when it opens */
  uint64_t sock_ino; /* streams: inode number of the placeholder socket */
  union {
    struct wire_attr attr;
    struct unix_name { /* K_BOUND: struct sockaddr_un, as the program gave it */
      uint32_t len;
      uint8_t addr[110];
    } name;
    struct sock_state sock; /* K_SOCKET */
  };
};
#define DIR_NAMES_AT 8192
enum snap {
  SNAP_NONE,
  SNAP_ATTR = 1,
  SNAP_CONTENTS = 2,
  SNAP_STORE = 4 /* a program: read from the session's store */
};

/* How much of a stream may be under way before its writer waits. */
#define STREAM_WINDOW (256u << 10)

/*
 * A file of the slave is (device, inode). Everything that is remembered about it is true as long as the counter
 * gens[file_gen(dev, ino)] stands still. The hub raises it at F_INVALID; a program raises it right AFTER it has posted a
 * change and before its call returns; the hub raises it again when it passes a changing request on. Whoever
 * keeps an answer keeps the counter as it was read by the hub when the reply came in, with all queued requests drained
 * first. Two files that share a counter only cost a needless question.
 */
static inline uint32_t file_gen(uint64_t dev, uint64_t ino)
{
  uint64_t x = (dev * 0x9e3779b97f4a7c15u) ^ (ino * 0xff51afd7ed558ccdu);
  return (uint32_t)(x >> 48) & (SESSION_GENS - 1);
}

/*
 * What others have to know of a process. The entry of a context is at ctx modulo SESSION_PROCS; a later one takes it over,
 * and then nothing is known of the earlier.
 */
#define SESSION_PROCS 8192
enum space { SPACE_ALL /* RLIMIT_AS */, SPACE_DATA /* RLIMIT_DATA */, SPACES };
struct limit {
  uint64_t cur, max;
};
struct proc_entry {
  uint32_t ctx, pid;
  uint64_t locks; /* of which files it may hold POSIX record locks: bit file_gen() modulo 64 */
  uint64_t nofile_cur, nofile_max; /* RLIMIT_NOFILE as the program sees it; others of the session may change it */
  struct limit space[SPACES]; /* limits of memory as the program sees them: without ... */
  uint64_t agents[SPACES];    /* ... what its agent has mapped */
  int32_t afd_base;       /* its agent's descriptors begin there */
  uint32_t no_new_privs;  /* as the program set it */
  uint32_t cwd;           /* handle of its working directory, H_NONE: a local one */
  uint64_t caught;        /* of the signals that its agent always handles: those that the program does */
};
#define SESSION_EXE 256 /* room for the path of a process's program; longer ones are not told */

enum slot_state { SLOT_IDLE, SLOT_WAITING, SLOT_DONE };

/* One thread's place for a call. 8 KiB head, reply area, then two buffers for outgoing data. */
struct slot {
  uint32_t state;     /* enum slot_state; futex */
  uint32_t owner;     /* tid; 0: free. Taken by compare-and-swap; freed by the thread, or by the hub at its death */
  int64_t result;
  uint32_t flags;     /* frame_flag of the reply */
  uint32_t reply_len;
  uint32_t reply_gen; /* openat, fstat, statx: gens[] of that file when the reply came in, see file_gen() */
  uint32_t pad0;
  struct {
    uint32_t busy;    /* 1 from before the message is sent until the hub has copied the data; futex */
    uint32_t len;
  } buffer[SLOT_BUFFERS]; /* frame.flags FF_OOB: which one is in the body's last 8 bytes instead of the buffer */
  uint8_t pad1[8192 - 32 - 8 * SLOT_BUFFERS];
  uint8_t reply[FRAME_MAX];
  uint8_t data[SLOT_BUFFERS][FRAME_DATA_MAX];
};

struct session {
  uint32_t magic, version;
  uint32_t flags;       /* enum session_flag */
  uint32_t over;        /* 1: the session has ended; programs end themselves */
  uint64_t id;          /* random; in the names of memfds: "fsyscall-agent-ID", "fsyscall:ID:HANDLE" */
  uint32_t hub_pid;
  uint32_t nrules, nunix, nnets;
  uint32_t next_ctx;    /* the next process context, taken by fetch-and-add, from 1 */
  uint32_t next_handle; /* hint */
  uint32_t next_slot;   /* hint */
  uint64_t root_dev, root_ino; /* of the slave's root directory; 0, 0: not known */
  uint64_t cwd_dev, cwd_ino;   /* of H_CWD */
  uint32_t tight;       /* what the slave's last frame said of FF_TIGHT */
  uint32_t minded;      /* enum minded: who minds when files are closed */
  uint32_t high_handle; /* one above the highest index ever taken, H_FIRST at the start; bounds scans */
  uint64_t counters[N_COUNT];
  uint64_t waits[WAITS_MAX]; /* round trips, by what was asked: a wire number */
  struct facts facts;
  uint8_t kept_used[KEPT_FILES]; /* 1: a program has used that entry of kept.h */
  struct rule rules[SESSION_RULES]; /* longest prefix wins; sorted by length, longest first */
  struct rule unixes[SESSION_UNIX]; /* the same of unix sockets' paths alone */
  struct net_rule nets[SESSION_NETS];
  struct proc_entry procs[SESSION_PROCS];
  _Alignas(4096) char exes[SESSION_PROCS][SESSION_EXE]; /* what their /proc/PID/exe leads to */
  _Alignas(4096) uint32_t gens[SESSION_GENS];
  _Alignas(4096) struct hstate handles[SESSION_HANDLES];
};

/* Offsets in the memfd. */
#define SESSION_HEAD_SIZE ((sizeof(struct session) + 4095) & ~4095ul)
#define SESSION_SLOT_SIZE ((sizeof(struct slot) + 4095) & ~4095ul)
#define SESSION_SLOT_OFFSET(i) (SESSION_HEAD_SIZE + (uint64_t)(i) * SESSION_SLOT_SIZE)
#define SESSION_SLOTS_END SESSION_SLOT_OFFSET(SESSION_SLOTS) /* then struct names, see names.h, and kept.h */

/*
 * What an executed agent is told, through AFD_CARRY: a memfd at the first start, a message in a socket later. Read whole,
 * then closed. The agent finds its descriptors by its own: AT_EXECFN names it.
 */
enum rooted { ROOT_SESSION, ROOT_LOCAL /* the kernel's own has been changed */, ROOT_REMOTE /* by chroot(2) */ };
struct ids {
  uint32_t ruid, euid, suid, fsuid, rgid, egid, sgid, fsgid;
  uint32_t kept; /* 1: its powers outlived a change from user 0 (PR_SET_KEEPCAPS) */
  uint32_t ngroups, groups[CONTEXT_GROUPS];
};
enum carry_kind { CARRY_FIRST, CARRY_EXEC };
#define RAW_MAX 256 /* raw descriptors of the slave in one process context */
#define CARRY_UNLOCK_MAX 64
struct carry {
  uint32_t magic, kind;
  int32_t afd_base;      /* the agent's descriptors are afd_base + enum agent_fd */
  int32_t prog_fd;       /* the program's ELF file, to be mapped and closed; -1: look up `path' (first start) */
  int32_t interp_fd;     /* its PT_INTERP, -1: none or to be looked up */
  uint32_t ctx;
  uint32_t cwd_handle;   /* H_NONE: the working directory is local and the kernel's own */
  uint32_t cwd_gen;      /* when its name was learnt, see struct proc */
  uint32_t umask;
  uint32_t rooted;       /* enum rooted */
  uint32_t root_handle;
  uint32_t own_uts;      /* 1: a namespace of its own for host names */
  uint32_t own_ids;      /* 1: `ids' are not the session's */
  struct ids ids;
  uint32_t nfilters;     /* the program's own system call filters, that many messages more */
  uint32_t no_new_privs; /* set by the program, or before it was started */
  uint32_t mode;         /* enum fsyscall_mode */
  uint32_t raw_ready;    /* see agent/raw.c */
  uint64_t raw[RAW_MAX / 64];
  uint64_t rlim_cur, rlim_max; /* RLIMIT_NOFILE as the program sees it */
  struct limit space[SPACES];  /* of memory, after an exec; at the first start the kernel's */
  uint64_t sigmask;      /* the program's mask */
  uint32_t nunlock;      /* files of which the exec closes a descriptor: POSIX record locks on them are gone */
  struct {
    uint64_t dev, ino;
  } unlock[CARRY_UNLOCK_MAX];
  char root[4096];       /* path on the slave of the root directory, AFD_ROOT holds it */
  char cwd[4096];        /* canonical path of a remote cwd */
  char exe[4096];        /* what /proc/self/exe says */
  char execfn[4096];     /* AT_EXECFN */
};

#endif
