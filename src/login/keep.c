/*
 * Small files that belong to one user alone.
 *
 * Owns how they are made and looked at. Must never accept one that others could have read or written.
 */
#include "login/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"

char *keep_path(const char *variable, const char *name)
{
  const char *given = getenv(variable), *home = getenv("HOME");
  char *path;
  if (given && *given)
    return strdup(given);
  if (!home || !*home)
    return 0;
  return asprintf(&path, "%s/.config/nexec/%s", home, name) < 0 ? 0 : path;
}

int keep_directories(const char *path)
{
  char *copy = strdup(path);
  if (!copy)
    return -ENOMEM;
  for (char *at = *copy ? strchr(copy + 1, '/') : 0; at; at = strchr(at + 1, '/')) {
    *at = 0;
    if (mkdir(copy, 0700) && errno != EEXIST) {
      free(copy);
      return -errno;
    }
    *at = '/';
  }
  free(copy);
  return 0;
}

/* Complete under another name before it is there: two that start at once agree on one. */
int keep_create(const char *path, const void *data, size_t n)
{
  char temporary[4096];
  int err = keep_directories(path);
  if (err)
    return err;
  if (snprintf(temporary, sizeof temporary, "%s.%d", path, getpid()) >= (int)sizeof temporary)
    return -ENAMETOOLONG;
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return -errno;
  err = write_full(fd, data, n);
  close(fd);
  if (!err && link(temporary, path) && errno != EEXIST)
    err = -errno;
  unlink(temporary);
  return err;
}

static bool only_ours(int fd, const char *path)
{
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
    log_line("%s is not a file", path);
    return false;
  }
  if (st.st_uid != geteuid() || st.st_mode & 077) {
    log_line("%s must be your own and readable by nobody else; chmod 600 it", path);
    return false;
  }
  return true;
}

char *keep_read(const char *path, size_t max, size_t *n)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return 0;
  char *text = 0;
  bool good = only_ours(fd, path);
  if (good)
    text = read_all(fd, max, n);
  int err = good ? errno : 0;
  close(fd);
  errno = err;
  return text;
}
