/*
 * The byte stream to the other machine, by whatever leads there; see the header.
 *
 * Owns the stream until it is handed over, and the child at its other end where there is one. Must never send anything
 * of the caller's to who is not known: by login/client.c, by the socket's owner, or by what the command is trusted
 * with.
 */
#include "cmd/transport.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/log.h"
#include "cmd/near.h"
#include "cmd/remote.h"
#include "login/client.h"

#define CONNECT_MS 15000
#define START_MS 120000 /* for passwords to be typed */
#define WAIT_MS 600000  /* for what was sent to arrive */
#define NOISE_MAX 65536

static int say(const char *where, const char *what, const char *why)
{
  log_line("%s: %s%s%s", where, what, *why ? ": " : "", why);
  return -1;
}

/* ---- sockets ---- */

static int wait_connected(int fd)
{
  int err = 0;
  socklen_t n = sizeof err;
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  if (poll(&p, 1, CONNECT_MS) <= 0)
    return ETIMEDOUT;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) ? errno : err;
}

static int connect_one(int family, const struct sockaddr *a, socklen_t n)
{
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
  if (fd < 0)
    return -errno;
  if (connect(fd, a, n))
    err = errno == EINPROGRESS ? wait_connected(fd) : errno;
  if (!err) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
  }
  close(fd);
  return -err;
}

struct address {
  char user[LOGIN_USER_MAX], host[256], port[32], name[300]; /* name: of the host in known_hosts */
};

static bool split_address(const char *text, struct address *a)
{
  const char *at = strrchr(text, '@');
  *a = (struct address){0};
  if (at && (at == text || at - text >= (ptrdiff_t)sizeof a->user))
    return false;
  if (at)
    memcpy(a->user, text, (size_t)(at - text));
  if (!near_split(at ? at + 1 : text, a->host, sizeof a->host, a->port, sizeof a->port))
    return false;
  for (char *c = a->host; *c; c++)
    *c = (char)tolower((unsigned char)*c);
  return snprintf(a->name, sizeof a->name, "[%s]:%s", a->host, a->port) < (int)sizeof a->name;
}

static int connect_tcp(const struct address *to)
{
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  int err = getaddrinfo(to->host, to->port, &hints, &list);
  if (err) {
    log_line("unknown host %s: %s", to->host, err == EAI_SYSTEM ? strerror(errno) : gai_strerror(err));
    return -1;
  }
  int fd = -ENOENT;
  for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
    fd = connect_one(a->ai_family, a->ai_addr, a->ai_addrlen);
  freeaddrinfo(list);
  if (fd < 0) {
    log_line("cannot connect to %s:%s: %s%s", to->host, to->port, strerror(-fd),
             fd == -ECONNREFUSED ? "; is nexecd running there?" : "");
    return -1;
  }
  near_socket(fd);
  return fd;
}

static int open_tcp(struct transport *t, const uint8_t *request, size_t n, bool *asked)
{
  struct address a;
  if (!split_address(t->where, &a))
    return say(t->where, "no [USER@]HOST[:PORT], ssh://HOST, unix:PATH or exec:COMMAND", "");
  int fd = connect_tcp(&a);
  struct client c = {t->where, a.name, a.user[0] ? a.user : 0, t->identity, t->secret_file};
  int stream = fd < 0 ? -1 : client_login(&c, fd, request, n, asked);
  t->link = fd < 0 ? -1 : move_above(fd, 10);
  return stream;
}

/* Whoever serves there has to be the caller, or root. */
static int connect_unix(const char *where, const char *path)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  struct ucred u;
  socklen_t n = sizeof u;
  if (strlen(path) >= sizeof a.sun_path)
    return say(where, "the path is too long", "");
  strcpy(a.sun_path, path);
  int fd = connect_one(AF_UNIX, (struct sockaddr *)&a, sizeof a);
  if (fd < 0)
    return say(where, "cannot connect", strerror(-fd));
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n) || (u.uid && u.uid != geteuid())) {
    close(fd);
    return say(where, "somebody else serves there", "");
  }
  return fd;
}

static int open_unix(const struct transport *t)
{
  uint8_t proof[PROOF];
  char why[256] = "";
  int fd = connect_unix(t->where, t->where + 5);
  int err = fd < 0 ? 0 : client_login_unix(&(struct client){.where = t->where}, fd);
  if (fd < 0)
    return -1;
  if (!err && !verdict_read(fd, proof, why))
    return fd;
  close(fd);
  return say(t->where, err ? strerror(-err) : why, "");
}

/* ---- commands ---- */

static void be_command(int end, char *const argv[])
{
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  /* What the terminal sends is the program's to decide on; the way to it stays. A password's prompt sets its own. */
  for (const int *s = (const int[]){SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, 0}; *s; s++)
    signal(*s, SIG_IGN);
  if (dup2(end, 0) < 0 || dup2(end, 1) < 0)
    _exit(255);
  execvp(argv[0], argv);
  log_line("%s: %s", argv[0], strerror(errno));
  _exit(255);
}

/* It is nobody's child to wait for: its end is seen by the end of the stream. */
static int start_command(char *const argv[])
{
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
    return say(argv[0], "no sockets", strerror(errno));
  pid_t middle = fork();
  if (!middle) {
    pid_t child = fork();
    if (!child)
      be_command(pair[1], argv);
    _exit(child < 0);
  }
  close(pair[1]);
  int how = 1;
  if (middle < 0 || waitpid(middle, &how, 0) != middle || how) {
    close(pair[0]);
    return say(argv[0], "cannot start it", strerror(errno));
  }
  return pair[0];
}

/* A remote shell's own words come first, if its owner's profile says any. */
static int skip_noise(const struct transport *t, int fd)
{
  char line[256];
  size_t n = 0;
  uint64_t until = now_ms() + START_MS;
  for (unsigned all = 0; all < NOISE_MAX; all++) {
    int err = read_until(fd, line + n, 1, until);
    if (err)
      return say(t->where, "the command there did not start", request_reason(err));
    if (line[n] != '\n') {
      n = n < sizeof line - 2 ? n + 1 : n;
      continue;
    }
    line[n] = 0;
    n = 0;
    int r = remote_line(t->where, fd, t->reverse, line);
    if (r)
      return r > 0 ? 0 : -1;
    until = now_ms() + WAIT_MS;
  }
  return say(t->where, "the command there says something else than fsyscall's protocol", "");
}

static int open_command(const struct transport *t, char *const argv[])
{
  int fd = start_command(argv);
  if (fd >= 0 && skip_noise(t, fd)) {
    close(fd);
    return -1;
  }
  return fd;
}

static int open_exec(const struct transport *t, const char *line)
{
  return open_command(t, (char *[]){"/bin/sh", "-c", (char *)line, 0});
}

/* The words of -e, which hold no quotes. */
static int open_shell(const struct transport *t)
{
  char *argv[64], *next, *words = strdup(t->shell);
  unsigned n = 0;
  for (char *w = words ? strtok_r(words, " \t", &next) : 0; w && n < 60; w = strtok_r(0, " \t", &next))
    argv[n++] = w;
  if (!n)
    return say(t->where, "-e wants a command", "");
  argv[n++] = (char *)t->where;
  argv[n++] = remote_command();
  argv[n] = 0;
  return open_command(t, argv);
}

static int open_ssh(const struct transport *t, const char *rest)
{
  char *host = strdup(rest), *port = 0;
  if (!host)
    return say(t->where, "out of memory", "");
  host[strcspn(host, "/")] = 0;
  char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
  if (colon && (!bracket || colon > bracket)) {
    *colon = 0;
    port = colon + 1;
  }
  if (!*host || *host == '-')
    return say(t->where, "no host", "");
  char *with[] = {"ssh", "-T", "-p", port, "--", host, remote_command(), 0};
  char *without[] = {"ssh", "-T", "--", host, with[6], 0};
  return open_command(t, port ? with : without);
}

/* ---- */

static int open_it(struct transport *t, const uint8_t *request, size_t n, bool *asked)
{
  const char *w = t->where;
  if (t->shell)
    return open_shell(t);
  if (!strncmp(w, "ssh://", 6))
    return open_ssh(t, w + 6);
  if (!strncmp(w, "exec:", 5))
    return open_exec(t, w + 5);
  return strncmp(w, "unix:", 5) ? open_tcp(t, request, n, asked) : open_unix(t);
}

int transport_open(struct transport *t, const uint8_t *request, size_t n)
{
  char why[256];
  uint8_t proof[PROOF];
  bool asked = false;
  t->link = -1;
  int fd = open_it(t, request, n, &asked);
  if (fd < 0)
    return -1;
  int verdict = asked ? verdict_read(fd, proof, why) : request_send(fd, request, n, why);
  if (!verdict)
    return move_above(fd, 10);
  say(t->where, why, "");
  close(fd);
  return -(verdict > 0 ? verdict : 1);
}
