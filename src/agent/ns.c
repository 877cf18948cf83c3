/*
 * Namespaces: unshare and setns, and which of them a process of a session may have of its own.
 *
 * Owns no state. Must never let a process into a process number namespace: the session's hub knows it by its number.
 * Nor into a user namespace: there the program's ids, which are the slave's, would mean nothing to its map.
 */
#include <linux/nsfs.h>

#include "agent/start.h"
#include "agent/sysnum.h"

#define KEPT (CLONE_NEWPID | CLONE_NEWUSER)

long ns_allowed(uint64_t flags)
{
  return !standalone() && flags & KEPT ? -EPERM : 0;
}

/* The agent has one table and one directory for all threads of a process. */
long a_unshare(struct call *c)
{
  bool threads = __atomic_load_n(&c->p->refs, __ATOMIC_RELAXED) > 1;
  long r = ns_allowed(c->a[0]);
  return r ? r : threads && c->a[0] & (CLONE_FILES | CLONE_FS) ? -EINVAL : a_local(c);
}

/* setns(fd, type): what it is, the descriptor knows; a process descriptor has `type' as a set. */
long a_setns(struct call *c)
{
  long kind = fd_hidden(c->p, (int)c->a[0]) ? -EBADF : sys3(SYS_ioctl, c->a[0], NS_GET_NSTYPE, 0);
  long r = kind == -EBADF ? -EBADF : ns_allowed(kind > 0 ? (uint64_t)kind : c->a[1]);
  return r ? r : a_local(c);
}
