/*
 * The keys that an ssh-agent holds, by its protocol (draft-miller-ssh-agent).
 *
 * Owns a connection for each question. Must never believe a length of its answer.
 */
#include "login/agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "login/sshsig.h"

#define REQUEST_IDENTITIES 11
#define IDENTITIES_ANSWER 12
#define SIGN_REQUEST 13
#define SIGN_RESPONSE 14
#define RSA_SHA2_512 4
#define ANSWER_MAX (256u << 10)
#define ANSWER_MS 120000 /* somebody may have to touch a key */

static int connect_agent(void)
{
  const char *path = getenv("SSH_AUTH_SOCK");
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  if (!path || !*path || strlen(path) >= sizeof a.sun_path)
    return -1;
  strcpy(a.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a))
    return fd;
  if (fd >= 0)
    close(fd);
  return -1;
}

/* The answer behind its kind, malloc'd, if it is of the kind that is wanted. */
static uint8_t *ask(const uint8_t *question, size_t n, uint8_t wanted, size_t *len)
{
  uint8_t head[5], *answer = 0;
  const uint8_t *at = head;
  size_t left = sizeof head;
  uint32_t all = 0;
  uint64_t until = now_ms() + ANSWER_MS;
  int fd = connect_agent();
  if (fd < 0)
    return 0;
  if (!write_until(fd, question, n, until) && !read_until(fd, head, sizeof head, until) &&
      ssh_get_u32(&at, &left, &all) && all && all <= ANSWER_MAX && head[4] == wanted)
    answer = malloc(all);
  *len = all - 1;
  if (answer && read_until(fd, answer, *len, until)) {
    free(answer);
    answer = 0;
  }
  close(fd);
  return answer;
}

/* Certificates are not what an authorized_keys file lists. */
static bool is_plain(const uint8_t *blob, size_t n)
{
  char type[64];
  return n <= LOGIN_KEY_MAX && ssh_key_type(blob, n, type) && !strstr(type, "-cert-");
}

unsigned agent_keys(struct login_key *keys, unsigned room)
{
  size_t left, n;
  uint32_t all = 0;
  unsigned taken = 0;
  uint8_t *answer = ask((const uint8_t[]){0, 0, 0, 1, REQUEST_IDENTITIES}, 5, IDENTITIES_ANSWER, &left);
  const uint8_t *at = answer, *p;
  if (!answer || !ssh_get_u32(&at, &left, &all))
    all = 0;
  for (uint32_t i = 0; i < all && taken < room && ssh_get_string(&at, &left, &p, &n); i++) {
    if (is_plain(p, n)) {
      memcpy(keys[taken].blob, p, n);
      keys[taken++].n = (uint32_t)n;
    }
    if (!ssh_get_string(&at, &left, &p, &n)) /* a comment */
      break;
  }
  free(answer);
  return taken;
}

size_t agent_sign(const struct login_key *key, const void *text, size_t n, uint8_t *out, size_t size)
{
  uint8_t data[512], question[LOGIN_KEY_MAX + 600];
  char type[64];
  size_t ndata = sshsig_to_sign(text, n, data, sizeof data), left, len = 0;
  if (!ndata || !ssh_key_type(key->blob, key->n, type))
    return 0;
  struct sshbuf b = {question + 4, question + sizeof question, false}, head = {question, question + 4, false};
  ssh_put(&b, (uint8_t[]){SIGN_REQUEST}, 1);
  ssh_put_string(&b, key->blob, key->n);
  ssh_put_string(&b, data, ndata);
  ssh_put_u32(&b, strcmp(type, "ssh-rsa") ? 0 : RSA_SHA2_512);
  ssh_put_u32(&head, (uint32_t)(b.at - question) - 4);
  uint8_t *answer = b.bad ? 0 : ask(question, (size_t)(b.at - question), SIGN_RESPONSE, &left);
  const uint8_t *at = answer, *p;
  if (answer && ssh_get_string(&at, &left, &p, &n))
    len = sshsig_make(key->blob, key->n, p, n, out, size);
  free(answer);
  return len;
}
