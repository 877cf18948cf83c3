/*
 * The secret that nexec and nexecd may share.
 *
 * Owns the file's form and place. Must never accept a short one.
 */
#include "login/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "login/keep.h"

#define SECRET_MIN 16

char *secret_path(void)
{
  return keep_path("NEXEC_SECRET_FILE", "secret");
}

static int create(const char *path)
{
  uint8_t bytes[32];
  char text[2 * sizeof bytes + 2];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
    return -EIO;
  for (size_t i = 0; i < sizeof bytes; i++)
    snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  strcat(text, "\n");
  return keep_create(path, text, strlen(text));
}

static bool take(char *text, size_t n, const char *path, struct secret *s)
{
  size_t all = n;
  while (n && strchr(" \t\r\n", text[n - 1]))
    n--;
  bool good = n >= SECRET_MIN;
  if (good)
    memcpy(s->bytes, text, n);
  else
    log_line("%s holds no secret of at least %d characters", path, SECRET_MIN);
  s->n = good ? n : 0;
  explicit_bzero(text, all);
  free(text);
  return good;
}

bool secret_read(const char *path, bool may_create, struct secret *s)
{
  size_t n;
  char *text = keep_read(path, sizeof s->bytes, &n);
  int err = text ? 0 : errno;
  if (err == ENOENT && may_create && !(err = -create(path))) {
    text = keep_read(path, sizeof s->bytes, &n);
    err = text ? 0 : errno;
  }
  if (text)
    return take(text, n, path, s);
  if (err)
    log_line("no secret: %s: %s%s", path, strerror(err),
             may_create ? "" : "; copy the file that nexecd made on the other machine");
  return false;
}
