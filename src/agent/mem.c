/* The program's memory calls that concern the agent only: protecting its own ranges and knowing about text. */
#include <linux/capability.h>

#include "agent/lazy.h"
#include "agent/names.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define PAGE 4096ul
#define RLIMIT_MEMLOCK_K 8

bool thread_memory(unsigned long addr, unsigned long len);

/* The agent's image and its arena are one range; what has not found room there and trampolines are kept apart. */
bool agent_memory(unsigned long addr, unsigned long len)
{
  unsigned long end = addr + len;
  if (addr < (unsigned long)agent_end && end > ARENA_BEGIN)
    return true;
  if (addr < (unsigned long)session + SESSION_HEAD_SIZE && end > (unsigned long)session)
    return true;
  return thread_memory(addr, len) || names_memory(addr, len) || rewrite_memory(addr, len);
}

unsigned long agent_free(unsigned long addr, unsigned long len)
{
  unsigned long free = 0;
  for (unsigned long most = len; free < most;) {
    unsigned long half = free + (((most - free) / 2 + PAGE - 1) & ~(PAGE - 1));
    if (agent_memory(addr, half))
      most = half - PAGE;
    else
      free = half;
  }
  return free;
}

unsigned long agent_behind(unsigned long addr, unsigned long end)
{
  while (addr < end && agent_memory(addr, PAGE))
    addr = addr >= ARENA_BEGIN && addr < (unsigned long)agent_end ? (unsigned long)agent_end : addr + PAGE;
  return addr < end ? addr : end;
}

/* The agent's own pages are a hole to the program: what lies before it is served, and then the hole is what is said. */
static long to_the_hole(struct call *c)
{
  unsigned long len = (c->a[1] + PAGE - 1) & ~(PAGE - 1);
  if (c->a[0] % PAGE || !len || !agent_memory(c->a[0], len))
    return a_local(c);
  c->a[1] = agent_free(c->a[0], len);
  long r = c->a[1] ? a_local(c) : 0;
  return r ? r : -ENOMEM;
}

long a_range(struct call *c)
{
  return to_the_hole(c);
}

/* Text that becomes writable belongs to a program that makes its own: no more rewriting there. */
long a_mprotect(struct call *c)
{
  if (c->a[2] & PROT_WRITE && lazy_any && lazy_not_writable(c->a[0], c->a[1]))
    return -EACCES;
  if (c->a[2] & PROT_WRITE)
    text_unmapped(c->a[0], c->a[1]);
  return to_the_hole(c);
}

/* ---- mlockall ---- */
typedef void range_fn(unsigned long addr, unsigned long len, void *arg);

static const char *hex(const char *s, unsigned long *v)
{
  for (*v = 0;; s++) {
    unsigned d = (unsigned)*s - '0' < 10 ? (unsigned)*s - '0' : (unsigned)*s - 'a' < 6 ? (unsigned)*s - 'a' + 10 : 16;
    if (d == 16)
      return s;
    *v = *v << 4 | d;
  }
}

/* One line of the list of mappings, less what is the agent's. */
static void line_range(const char *line, range_fn *each, void *arg)
{
  unsigned long addr, end;
  line = hex(line, &addr);
  if (*line != '-' || *hex(line + 1, &end) != ' ')
    return;
  while (addr < end) {
    unsigned long len = agent_free(addr, end - addr);
    if (len)
      each(addr, len, arg);
    addr = agent_behind(addr + len, end);
  }
}

/* Every mapping of the program's. 0 or -errno. */
static long each_range(struct thread *t, range_fn *each, void *arg)
{
  char *buf = t->path_buf[0];
  unsigned n = 0, start;
  long fd = sys4(SYS_openat, AT_FDCWD, "/proc/thread-self/maps", O_RDONLY | O_CLOEXEC, 0), r;
  if (fd < 0)
    return fd;
  while ((r = sys3(SYS_read, fd, buf + n, 2 * PAGE - 1 - n)) > 0) {
    n += (unsigned)r;
    buf[n] = 0;
    char *line = buf, *next;
    for (; (next = strchr(line, '\n')); line = next + 1)
      line_range(line, each, arg);
    start = (unsigned)(line - buf);
    n -= start;
    memmove(buf, line, n);
  }
  sys1(SYS_close, fd);
  return r;
}

static void add_up(unsigned long addr, unsigned long len, void *arg)
{
  (void)addr;
  *(unsigned long *)arg += len;
}

/* What cannot be filled, as pages without access, is no error. */
static void lock_range(unsigned long addr, unsigned long len, void *arg)
{
  sys3(SYS_mlock2, addr, len, *(unsigned *)arg);
}

static long may_lock_all(struct thread *t)
{
  unsigned long limit[2], total = 0;
  long r = sys4(SYS_prlimit64, 0, RLIMIT_MEMLOCK_K, 0, limit);
  if (r || capable(CAP_IPC_LOCK))
    return r;
  if (!limit[0])
    return -EPERM;
  r = each_range(t, add_up, &total);
  return r ? r : total > limit[0] ? -ENOMEM : 0;
}

/* The program's own mappings, one by one: what the agent shares with the session is none of them, and is large. */
long a_mlockall(struct call *c)
{
  unsigned flags = (unsigned)c->a[0], how = flags & MCL_ONFAULT ? MLOCK_ONFAULT : 0;
  if (!(flags & MCL_CURRENT) || flags & ~(unsigned)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
    return a_local(c);
  long r = may_lock_all(c->t);
  if (r)
    return r;
  r = flags & MCL_FUTURE ? sys1(SYS_mlockall, flags & ~(unsigned)MCL_CURRENT) : sys0(SYS_munlockall);
  return r ? r : each_range(c->t, lock_range, &how);
}

long a_brk(struct call *c)
{
  return a_local(c);
}
