/* Signals of the program: dispositions, delivery, the window between "nothing pending" and a call that sleeps. */
#ifndef AGENT_SIGNAL_H
#define AGENT_SIGNAL_H

#include "agent/agent.h"
#include "agent/kernel.h"

enum { SIGBUS = 7, SIGSEGV = 11, SIGSYS = 31 };
/* Never blocked while the agent works: what they report of the agent itself must reach it. */
#define ALWAYS_OURS (BIT_OF(SIGSYS) | BIT_OF(SIGSEGV) | BIT_OF(SIGBUS))

/* Does siginfo name a sender's pid and uid? */
bool siginfo_has_sender(const struct siginfo_k *info);

struct sigtab {
  struct lock lock;
  uint32_t refs;
  struct sigaction_k act[64];
};

/* Signals that arrived inside the agent and wait for the end of the call. One, and those that cannot be blocked. */
#define HELD_MAX 4
struct sigheld {
  uint32_t n;
  struct {
    struct siginfo_k info;
    uint64_t mask; /* the program's mask at that moment */
  } s[HELD_MAX];
  struct ucontext_k back; /* the frame of a handler that the program is leaving */
  bool sys_waits; /* a SIGSYS that somebody sent while the program had it blocked, which the kernel never is told */
  struct siginfo_k sys;
};

void signal_start(struct thread *t, struct sigtab *s);
void signal_thread(struct thread *t);              /* the alternate stack of the calling thread */
void signal_exec(struct sigtab *s, bool succeeds); /* just before execve, and after one that failed */
/* Of the program's: which signals have a handler, or are ignored. */
uint64_t signals_set(struct sigtab *s, bool ignored);
struct sigtab *sigtab_copy(const struct sigtab *s);
struct sigtab *sigtab_hold(struct sigtab *s); /* one more has it (CLONE_SIGHAND) */
void sigtab_drop(struct sigtab *s);
/* rt_sigprocmask and rt_sigaction as the kernel has them, SIGSYS apart. What is set is the program's in either mode. */
long signal_raw_mask(struct call *c);
long signal_raw_action(struct call *c);
/* Blocks everything but what the agent needs. */
void signals_block(void);
/* Everything: at the birth and the death of a thread, when a handler would find no agent data or a stack given away. */
void signals_block_all(void);
/* The program's mask again in the kernel, unless a signal is held back (the end of the call does it then). */
void signals_restore(struct thread *t);
/* Will the first held signal's handler let an interrupted call start again? */
bool held_restarts(struct thread *t);

/* As if the call under way had raised it: the handler runs when it ends; who blocks or has no handler for it dies of
 * it. */
void signal_force(struct thread *t, const struct siginfo_k *info);
/* The end of the process by this signal, whatever the program has set. */
void die_now(struct thread *t, int sig) __attribute__((noreturn));

#define ALT_STACK_SIZE (128ul << 10)

#endif
