/*
 * Files under /proc that tell of a process of the session, as that process sees itself: its mappings without the
 * agent's, files of the slave by their own names, its limits and descriptors.
 *
 * Such a file is read when it is opened, and what is to be seen of it is left in a memfd. Owns nothing else. Must never
 * leave out a mapping that is the program's.
 */
#include <asm/errno.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>

#include "agent/io.h"
#include "agent/signal.h"
#include "agent/start.h"

#define NAME_COLUMN 73 /* of a mapping's name, as the kernel pads it */

struct text {
  char *at;
  size_t n, room;
  bool failed;
};

struct view {
  struct call *c;
  int pid;                        /* 0: the calling process */
  int fd;                         /* fdinfo: whose ... */
  struct handle h;                /* ... and what it stands for */
  const struct proc_entry *entry; /* of another process, or 0 */
  bool dropping;                  /* lines of a mapping that is not shown */
  struct text out;
};
typedef void line_fn(struct view *v, const char *line);

/* ---- text ---- */

static void text_free(struct text *t)
{
  if (t->at)
    pages_free(t->at, t->room);
  t->at = 0;
}

static bool text_room(struct text *t, size_t more)
{
  if (t->n + more < t->room)
    return true;
  size_t room = t->room ? 2 * t->room : 64ul << 10;
  while (room <= t->n + more)
    room *= 2;
  char *p = pages_new(room);
  if (p && t->n)
    memcpy(p, t->at, t->n);
  t->failed |= !p;
  if (!p)
    return false;
  text_free(t);
  t->at = p, t->room = room;
  return true;
}

static void put(struct view *v, const char *s)
{
  size_t n = strlen(s);
  if (!text_room(&v->out, n))
    return;
  memcpy(v->out.at + v->out.n, s, n);
  v->out.n += n;
}

static void put_line(struct view *v, const char *line)
{
  put(v, line);
  put(v, "\n");
}

static uint64_t hex(const char **s)
{
  uint64_t v = 0;
  for (;; (*s)++) {
    unsigned d = (unsigned)**s - '0';
    if (d > 9)
      d = (unsigned)**s - 'a' < 6 ? (unsigned)**s - 'a' + 10 : 16;
    if (d > 15)
      return v;
    v = v << 4 | d;
  }
}

static bool starts(const char *s, const char *word)
{
  return !strncmp(s, word, strlen(word));
}

/* ---- maps and smaps ---- */

static bool agents(uint64_t from, uint64_t to, const char *name)
{
  if (starts(name, "/memfd:fsyscall-agent-") || starts(name, "/memfd:fsyscall-session"))
    return true;
  bool arena = from >= ARENA_BEGIN && to <= ARENA_END;
  bool image = from >= AGENT_BASE && to <= (((uint64_t)agent_end + 4095) & ~4095ul);
  return !*name && (arena || image);
}

/* The name of a mapping behind five fields. */
static const char *mapping_name(const char *line)
{
  for (int field = 0; field < 5; field++) {
    while (*line && *line != ' ')
      line++;
    while (*line == ' ')
      line++;
  }
  return line;
}

static unsigned major_of(uint64_t dev)
{
  return (unsigned)(dev >> 8 & 0xfff) | (unsigned)(dev >> 32 & ~0xfffu);
}

static unsigned minor_of(uint64_t dev)
{
  return (unsigned)(dev & 0xff) | (unsigned)(dev >> 12 & ~0xffu);
}

static void two_digits(char *to, unsigned v)
{
  fmt(to, 12, v < 16 ? "0%x" : "%x", v);
}

/* The same mapping, of a file of the slave: addresses, access and offset are the kernel's. */
static void put_mapping(struct view *v, const char *line, uint64_t dev, uint64_t ino, const char *path)
{
  char head[160], major[12], minor[12];
  size_t n = 0, spaces = 0;
  for (; line[n] && n < 80; n++)
    if (line[n] == ' ' && ++spaces == 3)
      break;
  memcpy(head, line, n);
  two_digits(major, major_of(dev | SLAVE_DEV));
  two_digits(minor, minor_of(dev));
  n += (size_t)fmt(head + n, sizeof head - n, " %s:%s %lu ", major, minor, (unsigned long)ino);
  while (n < NAME_COLUMN)
    head[n++] = ' ';
  head[n] = 0;
  put(v, head);
  put_line(v, path);
}

/* "/memfd:fsyscall-file:ID:DEV:INO:PATH (deleted)", "/memfd:fsyscall:ID:HANDLE:PATH (deleted)" */
static bool put_slaves(struct view *v, const char *line, const char *name)
{
  static const char file[] = "/memfd:fsyscall-file:", place[] = "/memfd:fsyscall:";
  char *path = v->c->t->path_buf[2];
  uint64_t dev, ino;
  const char *p = name + (starts(name, file) ? sizeof file : sizeof place) - 1;
  if (!starts(name, file) && !starts(name, place))
    return false;
  if (hex(&p) != session->id || *p++ != ':')
    return false;
  if (starts(name, file)) {
    dev = hex(&p);
    p += *p == ':';
    ino = hex(&p);
  } else {
    struct handle h = handle_open((uint32_t)hex(&p));
    if (h.v == H_NONE)
      return false;
    dev = hstate(h)->attr.dev, ino = hstate(h)->attr.ino;
  }
  size_t n = *p == ':' ? strlen(p + 1) : 0;
  if (n <= 10)
    return false;
  memcpy(path, p + 1, n - 10); /* without " (deleted)" */
  path[n - 10] = 0;
  put_mapping(v, line, dev, ino, root_seen(v->c->p, path));
  return true;
}

static void maps_line(struct view *v, const char *line)
{
  const char *p = line, *name = mapping_name(line);
  uint64_t from = hex(&p), to = *p++ == '-' ? hex(&p) : 0;
  v->dropping = agents(from, to, name);
  if (!v->dropping && !put_slaves(v, line, name))
    put_line(v, line);
}

/* A mapping's line and, with a capital letter, what there is to say of it. */
static void smaps_line(struct view *v, const char *line)
{
  if (*line < 'A' || *line > 'Z')
    maps_line(v, line);
  else if (!v->dropping)
    put_line(v, line);
}

/* ---- status, of other processes: procview.c has the caller's own ---- */

static void put_mask(struct view *v, const char *label, uint64_t mask)
{
  char line[64];
  int n = fmt(line, sizeof line, "%s\t", label);
  for (int shift = 60; shift >= 0; shift -= 4)
    line[n++] = "0123456789abcdef"[mask >> shift & 15];
  line[n] = 0;
  put_line(v, line);
}

static uint64_t mask_after(const char *line, const char *label)
{
  const char *p = line + strlen(label);
  p += *p == '\t';
  return hex(&p);
}

static void put_ids(struct view *v, const char *label, uint32_t r, uint32_t e, uint32_t s, uint32_t fs)
{
  char line[64];
  fmt(line, sizeof line, "%s\t%u\t%u\t%u\t%u", label, r, e, s, fs);
  put_line(v, line);
}

static void put_groups(struct view *v, const struct ids *i)
{
  char one[16];
  put(v, "Groups:\t");
  for (uint32_t k = 0; k < i->ngroups; k++) {
    fmt(one, sizeof one, "%u ", i->groups[k]);
    put(v, one);
  }
  put(v, "\n");
}

/* Ids of another process are its own affair; as a rule they are those of this one. */
static bool identity_line(struct view *v, const char *line)
{
  const struct ids *i = &v->c->p->ids;
  if (standalone())
    return false;
  if (starts(line, "Uid:"))
    put_ids(v, "Uid:", i->ruid, i->euid, i->suid, i->fsuid);
  else if (starts(line, "Gid:"))
    put_ids(v, "Gid:", i->rgid, i->egid, i->sgid, i->fsgid);
  else if (starts(line, "Groups:"))
    put_groups(v, i);
  else
    return false;
  return true;
}

/* What the kernel knows of is the agent's: its handlers, its filter, and so no new privileges. */
static bool agents_line(struct view *v, const char *line)
{
  char text[48];
  if (starts(line, "SigCgt:"))
    put_mask(v, "SigCgt:", (mask_after(line, "SigCgt:") & ~ALWAYS_OURS) | (v->entry ? v->entry->caught : 0));
  else if (starts(line, "NoNewPrivs:") && v->entry)
    fmt(text, sizeof text, "NoNewPrivs:\t%d", v->entry->no_new_privs != 0), put_line(v, text);
  else if (starts(line, "Seccomp:"))
    put_line(v, "Seccomp:\t0");
  else if (starts(line, "Seccomp_filters:"))
    put_line(v, "Seccomp_filters:\t0");
  else
    return false;
  return true;
}

static void status_line(struct view *v, const char *line)
{
  if (!identity_line(v, line) && !agents_line(v, line))
    put_line(v, line);
}

/* ---- limits ---- */

static void put_padded(struct view *v, const char *s, size_t width)
{
  size_t n = strlen(s);
  put(v, s);
  for (; n < width; n++)
    put(v, " ");
}

static void put_limit(struct view *v, const char *name, const struct limit *l, const char *unit)
{
  char number[24];
  put_padded(v, name, 26);
  for (int i = 0; i < 2; i++) {
    uint64_t n = i ? l->max : l->cur;
    fmt(number, sizeof number, "%lu", (unsigned long)n);
    put_padded(v, n == ~0ul ? "unlimited" : number, 21);
  }
  put_padded(v, unit, 10);
  put(v, "\n");
}

/* As the program has them. */
static void limits_line(struct view *v, const char *line)
{
  struct proc *p = v->c->p;
  struct limit files;
  if (v->pid && !v->entry) {
    put_line(v, line);
    return;
  }
  nofile_now(p);
  space_now(p);
  const struct limit *space = v->entry ? v->entry->space : p->space;
  files =
      v->entry ? (struct limit){v->entry->nofile_cur, v->entry->nofile_max} : (struct limit){p->rlim_cur, p->rlim_max};
  if (starts(line, "Max open files"))
    put_limit(v, "Max open files", &files, "files");
  else if (starts(line, "Max data size"))
    put_limit(v, "Max data size", &space[SPACE_DATA], "bytes");
  else if (starts(line, "Max address space"))
    put_limit(v, "Max address space", &space[SPACE_ALL], "bytes");
  else
    put_line(v, line);
}

/* ---- fdinfo ---- */

static uint64_t octal(const char *p)
{
  uint64_t v = 0;
  for (; *p >= '0' && *p <= '7'; p++)
    v = v << 3 | (uint64_t)(*p - '0');
  return v;
}

static void put_octal(struct view *v, uint64_t n)
{
  char text[32], *p = text + sizeof text - 1;
  *p = 0;
  for (; n; n >>= 3)
    *--p = (char)('0' + (n & 7));
  *--p = '0';
  put(v, "flags:\t");
  put_line(v, p);
}

static void fdinfo_line(struct view *v, const char *line)
{
  struct hstate *s = v->h.v == H_NONE ? 0 : hstate(v->h);
  char text[48];
  if (!s) {
    put_line(v, line);
  } else if (starts(line, "flags:\t")) {
    put_octal(v, (s->flags & ~(uint64_t)O_CLOEXEC) | (octal(line + 7) & O_CLOEXEC));
  } else if (starts(line, "pos:\t") && s->offset_remote) {
    struct rfile f = {.fd = v->fd, .h = v->h, .s = s};
    long at = file_call(v->c, ROW(lseek), &f, (uint64_t[]){0, 1 /* SEEK_CUR */}, 2, false);
    fmt(text, sizeof text, "pos:\t%ld", at < 0 ? 0 : at);
    put_line(v, text);
  } else if (starts(line, "ino:\t") && s->attr.ino) {
    fmt(text, sizeof text, "ino:\t%lu", (unsigned long)s->attr.ino);
    put_line(v, text);
  } else {
    put_line(v, line);
  }
}

/* ---- which file ---- */

static const struct kind {
  const char *name;
  line_fn *line;
} kinds[] = {
    {"maps", maps_line},     {"smaps", smaps_line},    {"status", status_line},
    {"limits", limits_line}, {"fdinfo/", fdinfo_line},
};

static bool take_number(const char **s, int *n)
{
  const char *p = *s;
  for (*n = 0; *p >= '0' && *p <= '9' && *n < 100000000; p++)
    *n = *n * 10 + (*p - '0');
  bool any = p != *s;
  *s = p;
  return any;
}

/* Past "/proc/PID/" or "/proc/PID/task/TID/" of the session: its kind, or 0. */
static const struct kind *kind_of_path(struct view *v, const char *p)
{
  int n = 0;
  p += 6;
  bool self = starts(p, "self/") || starts(p, "thread-self/");
  while (self && *p != '/')
    p++;
  if ((!self && !take_number(&p, &n)) || *p++ != '/')
    return 0;
  v->pid = self || n == v->c->t->tid || n == (int)sys0(__NR_getpid) ? 0 : n;
  if (starts(p, "task/")) {
    p += 5;
    if (!take_number(&p, &n) || *p++ != '/')
      return 0;
  }
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    size_t len = strlen(kinds[i].name);
    if (strncmp(p, kinds[i].name, len))
      continue;
    p += len;
    if (kinds[i].name[len - 1] == '/' ? take_number(&p, &v->fd) && !*p : !*p)
      return &kinds[i];
  }
  return 0;
}

/* What the descriptor stands for. False: the program has none of that number. */
static bool fdinfo_begin(struct view *v)
{
  struct self_name s = {.what = SELF_FD, .pid = v->pid, .fd = v->fd};
  int base = v->pid ? (v->entry ? v->entry->afd_base : INT32_MAX) : v->c->p->afd_base;
  v->h = self_target(v->c, &s, v->c->t->path_buf[3]);
  return v->fd < base || v->fd >= base + AFD_COUNT;
}

/* ---- reading and showing ---- */

static long read_all(int fd, struct text *t)
{
  long n = 0;
  do {
    if (!text_room(t, 16ul << 10))
      return -ENOMEM;
    n = sys3(__NR_read, fd, t->at + t->n, t->room - t->n - 1);
    t->n += n > 0 ? (size_t)n : 0;
  } while (n > 0);
  if (n == 0)
    t->at[t->n] = 0;
  return n;
}

static void show_lines(struct view *v, char *text, line_fn *line)
{
  for (char *end; *text; text = end + 1) {
    end = strchr(text, '\n');
    if (!end)
      break;
    *end = 0;
    line(v, text);
  }
}

static long as_descriptor(struct view *v, const char *path, unsigned long flags)
{
  int cloexec = flags & O_CLOEXEC ? MFD_CLOEXEC : 0;
  if (v->out.failed || !memory_fits(v->out.n))
    return -ENOMEM;
  long fd = fd_new(v->c->p, sys2(__NR_memfd_create, path, cloexec));
  if (fd < 0)
    return fd;
  sys4(__NR_pwrite64, fd, v->out.at, v->out.n, 0);
  vft_local(v->c->p, (int)fd);
  return fd;
}

#define VFT_ROOM (256ul << 10)

/* What no kernel has: see mode.c and vftview.c. */
static long own_open(struct view *v, const char *name, unsigned long flags)
{
  if (!strcmp(name, "mode"))
    return mode_open(v->c, flags);
  if (strcmp(name, "vft"))
    return -ENOENT;
  if (flags & O_ACCMODE)
    return -EACCES;
  if (!text_room(&v->out, VFT_ROOM))
    return -ENOMEM;
  v->out.n = vft_text(v->c, v->out.at, VFT_ROOM);
  long fd = as_descriptor(v, "vft", flags);
  text_free(&v->out);
  return fd;
}

long view_open(struct call *c, const struct at *at, unsigned long flags)
{
  struct view v = {.c = c, .h = {H_NONE}};
  struct text in = {0};
  if (starts(at->lexical, "/proc/self/fsyscall/") && !(flags & (O_PATH | O_DIRECTORY)))
    return own_open(&v, at->lexical + strlen("/proc/self/fsyscall/"), flags);
  if (!starts(at->lexical, "/proc/") || flags & (O_ACCMODE | O_PATH | O_DIRECTORY))
    return NO_VIEW;
  const struct kind *k = kind_of_path(&v, at->lexical);
  if (!k || (v.pid ? !in_session(v.pid) : k->line == status_line))
    return NO_VIEW;
  v.entry = v.pid ? proc_of_pid(v.pid) : 0;
  if (k->line == fdinfo_line && !fdinfo_begin(&v))
    return -ENOENT;
  long fd = sys4(__NR_openat, at->dirfd, at->path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0)
    return fd;
  long r = read_all((int)fd, &in);
  sys1(__NR_close, fd);
  if (r == 0) {
    show_lines(&v, in.at, k->line);
    r = as_descriptor(&v, k->name, flags);
  }
  text_free(&in);
  text_free(&v.out);
  return r;
}
