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
#define UNSHARED                                                                                                       \
  (KEPT | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWTIME_K | CLONE_FS |    \
   CLONE_FILES | CLONE_SIGHAND | CLONE_VM | CLONE_THREAD | CLONE_SYSVSEM)
#define CLONE_NEWTIME_K 0x80

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
  long r = c->a[0] & ~(unsigned long)UNSHARED ? -EINVAL : ns_allowed(c->a[0]);
  if (!r)
    r = threads && c->a[0] & (CLONE_FILES | CLONE_FS) ? -EINVAL : a_local(c);
  if (!r && c->a[0] & CLONE_FILES && c->p->files_shared)
    files_own(c->p);
  if (!r && c->a[0] & CLONE_NEWUTS)
    uts_entered(c->p);
  return r;
}

static bool is_pidfd(int fd)
{
  return sys4(SYS_pidfd_send_signal, fd, 0, 0, 0) != -EBADF;
}

/* The hub has not left the one that the session began in. */
static bool is_sessions_uts(void)
{
  char hubs[40];
  struct stat_k a, b;
  fmt(hubs, sizeof hubs, "/proc/%u/ns/uts", session->hub_pid);
  return sys2(SYS_stat, hubs, &a) == 0 && sys2(SYS_stat, "/proc/thread-self/ns/uts", &b) == 0 && a.ino == b.ino &&
         a.dev == b.dev;
}

/* setns(fd, type): what it is, the descriptor knows; a process descriptor has `type' as a set. */
long a_setns(struct call *c)
{
  int fd = (int)c->a[0];
  long kind = fd_hidden(c->p, fd) ? -EBADF : sys3(SYS_ioctl, fd, NS_GET_NSTYPE, 0);
  if (kind == -EBADF || (kind > 0 && c->a[1] && (int)c->a[1] != kind))
    return kind > 0 ? -EINVAL : kind;
  long r = kind > 0 ? ns_allowed((uint64_t)kind) : is_pidfd(fd) ? ns_allowed(c->a[1]) : 0;
  if (!r)
    r = a_local(c);
  if (!r && (kind > 0 ? (uint64_t)kind : c->a[1]) & CLONE_NEWUTS)
    c->p->own_uts = is_sessions_uts() ? UTS_SESSION : UTS_OWN;
  return r;
}
