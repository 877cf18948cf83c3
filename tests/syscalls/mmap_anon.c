/* Anonymous memory: mprotect, mremap, madvise, fixed places, brk, mincore. */
#include "t.h"
#include <setjmp.h>
#include <sys/mman.h>

static sigjmp_buf env;
static volatile int code;

static void on_fault(int s, siginfo_t *i, void *u)
{
  (void)u;
  code = i->si_code;
  siglongjmp(env, s);
}

static void try_write(const char *what, char *p)
{
  int s = sigsetjmp(env, 1);
  if (!s)
    *(volatile char *)p = 1;
  say("%s: signal %d code %d", what, s, s ? code : 0);
}

int main(void)
{
  struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &sa, 0);
  sigaction(SIGBUS, &sa, 0);
  char *p = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  try_write("fresh", p);
  T(mprotect(p, 4096, PROT_READ));
  try_write("read-only", p);
  T(mprotect(p, 4096, PROT_READ | PROT_WRITE));
  try_write("again", p);
  T(munmap(p + 4096, 4096));
  try_write("unmapped", p + 4096);
  strcpy(p, "moved along");
  char *q = mremap(p, 4096, 40960, MREMAP_MAYMOVE);
  say("%s", q);
  try_write("grown", q + 40000);
  YES(mmap(q, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == q);
  T(q[0]);
  YES(mmap(q, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
  T(madvise(q + 4096, 4096, MADV_DONTNEED));
  T(madvise(q + 1, 4096, MADV_DONTNEED));
  T(madvise(q + 4096, 8192, 12345));
  T(madvise((void *)4096, 1ul << 46, MADV_NORMAL));
  T(madvise((void *)4096, 1ul << 46, 12345));
  T(munmap(q + 1, 10));
  T(mprotect((void *)4096, 4096, PROT_READ));
  char *top = sbrk(0);
  YES(sbrk(100000) == top);
  try_write("brk", top + 99999);
  YES(sbrk(-100000) == top + 100000);
  int fd = open("f", O_RDWR | O_CREAT, 0644);
  ftruncate(fd, 4096);
  char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  try_write("beyond the end of the file", m + 4096);
  char *s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t pid = fork();
  if (!pid)
    _exit((s[0] = 42));
  wait_for(pid, "child");
  T(s[0]);
  return 0;
}
