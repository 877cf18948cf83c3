/* Another root: absolute paths, links and `..' stay below it; what was open before does not; it is inherited. */
#include "t.h"
#include <linux/openat2.h>

static void read_it(const char *path)
{
  char text[64] = "";
  int fd = open(path, O_RDONLY);
  long n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  say("%s: %s", path, n < 0 ? strerror(errno) : text);
  if (fd >= 0)
    close(fd);
}

/* The lookup is restricted, and the root is still the root. */
static void restricted(const char *path, uint64_t resolve)
{
  struct open_how how = {.flags = O_RDONLY, .resolve = resolve};
  char text[64] = "";
  long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
  long n = fd < 0 ? -1 : read((int)fd, text, sizeof text - 1);
  say("%s, %llx: %s", path, (unsigned long long)resolve, n < 0 ? err_name(errno) : text);
  if (fd >= 0)
    close((int)fd);
}

static void look(void)
{
  char cwd[4096];
  read_it("/etc/passwd");
  read_it("/../../etc/passwd");
  read_it("/abs");
  read_it("/up");
  read_it("/out");
  read_it("sub/inner");
  T(access("/proc/self", F_OK));
  T(access("/usr/bin", F_OK));
  say("cwd %s", getcwd(cwd, sizeof cwd) ? cwd : strerror(errno));
}

static void inside(int outer)
{
  struct stat a, b;
  T(chdir("/"));
  look();
  T(stat("/", &a) == 0 && stat("/..", &b) == 0 && a.st_ino == b.st_ino);
  T(mkdir("/made", 0755));
  T(open("/made/file", O_CREAT | O_WRONLY, 0600) >= 0);
  restricted("/etc/passwd", RESOLVE_NO_MAGICLINKS);
  restricted("/../../etc/passwd", RESOLVE_NO_XDEV);
  restricted("/out", RESOLVE_NO_MAGICLINKS);
  restricted("/abs", RESOLVE_NO_SYMLINKS);
  restricted("/top", RESOLVE_NO_XDEV);
  restricted("sub/inner", RESOLVE_BENEATH);
  restricted("../top", RESOLVE_BENEATH);
  restricted("/etc/passwd", RESOLVE_IN_ROOT);
  T(rename("/made/file", "/made/renamed"));
  T(symlink("/made/renamed", "/made/link"));
  read_it("/made/link");
  T(faccessat(outer, "top", F_OK, 0));
  T(chroot("sub"));
  T(chdir("/"));
  read_it("/inner");
  T(access("/etc", F_OK));
}

int main(void)
{
  umask(022);
  mkdir("root", 0755), mkdir("root/etc", 0755), mkdir("root/sub", 0755);
  make("root/etc/passwd", "passwd of the root\n");
  make("root/sub/inner", "inner\n");
  make("top", "top\n");
  symlink("/etc/passwd", "root/abs");
  symlink("../../../etc/passwd", "root/up");
  symlink("/top", "root/out");
  T(chroot("absent"));
  T(chroot("top"));
  int outer = open(".", O_RDONLY | O_DIRECTORY);
  pid_t child = fork();
  if (!child) {
    if (chroot("root")) {
      say("refused: %s", strerror(errno));
      exit(0);
    }
    char dir[4096] = "";
    YES(syscall(SYS_getcwd, dir, sizeof dir) > 0);
    YES(!strncmp(dir, "(unreachable)/", 14));
    YES(!getcwd(dir, sizeof dir));
    read_it("/etc/passwd");
    read_it("top");
    inside(outer);
    pid_t other = fork();
    if (!other) {
      read_it("/inner");
      exit(3);
    }
    int status;
    waitpid(other, &status, 0);
    T(WEXITSTATUS(status));
    exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  T(WEXITSTATUS(status));
  T(access("root/etc/passwd", F_OK));
  return 0;
}
