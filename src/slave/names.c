/*
 * Directories that the master knows: which are watched, what has been told of them, and what must be withdrawn.
 *
 * A directory becomes known when a call has been made in it; with it, its ancestors, each with the one name that leads
 * on. A small one is told whole at once, a larger one when it is asked about again. Each is watched before it is read,
 * and what the watch saw while it was read is withdrawn right behind it.
 *
 * Files whose attributes are told are watched themselves (watch.c), whatever their name or number of links; those of a
 * directory that is not known are told as its type only.
 *
 * Owns a notify descriptor and the table of known directories. Must never: tell of a directory that is not watched.
 * `lock' is taken inside out.c's; only the main thread adds to the table.
 */
#include "proto/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "slave/slave.h"

#define DIRS_MAX 2048
#define BUCKETS 1024 /* a power of two */
#define NONE 0xffffu
#define TOLD_MAX 24    /* names of a directory that is not told whole */
#define AT_ONCE_MAX 96 /* entries of a directory told at the first call */
#define NAMES_MAX 2048 /* ... at the third */
#define WHOLE_AFTER 2
#define IDLE_EVENTS_MAX 512 /* changes by others, without a call of ours: not worth telling any longer */
#define NAME_EVENTS (NOTE_CREATE | NOTE_DELETE | NOTE_MOVED_FROM | NOTE_MOVED_TO)
#define EVENTS (NAME_EVENTS | NOTE_ATTRIB | NOTE_MOVE_SELF | NOTE_DELETE_SELF | NOTE_DIRECTORY)
#define STAT_MASK 0xfffu /* basic and birth time */
#define PENDING_ROOM (64u << 10)
#define SUBDIRS_MAX 64 /* subdirectories whose attributes come with a listing */
#define TELL_ROOM (FRAME_DATA_MAX - 1024)

struct dir {
  uint64_t dev, ino;
  int wd;
  uint16_t chain, older, newer;
  bool used, whole, reading;
  uint16_t ntold;
  uint32_t touches, idle;
  uint64_t told[TOLD_MAX];
};

static struct {
  pthread_mutex_t lock;
  bool able, on; /* watching works; the master wants to be told */
  pthread_t main;
  int fd, mounts;
  uint16_t by_wd[BUCKETS], free, oldest, newest;
  struct dir d[DIRS_MAX];
  /* withdrawals: ready to be sent, and those that have to wait behind the telling under way */
  uint8_t pending[PENDING_ROOM], behind[PENDING_ROOM];
  uint32_t npending, nbehind;
  bool telling;             /* something is being read that has not been sent */
  bool flush, flush_behind; /* everything is withdrawn: now, or when it has been sent */
} N = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct dir *know(int dirfd, bool *fresh);

/* What is being told: one frame's body, sent when it is full. */
static struct {
  uint8_t *buf;
  struct wbuf w;
} T;

bool names_start(void)
{
  N.fd = notify_open();
  N.mounts = mounts_open();
  T.buf = malloc(FRAME_DATA_MAX);
  memset(N.by_wd, 0xff, sizeof N.by_wd);
  N.oldest = N.newest = NONE;
  N.main = pthread_self();
  for (unsigned i = 0; i < DIRS_MAX; i++)
    N.d[i].chain = (uint16_t)(i + 1 < DIRS_MAX ? i + 1 : NONE);
  N.able = N.fd >= 0 && N.mounts >= 0 && T.buf;
  return N.able;
}

void names_wanted(void)
{
  N.on = N.able;
}

int names_fd(void)
{
  return N.able ? N.fd : -1;
}

/* ---- the table ---- */

static void unlink_use(struct dir *d)
{
  *(d->older == NONE ? &N.oldest : &N.d[d->older].newer) = d->newer;
  *(d->newer == NONE ? &N.newest : &N.d[d->newer].older) = d->older;
}

static void link_newest(struct dir *d)
{
  d->older = N.newest;
  d->newer = NONE;
  *(N.newest == NONE ? &N.oldest : &N.d[N.newest].newer) = (uint16_t)(d - N.d);
  N.newest = (uint16_t)(d - N.d);
}

static struct dir *by_wd(int wd)
{
  for (uint16_t i = N.by_wd[(unsigned)wd % BUCKETS]; i != NONE; i = N.d[i].chain)
    if (N.d[i].wd == wd)
      return &N.d[i];
  return 0;
}

static void drop(struct dir *d)
{
  uint16_t i = (uint16_t)(d - N.d), *at = &N.by_wd[(unsigned)d->wd % BUCKETS];
  while (*at != i)
    at = &N.d[*at].chain;
  *at = d->chain;
  unlink_use(d);
  d->used = false;
  d->chain = N.free;
  N.free = i;
}

/* ---- withdrawing ---- */

static void all_gone(void)
{
  while (N.oldest != NONE) {
    struct dir *d = &N.d[N.oldest];
    notify_remove(N.fd, d->wd);
    drop(d);
  }
  N.npending = N.nbehind = 0;
  *(N.telling ? &N.flush_behind : &N.flush) = true;
}

static void withdraw(const struct dir *d, unsigned item, const char *name)
{
  uint8_t *buf = d->reading ? N.behind : N.pending;
  uint32_t *n = d->reading ? &N.nbehind : &N.npending;
  struct wbuf w = {buf + *n, buf + PENDING_ROOM, false};
  uint8_t in = NI_IN, kind = (uint8_t)item;
  put_raw(&w, &in, 1);
  put_u64(&w, d->dev);
  put_u64(&w, d->ino);
  put_raw(&w, &kind, 1);
  if (name)
    put_blob(&w, name, (uint32_t)strlen(name));
  if (w.bad)
    all_gone();
  else
    *n = (uint32_t)(w.at - buf);
}

static void forget(struct dir *d)
{
  notify_remove(N.fd, d->wd);
  withdraw(d, NI_FORGET, 0);
  if (d->used)
    drop(d);
}

static bool is_noted(const struct dir *d, uint64_t hash)
{
  for (unsigned i = 0; i < d->ntold; i++)
    if (d->told[i] == hash)
      return true;
  return false;
}

/* While a directory is read, everything in it may be about to be told. */
static bool was_told(const struct dir *d, uint64_t hash)
{
  return d->whole || d->reading || d->ntold > TOLD_MAX || is_noted(d, hash);
}

/* A name that is too long to be known, or that has not been told: only the directory itself has changed. */
static void name_changed(struct dir *d, const char *name)
{
  size_t n = strlen(name);
  if (++d->idle > IDLE_EVENTS_MAX) {
    forget(d);
    return;
  }
  bool told = n < NAME_ROOM && was_told(d, name_hash(name, (uint32_t)n) | 1);
  withdraw(d, NI_UNKNOWN, told ? name : ".");
}

static void take_event(int wd, uint32_t what, const char *name)
{
  if (what & NOTE_LOST) {
    all_gone();
    return;
  }
  struct dir *d = by_wd(wd);
  if (!d || own_event(d->dev, d->ino, name, what))
    return;
  if (!*name)
    forget(d);
  else if (what & NAME_EVENTS)
    name_changed(d, name);
}

static void take_events(void)
{
  if (mounts_changed(N.mounts))
    all_gone();
  while (notify_take(N.fd, take_event))
    ;
}

void names_look(void)
{
  pthread_mutex_lock(&N.lock);
  if (N.on)
    take_events();
  pthread_mutex_unlock(&N.lock);
}

void names_give_up(uint64_t dev, uint64_t ino)
{
  pthread_mutex_lock(&N.lock);
  for (uint16_t i = N.newest, older; i != NONE; i = older) {
    older = N.d[i].older;
    if (N.d[i].dev == dev && N.d[i].ino == ino)
      forget(&N.d[i]);
  }
  pthread_mutex_unlock(&N.lock);
}

void names_all_gone(void)
{
  pthread_mutex_lock(&N.lock);
  all_gone();
  pthread_mutex_unlock(&N.lock);
}

void names_stale(uint64_t dev, uint64_t ino)
{
  pthread_mutex_lock(&N.lock);
  uint16_t i = N.newest;
  while (i != NONE && (N.d[i].dev != dev || N.d[i].ino != ino))
    i = N.d[i].older;
  if (i != NONE)
    withdraw(&N.d[i], NI_UNKNOWN, ".");
  pthread_mutex_unlock(&N.lock);
}

uint32_t names_drain(uint8_t *body, uint32_t max)
{
  uint32_t n = 0;
  if (!N.on)
    return 0;
  pthread_mutex_lock(&N.lock);
  take_events();
  if (N.flush)
    body[n++] = NI_FLUSH;
  N.flush = false;
  if (N.npending && n + N.npending <= max) {
    memcpy(body + n, N.pending, N.npending);
    n += N.npending;
    N.npending = 0;
  }
  pthread_mutex_unlock(&N.lock);
  return n;
}

void names_told(void)
{
  pthread_mutex_lock(&N.lock);
  for (uint16_t i = N.newest; i != NONE; i = N.d[i].older)
    N.d[i].reading = false;
  if (N.nbehind && N.npending + N.nbehind <= PENDING_ROOM) {
    memcpy(N.pending + N.npending, N.behind, N.nbehind);
    N.npending += N.nbehind;
  } else if (N.nbehind) {
    all_gone();
  }
  N.nbehind = 0;
  N.telling = false;
  if (N.flush_behind)
    all_gone();
  N.flush_behind = false;
  pthread_mutex_unlock(&N.lock);
}

/* ---- telling ---- */

static void tell_begin(void)
{
  T.w = (struct wbuf){T.buf, T.buf + TELL_ROOM, false};
}

static void tell_item(unsigned item)
{
  uint8_t kind = (uint8_t)item;
  put_raw(&T.w, &kind, 1);
}

static void tell_select(const struct dir *d, unsigned item)
{
  tell_item(item);
  put_u64(&T.w, d->dev);
  put_u64(&T.w, d->ino);
}

static void tell_absent(const char *name)
{
  tell_item(NI_ABSENT);
  put_blob(&T.w, name, (uint32_t)strlen(name));
}

/* Of a file of somebody else's, for which it matters: those of one's own are plain to their owner. */
static bool is_plain(int fd, const struct wire_attr *a)
{
  return S_ISREG(a->mode) && a->uid != geteuid() && without_acl(fd);
}

static bool is_noexec(int fd, const struct wire_attr *a)
{
  struct statvfs fs;
  return S_ISREG(a->mode) && a->mode & 0111 && !fstatvfs(fd, &fs) && fs.f_flag & ST_NOEXEC;
}

/* Watched before its attributes are read, so that those can be relied on; a directory has its own say (tell_self). */
static uint8_t read_file(int fd, struct wire_attr *a)
{
  struct stat st;
  if (fstatat(fd, "", &st, AT_EMPTY_PATH))
    return 0;
  uint64_t stamp = S_ISDIR(st.st_mode) ? 0 : watch_add(fd, false);
  if (attr_read(fd, "", AT_EMPTY_PATH, STAT_MASK, a))
    return 0;
  if (stamp)
    watch_name(stamp, a->dev, a->ino);
  if (!stamp)
    return 0;
  return (uint8_t)(NF_FULL | (is_plain(fd, a) ? NF_PLAIN : 0) | (is_noexec(fd, a) ? NF_NOEXEC : 0));
}

static bool tell_file(int fd, const char *name)
{
  struct wire_attr a = {0};
  char target[TARGET_ROOM];
  uint8_t flags = read_file(fd, &a);
  ssize_t n = S_ISLNK(a.mode) ? readlinkat(fd, "", target, sizeof target) : 0;
  if (!a.ino)
    return false;
  tell_item(NI_ENTRY);
  put_raw(&T.w, &flags, 1);
  put_blob(&T.w, name, (uint32_t)strlen(name));
  put_attr(&T.w, &a);
  put_blob(&T.w, target, n > 0 && n < (ssize_t)sizeof target ? (uint32_t)n : 0);
  return !T.w.bad;
}

/* One name of the directory open as dirfd. False if it cannot be told. */
static bool tell_name(int dirfd, const char *name)
{
  if (strlen(name) >= NAME_ROOM)
    return true;
  int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    tell_absent(name);
    return true;
  }
  bool good = fd >= 0 && tell_file(fd, name);
  if (fd >= 0)
    close(fd);
  return good;
}

static void tell_self(int dirfd)
{
  struct wire_attr a;
  if (attr_read(dirfd, "", AT_EMPTY_PATH, STAT_MASK, &a))
    return;
  tell_item(NI_SELF);
  put_attr(&T.w, &a);
}

/* How many names it has, up to one more than `max'. */
static unsigned count_names(DIR *list, unsigned max)
{
  unsigned n = 0;
  while (n <= max && readdir(list))
    n++;
  rewinddir(list);
  return n;
}

/* Its attributes; so it is watched from now on. Walkers of trees will ask for them next. */
static bool tell_subdir(int dirfd, const char *name)
{
  bool fresh = false;
  int fd = openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return false;
  struct dir *d = T.w.end - T.w.at < 1024 ? 0 : know(fd, &fresh);
  if (d && fresh) {
    tell_select(d, NI_DIR);
    tell_self(fd);
  }
  close(fd);
  return d;
}

int open_unnoticed(int dirfd, const char *name, int flags)
{
  int fd = openat(dirfd, name, flags | O_NOATIME | O_CLOEXEC);
  return fd < 0 && errno == EPERM ? openat(dirfd, name, flags | O_CLOEXEC) : fd;
}

/* Every name, then that there are no others. A frame that fills up is sent; all are before anything is withdrawn. */
static void tell_whole(struct dir *d, int dirfd, unsigned max, unsigned subdirs)
{
  int fd = reads_watched ? -1 : open_unnoticed(dirfd, ".", O_RDONLY | O_DIRECTORY);
  DIR *list = fd < 0 ? 0 : fdopendir(fd);
  if (!list && fd >= 0)
    close(fd);
  if (!list || count_names(list, max) > max) {
    if (list)
      closedir(list);
    return;
  }
  bool good = true;
  for (struct dirent *e; good && (e = readdir(list));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
      continue;
    if (T.w.end - T.w.at < 1024) {
      out_names(T.buf, (uint32_t)(T.w.at - T.buf), false);
      tell_begin();
      tell_select(d, NI_IN);
    }
    good = tell_name(dirfd, e->d_name);
  }
  if (good)
    tell_item(NI_COMPLETE);
  d->whole = good;
  rewinddir(list);
  for (unsigned told = 0; good && told < subdirs;) {
    struct dirent *e = readdir(list);
    if (!e)
      break;
    if (e->d_type == DT_DIR && e->d_name[0] != '.')
      told += tell_subdir(dirfd, e->d_name);
  }
  closedir(list);
}

static void remember_told(struct dir *d, const char *name)
{
  uint64_t hash = name_hash(name, (uint32_t)strlen(name)) | 1;
  if (d->whole || d->ntold > TOLD_MAX || is_noted(d, hash))
    return;
  if (d->ntold < TOLD_MAX)
    d->told[d->ntold] = hash;
  d->ntold++;
}

/* What has been put together goes out, or nothing if it could not be. */
static void out_told(void)
{
  if (T.w.bad) {
    names_all_gone();
    tell_begin();
  }
  out_names(T.buf, (uint32_t)(T.w.at - T.buf), true);
}

/* ---- becoming known ---- */

static struct dir *table_add(int wd, const struct stat *st)
{
  if (N.free == NONE)
    forget(&N.d[N.oldest]);
  if (N.free == NONE)
    return 0;
  struct dir *d = &N.d[N.free];
  N.free = d->chain;
  *d = (struct dir){.dev = st->st_dev, .ino = st->st_ino, .wd = wd, .used = true, .reading = true};
  d->chain = N.by_wd[(unsigned)wd % BUCKETS];
  N.by_wd[(unsigned)wd % BUCKETS] = (uint16_t)(d - N.d);
  link_newest(d);
  return d;
}

/* The directory's place in the table; *fresh: it had none. 0 if it cannot be watched. */
static struct dir *know(int dirfd, bool *fresh)
{
  struct stat st;
  if (!watchable(dirfd) || fstatat(dirfd, "", &st, AT_EMPTY_PATH))
    return 0;
  pthread_mutex_lock(&N.lock);
  N.telling = true;
  int wd = notify_add(N.fd, dirfd, EVENTS);
  if (wd == -ENOSPC && N.oldest != NONE) {
    forget(&N.d[N.oldest]);
    wd = notify_add(N.fd, dirfd, EVENTS);
  }
  struct dir *d = wd < 0 ? 0 : by_wd(wd);
  *fresh = !d && wd >= 0;
  if (d) {
    unlink_use(d);
    link_newest(d);
    d->reading = true;
    d->idle = 0;
    d->touches++;
  } else if (wd >= 0) {
    d = table_add(wd, &st);
  }
  pthread_mutex_unlock(&N.lock);
  return d;
}

bool names_watch(int dirfd)
{
  bool fresh;
  if (!N.on)
    return false;
  out_names_begin();
  struct dir *d = know(dirfd, &fresh);
  tell_begin();
  if (d && fresh)
    tell_select(d, NI_DIR);
  out_told();
  return d;
}

/* One ancestor, and in it the name that leads on. */
static int ancestor(int dirfd, const char *name)
{
  bool fresh;
  struct dir *d = know(dirfd, &fresh);
  if (!d)
    return -1;
  tell_select(d, fresh ? NI_DIR : NI_IN);
  tell_name(dirfd, name);
  remember_told(d, name);
  return openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* From the root down to the directory, whose own turn comes after. */
static void ancestors(int dirfd)
{
  char path[WIRE_PATH_MAX], *rest = path, *name;
  int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (at < 0 || real_path(dirfd, path))
    rest = 0;
  while (at >= 0 && rest && (name = strsep(&rest, "/"))) {
    if (!*name)
      continue;
    int next = strlen(name) < NAME_ROOM ? ancestor(at, name) : -1;
    close(at);
    at = next;
  }
  if (at >= 0)
    close(at);
}

/* The directory itself: its attributes, and (`list') its names if they are few, since whoever opens it will ask for
 * them. */
void names_touch_dir(int dirfd, bool list)
{
  bool fresh;
  if (!N.on)
    return;
  out_names_begin();
  struct dir *d = know(dirfd, &fresh);
  if (!d) {
    out_names(0, 0, true);
    return;
  }
  tell_begin();
  tell_select(d, fresh ? NI_DIR : NI_IN);
  tell_self(dirfd);
  if (list && !d->whole)
    tell_whole(d, dirfd, NAMES_MAX, SUBDIRS_MAX);
  out_told();
}

static void touch(int dirfd, const char *name, bool resend)
{
  bool fresh;
  out_names_begin();
  struct dir *d = know(dirfd, &fresh);
  if (!d || (d->whole && !resend)) {
    out_names(0, 0, true);
    return;
  }
  bool first = fresh || d->touches == 1; /* the other directory's listing made it known */
  tell_begin();
  if (fresh)
    ancestors(dirfd);
  tell_select(d, fresh ? NI_DIR : NI_IN);
  tell_self(dirfd);
  if (!d->whole && (first || d->touches >= WHOLE_AFTER))
    tell_whole(d, dirfd, first ? AT_ONCE_MAX : NAMES_MAX, SUBDIRS_MAX);
  else if (*name)
    tell_name(dirfd, name);
  if (*name && first && !d->whole)
    tell_name(dirfd, name);
  remember_told(d, name);
  out_told();
  if (first)
    guess_dir_touched(dirfd);
}

void names_refresh(const struct spot *s)
{
  bool fresh;
  if (!N.on || !s->name[0] || strchr(s->name, '/') || strlen(s->name) >= NAME_ROOM)
    return;
  names_look(); /* what the call has done is withdrawn ahead of this */
  out_names_begin();
  struct dir *d = know(s->dir, &fresh);
  tell_begin();
  if (d) {
    tell_select(d, fresh ? NI_DIR : NI_IN);
    tell_self(s->dir);
    tell_name(s->dir, s->name);
    remember_told(d, s->name);
  }
  out_told();
}

/* ---- ahead of being asked (guess.c) ---- */

static void tell_room(uint32_t n)
{
  if ((uint32_t)(T.w.end - T.w.at) >= n)
    return;
  out_names(T.buf, (uint32_t)(T.w.at - T.buf), false);
  tell_begin();
}

static void tell_bytes(unsigned item, uint64_t dev, uint64_t ino, uint32_t ahead, uint32_t room)
{
  tell_room(room + 64);
  tell_item(item);
  put_u64(&T.w, dev);
  put_u64(&T.w, ino);
  put_u32(&T.w, ahead);
}

/* For a master that keeps contents: in which state the file holds what follows. True: it has them. */
static bool tell_state(const struct wire_attr *a, uint32_t ahead)
{
  if (!have_wanted() || !state_old(a))
    return false;
  tell_room(2 * sizeof *a);
  tell_item(NI_STATE);
  put_attr(&T.w, a);
  if (!have_it(a))
    return false;
  tell_bytes(NI_STORED, a->dev, a->ino, ahead, 0);
  return true;
}

static void tell_keep(uint64_t dev, uint64_t ino, uint32_t ahead, const uint8_t *p, uint32_t n)
{
  tell_bytes(NI_KEEP, dev, ino, ahead, n);
  put_blob(&T.w, p, n);
}

static void tell_list(const struct dir *d, int dirfd, uint32_t ahead)
{
  static uint8_t records[DIR_NAMES_MAX];
  uint32_t n = all_names(dirfd, records);
  if (n)
    tell_keep(d->dev, d->ino, ahead, records, n);
}

bool names_ahead_dir(int dirfd, uint32_t ahead)
{
  bool fresh;
  if (!N.on)
    return false;
  out_names_begin();
  struct dir *d = know(dirfd, &fresh);
  if (!d) {
    out_names(0, 0, true);
    return false;
  }
  tell_begin();
  tell_select(d, fresh ? NI_DIR : NI_IN);
  tell_self(dirfd);
  if (!d->whole)
    tell_whole(d, dirfd, NAMES_MAX, 0);
  bool whole = d->whole;
  if (whole)
    tell_list(d, dirfd, ahead);
  out_told();
  return whole;
}

static bool watched_attr(int fd, struct wire_attr *a)
{
  uint64_t stamp = watch_add(fd, false);
  if (!stamp || attr_read(fd, "", AT_EMPTY_PATH, STAT_MASK, a))
    return false;
  watch_name(stamp, a->dev, a->ino);
  return S_ISREG(a->mode);
}

static uint8_t contents[CONTENTS_MAX + 1];

static uint32_t tell_contents(int fd, uint32_t ahead)
{
  struct wire_attr a;
  if (!watched_attr(fd, &a) || a.size > CONTENTS_MAX)
    return 0;
  if (tell_state(&a, ahead))
    return 1;
  if (pread(fd, contents, a.size + 1, 0) != (ssize_t)a.size)
    return 0;
  tell_keep(a.dev, a.ino, ahead, contents, (uint32_t)a.size);
  return (uint32_t)a.size + 1;
}

static uint32_t tell_piece(int fd, uint64_t size, uint64_t offset, uint32_t ahead)
{
  struct wire_attr a;
  uint64_t left = size - offset, want = left < CONTENTS_MAX ? left : CONTENTS_MAX;
  if (!watched_attr(fd, &a) || a.size != size)
    return 0;
  if (tell_state(&a, ahead) && !offset)
    return (uint32_t)size; /* all of it, that is */
  if (pread(fd, contents, want, (off_t)offset) != (ssize_t)want)
    return 0;
  tell_bytes(NI_PART, a.dev, a.ino, ahead, (uint32_t)want);
  put_u64(&T.w, size);
  put_u64(&T.w, offset);
  put_blob(&T.w, contents, (uint32_t)want);
  return (uint32_t)want;
}

/* A regular file of so many bytes, or -1. */
static int open_sized(int dirfd, const char *name, uint64_t least, uint64_t most, uint64_t *size)
{
  struct stat st;
  if (!N.on || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
    return -1;
  *size = (uint64_t)st.st_size;
  if (*size < least || *size > most)
    return -1;
  return open_unnoticed(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

int names_ahead_large(int dirfd, const char *name, uint64_t most, uint64_t *size)
{
  return open_sized(dirfd, name, CONTENTS_MAX + 1, most < WHOLE_MAX ? most : WHOLE_MAX, size);
}

uint32_t names_ahead_piece(int fd, uint64_t size, uint64_t offset, uint32_t ahead)
{
  out_names_begin();
  tell_begin();
  uint32_t n = tell_piece(fd, size, offset, ahead);
  out_told();
  return n;
}

uint32_t names_ahead_file(int dirfd, const char *name, uint32_t ahead)
{
  uint64_t size;
  int fd = open_sized(dirfd, name, 0, CONTENTS_MAX, &size);
  if (fd < 0)
    return 0;
  out_names_begin();
  tell_begin();
  uint32_t n = tell_contents(fd, ahead);
  out_told();
  close(fd);
  return n;
}

/* The walk failed on its way: the directory in which it did, and the name that was missing. */
static void touch_failed(int base, const char *path)
{
  char text[WIRE_PATH_MAX], *rest = text, *name = 0;
  int at = openat(base < 0 ? AT_FDCWD : base, base < 0 || *path == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  snprintf(text, sizeof text, "%s", path);
  while (at >= 0 && (name = strsep(&rest, "/"))) {
    if (!*name || !strcmp(name, "."))
      continue;
    int next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0)
      break;
    close(at);
    at = next;
  }
  if (at >= 0 && name && errno == ENOENT && strcmp(name, ".."))
    touch(at, name, true);
  if (at >= 0)
    close(at);
}

void names_touch(const struct spot *s, bool resend)
{
  struct stat st;
  if (!N.on || strchr(s->name, '/') || !strcmp(s->name, ".."))
    return;
  if ((!s->name[0] || !strcmp(s->name, ".")) && (fstatat(s->dir, "", &st, AT_EMPTY_PATH) || !S_ISDIR(st.st_mode)))
    return;
  touch(s->dir, strcmp(s->name, ".") ? s->name : "", resend);
}

/* Found on a walk. */
void names_link(int dirfd, const char *name)
{
  if (N.on && pthread_equal(pthread_self(), N.main) && strlen(name) < NAME_ROOM)
    touch(dirfd, name, true);
}

void names_missed(int base, const char *path)
{
  if (N.on && strlen(path) < WIRE_PATH_MAX && !strstr(path, ".."))
    touch_failed(base, path);
}
