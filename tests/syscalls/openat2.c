/* openat2: each restriction on each kind of path; what is made; what is refused. */
#include "t.h"
#include <linux/openat2.h>
#include <sys/syscall.h>

static int open2(int dirfd, const char *path, unsigned long flags, unsigned long mode, unsigned long resolve)
{
  struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
  int fd, tries = 1000; /* EAGAIN: something was mounted or renamed anywhere meanwhile, as the manual page says */
  do
    fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
  while (fd < 0 && errno == EAGAIN && !(how.resolve & RESOLVE_CACHED) && --tries);
  return fd;
}

/* What opens, by its contents; what does not, by its error. */
static void look(int dirfd, const char *path, unsigned long flags, unsigned long resolve)
{
  char text[64] = "";
  struct stat st;
  int fd = open2(dirfd, path, flags, 0, resolve);
  if (fd < 0) {
    say("%s, flags %lx, resolve %lx: %s", path, flags, resolve, err_name(errno));
    return;
  }
  fstat(fd, &st);
  if (!S_ISFIFO(st.st_mode) && read(fd, text, sizeof text - 1) < 0)
    snprintf(text, sizeof text, "%s", err_name(errno));
  say("%s, flags %lx, resolve %lx: type %o, %s", path, flags, resolve, st.st_mode & S_IFMT, text);
  close(fd);
}

static const char *paths[] = {"f",      "./f",  "d/f",    "d/../f",  "..",       "../w",     "d/../../w/base/f",
                              "/",      "/f",   "/d/f",   "/d/../f", "/..",      "/../../f", "l",
                              "abs",    "out",  "up",     "loop",    "dangling", "dl/f",     "dl/../f",
                              "d/back", "root", "absent", "f/x",     "d",        "d/",       "f/",
                              "dl/",    ".",    "",       "fifo"};
static const unsigned long restrictions[] = {RESOLVE_BENEATH,
                                             RESOLVE_IN_ROOT,
                                             RESOLVE_NO_SYMLINKS,
                                             RESOLVE_NO_MAGICLINKS,
                                             RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
                                             RESOLVE_IN_ROOT | RESOLVE_NO_XDEV,
                                             RESOLVE_BENEATH | RESOLVE_IN_ROOT,
                                             1 << 20};

static void tree(void)
{
  char here[4000], abs[4100];
  getcwd(here, sizeof here);
  mkdir("base", 0755);
  mkdir("base/d", 0755);
  make("f", "outer");
  make("base/f", "inner");
  make("base/d/f", "deep");
  mkfifo("base/fifo", 0644);
  snprintf(abs, sizeof abs, "%s/base/f", here);
  symlink("f", "base/l");
  symlink(abs, "base/abs");
  symlink("../f", "base/out");
  symlink("d/../..", "base/up");
  symlink("loop", "base/loop");
  symlink("absent/x", "base/dangling");
  symlink("new", "base/tonew");
  symlink("d", "base/dl");
  symlink("../f", "base/d/back");
  symlink("/d/f", "base/root");
}

static void creation(int base)
{
  umask(027);
  T(open2(base, "made", O_CREAT | O_RDWR, 0666, RESOLVE_BENEATH) >= 0);
  T(open2(base, "made", O_CREAT | O_EXCL | O_RDWR, 0666, RESOLVE_BENEATH));
  T(open2(base, "made", O_CREAT | O_TRUNC | O_RDWR, 0666, RESOLVE_BENEATH) >= 0);
  T(open2(base, "/d/made", O_CREAT | O_WRONLY, 0644, RESOLVE_IN_ROOT) >= 0);
  T(open2(base, "../made", O_CREAT | O_WRONLY, 0644, RESOLVE_BENEATH));
  T(open2(base, "/made2", O_CREAT | O_WRONLY, 0644, RESOLVE_BENEATH));
  T(open2(base, "tonew", O_CREAT | O_WRONLY, 0644, RESOLVE_NO_SYMLINKS));
  T(open2(base, "tonew", O_CREAT | O_EXCL | O_WRONLY, 0644, RESOLVE_BENEATH));
  T(open2(base, "tonew", O_CREAT | O_WRONLY, 0644, RESOLVE_BENEATH) >= 0);
  T(open2(base, "d", O_CREAT | O_RDONLY, 0644, RESOLVE_BENEATH));
  T(open2(base, "x/", O_CREAT | O_WRONLY, 0644, RESOLVE_BENEATH));
  T(open2(base, "absent/x", O_CREAT | O_WRONLY, 0644, RESOLVE_BENEATH));
  T(open2(base, ".", O_TMPFILE | O_RDWR, 0644, RESOLVE_BENEATH) >= 0);
  T(open2(base, "f", O_RDWR | O_TRUNC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) >= 0);
  show_file("base/f");
}

static void arguments(int base)
{
  struct open_how how = {.flags = O_RDONLY};
  struct {
    struct open_how how;
    long more;
  } larger = {{.flags = O_RDONLY}, 0};
  T(syscall(SYS_openat2, base, "d/f", &how, 8));
  T(syscall(SYS_openat2, base, "d/f", 0, sizeof how));
  T(syscall(SYS_openat2, base, 0, &how, sizeof how));
  T(syscall(SYS_openat2, base, "d/f", &larger, sizeof larger) >= 0);
  larger.more = 1;
  T(syscall(SYS_openat2, base, "d/f", &larger, sizeof larger));
  T(open2(base, "d/f", O_RDONLY, 0644, 0));
  T(open2(base, "d/f", O_CREAT, 070000, 0));
  T(open2(base, "d/f", 1ul << 40, 0, 0));
  T(open2(base, "d/f", O_PATH | O_RDWR, 0, 0));
  T(open2(base, ".", O_TMPFILE, 0644, RESOLVE_BENEATH));
  T(open2(base, "d/f", O_CREAT, 0644, RESOLVE_CACHED));
  T(open2(-1, "d/f", O_RDONLY, 0, RESOLVE_BENEATH));
  int f = openat(base, "d/f", O_RDONLY);
  T(open2(f, "x", O_RDONLY, 0, RESOLVE_BENEATH));
  T(fcntl(open2(base, "d/f", O_RDONLY | O_CLOEXEC, 0, RESOLVE_BENEATH), F_GETFD));
  T(fcntl(open2(base, "d/f", O_RDWR | O_NONBLOCK, 0, RESOLVE_BENEATH), F_GETFL) & O_NONBLOCK);
  T(fcntl(open2(base, "d/f", O_RDWR, 0, RESOLVE_BENEATH), F_GETFL) & O_NONBLOCK);
}

int main(void)
{
  tree();
  int base = open("base", O_RDONLY | O_DIRECTORY);
  for (unsigned r = 0; r < sizeof restrictions / sizeof *restrictions; r++)
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
      look(base, paths[i], O_RDONLY | O_NONBLOCK, restrictions[r]);
      look(base, paths[i], O_PATH | O_NOFOLLOW, restrictions[r]);
    }
  look(base, "l", O_NOFOLLOW, RESOLVE_BENEATH);
  look(base, "f", O_DIRECTORY, RESOLVE_BENEATH);
  look(base, "d", O_DIRECTORY, RESOLVE_NO_XDEV);
  look(base, "d/back", 0, RESOLVE_NO_XDEV);
  look(AT_FDCWD, "base/l", 0, RESOLVE_NO_XDEV);
  look(AT_FDCWD, "base/l", 0, RESOLVE_NO_SYMLINKS);
  chdir("base");
  look(AT_FDCWD, "d/back", 0, RESOLVE_BENEATH);
  look(AT_FDCWD, "../f", 0, RESOLVE_BENEATH);
  look(AT_FDCWD, "../f", 0, RESOLVE_NO_SYMLINKS);
  chdir("..");
  int f = openat(base, "f", O_RDONLY);
  dup2(f, 9);
  look(AT_FDCWD, "/proc/self/fd/9", 0, RESOLVE_NO_MAGICLINKS);
  look(AT_FDCWD, "/proc/self/fd/9", 0, RESOLVE_NO_SYMLINKS);
  look(AT_FDCWD, "/proc/self/fd/9", 0, RESOLVE_BENEATH);
  look(AT_FDCWD, "/proc/self/exe", O_PATH, RESOLVE_NO_MAGICLINKS);
  look(AT_FDCWD, "/proc/self/exe", O_PATH, RESOLVE_NO_SYMLINKS);
  look(AT_FDCWD, "/proc/self/exe", O_PATH, RESOLVE_NO_XDEV);
  look(AT_FDCWD, "/dev/null", 0, RESOLVE_NO_SYMLINKS);
  T(fcntl(open2(AT_FDCWD, "/proc/self/fdinfo/9", O_RDONLY, 0, 0), F_GETFD));
  T(fcntl(open2(AT_FDCWD, "/proc/self/fdinfo/9", O_RDONLY | O_CLOEXEC, 0, 0), F_GETFD));
  T(open2(AT_FDCWD, "/proc/self/fdinfo/9", O_RDONLY | O_DIRECTORY, 0, 0));
  T(fcntl(open2(AT_FDCWD, "/proc/self/fdinfo/9", O_PATH, 0, 0), F_GETFL) & O_PATH);
  creation(base);
  arguments(base);
  return 0;
}
