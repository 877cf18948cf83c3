/*
 * The first frame each way: everything about this machine that the master may want to know later, and the master's
 * rules.
 *
 * Owns nothing. Must never: cost the session another round trip for what could have been said here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/std.h"
#include "base/travel.h"
#include "proto/pack.h"
#include "slave/slave.h"

#define GROUPS_MAX 1024

extern char **environ;

static void put_one(struct wbuf *w, unsigned fact, uint64_t v)
{
  put_fact_ints(w, fact, &v, 1);
}

static void put_text(struct wbuf *w, unsigned fact, const char *text)
{
  put_fact(w, fact, text, (uint32_t)strlen(text));
}

static void put_ids(struct wbuf *w)
{
  uid_t u[3];
  gid_t g[3], groups[GROUPS_MAX];
  uint64_t v[GROUPS_MAX];
  if (!getresuid(&u[0], &u[1], &u[2]) && !getresgid(&g[0], &g[1], &g[2]))
    put_fact_ints(w, FACT_IDS, (uint64_t[]){u[0], u[1], u[2], g[0], g[1], g[2]}, 6);
  int n = getgroups(GROUPS_MAX, groups);
  for (int i = 0; i < n; i++)
    v[i] = groups[i];
  put_fact_ints(w, FACT_GROUPS, v, n > 0 ? (unsigned)n : 0);
}

static void put_system(struct wbuf *w)
{
  char cwd[WIRE_PATH_MAX], exe[WIRE_PATH_MAX];
  struct utsname u;
  mode_t mask = umask(0);
  umask(mask);
  put_one(w, FACT_UMASK, mask);
  if (getcwd(cwd, sizeof cwd))
    put_text(w, FACT_CWD, cwd);
  if (!uname(&u)) {
    put_text(w, FACT_HOSTNAME, u.nodename);
    put_text(w, FACT_DOMAIN, u.domainname);
    put_text(w, FACT_RELEASE, u.release);
  }
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe);
  if (n > 0)
    put_fact(w, FACT_EXE, exe, (uint32_t)n);
}

static void put_stdio(struct wbuf *w)
{
  uint64_t v[12] = {0};
  for (int i = 0; i < 3; i++) {
    struct stat st;
    int flags = fcntl(i, F_GETFL);
    if (stdio_closed(i) || fstat(i, &st))
      continue;
    v[4 * i] = kind_of(&st, false);
    v[4 * i + 1] = flags_to_wire((uint64_t)flags);
    v[4 * i + 2] = st.st_dev;
    v[4 * i + 3] = st.st_ino;
  }
  put_fact_ints(w, FACT_STDIO, v, 12);
}

/* A terminal that is not ours may still be where the program writes. */
static int winsize_of(uint32_t handle, struct winsize *s)
{
  struct handle *h = handle_get(handle);
  if (!h)
    return -ENOTTY;
  int err = ioctl(h->fd, TIOCGWINSZ, s) ? -errno : 0;
  handle_put(h);
  return err;
}

int hello_winsize(uint64_t ws[4])
{
  struct winsize s;
  int err = winsize_of(H_TTY, &s);
  if (err && terminal_on())
    err = winsize_of(H_STDIN, &s);
  if (err && terminal_on())
    err = winsize_of(H_STDOUT, &s);
  if (!err) {
    ws[0] = s.ws_row;
    ws[1] = s.ws_col;
    ws[2] = s.ws_xpixel;
    ws[3] = s.ws_ypixel;
  }
  return err;
}

static void put_terminal(struct wbuf *w)
{
  uint64_t ws[4];
  char name[256];
  if (!hello_winsize(ws))
    put_fact_ints(w, FACT_WINSIZE, ws, 4);
  for (int fd = 0; fd < 3; fd++)
    if (isatty(fd) && !ttyname_r(fd, name, sizeof name)) {
      put_text(w, FACT_TTYNAME, name);
      return;
    }
}

static void put_dirs(struct wbuf *w)
{
  struct stat root, here;
  if (!stat("/", &root) && !stat(".", &here))
    put_fact_ints(w, FACT_DIRS, (uint64_t[]){root.st_dev, root.st_ino, here.st_dev, here.st_ino}, 4);
}

static void put_clock(struct wbuf *w)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  put_one(w, FACT_CLOCK, (uint64_t)(t.tv_sec + clock_shift()) * 1000000000u + (uint64_t)t.tv_nsec);
}

/* Last, since there may be more of it than a frame holds. */
static void put_environment(struct wbuf *w)
{
  for (char **e = environ; e && *e; e++) {
    size_t n = strlen(*e);
    if (!travels(*e))
      continue;
    if (n + 6 > (size_t)(w->end - w->at))
      say("an environment variable of %zu bytes is too long to be passed on", n);
    else
      put_text(w, FACT_ENV, *e);
  }
}

bool hello_send(void)
{
  uint32_t room = FRAME_MAX - sizeof(struct frame);
  uint8_t *body = malloc(room);
  if (!body)
    return false;
  struct wbuf w = {body, body + room, false};
  put_one(&w, FACT_MAGIC, WIRE_MAGIC);
  put_one(&w, FACT_VERSION, WIRE_VERSION);
  put_one(&w, FACT_CAPS, CAP_CONTENTS | (watch_fd() >= 0 ? CAP_WATCH : 0) | (pack_able() ? CAP_ZSTD : 0));
  put_one(&w, FACT_PID, (uint64_t)getpid());
  put_ids(&w);
  put_system(&w);
  put_stdio(&w);
  put_terminal(&w);
  terminal_fact(&w);
  put_dirs(&w);
  put_clock(&w);
  put_environment(&w);
  bool ok = !w.bad && out_send(&(struct frame){.type = F_HELLO}, body, (uint32_t)(w.at - body), 0);
  free(body);
  return ok;
}

static void take_caps(uint64_t caps)
{
  if (caps & CAP_NAMES)
    names_wanted();
  if (caps & CAP_ZSTD)
    out_pack();
}

int hello_take(const uint8_t *body, uint32_t n, char why[128])
{
  struct rbuf r = {body, body + n, false};
  const uint8_t *v;
  uint32_t len;
  unsigned fact = get_fact(&r, &v, &len);
  if (fact != FACT_MAGIC || fact_int(v, len, 0) != WIRE_MAGIC) {
    snprintf(why, 128, "what came is not fsyscall's protocol");
    return -EPROTO;
  }
  uint64_t version = 0;
  while ((fact = get_fact(&r, &v, &len))) {
    if (fact == FACT_VERSION)
      version = fact_int(v, len, 0);
    else if (fact == FACT_CAPS)
      take_caps(fact_int(v, len, 0));
    else if (fact == FACT_RULE)
      walk_rule((const char *)v, len);
  }
  if (version != WIRE_VERSION)
    snprintf(why, 128, "the master speaks version %llu of the protocol, the slave version %d",
             (unsigned long long)version, WIRE_VERSION);
  else if (r.bad)
    snprintf(why, 128, "malformed greeting");
  else
    return 0;
  return -EPROTO;
}
