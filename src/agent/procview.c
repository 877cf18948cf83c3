/*
 * Files of /proc whose text tells who and where a program is: opened for reading, they say what its calls say. Uid, Gid
 * and Groups of a status are the slave's, what the agent adds to its signals and filters is left out, and the host's
 * name is the slave's.
 *
 * Owns nothing: the program gets a memfd with the text as it is when the file is opened. Must never be in the way: a
 * file that cannot be told otherwise is given as it is.
 */
#include <linux/memfd.h>

#include "agent/call.h"
#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define TEXT_MAX 8192 /* two of a thread's path buffers */

struct view {
  struct thread *t;
  bool own; /* of the process that reads it */
  char *out;
  size_t n;
};

static void say(struct view *v, const char *text, size_t n)
{
  if (v->n + n <= TEXT_MAX)
    memcpy(v->out + v->n, text, n);
  v->n += n;
}

static void say_number(struct view *v, const char *before, uint32_t n, const char *after)
{
  char text[32];
  say(v, text, (size_t)fmt(text, sizeof text, "%s%u%s", before, n, after));
}

static const char *number(const char *s, uint32_t *n)
{
  for (*n = 0; *s >= '0' && *s <= '9'; s++)
    *n = *n * 10 + (uint32_t)(*s - '0');
  return s;
}

/* ---- lines of a status ---- */

typedef void line_fn(struct view *v, const char *value);

static void ids(struct view *v, const char *value, const uint32_t own[4], uint32_t (*shown)(uint32_t))
{
  for (int i = 0; i < 4; i++) {
    uint32_t id;
    value = number(value, &id);
    value += *value == '\t';
    say_number(v, i ? "\t" : "", v->own ? own[i] : shown(id), "");
  }
  say(v, "\n", 1);
}

static void uids(struct view *v, const char *value)
{
  const struct ids *i = &v->t->proc->ids;
  ids(v, value, (uint32_t[]){i->ruid, i->euid, i->suid, i->fsuid}, uid_shown);
}

static void gids(struct view *v, const char *value)
{
  const struct ids *i = &v->t->proc->ids;
  ids(v, value, (uint32_t[]){i->rgid, i->egid, i->sgid, i->fsgid}, gid_shown);
}

static void groups(struct view *v, const char *value)
{
  const struct ids *i = &v->t->proc->ids;
  uint32_t gid;
  for (uint32_t n = 0; v->own && n < i->ngroups; n++)
    say_number(v, "", i->groups[n], " ");
  while (!v->own && *value >= '0' && *value <= '9') {
    value = number(value, &gid);
    value += *value == ' ';
    say_number(v, "", gid_shown(gid), " ");
  }
  bool none = v->own ? !i->ngroups : *value == ' ';
  say(v, none ? " \n" : "\n", none ? 2 : 1);
}

static void mask(struct view *v, uint64_t set)
{
  char text[20];
  uint32_t high = (uint32_t)(set >> 32), low = (uint32_t)set;
  for (int i = 0; i < 8; i++) {
    text[i] = "0123456789abcdef"[high >> (28 - 4 * i) & 15];
    text[8 + i] = "0123456789abcdef"[low >> (28 - 4 * i) & 15];
  }
  text[16] = '\n';
  say(v, text, 17);
}

static void blocked(struct view *v, const char *value)
{
  (void)value;
  mask(v, v->t->sigmask);
}

static void ignored(struct view *v, const char *value)
{
  (void)value;
  mask(v, signals_set(v->t->proc->sig, true));
}

static void caught(struct view *v, const char *value)
{
  (void)value;
  mask(v, signals_set(v->t->proc->sig, false));
}

static void no_new_privs(struct view *v, const char *value)
{
  (void)value;
  say_number(v, "", v->t->no_new_privs, "\n");
}

static void seccomp(struct view *v, const char *value)
{
  (void)value;
  say_number(v, "", v->t->strict ? 1 : v->t->filters ? 2 : 0, "\n");
}

static void seccomp_filters(struct view *v, const char *value)
{
  (void)value;
  say_number(v, "", filters_count(v->t->filters), "\n");
}

static const struct status_line {
  const char *name;
  line_fn *say;
  bool own;   /* only of the process itself is more known here than there */
  bool slave; /* only with a slave */
} status_lines[] = {
    {"Uid:\t", uids, false, true},
    {"Gid:\t", gids, false, true},
    {"Groups:\t", groups, false, true},
    {"SigBlk:\t", blocked, true, false},
    {"SigIgn:\t", ignored, true, false},
    {"SigCgt:\t", caught, true, false},
    {"NoNewPrivs:\t", no_new_privs, true, false},
    {"Seccomp:\t", seccomp, true, false},
    {"Seccomp_filters:\t", seccomp_filters, true, false},
};

static void status_line(struct view *v, const char *line, size_t n)
{
  for (unsigned i = 0; i < sizeof status_lines / sizeof status_lines[0]; i++) {
    const struct status_line *l = &status_lines[i];
    size_t len = strlen(l->name);
    if (n < len || memcmp(line, l->name, len) || (l->own && !v->own) || (l->slave && standalone()))
      continue;
    say(v, line, len);
    l->say(v, line + len);
    return;
  }
  say(v, line, n);
}

static void status(struct view *v, char *text)
{
  for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
    status_line(v, line, (size_t)(end + 1 - line));
}

/* ---- opening ---- */

static bool ends_with(const char *s, const char *tail)
{
  size_t n = strlen(s), m = strlen(tail);
  return n >= m && !memcmp(s + n - m, tail, m);
}

static void host(struct view *v, const char *name)
{
  say(v, name, strlen(name));
  say(v, "\n", 1);
}

/* What the file `fd' is to say; false: what it says itself. */
static bool make(struct call *c, const char *path, int fd, struct view *v)
{
  char *text = c->t->path_buf[0]; /* and the next: the path is not needed again */
  if (!standalone() && !strcmp(path, "/proc/sys/kernel/hostname"))
    host(v, session->facts.hostname);
  else if (!standalone() && !strcmp(path, "/proc/sys/kernel/domainname"))
    host(v, session->facts.domain);
  else if (!strncmp(path, "/proc/", 6) && ends_with(path, "/status")) {
    v->own = self_name(c, path).what == SELF_OTHER;
    long n = sys4(SYS_pread64, fd, text, TEXT_MAX - 1, 0);
    if (n <= 0 || n == TEXT_MAX - 1)
      return false;
    text[n] = 0;
    status(v, text);
  }
  return v->n && v->n <= TEXT_MAX;
}

/* In place of `fd', and for reading only. */
static void give(long memory, long fd, int cloexec)
{
  char link[40];
  fmt(link, sizeof link, "/proc/thread-self/fd/%ld", memory);
  long reading = sys4(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
  if (reading < 0)
    return;
  sys3(SYS_dup3, reading, fd, cloexec);
  sys1(SYS_close, reading);
}

long proc_view(struct call *c, const char *path, long fd)
{
  struct view v = {.t = c->t, .out = c->t->path_buf[2]};
  if (strncmp(path, "/proc/", 6) || !make(c, path, (int)fd, &v))
    return fd;
  long cloexec = sys2(SYS_fcntl, fd, F_GETFD), memory = sys2(SYS_memfd_create, "proc", MFD_CLOEXEC);
  if (memory < 0)
    return fd;
  if (sys4(SYS_pwrite64, memory, v.out, v.n, 0) == (long)v.n)
    give(memory, fd, cloexec == 1 ? O_CLOEXEC : 0);
  sys1(SYS_close, memory);
  return fd;
}
