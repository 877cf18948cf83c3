/*
 * Mappings of large files of the slave, whose contents come when they are looked at.
 *
 * The hub's memfd has holes where nothing has been fetched yet. Each mapping of it gets a userfaultfd, which the hub
 * holds: a thread that comes upon a hole sleeps until the hub has filled it. The kernel itself is not served so (it
 * says EFAULT): what a call hands to it is asked for before. Where there is no userfaultfd, a mapping is fetched when
 * it is made.
 *
 * Owns the list of those mappings of this address space, which is exact. Must never let a hole be seen: it is mapped
 * without access until it is watched, and again in the child of a fork, which inherits the mapping and not the watch.
 */
#include "agent/lazy.h"

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/ioctl.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>

#define PAGE 4096ul
#define MAP_KIND 15
#define SMALL 4096ul /* what a pointer points to, if no length is known */
#define LENGTH_MAX (1ul << 40)
#define LOOK_PAGES 4096u /* that are looked at in one go */

struct lazy {
  struct lazy *next;
  uint64_t addr, len, off, id;
  uint64_t first; /* where it began when the hub was told of it; 0: all of it is there */
  bool read_only; /* shared, of a file opened for reading */
  bool shared;
};
static struct lazy *list;
static struct lock list_lock;
static uint64_t lowest = UINT64_MAX, highest; /* all that were ever in the list lie in between */
bool lazy_any;
static bool all_at_once; /* others than this thread hand memory to the kernel: io_uring, aio */

/* ---- the list ---- */

static void remember(struct lazy m)
{
  struct lazy *n = small_new(sizeof *n);
  if (!n)
    fatal("no memory to remember a mapping");
  lock(&list_lock);
  *n = m;
  n->next = list;
  list = n;
  lowest = m.addr < lowest ? m.addr : lowest;
  highest = m.addr + m.len > highest ? m.addr + m.len : highest;
  lazy_any = true;
  unlock(&list_lock);
}

/* The first one from `from' on that has a part in the range; what it is there. */
static bool next_in(uint64_t addr, uint64_t len, struct lazy *found)
{
  struct lazy *best = 0;
  uint64_t end = addr + len < addr ? UINT64_MAX : addr + len;
  if (end <= __atomic_load_n(&lowest, __ATOMIC_RELAXED) || addr >= __atomic_load_n(&highest, __ATOMIC_RELAXED))
    return false;
  lock(&list_lock);
  for (struct lazy *m = list; m; m = m->next)
    if (m->addr < end && addr < m->addr + m->len && (!best || m->addr < best->addr))
      best = m;
  if (best)
    *found = *best;
  unlock(&list_lock);
  if (!best)
    return false;
  uint64_t begin = addr > found->addr ? addr : found->addr;
  uint64_t stop = end < found->addr + found->len ? end : found->addr + found->len;
  found->off += begin - found->addr;
  found->addr = begin;
  found->len = stop - begin;
  return true;
}

/* ---- the hub ---- */

static long fetch(struct thread *t, uint64_t id, uint64_t off, uint64_t len)
{
  struct req q;
  req_start_op(&q, t, W_FETCH);
  req_u64(&q, id);
  req_u64(&q, off);
  req_u64(&q, len);
  return req_call(&q, false);
}

static void tell(struct thread *t, uint64_t id, uint64_t addr, uint64_t len, uint64_t off, int fd)
{
  struct req q;
  req_start_op(&q, t, W_LAZY);
  req_u64(&q, id);
  req_u64(&q, addr);
  req_u64(&q, len);
  req_u64(&q, off);
  req_post_uncounted(&q, fd);
}

static long uffd_new(void)
{
  struct uffdio_api api = {.api = UFFD_API};
  long fd = sys1(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  long r = fd < 0 ? fd : sys3(__NR_ioctl, fd, UFFDIO_API, &api);
  if (r >= 0)
    return fd;
  if (fd >= 0)
    sys1(__NR_close, fd);
  return r;
}

/* From here on the hub serves what is missing in the mapping. False: it cannot. */
static bool watch(struct thread *t, const struct lazy *m)
{
  struct uffdio_register reg = {.range = {m->addr, m->len}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  long fd = uffd_new();
  if (fd < 0)
    return false;
  bool ok = sys3(__NR_ioctl, fd, UFFDIO_REGISTER, &reg) == 0;
  if (ok)
    tell(t, m->id, m->addr, m->len, m->off, (int)fd);
  sys1(__NR_close, fd);
  return ok;
}

/* ---- mmap ---- */

static bool is_error(long r)
{
  return r < 0 && r >= -4095;
}

static long map_filled(struct call *c, struct lazy *m)
{
  fetch(c->t, m->id, m->off, m->len); /* what does not come is a SIGBUS */
  return pass(c);
}

/* Without access until holes are watched: neither another thread nor the kernel, that may be told to fill what it maps,
   looks at one. */
static long map_watched(struct call *c, struct lazy *m)
{
  unsigned long prot = c->a[2];
  c->a[2] = PROT_NONE;
  long r = pass(c);
  if (is_error(r))
    return r;
  m->addr = m->first = (uint64_t)r;
  if (!watch(c->t, m)) {
    m->first = 0;
    fetch(c->t, m->id, m->off, m->len);
  }
  long err = sys3(__NR_mprotect, r, m->len, prot);
  if (!err)
    return r;
  sys2(__NR_munmap, r, m->len);
  return err;
}

long lazy_map(struct call *c, uint64_t id)
{
  unsigned long prot = c->a[2], flags = c->a[3];
  struct lazy m = {.id = id, .off = c->a[5], .len = (c->a[1] + PAGE - 1) & ~(PAGE - 1)};
  m.shared = m.read_only = (flags & MAP_KIND) != MAP_PRIVATE;
  bool at_once = flags & (MAP_POPULATE | MAP_LOCKED) || c->p->lender || all_at_once;
  long r = at_once ? map_filled(c, &m) : map_watched(c, &m);
  if (is_error(r))
    return r;
  c->a[2] = prot;
  c->made_lazy = true;
  m.addr = (uint64_t)r;
  lazy_unmapped(c, m.addr, m.len); /* what it has taken the place of */
  remember(m);
  return r;
}

/* ---- munmap, mremap, mprotect ---- */

static bool told_still(uint64_t id, uint64_t first)
{
  struct lazy *m = list;
  while (m && !(m->id == id && m->first == first))
    m = m->next;
  return m;
}

/* Takes the range out of one, which may leave two. The one to be told of as gone, in *gone; false: none. */
static bool cut_out(struct lazy **at, uint64_t addr, uint64_t end, struct lazy *spare, bool *used, struct lazy *gone)
{
  struct lazy *m = *at, old = *m;
  uint64_t m_end = m->addr + m->len;
  *used = false;
  if (m->addr < addr && m_end > end) {
    *spare = old;
    spare->addr = end;
    spare->off += end - old.addr;
    spare->len = m_end - end;
    spare->next = m->next;
    m->next = spare;
    *used = true;
  }
  if (m->addr < addr) {
    m->len = addr - m->addr;
    return false;
  }
  if (m_end > end) {
    m->off += end - m->addr;
    m->len = m_end - end;
    m->addr = end;
    return false;
  }
  *at = m->next;
  small_free(m, sizeof *m);
  *gone = old;
  return old.first && !told_still(old.id, old.first);
}

/* Forgets one piece. False: there is none. */
static bool forget_one(struct thread *t, uint64_t addr, uint64_t end)
{
  struct lazy gone, *spare = small_new(sizeof *spare);
  bool used = false, tells = false;
  if (!spare)
    fatal("no memory to forget a mapping");
  lock(&list_lock);
  struct lazy **at = &list;
  while (*at && !((*at)->addr < end && addr < (*at)->addr + (*at)->len))
    at = &(*at)->next;
  bool found = *at;
  if (found)
    tells = cut_out(at, addr, end, spare, &used, &gone);
  lazy_any = list;
  unlock(&list_lock);
  if (!used)
    small_free(spare, sizeof *spare);
  if (tells)
    tell(t, gone.id, gone.first, 0, 0, -1);
  return found;
}

void lazy_unmapped(struct call *c, uint64_t addr, uint64_t len)
{
  uint64_t end = addr + ((len + PAGE - 1) & ~(PAGE - 1));
  while (lazy_any && forget_one(c->t, addr, end))
    continue;
}

struct lazy_moved lazy_moving(struct call *c, uint64_t addr, uint64_t len)
{
  struct lazy m;
  if (!next_in(addr, 1, &m))
    return (struct lazy_moved){0};
  fetch(c->t, m.id, m.off, (len + PAGE - 1) & ~(PAGE - 1));
  return (struct lazy_moved){m.id, m.off, m.shared};
}

void lazy_moved(struct call *c, const struct lazy_moved *m, uint64_t addr, uint64_t len)
{
  if (!m->id)
    return;
  lazy_unmapped(c, addr, len);
  remember((struct lazy){.addr = addr,
                         .len = (len + PAGE - 1) & ~(PAGE - 1),
                         .off = m->off,
                         .id = m->id,
                         .shared = m->shared,
                         .read_only = m->shared});
}

bool lazy_not_writable(uint64_t addr, uint64_t len)
{
  struct lazy m;
  for (uint64_t end = addr + len; addr < end && next_in(addr, end - addr, &m); addr = m.addr + m.len)
    if (m.read_only)
      return true;
  return false;
}

/* ---- fork ---- */

static struct lazy *nth(unsigned n)
{
  struct lazy *m = list;
  for (; m && n; n--)
    m = m->next;
  return m;
}

/* This thread is the only one, and nobody else looks at the list. */
void lazy_forked(struct thread *t)
{
  struct lazy *m;
  for (unsigned i = 0; (m = nth(i)); i++) {
    if (!m->first)
      continue;
    m->first = m->addr;
    if (watch(t, m))
      continue;
    fetch(t, m->id, m->off, m->len);
    m->first = 0;
  }
}

/* ---- what is handed to the kernel ---- */

/* Pages that the kernel does not have. */
static bool missing(struct thread *t, uint64_t addr, uint64_t len)
{
  uint8_t *there = (uint8_t *)t->path_buf[3];
  while (len) {
    uint64_t pages = (len + PAGE - 1) / PAGE, n = pages < LOOK_PAGES ? pages : LOOK_PAGES;
    if (sys3(__NR_mincore, addr, n * PAGE, there))
      return false; /* not mapped: the call says so */
    for (uint64_t i = 0; i < n; i++)
      if (!(there[i] & 1))
        return true;
    addr += n * PAGE;
    len -= n * PAGE < len ? n * PAGE : len;
  }
  return false;
}

static void need(struct call *c, uint64_t addr, uint64_t len)
{
  struct lazy m;
  for (uint64_t end = addr + len; addr < end && next_in(addr, end - addr, &m); addr = m.addr + m.len) {
    uint64_t lead = m.addr % PAGE;
    if (m.first && missing(c->t, m.addr - lead, m.len + lead))
      fetch(c->t, m.id, m.off - lead, m.len + lead);
  }
}

static void need_vector(struct call *c, uint64_t at, uint64_t n)
{
  struct {
    uint64_t base, len;
  } v;
  need(c, at, n < 1024 ? n * sizeof v : 0);
  for (uint64_t i = 0; i < n && i < 1024 && !copy_in(&v, (void *)(at + i * sizeof v), sizeof v); i++)
    need(c, v.base, v.len < LENGTH_MAX ? v.len : 0);
}

struct msghdr_k {
  uint64_t name, namelen, iov, iovlen, control, controllen, flags;
};
#define MMSG_SIZE 64 /* of a struct mmsghdr */

static void need_messages(struct call *c, uint64_t at, uint64_t n)
{
  struct msghdr_k m;
  for (uint64_t i = 0; i < n && i < 1024 && !copy_in(&m, (void *)(at + i * MMSG_SIZE), sizeof m); i++) {
    need(c, m.name, SMALL);
    need(c, m.control, m.controllen < LENGTH_MAX ? m.controllen : 0);
    need_vector(c, m.iov, m.iovlen);
  }
}

/* Which arguments are a pointer and its length. */
static const struct {
  int16_t nr;
  uint8_t what, at, len; /* what: a buffer, a vector, messages, one message */
} buffers[] = {
    {__NR_read, 'b', 1, 2},
    {__NR_write, 'b', 1, 2},
    {__NR_pread64, 'b', 1, 2},
    {__NR_pwrite64, 'b', 1, 2},
    {__NR_sendto, 'b', 1, 2},
    {__NR_recvfrom, 'b', 1, 2},
    {__NR_getrandom, 'b', 0, 1},
    {__NR_getdents64, 'b', 1, 2},
    {__NR_mlock, 'b', 0, 1},
    {__NR_mlock2, 'b', 0, 1},
    {__NR_getcwd, 'b', 0, 1},
    {__NR_setsockopt, 'b', 3, 4},
    {__NR_readv, 'v', 1, 2},
    {__NR_writev, 'v', 1, 2},
    {__NR_preadv, 'v', 1, 2},
    {__NR_pwritev, 'v', 1, 2},
    {__NR_preadv2, 'v', 1, 2},
    {__NR_pwritev2, 'v', 1, 2},
    {__NR_vmsplice, 'v', 1, 2},
    {__NR_process_vm_readv, 'v', 1, 2},
    {__NR_process_vm_writev, 'v', 1, 2},
    {__NR_sendmmsg, 'm', 1, 2},
    {__NR_recvmmsg, 'm', 1, 2},
    {__NR_sendmsg, '1', 1, 0},
    {__NR_recvmsg, '1', 1, 0},
};

/* Calls about the mappings themselves, and those whose registers are no arguments. */
static bool only_names_it(const struct call *c)
{
  static const int16_t nrs[] = {__NR_mmap,  __NR_munmap,     __NR_mprotect,    __NR_mremap,
                                __NR_msync, __NR_mincore,    __NR_munlock,     __NR_brk,
                                __NR_exit,  __NR_exit_group, __NR_rt_sigreturn};
  for (unsigned i = 0; i < sizeof nrs / sizeof *nrs; i++)
    if (nrs[i] == c->nr)
      return true;
  return c->nr == __NR_madvise && c->a[2] != MADV_POPULATE_READ && c->a[2] != MADV_POPULATE_WRITE;
}

static void need_all(struct call *c)
{
  struct lazy m;
  all_at_once = true;
  for (uint64_t at = 0; next_in(at, UINT64_MAX - at, &m); at = m.addr + m.len)
    need(c, m.addr, m.len);
}

void lazy_before(struct call *c)
{
  if (only_names_it(c))
    return;
  if (c->nr == __NR_io_uring_setup || c->nr == __NR_io_setup)
    need_all(c);
  for (unsigned i = 0; i < 6; i++)
    need(c, c->a[i], SMALL);
  if (c->nr == __NR_madvise)
    need(c, c->a[0], c->a[1]);
  for (unsigned i = 0; i < sizeof buffers / sizeof *buffers; i++) {
    uint64_t at = c->a[buffers[i].at], n = c->a[buffers[i].len];
    if (buffers[i].nr != c->nr)
      continue;
    if (buffers[i].what == 'b')
      need(c, at, n < LENGTH_MAX ? n : 0);
    else if (buffers[i].what == 'v')
      need_vector(c, at, n);
    else
      need_messages(c, at, buffers[i].what == '1' ? 1 : n);
  }
}
