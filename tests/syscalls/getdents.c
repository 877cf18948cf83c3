/* Reading directories: all entries once, telling and seeking, rewinding after a change, removed directories. */
#include "t.h"
#include <dirent.h>

static int by_name(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(DIR *d)
{
  char *names[700];
  int n = 0;
  for (struct dirent *e; n < 700 && (e = readdir(d)); n++) {
    char *s = malloc(300);
    snprintf(s, 300, "%s/%d", e->d_name, e->d_type);
    names[n] = s;
  }
  qsort(names, (size_t)n, sizeof *names, by_name);
  unsigned sum = 0;
  for (int i = 0; i < n; i++)
    for (char *c = names[i]; *c; c++)
      sum = sum * 31 + (unsigned char)*c;
  say("%d entries, sum %u, %s to %s", n, sum, names[0], names[n - 1]);
}

int main(void)
{
  char name[64], buf[32];
  mkdir("d", 0755);
  for (int i = 0; i < 500; i++) {
    snprintf(name, sizeof name, "d/file-%d-with-a-name-of-some-length", i);
    make(name, "");
  }
  mkdir("d/sub", 0755);
  symlink("x", "d/link");
  mkfifo("d/fifo", 0600);
  DIR *d = opendir("d");
  list(d);
  rewinddir(d);
  list(d);
  make("d/zz", "");
  rewinddir(d);
  for (int i = 0; i < 100; i++)
    readdir(d);
  long here = telldir(d);
  struct dirent *e = readdir(d);
  snprintf(name, sizeof name, "%s", e->d_name);
  for (int i = 0; i < 50; i++)
    readdir(d);
  seekdir(d, here);
  e = readdir(d);
  YES(e && !strcmp(e->d_name, name));
  T(closedir(d));
  int fd = open("d", O_RDONLY | O_DIRECTORY);
  T(syscall(SYS_getdents64, fd, buf, 8));
  T(syscall(SYS_getdents64, fd, (void *)1, 4096));
  T(syscall(SYS_getdents64, 0, buf, 8));
  mkdir("gone", 0755);
  int gone = open("gone", O_RDONLY | O_DIRECTORY);
  rmdir("gone");
  char big[4096];
  T(syscall(SYS_getdents64, gone, big, sizeof big));
  OK(opendir("absent") ? 0 : -1);
  return 0;
}
