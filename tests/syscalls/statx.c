/* statx: masks, flags, agreement with stat. */
#include "t.h"
#include <sys/sysmacros.h>

int main(void)
{
  struct statx x;
  struct stat st;
  make("f", "12345");
  symlink("f", "l");
  T(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
  YES((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
  T(x.stx_size);
  T(x.stx_mode);
  T(x.stx_nlink);
  stat("f", &st);
  YES(x.stx_ino == st.st_ino && x.stx_uid == st.st_uid && x.stx_mtime.tv_sec == st.st_mtime);
  YES(makedev(x.stx_dev_major, x.stx_dev_minor) == st.st_dev);
  T(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_SIZE, &x));
  YES(S_ISLNK(x.stx_mode));
  T(x.stx_size);
  int fd = open("f", O_RDONLY);
  T(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &x));
  T(x.stx_size);
  T(statx(fd, "", 0, STATX_ALL, &x));
  T(statx(AT_FDCWD, "absent", 0, STATX_ALL, &x));
  T(statx(AT_FDCWD, "f", 0, 0x80000000, &x));
  T(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_MTIME, &x));
  T(statx(AT_FDCWD, "f", 0xffff0000, STATX_MTIME, &x));
  return 0;
}
