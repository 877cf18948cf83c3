/*
 * Attributes of files, and setting their times.
 *
 * Owns nothing. Must never: invent a value that the kernel did not give (the mask says which it gave).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "slave/slave.h"

int64_t clock_shift(void)
{
  static int64_t shift;
  static bool known;
  const char *s = known ? 0 : getenv("FSLAVE_CLOCK_SHIFT");
  if (s)
    shift = strtoll(s, 0, 10);
  known = true;
  return shift;
}

static void shift_times(struct wire_attr *a)
{
  int64_t by = clock_shift();
  a->atime += by, a->btime += by, a->ctime += by, a->mtime += by;
}

int attr_read(int dir, const char *name, int flags, unsigned mask, struct wire_attr *a)
{
  int err = attr_native(dir, name, flags, mask, a);
  if (!err)
    shift_times(a);
  return err;
}

/* ---- setting times ---- */

/* To inotify, one of the times alone is a reading or, of a directory, a writing in it; neither is watched for. */
static void one_time_set(const struct call *c)
{
  struct stat st;
  if (fstatat(c->at[0].dir, c->at[0].name, &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
    return;
  watch_stale(st.st_dev, st.st_ino);
  if (S_ISDIR(st.st_mode) && !(c->f.flags & FF_OWN))
    names_stale(st.st_dev, st.st_ino);
}

static int set_times(const struct call *c)
{
  const struct spot *s = &c->at[0];
  const struct timespec t[2] = {{.tv_sec = (time_t)c->times[0], .tv_nsec = (long)c->times[1]},
                                {.tv_sec = (time_t)c->times[2], .tv_nsec = (long)c->times[3]}};
  const struct timespec *times = c->a[2] ? t : 0;
  if (!utimensat(s->dir, s->name, times, s->name[0] ? (int)c->a[3] : AT_EMPTY_PATH))
    return 0;
  if (errno != EINVAL || s->name[0])
    return -errno;
  return futimens(s->dir, times) ? -errno : 0; /* before Linux 5.8 */
}

int64_t do_utimensat(struct call *c)
{
  int err = call_walk(c);
  if (err)
    return err;
  int r = set_times(c);
  if (!r && c->a[2] && (c->times[1] == UTIME_OMIT || c->times[3] == UTIME_OMIT))
    one_time_set(c);
  return r;
}
