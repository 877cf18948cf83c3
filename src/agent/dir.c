/*
 * Reading directories.
 *
 * A remote directory's position lies on the slave; its placeholder's offset only notes that the end has been told, so
 * that the last, empty answer costs no round trip. Any lseek on the directory takes that note away. Never shows the
 * agent's descriptors among the program's in /proc/self/fd.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "agent/call.h"

#define SEEK_SET_HERE 0
#define SEEK_CUR_HERE 1
#define AT_END (1l << 62)
#define PROC_MAGIC 0x9fa0
#define PATH_SIZE 4096

struct entry {
  uint64_t ino;
  int64_t off;
  uint16_t reclen;
  uint8_t type; /* the older call has the name here, and the type in the record's last byte */
  char name[];
};
#define NAME_AT 19
#define OLD_NAME_AT 18

/* ---- remote ---- */

static void note_end(int fd, uint32_t flags)
{
  if (flags & FF_EOF)
    sys3(__NR_lseek, fd, AT_END, SEEK_SET_HERE);
}

/* One block into agent memory of the reply; *block is valid until the thread's next request. */
static long next_block(struct call *c, struct handle h, unsigned long room, const uint8_t **block)
{
  struct req q;
  uint32_t n;
  int fd = (int)c->a[0];
  if (sys3(__NR_lseek, fd, 0, SEEK_CUR_HERE) == AT_END) {
    c->where = N_MEMORY;
    return 0;
  }
  req_start(&q, c->t, &syscall_rows[__NR_getdents64]);
  req_handle(&q, h);
  req_u64(&q, room < FRAME_DATA_MAX ? room : FRAME_DATA_MAX);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r < 0)
    return r;
  *block = get_blob(&q.r, &n, FRAME_DATA_MAX);
  if (q.r.bad || n > room)
    return -EIO;
  note_end(fd, q.reply_flags);
  return n;
}

/* Both layouts have records of one size; only name and type change places. */
static void make_old(uint8_t *p, long n)
{
  for (long at = 0; at + NAME_AT < n;) {
    struct entry *e = (struct entry *)(p + at);
    if (e->reclen <= NAME_AT || at + e->reclen > n)
      return;
    uint8_t type = e->type;
    memmove(p + at + OLD_NAME_AT, p + at + NAME_AT, e->reclen - NAME_AT);
    p[at + e->reclen - 1] = type;
    at += e->reclen;
  }
}

static long give_old(void *user, const uint8_t *block, long n)
{
  uint8_t *copy = pages_new((size_t)n);
  if (!copy)
    return -ENOMEM;
  memcpy(copy, block, (size_t)n);
  make_old(copy, n);
  long r = copy_out(user, copy, (size_t)n);
  pages_free(copy, (size_t)n);
  return r;
}

static long remote_block(struct call *c, struct handle h, bool old)
{
  const uint8_t *block = 0;
  void *user = (void *)c->a[1];
  long n = next_block(c, h, (uint32_t)c->a[2], &block);
  if (n <= 0)
    return n;
  long r = old ? give_old(user, block, n) : copy_out(user, block, (size_t)n);
  return r ? r : n;
}

/* ---- local ---- */

static bool ends_with(const char *s, size_t n, const char *tail)
{
  size_t m = strlen(tail);
  return n >= m && !memcmp(s + n - m, tail, m);
}

/* "/proc/PID/fd", "/proc/PID/fdinfo" or a thread's. */
static bool lists_own_descriptors(struct call *c, int fd)
{
  uint64_t fs[15]; /* struct statfs begins with its type */
  char link[40], start[32], *path = c->t->path_buf[0];
  if (sys2(__NR_fstatfs, fd, fs) < 0 || fs[0] != PROC_MAGIC)
    return false;
  fmt(link, sizeof link, "/proc/thread-self/fd/%d", fd);
  long n = sys3(__NR_readlink, link, path, PATH_SIZE);
  int m = fmt(start, sizeof start, "/proc/%d/", (int)sys0(__NR_getpid));
  return n > m && !memcmp(path, start, (size_t)m) &&
         (ends_with(path, (size_t)n, "/fd") || ends_with(path, (size_t)n, "/fdinfo"));
}

static bool names_hidden(struct proc *p, const char *name)
{
  int fd = 0;
  if (*name < '0' || *name > '9')
    return false;
  while (*name >= '0' && *name <= '9' && fd < 100000000)
    fd = fd * 10 + (*name++ - '0');
  return !*name && fd_hidden(p, fd);
}

/* Takes the agent's numbers out; the bytes that remain. */
static long without_hidden(struct proc *p, uint8_t *block, long n, size_t name_at)
{
  long kept = 0;
  for (long at = 0; at < n;) {
    struct entry *e = (struct entry *)(block + at);
    uint16_t len = e->reclen;
    if (len == 0 || at + len > n)
      break;
    if (!names_hidden(p, (const char *)e + name_at)) {
      memmove(block + kept, e, len);
      kept += len;
    }
    at += len;
  }
  return kept;
}

static long filter(struct call *c, long n, size_t name_at)
{
  void *user = (void *)c->a[1];
  uint8_t *copy = pages_new((size_t)n);
  if (!copy)
    return -ENOMEM;
  long r = copy_in(copy, user, (size_t)n);
  if (!r) {
    n = without_hidden(c->p, copy, n, name_at);
    r = copy_out(user, copy, (size_t)n);
  }
  pages_free(copy, (size_t)n);
  return r ? r : n;
}

/* A block of nothing but hidden names is not the end: the next is read. */
static long local_block(struct call *c, size_t name_at)
{
  for (;;) {
    long n = pass(c);
    if (n <= 0 || !lists_own_descriptors(c, (int)c->a[0]))
      return n;
    n = filter(c, n, name_at);
    if (n)
      return n;
  }
}

/* ---- the calls ---- */

static long entries(struct call *c, bool old)
{
  int fd = (int)c->a[0];
  if (fd_hidden(c->p, fd))
    return -EBADF;
  struct handle h = vft_remote(c->p, fd);
  return h.v == H_NONE ? local_block(c, old ? OLD_NAME_AT : NAME_AT) : remote_block(c, h, old);
}

long a_getdents(struct call *c)
{
  return entries(c, false);
}

long a_getdents_old(struct call *c)
{
  return entries(c, true);
}
