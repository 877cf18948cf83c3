/*
 * Contents kept for later sessions, if the user wants that (--store): files of the slave as they were in a certain
 * state (proto/state.h), in a directory of the master's user that nobody else may read.
 *
 * A file there is a header and the contents, under a name that says whose and which state it is; it comes into being by
 * rename(2) only, and is believed only if its sum is right, so that neither two sessions nor a crash can make it lie.
 * Which of them the slave need not send, it is told at the start (F_HAVE). What was not used for the longest time goes
 * when there is no more room.
 *
 * Owns that directory. Must never keep what was changed so lately that a later change may look the same (FF_OLD), and
 * never follow a link there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/log.h"
#include "hub/internal.h"
#include "proto/state.h"

#define MAGIC 0x316564697374736eull
#define PIECE (256u << 10)

struct head {
  uint64_t magic, sum;
};

struct entry {
  struct wire_attr state; /* of which only what state_same() looks at is there */
  int64_t used;           /* seconds */
};

struct disk {
  int dir;
  uint64_t whose, bytes, room;
  struct entry *entry;
  unsigned n;
};

/* ---- names ---- */

static uint64_t mix(uint64_t sum, const uint8_t *p, size_t n)
{
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
    sum ^= sum >> 32;
  }
  for (; n; p++, n--)
    sum = (sum ^ *p) * 0x100000001b3u;
  return sum;
}

static void name_of(const struct disk *d, const struct wire_attr *a, char name[128])
{
  snprintf(name, 128, "%016lx-%lx-%lx-%lx-%lx.%lx", (unsigned long)d->whose, (unsigned long)a->dev,
           (unsigned long)a->ino, (unsigned long)a->size, (unsigned long)a->ctime, (unsigned long)a->ctime_nsec);
}

/* False: it is none of this slave's. */
static bool parse(const struct disk *d, const char *name, struct wire_attr *a)
{
  unsigned long v[6];
  char again[128];
  *a = (struct wire_attr){0};
  if (sscanf(name, "%16lx-%lx-%lx-%lx-%lx.%lx", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]) != 6)
    return false;
  a->dev = v[1], a->ino = v[2], a->size = v[3];
  a->ctime = (int64_t)v[4], a->ctime_nsec = (int64_t)v[5];
  name_of(d, a, again);
  return !strcmp(name, again);
}

/* ---- the directory ---- */

static int open_below(int at, const char *name)
{
  if (mkdirat(at, name, 0700) && errno != EEXIST)
    return -errno;
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

/* ~/.cache/nexec, which has to be ours alone. */
static int open_directory(void)
{
  const char *home = getenv("HOME");
  struct stat st;
  int at = home ? open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  int cache = at < 0 ? -ENOENT : open_below(at, ".cache"), dir = cache < 0 ? cache : open_below(cache, "nexec");
  if (at >= 0)
    close(at);
  if (cache >= 0)
    close(cache);
  if (dir >= 0 && (fstat(dir, &st) || st.st_uid != geteuid() || fchmod(dir, 0700))) {
    close(dir);
    return -EPERM;
  }
  return dir;
}

static DIR *list(int dir)
{
  int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *d = fd < 0 ? 0 : fdopendir(fd);
  if (!d && fd >= 0)
    close(fd);
  return d;
}

static bool add(struct disk *d, const struct wire_attr *a, int64_t used)
{
  if (d->n == HAVE_MAX)
    return false;
  if (!(d->n & (d->n - 1))) {
    struct entry *more = realloc(d->entry, (d->n ? 2ul * d->n : 1) * sizeof *more);
    if (!more)
      return false;
    d->entry = more;
  }
  d->entry[d->n++] = (struct entry){*a, used};
  d->bytes += a->size;
  return true;
}

static void read_all_names(struct disk *d)
{
  DIR *names = list(d->dir);
  struct wire_attr a;
  struct stat st;
  for (const struct dirent *e; names && (e = readdir(names));)
    if (parse(d, e->d_name, &a) && !fstatat(d->dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
      add(d, &a, st.st_mtime);
  if (names)
    closedir(names);
}

void disk_erase(void)
{
  int dir = open_directory();
  DIR *names = dir < 0 ? 0 : list(dir);
  for (const struct dirent *e; names && (e = readdir(names));)
    unlinkat(dir, e->d_name, 0);
  if (names)
    closedir(names);
  if (dir >= 0)
    close(dir);
}

static void tell(struct hub *h)
{
  static uint8_t body[4 * 16384];
  for (unsigned at = 0; at < h->disk->n || !at;) {
    struct wbuf w = {body, body + sizeof body, false};
    for (; at < h->disk->n && w.at < w.end; at++)
      put_u32(&w, state_hash(&h->disk->entry[at].state));
    struct iovec part = {body, (size_t)(w.at - body)};
    hub_send(h, (struct frame){.type = F_HAVE}, &part, 1);
    if (!h->disk->n)
      return;
  }
}

/* Without it the session goes on as it would have otherwise. */
void disk_start(struct hub *h)
{
  const struct facts *f = &h->s->facts;
  struct disk *d = calloc(1, sizeof *d);
  int dir = d ? open_directory() : -ENOMEM;
  if (dir < 0) {
    log_line("nothing is kept for later sessions: ~/.cache/nexec: %s", strerror(-dir));
    free(d);
    return;
  }
  d->dir = dir;
  d->room = h->o.store;
  d->whose = mix(mix(1, (const uint8_t *)f->hostname, strlen(f->hostname)), (const uint8_t *)&h->s->root_dev, 16);
  h->disk = d;
  read_all_names(d);
  tell(h);
}

/* ---- what is there ---- */

static struct entry *find(struct disk *d, const struct wire_attr *a)
{
  for (unsigned i = 0; d && i < d->n; i++)
    if (state_same(&d->entry[i].state, a))
      return &d->entry[i];
  return 0;
}

static void forget(struct disk *d, struct entry *e)
{
  char name[128];
  name_of(d, &e->state, name);
  unlinkat(d->dir, name, 0);
  d->bytes -= e->state.size;
  *e = d->entry[--d->n];
}

static void make_room(struct disk *d, uint64_t size)
{
  while (d->n && (d->bytes + size > d->room || d->n == HAVE_MAX)) {
    struct entry *oldest = d->entry;
    for (unsigned i = 1; i < d->n; i++)
      if (d->entry[i].used < oldest->used)
        oldest = &d->entry[i];
    forget(d, oldest);
  }
}

/* The sum of what lies behind the header, read in pieces; `to' < 0: nowhere else. False: it cannot be read or put
 * there. */
static bool sum_of(int fd, off_t from, uint64_t size, int to, uint64_t *sum)
{
  static uint8_t piece[PIECE];
  *sum = size;
  for (uint64_t at = 0; at < size;) {
    size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
    if (pread(fd, piece, want, from + (off_t)at) != (ssize_t)want)
      return false;
    *sum = mix(*sum, piece, want);
    if (to >= 0 && pwrite(to, piece, want, (off_t)at) != (ssize_t)want)
      return false;
    at += want;
  }
  return true;
}

bool disk_has(struct hub *h, const struct wire_attr *a)
{
  return find(h->disk, a);
}

bool disk_load(struct hub *h, const struct wire_attr *a, int to)
{
  struct disk *d = h->disk;
  struct entry *e = find(d, a);
  struct head head;
  char name[128];
  uint64_t sum = 0;
  if (!e)
    return false;
  name_of(d, a, name);
  int fd = openat(d->dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  bool good = fd >= 0 && pread(fd, &head, sizeof head, 0) == sizeof head && head.magic == MAGIC &&
              sum_of(fd, sizeof head, a->size, to, &sum) && sum == head.sum;
  if (good)
    futimens(fd, 0); /* used */
  if (fd >= 0)
    close(fd);
  e->used = wall_ns() / 1000000000;
  if (!good)
    forget(d, e);
  else
    hub_count(h, N_STORED, a->size);
  return good;
}

bool disk_read(struct hub *h, const struct wire_attr *a, uint8_t *to)
{
  int copy = memfd_new("fsyscall-stored", false);
  bool good = copy >= 0 && disk_load(h, a, copy) && pread(copy, to, a->size, 0) == (ssize_t)a->size;
  if (copy >= 0)
    close(copy);
  return good;
}

/* ---- what comes ---- */

/* Of one file at most a quarter of the room is taken. */
static bool worth(const struct disk *d, const struct wire_attr *a)
{
  return d && a->size && a->size <= d->room / 4;
}

static bool put(int fd, const uint8_t *data, int from, uint64_t size)
{
  struct head head = {.magic = MAGIC};
  bool good = lseek(fd, sizeof head, SEEK_SET) == sizeof head;
  static uint8_t piece[PIECE];
  for (uint64_t at = 0; good && at < size;) {
    size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
    good = data || pread(from, piece, want, (off_t)at) == (ssize_t)want;
    good = good && write(fd, data ? data + at : piece, want) == (ssize_t)want;
    at += want;
  }
  return good && sum_of(fd, sizeof head, size, -1, &head.sum) && pwrite(fd, &head, sizeof head, 0) == sizeof head;
}

static void save(struct hub *h, const struct wire_attr *a, const uint8_t *data, int from)
{
  struct disk *d = h->disk;
  char name[128], part[64];
  if (!worth(d, a) || find(d, a))
    return;
  make_room(d, a->size);
  name_of(d, a, name);
  snprintf(part, sizeof part, "part-%lx", (unsigned long)h->o.id);
  int fd = openat(d->dir, part, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  bool good = fd >= 0 && put(fd, data, from, a->size) && !renameat(d->dir, part, d->dir, name);
  if (fd >= 0)
    close(fd);
  if (good)
    add(d, a, wall_ns() / 1000000000);
  else
    unlinkat(d->dir, part, 0);
}

void disk_save(struct hub *h, const struct wire_attr *a, const uint8_t *data)
{
  save(h, a, data, -1);
}

void disk_save_fd(struct hub *h, const struct wire_attr *a, int from)
{
  save(h, a, 0, from);
}

/* ---- a large file that is read from its beginning to its end ---- */

struct saving {
  struct wire_attr state;
  uint32_t gen; /* the file's counter when it was in that state */
  int fd;       /* what has been read so far */
  uint64_t next;
};

void disk_read_ends(struct file *f)
{
  if (f->saving) {
    close(f->saving->fd);
    free(f->saving);
  }
  f->saving = 0;
}

void disk_read_begins(struct hub *h, struct file *f, const struct wire_attr *a, uint32_t gen)
{
  if (!worth(h->disk, a) || f->saving)
    return;
  if (disk_has(h, a)) {
    store_stored(h, f, a, gen);
    return;
  }
  struct saving s = {*a, gen, openat(h->disk->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), 0};
  if (s.fd < 0)
    return;
  f->saving = malloc(sizeof s);
  if (f->saving)
    *f->saving = s;
  else
    close(s.fd);
}

void disk_read_piece(struct hub *h, struct file *f, uint64_t offset, const uint8_t *data, uint32_t n)
{
  struct saving *s = f ? f->saving : 0;
  if (!s || offset > s->next || offset + n <= s->next)
    return;
  uint32_t known = (uint32_t)(s->next - offset);
  bool good = pwrite(s->fd, data + known, n - known, (off_t)s->next) == (ssize_t)(n - known);
  s->next = offset + n;
  bool same = s->gen == __atomic_load_n(&h->s->gens[file_gen(f->dev, f->ino)], __ATOMIC_SEQ_CST);
  if (good && same && s->next < s->state.size)
    return;
  if (good && same && s->next == s->state.size)
    disk_save_fd(h, &s->state, s->fd);
  disk_read_ends(f);
}
