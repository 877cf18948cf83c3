/* RLIMIT_AS and RLIMIT_DATA: how much a program gets under them, to the page; files, threads, children and exec under
 * them. */
#include "t.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define ROOM (96l << 20)

/* Until no page more is to be had; given back. Two kinds in turn, or the kernel would make one mapping of all. */
static long fill(bool data)
{
  static char *at[ROOM >> 12];
  long n = 0;
  for (; n < ROOM >> 12; n++) {
    at[n] = mmap(0, 4096, data && n % 2 ? PROT_READ | PROT_WRITE : PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at[n] == MAP_FAILED)
      break;
  }
  for (long i = 0; i < n; i++)
    munmap(at[i], 4096);
  return n;
}

static void limits_file(const char *path)
{
  char text[4096] = "", *line;
  int fd = open(path, O_RDONLY);
  read(fd, text, sizeof text - 1);
  close(fd);
  for (line = strtok(text, "\n"); line; line = strtok(0, "\n"))
    if (!strncmp(line, "Max data", 8) || !strncmp(line, "Max address", 11))
      say("%s", line);
}

static void *works(void *arg)
{
  make(arg, "a thread's");
  show_file(arg);
  return 0;
}

/* A thread's own memory is of the limit; what serves it is not. */
static void with_thread(void)
{
  static char stack[256 << 10] __attribute__((aligned(4096)));
  pthread_attr_t a;
  pthread_t t;
  pthread_attr_init(&a);
  pthread_attr_setstack(&a, stack, sizeof stack);
  pthread_create(&t, &a, works, "thread");
  pthread_join(t, 0);
}

static void limited(const char *what, int which)
{
  struct rlimit r = {ROOM, ROOM}, got;
  T(setrlimit(which, &r));
  T(getrlimit(which, &got));
  say("%s %ld %ld", what, (long)got.rlim_cur, (long)got.rlim_max);
  limits_file("/proc/self/limits");
  if (which == RLIMIT_AS)
    T(fill(true));
  make("file", "under a limit");
  show_file("file");
  if (which == RLIMIT_AS)
    T(fill(true));
  with_thread();
  YES(mmap(0, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
  r.rlim_cur /= 2;
  T(setrlimit(which, &r));
  if (which == RLIMIT_AS)
    T(fill(true));
  r.rlim_cur = ROOM + 1;
  T(setrlimit(which, &r));
}

static void child(const char *self, const char *what, int which)
{
  pid_t pid = fork();
  if (!pid) {
    limited(what, which);
    execl(self, self, what, (char *)0);
    _exit(1);
  }
  wait_for(pid, what);
}

/* Of another process, by its parent. */
static void others(void)
{
  int in[2], out[2];
  char c;
  pipe(in);
  pipe(out);
  pid_t pid = fork();
  if (!pid) {
    read(in[0], &c, 1);
    struct rlimit r;
    T(getrlimit(RLIMIT_AS, &r));
    say("%ld %ld", (long)r.rlim_cur, (long)r.rlim_max);
    T(fill(true));
    write(out[1], "", 1);
    read(in[0], &c, 1);
    T(fill(true) > 20000);
    _exit(0);
  }
  struct rlimit r = {ROOM / 2, 4 * ROOM}, old;
  T(prlimit(pid, RLIMIT_AS, &r, 0));
  T(prlimit(pid, RLIMIT_AS, 0, &old));
  say("%ld %ld", (long)old.rlim_cur, (long)old.rlim_max);
  write(in[1], "", 1);
  read(out[0], &c, 1);
  r.rlim_cur = 4 * ROOM;
  T(prlimit(pid, RLIMIT_AS, &r, &old));
  write(in[1], "", 1);
  wait_for(pid, "other");
}

int main(int argc, char **argv)
{
  if (argc > 1) {
    limits_file("/proc/self/limits");
    if (!strcmp(argv[1], "space"))
      T(fill(true));
    YES(mmap(0, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    show_file("file");
    return 0;
  }
  child(argv[0], "space", RLIMIT_AS);
  child(argv[0], "data", RLIMIT_DATA);
  others();
  return 0;
}
