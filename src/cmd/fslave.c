/*
 * fslave: serves one session on given descriptors. It connects nothing and needs no privilege and no file of its own.
 *
 * Owns the command line. Must never: leave a descriptor of the stream where the program's standard input is expected.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/std.h"
#include "cmd/remote.h"
#include "cmd/request.h"
#include "slave/slave.h"

static const char usage[] =
    "usage: fslave --fds R,W | --stdio | --serve  [options]\n"
    "\n"
    "Serves the system calls of a session whose master is at the other end of the stream.\n"
    "  --fds R,W       read the stream from descriptor R and write it to W (they may be the same)\n"
    "  --stdio         the stream is standard input and output; the program's own are /dev/null\n"
    "  --serve         as --stdio, for the far end of a remote shell: says that it is ready, and is told where to "
    "start\n"
    "  --status-fd N   write the command's exit status to N, as a decimal line; without it, exit with it\n"
    "  --control-fd N  each byte read from N is a signal to forward; bit 7: to the whole process group\n"
    "  --stats-fd N    where the figures of --stats go (standard error)\n"
    "  --trace-fd N    where the lines of --trace go (standard error)\n"
    "  --link-fd N     the TCP connection that carries the stream, if the stream is not that itself\n"
    "  --terminal M    the program gets a terminal of its own, with the modes M (`stty -g', - for a new one's)\n"
    "  --escape N      the character that gives up or stops at the beginning of a line that is typed\n"
    "  --help, --version\n"
    "Exits with the command's status, or 255 if the session failed.\n";

static bool number(const char *text, int *n, char end)
{
  char *rest;
  errno = 0;
  long v = strtol(text, &rest, 10);
  if (errno || rest == text || *rest != end || v < 0 || v > 1 << 20)
    return false;
  *n = (int)v;
  return true;
}

static bool open_number(const char *text, int *n)
{
  return number(text, n, 0) && fcntl(*n, F_GETFD) >= 0;
}

static bool stream_numbers(const char *text, struct slave_options *o)
{
  const char *comma = strchr(text, ',');
  return comma && number(text, &o->in, ',') && open_number(comma + 1, &o->out) && fcntl(o->in, F_GETFD) >= 0;
}

/* The stream leaves descriptors 0 and 1, which become /dev/null. */
static bool use_stdio(struct slave_options *o)
{
  o->in = fcntl(0, F_DUPFD_CLOEXEC, 10);
  o->out = fcntl(1, F_DUPFD_CLOEXEC, 10);
  int null = open("/dev/null", O_RDWR);
  bool ok = o->in >= 0 && o->out >= 0 && null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1;
  if (null > 2)
    close(null);
  return ok;
}

static bool escape_number(const char *text)
{
  int c;
  if (!number(text, &c, 0) || c > 255)
    return false;
  terminal_escape(c);
  return true;
}

/* What nexec waits for behind the remote shell's own words, and where it wants to stand; by default at home. */
static bool serve(struct slave_options *o)
{
  static const char ready[] = REMOTE_READY "\n";
  char why[256];
  size_t n;
  if (!use_stdio(o) || write_full(o->out, ready, sizeof ready - 1))
    return false;
  uint8_t *body = request_read(o->in, o->out, &n, why);
  char *cwd = body ? request_cwd(body, n) : 0;
  const char *to = cwd ? cwd : getenv("HOME");
  if (!body)
    return false;
  if (to && chdir(to) && cwd) {
    snprintf(why, sizeof why, "%.200s: %s", to, strerror(errno));
    request_verdict(o->out, V_FAILED, why);
    return false;
  }
  free(cwd);
  free(body);
  return !request_verdict(o->out, V_OK, "");
}

/* Takes one option; how many words it used, 0: it is wrong. */
static int option(const char *name, const char *value, struct slave_options *o)
{
  const struct {
    const char *name;
    int *fd;
  } fds[] = {{"--status-fd", &o->status_fd},
             {"--control-fd", &o->control_fd},
             {"--stats-fd", &o->stats_fd},
             {"--trace-fd", &o->trace_fd},
             {"--link-fd", &o->link}};
  if (!strcmp(name, "--stdio"))
    return use_stdio(o) ? 1 : 0;
  if (!strcmp(name, "--terminal"))
    return value && terminal_set(value) ? 2 : 0;
  if (!strcmp(name, "--escape"))
    return value && escape_number(value) ? 2 : 0;
  if (!strcmp(name, "--serve")) {
    if (!serve(o))
      exit(SLAVE_FAILED); /* the other side knows why */
    return 1;
  }
  if (!strcmp(name, "--fds"))
    return value && stream_numbers(value, o) ? 2 : 0;
  for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
    if (!strcmp(name, fds[i].name))
      return value && open_number(value, fds[i].fd) ? 2 : 0;
  return 0;
}

static int complain(const char *word)
{
  if (word)
    fprintf(stderr, "fslave: cannot use %s (--help says how)\n", word);
  else
    fprintf(stderr, "fslave: --fds or --stdio is needed: fslave is started by nexec or by hand on a stream\n");
  return SLAVE_FAILED;
}

int main(int argc, char **argv)
{
  struct slave_options o = {.in = -1, .out = -1, .status_fd = -1, .control_fd = -1, .stats_fd = 2, .trace_fd = 2};
  stdio_occupy();
  for (int i = 1, used; i < argc; i += used) {
    if (!strcmp(argv[i], "--help"))
      return fputs(usage, stdout) < 0;
    if (!strcmp(argv[i], "--version"))
      return puts("fslave " FSYSCALL_VERSION) < 0;
    used = option(argv[i], argv[i + 1], &o);
    if (!used)
      return complain(argv[i]);
  }
  return o.in < 0 ? complain(0) : slave_run(&o);
}
