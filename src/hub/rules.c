/*
 * The rules that say where a path leads.
 *
 * Owns their text form and their order. Must never look at a file system.
 */
#include "hub/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {[WHERE_REMOTE] = "remote", [WHERE_LOCAL] = "local", [WHERE_DENY] = "deny"};

const char *where_name(enum where w)
{
  return names[w];
}

static int where_of(const char *word, size_t n)
{
  for (int i = 0; i < 3; i++)
    if (strlen(names[i]) == n && !memcmp(names[i], word, n))
      return i;
  return -1;
}

static struct rule *find(struct rule *rules, unsigned *n, unsigned max, const char *prefix, size_t len)
{
  for (unsigned i = 0; i < *n; i++)
    if (rules[i].len == len && !memcmp(rules[i].prefix, prefix, len))
      return &rules[i];
  return *n < max ? &rules[(*n)++] : 0;
}

static int add_to(struct rule *rules, unsigned *n, unsigned max, enum where where, const char *prefix, size_t len)
{
  while (len > 1 && prefix[len - 1] == '/')
    len--;
  if (!len || prefix[0] != '/' || memchr(prefix, 0, len))
    return -EINVAL;
  if (len >= sizeof rules->prefix)
    return -ENAMETOOLONG;
  struct rule *rule = find(rules, n, max, prefix, len);
  if (!rule)
    return -ENOSPC;
  *rule = (struct rule){.where = (uint8_t)where, .len = (uint8_t)len};
  memcpy(rule->prefix, prefix, len);
  return 0;
}

int rules_add(struct rules *r, enum where where, const char *prefix, size_t len)
{
  return add_to(r->rule, &r->n, SESSION_RULES, where, prefix, len);
}

static const char *skip_blank(const char *at, const char *end)
{
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
    at++;
  return at;
}

static const char *word_end(const char *at, const char *end)
{
  while (at < end && *at != ' ' && *at != '\t' && *at != '\r')
    at++;
  return at;
}

/* ~ is the home of who runs us; without one such a rule is none. */
static int add_path(struct rules *r, enum where where, const char *path, size_t n)
{
  const char *home = getenv("HOME");
  char whole[sizeof r->rule[0].prefix];
  if (*path != '~')
    return rules_add(r, where, path, n);
  if (!home || home[0] != '/')
    return 0;
  int len = snprintf(whole, sizeof whole, "%s%.*s", home, (int)n - 1, path + 1);
  return len < (int)sizeof whole ? rules_add(r, where, whole, (size_t)len) : -ENAMETOOLONG;
}

static int read_line(struct rules *r, const char *at, const char *end, bool programs_here)
{
  const char *comment = memchr(at, '#', (size_t)(end - at));
  end = comment ? comment : end;
  const char *word = skip_blank(at, end), *word_stop = word_end(word, end);
  if (word == end)
    return 0;
  const char *path = skip_blank(word_stop, end), *path_stop = word_end(path, end);
  size_t n = (size_t)(word_stop - word);
  int where = n == 8 && !memcmp(word, "programs", 8) ? (programs_here ? WHERE_REMOTE : WHERE_LOCAL) : where_of(word, n);
  if (where < 0 || skip_blank(path_stop, end) != end)
    return -EINVAL;
  return add_path(r, (enum where)where, path, (size_t)(path_stop - path));
}

int rules_read(struct rules *r, const char *text, size_t n, bool programs_here)
{
  const char *end = text + n;
  for (int line = 1; text < end; line++) {
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    stop = stop ? stop : end;
    if (read_line(r, text, stop, programs_here))
      return line;
    text = stop + 1;
  }
  return 0;
}

int rules_map(struct rules *r, const char *map)
{
  const char *eq = strrchr(map, '=');
  int where = eq ? where_of(eq + 1, strlen(eq + 1)) : -1;
  if (where < 0)
    return -EINVAL;
  if (!strncmp(map, "unix:", 5))
    return add_to(r->unixes, &r->nunix, SESSION_UNIX, (enum where)where, map + 5, (size_t)(eq - map) - 5);
  if (!strncmp(map, "tcp:", 4) || !strncmp(map, "udp:", 4))
    return rules_add_net(r, (enum where)where, map[0] == 't' ? 6 : 17, map + 4, (size_t)(eq - map) - 4);
  return rules_add(r, (enum where)where, map, (size_t)(eq - map));
}

static int longer(const void *a, const void *b)
{
  const struct rule *x = a, *y = b;
  return x->len != y->len ? y->len - x->len : strcmp(x->prefix, y->prefix);
}

void rules_sort(struct rules *r)
{
  qsort(r->rule, r->n, sizeof r->rule[0], longer);
  qsort(r->unixes, r->nunix, sizeof r->unixes[0], longer);
  rules_sort_nets(r);
}

static bool under(const char *path, const struct rule *rule)
{
  if (rule->len == 1)
    return true;
  return !strncmp(path, rule->prefix, rule->len) && (!path[rule->len] || path[rule->len] == '/');
}

enum where rules_where(const struct rules *r, const char *path)
{
  const struct rule *best = 0;
  for (unsigned i = 0; i < r->n; i++)
    if (under(path, &r->rule[i]) && (!best || r->rule[i].len > best->len))
      best = &r->rule[i];
  return best ? (enum where)best->where : WHERE_REMOTE;
}
