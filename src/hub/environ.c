/*
 * The environment of the command: a login's on the master, with what belongs to the person and the terminal from the
 * slave.
 *
 * Owns nothing; base/travel.c has the list. Must never take a name from the slave that changes which code is run
 * (LD_*), whatever that one sends.
 */
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/travel.h"
#include "hub/launch.h"

extern char **environ;

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct env {
  char **v;
  size_t n;
  bool bad;
};

static size_t name_len(const char *entry)
{
  return strcspn(entry, "=");
}

static void add(struct env *e, char *entry)
{
  size_t n = entry ? name_len(entry) : 0;
  char **more = entry ? realloc(e->v, (e->n + 2) * sizeof *more) : 0;
  if (!more) {
    e->bad = true;
    return;
  }
  e->v = more;
  for (size_t i = 0; i < e->n; i++)
    if (name_len(e->v[i]) == n && !memcmp(e->v[i], entry, n)) {
      e->v[i] = entry;
      return;
    }
  e->v[e->n++] = entry;
  e->v[e->n] = 0;
}

static void set(struct env *e, const char *name, const char *value)
{
  char *entry;
  if (value)
    add(e, asprintf(&entry, "%s=%s", name, value) < 0 ? 0 : entry);
}

static const char *look(char **env, const char *name)
{
  size_t n = strlen(name);
  for (; env && *env; env++)
    if (name_len(*env) == n && !memcmp(*env, name, n))
      return (*env)[n] ? *env + n + 1 : "";
  return 0;
}

static void take(struct env *e, char **from, const char *const *names)
{
  for (; *names; names++)
    set(e, *names, look(from, *names));
}

static void take_locale(struct env *e, char **from)
{
  for (; from && *from; from++)
    if (!strncmp(*from, "LC_", 3))
      add(e, strdup(*from));
}

static const char *path_of(const struct launch *l, char **slave)
{
  const char *here = l->programs_here ? look(slave, "PATH") : getenv("PATH");
  return here && *here ? here : DEFAULT_PATH;
}

static void of_slave(struct env *e, const struct launch *l, char **slave)
{
  take(e, slave, travel_person);
  if (!l->clean_env) {
    take(e, slave, travel_taste);
    take_locale(e, slave);
  }
  set(e, "PATH", path_of(l, slave));
}

static void of_ours(struct env *e, const struct launch *l)
{
  if (l->clean_env)
    set(e, "PATH", path_of(l, 0));
  for (char **v = environ; !l->clean_env && *v; v++)
    add(e, strdup(*v));
}

char **launch_environment(struct hub *h, const struct launch *l)
{
  struct env e = {0};
  if (hub_session(h)->flags & SF_STANDALONE) {
    of_ours(&e, l);
  } else if (hub_session(h)->flags & SF_REVERSE) {
    of_ours(&e, l);
    set(&e, "PWD", hub_session(h)->facts.cwd);
    set(&e, "TMPDIR", l->tmpdir);
  } else {
    of_slave(&e, l, hub_slave_env(h));
    set(&e, "PWD", l->cwd ? l->cwd : hub_session(h)->facts.cwd);
    set(&e, "TMPDIR", l->tmpdir);
  }
  for (char **v = l->env; v && *v; v++)
    add(&e, *v);
  return e.bad ? 0 : e.v;
}
