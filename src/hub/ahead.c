/*
 * Calls that a program need not wait for: creating, renaming, removing and the changing of attributes, where their
 * outcome is known. That is so in directories which this session has made and nobody else has touched since (made.c),
 * and for files that it has made.
 *
 * Such a call goes to the slave in its place among all others, with a tag of our own, and the program is answered at
 * once. What the slave says of it then: the identity of what was made; or a failure, which is kept on the file's
 * handle, or else told at the end (file.c). Whatever fails shows that somebody else had a say: its directory is
 * forgotten.
 *
 * Must never: answer with a number that only the slave can know, or let a program see in memory what it has just
 * changed.
 */
#include "hub/ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/made.h"

#define CALLS_MAX 16384
#define LINKS_SAFE 1000 /* names of one file; no file system of today refuses so few */
#define NAME_LEN_MAX 255
#define TRUNCATE_MAX (4ull << 30) /* no file system of today has a smaller limit */

#define TYPE_MASK 0170000u
#define TYPE_DIR 0040000u
#define TYPE_FILE 0100000u
#define TYPE_LINK 0120000u
#define TYPE_FIFO 0010000u
#define TYPE_SOCKET 0140000u
#define OWNER_USES 0300u

#define LINUX_O_DIRECTORY 0200000u
#define LINUX_O_TMPFILE 020000000u
#define LINUX_O_PATH 010000000u
#define LINUX_O_LARGEFILE 0100000u
/* What F_GETFL tells of the flags that open was given. */
#define LINUX_O_SHOWN (LINUX_O_ACCMODE | LINUX_O_APPEND | 04000u | 010000u | 04010000u | 0400000u | 01000000u)
#define STATX_IMMUTABLE 0x10u
#define STATX_APPEND 0x20u
#define STATX_MOUNT_ROOT 0x2000u
#define LINUX_AT_NOFOLLOW 0x100u
#define LINUX_AT_REMOVEDIR 0x200u
#define LINUX_RENAME_NOREPLACE 1u

/* One whose reply nobody waits for. */
struct call {
  bool active;
  uint16_t op;
  uint32_t handle; /* of the file that it makes or changes; H_NONE: it is named by path only */
  uint64_t seq;
  struct made *in;             /* where it changes a name; 0: nowhere */
  struct made *into;           /* where else: a new name's place, if it renames */
  struct made *dir;            /* that it makes */
  struct made_entry *entry;    /* that it makes */
  uint64_t from_dev, from_ino; /* the directory of somebody else's from which it removes; 0: none */
  char *path;                  /* for people */
  uint32_t next_free;
};

static struct {
  struct call calls[CALLS_MAX];
  uint32_t used, free; /* free: one more than its index */
  bool missing;        /* the last path led to a directory that does not exist */
} A;

static uint64_t int_at(const struct message *m, uint32_t at)
{
  struct rbuf r = {m->body + at, m->body + m->n, false};
  return get_u64(&r);
}

static uint64_t int_at_end(const struct message *m)
{
  return int_at(m, m->n - 8);
}

/* ---- calls under way ---- */

static struct call *call_new(void)
{
  struct call *c;
  if (A.free) {
    c = &A.calls[A.free - 1];
    A.free = c->next_free;
  } else if (A.used < CALLS_MAX) {
    c = &A.calls[A.used++];
  } else {
    return 0;
  }
  *c = (struct call){.active = true, .handle = H_NONE};
  return c;
}

static void call_end(struct call *c)
{
  if (c->dir)
    c->dir->call = 0;
  if (c->entry)
    c->entry->call = 0;
  if (c->in)
    made_release(c->in);
  if (c->into)
    made_release(c->into);
  free(c->path);
  c->active = false;
  c->next_free = A.free;
  A.free = (uint32_t)(c - A.calls) + 1;
}

bool ahead_done(uint64_t seq)
{
  for (uint32_t i = 0; i < A.used; i++)
    if (A.calls[i].active && A.calls[i].seq <= seq)
      return false;
  return true;
}

/* ---- where a path leads ---- */

/* A name in a directory of the session's making. */
struct named {
  struct made *dir;
  const char *name;
  uint32_t len;
  struct made_entry *e; /* 0: it does not exist */
  bool slash;           /* behind the name */
  uint64_t id[2];       /* find() is false: of a directory of others, if that is where the path ends; else 0 */
};

struct path {
  uint32_t base, n;
  const char *text;
};

static struct path get_path(struct rbuf *r)
{
  struct path p = {.base = (uint32_t)get_u64(r)};
  p.text = get_blob(r, &p.n, WIRE_PATH_MAX);
  return p;
}

static bool may_use(const struct hub *h, const struct made *d)
{
  return h->s->facts.euid == 0 || (d->mode & OWNER_USES) == OWNER_USES;
}

/* The directory at which a path begins: of ours, or by its identity. */
static bool begin(struct hub *h, const struct path *p, struct made **dir, uint64_t id[2])
{
  const struct file *f = file_at(h, p->base);
  if (p->base == H_ROOT || *p->text == '/')
    id[0] = h->s->root_dev, id[1] = h->s->root_ino;
  else if (p->base == H_CWD)
    id[0] = h->s->cwd_dev, id[1] = h->s->cwd_ino;
  else if (f && f->known && (f->kind == K_DIR || f->kind == K_PATH))
    id[0] = f->dev, id[1] = f->ino;
  else
    return false;
  *dir = made_by_id(id[0], id[1]);
  return id[1] != 0;
}

/* One component down: false if that is not known to be a directory. */
static bool step(struct hub *h, struct made **dir, uint64_t id[2], const char *name, uint32_t n)
{
  if (*dir) {
    struct made_entry *e = may_use(h, *dir) ? made_find(*dir, name, n) : 0;
    A.missing |= !e && may_use(h, *dir);
    *dir = e ? e->dir : 0;
    return *dir;
  }
  if (!names_child_dir(h, id[0], id[1], name, n, id))
    return false;
  *dir = made_by_id(id[0], id[1]);
  return true;
}

static bool is_dots(const char *name, uint32_t n)
{
  return *name == '.' && (n == 1 || (n == 2 && name[1] == '.'));
}

/* False if the path does not end in a directory of ours. */
static bool find(struct hub *h, const struct path *p, struct named *at)
{
  const char *s = p->text, *end = p->text + p->n;
  struct made *dir;
  uint64_t id[2];
  *at = (struct named){0};
  if (!p->n || !begin(h, p, &dir, id))
    return false;
  for (;;) {
    while (s < end && *s == '/')
      s++;
    const char *name = s;
    while (s < end && *s != '/')
      s++;
    uint32_t n = (uint32_t)(s - name);
    bool slash = s < end;
    const char *rest = s;
    while (rest < end && *rest == '/')
      rest++;
    if (!n || n > NAME_LEN_MAX || (n == 2 && is_dots(name, n)))
      return false;
    if (rest == end) {
      if (!dir && !is_dots(name, n))
        *at = (struct named){.name = name, .len = n, .slash = slash, .id = {id[0], id[1]}};
      if (!dir || is_dots(name, n) || !may_use(h, dir))
        return false;
      *at = (struct named){.dir = dir, .name = name, .len = n, .e = made_find(dir, name, n), .slash = slash};
      made_used(dir);
      return true;
    }
    if (!is_dots(name, n) && !step(h, &dir, id, name, n))
      return false;
  }
}

/* ---- what a change does to what programs remember ---- */

static void entry_touched(struct hub *h, const struct made_entry *e, uint64_t seq)
{
  if (e->ino)
    file_touched(h, e->dev, e->ino, seq);
}

/* A name in it has changed, and its own times. Of what has no identity yet, nothing can have been told. */
static void dir_touched(struct hub *h, struct made *d, const char *name, uint32_t n, uint64_t seq)
{
  d->touched = true;
  if (!d->ino)
    return;
  file_touched(h, d->dev, d->ino, seq);
  names_own(h, d->dev, d->ino, name, n, seq);
}

/* ---- answers ---- */

static bool answer(struct hub *h, const struct message *m, int64_t result, uint32_t flag)
{
  slot_reply(h, m->f.tag, result, flag, 0, 0, 0);
  return true;
}

static bool known(struct hub *h, const struct message *m, int err)
{
  return answer(h, m, err, FF_KNOWN);
}

/* Passes it on. 0: too much is under way already, or there is no memory. */
static struct call *send_on(struct hub *h, const struct message *m, uint8_t flags, char *path)
{
  struct call *c = path ? call_new() : 0;
  if (!c) {
    free(path);
    return 0;
  }
  c->op = m->f.op;
  c->path = path;
  struct iovec part = {m->body, m->n};
  struct frame f = {.type = F_CALL, .flags = flags, .op = m->f.op, .ctx = m->f.ctx, .result = m->f.result};
  f.tag = AHEAD_TAG + (uint32_t)(c - A.calls);
  c->seq = hub_send(h, f, &part, 1);
  return c;
}

static struct call *send_named(struct hub *h, const struct message *m, uint8_t flags, const struct path *p,
                               struct made *in)
{
  struct call *c = send_on(h, m, flags, path_for_people(h, p->base, (const uint8_t *)p->text, p->n));
  if (c && in) {
    c->in = in;
    made_hold(in);
  }
  return c;
}

/* The call makes that name. */
static bool makes(struct hub *h, const struct message *m, struct call *c, const struct named *at, uint32_t type)
{
  dir_touched(h, at->dir, at->name, at->len, c->seq);
  struct made_entry *e = made_add(at->dir, at->name, at->len, type);
  if (!e) {
    made_forget(at->dir);
    return answer(h, m, 0, FF_POSTED);
  }
  c->entry = e;
  e->call = &c->entry;
  struct made *dir = type == TYPE_DIR ? made_new((uint32_t)int_at_end(m) & 07777 & ~(uint32_t)m->f.result) : 0;
  if (dir) {
    made_attach(e, dir);
    c->dir = dir;
    dir->call = &c->dir;
  }
  return answer(h, m, 0, FF_POSTED);
}

static bool roomy(const struct hub *h, const struct named *at)
{
  return !h->s->tight && !at->dir->full;
}

/* ---- creating ---- */

static bool make_named(struct hub *h, const struct message *m, struct rbuf *r, uint32_t type)
{
  struct path p = get_path(r);
  struct named at;
  if (!find(h, &p, &at))
    return false;
  if (at.e)
    return known(h, m, -EEXIST);
  if (!roomy(h, &at) || (at.slash && type != TYPE_DIR) || (type == TYPE_DIR && at.dir->depth >= MADE_DEPTH))
    return false;
  struct call *c = send_named(h, m, FF_OWN | (type == TYPE_DIR ? FF_MADE : 0), &p, at.dir);
  return c && makes(h, m, c, &at, type);
}

static bool make_dir(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  return make_named(h, m, &r, TYPE_DIR);
}

static bool make_link(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint32_t n;
  get_blob(&r, &n, WIRE_PATH_MAX);
  return n && make_named(h, m, &r, TYPE_LINK);
}

static bool make_node(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false}, mode = r;
  get_path(&mode);
  uint32_t type = (uint32_t)get_u64(&mode) & TYPE_MASK;
  type = type ? type : TYPE_FILE;
  return (type == TYPE_FILE || type == TYPE_FIFO || type == TYPE_SOCKET) && make_named(h, m, &r, type);
}

/* As openat's reply would be, but for what only the slave knows. */
static void answer_open(struct hub *h, const struct message *m, uint64_t flags)
{
  uint8_t body[8 + sizeof(struct wire_attr) + 8 + 4];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, K_REG);
  put_attr(&w, &(struct wire_attr){.mode = TYPE_FILE});
  put_u64(&w, (flags & LINUX_O_SHOWN) | LINUX_O_LARGEFILE);
  put_u32(&w, 0);
  slot_reply(h, m->f.tag, 0, FF_POSTED, body, (uint32_t)(w.at - body), 0);
}

static bool make_file(struct hub *h, const struct message *m, const struct path *p, const struct named *at,
                      uint64_t flags, uint32_t handle)
{
  if (!roomy(h, at) || !file_ahead(h, m, handle, (uint32_t)((flags & LINUX_O_SHOWN) | LINUX_O_LARGEFILE)))
    return false;
  struct call *c = send_named(h, m, FF_OWN, p, at->dir);
  if (!c) {
    file_forget(h, file_at(h, handle), 0);
    return false;
  }
  c->handle = handle;
  dir_touched(h, at->dir, at->name, at->len, c->seq);
  struct made_entry *e = made_add(at->dir, at->name, at->len, TYPE_FILE);
  if (e)
    c->entry = e, e->call = &c->entry;
  else
    made_forget(at->dir);
  answer_open(h, m, flags);
  return true;
}

static bool open_file(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at;
  uint64_t flags = get_u64(&r);
  get_u64(&r);
  uint32_t handle = (uint32_t)get_u64(&r);
  if (flags >> 32 || !find(h, &p, &at))
    return false;
  if (at.e)
    return (flags & (LINUX_O_CREAT | LINUX_O_EXCL | LINUX_O_PATH)) == (LINUX_O_CREAT | LINUX_O_EXCL) && !at.slash &&
           known(h, m, -EEXIST);
  if (!(flags & LINUX_O_CREAT))
    return known(h, m, -ENOENT);
  if (flags & (LINUX_O_PATH | LINUX_O_DIRECTORY | LINUX_O_TMPFILE) || at.slash)
    return false;
  return make_file(h, m, &p, &at, flags, handle);
}

/* ---- removing what others have made ---- */

static bool mount_writable(const struct hub *h, uint64_t mount)
{
  for (unsigned i = 0; i < h->nwritable && i < sizeof h->writable / sizeof *h->writable; i++)
    if (h->writable[i] == mount)
      return true;
  return false;
}

static bool fixed(const struct wire_attr *a)
{
  return a->attributes & (STATX_IMMUTABLE | STATX_APPEND | STATX_MOUNT_ROOT);
}

/* Whether its user may remove what is in that directory; found out once for each time that its names come to be known,
 * since a change of its own attributes makes them unknown. */
static bool may_empty(struct hub *h, struct file *f)
{
  struct wire_attr self;
  bool full;
  uint32_t instance = names_self(h, f->dev, f->ino, &self, &full);
  if (instance && instance == f->names_instance)
    return f->mount;
  f->mount = 0;
  f->names_instance = full ? instance : 0;
  uint32_t euid = h->s->facts.euid;
  bool owner = full && (euid == 0 || (self.uid == euid && (self.mode & OWNER_USES) == OWNER_USES));
  if (owner && !(self.attributes & (STATX_IMMUTABLE | STATX_APPEND)))
    f->mount = self.mnt_id;
  f->sticky = full && self.mode & 01000 && euid && self.uid != euid;
  return f->mount;
}

/*
 * As `rm -r' does it: a name of a directory that the program has open for reading and that is watched. That it is there
 * is known; whoever else removes it meanwhile, or puts something into a directory that is empty, makes this a late
 * failure.
 */
static bool remove_listed(struct hub *h, const struct message *m, const struct path *p, uint64_t flags)
{
  struct wire_attr a;
  struct file *f = file_at(h, p->base);
  bool plain = p->n && p->n <= NAME_LEN_MAX && !memchr(p->text, '/', p->n) && !is_dots(p->text, p->n);
  if (!plain || !f || !f->known || f->kind != K_DIR || HANDLE_INDEX(p->base) < H_FIRST || !may_empty(h, f))
    return false;
  if (!mount_writable(h, f->mount) || !names_entry(h, f->dev, f->ino, p->text, p->n, &a))
    return false;
  bool dir = (a.mode & TYPE_MASK) == TYPE_DIR;
  if (fixed(&a) || a.dev != f->dev || dir != (flags != 0) || (f->sticky && a.uid != h->s->facts.euid))
    return false;
  if (dir && !names_empty(h, a.dev, a.ino))
    return false;
  struct call *c = send_named(h, m, FF_OWN, p, 0);
  if (!c)
    return false;
  c->from_dev = f->dev;
  c->from_ino = f->ino;
  file_touched(h, a.dev, a.ino, c->seq);
  file_touched(h, f->dev, f->ino, c->seq);
  names_removed(h, f->dev, f->ino, p->text, p->n, c->seq);
  if (dir)
    names_void(h, a.dev, a.ino);
  return answer(h, m, 0, FF_POSTED);
}

/* ---- removing, renaming, linking ---- */

static bool remove_name(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at;
  uint64_t flags = get_u64(&r);
  if (flags & ~(uint64_t)LINUX_AT_REMOVEDIR)
    return false;
  if (!find(h, &p, &at))
    return remove_listed(h, m, &p, flags);
  if (!at.e)
    return known(h, m, -ENOENT);
  bool dir = at.e->type == TYPE_DIR;
  if (dir != (flags != 0) || at.slash || (dir && (!at.e->dir || at.e->dir->first)))
    return false;
  struct call *c = send_named(h, m, FF_OWN, &p, at.dir);
  if (!c)
    return false;
  dir_touched(h, at.dir, at.name, at.len, c->seq);
  entry_touched(h, at.e, c->seq);
  made_remove(at.e);
  return answer(h, m, 0, FF_POSTED);
}

/* What the new name replaces is a file, and another than the one that is moved. */
static bool may_replace(const struct named *from, const struct named *to)
{
  if (!to->e)
    return true;
  bool dirs = from->e->type == TYPE_DIR || to->e->type == TYPE_DIR;
  return !dirs && !(from->e->linked && to->e->linked);
}

static void move_entry(struct hub *h, const struct named *from, const struct named *to, uint64_t seq)
{
  struct made_entry *old = from->e;
  struct made *dir = old->dir;
  uint64_t dev = old->dev, ino = old->ino;
  uint32_t type = old->type;
  bool linked = old->linked;
  struct made_entry **call = old->call;
  old->dir = 0;
  old->call = 0;
  if (to->e) {
    entry_touched(h, to->e, seq);
    made_remove(to->e);
  }
  made_remove(old);
  struct made_entry *e = made_add(to->dir, to->name, to->len, type);
  if (!e) {
    if (call)
      *call = 0;
    if (dir)
      dir->entry = 0, made_forget(dir);
    made_forget(to->dir);
    return;
  }
  e->dev = dev;
  e->ino = ino;
  e->linked = linked;
  e->call = call;
  if (call)
    *call = e;
  if (dir) {
    dir->touched = true;
    made_attach(e, dir);
  }
}

static bool rename_name(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r), q = get_path(&r);
  struct named from, to;
  uint64_t flags = get_u64(&r);
  if (flags & ~(uint64_t)LINUX_RENAME_NOREPLACE || !find(h, &p, &from) || !from.e || !find(h, &q, &to))
    return false;
  if (to.e == from.e) /* the same name, which changes nothing: or not even that, as the slave knows */
    return false;
  if (from.slash || to.slash || !may_replace(&from, &to) || (to.e && flags) || !roomy(h, &to))
    return false;
  if (from.e->type == TYPE_DIR && (!from.e->dir || made_above(from.e->dir, to.dir) || to.dir->depth >= MADE_DEPTH))
    return false;
  struct call *c = send_named(h, m, FF_OWN, &p, from.dir);
  if (!c)
    return false;
  c->into = to.dir;
  made_hold(to.dir);
  dir_touched(h, from.dir, from.name, from.len, c->seq);
  dir_touched(h, to.dir, to.name, to.len, c->seq);
  entry_touched(h, from.e, c->seq);
  move_entry(h, &from, &to, c->seq);
  return answer(h, m, 0, FF_POSTED);
}

/* A file of one's own in a directory of others, on the same file system: it is known, and may be linked. */
static bool may_link(struct hub *h, const struct named *from, const struct named *to, struct wire_attr *a)
{
  return from->id[1] && to->dir->ino && names_entry(h, from->id[0], from->id[1], from->name, from->len, a) &&
         (a->mode & TYPE_MASK) == TYPE_FILE && a->uid == h->s->facts.euid && a->dev == to->dir->dev && !fixed(a) &&
         a->nlink < LINKS_SAFE;
}

static bool link_name(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r), q = get_path(&r);
  struct named from, to;
  struct wire_attr a;
  bool ours = find(h, &p, &from);
  if (get_u64(&r) || !find(h, &q, &to))
    return false;
  if (ours ? !from.e || from.e->type == TYPE_DIR : !may_link(h, &from, &to, &a))
    return false;
  if (to.e)
    return known(h, m, -EEXIST);
  if (from.slash || to.slash || !roomy(h, &to))
    return false;
  struct call *c = send_named(h, m, FF_OWN, &q, to.dir);
  if (!c)
    return false;
  if (ours) {
    entry_touched(h, from.e, c->seq);
    from.e->linked = true;
  } else {
    file_touched(h, a.dev, a.ino, c->seq);
  }
  makes(h, m, c, &to, ours ? from.e->type : TYPE_FILE);
  if (c->entry)
    c->entry->linked = true;
  return true;
}

/* ---- attributes ---- */

/* To a group of one's own, or not at all. */
static bool may_chown(const struct hub *h, uint64_t uid, uint64_t gid)
{
  const struct facts *f = &h->s->facts;
  bool group = (uint32_t)gid == UINT32_MAX || (uint32_t)gid == f->egid;
  for (uint32_t i = 0; i < f->ngroups && i < 64; i++)
    group |= f->groups[i] == (uint32_t)gid;
  return group && ((uint32_t)uid == UINT32_MAX || (uint32_t)uid == f->euid);
}

static bool change_handle(struct hub *h, const struct message *m, uint32_t handle)
{
  struct file *f = file_at(h, handle);
  if (!f || !f->mine || f->unborn)
    return false;
  int err = note_before(h, m);
  struct call *c = err ? 0 : send_on(h, m, 0, strdup(f->path ? f->path : "a file"));
  if (!c)
    return false;
  c->handle = handle;
  note_after(h, m, c->seq);
  return answer(h, m, 0, FF_POSTED);
}

/* nofollow: a symbolic link may be meant itself. */
static bool change_named(struct hub *h, const struct message *m, const struct path *p, bool nofollow, struct named *at)
{
  if (!find(h, p, at))
    return false;
  if (!at->e)
    return known(h, m, -ENOENT);
  if (at->slash || (at->e->type == TYPE_LINK && !nofollow) || (at->e->type == TYPE_DIR && !at->e->dir))
    return false;
  struct call *c = send_named(h, m, FF_OWN, p, at->dir);
  if (!c)
    return false;
  entry_touched(h, at->e, c->seq);
  if (at->dir->ino)
    names_own(h, at->dir->dev, at->dir->ino, at->name, at->len, c->seq);
  if (at->e->dir)
    dir_touched(h, at->e->dir, ".", 1, c->seq);
  return answer(h, m, 0, FF_POSTED);
}

static bool change_mode(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at = {0};
  uint64_t mode = get_u64(&r), flags = m->f.op == OP_fchmodat2 ? get_u64(&r) : 0;
  if (flags & ~(uint64_t)LINUX_AT_NOFOLLOW || !change_named(h, m, &p, false, &at))
    return false;
  if (at.e && at.e->dir)
    at.e->dir->mode = (uint32_t)mode & 07777;
  return true;
}

static bool change_owner(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at;
  uint64_t uid = get_u64(&r), gid = get_u64(&r), flags = get_u64(&r);
  return may_chown(h, uid, gid) && !(flags & ~(uint64_t)LINUX_AT_NOFOLLOW) &&
         change_named(h, m, &p, flags & LINUX_AT_NOFOLLOW, &at);
}

static bool change_times(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at;
  if (!p.n)
    return change_handle(h, m, p.base);
  uint64_t flags = int_at_end(m);
  return !(flags & ~(uint64_t)LINUX_AT_NOFOLLOW) && change_named(h, m, &p, flags & LINUX_AT_NOFOLLOW, &at);
}

static bool change_file_mode(struct hub *h, const struct message *m)
{
  return change_handle(h, m, (uint32_t)int_at(m, 0));
}

static bool change_file_owner(struct hub *h, const struct message *m)
{
  return may_chown(h, int_at(m, 8), int_at(m, 16)) && change_handle(h, m, (uint32_t)int_at(m, 0));
}

static bool change_size(struct hub *h, const struct message *m)
{
  const struct file *f = file_at(h, (uint32_t)int_at(m, 0));
  bool writes = f && f->kind == K_REG && f->flags & LINUX_O_ACCMODE;
  return writes && !h->s->tight && int_at(m, 8) <= TRUNCATE_MAX && change_handle(h, m, (uint32_t)int_at(m, 0));
}

/* ---- questions ---- */

/* What is not there; and what a directory was when it was made, while nothing has been done to it. */
static bool ask_attr(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at;
  uint8_t body[sizeof(struct wire_attr)];
  struct wbuf w = {body, body + sizeof body, false};
  if (!find(h, &p, &at))
    return false;
  if (!at.e)
    return known(h, m, -ENOENT);
  if (!at.e->dir || !at.e->dir->told || at.e->dir->touched || at.slash)
    return false;
  put_attr(&w, &at.e->dir->attr);
  slot_reply(h, m->f.tag, 0, FF_KNOWN, body, sizeof body, 0);
  return true;
}

static bool ask_absent(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  struct path p = get_path(&r);
  struct named at;
  return find(h, &p, &at) && !at.e && known(h, m, -ENOENT);
}

typedef bool ahead_fn(struct hub *h, const struct message *m);
static ahead_fn *const fns[WIRE_MAX] = {
    [OP_mkdirat] = make_dir,         [OP_symlinkat] = make_link,    [OP_mknodat] = make_node,
    [OP_openat] = open_file,         [OP_unlinkat] = remove_name,   [OP_renameat2] = rename_name,
    [OP_linkat] = link_name,         [OP_fchmodat] = change_mode,   [OP_fchmodat2] = change_mode,
    [OP_fchownat] = change_owner,    [OP_utimensat] = change_times, [OP_fchmod] = change_file_mode,
    [OP_fchown] = change_file_owner, [OP_ftruncate] = change_size,  [OP_statx] = ask_attr,
    [OP_faccessat2] = ask_absent,    [OP_readlinkat] = ask_absent,
};

bool ahead_call(struct hub *h, const struct message *m)
{
  if (m->f.op >= WIRE_MAX || !fns[m->f.op] || proc_has_context(h, m->f.ctx))
    return false;
  A.missing = false;
  return fns[m->f.op](h, m) || (A.missing && known(h, m, -ENOENT));
}

uint8_t ahead_flags(struct hub *h, const struct message *m)
{
  return m->f.op == OP_mkdirat && !proc_has_context(h, m->f.ctx) ? FF_MADE : 0;
}

/* ---- what the slave says ---- */

static bool get_made(const uint8_t *body, uint32_t n, struct wire_attr *a)
{
  struct rbuf r = {body, body + n, false};
  get_attr(&r, a);
  return !r.bad && a->ino;
}

/* A directory has come into being: every name that will be in it is known from now on. */
static void dir_made(struct hub *h, struct made *d, const struct frame *f, const struct wire_attr *a)
{
  if (!(f->flags & FF_CACHEABLE)) {
    made_forget(d);
    return;
  }
  made_identify(d, a->dev, a->ino);
  d->mode = (uint32_t)a->mode & 07777;
  d->full = f->flags & FF_SYNC;
  d->attr = *a;
  d->told = true;
  if (d->entry && d->entry->in->ino)
    names_dir_made(h, d->entry->in->dev, d->entry->in->ino, d->entry->name, d->entry->len, a);
  /* What the slave has seen of it may be older than what we have sent by now. */
  if (!d->touched)
    return;
  file_touched(h, a->dev, a->ino, h->seq);
  names_own(h, a->dev, a->ino, ".", 1, h->seq);
}

void ahead_waited(struct hub *h, const struct pending *c, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct wire_attr a;
  struct file *from = c->op == OP_unlinkat && f->result >= 0 ? file_at(h, c->subject) : 0;
  if (from && from->mount && !mount_writable(h, from->mount))
    h->writable[h->nwritable++ % (sizeof h->writable / sizeof *h->writable)] = from->mount;
  if (c->op != OP_mkdirat || f->result < 0 || f->flags & FF_REDIRECT || !get_made(body, n, &a))
    return;
  struct made *d = made_new(0);
  if (!d)
    return;
  dir_made(h, d, f, &a);
}

static void succeeded(struct hub *h, struct call *c, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct wire_attr a;
  if (c->in && f->flags & FF_SYNC && !c->in->gone)
    c->in->full = true;
  if (c->op == OP_openat && c->handle != H_NONE) {
    file_opened(h, c->handle, 0, body, n);
    file_came(h, c->handle, f->flags & FF_SYNC);
    body += 8, n -= n < 8 ? n : 8;
  }
  if (!c->entry || !get_made(body, n, &a))
    return;
  c->entry->dev = a.dev;
  c->entry->ino = a.ino;
  file_touched(h, a.dev, a.ino, h->seq);
  if (c->dir)
    dir_made(h, c->dir, f, &a);
}

/* Somebody else had a say, or there was no room: nothing is taken for granted there any more. */
static void failed(struct hub *h, struct call *c, int err)
{
  if (c->handle != H_NONE)
    file_failed(h, c->handle, err, c->op == OP_openat);
  else
    late_add(h, err, c->path);
  if (c->entry)
    made_remove(c->entry);
  if (c->in && !c->in->gone)
    made_forget(c->in);
  if (c->into && !c->into->gone)
    made_forget(c->into);
  if (c->from_ino)
    names_void(h, c->from_dev, c->from_ino);
}

int ahead_reply(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct call *c = &A.calls[f->tag - AHEAD_TAG];
  if (f->result < 0 || f->flags & FF_REDIRECT)
    failed(h, c, f->flags & FF_REDIRECT ? -EXDEV : (int)f->result);
  else
    succeeded(h, c, f, body, n);
  call_end(c);
  return 0;
}

void ahead_changed(uint64_t dev, uint64_t ino)
{
  struct made *d = made_by_id(dev, ino);
  if (d)
    made_forget(d);
}

void ahead_changed_all(struct hub *h)
{
  made_forget_all();
  h->nwritable = 0;
}
