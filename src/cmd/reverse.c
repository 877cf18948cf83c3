/*
 * nexec -r: fmaster runs here, as our child and in our process group, and has the standard descriptors and the terminal
 * that we were given: what the terminal sends reaches the programs without us.
 *
 * Owns fmaster until its end. Must never leave anything of the session behind when that one was killed.
 */
#include "cmd/reverse.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/killall.h"
#include "base/log.h"
#include "base/tmpdir.h"
#include "cmd/near.h"
#include "cmd/request.h"

#define FAILED 255

static void be_fmaster(const struct words *w, const char *path, int stream, int link, int trace_fd, pid_t parent,
                       const sigset_t *mask)
{
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent)
    _exit(FAILED);
  sigprocmask(SIG_SETMASK, mask, 0);
  set_cloexec(stream, false);
  set_cloexec(trace_fd, false);
  if (link >= 0)
    set_cloexec(link, false);
  execv(path, w->v);
  log_line("cannot execute %s: %s", path, strerror(errno));
  _exit(FAILED);
}

/* What somebody sends to us is meant for the command; the terminal's signals it has got itself. */
static void pass_on(int signals, pid_t fmaster)
{
  struct signalfd_siginfo si;
  while (read(signals, &si, sizeof si) == sizeof si)
    if (si.ssi_signo != SIGCHLD && si.ssi_code != SI_KERNEL)
      kill(fmaster, (int)si.ssi_signo);
}

static int wait_for(pid_t fmaster, int signals, uint64_t id)
{
  for (int how;;) {
    struct pollfd p = {.fd = signals, .events = POLLIN};
    poll(&p, 1, -1);
    pass_on(signals, fmaster);
    if (waitpid(fmaster, &how, WNOHANG) != fmaster)
      continue;
    if (WIFEXITED(how))
      return WEXITSTATUS(how);
    log_line("fmaster was killed by signal %d; the session has ended", WTERMSIG(how));
    killall_session(id);
    tmpdir_remove(id);
    return FAILED;
  }
}

static int hold_signals(sigset_t *before)
{
  sigset_t set;
  sigemptyset(&set);
  for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD, 0}; *s; s++)
    sigaddset(&set, *s);
  sigprocmask(SIG_BLOCK, &set, before);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int reverse_run(int stream, int link, int trace_fd, const uint8_t *request, size_t n)
{
  char id_text[20], fds[32], trace[16];
  uint64_t id;
  sigset_t before;
  struct words w = {0};
  char *path = near_find("fmaster");
  if (!path || getrandom(&id, sizeof id, 0) != sizeof id) {
    log_line(path ? "no random numbers" : "there is no fmaster beside nexec, in its libexec or in PATH");
    return FAILED;
  }
  snprintf(id_text, sizeof id_text, "%lx", (unsigned long)id);
  snprintf(fds, sizeof fds, "%d,%d", stream, stream);
  words_add(&w, path);
  words_option(&w, "--fds", fds);
  words_option(&w, "--id", id_text);
  snprintf(trace, sizeof trace, "%d", trace_fd);
  words_option(&w, "--trace-fd", trace);
  if (link >= 0) {
    snprintf(trace, sizeof trace, "%d", link);
    words_option(&w, "--link-fd", trace);
  }
  request_words(&w, request, n);
  int signals = hold_signals(&before);
  pid_t parent = getpid(), fmaster = signals < 0 ? -1 : fork();
  if (!fmaster)
    be_fmaster(&w, path, stream, link, trace_fd, parent, &before);
  close(stream);
  if (link >= 0)
    close(link);
  if (fmaster < 0) {
    log_line("cannot start fmaster: %s", strerror(errno));
    return FAILED;
  }
  return wait_for(fmaster, signals, id);
}
