/* How the agent's own files of the start, exec, threads and rewriting speak with each other. */
#ifndef AGENT_START_H
#define AGENT_START_H

#include <elf.h>

#include "agent/agent.h"
#include "agent/kernel.h"

/* entry.S */
void enter_program(unsigned long entry, void *stack) __attribute__((noreturn));
void on_stack(void *stack, void (*f)(void *), void *arg) __attribute__((noreturn));
void leave(void) __attribute__((noreturn));
void fast_entry(void);
void trap_entry(void);
void signal_entry(void);
void signal_restorer(void);
void sigreturn_program(void) __attribute__((noreturn));
long cp_raw(long nr, long a, long b, long c, long d, long e, long f);
long clone_raw(long nr, long a, long b, long c, long d, long e, struct thread *child);
void thread_exit_raw(int code, uint32_t *flag) __attribute__((noreturn));
void gadget(void);
void fp_control(uint32_t mxcsr, uint16_t fcw);
extern char agent_text_begin[], agent_text_end[], agent_data[], agent_end[], gadget_end[];
extern char exit_begin[], exit_end[], trap_exit_begin[], trap_exit_end[], sigret_begin[], sigret_end[];
extern char cp_begin[], cp_syscall[], cp_end[], cp_cancel[], uaccess_begin[], uaccess_end[], uaccess_fault[];

/* load.c */
struct image {
  unsigned long base, entry, phdr;
  unsigned phnum;
  char interp[256]; /* PT_INTERP, "" if none */
  bool exec_stack;
};
/* What an executable file's first bytes say. 0, -ENOEXEC, or -EIO; `why' gets words for people. */
int image_look(int fd, struct image *im, const char **why);
/* Maps it. 0 or -errno. main_program: chooses the address as the kernel does for programs. */
int image_map(int fd, struct image *im, bool main_program);

/* exec.c */
struct exec_plan {
  int prog_fd, interp_fd;
  char *lead[16];  /* words of #! lines that replace argv[0] ... */
  unsigned nlead;  /* ... if any */
  char *real;      /* /proc/self/exe */
  char *page, *pool;
  size_t pool_used;
};
/* Opens a program as execve would, following #! lines. 0 or -errno; `why' gets words for people when there are better
   ones than the errno's. */
int exec_plan(struct call *c, int dirfd, const char *path, int flags, struct exec_plan *plan, const char **why);
void exec_plan_drop(struct exec_plan *plan);
void exec_pages_drop(struct thread *t);

/* thread.c */
struct thread *thread_new(struct proc *p); /* 0 without memory; not yet running */
void thread_unnew(struct thread *t);
bool thread_ready(void);
void thread_here(struct thread *t);        /* the calling kernel thread becomes t: %gs, alternate stack */
struct proc *proc_copy(struct proc *p, uint64_t flags); /* for a child that shares memory; clone's flags */
void counters_flush(struct thread *t);

/* The threads of a process, one after the other: after 0 the first; 0 at the end. */
struct thread *thread_next(const struct proc *p, const struct thread *after);

/* filter.c: for a thread that has filters or is in strict mode, whether the call is to be served; else its result */
bool filter_allows(struct call *c, long *result);
long filter_prctl(struct call *c);                    /* PR_GET_SECCOMP, PR_SET_SECCOMP */
uint32_t filters_count(const struct filter *f);
long filters_send(const struct filter *f, int fd);    /* a message each, the oldest first; 0 or -errno */
void filters_receive(struct thread *t, int fd, uint32_t n);

/* ident.c */
bool capable(unsigned cap);                           /* to the kernel here */
void afd_fill(const struct proc *p);                  /* no number of the agent's is left for the kernel to hand out */
void afd_yield(const struct proc *p, int from);       /* those from enum agent_fd `from' on are, until afd_fill() */

/* space.c: limits of memory */
#define RLIMIT_DATA_K 2
#define RLIMIT_AS_K 9
int space_of(unsigned long limit);                    /* enum space; SPACES if it is none of these */
void space_image(void);                               /* counts the agent's own file */
void space_start(struct proc *p, const struct carry *k);
long space_own(struct proc *p, int which, const struct limit *new, struct limit *old);
long space_other(int pid, int which, const struct limit *new, struct limit *old);

bool in_session(int pid);
struct proc_entry *proc_of_pid(int pid);              /* of a process of the session, or 0 */

void files_own(struct proc *p);                       /* no longer what others have, too */
void files_unshare(struct proc *p);                   /* before an exec, which does it in any case */
/* ns.c: 0, or -EPERM: namespaces (CLONE_NEW...) that a process of a session cannot have of its own */
long ns_allowed(uint64_t flags);
enum own_uts { UTS_SESSION, UTS_OWN, UTS_NEW /* not yet entered */ };
void uts_entered(struct proc *p); /* it has a namespace of its own for host names */

/* time.c */
void time_start(unsigned long vdso);

/* rewrite.c */
/* The call whose instruction ends at `after' has trapped; returns where the thread should go on. */
unsigned long rewrite_site(unsigned long after, long nr);
/* The address of the call instruction for a call that returns to `rip' (a trampoline's tail or the program itself). */
unsigned long rewrite_call_site(unsigned long rip);
/* For frames that the program sees: the address behind the call where execution stands in a trampoline ... */
unsigned long rewrite_outward(unsigned long rip);
/* ... and back: where to resume for an address inside a rewritten site. */
unsigned long rewrite_inward(unsigned long rip);
bool rewrite_memory(unsigned long addr, unsigned long len);

#endif
