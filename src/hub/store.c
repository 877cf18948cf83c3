/*
 * Contents of files that programs have mapped or execute: one memfd a file, the same for every program.
 *
 * Owns the memfds, the base copies of those that may be written to (files as well: the hub's own memory stays small),
 * and the handles through which they are filled and written back. Only bytes (in words of 8) that differ from the base
 * are written, so that what others change elsewhere in the file stays. What nobody maps shared is kept for the next who
 * wants it, while the file's counter stands still and the slave watches the file; the slave makes us raise that
 * counter. Must never map a contents memfd: a program that cuts it short would kill us.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "hub/internal.h"
#include "hub/readahead.h"
#include "hub/store.h"

#define FILLS_WHOLE 8  /* reads under way for one store that is filled at once */
#define MEMFD_NAME 250 /* the kernel's bound, with the NUL */
#define STORES_MAX 1024
#define STORES_BYTES (256ull << 20) /* bytes above which nothing is kept that no program uses */

static struct store **file_bucket(struct hub *h, uint64_t dev, uint64_t ino)
{
  return &h->stores_by_file[file_gen(dev, ino) % STORE_BUCKETS];
}

struct store *store_at(struct hub *h, uint64_t dev, uint64_t ino)
{
  struct store *st = *file_bucket(h, dev, ino);
  while (st && (st->dev != dev || st->ino != ino || st->retired))
    st = st->next_of_file;
  return st;
}

struct store *store_of(struct hub *h, const struct file *f)
{
  return h->stores && f->known ? store_at(h, f->dev, f->ino) : 0;
}

bool store_shared(const struct store *st)
{
  return st->shared;
}

bool store_needs(struct hub *h, const struct file *f)
{
  const struct store *st = f->known && !h->over ? *file_bucket(h, f->dev, f->ino) : 0;
  while (st && st->reader != f->handle && st->writer != f->handle)
    st = st->next_of_file;
  return st;
}

/* ---- contents ---- */

/* The file is at least that long; what is new are zeros. Without a writer there is no base. */
static bool grow(struct store *st, uint64_t size)
{
  if (size <= st->size)
    return true;
  if (st->base >= 0 && (ftruncate(st->base, (off_t)st->size) || ftruncate(st->base, (off_t)size)))
    return false;
  st->size = size;
  return true;
}

static bool put_both(struct store *st, uint64_t offset, const void *data, uint32_t n)
{
  if (offset > INT64_MAX - FRAME_DATA_MAX || !grow(st, offset + n))
    return false;
  if (st->base >= 0 && pwrite(st->base, data, n, (off_t)offset) != (ssize_t)n)
    return false;
  return pwrite(st->memfd, data, n, (off_t)offset) == (ssize_t)n;
}

void store_written(struct store *st, uint64_t offset, const void *data, uint32_t n)
{
  offset = offset == UINT64_MAX ? st->size : offset;
  if (st->lazy ? !lazy_written(st, offset, data, n) : st->filled && !put_both(st, offset, data, n))
    st->failed = true;
}

void store_resized(struct store *st, uint64_t size)
{
  if (st->lazy) {
    st->failed |= !lazy_resized(st, size);
    return;
  }
  if (size > INT64_MAX || ftruncate(st->memfd, (off_t)size)) {
    st->failed = true;
    return;
  }
  if (size < st->size)
    st->size = size;
  else if (!grow(st, size))
    st->failed = true;
}

/* ---- a store's life ---- */

static uint32_t gen_now(const struct hub *h, const struct store *st)
{
  return __atomic_load_n(&h->s->gens[file_gen(st->dev, st->ino)], __ATOMIC_SEQ_CST);
}

/* Programs read the name in the list of their mappings, and show the path instead (agent/view.c). */
static void name_of(char name[MEMFD_NAME], struct hub *h, const struct store *st)
{
  const char *path = st->path ? st->path : "";
  int n = snprintf(name, MEMFD_NAME, "fsyscall-file:%lx:%lx:%lx:%s", (unsigned long)h->s->id, (unsigned long)st->dev,
                   (unsigned long)st->ino, path);
  if (n >= MEMFD_NAME)
    name[n - (int)strlen(path)] = 0;
}

static struct store *store_new(struct hub *h, uint64_t dev, uint64_t ino, const char *called)
{
  static uint32_t next_tag = SESSION_SLOTS;
  static uint64_t next_id = 1;
  struct store *st = calloc(1, sizeof *st);
  char path[32], name[MEMFD_NAME];
  if (!st)
    return 0;
  *st = (struct store){
      .dev = dev, .ino = ino, .reader = H_NONE, .writer = H_NONE, .base = -1, .tag = next_tag, .id = next_id++};
  st->gen = gen_now(h, st);
  st->path = called ? strdup(called) : 0;
  name_of(name, h, st);
  int made = memfd_new(name, false);
  snprintf(path, sizeof path, "/proc/self/fd/%d", made);
  /* Opened anew, so that the kernel counts us among its holders; see unused(). */
  st->memfd = made < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
  st->wd = made < 0 ? -1 : inotify_add_watch(h->inotify, path, IN_CLOSE);
  if (made >= 0)
    close(made);
  if (st->memfd < 0 || st->wd < 0) {
    if (st->memfd >= 0)
      close(st->memfd);
    free(st->path);
    free(st);
    return 0;
  }
  next_tag = next_tag > READAHEAD_TAG - 2 * FILLS ? SESSION_SLOTS : next_tag + FILLS;
  st->next = h->stores;
  h->stores = st;
  st->next_of_file = *file_bucket(h, dev, ino);
  *file_bucket(h, dev, ino) = st;
  return st;
}

static void drop_waiters(struct store *st)
{
  for (struct waiter *w = st->waiters, *next; w; w = next) {
    next = w->next;
    close(w->sock);
    free(w);
  }
  st->waiters = 0;
}

static void release(struct hub *h, uint32_t *handle)
{
  struct file *f = *handle == H_NONE ? 0 : file_at(h, *handle);
  *handle = H_NONE;
  if (f && f->kept)
    file_close(h, f);
}

static void store_drop(struct hub *h, struct store *st)
{
  struct store **at = &h->stores;
  while (*at != st)
    at = &(*at)->next;
  *at = st->next;
  at = file_bucket(h, st->dev, st->ino);
  while (*at != st)
    at = &(*at)->next_of_file;
  *at = st->next_of_file;
  drop_waiters(st);
  lazy_end(h, st);
  inotify_rm_watch(h->inotify, st->wd);
  close(st->memfd);
  release(h, &st->reader);
  release(h, &st->writer);
  if (st->base >= 0)
    close(st->base);
  free(st->path);
  free(st);
}

/* A write lease is granted to the only holder of a file: no program maps it or has it on its way. */
static bool unused(const struct store *st)
{
  if (fcntl(st->memfd, F_SETLEASE, F_WRLCK))
    return false;
  fcntl(st->memfd, F_SETLEASE, F_UNLCK);
  return true;
}

struct store *store_by_id(struct hub *h, uint64_t id)
{
  struct store *st = h->stores;
  while (st && st->id != id)
    st = st->next;
  return st;
}

static bool filling(const struct store *st)
{
  for (unsigned i = 0; i < FILLS; i++)
    if (st->fill[i].active)
      return true;
  return false;
}

/* Are these the file's contents? Those of a shared mapping are by definition, while there is one. */
static bool is_true(const struct hub *h, const struct store *st)
{
  return st->shared || (st->watched && st->gen == gen_now(h, st));
}

/* Nobody finds it any more. */
static void retire(struct hub *h, struct store *st)
{
  st->retired = true;
  if (!filling(st) && !(st->lazy && !unused(st)))
    store_drop(h, st);
}

static bool idle(const struct store *st)
{
  return (st->filled || st->lazy) && !filling(st) && !st->waiters && unused(st);
}

static bool much_kept(const struct hub *h)
{
  uint64_t bytes = 0;
  unsigned n = 0;
  for (const struct store *st = h->stores; st; st = st->next, n++)
    bytes += st->lazy ? lazy_bytes(st) : st->size;
  return bytes > STORES_BYTES || n > STORES_MAX;
}

static struct store *longest_idle(const struct hub *h)
{
  struct store *oldest = 0;
  for (struct store *st = h->stores; st; st = st->next)
    if ((!oldest || st->used < oldest->used) && idle(st))
      oldest = st;
  return oldest;
}

/* What was unused for the longest time goes, until little enough is kept. */
static void keep_bounded(struct hub *h)
{
  struct store *st;
  while (much_kept(h) && (st = longest_idle(h)))
    store_drop(h, st);
}

bool store_event(struct hub *h, int wd)
{
  struct store *st = h->stores;
  while (st && st->wd != wd)
    st = st->next;
  if (!st)
    return false;
  bool ends = idle(st);
  if (ends && !st->ending)
    st->flush_at = 0; /* what has been compared so far may have changed again before it was unmapped */
  st->ending = ends && !store_flush_some(h, st);
  if (!ends || st->ending)
    return true;
  if (st->shared || st->retired || !is_true(h, st)) {
    store_drop(h, st);
    return true;
  }
  lazy_unmapped(h, st);
  release(h, &st->reader); /* who maps it next brings his own */
  keep_bounded(h);
  return true;
}

/* ---- filling ---- */

void store_ask(struct hub *h, struct store *st, unsigned i)
{
  uint8_t body[24];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, st->reader);
  put_u64(&w, st->fill[i].left);
  put_u64(&w, st->fill[i].offset);
  struct iovec part = {body, sizeof body};
  hub_send(h, (struct frame){.type = F_CALL, .op = OP_pread64, .tag = st->tag + i}, &part, 1);
}

static void ask_state(struct hub *h, struct store *st)
{
  uint8_t body[8];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, st->reader);
  struct iovec part = {body, sizeof body};
  st->asked_state = st->fill[0].active = true;
  __atomic_fetch_add(&h->s->counters[N_WAITED], 1, __ATOMIC_RELAXED);
  hub_send(h, (struct frame){.type = F_CALL, .op = OP_fstat, .tag = st->tag}, &part, 1);
}

static void ask_more(struct hub *h, struct store *st)
{
  for (unsigned i = 0; i < FILLS_WHOLE; i++) {
    if (st->fill[i].active || st->eof || st->failed)
      continue;
    st->fill[i].active = true;
    st->fill[i].offset = st->next_fill;
    st->fill[i].left = FRAME_DATA_MAX;
    st->next_fill += FRAME_DATA_MAX;
    store_ask(h, st, i);
  }
}

/* Every program gets an open file of its own, whose end the kernel tells. With it a number, if parts are still to be
   filled on demand. Who then maps it shared must be able to write to it, or the kernel tells nobody of what is missing.
 */
static void answer(const struct store *st, int sock, bool may_write)
{
  char path[32];
  uint64_t to_fill = st->filled ? 0 : st->id;
  may_write |= to_fill && st->shared;
  snprintf(path, sizeof path, "/proc/self/fd/%d", st->memfd);
  int fd = open(path, (may_write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0)
    return;
  send_with_fd(sock, &to_fill, sizeof to_fill, fd);
  close(fd);
}

/* Those that can be. True if others are left. */
static bool answer_some(struct store *st)
{
  bool left = false;
  for (struct waiter **at = &st->waiters; *at;) {
    struct waiter *w = *at;
    if (!st->filled && !w->lazy) {
      left = true;
      at = &w->next;
      continue;
    }
    *at = w->next;
    answer(st, w->sock, w->may_write);
    close(w->sock);
    free(w);
  }
  return left;
}

/* The memfd is given the file's time. */
static bool take_time(const struct store *st)
{
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {st->attr.mtime, st->attr.mtime_nsec}};
  return !futimens(st->memfd, times);
}

void store_filled(struct hub *h, struct store *st)
{
  struct keep k = {.dev = st->dev, .ino = st->ino, .gen = st->gen, .size = st->size};
  lazy_end(h, st);
  st->failed |= !take_time(st);
  st->failed |= st->writer != H_NONE && !store_base(st);
  st->filled = true;
  if (!st->failed && !st->shared && !st->retired && is_true(h, st)) { /* whoever opens it next needs no answer */
    kept_file(h, &k, st->memfd);
    if (st->old && st->size == st->attr.size)
      disk_save_fd(h, &st->attr, st->memfd);
  }
  st->next_flush = now_ms() + STORE_FLUSH_EVERY;
  if (!st->failed) /* or the waiters see their sockets closed */
    answer_some(st);
  drop_waiters(st);
  if (st->failed || st->retired)
    store_drop(h, st);
  else
    release(h, &st->reader);
}

void store_stored(struct hub *h, const struct file *f, const struct wire_attr *a, uint32_t gen)
{
  struct store *st = store_at(h, f->dev, f->ino) ? 0 : store_new(h, f->dev, f->ino, f->path);
  if (!st)
    return;
  st->attr = *a;
  st->size = a->size;
  st->gen = gen;
  st->watched = st->old = true;
  st->used = now_ms();
  st->failed = !disk_load(h, a, st->memfd);
  store_filled(h, st);
  keep_bounded(h);
}

/* The attributes are known: what follows is all of the contents, or, of a large file of which nobody wants all,
 * nothing. */
static void begin(struct hub *h, struct store *st)
{
  if (st->old && disk_load(h, &st->attr, st->memfd)) {
    st->size = st->attr.size;
    store_filled(h, st);
    return;
  }
  bool lazy = st->attr.size > MAP_LAZY_MIN && st->writer == H_NONE;
  for (const struct waiter *w = st->waiters; w; w = w->next)
    lazy &= w->lazy;
  if (!lazy || !lazy_begin(st)) {
    ask_more(h, st);
    return;
  }
  take_time(st);
  answer_some(st);
}

/* Of what is filled already, or lazy. */
static void serve_waiters(struct hub *h, struct store *st)
{
  if (answer_some(st)) {
    st->whole = true;
    lazy_more(h, st);
  } else if (st->filled && !filling(st)) {
    release(h, &st->reader);
  }
}

static void took(struct hub *h, struct store *st, unsigned i, int64_t result, const uint8_t *data, uint32_t n)
{
  if (result < 0 || (n && !put_both(st, st->fill[i].offset, data, n)))
    st->failed = true;
  else if (!n)
    st->eof = true;
  st->fill[i].offset += n;
  st->fill[i].left -= n;
  st->fill[i].active = n && st->fill[i].left && !st->failed;
  if (st->fill[i].active)
    store_ask(h, st, i);
  ask_more(h, st);
  if (!filling(st))
    store_filled(h, st);
}

static bool same_state(const struct wire_attr *a, const struct wire_attr *b)
{
  return a->size == b->size && a->mtime == b->mtime && a->mtime_nsec == b->mtime_nsec && a->ctime == b->ctime &&
         a->ctime_nsec == b->ctime_nsec;
}

/* A file that nobody watches was looked at again: it is what it was, or everybody waits for a new store. */
static void looked_again(struct hub *h, struct store *st, const struct wire_attr *a)
{
  if (same_state(a, &st->attr)) {
    serve_waiters(h, st);
    return;
  }
  struct store *fresh = store_new(h, st->dev, st->ino, st->path);
  if (fresh) {
    fresh->reader = st->reader;
    st->reader = H_NONE;
    fresh->waiters = st->waiters;
    st->waiters = 0;
    fresh->used = st->used;
    fresh->attr = *a;
    begin(h, fresh);
  }
  retire(h, st);
}

void store_rests(struct hub *h, struct store *st)
{
  if (st->waiters && is_true(h, st))
    serve_waiters(h, st);
  else if (st->waiters)
    ask_state(h, st);
  else if (st->retired && unused(st))
    store_drop(h, st);
}

static bool took_state(struct hub *h, struct store *st, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  struct wire_attr a = {0};
  st->asked_state = st->fill[0].active = false;
  if (f->result >= 0)
    get_attr(&r, &a);
  st->watched = f->result >= 0 && f->flags & FF_CACHEABLE;
  st->old = st->watched && f->flags & FF_OLD;
  if (f->result < 0) {
    st->failed = true;
    store_filled(h, st);
  } else if (st->filled || st->lazy) {
    looked_again(h, st, &a);
  } else {
    st->attr = a;
    begin(h, st);
  }
  return !r.bad;
}

bool store_reply(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct store *st = h->stores;
  while (st && f->tag - st->tag >= FILLS)
    st = st->next;
  if (!st || !st->fill[f->tag - st->tag].active)
    return false;
  unsigned i = f->tag - st->tag;
  if (st->asked_state)
    return took_state(h, st, f, body, n);
  struct rbuf r = {body, body + n, false};
  uint32_t len = 0;
  const uint8_t *data = f->result < 0 ? 0 : get_blob(&r, &len, st->fill[i].left);
  if (r.bad)
    return false;
  if (st->lazy)
    lazy_took(h, st, i, f->result, data, len);
  else
    took(h, st, i, f->result, data, len);
  return true;
}

bool store_read(struct hub *h, const struct message *m)
{
  static uint8_t bytes[FRAME_DATA_MAX];
  struct rbuf r = {m->body, m->body + m->n, false};
  struct file *f = file_at(h, get_u64(&r));
  uint64_t room = get_u64(&r), offset = get_u64(&r);
  struct store *st = f && f->kind == K_REG ? store_of(h, f) : 0;
  if (!st || !st->filled || st->shared || !is_true(h, st) || offset > INT64_MAX)
    return false;
  if ((f->flags & LINUX_O_ACCMODE) == O_WRONLY)
    return false;
  ssize_t n = pread(st->memfd, bytes, room < sizeof bytes ? room : sizeof bytes, (off_t)offset);
  if (n < 0)
    return false;
  struct iovec part = {bytes, (size_t)n};
  slot_data(h, m->f.tag, &part, 1);
  return true;
}

/* ---- W_MAPFD ---- */

static bool wait_filled(struct store *st, struct message *m, bool may_write, bool lazy)
{
  struct waiter *w = malloc(sizeof *w);
  if (!w)
    return false;
  *w = (struct waiter){st->waiters, m->fd, may_write, lazy};
  st->waiters = w;
  m->fd = -1;
  return true;
}

/* The store that a program is to be given; a stale one only if it has a shared mapping that must go on seeing it. */
static struct store *current(struct hub *h, const struct file *f, const char *path)
{
  struct store *st = store_at(h, f->dev, f->ino);
  if (st && st->shared && idle(st)) {
    store_flush(h, st);
    store_drop(h, st);
    st = 0;
  }
  if (st && !is_true(h, st) && (st->watched || st->gen != gen_now(h, st))) {
    retire(h, st);
    st = 0;
  }
  return st ? st : store_new(h, f->dev, f->ino, path);
}

/*
 * Whose handle serves: the first reader's until it is filled, the first writer's of a shared mapping for as long as
 * the store lives. False: no memory for the base.
 */
static bool use_handle(struct store *st, const struct file *f, bool shared)
{
  unsigned mode = f->flags & LINUX_O_ACCMODE;
  st->shared |= shared;
  if (st->reader == H_NONE && mode != O_WRONLY)
    st->reader = f->handle;
  if (shared && st->writer == H_NONE && mode != O_RDONLY) {
    st->writer = f->handle;
    return !st->filled || store_base(st);
  }
  return true;
}

static void want(struct hub *h, struct message *m, const struct file *f, bool shared, bool lazy)
{
  char path[MEMFD_NAME];
  ssize_t n = recv(m->fd, path, sizeof path - 1, MSG_DONTWAIT); /* what the program calls the file, if it says so */
  path[n < 0 ? 0 : n] = 0;
  struct store *st = current(h, f, path);
  bool may_write = shared && (f->flags & LINUX_O_ACCMODE) != O_RDONLY;
  lazy &= !may_write;
  if (!st || !use_handle(st, f, shared))
    return; /* its socket is closed: the program is told that there is no memory */
  st->used = now_ms();
  if (!wait_filled(st, m, may_write, lazy))
    return;
  if ((st->filled || st->lazy) && is_true(h, st))
    serve_waiters(h, st);
  else if (!filling(st))
    ask_state(h, st);
}

/* handle, enum mapfd. */
int store_want(struct hub *h, struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t handle = get_u64(&r), what = get_u64(&r);
  struct file *f = file_at(h, handle);
  if (!f || !f->known || m->fd < 0 || what > (MAPFD_CONTENTS | MAPFD_LAZY))
    return -EPROTO;
  want(h, m, f, !(what & MAPFD_CONTENTS), what & MAPFD_LAZY);
  return 0;
}
