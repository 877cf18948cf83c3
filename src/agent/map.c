/*
 * Mapping files: mmap, munmap, mremap, msync, madvise. Owns the list of this address space's shared mappings of remote
 * files. Never lets the program touch memory of the agent.
 *
 * A mapping shows the placeholder, if that holds the contents, or a memfd that all programs of the session get from the
 * hub, one for each file (device, inode): filled once, as long as the file does not change. What a shared mapping
 * changed is found and written back by the hub, when W_FLUSH asks for it.
 */
#include <linux/mman.h>

#include "agent/lazy.h"
#include "agent/light.h"

#define PAGE 4096ul
#define TASK_END ((1ul << 47) - PAGE)
#define MAP_KIND 15
#define AF_UNIX 1
#define SOCK_SEQPACKET 5
#define SOCK_CLOEXEC 02000000
#define MSG_CMSG_CLOEXEC 0x40000000
#define SOL_SOCKET 1
#define SCM_RIGHTS 1

struct shared {
  struct shared *next;
  uint64_t addr, len, dev, ino;
};
static struct shared *list;
static struct lock list_lock, map_lock /* AFD_MAPPED, and what struct proc says of it */;

static uint64_t page_up(uint64_t n)
{
  return (n + PAGE - 1) & ~(PAGE - 1);
}

static bool overlaps(const struct shared *m, uint64_t addr, uint64_t len)
{
  return m->addr < addr + len && addr < m->addr + m->len;
}

/* ---- writing back ---- */

static long flush(uint64_t dev, uint64_t ino)
{
  struct req q;
  req_start_op(&q, self(), W_FLUSH);
  req_u64(&q, dev);
  req_u64(&q, ino);
  return req_call(&q, false);
}

static bool is_mapped(uint64_t dev, uint64_t ino)
{
  if (!__atomic_load_n(&list, __ATOMIC_ACQUIRE))
    return false;
  lock(&list_lock);
  struct shared *m = list;
  while (m && !(m->dev == dev && m->ino == ino))
    m = m->next;
  unlock(&list_lock);
  return m;
}

bool map_shows(const struct hstate *s)
{
  return is_mapped(s->attr.dev, s->attr.ino);
}

/* After a write to the file: its mappings show it once the hub has passed it on, which it has when it answers. */
void map_follow(const struct hstate *s)
{
  if (map_shows(s))
    flush(s->attr.dev, s->attr.ino);
}

void map_flush_all(struct proc *p)
{
  (void)p;
  if (__atomic_load_n(&list, __ATOMIC_ACQUIRE))
    flush(0, 0);
}

/* Writes back what lies in the range; 0 or the first -errno. */
static long flush_range(uint64_t addr, uint64_t len)
{
  long result = 0;
  for (uint64_t done = 0;;) {
    lock(&list_lock);
    struct shared *m = list, next = {0};
    for (; m; m = m->next)
      if (overlaps(m, addr, len) && m->addr >= done && (!next.len || m->addr < next.addr))
        next = *m;
    unlock(&list_lock);
    if (!next.len)
      return result;
    long r = flush(next.dev, next.ino);
    result = result ? result : r;
    done = next.addr + 1;
  }
}

/* ---- the list ---- */

static void remember(uint64_t addr, uint64_t len, uint64_t dev, uint64_t ino)
{
  struct shared *m = small_new(sizeof *m);
  if (!m)
    fatal("no memory to remember a mapping");
  *m = (struct shared){.addr = addr, .len = page_up(len), .dev = dev, .ino = ino};
  lock(&list_lock);
  m->next = list;
  __atomic_store_n(&list, m, __ATOMIC_RELEASE);
  unlock(&list_lock);
}

/* Drops what lies wholly in the range. What sticks out stays whole: a needless flush is all that costs. */
static void forget(uint64_t addr, uint64_t len)
{
  lock(&list_lock);
  for (struct shared **at = &list; *at;) {
    struct shared *m = *at;
    if (m->addr < addr || m->addr + m->len > addr + len) {
      at = &m->next;
      continue;
    }
    *at = m->next;
    small_free(m, sizeof *m);
  }
  unlock(&list_lock);
}

/* The range shows something else now, or nothing. */
static void range_gone(uint64_t addr, uint64_t len)
{
  len = page_up(len);
  if (!__atomic_load_n(&list, __ATOMIC_ACQUIRE))
    return;
  flush_range(addr, len);
  forget(addr, len);
}

/* ---- the session's memfd of a file ---- */

struct msg_k {
  void *name;
  uint64_t namelen;
  struct iov *iov;
  uint64_t iovlen;
  void *control;
  uint64_t controllen;
  uint64_t flags;
};
struct rights {
  uint64_t len;
  int32_t level, type, fd, pad;
};

/* The hub's answer: the descriptor, or -EIO if there is none. *id: 0, nothing is left to be filled; else what to ask
   for it by. */
static long receive_fd(int sock, uint64_t *id)
{
  struct rights ctl = {0};
  struct iov v = {(uint64_t)id, sizeof *id};
  struct msg_k m = {.iov = &v, .iovlen = 1, .control = &ctl, .controllen = sizeof ctl};
  long r;
  while ((r = sys3(__NR_recvmsg, sock, &m, MSG_CMSG_CLOEXEC)) == -EINTR)
    ;
  if (r != sizeof *id || ctl.level != SOL_SOCKET || ctl.type != SCM_RIGHTS || ctl.len < 20)
    return -EIO;
  return ctl.fd;
}

/* What the file is called, for the name of the hub's memfd: the placeholder knows. */
static const char *placeholder_path(struct call *c, int fd)
{
  char link[40], *name = c->t->path_buf[3], *path = name;
  fmt(link, sizeof link, "/proc/thread-self/fd/%d", fd);
  long n = sys3(__NR_readlink, link, name, 4095);
  if (n < 10)
    return "";
  name[n - 10] = 0; /* " (deleted)" */
  for (int colons = 0; *path && colons < 4; path++)
    colons += *path == ':';
  return path;
}

static long ask_fd(struct call *c, struct handle h, const char *path, unsigned what, uint64_t *id)
{
  struct req q;
  int pair[2];
  long r = handle_known(c, h);
  if (r < 0)
    return r;
  r = sys4(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
  if (r < 0)
    return r;
  if (*path == '/')
    sys3(__NR_write, pair[0], path, strlen(path));
  req_start_op(&q, c->t, W_MAPFD);
  req_handle(&q, h);
  req_u64(&q, what);
  c->where = N_WAITED;
  c->t->waited = true;
  r = req_post_uncounted(&q, pair[1]);
  sys1(__NR_close, pair[1]);
  if (r == 0)
    r = receive_fd(pair[0], id);
  sys1(__NR_close, pair[0]);
  return r;
}

long contents_fd(struct call *c, struct handle h, const char *path)
{
  uint64_t none;
  return ask_fd(c, h, path, MAPFD_CONTENTS, &none);
}

/* ---- private mappings ---- */

/* The memfd that AFD_MAPPED holds shows the file as it is: loaders map each of their files several times. */
static bool kept_is(const struct proc *p, const struct rfile *f)
{
  return !p->files_shared && p->mapped.v == f->h.v && snap_true(f->s, SNAP_ATTR) && p->mapped_gen == f->s->snap_gen;
}

/* One that may change unseen is not used again. */
static void keep(struct proc *p, const struct rfile *f, int fd)
{
  bool watched = snap_true(f->s, SNAP_ATTR) && !p->files_shared;
  p->mapped.v = watched && sys3(__NR_dup3, fd, afd(p, AFD_MAPPED), O_CLOEXEC) >= 0 ? f->h.v : (uint32_t)H_NONE;
  p->mapped_gen = f->s->snap_gen;
}

/* The descriptor for one use, with map_lock taken; or -errno. */
static long kept_take(struct call *c, const struct rfile *f, long *own)
{
  *own = -1;
  lock(&map_lock);
  if (kept_is(c->p, f)) {
    c->where = N_MEMORY;
    return afd(c->p, AFD_MAPPED);
  }
  unlock(&map_lock);
  *own = contents_fd(c, f->h, placeholder_path(c, f->fd));
  lock(&map_lock);
  if (*own >= 0)
    keep(c->p, f, (int)*own);
  return *own;
}

static void kept_give(long own)
{
  unlock(&map_lock);
  if (own >= 0)
    sys1(__NR_close, own);
}

long contents_read(struct call *c, const struct rfile *f, void *to, uint64_t n, uint64_t off)
{
  long own, fd = kept_take(c, f, &own);
  long r = fd < 0 ? fd : sys4(__NR_pread64, fd, to, n, off);
  kept_give(own);
  return r;
}

/* What is executed, and what loaders map, is needed whole, or soon will be. */
static bool may_be_lazy(const struct call *c, const struct rfile *f)
{
  return f->s->attr.size > MAP_LAZY_MIN && !(c->a[2] & PROT_EXEC) && !(c->a[3] & (MAP_DENYWRITE | MAP_EXECUTABLE));
}

/* The descriptor is used up. */
static long map_fd(struct call *c, long fd, uint64_t id)
{
  if (fd < 0)
    return fd;
  c->a[4] = (unsigned long)fd;
  long r = id ? lazy_map(c, id) : pass(c);
  sys1(__NR_close, fd);
  return r;
}

static long map_private(struct call *c, struct rfile *f)
{
  uint64_t id = 0;
  if (contents_here(f->s))
    return pass(c);
  if (may_be_lazy(c, f)) {
    long fd = ask_fd(c, f->h, placeholder_path(c, f->fd), MAPFD_CONTENTS | MAPFD_LAZY, &id);
    return map_fd(c, fd, id);
  }
  long own, fd = kept_take(c, f, &own);
  c->a[4] = (unsigned long)fd;
  long r = fd < 0 ? fd : pass(c);
  kept_give(own);
  return r;
}

/* ---- shared mappings ---- */

static long map_shared(struct call *c, struct rfile *f)
{
  const struct wire_attr *a = &f->s->attr;
  unsigned lazy = may_be_lazy(c, f) && !may_write(f->s) ? MAPFD_LAZY : 0;
  uint64_t id = 0;
  long fd = ask_fd(c, f->h, placeholder_path(c, f->fd), MAPFD_SHARED | lazy, &id);
  long r = map_fd(c, fd, id);
  if (fd < 0)
    return r;
  if (r >= 0 || r < -4095)
    remember((uint64_t)r, c->a[1], a->dev, a->ino);
  return r;
}

/* ---- handlers ---- */

static long check_remote(const struct call *c, const struct rfile *f)
{
  unsigned kind = c->a[3] & MAP_KIND;
  if (f->s->flags & O_PATH)
    return -EBADF;
  if (c->a[5] % PAGE || !c->a[1] || kind < MAP_SHARED || kind > MAP_SHARED_VALIDATE)
    return -EINVAL;
  if (!may_read(f->s) || (kind != MAP_PRIVATE && c->a[2] & PROT_WRITE && !may_write(f->s)))
    return -EACCES;
  if (f->s->noexec && c->a[2] & PROT_EXEC)
    return -EPERM;
  return f->s->kind == K_REG ? 0 : -ENODEV;
}

static long map_remote(struct call *c, struct rfile *f)
{
  long r = check_remote(c, f);
  if (r < 0)
    return r;
  return (c->a[3] & MAP_KIND) == MAP_PRIVATE ? map_private(c, f) : map_shared(c, f);
}

static bool is_error(long r)
{
  return r < 0 && r >= -4095;
}

long a_mmap(struct call *c)
{
  struct rfile f;
  bool file = !(c->a[3] & MAP_ANONYMOUS), fixed = c->a[3] & MAP_FIXED;
  uint64_t addr = c->a[0], len = page_up(c->a[1]);
  if (c->a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE) && agent_memory(addr, len))
    return c->a[3] & MAP_FIXED_NOREPLACE ? -EEXIST : -ENOMEM;
  if (!(c->a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && addr < AGENT_BASE && addr + len > ARENA_BEGIN)
    c->a[0] = addr = 0; /* a wish that the kernel must not grant */
  if (fixed && __atomic_load_n(&list, __ATOMIC_ACQUIRE)) {
    flush_range(addr, len);
    forget(addr, len);
  }
  if (fixed)
    text_unmapped(addr, len);
  long r;
  if (!file || !light_map(c, (int)c->a[4], &r))
    r = file && file_of(c, (int)c->a[4], &f) ? map_remote(c, &f) : pass(c);
  if (is_error(r))
    return r;
  if (fixed && lazy_any && !c->made_lazy)
    lazy_unmapped(c, addr, len);
  if (file)
    text_mapped((unsigned long)r, len, c->a[2], c->a[3] & (MAP_KIND | MAP_ANONYMOUS));
  return r;
}

static long unmap(struct call *c)
{
  text_unmapped(c->a[0], c->a[1]);
  long r = pass(c);
  if (r == 0)
    range_gone(c->a[0], c->a[1]);
  if (r == 0 && lazy_any)
    lazy_unmapped(c, c->a[0], c->a[1]);
  return r;
}

/* What lies around the agent's pages: there was nothing else, to the program. */
static long unmap_around(struct call *c, uint64_t end)
{
  long r = 0;
  for (uint64_t at = c->a[0]; !r && at < end; at = agent_behind(at + c->a[1], end)) {
    c->a[0] = at;
    c->a[1] = agent_free(at, end - at);
    r = c->a[1] ? unmap(c) : 0;
  }
  return r;
}

long a_munmap(struct call *c)
{
  uint64_t len = page_up(c->a[1]), end = c->a[0] + len;
  if (c->a[0] % PAGE || !len || end < c->a[0] || end > TASK_END || !agent_memory(c->a[0], len))
    return unmap(c);
  return unmap_around(c, end);
}

/* Which file the range shows, if it is one of the list. */
static bool find(uint64_t addr, struct shared *found)
{
  lock(&list_lock);
  struct shared *m = list;
  while (m && !overlaps(m, addr, 1))
    m = m->next;
  if (m)
    *found = *m;
  unlock(&list_lock);
  return m;
}

long a_mremap(struct call *c)
{
  struct shared m;
  uint64_t old = c->a[0], old_len = c->a[1], len = c->a[2];
  bool fixed = c->a[3] & MREMAP_FIXED;
  if (agent_memory(old, page_up(old_len)) || (fixed && agent_memory(c->a[4], page_up(len))))
    return -EFAULT;
  bool known = __atomic_load_n(&list, __ATOMIC_ACQUIRE) && find(old, &m);
  struct lazy_moved lazy = lazy_any ? lazy_moving(c, old, old_len > len ? old_len : len) : (struct lazy_moved){0};
  text_unmapped(old, page_up(old_len));
  if (fixed)
    text_unmapped(c->a[4], page_up(len));
  long r = pass(c);
  if (is_error(r))
    return r;
  if (lazy_any && !(c->a[3] & MREMAP_DONTUNMAP))
    lazy_unmapped(c, old, old_len);
  if (lazy_any)
    lazy_moved(c, &lazy, (uint64_t)r, len);
  if (fixed)
    range_gone(c->a[4], len);
  if ((uint64_t)r != old && !(c->a[3] & MREMAP_DONTUNMAP))
    range_gone(old, old_len);
  else if (len < old_len)
    range_gone(old + page_up(len), old_len - page_up(len));
  if (known && ((uint64_t)r != old || len > old_len))
    remember((uint64_t)r, len, m.dev, m.ino);
  return r;
}

long a_msync(struct call *c)
{
  long r = a_range(c);
  if (r < 0 || !__atomic_load_n(&list, __ATOMIC_ACQUIRE))
    return r;
  c->where = N_WAITED;
  return flush_range(c->a[0], page_up(c->a[1]));
}

/* The agent's own pages are a hole to the program: the kernel advises on what is around it, and says so at the end. */
long a_madvise(struct call *c)
{
  uint64_t end = c->a[0] + page_up(c->a[1]);
  bool hole = false;
  if (c->a[0] % PAGE || end < c->a[0])
    return pass(c);
  while (c->a[0] < end && agent_memory(c->a[0], end - c->a[0])) {
    c->a[1] = agent_free(c->a[0], end - c->a[0]);
    long r = pass(c); /* of no length: a bad advice is one in any case */
    if (r && r != -ENOMEM)
      return r;
    c->a[0] = agent_behind(c->a[0] + c->a[1], end);
    hole = true;
  }
  c->a[1] = end - c->a[0];
  long r = pass(c);
  return r ? r : hole ? -ENOMEM : 0;
}
