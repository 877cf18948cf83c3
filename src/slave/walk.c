/*
 * From a base directory and a path to the one directory entry that a call is about, without ever letting the kernel
 * follow a symbolic link on its own: links are read here, counted, and held against the master's rules.
 *
 * Owns the rules and a descriptor of the root. Must never: follow a magic link of /proc, keep a descriptor after
 * spot_done(), or decide anything from a path's text where the directory itself can be asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

#define LINKS_MAX 40
#define REST_MAX (2 * WIRE_PATH_MAX)
#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

static struct {
  int root;
  bool leaps;           /* the kernel walks without following links */
  bool protected_links; /* fs.protected_symlinks */
  unsigned nrules;
  struct rule rules[SESSION_RULES];
} W;

/* One walk under way. */
struct walker {
  int cur;
  bool owned;
  int root;
  bool rooted; /* below another root than the slave's: nothing there is anybody else's */
  unsigned flags, links;
  bool armed;               /* a link or `..' was taken: from here on the rules are asked */
  bool located;             /* `here' is the path of cur */
  char here[WIRE_PATH_MAX]; /* without a final slash: "" is the root */
  char rest[REST_MAX];
  char *at; /* in rest */
  char *left;
  struct spot *spot;
};

/* The component at w->at. */
struct part {
  const char *name; /* NUL-terminated in `text' */
  char text[256];
  bool last, slash; /* nothing but slashes follow; at least one does */
};

void walk_start(void)
{
  char on = '0';
  int fd = open("/proc/sys/fs/protected_symlinks", O_RDONLY | O_CLOEXEC);
  W.protected_links = fd >= 0 && read(fd, &on, 1) == 1 && on == '1';
  if (fd >= 0)
    close(fd);
  W.root = open("/", DIR_FLAGS);
  W.leaps = true;
  W.nrules = 0;
}

void walk_rule(const char *text, uint32_t n)
{
  const char *space = memchr(text, ' ', n);
  if (!space || W.nrules == SESSION_RULES)
    return;
  uint32_t len = n - (uint32_t)(space + 1 - text);
  while (len && space[len] == '/')
    len--;
  struct rule *r = &W.rules[W.nrules];
  if (len >= sizeof r->prefix)
    return;
  r->where = space - text == 6 && !memcmp(text, "remote", 6) ? WHERE_REMOTE : WHERE_LOCAL;
  r->len = (uint8_t)len;
  memcpy(r->prefix, space + 1, len);
  W.nrules++;
}

static bool under(const struct rule *r, const char *path)
{
  return !strncmp(path, r->prefix, r->len) && (path[r->len] == '/' || !path[r->len]);
}

/* Whether the master's rules keep this absolute path ("" is the root) away from the slave. */
static bool elsewhere(const char *path)
{
  const struct rule *best = 0;
  for (unsigned i = 0; i < W.nrules; i++)
    if (under(&W.rules[i], path) && (!best || W.rules[i].len > best->len))
      best = &W.rules[i];
  return best && best->where != WHERE_REMOTE;
}

static int path_by_chdir(int fd, char out[WIRE_PATH_MAX])
{
  if (fchdir(fd))
    return -errno;
  int err = getcwd(out, WIRE_PATH_MAX) ? 0 : -errno;
  if (chdir("/"))
    return -errno;
  return err;
}

int real_path(int fd, char out[WIRE_PATH_MAX])
{
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, out, WIRE_PATH_MAX - 1);
  if (n < 0)
    return errno == ENAMETOOLONG ? -ENAMETOOLONG : path_by_chdir(fd, out);
  out[n] = 0;
  return out[0] == '/' ? 0 : -ENOENT;
}

/* No rule speaks of what has no name because it lies too deep: that stays not located. */
static int locate(struct walker *w)
{
  if (w->located)
    return 0;
  int err = real_path(w->cur, w->here);
  if (err)
    return err == -ENAMETOOLONG ? 0 : err;
  if (!strcmp(w->here, "/"))
    w->here[0] = 0;
  w->located = true;
  return 0;
}

static void enter(struct walker *w, int dir, bool owned)
{
  if (w->owned)
    close(w->cur);
  w->cur = dir;
  w->owned = owned;
}

static int finish(struct walker *w, const char *name, bool slash)
{
  struct spot *s = w->spot;
  s->dir = w->cur;
  s->owned = w->owned;
  w->owned = false;
  snprintf(s->name, sizeof s->name, "%s%s", name, slash ? "/" : "");
  return 0;
}

/* The walk ends at `here'/name and what is left; the master goes on. */
static int leave(struct walker *w, const char *name)
{
  int n = snprintf(w->left, WIRE_PATH_MAX, "%s%s%s%s", w->here, *name || !*w->here ? "/" : "", name, w->at);
  return n < WIRE_PATH_MAX ? WALK_LEFT : -ENAMETOOLONG;
}

static int next_part(struct walker *w, struct part *p)
{
  while (*w->at == '/')
    w->at++;
  size_t n = strcspn(w->at, "/");
  if (n >= sizeof p->text)
    return -ENAMETOOLONG;
  memcpy(p->text, w->at, n);
  p->text[n] = 0;
  p->name = p->text;
  w->at += n;
  p->slash = *w->at == '/';
  p->last = w->at[strspn(w->at, "/")] == 0;
  return 0;
}

/* A link in a world-writable sticky directory is followed only for its owner's or the directory owner's sake. */
static bool link_allowed(int dir, const char *name)
{
  struct stat d, l;
  if (!W.protected_links || fstatat(dir, "", &d, AT_EMPTY_PATH) || fstatat(dir, name, &l, AT_SYMLINK_NOFOLLOW))
    return true;
  if ((d.st_mode & (S_ISVTX | S_IWOTH)) != (S_ISVTX | S_IWOTH))
    return true;
  return l.st_uid == geteuid() || l.st_uid == d.st_uid;
}

/* Puts the link's text before what is left of the path. */
static int expand(struct walker *w, const struct part *p, const char *target, size_t n)
{
  if (++w->links > LINKS_MAX || lookup_magic(w->cur, p->name))
    return -ELOOP;
  if (!link_allowed(w->cur, p->name))
    return -EACCES;
  if (!w->rooted)
    names_link(w->cur, p->name);
  size_t tail = strlen(w->at);
  if (!n)
    return -ENOENT;
  if (n + tail >= REST_MAX)
    return -ENAMETOOLONG;
  memmove(w->rest + n, w->at, tail + 1);
  memcpy(w->rest, target, n);
  w->at = w->rest;
  w->armed = true;
  if (target[0] == '/') {
    enter(w, w->root, false);
    w->here[0] = 0;
    w->located = true;
  }
  return 0;
}

static bool at_root(const struct walker *w)
{
  struct stat a, b;
  return !fstatat(w->cur, "", &a, AT_EMPTY_PATH) && !fstatat(w->root, "", &b, AT_EMPTY_PATH) && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

static int go_up(struct walker *w)
{
  w->armed = true;
  w->located = false;
  if (!at_root(w)) {
    int up = openat(w->cur, "..", DIR_FLAGS);
    if (up < 0)
      return -errno;
    enter(w, up, true);
  }
  if (w->rooted)
    return 0;
  int err = locate(w);
  if (err)
    return err;
  return w->located && elsewhere(w->here) ? leave(w, "") : 0;
}

/* Enters a directory; a link is expanded instead. */
static int go_down(struct walker *w, const struct part *p)
{
  struct stat st;
  char target[WIRE_PATH_MAX];
  int fd = openat(w->cur, p->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  int err = fstatat(fd, "", &st, AT_EMPTY_PATH) ? -errno : 0;
  if (!err && S_ISLNK(st.st_mode)) {
    ssize_t n = readlinkat(fd, "", target, sizeof target);
    err = n < 0 ? -errno : expand(w, p, target, (size_t)n);
  } else if (!err && S_ISDIR(st.st_mode)) {
    size_t len = strlen(w->here);
    w->located = w->located && len + 1 + strlen(p->name) < sizeof w->here;
    if (w->located)
      snprintf(w->here + len, sizeof w->here - len, "/%s", p->name);
    enter(w, fd, true);
    return 0;
  } else if (!err) {
    err = -ENOTDIR;
  }
  close(fd);
  return err;
}

/* The last component of a call that acts on what it leads to. *done: the walk has ended. */
static int last_part(struct walker *w, const struct part *p, bool *done)
{
  char target[WIRE_PATH_MAX];
  ssize_t n = w->flags & WALK_FOLLOW ? readlinkat(w->cur, p->name, target, sizeof target) : -1;
  if (n >= 0)
    return expand(w, p, target, (size_t)n);
  *done = true;
  return finish(w, p->name, p->slash);
}

static bool dots(const char *name)
{
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* A component that is neither `.' nor `..' nor empty. */
static int plain_part(struct walker *w, const struct part *p, bool *done)
{
  if (w->armed && !w->rooted) {
    int err = locate(w);
    if (err)
      return err;
    size_t len = strlen(w->here);
    bool named = w->located && len + 1 + strlen(p->name) < sizeof w->here;
    if (named)
      snprintf(w->here + len, sizeof w->here - len, "/%s", p->name);
    bool out = named && elsewhere(w->here);
    w->here[len] = 0;
    if (out)
      return leave(w, p->name);
  }
  if (p->last && (!p->slash || w->flags & WALK_PARENT))
    return last_part(w, p, done);
  if (p->last && w->flags & WALK_CREATE)
    return -EISDIR;
  return go_down(w, p);
}

static int step(struct walker *w, bool *done)
{
  struct part p;
  int err = next_part(w, &p);
  if (err)
    return err;
  if (!p.text[0]) {
    *done = true;
    return finish(w, ".", false);
  }
  if (p.last && w->flags & WALK_PARENT && (!w->armed || dots(p.name))) {
    *done = true;
    return finish(w, p.name, p.slash);
  }
  if (!strcmp(p.name, "."))
    return 0;
  if (!strcmp(p.name, ".."))
    return go_up(w);
  return plain_part(w, &p, done);
}

static int walk_parts(struct walker *w)
{
  bool done = false;
  int err = 0;
  while (!done && !err)
    err = step(w, &done);
  if (w->owned)
    close(w->cur);
  return err;
}

/* Everything but the last component at one go, if it holds no link and no `..'. False: go by component. */
static bool leap(struct walker *w, int *err)
{
  char *slash = strrchr(w->at, '/');
  if (!W.leaps || !slash || strstr(w->at, ".."))
    return false;
  while (slash > w->at && slash[-1] == '/')
    slash--;
  if (slash == w->at || !slash[strspn(slash, "/")])
    return false;
  *slash = 0;
  int fd = lookup_open(w->cur, w->at, DIR_FLAGS, 0, LOOKUP_NO_LINKS | LOOKUP_NO_MAGIC);
  *slash = '/';
  if (fd < 0) {
    W.leaps = fd != -ENOSYS;
    *err = fd == -ELOOP || fd == -ENOSYS || fd == -EPERM || fd == -EAGAIN ? 0 : fd;
    return *err != 0;
  }
  enter(w, fd, true);
  w->at = slash;
  return false;
}

int walk(int root, int base, const char *path, unsigned flags, struct spot *s, char *left)
{
  bool absolute = path[0] == '/' || base < 0;
  struct walker w = {.root = root < 0 ? W.root : root, .rooted = root >= 0};
  w.cur = absolute ? w.root : base;
  w.flags = flags;
  w.left = left;
  w.spot = s;
  w.at = w.rest;
  s->owned = false;
  s->dir = w.cur;
  s->name[0] = 0;
  if (!*path)
    return base < 0 ? -ENOENT : 0;
  snprintf(w.rest, sizeof w.rest, "%s", path);
  w.at += strspn(w.at, "/");
  int err = 0;
  if (leap(&w, &err))
    return err;
  return walk_parts(&w);
}

int walk_open(int base, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  return lookup_open(base < 0 ? W.root : base, path, flags, mode, resolve);
}

bool walk_elsewhere(int fd)
{
  char path[WIRE_PATH_MAX];
  return !real_path(fd, path) && elsewhere(path[1] ? path : "");
}

void spot_done(struct spot *s)
{
  if (s->owned)
    close(s->dir);
  s->owned = false;
}
