/*
 * Opening, reading, writing, listing: the calls that bring more than the kernel's answer, or that may block.
 *
 * Owns nothing. Must never: block on the main thread (CALL_DEFER instead), or lose bytes that a read has taken out
 * of a stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "slave/slave.h"

#define ATTR_ALL 0xfff /* basic attributes and time of birth */
#define OWN_OFFSET UINT64_MAX
#define COPY_AT_ONCE (1u << 20)

/* ---- open ---- */

/* Flags that would act on the slave's process or bind it to alignment, and those that it sets for itself. */
#define NEVER (O_ASYNC | O_DIRECT)
#define ALWAYS (O_NOCTTY | O_CLOEXEC)

static bool would_wait(const struct stat *st, uint64_t flags)
{
  if (flags & O_PATH)
    return false;
  return S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode) || (S_ISFIFO(st->st_mode) && !(flags & O_NONBLOCK));
}

/* The walk has followed what was to be followed: what is a link now is one that is not to be. */
static int open_spot(struct call *c, int flags)
{
  const struct spot *s = &c->at[0];
  if (s->name[0])
    return openat(s->dir, s->name, flags | O_NOFOLLOW, (mode_t)c->a[3]);
  int err = call_object(c, true);
  if (!err)
    return open(c->object, flags & ~(O_NOFOLLOW | O_CREAT | O_EXCL));
  errno = -err;
  return -1;
}

/* On the main thread O_NONBLOCK is lent: should a FIFO have taken a file's place meanwhile, it does not hold us up. */
static int open_native(struct call *c, int flags)
{
  for (;;) {
    if (worker_cancelled())
      return -EINTR;
    int fd = open_spot(c, flags | ALWAYS | (c->worker || flags & O_PATH ? 0 : O_NONBLOCK));
    if (fd >= 0)
      return fd;
    if (!c->worker && !(flags & O_NONBLOCK) && (errno == EWOULDBLOCK || errno == ENXIO))
      return CALL_DEFER;
    if (errno != EINTR)
      return -errno;
  }
}

static int open_checked(struct call *c, int flags, struct stat *st)
{
  const struct spot *s = &c->at[0];
  int look = AT_SYMLINK_NOFOLLOW | (s->name[0] ? 0 : AT_EMPTY_PATH);
  if (!c->worker && !fstatat(s->dir, s->name, st, look) && would_wait(st, (uint64_t)flags))
    return CALL_DEFER;
  int fd = open_native(c, flags);
  if (fd < 0)
    return fd;
  int err = fstat(fd, st) ? -errno : 0;
  if (!err && !c->worker && would_wait(st, (uint64_t)flags))
    err = CALL_DEFER;
  else if (!err && !c->worker && !(flags & (O_NONBLOCK | O_PATH)))
    err = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) ? -errno : 0;
  if (err)
    close(fd);
  return err ? err : fd;
}

/* ---- opening with a restricted lookup ---- */

/*
 * The kernel walks, and knows nothing of a root of the context's own: from there it is told not to leave it. What is
 * restricted to its base needs no more; a walk from another base could leave the root, and is not made.
 */
static int below_root(struct call *c, int *base, uint64_t *resolve)
{
  *resolve = c->a[2] >> WIRE_RESOLVE_SHIFT;
  if (c->context.root < 0 || *resolve & (LOOKUP_BENEATH | LOOKUP_IN_ROOT))
    return 0;
  if (c->path[0].text[0] != '/' && *base != c->context.root)
    return -EXDEV;
  *base = c->context.root;
  *resolve |= LOOKUP_IN_ROOT;
  return 0;
}

static int probe(struct call *c, int base, const char *path, int flags)
{
  uint64_t resolve;
  int fd = below_root(c, &base, &resolve);
  if (!fd)
    fd = walk_open(base, path, (uint64_t)(flags | O_PATH | O_CLOEXEC), 0, resolve);
  if (fd >= 0 && c->context.root < 0 && walk_elsewhere(fd)) {
    close(fd);
    fd = -EXDEV;
  }
  return fd;
}

/* Whether the directory in which the file would be made is the slave's. */
static int probe_parent(struct call *c, int base)
{
  char dir[WIRE_PATH_MAX];
  snprintf(dir, sizeof dir, "%s", c->path[0].text);
  char *slash = strrchr(dir, '/');
  if (slash)
    slash[slash == dir] = 0;
  int fd = probe(c, base, slash ? dir : ".", O_DIRECTORY);
  if (fd >= 0)
    close(fd);
  return fd < 0 ? fd : 0;
}

static int create_restricted(struct call *c, int base, int flags, struct stat *st)
{
  uint64_t resolve;
  const char *path = c->path[0].text;
  int err = path[strlen(path) - 1] == '/' ? -EISDIR : probe_parent(c, base);
  if (!err)
    err = below_root(c, &base, &resolve);
  if (err)
    return err;
  int fd = walk_open(base, path, (uint64_t)(flags | ALWAYS | O_NONBLOCK), c->a[3] & 07777, resolve);
  if (fd < 0)
    return fd;
  err = fstat(fd, st) || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK)) ? -errno : 0;
  if (err)
    close(fd);
  return err ? err : fd;
}

/* What is there is looked up first, without an effect on it, and opened if it is what may be opened. */
static int open_restricted(struct call *c, int flags, struct stat *st)
{
  bool creates = flags & O_CREAT, exclusive = creates && flags & O_EXCL;
  int base = call_base(c);
  c->npaths = 0;
  if (base < -1)
    return base;
  int fd = probe(c, base, c->path[0].text, (flags & (O_NOFOLLOW | O_DIRECTORY)) | (exclusive ? O_NOFOLLOW : 0));
  if (fd == -ENOENT && creates)
    return create_restricted(c, base, flags, st);
  if (fd < 0)
    return fd;
  c->at[0] = (struct spot){.dir = fd, .owned = true};
  c->nspots = 1;
  if (fstat(fd, st))
    return -errno;
  if (exclusive || (creates && S_ISDIR(st->st_mode)))
    return exclusive ? -EEXIST : -EISDIR;
  if (S_ISLNK(st->st_mode) && !(flags & O_PATH))
    return -ELOOP;
  if (S_ISDIR(st->st_mode))
    c->at[0].name[0] = '.';
  return open_checked(c, flags & ~O_CREAT, st);
}

/* ---- what goes with a file ---- */

/* Watches first, so that what is read next is either true or known to be stale. */
static int put_watched_attr(struct call *c, int fd, bool watch, bool directory, struct wire_attr *a)
{
  if (watch)
    c->promise.stamp = watch_add(fd, directory);
  int err = attr_read(fd, "", AT_EMPTY_PATH, ATTR_ALL, a);
  if (err)
    return err;
  put_attr(&c->out, a);
  if (c->promise.stamp) {
    watch_name(c->promise.stamp, a->dev, a->ino);
    c->reply_flags |= state_old(a) ? FF_CACHEABLE | FF_OLD : FF_CACHEABLE;
  }
  return 0;
}

/* The buffer at the end of openat's reply: a file's contents or a directory's path. */
/* The records of a small directory, all of them or none; the descriptor's own position stays at the beginning. */
uint32_t all_names(int dirfd, uint8_t to[DIR_NAMES_MAX])
{
  uint32_t have = 0;
  long n = -1;
  int fd = reads_watched ? -1 : open_unnoticed(dirfd, ".", O_RDONLY | O_DIRECTORY);
  while (fd >= 0 && have < DIR_NAMES_MAX && (n = list_read(fd, to + have, DIR_NAMES_MAX - have)) > 0)
    have += (uint32_t)n;
  if (fd >= 0)
    close(fd);
  return n ? 0 : have;
}

static void put_contents(struct call *c, int fd, const struct wire_attr *a)
{
  uint8_t *length = c->out.at;
  char path[WIRE_PATH_MAX];
  put_u32(&c->out, 0);
  if (S_ISDIR(a->mode) && !real_path(fd, path)) {
    uint32_t n = (uint32_t)strlen(path), names = 0;
    memcpy(length + 4, path, n + 1);
    if (c->f.flags & FF_CONTENTS && c->promise.stamp)
      names = all_names(fd, length + 4 + n + 1);
    c->out.at = length;
    put_u32(&c->out, names ? n + 1 + names : n);
    c->out.at += names ? n + 1 + names : n;
    c->reply_flags |= FF_CONTENTS;
    return;
  }
  if (reads_watched || !S_ISREG(a->mode) || !(c->f.flags & FF_CONTENTS) || !c->promise.stamp || a->size > CONTENTS_MAX)
    return;
  if (have_it(a)) { /* FF_CACHEABLE and the attributes say which state it is */
    c->promise.contents = true;
    return;
  }
  if (pread(fd, length + 4, a->size + 1, 0) != (ssize_t)a->size)
    return;
  c->out.at = length;
  put_u32(&c->out, (uint32_t)a->size);
  c->out.at += a->size;
  c->promise.contents = true;
  c->reply_flags |= FF_CONTENTS;
}

static bool forbids_exec(int fd, const struct stat *st)
{
  struct statvfs v;
  return S_ISREG(st->st_mode) && !fstatvfs(fd, &v) && v.f_flag & ST_NOEXEC;
}

static int put_opened(struct call *c, int fd, const struct stat *st, int flags)
{
  struct wire_attr a;
  bool path_only = flags & O_PATH;
  bool watch = !path_only && (flags & O_ACCMODE) == O_RDONLY && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
  put_u64(&c->out, kind_of(st, path_only));
  int err = put_watched_attr(c, fd, watch, S_ISDIR(st->st_mode), &a);
  if (err)
    return err;
  int real = fcntl(fd, F_GETFL);
  uint64_t shown = flags_to_wire((uint64_t)(flags & O_NOFOLLOW ? real : real & ~O_NOFOLLOW));
  shown |= path_only ? 0 : WIRE_LARGEFILE;
  put_u64(&c->out, shown | (forbids_exec(fd, st) ? WIRE_NOEXEC : 0));
  put_contents(c, fd, &a);
  return 0;
}

/* ---- room ---- */

/* More than hubs, sockets and buffers can hold of what programs believe written. */
#define SPACE_MARGIN (64u << 20)
#define SPACE_CHECK_EACH (16u << 20)

static struct {
  _Atomic bool tight;
  _Atomic uint32_t unchecked; /* bytes written since the last look */
} space;

bool space_tight(void)
{
  return space.tight;
}

#define FILES_MARGIN 4096 /* more than are made ahead of their replies */

bool space_short(int fd)
{
  struct statvfs v;
  if (fstatvfs(fd, &v))
    return false;
  return (uint64_t)v.f_bavail * v.f_frsize < SPACE_MARGIN || (v.f_files && v.f_favail < FILES_MARGIN);
}

/* While it is tight, every write looks again. */
static void space_used(int fd, uint32_t n)
{
  space.unchecked += n;
  if (!space.tight && space.unchecked < SPACE_CHECK_EACH)
    return;
  space.unchecked = 0;
  space.tight = space_short(fd);
}

/* ---- opening and attributes ---- */

static long opened_as(struct call *c, int fd, const struct stat *st, int flags, uint64_t num)
{
  if (S_ISREG(st->st_mode) && (flags & O_ACCMODE) != O_RDONLY && space_short(fd))
    c->reply_flags |= FF_SYNC;
  int err = put_opened(c, fd, st, flags);
  if (!err)
    err = handle_add(num, fd, kind_of(st, flags & O_PATH), st, (uint32_t)flags);
  if (err)
    close(fd);
  return err;
}

long open_finish(struct call *c, int fd, int flags, uint64_t num)
{
  struct stat st;
  int err = fstat(fd, &st) ? -errno : 0;
  if (err)
    close(fd);
  return err ? err : opened_as(c, fd, &st, flags, num);
}

int64_t do_openat(struct call *c)
{
  struct stat st;
  int flags = (int)(c->a[2] & ~(uint64_t)WIRE_EXECUTE) & ~NEVER;
  bool restricted = c->a[2] >> WIRE_RESOLVE_SHIFT;
  int err = restricted ? 0 : call_walk(c);
  if (err)
    return err;
  int fd = restricted ? open_restricted(c, flags, &st) : open_checked(c, flags, &st);
  if (fd >= 0 && c->a[2] & WIRE_EXECUTE && being_written(fd)) {
    close(fd);
    return -ETXTBSY;
  }
  return fd < 0 ? fd : opened_as(c, fd, &st, flags, c->a[4]);
}

int64_t do_fstat(struct call *c)
{
  struct wire_attr a;
  const struct handle *h = c->h[0];
  bool watch = (h->kind == K_REG || h->kind == K_DIR) && h->access == O_RDONLY;
  return put_watched_attr(c, h->fd, watch, h->kind == K_DIR, &a);
}

int64_t do_statx(struct call *c)
{
  struct wire_attr a;
  int err = call_walk(c);
  if (!err)
    err = attr_read(c->at[0].dir, c->at[0].name, (int)c->a[2], (unsigned)c->a[3], &a);
  if (!err)
    put_attr(&c->out, &a);
  return err;
}

int64_t do_readlinkat(struct call *c)
{
  char path[WIRE_PATH_MAX];
  int err = call_walk(c);
  if (err)
    return err;
  int64_t r = native_call(c->op, c->a);
  if (c->at[0].name[0] || (r != -EINVAL && r != -ENOENT))
    return r;
  /* an empty path on what is no link: where is it? */
  err = real_path(c->at[0].dir, path);
  if (err)
    return err;
  size_t n = strlen(path) < c->o_room ? strlen(path) : c->o_room;
  memcpy(c->o_at, path, n);
  return (long)n;
}

/* ---- reading ---- */

static bool unsure(int err)
{
  return err == EAGAIN || err == EOPNOTSUPP || err == ENOSYS || err == EINVAL || err == EINTR;
}

/* Nobody is to wait, and the kernel cannot be told so for this one read. Once there is something, a worker takes it: it
   may be somebody else's by then. */
static long read_now(struct call *c, int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  if (fcntl(fd, F_GETFL) & O_NONBLOCK) {
    ssize_t r = read(fd, (void *)(uintptr_t)c->a[1], c->o_room);
    return r < 0 ? -errno : r;
  }
  return poll(&p, 1, 0) > 0 ? CALL_DEFER : -EAGAIN;
}

#define LOOK_MS 50 /* a cancelled call's signal may come just before it waits */

/* A description that its opener made O_NONBLOCK, read by a program that waits. */
static void wait_readable(int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  poll(&p, 1, LOOK_MS);
}

/* What is there already is taken at once; else a worker waits for it, unless nobody is to wait. */
static long read_stream(struct call *c, uint64_t offset)
{
  void *to = (void *)(uintptr_t)c->a[1];
  int fd = c->h[0]->fd;
  bool waits = !(c->f.flags & FF_CONTENTS);
  if (!c->worker) {
    long r = read_nowait(fd, to, c->o_room, offset);
    if (r < 0 && !waits && r != -EAGAIN && unsure((int)-r))
      return read_now(c, fd);
    return r < 0 && waits && unsure((int)-r) ? CALL_DEFER : r;
  }
  for (;;) {
    if (worker_cancelled())
      return -EINTR;
    ssize_t r = offset == OWN_OFFSET ? read(fd, to, c->o_room) : pread(fd, to, c->o_room, (off_t)offset);
    if (r >= 0 || (errno != EINTR && !(errno == EAGAIN && waits)))
      return r < 0 ? -errno : r;
    if (errno == EAGAIN)
      wait_readable(fd);
  }
}

static long read_at(struct call *c, uint64_t offset)
{
  int fd = c->h[0]->fd;
  void *to = (void *)(uintptr_t)c->a[1];
  if (handle_streams(c->h[0]))
    return read_stream(c, offset);
  if (offset != OWN_OFFSET && !c->worker && c->h[0]->kind == K_REG && !out_packs())
    c->promise.lifted = lift(fd, offset, c->o_room);
  if (c->promise.lifted)
    return c->promise.lifted;
  ssize_t r = offset == OWN_OFFSET ? read(fd, to, c->o_room) : pread(fd, to, c->o_room, (off_t)offset);
  if (r > 0 && c->h[0]->kind == K_NOTIFY)
    events_to_wire(to, r);
  return r < 0 ? -errno : r;
}

int64_t do_read(struct call *c)
{
  return read_at(c, OWN_OFFSET);
}

int64_t do_pread(struct call *c)
{
  return read_at(c, c->a[3]);
}

int64_t do_getdents(struct call *c)
{
  uint32_t have = 0;
  while (have < c->o_room) {
    long r = list_read(c->h[0]->fd, c->o_at + have, c->o_room - have);
    if (r < 0)
      return have ? (long)have : r;
    if (!r) {
      c->reply_flags |= FF_EOF;
      break;
    }
    have += (uint32_t)r;
  }
  return (long)have;
}

/* ---- writing ---- */

/* A posted write is all or an error: nobody is there to write the rest. */
static long write_file(struct call *c, uint64_t offset)
{
  int fd = c->h[0]->fd;
  uint32_t done = 0;
  do {
    const uint8_t *p = c->blob + done;
    size_t n = c->blob_len - done;
    ssize_t r = offset == OWN_OFFSET ? write(fd, p, n) : pwrite(fd, p, n, (off_t)(offset + done));
    if (r < 0 && errno != EINTR)
      return done && c->asked ? (long)done : -errno;
    done += r > 0 ? (uint32_t)r : 0;
    if (r > 0 && c->h[0]->kind == K_REG)
      space_used(fd, (uint32_t)r);
    if (!r)
      break;
  } while (done < c->blob_len && !c->asked);
  return (long)done;
}

static long write_at(struct call *c, uint64_t offset)
{
  struct handle *h = c->h[0];
  if (!handle_streams(h) || h->access == O_RDONLY)
    return write_file(c, offset);
  if (!c->asked && offset == OWN_OFFSET)
    return stream_post(h, c->blob, c->blob_len) ? (long)c->blob_len : -ENOBUFS;
  if (!c->worker)
    return CALL_DEFER;
  return offset == OWN_OFFSET ? stream_call(h, c->blob, c->blob_len) : write_file(c, offset);
}

int64_t do_write(struct call *c)
{
  return write_at(c, OWN_OFFSET);
}

int64_t do_pwrite(struct call *c)
{
  return write_at(c, c->a[3]);
}

/* Offsets of OWN_OFFSET are the descriptors' own. What is more than a moment's work is not done on the main thread. */
int64_t do_copy_file_range(struct call *c)
{
  int64_t in = (int64_t)c->a[1], out = (int64_t)c->a[3];
  if (c->asked && !c->worker && c->a[4] > COPY_AT_ONCE)
    return CALL_DEFER;
  c->a[1] = c->a[1] == OWN_OFFSET ? 0 : (uintptr_t)&in;
  c->a[3] = c->a[3] == OWN_OFFSET ? 0 : (uintptr_t)&out;
  int64_t r = native_call(c->op, c->a);
  if (r > 0)
    space_used(c->h[1]->fd, (uint32_t)r);
  return r;
}
