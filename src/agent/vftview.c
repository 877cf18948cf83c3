/*
 * The virtual file table in words, for people: a line a descriptor with its access method, whose file it is, the
 * offset, the bytes, and the path.
 *
 * Owns nothing. What is not known here is asked of the slave.
 */
#include "agent/light.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define DIRENTS_ROOM 2048
#define LINE_MAX_ 4300
#define TELL_ROOM (64ul << 10)

struct out {
  char *at;
  size_t n, room;
};

struct dirent_k {
  uint64_t ino, off;
  uint16_t len;
  uint8_t type;
  char name[];
};

static const char *method_of(const struct hstate *s)
{
  switch (s->kind) {
  case K_REG:
    return s->snap & (SNAP_CONTENTS | SNAP_STORE) ? "shadow" : "remote";
  case K_TTY:
  case K_STREAM:
  case K_SOCKET:
  case K_BOUND:
    return "stream";
  default:
    return "remote";
  }
}

static void put(struct out *o, const char *line, size_t n)
{
  if (n > o->room - o->n)
    return;
  memcpy(o->at + o->n, line, n);
  o->n += n;
}

static void line(struct out *o, int fd, const char *method, const char *slave, long offset, uint64_t bytes,
                 const char *path)
{
  char text[LINE_MAX_];
  int n = offset < 0
              ? fmt(text, sizeof text, "%d %s %s - %lu %s\n", fd, method, slave, (unsigned long)bytes, path)
              : fmt(text, sizeof text, "%d %s %s %ld %lu %s\n", fd, method, slave, offset, (unsigned long)bytes, path);
  put(o, text, (size_t)n);
}

/* Streams have no end: what has gone through them towards the slave. */
static void remote_line(struct call *c, struct out *o, int fd, struct handle h)
{
  const struct hstate *s = hstate(h);
  char *path = c->t->path_buf[3];
  bool file = s->kind == K_REG || s->kind == K_DIR;
  struct wire_attr a;
  if (s->kind == K_SOCKET || s->kind == K_NOTIFY || handle_name(c, h, path))
    memcpy(path, "-", 2);
  uint64_t bytes = file && !attr_of_handle(c, h, &a) ? a.size : s->sent;
  long offset = file && !s->offset_remote ? sys3(SYS_lseek, fd, 0, 1 /* SEEK_CUR */) : -1;
  line(o, fd, method_of(s), session->facts.hostname, offset, bytes, path);
}

static void local_line(struct call *c, struct out *o, int fd)
{
  char link[40], *path = c->t->path_buf[3];
  struct stat_k st;
  fmt(link, sizeof link, "/proc/thread-self/fd/%d", fd);
  long n = sys3(SYS_readlink, link, path, 4095);
  path[n < 0 ? 0 : n] = 0;
  bool known = !sys2(SYS_fstat, fd, &st);
  line(o, fd, "local", "-", sys3(SYS_lseek, fd, 0, 1 /* SEEK_CUR */), known ? (uint64_t)st.size : 0, path);
}

static void one(struct call *c, struct out *o, int fd)
{
  if (fd_hidden(c->p, fd))
    return;
  struct handle h = vft_remote(c->p, fd), s = vft_socket(c->p, fd);
  if (s.v != H_NONE)
    h = s;
  if (h.v == H_NONE)
    local_line(c, o, fd);
  else
    remote_line(c, o, fd, h);
}

/* The numbers that are open, in the kernel's order, but for the descriptor by which they are read. */
static void each(struct call *c, struct out *o, int dir)
{
  _Alignas(8) char room[DIRENTS_ROOM];
  long n;
  while ((n = sys3(SYS_getdents64, dir, room, sizeof room)) > 0)
    for (long at = 0; at < n;) {
      const struct dirent_k *d = (const struct dirent_k *)(room + at);
      int fd = 0;
      for (const char *p = d->name; *p >= '0' && *p <= '9'; p++)
        fd = fd * 10 + (*p - '0');
      if (d->name[0] != '.' && fd != dir)
        one(c, o, fd);
      at += d->len;
    }
}

size_t vft_text(struct call *c, char *out, size_t room)
{
  struct out o = {out, 0, room};
  long dir = sys4(SYS_openat, AT_FDCWD, "/proc/thread-self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0)
    return 0;
  c->t->mode |= FSYSCALL_MAPPED;
  each(c, &o, (int)dir);
  c->t->mode = c->t->told_mode;
  sys1(SYS_close, dir);
  return o.n;
}

void vft_tell(struct call *c)
{
  char *text = pages_new(TELL_ROOM);
  size_t n = text ? vft_text(c, text, TELL_ROOM) : 0;
  for (size_t at = 0, end; at < n; at = end) {
    struct req q;
    char who[24];
    for (end = at; text[end] != '\n'; end++)
      continue;
    end++;
    req_start_op(&q, c->t, W_TRACE);
    put_raw(&q.w, who, (uint32_t)fmt(who, sizeof who, "%d ", c->p->pid));
    put_raw(&q.w, text + at, (uint32_t)(end - at));
    req_post_uncounted(&q, -1);
  }
  if (text)
    pages_free(text, TELL_ROOM);
}
