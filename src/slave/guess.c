/*
 * Telling the master what it has not asked for yet, where what it did ask for lets guess: a program that walks a tree
 * finds the next directories already told, one that reads a directory's files in order finds the contents of the next.
 *
 * A walk is a list of directories, in the order in which a walker of trees meets them, and two places in it: which is
 * to be told next, and whose small files are. It goes on only as long as it is followed: what is sent is a window, the
 * first thing in it carries the walk's number, and when the master says that this has been used (W_AHEAD) the next
 * window, four times as large up to a bound, is sent. A guess that fails costs no more than the window that was under
 * way.
 *
 * Owns the walks. Works in small steps on the main thread, only when nothing has come that somebody waits for and the
 * stream takes more. Must never: tell anything but through names.c, or follow a symbolic link.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slave/slave.h"

#define WALKS_MAX 8
#define NODES_MAX 16384
#define DIRS_FIRST 8 /* directories of a first window ... */
#define DIRS_MOST 1024
#define BYTES_FIRST (128u << 10) /* ... and bytes of contents */
#define BYTES_MOST (4u << 20)
#define GROWTH 4
#define STEP_BYTES (64u << 10)
#define STEP_DIRS 8
#define AGAIN_MAX 4 /* larger files under way that were opened a second time */
#define SEEN_MAX 256
#define MISSES_MIN 2 /* files opened before the others are guessed */

struct node {
  struct node *next;
  bool told, sent; /* its names; its files */
  char path[];     /* absolute */
};

/* A file that is told in pieces. */
struct large {
  int fd;
  uint64_t size, at; /* size 0: none */
};

struct walk {
  uint32_t number; /* 0: free */
  uint64_t used;
  bool flat; /* one directory's files alone */
  unsigned nodes, misses;
  struct node *first, *last_told;
  struct node *files; /* whose contents are sent, 0: of none */
  DIR *dir;           /* where in it */
  char *after;        /* begun behind that file: those before it come when the end has been reached */
  bool before;        /* they do now */
  unsigned dirs, dirs_window;
  uint32_t bytes, bytes_window;
  bool mark_dir, mark_file;
  struct large large;
  char root[WIRE_PATH_MAX];
};

static struct {
  struct walk w[WALKS_MAX];
  uint32_t numbers;
  uint64_t clock;
  char touched[WIRE_PATH_MAX]; /* the directory that became known last */
  char opened[WIRE_PATH_MAX];  /* whose file was opened last */
  struct large again[AGAIN_MAX];
  uint64_t seen[SEEN_MAX]; /* of larger files that have been opened: device and inode, mixed */
} A;

static void large_end(struct large *l)
{
  if (l->size)
    close(l->fd);
  l->size = 0;
}

static uint32_t large_step(struct large *l, uint32_t mark)
{
  uint32_t n = names_ahead_piece(l->fd, l->size, l->at, l->at ? 0 : mark);
  l->at += n;
  if (!n || l->at >= l->size)
    large_end(l);
  return n;
}

/* ---- walks ---- */

static void walk_free(struct walk *w)
{
  for (struct node *n = w->first, *next; n; n = next) {
    next = n->next;
    free(n);
  }
  if (w->dir)
    closedir(w->dir);
  free(w->after);
  large_end(&w->large);
  *w = (struct walk){.number = 0};
}

static struct node *node_new(struct walk *w, struct node *after, const char *dir, const char *name)
{
  size_t n = strlen(dir), m = strlen(name), slash = n && dir[n - 1] != '/' && m;
  if (w->nodes == NODES_MAX || n + m + 2 > WIRE_PATH_MAX)
    return 0;
  struct node *node = malloc(sizeof *node + n + slash + m + 1);
  if (!node)
    return 0;
  memcpy(node->path, dir, n);
  memcpy(node->path + n, "/", slash);
  memcpy(node->path + n + slash, name, m + 1);
  struct node **at = after ? &after->next : &w->first;
  node->told = node->sent = false;
  node->next = *at;
  *at = node;
  w->nodes++;
  return node;
}

static struct walk *walk_new(const char *root)
{
  struct walk *w = &A.w[0];
  for (unsigned i = 1; i < WALKS_MAX && w->number; i++)
    if (!A.w[i].number || A.w[i].used < w->used)
      w = &A.w[i];
  walk_free(w);
  w->number = ++A.numbers & 0x3fffffff ? A.numbers & 0x3fffffff : (A.numbers = 1);
  w->used = ++A.clock;
  memcpy(w->root, root, strlen(root) + 1);
  if (!node_new(w, 0, root, ""))
    walk_free(w);
  return w->number ? w : 0;
}

static bool below(const char *path, const char *root)
{
  size_t n = strlen(root);
  return !strncmp(path, root, n) && (!path[n] || path[n] == '/' || n == 1);
}

/* The walk that has the directory, or could have it. */
static struct walk *walk_of(const char *path)
{
  struct walk *best = 0;
  for (unsigned i = 0; i < WALKS_MAX; i++) {
    struct walk *w = &A.w[i];
    if (w->number && !w->flat && below(path, w->root) && (!best || strlen(w->root) > strlen(best->root)))
      best = w;
  }
  if (best)
    best->used = ++A.clock;
  return best;
}

static struct node *node_of(const struct walk *w, const char *path)
{
  struct node *n = w->first;
  while (n && strcmp(n->path, path))
    n = n->next;
  return n;
}

static void more_dirs(struct walk *w)
{
  w->dirs_window = !w->dirs_window ? DIRS_FIRST : w->dirs_window >= DIRS_MOST ? DIRS_MOST : w->dirs_window * GROWTH;
  w->dirs = w->dirs_window;
  w->mark_dir = true;
}

static void more_bytes(struct walk *w)
{
  w->bytes_window = !w->bytes_window                ? BYTES_FIRST
                    : w->bytes_window >= BYTES_MOST ? BYTES_MOST
                                                    : w->bytes_window * GROWTH;
  w->bytes = w->bytes_window;
  w->mark_file = true;
}

/* ---- telling directories ---- */

static void add_children(struct walk *w, struct node *n, int fd)
{
  struct node *after = n;
  DIR *d = fdopendir(fd);
  if (!d) {
    close(fd);
    return;
  }
  for (struct dirent *e; after && (e = readdir(d));)
    if (e->d_type == DT_DIR && strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
      after = node_new(w, after, n->path, e->d_name);
  closedir(d);
}

static void tell_node(struct walk *w, struct node *n)
{
  int fd = open(n->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  n->told = true;
  w->last_told = n;
  if (fd < 0)
    return;
  if (names_ahead_dir(fd, w->mark_dir ? w->number << 1 : 0))
    w->mark_dir = false;
  add_children(w, n, fd);
}

/* Behind the one that was told last; what was left out before comes at the end. */
static struct node *next_dir(const struct walk *w)
{
  for (struct node *n = w->last_told; n; n = n->next)
    if (!n->told)
      return n;
  for (struct node *n = w->first; n; n = n->next)
    if (!n->told)
      return n;
  return 0;
}

static void step_dirs(struct walk *w)
{
  for (unsigned i = 0; i < STEP_DIRS && w->dirs; i++) {
    struct node *n = next_dir(w);
    w->dirs = n ? w->dirs - 1 : 0;
    if (n)
      tell_node(w, n);
  }
}

/* ---- telling contents ---- */

static void close_dir(struct walk *w)
{
  large_end(&w->large);
  free(w->after);
  w->after = 0;
  w->before = false;
  if (w->dir)
    closedir(w->dir);
  w->dir = 0;
}

/* The directory whose files come next is open, or there is none. */
static bool files_open(struct walk *w)
{
  while (w->files && !w->dir) {
    if (w->files->sent) {
      w->files = w->files->next;
      continue;
    }
    if (!w->files->told && !w->flat)
      tell_node(w, w->files);
    int fd = open(w->files->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    w->dir = fd < 0 ? 0 : fdopendir(fd);
    if (fd >= 0 && !w->dir)
      close(fd);
    if (!w->dir)
      w->files = w->files->next;
  }
  return w->dir;
}

static void files_from(struct walk *w, struct node *n, const char *after)
{
  close_dir(w);
  w->files = n;
  if (!files_open(w) || w->files != n)
    return;
  for (struct dirent *e; (e = readdir(w->dir));)
    if (!strcmp(e->d_name, after)) {
      w->after = strdup(after);
      return;
    }
  rewinddir(w->dir);
}

/* The next name, in a circle: who opens files in another order than this will come to the others as well. */
static struct dirent *next_name(struct walk *w)
{
  struct dirent *e = readdir(w->dir);
  if (!e && w->after && !w->before) {
    rewinddir(w->dir);
    w->before = true;
    e = readdir(w->dir);
  }
  return e && w->before && !strcmp(e->d_name, w->after) ? 0 : e;
}

static uint32_t file_mark(const struct walk *w)
{
  return w->mark_file ? w->number << 1 | 1 : 0;
}

/* One file, or the first piece of one; a piece that is on its way is followed by the others. */
static uint32_t tell_file(struct walk *w, const char *name)
{
  uint32_t n = names_ahead_file(dirfd(w->dir), name, file_mark(w));
  if (n)
    return n;
  int fd = names_ahead_large(dirfd(w->dir), name, w->bytes_window, &w->large.size);
  if (fd < 0) {
    w->large.size = 0;
    return 0;
  }
  w->large.fd = fd;
  w->large.at = 0;
  return 0;
}

static void told_bytes(struct walk *w, uint32_t n, uint32_t *done)
{
  w->mark_file = w->mark_file && !n;
  *done += n;
  w->bytes -= n < w->bytes ? n : w->bytes;
}

static void step_files(struct walk *w)
{
  uint32_t done = 0;
  while ((w->bytes || w->large.size) && done < STEP_BYTES && files_open(w)) {
    if (w->large.size) {
      told_bytes(w, large_step(&w->large, file_mark(w)), &done);
      continue;
    }
    struct dirent *e = next_name(w);
    if (!e) {
      close_dir(w);
      w->files->sent = true;
      w->files = w->flat ? 0 : w->files->next;
      continue;
    }
    if (e->d_type != DT_REG)
      continue;
    told_bytes(w, tell_file(w, e->d_name), &done);
  }
  if (!w->dir)
    w->bytes = 0;
}

/* ---- when ---- */

static struct large *again_next(void)
{
  for (unsigned i = 0; i < AGAIN_MAX; i++)
    if (A.again[i].size)
      return &A.again[i];
  return 0;
}

static bool wants(const struct walk *w)
{
  return w->number && (w->dirs || w->bytes || w->large.size);
}

bool guess_wants(void)
{
  for (unsigned i = 0; i < WALKS_MAX; i++)
    if (wants(&A.w[i]))
      return true;
  return again_next();
}

/* What was asked for last is most likely to be used next. */
void guess_step(void)
{
  struct walk *w = 0;
  for (unsigned i = 0; i < WALKS_MAX; i++)
    if (wants(&A.w[i]) && (!w || A.w[i].used > w->used))
      w = &A.w[i];
  if (again_next())
    large_step(again_next(), 0);
  else if (!w)
    return;
  else if (w->dirs)
    step_dirs(w);
  else
    step_files(w);
}

bool guess_used(uint64_t number)
{
  for (unsigned i = 0; i < WALKS_MAX; i++) {
    struct walk *w = &A.w[i];
    if (!w->number || w->number != number >> 1)
      continue;
    w->used = ++A.clock;
    if (number & 1)
      more_bytes(w);
    else
      more_dirs(w);
  }
  return true;
}

/* ---- what lets guess ---- */

/* A directory that was not known has been asked about: the walk goes on from there. */
static void go_on(struct walk *w, const char *path)
{
  struct node *n = node_of(w, path);
  if (!n)
    n = node_new(w, w->last_told, path, "");
  if (!n)
    return;
  if (!n->told)
    tell_node(w, n);
  w->last_told = n;
  if (!w->dirs)
    more_dirs(w);
}

void guess_dir_opened(int dirfd)
{
  char path[WIRE_PATH_MAX];
  if (real_path(dirfd, path))
    return;
  struct walk *w = walk_of(path);
  if (!w)
    w = walk_new(path);
  if (w)
    go_on(w, path);
}

/* The deepest directory that both are below, if that is anything in particular. */
static bool common(const char *a, const char *b, char *out)
{
  size_t n = 0, end = 0, depth = 0;
  while (a[n] && a[n] == b[n]) {
    n++;
    if ((!a[n] || a[n] == '/') && (!b[n] || b[n] == '/'))
      end = n, depth++;
  }
  memcpy(out, a, end);
  out[end] = 0;
  return depth >= 3;
}

/* A second directory of the same tree: others of it will follow. */
void guess_dir_touched(int dirfd)
{
  char path[WIRE_PATH_MAX], root[WIRE_PATH_MAX];
  if (real_path(dirfd, path))
    return;
  struct walk *w = walk_of(path);
  if (!w && strcmp(path, A.touched) && common(path, A.touched, root))
    w = walk_new(root);
  if (w)
    go_on(w, path);
  memcpy(A.touched, path, strlen(path) + 1);
}

void guess_file_opened(int dirfd, const char *name)
{
  char path[WIRE_PATH_MAX];
  if (real_path(dirfd, path))
    return;
  struct walk *w = walk_of(path);
  struct node *n = w ? node_of(w, path) : 0;
  bool again = !strcmp(path, A.opened);
  memcpy(A.opened, path, strlen(path) + 1);
  if (!n && again && (w = walk_new(path))) {
    w->flat = true;
    n = w->first;
    n->told = true;
    w->misses = MISSES_MIN;
  }
  if (!n || ++w->misses < MISSES_MIN || w->bytes)
    return;
  more_bytes(w);
  if (n != w->files && !n->sent) /* else it is on its way */
    files_from(w, n, name);
}

/* Opened a second time, it may be a third. */
void guess_large_opened(int dirfd, const char *name)
{
  struct stat st;
  struct large *l = 0;
  if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
    return;
  uint64_t key = (uint64_t)st.st_dev * 0x9e3779b97f4a7c15u ^ (uint64_t)st.st_ino, *seen = &A.seen[key % SEEN_MAX];
  bool again = *seen == key;
  *seen = key;
  for (unsigned i = 0; i < AGAIN_MAX; i++)
    l = A.again[i].size ? l : &A.again[i];
  if (!again || !l)
    return;
  l->at = 0;
  l->fd = names_ahead_large(dirfd, name, WHOLE_MAX, &l->size);
  if (l->fd < 0)
    l->size = 0;
}
