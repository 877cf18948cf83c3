/*
 * Changes of files: inotify, by way of descriptors' links in /proc, and of what is mounted.
 *
 * Owns nothing; the watches are their users'. Must never call a file system watchable whose changes the kernel does not
 * see all.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>

#include "slave/system.h"

#ifndef F2FS_SUPER_MAGIC
#define F2FS_SUPER_MAGIC 0xF2F52010
#endif

_Static_assert(NOTE_MODIFY == IN_MODIFY && NOTE_ATTRIB == IN_ATTRIB && NOTE_CLOSE_WRITE == IN_CLOSE_WRITE &&
                   NOTE_MOVED_FROM == IN_MOVED_FROM && NOTE_MOVED_TO == IN_MOVED_TO && NOTE_CREATE == IN_CREATE &&
                   NOTE_DELETE == IN_DELETE && NOTE_DELETE_SELF == IN_DELETE_SELF && NOTE_MOVE_SELF == IN_MOVE_SELF &&
                   NOTE_LOST == IN_Q_OVERFLOW && NOTE_DIRECTORY == IN_ONLYDIR && NOTE_ONCE == IN_ONESHOT,
               "as the kernel has them");

int notify_open(void)
{
  if (access("/proc/self/fd", X_OK))
    return -errno;
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int notify_add(int notify, int fd, uint32_t what)
{
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int watch = inotify_add_watch(notify, path, what);
  return watch < 0 ? -errno : watch;
}

void notify_remove(int notify, int watch)
{
  inotify_rm_watch(notify, watch);
}

bool notify_take(int notify, note_fn *take)
{
  _Alignas(struct inotify_event) char buf[16384];
  ssize_t n = read(notify, buf, sizeof buf);
  for (char *p = buf; p < buf + n; p += sizeof(struct inotify_event) + ((struct inotify_event *)p)->len) {
    const struct inotify_event *e = (struct inotify_event *)p;
    take(e->wd, e->mask, e->len ? e->name : "");
  }
  return n > 0;
}

bool watchable(int fd)
{
  static const unsigned long good[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,       BTRFS_SUPER_MAGIC,
                                       TMPFS_MAGIC,      OVERLAYFS_SUPER_MAGIC, F2FS_SUPER_MAGIC};
  struct statfs s;
  if (fstatfs(fd, &s))
    return false;
  for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
    if ((unsigned long)s.f_type == good[i])
      return true;
  return false;
}

int mounts_open(void)
{
  return open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
}

bool mounts_changed(int mounts)
{
  struct pollfd p = {.fd = mounts, .events = POLLPRI};
  return poll(&p, 1, 0) == 1 && p.revents & (POLLPRI | POLLERR);
}
