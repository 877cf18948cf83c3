/*
 * Whom a process is on the slave: user and group ids, supplementary groups, and the root directory that chroot(2) gave
 * it. The slave is told of whatever differs from the session's own (W_CONTEXT) and makes this process's calls with it.
 *
 * Owns struct proc's `ids' and `own_ids'. Where both sides' users are root, the kernel here changes the process's ids
 * as well, and says what it may. Else nothing of it is the kernel's: to that the process stays who it is, so local
 * files, signals and resources are as the master's user may have them. To the slave ids are the process's, not each
 * thread's.
 */
#include <linux/capability.h>

#include "agent/call.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define ANY 0xffffffffu
#define NGROUPS_MAX_K 65536

/* Whose a local object is, as the program sees it: what belongs to the master's user belongs to the slave's. */
uint32_t uid_shown(uint32_t uid)
{
  return !standalone() && mode_remote() && uid == session->facts.master_uid ? session->facts.ruid : uid;
}

uint32_t gid_shown(uint32_t gid)
{
  return !standalone() && mode_remote() && gid == session->facts.master_gid ? session->facts.rgid : gid;
}

bool creds_foreign(const struct proc *p)
{
  return p->own_ids || p->rooted == ROOT_REMOTE;
}

/* ---- the slave's knowledge ---- */

void creds_tell(struct proc *p)
{
  struct req q;
  const struct ids *i = &p->ids;
  req_start_op(&q, self(), W_CONTEXT);
  put_u64(&q.w, p->rooted == ROOT_REMOTE ? p->root.v : (uint32_t)H_ROOT);
  put_u64(&q.w, i->ruid);
  put_u64(&q.w, i->fsuid);
  put_u64(&q.w, i->rgid);
  put_u64(&q.w, i->fsgid);
  put_blob(&q.w, i->groups, i->ngroups * 4);
  req_post_uncounted(&q, -1);
}

void creds_born(struct proc *p)
{
  if (creds_foreign(p))
    creds_tell(p);
}

/* ---- start and exec ---- */

static void session_ids(struct ids *i)
{
  const struct facts *f = &session->facts;
  *i = (struct ids){.ruid = f->ruid,
                    .euid = f->euid,
                    .suid = f->suid,
                    .fsuid = f->euid,
                    .rgid = f->rgid,
                    .egid = f->egid,
                    .sgid = f->sgid,
                    .fsgid = f->egid};
  i->ngroups = f->ngroups < 64 ? f->ngroups : 64; /* as many as the facts hold */
  memcpy(i->groups, f->groups, i->ngroups * 4);
}

void creds_start(struct proc *p, const struct carry *k)
{
  p->own_uts = (uint8_t)k->own_uts;
  p->own_ids = k->own_ids;
  if (!k->own_ids)
    session_ids(&p->ids);
  else
    p->ids = k->ids;
  p->ids.kept = 0;
  p->ids.suid = p->ids.fsuid = p->ids.euid;
  p->ids.sgid = p->ids.fsgid = p->ids.egid;
}

void creds_carry(const struct proc *p, struct carry *k)
{
  k->own_uts = p->own_uts;
  k->own_ids = p->own_ids;
  k->ids = p->ids;
}

/* ---- asking ---- */

static uint32_t id_of(const struct ids *i, long nr)
{
  switch (nr) {
  case SYS_getuid:
    return i->ruid;
  case SYS_geteuid:
    return i->euid;
  case SYS_getgid:
    return i->rgid;
  default:
    return i->egid;
  }
}

static long three_out(struct call *c, uint32_t a, uint32_t b, uint32_t d)
{
  uint32_t v[3] = {a, b, d};
  for (int i = 0; i < 3; i++)
    if (copy_out((void *)c->a[i], &v[i], sizeof v[i]))
      return -EFAULT;
  return 0;
}

static long groups_out(struct call *c, const struct ids *i)
{
  int room = (int)c->a[0], n = (int)i->ngroups;
  if (room < 0 || (room && room < n))
    return -EINVAL;
  return room && copy_out((void *)c->a[1], i->groups, (size_t)n * 4) ? -EFAULT : n;
}

long a_identity(struct call *c)
{
  const struct ids *i = &c->p->ids;
  if (standalone() || !mode_remote())
    return a_local(c);
  c->where = N_MEMORY;
  if (c->nr == SYS_getgroups)
    return groups_out(c, i);
  if (c->nr == SYS_getresuid)
    return three_out(c, i->ruid, i->euid, i->suid);
  if (c->nr == SYS_getresgid)
    return three_out(c, i->rgid, i->egid, i->sgid);
  return id_of(i, c->nr);
}

/* ---- changing: the rules of setuid(2), setreuid(2), setresuid(2) and setfsuid(2), and the same for groups ---- */

/* The four ids of one kind, as they are to become. */
struct four {
  uint32_t r, e, s, fs;
};

static bool among(uint32_t id, uint32_t a, uint32_t b, uint32_t c)
{
  return id == ANY || id == a || id == b || id == c;
}

static long set_one(struct four *v, bool powers, uint32_t id)
{
  if (id == ANY)
    return -EINVAL;
  if (!powers && id != v->r && id != v->s)
    return -EPERM;
  if (powers)
    v->r = v->s = id;
  v->e = v->fs = id;
  return 0;
}

static long set_two(struct four *v, bool powers, uint32_t r, uint32_t e)
{
  struct four old = *v;
  if (!powers && (!among(r, old.r, old.e, old.e) || !among(e, old.r, old.e, old.s)))
    return -EPERM;
  v->r = r == ANY ? old.r : r;
  v->e = v->fs = e == ANY ? old.e : e;
  if (r != ANY || (e != ANY && e != old.r))
    v->s = v->e;
  return 0;
}

static long set_three(struct four *v, bool powers, uint32_t r, uint32_t e, uint32_t s)
{
  struct four old = *v;
  if (!powers && !(among(r, old.r, old.e, old.s) && among(e, old.r, old.e, old.s) && among(s, old.r, old.e, old.s)))
    return -EPERM;
  v->r = r == ANY ? old.r : r;
  v->e = v->fs = e == ANY ? old.e : e;
  v->s = s == ANY ? old.s : s;
  return 0;
}

static long set_fs(struct four *v, bool powers, uint32_t id)
{
  long old = v->fs;
  if (id != ANY && (powers || among(id, v->r, v->e, v->s) || id == v->fs))
    v->fs = id;
  return old;
}

static long set_four(struct call *c, struct four *v, bool powers)
{
  uint32_t a = (uint32_t)c->a[0], b = (uint32_t)c->a[1], d = (uint32_t)c->a[2];
  switch (c->nr) {
  case SYS_setuid:
  case SYS_setgid:
    return set_one(v, powers, a);
  case SYS_setreuid:
  case SYS_setregid:
    return set_two(v, powers, a, b);
  case SYS_setresuid:
  case SYS_setresgid:
    return set_three(v, powers, a, b, d);
  default:
    return set_fs(v, powers, a);
  }
}

static bool powers(const struct ids *i)
{
  return i->euid == 0 || i->kept;
}

static long set_user(struct call *c, struct ids *i)
{
  struct four v = {i->ruid, i->euid, i->suid, i->fsuid};
  long r = set_four(c, &v, powers(i));
  if (i->euid == 0 && v.e != 0)
    i->kept = sys2(SYS_prctl, PR_GET_KEEPCAPS, 0) == 1;
  i->ruid = v.r, i->euid = v.e, i->suid = v.s, i->fsuid = v.fs;
  return r;
}

static long set_group(struct call *c, struct ids *i)
{
  struct four v = {i->rgid, i->egid, i->sgid, i->fsgid};
  long r = set_four(c, &v, powers(i));
  i->rgid = v.r, i->egid = v.e, i->sgid = v.s, i->fsgid = v.fs;
  return r;
}

/* More than a message holds find no memory. */
static long groups_in(struct call *c, struct ids *i)
{
  uint32_t n = (uint32_t)c->a[0];
  if (n > NGROUPS_MAX_K)
    return -EINVAL;
  for (uint32_t at = 0, k; at < n; at += k) {
    k = n - at < CONTEXT_GROUPS ? n - at : CONTEXT_GROUPS;
    if (copy_in(i->groups, (const uint32_t *)c->a[1] + at, k * 4))
      return -EFAULT;
  }
  if (n > CONTEXT_GROUPS)
    return -ENOMEM;
  i->ngroups = n;
  return 0;
}

static long set_groups(struct call *c, struct ids *i)
{
  return powers(i) ? groups_in(c, i) : -EPERM;
}

/* ---- the same by the kernel here ---- */

bool creds_real(void)
{
  const struct facts *f = &session->facts;
  return f->master_uid == 0 && f->ruid == 0 && f->euid == 0;
}

/* What root alone could use is to be anybody's from here on, as /tmp is. */
static void open_doors(void)
{
  char path[sizeof session->facts.tmpdir + 16];
  static uint32_t opened;
  if (__atomic_exchange_n(&opened, 1, __ATOMIC_RELAXED))
    return;
  fmt(path, sizeof path, "%s/.sockets", session->facts.tmpdir);
  sys2(SYS_mkdir, path, 0700);
  sys2(SYS_chmod, path, 01777);
  sys2(SYS_chmod, session->facts.tmpdir, 01777);
}

static long set_real(struct call *c, struct ids *i)
{
  long r = c->nr == SYS_setgroups && capable(CAP_SETGID) ? groups_in(c, i) : 0;
  if (r)
    return r;
  open_doors();
  r = a_local(c);
  if (r < 0)
    return r;
  sys3(SYS_getresuid, &i->ruid, &i->euid, &i->suid);
  sys3(SYS_getresgid, &i->rgid, &i->egid, &i->sgid);
  i->fsuid = (uint32_t)sys1(SYS_setfsuid, ANY);
  i->fsgid = (uint32_t)sys1(SYS_setfsgid, ANY);
  return r;
}

static bool of_users(long nr)
{
  return nr == SYS_setuid || nr == SYS_setreuid || nr == SYS_setresuid || nr == SYS_setfsuid;
}

long a_setid(struct call *c)
{
  struct proc *p = c->p;
  struct ids now = p->ids;
  if (standalone())
    return a_local(c);
  c->where = N_MEMORY;
  long r = creds_real()             ? set_real(c, &now)
           : c->nr == SYS_setgroups ? set_groups(c, &now)
           : of_users(c->nr)        ? set_user(c, &now)
                                    : set_group(c, &now);
  if (r < 0 || !memcmp(&now, &p->ids, sizeof now))
    return r;
  lock(&p->lock);
  p->ids = now;
  unlock(&p->lock);
  p->own_ids = true;
  creds_tell(p);
  return r;
}
