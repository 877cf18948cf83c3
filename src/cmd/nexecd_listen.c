/*
 * Where nexecd listens: addresses, unix sockets, what systemd hands over.
 *
 * Owns the listening sockets. Must never listen to the world while nobody could log in by a key, unless it was told to.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "cmd/near.h"
#include "cmd/nexecd.h"

#define BACKLOG 1024
#define SYSTEMD_FIRST 3

static bool say(const char *what, const char *why)
{
  log_line("%s: %s", what, why);
  return false;
}

static bool is_loopback(const struct sockaddr *a)
{
  if (a->sa_family == AF_INET)
    return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
  return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static bool add(struct listeners *l, const char *text, int fd)
{
  if (l->n == LISTEN_MAX) {
    close(fd);
    return say(text, "too many addresses");
  }
  snprintf(l->at[l->n].text, sizeof l->at[l->n].text, "%s", text);
  l->at[l->n++].fd = fd;
  return true;
}

static bool listen_one(struct listeners *l, const struct addrinfo *a, const char *text)
{
  int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return say(text, strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (a->ai_family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, BACKLOG))
    return add(l, text, fd);
  say(text, strerror(errno));
  close(fd);
  return false;
}

/* A path that nobody serves any more is taken over. Who may come in is told by the peer's id, not by the file's mode.
 */
static bool listen_unix(struct listeners *l, const char *text)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  const char *path = text + 5;
  if (strlen(path) >= sizeof a.sun_path)
    return say(text, "the path is too long");
  strcpy(a.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return say(text, strerror(errno));
  if (connect(fd, (struct sockaddr *)&a, sizeof a) && errno == ECONNREFUSED)
    unlink(path);
  if (!bind(fd, (struct sockaddr *)&a, sizeof a) && !chmod(path, geteuid() ? 0600 : 0666) && !listen(fd, BACKLOG))
    return add(l, text, fd);
  say(text, strerror(errno));
  close(fd);
  return false;
}

static bool listen_tcp(struct listeners *l, const char *text, bool anywhere)
{
  char host[256], port[32];
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
  if (!near_split(text, host, sizeof host, port, sizeof port))
    return say(text, "not an address");
  int err = getaddrinfo(host, port, &hints, &list);
  if (err)
    return say(text, gai_strerror(err));
  bool good = true;
  for (struct addrinfo *a = list; a && good; a = a->ai_next)
    if (anywhere || is_loopback(a->ai_addr))
      good = listen_one(l, a, text);
    else
      good = say(text, "not a loopback address, and there is no authorized key yet (see ListenAnywhere in nexecd(8))");
  freeaddrinfo(list);
  return good;
}

static bool take_over(struct listeners *l, struct listeners *before, const char *text)
{
  bool found = false;
  for (unsigned i = 0; before && i < before->n; i++)
    if (!strcmp(before->at[i].text, text)) {
      int fd = fcntl(before->at[i].fd, F_DUPFD_CLOEXEC, 3);
      found |= fd >= 0 && add(l, text, fd);
    }
  return found;
}

static bool listen_at(struct listeners *l, const char *text, struct listeners *before, bool anywhere)
{
  if (take_over(l, before, text))
    return true;
  return strncmp(text, "unix:", 5) ? listen_tcp(l, text, anywhere) : listen_unix(l, text);
}

/* Where there is no address of the other family, one is enough. */
static bool listen_everywhere(struct listeners *l, struct listeners *before)
{
  bool v4 = listen_at(l, "0.0.0.0:" NEXEC_PORT, before, true);
  if (access("/proc/net/if_inet6", F_OK))
    return v4;
  return listen_at(l, "[::]:" NEXEC_PORT, before, true) && v4;
}

/* Socket activation (sd_listen_fds(3)): who opened them knows whom they are for. */
static unsigned from_systemd(struct listeners *l)
{
  const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
  unsigned long n = pid && fds && strtoul(pid, 0, 10) == (unsigned long)getpid() ? strtoul(fds, 0, 10) : 0;
  char name[32];
  for (unsigned long i = 0; i < n && i < LISTEN_MAX; i++) {
    int fd = SYSTEMD_FIRST + (int)i;
    snprintf(name, sizeof name, "systemd:%lu", i);
    int listens = 0;
    socklen_t len = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) || !listens)
      say(name, "not a socket that listens");
    else if (!set_cloexec(fd, true) && !set_nonblocking(fd))
      add(l, name, fd);
  }
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
  return l->n;
}

static bool is_systemd(const struct listeners *l)
{
  return l && l->n && !strncmp(l->at[0].text, "systemd:", 8);
}

static bool open_all(struct listeners *l, const struct settings *s, struct listeners *before)
{
  bool keys = user_any_key(s);
  if (is_systemd(before)) {
    for (unsigned i = 0; i < before->n; i++)
      take_over(l, before, before->at[i].text);
    return true;
  }
  if (!before && from_systemd(l))
    return true;
  if (!s->nlisten)
    return keys ? listen_everywhere(l, before) : listen_at(l, "127.0.0.1:" NEXEC_PORT, before, false);
  for (unsigned i = 0; i < s->nlisten; i++)
    if (!listen_at(l, s->listen[i], before, s->anywhere || keys))
      return false;
  return true;
}

bool listen_all(struct listeners *l, const struct settings *s, struct listeners *before)
{
  l->n = 0;
  if (!open_all(l, s, before)) {
    listen_close(l);
    return false;
  }
  if (before)
    listen_close(before);
  return true;
}

void listen_close(struct listeners *l)
{
  for (unsigned i = 0; i < l->n; i++)
    close(l->at[i].fd);
  l->n = 0;
}

void listen_say(const struct listeners *l)
{
  char line[1024] = "nexecd: ready on";
  for (unsigned i = 0; i < l->n; i++) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char host[64], port[16];
    size_t at = strlen(line);
    getsockname(l->at[i].fd, (struct sockaddr *)&a, &n);
    if (a.ss_family == AF_UNIX) {
      snprintf(line + at, sizeof line - at, " unix:%s", ((struct sockaddr_un *)&a)->sun_path);
      continue;
    }
    getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(line + at, sizeof line - at, a.ss_family == AF_INET6 ? " [%s]:%s" : " %s:%s", host, port);
  }
  puts(line);
  fflush(stdout);
}
