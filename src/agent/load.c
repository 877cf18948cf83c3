/* ELF files: what the first bytes say, and mapping program and interpreter as the kernel would. */
#include <linux/personality.h>

#include "agent/start.h"
#include "agent/sysnum.h"

#define PAGE 4096ul
#define MAX_PHDRS 64

static unsigned long down(unsigned long x)
{
  return x & ~(PAGE - 1);
}
static unsigned long up(unsigned long x)
{
  return down(x + PAGE - 1);
}

struct elf {
  Elf64_Ehdr e;
  Elf64_Phdr ph[MAX_PHDRS];
};

static long header_check(const Elf64_Ehdr *e, const char **why)
{
  *why = 0;
  if (memcmp(e->e_ident, ELFMAG, SELFMAG))
    return -ENOEXEC;
  if (e->e_ident[EI_CLASS] == ELFCLASS32)
    *why = "a 32-bit program; only 64-bit x86-64 programs can run in a session";
  else if (e->e_machine != EM_X86_64 || e->e_ident[EI_DATA] != ELFDATA2LSB)
    *why = "a program for another processor";
  else if (e->e_type != ET_EXEC && e->e_type != ET_DYN)
    *why = "an ELF file, but not a program";
  else if (e->e_phentsize != sizeof(Elf64_Phdr) || !e->e_phnum || e->e_phnum > MAX_PHDRS)
    *why = "a program with a damaged header";
  return *why ? -ENOEXEC : 0;
}

static long elf_read(int fd, struct elf *f, const char **why)
{
  long n = sys4(SYS_pread64, fd, &f->e, sizeof f->e, 0);
  if (n < 0)
    return n;
  if (n < (long)sizeof f->e)
    return -ENOEXEC;
  long r = header_check(&f->e, why);
  if (r)
    return r;
  size_t size = f->e.e_phnum * sizeof f->ph[0];
  n = sys4(SYS_pread64, fd, f->ph, size, f->e.e_phoff);
  return n == (long)size ? 0 : n < 0 ? n : -ENOEXEC;
}

int image_look(int fd, struct image *im, const char **why)
{
  struct elf f;
  memset(im, 0, sizeof *im);
  long r = elf_read(fd, &f, why);
  for (int i = 0; !r && i < f.e.e_phnum; i++) {
    const Elf64_Phdr *p = &f.ph[i];
    if (p->p_type == PT_GNU_STACK)
      im->exec_stack = p->p_flags & PF_X;
    if (p->p_type != PT_INTERP)
      continue;
    if (p->p_filesz < 2 || p->p_filesz > sizeof im->interp)
      return -ENOEXEC;
    long n = sys4(SYS_pread64, fd, im->interp, p->p_filesz, p->p_offset);
    if (n != (long)p->p_filesz || im->interp[n - 1])
      return -ENOEXEC;
  }
  return (int)r;
}

static uint64_t random_bits(void)
{
  uint64_t v = 0;
  sys3(SYS_getrandom, &v, sizeof v, 1 /* GRND_NONBLOCK */);
  return v;
}

static bool bad(long p)
{
  return p < 0 && p > -4096;
}

/* Room for the whole image. Programs go where the kernel puts them, below everything that is mapped later. */
static long reserve(const struct elf *f, unsigned long low, unsigned long high, unsigned long align, bool main_program)
{
  unsigned long span = high - low;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (f->e.e_type == ET_EXEC) {
    long p = sys6(SYS_mmap, (long)low, (long)span, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    return bad(p) ? -ENOMEM : p;
  }
  bool fixed = sys1(SYS_personality, 0xffffffff) & ADDR_NO_RANDOMIZE;
  for (int tries = main_program ? 8 : 0; tries; tries--) {
    unsigned long at = 0x555555554000ul + (fixed ? 0 : (random_bits() & 0xffffffful) << 12);
    at = (at + align - 1) & ~(align - 1);
    long p = sys6(SYS_mmap, (long)at, (long)span, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (!bad(p))
      return p;
  }
  long p = sys6(SYS_mmap, 0, (long)(span + align), PROT_NONE, flags, -1, 0);
  if (bad(p))
    return p;
  unsigned long at = ((unsigned long)p + align - 1) & ~(align - 1), end = (unsigned long)p + span + align;
  if (at > (unsigned long)p)
    sys2(SYS_munmap, p, at - (unsigned long)p);
  if (end > at + up(span))
    sys2(SYS_munmap, at + up(span), end - (at + up(span)));
  return (long)at;
}

static int prot_of(uint32_t flags)
{
  return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

/* The file's part, zeros to the end of its last page (ld.so's first allocations rely on them), then fresh pages. */
static long segment_map(int fd, const Elf64_Phdr *p, unsigned long bias)
{
  unsigned long at = bias + p->p_vaddr, file_end = at + p->p_filesz, end = at + p->p_memsz;
  int prot = prot_of(p->p_flags);
  if (p->p_filesz) {
    long r = sys6(SYS_mmap, (long)down(at), (long)(up(file_end) - down(at)), prot, MAP_PRIVATE | MAP_FIXED, fd,
                  (long)(p->p_offset - (at - down(at))));
    if (bad(r))
      return r;
    text_mapped(down(at), up(file_end) - down(at), (unsigned long)prot, MAP_PRIVATE);
  }
  if (p->p_memsz > p->p_filesz && (prot & PROT_WRITE) && p->p_filesz)
    memset((void *)file_end, 0, up(file_end) - file_end);
  unsigned long fresh = p->p_filesz ? up(file_end) : down(at);
  if (up(end) > fresh) {
    long r = sys6(SYS_mmap, (long)fresh, (long)(up(end) - fresh), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (bad(r))
      return r;
  }
  return 0;
}

static void bounds(const struct elf *f, unsigned long *low, unsigned long *high, unsigned long *align)
{
  *low = ~0ul, *high = 0, *align = PAGE;
  for (int i = 0; i < f->e.e_phnum; i++) {
    const Elf64_Phdr *p = &f->ph[i];
    if (p->p_type != PT_LOAD)
      continue;
    *low = down(p->p_vaddr) < *low ? down(p->p_vaddr) : *low;
    *high = up(p->p_vaddr + p->p_memsz) > *high ? up(p->p_vaddr + p->p_memsz) : *high;
    if (p->p_align > *align && !(p->p_align & (p->p_align - 1)))
      *align = p->p_align;
  }
}

static unsigned long phdr_address(const struct elf *f, unsigned long bias)
{
  for (int i = 0; i < f->e.e_phnum; i++)
    if (f->ph[i].p_type == PT_PHDR)
      return bias + f->ph[i].p_vaddr;
  for (int i = 0; i < f->e.e_phnum; i++) {
    const Elf64_Phdr *p = &f->ph[i];
    if (p->p_type == PT_LOAD && f->e.e_phoff >= p->p_offset && f->e.e_phoff < p->p_offset + p->p_filesz)
      return bias + p->p_vaddr + (f->e.e_phoff - p->p_offset);
  }
  return 0;
}

int image_map(int fd, struct image *im, bool main_program)
{
  struct elf f;
  const char *why;
  unsigned long low, high, align;
  long r = elf_read(fd, &f, &why);
  if (r)
    return (int)r;
  bounds(&f, &low, &high, &align);
  if (low >= high || high - low > (1ul << 46))
    return -ENOEXEC;
  long at = reserve(&f, low, high, align, main_program && im->interp[0]);
  if (bad(at))
    return (int)at;
  unsigned long bias = (unsigned long)at - low;
  for (int i = 0; !r && i < f.e.e_phnum; i++)
    if (f.ph[i].p_type == PT_LOAD)
      r = segment_map(fd, &f.ph[i], bias);
  im->base = bias;
  im->entry = bias + f.e.e_entry;
  im->phdr = phdr_address(&f, bias);
  im->phnum = f.e.e_phnum;
  return (int)r;
}
