/*
 * Names and attributes of the slave's files from memory: what the slave told of directories that it watches
 * (proto/names.h). Read without a lock; an answer that is not there, or not whole, is asked for as ever, which makes
 * the slave tell.
 *
 * Owns nothing but the view of that memory, which cannot be written here. Never follows a symbolic link and never goes
 * up: those walks are the slave's.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

#include "agent/call.h"
#include "agent/names.h"
#include "proto/names.h"

#define R_BIT 4
#define W_BIT 2
#define X_BIT 1

static const struct names *view; /* 0: not mapped yet */

bool names_memory(unsigned long addr, unsigned long len)
{
  unsigned long at = (unsigned long)view;
  return at && addr < at + SESSION_NAMES_SIZE && addr + len > at;
}

static const struct names *names_view(struct proc *p)
{
  const struct names *v = __atomic_load_n(&view, __ATOMIC_ACQUIRE), *none = 0;
  if (v || !(session->flags & SF_NAMES) || standalone())
    return v;
  long r = sys6(__NR_mmap, 0, SESSION_NAMES_SIZE, PROT_READ, MAP_SHARED, afd(p, AFD_SESSION), SESSION_NAMES_OFFSET);
  if (r < 0 && r > -4096)
    return 0;
  if (__atomic_compare_exchange_n(&view, &none, (const struct names *)r, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    return (const struct names *)r;
  sys2(__NR_munmap, r, SESSION_NAMES_SIZE);
  return none;
}

/* A copy that the hub was not writing meanwhile. */
static bool copy_whole(void *to, const void *from, size_t n, const uint32_t *seq)
{
  uint32_t before = __atomic_load_n(seq, __ATOMIC_ACQUIRE);
  memcpy(to, from, n);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return !(before & 1) && __atomic_load_n(seq, __ATOMIC_RELAXED) == before;
}

static bool dir_read(const struct names *v, uint64_t dev, uint64_t ino, struct name_dir *d)
{
  const struct name_dir *at = &v->dirs[name_dir_at(dev, ino)];
  for (unsigned i = 0; i < NAME_DIR_WAYS; i++)
    if (at[i].dev == dev && at[i].ino == ino && copy_whole(d, &at[i], sizeof *d, &at[i].seq) && d->instance &&
        d->dev == dev && d->ino == ino)
      return true;
  return false;
}

static bool matches(const struct name_entry *e, const struct name_dir *d, const char *name, uint32_t n)
{
  return e->instance == d->instance && e->len == n && e->dev == d->dev && e->ino == d->ino && !memcmp(e->name, name, n);
}

enum found { F_NOTHING, F_ENTRY, F_BUSY };

static enum found entry_read(const struct names *v, const struct name_dir *d, const char *name, uint32_t n,
                             struct name_entry *e)
{
  const struct name_entry *at = &v->entries[name_entry_at(d->dev, d->ino, name_hash(name, n))];
  for (unsigned i = 0; i < NAME_ENTRY_WAYS; i++) {
    if (__atomic_load_n(&at[i].seq, __ATOMIC_ACQUIRE) & 1)
      return F_BUSY;
    if (!matches(&at[i], d, name, n))
      continue;
    return copy_whole(e, &at[i], sizeof *e, &at[i].seq) && matches(e, d, name, n) ? F_ENTRY : F_BUSY;
  }
  return F_NOTHING;
}

/* That it is not there is only believed if the directory was complete before and after. */
static enum known look_up(const struct names *v, const struct name_dir *d, const char *name, uint32_t n,
                          struct name_entry *e)
{
  struct name_dir again;
  if (n >= NAME_ROOM)
    return KNOWN_NOT;
  switch (entry_read(v, d, name, n, e)) {
  case F_ENTRY:
    return e->state == NS_THERE ? KNOWN_THERE : e->state == NS_ABSENT ? KNOWN_ABSENT : KNOWN_NOT;
  case F_NOTHING:
    if (!(d->flags & ND_COMPLETE) || !dir_read(v, d->dev, d->ino, &again) || again.instance != d->instance)
      return KNOWN_NOT;
    return again.flags & ND_COMPLETE && again.seq == d->seq ? KNOWN_ABSENT : KNOWN_NOT;
  default:
    return KNOWN_NOT;
  }
}

static bool start(const struct at *at, uint64_t *dev, uint64_t *ino)
{
  if (at->path[0] == '/' || at->base.v == H_ROOT) {
    *dev = session->root_dev, *ino = session->root_ino;
  } else if (at->base.v == H_CWD) {
    *dev = session->cwd_dev, *ino = session->cwd_ino;
  } else {
    const struct hstate *s = hstate(at->base);
    *dev = s->attr.dev, *ino = s->attr.ino;
  }
  return *ino != 0;
}

/* The next component; its length, 0 at the end. *last: only slashes follow, *slash: at least one does. */
static uint32_t component(const char **rest, const char **name, bool *last, bool *slash)
{
  const char *p = *rest;
  while (*p == '/')
    p++;
  *name = p;
  while (*p && *p != '/')
    p++;
  uint32_t n = (uint32_t)(p - *name);
  *slash = *p == '/';
  while (*p == '/')
    p++;
  *last = !*p;
  *rest = p;
  return n;
}

static bool is_dot(const char *name, uint32_t n)
{
  return n == 1 && name[0] == '.';
}

static bool is_up(const char *name, uint32_t n)
{
  return n == 2 && name[0] == '.' && name[1] == '.';
}

/* A directory's attributes are its own business: they change with its entries. */
static void take_dir(const struct name_dir *d, struct name_answer *a)
{
  a->attr = d->self;
  a->full = d->flags & ND_SELF;
}

static void take_entry(const struct names *v, const struct name_entry *e, struct name_answer *a)
{
  struct name_dir d;
  a->attr = e->attr;
  a->full = e->flags & NF_FULL &&
            __atomic_load_n(&session->gens[file_gen(e->attr.dev, e->attr.ino)], __ATOMIC_ACQUIRE) == e->gen;
  a->target_len = e->target_len;
  memcpy(a->target, e->target, e->target_len);
  if (S_ISDIR(e->attr.mode) && dir_read(v, e->attr.dev, e->attr.ino, &d))
    take_dir(&d, a);
}

enum known names_ask(struct call *c, const struct at *at, bool follow, struct name_answer *a)
{
  const struct names *v = at->local || creds_foreign(c->p) ? 0 : names_view(c->p);
  const char *rest = at->path, *name;
  struct name_entry e;
  struct name_dir d;
  uint64_t dev, ino;
  bool last = false, slash;
  if (!v || !*rest || !start(at, &dev, &ino) || !dir_read(v, dev, ino, &d))
    return KNOWN_NOT;
  take_dir(&d, a);
  while (!last) {
    uint32_t n = component(&rest, &name, &last, &slash);
    if (!n || is_dot(name, n))
      continue;
    if (is_up(name, n))
      return KNOWN_NOT;
    enum known k = look_up(v, &d, name, n, &e);
    if (k != KNOWN_THERE)
      return k;
    bool link = S_ISLNK(e.attr.mode), dir = S_ISDIR(e.attr.mode);
    if (link && (follow || !last || slash))
      return KNOWN_NOT;
    if (!dir && (!last || slash))
      return KNOWN_NO_DIR;
    take_entry(v, &e, a);
    if (!last && !dir_read(v, e.attr.dev, e.attr.ino, &d))
      return KNOWN_NOT;
  }
  return KNOWN_THERE;
}

long names_error(struct call *c, const struct at *at, bool follow)
{
  struct name_answer a;
  enum known k = names_ask(c, at, follow, &a);
  if (k != KNOWN_ABSENT && k != KNOWN_NO_DIR)
    return 0;
  c->where = N_MEMORY;
  return k == KNOWN_ABSENT ? -ENOENT : -ENOTDIR;
}

/*
 * What the file's owner may do is told by the first three bits alone, whatever an access list says. Others' rights are
 * the slave's to tell.
 */
static bool may(const struct wire_attr *a, unsigned want, bool *sure)
{
  const struct facts *f = &session->facts;
  *sure = !want || (a->uid == f->euid && f->euid == f->ruid && f->euid != 0);
  return !want || ((a->mode >> 6) & want) == want;
}

bool names_access(struct call *c, const struct at *at, unsigned want, bool follow, long *result)
{
  struct name_answer a;
  bool sure = true;
  enum known k = names_ask(c, at, follow, &a);
  if (k == KNOWN_NOT || want & ~(unsigned)(R_BIT | W_BIT | X_BIT))
    return false;
  *result = k == KNOWN_ABSENT ? -ENOENT : k == KNOWN_NO_DIR ? -ENOTDIR : 0;
  if (k == KNOWN_THERE) {
    if (want && (!a.full || want & W_BIT))
      return false; /* a read-only file system has a say in writing */
    *result = may(&a.attr, want, &sure) ? 0 : -EACCES;
  }
  c->where = sure ? N_MEMORY : c->where;
  return sure;
}
