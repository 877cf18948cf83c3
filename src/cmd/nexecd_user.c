/*
 * The user of a session: whom nexecd serves, and as root becoming them for good.
 *
 * Owns the environment and the limits that a session begins with. Must never return true with anything left of root.
 */
#include <errno.h>
#include <fnmatch.h>
#include <grp.h>
#include <pwd.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/nexecd.h"
#include "login/authkeys.h"

#define DAY 86400
#define PATH_USER "/usr/local/bin:/usr/bin:/bin"
#define PATH_ROOT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static bool refuse(char why[256], const char *format, const char *name)
{
  snprintf(why, 256, format, name);
  return false;
}

/* ---- who may ---- */

static bool listed(const char *patterns, const char *name)
{
  char *all = strdup(patterns), *next;
  bool found = false;
  for (char *p = all ? strtok_r(all, " \t,", &next) : 0; p && !found; p = strtok_r(0, " \t,", &next))
    found = !fnmatch(p, name, 0);
  free(all);
  return found;
}

static bool is_locked(const char *name)
{
  const struct spwd *sp = getspnam(name);
  return sp && (sp->sp_pwdp[0] == '!' || (sp->sp_expire > 0 && time(0) / DAY >= sp->sp_expire));
}

/* As login(1) and sshd have it. */
static bool may_log_in(const struct settings *s, const struct passwd *pw, char why[256])
{
  const char *shell = strrchr(pw->pw_shell, '/');
  shell = shell ? shell + 1 : pw->pw_shell;
  if (s->deny_users && listed(s->deny_users, pw->pw_name))
    return refuse(why, "%s may not log in here (DenyUsers)", pw->pw_name);
  if (s->allow_users && !listed(s->allow_users, pw->pw_name))
    return refuse(why, "%s may not log in here (AllowUsers)", pw->pw_name);
  if (!pw->pw_uid && s->no_root)
    return refuse(why, "%s may not log in here (PermitRootLogin)", pw->pw_name);
  if (geteuid())
    return true;
  if (!strcmp(shell, "nologin") || !strcmp(shell, "false"))
    return refuse(why, "the account %s is not one to log in to", pw->pw_name);
  if (is_locked(pw->pw_name))
    return refuse(why, "the account %s is locked", pw->pw_name);
  return !pw->pw_uid || access("/etc/nologin", F_OK) || refuse(why, "%s: nobody may log in now", "/etc/nologin");
}

/* By a unix socket it is who is there; by the secret, who shares it with us, unless another account is asked for. */
static const struct passwd *find(const struct caller *c, char why[256])
{
  bool of_socket = !strncmp(c->from, "unix:", 5);
  const struct passwd *pw = c->user[0] ? getpwnam(c->user) : getpwuid(of_socket && !geteuid() ? c->uid : geteuid());
  if (!pw)
    refuse(why, "there is no account %s", c->user);
  else if (geteuid() && pw->pw_uid != geteuid())
    refuse(why, "another account than %s is served here", pw->pw_name);
  else if (of_socket && c->uid && c->uid != pw->pw_uid)
    refuse(why, "the socket's other end is not %s", pw->pw_name);
  else
    return pw;
  return 0;
}

static bool has_keys(const struct settings *s, const struct passwd *pw)
{
  struct stat st;
  char *path = authkeys_path(s->authorized_keys, pw);
  bool there = path && !stat(path, &st) && S_ISREG(st.st_mode) && st.st_size;
  free(path);
  return there;
}

bool user_any_key(const struct settings *s)
{
  char why[256];
  const struct passwd *pw = geteuid() ? getpwuid(geteuid()) : 0;
  if (geteuid())
    return pw && has_keys(s, pw);
  setpwent();
  bool any = false;
  while (!any && (pw = getpwent()))
    any = has_keys(s, pw) && may_log_in(s, pw, why);
  endpwent();
  return any;
}

/* ---- becoming it ---- */

static bool limit(int which, unsigned long n, unsigned long unit)
{
  struct rlimit r;
  if (!n || getrlimit(which, &r))
    return true;
  rlim_t most = (rlim_t)n * unit;
  if (most < r.rlim_max)
    r.rlim_max = most;
  r.rlim_cur = r.rlim_max < r.rlim_cur ? r.rlim_max : r.rlim_cur;
  return !setrlimit(which, &r);
}

/* What is the machine's stays, the rest is a login's. */
static bool make_environment(const struct passwd *pw)
{
  static const char *const kept[] = {"LANG", "LC_ALL", "TZ", 0};
  const char *value[8] = {0};
  for (unsigned i = 0; kept[i]; i++) {
    const char *v = getenv(kept[i]);
    value[i] = v ? strdup(v) : 0;
  }
  bool bad = clearenv();
  for (unsigned i = 0; kept[i]; i++)
    if (value[i])
      bad |= setenv(kept[i], value[i], 1);
  const char *pairs[][2] = {{"HOME", pw->pw_dir},
                            {"USER", pw->pw_name},
                            {"LOGNAME", pw->pw_name},
                            {"SHELL", pw->pw_shell[0] ? pw->pw_shell : "/bin/sh"},
                            {"PATH", pw->pw_uid ? PATH_USER : PATH_ROOT}};
  for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++)
    bad |= setenv(pairs[i][0], pairs[i][1], 1);
  return !bad;
}

/* Root that logs in as root, in a namespace where groups cannot be set, keeps those it has. */
static bool change_ids(const struct passwd *pw)
{
  if (!pw->pw_uid && !getuid() && getgid() == pw->pw_gid && setgroups(0, 0))
    return true;
  if (initgroups(pw->pw_name, pw->pw_gid) || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) ||
      setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid))
    return false;
  return !pw->pw_uid || (setuid(0) && setgid(0));
}

bool user_become(const struct settings *s, const struct caller *c, char why[256])
{
  const struct passwd *pw = find(c, why);
  if (!pw || !may_log_in(s, pw, why))
    return false;
  bool is_root = !geteuid();
  if (!limit(RLIMIT_NPROC, s->max_processes, 1) || !limit(RLIMIT_AS, s->max_memory, 1ul << 20))
    return refuse(why, "the limits cannot be set: %s", strerror(errno));
  if (!is_root)
    return true;
  umask(022);
  if (!change_ids(pw) || !make_environment(pw))
    return refuse(why, "cannot become %s", pw->pw_name);
  if (chdir(pw->pw_dir) && chdir("/"))
    return refuse(why, "no directory to begin in: %s", strerror(errno));
  return true;
}

const char *user_name(void)
{
  const struct passwd *pw = getpwuid(geteuid());
  return pw ? pw->pw_name : "?";
}
