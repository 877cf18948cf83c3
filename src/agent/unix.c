/*
 * Names of unix sockets in the file system. One under a path of the slave is, to the session's programs, a socket of
 * the kernel here, bound to a hidden name: connections, messages, descriptors in them and credentials are native. The
 * slave holds a socket under the path, and tells which hidden name that stands for.
 *
 * Owns the hidden names: TMPDIR/.sockets/HANDLE. Must never show one to a program.
 */
#include <linux/stat.h>

#include "agent/names.h"
#include "agent/sock.h"
#include "base/tmpdir.h"

#define PATH_AT 2 /* in an address, behind the family */
#define PATH_MAX_HERE 108
#define SOCK_STREAM 1

/* ---- hidden names ---- */

static int hidden_dir(char *buf, size_t size)
{
  return fmt(buf, size, "%s" TMPDIR_SOCKETS "/", session->facts.tmpdir);
}

static void hidden_name(struct addr *a, uint32_t handle)
{
  char dir[sizeof session->facts.tmpdir + 16];
  uint16_t family = AF_UNIX;
  hidden_dir(dir, sizeof dir);
  memcpy(a->bytes, &family, sizeof family);
  int n = fmt((char *)a->bytes + PATH_AT, PATH_MAX_HERE, "%s%x", dir, handle);
  a->len = PATH_AT + (uint32_t)n + 1;
}

static bool parse_hex(const uint8_t *p, const uint8_t *end, uint32_t *v)
{
  const uint8_t *start = p;
  for (*v = 0; p < end && *p; p++) {
    uint32_t digit = *p - (uint32_t)'0', letter = *p - (uint32_t)'a';
    uint32_t d = digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
    if (d > 15)
      return false;
    *v = *v << 4 | d;
  }
  return p != start;
}

/* The handle whose hidden name that is, H_NONE: another's. */
static struct handle handle_of(const struct addr *a)
{
  char dir[sizeof session->facts.tmpdir + 16];
  struct handle h = {H_NONE};
  if (a->len <= PATH_AT || a->bytes[0] != AF_UNIX)
    return h;
  size_t n = (size_t)hidden_dir(dir, sizeof dir);
  if (a->len <= PATH_AT + n || memcmp(a->bytes + PATH_AT, dir, n) ||
      !parse_hex(a->bytes + PATH_AT + n, a->bytes + a->len, &h.v))
    h.v = H_NONE;
  return h;
}

void unix_show(struct addr *a)
{
  struct handle h = handle_of(a);
  if (h.v == H_NONE)
    return;
  const struct hstate *s = hstate(h);
  struct unix_name name = s->name;
  bool known = __atomic_load_n(&s->handle, __ATOMIC_ACQUIRE) == h.v && s->kind == K_BOUND;
  a->len = known && name.len <= sizeof name.addr ? name.len : PATH_AT; /* closed meanwhile: as one without a name */
  memcpy(a->bytes, name.addr, a->len);
}

/* ---- where a name leads ---- */

/* A name in the file system of a session that has a slave. */
static bool is_path(const struct addr *a)
{
  return !standalone() && a->len > PATH_AT && a->len <= PATH_AT + PATH_MAX_HERE && a->bytes[0] == AF_UNIX &&
         !a->bytes[1] && a->bytes[PATH_AT];
}

/* A name that is in no file system: of the network, as natively. */
static bool is_abstract(const struct addr *a)
{
  return !standalone() && !(session->flags & SF_NET_LOCAL) && a->len > PATH_AT && a->len <= PATH_AT + PATH_MAX_HERE &&
         a->bytes[0] == AF_UNIX && !a->bytes[1] && !a->bytes[PATH_AT];
}

/* Rules of sockets count more than those of paths. */
static long by_rule(struct call *c, struct at *at)
{
  enum where w;
  if (c->p->rooted != ROOT_SESSION || !at->lexical[0] || !unix_rule(at->lexical, &w))
    return 0;
  if (w == WHERE_DENY)
    return -EACCES;
  at->local = w == WHERE_LOCAL;
  at->dirfd = AT_FDCWD;
  at->base.v = H_ROOT;
  at->path = at->lexical;
  return 0;
}

static long route_name(struct call *c, const struct addr *a, struct at *at)
{
  char path[PATH_MAX_HERE + 1]; /* a path that fills its room has no end of its own there */
  memcpy(path, a->bytes + PATH_AT, a->len - PATH_AT);
  path[a->len - PATH_AT] = 0;
  int r = route(c, AT_FDCWD, path, 0, at, 0);
  return r ? r : by_rule(c, at);
}

/* As the walk has found it here. */
static long local_name(struct addr *a, const struct at *at)
{
  size_t n = strlen(at->path);
  if (n >= PATH_MAX_HERE)
    return -ENAMETOOLONG;
  memcpy(a->bytes + PATH_AT, at->path, n + 1);
  a->len = PATH_AT + (uint32_t)n + 1;
  return 0;
}

/* Asks the slave about the path, for a socket of that type. 1: it has turned out to be one of the kernel here. */
static long ask_name(struct call *c, enum wire_op op, struct at *at, long type, struct handle *h, long *result)
{
  if (op == W_UCONNECT) {
    *result = names_error(c, at, true);
    if (*result || at->local)
      return *result ? *result : 1;
  }
  for (;;) {
    struct req q;
    req_start_op(&q, c->t, op);
    req_handle(&q, at->base);
    req_str(&q, at->path);
    req_u64(&q, (uint64_t)type);
    req_handle(&q, *h);
    c->where = N_WAITED;
    *result = req_call(&q, op == W_UCONNECT);
    if (*result < 0 || !(q.reply_flags & FF_REDIRECT))
      return *result < 0 ? *result : 0;
    long r = route_again(c, &q, at, 0);
    if (r < 0 || at->local)
      return r < 0 ? r : 1;
    handle_drop(*h); /* the hub has forgotten it */
    *h = handle_new();
    if (h->v == H_NONE)
      return -ENFILE;
  }
}

/* The same of an abstract name. */
static long ask_abstract(struct call *c, enum wire_op op, const struct addr *a, int fd, struct handle h)
{
  char hex[2 * PATH_MAX_HERE + 1];
  struct req q;
  for (uint32_t i = PATH_AT; i < a->len; i++)
    fmt(hex + 2 * (i - PATH_AT), 3, "%x%x", a->bytes[i] >> 4, a->bytes[i] & 15);
  req_start_op(&q, c->t, op);
  req_u64(&q, H_ROOT);
  req_str(&q, hex);
  req_u64(&q, (uint64_t)int_option(fd, SOL_SOCKET, SO_TYPE) | UNIX_ABSTRACT);
  req_handle(&q, h);
  c->where = N_WAITED;
  return req_call(&q, op == W_UCONNECT);
}

/* ---- bind ---- */

static void note_name(struct hstate *s, const struct addr *a)
{
  size_t n = 0, room = a->len - PATH_AT;
  bool abstract = !a->bytes[PATH_AT];
  while (n < room && (abstract || a->bytes[PATH_AT + n]))
    n++;
  memset(&s->name, 0, sizeof s->name);
  memcpy(s->name.addr, a->bytes, PATH_AT + n);
  /* One of full length is told without its end. */
  s->name.len = (uint32_t)(PATH_AT + n + (n < PATH_MAX_HERE && !abstract));
  __atomic_store_n(&s->kind, K_BOUND, __ATOMIC_RELEASE);
}

static long tell_bound(struct call *c, int fd, struct handle h)
{
  struct stat_k st;
  struct req q;
  long r = sys2(__NR_fstat, fd, &st);
  if (r < 0)
    return r;
  req_start_op(&q, c->t, W_BOUND);
  req_handle(&q, h);
  req_u64(&q, st.ino);
  return req_post_uncounted(&q, -1);
}

/* The slave has the name. */
static long bind_here(struct call *c, int fd, struct handle h, const struct addr *shown)
{
  struct addr hidden;
  hidden_name(&hidden, h.v);
  sys1(__NR_unlink, hidden.bytes + PATH_AT); /* of an earlier socket with that number */
  note_name(hstate(h), shown);
  long r = sys3(__NR_bind, fd, hidden.bytes, hidden.len);
  if (!r) /* who may connect, the slave's file decides */
    r = sys2(__NR_chmod, hidden.bytes + PATH_AT, 0700);
  if (!r)
    r = tell_bound(c, fd, h);
  if (r)
    handle_close(c->t, h);
  return r;
}

static bool has_name(int fd)
{
  struct addr a = {.len = sizeof a.bytes};
  return sys3(__NR_getsockname, fd, a.bytes, &a.len) == 0 && a.len > PATH_AT;
}

static long bind_abstract(struct call *c, int fd, const struct addr *a)
{
  if (has_name(fd))
    return -EINVAL;
  struct handle h = handle_new();
  if (h.v == H_NONE)
    return -ENFILE;
  long r = ask_abstract(c, W_UBIND, a, fd, h);
  if (r < 0)
    handle_drop(h);
  return r < 0 ? r : bind_here(c, fd, h, a);
}

long unix_bind(struct call *c, struct addr *a)
{
  struct at at;
  int fd = (int)c->a[0];
  if (is_abstract(a) && int_option(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
    return bind_abstract(c, fd, a);
  if (!is_path(a) || int_option(fd, SOL_SOCKET, SO_DOMAIN) != AF_UNIX)
    return 1;
  long r = route_name(c, a, &at), result;
  if (r < 0)
    return r;
  if (at.local)
    r = local_name(a, &at);
  if (at.local)
    return r ? r : 1;
  if (has_name(fd))
    return -EINVAL;
  struct handle h = handle_new();
  if (h.v == H_NONE)
    return -ENFILE;
  r = ask_name(c, W_UBIND, &at, int_option(fd, SOL_SOCKET, SO_TYPE), &h, &result);
  if (r)
    handle_drop(h);
  if (r == 1)
    return local_name(a, &at) ? -ENAMETOOLONG : 1;
  return r ? r : bind_here(c, fd, h, a);
}

/* ---- connect, and sending to a name ---- */

/* The kernel connects the program's socket to one that is made for the purpose; its other end goes to the hub. */
static long join_here(struct call *c, int fd, struct handle h, const struct addr *hidden)
{
  long l = sys3(__NR_socket, AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0);
  long r = l < 0 ? l : sys3(__NR_bind, l, hidden->bytes, hidden->len);
  if (!r)
    r = sys2(__NR_listen, l, 1);
  if (!r)
    r = sys3(__NR_connect, fd, hidden->bytes, hidden->len);
  long end = r ? r : sys4(__NR_accept4, l, 0, 0, O_CLOEXEC);
  if (l >= 0)
    sys1(__NR_close, l);
  sys1(__NR_unlink, hidden->bytes + PATH_AT);
  if (end < 0)
    return end;
  stream_placed(c, h, (int)end);
  sys1(__NR_close, end);
  return 0;
}

/* With another program's socket on the slave, which has accepted. */
static long join(struct call *c, int fd, struct handle h, const struct addr *shown)
{
  struct addr hidden;
  hidden_name(&hidden, h.v);
  sys1(__NR_unlink, hidden.bytes + PATH_AT);
  note_name(hstate(h), shown);
  long r = join_here(c, fd, h, &hidden);
  if (r < 0)
    handle_close(c->t, h);
  return r < 0 ? r : UNIX_JOINED;
}

static long lead_abstract(struct call *c, int fd, struct addr *a)
{
  struct handle h = handle_new();
  if (h.v == H_NONE)
    return -ENFILE;
  struct addr shown = *a;
  long r = ask_abstract(c, W_UCONNECT, a, fd, h);
  if (r)
    handle_drop(h);
  if (!r)
    return join(c, fd, h, &shown);
  if (r > 0)
    hidden_name(a, (uint32_t)r);
  return r < 0 ? r : 0;
}

long unix_lead(struct call *c, int fd, struct addr *a)
{
  struct at at;
  if (is_abstract(a) && int_option(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
    return lead_abstract(c, fd, a);
  if (!is_path(a))
    return 0;
  long result, r = route_name(c, a, &at);
  if (r < 0)
    return r;
  if (at.local)
    return local_name(a, &at);
  struct handle h = handle_new();
  if (h.v == H_NONE)
    return -ENFILE;
  struct addr shown = *a;
  r = ask_name(c, W_UCONNECT, &at, (int)int_option(fd, SOL_SOCKET, SO_TYPE), &h, &result);
  if (r || result)
    handle_drop(h);
  if (r)
    return r < 0 ? r : local_name(a, &at);
  if (!result)
    return join(c, fd, h, &shown);
  hidden_name(a, (uint32_t)result);
  return 0;
}

void unix_listening(struct call *c, int fd)
{
  struct addr a = {.len = sizeof a.bytes};
  struct req q;
  if (standalone() || int_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
      sys3(__NR_getsockname, fd, a.bytes, &a.len) < 0 || a.len > sizeof a.bytes)
    return;
  struct handle h = handle_of(&a);
  if (h.v == H_NONE)
    return;
  req_start_op(&q, c->t, W_LISTEN);
  req_handle(&q, h);
  req_u64(&q, SOCK_BACKLOG);
  req_post(&q, -1);
}
