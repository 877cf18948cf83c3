/*
 * The configuration file, in the manner of ssh_config(5): a line a setting, `Host PATTERN...' begins a part for some
 * hosts, # a comment.
 *
 * Owns nothing but the values it hands out. Must never skip a line that it does not understand.
 */
#include "cmd/config.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define BLANK " \t\r\n"

const char *config_path(void)
{
  static char *path;
  const char *given = getenv("NEXEC_CONFIG"), *home = getenv("HOME");
  if (given && *given)
    return given;
  if (!path && (!home || asprintf(&path, "%s/.config/nexec/config", home) < 0))
    return 0;
  return path;
}

/* A pattern with `!' before it excludes. */
static bool matches(char *patterns, const char *host)
{
  bool match = false;
  char *next, *p = strtok_r(patterns, BLANK, &next);
  for (; p; p = strtok_r(0, BLANK, &next)) {
    bool no = *p == '!';
    if (fnmatch(p + no, host, 0))
      continue;
    if (no)
      return false;
    match = true;
  }
  return match;
}

/* Ends the keyword and returns its value, "" if there is none, without blanks around it. `=' may stand between them. */
static char *split(char *line)
{
  char *value = line + strcspn(line, BLANK "=");
  char *end = line + strlen(line);
  while (end > line && strchr(BLANK, end[-1]))
    *--end = 0;
  if (value >= end)
    return end;
  bool equals = *value == '=';
  *value++ = 0;
  value += strspn(value, BLANK);
  if (!equals && *value == '=')
    value += 1 + strspn(value + 1, BLANK);
  return value;
}

static const struct config_word *word_of(const struct config_word *words, const char *keyword)
{
  for (; words->keyword; words++)
    if (!strcasecmp(words->keyword, keyword))
      return words;
  return 0;
}

struct reading {
  const char *path, *host, *page;
  const struct config_word *words;
  config_take *take;
  void *to;
  unsigned line;
  bool applies;
};

static bool wrong(const struct reading *r, const char *what, const char *keyword)
{
  log_line("%s, line %u: %s: %s", r->path, r->line, keyword, what);
  return false;
}

static bool take_line(struct reading *r, char *line)
{
  char *keyword = line + strspn(line, BLANK);
  if (!*keyword || *keyword == '#')
    return true;
  char *value = split(keyword);
  const struct config_word *w = word_of(r->words, keyword);
  if (!*value)
    return wrong(r, "a value is missing", keyword);
  if (r->host && !strcasecmp(keyword, "Host")) {
    r->applies = matches(value, r->host);
    return true;
  }
  if (!w) {
    log_line("%s, line %u: %s: no such keyword; %s has the list", r->path, r->line, keyword, r->page);
    return false;
  }
  char *kept = r->applies ? strdup(value) : 0;
  const char *bad = kept ? r->take(r->to, w->option, kept) : 0;
  return bad ? wrong(r, bad, keyword) : true;
}

bool config_read(const char *path, bool optional, const char *host, const char *page, const struct config_word *words,
                 config_take *take, void *to)
{
  struct reading r = {path, host, page, words, take, to, 0, true};
  FILE *f = fopen(path, "re");
  char *line = 0;
  size_t room = 0;
  bool good = true;
  if (!f && optional && (errno == ENOENT || errno == ENOTDIR))
    return true;
  if (!f) {
    log_line("%s: %s", path, strerror(errno));
    return false;
  }
  while (good && getline(&line, &room, f) >= 0) {
    r.line++;
    good = take_line(&r, line);
  }
  if (good && ferror(f)) {
    log_line("%s: %s", path, strerror(errno));
    good = false;
  }
  free(line);
  fclose(f);
  return good;
}
