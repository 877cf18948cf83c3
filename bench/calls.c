/*
 * Nanoseconds per system call: the median of several batches, printed as "NAME NS" lines.
 *
 * Owns nothing but its loop. What it measures depends on what it runs under: nothing, fmaster, a tracer.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
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

/* ---- of the file that was named, beside which there is a symbolic link `link' ---- */

static const char *file;

static void call_file_stat(void)
{
  if (stat(file, &st))
    abort();
}

static void call_file_access(void)
{
  if (access(file, R_OK))
    abort();
}

static void call_file_readlink(void)
{
  static char target[64];
  if (readlink("link", target, sizeof target) < 0)
    abort();
}

static void call_file_open_read(void)
{
  static char contents[8192];
  int fd = open(file, O_RDONLY);
  if (fd < 0 || fstat(fd, &st) || read(fd, contents, sizeof contents) < 1)
    abort();
  close(fd);
}

/* Nothing is known of it without asking. */
static void call_round_trip(void)
{
  if (getxattr(file, "user.none", &byte, 1) >= 0)
    abort();
}

static const struct kind {
  const char *name;
  void (*call)(void);
  bool of_file;
} kinds[] = {
    {"getppid", call_getppid, false},
    {"read", call_read, false},
    {"fstat", call_fstat, false},
    {"stat", call_stat, false},
    {"open+close", call_open_close, false},
    {"file-stat", call_file_stat, true},
    {"file-access", call_file_access, true},
    {"file-readlink", call_file_readlink, true},
    {"file-open-read", call_file_open_read, true},
    {"round-trip", call_round_trip, true},
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

static bool wanted(const struct kind *k, const char *name)
{
  return (!k->of_file || file) && (!name || !strcmp(name, k->name));
}

/* calls [CALLS-PER-BATCH] [NAME or ""] [FILE] */
int main(int argc, char **argv)
{
  long n = argc > 1 ? atol(argv[1]) : 20000;
  file = argc > 3 ? argv[3] : 0;
  zero_fd = open("/dev/zero", O_RDONLY);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (wanted(&kinds[i], argc > 2 && *argv[2] ? argv[2] : 0))
      printf("%s %.1f\n", kinds[i].name, measure(kinds[i].call, n));
  return 0;
}
