/*
 * What is asked of the machine that is to run a part of a session, and its answer; see the header.
 *
 * Owns the wire form of both, and how a request becomes fmaster's command line. Must never believe a length that came
 * from outside, or pass on a text with a NUL in it.
 */
#include "cmd/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "proto/codec.h"

#define TEXT_MAX (VERDICT_TEXT - 1)

extern char **environ;

static int fail(char why[256], const char *text)
{
  snprintf(why, 256, "%s", text);
  return -1;
}

uint64_t request_deadline(void)
{
  return now_ms() + HANDSHAKE_MS;
}

const char *request_reason(int err)
{
  return err == -ENODATA ? "it closed the connection" : err == -ETIMEDOUT ? "it does not answer" : strerror(-err);
}

/* ---- verdicts ---- */

int verdict_send(int out, enum verdict v, const char *text, const uint8_t proof[PROOF])
{
  uint8_t buf[8 + TEXT_MAX + PROOF];
  uint32_t n = (uint32_t)strnlen(text, TEXT_MAX);
  struct wbuf w = {buf, buf + sizeof buf, false};
  put_u32(&w, v);
  put_blob(&w, text, n);
  put_raw(&w, proof, PROOF);
  return write_until(out, buf, (size_t)(w.at - buf), request_deadline());
}

int request_verdict(int out, enum verdict v, const char *text)
{
  static const uint8_t none[PROOF];
  return verdict_send(out, v, text, none);
}

bool verdict_head(const uint8_t head[8], int *verdict, uint32_t *n)
{
  struct rbuf r = {head, head + 8, false};
  uint32_t code = get_u32(&r);
  *verdict = code <= V_KEY ? (int)code : V_FAILED;
  *n = get_u32(&r);
  return *n < VERDICT_TEXT;
}

void verdict_text(char text[VERDICT_TEXT], uint32_t n)
{
  text[n] = 0;
  for (uint32_t i = 0; i < n; i++)
    if ((uint8_t)text[i] < ' ' || text[i] == 127)
      text[i] = ' ';
}

/* The verdict, V_OK is 0, or -1; `proof' gets what came. */
int verdict_read(int sock, uint8_t proof[PROOF], char why[256])
{
  uint8_t head[8];
  char text[VERDICT_TEXT];
  int verdict = V_OK;
  uint32_t n = 0;
  uint64_t until = request_deadline();
  int err = read_until(sock, head, sizeof head, until);
  if (!err && !verdict_head(head, &verdict, &n))
    return fail(why, "it does not speak nexec's protocol");
  err = err ? err : read_until(sock, text, n, until);
  err = err ? err : read_until(sock, proof, PROOF, until);
  if (err)
    return fail(why, request_reason(err));
  verdict_text(text, n);
  if (verdict)
    fail(why, text);
  return verdict;
}

/* ---- requests ---- */

int request_send(int sock, const uint8_t *body, size_t n, char why[256])
{
  uint8_t head[4], proof[PROOF];
  struct wbuf w = {head, head + sizeof head, false};
  put_u32(&w, (uint32_t)n);
  int err = write_until(sock, head, sizeof head, request_deadline());
  err = err ? err : write_until(sock, body, n, request_deadline() + HANDSHAKE_MS);
  if (err)
    return fail(why, request_reason(err));
  return verdict_read(sock, proof, why);
}

uint8_t *request_read(int in, int out, size_t *n, char why[256])
{
  uint8_t head[4];
  uint64_t until = request_deadline() + HANDSHAKE_MS;
  int err = read_until(in, head, sizeof head, until);
  struct rbuf r = {head, head + sizeof head, false};
  *n = get_u32(&r);
  if (!err && *n > REQUEST_MAX) {
    fail(why, "the request is too long");
    request_verdict(out, V_REQUEST, why);
    return 0;
  }
  uint8_t *body = err ? 0 : malloc(*n + 1);
  err = err ? err : body ? read_until(in, body, *n, until) : -ENOMEM;
  if (!err)
    return body;
  fail(why, request_reason(err));
  free(body);
  return 0;
}

/* ---- a request becomes a command line ---- */

void words_add(struct words *w, char *text)
{
  if (w->n + 1 >= w->room) {
    w->room = w->room ? 2 * w->room : 64;
    w->v = realloc(w->v, w->room * sizeof *w->v);
  }
  if (!w->v || !text) {
    log_line("out of memory");
    exit(255);
  }
  w->v[w->n++] = text;
  w->v[w->n] = 0;
}

void words_option(struct words *w, const char *name, const char *value)
{
  words_add(w, strdup(name));
  words_add(w, strdup(value));
}

static void option(struct words *w, const char *name, const uint8_t *value, uint32_t n)
{
  words_add(w, strdup(name));
  words_add(w, strndup((const char *)value, n));
}

static void flags(struct words *w, uint64_t f)
{
  static const struct {
    unsigned flag;
    const char *text;
  } names[] = {{RQF_TRACE, "--trace"},
               {RQF_STATS, "--stats"},
               {RQF_NO_REWRITE, "--no-rewrite"},
               {RQF_NO_CACHE, "--no-cache"},
               {RQF_VERBOSE, "--verbose"},
               {RQF_PROGRAMS_HERE, "--programs=here"},
               {RQF_CLEAN_ENV, "--clean-env"},
               {RQF_REVERSE, "--reverse"},
               {RQF_NET_LOCAL, "--net=local"},
               {RQF_STORE, "--store"},
               {RQF_STORE_ERASE, "--store=erase"},
               {RQF_VFT, "--vft"},
               {RQF_HIGH, "--high-descriptors"}};
  static const char *const modes[] = {0, "--mode=local", "--mode=unmapped", "--mode=local,unmapped"};
  const char *mode = modes[(f & RQF_LOCAL ? 1 : 0) + (f & RQF_UNMAPPED ? 2 : 0)];
  if (mode)
    words_add(w, strdup(mode));
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
    if (f & names[i].flag)
      words_add(w, strdup(names[i].text));
}

static void fact(struct words *options, struct words *args, unsigned kind, const uint8_t *v, uint32_t n)
{
  char number[16];
  switch (kind) {
  case RQ_ARG:
    words_add(args, strndup((const char *)v, n));
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
    words_option(options, "--cwd-error", number);
    break;
  case RQ_FLAGS:
    flags(options, fact_int(v, n, 0));
    break;
  default:
    break;
  }
}

bool request_words(struct words *all, const uint8_t *body, size_t n)
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
    words_add(all, strdup("--login"));
  words_add(all, strdup("--"));
  for (size_t i = 0; i < args.n; i++)
    words_add(all, args.v[i]);
  free(args.v);
  return !r.bad;
}

/* The last one of that kind, or 0. */
static const uint8_t *look(const uint8_t *body, size_t n, unsigned wanted, uint32_t *len)
{
  struct rbuf r = {body, body + n, false};
  const uint8_t *v, *found = 0;
  uint32_t m;
  for (unsigned kind; (kind = get_fact(&r, &v, &m));)
    if (kind == wanted) {
      found = v;
      *len = m;
    }
  return r.bad ? 0 : found;
}

size_t request_nargs(const uint8_t *body, size_t n)
{
  struct rbuf r = {body, body + n, false};
  const uint8_t *v;
  uint32_t len;
  size_t args = 0;
  for (unsigned kind; (kind = get_fact(&r, &v, &len));)
    args += kind == RQ_ARG;
  return args;
}

bool request_has(const uint8_t *body, size_t n, unsigned fact)
{
  uint32_t len;
  return look(body, n, fact, &len);
}

uint64_t request_flags(const uint8_t *body, size_t n)
{
  uint32_t len = 0;
  const uint8_t *v = look(body, n, RQ_FLAGS, &len);
  return v ? fact_int(v, len, 0) : 0;
}

char *request_cwd(const uint8_t *body, size_t n)
{
  uint32_t len = 0;
  const uint8_t *v = look(body, n, RQ_CWD, &len);
  return v && !memchr(v, 0, len) ? strndup((const char *)v, len) : 0;
}

bool words_too_long(const struct words *w)
{
  size_t all = 0;
  for (size_t i = 0; i < w->n; i++)
    all += strlen(w->v[i]) + 1 + sizeof(char *);
  for (char **e = environ; *e; e++)
    all += strlen(*e) + 1 + sizeof(char *);
  return all + 4096 > (size_t)sysconf(_SC_ARG_MAX);
}
