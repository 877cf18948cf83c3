/*
 * RLIMIT_AS and RLIMIT_DATA. The kernel counts what the agent maps as well, so it is given the program's limit and that
 * much more; the program is told its own.
 *
 * Owns struct proc's `space' and the count of what the agent has mapped. Must never: lower the kernel's hard limit,
 * which the agent's next mapping may need.
 */
#include <linux/capability.h>

#include "agent/start.h"
#include "agent/sysnum.h"

#define UNLIMITED (~0ul)

static const int which_limit[SPACES] = {[SPACE_ALL] = RLIMIT_AS_K, [SPACE_DATA] = RLIMIT_DATA_K};
static uint64_t taken[SPACES];
static struct lock space_lock; /* guards it, and what the kernel is given */

int space_of(unsigned long limit)
{
  return limit == RLIMIT_AS_K ? SPACE_ALL : limit == RLIMIT_DATA_K ? SPACE_DATA : SPACES;
}

static struct proc_entry *entry_of(const struct proc *p)
{
  struct proc_entry *e = &session->procs[p->ctx % SESSION_PROCS];
  return __atomic_load_n(&e->ctx, __ATOMIC_ACQUIRE) == p->ctx ? e : 0;
}

/* What the kernel is to keep to. A limit of no data at all stays one: the kernel makes an exception of it. */
static struct limit for_kernel(int which, const struct limit *l, uint64_t agents, uint64_t max)
{
  uint64_t cur = l->cur > UNLIMITED - agents ? UNLIMITED : l->cur || which == SPACE_ALL ? l->cur + agents : 0;
  return (struct limit){cur, max > cur ? max : cur};
}

/* Of process `pid' (0: this one); as far as the kernel lets us. */
static long enforce(int pid, int which, const struct limit *l, uint64_t agents)
{
  struct limit real, want;
  long r = sys4(SYS_prlimit64, pid, which_limit[which], 0, &real);
  if (r)
    return r;
  want = for_kernel(which, l, agents, real.max);
  if (sys4(SYS_prlimit64, pid, which_limit[which], &want, 0) == 0)
    return 0;
  want = (struct limit){want.cur < real.max ? want.cur : real.max, real.max};
  return sys4(SYS_prlimit64, pid, which_limit[which], &want, 0);
}

static void enforce_own(struct proc *p, int which)
{
  if (p->space[which].cur != UNLIMITED)
    enforce(0, which, &p->space[which], taken[which]);
}

void space_tell(const struct proc *p, struct proc_entry *e)
{
  for (int i = 0; i < SPACES; i++) {
    e->space[i] = p->space[i];
    e->agents[i] = taken[i];
  }
}

void space_now(struct proc *p)
{
  const struct proc_entry *e = entry_of(p);
  for (int i = 0; e && i < SPACES; i++)
    p->space[i] = e->space[i];
}

/* ---- what the agent maps ---- */

/* Under a lock, and so all or nothing for a child that is forked meanwhile. */
void space_add(enum space which, int64_t bytes)
{
  if (!thread_ready()) {
    taken[which] += (uint64_t)bytes;
    return;
  }
  struct proc *p = self()->proc;
  struct proc_entry *e = entry_of(p);
  lock(&space_lock);
  taken[which] += (uint64_t)bytes;
  if (e)
    __atomic_store_n(&e->agents[which], taken[which], __ATOMIC_RELAXED);
  enforce_own(p, which);
  unlock(&space_lock);
}

/* As the kernel has mapped it. */
void space_image(void)
{
  space_add(SPACE_ALL, agent_end - agent_text_begin);
  space_add(SPACE_DATA, agent_end - agent_data);
}

void space_start(struct proc *p, const struct carry *k)
{
  for (int i = 0; i < SPACES; i++) {
    p->space[i] = k->space[i];
    if (k->kind == CARRY_FIRST)
      sys4(SYS_prlimit64, 0, which_limit[i], 0, &p->space[i]);
    enforce_own(p, i);
  }
}

static bool enforced(int which, const struct limit *l, const struct limit *real)
{
  struct limit want = for_kernel(which, l, taken[which], real->max);
  return real->cur == want.cur || (real->cur == real->max && want.cur > real->max);
}

/* A child whose parent set its limits before anybody knew that it is of the session: the kernel has them as they are
   meant. Whoever knows tells it first and the kernel then (space_other). */
void space_born(struct proc *p)
{
  struct limit real;
  for (int i = 0; i < SPACES; i++) {
    struct proc_entry *e = entry_of(p);
    if (!e || sys4(SYS_prlimit64, 0, which_limit[i], 0, &real) || enforced(i, &p->space[i], &real))
      continue;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    struct limit now = e->space[i];
    if (enforced(i, &now, &real))
      continue;
    p->space[i] = e->space[i] = real;
    enforce_own(p, i);
  }
}

/* ---- the program's calls ---- */

static long check(const struct limit *new, const struct limit *old)
{
  if (new->cur > new->max)
    return -EINVAL;
  return new->max > old->max && !capable(CAP_SYS_RESOURCE) ? -EPERM : 0;
}

long space_own(struct proc *p, int which, const struct limit *new, struct limit *old)
{
  struct proc_entry *e = entry_of(p);
  space_now(p);
  *old = p->space[which];
  long r = new ? check(new, old) : 0;
  if (r || !new)
    return r;
  lock(&space_lock);
  p->space[which] = *new;
  if (e)
    e->space[which] = *new;
  r = enforce(0, which, new, taken[which]);
  unlock(&space_lock);
  return r;
}

/* The kernel says whether we may. One that is not known yet finds its limits with the kernel, see space_born(). */
long space_other(int pid, int which, const struct limit *new, struct limit *old)
{
  struct proc_entry *e = proc_of_pid(pid);
  long r = sys4(SYS_prlimit64, pid, which_limit[which], e ? 0 : new, old);
  if (r || (!e && !(e = proc_of_pid(pid))))
    return r;
  *old = e->space[which];
  r = new ? check(new, old) : 0;
  if (r || !new)
    return r;
  e->space[which] = *new;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  r = enforce(pid, which, new, __atomic_load_n(&e->agents[which], __ATOMIC_RELAXED));
  if (r)
    e->space[which] = *old;
  return r;
}
