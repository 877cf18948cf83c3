/*
 * What a libc would give: memory, strings, formatted text, a lock, pages. Nothing in here knows of the program or the
 * slave, except the last words of fatal().
 */
#include <stdarg.h>

#include "agent/agent.h"
#include "agent/sysnum.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return result;
}

void *memmove(void *to, const void *from, size_t n)
{
  uint8_t *t = to;
  const uint8_t *f = from;
  if (t <= f || t >= f + n)
    return memcpy(to, from, n);
  while (n--)
    t[n] = f[n];
  return to;
}

void *memset(void *to, int c, size_t n)
{
  void *result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
  return result;
}

int memcmp(const void *a, const void *b, size_t n)
{
  const uint8_t *x = a, *y = b;
  for (; n; n--, x++, y++)
    if (*x != *y)
      return *x - *y;
  return 0;
}

size_t strlen(const char *s)
{
  size_t n = 0;
  while (s[n])
    n++;
  return n;
}

int strcmp(const char *a, const char *b)
{
  while (*a && *a == *b)
    a++, b++;
  return (uint8_t)*a - (uint8_t)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
  for (; n && *a && *a == *b; n--)
    a++, b++;
  return n ? (uint8_t)*a - (uint8_t)*b : 0;
}

char *strchr(const char *s, int c)
{
  for (;; s++) {
    if (*s == (char)c)
      return (char *)s;
    if (!*s)
      return 0;
  }
}

char *strrchr(const char *s, int c)
{
  const char *last = 0;
  for (; *s; s++)
    if (*s == (char)c)
      last = s;
  return (char *)last;
}

/* ---- text ---- */
struct out {
  char *at, *end; /* end: where the NUL goes at the latest */
};

static void out_char(struct out *o, char c)
{
  if (o->at < o->end)
    *o->at++ = c;
}

static void out_str(struct out *o, const char *s)
{
  for (s = s ? s : "(null)"; *s; s++)
    out_char(o, *s);
}

static void out_number(struct out *o, uint64_t v, unsigned base)
{
  char digits[24];
  int n = 0;
  do
    digits[n++] = "0123456789abcdef"[v % base];
  while (v /= base);
  while (n)
    out_char(o, digits[--n]);
}

static void out_signed(struct out *o, int64_t v)
{
  if (v < 0)
    out_char(o, '-');
  out_number(o, v < 0 ? -(uint64_t)v : (uint64_t)v, 10);
}

static void out_value(struct out *o, char kind, bool is_long, va_list *args)
{
  if (kind == 's')
    out_str(o, va_arg(*args, const char *));
  else if (kind == 'c')
    out_char(o, (char)va_arg(*args, int));
  else if (kind == 'd')
    out_signed(o, is_long ? va_arg(*args, long) : va_arg(*args, int));
  else if (kind == 'u' || kind == 'x')
    out_number(o, is_long ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), kind == 'u' ? 10 : 16);
  else
    out_char(o, kind);
}

static int vfmt(char *buf, size_t size, const char *format, va_list *args)
{
  struct out o = {buf, buf + size - 1};
  for (const char *f = format; *f; f++) {
    if (*f != '%') {
      out_char(&o, *f);
      continue;
    }
    bool is_long = *++f == 'l';
    f += is_long;
    out_value(&o, *f, is_long, args);
  }
  *o.at = 0;
  return (int)(o.at - buf);
}

int fmt(char *buf, size_t size, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  int n = vfmt(buf, size, format, &args);
  va_end(args);
  return n;
}

void fatal(const char *format, ...)
{
  char line[512] = "nexec: ";
  va_list args;
  va_start(args, format);
  int n = 7 + vfmt(line + 7, sizeof line - 8, format, &args);
  va_end(args);
  line[n++] = '\n';
  last_words(line, (size_t)n);
  for (;;)
    sys1(SYS_exit_group, 255);
}

/* ---- pages ---- */
/* A few blocks for a program that has used up its address space: enough to execute something else. */
#define RESERVES 6
static uint8_t reserve[RESERVES][32 << 10] __attribute__((aligned(4096)));
static uint32_t reserve_taken[RESERVES];

static void *reserve_new(size_t bytes)
{
  for (int i = 0; bytes <= sizeof reserve[0] && i < RESERVES; i++)
    if (!__atomic_exchange_n(&reserve_taken[i], 1, __ATOMIC_ACQUIRE))
      return memset(reserve[i], 0, bytes);
  return 0;
}

static unsigned long arena_at = ARENA_BEGIN; /* where the next mapping is tried */

static unsigned long arena_take(size_t bytes)
{
  unsigned long at = __atomic_fetch_add(&arena_at, bytes, __ATOMIC_RELAXED);
  if (at + bytes <= ARENA_END)
    return at;
  __atomic_store_n(&arena_at, ARENA_BEGIN, __ATOMIC_RELAXED);
  return 0;
}

/* Past what is still in use there from the round before; anywhere, if there is too much of that. */
static long arena_place(size_t bytes, long prot, long flags, int fd, unsigned long off)
{
  for (int tries = 0; tries < 64; tries++) {
    unsigned long at = arena_take(bytes);
    long p = at ? sys6(SYS_mmap, (long)at, (long)bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, (long)off) : -EEXIST;
    if (p != -EEXIST)
      return p;
  }
  return sys6(SYS_mmap, 0, (long)bytes, prot, flags, fd, (long)off);
}

static void count_pages(long bytes, bool data)
{
  space_add(SPACE_ALL, bytes);
  if (data)
    space_add(SPACE_DATA, bytes);
}

long arena_map(size_t bytes, long prot, long flags, int fd, unsigned long off)
{
  bool data = (prot & PROT_WRITE) && (flags & MAP_PRIVATE);
  bytes = (bytes + 4095) & ~4095ul;
  count_pages((long)bytes, data);
  long p = arena_place(bytes, prot, flags, fd, off);
  if (p < 0 && p > -4096)
    count_pages(-(long)bytes, data);
  return p;
}

/* The last one taken is the first one used again. */
static void arena_unmap(void *p, size_t bytes)
{
  bytes = (bytes + 4095) & ~4095ul;
  unsigned long end = (unsigned long)p + bytes;
  sys2(SYS_munmap, p, bytes);
  count_pages(-(long)bytes, true);
  __atomic_compare_exchange_n(&arena_at, &end, (unsigned long)p, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void *pages_new(size_t bytes)
{
  long p = arena_map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p < 0 && p > -4096 ? reserve_new(bytes) : (void *)p;
}

void pages_free(void *p, size_t bytes)
{
  size_t at = (size_t)((uint8_t *)p - reserve[0]);
  if (at < sizeof reserve)
    __atomic_store_n(&reserve_taken[at / sizeof reserve[0]], 0, __ATOMIC_RELEASE);
  else
    arena_unmap(p, bytes);
}

/* Small pieces: free lists by power of two from 16 to 4096, refilled a chunk at a time and never given back. */
static struct lock small_lock;
static void *small_free_list[9];

static unsigned small_class(size_t bytes)
{
  unsigned c = 0;
  while (((size_t)16 << c) < bytes)
    c++;
  return c;
}

static bool small_refill(unsigned c)
{
  size_t piece = (size_t)16 << c, chunk = 64 << 10;
  uint8_t *p = pages_new(chunk);
  if (!p)
    return false;
  for (size_t at = 0; at + piece <= chunk; at += piece) {
    *(void **)(p + at) = small_free_list[c];
    small_free_list[c] = p + at;
  }
  return true;
}

void *small_new(size_t bytes)
{
  unsigned c = small_class(bytes);
  lock(&small_lock);
  void *p = small_free_list[c] || small_refill(c) ? small_free_list[c] : 0;
  if (p)
    small_free_list[c] = *(void **)p;
  unlock(&small_lock);
  return p ? memset(p, 0, (size_t)16 << c) : 0;
}

void small_free(void *p, size_t bytes)
{
  if (!p)
    return;
  unsigned c = small_class(bytes);
  lock(&small_lock);
  *(void **)p = small_free_list[c];
  small_free_list[c] = p;
  unlock(&small_lock);
}

/*
 * Locks: 0 free, 1 held, 2 held and somebody sleeps.
 *
 * fork copies the memory but only one thread: a lock that another thread holds would stay locked in the child for
 * ever. So fork shuts a gate: who holds a lock may take more and finish, nobody else begins, until none is held.
 */
static uint32_t gate, holders;

static void gate_pass(void)
{
  for (;;) {
    __atomic_fetch_add(&holders, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&gate, __ATOMIC_SEQ_CST))
      return;
    __atomic_fetch_sub(&holders, 1, __ATOMIC_SEQ_CST);
    sys0(SYS_sched_yield);
  }
}

void gate_shut(void)
{
  while (__atomic_exchange_n(&gate, 1, __ATOMIC_SEQ_CST))
    sys0(SYS_sched_yield);
  while (__atomic_load_n(&holders, __ATOMIC_SEQ_CST))
    sys0(SYS_sched_yield);
}

void gate_open(void)
{
  __atomic_store_n(&gate, 0, __ATOMIC_SEQ_CST);
}

/* In the child of a fork: a thread that was just being turned away at the gate was counted in the copy. */
void gate_forked(void)
{
  __atomic_store_n(&holders, 0, __ATOMIC_SEQ_CST);
  gate_open();
}

void lock(struct lock *l)
{
  if (!self()->locks++)
    gate_pass();
  uint32_t old = 0;
  if (__atomic_compare_exchange_n(&l->word, &old, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return;
  while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE))
    sys4(SYS_futex, &l->word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2, 0);
}

void unlock(struct lock *l)
{
  if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
    sys3(SYS_futex, &l->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
  if (!--self()->locks)
    __atomic_fetch_sub(&holders, 1, __ATOMIC_SEQ_CST);
}
