/* setxattrat, getxattrat, listxattrat, removexattrat: by directory and name, links, descriptors, sizes of the arguments. */
#include "t.h"

struct args {
  uint64_t value;
  uint32_t size, flags;
  uint64_t more;
};
enum { SET = 463, GET, LIST, REMOVE, EMPTY = AT_EMPTY_PATH, NOFOLLOW = AT_SYMLINK_NOFOLLOW };

static long set(int dir, const char *path, int flags, const char *name, const char *value, unsigned how)
{
  struct args a = {(uintptr_t)value, (uint32_t)strlen(value), how, 0};
  return syscall(SET, dir, path, flags, name, &a, 16);
}

static long get(int dir, const char *path, int flags, const char *name)
{
  char room[64] = "";
  struct args a = {(uintptr_t)room, sizeof room, 0, 0};
  long r = syscall(GET, dir, path, flags, name, &a, 16);
  if (r >= 0)
    say("value \"%s\"", room);
  return r;
}

static void sizes(void)
{
  char room[4] = "";
  struct args a = {(uintptr_t)room, sizeof room, 0, 1};
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", &a, 8));
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", &a, 24));
  a.more = 0;
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", &a, 24));
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", &a, 8192));
  a.size = 0;
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", &a, 16));
  a.size = 4, a.flags = 1;
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", &a, 16));
  T(syscall(GET, AT_FDCWD, "f", 0, "user.a", (void *)8, 16));
  T(syscall(GET, AT_FDCWD, "f", 4, "user.a", &a, 16));
}

int main(void)
{
  char list[64];
  if (!kernel_has(6, 13))
    return 0;
  make("f", "contents");
  mkdir("d", 0755);
  make("d/g", "");
  symlink("f", "l");
  int fd = open("f", O_RDWR), dir = open("d", O_RDONLY), path = open("f", O_PATH);
  T(set(AT_FDCWD, "f", 0, "user.a", "hello", 0));
  T(set(AT_FDCWD, "f", 0, "user.a", "again", 1));
  T(set(AT_FDCWD, "f", 0, "user.b", "b", 2));
  T(set(dir, "g", 0, "user.g", "below", 0));
  T(set(AT_FDCWD, "l", 0, "user.l", "through", 0));
  T(set(AT_FDCWD, "l", NOFOLLOW, "user.l", "itself", 0));
  T(set(fd, "", EMPTY, "user.e", "by descriptor", 0));
  T(set(path, "", EMPTY, "user.p", "by path", 0));
  T(set(AT_FDCWD, "absent", 0, "user.a", "x", 0));
  T(set(AT_FDCWD, "", 0, "user.a", "x", 0));
  T(set(99, "f", 0, "user.a", "x", 0));
  T(get(AT_FDCWD, "f", 0, "user.a"));
  T(get(dir, "g", 0, "user.g"));
  T(get(fd, "", EMPTY, "user.e"));
  T(get(fd, 0, EMPTY, "user.l"));
  T(get(AT_FDCWD, "l", NOFOLLOW, "user.l"));
  T(get(AT_FDCWD, "f", 0, "user.none"));
  T(syscall(LIST, AT_FDCWD, "f", 0, list, sizeof list));
  T(syscall(LIST, fd, "", EMPTY, list, 0));
  T(syscall(LIST, dir, "g", 0, list, 2));
  T(syscall(REMOVE, AT_FDCWD, "f", 0, "user.a"));
  T(syscall(REMOVE, AT_FDCWD, "f", 0, "user.a"));
  T(syscall(REMOVE, fd, "", EMPTY, "user.e"));
  T(syscall(LIST, AT_FDCWD, "f", 0, 0, 0));
  T(set(AT_FDCWD, "f", 0, "user.a", "sized", 0));
  sizes();
  return 0;
}
