/* The kernel's own layouts for x86-64, as far as the agent handles them itself (asm/sigcontext.h, asm/ucontext.h ...). */
#ifndef AGENT_KERNEL_H
#define AGENT_KERNEL_H

#include <stdint.h>

struct sigaction_k {
  uint64_t handler; /* 0 default, 1 ignore */
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};

struct siginfo_k {
  int32_t signo, err, code, pad;
  union {
    uint8_t bytes[112];
    struct {
      uint64_t call_addr; /* SIGSYS: behind the call's instruction */
      int32_t nr;
      uint32_t arch;
    } sys;
    struct {
      uint64_t addr;
    } fault;
    struct {
      int32_t pid;
      uint32_t uid;
    } from;
  };
};

struct sigcontext_k {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2;
  uint8_t *fpstate;
  uint64_t reserved[8];
};

struct stack_k {
  uint64_t sp;
  int32_t flags, pad;
  uint64_t size;
};

struct ucontext_k {
  uint64_t flags;
  struct ucontext_k *link;
  struct stack_k stack;
  struct sigcontext_k mc;
  uint64_t sigmask;
};

struct sigframe_k {
  uint64_t pretcode;
  struct ucontext_k uc;
  struct siginfo_k info;
};

struct clone_args_k {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

#define BIT_OF(sig) (1ull << ((sig)-1))

#endif
