/* Where the program is, and its limits and settings: host name, prctl, rlimits. Answered from the session's facts. */
#include <linux/capability.h>

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
  if (!standalone()) {
    c->where = N_MEMORY;
    memcpy(u.nodename, session->facts.hostname, sizeof u.nodename);
    memcpy(u.domainname, session->facts.domain, sizeof u.domainname);
    u.nodename[64] = u.domainname[64] = 0;
  }
  return copy_out((void *)c->a[0], &u, sizeof u) ? -EFAULT : 0;
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
  if (set)
    c->t->no_new_privs = true;
  return set ? 0 : c->t->no_new_privs;
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

/* A tracer would see the agent at work instead of the program; one that only stops threads to read their registers and
   memory, which it shares, sees what it needs. */
long a_ptrace(struct call *c)
{
  int lender = c->p->lender, tid = (int)c->a[1];
  return lender && c->a[0] && thread_of(tid, lender) ? a_local(c) : -EPERM;
}

/* ---- limits: the number of open files leaves the agent's descriptors out ---- */
#define RLIMIT_NOFILE_K 7
#define AFD_HIGHEST 16384
struct rlimit_k {
  uint64_t cur, max;
};

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
  afd_fill(p);
}

/*
 * The agent's numbers lie above what the program may use, as far as the hard limit and the cost of large tables allow
 * (the kernel copies them at every fork); fd_new() holds the program to its limit wherever they lie. Other threads may
 * be using the numbers, so then they stay.
 */
static uint64_t afd_place(const struct proc *p, uint64_t cur, uint64_t real_max)
{
  uint64_t base = cur < AFD_HIGHEST ? cur : AFD_HIGHEST;
  if (base + AFD_COUNT > real_max)
    base = real_max - AFD_COUNT;
  return p->refs > 1 ? (uint64_t)p->afd_base : base;
}

static long nofile_set(struct proc *p, const struct rlimit_k *new)
{
  if (new->cur > new->max)
    return -EINVAL;
  if (new->max > p->rlim_max)
    return -EPERM;
  struct rlimit_k real;
  sys4(SYS_prlimit64, 0, RLIMIT_NOFILE_K, 0, &real);
  struct rlimit_k open = {real.max, real.max};
  sys4(SYS_prlimit64, 0, RLIMIT_NOFILE_K, &open, 0);
  afd_move(p, (int)afd_place(p, new->cur, real.max));
  uint64_t least = (uint64_t)p->afd_base + AFD_COUNT;
  real.cur = new->cur > least ? new->cur : least;
  if (real.cur > real.max)
    real.cur = real.max;
  sys4(SYS_prlimit64, 0, RLIMIT_NOFILE_K, &real, 0);
  p->rlim_cur = new->cur;
  p->rlim_max = new->max;
  return 0;
}

long a_rlimit(struct call *c)
{
  bool both = c->nr == SYS_prlimit64;
  unsigned long pid = both ? c->a[0] : 0, which = c->a[both], in = 0, out = 0;
  if (which != RLIMIT_NOFILE_K || (pid && pid != (unsigned long)c->p->pid))
    return a_local(c);
  if (both)
    in = c->a[2], out = c->a[3];
  else if (c->nr == SYS_setrlimit)
    in = c->a[1];
  else
    out = c->a[1];
  struct rlimit_k old = {c->p->rlim_cur, c->p->rlim_max}, new;
  if (in && copy_in(&new, (void *)in, sizeof new))
    return -EFAULT;
  lock(&c->p->lock);
  long r = in ? nofile_set(c->p, &new) : 0;
  unlock(&c->p->lock);
  return r ? r : out && copy_out((void *)out, &old, sizeof old) ? -EFAULT : 0;
}

bool fd_hidden(const struct proc *p, int fd)
{
  return fd >= p->afd_base && fd < p->afd_base + AFD_COUNT;
}
