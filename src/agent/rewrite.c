/*
 * Rewriting: a call site that has trapped becomes a jump to a trampoline near it, which enters the agent directly.
 *
 *   syscall; cmp $-4096 (or -4095), %rax or %eax     the first five bytes become the jump; the trampoline ends with
 *                                                    the comparison and a jump behind it ("tail")
 *   mov $nr, %eax; syscall                           the mov becomes the jump; the syscall stays and, if anybody
 *                                                    jumps to it, traps as ever
 *
 * From the first trap of a site on, a trapped thread resumes in the tail, so that nobody stands between the two
 * instructions when they are overwritten. The store is one of eight bytes within a cache line, followed by a
 * membarrier. Only text mapped from files is touched, never the vDSO; where the kernel refuses the protection, sites
 * stay traps. Signal frames show the program's own addresses: rewrite_outward() and rewrite_inward().
 *
 * Owns: the list of text ranges, the trampoline areas, the table of sites. One lock, `rewriting'; nothing is called
 * under it but the kernel.
 */
#include "agent/start.h"
#include "agent/sysnum.h"

#define AREA_SIZE (64ul << 10)
#define TRAMPOLINE 32ul
#define REACH 0x70000000ul
#define NEARBY 1024 /* how far jumps into a site are looked for */
#define MAX_TEXTS 512
#define MAX_AREAS 64
#define SITES (1u << 14)
#define MEMBARRIER_SYNC_CORE (1 << 5)
#define MEMBARRIER_REGISTER_SYNC_CORE (1 << 6)

struct range {
  unsigned long at, end;
};
struct trampoline {
  uint8_t code[24];
  unsigned long call; /* address of the call instruction */
};
_Static_assert(sizeof(struct trampoline) == TRAMPOLINE, "trampolines are packed");
struct area {
  unsigned long entry; /* fast_entry, for the trampolines' indirect jump */
  unsigned long used;  /* of slots[] */
  unsigned long pad[2];
  struct trampoline slots[AREA_SIZE / TRAMPOLINE - 1];
};

enum shape { SHAPE_NONE, SHAPE_CMP, SHAPE_MOV };
struct site {
  unsigned long call; /* address of the syscall instruction, 0: empty */
  unsigned long tail; /* where a thread that came here resumes; 0: behind the call as it is */
  uint8_t shape;
  bool patched;
};

static struct lock rewriting;
static struct range texts[MAX_TEXTS];
static unsigned ntexts;
static struct area *areas[MAX_AREAS];
static unsigned nareas;
static struct site *sites; /* open addressing, SITES of them, made on first use */
static unsigned nsites;
static bool refused; /* the kernel does not let us change text */

/* ---- text ranges ---- */
/* Shared text is the file itself or somebody's other view of it, and writable text may change under us: neither is
 * touched. */
void text_mapped(unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags)
{
  bool fixed_text = (prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) == (PROT_READ | PROT_EXEC);
  if (!(session->flags & SF_REWRITE) || !fixed_text || !(flags & MAP_PRIVATE) || (flags & MAP_ANONYMOUS))
    return;
  lock(&rewriting);
  if (ntexts < MAX_TEXTS)
    texts[ntexts++] = (struct range){addr, addr + len};
  unlock(&rewriting);
}

static void sites_forget(unsigned long addr, unsigned long end)
{
  for (unsigned i = 0; sites && i < SITES; i++)
    if (sites[i].call >= addr && sites[i].call < end)
      sites[i].shape = SHAPE_NONE, sites[i].tail = 0, sites[i].patched = false;
}

static void range_cut(unsigned i, unsigned long addr, unsigned long end)
{
  struct range r = texts[i];
  texts[i] = texts[--ntexts];
  if (r.at < addr && ntexts < MAX_TEXTS)
    texts[ntexts++] = (struct range){r.at, addr};
  if (r.end > end && ntexts < MAX_TEXTS)
    texts[ntexts++] = (struct range){end, r.end};
}

void text_unmapped(unsigned long addr, unsigned long len)
{
  unsigned long end = addr + len;
  bool any = false;
  if (!ntexts)
    return;
  lock(&rewriting);
  for (unsigned i = ntexts; i-- > 0;)
    if (texts[i].at < end && texts[i].end > addr) {
      range_cut(i, addr, end);
      any = true;
    }
  if (any)
    sites_forget(addr, end);
  unlock(&rewriting);
}

static const struct range *text_of(unsigned long addr, unsigned long len)
{
  for (unsigned i = 0; i < ntexts; i++)
    if (addr >= texts[i].at && addr + len <= texts[i].end)
      return &texts[i];
  return 0;
}

static bool is_text(unsigned long addr, unsigned long len)
{
  return text_of(addr, len);
}

/* ---- trampolines ---- */
bool rewrite_memory(unsigned long addr, unsigned long len)
{
  for (unsigned i = 0; i < nareas; i++)
    if (addr < (unsigned long)areas[i] + AREA_SIZE && addr + len > (unsigned long)areas[i])
      return true;
  return false;
}

static bool near(unsigned long a, unsigned long b)
{
  return a > b ? a - b < REACH : b - a < REACH;
}

/* A copy of the agent's own file, so that the kernel's list of mappings shows whose it is (view.c). */
static long area_try(unsigned long at)
{
  return sys6(SYS_mmap, (long)at, AREA_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
              MAP_PRIVATE | (at ? MAP_FIXED_NOREPLACE : 0), afd(self()->proc, AFD_AGENT), 0);
}

static long area_map(unsigned long at)
{
  space_add(SPACE_ALL, AREA_SIZE);
  space_add(SPACE_DATA, AREA_SIZE);
  long p = area_try(at);
  if (p < 0 && p > -4096) {
    space_add(SPACE_ALL, -(long)AREA_SIZE);
    space_add(SPACE_DATA, -(long)AREA_SIZE);
  }
  return p;
}

/* Below the text, where neither its bss nor a heap will want to grow; else above. */
static struct area *area_new(unsigned long call)
{
  static const unsigned long step = 16ul << 20;
  unsigned long base = call & ~(AREA_SIZE - 1);
  for (unsigned long d = step; d < REACH; d += step) {
    long p = base > d + (1ul << 16) ? area_map(base - d) : -EINVAL;
    if (p < 0 && p > -4096)
      p = area_map(base + REACH - d);
    if (p == -EACCES || p == -EPERM)
      break;
    if (p > 0)
      return (struct area *)p;
  }
  return 0;
}

static struct area *area_near(unsigned long call)
{
  for (unsigned i = 0; i < nareas; i++)
    if (near((unsigned long)areas[i], call) && areas[i]->used < sizeof areas[i]->slots / sizeof areas[i]->slots[0])
      return areas[i];
  if (nareas == MAX_AREAS)
    return 0;
  struct area *a = area_new(call);
  if (!a) {
    refused = true;
    return 0;
  }
  a->used = 0;
  a->entry = (unsigned long)fast_entry;
  areas[nareas++] = a;
  return a;
}

/* Does a jump near by, if the bytes at p are one, lead into the middle of the five bytes at `begin'? */
static bool leads_into(const uint8_t *p, unsigned long begin)
{
  unsigned long next;
  int32_t rel;
  if ((p[0] & 0xf0) == 0x70 || p[0] == 0xeb || (p[0] & 0xfc) == 0xe0) {
    next = (unsigned long)p + 2 + (unsigned long)(int8_t)p[1];
  } else {
    bool far = p[0] == 0x0f && (p[1] & 0xf0) == 0x80;
    if (!far && p[0] != 0xe9)
      return false;
    memcpy(&rel, p + 1 + far, 4);
    next = (unsigned long)p + 5 + far + (unsigned long)(long)rel;
  }
  return next > begin && next < begin + 5;
}

/* A compiler may let several calls share the comparison behind one of them. What only looks like a jump costs a trap.
 */
static bool jumped_into(unsigned long begin)
{
  const struct range *t = text_of(begin, 8);
  if (!t)
    return true;
  unsigned long from = begin - t->at > NEARBY ? begin - NEARBY : t->at;
  unsigned long to = t->end - begin > NEARBY ? begin + NEARBY : t->end - 6;
  for (; from < to; from++)
    if (leads_into((const uint8_t *)from, begin))
      return true;
  return false;
}

static uint8_t *emit(uint8_t *p, const void *bytes, size_t n)
{
  memcpy(p, bytes, n);
  return p + n;
}

static uint8_t *emit_rel(uint8_t *p, const void *op, size_t n, unsigned long target)
{
  p = emit(p, op, n);
  int32_t rel = (int32_t)(target - (unsigned long)(p + 4));
  return emit(p, &rel, 4);
}

/* lea tail(%rip), %rcx; jmp *entry(%rip); tail: displaced bytes; jmp back. Returns the tail. */
static unsigned long trampoline_write(struct area *a, struct trampoline *t, const uint8_t *lead, size_t nlead,
                                      const uint8_t *displaced, size_t n, unsigned long back)
{
  uint8_t *p = emit(t->code, lead, nlead);
  unsigned long tail = (unsigned long)p + 7 + 6;
  p = emit_rel(p, "\x48\x8d\x0d", 3, tail);
  p = emit_rel(p, "\xff\x25", 2, (unsigned long)&a->entry);
  p = emit(p, displaced, n);
  emit_rel(p, "\xe9", 1, back);
  return tail;
}

/* ---- sites ---- */
static size_t cmp_length(const uint8_t *p)
{
  bool wide = p[0] == 0x48;
  const uint8_t *c = p + wide;
  if (c[0] != 0x3d || c[1] > 1 || c[2] != 0xf0 || c[3] != 0xff || c[4] != 0xff)
    return 0;
  return wide ? 6 : 5;
}

static enum shape shape_of(unsigned long call, long nr)
{
  const uint8_t *p = (const uint8_t *)call;
  uint32_t imm;
  if (nr == SYS_rt_sigreturn)
    return SHAPE_NONE;
  if (is_text(call, 8) && cmp_length(p + 2))
    return SHAPE_CMP;
  if (!is_text(call - 6, 8) || p[-5] != 0xb8 || (p[-6] & 0xf0) == 0x40 || p[-6] == 0x66)
    return SHAPE_NONE;
  memcpy(&imm, p - 4, 4);
  return imm == (uint32_t)nr ? SHAPE_MOV : SHAPE_NONE;
}

static struct site *site_of(unsigned long call)
{
  if (!sites && !(sites = pages_new(SITES * sizeof *sites)))
    return 0;
  unsigned i = (unsigned)((call * 0x9e3779b97f4a7c15u) >> 40) & (SITES - 1);
  while (sites[i].call && sites[i].call != call)
    i = (i + 1) & (SITES - 1);
  if (!sites[i].call && nsites > SITES * 3 / 4)
    return 0;
  if (!sites[i].call)
    nsites++;
  return &sites[i];
}

static void site_prepare(struct site *s, unsigned long call, long nr)
{
  s->call = call;
  s->shape = shape_of(call, nr);
  if (s->shape == SHAPE_NONE)
    return;
  struct area *a = area_near(call);
  if (!a) {
    s->shape = SHAPE_NONE;
    return;
  }
  struct trampoline *t = &a->slots[a->used++];
  const uint8_t *p = (const uint8_t *)call;
  t->call = call;
  if (s->shape == SHAPE_CMP)
    s->tail = trampoline_write(a, t, 0, 0, p + 2, cmp_length(p + 2), call + 2 + cmp_length(p + 2));
  else
    trampoline_write(a, t, p - 5, 5, 0, 0, call + 2);
}

/* Where the five bytes of the jump begin. */
static unsigned long site_begin(const struct site *s)
{
  return s->shape == SHAPE_CMP ? s->call : s->call - 5;
}

static struct trampoline *trampoline_of(const struct site *s)
{
  for (unsigned i = 0; i < nareas; i++)
    for (unsigned long k = areas[i]->used; near((unsigned long)areas[i], s->call) && k-- > 0;)
      if (areas[i]->slots[k].call == s->call)
        return &areas[i]->slots[k];
  return 0;
}

static void cores_synchronise(void)
{
  static bool registered;
  if (!registered)
    sys3(SYS_membarrier, MEMBARRIER_REGISTER_SYNC_CORE, 0, 0);
  registered = true;
  sys3(SYS_membarrier, MEMBARRIER_SYNC_CORE, 0, 0);
}

/* One store of eight bytes that do not cross a cache line; false where they would. */
static void site_patch(struct site *s)
{
  unsigned long at = site_begin(s), window = at;
  if ((at & 63) > 56)
    window = (at | 63) - 7;
  struct trampoline *t = trampoline_of(s);
  s->patched = true;
  if (!t || at + 5 > window + 8 || !is_text(window, 8) || jumped_into(at))
    return;
  uint8_t bytes[8];
  memcpy(bytes, (void *)window, 8);
  uint8_t *p = bytes + (at - window);
  int32_t rel = (int32_t)((unsigned long)t->code - (at + 5));
  p[0] = 0xe9;
  memcpy(p + 1, &rel, 4);
  unsigned long page = window & ~4095ul;
  if (sys3(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC)) {
    refused = true;
    return;
  }
  uint64_t word;
  memcpy(&word, bytes, 8);
  __atomic_store_n((uint64_t *)window, word, __ATOMIC_RELEASE);
  sys3(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
  if (self()->proc->refs > 1 || self()->new_process) /* a vfork child's parent may have threads */
    cores_synchronise();
  count(N_SITES);
}

unsigned long rewrite_site(unsigned long after, long nr)
{
  unsigned long call = after - 2, tail = 0;
  if (!ntexts || refused)
    return after;
  lock(&rewriting);
  struct site *s = is_text(call, 2) ? site_of(call) : 0;
  if (s && !s->call)
    site_prepare(s, call, nr);
  else if (s && s->shape != SHAPE_NONE && !s->patched)
    site_patch(s);
  if (s)
    tail = s->tail;
  unlock(&rewriting);
  return tail ? tail : after;
}

/* ---- addresses ---- */
static struct trampoline *trampoline_at(unsigned long rip)
{
  for (unsigned i = 0; i < nareas; i++) {
    unsigned long at = rip - (unsigned long)areas[i]->slots;
    if (rip >= (unsigned long)areas[i]->slots && at < areas[i]->used * TRAMPOLINE)
      return &areas[i]->slots[at / TRAMPOLINE];
  }
  return 0;
}

unsigned long rewrite_call_site(unsigned long rip)
{
  struct trampoline *t = trampoline_at(rip);
  return t ? t->call : rip - 2;
}

/* Before the agent was entered, execution stands at the call; from the tail on, behind it. */
unsigned long rewrite_outward(unsigned long rip)
{
  struct trampoline *t = trampoline_at(rip);
  if (!t)
    return rip;
  bool mov = t->code[0] == 0xb8;
  unsigned long tail = (unsigned long)t->code + (mov ? 18 : 13);
  if (rip == tail)
    return t->call + 2;
  return rip < tail ? rip : t->call + 2 + (mov ? 0 : cmp_length(t->code + 13));
}

unsigned long rewrite_inward(unsigned long rip)
{
  if (!nareas || !sites)
    return rip;
  unsigned long to = rip;
  lock(&rewriting);
  unsigned i = (unsigned)(((rip - 2) * 0x9e3779b97f4a7c15u) >> 40) & (SITES - 1);
  for (; sites[i].call; i = (i + 1) & (SITES - 1))
    if (sites[i].call == rip - 2 && sites[i].tail)
      to = sites[i].tail;
  unlock(&rewriting);
  return to;
}
