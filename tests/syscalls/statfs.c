/* statfs and fstatfs: agreement between the two, sane figures. */
#include "t.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>

int main(void)
{
  struct statfs a, b;
  struct statvfs v;
  make("f", "x");
  T(statfs(".", &a));
  T(statfs("f", &b));
  YES(a.f_type == b.f_type && a.f_bsize == b.f_bsize && a.f_blocks == b.f_blocks);
  YES(a.f_blocks > 0 && a.f_bfree <= a.f_blocks && a.f_namelen >= 255);
  int fd = open("f", O_RDONLY);
  T(fstatfs(fd, &b));
  YES(a.f_type == b.f_type && !memcmp(&a.f_fsid, &b.f_fsid, sizeof a.f_fsid));
  T(statvfs(".", &v));
  YES(v.f_namemax == (unsigned long)a.f_namelen);
  T(statfs("absent", &a));
  T(statfs("f/x", &a));
  T(fstatfs(-1, &a));
  T(statfs(".", (void *)1));
  return 0;
}
