/*
 * Signals of the program.
 *
 * Owns: the program's dispositions and masks, which are virtual, and the agent's handlers, which are what the kernel
 * knows. Default and ignored dispositions are given to the kernel as they are. For the rest signal_entry runs on the
 * agent's alternate stack and either
 *   - finds the program interrupted: builds the frame the kernel would have built, on the program's stack, and returns
 *     into the program's handler; or
 *   - finds the agent interrupted: holds the signal back, blocks all others, makes a call that was about to sleep not
 *     begin (entry.S, cp_begin), and leaves delivery to the end of the call.
 * Never: run code of the program from in here; block SIGSYS, nor SIGSEGV and SIGBUS while the agent works.
 */
#include "agent/call.h"
#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

enum { SIGKILL = 9, SIGCHLD = 17, SIGSTOP = 19 };
#define BLOCK_ALL (~ALWAYS_OURS)
#define FAULTS (BIT_OF(SIGSEGV) | BIT_OF(SIGBUS))
#define UNBLOCKABLE (BIT_OF(SIGKILL) | BIT_OF(SIGSTOP))

enum { SIG_DFL_K = 0, SIG_IGN_K = 1 };
enum { SI_USER_K = 0, SI_QUEUE_K = -1, SI_TKILL_K = -6, SI_KERNEL_K = 128 };
#define SA_NOCLDSTOP 1ul
#define SA_NOCLDWAIT 2ul
#define SA_SIGINFO 4ul
#define SA_UNSUPPORTED 0x400ul
#define SA_RESTORER 0x04000000ul
#define SA_ONSTACK 0x08000000ul
#define SA_RESTART_FLAG 0x10000000ul
#define SA_NODEFER 0x40000000ul
#define SA_RESETHAND 0x80000000ul
#define SS_ONSTACK 1
#define SS_DISABLE 2
#define SS_AUTODISARM (1u << 31)
#define FP_MAGIC 0x46505853u
#define FP_MAX (24u << 10)
#define EFLAGS_CLEARED (0x400 | 0x100 | 0x10000) /* direction, trap, resume */

/* ---- masks ---- */
void mask_for_kernel(uint64_t *mask)
{
  *mask &= ~BIT_OF(SIGSYS);
}

static void kernel_mask(uint64_t mask)
{
  mask_for_kernel(&mask);
  sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
}

static uint64_t mask_now(const struct thread *t)
{
  return t->temp_masked ? t->temp_mask : t->sigmask;
}

/* While the agent works: a SIGSEGV or SIGBUS that somebody sends waits as the program has it; see uaccess.c for faults.
 */
static uint64_t mask_inside(const struct thread *t)
{
  return BLOCK_ALL | (mask_now(t) & FAULTS);
}

void signals_block(void)
{
  kernel_mask(mask_inside(self()));
}

void signals_block_all(void)
{
  uint64_t all = ~0ul;
  sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, 8);
}

void signals_restore(struct thread *t)
{
  if (!t->pending)
    kernel_mask(t->sigmask);
}

static void held_push(struct thread *t, const struct siginfo_k *info, uint64_t mask)
{
  struct sigheld *h = t->held;
  if (h->n == HELD_MAX)
    return;
  h->s[h->n].info = *info;
  h->s[h->n].mask = mask;
  t->pending = ++h->n;
}

/* The program no longer blocks the SIGSYS that was sent to it. */
static void sigsys_release(struct thread *t)
{
  if (!t->held->sys_waits || (t->sigmask & BIT_OF(SIGSYS)))
    return;
  signals_block();
  t->held->sys_waits = false;
  held_push(t, &t->held->sys, t->sigmask);
}

/* In a trap the kernel restores the mask from the frame; a call on the fast path must tell it now. */
static void mask_set(struct thread *t, uint64_t mask)
{
  uint64_t freed = t->sigmask & ~mask & FAULTS;
  t->sigmask = mask & ~UNBLOCKABLE;
  sigsys_release(t);
  if (t->trapped && freed)
    sys4(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, &freed, 0, 8);
  if (t->trapped) {
    t->trap_uc->sigmask = t->sigmask;
    mask_for_kernel(&t->trap_uc->sigmask);
  } else {
    signals_restore(t);
  }
}

/* ---- dispositions ---- */
static bool has_handler(const struct sigaction_k *a)
{
  return a->handler != SIG_DFL_K && a->handler != SIG_IGN_K;
}

/* Tells the kernel: ours for signals the program handles and for those we always need. */
static long kernel_action(int sig, const struct sigaction_k *a)
{
  struct sigaction_k k = *a;
  if (sig == SIGSYS || has_handler(a) || (BIT_OF(sig) & ALWAYS_OURS)) {
    k.handler = (uint64_t)(sig == SIGSYS ? trap_entry : signal_entry);
    k.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER | (a->flags & (SA_NOCLDSTOP | SA_NOCLDWAIT));
    k.restorer = (uint64_t)signal_restorer;
    k.mask = BLOCK_ALL;
    if (sig == SIGSYS) {
      k.mask = 0;
      k.flags |= SA_NODEFER;
    }
  }
  return sys4(SYS_rt_sigaction, sig, &k, 0, 8);
}

static void act_read(struct sigtab *s, int sig, struct sigaction_k *a)
{
  lock(&s->lock);
  *a = s->act[sig - 1];
  unlock(&s->lock);
}

/* What an exec'd program inherits: the kernel keeps ignored signals ignored. */
static void actions_inherited(struct sigtab *s)
{
  for (int sig = 1; sig <= 64; sig++) {
    struct sigaction_k old;
    if (!sys4(SYS_rt_sigaction, sig, 0, &old, 8) && old.handler == SIG_IGN_K)
      s->act[sig - 1] = old;
  }
}

void signal_thread(struct thread *t)
{
  struct stack_k alt = {(uint64_t)t->alt_stack, 0, 0, ALT_STACK_SIZE};
  sys2(SYS_sigaltstack, &alt, 0);
}

void signal_start(struct thread *t, struct sigtab *s)
{
  actions_inherited(s);
  signal_thread(t);
  for (int sig = 1; sig <= 64; sig++)
    if (BIT_OF(sig) & ALWAYS_OURS)
      kernel_action(sig, &s->act[sig - 1]);
}

/* The kernel has handlers of ours where the program ignores these: an exec'd program is to ignore them, too. */
void signal_exec(struct sigtab *s, bool succeeds)
{
  struct sigaction_k ignore = {SIG_IGN_K, 0, 0, 0};
  for (int sig = 1; sig <= 64; sig++)
    if ((BIT_OF(sig) & ALWAYS_OURS) && s->act[sig - 1].handler == SIG_IGN_K) {
      if (succeeds)
        sys4(SYS_rt_sigaction, sig, &ignore, 0, 8);
      else
        kernel_action(sig, &s->act[sig - 1]);
    }
}

uint64_t signals_set(struct sigtab *s, bool ignored)
{
  uint64_t set = 0;
  lock(&s->lock);
  for (int sig = 1; sig <= 64; sig++)
    if (ignored ? s->act[sig - 1].handler == SIG_IGN_K : has_handler(&s->act[sig - 1]))
      set |= BIT_OF(sig);
  unlock(&s->lock);
  return set;
}

struct sigtab *sigtab_copy(const struct sigtab *s)
{
  struct sigtab *n = small_new(sizeof *n);
  if (n) {
    *n = *s;
    n->refs = 1;
    n->lock.word = 0;
  }
  return n;
}

struct sigtab *sigtab_hold(struct sigtab *s)
{
  __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
  return s;
}

void sigtab_drop(struct sigtab *s)
{
  if (s && !__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
    small_free(s, sizeof *s);
}

uint64_t signals_caught(struct sigtab *s)
{
  uint64_t caught = 0;
  for (int sig = 1; sig <= 64; sig++)
    if ((BIT_OF(sig) & ALWAYS_OURS) && has_handler(&s->act[sig - 1]))
      caught |= BIT_OF(sig);
  return caught;
}

static bool sig_valid(long sig)
{
  return sig >= 1 && sig <= 64;
}

long a_rt_sigaction(struct call *c)
{
  long sig = (int)c->a[0];
  struct sigaction_k new, old;
  if (c->a[3] != 8 || !sig_valid(sig) || (c->a[1] && (BIT_OF(sig) & UNBLOCKABLE)))
    return -EINVAL;
  if (c->a[1] && copy_in(&new, (void *)c->a[1], sizeof new))
    return -EFAULT;
  struct sigtab *s = c->p->sig;
  lock(&s->lock);
  old = s->act[sig - 1];
  long r = 0;
  if (c->a[1]) {
    new.flags &= ~SA_UNSUPPORTED;
    new.mask &= ~UNBLOCKABLE;
    s->act[sig - 1] = new;
    r = kernel_action((int)sig, &new);
    if (BIT_OF(sig) & ALWAYS_OURS)
      session->procs[c->p->ctx % SESSION_PROCS].caught = signals_caught(s);
  }
  unlock(&s->lock);
  if (!r && c->a[2] && copy_out((void *)c->a[2], &old, sizeof old))
    return -EFAULT;
  return r;
}

long a_rt_sigprocmask(struct call *c)
{
  struct thread *t = c->t;
  uint64_t set, old = t->sigmask;
  if (c->a[3] != 8)
    return -EINVAL;
  if (c->a[1]) {
    if (copy_in(&set, (void *)c->a[1], 8))
      return -EFAULT;
    if (c->a[0] > 2)
      return -EINVAL;
    mask_set(t, c->a[0] == 0 ? old | set : c->a[0] == 1 ? old & ~set : set);
  }
  return c->a[2] && copy_out((void *)c->a[2], &old, 8) ? -EFAULT : 0;
}

static uint64_t raw_mask(const struct thread *t)
{
  uint64_t now = 0;
  if (t->trapped)
    return t->trap_uc->sigmask;
  sys4(SYS_rt_sigprocmask, 0, 0, &now, 8);
  return now;
}

/* What the kernel is told, the program's own mask is as well: a handler that returns would bring the old one back. */
long signal_raw_mask(struct call *c)
{
  struct thread *t = c->t;
  uint64_t set, old = raw_mask(t);
  if (c->a[3] != 8 || (c->a[1] && c->a[0] > 2))
    return -EINVAL;
  if (c->a[1]) {
    if (copy_in(&set, (void *)c->a[1], 8))
      return -EFAULT;
    set = c->a[0] == 0 ? old | set : c->a[0] == 1 ? old & ~set : set;
    mask_for_kernel(&set);
    mask_set(t, set | (t->sigmask & BIT_OF(SIGSYS)));
  }
  return c->a[2] && copy_out((void *)c->a[2], &old, 8) ? -EFAULT : 0;
}

/* A question is answered by the kernel. What is set is the program's as well: it could not be taken back otherwise. */
long signal_raw_action(struct call *c)
{
  struct sigaction_k now;
  long sig = (int)c->a[0];
  if (sig == SIGSYS || !sig_valid(sig) || c->a[3] != 8 || c->a[1])
    return a_rt_sigaction(c);
  long r = sys4(SYS_rt_sigaction, sig, 0, &now, 8);
  return !r && c->a[2] && copy_out((void *)c->a[2], &now, sizeof now) ? -EFAULT : r;
}

long a_rt_sigpending(struct call *c)
{
  uint64_t set;
  long r = c->a[1] > 8 ? -EINVAL : sys2(SYS_rt_sigpending, &set, 8);
  if (r)
    return r;
  if (c->t->held->sys_waits)
    set |= BIT_OF(SIGSYS);
  return copy_out((void *)c->a[0], &set, c->a[1]) ? -EFAULT : 0;
}

long a_rt_sigsuspend(struct call *c)
{
  uint64_t mask;
  if (c->a[1] != 8)
    return -EINVAL;
  if (copy_in(&mask, (void *)c->a[0], 8))
    return -EFAULT;
  return cp_masked(c->t, &mask, SYS_rt_sigsuspend, 0, 8, 0, 0, 0, 0);
}

long a_rt_sigtimedwait(struct call *c)
{
  uint64_t set;
  if (c->a[3] != 8)
    return -EINVAL;
  if (copy_in(&set, (void *)c->a[0], 8))
    return -EFAULT;
  mask_for_kernel(&set);
  struct siginfo_k info;
  long r = cp_call(c->t, SYS_rt_sigtimedwait, (long)&set, (long)&info, (long)c->a[2], 8, 0, 0);
  if (r < 0 || !c->a[1])
    return r;
  if (siginfo_has_sender(&info))
    info.from.uid = uid_shown(info.from.uid);
  return copy_out((void *)c->a[1], &info, sizeof info) ? -EFAULT : r;
}

/* The owner of the child that it tells of. */
long a_waitid(struct call *c)
{
  struct siginfo_k info;
  long r = pass(c);
  if (r || !c->a[2] || copy_in(&info, (void *)c->a[2], sizeof info) || info.signo != SIGCHLD)
    return r;
  info.from.uid = uid_shown(info.from.uid);
  return copy_out((void *)c->a[2], &info, sizeof info) ? -EFAULT : r;
}

long a_signalfd(struct call *c)
{
  uint64_t set;
  if (c->a[2] != 8)
    return -EINVAL;
  if (copy_in(&set, (void *)c->a[1], 8))
    return -EFAULT;
  mask_for_kernel(&set);
  long fd = sys4(c->nr, c->a[0], &set, 8, c->a[3]);
  if ((int)c->a[0] < 0)
    fd = fd_new(c->p, fd);
  if (fd >= 0)
    vft_local(c->p, (int)fd);
  return fd;
}

/* ---- the program's alternate stack ---- */
static bool on_alt(const struct thread *t, uint64_t sp)
{
  return t->alt_size && sp > t->alt_sp && sp - t->alt_sp <= t->alt_size && !(t->alt_flags & SS_AUTODISARM);
}

static void alt_get(const struct thread *t, uint64_t sp, struct stack_k *s)
{
  s->sp = t->alt_sp;
  s->size = t->alt_size;
  s->pad = 0;
  s->flags = (int32_t)(!t->alt_size ? SS_DISABLE : (on_alt(t, sp) ? SS_ONSTACK : 0) | (t->alt_flags & SS_AUTODISARM));
}

static long alt_set(struct thread *t, const struct stack_k *s)
{
  uint32_t mode = (uint32_t)s->flags & ~SS_AUTODISARM;
  if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
    return -EINVAL;
  if (mode != SS_DISABLE && s->size < 2048)
    return -ENOMEM;
  t->alt_sp = mode == SS_DISABLE ? 0 : s->sp;
  t->alt_size = mode == SS_DISABLE ? 0 : s->size;
  t->alt_flags = (uint32_t)s->flags & SS_AUTODISARM;
  return 0;
}

long a_sigaltstack(struct call *c)
{
  struct stack_k new, old;
  struct thread *t = c->t;
  alt_get(t, c->regs->rsp, &old);
  if (c->a[0]) {
    if (copy_in(&new, (void *)c->a[0], sizeof new))
      return -EFAULT;
    if (on_alt(t, c->regs->rsp))
      return -EPERM;
    long r = alt_set(t, &new);
    if (r)
      return r;
  }
  return c->a[1] && copy_out((void *)c->a[1], &old, sizeof old) ? -EFAULT : 0;
}

/* ---- delivery ---- */
static void die_of(struct thread *t, int sig, struct ucontext_k *uc)
{
  struct sigaction_k dfl = {0, 0, 0, 0};
  sys4(SYS_rt_sigaction, sig, &dfl, 0, 8);
  uc->sigmask = t->sigmask & ~BIT_OF(sig);
  mask_for_kernel(&uc->sigmask);
  sys3(SYS_tgkill, t->proc->pid, t->tid, sig);
}

void die_now(struct thread *t, int sig)
{
  struct ucontext_k none;
  die_of(t, sig, &none);
  for (;;)
    kernel_mask(t->sigmask & ~BIT_OF(sig));
}

/* The vector state of a frame, copied out of whoever's memory it is in. */
static long fp_read(const struct ucontext_k *src, uint8_t *buf)
{
  uint32_t size = 512, sw[2];
  if (!src->mc.fpstate)
    return 0;
  if (copy_in(sw, src->mc.fpstate + 464, sizeof sw))
    return -EFAULT;
  if (sw[0] == FP_MAGIC)
    size = sw[1];
  if (size > FP_MAX)
    return -EFAULT;
  return copy_in(buf, src->mc.fpstate, size) ? -EFAULT : (long)size;
}

static bool enters_alt(const struct thread *t, const struct sigaction_k *a, uint64_t sp)
{
  return (a->flags & SA_ONSTACK) && t->alt_size && !on_alt(t, sp);
}

/* A frame that would reach below the alternate stack is none. */
static bool alt_overflows(const struct thread *t, const struct sigaction_k *a, uint64_t sp, uint64_t at)
{
  return (enters_alt(t, a, sp) || on_alt(t, sp)) && (at <= t->alt_sp || at - t->alt_sp > t->alt_size);
}

bool siginfo_has_sender(const struct siginfo_k *info)
{
  return info->signo == SIGCHLD || info->code == SI_USER_K || info->code == SI_QUEUE_K || info->code == SI_TKILL_K;
}

/* Writes the frame below the program's stack pointer; its address, or 0 when there is no room. */
static uint64_t frame_build(struct thread *t, const struct sigaction_k *a, const struct ucontext_k *src,
                            const struct siginfo_k *info)
{
  static const uint64_t frame_size = sizeof(struct sigframe_k);
  uint8_t fp[FP_MAX];
  long n = fp_read(src, fp);
  if (n < 0)
    return 0;
  uint64_t sp = enters_alt(t, a, src->mc.rsp) ? t->alt_sp + t->alt_size : src->mc.rsp - 128;
  uint64_t fp_at = (sp - (uint64_t)n) & ~63ull;
  uint64_t at = ((fp_at - frame_size) & ~15ull) - 8;
  if (alt_overflows(t, a, src->mc.rsp, at))
    return 0;
  struct sigframe_k f = {a->restorer, *src, *info};
  if (siginfo_has_sender(info))
    f.info.from.uid = uid_shown(info->from.uid);
  alt_get(t, src->mc.rsp, &f.uc.stack);
  f.uc.link = 0;
  f.uc.sigmask = t->sigmask;
  f.uc.mc.rip = rewrite_outward(src->mc.rip);
  f.uc.mc.fpstate = n ? (uint8_t *)fp_at : 0;
  if ((n && copy_out((void *)fp_at, fp, (size_t)n)) || copy_out((void *)at, &f, sizeof f))
    return 0;
  return at;
}

static bool deliver(struct thread *t, const struct ucontext_k *src, struct ucontext_k *dst,
                    const struct siginfo_k *info, uint64_t mask);

/* There is no room for the frame: SIGSEGV, whose handler may have a stack of its own. */
static bool deliver_fault(struct thread *t, const struct ucontext_k *src, struct ucontext_k *dst, int sig,
                          uint64_t mask)
{
  struct siginfo_k info = {.signo = SIGSEGV, .code = SI_KERNEL_K};
  struct sigaction_k a;
  act_read(t->proc->sig, SIGSEGV, &a);
  if (sig != SIGSEGV && has_handler(&a) && !(mask & BIT_OF(SIGSEGV)))
    return deliver(t, src, dst, &info, mask);
  die_of(t, SIGSEGV, dst);
  return true;
}

/* Makes dst run the handler of `info' on top of the context src (which may be dst). mask: in force when it came. */
static bool deliver(struct thread *t, const struct ucontext_k *src, struct ucontext_k *dst,
                    const struct siginfo_k *info, uint64_t mask)
{
  int sig = info->signo;
  struct sigaction_k a;
  act_read(t->proc->sig, sig, &a);
  if (a.handler == SIG_IGN_K)
    return false;
  uint64_t frame = has_handler(&a) ? frame_build(t, &a, src, info) : 0;
  if (!frame && has_handler(&a))
    return deliver_fault(t, src, dst, sig, mask);
  if (!frame) {
    die_of(t, sig, dst);
    return true;
  }
  if (a.flags & SA_RESETHAND) {
    struct sigtab *s = t->proc->sig;
    lock(&s->lock);
    s->act[sig - 1].handler = SIG_DFL_K;
    kernel_action(sig, &s->act[sig - 1]);
    unlock(&s->lock);
  }
  if (t->alt_flags & SS_AUTODISARM)
    t->alt_size = 0, t->alt_flags = 0;
  t->sigmask = (mask | a.mask | (a.flags & SA_NODEFER ? 0 : BIT_OF(sig))) & ~UNBLOCKABLE;
  if (dst != src)
    dst->mc.cs = src->mc.cs, dst->mc.ss = src->mc.ss, dst->mc.eflags = src->mc.eflags;
  dst->mc.rip = a.handler;
  dst->mc.rsp = frame;
  dst->mc.rdi = (uint64_t)sig;
  dst->mc.rsi = frame + offsetof(struct sigframe_k, info);
  dst->mc.rdx = frame + offsetof(struct sigframe_k, uc);
  dst->mc.rax = 0;
  dst->mc.eflags &= ~(uint64_t)EFLAGS_CLEARED;
  dst->mc.fpstate = 0; /* the handler starts with a fresh one, as the kernel would have it */
  dst->sigmask = t->sigmask;
  mask_for_kernel(&dst->sigmask);
  count(N_SIGNALS);
  return true;
}

/* Everything held back, the first that came innermost. Says whether any handler runs. */
static bool deliver_held(struct thread *t, const struct ucontext_k *src, struct ucontext_k *dst)
{
  struct sigheld held = *t->held;
  t->held->n = 0;
  t->pending = 0;
  bool any = false;
  dst->sigmask = t->sigmask;
  mask_for_kernel(&dst->sigmask);
  for (uint32_t i = 0; i < held.n; i++)
    any |= deliver(t, any ? dst : src, dst, &held.s[i].info, i ? t->sigmask : held.s[i].mask);
  return any;
}

bool held_restarts(struct thread *t)
{
  struct sigaction_k a;
  if (!t->held->n)
    return false;
  act_read(t->proc->sig, t->held->s[0].info.signo, &a);
  return !has_handler(&a) || (a.flags & SA_RESTART_FLAG);
}

static bool within(unsigned long rip, const char *begin, const char *end)
{
  return rip >= (unsigned long)begin && rip < (unsigned long)end;
}

static bool in_agent(const struct thread *t, unsigned long rip)
{
  return within(rip, agent_text_begin, agent_text_end) || within(rip, (char *)gadget, gadget_end + 1) || t->in_vdso;
}

/* The three ways out, and the way into sleep, notice what has just come: see entry.S. */
static void rewind_to_check(struct ucontext_k *uc)
{
  unsigned long rip = uc->mc.rip;
  if (within(rip, exit_begin, exit_end))
    uc->mc.rip = (unsigned long)exit_begin;
  else if (within(rip, trap_exit_begin, trap_exit_end))
    uc->mc.rip = (unsigned long)trap_exit_begin;
  else if (within(rip, sigret_begin, sigret_end))
    uc->mc.rip = (unsigned long)sigret_begin;
  else if (rip >= (unsigned long)cp_begin && rip <= (unsigned long)cp_syscall)
    uc->mc.rip = (unsigned long)cp_cancel;
}

void signal_force(struct thread *t, const struct siginfo_k *info)
{
  struct sigaction_k a;
  act_read(t->proc->sig, info->signo, &a);
  if (!has_handler(&a) || (t->sigmask & BIT_OF(info->signo)))
    die_now(t, info->signo);
  signals_block();
  held_push(t, info, t->sigmask);
}

static void hold(struct thread *t, const struct siginfo_k *info, struct ucontext_k *uc)
{
  held_push(t, info, mask_now(t));
  rewind_to_check(uc);
  uc->sigmask = mask_inside(t);
}

static bool is_fault(const struct siginfo_k *info)
{
  return (info->signo == SIGSEGV || info->signo == SIGBUS) && info->code > 0;
}

/* A fault of the agent's own: either the program's bad pointer, or a mistake of ours that must not go on. */
static void agent_fault(struct thread *t, const struct siginfo_k *info, struct ucontext_k *uc)
{
  if (within(uc->mc.rip, uaccess_begin, uaccess_end)) {
    uc->mc.rip = (unsigned long)uaccess_fault;
    return;
  }
  fatal("internal error: the agent of process %d faulted at %lx, address %lx, call %ld, return %lx", t->proc->pid,
        uc->mc.rip, info->fault.addr, t->regs ? (long)t->regs->nr : -1l, *(unsigned long *)uc->mc.rsp);
}

void on_signal(int sig, struct siginfo_k *info, struct ucontext_k *uc);
void on_signal(int sig, struct siginfo_k *info, struct ucontext_k *uc)
{
  struct thread *t = self();
  (void)sig;
  if (in_agent(t, uc->mc.rip)) {
    if (is_fault(info))
      agent_fault(t, info, uc);
    else
      hold(t, info, uc);
    return;
  }
  struct sigaction_k a;
  act_read(t->proc->sig, info->signo, &a);
  if (is_fault(info) && !has_handler(&a))
    die_of(t, info->signo, uc);
  else
    deliver(t, uc, uc, info, t->sigmask);
}

/* ---- traps ---- */
static void regs_from(struct regs *r, const struct sigcontext_k *m)
{
  *r = (struct regs){m->r15, m->r14, m->r13, m->r12, m->rbp, m->rbx, m->r11, m->r10, m->r9,
                     m->r8,  m->rax, m->rcx, m->rdx, m->rsi, m->rdi, m->rax, m->rip, m->rsp};
}

static void regs_to(const struct regs *r, struct sigcontext_k *m)
{
  m->r15 = r->r15, m->r14 = r->r14, m->r13 = r->r13, m->r12 = r->r12, m->rbp = r->rbp, m->rbx = r->rbx;
  m->r11 = r->r11, m->r10 = r->r10, m->r9 = r->r9, m->r8 = r->r8, m->rax = r->rax, m->rcx = r->rcx;
  m->rdx = r->rdx, m->rsi = r->rsi, m->rdi = r->rdi, m->rip = r->rip, m->rsp = r->rsp;
}

void dispatch(struct thread *t, struct regs *r);

/* The exit of the fast path trapped on purpose, since a signal is held back. */
static void on_gadget(struct thread *t, struct ucontext_k *uc)
{
  if (!t->sigret_uc) {
    regs_to(t->regs, &uc->mc);
    deliver_held(t, uc, uc);
    return;
  }
  struct ucontext_k src;
  if (copy_in(&src, t->sigret_uc, sizeof src)) {
    die_of(t, SIGSEGV, uc);
    return;
  }
  if (!deliver_held(t, &src, uc))
    sigreturn_program();
  t->sigret_uc = 0;
}

/* A SIGSYS that somebody sent. 0: at the program, which may have got another signal meanwhile; 1: within the agent. */
static int foreign_sigsys(struct thread *t, struct siginfo_k *info, struct ucontext_k *uc)
{
  bool inside = in_agent(t, uc->mc.rip);
  if (mask_now(t) & BIT_OF(SIGSYS))
    t->held->sys = *info, t->held->sys_waits = true;
  else if (inside)
    hold(t, info, uc);
  else
    deliver(t, uc, uc, info, t->sigmask);
  return inside;
}

int on_sigsys(int sig, struct siginfo_k *info, struct ucontext_k *uc);
int on_sigsys(int sig, struct siginfo_k *info, struct ucontext_k *uc)
{
  struct thread *t = self();
  (void)sig;
  if (info->code != 1 /* SYS_SECCOMP */) {
    return foreign_sigsys(t, info, uc);
  }
  if (t->in_vdso) { /* the kernel's clock could not answer by itself */
    struct sigcontext_k *m = &uc->mc;
    m->rax =
        (uint64_t)sys6((long)m->rax, (long)m->rdi, (long)m->rsi, (long)m->rdx, (long)m->r10, (long)m->r8, (long)m->r9);
    return 1;
  }
  if (uc->mc.rip == (unsigned long)gadget_end) {
    on_gadget(t, uc);
    return 0;
  }
  struct regs r;
  regs_from(&r, &uc->mc);
  t->regs = &r;
  t->trapped = true;
  t->n_trapped++;
  r.rip = rewrite_site(r.rip, (long)r.nr);
  dispatch(t, &r);
  regs_to(&r, &uc->mc);
  t->trapped = false;
  return 0;
}

void on_fast(struct regs *r);
void on_fast(struct regs *r)
{
  struct thread *t = self();
  t->n_rewritten++;
  dispatch(t, r);
}

/* At the end of a trap: the frame holds the program's whole state already. */
void on_trap_pending(void);
void on_trap_pending(void)
{
  struct thread *t = self();
  deliver_held(t, t->trap_uc, t->trap_uc);
}

/* The program leaves a handler: its frame, which may lie where nothing can be written, says how it goes on. */
long a_rt_sigreturn(struct call *c)
{
  struct thread *t = c->t;
  struct ucontext_k *uc = &t->held->back;
  if (copy_in(uc, (void *)c->regs->rsp, sizeof *uc))
    die_now(t, SIGSEGV);
  t->sigmask = uc->sigmask & ~UNBLOCKABLE;
  sigsys_release(t);
  alt_set(t, &uc->stack);
  mask_for_kernel(&uc->sigmask);
  uc->stack = (struct stack_k){(uint64_t)t->alt_stack, 0, 0, ALT_STACK_SIZE};
  uc->mc.rip = rewrite_inward(uc->mc.rip);
  t->trapped = false;
  t->sigret_uc = uc;
  sigreturn_program();
}

/* ---- calls that sleep ---- */
long cp_call(struct thread *t, long nr, long a, long b, long c, long d, long e, long f)
{
  (void)t;
  return cp_raw(nr, a, b, c, d, e, f);
}

/* Where each call that sets a mask for its sleep takes it; packed: as {pointer, size} in one argument. */
static const struct masked_call {
  int16_t nr;
  int8_t arg;
  bool packed;
} masked_calls[] = {
    {SYS_rt_sigsuspend, 0, false}, {SYS_ppoll, 3, false},        {SYS_pselect6, 5, true},
    {SYS_epoll_pwait, 4, false},   {SYS_epoll_pwait2, 4, false}, {SYS_io_pgetevents, 5, true},
};

long cp_masked(struct thread *t, const uint64_t *prog_mask, long nr, long a, long b, long c, long d, long e, long f)
{
  uint64_t mask = *prog_mask, packed[2] = {(uint64_t)&mask, 8};
  long arg[6] = {a, b, c, d, e, f};
  mask_for_kernel(&mask);
  for (unsigned i = 0; i < sizeof masked_calls / sizeof masked_calls[0]; i++) {
    const struct masked_call *m = &masked_calls[i];
    if (m->nr != nr)
      continue;
    arg[m->arg] = m->packed ? (long)packed : (long)&mask;
    if (!m->packed)
      arg[m->arg + 1] = 8;
  }
  t->temp_mask = *prog_mask & ~UNBLOCKABLE;
  t->temp_masked = true;
  long r = cp_raw(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
  t->temp_masked = false;
  return r;
}
