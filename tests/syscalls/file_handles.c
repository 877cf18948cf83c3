/* name_to_handle_at, open_by_handle_at: sizes, equal handles of one file, mounts, who may open them. */
#include "t.h"

struct handle {
  struct file_handle h;
  unsigned char room[MAX_HANDLE_SZ];
};

static long name(int dir, const char *path, int flags, struct handle *h, int *mount)
{
  memset(h, 0, sizeof *h);
  h->h.handle_bytes = MAX_HANDLE_SZ;
  return name_to_handle_at(dir, path, &h->h, mount, flags);
}

static bool same(const struct handle *a, const struct handle *b)
{
  return a->h.handle_bytes == b->h.handle_bytes && a->h.handle_type == b->h.handle_type &&
         !memcmp(a->h.f_handle, b->h.f_handle, a->h.handle_bytes);
}

/* As root. It is as good as one opened by its name, and is there after the name has gone. */
static void use(int fd)
{
  struct stat st;
  T(fstat(fd, &st));
  show_stat_buf("opened", &st);
  show_fd("opened", fd);
  T(pwrite(fd, "C", 1, 0));
  show_file("g");
  T(unlink("f"));
  show_fd("opened", fd);
  T(fcntl(fd, F_GETFL) & O_ACCMODE);
  T(close(fd));
}

int main(void)
{
  struct handle f, g, other;
  struct statx x;
  int mount = -1, again = -2;
  make("f", "contents");
  make("other", "");
  link("f", "g");
  symlink("f", "l");
  int fd = open("f", O_RDONLY), here = open(".", O_RDONLY);
  T(name(AT_FDCWD, "f", 0, &f, &mount));
  T(name(here, "g", 0, &g, &again));
  YES(same(&f, &g) && mount == again);
  T(name(fd, "", AT_EMPTY_PATH, &g, &again));
  YES(same(&f, &g) && mount == again);
  T(name(AT_FDCWD, "l", AT_SYMLINK_FOLLOW, &g, &again));
  YES(same(&f, &g));
  T(name(AT_FDCWD, "l", 0, &g, &again));
  YES(same(&f, &g));
  T(name(AT_FDCWD, "other", 0, &other, &again));
  YES(same(&f, &other));
  T(statx(AT_FDCWD, "f", 0, STATX_MNT_ID, &x));
  YES(!(x.stx_mask & STATX_MNT_ID) || (int)x.stx_mnt_id == mount);
  g.h.handle_bytes = 0;
  T(name_to_handle_at(AT_FDCWD, "f", &g.h, &again, 0));
  YES(g.h.handle_bytes == f.h.handle_bytes);
  g.h.handle_bytes = MAX_HANDLE_SZ + 1;
  T(name_to_handle_at(AT_FDCWD, "f", &g.h, &again, 0));
  T(name(AT_FDCWD, "absent", 0, &g, &again));
  T(name(AT_FDCWD, "f", 0x8000, &g, &again));
  T(name_to_handle_at(AT_FDCWD, "f", (struct file_handle *)8, &again, 0));
  OK(open_by_handle_at(fd, &f.h, O_RDONLY));
  OK(open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY));
  OK(open_by_handle_at(open("f", O_PATH), &f.h, O_RDONLY));
  int opened = (int)OK(open_by_handle_at(here, &f.h, O_RDWR));
  if (opened >= 0)
    use(opened);
  f.h.handle_bytes = 0;
  T(open_by_handle_at(here, &f.h, O_RDONLY));
  T(open_by_handle_at(-1, &other.h, O_RDONLY));
  return 0;
}
