/*
 * The caller's SSH keys.
 *
 * Owns the order in which they are offered. Must never read a private key itself.
 */
#include "login/keys.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/log.h"
#include "login/agent.h"
#include "login/sshsig.h"

static const char *const usual[] = {"id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa"};

/* ---- finding ---- */

static bool have(const struct keyring *r, const struct login_key *k, unsigned *which)
{
  for (unsigned i = 0; i < r->n; i++)
    if (r->key[i].n == k->n && !memcmp(r->key[i].blob, k->blob, k->n)) {
      *which = i;
      return true;
    }
  return false;
}

/* A file `PATH.pub' with one line: type, letters, comment. */
static bool read_public(const char *path, struct login_key *k)
{
  char name[4096], *next, *type, *letters;
  size_t n;
  if (snprintf(name, sizeof name, "%s.pub", path) >= (int)sizeof name)
    return false;
  char *text = read_file(name, 64 << 10, &n);
  if (!text)
    return false;
  type = strtok_r(text, " \t\r\n", &next);
  letters = type ? strtok_r(0, " \t\r\n", &next) : 0;
  k->n = letters ? (uint32_t)base64_bytes(letters, strlen(letters), k->blob, sizeof k->blob) : 0;
  free(text);
  return k->n;
}

static void swap(struct keyring *r, unsigned i, unsigned j)
{
  struct login_key k = r->key[i];
  char *file = r->file[i];
  r->key[i] = r->key[j];
  r->file[i] = r->file[j];
  r->key[j] = k;
  r->file[j] = file;
}

/* One that the agent has too is left to it. */
static void add_file(struct keyring *r, const char *path, bool first)
{
  struct login_key k;
  unsigned i;
  if (!read_public(path, &k)) {
    if (first)
      log_line("%s.pub holds no public key", path);
    return;
  }
  if (!have(r, &k, &i)) {
    if (r->n == LOGIN_KEYS)
      return;
    i = r->n++;
    r->key[i] = k;
    r->file[i] = strdup(path);
  }
  if (first)
    swap(r, 0, i);
}

static void prefer(struct keyring *r, const char *fingerprint)
{
  char text[FINGERPRINT_TEXT];
  for (unsigned i = 0; i < r->n; i++) {
    key_fingerprint(r->key[i].blob, r->key[i].n, text);
    if (!strcmp(text, fingerprint)) {
      swap(r, 0, i);
      return;
    }
  }
}

void keys_find(struct keyring *r, const char *identity, const char *fingerprint)
{
  const char *home = getenv("HOME");
  char path[4096];
  r->n = agent_keys(r->key, LOGIN_KEYS - 1);
  if (identity && home && !strncmp(identity, "~/", 2) &&
      snprintf(path, sizeof path, "%s%s", home, identity + 1) < (int)sizeof path)
    identity = path;
  if (identity)
    add_file(r, identity, true);
  for (unsigned i = 0; home && i < sizeof usual / sizeof *usual; i++)
    if (snprintf(path, sizeof path, "%s/.ssh/%s", home, usual[i]) < (int)sizeof path)
      add_file(r, path, false);
  if (!identity)
    prefer(r, fingerprint);
}

/* ---- signing ---- */

static void be_keygen(int text, int answer, const char *file)
{
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  if (dup2(text, 0) < 0 || dup2(answer, 1) < 0)
    _exit(255);
  execlp("ssh-keygen", "ssh-keygen", "-q", "-Y", "sign", "-n", LOGIN_NAMESPACE, "-f", file, (char *)0);
  log_line("ssh-keygen is needed to sign with %s", file);
  _exit(255);
}

static size_t sign_by_keygen(const char *file, const void *text, size_t n, uint8_t *out, size_t size)
{
  int answer[2], how = 1;
  size_t len = 0;
  int fd = memfd_of("login", text, n, false);
  if (fd < 0 || pipe2(answer, O_CLOEXEC))
    return 0;
  pid_t pid = fork();
  if (!pid)
    be_keygen(fd, answer[1], file);
  close(fd);
  close(answer[1]);
  char *armour = pid > 0 ? read_all(answer[0], 4 * LOGIN_SIG_MAX, &len) : 0;
  close(answer[0]);
  if (pid > 0)
    waitpid(pid, &how, 0);
  len = armour && !how ? sshsig_bare(armour, out, size) : 0;
  free(armour);
  return len;
}

size_t keys_sign(const struct keyring *r, unsigned i, const void *text, size_t n, uint8_t *out, size_t size)
{
  if (r->file[i])
    return sign_by_keygen(r->file[i], text, n, out, size);
  return agent_sign(&r->key[i], text, n, out, size);
}
