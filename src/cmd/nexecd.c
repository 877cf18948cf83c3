/*
 * nexecd: listens for nexec, and has a process for each who calls (nexecd_session.c).
 *
 * Owns the list of these processes: how many are only knocking, how many are in. Must never wait for any of them, or
 * read a byte of theirs.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <netinet/in.h>

#include "base/io.h"
#include "base/log.h"
#include "cmd/near.h"
#include "cmd/nexecd.h"
#include "login/confine.h"

#define SLOTS 4096
#define END_MS 5000

/* Of a process that was forked for a connection. KNOCKING becomes one of the other two, once. */
enum { KNOCKING, IN, DOOMED };
struct slot {
  pid_t pid; /* 0: free */
  uint64_t since;
  uint8_t from[16];
  _Atomic int state;
};

static struct {
  struct settings s;
  struct door door;
  struct listeners l;
  const char *config;
  bool config_optional;
  int nset; /* of the command line: keyword and value, in turns */
  const char *set[2 * LISTEN_MAX + 16];
  struct slot *slots, *own; /* shared with the processes, as long as they are not let in */
  int signals;
} D;

static const char usage[] =
    "usage: nexecd [options]\n"
    "Runs commands for nexec: as root for everybody who logs in, as themselves; else for the user who started it.\n"
    "  --config FILE          default: $NEXECD_CONFIG, ~/.config/nexec/nexecd.conf or root's /etc/nexec/nexecd.conf\n"
    "  -t, --test             look whether the configuration is good, and end\n"
    "  --listen ADDR[:PORT]   an address; [ADDR]:PORT for IPv6. Default: port " NEXEC_PORT
    " of all addresses if there is an\n"
    "                         authorized key, else of 127.0.0.1\n"
    "  --listen unix:PATH     a unix socket; who connects needs no login\n"
    "  --secret-file FILE     default: $NEXEC_SECRET_FILE or ~/.config/nexec/secret; made if there is none\n"
    "  --host-key FILE        default: $NEXEC_HOST_KEY, ~/.config/nexec/host_key or root's /etc/nexec/host_key; made "
    "too\n"
    "  --insecure-listen      listen to others than this machine although no key is authorized\n"
    "  -v, --verbose          say more about what is done\n"
    "  --help, --version\n"
    "The settings of the configuration are in nexecd(8).\n";

static void fail(const char *what, const char *why) __attribute__((noreturn));
static void fail(const char *what, const char *why)
{
  log_line("%s: %s", what, why);
  exit(NEXECD_FAILED);
}

void note(const char *format, ...)
{
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  syslog(LOG_INFO, "%s", line);
  log_more("%s", line);
}

void note_refusal(const char *format, ...)
{
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  syslog(LOG_NOTICE, "%s", line);
  log_line("%s", line);
}

/* ---- the processes ---- */

static unsigned count(int state)
{
  unsigned n = 0;
  for (unsigned i = 0; i < SLOTS; i++)
    n += D.slots[i].pid && atomic_load(&D.slots[i].state) == state;
  return n;
}

static struct slot *free_slot(void)
{
  for (unsigned i = 0; i < SLOTS; i++)
    if (!D.slots[i].pid)
      return &D.slots[i];
  return 0;
}

static unsigned knocking_from(const uint8_t from[16])
{
  unsigned n = 0;
  for (unsigned i = 0; i < SLOTS; i++)
    n += D.slots[i].pid && atomic_load(&D.slots[i].state) == KNOCKING && !memcmp(D.slots[i].from, from, 16);
  return n;
}

/* Who has many at the door loses first, and of those the one that has been there longest. */
static struct slot *least_welcome(void)
{
  struct slot *worst = 0;
  unsigned most = 0;
  for (unsigned i = 0; i < SLOTS; i++) {
    struct slot *s = &D.slots[i];
    if (!s->pid || atomic_load(&s->state) != KNOCKING)
      continue;
    unsigned n = worst && !memcmp(worst->from, s->from, 16) ? most : knocking_from(s->from);
    if (!worst || n > most || (n == most && s->since < worst->since)) {
      worst = s;
      most = n;
    }
  }
  return worst;
}

/* That somebody knocks without end is no reason not to open for another. */
static void make_room(void)
{
  int state = KNOCKING;
  struct slot *s = count(KNOCKING) < D.s.max_logins ? 0 : least_welcome();
  if (s && atomic_compare_exchange_strong(&s->state, &state, DOOMED))
    kill(s->pid, SIGKILL);
}

/* In the process of a session: from now on it is no longer one of those that may be turned away. */
static bool let_in(char why[256])
{
  int state = KNOCKING;
  bool good = atomic_compare_exchange_strong(&D.own->state, &state, IN) && count(IN) <= D.s.max_sessions;
  if (!good)
    snprintf(why, 256, "there are too many sessions");
  munmap(D.slots, SLOTS * sizeof *D.slots);
  return good;
}

/* In the process that talks to strangers, whose descriptors are closed as well. */
static void forget(void)
{
  munmap(D.slots, SLOTS * sizeof *D.slots);
}

static void where_from(const struct sockaddr_storage *a, uint8_t from[16])
{
  memset(from, 0, 16);
  if (a->ss_family == AF_INET)
    memcpy(from, &((const struct sockaddr_in *)a)->sin_addr, 4);
  if (a->ss_family == AF_INET6) /* a network has as many addresses as it likes */
    memcpy(from, &((const struct sockaddr_in6 *)a)->sin6_addr, 8);
}

static void be_session(int sock) __attribute__((noreturn));
static void be_session(int sock)
{
  listen_close(&D.l);
  session_run(&(struct session_start){&D.s, &D.door, D.signals, forget, let_in}, sock);
  _exit(0);
}

static void take_connection(int listener)
{
  struct sockaddr_storage a = {0};
  socklen_t n = sizeof a;
  int sock = accept4(listener, (struct sockaddr *)&a, &n, SOCK_CLOEXEC);
  if (sock < 0)
    return;
  near_socket(sock);
  make_room();
  struct slot *s = free_slot();
  if (s) {
    s->since = now_ms();
    where_from(&a, s->from);
    atomic_store(&s->state, KNOCKING);
    D.own = s;
    s->pid = getpid(); /* not free any more, and counted */
  }
  pid_t pid = s ? fork() : -1;
  if (!pid)
    be_session(sock);
  if (pid < 0)
    note_refusal("a connection was refused: %s", s ? strerror(errno) : "too many processes");
  if (s)
    s->pid = pid < 0 ? 0 : pid;
  close(sock);
}

static void reap(void)
{
  pid_t pid;
  while ((pid = waitpid(-1, 0, WNOHANG)) > 0)
    for (unsigned i = 0; i < SLOTS; i++)
      if (D.slots[i].pid == pid)
        D.slots[i].pid = 0;
}

/* ---- settings ---- */

/* The command line's stand behind those of the file. */
static bool read_settings(struct settings *s)
{
  if (!settings_read(s, D.config, D.config_optional))
    return false;
  unsigned listen = s->nlisten;
  for (int i = 0; i < D.nset; i += 2) {
    if (!strcmp(D.set[i], "Listen") && listen) {
      s->nlisten = listen = 0; /* addresses of the command line stand instead */
    }
    const char *bad = settings_set(s, D.set[i], D.set[i + 1]);
    if (bad) {
      log_line("%s: %s", D.set[i + 1], bad);
      return false;
    }
  }
  if (!s->host_key)
    log_line("HOME is not set; --host-key is needed");
  return s->host_key;
}

static bool open_door(struct door *d, const struct settings *s)
{
  *d = (struct door){.authorized_keys = s->authorized_keys, .grace_ms = (unsigned)s->login_seconds * 1000};
  return (s->no_secret || !s->secret_file || secret_read(s->secret_file, true, &d->secret)) &&
         hostkey_open(s->host_key, &d->key);
}

/* All or nothing: with a file that is wrong it goes on as before. */
static void reload(void)
{
  struct settings s;
  struct door d;
  struct listeners l;
  if (!read_settings(&s) || !open_door(&d, &s) || !listen_all(&l, &s, &D.l)) {
    note_refusal("the new configuration is not used");
    return;
  }
  hostkey_forget(&D.door.key);
  X509_free(D.door.key.certificate);
  D.s = s;
  D.door = d;
  D.l = l;
  note("the configuration was read again");
  listen_say(&D.l);
}

/* ---- */

/* True if it was told to end. */
static bool take_signals(void)
{
  struct signalfd_siginfo si;
  bool end = false;
  while (read(D.signals, &si, sizeof si) == sizeof si) {
    if (si.ssi_signo == SIGHUP)
      reload();
    end |= si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT;
  }
  reap();
  return end;
}

static bool any_left(void)
{
  for (unsigned i = 0; i < SLOTS; i++)
    if (D.slots[i].pid)
      return true;
  return false;
}

static void end_sessions(void)
{
  uint64_t deadline = now_ms() + END_MS;
  for (unsigned i = 0; i < SLOTS; i++)
    if (D.slots[i].pid)
      kill(D.slots[i].pid, SIGTERM);
  while (any_left() && now_ms() < deadline) {
    struct pollfd p = {.fd = D.signals, .events = POLLIN};
    poll(&p, 1, 100);
    take_signals();
  }
}

static void serve(void)
{
  for (bool end = false; !end;) {
    struct pollfd p[LISTEN_MAX + 1] = {{.fd = D.signals, .events = POLLIN}};
    unsigned n = D.l.n;
    for (unsigned i = 0; i < n; i++)
      p[i + 1] = (struct pollfd){.fd = D.l.at[i].fd, .events = POLLIN};
    if (poll(p, n + 1, -1) < 0)
      continue;
    if (p[0].revents) { /* which may change what is listened to */
      end = take_signals();
      continue;
    }
    for (unsigned i = 1; i <= n; i++)
      if (p[i].revents)
        take_connection(p[i].fd);
  }
  listen_close(&D.l);
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

static void set(const char *keyword, const char *value)
{
  if (D.nset + 2 > (int)(sizeof D.set / sizeof *D.set))
    fail(value, "too many options");
  D.set[D.nset++] = keyword;
  D.set[D.nset++] = value;
}

/* A path of the command line is the caller's; in the file it has to be whole. */
static const char *whole(const char *path)
{
  char here[4096], *text;
  if (*path == '/' || !getcwd(here, sizeof here) || asprintf(&text, "%s/%s", here, path) < 0)
    return path;
  return text;
}

static void take_option(int o, bool *only_test)
{
  switch (o) {
  case 'l':
    set("Listen", optarg);
    break;
  case 's':
    set("SecretFile", whole(optarg));
    break;
  case 'k':
    set("HostKey", whole(optarg));
    break;
  case 'i':
    set("ListenAnywhere", "yes");
    break;
  case 'c':
    D.config = whole(optarg);
    D.config_optional = false;
    break;
  case 't':
    *only_test = true;
    break;
  case 'v':
    log_verbose(true);
    break;
  case 'h':
    fputs(usage, stdout);
    exit(0);
  case 'V':
    puts("nexecd (fsyscall) " FSYSCALL_VERSION);
    exit(0);
  default:
    exit(NEXECD_FAILED);
  }
}

int main(int argc, char **argv)
{
  static const struct option table[] = {{"listen", 1, 0, 'l'},   {"secret-file", 1, 0, 's'},
                                        {"host-key", 1, 0, 'k'}, {"insecure-listen", 0, 0, 'i'},
                                        {"config", 1, 0, 'c'},   {"test", 0, 0, 't'},
                                        {"help", 0, 0, 'h'},     {"version", 0, 0, 'V'},
                                        {"verbose", 0, 0, 'v'},  {0, 0, 0, 0}};
  bool only_test = false;
  log_name("nexecd");
  D.config = settings_path();
  D.config_optional = !getenv("NEXECD_CONFIG");
  for (int o; (o = getopt_long(argc, argv, "vt", table, 0)) >= 0;)
    take_option(o, &only_test);
  if (argv[optind])
    fail(argv[optind], "nexecd takes options only; see --help");
  if (!read_settings(&D.s))
    return NEXECD_FAILED;
  if (only_test)
    return 0;
  if (!open_door(&D.door, &D.s) || !confine_prepare())
    return NEXECD_FAILED;
  D.slots = mmap(0, SLOTS * sizeof *D.slots, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (D.slots == MAP_FAILED)
    fail("no memory", strerror(errno));
  openlog("nexecd", LOG_PID, LOG_AUTHPRIV);
  block_signals();
  if (!listen_all(&D.l, &D.s, 0))
    return NEXECD_FAILED;
  listen_say(&D.l);
  serve();
  return 0;
}
