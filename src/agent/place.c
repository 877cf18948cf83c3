/*
 * Whose a socket is, where rules for addresses say so (session.nets, unixes). Where there are such, a network socket is
 * the kernel's here until it is bound or connected; then a remote one takes its place, under all its numbers and in
 * every epoll of this process that watches it, with the options that were set.
 *
 * Owns nothing. Must never: take the place of a socket that has an address already. Another process that shares a
 * socket keeps what it has: who shares one before it has an address is not known.
 */
#include "agent/sock.h"

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define NUMBERS_MAX 4096
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define INFO_MAX 16384
#define VALUE_MAX 16

/* ---- rules ---- */

struct target {
  uint8_t family, protocol; /* as in struct net_rule */
  uint16_t port;
  const uint8_t *addr;
};

static bool prefix_is(const uint8_t *a, const uint8_t *b, unsigned bits)
{
  unsigned whole = bits / 8, rest = bits % 8;
  return !memcmp(a, b, whole) && (!rest || !((a[whole] ^ b[whole]) >> (8 - rest)));
}

static bool applies(const struct net_rule *r, const struct target *t)
{
  if (r->protocol != t->protocol || (r->port && r->port != t->port))
    return false;
  return !r->family || (r->family == t->family && prefix_is(r->addr, t->addr, r->bits));
}

static bool target_of(struct target *t, const struct addr *a, long type)
{
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  bool six = a->bytes[0] == AF_INET6;
  if (a->len < (six ? 24u : 16u) || a->bytes[1] || (!six && a->bytes[0] != AF_INET))
    return false;
  t->family = six ? 6 : 4;
  t->protocol = type == SOCK_STREAM ? 6 : 17;
  t->port = (uint16_t)(a->bytes[2] << 8 | a->bytes[3]);
  t->addr = a->bytes + (six ? 8 : 4);
  if (six && !memcmp(t->addr, mapped, sizeof mapped)) {
    t->family = 4;
    t->addr += sizeof mapped;
  }
  return true;
}

static enum where where_of(const struct addr *a, long type)
{
  struct target t;
  if (a && target_of(&t, a, type))
    for (uint32_t i = 0; i < session->nnets && i < SESSION_NETS; i++)
      if (applies(&session->nets[i], &t))
        return (enum where)session->nets[i].where;
  return session->flags & SF_NET_LOCAL ? WHERE_LOCAL : WHERE_REMOTE;
}

bool unix_rule(const char *path, enum where *w)
{
  for (uint32_t i = 0; i < session->nunix && i < SESSION_UNIX; i++) {
    const struct rule *r = &session->unixes[i];
    if (strncmp(path, r->prefix, r->len) || (r->len > 1 && path[r->len] && path[r->len] != '/'))
      continue;
    *w = (enum where)r->where;
    return true;
  }
  return false;
}

/* ---- one for another ---- */

struct change {
  struct call *c;
  int old, new, probe; /* a socket like the old one, of which nothing has been set */
  struct handle h;
  uint64_t ino;
};

static const struct set_option {
  uint8_t level, option, size;
  bool here; /* of the placeholder */
} set_options[] = {
    {1, 2, 4, false},  {1, 6, 4, false},  {1, 9, 4, false},  {1, 10, 4, false},  {1, 13, 8, false},
    {1, 15, 4, false}, {1, 12, 4, false}, {1, 20, 16, true}, {1, 21, 16, true},  {6, 1, 4, false},
    {6, 4, 4, false},  {6, 5, 4, false},  {6, 6, 4, false},  {6, 9, 4, false},   {6, 18, 4, false},
    {6, 23, 4, false}, {0, 1, 4, false},  {0, 2, 4, false},  {0, 11, 4, false},  {0, 15, 4, false},
    {0, 24, 4, false}, {0, 33, 4, false}, {0, 34, 4, false}, {41, 25, 4, false}, {41, 26, 4, false},
};

static void copy_options(struct change *ch)
{
  uint8_t was[VALUE_MAX], is[VALUE_MAX];
  for (unsigned i = 0; i < sizeof set_options / sizeof *set_options; i++) {
    const struct set_option *o = &set_options[i];
    uint32_t n = o->size, m = o->size;
    if (sys5(__NR_getsockopt, ch->old, o->level, o->option, is, &n) < 0 ||
        sys5(__NR_getsockopt, ch->probe, o->level, o->option, was, &m) < 0 || n > sizeof is ||
        (n == m && !memcmp(is, was, n)))
      continue;
    if (o->here)
      sys5(__NR_setsockopt, ch->new, o->level, o->option, is, n);
    else
      net_option(ch->c, ch->h, o->level, o->option, is, n);
  }
}

/* An unsigned number behind the word at *at, or in that base right there; *at moves on. */
static uint64_t number_at(const char **at, unsigned base)
{
  uint64_t v = 0;
  while (**at == ' ')
    ++*at;
  for (;; ++*at) {
    unsigned d = (unsigned)**at - '0', letter = (unsigned)**at - 'a';
    d = d < 10 ? d : letter < 6 ? letter + 10 : 16;
    if (d >= base)
      return v;
    v = v * base + d;
  }
}

struct epoll_k {
  uint32_t events;
  uint64_t data;
} __attribute__((packed));

/* What an epoll watches of that number: true, and how. */
static bool watched(int epoll, int fd, struct epoll_k *e)
{
  char path[48];
  fmt(path, sizeof path, "/proc/self/fdinfo/%d", epoll);
  long in = sys3(__NR_open, path, O_RDONLY | O_CLOEXEC, 0);
  char *text = in < 0 ? 0 : pages_new(INFO_MAX);
  long n = text ? sys3(__NR_read, in, text, INFO_MAX - 1) : 0;
  bool found = false;
  for (const char *at = text; n > 0 && !found && (at = strchr(at, 't')); at++) {
    if (strncmp(at, "tfd:", 4))
      continue;
    at += 4;
    found = number_at(&at, 10) == (uint64_t)fd;
    if (!(at = strchr(at, ':')))
      break;
    at++;
    e->events = (uint32_t)number_at(&at, 16);
    if (!(at = strchr(at, ':')))
      break;
    at++;
    e->data = number_at(&at, 16);
  }
  if (text)
    pages_free(text, INFO_MAX);
  if (in >= 0)
    sys1(__NR_close, in);
  return found;
}

/* Neither file nor directory nor anything else: what an epoll looks like. */
static bool may_be_epoll(const struct stat_k *st)
{
  return !(st->mode & S_IFMT);
}

#define EPOLL_CTL_ADD 1
#define EPOLLS_MAX 16

/* Under one number: first whoever watches it is remembered, since the old socket goes out of every epoll when it is
 * closed. */
static void change_number(struct change *ch, int fd)
{
  struct {
    int epoll;
    struct epoll_k e;
  } w[EPOLLS_MAX];
  unsigned n = 0;
  struct stat_k st;
  for (int i = 0; i < NUMBERS_MAX && n < EPOLLS_MAX; i++)
    if (!fd_hidden(ch->c->p, i) && sys2(__NR_fstat, i, &st) == 0 && may_be_epoll(&st) && watched(i, fd, &w[n].e))
      w[n++].epoll = i;
  long flags = sys2(__NR_fcntl, fd, F_GETFD);
  vft_forget(ch->c->p, fd);
  sys3(__NR_dup3, ch->new, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
  vft_set_socket(ch->c->p, fd, ch->h);
  while (n--)
    sys4(__NR_epoll_ctl, w[n].epoll, EPOLL_CTL_ADD, fd, &w[n].e);
}

static void change_all(struct change *ch)
{
  struct stat_k st;
  for (int fd = 0; fd < NUMBERS_MAX; fd++)
    if (fd != ch->old && fd != ch->new && !fd_hidden(ch->c->p, fd) && sys2(__NR_fstat, fd, &st) == 0 &&
        (st.mode & S_IFMT) == S_IFSOCK &&st.ino == ch->ino)
      change_number(ch, fd);
  change_number(ch, ch->old);
}

static long go_remote(struct call *c, int fd, long domain, long type)
{
  struct stat_k st;
  struct change ch = {.c = c, .old = fd};
  long protocol = int_option(fd, SOL_SOCKET, 38), flags = sys2(__NR_fcntl, fd, F_GETFL);
  if (protocol < 0 || flags < 0 || sys2(__NR_fstat, fd, &st) < 0)
    return -EBADF;
  ch.ino = st.ino;
  long new = net_make(c, domain, type, protocol, (int)(flags & O_NONBLOCK) | O_CLOEXEC, &ch.h);
  if (new < 0)
    return new;
  ch.new = (int)new;
  ch.probe = (int)sys3(__NR_socket, domain, type | O_CLOEXEC, protocol);
  copy_options(&ch);
  change_all(&ch);
  vft_forget(c->p, ch.new);
  sys1(__NR_close, ch.new);
  if (ch.probe >= 0)
    sys1(__NR_close, ch.probe);
  return 1;
}

/* ---- when it is decided ---- */

static bool has_address(int fd)
{
  struct addr a = {.len = sizeof a.bytes};
  if (sys3(__NR_getsockname, fd, a.bytes, &a.len) < 0 || a.bytes[2] || a.bytes[3])
    return true;
  a.len = sizeof a.bytes;
  return sys3(__NR_getpeername, fd, a.bytes, &a.len) == 0;
}

bool net_ruled(void)
{
  return session->nnets && !standalone();
}

long net_settle(struct call *c, int fd, const struct addr *a)
{
  if (!net_ruled())
    return 0;
  long domain = int_option(fd, SOL_SOCKET, SO_DOMAIN), type = int_option(fd, SOL_SOCKET, SO_TYPE);
  bool of_net = domain == AF_INET || domain == AF_INET6;
  if (!of_net || (a && a->len >= 2 && !a->bytes[0] && !a->bytes[1]) || has_address(fd))
    return 0;
  enum where w = where_of(a, type);
  if (w == WHERE_DENY)
    return -EACCES;
  return w == WHERE_LOCAL ? 0 : go_remote(c, fd, domain, type);
}
