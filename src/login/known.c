/*
 * The host keys that this user has seen.
 *
 * Owns the file's form. Must never take a key for known that is not written there whole.
 */
#include "login/known.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "login/keep.h"

#define BLANK " \t\r\n"

const char *known_path(void)
{
  static char *path;
  if (!path)
    path = keep_path("NEXEC_KNOWN_HOSTS", "known_hosts");
  return path;
}

static void show_fingerprint(const char *base64, char out[FINGERPRINT_TEXT])
{
  uint8_t blob[256];
  size_t n = strlen(base64);
  strcpy(out, "?");
  if (n % 4 || n / 4 * 3 > sizeof blob)
    return;
  int len = EVP_DecodeBlock(blob, (const uint8_t *)base64, (int)n);
  for (size_t i = n; i && base64[i - 1] == '='; i--)
    len--;
  if (len > 0)
    key_fingerprint(blob, (size_t)len, out);
}

/* Another line of the same name may hold the right one. */
static void compare(char *text, const char *name, const char *want, unsigned number, enum known *result,
                    struct known_line *line)
{
  char *next, *names = strtok_r(text, BLANK, &next);
  char *type = names ? strtok_r(0, BLANK, &next) : 0, *key = type ? strtok_r(0, BLANK, &next) : 0;
  if (!key || *names == '#' || strcmp(names, name) || *result == KNOWN_SAME)
    return;
  char *comment = strtok_r(0, BLANK, &next);
  if (!strcmp(type, "ssh-ed25519") && !strcmp(key, strchr(want, ' ') + 1)) {
    *result = KNOWN_SAME;
    snprintf(line->comment, sizeof line->comment, "%s", comment ? comment : "");
  } else if (*result == KNOWN_NEW) {
    *result = KNOWN_CHANGED;
    line->number = number;
    show_fingerprint(key, line->fingerprint);
  }
}

enum known known_look(const char *name, const uint8_t key[HOSTKEY_LEN], struct known_line *line)
{
  char want[HOSTKEY_TEXT], *text = 0;
  size_t room = 0;
  enum known result = KNOWN_NEW;
  const char *path = known_path();
  FILE *f = path ? fopen(path, "re") : 0;
  *line = (struct known_line){0};
  if (!f && path && errno != ENOENT && errno != ENOTDIR) {
    log_line("%s: %s", path, strerror(errno));
    return KNOWN_UNREADABLE;
  }
  hostkey_text(key, want);
  for (unsigned n = 1; f && getline(&text, &room, f) >= 0; n++)
    compare(text, name, want, n, &result, line);
  bool failed = f && ferror(f);
  if (failed)
    log_line("%s: it cannot be read", path);
  free(text);
  if (f)
    fclose(f);
  return failed ? KNOWN_UNREADABLE : result;
}

/* A last line that somebody's editor left open would swallow ours. */
static bool ends_open(int fd)
{
  char last;
  off_t n = lseek(fd, 0, SEEK_END);
  return n > 0 && pread(fd, &last, 1, n - 1) == 1 && last != '\n';
}

/* One write, so that two who do this at once do not mix. */
void known_add(const char *name, const uint8_t key[HOSTKEY_LEN], const char *comment)
{
  char text[HOSTKEY_TEXT], line[512];
  const char *path = known_path();
  if (!path)
    return;
  hostkey_text(key, text);
  int n = snprintf(line, sizeof line, "\n%s %s %s\n", name, text, comment);
  int err = n < (int)sizeof line ? keep_directories(path) : -ENAMETOOLONG;
  int fd = err ? -1 : open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (!err)
    err = fd < 0 ? -errno : 0;
  bool open_line = !err && ends_open(fd);
  if (!err)
    err = write_full(fd, open_line ? line : line + 1, (size_t)n - !open_line);
  if (fd >= 0)
    close(fd);
  if (err)
    log_line("the host key of %s cannot be remembered: %s: %s", name, path, strerror(-err));
}
