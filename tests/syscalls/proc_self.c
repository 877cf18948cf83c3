/* /proc/self: exe, fd, cwd, cmdline, maps, as the program should see them. */
#include "t.h"
#include <dirent.h>

static void link_of(const char *path)
{
  char buf[4096];
  ssize_t n = readlink(path, buf, sizeof buf - 1);
  if (n < 0) {
    show(path, -1);
    return;
  }
  buf[n] = 0;
  say("-> %s", strrchr(buf, '/') && buf[0] == '/' ? strrchr(buf, '/') : buf);
}

int main(int argc, char **argv)
{
  char path[64], buf[256] = "", cwd[4096], seen[4096];
  (void)argc;
  make("f", "contents");
  int fd = open("f", O_RDWR);
  link_of("/proc/self/exe");
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  link_of(path);
  int again = (int)OK(open(path, O_RDONLY));
  show_fd("reopened", again);
  getcwd(cwd, sizeof cwd);
  ssize_t n = readlink("/proc/self/cwd", seen, sizeof seen - 1);
  seen[n < 0 ? 0 : n] = 0;
  YES(!strcmp(cwd, seen));
  int c = open("/proc/self/cmdline", O_RDONLY);
  n = read(c, buf, sizeof buf - 1);
  YES(n == (ssize_t)strlen(argv[0]) + 1 && !strcmp(buf, argv[0]));
  snprintf(path, sizeof path, "/proc/%d/fd", getpid());
  DIR *d = opendir(path);
  int count = 0, high = 0;
  for (struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.') {
      count++;
      high = atoi(e->d_name) > high ? atoi(e->d_name) : high;
    }
  say("%d descriptors, the highest %d", count, high);
  closedir(d);
  close(c);
  T(unlink("f"));
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  link_of(path);
  show_file("/proc/self/fd/999");
  struct stat a, b;
  T(stat(path, &a));
  fstat(fd, &b);
  YES(a.st_ino == b.st_ino);
  show_file("/dev/fd/999");
  return 0;
}
