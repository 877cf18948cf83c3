/*
 * nexec: runs a command on another machine with the files and the terminal of this one.
 *
 * Owns the stream until fslave has it, and the exit status; terminal.c has the terminal. Must never send anything
 * of the caller's to a machine that is not known (login/client.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/log.h"
#include "base/std.h"
#include "cmd/config.h"
#include "cmd/near.h"
#include "cmd/request.h"
#include "cmd/reverse.h"
#include "cmd/terminal.h"
#include "cmd/transport.h"
#include "proto/codec.h"
#include "proto/mode.h"

#define FAILED 255
#define TOO_LONG 126
#define ARG_LEN_MAX 131071 /* the kernel's limit of one argument */
#define LINGER_MS 50       /* for fslave to end with us, so that nothing is left when we return */

struct options {
  struct wbuf w; /* the request */
  uint8_t *body;
  uint64_t flags;
  const char *cwd, *secret, *identity, *config, *programs, *where, *shell;
  int trace_fd, escape; /* escape -1: none */
  int link;             /* the TCP connection behind the stream, -1: none */
  enum terminal_wish terminal;
  const char *host;
  char **argv;
};

static const char usage[] =
    "usage: nexec [options] HOST [COMMAND [ARG...]]\n"
    "Runs COMMAND on HOST, with HOST's processor and programs and with the files, the terminal and the identity of "
    "the\n"
    "caller here. Without COMMAND: the user's login shell there.\n"
    "HOST is [USER@]NAME[:PORT] or unix:PATH, where nexecd listens; ssh://[USER@]NAME[:PORT], where nothing need be "
    "installed;\n"
    "or exec:COMMAND LINE, for any other way to a standard input and output there.\n"
    "  -r, --reverse        the other way round: COMMAND runs here, on HOST's files, network and processes\n"
    "  -e, --rsh SHELL      reach HOST by SHELL HOST COMMAND, as rsync does\n"
    "  -t, -T               a terminal of its own for COMMAND: in any case; never. Otherwise if standard input and "
    "output\n"
    "                       are terminals. At the beginning of a line ~. gives up, ~^Z stops nexec, ~? tells more\n"
    "  --escape CHAR        instead of ~; none: no such character\n"
    "  --cwd DIR            start in DIR instead of the working directory; with -r: instead of HOST's home\n"
    "  --env NAME=VALUE     add to the command's environment\n"
    "  --send-env PATTERN   pass on the variables here with names like that; without: TERM, LANG, LC_*, TZ and the "
    "like\n"
    "  --clean-env          take only who and where the user is from the environment here\n"
    "  --map PATH=WHERE     PATH and what is below it is local (of where COMMAND runs), remote (of the other machine)\n"
    "                       or deny(ed); unix:PATH, tcp:ADDRESS[/BITS][:PORT] and udp: likewise, of sockets alone\n"
    "  --mode=MODE          where calls run: remote or local, mapped or unmapped (remote,mapped); see "
    "fsyscall_mode(7)\n"
    "  --vft                each program's table of descriptors when it ends, on standard error\n"
    "  --net=WHERE          whose network new sockets are: remote (where the files are, the default) or local\n"
    "  --programs=WHERE     whose programs and libraries: there (HOST's, the default) or here (the default with -r)\n"
    "  --no-rewrite         do not rewrite system calls of the program; every one traps\n"
    "  --no-cache           remember no names and attributes of directories: ask for each\n"
    "  --store[=erase]      keep contents for later sessions in ~/.cache/nexec of where COMMAND runs; erase them\n"
    "  --trace[=FILE]       a line a system call, on standard error or in FILE\n"
    "  --stats              figures at the end\n"
    "  --high-descriptors   for tests: descriptors of the other machine's files get numbers from 512 on\n"
    "  --config FILE        settings for hosts; default: $NEXEC_CONFIG or ~/.config/nexec/config\n"
    "  -i, --identity FILE  the SSH key to log in with to an nexecd; without: those of ssh-agent and of ~/.ssh\n"
    "  --secret-file FILE   default: $NEXEC_SECRET_FILE or ~/.config/nexec/secret\n"
    "  -v, --verbose        say more about what is done\n"
    "  --help, --version\n"
    "The exit status is COMMAND's; 127 if there is none of that name, 126 if it cannot be executed, 255 if nexec "
    "failed.\n";

static void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
static void fail(int status, const char *format, ...)
{
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  log_line("%s", line);
  exit(status);
}

/* ---- the request ---- */

static void ask(struct options *o, unsigned fact, const char *text)
{
  size_t n = strlen(text);
  if (n < ARG_LEN_MAX)
    put_fact(&o->w, fact, text, (uint32_t)n);
  if (n >= ARG_LEN_MAX || o->w.bad)
    fail(TOO_LONG, "the arguments are too long");
}

static void ask_number(struct options *o, unsigned fact, uint64_t v)
{
  put_fact_ints(&o->w, fact, &v, 1);
}

/* Programs are taken from the master unless they are to come from the slave; which of the two is here? */
static void ask_programs(struct options *o)
{
  bool reverse = o->flags & RQF_REVERSE;
  if (o->programs && !strcmp(o->programs, reverse ? "there" : "here"))
    o->flags |= RQF_PROGRAMS_HERE;
  else if (o->programs && strcmp(o->programs, reverse ? "here" : "there"))
    fail(FAILED, "--programs wants here or there, not %s", o->programs);
}

static void set_net(struct options *o, const char *value)
{
  if (!strcmp(value, "local"))
    o->flags |= RQF_NET_LOCAL;
  else if (strcmp(value, "remote"))
    fail(FAILED, "--net wants remote or local, not %s", value);
}

static void set_mode(struct options *o, const char *value)
{
  int mode = mode_parse(value, MODE_ALL);
  if (mode < 0)
    fail(FAILED, "--mode wants local or remote, and mapped or unmapped, not %s", value);
  o->flags &= ~(uint64_t)(RQF_LOCAL | RQF_UNMAPPED);
  o->flags |= (mode & FSYSCALL_REMOTE ? 0 : RQF_LOCAL) | (mode & FSYSCALL_MAPPED ? 0 : RQF_UNMAPPED);
}

static void set_trace(struct options *o, const char *file)
{
  o->flags |= RQF_TRACE;
  if (!file)
    return;
  int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0)
    fail(FAILED, "%s: %s", file, strerror(errno));
  o->trace_fd = move_above(fd, 10);
}

static void check_env(const char *value)
{
  if (value[0] == '=' || !strchr(value, '='))
    fail(FAILED, "--env wants NAME=VALUE, not %s", value);
}

/* Several patterns may stand in one value. */
static void send_env(struct options *o, const char *value)
{
  char *patterns = strdup(value), *next = 0;
  for (char *p = patterns ? strtok_r(patterns, " \t,", &next) : 0; p; p = strtok_r(0, " \t,", &next))
    for (char **e = environ; *e; e++) {
      char *name = strndup(*e, strcspn(*e, "="));
      if (name && !fnmatch(p, name, 0))
        ask(o, RQ_ENV, *e);
      free(name);
    }
  free(patterns);
}

static void check_map(const char *value)
{
  const char *eq = strrchr(value, '=');
  bool of_sockets = !strncmp(value, "tcp:", 4) || !strncmp(value, "udp:", 4) || !strncmp(value, "unix:/", 6);
  if ((value[0] != '/' && !of_sockets) || !eq || (strcmp(eq, "=local") && strcmp(eq, "=remote") && strcmp(eq, "=deny")))
    fail(FAILED,
         "--map wants WHAT=local, =remote or =deny, WHAT being an absolute path, unix:PATH, tcp:ADDRESS or "
         "udp:ADDRESS, not %s",
         value);
}

static void set_escape(struct options *o, const char *value)
{
  if (!strcmp(value, "none"))
    o->escape = -1;
  else if (value[0] && !value[1])
    o->escape = (unsigned char)value[0];
  else
    fail(FAILED, "--escape wants one character or none, not %s", value);
}

enum option_id {
  O_CWD = 256,
  O_ENV,
  O_ESCAPE,
  O_WHERE,
  O_SEND_ENV,
  O_CONFIG,
  O_CLEAN_ENV,
  O_MAP,
  O_NET,
  O_MODE,
  O_VFT,
  O_PROGRAMS,
  O_NO_REWRITE,
  O_HIGH,
  O_NO_CACHE,
  O_STORE,
  O_TRACE,
  O_STATS,
  O_SECRET,
  O_HELP,
  O_VERSION
};

static void set_option(struct options *o, int which, const char *value)
{
  switch (which) {
  case 'v':
    log_verbose(true);
    o->flags |= RQF_VERBOSE;
    break;
  case 't':
    o->terminal = TERMINAL_FORCED;
    break;
  case 'T':
    o->terminal = TERMINAL_NONE;
    break;
  case 'r':
    o->flags |= RQF_REVERSE;
    break;
  case 'e':
    o->shell = value;
    break;
  case 'i':
    o->identity = value;
    break;
  case O_WHERE:
    o->where = value;
    break;
  case O_ESCAPE:
    set_escape(o, value);
    break;
  case O_CWD:
    o->cwd = value;
    break;
  case O_ENV:
    check_env(value);
    ask(o, RQ_ENV, value);
    break;
  case O_SEND_ENV:
    send_env(o, value);
    break;
  case O_CONFIG: /* read_options() has looked for it */
    break;
  case O_NET:
    set_net(o, value);
    break;
  case O_MODE:
    set_mode(o, value);
    break;
  case O_VFT:
    o->flags |= RQF_VFT;
    break;
  case O_HIGH:
    o->flags |= RQF_HIGH;
    break;
  case O_MAP:
    check_map(value);
    ask(o, RQ_MAP, value);
    break;
  case O_PROGRAMS:
    o->programs = value;
    break;
  case O_CLEAN_ENV:
    o->flags |= RQF_CLEAN_ENV;
    break;
  case O_NO_CACHE:
    o->flags |= RQF_NO_CACHE;
    break;
  case O_STORE:
    if (value && strcmp(value, "erase"))
      fail(FAILED, "--store wants erase or nothing, not %s", value);
    o->flags |= value ? RQF_STORE_ERASE : RQF_STORE;
    break;
  case O_NO_REWRITE:
    o->flags |= RQF_NO_REWRITE;
    break;
  case O_STATS:
    o->flags |= RQF_STATS;
    break;
  case O_TRACE:
    set_trace(o, value);
    break;
  case O_SECRET:
    o->secret = value;
    break;
  case O_HELP:
    fputs(usage, stdout);
    exit(0);
  case O_VERSION:
    puts("nexec (fsyscall) " FSYSCALL_VERSION);
    exit(0);
  default:
    exit(FAILED); /* getopt has said why */
  }
}

/* A directory that is not here may be one of HOST's; fmaster knows by its rules which is meant. */
static void ask_cwd(struct options *o)
{
  char cwd[4096];
  if (o->cwd && chdir(o->cwd)) {
    int err = errno;
    if (o->cwd[0] != '/')
      fail(FAILED, "%s: %s", o->cwd, strerror(err));
    ask(o, RQ_CWD, o->cwd);
    ask_number(o, RQ_CWD_ERROR, (uint64_t)err);
  } else if (getcwd(cwd, sizeof cwd)) {
    ask(o, RQ_CWD, o->cwd && o->cwd[0] == '/' ? o->cwd : cwd);
  }
}

#define SHORT_OPTIONS "+vrtTe:i:"
static const struct option option_table[] = {{"cwd", 1, 0, O_CWD},
                                             {"env", 1, 0, O_ENV},
                                             {"send-env", 1, 0, O_SEND_ENV},
                                             {"clean-env", 0, 0, O_CLEAN_ENV},
                                             {"config", 1, 0, O_CONFIG},
                                             {"map", 1, 0, O_MAP},
                                             {"net", 1, 0, O_NET},
                                             {"mode", 1, 0, O_MODE},
                                             {"vft", 0, 0, O_VFT},
                                             {"programs", 1, 0, O_PROGRAMS},
                                             {"no-rewrite", 0, 0, O_NO_REWRITE},
                                             {"high-descriptors", 0, 0, O_HIGH},
                                             {"no-cache", 0, 0, O_NO_CACHE},
                                             {"store", 2, 0, O_STORE},
                                             {"trace", 2, 0, O_TRACE},
                                             {"stats", 0, 0, O_STATS},
                                             {"secret-file", 1, 0, O_SECRET},
                                             {"escape", 1, 0, O_ESCAPE},
                                             {"rsh", 1, 0, 'e'},
                                             {"identity", 1, 0, 'i'},
                                             {"reverse", 0, 0, 'r'},
                                             {"help", 0, 0, O_HELP},
                                             {"version", 0, 0, O_VERSION},
                                             {"verbose", 0, 0, 'v'},
                                             {0, 0, 0, 0}};
static const struct config_word config_words[] = {
    {"Env", O_ENV},           {"SendEnv", O_SEND_ENV},  {"Map", O_MAP},
    {"Programs", O_PROGRAMS}, {"SecretFile", O_SECRET}, {"IdentityFile", 'i'},
    {"HostName", O_WHERE},    {"RemoteShell", 'e'},     {0, 0}};

/* A wrong value has ended the program. */
static const char *take_config(void *to, int option, const char *value)
{
  set_option(to, option, value);
  return 0;
}

/* Which host it is has to be known before the file is read, whose settings come before those of the command line. */
static void find_host(struct options *o, int argc, char **argv)
{
  for (int which; (which = getopt_long(argc, argv, SHORT_OPTIONS, option_table, 0)) >= 0;) {
    if (which == O_CONFIG)
      o->config = optarg;
    if (which == '?' || which == O_HELP || which == O_VERSION)
      set_option(o, which, 0);
  }
  if (!argv[optind])
    fail(FAILED, "no HOST; see nexec --help");
  o->host = argv[optind];
  o->argv = argv + optind + 1;
  optind = 0;
}

static void read_options(struct options *o, int argc, char **argv)
{
  o->body = malloc(REQUEST_MAX);
  if (!o->body)
    fail(FAILED, "out of memory");
  o->w = (struct wbuf){o->body, o->body + REQUEST_MAX, false};
  find_host(o, argc, argv);
  const char *config = o->config ? o->config : config_path();
  if (config &&
      !config_read(config, !o->config && !getenv("NEXEC_CONFIG"), o->host, "nexec(1)", config_words, take_config, o))
    exit(FAILED);
  for (int which; (which = getopt_long(argc, argv, SHORT_OPTIONS, option_table, 0)) >= 0;)
    set_option(o, which, optarg);
  ask_programs(o);
  if (!(o->flags & RQF_REVERSE))
    ask_cwd(o);
  else if (o->cwd)
    ask(o, RQ_CWD, o->cwd);
  ask_number(o, RQ_FLAGS, o->flags);
  for (char **a = o->argv; *a; a++)
    ask(o, RQ_ARG, *a);
}

/* ---- the connection ---- */

static int connect_to(const struct options *o, int *link)
{
  struct transport t = {o->where ? o->where : o->host, o->shell, o->secret, o->identity, o->flags & RQF_REVERSE, -1};
  int fd = transport_open(&t, o->body, (size_t)(o->w.at - o->body));
  if (fd < 0)
    exit(fd == -V_TOO_LONG ? TOO_LONG : FAILED);
  *link = t.link;
  return fd;
}

/* ---- fslave, and waiting for it ---- */

static sigset_t caller_mask;

static int block_signals(void)
{
  sigset_t set;
  sigemptyset(&set);
  for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT,
                                    SIGTTIN, SIGTTOU, SIGCHLD, 0};
       *s; s++)
    sigaddset(&set, *s);
  sigprocmask(SIG_BLOCK, &set, &caller_mask);
  signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void exec_fslave(const struct options *o, int sock, int control, int status)
{
  char fds[32], c[16], s[16], t[16], e[16], l[16];
  char *argv[18] = {"fslave", "--fds", fds, "--control-fd", c, "--status-fd", s, "--trace-fd", t};
  unsigned n = 9;
  char *path = near_find("fslave");
  snprintf(fds, sizeof fds, "%d,%d", sock, sock);
  snprintf(c, sizeof c, "%d", control);
  snprintf(s, sizeof s, "%d", status);
  snprintf(t, sizeof t, "%d", o->trace_fd);
  snprintf(e, sizeof e, "%d", o->escape);
  snprintf(l, sizeof l, "%d", o->link);
  if (o->link >= 0) {
    argv[n++] = "--link-fd";
    argv[n++] = l;
    set_cloexec(o->link, false);
  }
  if (terminal_own()) {
    argv[n++] = "--terminal";
    argv[n++] = (char *)terminal_modes();
  }
  if (o->escape >= 0 && terminal_own()) {
    argv[n++] = "--escape";
    argv[n++] = e;
  }
  for (const int *fd = (const int[]){sock, control, status, o->trace_fd, -1}; *fd >= 0; fd++)
    set_cloexec(*fd, false);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &caller_mask, 0);
  if (path)
    execv(path, argv);
  log_line("cannot execute %s: %s", path ? path : "fslave, which is neither beside nexec nor in PATH", strerror(errno));
  _exit(FAILED);
}

/* The exit status, -1: it runs, -2: it has been stopped. Whoever exits without having told a status has failed, and
   said why. */
static int ended(pid_t child)
{
  int how;
  if (waitpid(child, &how, WNOHANG | WUNTRACED) != child)
    return -1;
  if (WIFSTOPPED(how))
    return -2;
  if (WIFEXITED(how))
    return WEXITSTATUS(how) ? WEXITSTATUS(how) : FAILED;
  terminal_restore(false);
  log_line("the slave was killed by signal %d; the session has ended", WTERMSIG(how));
  return FAILED;
}

/*
 * The guard is fslave's parent. nexec itself returns when the command has ended, while fslave may go on for what the
 * command left behind; but when nexec is killed, the session ends. The two are told apart by a byte of farewell.
 *
 * Stopping goes from fslave up and continuing goes down: fslave stops itself when it has forwarded SIGTSTP, or is
 * stopped by the terminal; the guard, who never stops, tells nexec so by SIGTTIN, and passes on nexec's SIGCONT.
 */
static void farewell(void)
{
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < 3 && null >= 0; i++)
    dup2(null, i);
}

static int guard(pid_t fslave, pid_t nexec, int signals, int life)
{
  struct pollfd p[] = {{.fd = life, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
  for (;;) {
    struct signalfd_siginfo si;
    char byte;
    int r = ended(fslave);
    if (r >= 0)
      return r;
    if (r == -2 && p[0].fd >= 0 && getppid() == nexec)
      kill(nexec, SIGTTIN);
    poll(p, 2, -1);
    while (read(signals, &si, sizeof si) == sizeof si)
      if (si.ssi_signo == SIGCONT)
        kill(fslave, SIGCONT);
    if (!p[0].revents)
      continue;
    if (read(life, &byte, 1) == 1) {
      farewell();
    } else {
      kill(fslave, SIGKILL);
      terminal_restore(true);
      _exit(FAILED);
    }
    p[0].fd = -1;
  }
}

static void close_stream(const struct options *o, int sock)
{
  close(sock);
  if (o->link >= 0)
    close(o->link);
}

static void guard_fslave(const struct options *o, int sock, int control, int status, int signals, int life, pid_t *told)
{
  pid_t nexec = getppid(), self = getpid(), fslave = fork();
  if (!fslave) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self)
      _exit(FAILED);
    exec_fslave(o, sock, control, status);
  }
  if (fslave < 0)
    fail(FAILED, "cannot fork: %s", strerror(errno));
  *told = fslave;
  close_stream(o, sock);
  close(control);
  close(status);
  _exit(guard(fslave, nexec, signals, life));
}

struct front {
  pid_t guard;
  const pid_t *fslave; /* the guard's child */
  int signals, control, status;
};

static void forward(const struct front *f, unsigned sig, bool group)
{
  uint8_t byte = (uint8_t)(sig | (group ? 128 : 0));
  if (write(f->control, &byte, 1) < 0)
    log_more("signal %u could not be forwarded: %s", sig, strerror(errno));
}

/* A program with a terminal of its own has not been stopped; but the user's may have another size now. */
static void go_on(const struct front *f)
{
  terminal_raw();
  kill(f->guard, SIGCONT);
  forward(f, terminal_own() ? SIGWINCH : SIGCONT, true);
}

static bool is_pending(int sig)
{
  sigset_t set;
  return !sigpending(&set) && sigismember(&set, sig);
}

/* The guard's word may come late, when all have been continued. */
static bool is_stopped(pid_t pid)
{
  char path[32], text[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  const char *state = n > 0 ? strrchr(text, ')') : 0;
  close(fd);
  return state && state[1] && state[2] == 'T';
}

/* As the terminal stops a program. Where nobody could continue us the kernel does not stop us, and all go on. */
static void stop(const struct front *f)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTSTP);
  if (is_pending(SIGCONT))
    return;
  if (terminal_own())
    terminal_restore(false);
  raise(SIGTSTP);
  sigprocmask(SIG_UNBLOCK, &set, 0);
  sigprocmask(SIG_BLOCK, &set, 0);
  if (!is_pending(SIGCONT))
    go_on(f);
}

/* What the terminal sends goes to the whole process group, as it would here; what kill sends to the command. */
static void take_signal(const struct front *f, const struct signalfd_siginfo *si)
{
  bool of_kernel = si->ssi_code == SI_KERNEL;
  switch (si->ssi_signo) {
  case SIGCHLD:
  case SIGTTOU:
    break;
  case SIGTTIN:
    if (si->ssi_pid == (uint32_t)f->guard && is_stopped(*f->fslave))
      stop(f);
    break;
  case SIGCONT:
    go_on(f);
    break;
  case SIGTSTP:
    forward(f, SIGTSTP, true);
    break;
  case SIGWINCH:
    if (!of_kernel) /* fslave sees the terminal's itself */
      forward(f, SIGWINCH, true);
    break;
  default:
    forward(f, si->ssi_signo, of_kernel);
  }
}

static void take_signals(const struct front *f)
{
  struct signalfd_siginfo si;
  while (read(f->signals, &si, sizeof si) == sizeof si)
    take_signal(f, &si);
}

/* The command's status, a decimal line; -1 if there is none (yet). */
static int told_status(int fd)
{
  char text[16] = {0};
  ssize_t n = read(fd, text, sizeof text - 1);
  return n > 0 && strchr(text, '\n') ? atoi(text) & 255 : -1;
}

static int wait_status(const struct front *f)
{
  struct pollfd p[] = {{.fd = f->status, .events = POLLIN}, {.fd = f->signals, .events = POLLIN}};
  for (;;) {
    if (poll(p, 2, -1) < 0)
      continue;
    int r = p[0].revents & POLLIN ? told_status(f->status) : -1;
    if (r >= 0) {
      poll(&(struct pollfd){.fd = f->status}, 1, LINGER_MS);
      return r;
    }
    take_signals(f);
    if (p[0].revents & POLLHUP)
      p[0].fd = -1;
    r = ended(f->guard);
    if (r >= 0)
      return r;
  }
}

static int run(const struct options *o, int sock)
{
  terminal_begin(o->terminal);
  int control[2], status[2], life[2], signals = block_signals();
  pid_t *fslave = mmap(0, sizeof *fslave, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (fslave == MAP_FAILED || signals < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) ||
      pipe2(status, O_CLOEXEC) || pipe2(life, O_CLOEXEC))
    fail(FAILED, "no descriptors: %s", strerror(errno));
  terminal_raw();
  pid_t child = fork();
  if (child < 0)
    fail(FAILED, "cannot fork: %s", strerror(errno));
  if (!child) {
    close(life[1]);
    close(control[0]);
    close(status[0]);
    guard_fslave(o, sock, control[1], status[1], signals, life[0], fslave);
  }
  close_stream(o, sock);
  close(control[1]);
  close(status[1]);
  int result = wait_status(&(struct front){child, fslave, signals, control[0], status[0]});
  terminal_restore(false);
  if (write(life[1], "", 1) < 0)
    log_more("the session has ended altogether");
  return result;
}

int main(int argc, char **argv)
{
  static struct options o = {.trace_fd = STDERR_FILENO, .escape = '~'};
  log_name("nexec");
  stdio_occupy();
  read_options(&o, argc, argv);
  int link, sock = connect_to(&o, &link);
  if (o.flags & RQF_REVERSE)
    return reverse_run(sock, link, o.trace_fd, o.body, (size_t)(o.w.at - o.body));
  o.link = link;
  free(o.body);
  return run(&o, sock);
}
