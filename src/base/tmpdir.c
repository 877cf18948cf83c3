/*
 * The private directory of a session on the master.
 *
 * Owns its name. Must never follow a symbolic link, leave its file system, or remove what is another user's.
 */
#include "base/tmpdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void name(uint64_t id, char path[64])
{
  snprintf(path, 64, TMPDIR_FORMAT, (unsigned long)id);
}

/* Whatever the umask. */
static int make(const char *path)
{
  return mkdir(path, 0700) || chmod(path, 0700) ? -errno : 0;
}

int tmpdir_make(uint64_t id, char path[64])
{
  char sockets[64 + sizeof TMPDIR_SOCKETS];
  name(id, path);
  snprintf(sockets, sizeof sockets, "%s%s", path, TMPDIR_SOCKETS);
  int err = make(path);
  return err ? err : make(sockets);
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
  (void)st;
  (void)ftw;
  if (what == FTW_DP || what == FTW_DNR)
    rmdir(path);
  else
    unlink(path);
  return 0;
}

void tmpdir_remove(uint64_t id)
{
  char path[64];
  struct stat st;
  name(id, path);
  if (!lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
