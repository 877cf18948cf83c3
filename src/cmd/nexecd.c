/*
 * nexecd: listens for nexec, and starts a session for whoever may come in (login/server.c).
 *
 * Owns the listening sockets and, in a child for each connection, the supervision of its session: when fmaster ends in
 * any way, nothing of the session is left. Must never run anything before the login is over, or read a byte that a
 * stranger sent.
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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/killall.h"
#include "base/log.h"
#include "base/tmpdir.h"
#include "cmd/near.h"
#include "cmd/request.h"
#include "login/confine.h"
#include "login/server.h"
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
  struct door door;
  int signals;
} D;

static const char usage[] =
    "usage: nexecd [--listen ADDR[:PORT]|unix:PATH]... [--secret-file FILE]\n"
    "Runs commands for nexec as the user who started it. Default: --listen 127.0.0.1:" NEXEC_PORT "\n"
    "  --listen ADDR[:PORT]   a loopback address; [ADDR]:PORT for IPv6\n"
    "  --listen unix:PATH     a unix socket; who connects has to be the same user, or root, and needs no secret\n"
    "  --secret-file FILE     default: $NEXEC_SECRET_FILE or ~/.config/nexec/secret; made if there is none\n"
    "  --host-key FILE        default: $NEXEC_HOST_KEY, ~/.config/nexec/host_key or root's /etc/nexec/host_key; made "
    "too\n"
    "  --insecure-listen      allow other than loopback addresses\n"
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
    fail(text, "not a loopback address (see --insecure-listen)");
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

/* A path that nobody serves any more is taken over. Who may connect is told by known(), not by the file's mode. */
static void listen_unix(const char *text)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  const char *path = text + 5;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (strlen(path) >= sizeof a.sun_path)
    fail(text, "the path is too long");
  strcpy(a.sun_path, path);
  if (fd < 0)
    fail(text, strerror(errno));
  if (connect(fd, (struct sockaddr *)&a, sizeof a) && errno == ECONNREFUSED)
    unlink(path);
  if (D.n == LISTEN_MAX)
    fail(text, "too many addresses");
  if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 128))
    fail(text, strerror(errno));
  D.fd[D.n++] = fd;
}

static void listen_at(const char *text)
{
  if (!strncmp(text, "unix:", 5)) {
    listen_unix(text);
    return;
  }
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
    if (a.ss_family == AF_UNIX) {
      size_t len = strlen(line);
      snprintf(line + len, sizeof line - len, " unix:%s", ((struct sockaddr_un *)&a)->sun_path);
      continue;
    }
    getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    size_t at = strlen(line);
    snprintf(line + at, sizeof line - at, a.ss_family == AF_INET6 ? " [%s]:%s" : " %s:%s", host, port);
  }
  puts(line);
  fflush(stdout);
}

/* ---- a session ---- */

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
  if (link >= 0 && !reverse)
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
static void supervise(pid_t part, uint64_t id)
{
  uint64_t deadline = UINT64_MAX;
  for (;;) {
    struct pollfd p = {.fd = D.signals, .events = POLLIN};
    struct signalfd_siginfo si;
    poll(&p, 1, deadline == UINT64_MAX ? -1 : 50);
    while (read(D.signals, &si, sizeof si) == sizeof si)
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

static void master_words(struct words *w, const char *fds, int link, uint64_t id)
{
  char text[20];
  words_option(w, "--fds", fds);
  if (link >= 0) {
    snprintf(text, sizeof text, "%d", link);
    words_option(w, "--link-fd", text);
  }
  snprintf(text, sizeof text, "%lx", (unsigned long)id);
  words_option(w, "--id", text);
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

/* The command line of what is asked for. */
static bool make_words(struct words *w, int sock, int link, const uint8_t *body, size_t n, uint64_t id)
{
  bool reverse = request_flags(body, n) & RQF_REVERSE;
  const char *name = reverse ? "fslave" : "fmaster";
  char fds[32], why[80], *path = near_find(name);
  if (!path) {
    snprintf(why, sizeof why, "nexecd finds no %s beside itself", name);
    request_verdict(sock, V_FAILED, why);
    log_line("no %s beside nexecd, in its libexec or in PATH", name);
    return false;
  }
  snprintf(fds, sizeof fds, "%d,%d", sock, sock);
  words_add(w, path);
  if (reverse) {
    words_option(w, "--fds", fds);
    return enter_cwd(sock, request_cwd(body, n));
  }
  master_words(w, fds, link, id);
  if (!request_words(w, body, n)) {
    request_verdict(sock, V_REQUEST, "malformed request");
    return false;
  }
  if (words_too_long(w))
    request_verdict(sock, V_TOO_LONG, "the arguments are too long");
  return !words_too_long(w);
}

/* What the process that talks to strangers must not have. */
static void forget(void)
{
  close(D.signals);
}

static bool is_unix(int sock)
{
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  return !getsockname(sock, (struct sockaddr *)&a, &n) && a.ss_family == AF_UNIX;
}

/* Over a unix socket it is enough to be the user whom we serve, or root. */
static int let_in_unix(int sock, struct caller *c, char why[256])
{
  if (door_open_unix(sock, c, why) < 0)
    return -1;
  if (c->uid && c->uid != geteuid()) {
    snprintf(why, 256, "user %d is not served here", (int)c->uid);
    request_verdict(sock, V_SECRET, why);
    return -1;
  }
  return request_verdict(sock, V_OK, "") ? -1 : sock;
}

static void session(int sock)
{
  char why[256];
  struct words w = {0};
  struct caller c;
  uint64_t id;
  size_t n;
  int link = is_unix(sock) ? -1 : sock;
  sock = link < 0 ? let_in_unix(sock, &c, why) : door_open(&D.door, link, forget, &c, why);
  if (sock < 0) {
    log_line("a connection from %s was refused: %s", c.from, why);
    return;
  }
  uint8_t *body = request_read(sock, sock, &n, why);
  if (!body) {
    log_line("a request was refused: %s", why);
    return;
  }
  if (getrandom(&id, sizeof id, 0) != sizeof id)
    fail("a session", "no random numbers");
  /* The verdict goes first: the part's frames follow it at once. */
  if (!make_words(&w, sock, link, body, n, id) || request_verdict(sock, V_OK, ""))
    return;
  pid_t part = start_part(&w, sock, link, request_flags(body, n) & RQF_REVERSE);
  free(body);
  close(sock);
  if (link >= 0)
    close(link);
  if (part < 0)
    fail(w.v[0], strerror(-(int)part));
  supervise(part, id);
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
      {"listen", 1, 0, 'l'}, {"secret-file", 1, 0, 's'}, {"host-key", 1, 0, 'k'}, {"insecure-listen", 0, 0, 'i'},
      {"help", 0, 0, 'h'},   {"version", 0, 0, 'V'},     {"verbose", 0, 0, 'v'},  {0, 0, 0, 0}};
  const char *at[LISTEN_MAX] = {"127.0.0.1:" NEXEC_PORT};
  unsigned n = 0;
  char *secret = secret_path(), *key = hostkey_path();
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
    case 'k':
      key = optarg;
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
  if (!key)
    fail("no host key", "HOME is not set; use --host-key");
  if (!secret_read(secret, true, &D.door.secret) || !hostkey_open(key, &D.door.key) || !confine_prepare())
    return FAILED;
  D.door.grace_ms = 60000;
  D.door.authorized_keys = ".ssh/authorized_keys";
  block_signals();
  for (unsigned i = 0; i < (n ? n : 1); i++)
    listen_at(at[i]);
  say_ready();
  serve();
  return 0;
}
