/* Names of every byte, the longest paths, deep directories, sizes beyond 4 GiB, far times, loops, unusual modes. */
#include "t.h"
#include <dirent.h>
#include <sys/xattr.h>

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
  return strcmp((*a)->d_name, (*b)->d_name);
}

static void names(void)
{
  struct dirent **list;
  char name[8];
  mkdir("names", 0755);
  chdir("names");
  for (int i = 1; i < 256; i++)
    if (i != '/') {
      snprintf(name, sizeof name, "%cx", i);
      make(name, name);
    }
  int n = scandir(".", &list, 0, by_bytes);
  T(n);
  unsigned long sum = 0;
  for (int i = 0; i < n; i++) {
    struct stat st;
    sum = sum * 31 + (unsigned char)list[i]->d_name[0];
    if (list[i]->d_name[0] != '.' && stat(list[i]->d_name, &st))
      say("%s: %s", list[i]->d_name, err_name(errno));
  }
  T(sum);
  T(rename("\nx", "\377\376"));
  T(access("\377\376", F_OK));
  T(unlink("\\x"));
  char longest[258];
  memset(longest, 'n', sizeof longest);
  longest[255] = 0;
  T(mkdir(longest, 0755));
  T(rmdir(longest));
  longest[255] = 'n', longest[256] = 0;
  T(mkdir(longest, 0755));
  T(open(longest, O_RDONLY));
  T(open(longest, O_CREAT | O_RDWR, 0644));
  chdir("..");
}

/* A path of `n' bytes that leads to f. */
static const char *path_of(size_t n)
{
  static char path[5000];
  path[0] = '.';
  memset(path + 1, '/', n - 1);
  path[n - 1] = 'f';
  path[n] = 0;
  return path;
}

static void long_paths(void)
{
  struct stat st;
  make("f", "f");
  T(stat(path_of(4095), &st));
  T(stat(path_of(4096), &st));
  T(open(path_of(4095), O_RDONLY) >= 0);
  T(open(path_of(4097), O_RDONLY));
  T(chmod(path_of(4095), 0600));
  T(rename(path_of(4095), "g"));
  T(symlink(path_of(4095), "longlink"));
  T(symlink(path_of(4096), "longerlink"));
  T(readlink("longlink", (char[5000]){0}, 5000));
  T(open("longlink", O_RDONLY));
  rename("g", "f");
  T(open("longlink", O_RDONLY) >= 0);
}

static void deep(void)
{
  static char name[201], cwd[20000];
  memset(name, 'd', 200);
  int top = open(".", O_RDONLY);
  for (int i = 0; i < 30; i++)
    if (mkdir(name, 0755) || chdir(name))
      say("%d: %s", i, err_name(errno));
  make("bottom", "deep down");
  show_file("bottom");
  T(syscall(SYS_getcwd, cwd, 4096) < 0);
  T(access("../../bottom", F_OK));
  T(mkdir("sub", 0700));
  T(rename("bottom", "sub/b"));
  T(open("sub", O_RDONLY | O_DIRECTORY) >= 0);
  show_file("sub/b");
  T(unlink("sub/b"));
  T(rmdir("sub"));
  for (int i = 0; i < 30; i++)
    if (chdir("..") || rmdir(name))
      say("%d: %s", i, err_name(errno));
  T(fchdir(top));
}

static void large(void)
{
  struct stat st;
  char b[4];
  int fd = open("sparse", O_RDWR | O_CREAT, 0644);
  T(pwrite(fd, "high", 4, 5000000000));
  T(pwrite(fd, "low", 3, 0));
  T(fstat(fd, &st));
  T(st.st_size);
  T(st.st_blocks < 100);
  T(lseek(fd, 0, SEEK_HOLE) > 0);
  T(lseek(fd, 1 << 20, SEEK_DATA) > 4999000000);
  T(lseek(fd, 5000000004, SEEK_DATA));
  T(lseek(fd, 4999999999, SEEK_SET));
  T(read(fd, b, 2));
  T(b[1]);
  T(lseek(fd, 0, SEEK_CUR));
  T(write(fd, "x", 1));
  T(ftruncate(fd, 1ll << 40));
  T(lseek(fd, 0, SEEK_END));
  T(ftruncate(fd, 10));
  T(unlink("sparse"));
}

static void times(void)
{
  static const struct timespec t[][2] = {{{-1, 999999999}, {-2147483648ll, 1}},
                                         {{2147483648ll, 5}, {4294967296ll, 123456789}},
                                         {{0, 0}, {-86400, 500000000}},
                                         {{0, UTIME_OMIT}, {1, 1000000000}}};
  struct stat st;
  for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
    T(utimensat(AT_FDCWD, "f", t[i], 0));
    stat("f", &st);
    say("%ld.%ld %ld.%ld", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  }
}

static void links(void)
{
  char name[16], target[16];
  symlink("loop2", "loop1");
  symlink("loop1", "loop2");
  T(open("loop1", O_RDONLY));
  T(open("loop1/x", O_RDONLY));
  T(open("loop1", O_CREAT | O_RDWR, 0644));
  symlink("f", "c0");
  for (int i = 1; i < 43; i++) {
    snprintf(name, sizeof name, "c%d", i);
    snprintf(target, sizeof target, "c%d", i - 1);
    symlink(target, name);
  }
  T(access("c39", F_OK));
  T(access("c40", F_OK));
  T(access("c41", F_OK));
  symlink("nowhere", "dangling");
  T(open("dangling", O_RDONLY));
  T(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644));
  T(mkdir("dangling", 0755));
  T(open("dangling", O_CREAT | O_RDWR, 0644) >= 0);
  T(access("nowhere", F_OK));
  symlink("", "empty");
  T(unlink("loop1"));
}

static void modes(void)
{
  struct stat st;
  T(mkdir("sticky", 0755));
  T(chmod("sticky", 01777));
  T(mkdir("setgid", 0755));
  T(chmod("setgid", 02755));
  T(mkdir("setgid/below", 0755));
  stat("setgid/below", &st);
  say("%o", st.st_mode);
  make("sticky/f", "");
  T(chmod("sticky/f", 06711));
  stat("sticky/f", &st);
  say("%o", st.st_mode);
  T(chown("sticky/f", (uid_t)-1, getgid()));
  stat("sticky/f", &st);
  say("%o", st.st_mode);
  char v[64];
  T(setxattr("f", "user.a", "b\0c", 3, 0));
  T(getxattr("f", "user.a", v, sizeof v));
  T(setxattr("f", "user.a", "", 0, XATTR_CREATE));
  T(setxattr("longlink", "user.b", "", 0, 0));
  T(lsetxattr("longlink", "user.b", "", 0, 0));
  T(getxattr("f", "user.b", v, 0));
  T(setxattr("f", "system.posix_acl_access",
             "\2\0\0\0\1\0\6\0\377\377\377\377\4\0\4\0\377\377\377\377\40\0\4\0\377\377\377\377", 28, 0));
  T(getxattr("f", "system.posix_acl_access", v, sizeof v));
  T(getxattr("f", "trusted.x", v, sizeof v));
}

/* Deleted and replaced while open. */
static void gone(void)
{
  struct stat st;
  char b[16] = "", path[64];
  make("del", "before");
  int fd = open("del", O_RDWR), old = open("del", O_RDONLY);
  T(unlink("del"));
  T(fstat(fd, &st));
  T(st.st_nlink);
  T(pwrite(fd, "AFTER", 5, 0));
  T(read(old, b, 6));
  say("%s", b);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int again = open(path, O_RDONLY);
  T(again >= 0);
  T(read(again, b, 6));
  say("%s", b);
  T(open(path, O_WRONLY | O_TRUNC) >= 0);
  fstat(old, &st);
  T(st.st_size);
  make("r", "first");
  int r = open("r", O_RDONLY);
  make("r2", "second");
  T(rename("r2", "r"));
  show_fd("replaced", r);
  show_file("r");
  make("ro", "mode");
  int ro = open("ro", O_RDONLY);
  snprintf(path, sizeof path, "/proc/self/fd/%d", ro);
  int rw = open(path, O_RDWR);
  T(rw >= 0);
  T(write(rw, "M", 1));
  T(lseek(ro, 0, SEEK_CUR));
  show_fd("ro", ro);
}

static void sockets(void)
{
  struct stat st;
  T(mknod("node", S_IFSOCK | 0644, 0));
  T(lstat("node", &st));
  say("%o", st.st_mode);
  T(open("node", O_RDONLY));
  T(open("node", O_PATH) >= 0);
  T(unlink("node"));
}

int main(void)
{
  umask(022);
  names();
  long_paths();
  deep();
  large();
  times();
  links();
  modes();
  gone();
  sockets();
  return 0;
}
