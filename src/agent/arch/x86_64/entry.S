/*
 * The doors of the agent: where calls of the program come in, how they leave, and the few places where a signal that
 * arrives must be able to tell exactly what has been done.
 *
 * Offsets from %gs are those of the first fields of struct thread (agent.h; asserted in start.c). struct regs is
 * what the pushes below leave on the stack.
 *
 * Labels that signal.c knows:
 *   exit_begin..exit_end, trap_exit_begin..trap_exit_end, sigret_begin..sigret_end
 *       a signal in here is held back and the sequence starts again at its begin, which then finds it pending
 *   cp_begin..cp_syscall    a signal in here means the kernel has not begun: go to cp_cancel
 *   uaccess_begin..uaccess_end   a fault in here is the program's bad pointer: go to uaccess_fault
 */
#define T_SELF 0
#define T_AGENT_SP 8
#define T_PROG_SP 16
#define T_REGS 24
#define T_PENDING 32
#define T_TRAP_UC 48
#define T_SIGRET_UC 56

#define NR_rt_sigreturn 15
#define NR_exit 60
#define EINVAL 22
#define ERESTART_CALL 516
#define EFAULT 14

#define FUNC(name) .globl name; .hidden name; .type name, @function; name:
#define LABEL(name) .globl name; .hidden name; name:

        .section .text.start, "ax", @progbits
        .globl _start
_start:
        xor %ebp, %ebp
        mov %rsp, %rdi
        and $-16, %rsp
        call agent_start        /* (initial stack); comes back with the entry in rax; the stack has been prepared */
        ud2

/* enter_program(entry, stack): the first instruction of the program. */
FUNC(enter_program)
        mov %rsi, %rsp
        mov %rdi, %rcx
        xor %eax, %eax
        xor %ebx, %ebx
        xor %edx, %edx
        xor %ebp, %ebp
        xor %esi, %esi
        xor %edi, %edi
        xor %r8d, %r8d
        xor %r9d, %r9d
        xor %r10d, %r10d
        xor %r11d, %r11d
        xor %r12d, %r12d
        xor %r13d, %r13d
        xor %r14d, %r14d
        xor %r15d, %r15d
        jmp *%rcx

/* on_stack(stack, function, argument): runs a function that does not return on another stack. */
FUNC(on_stack)
        mov %rdi, %rsp
        mov %rdx, %rdi
        call *%rsi
        ud2

/*
 * A rewritten site comes here: rcx is where to go on, rax the number, all else the program's. Its stack must not be
 * touched (it may be 2 KiB, or have a red zone).
 */
FUNC(fast_entry)
        mov %rsp, %gs:T_PROG_SP
        mov %gs:T_AGENT_SP, %rsp
        push %gs:T_PROG_SP
        push %rcx
        push %rax
        push %rdi
        push %rsi
        push %rdx
        push %rcx
        push %rax
        push %r8
        push %r9
        push %r10
        push %r11
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, %gs:T_REGS
        mov %rsp, %rdi
        call on_fast
LABEL(exit_begin)
        mov %gs:T_REGS, %rsp
        cmpq $0, %gs:T_PENDING
        jne 1f
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        pop %r11
        pop %r10
        pop %r9
        pop %r8
        pop %rax
        pop %rcx
        pop %rdx
        pop %rsi
        pop %rdi
        lea 8(%rsp), %rsp
        pop %rcx
        pop %rsp
        jmp *%rcx
LABEL(exit_end)
        /* A signal is held back. To hand it over, the program's vector state is needed, which only the kernel
           can write down: trap on purpose. on_sigsys sees the address and takes the rest from %gs:T_REGS. */
1:      mov $NR_rt_sigreturn, %eax
        call gadget
        ud2

/* leave(): goes on in the program with what %gs:T_REGS points at. */
FUNC(leave)
        jmp exit_begin

/* SIGSYS: rdi signal, rsi siginfo, rdx ucontext, on the agent's alternate stack. */
FUNC(trap_entry)
        cld
        mov %gs:T_TRAP_UC, %r12
        mov %rdx, %rbx
        mov %rdx, %gs:T_TRAP_UC
        sub $8, %rsp
        and $-16, %rsp
        call on_sigsys          /* 0: a call of the program; 1: anything else, as it was */
        test %eax, %eax
        jz trap_exit_begin
        mov %r12, %gs:T_TRAP_UC
        mov %rbx, %rsp
        mov $NR_rt_sigreturn, %eax
        syscall
        ud2
LABEL(trap_exit_begin)
        mov %gs:T_TRAP_UC, %rsp
        cmpq $0, %gs:T_PENDING
        jne 1f
        mov $NR_rt_sigreturn, %eax
        syscall
LABEL(trap_exit_end)
        ud2
1:      and $-16, %rsp
        sub $512, %rsp          /* below the frame, so that its fields stay whole */
        call on_trap_pending
        jmp trap_exit_begin

/* The program's own rt_sigreturn: the kernel restores everything from the program's frame. */
FUNC(sigreturn_program)
LABEL(sigret_begin)
        mov %gs:T_SIGRET_UC, %rsp
        cmpq $0, %gs:T_PENDING
        jne 1f
        mov $NR_rt_sigreturn, %eax
        syscall
LABEL(sigret_end)
        ud2
        /* The frame of the trap that brought us may be gone (the signal came while %rsp was the program's). */
1:      mov %gs:T_AGENT_SP, %rsp
        mov $NR_rt_sigreturn, %eax
        call gadget
        ud2

/* Other signals of the program: the same arguments; returns by the restorer. */
FUNC(signal_entry)
        cld
        push %rbp
        mov %rsp, %rbp
        and $-16, %rsp
        call on_signal
        mov %rbp, %rsp
        pop %rbp
        ret

FUNC(signal_restorer)
        mov $NR_rt_sigreturn, %eax
        syscall
        ud2

/* sys6(nr, a, b, c, d, e, f) */
FUNC(sys6)
        mov %rdi, %rax
        mov %rsi, %rdi
        mov %rdx, %rsi
        mov %rcx, %rdx
        mov %r8, %r10
        mov %r9, %r8
        mov 8(%rsp), %r9
        syscall
        ret

/* cp_raw(nr, a, b, c, d, e, f): refuses to begin when a signal is held back. */
FUNC(cp_raw)
        mov %rdi, %rax
        mov %rsi, %rdi
        mov %rdx, %rsi
        mov %rcx, %rdx
        mov %r8, %r10
        mov %r9, %r8
        mov 8(%rsp), %r9
LABEL(cp_begin)
        cmpq $0, %gs:T_PENDING
        jne cp_cancel
LABEL(cp_syscall)
        syscall
LABEL(cp_end)
        ret
LABEL(cp_cancel)
        mov $-ERESTART_CALL, %rax
        ret

/*
 * clone_raw(nr, a, b, c, d, e, child): the kernel gives the child the stack that the caller put into the arguments;
 * it goes to child_main(child) there. The parent gets the result.
 */
FUNC(clone_raw)
        push %r12
        mov 16(%rsp), %r12
        mov %rdi, %rax
        mov %rsi, %rdi
        mov %rdx, %rsi
        mov %rcx, %rdx
        mov %r8, %r10
        mov %r9, %r8
        syscall
        test %rax, %rax
        jz 1f
        pop %r12
        ret
1:      mov %r12, %rdi
        and $-16, %rsp
        call child_main
        ud2

/* thread_exit_raw(code, flag): sets *flag, after which this stack belongs to somebody else, and ends the thread. */
FUNC(thread_exit_raw)
        movl $1, (%rsi)
        mov $NR_exit, %eax
        syscall
        ud2

/* Memory of the program. uaccess_copy(to, from, n): 0 or -EFAULT. uaccess_str(to, from, size): length, -EFAULT, or
   size if there was no NUL in that many. */
LABEL(uaccess_begin)
FUNC(uaccess_copy)
        mov %rdx, %rcx
        rep movsb
        xor %eax, %eax
        ret
FUNC(uaccess_str)
        xor %eax, %eax
1:      cmp %rdx, %rax
        jae 2f
        movzbl (%rsi,%rax), %ecx
        movb %cl, (%rdi,%rax)
        test %ecx, %ecx
        jz 2f
        inc %rax
        jmp 1b
2:      ret
LABEL(uaccess_end)
LABEL(uaccess_fault)
        mov $-EFAULT, %rax
        ret

/* fp_control(mxcsr, fcw): a new thread takes over its parent's rounding and exception masks. */
FUNC(fp_control)
        sub $16, %rsp
        mov %edi, (%rsp)
        mov %si, 8(%rsp)
        ldmxcsr (%rsp)
        fldcw 8(%rsp)
        add $16, %rsp
        ret

        .globl agent_text_end
        .hidden agent_text_end

/* Outside the part of the text that may make system calls: the one instruction that traps on purpose. */
        .section .text.zgadget, "ax", @progbits
FUNC(gadget)
        syscall
LABEL(gadget_end)
        ret

        .section .note.GNU-stack, "", @progbits
