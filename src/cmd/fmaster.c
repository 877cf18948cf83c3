/*
 * fmaster: starts a program whose system calls about files, time and identity are executed by a slave at the other end
 * of a stream, and serves it until its session is over.
 *
 * Owns the command line, the private TMPDIR and the exit status. Must never connect anything by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/killall.h"
#include "base/log.h"
#include "base/tmpdir.h"
#include "cmd/remote.h"
#include "cmd/request.h"
#include "hub/hub.h"
#include "hub/launch.h"
#include "proto/codec.h"
#include "proto/mode.h"

#define FAILED 255
#define LIST_MAX 4096

struct options {
  int in, out;
  int trace_fd, link;
  bool standalone, reverse, no_rewrite, no_cache, store, store_erase, net_local, trace, stats, vft, here, clean_env,
      login;
  bool high;
  uint64_t id;
  const char *profile, *cwd, *mode_text;
  int mode, cwd_error;
  char *map[SESSION_RULES];
  unsigned nmap;
  char *env[LIST_MAX + 1];
  unsigned nenv;
  char **argv;
  bool has_tmpdir;
};

static const char usage[] =
    "usage: fmaster [--fds R,W] [options] -- PROGRAM [ARG...]\n"
    "Runs PROGRAM here with the files, the terminal and the identity of a slave (fslave) at the other end of a "
    "stream.\n"
    "  --fds R,W            descriptors of the stream (default: 0,1)\n"
    "  --standalone         no slave: everything is this machine's\n"
    "  --reverse            PROGRAM has the standard descriptors and the terminal of this process; its programs, "
    "their\n"
    "                       settings and the environment are this machine's, all else is the slave's\n"
    "  --serve              the far end of a remote shell: says that it is ready, and is told the rest\n"
    "  --login              the user's login shell instead of PROGRAM\n"
    "  --no-rewrite         leave call sites as they are; every call traps\n"
    "  --store[=erase]      keep contents for later sessions in ~/.cache/nexec; erase those that are there\n"
    "  --no-cache           remember no names and attributes of the slave's directories\n"
    "  --trace              a line a call, to the slave (--standalone, --reverse: standard error)\n"
    "  --link-fd N          the TCP connection that carries the stream, if that is not its own descriptor\n"
    "  --trace-fd N         where the lines of --trace go instead of standard error\n"
    "  --stats              figures at the end, to the slave or standard error, too\n"
    "  --map PATH=WHERE     local, remote or deny for a path and what is below it; for sockets: see nexec(1)\n"
    "  --programs=WHERE     whose programs and libraries: here (the slave's) or there (this machine's, the default)\n"
    "  --mode MODE          where calls run: remote or local, mapped or unmapped; see fsyscall_mode(7)\n"
    "  --vft                each program's table of descriptors, when it ends\n"
    "  --high-descriptors   for tests: descriptors of the slave's files get numbers from 512 on\n"
    "  --net WHERE          whose network sockets belong to: remote (the slave's, the default) or local\n"
    "  --profile FILE       rules instead of the built-in ones\n"
    "  --env NAME=VALUE     add to the program's environment\n"
    "  --clean-env          take only who and where the user is from the slave's environment\n"
    "  --cwd DIR            start there (by the rules: this machine's, or the slave's, who is there already)\n"
    "  --cwd-error ERRNO    why the slave is not in DIR\n"
    "  --id HEX             name of the session\n"
    "  --verbose, --help, --version\n";

enum option_id {
  O_FDS = 256,
  O_STANDALONE,
  O_REVERSE,
  O_TRACE_FD,
  O_LOGIN,
  O_NO_REWRITE,
  O_NO_CACHE,
  O_STORE,
  O_TRACE,
  O_STATS,
  O_MAP,
  O_NET,
  O_PROGRAMS,
  O_PROFILE,
  O_ENV,
  O_CLEAN_ENV,
  O_CWD,
  O_CWD_ERROR,
  O_ID,
  O_LINK_FD,
  O_VERBOSE,
  O_MODE,
  O_VFT,
  O_HIGH,
  O_HELP,
  O_VERSION
};

static const struct option table[] = {
    {"fds", 1, 0, O_FDS},
    {"standalone", 0, 0, O_STANDALONE},
    {"reverse", 0, 0, O_REVERSE},
    {"trace-fd", 1, 0, O_TRACE_FD},
    {"link-fd", 1, 0, O_LINK_FD},
    {"login", 0, 0, O_LOGIN},
    {"no-rewrite", 0, 0, O_NO_REWRITE},
    {"no-cache", 0, 0, O_NO_CACHE},
    {"store", 2, 0, O_STORE},
    {"trace", 0, 0, O_TRACE},
    {"stats", 0, 0, O_STATS},
    {"map", 1, 0, O_MAP},
    {"net", 1, 0, O_NET},
    {"mode", 1, 0, O_MODE},
    {"vft", 0, 0, O_VFT},
    {"high-descriptors", 0, 0, O_HIGH},
    {"programs", 1, 0, O_PROGRAMS},
    {"profile", 1, 0, O_PROFILE},
    {"env", 1, 0, O_ENV},
    {"clean-env", 0, 0, O_CLEAN_ENV},
    {"cwd", 1, 0, O_CWD},
    {"cwd-error", 1, 0, O_CWD_ERROR},
    {"id", 1, 0, O_ID},
    {"verbose", 0, 0, O_VERBOSE},
    {"help", 0, 0, O_HELP},
    {"version", 0, 0, O_VERSION},
    {0, 0, 0, 0},
};

static void quit(int status) __attribute__((noreturn));
static void quit(int status)
{
  exit(status);
}

static void wrong(const char *what, const char *value) __attribute__((noreturn));
static void wrong(const char *what, const char *value)
{
  log_line("%s: %s; see fmaster --help", what, value);
  quit(FAILED);
}

/* What is wrong with the request: its maker is at the other end of the stream. */
static void refuse(const struct options *o, const char *what, const char *why) __attribute__((noreturn));
static void refuse(const struct options *o, const char *what, const char *why)
{
  uint8_t head[sizeof(struct frame)];
  char line[512];
  size_t n = (size_t)snprintf(line, sizeof line, "%s: %s", what, why);
  n = n < sizeof line ? n : sizeof line - 1;
  frame_put(head, &(struct frame){.len = (uint32_t)(sizeof head + n), .type = F_ABORT, .seq = 1});
  log_line("%s", line);
  if (!o->standalone && !write_full(o->out, head, sizeof head))
    write_full(o->out, line, n);
  if (o->has_tmpdir)
    tmpdir_remove(o->id);
  quit(FAILED);
}

static void set_fds(struct options *o, const char *value)
{
  char rest;
  if (sscanf(value, "%d,%d%c", &o->in, &o->out, &rest) != 2 || o->in < 0 || o->out < 0)
    wrong("--fds wants two descriptors R,W", value);
}

static void set_programs(struct options *o, const char *value)
{
  o->here = !strcmp(value, "here");
  if (!o->here && strcmp(value, "there"))
    wrong("--programs wants here or there", value);
}

static void add_env(struct options *o, char *value)
{
  if (value[0] == '=' || !strchr(value, '=') || o->nenv == LIST_MAX)
    wrong("--env wants NAME=VALUE", value);
  o->env[o->nenv++] = value;
}

static void add_map(struct options *o, char *value)
{
  if (o->nmap == SESSION_RULES)
    wrong("too many rules", value);
  o->map[o->nmap++] = value;
}

static void set_flag(struct options *o, int which)
{
  switch (which) {
  case O_STANDALONE:
    o->standalone = true;
    break;
  case O_LOGIN:
    o->login = true;
    break;
  case O_NO_CACHE:
    o->no_cache = true;
    break;
  case O_NO_REWRITE:
    o->no_rewrite = true;
    break;
  case O_REVERSE:
    o->reverse = true;
    break;
  case O_TRACE:
    o->trace = true;
    break;
  case O_STATS:
    o->stats = true;
    break;
  case O_VFT:
    o->vft = true;
    break;
  case O_HIGH:
    o->high = true;
    break;
  case O_CLEAN_ENV:
    o->clean_env = true;
    break;
  case O_VERBOSE:
    log_verbose(true);
    break;
  case O_HELP:
    fputs(usage, stdout);
    quit(0);
  case O_VERSION:
    puts("fmaster (fsyscall) " FSYSCALL_VERSION);
    quit(0);
  default:
    quit(FAILED); /* getopt has said why */
  }
}

static void set_mode(struct options *o)
{
  o->mode = o->standalone ? FSYSCALL_MAPPED : MODE_ALL;
  if (o->mode_text)
    o->mode = mode_parse(o->mode_text, o->mode);
  if (o->mode < 0)
    wrong("--mode wants local or remote, and mapped or unmapped, not", o->mode_text);
  if (o->standalone && o->mode & FSYSCALL_REMOTE)
    wrong("there is no slave for --mode", o->mode_text);
}

static void set_option(struct options *o, int which, char *value)
{
  switch (which) {
  case O_FDS:
    set_fds(o, value);
    break;
  case O_NET:
    o->net_local = !strcmp(value, "local");
    if (!o->net_local && strcmp(value, "remote"))
      wrong("--net wants remote or local, not", value);
    break;
  case O_MODE:
    o->mode_text = value;
    break;
  case O_MAP:
    add_map(o, value);
    break;
  case O_PROGRAMS:
    set_programs(o, value);
    break;
  case O_PROFILE:
    o->profile = value;
    break;
  case O_ENV:
    add_env(o, value);
    break;
  case O_CWD:
    o->cwd = value;
    break;
  case O_CWD_ERROR:
    o->cwd_error = atoi(value);
    break;
  case O_TRACE_FD:
    o->trace_fd = atoi(value);
    break;
  case O_STORE:
    o->store = o->store || !value;
    o->store_erase = o->store_erase || value;
    break;
  case O_LINK_FD:
    o->link = atoi(value);
    break;
  case O_ID:
    o->id = strtoull(value, 0, 16);
    break;
  default:
    set_flag(o, which);
  }
}

static void read_options(struct options *o, int argc, char **argv)
{
  int which;
  while ((which = getopt_long(argc, argv, "+", table, 0)) >= 0)
    set_option(o, which, optarg);
  o->argv = argv + optind;
  set_mode(o);
  if (!o->argv[0] && !o->login)
    wrong("no PROGRAM", "nothing to do");
  if (!o->standalone && (fcntl(o->in, F_GETFD) < 0 || fcntl(o->out, F_GETFD) < 0))
    wrong("--fds", "not open");
  if (!o->id && getrandom(&o->id, sizeof o->id, 0) != sizeof o->id)
    wrong("no random numbers", strerror(errno));
}

/* ---- rules ---- */

static void read_profile(struct rules *r, const struct options *o)
{
  const char *own = o->reverse ? profile_reverse : profile_forward;
  size_t n = (size_t)((o->reverse ? profile_reverse_end : profile_forward_end) - own);
  char *text = o->profile ? read_file(o->profile, 1 << 20, &n) : 0;
  if (o->profile && !text)
    refuse(o, o->profile, strerror(errno));
  int line = rules_read(r, text ? text : own, n, o->here);
  if (line)
    refuse(o, o->profile ? o->profile : "built-in profile", "not made of rules");
  free(text);
}

/*
 * Where the program starts. A directory under a rule for this machine that exists only at the slave, where the slave
 * stands, is the slave's with all below it: what the user has in front of them wins over what is not there.
 */
static const char *choose_cwd(struct rules *r, const struct options *o)
{
  if (!o->cwd || o->reverse) /* where the slave stands already */
    return 0;
  struct stat st;
  if (rules_where(r, o->cwd) == WHERE_LOCAL && !stat(o->cwd, &st) && S_ISDIR(st.st_mode))
    return o->cwd;
  if (o->cwd_error)
    refuse(o, o->cwd, strerror(o->cwd_error));
  if (rules_where(r, o->cwd) == WHERE_LOCAL)
    rules_add(r, WHERE_REMOTE, o->cwd, strlen(o->cwd));
  return 0;
}

static void make_rules(struct rules *r, const struct options *o, const char *tmpdir)
{
  if (o->standalone)
    rules_add(r, WHERE_LOCAL, "/", 1);
  else
    read_profile(r, o);
  for (unsigned i = 0; i < o->nmap; i++)
    if (rules_map(r, o->map[i]))
      refuse(o, o->map[i], "not such a rule as --map takes, or one too many");
  if (tmpdir[0])
    rules_add(r, WHERE_LOCAL, tmpdir, strlen(tmpdir));
}

/* ---- the session ---- */

/* The stream leaves numbers that the program may be given; what stood at 0 and 1 is nobody's then. */
static void move_stream(struct options *o)
{
  int in = fcntl(o->in, F_DUPFD_CLOEXEC, 10), out = fcntl(o->out, F_DUPFD_CLOEXEC, 10);
  if (in < 0 || out < 0)
    wrong("--fds", "not open");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < 2; i++) {
    int fd = i ? o->out : o->in;
    if (fd > 2)
      close(fd);
    else if (null >= 0)
      dup2(null, fd);
  }
  o->in = in;
  o->out = out;
}

static char **login_shell(struct options *o, struct launch *l)
{
  static char *argv[2], name[256], env[4096];
  const struct passwd *pw = getpwuid(getuid());
  const char *shell = pw ? pw->pw_shell : 0;
  if (!shell || !shell[0])
    shell = "/bin/sh";
  const char *base = strrchr(shell, '/');
  snprintf(name, sizeof name, "-%s", base ? base + 1 : shell);
  snprintf(env, sizeof env, "SHELL=%s", shell);
  l->program = strdup(shell);
  argv[0] = name;
  if (o->nenv < LIST_MAX)
    o->env[o->nenv++] = env;
  return argv;
}

static void raise_limit(struct rlimit *was)
{
  getrlimit(RLIMIT_NOFILE, was);
  struct rlimit all = {was->rlim_max, was->rlim_max};
  setrlimit(RLIMIT_NOFILE, &all);
}

static int run(struct options *o, struct rules *rules, const char *cwd, const char *tmpdir)
{
  struct launch l = {.clean_env = o->clean_env,
                     .programs_here = o->here,
                     .cwd = cwd,
                     .tmpdir = tmpdir,
                     .env = o->env,
                     .mode = o->mode};
  struct hub_options ho = {
      .id = o->id, .stats = o->stats, .trace_fd = o->trace_fd, .link = o->link, .rules = rules, .tmpdir = tmpdir};
  ho.flags = (o->no_rewrite ? 0 : SF_REWRITE) | (o->trace ? SF_TRACE : 0) | (o->standalone ? SF_STANDALONE : 0) |
             (o->reverse ? SF_REVERSE : 0) | (o->here ? SF_PROGRAMS_HERE : 0) | (o->no_cache ? 0 : SF_NAMES) |
             (o->net_local ? SF_NET_LOCAL : 0) | (o->vft ? SF_VFT : 0) | (o->high ? SF_HIGH : 0);
  if (!o->standalone) {
    move_stream(o);
    if (!o->reverse)
      setsid(); /* fails if we lead a group that has a terminal: the command gets a session of its own then */
  }
  raise_limit(&l.files);
  if (o->store_erase)
    disk_erase();
  ho.store = o->store ? HUB_STORE_BYTES : 0;
  struct hub *h = hub_new(&ho);
  if (!h)
    refuse(o, "cannot make a session",
           errno == EMFILE ? "too many inotify instances of this user (fs.inotify.max_user_instances)?"
                           : strerror(errno));
  if (!o->standalone && hub_connect(h, o->in, o->out))
    return FAILED;
  if (o->link >= 0)
    close(o->link);
  l.program = o->argv[0];
  l.argv = o->login ? login_shell(o, &l) : o->argv;
  pid_t command = launch(h, &l);
  if (command < 0) {
    hub_give_up(h, "the command cannot be started");
    return FAILED;
  }
  int status = hub_run(h, command);
  o->has_tmpdir = o->has_tmpdir && !hub_left(h);
  return status;
}

/* Of all that is needed from the kernel, this came last. The range holds no descriptor. */
static void check_kernel(const struct options *o)
{
  if (syscall(SYS_close_range, ~0u - 1, ~0u, 0) && errno == ENOSYS)
    refuse(o, "this machine's kernel is too old", "Linux 5.9 is needed");
}

/* ---- the far end of a remote shell ---- */

/* Until the one that does the work has ended: nothing of the session is left then. */
static void outlive(pid_t child, uint64_t id) __attribute__((noreturn));
static void outlive(pid_t child, uint64_t id)
{
  int how;
  while (waitpid(child, &how, 0) != child)
    continue;
  killall_session(id);
  tmpdir_remove(id);
  quit(WIFEXITED(how) ? WEXITSTATUS(how) : FAILED);
}

/* The request comes on the stream instead of the command line; who returns is a child, with the command line made. */
static void serve(struct words *w)
{
  static const char ready[] = REMOTE_READY "\n";
  char why[256], id_text[20];
  uint64_t id;
  size_t n;
  if (write_full(1, ready, sizeof ready - 1) || getrandom(&id, sizeof id, 0) != sizeof id)
    quit(FAILED);
  uint8_t *body = request_read(0, 1, &n, why);
  snprintf(id_text, sizeof id_text, "%lx", (unsigned long)id);
  words_add(w, strdup("fmaster"));
  words_option(w, "--id", id_text);
  if (!body || !request_words(w, body, n)) {
    request_verdict(1, V_REQUEST, "malformed request");
    quit(FAILED);
  }
  free(body);
  pid_t parent = getpid(), child = request_verdict(1, V_OK, "") ? -1 : fork();
  if (child > 0)
    outlive(child, id);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (child < 0 || getppid() != parent)
    quit(FAILED);
}

/* nexecd's end is told by SIGTERM. The hub takes it; until there is one it waits, or the directory would be left. */
static void hold_end(void)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, 0);
}

int main(int argc, char **argv)
{
  static struct options o = {.in = 0, .out = 1, .trace_fd = STDERR_FILENO, .link = -1};
  static struct rules rules;
  char tmpdir[64] = "";
  struct words w = {0};
  log_name("fmaster");
  if (argc == 2 && !strcmp(argv[1], "--serve")) {
    serve(&w);
    argc = (int)w.n;
    argv = w.v;
  }
  read_options(&o, argc, argv);
  check_kernel(&o);
  if (!o.standalone)
    hold_end();
  int err = o.standalone ? 0 : tmpdir_make(o.id, tmpdir);
  if (err)
    refuse(&o, "a private directory in /tmp", strerror(-err));
  o.has_tmpdir = !o.standalone;
  make_rules(&rules, &o, tmpdir);
  const char *cwd = choose_cwd(&rules, &o);
  rules_sort(&rules);
  int status = run(&o, &rules, cwd, tmpdir);
  if (o.has_tmpdir)
    tmpdir_remove(o.id);
  return status;
}
