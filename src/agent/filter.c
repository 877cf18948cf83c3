/*
 * The program's own seccomp filters. The kernel would apply them to the agent's calls as well, so they are kept here
 * and run over each call of the program before it is served, with the results that the kernel would give.
 *
 * Owns the filters, which form a chain from the newest to the oldest, belong to a thread, and are inherited by what it
 * starts. They are never changed nor freed: chains share their ends. There are no listeners (user notification).
 */
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define SIGKILL_NR 9
#define SIGSYS_NR 31
#define MAX_LENGTH 4096 /* instructions of one filter, as the kernel has it ... */
#define MAX_CHAIN 32768 /* ... and of all that a call goes through, 4 more for each */
#define ERRNO_MAX 4095
#define SYS_SECCOMP_CODE 1
#define MSG_DONTWAIT_K 0x40

struct filter {
  const struct filter *prev;
  uint32_t chain; /* instructions from here on */
  uint32_t len;
  struct sock_filter code[];
};

/* ---- running ---- */
struct machine {
  uint32_t a, x, mem[BPF_MEMWORDS];
};

static uint32_t alu(uint32_t op, uint32_t a, uint32_t v)
{
  switch (op) {
  case BPF_ADD:
    return a + v;
  case BPF_SUB:
    return a - v;
  case BPF_MUL:
    return a * v;
  case BPF_DIV:
    return v ? a / v : 0;
  case BPF_OR:
    return a | v;
  case BPF_AND:
    return a & v;
  case BPF_XOR:
    return a ^ v;
  case BPF_LSH:
    return a << (v & 31);
  case BPF_RSH:
    return a >> (v & 31);
  default:
    return 0 - a; /* BPF_NEG */
  }
}

static bool jumps(uint32_t op, uint32_t a, uint32_t v)
{
  return op == BPF_JEQ ? a == v : op == BPF_JGT ? a > v : op == BPF_JGE ? a >= v : (a & v) != 0;
}

static uint32_t load(const struct machine *m, const struct sock_filter *i, const struct seccomp_data *d)
{
  uint32_t v = sizeof *d; /* BPF_LEN */
  if (BPF_MODE(i->code) == BPF_ABS)
    memcpy(&v, (const uint8_t *)d + i->k, sizeof v);
  else if (BPF_MODE(i->code) == BPF_IMM)
    v = i->k;
  else if (BPF_MODE(i->code) == BPF_MEM)
    v = m->mem[i->k];
  return v;
}

/* How many instructions to skip. */
static uint32_t step(struct machine *m, const struct sock_filter *i, const struct seccomp_data *d)
{
  uint32_t v = BPF_SRC(i->code) == BPF_X ? m->x : i->k;
  switch (BPF_CLASS(i->code)) {
  case BPF_LD:
    m->a = load(m, i, d);
    return 0;
  case BPF_LDX:
    m->x = load(m, i, d);
    return 0;
  case BPF_ST:
    m->mem[i->k] = m->a;
    return 0;
  case BPF_STX:
    m->mem[i->k] = m->x;
    return 0;
  case BPF_ALU:
    m->a = alu(BPF_OP(i->code), m->a, v);
    return 0;
  case BPF_JMP:
    return BPF_OP(i->code) == BPF_JA ? i->k : jumps(BPF_OP(i->code), m->a, v) ? i->jt : i->jf;
  default: /* BPF_MISC */
    if (BPF_MISCOP(i->code) == BPF_TAX)
      m->x = m->a;
    else
      m->a = m->x;
    return 0;
  }
}

static uint32_t run(const struct filter *f, const struct seccomp_data *d)
{
  struct machine m = {0};
  const struct sock_filter *i = f->code;
  for (; BPF_CLASS(i->code) != BPF_RET; i++)
    i += step(&m, i, d);
  return BPF_RVAL(i->code) == BPF_A ? m.a : i->k;
}

/* ---- checking: what passes here can be run without looking again ---- */
static bool known(uint16_t code)
{
  static const uint16_t codes[] = {BPF_LD | BPF_W | BPF_ABS,
                                   BPF_LD | BPF_W | BPF_LEN,
                                   BPF_LDX | BPF_W | BPF_LEN,
                                   BPF_LD | BPF_IMM,
                                   BPF_LDX | BPF_IMM,
                                   BPF_LD | BPF_MEM,
                                   BPF_LDX | BPF_MEM,
                                   BPF_ST,
                                   BPF_STX,
                                   BPF_MISC | BPF_TAX,
                                   BPF_MISC | BPF_TXA,
                                   BPF_RET | BPF_K,
                                   BPF_RET | BPF_A,
                                   BPF_ALU | BPF_NEG,
                                   BPF_JMP | BPF_JA,
                                   BPF_ALU | BPF_ADD | BPF_K,
                                   BPF_ALU | BPF_ADD | BPF_X,
                                   BPF_ALU | BPF_SUB | BPF_K,
                                   BPF_ALU | BPF_SUB | BPF_X,
                                   BPF_ALU | BPF_MUL | BPF_K,
                                   BPF_ALU | BPF_MUL | BPF_X,
                                   BPF_ALU | BPF_DIV | BPF_K,
                                   BPF_ALU | BPF_DIV | BPF_X,
                                   BPF_ALU | BPF_AND | BPF_K,
                                   BPF_ALU | BPF_AND | BPF_X,
                                   BPF_ALU | BPF_OR | BPF_K,
                                   BPF_ALU | BPF_OR | BPF_X,
                                   BPF_ALU | BPF_XOR | BPF_K,
                                   BPF_ALU | BPF_XOR | BPF_X,
                                   BPF_ALU | BPF_LSH | BPF_K,
                                   BPF_ALU | BPF_LSH | BPF_X,
                                   BPF_ALU | BPF_RSH | BPF_K,
                                   BPF_ALU | BPF_RSH | BPF_X,
                                   BPF_JMP | BPF_JEQ | BPF_K,
                                   BPF_JMP | BPF_JEQ | BPF_X,
                                   BPF_JMP | BPF_JGE | BPF_K,
                                   BPF_JMP | BPF_JGE | BPF_X,
                                   BPF_JMP | BPF_JGT | BPF_K,
                                   BPF_JMP | BPF_JGT | BPF_X,
                                   BPF_JMP | BPF_JSET | BPF_K,
                                   BPF_JMP | BPF_JSET | BPF_X};
  for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (codes[i] == code)
      return true;
  return false;
}

static bool operand_valid(const struct sock_filter *i)
{
  uint16_t class = BPF_CLASS(i->code);
  bool load = class == BPF_LD || class == BPF_LDX;
  if (load && BPF_MODE(i->code) == BPF_ABS)
    return i->k < sizeof(struct seccomp_data) && i->k % 4 == 0;
  if ((load && BPF_MODE(i->code) == BPF_MEM) || class == BPF_ST || class == BPF_STX)
    return i->k < BPF_MEMWORDS;
  if (class == BPF_ALU && BPF_SRC(i->code) == BPF_K && BPF_OP(i->code) == BPF_DIV)
    return i->k != 0;
  if (class == BPF_ALU && BPF_SRC(i->code) == BPF_K && (BPF_OP(i->code) == BPF_LSH || BPF_OP(i->code) == BPF_RSH))
    return i->k < 32;
  return true;
}

/* Jumps lead forward and stay inside, and the last instruction returns: so every run ends. */
static bool valid(const struct filter *f)
{
  for (uint32_t n = 0; n < f->len; n++) {
    const struct sock_filter *i = &f->code[n];
    uint64_t left = f->len - n - 1;
    if (!known(i->code) || !operand_valid(i))
      return false;
    if (BPF_CLASS(i->code) == BPF_JMP && (BPF_OP(i->code) == BPF_JA ? i->k >= left : i->jt >= left || i->jf >= left))
      return false;
  }
  return f->len && BPF_CLASS(f->code[f->len - 1].code) == BPF_RET;
}

/* ---- installing ---- */
static size_t bytes_of(uint32_t len)
{
  return sizeof(struct filter) + len * sizeof(struct sock_filter);
}

/* A checked filter in front of `prev', or -errno in *err. */
static struct filter *filter_new(const struct filter *prev, uint32_t len, const void *code, long *err)
{
  uint32_t chain = (prev ? prev->chain : 0) + len + 4;
  struct filter *f = len && len <= MAX_LENGTH ? pages_new(bytes_of(len)) : 0;
  *err = !len || len > MAX_LENGTH ? -EINVAL : !f || chain > MAX_CHAIN ? -ENOMEM : 0;
  if (!f)
    return 0;
  *f = (struct filter){prev, chain, len};
  if (!*err && copy_in(f->code, code, len * sizeof f->code[0]))
    *err = -EFAULT;
  if (!*err && !valid(f))
    *err = -EINVAL;
  if (*err)
    pages_free(f, bytes_of(len));
  return *err ? 0 : f;
}

static bool descends(const struct filter *f, const struct filter *ancestor)
{
  while (f && f != ancestor)
    f = f->prev;
  return f == ancestor;
}

/* For all threads of the process, which must have nothing that the caller has not. 0 or the first that has. */
static long spread(struct thread *t, const struct filter *f)
{
  for (struct thread *o = thread_next(t->proc, 0); o; o = thread_next(t->proc, o))
    if (o->strict || !descends(t->filters, o->filters))
      return o->tid;
  for (struct thread *o = thread_next(t->proc, 0); o; o = thread_next(t->proc, o))
    __atomic_store_n(&o->filters, f, __ATOMIC_RELEASE);
  return 0;
}

static long install(struct call *c, unsigned long flags, const void *user)
{
  const unsigned long served = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW |
                               SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  struct sock_fprog prog;
  long r;
  if (flags & ~served)
    return -EINVAL;
  if (copy_in(&prog, user, sizeof prog))
    return -EFAULT;
  if (prog.len && prog.len <= MAX_LENGTH && !c->t->no_new_privs && !capable(CAP_SYS_ADMIN))
    return -EACCES;
  struct filter *f = filter_new(c->t->filters, prog.len, prog.filter, &r);
  if (!f)
    return r;
  if (flags & SECCOMP_FILTER_FLAG_TSYNC) {
    r = spread(c->t, f);
    return r && (flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH) ? -ESRCH : r;
  }
  c->t->filters = f;
  return 0;
}

static long strict(struct call *c)
{
  if (c->t->filters)
    return -EINVAL;
  c->t->strict = true;
  return 0;
}

static long available(const void *user)
{
  static const uint32_t actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP,
                                     SECCOMP_RET_ERRNO,        SECCOMP_RET_TRACE,       SECCOMP_RET_LOG,
                                     SECCOMP_RET_ALLOW};
  uint32_t action;
  if (copy_in(&action, user, sizeof action))
    return -EFAULT;
  for (unsigned i = 0; i < sizeof actions / sizeof actions[0]; i++)
    if (actions[i] == action)
      return 0;
  return -EOPNOTSUPP;
}

long a_seccomp(struct call *c)
{
  switch (c->a[0]) {
  case SECCOMP_SET_MODE_STRICT:
    return c->a[1] || c->a[2] ? -EINVAL : strict(c);
  case SECCOMP_SET_MODE_FILTER:
    return install(c, c->a[1], (void *)c->a[2]);
  case SECCOMP_GET_ACTION_AVAIL:
    return c->a[1] ? -EINVAL : available((void *)c->a[2]);
  default:
    return -EINVAL;
  }
}

long filter_prctl(struct call *c)
{
  if (c->a[0] == PR_GET_SECCOMP)
    return c->t->filters ? SECCOMP_MODE_FILTER : SECCOMP_MODE_DISABLED;
  if (c->a[1] == SECCOMP_MODE_STRICT)
    return strict(c);
  return c->a[1] == SECCOMP_MODE_FILTER ? install(c, 0, (void *)c->a[2]) : -EINVAL;
}

/* ---- what a call gets ---- */
/* The most restrictive answer of all; of equals the newest filter's. */
static uint32_t ask(const struct filter *f, const struct seccomp_data *d)
{
  uint32_t least = SECCOMP_RET_ALLOW;
  for (; f; f = f->prev) {
    uint32_t ret = run(f, d);
    if ((int32_t)(ret & SECCOMP_RET_ACTION_FULL) < (int32_t)(least & SECCOMP_RET_ACTION_FULL))
      least = ret;
  }
  return least;
}

/* One thread only, if the process has more. */
static void kill_thread(struct call *c)
{
  c->a[0] = SIGSYS_NR;
  if (__atomic_load_n(&c->p->refs, __ATOMIC_RELAXED) > 1)
    handlers[SYS_exit](c);
  die_now(c->t, SIGSYS_NR);
}

/* The program's handler is given the call as it was, to do with it what it likes. */
static long trap(struct call *c, const struct seccomp_data *d, uint32_t ret)
{
  struct siginfo_k info = {.signo = SIGSYS_NR, .err = (int32_t)(ret & SECCOMP_RET_DATA), .code = SYS_SECCOMP_CODE};
  info.sys.call_addr = d->instruction_pointer;
  info.sys.nr = d->nr;
  info.sys.arch = d->arch;
  signal_force(c->t, &info);
  c->no_return = true;
  c->regs->rax = c->regs->nr;
  return 0;
}

/* Time would natively come from the vDSO, which no filter sees; a program that was given none must not suffer for it.
 */
static bool from_vdso(int nr)
{
  return (session->flags & SF_TIME) && (nr == SYS_clock_gettime || nr == SYS_gettimeofday || nr == SYS_time);
}

bool filter_allows(struct call *c, long *result)
{
  if (from_vdso(c->nr))
    return true;
  if (c->t->strict) {
    if (c->nr != SYS_read && c->nr != SYS_write && c->nr != SYS_exit && c->nr != SYS_rt_sigreturn)
      die_now(c->t, SIGKILL_NR);
    return true;
  }
  struct seccomp_data d = {
      c->nr, AUDIT_ARCH_X86_64, rewrite_outward(c->regs->rip), {c->a[0], c->a[1], c->a[2], c->a[3], c->a[4], c->a[5]}};
  uint32_t ret = ask(c->t->filters, &d), data = ret & SECCOMP_RET_DATA;
  switch (ret & SECCOMP_RET_ACTION_FULL) {
  case SECCOMP_RET_ALLOW:
  case SECCOMP_RET_LOG:
    return true;
  case SECCOMP_RET_ERRNO:
    *result = -(long)(data < ERRNO_MAX ? data : ERRNO_MAX);
    break;
  case SECCOMP_RET_TRACE:
  case SECCOMP_RET_USER_NOTIF:
    *result = -ENOSYS;
    break;
  case SECCOMP_RET_TRAP:
    *result = trap(c, &d, ret);
    break;
  case SECCOMP_RET_KILL_THREAD:
    kill_thread(c);
    break;
  default:
    die_now(c->t, SIGSYS_NR);
  }
  return false;
}

/* ---- over exec ---- */
long filters_send(const struct filter *f, int fd)
{
  if (!f)
    return 0;
  long r = filters_send(f->prev, fd);
  if (r >= 0)
    r = sys6(SYS_sendto, fd, (long)f->code, (long)(f->len * sizeof f->code[0]), MSG_DONTWAIT_K, 0, 0);
  return r < 0 ? r : 0;
}

uint32_t filters_count(const struct filter *f)
{
  return f ? 1 + filters_count(f->prev) : 0;
}

void filters_receive(struct thread *t, int fd, uint32_t n)
{
  size_t room = MAX_LENGTH * sizeof(struct sock_filter);
  void *code = n ? pages_new(room) : 0;
  for (uint32_t i = 0; i < n; i++) {
    long got = code ? sys3(SYS_read, fd, code, room) : -ENOMEM, r = -EINVAL;
    struct filter *f = got > 0 ? filter_new(t->filters, (uint32_t)got / sizeof(struct sock_filter), code, &r) : 0;
    if (!f)
      fatal("the program's own system call filters are lost (error %ld)", got < 0 ? -got : -r);
    t->filters = f;
  }
  if (code)
    pages_free(code, room);
}
