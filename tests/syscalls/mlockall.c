/* mlockall, with a limit that is enough for the program. */
#include "t.h"
#include <sys/mman.h>
#include <sys/resource.h>

#define MIB (1l << 20)

static void limit(rlim_t bytes)
{
  struct rlimit r = {bytes, 16 * MIB};
  setrlimit(RLIMIT_MEMLOCK, &r);
}

static long max_rss(void)
{
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_maxrss * 1024;
}

/* Whether the pages are there before anybody touched them. */
static bool present(char *p)
{
  unsigned char vec = 0;
  mincore(p, 1, &vec);
  return vec & 1;
}

static char *page(void)
{
  return mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int main(void)
{
  char *before = page();
  limit(16 * MIB);
  T(mlockall(0));
  T(mlockall(MCL_ONFAULT));
  T(mlockall(64));
  YES(present(before));
  T(mlockall(MCL_CURRENT | MCL_ONFAULT));
  YES(present(before));
  T(mlockall(MCL_CURRENT));
  YES(present(before));
  YES(present(page()));
  T(mlockall(MCL_CURRENT | MCL_FUTURE));
  YES(present(page()));
  YES(max_rss() < 16 * MIB);
  T(munlockall());
  YES(present(page()));
  if (geteuid()) {
    limit(8192);
    T(mlockall(MCL_CURRENT));
    limit(0);
    T(mlockall(MCL_CURRENT));
  }
  return 0;
}
