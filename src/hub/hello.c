/*
 * The first frame each way, and the facts that the slave's brings.
 *
 * Owns what programs are told of the slave. Must never wait longer than the deadline, and never believe a length.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "hub/internal.h"

#define HELLO_DEADLINE 30000   /* milliseconds */
#define CLOCK_GUESS 1000000000 /* nanoseconds: what a clock that was read at an unknown moment may be off */
#define CLOCK_GRAIN 20000000   /* nanoseconds: TCP counts the time since the last data in the kernel's ticks */

/* ---- ours ---- */

static void put_rules(struct wbuf *w, const struct rules *rules)
{
  for (unsigned i = 0; i < rules->n; i++) {
    char text[300];
    int n = snprintf(text, sizeof text, "%s %s", where_name((enum where)rules->rule[i].where), rules->rule[i].prefix);
    put_fact(w, FACT_RULE, text, (uint32_t)n);
  }
}

static void put_int(struct wbuf *w, unsigned fact, uint64_t v)
{
  put_fact_ints(w, fact, &v, 1);
}

static int send_hello(struct hub *h, uint64_t deadline)
{
  static uint8_t buf[FRAME_MAX];
  struct wbuf w = {buf + sizeof(struct frame), buf + sizeof buf, false};
  struct utsname u;
  uname(&u);
  put_int(&w, FACT_MAGIC, WIRE_MAGIC);
  put_int(&w, FACT_VERSION, WIRE_VERSION);
  put_int(&w, FACT_CAPS, CAP_WATCH | CAP_CONTENTS | (h->s->flags & SF_NAMES ? CAP_NAMES : 0) | (pack_able() ? CAP_ZSTD : 0));
  put_int(&w, FACT_PID, (uint64_t)getpid());
  put_fact(&w, FACT_RELEASE, u.release, (uint32_t)strlen(u.release));
  put_rules(&w, h->o.rules);
  struct frame f = {.len = (uint32_t)(w.at - buf), .type = F_HELLO, .seq = ++h->seq};
  frame_put(buf, &f);
  return w.bad ? -EMSGSIZE : write_until(h->out, buf, f.len, deadline);
}

/* ---- the slave's ---- */

static void fact_text(char *to, size_t size, const uint8_t *v, uint32_t n)
{
  size_t len = n < size ? n : size - 1;
  memcpy(to, v, len);
  memset(to + len, 0, size - len);
}

static void fact_ids(struct facts *f, const uint8_t *v, uint32_t n)
{
  uint32_t *to[] = {&f->ruid, &f->euid, &f->suid, &f->rgid, &f->egid, &f->sgid};
  for (unsigned i = 0; i < 6; i++)
    *to[i] = (uint32_t)fact_int(v, n, i);
}

static void fact_groups(struct facts *f, const uint8_t *v, uint32_t n)
{
  unsigned room = sizeof f->groups / sizeof f->groups[0];
  f->ngroups = n / 8 < room ? n / 8 : room;
  for (unsigned i = 0; i < f->ngroups; i++)
    f->groups[i] = (uint32_t)fact_int(v, n, i);
}

static void fact_stdio(struct facts *f, const uint8_t *v, uint32_t n)
{
  for (unsigned i = 0; i < 3; i++) {
    uint64_t kind = fact_int(v, n, 4 * i);
    f->stdio[i].kind = kind <= K_PATH ? (uint32_t)kind : K_NONE;
    f->stdio[i].flags = (uint32_t)fact_int(v, n, 4 * i + 1);
    f->stdio[i].dev = fact_int(v, n, 4 * i + 2);
    f->stdio[i].ino = fact_int(v, n, 4 * i + 3);
  }
}

static void fact_env(struct hub *h, const uint8_t *v, uint32_t n)
{
  size_t have = 0;
  while (h->env && h->env[have])
    have++;
  char **more = realloc(h->env, (have + 2) * sizeof *more);
  if (!more)
    return;
  h->env = more;
  h->env[have] = strndup((const char *)v, n);
  h->env[have + 1] = 0;
}

struct greeting {
  uint64_t version;
  int64_t clock;
};

/* In reverse the person and the terminal are on our side: what the slave's are is nobody's business. */
static bool of_person(unsigned fact)
{
  return fact == FACT_STDIO || fact == FACT_TTYNAME || fact == FACT_TERMIOS || fact == FACT_WINSIZE || fact == FACT_ENV;
}

static void take_fact(struct hub *h, struct greeting *g, unsigned fact, const uint8_t *v, uint32_t n)
{
  struct facts *f = &h->s->facts;
  switch (fact) {
  case FACT_VERSION:
    g->version = fact_int(v, n, 0);
    break;
  case FACT_CAPS:
    h->packs = fact_int(v, n, 0) & CAP_ZSTD && pack_able();
    break;
  case FACT_CLOCK:
    g->clock = (int64_t)fact_int(v, n, 0);
    break;
  case FACT_IDS:
    fact_ids(f, v, n);
    break;
  case FACT_GROUPS:
    fact_groups(f, v, n);
    break;
  case FACT_UMASK:
    f->umask = (uint32_t)fact_int(v, n, 0) & 0777;
    break;
  case FACT_CWD:
    fact_text(f->cwd, sizeof f->cwd, v, n);
    break;
  case FACT_HOSTNAME:
    fact_text(f->hostname, sizeof f->hostname, v, n);
    break;
  case FACT_DOMAIN:
    fact_text(f->domain, sizeof f->domain, v, n);
    break;
  case FACT_DIRS:
    h->s->root_dev = fact_int(v, n, 0);
    h->s->root_ino = fact_int(v, n, 1);
    h->s->cwd_dev = fact_int(v, n, 2);
    h->s->cwd_ino = fact_int(v, n, 3);
    break;
  case FACT_STDIO:
    fact_stdio(f, v, n);
    break;
  case FACT_TTYNAME:
    fact_text(f->ttyname, sizeof f->ttyname, v, n);
    break;
  case FACT_TERMIOS:
    pty_fact_modes(&h->pty, v, n);
    break;
  case FACT_WINSIZE:
    pty_fact_size(&h->pty, v, n);
    break;
  case FACT_ENV:
    fact_env(h, v, n);
    break;
  default:
    break;
  }
}

/* An abort takes HELLO's place when the slave cannot serve. */
static int not_hello(struct hub *h, const struct frame *f, const uint8_t *body)
{
  if (f->type == F_ABORT)
    hub_aborted(h, body, f->len - (uint32_t)sizeof *f);
  else
    hub_abort(h, true, "the other side does not speak fsyscall's protocol");
  return -EPROTO;
}

static int take_facts(struct hub *h, struct greeting *g, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  const uint8_t *v;
  uint32_t len;
  unsigned fact = get_fact(&r, &v, &len);
  if (fact != FACT_MAGIC || fact_int(v, len, 0) != WIRE_MAGIC) {
    hub_abort(h, true, "the other side does not speak fsyscall's protocol");
    return -EPROTO;
  }
  while ((fact = get_fact(&r, &v, &len)))
    if (!(h->o.flags & SF_REVERSE && of_person(fact)))
      take_fact(h, g, fact, v, len);
  if (r.bad || g->version != WIRE_VERSION) {
    if (r.bad)
      hub_abort(h, true, "malformed greeting from the slave");
    else
      hub_abort(h, true, "the slave speaks version %lu of the protocol, the master version %u",
                (unsigned long)g->version, WIRE_VERSION);
    return -EPROTO;
  }
  return 0;
}

static int read_hello(struct hub *h, struct greeting *g, uint64_t deadline)
{
  static uint8_t buf[FRAME_MAX];
  struct frame f;
  int err = read_until(h->in, buf, sizeof f, deadline);
  if (!err && !frame_get(&f, buf))
    return not_hello(h, &(struct frame){.len = sizeof f}, buf);
  if (!err)
    err = read_until(h->in, buf + sizeof f, f.len - sizeof f, deadline);
  if (err) {
    log_line("no greeting from the slave: %s", err == -ENODATA ? "it closed the connection" : strerror(-err));
    return err;
  }
  h->peer_seq = 1; /* f.seq must be that, or what follows does not fit */
  return f.type == F_HELLO ? take_facts(h, g, buf + sizeof f, f.len - (uint32_t)sizeof f)
                           : not_hello(h, &f, buf + sizeof f);
}

/* ---- facts that follow ---- */

/*
 * When the greeting came, and how long ago it was sent then: TCP knows both. On any other stream it may have lain
 * there for as long as it took us to start.
 */
static int64_t clock_doubt(int link, int64_t *read_at)
{
  struct tcp_info info;
  socklen_t n = sizeof info;
  if (getsockopt(link, IPPROTO_TCP, TCP_INFO, &info, &n) || !info.tcpi_rtt)
    return CLOCK_GUESS;
  *read_at -= (int64_t)info.tcpi_last_data_recv * 1000000 + (int64_t)info.tcpi_rtt * 500;
  return (int64_t)info.tcpi_rtt * 500 + CLOCK_GRAIN;
}

/* The slave read its clock when it sent its greeting, as far as anybody knows; less than the doubt is no difference. */
static void set_clock(struct hub *h, int64_t slave)
{
  int64_t read_at = wall_ns(), doubt = clock_doubt(h->o.link >= 0 ? h->o.link : h->in, &read_at),
          offset = slave - read_at;
  if (slave && (offset > doubt || offset < -doubt)) {
    h->s->facts.clock_offset = offset;
    h->s->flags |= SF_TIME;
  }
}

static void set_hstate(struct hub *h, uint32_t handle, uint32_t kind, uint32_t flags, uint64_t dev, uint64_t ino)
{
  struct hstate *s = &h->s->handles[handle];
  struct file *f = file_fixed(h, handle, kind, flags, dev, ino);
  if (!f)
    return;
  s->kind = kind;
  s->flags = flags;
  s->gen = file_gen(dev, ino);
  s->offset_remote = kind == K_REG;
  s->attr.dev = dev;
  s->attr.ino = ino;
  s->handle = handle;
}

static void set_names(struct hub *h)
{
  static const char *const names[] = {"standard input", "standard output", "standard error", "the working directory",
                                      "the terminal"};
  for (uint32_t i = H_STDIN; i <= H_TTY; i++)
    if (h->files[i])
      h->files[i]->path = strdup(names[i - H_STDIN]);
}

static void set_handles(struct hub *h)
{
  const struct facts *f = &h->s->facts;
  for (uint32_t i = 0; i < 3; i++)
    if (f->stdio[i].kind != K_NONE)
      set_hstate(h, H_STDIN + i, f->stdio[i].kind, f->stdio[i].flags, f->stdio[i].dev, f->stdio[i].ino);
  set_hstate(h, H_CWD, K_DIR, O_PATH, 0, 0);
  h->files[H_CWD]->known = false;
  if (f->ttyname[0])
    set_hstate(h, H_TTY, K_TTY, O_RDWR, 0, 0);
  set_names(h);
  /* The working directory's name is a path like any other's. */
  free(h->files[H_CWD]->path);
  h->files[H_CWD]->path = strdup(f->cwd);
}

int hello_exchange(struct hub *h)
{
  struct greeting g = {0};
  uint64_t deadline = now_ms() + HELLO_DEADLINE;
  int err = send_hello(h, deadline);
  if (err) {
    log_line("cannot greet the slave: %s", strerror(-err));
    return err;
  }
  err = read_hello(h, &g, deadline);
  if (err)
    return err;
  if (h->pty.wanted)
    h->s->facts.ttyname[0] = 0; /* the programs' is their own */
  set_clock(h, g.clock);
  set_handles(h);
  return 0;
}

void facts_local(struct hub *h)
{
  struct facts *f = &h->s->facts;
  struct utsname u;
  uname(&u);
  f->ruid = f->euid = f->suid = getuid();
  f->rgid = f->egid = f->sgid = getgid();
  fact_text(f->hostname, sizeof f->hostname, (const uint8_t *)u.nodename, (uint32_t)strlen(u.nodename));
  fact_text(f->domain, sizeof f->domain, (const uint8_t *)u.domainname, (uint32_t)strlen(u.domainname));
}
