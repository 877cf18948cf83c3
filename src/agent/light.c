/*
 * Light descriptors: small files and directories that are opened, read and closed again out of memory (proto/kept.h),
 * without a word to the hub or the slave.
 *
 * Such a descriptor's number is the kernel's own: a duplicate of an empty memfd. What it stands for is a struct light
 * of this process: the file's attributes, where its contents lie, and its offset. As soon as anything is asked that
 * this cannot answer, or others would come to share the descriptor, or the memory is no longer true, it is settled: the
 * slave opens the file, which must still be the same (device, inode), and all its descriptors are replaced by ordinary
 * ones. If the name leads elsewhere by then, the descriptor goes on showing what the file held when it still did.
 *
 * Only a process of one thread has any, and settles them before it becomes more: so nothing here is locked.
 *
 * Owns the table of light files. Must never: show contents after anything newer was learnt of the file, or let such a
 * descriptor reach the kernel, another process or a message.
 */
#include <asm/mman.h>
#include <linux/fs.h>
#include <linux/memfd.h>
#include <linux/stat.h>

#include "agent/light.h"
#include "agent/sysnum.h"
#include "proto/kept.h"

#define LIGHTS_MAX 128
#define PATH_ROOM 248
#define BLOCK 512u /* of st_blocks */
#define OPEN_FLAGS (O_CLOEXEC | O_NOCTTY | O_LARGEFILE | O_NONBLOCK | O_NOFOLLOW | O_DIRECTORY)

struct light {
  uint32_t refs;                /* descriptors, and calls under way; 0: free */
  uint32_t entry, seq, at, len; /* in the memory of contents */
  uint32_t gen, gen_index;
  uint32_t flags;
  uint64_t off, pos; /* pos: of a directory, where the slave would stand */
  struct wire_attr attr;
  char path[PATH_ROOM]; /* absolute */
};

static struct light *table; /* LIGHTS_MAX of them, once there was need */

/* ---- the table ---- */

static struct light *take_free(void)
{
  if (!table)
    table = pages_new(LIGHTS_MAX * sizeof *table);
  for (unsigned i = 0; table && i < LIGHTS_MAX; i++)
    if (!table[i].refs) {
      table[i].refs = 1;
      return &table[i];
    }
  return 0;
}

void light_hold(struct proc *p, unsigned light)
{
  p->lights++;
  table[light].refs++;
}

void light_release(struct proc *p, unsigned light)
{
  p->lights--;
  light_put(&table[light]);
}

void light_put(struct light *l)
{
  l->refs--;
}

struct light *light_get(struct proc *p, int fd)
{
  int i = vft_light(p, fd);
  if (i < 0)
    return 0;
  table[i].refs++;
  return &table[i];
}

/* ---- the memory ---- */

static const struct kept_memory *kept(struct proc *p)
{
  const struct names *v = names_view(p);
  return v ? (const struct kept_memory *)((const char *)v + SESSION_NAMES_SIZE) : 0;
}

static bool bytes_there(const struct light *l)
{
  const struct kept_memory *m = kept(self()->proc);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return m && __atomic_load_n(&m->files[l->entry].seq, __ATOMIC_RELAXED) == l->seq;
}

static bool unchanged(const struct light *l)
{
  return __atomic_load_n(&session->gens[l->gen_index], __ATOMIC_ACQUIRE) == l->gen;
}

static const uint8_t *bytes_of(const struct light *l)
{
  return kept(self()->proc)->room + (size_t)l->at * KEPT_UNIT;
}

/* The entry of a file that is true now, into `l'. */
static bool find(struct proc *p, const struct name_answer *a, struct light *l, uint32_t *ahead)
{
  const struct kept_memory *m = kept(p);
  const struct wire_attr *w = &a->attr;
  uint32_t first = kept_at(w->dev, w->ino);
  for (uint32_t i = first; m && i < first + KEPT_WAYS; i++) {
    struct kept k;
    if (m->files[i].ino != w->ino || m->files[i].dev != w->dev)
      continue;
    if (!names_copy(&k, &m->files[i], sizeof k, &m->files[i].seq) || k.ino != w->ino || k.dev != w->dev)
      return false;
    l->entry = i, l->seq = k.seq, l->at = k.at, l->len = k.len;
    l->gen = k.gen, l->gen_index = file_gen(w->dev, w->ino);
    *ahead = k.ahead;
    bool fits = k.at < KEPT_ROOM / KEPT_UNIT && k.len <= KEPT_MAX && (uint64_t)k.at * KEPT_UNIT + k.len <= KEPT_ROOM;
    return fits && unchanged(l) && (S_ISDIR(w->mode) ? k.instance && k.instance == a->instance : k.len == w->size);
  }
  return false;
}

/* The first to use what was sent ahead asks for more of it. */
static void note_used(struct call *c, uint32_t entry, uint32_t ahead)
{
  struct req q;
  if (__atomic_load_n(&session->kept_used[entry], __ATOMIC_RELAXED) ||
      __atomic_exchange_n(&session->kept_used[entry], 1, __ATOMIC_ACQ_REL) || !ahead)
    return;
  req_start_op(&q, c->t, W_AHEAD);
  req_u64(&q, ahead);
  req_post_uncounted(&q, -1);
}

/* ---- opening ---- */

/* The empty file whose duplicates hold the numbers. */
static bool have_number_file(struct proc *p)
{
  int to = afd(p, AFD_LIGHT);
  long fd = sys2(__NR_memfd_create, "fsyscall-light", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return false;
  sys3(__NR_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  bool good = sys3(__NR_dup3, fd, to, O_CLOEXEC) >= 0;
  sys1(__NR_close, fd);
  return good;
}

/* A second thread could close a number and be given it again for another file while this one settles what it was. */
static bool alone(const struct proc *p)
{
  return __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1 && !p->files_shared;
}

static bool fit(const struct call *c, const struct at *at, unsigned long flags, const struct name_answer *a)
{
  bool dir = S_ISDIR(a->attr.mode);
  return alone(c->p) && !(flags & ~(unsigned long)OPEN_FLAGS) && a->full && (dir || S_ISREG(a->attr.mode)) &&
         (dir || !(flags & O_DIRECTORY)) && !c->p->lender && !(session->minded & MINDED_WATCHES) &&
         at->lexical[0] == '/' && strlen(at->lexical) < PATH_ROOM;
}

static long number_new(struct call *c, const struct light *l, unsigned long flags)
{
  int cloexec = (int)(flags & O_CLOEXEC);
  long fd = fd_remote(c->p, afd(c->p, AFD_LIGHT), cloexec);
  if (fd == -EBADF && have_number_file(c->p))
    fd = fd_remote(c->p, afd(c->p, AFD_LIGHT), cloexec);
  if (fd < 0)
    return fd == -EMFILE ? fd : LIGHT_NO;
  c->p->lights++;
  vft_set_light(c->p, (int)fd, (unsigned)(l - table));
  return fd;
}

long light_open(struct call *c, const struct at *at, unsigned long flags, const struct name_answer *a)
{
  struct light found = {0}, *l;
  uint32_t ahead;
  if (!fit(c, at, flags, a) || !find(c->p, a, &found, &ahead) || !(l = take_free()))
    return LIGHT_NO;
  l->entry = found.entry, l->seq = found.seq, l->at = found.at, l->len = found.len;
  l->gen = found.gen, l->gen_index = found.gen_index;
  l->flags = (uint32_t)(flags & (O_NONBLOCK | O_DIRECTORY)) | O_LARGEFILE;
  l->off = l->pos = 0;
  l->attr = a->attr;
  memcpy(l->path, at->lexical, strlen(at->lexical) + 1);
  note_used(c, l->entry, ahead);
  long fd = number_new(c, l, flags);
  if (fd < 0)
    light_put(l);
  else
    c->where = N_MEMORY;
  return fd;
}

/* ---- settling ---- */

static bool same_file(const struct opened *o, const struct light *l)
{
  return o->attr.dev == l->attr.dev && o->attr.ino == l->attr.ino;
}

/* The slave's open file, as a descriptor of its own. -errno if the name does not lead to the file any more. */
static long settled_fd(struct call *c, struct light *l)
{
  struct at at = {.base = {H_ROOT}, .path = l->path, .lexical = l->path};
  struct opened o;
  long r = open_bare(c, &at, l->flags & ~(uint32_t)O_LARGEFILE, &o);
  if (r)
    return r < 0 ? r : -ENOENT;
  if (same_file(&o, l))
    return open_place(c, &o, &at, O_CLOEXEC);
  handle_close(c->t, o.h);
  return -ESTALE;
}

static long for_reading(long fd)
{
  char name[40];
  fmt(name, sizeof name, "/proc/thread-self/fd/%ld", fd);
  return sys4(__NR_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
}

/* What it held, as a file of the master; without even that, a descriptor that cannot be read. */
static long last_seen(const struct light *l)
{
  long fd = bytes_there(l) ? sys2(__NR_memfd_create, "fsyscall-gone", MFD_CLOEXEC) : -ENOENT, shown = -ENOENT;
  if (fd >= 0 && (!l->len || sys4(__NR_pwrite64, fd, bytes_of(l), l->len, 0) == (long)l->len) && bytes_there(l))
    shown = for_reading(fd);
  if (fd >= 0)
    sys1(__NR_close, fd);
  return shown >= 0 ? shown : sys4(__NR_openat, AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0);
}

/* A directory's position is the slave's: behind the record that was given last. */
static void settle_position(struct call *c, struct handle h, const struct light *l, int fd)
{
  struct req q;
  if (!S_ISDIR(l->attr.mode)) {
    sys3(__NR_lseek, fd, l->off, SEEK_SET);
    return;
  }
  if (!l->off || h.v == H_NONE)
    return;
  hstate(h)->names_len = 0;
  req_start(&q, c->t, ROW(lseek));
  req_handle(&q, h);
  req_u64(&q, l->pos);
  req_u64(&q, SEEK_SET);
  req_post(&q, -1);
}

static void settle_light(struct call *c, unsigned i)
{
  struct light *l = &table[i];
  struct proc *p = c->p;
  long fd = settled_fd(c, l);
  struct handle h = {H_NONE};
  if (fd < 0)
    fd = last_seen(l);
  else
    h = vft_remote(p, (int)fd);
  if (fd < 0)
    fatal("no descriptor left to open %s with", l->path);
  settle_position(c, h, l, (int)fd);
  for (int n = -1; (n = vft_next_light(p, n + 1, (int)i)) >= 0;) {
    long flags = sys2(__NR_fcntl, n, F_GETFD);
    if (flags < 0 || sys3(__NR_dup3, fd, n, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
      break;
    vft_replace(p, n, h);
  }
  vft_forget(p, (int)fd);
  sys1(__NR_close, fd);
}

void light_settle(struct proc *p, int fd)
{
  struct call c = {.t = self(), .p = p};
  struct light *l = light_get(p, fd);
  if (l) {
    settle_light(&c, (unsigned)(l - table));
    light_put(l);
  }
}

void light_settle_all(struct proc *p)
{
  for (int fd = -1; (fd = vft_next_light(p, fd + 1, -1)) >= 0;)
    light_settle(p, fd);
}

/* A pipe, socket or terminal: what comes from there may tell of changes, so the slave has the files open before. */
static bool tells(const struct call *c)
{
  struct stat_k st;
  int fd = (int)c->a[0];
  return vft_light(c->p, fd) < 0 && !sys2(__NR_fstat, fd, &st) && !S_ISREG(st.mode) && !S_ISDIR(st.mode);
}

/* Calls after which others share the descriptors, or the names that lead to their files are gone, or before which the
   program may sleep for long, or learn of what others have done. */
static bool shares(const struct call *c)
{
  switch (c->nr) {
  case __NR_read:
  case __NR_readv:
    return tells(c);
  case __NR_recvfrom:
  case __NR_recvmsg:
  case __NR_recvmmsg:
  case __NR_accept:
  case __NR_accept4:
  case __NR_splice:
  case __NR_flock:
  case __NR_futex:
  case __NR_semop:
  case __NR_semtimedop:
  case __NR_msgrcv:
  case __NR_mq_timedreceive:
  case __NR_clone:
  case __NR_clone3:
  case __NR_fork:
  case __NR_vfork:
  case __NR_execve:
  case __NR_execveat:
  case __NR_unshare:
  case __NR_sendmsg:
  case __NR_sendmmsg:
  case __NR_unlinkat:
  case __NR_renameat2:
  case __NR_inotify_add_watch:
  case __NR_chroot:
  case __NR_nanosleep:
  case __NR_clock_nanosleep:
  case __NR_poll:
  case __NR_ppoll:
  case __NR_select:
  case __NR_pselect6:
  case __NR_epoll_wait:
  case __NR_epoll_pwait:
  case __NR_epoll_pwait2:
  case __NR_wait4:
  case __NR_waitid:
  case __NR_pause:
  case __NR_rt_sigsuspend:
    return true;
  default:
    return false;
  }
}

void light_before(const struct call *c)
{
  if (shares(c))
    light_settle_all(c->p);
}

/* ---- what such a descriptor answers ---- */

/* It can no longer: the slave's from here on. */
static bool give_up(struct call *c, struct light *l, int fd)
{
  light_put(l);
  light_settle(c->p, fd);
  return false;
}

static long read_at(struct light *l, void *to, uint64_t n, uint64_t off)
{
  uint64_t left = off < l->len ? l->len - off : 0;
  n = n < left ? n : left;
  return n && copy_out(to, bytes_of(l) + off, n) ? -EFAULT : (long)n;
}

bool light_read(struct call *c, int fd, void *to, uint64_t n, uint64_t off, long *r)
{
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  bool own = off == OWN_OFFSET;
  if (S_ISDIR(l->attr.mode)) {
    *r = -EISDIR;
    light_put(l);
    return true;
  }
  if (!unchanged(l))
    return give_up(c, l, fd);
  *r = read_at(l, to, n, own ? l->off : off);
  bool good = bytes_there(l);
  if (own && good && *r > 0)
    l->off += (uint64_t)*r;
  if (!good)
    return give_up(c, l, fd);
  light_put(l);
  c->where = N_MEMORY;
  return true;
}

static long seek_to(struct light *l, int64_t by, unsigned whence)
{
  int64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (int64_t)l->off : (int64_t)l->attr.size;
  if (by > INT64_MAX - from || from + by < 0)
    return by > 0 ? -EOVERFLOW : -EINVAL;
  l->off = (uint64_t)(from + by);
  return from + by;
}

/* Where data and holes are is the file system's to say, unless there can be no hole. */
static bool may_seek(const struct light *l, int64_t by, unsigned whence)
{
  if (S_ISDIR(l->attr.mode))
    return whence == SEEK_SET && !by;
  if (whence == SEEK_SET || whence == SEEK_CUR)
    return true;
  bool filled = whence == SEEK_END || (by >= 0 && l->attr.blocks * BLOCK >= l->attr.size);
  return whence <= SEEK_HOLE && filled && unchanged(l);
}

static long seek_filled(struct light *l, uint64_t from, unsigned whence)
{
  if (from >= l->attr.size)
    return -ENXIO;
  l->off = whence == SEEK_DATA ? from : l->attr.size;
  return (long)l->off;
}

bool light_seek(struct call *c, int fd, int64_t by, unsigned whence, long *r)
{
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  if (!may_seek(l, by, whence))
    return give_up(c, l, fd);
  *r = whence > SEEK_END ? seek_filled(l, (uint64_t)by, whence) : seek_to(l, by, whence);
  light_put(l);
  c->where = N_MEMORY;
  return true;
}

bool light_attr(struct call *c, int fd, struct wire_attr *a)
{
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  bool good;
  if (S_ISDIR(l->attr.mode)) {
    good = names_dir_attr(c->p, l->attr.dev, l->attr.ino, a);
  } else {
    *a = l->attr;
    good = unchanged(l);
  }
  if (!good)
    return give_up(c, l, fd);
  light_put(l);
  c->where = N_MEMORY;
  return true;
}

bool light_flags(struct call *c, int fd, long *r)
{
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  *r = l->flags;
  light_put(l);
  c->where = N_MEMORY;
  return true;
}

/* As of that reply, memory says where the name leads. */
static bool leads_to(struct call *c, const struct light *l)
{
  struct at at = {.base = {H_ROOT}, .path = c->t->path_buf[0], .lexical = c->t->path_buf[1]};
  struct name_answer a;
  memcpy(at.path, l->path, strlen(l->path) + 1);
  memcpy(at.lexical, l->path, strlen(l->path) + 1);
  return names_ask(c, &at, false, &a) == KNOWN_THERE && a.attr.dev == l->attr.dev && a.attr.ino == l->attr.ino;
}

bool light_statfs(struct call *c, int fd, long *r)
{
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  unsigned long args[6] = {0, c->a[1]};
  struct at at = {.base = {H_ROOT}, .path = c->t->path_buf[0], .lexical = c->t->path_buf[1]};
  memcpy(at.path, l->path, strlen(l->path) + 1);
  memcpy(at.lexical, l->path, strlen(l->path) + 1);
  *r = remote_row(c, ROW(statfs), args, &at);
  if (at.local || (*r < 0 && *r != -EFAULT) || !leads_to(c, l))
    return give_up(c, l, fd);
  light_put(l);
  c->where = N_WAITED;
  return true;
}

/* A private mapping is of a copy, which nobody else sees. */
bool light_map(struct call *c, int fd, long *r)
{
  unsigned long kind = c->a[3] & 15 /* MAP_TYPE */;
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  bool plain = S_ISREG(l->attr.mode) && kind == MAP_PRIVATE && !(c->a[2] & PROT_EXEC) && l->len && unchanged(l);
  long copy = plain ? sys2(__NR_memfd_create, "fsyscall-copy", MFD_CLOEXEC) : -EINVAL;
  bool good = copy >= 0 && sys4(__NR_pwrite64, copy, bytes_of(l), l->len, 0) == (long)l->len && bytes_there(l);
  if (good) {
    c->a[4] = (unsigned long)copy;
    *r = pass(c);
    c->where = N_MEMORY;
  }
  if (copy >= 0)
    sys1(__NR_close, copy);
  if (!good)
    return give_up(c, l, fd);
  light_put(l);
  return true;
}

/* ---- directories ---- */

struct record {
  uint64_t ino;
  int64_t off;
  uint16_t reclen;
};
#define RECORD_MIN 19
#define BLOCK_MAX 8192

/* Whole records that fit; the slave's position behind them in *pos. */
static long whole_records(const uint8_t *from, uint64_t have, unsigned long room, uint64_t *pos)
{
  uint64_t n = 0;
  while (n + RECORD_MIN < have) {
    const struct record *e = (const struct record *)(from + n);
    if (e->reclen <= RECORD_MIN || n + e->reclen > have || n + e->reclen > room)
      break;
    *pos = (uint64_t)e->off;
    n += e->reclen;
  }
  return n || !have ? (long)n : -EINVAL;
}

static long next_records(struct call *c, struct light *l, unsigned long room, const uint8_t **block)
{
  uint8_t *to = c->t->msg + sizeof(struct frame); /* nothing is being built there */
  uint64_t left = l->off < l->len ? l->len - l->off : 0, have = left < BLOCK_MAX ? left : BLOCK_MAX, pos = l->pos;
  memcpy(to, bytes_of(l) + l->off, have);
  if (!bytes_there(l))
    return -EAGAIN;
  long n = whole_records(to, have, room, &pos);
  *block = to;
  if (n > 0) {
    l->off += (uint64_t)n;
    l->pos = pos;
  }
  return n;
}

bool light_records(struct call *c, int fd, unsigned long room, const uint8_t **block, long *r)
{
  struct light *l = light_get(c->p, fd);
  if (!l)
    return false;
  if (!S_ISDIR(l->attr.mode)) {
    *r = -ENOTDIR;
    light_put(l);
    return true;
  }
  if (!l->off && !unchanged(l))
    return give_up(c, l, fd);
  *r = next_records(c, l, room, block);
  if (*r == -EAGAIN)
    return give_up(c, l, fd);
  light_put(l);
  c->where = N_MEMORY;
  return true;
}

bool light_dir(struct proc *p, int fd, char *path, uint64_t *dev, uint64_t *ino)
{
  struct light *l = light_get(p, fd);
  bool dir = l && S_ISDIR(l->attr.mode);
  if (dir && path)
    memcpy(path, l->path, strlen(l->path) + 1);
  if (dir)
    *dev = l->attr.dev, *ino = l->attr.ino;
  if (l)
    light_put(l);
  return dir;
}
