/*
 * Getting fslave or fmaster to run at the far end of a remote shell where nothing is installed.
 *
 *   there   FSYSCALL WHAT machine      (uname -m)
 *   here    name size sha256
 *   there   FSYSCALL SEND              and the file follows; nothing, if it is in the cache there
 *   there   FSYSCALL READY 1           the part itself: the request follows (request.h)
 *
 * The file is kept in a directory of the user's there under its digest, and its digest is looked at before every use,
 * as far as there is anything that can compute one. Owns the script. Must never execute what it has not just checked.
 */
#include "cmd/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/io.h"
#include "base/log.h"
#include "cmd/near.h"

#define PART_MAX (64u << 20)
#define SEND_MS 600000

/* One line without quotes of the kind it is put in, for whatever shell the user has there. */
static char script[] =
    "exec sh -c '"
    "umask 077; echo \"FSYSCALL WHAT $(uname -m)\"; read -r name size sum || exit 255; "
    "good() { [ -f \"$f\" ] && [ \"$(wc -c <\"$f\")\" -eq \"$size\" ] && "
    "{ if command -v sha256sum >/dev/null; then [ \"$(sha256sum <\"$f\")\" = \"$sum  -\" ]; fi; }; }; "
    "for d in \"${XDG_CACHE_HOME:-$HOME/.cache}/fsyscall\" \"/tmp/fsyscall-cache-$(id -u)\" "
    "\"/dev/shm/fsyscall-cache-$(id -u)\"; do "
    "mkdir -p \"$d\" 2>/dev/null && [ -w \"$d\" ] && [ -O \"$d\" ] && [ ! -L \"$d\" ] || continue; f=$d/$name-$sum; "
    "if ! good; then [ -n \"$sent\" ] || echo \"FSYSCALL SEND\"; "
    "if [ -n \"$sent\" ]; then cp \"$sent\" \"$f.$$\" || continue; else head -c \"$size\" >\"$f.$$\"; fi; sent=$f.$$; "
    "chmod 700 \"$f.$$\"; o=$f; f=$f.$$; good || { rm -f \"$f\"; echo \"FSYSCALL BROKEN\"; exit 255; }; f=$o; fi; "
    "[ -z \"$sent\" ] || mv \"$sent\" \"$f\"; "
    "\"$f\" --version >/dev/null 2>&1 && exec \"$f\" --serve; sent=$f; done; echo \"FSYSCALL NOWHERE\"; exit 255'";

char *remote_command(void)
{
  return script;
}

static int say(const char *where, const char *what, const char *detail)
{
  log_line("%s: %s%s", where, what, detail);
  return -1;
}

/* ---- the part for that machine ---- */

struct part {
  char *data;
  size_t n;
  char sum[65];
};

static char *part_path(bool reverse, const char *machine)
{
  char name[80];
  struct utsname u;
  if (!strcmp(machine, "armv8l")) /* 64 bits that show 32 */
    machine = "armv7l";
  snprintf(name, sizeof name, "%s-%.32s", reverse ? "fslave" : "fmaster", machine);
  char *path = near_find(name);
  if (path || !reverse || uname(&u) || strcmp(u.machine, machine))
    return path;
  return near_find("fslave");
}

static bool digest(struct part *p)
{
  uint8_t md[32];
  unsigned len = sizeof md;
  if (!EVP_Digest(p->data, p->n, md, &len, EVP_sha256(), 0))
    return false;
  for (unsigned i = 0; i < len; i++)
    snprintf(p->sum + 2 * i, 3, "%02x", md[i]);
  return true;
}

/* Kept for the SEND that may follow. */
static struct part part;

static int offer(const char *where, int fd, bool reverse, const char *machine)
{
  char line[160], *path = strchr(machine, '/') ? 0 : part_path(reverse, machine);
  if (!path) {
    log_line("%s: there is no %s for %s here; CONTRIBUTING.md says how to build one", where,
             reverse ? "fslave" : "fmaster", machine);
    return -1;
  }
  part.data = read_file(path, PART_MAX, &part.n);
  if (!part.data || !digest(&part))
    return say(where, path, ": cannot be read");
  int n = snprintf(line, sizeof line, "%s %zu %s\n", reverse ? "fslave" : "fmaster", part.n, part.sum);
  int err = write_until(fd, line, (size_t)n, now_ms() + SEND_MS);
  return err ? say(where, "the connection broke: ", strerror(-err)) : 0;
}

static int send_part(const char *where, int fd)
{
  if (!part.data)
    return say(where, "the other side asks for nothing that was offered", "");
  log_more("%s: sending %zu bytes, to be kept there", where, part.n);
  int err = write_until(fd, part.data, part.n, now_ms() + SEND_MS);
  return err ? say(where, "the connection broke: ", strerror(-err)) : 0;
}

int remote_line(const char *where, int fd, bool reverse, const char *line)
{
  if (!strcmp(line, REMOTE_READY)) {
    free(part.data);
    part.data = 0;
    return 1;
  }
  if (!strncmp(line, "FSYSCALL READY", 14))
    return say(where, "another version of fsyscall: ", line);
  if (!strncmp(line, "FSYSCALL WHAT ", 14))
    return offer(where, fd, reverse, line + 14);
  if (!strcmp(line, "FSYSCALL SEND"))
    return send_part(where, fd);
  if (!strcmp(line, "FSYSCALL BROKEN"))
    return say(where, "what was sent did not arrive as it was", "");
  if (!strcmp(line, "FSYSCALL NOWHERE"))
    return say(where, "no directory there from which a program could be executed (~/.cache, /tmp, /dev/shm)", "");
  log_more("%s: %s", where, line);
  return 0;
}
