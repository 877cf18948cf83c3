/*
 * Checking a signature by an SSH key with OpenSSH's own tool: `ssh-keygen -Y verify', to which the one key is all that
 * allowed_signers(5) lists.
 *
 * Owns that process, which gets its files as descriptors. Must never take anything but its success for one.
 */
#include "login/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "login/confine.h"
#include "login/sshsig.h"

#define SIGNER "caller"
#define SECONDS 10
#define FIRST_FD 3 /* where it finds the list and the signature */

static bool lose_rights(void)
{
  const struct rlimit none = {0, 0}, time = {SECONDS, SECONDS};
  if (!confine_user())
    return false;
  return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !setrlimit(RLIMIT_FSIZE, &none) && !setrlimit(RLIMIT_CORE, &none) &&
         !setrlimit(RLIMIT_CPU, &time);
}

static void be_keygen(int text, int signers, int signature)
{
  static char *const argv[] = {
      "ssh-keygen",      "-q", "-Y", "verify", "-f", "/proc/self/fd/3", "-I", SIGNER, "-n", LOGIN_NAMESPACE, "-s",
      "/proc/self/fd/4", 0};
  static char *const env[] = {"PATH=/usr/bin:/bin:/usr/local/bin", 0};
  sigset_t none;
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int high = fcntl(signature, F_DUPFD_CLOEXEC, 10);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  signal(SIGPIPE, SIG_DFL);
  if (null < 0 || high < 0 || dup2(text, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
    _exit(254);
  signers = fcntl(signers, F_DUPFD_CLOEXEC, 10);
  if (signers < 0 || dup2(signers, FIRST_FD) < 0 || dup2(high, FIRST_FD + 1) < 0 || !lose_rights())
    _exit(254);
  environ = (char **)env;
  alarm(SECONDS);
  execvp(argv[0], argv);
  _exit(253);
}

static char *signer_line(const struct login_key *k)
{
  char type[64], *line = 0, *letters = ssh_key_type(k->blob, k->n, type) ? base64_of(k->blob, k->n) : 0;
  if (letters && asprintf(&line, SIGNER " namespaces=\"" LOGIN_NAMESPACE "\" %s %s\n", type, letters) < 0)
    line = 0;
  free(letters);
  return line;
}

static int fd_of(const char *text, size_t n)
{
  return text ? memfd_of("login", text, n, false) : -ENOMEM;
}

static bool run(const int fd[3], char why[256])
{
  int how = -1;
  pid_t pid = fork();
  if (!pid)
    be_keygen(fd[0], fd[1], fd[2]);
  while (pid > 0 && waitpid(pid, &how, 0) < 0 && errno == EINTR)
    continue;
  bool ran = pid > 0 && WIFEXITED(how);
  snprintf(why, 256, "%s",
           ran && WEXITSTATUS(how) == 253   ? "there is no ssh-keygen, which checks signatures"
           : ran && WEXITSTATUS(how) == 254 ? "ssh-keygen could not be started"
                                            : "the signature is not right");
  return ran && !WEXITSTATUS(how);
}

bool verify_signature(const struct login *l, char why[256])
{
  uint8_t text[LOGIN_TEXT_MAX];
  char *line = signer_line(&l->key[l->signed_by]), *armour = sshsig_armour(l->signature, l->nsignature);
  int fd[] = {fd_of((char *)text, login_text(l, text)), fd_of(line, line ? strlen(line) : 0),
              fd_of(armour, armour ? strlen(armour) : 0)};
  bool good = false;
  snprintf(why, 256, "out of memory");
  if (fd[0] >= 0 && fd[1] >= 0 && fd[2] >= 0)
    good = run(fd, why);
  for (unsigned i = 0; i < 3; i++)
    if (fd[i] >= 0)
      close(fd[i]);
  free(line);
  free(armour);
  return good;
}
