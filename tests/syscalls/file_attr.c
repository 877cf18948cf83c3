/* file_getattr, file_setattr: flags of files, directories and links by name and descriptor, sizes of the structure. */
#include "t.h"

struct attr {
  uint64_t xflags;
  uint32_t extsize, nextents, projid, cowextsize;
  uint64_t more;
};
enum { GET = 468, SET, NODUMP = 0x80, NOATIME = 0x40 };

static long get(int dir, const char *path, int flags)
{
  struct attr a = {0};
  long r = syscall(GET, dir, path, &a, 24, flags);
  if (!r)
    say("nodump %d noatime %d project %u", (a.xflags & NODUMP) != 0, (a.xflags & NOATIME) != 0, a.projid);
  return r;
}

static long change(int dir, const char *path, int flags, uint64_t set, uint64_t clear)
{
  struct attr a = {0};
  long r = syscall(GET, dir, path, &a, 24, flags);
  a.xflags = (a.xflags & ~clear) | set;
  return r ? r : syscall(SET, dir, path, &a, 24, flags);
}

int main(void)
{
  struct attr a = {.more = 7};
  if (!kernel_has(6, 17))
    return 0;
  make("f", "contents");
  mkdir("d", 0755);
  symlink("f", "l");
  mkfifo("p", 0600);
  int dir = open(".", O_RDONLY | O_DIRECTORY), fd = open("f", O_RDONLY), path = open("d", O_PATH);
  T(get(dir, "f", 0));
  T(get(AT_FDCWD, "f", 0));
  T(change(AT_FDCWD, "f", 0, NODUMP, 0));
  T(get(AT_FDCWD, "l", 0));
  T(get(fd, "", AT_EMPTY_PATH));
  T(get(fd, 0, AT_EMPTY_PATH));
  T(change(fd, "", AT_EMPTY_PATH, NOATIME, NODUMP));
  T(get(AT_FDCWD, "f", 0));
  T(change(AT_FDCWD, "d", 0, NODUMP, 0));
  T(get(path, "", AT_EMPTY_PATH));
  OK(get(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW));
  OK(get(AT_FDCWD, "p", 0));
  T(get(AT_FDCWD, "absent", 0));
  T(get(AT_FDCWD, "", 0));
  T(get(AT_FDCWD, "f", 4));
  T(syscall(GET, AT_FDCWD, "f", &a, 32, 0));
  T(a.more);
  a.more = 7;
  T(syscall(SET, AT_FDCWD, "f", &a, 32, 0));
  T(syscall(GET, AT_FDCWD, "f", &a, 16, 0));
  T(syscall(GET, AT_FDCWD, "f", &a, 8192, 0));
  T(syscall(GET, AT_FDCWD, "f", 8, 24, 0));
  T(syscall(SET, AT_FDCWD, "f", 8, 24, 0));
  return 0;
}
