/*
 * The master's half of a program's inotify instances: watches on files of the master. The slave's half is a handle
 * there; the program's descriptor is the placeholder of that handle, a socket, and readable when either half has
 * something.
 *
 * Owns the inotify descriptors of such handles (file.notes), made at the first local watch. Must never block in reading
 * one, nor take events out unasked: the queue, with its bounds and its overflow, is the kernel's.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hub/internal.h"

#define WATCHED (EPOLLIN | EPOLLONESHOT)

/* The instance and the integer that a message speaks of; 0: there is none. */
static struct file *instance(struct hub *h, const struct message *m, uint64_t *v)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t handle = get_u64(&r);
  *v = get_u64(&r);
  struct file *f = file_at(h, handle);
  return f && f->kind == K_NOTIFY ? f : 0;
}

static int notes_open(struct hub *h, struct file *f)
{
  if (f->notes >= 0)
    return 0;
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  int err = fd < 0 ? -errno : hub_watch(h, fd, WATCHED, SRC_NOTES, f->handle);
  if (!err)
    f->notes = fd;
  else if (fd >= 0)
    close(fd);
  return err;
}

static long add(struct hub *h, struct file *f, int fd, uint32_t mask)
{
  char path[32];
  int err = notes_open(h, f);
  if (err)
    return err;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int wd = inotify_add_watch(f->notes, path, mask & ~(uint32_t)IN_DONT_FOLLOW);
  return wd < 0 ? -errno : wd;
}

int notes_watch(struct hub *h, const struct message *m)
{
  uint64_t mask;
  struct file *f = instance(h, m, &mask);
  if (m->f.type != F_CALL || m->fd < 0)
    return -EPROTO;
  slot_reply(h, m->f.tag, f ? add(h, f, m->fd, (uint32_t)mask) : -EBADF, 0, 0, 0, 0);
  return 0;
}

int notes_unwatch(struct hub *h, const struct message *m)
{
  uint64_t wd;
  struct file *f = instance(h, m, &wd);
  if (m->f.type != F_CALL)
    return -EPROTO;
  int r = f && f->notes >= 0 && inotify_rm_watch(f->notes, (int)wd) == 0 ? 0 : -EINVAL;
  slot_reply(h, m->f.tag, r, 0, 0, 0, 0);
  return 0;
}

static long waiting(const struct file *f)
{
  int n = 0;
  return ioctl(f->notes, FIONREAD, &n) ? -errno : n;
}

static long take(const struct file *f, void *to, uint64_t room)
{
  ssize_t n = read(f->notes, to, room < FRAME_DATA_MAX ? room : FRAME_DATA_MAX);
  return n < 0 ? -errno : n;
}

int notes_events(struct hub *h, const struct message *m)
{
  static uint8_t body[4 + FRAME_DATA_MAX];
  struct wbuf w = {body, body + sizeof body, false};
  uint64_t room;
  struct file *f = instance(h, m, &room);
  if (m->f.type != F_CALL)
    return -EPROTO;
  bool here = f && f->notes >= 0;
  long n = !here ? -EAGAIN : room ? take(f, body + 4, room) : waiting(f);
  uint32_t bytes = room && n > 0 ? (uint32_t)n : 0;
  put_u32(&w, bytes);
  slot_reply(h, m->f.tag, n, 0, body, 4 + bytes, 0);
  return 0;
}

/* Asked at once, what is here answers; to be told later, both halves are armed. */
bool notes_poll(struct hub *h, const struct message *m)
{
  uint64_t events;
  struct file *f = m->n == 16 ? instance(h, m, &events) : 0;
  if (!f || f->notes < 0 || !(events & POLLIN))
    return false;
  if (m->f.type == F_CALL && waiting(f) > 0) {
    slot_reply(h, m->f.tag, POLLIN, 0, 0, 0, 0);
    return true;
  }
  struct epoll_event e = {.events = WATCHED, .data.u64 = (uint64_t)SRC_NOTES << 32 | f->handle};
  epoll_ctl(h->epoll, EPOLL_CTL_MOD, f->notes, &e);
  return false;
}

void notes_ready(struct hub *h, uint32_t handle)
{
  const struct file *f = file_at(h, handle);
  if (f && f->notes >= 0)
    file_ready(h, handle, POLLIN);
}
