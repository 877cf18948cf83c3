/*
 * Reading directories.
 *
 * A remote directory's position lies on the slave; its placeholder's offset only notes that the end has been told, so
 * that the last, empty answer costs no round trip. Any lseek on the directory takes that note away. The records of a
 * small directory came when it was opened and lie in the placeholder; they are given from there, with its offset as the
 * position, if nothing has changed when the reading begins. Never shows the agent's descriptors among the program's in
 * /proc/self/fd.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "agent/light.h"
#include "agent/start.h"

#define SEEK_SET_HERE 0
#define SEEK_CUR_HERE 1
#define AT_END (1l << 62)
#define PROC_MAGIC 0x9fa0
#define PATH_SIZE 4096
#define DIR_BLOCK 8192 /* given at once from a placeholder; fits in the message buffer */

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

/* Nothing in it has changed, and it has not been removed itself. */
static bool names_hold(const struct hstate *s)
{
  return snap_true(s, SNAP_ATTR) && s->names_gen == __atomic_load_n(&session->gens[GEN_NAMES], __ATOMIC_ACQUIRE);
}

/* Whole records from the placeholder that fit. -1: ask the slave. */
static long block_here(struct call *c, struct hstate *s, long at, unsigned long room, const uint8_t **block)
{
  int fd = (int)c->a[0];
  long end = DIR_NAMES_AT + (long)s->names_len, n = 0;
  if (!s->names_len || (at == 0 && !names_hold(s)) || (at && (at < DIR_NAMES_AT || at >= end))) {
    s->names_len = 0;
    return -1;
  }
  at = at ? at : DIR_NAMES_AT;
  uint8_t *to = c->t->msg + sizeof(struct frame); /* nothing is being built there */
  long have = sys4(__NR_pread64, fd, to, DIR_BLOCK < end - at ? DIR_BLOCK : end - at, at);
  while (n + NAME_AT < have) {
    const struct entry *e = (const struct entry *)(to + n);
    if (e->reclen <= NAME_AT || n + e->reclen > have || (unsigned long)(n + e->reclen) > room)
      break;
    n += e->reclen;
  }
  if (n == 0)
    return -EINVAL; /* no room for one record */
  c->where = N_MEMORY;
  *block = to;
  sys3(__NR_lseek, fd, at + n == end ? AT_END : at + n, SEEK_SET_HERE);
  return n;
}

/* Where the slave would stand had it given what was given here, told to it. */
long dir_settle(struct call *c, struct handle h)
{
  struct hstate *s = hstate(h);
  int fd = (int)c->a[0];
  long at = sys3(__NR_lseek, fd, 0, SEEK_CUR_HERE);
  bool done = at == AT_END;
  if (!s->names_len || (!done && at <= DIR_NAMES_AT)) {
    s->names_len = 0;
    return 0;
  }
  struct entry e = {0};
  long end = done ? DIR_NAMES_AT + (long)s->names_len : at;
  for (long p = DIR_NAMES_AT; p < end && sys4(__NR_pread64, fd, &e, sizeof e, p) > 0 && e.reclen; p += e.reclen) {
  }
  s->names_len = 0;
  struct req q;
  req_start(&q, c->t, &syscall_rows[__NR_lseek]);
  req_handle(&q, h);
  req_u64(&q, (uint64_t)e.off);
  req_u64(&q, SEEK_SET_HERE);
  return req_call(&q, false);
}

/* One block into agent memory of the reply; *block is valid until the thread's next request. */
static long next_block(struct call *c, struct handle h, unsigned long room, const uint8_t **block)
{
  struct req q;
  uint32_t n;
  int fd = (int)c->a[0];
  long at = sys3(__NR_lseek, fd, 0, SEEK_CUR_HERE);
  if (at == AT_END) {
    c->where = N_MEMORY;
    return 0;
  }
  long here = block_here(c, hstate(h), at, room, block);
  if (here != -1)
    return here;
  if (at >= DIR_NAMES_AT)
    sys3(__NR_lseek, fd, 0, SEEK_SET_HERE);
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

static long give(struct call *c, const uint8_t *block, long n, bool old)
{
  void *user = (void *)c->a[1];
  if (n <= 0)
    return n;
  long r = old ? give_old(user, block, n) : copy_out(user, block, (size_t)n);
  return r ? r : n;
}

static long remote_block(struct call *c, struct handle h, bool old)
{
  const uint8_t *block = 0;
  long n = next_block(c, h, (uint32_t)c->a[2], &block);
  return give(c, block, n, old);
}

/* ---- local ---- */

static bool ends_with(const char *s, size_t n, const char *tail)
{
  size_t m = strlen(tail);
  return n >= m && !memcmp(s + n - m, tail, m);
}

/* "/proc/PID/fd", "/proc/PID/fdinfo" or a thread's, of a process of the session: where its agent's descriptors begin;
   else -1. */
static int lists_descriptors(struct call *c, int fd)
{
  uint64_t fs[15]; /* struct statfs begins with its type */
  char link[40], *path = c->t->path_buf[0];
  if (sys2(__NR_fstatfs, fd, fs) < 0 || fs[0] != PROC_MAGIC)
    return -1;
  fmt(link, sizeof link, "/proc/thread-self/fd/%d", fd);
  long n = sys3(__NR_readlink, link, path, PATH_SIZE);
  if (n <= 6 || memcmp(path, "/proc/", 6) ||
      !(ends_with(path, (size_t)n, "/fd") || ends_with(path, (size_t)n, "/fdinfo")))
    return -1;
  int pid = 0;
  for (const char *p = path + 6; *p >= '0' && *p <= '9' && pid < 100000000; p++)
    pid = pid * 10 + (*p - '0');
  if (pid == (int)sys0(__NR_getpid))
    return c->p->afd_base;
  const struct proc_entry *e = proc_of_pid(pid);
  return e ? e->afd_base : -1;
}

static bool names_hidden(int base, const char *name)
{
  int fd = 0;
  if (*name < '0' || *name > '9')
    return false;
  while (*name >= '0' && *name <= '9' && fd < 100000000)
    fd = fd * 10 + (*name++ - '0');
  return !*name && fd >= base && fd < base + AFD_COUNT;
}

/* Takes the agent's numbers out; the bytes that remain. */
static long without_hidden(int base, uint8_t *block, long n, size_t name_at)
{
  long kept = 0;
  for (long at = 0; at < n;) {
    struct entry *e = (struct entry *)(block + at);
    uint16_t len = e->reclen;
    if (len == 0 || at + len > n)
      break;
    if (!names_hidden(base, (const char *)e + name_at)) {
      memmove(block + kept, e, len);
      kept += len;
    }
    at += len;
  }
  return kept;
}

static long filter(struct call *c, int base, long n, size_t name_at)
{
  void *user = (void *)c->a[1];
  uint8_t *copy = pages_new((size_t)n);
  if (!copy)
    return -ENOMEM;
  long r = copy_in(copy, user, (size_t)n);
  if (!r) {
    n = without_hidden(base, copy, n, name_at);
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
    int base = n <= 0 ? -1 : lists_descriptors(c, (int)c->a[0]);
    if (base < 0)
      return n;
    n = filter(c, base, n, name_at);
    if (n)
      return n;
  }
}

/* ---- the calls ---- */

static long entries(struct call *c, bool old)
{
  int fd = (int)c->a[0];
  const uint8_t *block = 0;
  long n;
  if (fd_hidden(c->p, fd))
    return -EBADF;
  if (light_records(c, fd, (uint32_t)c->a[2], &block, &n))
    return give(c, block, n, old);
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
