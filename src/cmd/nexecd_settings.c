/*
 * What nexecd was told: its configuration file, in the manner of sshd_config(5).
 *
 * Owns the keywords and their defaults. Must never take a value that it does not understand.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/config.h"
#include "cmd/nexecd.h"
#include "login/keep.h"

#define ABOUT_NUMBER "a number is wanted"

enum setting {
  S_LISTEN,
  S_ANYWHERE,
  S_HOST_KEY,
  S_SECRET,
  S_AUTHORIZED_KEYS,
  S_ALLOW_USERS,
  S_DENY_USERS,
  S_ROOT,
  S_MAX_SESSIONS,
  S_MAX_LOGINS,
  S_LOGIN_TIME,
  S_MAX_PROCESSES,
  S_MAX_MEMORY,
  S_COMMAND
};

static const struct config_word words[] = {{"Listen", S_LISTEN},
                                           {"ListenAnywhere", S_ANYWHERE},
                                           {"HostKey", S_HOST_KEY},
                                           {"SecretFile", S_SECRET},
                                           {"AuthorizedKeysFile", S_AUTHORIZED_KEYS},
                                           {"AllowUsers", S_ALLOW_USERS},
                                           {"DenyUsers", S_DENY_USERS},
                                           {"PermitRootLogin", S_ROOT},
                                           {"MaxSessions", S_MAX_SESSIONS},
                                           {"MaxLogins", S_MAX_LOGINS},
                                           {"LoginTime", S_LOGIN_TIME},
                                           {"MaxProcesses", S_MAX_PROCESSES},
                                           {"MaxMemory", S_MAX_MEMORY},
                                           {"Command", S_COMMAND},
                                           {0, 0}};

static const char *set_number(unsigned long *n, const char *value, unsigned long least, unsigned long most)
{
  char *end;
  errno = 0;
  unsigned long v = strtoul(value, &end, 10);
  if (errno || *end || value[0] < '0' || value[0] > '9')
    return ABOUT_NUMBER;
  if (v < least || v > most)
    return "the number is too small or too large";
  *n = v;
  return 0;
}

static const char *set_bool(bool *b, const char *value, bool yes)
{
  bool is_yes = !strcasecmp(value, "yes");
  if (!is_yes && strcasecmp(value, "no"))
    return "yes or no is wanted";
  *b = is_yes == yes;
  return 0;
}

static const char *add_listen(struct settings *s, const char *value)
{
  if (s->nlisten == LISTEN_MAX)
    return "too many addresses";
  if (strlen(value) >= sizeof((struct listener *)0)->text)
    return "the address is too long";
  s->listen[s->nlisten++] = value;
  return 0;
}

/* NAME=PROGRAM; the program alone stands for its own last part as well. */
static const char *add_command(struct settings *s, const char *value)
{
  const char *eq = strchr(value, '='), *program = eq ? eq + 1 : value;
  const char *name = eq ? value : strrchr(value, '/') ? strrchr(value, '/') + 1 : value;
  if (program[0] != '/')
    return "NAME=PROGRAM or PROGRAM is wanted, with the program's whole path";
  if (s->ncommands == COMMANDS_MAX)
    return "too many commands";
  s->command[s->ncommands].program = strdup(program);
  s->command[s->ncommands].name = eq ? strndup(name, (size_t)(eq - name)) : strdup(name);
  if (!s->command[s->ncommands].name || !s->command[s->ncommands].name[0])
    return "the name is missing";
  s->ncommands++;
  return 0;
}

static const char *set_path(const char **path, const char *value)
{
  if (value[0] != '/')
    return "a whole path is wanted";
  *path = value;
  return 0;
}

static const char *set_secret(struct settings *s, const char *value)
{
  s->no_secret = !strcasecmp(value, "none");
  return s->no_secret ? 0 : set_path(&s->secret_file, value);
}

static const char *take(void *to, int setting, const char *value)
{
  struct settings *s = to;
  switch (setting) {
  case S_LISTEN:
    return add_listen(s, value);
  case S_ANYWHERE:
    return set_bool(&s->anywhere, value, true);
  case S_HOST_KEY:
    return set_path(&s->host_key, value);
  case S_SECRET:
    return set_secret(s, value);
  case S_AUTHORIZED_KEYS:
    s->authorized_keys = value;
    return 0;
  case S_ALLOW_USERS:
    s->allow_users = value;
    return 0;
  case S_DENY_USERS:
    s->deny_users = value;
    return 0;
  case S_ROOT:
    return set_bool(&s->no_root, value, false);
  case S_MAX_SESSIONS:
    return set_number(&s->max_sessions, value, 1, 3000);
  case S_MAX_LOGINS:
    return set_number(&s->max_logins, value, 1, 1000);
  case S_LOGIN_TIME:
    return set_number(&s->login_seconds, value, 1, 3600);
  case S_MAX_PROCESSES:
    return set_number(&s->max_processes, value, 0, 1u << 22);
  case S_MAX_MEMORY:
    return set_number(&s->max_memory, value, 0, 1ul << 32);
  default:
    return add_command(s, value);
  }
}

const char *settings_set(struct settings *s, const char *keyword, const char *value)
{
  for (const struct config_word *w = words; w->keyword; w++)
    if (!strcasecmp(w->keyword, keyword))
      return take(s, w->option, value);
  return "there is no such setting";
}

const char *settings_path(void)
{
  static char *path;
  const char *given = getenv("NEXECD_CONFIG");
  if (!geteuid() && (!given || !*given))
    return "/etc/nexec/nexecd.conf";
  if (!path)
    path = keep_path("NEXECD_CONFIG", "nexecd.conf");
  return path;
}

bool settings_read(struct settings *s, const char *path, bool optional)
{
  *s = (struct settings){.authorized_keys = ".ssh/authorized_keys",
                         .max_sessions = 1000,
                         .max_logins = 100,
                         .login_seconds = 60,
                         .host_key = hostkey_path(),
                         .secret_file = secret_path()};
  return !path || config_read(path, optional, 0, "nexecd(8)", words, take, s);
}
