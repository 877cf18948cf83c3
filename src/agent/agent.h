/*
 * The agent: the part of fsyscall that lives inside every program of a session.
 *
 * It is a static executable of its own at AGENT_BASE, without libc, compiled with general registers only. A seccomp
 * filter traps every system call whose instruction lies outside the agent's text. Laws, for every file in here:
 *
 *   1. No libc, no floating point or vector registers, no global constructor, no errno: raw calls return -errno.
 *   2. A pointer that the program gave is read and written through uaccess.c only (or handed to the kernel as it is).
 *   3. Code of the program never runs while a lock of the agent is held. A signal that arrives inside the agent is held
 *      back until the call ends (signal.c), so this needs no care elsewhere.
 *   4. The only calls that may sleep for long are made through cp_call() (or remote waits built on it).
 *   5. A vfork child shares this memory with its parent but has a `struct proc' of its own.
 *
 * Who calls whom: entry.S / SIGSYS -> dispatch.c -> a_<handler>() (proc.c, signal.c, exec.c, mem.c, file.c, ...)
 * -> route.c, vft.c, call.c for whatever concerns the slave.
 */
#ifndef AGENT_H
#define AGENT_H

/* One image at one address: nothing goes through a global offset table. Stays in force to the end of the file. */
#pragma GCC visibility push(hidden)

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/mode.h"
#include "proto/session.h"
#include "proto/table.h"

/*
 * Above every position-independent program (0x555555554000 and a random terabyte), below the stacks and libraries, and
 * where the sanitizers expect programs (ThreadSanitizer: 0x55.. to 0x568...; AddressSanitizer has its heap at 0x6000...).
 */
#define AGENT_BASE 0x567000000000ul

/* Values of the program wear types of their own. */
struct pfd { int n; };            /* a descriptor number of the program */
struct handle { uint32_t v; };    /* an open file description on the slave */

/* Registers of the program at its system call; entry.S fills and restores it in this order. */
struct regs {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  uint64_t nr;  /* the call's number (rax at entry) */
  uint64_t rip; /* where the program goes on */
  uint64_t rsp;
};

/* What one process is to the kernel; a vfork child gets its own. */
struct vft;
struct proc {
  uint32_t ctx;          /* its process context */
  int pid;
  int lender;            /* the process whose memory this one shares without being a thread of it, 0: none */
  uint32_t refs;
  uint32_t umask;
  uint32_t lights;       /* descriptors that only memory knows of, see light.c */
  int afd_base;          /* the agent's descriptors: afd_base + enum agent_fd */
  struct vft *vft;       /* vft.c */
  bool files_shared;     /* some who are not threads of it have its descriptors, or a thread has others: nothing is sure */
  int cwd_fd;            /* what stands for AFD_CWD where that is another process's, too; -1: itself */
  /* working directory. H_NONE: local, the kernel's own. Otherwise AFD_CWD holds the placeholder and cwd_path the path */
  struct handle cwd;
  char *cwd_path;        /* 4096 bytes; the local one's name is kept there, too */
  uint32_t cwd_gen;      /* value of gens[GEN_NAMES] at which cwd_path was true */
  uint64_t rlim_cur, rlim_max; /* RLIMIT_NOFILE as the program sees it, see nofile_now() */
  struct limit space[SPACES];  /* limits of memory as the program sees them, see space.c */
  struct lock { uint32_t word; } lock; /* guards cwd, cwd_path */
  struct sigtab *sig;    /* signal.c: the program's dispositions */
  struct handle root;    /* ROOT_REMOTE: the root directory, AFD_ROOT its placeholder ... */
  char *root_path;       /* ... and its path on the slave (4096 bytes, shared by all that inherit it) */
  uint8_t rooted;        /* enum rooted */
  uint8_t own_uts;       /* ns.c, enum own_uts: host names are the master's kernel's */
  bool own_ids;          /* creds.c: `ids' are not the session's */
  struct ids ids;
  char *exe;             /* 4096 bytes: what /proc/self/exe says */
  struct handle mapped;  /* map.c: AFD_MAPPED holds the contents of this file as they were ... */
  uint32_t mapped_gen;   /* ... when its counter stood there */
  uint64_t control;      /* mode.c: inode of the control file that it has had open, 0: none */
  uint64_t raw[RAW_MAX / 64]; /* raw.c: the raw descriptors that are in use ... */
  bool raw_ready;        /* ... and whether the first three have been looked for */
};

struct call;

#define MSG_ROOM 16384
struct thread {
  struct thread *self;        /* %gs:0 */
  uint64_t agent_sp;          /* %gs:8   top of the agent stack of this thread */
  uint64_t prog_sp;           /* %gs:16  the program's stack pointer while inside */
  struct regs *regs;          /* %gs:24  of the call under way, 0 outside */
  uint64_t pending;           /* %gs:32  not 0: a signal is held back (signal.c) */
  uint64_t in_vdso;           /* %gs:40  the agent is calling the kernel's vDSO */
  struct ucontext_k *trap_uc;   /* %gs:48  the kernel's frame of the trap under way, 0 on the fast path */
  struct ucontext_k *sigret_uc; /* %gs:56  the program's frame that it returns from (rt_sigreturn) */
  struct proc *proc;
  struct thread *next;        /* list of all threads, mm-wide */
  int tid;
  uint32_t locks;             /* how many it holds, see lib.c */
  uint32_t gone;              /* 1: the thread has ended and its memory may be taken */
  bool trapped;               /* the call under way came by trap */
  uint64_t sigmask;           /* the program's signal mask */
  uint64_t temp_mask;         /* the program's mask during ppoll, sigsuspend and the like ... */
  bool temp_masked;           /* ... while this is set */
  struct sigheld *held;       /* signal.c */
  void *alt_stack;            /* the agent's own alternate stack */
  bool new_process;           /* starting: a process of its own */
  struct {                    /* what exec has in use: a vfork child that is gone leaves it to its parent */
    void *at;
    size_t bytes;
  } exec_pages[3];
  bool lent;                  /* a vfork child's: its parent takes this back, not the child's end */
  uint32_t mxcsr;             /* starting: floating point control to take over, 0: nothing */
  uint16_t fcw;
  uint64_t n_local, n_trapped, n_rewritten; /* counted here, added to the session's at the end */
  const struct filter *filters; /* filter.c: the program's own; 0: none */
  bool strict;                  /* its strict mode */
  bool no_new_privs;            /* as the program set it; in the kernel it always is */
  uint8_t mode, told_mode;      /* mode.c: enum fsyscall_mode, for the moment; and as the program set it */
  bool waited, posted;          /* during the call under way: for a reply of the slave; what the hub passed on */
  uint64_t alt_sp, alt_size, alt_flags; /* the program's alternate signal stack */
  /* call.c */
  struct slot *slot;          /* mapped, or 0 */
  uint32_t slot_index;
  uint32_t slot_pid;          /* the process that took it (a fork child must take another) */
  void *scratch;              /* a page for handlers: paths, packed arguments; see scratch() */
  char *path_buf[4];          /* 4096 bytes each */
  uint8_t *slot_room;         /* where a slot is mapped: kept free, so that a program without memory can still ask */
  uint8_t *msg;               /* MSG_ROOM bytes, the message being built */
  struct {                    /* io.c: what the slot's reply still holds of a file, until the next question ... */
    uint32_t handle, gen, len;
    uint64_t offset;
    const uint8_t *at;
  } kept;
  struct {
    uint32_t handle;
    uint64_t end;
  } last_read;                /* ... and where the last reading ended */
};

/* One system call under way. Handlers may change a[] before they pass the call on. */
struct call {
  struct thread *t;
  struct proc *p;
  const struct row *row;
  int nr;
  int where;         /* enum counter, what --stats and --trace say of it: N_LOCAL until a handler says otherwise */
  unsigned long a[6];
  struct regs *regs;
  bool no_return;    /* the handler has set regs itself (rt_sigreturn, ...) */
  bool made_lazy;    /* mmap: lazy.c knows the new mapping */
  uint64_t began;    /* trace_clock() at the start, while tracing */
};

/* A handler returns the program's result: 0 or more, or -errno. */
typedef long handler_fn(struct call *c);
handler_fn a_local; /* the call as it is, for those that cannot sleep */
handler_fn a_range; /* the same for a range of the memory, of which the agent has none to the program */
extern handler_fn *const handlers[SYSCALL_MAX];
/* A call of the agent's own, made as the program would make it: through the virtual file table. */
long as_program(struct thread *t, int nr, unsigned long a, unsigned long b, unsigned long c);

extern struct session *session; /* the session's shared head, mapped at start; never 0 */

static inline struct thread *self(void)
{
  struct thread *t;
  __asm__("mov %%gs:0, %0" : "=r"(t));
  return t;
}

/* ---- the kernel ---- */
/* A raw system call from the agent's text. Not for calls that can sleep long. */
long sys6(long nr, long a, long b, long c, long d, long e, long f);
#define SYS_N(_1, _2, _3, _4, _5, _6, _7, n, ...) sys##n
#define sys0(nr) sys6(nr, 0, 0, 0, 0, 0, 0)
#define sys1(nr, a) sys6(nr, (long)(a), 0, 0, 0, 0, 0)
#define sys2(nr, a, b) sys6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define sys3(nr, a, b, c) sys6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define sys5(nr, a, b, c, d, e) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/*
 * A call that may sleep. If a signal for a handler of the program is or becomes pending before the kernel has begun it,
 * it is not made and -ERESTART_CALL is returned; a signal during it gives the kernel's own -EINTR. Whoever gets
 * either returns it (after putting right what it did itself): dispatch.c restarts the call or not, by its row.
 */
#define ERESTART_CALL 516
long cp_call(struct thread *t, long nr, long a, long b, long c, long d, long e, long f);
/* The same for a call that sets `prog_mask' while it sleeps (ppoll, pselect6, epoll_pwait, epoll_pwait2, io_pgetevents, rt_sigsuspend):
   the mask's own argument is filled in here. */
long cp_masked(struct thread *t, const uint64_t *prog_mask, long nr, long a, long b, long c, long d, long e, long f);
/* Takes out what the agent needs unblocked. */
void mask_for_kernel(uint64_t *mask);
/* The call as it stands, in the kernel, with the program's own pointers; sleeping ones included. */
long pass(struct call *c);

/* ---- uaccess: memory of the program; -EFAULT or what is said ---- */
int copy_in(void *to, const void *from, size_t n);        /* 0 */
int copy_out(void *to, const void *from, size_t n);       /* 0 */
long copy_str(char *to, const void *from, size_t size);   /* length without NUL; -ENAMETOOLONG if it does not fit */

/* ---- memory and strings of the agent ---- */
/* What the agent maps beside its image lies here, as far as there is room: between programs and itself. */
#define ARENA_BEGIN (AGENT_BASE - ARENA_SIZE)
#define ARENA_SIZE (64ul << 30)
#define ARENA_END AGENT_BASE
long arena_map(size_t bytes, long prot, long flags, int fd, unsigned long off); /* an address, or -errno */
void *pages_new(size_t bytes); /* zeroed, 0 if there is none */
void pages_free(void *p, size_t bytes);
void *small_new(size_t bytes); /* up to 4096 bytes, zeroed, 16-aligned; 0 if there is none */
void small_free(void *p, size_t bytes);
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);
int strcmp(const char *, const char *);
int strncmp(const char *, const char *, size_t);
char *strchr(const char *, int);
char *strrchr(const char *, int);
/* %s %d %u %x %lu %lx %ld %c: enough for names, the trace and last words. Returns the length; always terminates. */
int fmt(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A lock that knows nothing of threads' deaths; short sections only, no call into the program or the slave inside. */
void lock(struct lock *l);
void unlock(struct lock *l);
void gate_shut(void); /* waits until no thread holds a lock, and keeps it so: around fork */
void gate_open(void);
void gate_forked(void); /* the child's end of it: it is alone */

/* Writes to descriptor 2 as the program would, or past it while there is no program yet. */
void last_words(const char *line, size_t n);
/* Says one line on the agent's side of the trace or, failing that, on standard error, and ends the process. */
void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* creds.c */
uint32_t uid_shown(uint32_t uid); /* owners of local objects as the program is to see them */
uint32_t gid_shown(uint32_t gid);
bool creds_foreign(const struct proc *p); /* what the session knows of the slave's files is not this process's to use */
bool creds_real(void); /* ids and powers are the kernel's here as well: both sides' users are root */
void creds_tell(struct proc *p);          /* tells the slave whom this process is, and its root */
void creds_born(struct proc *p);          /* a new context inherits that */
void creds_start(struct proc *p, const struct carry *k);
void creds_carry(const struct proc *p, struct carry *k);

/* An agent descriptor by role. */
static inline int afd(const struct proc *p, enum agent_fd which)
{
  return p->afd_base + (int)which;
}
/* signal.c: of the signals that the agent always handles, those that the program does. */
uint64_t signals_caught(struct sigtab *s);
/* ident.c: what other processes of the session changed of this one's limit of open files, into struct proc; its soft limit. */
uint64_t nofile_now(struct proc *p);
/* space.c: bytes that the agent maps (to be told before) or, less than 0, has unmapped. SPACE_DATA: private and writable. */
void space_add(enum space which, int64_t bytes);
void space_born(struct proc *p);
void space_tell(const struct proc *p, struct proc_entry *e);
void space_now(struct proc *p); /* what other processes of the session changed, into struct proc */
/* True for numbers that the program must not see or touch. */
bool fd_hidden(const struct proc *p, int fd);

static inline void count(enum counter n)
{
  __atomic_fetch_add(&session->counters[n], 1, __ATOMIC_RELAXED);
}
static inline bool standalone(void)
{
  return session->flags & SF_STANDALONE;
}

/* mode.c: where the calling thread's calls run. */
static inline bool mode_remote(void)
{
  return self()->mode & FSYSCALL_REMOTE;
}
static inline bool mode_raw(void) /* the kernel's own descriptors and names */
{
  return !(self()->mode & MODE_ALL);
}
static inline bool mode_raw_remote(void)
{
  return (self()->mode & MODE_ALL) == FSYSCALL_REMOTE;
}
long mode_call(struct call *c);
/* A call in another mode than the usual one. */
long mode_serve(struct call *c);
long raw_remote(struct call *c); /* raw.c */
/* The handler as if descriptors were mapped. */
long as_mapped(struct call *c);
/* What a process's life is made of, whatever the mode. */
bool mode_structural(const struct call *c);
/* The program has written to what may be its control file. The call's result. */
long mode_written(struct call *c, long result);
/* The control file opened. A descriptor or -errno. */
long mode_open(struct call *c, unsigned long flags);
/* vftview.c: the virtual file table in words: the length, at most `room'. */
size_t vft_text(struct call *c, char *out, size_t room);
void vft_tell(struct call *c); /* the same for the person, at the end of a program */

/* Address-space bookkeeping for files mapped executable, for rewrite.c. Told of every mapping of a file; before a range
   goes away or becomes something else. */
void text_mapped(unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags);
void text_unmapped(unsigned long addr, unsigned long len);

/* True if any page of the range is the agent's: such ranges are refused to munmap, MAP_FIXED, mremap, mprotect. */
bool agent_memory(unsigned long addr, unsigned long len);
/* Of a range of whole pages: how much lies before anything of the agent's; where from `addr' on that ends. */
unsigned long agent_free(unsigned long addr, unsigned long len);
unsigned long agent_behind(unsigned long addr, unsigned long end);

/* execveat's, Linux 6.14: only ask whether it would succeed. */
#define AT_EXECVE_CHECK_FLAG 0x10000

/* ---- what the parts offer each other ---- */
/* vft.c: the virtual file table */
struct vft *vft_new(void);
struct vft *vft_copy(const struct vft *v);        /* for a vfork child or fork without sharing */
void vft_free(struct vft *v);
void vft_forget(struct proc *p, int fd);           /* what `fd' stands for is no longer known; before close */
void vft_dup(struct proc *p, int from, int to);    /* `to' is now what `from' is */
void vft_local(struct proc *p, int fd);            /* `fd' has just been made by a local call */
/* The handle behind a descriptor, H_NONE if it is local (or not open: the kernel will say so). */
struct handle vft_remote(struct proc *p, int fd);
struct hstate *hstate(struct handle h);            /* never 0 for a handle that came from vft_remote() */

/* open a path as the program would, for exec: a local descriptor (agent-made, O_CLOEXEC) that can be mapped and read: the
   master's own file, or a memfd with the whole contents of the slave's. `real' (4096 bytes, or 0) gets the absolute path
   as /proc/self/exe is to show it. Checks execute permission. -errno. */
int route_open_exec(struct call *c, int dirfd, const char *path, int flags, char *real);
/* Set-up of a freshly started or exec'd process: cwd, handles, rules. */
const char *root_seen(const struct proc *p, const char *path); /* cwd.c: a name on the slave, below its root */
void route_start(struct proc *p, const struct carry *carry);
void route_carry(struct proc *p, struct carry *carry);
/* call.c: after fork in the child, and at thread's end */
void call_forked(struct thread *t);
void call_thread_end(struct thread *t);
void call_bind(struct proc *p);                    /* tells the hub that this process exists */
void call_publish(struct proc *p);                 /* ... and what it has become, by exec */
/* map.c: writes back what shared mappings of the process changed; before exec and exit */
void map_flush_all(struct proc *p);
/* trace.c */
uint64_t trace_clock(void); /* nanoseconds */
void trace_call(struct call *c, long result);

#endif
