/*
 * The secret that nexec and nexecd share until there is something better: a file that only its user can read.
 *
 * Owns the file's form and place. Must never accept one that others could have read or written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "cmd/handshake.h"

#define SECRET_MIN 16

char *secret_path(void)
{
  const char *given = getenv("NEXEC_SECRET_FILE"), *home = getenv("HOME");
  char *path;
  if (given && *given)
    return strdup(given);
  if (!home || !*home)
    return 0;
  return asprintf(&path, "%s/.config/nexec/secret", home) < 0 ? 0 : path;
}

static int make_directories(const char *path)
{
  char *copy = strdup(path);
  if (!copy)
    return -ENOMEM;
  for (char *at = strchr(copy + 1, '/'); at; at = strchr(at + 1, '/')) {
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
static int create(const char *path)
{
  uint8_t bytes[32];
  char text[2 * sizeof bytes + 2], temporary[4096];
  int err = make_directories(path);
  if (err)
    return err;
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
    return -EIO;
  for (size_t i = 0; i < sizeof bytes; i++)
    snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  strcat(text, "\n");
  snprintf(temporary, sizeof temporary, "%s.%d", path, getpid());
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return -errno;
  err = write_full(fd, text, strlen(text));
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

static bool take(int fd, const char *path, struct secret *s)
{
  size_t n;
  char *text = read_all(fd, sizeof s->bytes, &n);
  while (text && n && strchr(" \t\r\n", text[n - 1]))
    n--;
  if (!text || n < SECRET_MIN) {
    log_line("%s holds no secret of at least %d characters", path, SECRET_MIN);
    free(text);
    return false;
  }
  memcpy(s->bytes, text, n);
  s->n = n;
  explicit_bzero(text, n);
  free(text);
  return true;
}

bool secret_read(const char *path, bool may_create, struct secret *s)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int err = fd < 0 ? -errno : 0;
  if (err == -ENOENT && may_create && !(err = create(path))) {
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    err = fd < 0 ? -errno : 0;
  }
  if (err) {
    log_line("no secret: %s: %s%s", path, strerror(-err),
             may_create ? "" : "; copy the file that nexecd made on the other machine");
    return false;
  }
  bool good = only_ours(fd, path) && take(fd, path, s);
  close(fd);
  return good;
}
