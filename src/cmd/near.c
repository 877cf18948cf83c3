/*
 * Finding what was installed together, and addresses as people write them.
 *
 * Owns nothing. Must never prefer PATH to what lies beside this executable.
 */
#include "cmd/near.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *try_at(const char *dir, size_t n, const char *sub, const char *name)
{
  char *path;
  if (asprintf(&path, "%.*s%s/%s", (int)n, dir, sub, name) < 0)
    return 0;
  if (!access(path, X_OK))
    return path;
  free(path);
  return 0;
}

static char *in_path(const char *name)
{
  const char *path = getenv("PATH");
  char *found = 0;
  while (path && *path && !found) {
    size_t n = strcspn(path, ":");
    if (n)
      found = try_at(path, n, "", name);
    path += n + (path[n] == ':');
  }
  return found;
}

char *near_find(const char *name)
{
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n > 0) {
    self[n] = 0;
    size_t dir = (size_t)(strrchr(self, '/') - self);
    char *found = try_at(self, dir, "", name);
    if (!found)
      found = try_at(self, dir, "/../libexec/fsyscall", name);
    if (found)
      return found;
  }
  return in_path(name);
}

/* What lies in the kernel unsent delays whatever comes behind it; the queues that may be long are ours. */
void near_socket(int sock)
{
  int on = 1, unsent = 128 << 10;
  setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(sock, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
  setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static bool copy(char *to, size_t size, const char *from, size_t n)
{
  if (!n || n >= size)
    return false;
  memcpy(to, from, n);
  to[n] = 0;
  return true;
}

bool near_split(const char *text, char *host, size_t host_size, char *port, size_t port_size)
{
  const char *colon = strrchr(text, ':'), *end = text + strlen(text);
  copy(port, port_size, NEXEC_PORT, strlen(NEXEC_PORT));
  if (*text == '[') {
    const char *close = strchr(text, ']');
    if (!close || (close[1] && (close[1] != ':' || !copy(port, port_size, close + 2, (size_t)(end - close - 2)))))
      return false;
    return copy(host, host_size, text + 1, (size_t)(close - text - 1));
  }
  if (!colon || strchr(text, ':') != colon)
    return copy(host, host_size, text, (size_t)(end - text));
  return copy(host, host_size, text, (size_t)(colon - text)) &&
         copy(port, port_size, colon + 1, (size_t)(end - colon - 1));
}
