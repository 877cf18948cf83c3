/*
 * Namespaces: unshare and setns, and which of them a process of a session may have of its own.
 *
 * Owns no state. Must never let a process into a process number namespace: the session's hub knows it by its number.
 * Nor into a user namespace: there the program's ids, which are the slave's, would mean nothing to its map.
 */
#include <linux/nsfs.h>

#include "agent/call.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define KEPT (CLONE_NEWPID | CLONE_NEWUSER)

long ns_allowed(uint64_t flags)
{
  return !standalone() && flags & KEPT ? -EPERM : 0;
}

/* What a process sets in there stays there; what it finds is the name that it knows. */
void uts_entered(struct proc *p)
{
  char name[sizeof session->facts.hostname], domain[sizeof session->facts.domain];
  if (standalone())
    return;
  memcpy(name, session->facts.hostname, sizeof name);
  memcpy(domain, session->facts.domain, sizeof domain);
  name[sizeof name - 1] = domain[sizeof domain - 1] = 0;
  sys2(SYS_sethostname, name, strlen(name));
  sys2(SYS_setdomainname, domain, strlen(domain));
  p->own_uts = UTS_OWN;
}

/* The table is this process's own, from here on. */
void files_own(struct proc *p)
{
  cwd_own(p);
  vft_forget_range(p, 0, ~0u);
  p->files_shared = false;
}

void files_unshare(struct proc *p)
{
  sys1(SYS_unshare, CLONE_FILES);
  cwd_own(p);
}

/* The agent has one table and one directory for all threads of a process. */
long a_unshare(struct call *c)
{
  bool threads = __atomic_load_n(&c->p->refs, __ATOMIC_RELAXED) > 1;
  long r = ns_allowed(c->a[0]);
  if (!r)
    r = threads && c->a[0] & (CLONE_FILES | CLONE_FS) ? -EINVAL : a_local(c);
  if (!r && c->a[0] & CLONE_FILES && c->p->files_shared)
    files_own(c->p);
  if (!r && c->a[0] & CLONE_NEWUTS)
    uts_entered(c->p);
  return r;
}

/* setns(fd, type): what it is, the descriptor knows; a process descriptor has `type' as a set. */
long a_setns(struct call *c)
{
  long kind = fd_hidden(c->p, (int)c->a[0]) ? -EBADF : sys3(SYS_ioctl, c->a[0], NS_GET_NSTYPE, 0);
  long r = kind == -EBADF ? -EBADF : ns_allowed(kind > 0 ? (uint64_t)kind : c->a[1]);
  if (!r)
    r = a_local(c);
  if (!r && (kind > 0 ? (uint64_t)kind : c->a[1]) & CLONE_NEWUTS)
    c->p->own_uts = UTS_OWN;
  return r;
}
