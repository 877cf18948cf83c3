/*
 * authorized_keys; see the header.
 *
 * Owns how it is read. Must never let a key in by a line that it does not understand whole.
 */
#include "login/authkeys.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "login/sshsig.h"

#define FILE_MAX (1u << 20)

/* ---- the file ---- */

char *authkeys_path(const char *pattern, const struct passwd *pw)
{
  char *out = 0;
  size_t n;
  FILE *f = open_memstream(&out, &n);
  if (!f)
    return 0;
  if (*pattern != '/' && strncmp(pattern, "%h", 2))
    fprintf(f, "%s/", pw->pw_dir);
  for (const char *p = pattern; *p; p++) {
    char c = *p == '%' ? *++p : 0;
    if (c == 'h')
      fputs(pw->pw_dir, f);
    else if (c == 'u')
      fputs(pw->pw_name, f);
    else
      fputc(*p, f);
    if (!*p)
      break;
  }
  fclose(f);
  return out;
}

static bool safe(const struct stat *st, const struct passwd *pw)
{
  return (!st->st_uid || st->st_uid == pw->pw_uid) && !(st->st_mode & 022);
}

/* The directories above a file, up to the home, if it is below that; else up to the root. */
static bool safe_above(const char *path, const struct passwd *pw, char why[256])
{
  char *real = realpath(path, 0), *home = realpath(pw->pw_dir, 0), *slash;
  bool good = real;
  while (good && (slash = strrchr(real, '/'))) {
    struct stat st;
    slash[slash == real] = 0;
    good = !stat(real, &st) && safe(&st, pw);
    if (!good)
      snprintf(why, 256, "%.200s can be written by others", real);
    if (!strcmp(real, "/") || (home && !strcmp(real, home)))
      break;
  }
  free(real);
  free(home);
  return good;
}

static char *read_as_self(const char *path, const struct passwd *pw, char why[256])
{
  struct stat st;
  size_t n;
  char *text = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
    snprintf(why, 256, "%.200s: %s", path, fd < 0 ? strerror(errno) : "not a file");
  else if (!safe(&st, pw))
    snprintf(why, 256, "%.200s can be written by others", path);
  else if (safe_above(path, pw, why) && !(text = read_all(fd, FILE_MAX, &n)))
    snprintf(why, 256, "%.200s: %s", path, strerror(errno));
  if (text && strlen(text) != n) {
    snprintf(why, 256, "%.200s is not a text", path);
    free(text);
    text = 0;
  }
  if (fd >= 0)
    close(fd);
  return text;
}

char *authkeys_read(const char *path, const struct passwd *pw, char why[256])
{
  char *text = 0;
  if (geteuid() || !pw->pw_uid)
    return read_as_self(path, pw, why);
  gid_t groups[256];
  int n = getgroups(256, groups);
  if (n >= 0 && !initgroups(pw->pw_name, pw->pw_gid) && !setegid(pw->pw_gid) && !seteuid(pw->pw_uid))
    text = read_as_self(path, pw, why);
  else
    snprintf(why, 256, "cannot be %s to read %.200s", pw->pw_name, path);
  if (seteuid(0) || setegid(0) || n < 0 || setgroups((size_t)n, groups))
    abort(); /* nothing may go on with half of the rights */
  return text;
}

/* ---- options ---- */

struct circumstances {
  const char *address;
  time_t now;
};

/* "NET/BITS" or an address; false if it is neither or does not hold. */
static bool in_network(const char *pattern, const char *address)
{
  uint8_t net[16], a[16];
  char text[64];
  const char *slash = strchr(pattern, '/');
  size_t n = slash ? (size_t)(slash - pattern) : strlen(pattern);
  int family = strchr(pattern, ':') ? AF_INET6 : AF_INET;
  unsigned all = family == AF_INET6 ? 128 : 32, bits = all;
  if (n >= sizeof text)
    return false;
  memcpy(text, pattern, n);
  text[n] = 0;
  if (slash) {
    char *end;
    unsigned long v = strtoul(slash + 1, &end, 10);
    if (!isdigit((unsigned char)slash[1]) || *end || v > all)
      return false;
    bits = (unsigned)v;
  }
  if (inet_pton(family, text, net) != 1 || inet_pton(family, address, a) != 1)
    return false;
  for (unsigned i = 0; i < bits; i++)
    if ((net[i / 8] ^ a[i / 8]) >> (7 - i % 8) & 1)
      return false;
  return true;
}

/* As sshd without DNS: names match nobody, and what is excluded stays out. */
static bool from_allows(const char *value, const char *address)
{
  char *patterns = strdup(value), *next;
  bool match = false, excluded = false;
  for (char *p = patterns ? strtok_r(patterns, ", ", &next) : 0; p; p = strtok_r(0, ", ", &next)) {
    bool no = *p == '!';
    if (!in_network(p + no, address) && fnmatch(p + no, address, 0))
      continue;
    match |= !no;
    excluded |= no;
  }
  free(patterns);
  return match && !excluded;
}

/* YYYYMMDD or YYYYMMDDHHMM or YYYYMMDDHHMMSS, with a Z: of UTC. -1: it is none of these. */
static time_t expiry(const char *value)
{
  struct tm tm = {.tm_isdst = -1}, back;
  size_t n = strspn(value, "0123456789");
  bool utc = value[n] == 'Z' || value[n] == 'z';
  if ((n != 8 && n != 12 && n != 14) || value[n + utc])
    return -1;
  if (sscanf(value, "%4d%2d%2d%2d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) <
      3)
    return -1;
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  back = tm;
  time_t t = utc ? timegm(&back) : mktime(&back);
  return back.tm_mday == tm.tm_mday && back.tm_mon == tm.tm_mon ? t : -1;
}

static bool harmless(const char *name)
{
  static const char *const names[] = {"no-agent-forwarding",
                                      "no-x11-forwarding",
                                      "no-user-rc",
                                      "agent-forwarding",
                                      "x11-forwarding",
                                      "user-rc",
                                      "pty",
                                      "port-forwarding",
                                      0};
  for (unsigned i = 0; names[i]; i++)
    if (!strcasecmp(name, names[i]))
      return true;
  return false;
}

static bool option_allows(const char *name, const char *value, const struct circumstances *c, char why[256])
{
  if (value && !strcasecmp(name, "from")) {
    if (from_allows(value, c->address))
      return true;
    snprintf(why, 256, "the key is not for %s (from=)", c->address);
  } else if (value && !strcasecmp(name, "expiry-time")) {
    time_t t = expiry(value);
    if (t >= 0 && c->now < t)
      return true;
    snprintf(why, 256, "the key has expired (expiry-time=)");
  } else if (!value && harmless(name)) {
    return true;
  } else {
    snprintf(why, 256, "the key has the option %.40s, which nexecd cannot keep to", name);
  }
  return false;
}

/* Takes one option off the front of *at: a name, and perhaps =" and a value in which \" stands for a quote. */
static bool next_option(char **at, char **name, char **value)
{
  char *p = *at, *to;
  *name = p;
  *value = 0;
  p += strcspn(p, "=, \t");
  if (*p == '=') {
    *p++ = 0;
    if (*p++ != '"')
      return false;
    for (*value = to = p; *p && *p != '"'; *to++ = *p++)
      if (p[0] == '\\' && p[1] == '"')
        p++;
    if (!*p++)
      return false;
    *to = 0;
  }
  *at = p;
  return p > *name;
}

/* Goes past the options of a line; false if one of them is in the way. */
static bool options_allow(char **at, const struct circumstances *c, char why[256])
{
  for (bool more = true; more;) {
    char *name, *value;
    if (!next_option(at, &name, &value)) {
      snprintf(why, 256, "the options of the key's line cannot be understood");
      return false;
    }
    more = **at == ',';
    bool ends = !**at || isspace((unsigned char)**at);
    if (!more && !ends) {
      snprintf(why, 256, "the options of the key's line cannot be understood");
      return false;
    }
    if (**at)
      *(*at)++ = 0;
    if (!option_allows(name, value, c, why))
      return false;
  }
  return true;
}

/* ---- lines ---- */

static bool is_type(const char *word, const char *type)
{
  size_t n = strlen(type);
  return !strncmp(word, type, n) && (word[n] == ' ' || word[n] == '\t');
}

/* Where the key's type begins, outside of quotes, after the options or at once; 0: it is another key's line. */
static char *find_key(char *line, const char *type, const char *letters)
{
  bool quoted = false;
  for (char *p = line; *p; p++) {
    if (*p == '"' && (p == line || p[-1] != '\\'))
      quoted = !quoted;
    if (quoted || (p > line && p[-1] != ' ' && p[-1] != '\t') || !is_type(p, type))
      continue;
    char *key = p + strlen(type) + strspn(p + strlen(type), " \t");
    size_t n = strlen(letters);
    return !strncmp(key, letters, n) && (!key[n] || isspace((unsigned char)key[n])) ? p : 0;
  }
  return 0;
}

static bool line_allows(char *line, const char *type, const char *letters, const struct circumstances *c, char why[256])
{
  line += strspn(line, " \t");
  char *key = *line == '#' ? 0 : find_key(line, type, letters);
  if (!key)
    return false;
  if (key == line)
    return true;
  char *at = line;
  if (!options_allow(&at, c, why))
    return false;
  at += strspn(at, " \t");
  if (at == key)
    return true;
  snprintf(why, 256, "the options of the key's line cannot be understood");
  return false;
}

bool authkeys_allow(const char *text, const uint8_t *key, size_t n, const char *address, time_t now, char why[256])
{
  struct circumstances c = {address, now};
  char type[64], *letters = ssh_key_type(key, n, type) ? base64_of(key, n) : 0, *all = strdup(text), *next;
  bool good = false;
  snprintf(why, 256, "no line allows the key");
  for (char *line = letters && all ? strtok_r(all, "\r\n", &next) : 0; line && !good; line = strtok_r(0, "\r\n", &next))
    good = line_allows(line, type, letters, &c, why);
  free(letters);
  free(all);
  return good;
}
