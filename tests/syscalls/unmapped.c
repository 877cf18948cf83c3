/* A program that asks about addresses and clears them away: whatever lies between its mappings is nothing to it. */
#include "t.h"
#include <sys/mman.h>

#define RANGES 400
static unsigned long from[RANGES], to[RANGES];

static int mappings(void)
{
  static char text[64 << 10];
  int fd = open("/proc/self/maps", O_RDONLY), n = 0;
  ssize_t got, have = 0;
  while ((got = read(fd, text + have, sizeof text - 1 - (size_t)have)) > 0)
    have += got;
  close(fd);
  text[have] = 0;
  for (char *line = text; line && *line && n < RANGES; n++) {
    sscanf(line, "%lx-%lx", &from[n], &to[n]);
    line = strchr(line, '\n');
    line += line != 0;
  }
  return n;
}

/* The answers of one page; the same for all of them, or said. */
static void probe(unsigned long at, bool *said)
{
  unsigned char in;
  char *p = (char *)at;
  int e[8] = {0};
  errno = 0, mincore(p, 4096, &in), e[0] = errno;
  errno = 0, msync(p, 4096, MS_ASYNC), e[1] = errno;
  errno = 0, madvise(p, 4096, MADV_NORMAL), e[2] = errno;
  errno = 0, mprotect(p, 4096, PROT_READ), e[3] = errno;
  errno = 0, mlock(p, 4096), e[4] = errno;
  errno = 0, munlock(p, 4096), e[5] = errno;
  errno = 0, munmap(p, 4096), e[6] = errno;
  errno = 0, mremap(p, 4096, 8192, MREMAP_MAYMOVE), e[7] = errno;
  bool usual = e[0] == ENOMEM && e[1] == ENOMEM && e[2] == ENOMEM && e[3] == ENOMEM && e[4] == ENOMEM &&
               e[5] == ENOMEM && !e[6] && e[7] == EFAULT;
  if (usual || *said)
    return;
  *said = true;
  say("mincore %s, msync %s, madvise %s, mprotect %s, mlock %s, munlock %s, munmap %s, mremap %s", err_name(e[0]),
      err_name(e[1]), err_name(e[2]), err_name(e[3]), err_name(e[4]), err_name(e[5]), err_name(e[6]), err_name(e[7]));
}

/* Both ends of each gap, and steps through it: 0x567000000000 and what lies below it are in one of them. */
static void gaps(int n)
{
  bool said = false;
  for (int i = 0; i + 1 < n; i++)
    for (unsigned long at = to[i], step = 4096; at < from[i + 1] && at < 1ul << 46; at += step, step *= 2) {
      probe(at, &said);
      probe(from[i + 1] - (at - to[i]) - 4096, &said);
    }
  for (unsigned long at = 0x567000000000 - (4ul << 20); at < 0x567000000000 + (4ul << 20); at += 4096)
    probe(at, &said);
  say("probed");
}

/* All of it at once: nothing of the program's is there. */
static void clear(int n)
{
  for (int i = 0; i + 1 < n; i++)
    if (from[i + 1] > to[i] && to[i + 1] < 1ul << 47 && munmap((void *)to[i], from[i + 1] - to[i]))
      show("munmap of a gap", -1);
  for (int i = 0; i + 1 < n; i++)
    if (from[i + 1] > to[i] && to[i + 1] < 1ul << 47 && mprotect((void *)to[i], from[i + 1] - to[i], PROT_READ) != -1)
      say("mprotect of a gap");
  say("cleared");
}

int main(void)
{
  make("file", "still there");
  int n = mappings();
  YES(n > 5);
  gaps(n);
  clear(n);
  show_file("file");
  unsigned long huge = 1ul << 40;
  char *p = mmap(0, huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  YES(p != MAP_FAILED);
  T(mprotect(p + huge / 2, 4096, PROT_READ | PROT_WRITE));
  p[huge / 2] = 1;
  T(munmap(p, huge));
  show_file("file");
  pid_t pid = fork();
  if (!pid) {
    gaps(n);
    execl("/bin/cat", "cat", "file", (char *)0);
    _exit(1);
  }
  wait_for(pid, "child");
  return 0;
}
