/*
 * The kernel's own walks where it can be told what not to follow (openat2, Linux 5.6), and the links of /proc.
 *
 * Owns nothing. Must never walk unrestricted instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>
#include <linux/openat2.h>

#include "slave/system.h"

#define PROC_ROOT 1 /* the inode of /proc itself */

_Static_assert(LOOKUP_NO_MAGIC == RESOLVE_NO_MAGICLINKS && LOOKUP_NO_LINKS == RESOLVE_NO_SYMLINKS &&
                   LOOKUP_BENEATH == RESOLVE_BENEATH && LOOKUP_IN_ROOT == RESOLVE_IN_ROOT,
               "as the kernel has them");

int lookup_open(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
  long fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
  return fd < 0 ? -errno : (int)fd;
}

/* A kernel that cannot tell: all but those beside the processes' directories, which lead to one of them (self, net,
 * mounts).
 */
bool lookup_magic(int dir, const char *name)
{
  struct stat st;
  struct statfs s;
  if (fstatfs(dir, &s) || s.f_type != PROC_SUPER_MAGIC)
    return false;
  int fd = lookup_open(dir, name, O_PATH | O_CLOEXEC, 0, LOOKUP_NO_MAGIC);
  if (fd >= 0)
    close(fd);
  if (fd == -ENOSYS)
    return fstatat(dir, "", &st, AT_EMPTY_PATH) || st.st_ino != PROC_ROOT;
  return fd == -ELOOP;
}
