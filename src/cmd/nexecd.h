/* The parts of nexecd: what it was told (settings), where it listens, one session, becoming the user of one. */
#ifndef CMD_NEXECD_H
#define CMD_NEXECD_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "login/server.h"

#define NEXECD_FAILED 255
#define LISTEN_MAX 16
#define COMMANDS_MAX 256

/* ---- settings: nexecd_settings.c ---- */

struct settings {
  const char *listen[LISTEN_MAX];
  unsigned nlisten;
  bool anywhere;
  const char *host_key, *secret_file, *authorized_keys, *allow_users, *deny_users;
  bool no_secret, no_root;
  unsigned long max_sessions, max_logins, login_seconds, max_processes, max_memory; /* memory in MiB; 0: no limit */
  struct {
    char *name, *program;
  } command[COMMANDS_MAX];
  unsigned ncommands; /* 0: any */
};

/* The defaults, and then what the file says. False: said why. */
bool settings_read(struct settings *s, const char *path, bool optional);
/* Where the file is usually; 0 without a home. */
const char *settings_path(void);
/* One setting as in the file; 0, or what is wrong with it. */
const char *settings_set(struct settings *s, const char *keyword, const char *value);

/* ---- where it listens: nexecd_listen.c ---- */

struct listener {
  char text[128]; /* as it was asked for */
  int fd;
};
struct listeners {
  struct listener at[LISTEN_MAX];
  unsigned n;
};
/*
 * Opens what the settings ask for into `l'. What `before' has open under the same name is taken over (before: 0, or
 * what a reload replaces, which is closed as far as it is not taken over, if all went well). False: said why; `l' is
 * empty.
 */
bool listen_all(struct listeners *l, const struct settings *s, struct listeners *before);
void listen_close(struct listeners *l);
/* One line: ready on ... */
void listen_say(const struct listeners *l);

/* ---- the user of a session: nexecd_user.c ---- */

/* Whether anybody could log in by a key. */
bool user_any_key(const struct settings *s);
/* Becomes who was let in, for good, with the environment and the limits of a login. False: `why' says what forbids it.
 */
bool user_become(const struct settings *s, const struct caller *c, char why[256]);
/* As whom, for the log. */
const char *user_name(void);

/* ---- one session: nexecd_session.c ---- */

struct session_start {
  const struct settings *s;
  struct door *door;
  int signals;                   /* a signalfd: SIGCHLD, and those that end it */
  void (*forget)(void);          /* for the process that talks to strangers */
  bool (*let_in)(char why[256]); /* tells the listener that the login is over; false: there is no room */
};
/* From the connection to the end of the session. */
void session_run(const struct session_start *b, int sock);

/* Lines for the system's log and, the first kind if asked for by -v, standard error. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void note_refusal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
