/*
 * SysV IPC: the objects are the master's, their owners are shown as the program's user and group, and given back to
 * whoever that is here.
 *
 * Owns nothing. Must never change what is no owner.
 */
#include "agent/start.h"
#include "agent/sysnum.h"

#define IPC_64_FLAG 0x100
enum { IPC_SET_K = 1, IPC_STAT_K = 2 };

/* The beginning of the three structures. */
struct perm {
  uint32_t key, uid, gid, cuid, cgid;
};

/* The *_STAT commands of each call, by index and by any user. */
static bool is_stat(int nr, unsigned long cmd)
{
  switch (nr) {
  case SYS_shmctl:
    return cmd == IPC_STAT_K || cmd == 13 || cmd == 15;
  case SYS_msgctl:
    return cmd == IPC_STAT_K || cmd == 11 || cmd == 13;
  default:
    return cmd == IPC_STAT_K || cmd == 18 || cmd == 20;
  }
}

static long show(void *user)
{
  struct perm p;
  if (copy_in(&p, user, sizeof p))
    return -EFAULT;
  p.uid = uid_shown(p.uid), p.cuid = uid_shown(p.cuid);
  p.gid = gid_shown(p.gid), p.cgid = gid_shown(p.cgid);
  return copy_out(user, &p, sizeof p) ? -EFAULT : 0;
}

/* IPC_SET: the owner is the master's user while the kernel looks. */
static long set(struct call *c, void *user)
{
  const struct facts *f = &session->facts;
  struct perm given, p;
  if (copy_in(&given, user, sizeof given))
    return -EFAULT;
  p = given;
  p.uid = p.uid == f->ruid ? f->master_uid : p.uid;
  p.gid = p.gid == f->rgid ? f->master_gid : p.gid;
  if (copy_out(user, &p, sizeof p))
    return -EFAULT;
  long r = a_local(c);
  copy_out(user, &given, sizeof given);
  return r;
}

/* shmctl(id, cmd, buf), msgctl(id, cmd, buf), semctl(id, n, cmd, arg) */
long a_ipcctl(struct call *c)
{
  bool sem = c->nr == SYS_semctl;
  unsigned long cmd = c->a[sem ? 2 : 1] & ~(unsigned long)IPC_64_FLAG;
  void *user = (void *)c->a[sem ? 3 : 2];
  if (!standalone() && cmd == IPC_SET_K)
    return set(c, user);
  long r = a_local(c);
  return r < 0 || standalone() || !is_stat(c->nr, cmd) ? r : show(user) ? -EFAULT : r;
}
