/*
 * One session of nexecd: the login, the request, fmaster or fslave, and what is left at the end.
 *
 * Owns the process that was forked for the connection. Must never run anything before the login is over, nor read the
 * request before it has become the user whose request it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/killall.h"
#include "base/log.h"
#include "base/tmpdir.h"
#include "cmd/near.h"
#include "cmd/nexecd.h"

#define FAILED NEXECD_FAILED
#define END_MS 2500
#define SHOWN 300 /* of a command, in the log */

/* ---- the part that does the work ---- */

/* A slave has nothing to do with our terminal and files. */
static void be_alone(void)
{
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  setsid();
  for (int i = 0; i < 3 && null >= 0; i++)
    dup2(null, i);
}

static void exec_part(struct words *w, int sock, int link, int told, bool reverse, pid_t parent)
{
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent)
    _exit(FAILED);
  if (reverse)
    be_alone();
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  set_cloexec(sock, false);
  if (link >= 0)
    set_cloexec(link, false);
  execv(w->v[0], w->v);
  int err = errno;
  if (write(told, &err, sizeof err) < 0)
    _exit(FAILED - 1);
  _exit(FAILED);
}

/* fmaster or fslave on the socket; `told' reads end of file when it runs, else an errno. -errno. */
static pid_t start_part(struct words *w, int sock, int link, bool reverse)
{
  int told[2], err = 0;
  if (pipe2(told, O_CLOEXEC))
    return -errno;
  pid_t parent = getpid(), pid = fork();
  if (!pid)
    exec_part(w, sock, link, told[1], reverse, parent);
  close(told[1]);
  if (pid < 0)
    err = errno;
  else if (read(told[0], &err, sizeof err) != sizeof err)
    err = 0;
  close(told[0]);
  return err ? -err : pid;
}

/* Until fmaster has ended; asked to end ourselves, we ask it. */
static void supervise(pid_t part, int signals, uint64_t id)
{
  uint64_t deadline = UINT64_MAX;
  for (;;) {
    struct pollfd p = {.fd = signals, .events = POLLIN};
    struct signalfd_siginfo si;
    poll(&p, 1, deadline == UINT64_MAX ? -1 : 50);
    while (read(signals, &si, sizeof si) == sizeof si)
      if (si.ssi_signo != SIGCHLD && deadline == UINT64_MAX) {
        kill(part, SIGTERM);
        deadline = now_ms() + END_MS;
      }
    if (now_ms() >= deadline)
      kill(part, SIGKILL);
    if (waitpid(part, 0, WNOHANG) == part)
      break;
  }
  int left = killall_session(id);
  tmpdir_remove(id);
  if (left)
    log_more("session %lx: %d programs were left and killed", (unsigned long)id, left);
}

/* ---- its command line ---- */

static void stream_words(struct words *w, int sock, int link)
{
  char text[32];
  snprintf(text, sizeof text, "%d,%d", sock, sock);
  words_option(w, "--fds", text);
  if (link >= 0) {
    snprintf(text, sizeof text, "%d", link);
    words_option(w, "--link-fd", text);
  }
}

/* False: refused, which the other side has been told. */
static bool enter_cwd(int sock, const char *cwd)
{
  char why[256];
  const char *to = cwd ? cwd : getenv("HOME");
  if (!to || !chdir(to) || !cwd)
    return true;
  snprintf(why, sizeof why, "%.200s: %s", to, strerror(errno));
  request_verdict(sock, V_FAILED, why);
  return false;
}

/*
 * Where commands are listed, nothing else is run: no other program under a listed name, so no rules and no programs of
 * the caller's. What a listed program reads of the caller's files is its own affair.
 */
static bool is_listed(const struct settings *s, struct words *w, const uint8_t *body, size_t n)
{
  size_t args = request_nargs(body, n);
  char **command = args ? &w->v[w->n - args] : 0;
  if (!command || request_has(body, n, RQ_MAP) || request_has(body, n, RQ_ENV) ||
      request_flags(body, n) & (RQF_PROGRAMS_HERE | RQF_REVERSE))
    return false;
  for (unsigned i = 0; i < s->ncommands; i++)
    if (!strcmp(s->command[i].name, *command)) {
      *command = s->command[i].program;
      return true;
    }
  return false;
}

static bool refuse(int sock, enum verdict v, const char *why)
{
  request_verdict(sock, v, why);
  return false;
}

static bool master_words(const struct settings *s, struct words *w, int sock, int link, const uint8_t *body, size_t n,
                         uint64_t id)
{
  char text[32];
  snprintf(text, sizeof text, "%lx", (unsigned long)id);
  stream_words(w, sock, link);
  words_option(w, "--id", text);
  if (!request_words(w, body, n))
    return refuse(sock, V_REQUEST, "malformed request");
  if (s->ncommands && !is_listed(s, w, body, n))
    return refuse(sock, V_FAILED, "only listed commands are run there, with no programs, rules or variables from here");
  return !words_too_long(w) || refuse(sock, V_TOO_LONG, "the arguments are too long");
}

/* The command line of what is asked for. */
static bool make_words(const struct settings *s, struct words *w, int sock, int link, const uint8_t *body, size_t n,
                       uint64_t id)
{
  bool reverse = request_flags(body, n) & RQF_REVERSE;
  const char *name = reverse ? "fslave" : "fmaster";
  char why[80], *path = near_find(name);
  if (!path) {
    snprintf(why, sizeof why, "nexecd finds no %s beside itself", name);
    log_line("no %s beside nexecd, in its libexec or in PATH", name);
    return refuse(sock, V_FAILED, why);
  }
  words_add(w, path);
  if (!reverse)
    return master_words(s, w, sock, link, body, n, id);
  if (s->ncommands)
    return refuse(sock, V_FAILED, "only listed commands are run there, and no slave");
  stream_words(w, sock, link);
  return enter_cwd(sock, request_cwd(body, n));
}

/* ---- who asks ---- */

static bool is_unix(int sock)
{
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  return !getsockname(sock, (struct sockaddr *)&a, &n) && a.ss_family == AF_UNIX;
}

static void say_command(const struct caller *c, const struct words *w, const uint8_t *body, size_t n)
{
  char text[SHOWN] = "a login shell";
  size_t args = request_nargs(body, n), at = 0;
  for (size_t i = w->n - args; i < w->n && at < sizeof text - 1; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, at ? " %s" : "%s", w->v[i]);
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < ' ' || *p == 127)
      *p = '?';
  note("%s from %s, by %s, runs %s", user_name(), c->from, c->how,
       request_flags(body, n) & RQF_REVERSE ? "the slave's part" : text);
}

/* A stream on which the request follows, with all the rights that the session is to have; -1: refused. */
static int enter(const struct session_start *b, int sock, struct caller *c)
{
  char why[256];
  bool over_unix = is_unix(sock);
  int stream = over_unix ? door_open_unix(sock, c, why) : door_open(b->door, sock, b->forget, c, why);
  hostkey_forget(&b->door->key);
  explicit_bzero(&b->door->secret, sizeof b->door->secret);
  bool good = stream >= 0 && b->let_in(why) && user_become(b->s, c, why);
  if (!good) {
    note_refusal("a connection from %s was refused: %s", c->from, why);
    if (stream >= 0)
      request_verdict(stream, V_SECRET, why);
    return -1;
  }
  return over_unix && request_verdict(stream, V_OK, "") ? -1 : stream;
}

void session_run(const struct session_start *b, int sock)
{
  struct words w = {0};
  struct caller c;
  char why[256];
  uint64_t id;
  size_t n;
  int stream = enter(b, sock, &c), link = stream == sock ? -1 : sock;
  uint8_t *body = stream < 0 ? 0 : request_read(stream, stream, &n, why);
  if (!body) {
    if (stream >= 0)
      note_refusal("a request from %s was refused: %s", c.from, why);
    return;
  }
  if (getrandom(&id, sizeof id, 0) != sizeof id)
    return;
  /* The verdict goes first: the part's frames follow it at once. */
  if (!make_words(b->s, &w, stream, link, body, n, id) || request_verdict(stream, V_OK, ""))
    return;
  say_command(&c, &w, body, n);
  pid_t part = start_part(&w, stream, link, request_flags(body, n) & RQF_REVERSE);
  free(body);
  close(stream);
  if (link >= 0)
    close(link);
  if (part < 0)
    log_line("%s: %s", w.v[0], strerror(-(int)part));
  else
    supervise(part, b->signals, id);
}
