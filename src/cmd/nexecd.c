/*
 * nexecd: listens for nexec, and starts a session for whoever has the secret.
 *
 * Owns the listening sockets and, in a child for each connection, the supervision of its session: when fmaster ends in
 * any way, nothing of the session is left. Must never run anything before the secret has been proved.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
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
#include "cmd/handshake.h"
#include "cmd/near.h"
#include "proto/codec.h"

extern char **environ;

#define FAILED 255
#define LISTEN_MAX 16
#define CHILDREN_MAX 1024
#define END_MS 2500

static struct {
  int fd[LISTEN_MAX];
  unsigned n;
  bool anywhere;
  pid_t child[CHILDREN_MAX];
  unsigned nchildren;
  struct secret secret;
  int signals;
} D;

static const char usage[] =
    "usage: nexecd [--listen ADDR[:PORT]]... [--secret-file FILE]\n"
    "Runs commands for nexec as the user who started it. Default: --listen 127.0.0.1:" NEXEC_PORT "\n"
    "  --listen ADDR[:PORT]   a loopback address; [ADDR]:PORT for IPv6\n"
    "  --secret-file FILE     default: $NEXEC_SECRET_FILE or ~/.config/nexec/secret; made if there is none\n"
    "  --insecure-listen      allow other than loopback addresses: what is sent there can be read and changed on the "
    "way\n"
    "  -v, --help, --version\n";

static void fail(const char *what, const char *why) __attribute__((noreturn));
static void fail(const char *what, const char *why)
{
  log_line("%s: %s", what, why);
  exit(FAILED);
}

/* ---- listening ---- */

static bool is_loopback(const struct sockaddr *a)
{
  if (a->sa_family == AF_INET)
    return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
  return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static void listen_one(const struct addrinfo *a, const char *text)
{
  int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (!D.anywhere && !is_loopback(a->ai_addr))
    fail(text, "not a loopback address; nexecd has no encryption yet (see --insecure-listen)");
  if (D.n == LISTEN_MAX)
    fail(text, "too many addresses");
  if (fd < 0)
    fail(text, strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (a->ai_family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 128))
    fail(text, strerror(errno));
  D.fd[D.n++] = fd;
}

static void listen_at(const char *text)
{
  char host[256], port[32];
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
  if (!near_split(text, host, sizeof host, port, sizeof port))
    fail(text, "not an address");
  int err = getaddrinfo(host, port, &hints, &list);
  if (err)
    fail(text, gai_strerror(err));
  for (struct addrinfo *a = list; a; a = a->ai_next)
    listen_one(a, text);
  freeaddrinfo(list);
}

static void say_ready(void)
{
  char line[1024] = "nexecd: ready on";
  for (unsigned i = 0; i < D.n; i++) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char host[64], port[16];
    getsockname(D.fd[i], (struct sockaddr *)&a, &n);
    getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    size_t at = strlen(line);
    snprintf(line + at, sizeof line - at, a.ss_family == AF_INET6 ? " [%s]:%s" : " %s:%s", host, port);
  }
  puts(line);
  fflush(stdout);
}

/* ---- a request becomes fmaster's command line ---- */

struct words {
  char **v;
  size_t n, room;
};

static void word(struct words *w, char *text)
{
  if (w->n + 1 >= w->room) {
    w->room = w->room ? 2 * w->room : 64;
    w->v = realloc(w->v, w->room * sizeof *w->v);
  }
  if (!w->v || !text)
    fail("a session", "out of memory");
  w->v[w->n++] = text;
  w->v[w->n] = 0;
}

static void option(struct words *w, const char *name, const uint8_t *value, uint32_t n)
{
  word(w, strdup(name));
  word(w, strndup((const char *)value, n));
}

static void flags(struct words *w, uint64_t f)
{
  static const struct {
    unsigned flag;
    const char *text;
  } names[] = {{RQF_TRACE, "--trace"},           {RQF_STATS, "--stats"},
               {RQF_NO_REWRITE, "--no-rewrite"}, {RQF_NO_CACHE, "--no-cache"}, {RQF_PROGRAMS_HERE, "--programs=here"},
               {RQF_CLEAN_ENV, "--clean-env"},   {RQF_VERBOSE, "--verbose"}};
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
    if (f & names[i].flag)
      word(w, strdup(names[i].text));
}

static void fact(struct words *options, struct words *args, unsigned kind, const uint8_t *v, uint32_t n)
{
  char number[16];
  switch (kind) {
  case RQ_ARG:
    word(args, strndup((const char *)v, n));
    break;
  case RQ_ENV:
    option(options, "--env", v, n);
    break;
  case RQ_MAP:
    option(options, "--map", v, n);
    break;
  case RQ_CWD:
    option(options, "--cwd", v, n);
    break;
  case RQ_CWD_ERROR:
    snprintf(number, sizeof number, "%d", (int)fact_int(v, n, 0));
    option(options, "--cwd-error", (uint8_t *)number, (uint32_t)strlen(number));
    break;
  case RQ_FLAGS:
    flags(options, fact_int(v, n, 0));
    break;
  default:
    break;
  }
}

static bool read_request(struct words *all, const uint8_t *body, size_t n)
{
  struct rbuf r = {body, body + n, false};
  struct words args = {0};
  const uint8_t *v;
  uint32_t len;
  unsigned kind;
  while ((kind = get_fact(&r, &v, &len))) {
    if (memchr(v, 0, len) && kind != RQ_FLAGS && kind != RQ_CWD_ERROR)
      return false;
    fact(all, &args, kind, v, len);
  }
  if (!args.n)
    word(all, strdup("--login"));
  word(all, strdup("--"));
  for (size_t i = 0; i < args.n; i++)
    word(all, args.v[i]);
  free(args.v);
  return !r.bad;
}

/* What the kernel would refuse to execute; told while there is still somebody to tell. */
static bool too_long(const struct words *w)
{
  size_t all = 0;
  for (size_t i = 0; i < w->n; i++)
    all += strlen(w->v[i]) + 1 + sizeof(char *);
  for (char **e = environ; *e; e++)
    all += strlen(*e) + 1 + sizeof(char *);
  return all + 4096 > (size_t)sysconf(_SC_ARG_MAX);
}

/* ---- a session ---- */

static void exec_fmaster(struct words *w, int sock, int told, const char *path, pid_t parent)
{
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent)
    _exit(FAILED);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  set_cloexec(sock, false);
  execv(path, w->v);
  int err = errno;
  if (write(told, &err, sizeof err) < 0)
    _exit(FAILED - 1);
  _exit(FAILED);
}

/* fmaster on the socket; `told' reads end of file when it runs, else an errno. -errno. */
static pid_t start_fmaster(struct words *w, int sock)
{
  int told[2], err = 0;
  char *path = near_find("fmaster");
  if (!path || pipe2(told, O_CLOEXEC))
    return path ? -errno : -ENOENT;
  w->v[0] = path;
  pid_t parent = getpid(), pid = fork();
  if (!pid)
    exec_fmaster(w, sock, told[1], path, parent);
  close(told[1]);
  if (pid < 0)
    err = errno;
  else if (read(told[0], &err, sizeof err) != sizeof err)
    err = 0;
  close(told[0]);
  return err ? -err : pid;
}

/* Until fmaster has ended; asked to end ourselves, we ask it. */
static void supervise(pid_t fmaster, uint64_t id)
{
  uint64_t deadline = UINT64_MAX;
  for (;;) {
    struct pollfd p = {.fd = D.signals, .events = POLLIN};
    struct signalfd_siginfo si;
    poll(&p, 1, deadline == UINT64_MAX ? -1 : 50);
    while (read(D.signals, &si, sizeof si) == sizeof si)
      if (si.ssi_signo != SIGCHLD && deadline == UINT64_MAX) {
        kill(fmaster, SIGTERM);
        deadline = now_ms() + END_MS;
      }
    if (now_ms() >= deadline)
      kill(fmaster, SIGKILL);
    if (waitpid(fmaster, 0, WNOHANG) == fmaster)
      break;
  }
  int left = killall_session(id);
  tmpdir_remove(id);
  if (left)
    log_more("session %lx: %d programs were left and killed", (unsigned long)id, left);
}

static void session(int sock)
{
  char why[256], id_text[20], fds[32];
  struct words w = {0};
  uint64_t id;
  size_t n;
  if (handshake_server(sock, &D.secret, why)) {
    log_line("a connection was refused: %s", why);
    return;
  }
  uint8_t *body = handshake_read_request(sock, &n, why);
  if (!body) {
    log_line("a request was refused: %s", why);
    return;
  }
  if (getrandom(&id, sizeof id, 0) != sizeof id)
    fail("a session", "no random numbers");
  snprintf(id_text, sizeof id_text, "%lx", (unsigned long)id);
  snprintf(fds, sizeof fds, "%d,%d", sock, sock);
  word(&w, strdup("fmaster"));
  option(&w, "--fds", (uint8_t *)fds, sizeof fds);
  option(&w, "--id", (uint8_t *)id_text, sizeof id_text);
  if (!read_request(&w, body, n)) {
    handshake_verdict(sock, V_REQUEST, "malformed request");
    return;
  }
  free(body);
  if (too_long(&w)) {
    handshake_verdict(sock, V_TOO_LONG, "the arguments are too long");
    return;
  }
  /* The verdict goes first: fmaster's frames follow it at once. */
  char *path = near_find("fmaster");
  if (!path || access(path, X_OK)) {
    handshake_verdict(sock, V_FAILED, "nexecd finds no fmaster beside itself");
    log_line("no fmaster beside nexecd, in its libexec or in PATH");
    return;
  }
  if (handshake_verdict(sock, V_OK, ""))
    return;
  pid_t fmaster = start_fmaster(&w, sock);
  close(sock);
  if (fmaster < 0)
    fail("fmaster", strerror(-(int)fmaster));
  supervise(fmaster, id);
}

/* ---- the listener ---- */

static void take_connection(int listener)
{
  int sock = accept4(listener, 0, 0, SOCK_CLOEXEC);
  if (sock < 0)
    return;
  near_socket(sock);
  pid_t pid = D.nchildren < CHILDREN_MAX ? fork() : -1;
  if (pid < 0)
    log_line("a connection was refused: %s", D.nchildren < CHILDREN_MAX ? strerror(errno) : "too many sessions");
  if (!pid) {
    for (unsigned i = 0; i < D.n; i++)
      close(D.fd[i]);
    session(sock);
    _exit(0);
  }
  close(sock);
  if (pid > 0)
    D.child[D.nchildren++] = pid;
}

static void reap(void)
{
  pid_t pid;
  while ((pid = waitpid(-1, 0, WNOHANG)) > 0)
    for (unsigned i = 0; i < D.nchildren; i++)
      if (D.child[i] == pid)
        D.child[i] = D.child[--D.nchildren];
}

/* True if it was told to end. */
static bool take_signals(void)
{
  struct signalfd_siginfo si;
  bool end = false;
  while (read(D.signals, &si, sizeof si) == sizeof si)
    end |= si.ssi_signo != SIGCHLD;
  reap();
  return end;
}

static void end_sessions(void)
{
  uint64_t deadline = now_ms() + 2 * END_MS;
  for (unsigned i = 0; i < D.nchildren; i++)
    kill(D.child[i], SIGTERM);
  while (D.nchildren && now_ms() < deadline) {
    struct pollfd p = {.fd = D.signals, .events = POLLIN};
    poll(&p, 1, 100);
    take_signals();
  }
}

static void serve(void)
{
  struct pollfd p[LISTEN_MAX + 1] = {{.fd = D.signals, .events = POLLIN}};
  for (unsigned i = 0; i < D.n; i++)
    p[i + 1] = (struct pollfd){.fd = D.fd[i], .events = POLLIN};
  for (;;) {
    if (poll(p, D.n + 1, -1) < 0)
      continue;
    if (p[0].revents && take_signals())
      break;
    for (unsigned i = 1; i <= D.n; i++)
      if (p[i].revents)
        take_connection(p[i].fd);
  }
  for (unsigned i = 0; i < D.n; i++)
    close(D.fd[i]);
  end_sessions();
}

static void block_signals(void)
{
  sigset_t set;
  sigemptyset(&set);
  for (const int *s = (const int[]){SIGCHLD, SIGTERM, SIGINT, SIGHUP, 0}; *s; s++)
    sigaddset(&set, *s);
  sigprocmask(SIG_BLOCK, &set, 0);
  signal(SIGPIPE, SIG_IGN);
  D.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
  static const struct option table[] = {
      {"listen", 1, 0, 'l'}, {"secret-file", 1, 0, 's'}, {"insecure-listen", 0, 0, 'i'},
      {"help", 0, 0, 'h'},   {"version", 0, 0, 'V'},     {"verbose", 0, 0, 'v'},
      {0, 0, 0, 0}};
  const char *at[LISTEN_MAX] = {"127.0.0.1:" NEXEC_PORT};
  unsigned n = 0;
  char *secret = secret_path();
  log_name("nexecd");
  for (int o; (o = getopt_long(argc, argv, "v", table, 0)) >= 0;)
    switch (o) {
    case 'l':
      if (n == LISTEN_MAX)
        fail(optarg, "too many addresses");
      at[n++] = optarg;
      break;
    case 's':
      secret = optarg;
      break;
    case 'i':
      D.anywhere = true;
      break;
    case 'v':
      log_verbose(true);
      break;
    case 'h':
      fputs(usage, stdout);
      return 0;
    case 'V':
      puts("nexecd (fsyscall) " FSYSCALL_VERSION);
      return 0;
    default:
      return FAILED;
    }
  if (argv[optind])
    fail(argv[optind], "nexecd takes options only; see --help");
  if (!secret)
    fail("no secret", "HOME is not set; use --secret-file");
  if (!secret_read(secret, true, &D.secret))
    return FAILED;
  block_signals();
  for (unsigned i = 0; i < (n ? n : 1); i++)
    listen_at(at[i]);
  say_ready();
  serve();
  return 0;
}
