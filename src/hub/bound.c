/*
 * Unix sockets that programs have bound to paths of the slave. To the programs they are sockets of this machine, bound
 * to hidden names; the slave holds one that stands for it under its path.
 *
 * Owns the knowledge of their ends: the kernel says nothing when the last holder of a bound socket has gone, so its
 * list of them (/proc/net/unix) is read when a process has ended and once a second. Must never take one for closed that
 * was not in that list when it was bound: a program may be in a network of its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "hub/internal.h"

#define LIST "/proc/net/unix"
#define LIST_MAX (64u << 20)

/* Num RefCount Protocol Flags Type St Inode Path */
static bool listed(const char *text, uint64_t ino)
{
  for (const char *line = strchr(text, '\n'); line; line = strchr(line + 1, '\n')) {
    unsigned long n;
    if (sscanf(line + 1, "%*s %*s %*s %*s %*s %*s %lu", &n) == 1 && n == ino)
      return true;
  }
  return false;
}

int bound_place(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t handle = get_u64(&r), ino = get_u64(&r);
  struct file *f = file_at(h, handle);
  size_t n;
  if (!f || f->placed || f->kind != K_BOUND)
    return -EPROTO;
  char *text = read_file(LIST, LIST_MAX, &n);
  f->placed = true;
  f->bound = text && listed(text, ino) ? ino : 0;
  h->nbound += f->bound != 0;
  free(text);
  return 0;
}

void bound_sweep(struct hub *h)
{
  size_t n;
  char *text = h->nbound ? read_file(LIST, LIST_MAX, &n) : 0;
  for (uint32_t i = H_FIRST; text && i < SESSION_HANDLES; i++) {
    struct file *f = h->files[i];
    if (!f || !f->bound || listed(text, f->bound))
      continue;
    file_close(h, f);
  }
  free(text);
}
