/*
 * Names and attributes of the slave's files from memory: what the slave told of directories that it watches
 * (proto/names.h). Read without a lock; an answer that is not there, or not whole, is asked for as ever, which makes
 * the slave tell.
 *
 * Owns nothing but the view of that memory, which cannot be written here. A symbolic link is followed where its
 * directory's own name is sure; the new path then goes by the rules again. Never goes up: those walks are the slave's.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

#include "agent/call.h"
#include "agent/names.h"
#include "proto/kept.h"

#define R_BIT 4
#define W_BIT 2
#define X_BIT 1

static const struct names *view; /* 0: not mapped yet */

bool names_memory(unsigned long addr, unsigned long len)
{
  unsigned long at = (unsigned long)view;
  return at && addr < at + SESSION_TOLD_SIZE && addr + len > at;
}

const struct names *names_view(struct proc *p)
{
  const struct names *v = __atomic_load_n(&view, __ATOMIC_ACQUIRE), *none = 0;
  if (v || !(session->flags & SF_NAMES) || standalone())
    return v;
  long r = arena_map(SESSION_TOLD_SIZE, PROT_READ, MAP_SHARED, afd(p, AFD_SESSION), SESSION_NAMES_OFFSET);
  if (r < 0 && r > -4096)
    return 0;
  if (__atomic_compare_exchange_n(&view, &none, (const struct names *)r, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    return (const struct names *)r;
  sys2(__NR_munmap, r, SESSION_TOLD_SIZE);
  return none;
}

bool names_copy(void *to, const void *from, size_t n, const uint32_t *seq)
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
    if (at[i].dev == dev && at[i].ino == ino && names_copy(d, &at[i], sizeof *d, &at[i].seq) && d->instance &&
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
    return names_copy(e, &at[i], sizeof *e, &at[i].seq) && matches(e, d, name, n) ? F_ENTRY : F_BUSY;
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
  if (at->base.v == H_LIGHT && at->path[0] != '/') {
    *dev = at->dev, *ino = at->ino;
  } else if (at->path[0] == '/' || at->base.v == H_ROOT) {
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
  a->instance = d->instance;
  a->flags = 0;
}

static void take_entry(const struct names *v, const struct name_entry *e, struct name_answer *a)
{
  struct name_dir d;
  a->attr = e->attr;
  a->full = e->flags & NF_FULL &&
            __atomic_load_n(&session->gens[file_gen(e->attr.dev, e->attr.ino)], __ATOMIC_ACQUIRE) == e->gen;
  a->instance = 0;
  a->flags = e->flags;
  a->target_len = e->target_len;
  memcpy(a->target, e->target, e->target_len);
  if (S_ISDIR(e->attr.mode) && dir_read(v, e->attr.dev, e->attr.ino, &d))
    take_dir(&d, a);
}

/* How far a walk has come. */
struct steps {
  const struct names *v;
  struct name_dir d; /* the directory in which the next name is looked up */
  const char *rest, *name;
  uint32_t n; /* length of the name */
  bool last, slash;
};

static bool steps_begin(struct steps *w, const struct names *v, const char *path, uint64_t dev, uint64_t ino)
{
  w->v = v;
  w->rest = path;
  w->last = false;
  return dir_read(v, dev, ino, &w->d);
}

/* One name. KNOWN_LINK: e is a link that is to be followed. */
static enum known step(struct steps *w, bool follow, struct name_entry *e, struct name_answer *a)
{
  w->n = component(&w->rest, &w->name, &w->last, &w->slash);
  if (!w->n || is_dot(w->name, w->n))
    return KNOWN_THERE;
  if (is_up(w->name, w->n))
    return KNOWN_UP;
  enum known k = look_up(w->v, &w->d, w->name, w->n, e);
  if (k != KNOWN_THERE)
    return k;
  if (S_ISLNK(e->attr.mode) && (follow || !w->last || w->slash))
    return KNOWN_LINK;
  if (!S_ISDIR(e->attr.mode) && (!w->last || w->slash))
    return KNOWN_NO_DIR;
  take_entry(w->v, e, a);
  return w->last || dir_read(w->v, e->attr.dev, e->attr.ino, &w->d) ? KNOWN_THERE : KNOWN_NOT;
}

static enum known walk(struct steps *w, bool follow, struct name_entry *e, struct name_answer *a)
{
  enum known k = KNOWN_THERE;
  while (k == KNOWN_THERE && !w->last)
    k = step(w, follow, e, a);
  return k;
}

bool names_dir_attr(struct proc *p, uint64_t dev, uint64_t ino, struct wire_attr *a)
{
  const struct names *v = names_view(p);
  struct name_dir d;
  if (!v || !dir_read(v, dev, ino, &d) || !(d.flags & ND_SELF))
    return false;
  *a = d.self;
  return true;
}

/* ---- links ---- */

/* Directories whose links are followed only for some: the slave decides. */
static bool links_free(const struct name_dir *d)
{
  return d->flags & ND_SELF && (d->self.mode & (S_ISVTX | S_IWOTH)) != (S_ISVTX | S_IWOTH);
}

/* Cuts the last `n' names off an absolute path in `path'. */
static bool cut_names(char *path, uint32_t n)
{
  size_t len = strlen(path);
  while (n) {
    while (len && (path[len - 1] == '/' || (path[len - 1] == '.' && len > 1 && path[len - 2] == '/')))
      len--;
    if (!len)
      return false;
    while (len && path[len - 1] != '/')
      len--;
    n--;
  }
  path[len] = 0;
  return true;
}

/* The absolute name of the directory that the walk has come to, if memory knows that it leads there. */
static bool dir_name(const struct steps *w, const struct at *at, char *path)
{
  struct steps t = *w, check;
  struct name_entry e;
  struct name_answer a = {.attr.ino = 0};
  uint32_t names = 1;
  while (!t.last) {
    t.n = component(&t.rest, &t.name, &t.last, &t.slash);
    if (is_up(t.name, t.n))
      return false; /* the spelling is not made of these names */
    names += t.n && !is_dot(t.name, t.n);
  }
  memcpy(path, at->lexical, strlen(at->lexical) + 1);
  if (path[0] != '/' || !cut_names(path, names) ||
      !steps_begin(&check, w->v, path, session->root_dev, session->root_ino) ||
      walk(&check, false, &e, &a) != KNOWN_THERE)
    return false;
  if (a.attr.ino && !dir_read(w->v, a.attr.dev, a.attr.ino, &check.d))
    return false;
  return check.d.instance == w->d.instance;
}

static bool goes_up(const char *target, uint32_t n)
{
  return n >= 2 && target[0] == '.' && target[1] == '.' && (n == 2 || target[2] == '/');
}

/* Where a relative link leads from the directory named in `path': its length, with a slash at the end. 0: not sure. */
static size_t place_of(char *path, const char **target, uint32_t *n)
{
  while (goes_up(*target, *n)) {
    if (!path[1] || !cut_names(path, 1))
      return 0;
    uint32_t up = *n == 2 ? 2 : 3;
    *target += up, *n -= up;
  }
  return strlen(path);
}

/* What follows the link is walked from where it leads: 0, or -errno, or 1: that is for the slave to do. */
static int follow_link(struct call *c, const struct steps *w, const struct name_entry *e, struct at *at)
{
  char *path = c->t->path_buf[2];
  const char *target = e->target;
  uint32_t m = e->target_len;
  size_t n = 0, tail = strlen(w->rest);
  if (!m || at->which || !links_free(&w->d))
    return 1;
  if (target[0] != '/' && (!dir_name(w, at, path) || !(n = place_of(path, &target, &m))))
    return 1;
  if (n + m + tail + 2 > WIRE_PATH_MAX)
    return 1;
  memcpy(path + n, target, m);
  n += m;
  if (w->slash)
    path[n++] = '/';
  memcpy(path + n, w->rest, tail + 1);
  return route_link(c, at, path);
}

/* ---- asking ---- */

static enum known ask_once(struct call *c, struct at *at, bool follow, struct name_answer *a)
{
  const struct names *v = names_view(c->p);
  struct name_entry e;
  struct steps w;
  uint64_t dev, ino;
  if (!v || !*at->path || !start(at, &dev, &ino) || !steps_begin(&w, v, at->path, dev, ino))
    return KNOWN_NOT;
  take_dir(&w.d, a);
  enum known k = walk(&w, follow, &e, a);
  if (k != KNOWN_LINK)
    return k == KNOWN_UP ? KNOWN_NOT : k;
  a->error = follow_link(c, &w, &e, at);
  return a->error < 0 ? KNOWN_ERROR : a->error ? KNOWN_NOT : KNOWN_LINK;
}

enum known names_ask(struct call *c, struct at *at, bool follow, struct name_answer *a)
{
  enum known k = KNOWN_LINK;
  if (at->local || creds_foreign(c->p))
    return KNOWN_NOT;
  while (k == KNOWN_LINK && !at->local)
    k = ask_once(c, at, follow, a);
  if (k == KNOWN_ABSENT || k == KNOWN_NO_DIR)
    a->error = k == KNOWN_ABSENT ? -ENOENT : -ENOTDIR;
  if (k != KNOWN_LINK)
    return k == KNOWN_ABSENT || k == KNOWN_NO_DIR ? KNOWN_ERROR : k;
  c->where = N_LOCAL;
  return KNOWN_LOCAL;
}

long names_error(struct call *c, struct at *at, bool follow)
{
  struct name_answer a;
  if (names_ask(c, at, follow, &a) != KNOWN_ERROR)
    return 0;
  c->where = N_MEMORY;
  return a.error;
}

static bool in_group(const struct facts *f, uint64_t gid)
{
  bool in = gid == f->egid;
  for (uint32_t i = 0; i < f->ngroups && i < sizeof f->groups / sizeof *f->groups; i++)
    in |= f->groups[i] == gid;
  return in;
}

/* The bits that say what this session's user may do. What the owner may is told by the first three alone, whatever an
   access list says; others' rights only where there is none. -1: the slave is to tell. */
static int bits_of(const struct name_answer *a)
{
  const struct facts *f = &session->facts;
  const struct wire_attr *w = &a->attr;
  if (f->euid != f->ruid || f->egid != f->rgid || f->euid == 0)
    return -1;
  if (w->uid == f->euid)
    return w->mode >> 6 & 7;
  if (!(a->flags & NF_PLAIN) || f->ngroups > sizeof f->groups / sizeof *f->groups)
    return -1;
  return (in_group(f, w->gid) ? w->mode >> 3 : w->mode) & 7;
}

static bool may(const struct name_answer *a, unsigned want, bool *sure)
{
  int bits = want ? bits_of(a) : 0;
  *sure = bits >= 0;
  return ((unsigned)bits & want) == want && !(want & X_BIT && a->flags & NF_NOEXEC);
}

bool names_access(struct call *c, struct at *at, unsigned want, bool follow, long *result)
{
  struct name_answer a;
  bool sure = true;
  enum known k = names_ask(c, at, follow, &a);
  if ((k != KNOWN_THERE && k != KNOWN_ERROR) || want & ~(unsigned)(R_BIT | W_BIT | X_BIT))
    return false;
  *result = a.error;
  if (k == KNOWN_THERE) {
    if (want && (!a.full || want & W_BIT))
      return false; /* a read-only file system has a say in writing */
    *result = may(&a, want, &sure) ? 0 : -EACCES;
  }
  c->where = sure ? N_MEMORY : c->where;
  return sure;
}
