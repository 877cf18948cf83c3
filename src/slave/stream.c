/*
 * Output to pipes, terminals, sockets and character devices: what may block must not hold up the main thread.
 *
 * What the master posts is queued per handle and written by a thread of that handle; F_WINDOW tells how far it got,
 * which is what bounds the queue. A write that certainly cannot block is made at once. Nothing that was queued is lost
 * when the handle is closed: the writer holds a reference and ends after the last byte, or when a FIFO has no reader
 * left.
 *
 * Owns the queues. Must never: write out of order, or count bytes that a failure threw away as anything but done.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "slave/slave.h"

#define QUEUE_MAX (16u << 20) /* beyond this the master does not keep to the window */
#define TELL_EVERY (32u << 10)
#define AGE_SOCKET 2
#define SIG_LOOK SIGURG /* nobody else sends it here */

struct chunk {
  struct chunk *next;
  uint32_t len, done;
  unsigned age; /* S.age when it was queued; AGE_SOCKET */
  int shut;     /* a socket is to be shut down here: how, and 1 */
  uint8_t bytes[];
};

struct stream { /* belongs to its handle */
  struct handle *h;
  bool threaded; /* has a writer, which holds a reference to the handle */
  struct chunk *first, **last;
  uint64_t queued;        /* bytes not yet written */
  uint64_t written, told; /* F_WINDOW: so far, and as last told */
  bool busy;              /* someone is writing */
  bool closed;
  bool has_thread; /* and it has not ended */
  pthread_t thread;
  int fd; /* the handle's, see writing_end() */
};

/* One lock and condition for all streams: they are few, and held only to look. */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t moved;
  /* Bytes queued in all streams: before streams_mark_old(), and since then; and in sockets, for whose peers' leisure no
     command's end waits. */
  uint64_t pending[3];
  unsigned age; /* which of them counts now */
  unsigned writing;
} S = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void tell(struct handle *h, uint64_t written)
{
  out_note(F_WINDOW, OP_write, 0, (uint64_t[]){h->num, written}, 2);
}

static void tell_late(struct handle *h, int err)
{
  if (h->kind == K_SOCKET) {
    sock_failed(h, err);
    return;
  }
  out_note(F_LATE, OP_write, err, (uint64_t[]){h->num}, 1);
}

/* Writes without ever blocking; fewer bytes than n mean that it would have. */
static long write_now(int fd, const uint8_t *p, uint32_t n)
{
  long r = write_nowait(fd, p, n);
  return r == -EAGAIN || r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -EINTR ? 0 : r;
}

/* Writes at least one byte, however long that takes; for a description that someone set O_NONBLOCK on, too. */
static long write_some(int fd, const uint8_t *p, uint32_t n)
{
  for (;;) {
    ssize_t r = write(fd, p, n);
    if (r >= 0)
      return r;
    if (errno == EAGAIN)
      poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000);
    else if (errno != EINTR)
      return -errno;
  }
}

/* That it is not connected any more is nothing to tell: it has been told as the end of the connection. */
static long shut_now(struct handle *h, int how)
{
  shutdown(h->fd, how);
  return 0;
}

static void pop(struct stream *s, struct chunk *c)
{
  s->first = c->next;
  if (!s->first)
    s->last = &s->first;
  free(c);
}

/* With the lock held: n bytes of the first chunk are dealt with. */
static void advance(struct stream *s, struct chunk *c, uint32_t n)
{
  c->done += n;
  s->queued -= n;
  s->written += n;
  S.pending[c->age] -= n;
  if (c->done == c->len)
    pop(s, c);
  pthread_cond_broadcast(&S.moved);
}

/* Writes a piece of the first chunk. The lock is held on entry and exit, not while writing. */
static void write_first(struct stream *s)
{
  struct chunk *c = s->first;
  s->busy = true;
  S.writing++;
  pthread_mutex_unlock(&S.lock);
  const uint8_t *from = c->bytes + c->done;
  uint32_t n = c->len - c->done;
  long r = c->shut ? shut_now(s->h, c->shut - 1) : write_some(s->fd, from, n);
  if (r < 0 && !(r == -EPIPE && __atomic_load_n(&s->closed, __ATOMIC_RELAXED)))
    tell_late(s->h, (int)r);
  pthread_mutex_lock(&S.lock);
  advance(s, c, r < 0 ? c->len - c->done : (uint32_t)r);
  bool due = s->written - s->told >= TELL_EVERY || !s->first;
  uint64_t written = s->written;
  if (due)
    s->told = written;
  pthread_mutex_unlock(&S.lock);
  if (due)
    tell(s->h, written);
  pthread_mutex_lock(&S.lock);
  s->busy = false;
  S.writing--;
  pthread_cond_broadcast(&S.moved);
}

static void nothing(int sig)
{
  (void)sig;
}

static void *writer(void *arg)
{
  struct stream *s = arg;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIG_LOOK);
  sigaction(SIG_LOOK, &(struct sigaction){.sa_handler = nothing}, 0);
  pthread_sigmask(SIG_UNBLOCK, &set, 0);
  pthread_mutex_lock(&S.lock);
  s->thread = pthread_self();
  s->has_thread = true;
  while (s->first || !s->closed) {
    if (s->first && !s->busy)
      write_first(s);
    else
      pthread_cond_wait(&S.moved, &S.lock);
  }
  s->has_thread = false;
  pthread_mutex_unlock(&S.lock);
  handle_put(s->h);
  return 0;
}

/* With the lock held; only while the handle is open, so that stream_close() ends the writer. */
static bool writer_start(struct stream *s)
{
  if (s->threaded)
    return true;
  __atomic_add_fetch(&s->h->refs, 1, __ATOMIC_RELAXED);
  s->threaded = !thread_start(writer, s);
  if (!s->threaded)
    __atomic_sub_fetch(&s->h->refs, 1, __ATOMIC_RELAXED);
  return s->threaded;
}

/* Where to write to: for a FIFO that is open for reading as well an end of its own, since that very description is not
   to count as a reader once the program has closed it. */
static int writing_end(int fd)
{
  struct stat st;
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  bool both = !fstat(fd, &st) && S_ISFIFO(st.st_mode) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
  int end = both ? open(link, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
  return end < 0 ? fd : end;
}

static struct stream *stream_of(struct handle *h)
{
  pthread_mutex_lock(&S.lock);
  struct stream *s = h->stream;
  if (!s && (s = calloc(1, sizeof *s))) {
    s->h = h;
    s->last = &s->first;
    s->fd = writing_end(h->fd);
    h->stream = s;
  }
  pthread_mutex_unlock(&S.lock);
  return s;
}

static struct chunk *chunk_new(const uint8_t *p, uint32_t n)
{
  struct chunk *c = malloc(sizeof *c + n);
  if (!c)
    return 0;
  *c = (struct chunk){.len = n};
  if (n)
    memcpy(c->bytes, p, n);
  return c;
}

/* With the lock held. */
static void append(struct stream *s, struct chunk *c)
{
  *s->last = c;
  s->last = &c->next;
  s->queued += c->len;
  c->age = s->h->kind == K_SOCKET ? AGE_SOCKET : S.age;
  S.pending[c->age] += c->len;
  pthread_cond_broadcast(&S.moved);
}

static bool enqueue(struct stream *s, const uint8_t *p, uint32_t n)
{
  struct chunk *c = chunk_new(p, n);
  if (!c)
    return false;
  pthread_mutex_lock(&S.lock);
  bool fits = s->queued + n <= QUEUE_MAX && writer_start(s);
  if (fits)
    append(s, c);
  pthread_mutex_unlock(&S.lock);
  if (!fits)
    free(c);
  return fits;
}

/* Written by the main thread itself, as far as it goes without blocking. Bytes dealt with. */
static uint32_t write_ahead(struct handle *h, struct stream *s, const uint8_t *p, uint32_t n)
{
  pthread_mutex_lock(&S.lock);
  bool idle = !s->first && !s->busy;
  s->busy = s->busy || idle;
  pthread_mutex_unlock(&S.lock);
  if (!idle)
    return 0;
  long r = write_now(h->fd, p, n);
  if (r < 0)
    tell_late(h, (int)r);
  uint32_t done = r < 0 ? n : (uint32_t)r;
  pthread_mutex_lock(&S.lock);
  s->busy = false;
  s->written += done;
  s->told = s->written;
  pthread_cond_broadcast(&S.moved);
  pthread_mutex_unlock(&S.lock);
  if (done)
    tell(h, s->told);
  return done;
}

/* There is no room, or no thread: the bytes are lost, and nobody waits for them. */
static void give_up(struct handle *h, struct stream *s, uint32_t n)
{
  tell_late(h, -ENOBUFS);
  pthread_mutex_lock(&S.lock);
  uint64_t written = s->written += n;
  s->told = written;
  pthread_mutex_unlock(&S.lock);
  tell(h, written);
}

/* Datagrams are not waited for: what the kernel has no room for is lost, as on the way. */
static void post_datagram(struct handle *h, struct stream *s, const uint8_t *p, uint32_t n)
{
  int err = sock_send(h, p, n);
  if (err && err != -EAGAIN)
    sock_failed(h, err);
  s->written += n;
  if (s->written - s->told >= TELL_EVERY)
    tell(h, s->told = s->written);
}

void stream_shutdown(struct handle *h, int how)
{
  struct stream *s = stream_of(h);
  struct chunk *c = s ? chunk_new(0, 0) : 0;
  if (!c)
    return;
  c->shut = how + 1;
  pthread_mutex_lock(&S.lock);
  bool queued = (s->first || s->busy) && writer_start(s);
  if (queued)
    append(s, c);
  pthread_mutex_unlock(&S.lock);
  if (queued)
    return;
  shut_now(h, how);
  free(c);
}

bool stream_post(struct handle *h, const uint8_t *p, uint32_t n)
{
  struct stream *s = stream_of(h);
  if (!s)
    return false;
  if (h->kind == K_SOCKET && sock_datagrams(h)) {
    post_datagram(h, s, p, n);
    return true;
  }
  uint32_t done = write_ahead(h, s, p, n);
  if (done < n && !enqueue(s, p + done, n - done))
    give_up(h, s, n - done);
  return true;
}

/* Waits, with the lock held, until the stream is idle. 0 or -EINTR. Signals do not end the wait; looking again does. */
static int wait_idle(struct stream *s)
{
  while (s->first || s->busy) {
    if (worker_cancelled())
      return -EINTR;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 20000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&S.moved, &S.lock, &t);
  }
  return 0;
}

static long write_once(int fd, const uint8_t *p, uint32_t n)
{
  for (;;) {
    ssize_t r = write(fd, p, n);
    if (r >= 0 || errno != EINTR || worker_cancelled())
      return r < 0 ? -errno : r;
  }
}

long stream_call(struct handle *h, const uint8_t *p, uint32_t n)
{
  struct stream *s = stream_of(h);
  if (!s)
    return -ENOMEM;
  pthread_mutex_lock(&S.lock);
  int err = wait_idle(s);
  s->busy = s->busy || !err;
  pthread_mutex_unlock(&S.lock);
  if (err)
    return err;
  long r = write_once(h->fd, p, n);
  pthread_mutex_lock(&S.lock);
  s->busy = false;
  pthread_cond_broadcast(&S.moved);
  pthread_mutex_unlock(&S.lock);
  return r;
}

int stream_drain(struct handle *h)
{
  pthread_mutex_lock(&S.lock);
  int err = h->stream ? wait_idle(h->stream) : 0;
  pthread_mutex_unlock(&S.lock);
  return err;
}

/* With the lock held: everything behind the place `at' of the queue. Bytes dropped. */
static uint64_t drop_from(struct stream *s, struct chunk **at)
{
  uint64_t before = s->written;
  for (struct chunk *c; (c = *at);) {
    *at = c->next;
    s->queued -= c->len - c->done;
    s->written += c->len - c->done;
    S.pending[c->age] -= c->len - c->done;
    free(c);
  }
  s->last = at;
  return s->written - before;
}

void stream_discard(struct handle *h)
{
  pthread_mutex_lock(&S.lock);
  struct stream *s = h->stream;
  bool writing = s && s->busy && s->first; /* who writes the first tells of the rest, too */
  bool due = s && drop_from(s, writing ? &s->first->next : &s->first) && !writing;
  uint64_t written = s ? s->written : 0;
  if (due)
    s->told = written;
  pthread_cond_broadcast(&S.moved);
  pthread_mutex_unlock(&S.lock);
  if (due)
    tell(h, written);
}

void stream_look_again(struct handle *h)
{
  pthread_mutex_lock(&S.lock);
  struct stream *s = h->stream;
  if (s && s->has_thread && s->busy)
    pthread_kill(s->thread, SIG_LOOK);
  pthread_mutex_unlock(&S.lock);
}

void stream_free(struct handle *h)
{
  if (h->stream && h->stream->fd != h->fd)
    close(h->stream->fd);
  free(h->stream);
}

void stream_close(struct handle *h)
{
  pthread_mutex_lock(&S.lock);
  struct stream *s = h->stream;
  if (s)
    __atomic_store_n(&s->closed, true, __ATOMIC_RELAXED);
  if (s && s->fd != h->fd)
    dup3(s->fd, h->fd, O_CLOEXEC);
  pthread_cond_broadcast(&S.moved);
  pthread_mutex_unlock(&S.lock);
}

void streams_flush(int timeout_ms)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  t.tv_sec += timeout_ms < 0 ? 0 : timeout_ms / 1000;
  pthread_mutex_lock(&S.lock);
  int rc = 0;
  while ((S.pending[0] + S.pending[1] + S.pending[AGE_SOCKET] || S.writing) && !rc)
    rc = timeout_ms < 0 ? pthread_cond_wait(&S.moved, &S.lock) : pthread_cond_timedwait(&S.moved, &S.lock, &t);
  pthread_mutex_unlock(&S.lock);
}

void streams_mark_old(void)
{
  pthread_mutex_lock(&S.lock);
  S.age = 1;
  pthread_mutex_unlock(&S.lock);
}

void streams_flush_old(void)
{
  pthread_mutex_lock(&S.lock);
  while (S.pending[0])
    pthread_cond_wait(&S.moved, &S.lock);
  pthread_mutex_unlock(&S.lock);
}
