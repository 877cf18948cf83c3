/*
 * Nanoseconds per system call: the median of several batches, printed as "NAME NS" lines.
 *
 * Owns nothing but its loop. What it measures depends on what it runs under: nothing, fmaster, a tracer.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 31

static int zero_fd;
static char byte;
static struct stat st;

static void call_getppid(void)
{
  getppid();
}

static void call_read(void)
{
  if (read(zero_fd, &byte, 1) != 1)
    abort();
}

static void call_fstat(void)
{
  if (fstat(zero_fd, &st))
    abort();
}

static void call_stat(void)
{
  if (stat("/usr/bin/env", &st))
    abort();
}

static void call_open_close(void)
{
  int fd = open("/usr/bin/env", O_RDONLY);
  if (fd < 0)
    abort();
  close(fd);
}

static const struct kind {
  const char *name;
  void (*call)(void);
} kinds[] = {
    {"getppid", call_getppid},       {"read", call_read}, {"fstat", call_fstat}, {"stat", call_stat},
    {"open+close", call_open_close},
};

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
  double d = *(const double *)a - *(const double *)b;
  return (d > 0) - (d < 0);
}

static double measure(void (*call)(void), long n)
{
  double t[BATCHES];
  for (long i = 0; i < n; i++) /* the first calls of a site are not like the others */
    call();
  for (int b = 0; b < BATCHES; b++) {
    double start = now();
    for (long i = 0; i < n; i++)
      call();
    t[b] = (now() - start) / (double)n;
  }
  qsort(t, BATCHES, sizeof *t, by_value);
  return t[BATCHES / 2];
}

/* calls [CALLS-PER-BATCH] [NAME] */
int main(int argc, char **argv)
{
  long n = argc > 1 ? atol(argv[1]) : 20000;
  zero_fd = open("/dev/zero", O_RDONLY);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (argc < 3 || !strcmp(argv[2], kinds[i].name))
      printf("%s %.1f\n", kinds[i].name, measure(kinds[i].call, n));
  return 0;
}
