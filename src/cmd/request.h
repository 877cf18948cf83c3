/*
 * What is asked of the machine that is to run a part of a session, and its answer.
 *
 *   request   length[4], body: a list of facts (enum request_fact)
 *   verdict   code[4], length of text[4], text, proof[32] (login/login.h; else zeros)
 *
 * Results: 0, or -1 (or the verdict) with a line in `why' (for a person, without the program's name).
 */
#ifndef CMD_REQUEST_H
#define CMD_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_MAX (2u << 20)
#define HANDSHAKE_MS 10000
#define PROOF 32
#define VERDICT_TEXT 201 /* with a NUL */

enum request_fact {
  RQ_ARG = 1,   /* one each, the command first; none: a login shell */
  RQ_ENV,       /* NAME=VALUE of --env */
  RQ_MAP,       /* PATH=WHERE of --map */
  RQ_CWD,       /* where the command starts */
  RQ_CWD_ERROR, /* integer: errno, the caller's machine has no such directory */
  RQ_FLAGS,     /* integer: enum request_flag */
};
enum request_flag {
  RQF_TRACE = 1,
  RQF_STATS = 2,
  RQF_NO_REWRITE = 4,
  RQF_PROGRAMS_HERE = 8,
  RQF_CLEAN_ENV = 16,
  RQF_VERBOSE = 32,
  RQF_NO_CACHE = 64,
  RQF_REVERSE = 128, /* the slave is wanted: fslave instead of fmaster */
  RQF_NET_LOCAL = 256,
  RQF_STORE = 512,
  RQF_STORE_ERASE = 1024,
  RQF_VFT = 2048,
  RQF_LOCAL = 4096, /* --mode */
  RQF_UNMAPPED = 8192,
  RQF_HIGH = 16384 /* --high-descriptors */
};

enum verdict { V_OK, V_SECRET, V_VERSION, V_REQUEST, V_FAILED, V_TOO_LONG, V_KEY };

/* The asking side, over a socket. */
int request_send(int sock, const uint8_t *body, size_t n, char why[256]);
int verdict_read(int sock, uint8_t proof[PROOF], char why[256]);
/* The same in parts: what `head' says, false if it cannot be; and the text that follows, of n bytes, made fit to show.
 */
bool verdict_head(const uint8_t head[8], int *verdict, uint32_t *n);
void verdict_text(char text[VERDICT_TEXT], uint32_t n);
/* The other. */
uint8_t *request_read(int in, int out, size_t *n, char why[256]); /* the body, malloc'd */
int verdict_send(int out, enum verdict v, const char *text, const uint8_t proof[PROOF]);
int request_verdict(int out, enum verdict v, const char *text);
const char *request_reason(int err); /* words for -errno of the stream */
uint64_t request_deadline(void);

/* A command line that grows. Ends the program if there is no memory. */
struct words {
  char **v;
  size_t n, room;
};
void words_add(struct words *w, char *text);
void words_option(struct words *w, const char *name, const char *value);
/* The body as options and arguments of fmaster, from "--" on; false if it is malformed. */
bool request_words(struct words *w, const uint8_t *body, size_t n);
/* How many of the last words that request_words() made are the command's. */
size_t request_nargs(const uint8_t *body, size_t n);
bool request_has(const uint8_t *body, size_t n, unsigned fact);
/* RQ_FLAGS of the body; and its RQ_CWD, malloc'd, or 0. */
uint64_t request_flags(const uint8_t *body, size_t n);
char *request_cwd(const uint8_t *body, size_t n);
/* What the kernel would refuse to execute. */
bool words_too_long(const struct words *w);

#endif
