/*
 * Where a path leads: the session's rules, longest prefix wins, and the names that mean the calling process itself.
 *
 * Owns the decision and the process's idea of its working directory's name. Never walks a remote path: the slave does,
 * and hands back what leaves its part. A local path goes to the kernel as the program wrote it; the absolute spelling
 * made here only chooses the rule. `..' is taken lexically only where that cannot change the answer: from a canonical
 * start, or inside one local part.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "agent/light.h"
#include "agent/start.h"

#define PATH_SIZE 4096
#define MAX_HOPS 40

/* ---- rules ---- */

static bool under(const char *path, size_t n, const char *prefix, size_t len)
{
  if (len == 1) /* "/" */
    return true;
  return n >= len && (path[len] == '/' || path[len] == 0) && !memcmp(path, prefix, len);
}

/* `path' is absolute without `.' and `..', "" for the root. 0: no rule, which means remote. */
static const struct rule *rule_of(const char *path, size_t n)
{
  for (uint32_t i = 0; i < session->nrules && i < SESSION_RULES; i++) {
    const struct rule *r = &session->rules[i];
    if (under(path, n, r->prefix, r->len))
      return r;
  }
  return 0;
}

static enum where where_of(const char *path, size_t n)
{
  bool all_local = standalone() || !mode_remote();
  const struct rule *r = all_local ? 0 : rule_of(path, n);
  return r ? (enum where)r->where : all_local ? WHERE_LOCAL : WHERE_REMOTE;
}

/* A local directory below which everything is local and no name is special. */
static bool is_pure(const char *dir, size_t n)
{
  if (n < 2 || where_of(dir, n) != WHERE_LOCAL || under(dir, n, "/proc", 5) || under(dir, n, "/dev", 4))
    return false;
  for (uint32_t i = 0; i < session->nrules && i < SESSION_RULES; i++) {
    const struct rule *r = &session->rules[i];
    if (r->where != WHERE_LOCAL && r->len > n && r->prefix[n] == '/' && !memcmp(r->prefix, dir, n))
      return false;
  }
  return true;
}

bool route_program(const char *lexical)
{
  const struct rule *r = session->flags & SF_PROGRAMS_HERE ? rule_of(lexical, strlen(lexical)) : 0;
  return r && r->where == WHERE_REMOTE && r->len > 1;
}

/* ---- names of the process itself ---- */

static bool number(const char **s, int *v)
{
  const char *p = *s;
  long n = 0;
  for (; *p >= '0' && *p <= '9' && n < 100000000; p++)
    n = n * 10 + (*p - '0');
  if (p == *s)
    return false;
  *s = p;
  *v = (int)n;
  return true;
}

static bool skip(const char **s, const char *word)
{
  size_t n = strlen(word);
  if (strncmp(*s, word, n) || ((*s)[n] && (*s)[n] != '/'))
    return false;
  *s += n;
  return true;
}

/* Past "/proc/self", its other spellings and a thread of it. */
static bool skip_self(struct call *c, const char **s)
{
  const char *p = *s;
  int n;
  if (skip(&p, "/proc/self") || skip(&p, "/proc/thread-self")) {
    *s = p;
  } else {
    if (!skip(&p, "/proc") || *p++ != '/' || !number(&p, &n) || (*p && *p != '/'))
      return false;
    if (n != c->t->tid && n != (int)sys0(__NR_getpid))
      return false;
    *s = p;
  }
  p = *s;
  if (skip(&p, "/task") && *p++ == '/' && number(&p, &n) && (!*p || *p == '/'))
    *s = p;
  return true;
}

static struct self_name self_fd(const char *p)
{
  struct self_name s = {.what = SELF_OTHER, .rest = ""};
  if (*p == '/' && (p++, number(&p, &s.fd)) && (!*p || *p == '/')) {
    s.what = SELF_FD;
    s.rest = p;
  }
  return s;
}

/* What of a process, its name being behind us, the program sees otherwise than the kernel. */
static struct self_name of_process(const char *p)
{
  if (skip(&p, "/exe"))
    return (struct self_name){.what = SELF_EXE, .rest = p};
  if (skip(&p, "/cwd"))
    return (struct self_name){.what = SELF_CWD, .rest = p};
  if (skip(&p, "/fd"))
    return self_fd(p);
  return (struct self_name){.what = SELF_OTHER, .rest = ""};
}

/* "/proc/PID" of another process of the session. */
static struct self_name other_proc(const char *p)
{
  struct self_name s = {.what = SELF_NO, .rest = ""};
  int pid;
  if (!skip(&p, "/proc") || *p++ != '/' || !number(&p, &pid) || *p != '/')
    return s;
  struct self_name found = of_process(p);
  if (found.what == SELF_OTHER || !in_session(pid))
    return s;
  found.pid = pid;
  return found;
}

static struct self_name self_proc(struct call *c, const char *p)
{
  return skip_self(c, &p) ? of_process(p) : other_proc(p);
}

static struct handle other_target(const struct self_name *s, char *buf)
{
  const struct proc_entry *e = proc_of_pid(s->pid);
  char link[64];
  if (s->what == SELF_EXE && e) {
    memcpy(buf, session->exes[e->ctx % SESSION_PROCS], SESSION_EXE);
    buf[SESSION_EXE - 1] = 0;
  }
  if (s->what == SELF_CWD && e)
    return handle_open(e->cwd);
  if (s->what != SELF_FD)
    return (struct handle){H_NONE};
  fmt(link, sizeof link, "/proc/%d/fd/%d", s->pid, s->fd);
  long n = sys3(__NR_readlink, link, buf, PATH_SIZE - 1);
  buf[n < 0 ? 0 : n] = 0;
  return vft_of_link(buf);
}

struct handle self_target(struct call *c, const struct self_name *s, char *buf)
{
  buf[0] = 0;
  if (s->pid)
    return other_target(s, buf);
  if (s->what == SELF_EXE)
    memcpy(buf, c->p->exe, strlen(c->p->exe) + 1);
  return s->what == SELF_CWD ? c->p->cwd : s->what == SELF_FD ? vft_remote(c->p, s->fd) : (struct handle){H_NONE};
}

/* The process has a controlling terminal of this machine; /dev/tty is that one then. */
static bool own_terminal(void)
{
  long fd = sys3(__NR_open, "/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
  if (fd >= 0)
    sys1(__NR_close, fd);
  return fd != -ENXIO;
}

static struct self_name self_dev(const char *p)
{
  static const char *const std[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
  const char *tty = session->facts.ttyname;
  for (int i = 0; i < 3; i++)
    if (!strcmp(p, std[i]))
      return (struct self_name){.what = SELF_FD, .fd = i, .rest = ""};
  if (!strcmp(p, "/dev/tty") && !standalone() && own_terminal())
    return (struct self_name){.what = SELF_OTHER, .rest = ""};
  if (tty[0] && !strcmp(p, "/dev/tty"))
    return (struct self_name){.what = SELF_TTY, .rest = ""};
  if (tty[0] && !strcmp(p, tty))
    return (struct self_name){.what = SELF_TTY_NAME, .rest = ""};
  if (skip(&p, "/dev/fd"))
    return self_fd(p);
  return (struct self_name){.what = SELF_NO, .rest = ""};
}

struct self_name self_name(struct call *c, const char *lexical)
{
  if (lexical[0] == '/' && lexical[1] == 'p')
    return self_proc(c, lexical);
  if (lexical[0] == '/' && lexical[1] == 'd')
    return self_dev(lexical);
  return (struct self_name){.what = SELF_NO, .rest = ""};
}

/* ---- the working directory and directory descriptors ---- */

struct handle cwd_get(struct proc *p, char *buf)
{
  lock(&p->lock);
  struct handle h = p->cwd;
  memcpy(buf, p->cwd_path, strlen(p->cwd_path) + 1);
  unlock(&p->lock);
  return h;
}

/* A remote directory's placeholder holds its path; one that was inherited does not. */
long dir_path(int fd, struct handle h, char *buf)
{
  const struct hstate *s = hstate(h);
  if (s->attr.mode && !S_ISDIR(s->attr.mode))
    return -ENOTDIR;
  long n = sys4(__NR_pread64, fd, buf, PATH_SIZE - 1, 0);
  if (n <= 0 || buf[0] != '/')
    return -ENOENT;
  buf[n] = 0;
  return 0;
}

static long local_dir_path(int fd, char *buf)
{
  char link[40];
  fmt(link, sizeof link, "/proc/thread-self/fd/%d", fd);
  long n = sys3(__NR_readlink, link, buf, PATH_SIZE - 1);
  if (n < 0)
    return n;
  buf[n] = 0;
  return buf[0] == '/' ? 0 : -ENOENT;
}

/* ---- following names of the process itself ---- */

static int route_path(struct call *c, struct at *at);

static char *given_buf(struct call *c, const struct at *at)
{
  return c->t->path_buf[2 * at->which];
}

static char *spelling_buf(struct call *c, const struct at *at)
{
  return c->t->path_buf[2 * at->which + 1];
}

static void go_remote(struct at *at, struct handle base, char *path)
{
  at->local = false;
  at->base = base;
  at->path = path;
}

static void go_below(struct at *at, struct handle base, const char *rest)
{
  while (*rest == '/')
    rest++;
  go_remote(at, base, (char *)rest);
}

/* Starts again from `start' and what follows a name of the process itself; `rest' lies in one of at's buffers. */
static int rebase(struct call *c, struct at *at, const char *start, const char *rest)
{
  char *buf = given_buf(c, at);
  size_t n = strlen(start), m = strlen(rest);
  if (n + m >= PATH_SIZE)
    return -ENAMETOOLONG;
  if (++at->hops > MAX_HOPS)
    return -ELOOP;
  memmove(buf + n, rest, m + 1);
  memcpy(buf, start, n);
  at->path = buf;
  return route_path(c, at);
}

/* What at->lexical is by the names of the process itself: `at' is then complete, or local in any case, or neither. */
enum self_route { SELF_RULES, SELF_LOCAL, SELF_DONE };

static int follow_self(struct call *c, struct at *at, struct self_name s)
{
  char *buf = c->t->path_buf[3];
  struct handle h = self_target(c, &s, buf);
  if (s.what == SELF_EXE && *buf) {
    int r = rebase(c, at, buf, s.rest);
    return r ? r : SELF_DONE;
  }
  if (h.v == H_NONE)
    return SELF_LOCAL;
  go_below(at, h, s.rest);
  return SELF_DONE;
}

static int route_self(struct call *c, struct at *at)
{
  struct self_name s = self_name(c, at->lexical);
  if (s.what == SELF_NO)
    return SELF_RULES;
  if (s.what == SELF_TTY) {
    go_below(at, (struct handle){H_TTY}, "");
    return SELF_DONE;
  }
  if (s.what == SELF_TTY_NAME) {
    go_remote(at, (struct handle){H_ROOT}, at->lexical);
    return SELF_DONE;
  }
  bool link_itself = at->flags & AT_SYMLINK_NOFOLLOW && !*s.rest;
  return link_itself || s.what == SELF_OTHER ? SELF_LOCAL : follow_self(c, at, s);
}

/* ---- making a path absolute ---- */

/* The absolute spelling under construction; the root is "". */
struct spelling {
  char *out; /* PATH_SIZE bytes */
  size_t n;
  const char *rest;         /* of the program's path, not yet taken */
  bool sure;                /* no component since the canonical start may be a link */
  bool rewritten;           /* the kernel here was asked where `..' leads: only the spelling goes there */
  bool guessed;             /* `..' inside a local part: the kernel may know better, the slave knows nothing of it */
  const struct rule *local; /* the local rule that the spelling is known to lie under */
  bool ask;                 /* the slave has to walk on from here: `rest' starts with `..' */
};

static size_t parent_of(const char *path, size_t n)
{
  while (n > 0 && path[n - 1] != '/')
    n--;
  return n ? n - 1 : 0;
}

static int append(struct spelling *s, const char *name, size_t len)
{
  if (s->n + 1 + len >= PATH_SIZE - 2)
    return -ENAMETOOLONG;
  s->out[s->n++] = '/';
  memcpy(s->out + s->n, name, len);
  s->n += len;
  s->out[s->n] = 0;
  s->sure = false;
  s->local = 0;
  return 0;
}

static void pop(struct spelling *s)
{
  s->n = parent_of(s->out, s->n);
  s->out[s->n] = 0;
}

/* What the kernel here makes of the spelling so far. */
static int canonicalize(struct spelling *s)
{
  long fd = sys4(__NR_openat, AT_FDCWD, s->out, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0)
    return (int)fd;
  long r = local_dir_path((int)fd, s->out);
  sys1(__NR_close, fd);
  s->n = r ? s->n : strlen(s->out);
  s->rewritten = s->sure = true;
  s->local = 0;
  return (int)r;
}

/*
 * `..' behind what may be a link: see the head of this file. What lies under a rule's prefix, the prefix itself apart,
 * has a parent under the same rule: a longer prefix of the parent would be one of the child, too.
 */
static int leave_name(struct spelling *s)
{
  if (!s->local || s->local->len >= s->n) {
    const struct rule *r = rule_of(s->out, s->n);
    s->ask = !r || r->where == WHERE_REMOTE;
    if (s->ask)
      return 0;
    s->local = r;
    if (r->len >= s->n && r->where == WHERE_LOCAL && where_of(s->out, parent_of(s->out, s->n)) != WHERE_LOCAL)
      return canonicalize(s);
  }
  s->guessed = true;
  return 0;
}

static int go_up(struct spelling *s)
{
  int r = s->n > 0 && !s->sure ? leave_name(s) : 0;
  if (r || s->ask)
    return r;
  pop(s);
  return 0;
}

static int take_component(struct spelling *s, const char *name, size_t len)
{
  if (len == 2 && name[0] == '.' && name[1] == '.')
    return go_up(s);
  return len == 1 && name[0] == '.' ? 0 : append(s, name, len);
}

/* A link of /proc/self in the middle is followed at once: `.' and `..' behind it are its target's. */
static int spell_self(struct call *c, struct at *at, struct spelling *s)
{
  struct self_name self = self_name(c, s->out);
  bool link = self.what == SELF_EXE || self.what == SELF_CWD || self.what == SELF_FD;
  if (!link || *self.rest)
    return SELF_LOCAL;
  self.rest = s->rest;
  return follow_self(c, at, self);
}

/* 0; SELF_DONE when `at' has been completed on the way; -errno. */
static int spell(struct call *c, struct at *at, struct spelling *s)
{
  while (*s->rest) {
    const char *name = s->rest;
    size_t len = 0;
    while (name[len] && name[len] != '/')
      len++;
    int r = len ? take_component(s, name, len) : 0;
    if (r || s->ask)
      return r;
    s->rest = name + len;
    r = *s->rest ? spell_self(c, at, s) : SELF_LOCAL;
    if (r != SELF_LOCAL)
      return r;
    s->rest += *s->rest == '/';
  }
  return 0;
}

/* A path that ends in `/' or `/.' asks for a directory; the new spelling must go on asking. */
static void keep_tail(struct spelling *s, const char *path)
{
  size_t len = strlen(path);
  bool dot = path[len - 1] == '.' && (len == 1 || path[len - 2] == '/');
  if (s->n > 0 && (path[len - 1] == '/' || dot))
    memcpy(s->out + s->n, dot ? "/." : "/", dot ? 3 : 2);
}

/* True if no component is empty, `.' or `..': an absolute path is then its own spelling, a final slash apart. */
static bool is_plain(const char *p)
{
  bool start = true;
  for (; *p; p++) {
    if (start && (*p == '/' || *p == '.') &&
        (*p == '/' || !p[1] || p[1] == '/' || (p[1] == '.' && (!p[2] || p[2] == '/'))))
      return false;
    start = *p == '/';
  }
  return true;
}

/* ---- deciding ---- */

/* SELF_DONE, or where the rules see at->lexical: an enum where; or -errno. */
#define DECIDED 16
static int decide(struct call *c, struct at *at)
{
  int r = route_self(c, at);
  if (r < 0)
    return r;
  if (r != SELF_RULES)
    return r == SELF_DONE ? DECIDED : WHERE_LOCAL;
  enum where w = where_of(at->lexical, strlen(at->lexical));
  return w == WHERE_DENY ? -EACCES : (int)w;
}

/* The slave is to walk `..' from where the spelling stopped. */
static int ask_slave(struct at *at, struct spelling *s, struct handle base)
{
  if (base.v != H_NONE && !s->rewritten && !s->guessed) {
    go_remote(at, base, at->path);
    return 0;
  }
  size_t m = strlen(s->rest);
  if (s->n + 1 + m >= PATH_SIZE)
    return -ENAMETOOLONG;
  s->out[s->n] = '/';
  memcpy(s->out + s->n + 1, s->rest, m + 1);
  go_remote(at, (struct handle){H_ROOT}, s->out);
  return 0;
}

/* A path that the kernel here or the slave can walk as it stands is left alone; else its absolute spelling is taken. */
static void choose_path(struct at *at, struct spelling *s, struct handle base, bool local)
{
  bool as_given = !s->rewritten && (local ? base.v == H_NONE || base.v == H_ROOT : !s->guessed && base.v != H_NONE);
  if (!local)
    go_remote(at, as_given ? base : (struct handle){H_ROOT}, at->path);
  if (as_given)
    return;
  keep_tail(s, at->path);
  at->path = s->out;
  at->dirfd = AT_FDCWD;
}

/* Deeper than any name reaches, no rule tells anything: the path is walked where its directory is. */
static void go_nameless(struct at *at, struct handle base)
{
  at->lexical[0] = 0;
  if (base.v != H_NONE)
    go_remote(at, base, at->path);
}

/*
 * From a directory whose canonical name is in the spelling buffer. base: its handle, H_NONE if it is local, H_ROOT for
 * absolute paths, which both sides can walk.
 */
static int route_from(struct call *c, struct at *at, struct handle base)
{
  struct spelling s = {.out = spelling_buf(c, at), .rest = at->path, .sure = true};
  at->lexical = s.out;
  s.n = strlen(s.out);
  if (s.n == 1)
    s.n = 0;
  int r = spell(c, at, &s);
  if (r == -ENAMETOOLONG && base.v != H_ROOT) {
    go_nameless(at, base);
    return 0;
  }
  if (r)
    return r == SELF_DONE ? 0 : r;
  if (s.ask)
    return ask_slave(at, &s, base);
  if (!s.n)
    memcpy(s.out, "/", 2);
  r = decide(c, at);
  if (r < 0 || r == DECIDED)
    return r < 0 ? r : 0;
  choose_path(at, &s, base, r == WHERE_LOCAL);
  return 0;
}

/* at->path is absolute, in the buffer for given paths. */
static int route_path(struct call *c, struct at *at)
{
  at->local = true;
  at->dirfd = AT_FDCWD;
  if (!is_plain(at->path + 1)) {
    spelling_buf(c, at)[0] = 0;
    return route_from(c, at, (struct handle){H_ROOT});
  }
  at->lexical = at->path;
  int r = decide(c, at);
  if (r == WHERE_REMOTE)
    go_remote(at, (struct handle){H_ROOT}, at->path);
  return r < 0 ? r : 0;
}

static bool is_dir(int fd)
{
  struct stat_k st;
  return sys2(__NR_fstat, fd, &st) == 0 && S_ISDIR(st.mode);
}

static int route_local_dir(struct call *c, struct at *at)
{
  if (!is_dir(at->dirfd) || local_dir_path(at->dirfd, at->lexical)) {
    at->lexical[0] = 0;
    return 0; /* not open, no directory, or without a name: the kernel says what is wrong with it */
  }
  if (is_pure(at->lexical, strlen(at->lexical)))
    vft_set_pure(c->p, at->dirfd);
  return route_from(c, at, (struct handle){H_NONE});
}

static int route_dirfd(struct call *c, struct at *at)
{
  struct proc *p = c->p;
  if (fd_hidden(p, at->dirfd))
    return -EBADF;
  if (vft_pure(p, at->dirfd) && is_plain(at->path))
    return 0;
  if (light_dir(p, at->dirfd, at->lexical, &at->dev, &at->ino))
    return route_from(c, at, (struct handle){H_LIGHT});
  struct handle h = vft_remote(p, at->dirfd);
  if (h.v == H_NONE)
    return route_local_dir(c, at);
  long r = dir_path(at->dirfd, h, at->lexical);
  if (r == -ENOTDIR)
    return -ENOTDIR;
  if (!r)
    return route_from(c, at, h);
  at->lexical[0] = 0;
  go_remote(at, h, at->path);
  return 0;
}

/* The descriptor itself. */
static int route_empty(struct call *c, struct at *at)
{
  struct proc *p = c->p;
  if (!(at->flags & AT_EMPTY_PATH))
    return -ENOENT;
  if (at->dirfd != AT_FDCWD && fd_hidden(p, at->dirfd))
    return -EBADF;
  struct handle h = at->dirfd == AT_FDCWD ? p->cwd : vft_remote(p, at->dirfd);
  if (h.v != H_NONE)
    go_remote(at, h, at->path);
  return 0;
}

/* Without a slave only /proc/self is anything but the kernel's. */
static int route_standalone(struct call *c, struct at *at)
{
  if (strncmp(at->path, "/proc/", 6) || !is_plain(at->path + 1))
    return 0;
  at->lexical = at->path;
  int r = route_self(c, at);
  return r < 0 ? r : 0;
}

/*
 * After chroot(2). No rule leads out of a root on the slave, which walks absolute paths from it; a local one is the
 * kernel's business. What is not below the root is only reached through what is open already.
 */
static int route_rooted(struct call *c, struct at *at)
{
  struct proc *p = c->p;
  struct handle h = {H_NONE};
  if (at->path[0] == '/')
    h.v = p->rooted == ROOT_REMOTE ? H_ROOT : H_NONE;
  else if (at->dirfd == AT_FDCWD)
    h = cwd_get(p, at->lexical);
  else if (fd_hidden(p, at->dirfd))
    return -EBADF;
  else
    h = vft_remote(p, at->dirfd);
  at->lexical[0] = 0;
  if (h.v != H_NONE)
    go_remote(at, h, at->path);
  return 0;
}

/* The slave's own names, whatever the rules say; its own walk keeps to them all the same. */
static int route_raw_remote(struct call *c, struct at *at)
{
  struct handle h = {H_ROOT};
  if (at->path[0] != '/' && at->dirfd == AT_FDCWD)
    h = cwd_get(c->p, at->lexical);
  else if (at->path[0] != '/')
    h = vft_remote(c->p, at->dirfd);
  if (h.v == H_NONE && at->dirfd != AT_FDCWD)
    return -EBADF;
  at->lexical[0] = 0;
  go_remote(at, h.v == H_NONE ? (struct handle){H_CWD} : h, at->path);
  return 0;
}

/* Names are this machine's; what a descriptor leads to is what it was. */
static int route_local_mode(struct call *c, struct at *at)
{
  size_t n, m = strlen(at->path);
  struct handle h = {H_NONE};
  if (mode_raw()) {
    at->lexical = at->path; /* for its control file */
    return 0;
  }
  if (at->path[0] == '/')
    return route_standalone(c, at);
  if (at->dirfd != AT_FDCWD) {
    if (fd_hidden(c->p, at->dirfd))
      return -EBADF;
    h = vft_remote(c->p, at->dirfd);
    at->lexical[0] = 0;
    if (h.v != H_NONE)
      go_remote(at, h, at->path);
    return 0;
  }
  h = cwd_get(c->p, at->lexical);
  n = strlen(at->lexical);
  if (h.v != H_NONE && n + m + 1 >= PATH_SIZE)
    return -ENAMETOOLONG;
  if (h.v != H_NONE) {
    at->lexical[n] = '/';
    memcpy(at->lexical + n + 1, at->path, m + 1);
    memcpy(at->path, at->lexical, n + m + 2);
  }
  at->lexical[0] = 0;
  return 0;
}

static int route_given(struct call *c, struct at *at)
{
  if (standalone())
    return route_standalone(c, at);
  if (c->p->rooted)
    return route_rooted(c, at);
  if (c->t->mode != MODE_ALL)
    return mode_remote() ? route_raw_remote(c, at) : route_local_mode(c, at);
  if (at->path[0] == '/')
    return route_path(c, at);
  if (at->dirfd != AT_FDCWD)
    return route_dirfd(c, at);
  struct handle h = cwd_get(c->p, at->lexical);
  if (*at->lexical)
    return route_from(c, at, h);
  go_nameless(at, h);
  return 0;
}

int route(struct call *c, int dirfd, const void *path, int flags, struct at *at, int which)
{
  *at = (struct at){.local = true, .dirfd = dirfd, .base = {H_NONE}, .flags = flags, .which = which};
  at->path = given_buf(c, at);
  at->lexical = spelling_buf(c, at);
  at->lexical[0] = 0;
  long n = copy_str(at->path, path, PATH_SIZE);
  if (n < 0)
    return (int)n;
  return n == 0 ? route_empty(c, at) : route_given(c, at);
}

long at_settle(struct call *c, struct at *at)
{
  if (at->local || at->base.v != H_LIGHT)
    return 0;
  at->base = vft_remote(c->p, at->dirfd);
  return at->base.v == H_NONE ? -ENOENT : 0;
}

int route_link(struct call *c, struct at *at, const char *path)
{
  size_t n = strlen(path);
  at->path = given_buf(c, at);
  memcpy(at->path, path, n + 1);
  if (++at->hops > MAX_HOPS)
    return -ELOOP;
  return route_path(c, at);
}

int route_again(struct call *c, struct req *q, struct at *at, int which)
{
  at->which = which;
  at->path = given_buf(c, at);
  if (!get_str(&q->r, at->path, PATH_SIZE) || at->path[0] != '/')
    return -EIO;
  if (mode_raw_remote())
    return -EXDEV; /* the rules give that place to this machine */
  if (++at->hops > MAX_HOPS)
    return -ELOOP;
  return route_path(c, at);
}

/* ---- a process's start ---- */

static void cwd_local(struct proc *p)
{
  p->cwd = (struct handle){H_NONE};
  if (sys2(__NR_getcwd, p->cwd_path, PATH_SIZE) < 0 || p->cwd_path[0] != '/')
    memcpy(p->cwd_path, "/", 2);
}

void route_start(struct proc *p, const struct carry *carry)
{
  static char root_path[PATH_SIZE];
  locks_start(carry);
  p->rooted = (uint8_t)carry->rooted;
  p->root.v = carry->root_handle;
  if (p->rooted == ROOT_REMOTE)
    memcpy(p->root_path = root_path, carry->root, sizeof carry->root - 1);
  if (carry->cwd_handle == H_NONE || standalone()) {
    cwd_local(p);
    return;
  }
  p->cwd = (struct handle){carry->cwd_handle};
  p->cwd_gen = carry->cwd_gen;
  memcpy(p->cwd_path, carry->cwd, sizeof carry->cwd - 1);
  p->cwd_path[sizeof carry->cwd - 1] = 0;
}

void route_carry(struct proc *p, struct carry *carry)
{
  memset(carry->cwd, 0, sizeof carry->cwd);
  carry->cwd_handle = cwd_get(p, carry->cwd).v;
  carry->cwd_gen = p->cwd_gen;
  carry->umask = p->umask;
  carry->rooted = p->rooted;
  carry->root_handle = p->root.v;
  if (p->rooted == ROOT_REMOTE)
    memcpy(carry->root, p->root_path, strlen(p->root_path) + 1);
  locks_carry(p, carry);
}
