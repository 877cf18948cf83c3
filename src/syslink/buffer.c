/*
 * Buffers whose pages two processes share: memory of syslink_alloc() is a file of its own, which travels with the
 * command, so that what it holds outlives the sender's mapping.
 *
 * Owns the list of such memory. A file that came from the other side may be anything: it is mapped only if it cannot
 * shrink, and read otherwise. Must never give away a descriptor that may be written through.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "syslink/end.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct region {
  struct region *next;
  uint8_t *at;
  size_t bytes;
  int file;     /* for reading only */
  bool foreign; /* pages of others have been mapped into it: what it holds is not in its file any more */
};

static struct {
  pthread_mutex_t lock;
  struct region *first;
} B = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t page(void)
{
  static size_t size;
  if (!size)
    size = (size_t)sysconf(_SC_PAGESIZE);
  return size;
}

/* With the lock: the one in which these bytes lie, all of them. */
static struct region *region_of(const void *p, size_t n)
{
  const uint8_t *at = p;
  for (struct region *r = B.first; r; r = r->next)
    if (at >= r->at && at < r->at + r->bytes && n <= (size_t)(r->at + r->bytes - at))
      return r;
  return 0;
}

/* ---- files ---- */

static int file_new(size_t bytes)
{
  int file = memfd_create("syslink", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0)
    return -errno;
  int err = ftruncate(file, (off_t)bytes) || fcntl(file, F_ADD_SEALS, SEALS) ? -errno : 0;
  if (err)
    close(file);
  return err ? err : file;
}

static int read_only(int file)
{
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  int reader = open(path, O_RDONLY | O_CLOEXEC);
  return reader < 0 ? -errno : reader;
}

int sl_buffer_copy(const void *p, size_t n)
{
  int file = file_new(n), reader;
  if (file < 0)
    return file;
  ssize_t put = pwrite(file, p, n, 0);
  reader = put == (ssize_t)n ? read_only(file) : put < 0 ? -errno : -ENOSPC;
  close(file);
  return reader;
}

/* ---- memory ---- */

static int region_new(size_t bytes, struct region *r)
{
  int file = file_new(bytes);
  if (file < 0)
    return file;
  void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  int err = at == MAP_FAILED ? -errno : 0, reader = err ? err : read_only(file);
  close(file);
  if (!err && reader < 0)
    munmap(at, bytes);
  if (reader < 0)
    return reader;
  *r = (struct region){.at = at, .bytes = bytes, .file = reader};
  return 0;
}

void *syslink_alloc(size_t bytes)
{
  struct region *r = malloc(sizeof *r);
  size_t whole = (bytes + page() - 1) & ~(page() - 1);
  int err = !r ? -ENOMEM : !bytes || whole < bytes ? -EINVAL : region_new(whole, r);
  if (err) {
    free(r);
    errno = -err;
    return 0;
  }
  pthread_mutex_lock(&B.lock);
  r->next = B.first;
  B.first = r;
  pthread_mutex_unlock(&B.lock);
  return r->at;
}

int syslink_free(void *p)
{
  pthread_mutex_lock(&B.lock);
  struct region **at = &B.first, *r;
  while ((r = *at) && r->at != p)
    at = &r->next;
  if (r)
    *at = r->next;
  pthread_mutex_unlock(&B.lock);
  if (!r) {
    errno = EINVAL;
    return -1;
  }
  munmap(r->at, r->bytes);
  close(r->file);
  free(r);
  return 0;
}

/* ---- crossing ---- */

int sl_buffer_file(const void *p, size_t n, uint64_t *offset)
{
  pthread_mutex_lock(&B.lock);
  const struct region *r = region_of(p, n);
  int file = r && !r->foreign && (uintptr_t)p % page() == 0 ? r->file : -1;
  if (file >= 0)
    *offset = (uint64_t)((const uint8_t *)p - r->at);
  pthread_mutex_unlock(&B.lock);
  return file;
}

static bool can_be_mapped(int file, uint64_t offset, size_t n)
{
  struct stat st;
  return offset % page() == 0 && fcntl(file, F_GET_SEALS) >= 0 && fcntl(file, F_GET_SEALS) & F_SEAL_SHRINK &&
         !fstat(file, &st) && offset <= (uint64_t)st.st_size && n <= (uint64_t)st.st_size - offset;
}

/* In place of pages of ours: private, so that what is written there stays here. */
static bool mapped(int file, uint64_t offset, void *to, size_t n)
{
  if ((uintptr_t)to % page() || n % page() || !can_be_mapped(file, offset, n))
    return false;
  pthread_mutex_lock(&B.lock);
  struct region *r = region_of(to, n);
  bool done = r && mmap(to, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, (off_t)offset) != MAP_FAILED;
  if (done)
    r->foreign = true;
  pthread_mutex_unlock(&B.lock);
  return done;
}

int sl_buffer_take(int file, uint64_t offset, void *to, size_t n)
{
  if (offset > INT64_MAX - n)
    return -EPROTO;
  if (mapped(file, offset, to, n))
    return 0;
  for (size_t at = 0; at < n;) {
    ssize_t r = pread(file, (char *)to + at, n - at, (off_t)(offset + at));
    if (r <= 0 && !(r < 0 && errno == EINTR))
      return r ? -errno : -EPROTO;
    at += r > 0 ? (size_t)r : 0;
  }
  return 0;
}
