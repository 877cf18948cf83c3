/*
 * Process contexts that differ from the session's own: their root directory and whom they act as.
 *
 * Linux keeps both per thread, so the thread that makes a call takes them on for its length. The saved ids stay the
 * slave's own, which is what lets it come back. Owns the table. Must never: make a call for a context as anybody else,
 * or leave the main thread as somebody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "slave/slave.h"

#define BUCKETS 256
#define CONTEXTS_MAX 65536

struct context {
  struct context *next;
  uint32_t ctx;
  int root;   /* descriptor, -1: the slave's own */
  int broken; /* -errno: its root could not be kept, so none of its calls are made */
  bool other; /* other ids than the slave's */
  uint32_t ruid, uid, rgid, gid;
  uint32_t ngroups;
  gid_t groups[CONTEXT_GROUPS];
};

static struct {
  pthread_mutex_t lock; /* workers look contexts up */
  struct context *at[BUCKETS];
  unsigned count;
  bool known;
  uid_t ruid, euid, suid;
  gid_t rgid, egid, sgid;
  int death; /* the signal at our parent's death, which changing ids forgets */
  pid_t parent;
  int ngroups;
  gid_t groups[CONTEXT_GROUPS];
} C = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The C library's functions would change all threads. */
#ifdef SYS_setresuid32 /* the plain ones' ids have 16 bits */
#define NR_setresuid SYS_setresuid32
#define NR_setresgid SYS_setresgid32
#define NR_setgroups SYS_setgroups32
#else
#define NR_setresuid SYS_setresuid
#define NR_setresgid SYS_setresgid
#define NR_setgroups SYS_setgroups
#endif

static int set_ids(uint32_t r, uint32_t e, uint32_t s)
{
  return syscall(NR_setresuid, r, e, s) ? -errno : 0;
}

static int set_gids(uint32_t r, uint32_t e, uint32_t s)
{
  return syscall(NR_setresgid, r, e, s) ? -errno : 0;
}

static int set_groups(unsigned n, const gid_t *groups)
{
  return syscall(NR_setgroups, n, groups) ? -errno : 0;
}

static bool own_learn(void)
{
  if (!C.known) {
    C.ngroups = getgroups(CONTEXT_GROUPS, C.groups);
    C.parent = getppid();
    prctl(PR_GET_PDEATHSIG, &C.death);
    C.known = C.ngroups >= 0 && !getresuid(&C.ruid, &C.euid, &C.suid) && !getresgid(&C.rgid, &C.egid, &C.sgid);
  }
  return C.known;
}

static struct context **find(uint32_t ctx)
{
  struct context **at = &C.at[ctx % BUCKETS];
  while (*at && (*at)->ctx != ctx)
    at = &(*at)->next;
  return at;
}

static void drop(struct context **at)
{
  struct context *x = *at;
  *at = x->next;
  if (x->root >= 0)
    close(x->root);
  free(x);
  C.count--;
}

void context_own_umask(void)
{
  unshare(CLONE_FS);
}

/* ---- being told ---- */

static bool same_groups(const struct context *x)
{
  return x->ngroups == (unsigned)C.ngroups && !memcmp(x->groups, C.groups, x->ngroups * sizeof *x->groups);
}

static int take_root(struct context *x, uint64_t root)
{
  struct handle *h = root == H_ROOT ? 0 : handle_get(root);
  x->root = h ? fcntl(h->fd, F_DUPFD_CLOEXEC, 3) : -1;
  if (h)
    handle_put(h);
  return root == H_ROOT || x->root >= 0 ? 0 : -EBADF;
}

static void add(struct context *x)
{
  pthread_mutex_lock(&C.lock);
  struct context **at = find(x->ctx);
  if (*at)
    drop(at);
  x->next = C.at[x->ctx % BUCKETS];
  C.at[x->ctx % BUCKETS] = x;
  C.count++;
  pthread_mutex_unlock(&C.lock);
}

static void forget(uint32_t ctx)
{
  pthread_mutex_lock(&C.lock);
  struct context **at = find(ctx);
  if (*at)
    drop(at);
  pthread_mutex_unlock(&C.lock);
}

bool context_set(uint32_t ctx, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  uint64_t root = get_u64(&r), ruid = get_u64(&r);
  if (ruid == CONTEXT_OVER) {
    forget(ctx);
    return true;
  }
  struct context *x = C.count < CONTEXTS_MAX && own_learn() ? calloc(1, sizeof *x) : 0;
  if (!x)
    return false;
  x->ctx = ctx;
  x->ruid = (uint32_t)ruid, x->uid = (uint32_t)get_u64(&r);
  x->rgid = (uint32_t)get_u64(&r), x->gid = (uint32_t)get_u64(&r);
  uint32_t bytes;
  const uint8_t *groups = get_blob(&r, &bytes, sizeof x->groups);
  x->broken = take_root(x, root);
  if (r.bad || bytes % 4) {
    if (x->root >= 0)
      close(x->root);
    free(x);
    return false;
  }
  x->ngroups = bytes / 4;
  struct rbuf g = {groups, groups + bytes, false};
  for (uint32_t i = 0; i < x->ngroups; i++)
    x->groups[i] = get_u32(&g);
  x->other = x->ruid != C.ruid || x->uid != C.euid || x->rgid != C.rgid || x->gid != C.egid || !same_groups(x);
  add(x);
  return true;
}

/* ---- a call ---- */

/* A copy: what is told later does not change a call that is under way. 1: found, 0: the session's own, -errno. */
static int look_up(uint32_t ctx, struct context *x)
{
  int err = 0;
  if (!__atomic_load_n(&C.count, __ATOMIC_RELAXED))
    return 0;
  pthread_mutex_lock(&C.lock);
  struct context **at = find(ctx);
  bool found = *at;
  if (found) {
    *x = **at;
    err = x->broken;
  }
  if (found && !err && x->root >= 0 && (x->root = fcntl(x->root, F_DUPFD_CLOEXEC, 3)) < 0)
    err = -errno; /* without its root it is not made at all */
  pthread_mutex_unlock(&C.lock);
  return err ? err : found;
}

static int become(const struct context *x)
{
  int err = set_groups(x->ngroups, x->groups);
  if (!err)
    err = set_gids(x->rgid, x->gid, C.sgid);
  if (!err)
    err = set_ids(x->ruid, x->uid, C.suid);
  return err;
}

static void come_back(void)
{
  if (set_ids(C.ruid, C.euid, C.suid) || set_gids(C.rgid, C.egid, C.sgid) || set_groups((unsigned)C.ngroups, C.groups))
    abort(); /* nobody else's call may be made like this */
  if (!C.death)
    return;
  prctl(PR_SET_PDEATHSIG, C.death);
  if (getppid() != C.parent)
    raise(C.death);
}

int context_enter(uint32_t ctx, struct taken *t)
{
  struct context x;
  *t = (struct taken){.root = -1};
  int known = look_up(ctx, &x);
  if (known <= 0)
    return known;
  t->root = x.root;
  t->ids = x.other;
  int err = x.other ? become(&x) : 0;
  if (err)
    context_leave(t);
  return err;
}

void context_leave(struct taken *t)
{
  if (t->ids)
    come_back();
  if (t->root >= 0)
    close(t->root);
  *t = (struct taken){.root = -1};
}
