/*
 * Changes that the master has accounted for: calls that come with FF_OWN, and directories that come with FF_MADE.
 *
 * The master answers its programs before such a call is made here, as long as nobody else has a say in the directory.
 * So the watches must tell it of everything but of what it did itself: for the moment of the call, and no longer, the
 * events that it causes are expected and taken out. What the call did not cause, or caused without success, is
 * another's.
 *
 * Owns the expectations of the one call under way on the main thread. Must never: swallow an event that the call cannot
 * have caused, or expect anything once the call has been made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

#define SELF_EVENTS (NOTE_ATTRIB | NOTE_MOVE_SELF)

struct expected {
  uint64_t dev, ino; /* of the watched directory */
  const char *name;  /* of an entry; "": the directory itself */
  uint32_t mask;
  bool seen;
};

static struct {
  pthread_mutex_t lock; /* the watches are read by whoever sends */
  struct expected e[4];
  unsigned n;
} X = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* What the entry at the which'th path is about to undergo. */
static uint32_t entry_events(unsigned op, unsigned which)
{
  switch (op) {
  case OP_openat:
  case OP_mkdirat:
  case OP_mknodat:
  case OP_symlinkat:
    return NOTE_CREATE;
  case OP_linkat:
    return which ? NOTE_CREATE : 0;
  case OP_unlinkat:
    return NOTE_DELETE;
  case OP_renameat2:
    return which ? NOTE_MOVED_TO : NOTE_MOVED_FROM;
  default:
    return 0;
  }
}

static void expect(const struct stat *st, const char *name, uint32_t mask)
{
  if (X.n < sizeof X.e / sizeof X.e[0])
    X.e[X.n++] = (struct expected){st->st_dev, st->st_ino, name, mask, false};
}

static void expect_at(unsigned op, const struct spot *s, unsigned which)
{
  struct stat st;
  uint32_t mask = entry_events(op, which);
  if (mask && s->name[0] && !fstatat(s->dir, "", &st, AT_EMPTY_PATH))
    expect(&st, s->name, mask);
  bool changes = !mask || (op == OP_renameat2 && !which);
  if (changes && !fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) && S_ISDIR(st.st_mode))
    expect(&st, "", SELF_EVENTS);
}

/* What has happened so far is not the call's. */
void own_begin(const struct call *c)
{
  names_look();
  pthread_mutex_lock(&X.lock);
  X.n = 0;
  for (unsigned i = 0; i < c->nspots; i++)
    expect_at(c->row->wire, &c->at[i], i);
  pthread_mutex_unlock(&X.lock);
}

/* A walked name may have kept the slash behind it. */
static bool is_name(const char *walked, const char *name)
{
  size_t n = strlen(name);
  return !strncmp(walked, name, n) && (!walked[n] || (n && walked[n] == '/'));
}

bool own_event(uint64_t dev, uint64_t ino, const char *name, uint32_t mask)
{
  bool mine = false;
  pthread_mutex_lock(&X.lock);
  for (unsigned i = 0; i < X.n && !mine; i++) {
    struct expected *e = &X.e[i];
    mine = e->dev == dev && e->ino == ino && mask & e->mask && (!e->seen || !*name) && is_name(e->name, name);
    e->seen |= mine;
  }
  pthread_mutex_unlock(&X.lock);
  return mine;
}

void own_end(bool made)
{
  struct expected was[sizeof X.e / sizeof X.e[0]];
  names_look();
  pthread_mutex_lock(&X.lock);
  unsigned n = X.n;
  memcpy(was, X.e, sizeof was);
  X.n = 0;
  pthread_mutex_unlock(&X.lock);
  for (unsigned i = 0; i < n && !made; i++)
    if (was[i].seen)
      names_give_up(was[i].dev, was[i].ino);
}

/* ---- directories of the master's making ---- */

static bool is_empty(int dirfd)
{
  int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *list = fd < 0 ? 0 : fdopendir(fd);
  unsigned n = 0;
  if (!list && fd >= 0)
    close(fd);
  while (list && n < 3 && readdir(list))
    n++;
  if (list)
    closedir(list);
  return list && n == 2;
}

/* Watched, and nobody else has put anything into it before it was. */
static bool is_ours(const struct spot *s)
{
  int fd = openat(s->dir, s->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  bool ours = fd >= 0 && names_watch(fd) && is_empty(fd);
  if (fd >= 0)
    close(fd);
  return ours;
}

/* What has been made: behind the reply, for the master to know it again. */
void own_made(struct call *c)
{
  struct wire_attr a;
  unsigned op = c->row->wire;
  const struct spot *s = &c->at[op == OP_linkat];
  bool makes = op == OP_mkdirat || op == OP_mknodat || op == OP_symlinkat || op == OP_linkat;
  if (!makes || !(c->f.flags & (FF_OWN | FF_MADE)))
    return;
  if (op == OP_mkdirat && c->f.flags & FF_MADE) {
    if (!(c->f.flags & FF_OWN)) {
      names_look(); /* it has come into being before it is told of */
      names_touch(s, true);
    }
    c->reply_flags |= is_ours(s) ? FF_CACHEABLE : 0;
  }
  if (attr_read(s->dir, s->name, AT_SYMLINK_NOFOLLOW, 0xfff, &a))
    c->reply_flags &= (uint8_t)~FF_CACHEABLE;
  else
    put_attr(&c->out, &a);
  if (space_short(s->dir))
    c->reply_flags |= FF_SYNC;
}
