/* Where the program is, and its limits and settings: host name, prctl, rlimits. Answered from the session's facts. */
#include <linux/capability.h>

#include "agent/call.h"
#include "agent/start.h"
#include "agent/sysnum.h"

bool capable(unsigned cap)
{
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
  return sys2(SYS_capget, &head, data) == 0 && data[cap / 32].effective >> cap % 32 & 1;
}

struct utsname_k {
  char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};

/* The slave's name on the master's kernel and machine: the programs that run are the latter's. */
long a_uname(struct call *c)
{
  struct utsname_k u;
  long r = sys1(SYS_uname, &u);
  if (r)
    return r;
  if (!standalone() && mode_remote() && !c->p->own_uts) {
    c->where = N_MEMORY;
    memcpy(u.nodename, session->facts.hostname, sizeof u.nodename);
    memcpy(u.domainname, session->facts.domain, sizeof u.domainname);
    u.nodename[64] = u.domainname[64] = 0;
  }
  return copy_out((void *)c->a[0], &u, sizeof u) ? -EFAULT : 0;
}

/* sethostname, setdomainname: the slave's, and what the session remembers of it. */
long a_hostname(struct call *c)
{
  struct facts *f = &session->facts;
  char name[sizeof f->hostname] = "";
  if (standalone() || !mode_remote() || c->p->own_uts)
    return a_local(c);
  if (c->p->ids.euid)
    return -EPERM;
  if ((int)c->a[1] < 0 || (int)c->a[1] >= (int)sizeof name)
    return -EINVAL;
  c->a[1] = (unsigned)c->a[1];
  if (copy_in(name, (void *)c->a[0], c->a[1]))
    return -EFAULT;
  long r = remote_row(c, c->row, c->a, 0);
  if (!r)
    memcpy(c->nr == SYS_sethostname ? f->hostname : f->domain, name, sizeof name);
  return r;
}

/* %gs belongs to the agent. */
long a_arch_prctl(struct call *c)
{
  if (c->a[0] == ARCH_SET_GS)
    return -EPERM;
  if (c->a[0] == ARCH_GET_GS) {
    uint64_t zero = 0;
    return copy_out((void *)c->a[1], &zero, 8) ? -EFAULT : 0;
  }
  return a_local(c);
}

/* The agent's filter needs it in the kernel, where nothing can take it back; the program's own idea of it is kept. */
static long no_new_privs(struct call *c)
{
  bool set = c->a[0] == PR_SET_NO_NEW_PRIVS;
  if (c->a[1] != set || c->a[2] || c->a[3] || c->a[4])
    return -EINVAL;
  if (set) {
    c->t->no_new_privs = true;
    session->procs[c->p->ctx % SESSION_PROCS].no_new_privs = 1;
  }
  return set ? 0 : c->t->no_new_privs;
}

/* The kernel, to which the program has it set, would let everybody. */
long a_landlock_restrict_self(struct call *c)
{
  return c->t->no_new_privs || capable(CAP_SYS_ADMIN) ? a_local(c) : -EPERM;
}

long a_prctl(struct call *c)
{
  switch (c->a[0]) {
  case PR_GET_SECCOMP:
  case PR_SET_SECCOMP:
    return filter_prctl(c);
  case PR_GET_NO_NEW_PRIVS:
  case PR_SET_NO_NEW_PRIVS:
    return no_new_privs(c);
  default:
    return a_local(c);
  }
}

static bool thread_of(int tid, int pid)
{
  char path[48];
  fmt(path, sizeof path, "/proc/%d/task/%d", pid, tid);
  return sys2(SYS_access, path, 0) == 0;
}

#define PTRACE_TRACEME_K 0
#define PTRACE_ATTACH_K 16
#define PTRACE_SEIZE_K 0x4206

/* A tracer would see the agent at work instead of the program; one that only stops threads to read their registers and
   memory, which it shares, sees what it needs. */
long a_ptrace(struct call *c)
{
  static const char why[] =
      "nexec: programs of a session cannot be traced from inside it; `nexec --trace' shows their calls\n";
  static uint32_t said;
  int lender = c->p->lender, tid = (int)c->a[1];
  if (lender && c->a[0] && thread_of(tid, lender))
    return a_local(c);
  bool begins = c->a[0] == PTRACE_TRACEME_K || c->a[0] == PTRACE_ATTACH_K || c->a[0] == PTRACE_SEIZE_K;
  if (begins && !__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED))
    last_words(why, sizeof why - 1);
  return -EPERM;
}

/* ---- limits: the number of open files leaves the agent's descriptors out ---- */
#define RLIMIT_NOFILE_K 7
#define AFD_HIGHEST 16384

/* Numbers that are the agent's but not in use are taken all the same, or the kernel would hand them out. */
void afd_fill(const struct proc *p)
{
  for (int i = 0; i < AFD_COUNT; i++)
    if (sys2(SYS_fcntl, p->afd_base + i, F_GETFD) < 0)
      sys3(SYS_dup3, afd(p, AFD_SESSION), p->afd_base + i, 0);
}

void afd_yield(const struct proc *p, int from)
{
  sys3(SYS_close_range, p->afd_base + from, p->afd_base + AFD_COUNT - 1, 0);
}

static bool range_free(const struct proc *p, int from)
{
  for (int fd = from; fd < from + AFD_COUNT; fd++)
    if (!fd_hidden(p, fd) && sys2(SYS_fcntl, fd, F_GETFD) >= 0)
      return false;
  return true;
}

/* Moves the agent's descriptors to `base', so that the kernel runs out of numbers just where the program expects. */
static void afd_move(struct proc *p, int base)
{
  int old = p->afd_base;
  if (base == old || !range_free(p, base))
    return;
  bool up = base > old;
  for (int i = 0; i < AFD_COUNT; i++) {
    int k = up ? AFD_COUNT - 1 - i : i;
    long flags = sys2(SYS_fcntl, old + k, F_GETFD);
    if (flags < 0)
      continue;
    sys3(SYS_dup3, old + k, base + k, flags & 1 ? O_CLOEXEC : 0);
    if (old + k < base || old + k >= base + AFD_COUNT)
      sys1(SYS_close, old + k);
  }
  p->afd_base = base;
  session->procs[p->ctx % SESSION_PROCS].afd_base = base;
  afd_fill(p);
}

/*
 * The agent's numbers lie above what the program may use, as far as the hard limit and the cost of large tables allow
 * (the kernel copies them at every fork); fd_new() holds the program to its limit wherever they lie. Others may
 * be using the numbers, so then they stay.
 */
static uint64_t afd_place(const struct proc *p, uint64_t cur, uint64_t real_max)
{
  uint64_t base = cur < AFD_HIGHEST ? cur : AFD_HIGHEST;
  if (base + AFD_COUNT > real_max)
    base = real_max - AFD_COUNT;
  return p->refs > 1 || p->files_shared ? (uint64_t)p->afd_base : base;
}

uint64_t nofile_now(struct proc *p)
{
  const struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  uint64_t cur = __atomic_load_n(&e->nofile_cur, __ATOMIC_RELAXED), max = e->nofile_max;
  if (__atomic_load_n(&e->ctx, __ATOMIC_ACQUIRE) == p->ctx)
    p->rlim_cur = cur, p->rlim_max = max;
  return p->rlim_cur;
}

static void nofile_tell(struct proc_entry *e, const struct limit *new)
{
  __atomic_store_n(&e->nofile_max, new->max, __ATOMIC_RELAXED);
  __atomic_store_n(&e->nofile_cur, new->cur, __ATOMIC_RELAXED);
}

static long nofile_check(const struct limit *new, uint64_t max)
{
  return new->cur > new->max ? -EINVAL : new->max > max ? -EPERM : 0;
}

static long nofile_set(struct proc *p, const struct limit *new)
{
  long r = nofile_check(new, p->rlim_max);
  if (r)
    return r;
  struct limit real;
  sys4(SYS_prlimit64, 0, RLIMIT_NOFILE_K, 0, &real);
  struct limit open = {real.max, real.max};
  sys4(SYS_prlimit64, 0, RLIMIT_NOFILE_K, &open, 0);
  afd_move(p, (int)afd_place(p, new->cur, real.max));
  uint64_t least = (uint64_t)p->afd_base + AFD_COUNT;
  real.cur = new->cur > least ? new->cur : least;
  if (real.cur > real.max)
    real.cur = real.max;
  sys4(SYS_prlimit64, 0, RLIMIT_NOFILE_K, &real, 0);
  p->rlim_cur = new->cur;
  p->rlim_max = new->max;
  struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  if (e->ctx == p->ctx)
    nofile_tell(e, new);
  return 0;
}

/* Every program of the session is the same executable to the kernel. */
bool in_session(int pid)
{
  char link[32], name[64], want[64];
  fmt(link, sizeof link, "/proc/%d/exe", pid);
  long n = sys3(SYS_readlink, link, name, sizeof name);
  int m = fmt(want, sizeof want, "/memfd:fsyscall-agent-%lx ", (unsigned long)session->id);
  return n > m && !memcmp(name, want, (size_t)m);
}

/* A number may have been that of an earlier process, too. */
struct proc_entry *proc_of_pid(int pid)
{
  struct proc_entry *found = 0;
  if (!in_session(pid))
    return 0;
  for (unsigned i = 0; i < SESSION_PROCS; i++) {
    struct proc_entry *e = &session->procs[i];
    bool his = __atomic_load_n(&e->pid, __ATOMIC_RELAXED) == (uint32_t)pid;
    if (his && __atomic_load_n(&e->ctx, __ATOMIC_ACQUIRE) && (!found || e->ctx > found->ctx))
      found = e;
  }
  return found;
}

/* Of another process. The kernel has to be asked whether we may; the agent there needs room above its numbers. */
static long nofile_other(int pid, const struct limit *new, struct limit *old)
{
  struct limit real;
  struct proc_entry *e = proc_of_pid(pid);
  long r = sys4(SYS_prlimit64, pid, RLIMIT_NOFILE_K, 0, &real);
  if (r)
    return r;
  if (!e)
    return new ? sys4(SYS_prlimit64, pid, RLIMIT_NOFILE_K, new, old) : (*old = real, 0);
  *old = (struct limit){e->nofile_cur, e->nofile_max};
  if (!new)
    return 0;
  r = nofile_check(new, e->nofile_max);
  if (r)
    return r;
  if (real.cur < new->cur)
    real.cur = new->cur < real.max ? new->cur : real.max;
  r = sys4(SYS_prlimit64, pid, RLIMIT_NOFILE_K, &real, 0);
  if (!r)
    nofile_tell(e, new);
  return r;
}

static long nofile_own(struct proc *p, const struct limit *new, struct limit *old)
{
  lock(&p->lock);
  nofile_now(p);
  *old = (struct limit){p->rlim_cur, p->rlim_max};
  long r = new ? nofile_set(p, new) : 0;
  unlock(&p->lock);
  return r;
}

long a_rlimit(struct call *c)
{
  bool both = c->nr == SYS_prlimit64;
  unsigned long pid = both ? c->a[0] : 0, which = c->a[both], in = 0, out = 0;
  int space = space_of(which);
  if (which != RLIMIT_NOFILE_K && space == SPACES)
    return a_local(c);
  if (both)
    in = c->a[2], out = c->a[3];
  else if (c->nr == SYS_setrlimit)
    in = c->a[1];
  else
    out = c->a[1];
  struct limit old, new;
  if (in && copy_in(&new, (void *)in, sizeof new))
    return -EFAULT;
  const struct limit *set = in ? &new : 0;
  bool own = !pid || (int)pid == c->p->pid;
  long r = space != SPACES ? (own ? space_own(c->p, space, set, &old) : space_other((int)pid, space, set, &old))
           : own           ? nofile_own(c->p, set, &old)
                           : nofile_other((int)pid, set, &old);
  return r ? r : out && copy_out((void *)out, &old, sizeof old) ? -EFAULT : 0;
}

bool fd_hidden(const struct proc *p, int fd)
{
  return fd >= p->afd_base && fd < p->afd_base + AFD_COUNT;
}
