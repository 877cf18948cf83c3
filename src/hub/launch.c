/*
 * Starting the session's command: fork, its descriptors, the agent executed in its place.
 *
 * Owns the child's state between fork and exec. Must never let a descriptor of the hub pass into the program but those
 * that enum agent_fd names.
 */
#include "hub/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/killall.h"
#include "base/log.h"

#define STATUS_FAILED 255
#define FILES_MAX 16384

extern const char agent_image[], agent_image_end[];

struct start {
  int fds[3];         /* for 0 to 2; -1: leave what is there, -2: closed */
  int afd[AFD_COUNT]; /* -1: none */
  int afd_base;
  struct rlimit real; /* RLIMIT_NOFILE of the process */
  struct carry carry;
};

int agent_open(uint64_t id)
{
  char name[64];
  snprintf(name, sizeof name, AGENT_NAME_FORMAT, (unsigned long)id);
  return memfd_of(name, agent_image, (size_t)(agent_image_end - agent_image), true);
}

/*
 * Above what the program may use, if the hard limit leaves room there; else at the top of it. Not beyond FILES_MAX: the
 * kernel copies its table up to the highest number at every fork.
 */
static void place_descriptors(struct start *s, const struct rlimit *files)
{
  rlim_t cur = files->rlim_cur, max = files->rlim_max;
  s->real = *files;
  if (cur > FILES_MAX)
    cur = FILES_MAX;
  else if (cur + AFD_COUNT <= max)
    s->real.rlim_cur = cur + AFD_COUNT;
  else
    cur -= AFD_COUNT;
  s->carry.rlim_cur = cur;
  s->carry.rlim_max = files->rlim_cur == max ? cur : max;
  s->afd_base = s->carry.afd_base = (int)cur;
}

static int stdio_fd(struct hub *h, unsigned i)
{
  uint32_t kind = hub_session(h)->facts.stdio[i].kind;
  if (hub_on_terminal(h, i))
    return fcntl(hub_terminal(h), F_DUPFD_CLOEXEC, 3);
  if (kind == K_NONE)
    return -2;
  return kind == K_NULL ? open("/dev/null", O_RDWR | O_CLOEXEC) : hub_placeholder(h, H_STDIN + i);
}

static int open_stdio(struct hub *h, struct start *s)
{
  bool here = hub_session(h)->flags & SF_NEAR;
  for (unsigned i = 0; i < 3; i++) {
    s->fds[i] = here ? -1 : stdio_fd(h, i);
    if (s->fds[i] == -1 && !here)
      return -errno;
  }
  return 0;
}

static int write_carry(struct hub *h, const struct launch *l, struct start *s)
{
  const struct session *ses = hub_session(h);
  struct carry *k = &s->carry;
  bool here = ses->flags & SF_STANDALONE;
  mode_t mask = umask(0);
  umask(mask);
  k->magic = SESSION_MAGIC;
  k->kind = CARRY_FIRST;
  k->prog_fd = k->interp_fd = -1;
  k->ctx = 1;
  k->cwd_handle = here || l->cwd ? H_NONE : H_CWD;
  k->mode = (uint32_t)l->mode;
  k->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1; /* before it is set for the agent's sake */
  k->umask = ses->flags & SF_NEAR ? mask : ses->facts.umask;
  snprintf(k->cwd, sizeof k->cwd, "%s", l->cwd ? l->cwd : ses->facts.cwd);
  snprintf(k->execfn, sizeof k->execfn, "%s", l->program);
  int fd = memfd_new("fsyscall-carry", false);
  if (fd < 0)
    return fd;
  if (write(fd, k, sizeof *k) != sizeof *k)
    return -EIO;
  return fd;
}

static int prepare(struct hub *h, const struct launch *l, struct start *s)
{
  for (int i = 0; i < AFD_COUNT; i++)
    s->afd[i] = -1;
  place_descriptors(s, &l->files);
  int err = open_stdio(h, s);
  if (err)
    return err;
  s->afd[AFD_REQUEST] = hub_program_end(h);
  s->afd[AFD_SESSION] = hub_session_fd(h);
  s->afd[AFD_AGENT] = agent_open(hub_session(h)->id);
  s->afd[AFD_CARRY] = write_carry(h, l, s);
  if (s->carry.cwd_handle == H_CWD)
    s->afd[AFD_CWD] = hub_placeholder(h, H_CWD);
  if (s->afd[AFD_AGENT] < 0)
    return s->afd[AFD_AGENT];
  return s->afd[AFD_CARRY] < 0 ? s->afd[AFD_CARRY] : 0;
}

/* ---- in the child: nothing but system calls, and a word when one fails ---- */

static void child_failed(const char *what) __attribute__((noreturn));
static void child_failed(const char *what)
{
  log_line("cannot start the command: %s: %s", what, strerror(errno));
  _exit(STATUS_FAILED);
}

static void child_signals(void)
{
  sigset_t none;
  struct sigaction dfl = {.sa_handler = SIG_DFL};
  for (int i = 1; i < NSIG; i++)
    sigaction(i, &dfl, 0);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
}

/* Sources may lie where targets do: all move out of the way first. */
static void child_descriptors(struct start *s)
{
  int high = s->afd_base + AFD_COUNT;
  for (int i = 0; i < AFD_COUNT; i++)
    if (s->afd[i] >= 0 && s->afd[i] < high && s->afd[i] >= s->afd_base)
      s->afd[i] = fcntl(s->afd[i], F_DUPFD_CLOEXEC, 3);
  for (int i = 0; i < AFD_COUNT; i++)
    if (s->afd[i] >= 0 && dup2(s->afd[i], s->afd_base + i) < 0)
      child_failed("the agent's descriptors");
  for (int i = 0; i < 3; i++) {
    if (s->fds[i] == -2)
      close(i);
    if (s->fds[i] >= 0 && dup2(s->fds[i], i) < 0)
      child_failed("standard descriptors");
  }
}

static void child_directory(const struct launch *l, bool alone)
{
  const char *to = l->cwd ? l->cwd : alone ? 0 : l->tmpdir;
  if (to && chdir(to))
    child_failed(to);
}

/* A session of its own, on a terminal of its own. */
static void child_terminal(int fd)
{
  setsid();
  if (ioctl(fd, TIOCSCTTY, 0))
    child_failed("its terminal");
}

static void child(struct hub *h, const struct launch *l, struct start *s, char **env, pid_t parent)
{
  bool alone = hub_session(h)->flags & SF_STANDALONE, here = hub_session(h)->flags & SF_NEAR;
  /* A process group of its own, in our session if that has no terminal: one that nobody of its session could continue
     is never stopped by SIGTSTP. */
  if (!alone) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* until it is the agent, nobody else would find it */
    if (getppid() != parent)
      _exit(STATUS_FAILED);
  }
  if (hub_terminal(h) >= 0)
    child_terminal(hub_terminal(h));
  else if (!here && (getsid(0) != getppid() || setpgid(0, 0)))
    setsid();
  child_signals();
  child_directory(l, alone);
  umask((mode_t)s->carry.umask);
  /* The hub's own limit is higher: descriptors first, then the limit, which closes nothing. */
  child_descriptors(s);
  if (setrlimit(RLIMIT_NOFILE, &s->real))
    child_failed("RLIMIT_NOFILE");
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  /* The agent finds its descriptors by the number of this one. */
  syscall(SYS_execveat, s->afd_base + AFD_AGENT, "", l->argv, env, AT_EMPTY_PATH);
  if (errno == E2BIG) {
    log_line("%s: the arguments are too long", l->program);
    _exit(126);
  }
  child_failed("the agent");
}

static void close_given(struct start *s)
{
  for (int i = 0; i < 3; i++)
    if (s->fds[i] >= 0)
      close(s->fds[i]);
  close(s->afd[AFD_AGENT]);
  close(s->afd[AFD_CARRY]);
  if (s->afd[AFD_CWD] >= 0)
    close(s->afd[AFD_CWD]);
}

pid_t launch(struct hub *h, const struct launch *l)
{
  static struct start s;
  int err = prepare(h, l, &s);
  char **env = launch_environment(h, l);
  pid_t parent = getpid(), pid = err || !env ? -1 : fork();
  if (!pid)
    child(h, l, &s, env, parent);
  if (pid < 0) {
    err = err ? err : env ? -errno : -ENOMEM;
    log_line("cannot start the command: %s", strerror(-err));
    return err;
  }
  if (!(hub_session(h)->flags & SF_NEAR) && hub_terminal(h) < 0)
    setpgid(pid, pid); /* by whoever comes first: it may be sent a signal at once */
  close_given(&s);
  return pid;
}
