/*
 * Threads and processes: the memory of each thread in the agent, and everything that makes new ones or ends them.
 *
 * A thread's area, one mapping of AREA bytes that is used again after it ended:
 *     0  struct thread, struct sigheld     4 KiB  buffers     24 KiB  agent stack     128 KiB  alternate signal stack
 *     256 KiB  the message being built     272 KiB  room for a slot of the session's memory
 */
#include "agent/lazy.h"
#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define MSG_AT (256ul << 10)
#define SLOT_AT (MSG_AT + MSG_ROOM)
#define AREA (SLOT_AT + SESSION_SLOT_SIZE)
#define BUFFERS_AT 4096ul
#define STACK_TOP (128ul << 10)

struct head {
  struct thread t;
  struct sigheld held;
};
_Static_assert(sizeof(struct head) <= BUFFERS_AT, "the thread's head has one page");
_Static_assert(offsetof(struct thread, agent_sp) == 8 && offsetof(struct thread, prog_sp) == 16 &&
                   offsetof(struct thread, regs) == 24 && offsetof(struct thread, pending) == 32 &&
                   offsetof(struct thread, trap_uc) == 48 && offsetof(struct thread, sigret_uc) == 56,
               "entry.S knows these");

static struct thread *all_threads; /* pushed only; areas are used again, never taken out */

static struct thread *area_again(void)
{
  for (struct thread *t = __atomic_load_n(&all_threads, __ATOMIC_ACQUIRE); t; t = t->next) {
    uint32_t gone = 1;
    if (__atomic_compare_exchange_n(&t->gone, &gone, 0, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
      return t;
  }
  return 0;
}

/* One more, for the child that is to execute something else when the program has no memory left. */
static struct thread *area_last(void)
{
  static uint8_t last[AREA] __attribute__((aligned(4096)));
  static uint32_t taken;
  return __atomic_exchange_n(&taken, 1, __ATOMIC_RELAXED) ? 0 : (struct thread *)last;
}

static struct thread *area_new(void)
{
  struct thread *t = pages_new(AREA);
  if (!t && !(t = area_last()))
    return 0;
  if (sys3(SYS_mprotect, (long)t + SLOT_AT, SESSION_SLOT_SIZE, PROT_NONE) == 0)
    space_add(SPACE_DATA, -(long)SESSION_SLOT_SIZE);
  t->next = __atomic_load_n(&all_threads, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&all_threads, &t->next, t, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
    ;
  return t;
}

struct thread *thread_new(struct proc *p)
{
  struct thread *t = area_again(), *next;
  if (!t && !(t = area_new()))
    return 0;
  uint8_t *area = (uint8_t *)t;
  next = t->next;
  memset(t, 0, sizeof(struct head));
  t->next = next;
  t->self = t;
  t->proc = p;
  t->held = &((struct head *)area)->held;
  t->agent_sp = (uint64_t)(area + STACK_TOP);
  t->alt_stack = area + STACK_TOP;
  t->scratch = area + BUFFERS_AT;
  t->msg = area + MSG_AT;
  t->slot_room = area + SLOT_AT;
  for (int i = 0; i < 4; i++)
    t->path_buf[i] = (char *)area + BUFFERS_AT + 4096 * (i + 1);
  return t;
}

void thread_unnew(struct thread *t)
{
  __atomic_store_n(&t->gone, 1, __ATOMIC_RELEASE);
}

/* False until the first thread of a program knows itself. */
bool thread_ready(void)
{
  return all_threads && all_threads->tid;
}

void thread_here(struct thread *t)
{
  sys2(SYS_arch_prctl, ARCH_SET_GS, t);
  t->tid = (int)sys0(SYS_gettid);
  signal_thread(t);
}

bool thread_memory(unsigned long addr, unsigned long len)
{
  for (struct thread *t = all_threads; t; t = t->next)
    if (addr < (unsigned long)t + AREA && addr + len > (unsigned long)t)
      return true;
  return false;
}

struct thread *thread_next(const struct proc *p, const struct thread *after)
{
  struct thread *t = after ? after->next : all_threads;
  while (t && (t->proc != p || t->gone))
    t = t->next;
  return t;
}

struct proc *proc_copy(struct proc *p, uint64_t flags)
{
  struct proc *n = small_new(sizeof *n);
  if (!n)
    return 0;
  nofile_now(p);
  space_now(p);
  *n = *p;
  n->lock.word = 0;
  n->refs = 1;
  n->files_shared = flags & CLONE_FILES;
  n->lights = 0;
  n->vft = p->files_shared ? vft_new() : vft_copy(p->vft);
  n->sig = flags & CLONE_SIGHAND ? sigtab_hold(p->sig) : sigtab_copy(p->sig);
  n->cwd_path = small_new(4096);
  n->root_path = p->root_path ? small_new(4096) : 0;
  if (!n->vft || !n->sig || !n->cwd_path || (p->root_path && !n->root_path))
    return 0;
  memcpy(n->cwd_path, p->cwd_path, 4096);
  if (p->root_path)
    memcpy(n->root_path, p->root_path, 4096);
  return n;
}

static void proc_free(struct proc *p)
{
  vft_free(p->vft);
  sigtab_drop(p->sig);
  small_free(p->cwd_path, 4096);
  if (p->root_path)
    small_free(p->root_path, 4096);
  small_free(p, sizeof *p);
}

static void counters_add(struct thread *t)
{
  __atomic_fetch_add(&session->counters[N_LOCAL], t->n_local, __ATOMIC_RELAXED);
  __atomic_fetch_add(&session->counters[N_TRAPPED], t->n_trapped, __ATOMIC_RELAXED);
  __atomic_fetch_add(&session->counters[N_REWRITTEN], t->n_rewritten, __ATOMIC_RELAXED);
  t->n_local = t->n_trapped = t->n_rewritten = 0;
}

void counters_flush(struct thread *t)
{
  for (struct thread *o = all_threads; o; o = o->next)
    if (o == t || (o->proc == t->proc && !o->gone))
      counters_add(o);
}

/* ---- clone ---- */
static long ask_kernel(const struct clone_args_k *k, size_t size, bool three, struct thread *child)
{
  if (three)
    return clone_raw(SYS_clone3, (long)k, (long)size, 0, 0, 0, child);
  return clone_raw(SYS_clone, (long)(k->flags | k->exit_signal), (long)(k->stack + k->stack_size),
                   (long)((k->flags & CLONE_PIDFD) ? k->pidfd : k->parent_tid), (long)k->child_tid, (long)k->tls,
                   child);
}

/* A child with a memory of its own: this thread, alone in it. */
static void forked(struct thread *t)
{
  struct proc *p = t->proc;
  for (struct thread *o = all_threads; o; o = o->next) {
    o->gone = o != t;
    o->n_local = o->n_trapped = o->n_rewritten = 0;
  }
  t->tid = (int)sys0(SYS_gettid);
  p->pid = (int)sys0(SYS_getpid);
  p->refs = 1;
  p->lender = 0;
  nofile_now(p);
  space_now(p);
  p->ctx = __atomic_fetch_add(&session->next_ctx, 1, __ATOMIC_RELAXED);
  call_forked(t);
  call_bind(p);
  space_born(p);
  creds_born(p);
  lazy_forked(t);
  count(N_PROCESSES);
}

static long clone_memory(struct call *c, struct clone_args_k *k, size_t size, bool three)
{
  uint64_t stack = k->stack ? k->stack + k->stack_size : 0;
  k->stack = k->stack_size = 0;
  gate_shut();
  long r = three ? sys2(SYS_clone3, k, size)
                 : sys5(SYS_clone, k->flags | k->exit_signal, 0, (k->flags & CLONE_PIDFD) ? k->pidfd : k->parent_tid,
                        k->child_tid, k->tls);
  if (r != 0) {
    gate_open();
  } else {
    gate_forked();
    if (c->p->files_shared && !(k->flags & CLONE_FILES))
      files_own(c->p);
    forked(c->t);
    if (k->flags & CLONE_NEWUTS)
      uts_entered(c->p);
    if (stack)
      c->regs->rsp = stack;
  }
  return r;
}

void child_main(struct thread *t);
void child_main(struct thread *t)
{
  struct proc *p = t->proc;
  thread_here(t);
  if (t->mxcsr)
    fp_control(t->mxcsr, t->fcw);
  if (t->new_process) {
    p->pid = t->tid;
    call_bind(p);
    creds_born(p);
    if (p->own_uts == UTS_NEW)
      uts_entered(p);
  }
  signals_restore(t);
  leave();
}

static struct thread *child_new(struct call *c, const struct clone_args_k *k)
{
  bool same = k->flags & CLONE_THREAD;
  struct proc *p = same ? c->p : proc_copy(c->p, k->flags);
  struct thread *t = p ? thread_new(p) : 0, *parent = c->t;
  if (!t)
    return 0;
  if (same)
    __atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
  else
    p->ctx = __atomic_fetch_add(&session->next_ctx, 1, __ATOMIC_RELAXED), p->lender = c->p->pid;
  if (k->flags & CLONE_NEWUTS)
    p->own_uts = UTS_NEW;
  t->new_process = !same;
  t->lent = !same && (k->flags & CLONE_VFORK);
  t->sigmask = parent->sigmask;
  t->filters = parent->filters, t->strict = parent->strict, t->no_new_privs = parent->no_new_privs;
  t->mode = t->told_mode = parent->told_mode;
  if (k->flags & CLONE_VFORK)
    t->alt_sp = parent->alt_sp, t->alt_size = parent->alt_size, t->alt_flags = parent->alt_flags;
  t->regs = (struct regs *)(t->agent_sp - sizeof(struct regs));
  *t->regs = *c->regs;
  t->regs->rax = 0;
  if (k->stack)
    t->regs->rsp = k->stack + k->stack_size;
  if (parent->trapped && parent->trap_uc->mc.fpstate) {
    memcpy(&t->fcw, parent->trap_uc->mc.fpstate, sizeof t->fcw);
    memcpy(&t->mxcsr, parent->trap_uc->mc.fpstate + 24, sizeof t->mxcsr);
  }
  return t;
}

/* One that never ran, or a vfork child that has let go of this memory. */
static void child_drop(struct thread *t, bool same)
{
  if (same)
    __atomic_fetch_sub(&t->proc->refs, 1, __ATOMIC_RELAXED);
  else
    proc_free(t->proc);
  exec_pages_drop(t);
  thread_unnew(t);
}

/* A thread, or a child that borrows this memory until it executes something (vfork, posix_spawn). */
static long clone_shared(struct call *c, struct clone_args_k *k, size_t size, bool three)
{
  bool same = k->flags & CLONE_THREAD;
  struct thread *t = child_new(c, k);
  if (!t)
    return -ENOMEM;
  k->stack = (uint64_t)t->scratch; /* any address below: only the sum counts */
  k->stack_size = (t->agent_sp - 4096) - k->stack;
  count(same ? N_THREADS : N_PROCESSES);
  signals_block_all();
  long r = ask_kernel(k, size, three, t);
  signals_block();
  if (r < 0 || (!same && (k->flags & CLONE_VFORK)))
    child_drop(t, same);
  return r;
}

/* Whoever shares descriptors is either a thread or has a table of its own here, which would grow old unseen. */
static void files_note(struct proc *p, uint64_t flags)
{
  if (!(flags & CLONE_FILES) != !(flags & CLONE_THREAD))
    p->files_shared = true;
}

static long clone_any(struct call *c, struct clone_args_k *k, size_t size, bool three)
{
  long r = ns_allowed(k->flags);
  if (r)
    return r;
  files_note(c->p, k->flags);
  signals_block();
  r = c->t->pending         ? -ERESTART_CALL
      : k->flags & CLONE_VM ? clone_shared(c, k, size, three)
                            : clone_memory(c, k, size, three);
  signals_restore(c->t);
  return r;
}

long a_clone(struct call *c)
{
  unsigned long flags = c->a[0];
  struct clone_args_k k = {.flags = flags & ~0xfful & 0xffffffff,
                           .exit_signal = flags & 0xff,
                           .stack = c->a[1],
                           .parent_tid = c->a[2],
                           .pidfd = c->a[2],
                           .child_tid = c->a[3],
                           .tls = c->a[4]};
  return clone_any(c, &k, sizeof k, false);
}

long a_fork(struct call *c)
{
  struct clone_args_k k = {.exit_signal = 17 /* SIGCHLD */};
  return clone_any(c, &k, sizeof k, false);
}

long a_vfork(struct call *c)
{
  struct clone_args_k k = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = 17 /* SIGCHLD */};
  return clone_any(c, &k, sizeof k, false);
}

/* What a newer caller knows more must be zero. */
static long clone3_args(struct clone_args_k *k, const uint8_t *user, size_t size)
{
  uint64_t more;
  if (size < 64)
    return -EINVAL;
  if (size > 4096)
    return -E2BIG;
  memset(k, 0, sizeof *k);
  if (copy_in(k, user, size < sizeof *k ? size : sizeof *k))
    return -EFAULT;
  for (size_t at = sizeof *k; at < size; at += sizeof more) {
    more = 0;
    if (copy_in(&more, user + at, size - at < sizeof more ? size - at : sizeof more))
      return -EFAULT;
    if (more)
      return -E2BIG;
  }
  return 0;
}

long a_clone3(struct call *c)
{
  struct clone_args_k k;
  size_t size = c->a[1];
  long r = clone3_args(&k, (const uint8_t *)c->a[0], size);
  if (r)
    return r;
  size = size < sizeof k ? size : sizeof k;
  if (!k.stack != !k.stack_size)
    return -EINVAL;
  return clone_any(c, &k, size, true);
}

/* ---- ends ---- */
long a_exit_group(struct call *c)
{
  map_flush_all(c->p);
  if (session->flags & SF_VFT)
    vft_tell(c);
  counters_flush(c->t);
  call_thread_end(c->t);
  for (;;)
    sys1(SYS_exit_group, c->a[0]);
}

long a_exit(struct call *c)
{
  struct thread *t = c->t;
  if (__atomic_sub_fetch(&c->p->refs, 1, __ATOMIC_ACQ_REL) == 0)
    map_flush_all(c->p);
  signals_block();
  call_thread_end(t);
  counters_add(t);
  signals_block_all();
  uint32_t kept;
  thread_exit_raw((int)c->a[0], t->lent ? &kept : &t->gone);
}
