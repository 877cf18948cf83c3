/*
 * Open files of the slave: the hub's own account of every handle, its placeholder, its end, its late failures.
 *
 * Owns h->files and the placeholders' watches. Nobody holds a placeholder file but programs (or messages on their way
 * to us): its inode dies with the last of them, and that is how we learn of the last close. Must never keep one open,
 * and must never close a handle ahead of a message that speaks of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "hub/internal.h"
#include "hub/readahead.h"

#define ENDS_MAX 64
#define WORTH_WRITING 4096u /* so much room in a window makes a stream writable to who polls it */

static struct hstate *state_of(struct hub *h, const struct file *f)
{
  return &h->s->handles[HANDLE_INDEX(f->handle) & (SESSION_HANDLES - 1)];
}

static bool state_is(struct hub *h, const struct file *f)
{
  return __atomic_load_n(&state_of(h, f)->handle, __ATOMIC_ACQUIRE) == f->handle;
}

struct file *file_at(struct hub *h, uint64_t handle)
{
  uint32_t i = (uint32_t)HANDLE_INDEX(handle);
  struct file *f = i < SESSION_HANDLES ? h->files[i] : 0;
  return f && f->handle == handle ? f : 0;
}

static struct file *file_new(struct hub *h, uint32_t handle, uint32_t ctx)
{
  uint32_t i = HANDLE_INDEX(handle);
  if (!i || i >= SESSION_HANDLES || h->files[i])
    return 0;
  struct file *f = calloc(1, sizeof *f);
  if (!f)
    return 0;
  *f = (struct file){.handle = handle, .ctx = ctx, .wd = -1, .sock = -1, .notes = -1};
  h->files[i] = f;
  return f;
}

struct file *file_fixed(struct hub *h, uint32_t handle, uint32_t kind, uint32_t flags, uint64_t dev, uint64_t ino)
{
  struct file *f = file_new(h, handle, 0);
  if (!f)
    return 0;
  f->answered = f->known = true;
  f->kind = kind;
  f->flags = flags;
  f->dev = dev;
  f->ino = ino;
  return f;
}

/* ---- opening ---- */

/* For people only, so what does not fit is cut. */
char *path_for_people(struct hub *h, uint32_t base, const uint8_t *path, uint32_t n)
{
  char text[WIRE_PATH_MAX + 256];
  const struct file *b = file_at(h, base);
  bool absolute = n && *path == '/';
  const char *dir = absolute || !b || !b->path ? "" : b->path;
  const char *slash = !absolute && n && (base == H_ROOT || *dir) ? "/" : "";
  snprintf(text, sizeof text, "%s%s%.*s", dir, slash, (int)n, (const char *)path);
  return strdup(text);
}

/* base, path, flags, mode, handle; the body has been checked. */
int file_opening(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint32_t n, base = (uint32_t)get_u64(&r);
  const uint8_t *path = get_blob(&r, &n, WIRE_PATH_MAX);
  uint64_t flags = get_u64(&r);
  get_u64(&r);
  uint64_t handle = get_u64(&r);
  if (r.bad || handle >= H_NONE || HANDLE_INDEX(handle) < H_FIRST)
    return -EPROTO;
  struct file *f = file_new(h, (uint32_t)handle, m->f.ctx);
  if (!f)
    return -EPROTO;
  f->mine = (flags & (LINUX_O_CREAT | LINUX_O_EXCL)) == (LINUX_O_CREAT | LINUX_O_EXCL);
  f->path = path_for_people(h, base, path, n);
  h->calls[m->f.tag].handle = f->handle;
  return 0;
}

/* The handle comes last. */
int file_making(struct hub *h, const struct message *m, uint32_t kind)
{
  struct rbuf r = {m->body + m->n - 8, m->body + m->n, false};
  uint64_t handle = get_u64(&r);
  if (handle >= H_NONE || HANDLE_INDEX(handle) < H_FIRST)
    return -EPROTO;
  struct file *f =
      kind == K_SOCKET ? sock_new(h, (uint32_t)handle, m->f.ctx, SOCK_NATIVE) : file_new(h, (uint32_t)handle, m->f.ctx);
  if (!f)
    return -EPROTO;
  f->answered = false;
  f->kind = kind;
  h->calls[m->f.tag].handle = f->handle;
  return 0;
}

void file_made(struct hub *h, uint32_t handle, int64_t result)
{
  struct file *f = file_at(h, handle);
  if (f && result)
    file_forget(h, f, 0);
  else if (f)
    f->answered = true;
}

void file_opened(struct hub *h, uint32_t handle, int64_t result, const uint8_t *body, uint32_t n)
{
  struct file *f = file_at(h, handle);
  if (!f)
    return;
  if (result < 0) {
    file_forget(h, f, 0);
    return;
  }
  struct rbuf r = {body, body + n, false};
  struct wire_attr a;
  uint64_t kind = get_u64(&r);
  get_attr(&r, &a);
  uint64_t flags = get_u64(&r);
  f->answered = true;
  if (r.bad)
    return;
  f->known = true;
  f->kind = (uint32_t)kind;
  f->flags = (uint32_t)flags;
  f->dev = a.dev;
  f->ino = a.ino;
}

/* ---- opened ahead of the reply ---- */

/* Until the slave says which file it is, no counter but one of its own stands for it. */
bool file_ahead(struct hub *h, const struct message *m, uint32_t handle, uint32_t flags)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint32_t n, base = (uint32_t)get_u64(&r);
  const uint8_t *path = get_blob(&r, &n, WIRE_PATH_MAX);
  struct file *f = handle < H_NONE && HANDLE_INDEX(handle) >= H_FIRST ? file_new(h, handle, m->f.ctx) : 0;
  if (!f)
    return false;
  f->answered = f->mine = true;
  f->kind = K_REG;
  f->flags = flags;
  f->path = path_for_people(h, base, path, n);
  state_of(h, f)->gen = file_gen(0, handle);
  return true;
}

void file_came(struct hub *h, uint32_t handle, bool tight)
{
  struct file *f = file_at(h, handle);
  struct hstate *s = f ? state_of(h, f) : 0;
  if (!f || !f->known || !state_is(h, f))
    return;
  s->attr.dev = f->dev;
  s->attr.ino = f->ino;
  __atomic_store_n(&s->gen, file_gen(f->dev, f->ino), __ATOMIC_SEQ_CST);
  if (tight)
    s->sync = 1;
}

void file_failed(struct hub *h, uint32_t handle, int err, bool unborn)
{
  file_late(h, handle, err);
  struct file *f = file_at(h, handle);
  for (struct file *c = h->closed; c && !f; c = c->next_closing)
    f = c->handle == handle ? c : 0;
  if (f && unborn)
    f->unborn = err;
}

/* ---- placeholders ---- */

static struct file **wd_bucket(struct hub *h, int wd)
{
  return &h->by_wd[(unsigned)wd % WD_BUCKETS];
}

static void wd_forget(struct hub *h, struct file *f)
{
  struct file **at = wd_bucket(h, f->wd);
  while (*at && *at != f)
    at = &(*at)->next_wd;
  if (*at)
    *at = f->next_wd;
  f->wd = -1;
}

static int place_file(struct hub *h, struct file *f, int fd)
{
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  f->wd = inotify_add_watch(h->inotify, path, IN_DELETE_SELF);
  if (f->wd < 0)
    return -errno;
  f->next_wd = *wd_bucket(h, f->wd);
  *wd_bucket(h, f->wd) = f;
  f->placed = true;
  close(fd);
  return 0;
}

static int place_stream(struct hub *h, struct file *f, int fd)
{
  if (f->sk) {
    if (set_nonblocking(fd))
      return -errno;
    f->sock = fd;
    f->placed = true;
    sock_placed(h, f);
    return 0;
  }
  struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = f->handle};
  if (set_nonblocking(fd) || epoll_ctl(h->ends, EPOLL_CTL_ADD, fd, &e))
    return -errno;
  f->sock = fd;
  f->placed = true;
  return 0;
}

int file_place_fd(struct hub *h, struct file *f, int fd)
{
  int domain;
  socklen_t n = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) ? place_file(h, f, fd) : place_stream(h, f, fd);
}

int file_place(struct hub *h, const struct message *m)
{
  struct rbuf r = {m->body, m->body + m->n, false};
  uint64_t handle = get_u64(&r);
  struct file *f = file_at(h, handle);
  if (!f || f->placed || m->fd < 0)
    return -EPROTO;
  int err = file_place_fd(h, f, m->fd);
  if (!err)
    return 0;
  hub_abort(h, true, "an open file cannot be watched: %s%s", strerror(-err),
            err == -ENOSPC ? "; is fs.inotify.max_user_watches too small?" : "");
  close(m->fd);
  return 0;
}

/* ---- ends ---- */

void late_add(struct hub *h, int err, const char *path)
{
  size_t n = strlen(path) + 1;
  struct late *l = malloc(sizeof *l + n);
  if (!l)
    return;
  l->err = err;
  memcpy(l->path, path, n);
  l->next = h->late;
  h->late = l;
}

int file_take_late(struct hub *h, const struct file *f)
{
  return state_is(h, f) ? __atomic_exchange_n(&state_of(h, f)->late, 0, __ATOMIC_SEQ_CST) : 0;
}

/*
 * A reader that left is no failure of ours: who writes on after that is told by the next write. And who has been told
 * once knows that what it had on its way then failed too.
 */
static void collect_late(struct hub *h, struct file *f)
{
  int err = file_take_late(h, f);
  if (err >= 0 || err == -EPIPE || f->told_late)
    return;
  late_add(h, err, f->path ? f->path : "an open file");
  f->told_late = true;
}

void files_collect_late(struct hub *h)
{
  for (uint32_t i = 0; i < SESSION_HANDLES; i++)
    if (h->files[i])
      collect_late(h, h->files[i]);
}

static void unlink_closing(struct hub *h, struct file *f)
{
  struct file **at = &h->closing;
  while (*at && *at != f)
    at = &(*at)->next_closing;
  if (*at)
    *at = f->next_closing;
}

static void file_free(struct file *f)
{
  free(f->path);
  free(f);
}

void file_forget(struct hub *h, struct file *f, uint64_t close_seq)
{
  if (f->wd >= 0)
    wd_forget(h, f);
  if (f->sock >= 0)
    close(f->sock);
  if (f->notes >= 0)
    close(f->notes);
  h->nbound -= f->bound != 0;
  if (f->sk)
    sock_free(h, f);
  unlink_closing(h, f);
  disk_read_ends(f);
  collect_late(h, f);
  uint32_t handle = f->handle;
  __atomic_compare_exchange_n(&state_of(h, f)->handle, &handle, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
  h->files[HANDLE_INDEX(f->handle)] = 0;
  f->close_seq = close_seq;
  if (!close_seq) {
    file_free(f);
    return;
  }
  f->next_closing = h->closed;
  h->closed = f;
}

/* What failed of a closed file has been told by the time its close is acknowledged. */
void files_acked(struct hub *h)
{
  for (struct file **at = &h->closed; *at;) {
    struct file *f = *at;
    if (f->close_seq > h->peer_ack) {
      at = &f->next_closing;
      continue;
    }
    *at = f->next_closing;
    file_free(f);
  }
}

static void late_of_closed(struct hub *h, uint32_t handle, int err)
{
  struct file *f = h->closed;
  while (f && f->handle != handle)
    f = f->next_closing;
  if (err == -EPIPE || (f && (f->told_late || f->unborn)))
    return;
  late_add(h, err, f && f->path ? f->path : "a closed file");
  if (f)
    f->told_late = true;
}

void file_close(struct hub *h, struct file *f)
{
  /* What was late is told there at the very end. */
  bool told_last = f->handle == H_STDERR && !h->exit_sent && !h->over;
  if (told_last || store_needs(h, f)) {
    f->kept = true;
    unlink_closing(h, f);
    return;
  }
  uint8_t body[8];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, f->handle);
  readahead_forget(h, f);
  if (f->sk)
    sock_send_now(h, f);
  file_forget(h, f, hub_post(h, OP_close, f->ctx, &w, body));
}

void file_ends(struct hub *h, struct file *f)
{
  for (const struct file *c = h->closing; c; c = c->next_closing)
    if (c == f)
      return;
  f->ended_at = h->taken;
  f->next_closing = h->closing;
  h->closing = f;
}

/* Written past the agent: its own last words, when it cannot go on, or a program's with its mode unmapped. They go where the
   program's would have gone, and count as they do: the window's end is told by what the slave has written in all. */
static void last_words(struct hub *h, const struct file *f)
{
  uint8_t head[12];
  char text[4096];
  ssize_t n = recv(f->sock, text, sizeof text, MSG_DONTWAIT);
  if (n <= 0)
    return;
  struct wbuf w = {head, head + sizeof head, false};
  put_u64(&w, f->handle);
  put_u32(&w, (uint32_t)n);
  struct iovec parts[] = {{head, sizeof head}, {text, (size_t)n}};
  __atomic_fetch_add(&h->s->handles[HANDLE_INDEX(f->handle)].sent, (uint64_t)n, __ATOMIC_ACQ_REL);
  hub_send(h, (struct frame){.type = F_POST, .op = OP_write}, parts, 2);
}

static void read_ends(struct hub *h)
{
  struct epoll_event e[ENDS_MAX];
  int n = epoll_wait(h->ends, e, ENDS_MAX, 0);
  for (int i = 0; i < n; i++) {
    struct file *f = file_at(h, e[i].data.u32);
    if (!f || f->sock < 0)
      continue;
    if (f->sk) {
      sock_ready(h, f, e[i].events);
      continue;
    }
    if (e[i].events & EPOLLIN)
      last_words(h, f);
    if (!(e[i].events & (EPOLLRDHUP | EPOLLHUP)))
      continue;
    epoll_ctl(h->ends, EPOLL_CTL_DEL, f->sock, 0);
    file_ends(h, f);
  }
}

static void wd_event(struct hub *h, int wd, uint32_t mask)
{
  if (store_event(h, wd))
    return;
  struct file *f = *wd_bucket(h, wd);
  while (f && f->wd != wd)
    f = f->next_wd;
  if (!f || !(mask & (IN_DELETE_SELF | IN_IGNORED)))
    return;
  wd_forget(h, f);
  file_ends(h, f);
}

static int by_number(const void *a, const void *b)
{
  const unsigned *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

/* The watches in the text of /proc/PID/fdinfo/FD, sorted; malloc'd, 0 without memory. */
static unsigned *watches_in(const char *text, size_t *n)
{
  size_t room = 1024;
  unsigned *wd = malloc(room * sizeof *wd);
  *n = 0;
  for (const char *at = text; wd && (at = strstr(at, "inotify wd:")); at++) {
    if (*n == room) {
      unsigned *more = realloc(wd, 2 * room * sizeof *wd);
      if (!more)
        free(wd);
      wd = more;
      room *= 2;
    }
    if (wd)
      wd[(*n)++] = (unsigned)strtoul(at + strlen("inotify wd:"), 0, 16);
  }
  if (wd)
    qsort(wd, *n, sizeof *wd, by_number);
  return wd;
}

/* Events were lost: the kernel's list of what is still watched says which files have ended. */
static void find_lost_ends(struct hub *h)
{
  char path[64];
  size_t length, n = 0;
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", h->inotify);
  char *text = read_file(path, 256u << 20, &length);
  unsigned *wd = text ? watches_in(text, &n) : 0;
  for (uint32_t i = 0; wd && i < SESSION_HANDLES; i++) {
    struct file *f = h->files[i];
    unsigned key = f ? (unsigned)f->wd : 0;
    if (f && f->wd >= 0 && !bsearch(&key, wd, n, sizeof *wd, by_number))
      wd_event(h, f->wd, IN_IGNORED);
  }
  free(wd);
  free(text);
}

static void read_inotify(struct hub *h)
{
  _Alignas(struct inotify_event) char buf[16384];
  ssize_t n;
  while ((n = read(h->inotify, buf, sizeof buf)) > 0)
    for (char *at = buf; at < buf + n;) {
      const struct inotify_event *e = (const struct inotify_event *)at;
      if (e->mask & IN_Q_OVERFLOW)
        find_lost_ends(h);
      else
        wd_event(h, e->wd, e->mask);
      at += sizeof *e + e->len;
    }
}

void files_read_closes(struct hub *h)
{
  read_inotify(h);
  read_ends(h);
}

/* ---- streams ---- */

/* One byte in the pair, and no second before it is taken, makes the program's end readable. */
static void make_readable(const struct file *f)
{
  int unread = 0;
  if (f->sock < 0 || (!ioctl(f->sock, SIOCOUTQ, &unread) && unread))
    return;
  /* It cannot be full, and that nobody is left to read it is told by the end's event. */
  if (send(f->sock, "r", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
    return;
}

void file_window(struct hub *h, uint32_t handle, uint64_t written)
{
  struct file *f = file_at(h, handle);
  if (f && f->sk)
    sock_window(h, f, written);
  if (!f || f->sk || !state_is(h, f))
    return;
  struct hstate *s = state_of(h, f);
  __atomic_store_n(&s->written, written, __ATOMIC_SEQ_CST);
  futex_wake((const uint32_t *)&s->written, INT_MAX);
  uint64_t under_way = __atomic_load_n(&s->sent, __ATOMIC_SEQ_CST) - written;
  if (under_way + WORTH_WRITING <= STREAM_WINDOW &&
      __atomic_fetch_and(&s->armed, ~(uint32_t)POLLOUT, __ATOMIC_SEQ_CST) & POLLOUT)
    make_readable(f);
}

void file_ready(struct hub *h, uint32_t handle, uint64_t events)
{
  struct file *f = file_at(h, handle);
  if (!f || !state_is(h, f))
    return;
  struct hstate *s = state_of(h, f);
  __atomic_store_n(&s->ready, (uint32_t)events, __ATOMIC_SEQ_CST);
  /* The slave has disarmed it altogether; POLLOUT is between programs and us. */
  __atomic_fetch_and(&s->armed, POLLOUT, __ATOMIC_SEQ_CST);
  if (events & (POLLIN | POLLPRI | POLLHUP | POLLERR | POLLRDHUP))
    make_readable(f);
  futex_wake(&s->ready, INT_MAX);
}

/* Who waits for room in a window looks again. */
void files_wake_all(struct hub *h)
{
  for (uint32_t i = 0; i < SESSION_HANDLES; i++)
    if (h->files[i] && state_is(h, h->files[i]))
      futex_wake((const uint32_t *)&h->s->handles[i].written, INT_MAX);
}

void file_late(struct hub *h, uint32_t handle, int64_t result)
{
  struct file *f = file_at(h, handle);
  if (!f || !state_is(h, f)) {
    late_of_closed(h, handle, (int)result);
    return;
  }
  if (f->unborn)
    return;
  int32_t none = 0;
  bool taken = __atomic_compare_exchange_n(&state_of(h, f)->late, &none, (int32_t)result, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED);
  f->told_late |= taken && f->had_late;
  f->had_late = true;
}

/* ---- what a dead process leaves ---- */

void files_of_dead(struct hub *h, uint32_t ctx)
{
  for (uint32_t i = H_FIRST; i < SESSION_HANDLES; i++) {
    struct file *f = h->files[i];
    if (f && f->ctx == ctx && f->answered && !f->placed)
      file_close(h, f);
  }
}
