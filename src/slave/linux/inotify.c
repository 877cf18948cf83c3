/*
 * inotify for programs that live elsewhere: an instance is a handle, and the kernel's own inotify descriptor is behind
 * it. Its events are read and waited for like any other handle's bytes; here is only what makes and aims one.
 *
 * Owns reads_watched; the handle owns the descriptor. Must never: block in a read of one (they are all O_NONBLOCK).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "slave/slave.h"

bool reads_watched;

/* Flags, handle. */
int64_t do_inotify_init(struct call *c)
{
  struct stat st;
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0)
    return -errno;
  int err = fstat(fd, &st) ? -errno : handle_add(c->a[1], fd, K_NOTIFY, &st, O_RDONLY);
  if (err)
    close(fd);
  return err;
}

/* Instance, path, mask. The walk has followed what was to be followed. */
int64_t do_inotify_add(struct call *c)
{
  uint32_t mask = (uint32_t)c->a[2];
  if (c->h[0]->kind != K_NOTIFY)
    return -EINVAL;
  int err = call_walk(c);
  if (!err)
    err = call_object(c, !(mask & IN_DONT_FOLLOW));
  if (err)
    return err;
  if (!c->at[0].name[0]) /* reached by its descriptor's link in /proc, which is to be followed */
    mask &= ~(uint32_t)IN_DONT_FOLLOW;
  if (mask & (IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE))
    reads_watched = true;
  int wd = inotify_add_watch(c->h[0]->fd, c->object, mask);
  return wd < 0 ? -errno : wd;
}
