/* Extended attributes, where the file system has them; otherwise the error must be the same. */
#include "t.h"
#include <sys/xattr.h>

int main(void)
{
  char buf[64];
  make("f", "x");
  symlink("f", "l");
  int fd = open("f", O_RDWR);
  T(setxattr("f", "user.one", "value", 5, 0));
  T(getxattr("f", "user.one", buf, sizeof buf));
  T(getxattr("f", "user.one", buf, 2));
  T(getxattr("f", "user.one", 0, 0));
  T(getxattr("f", "user.absent", buf, sizeof buf));
  T(fsetxattr(fd, "user.two", "v", 1, XATTR_CREATE));
  T(fsetxattr(fd, "user.two", "v", 1, XATTR_CREATE));
  T(setxattr("f", "user.three", "v", 1, XATTR_REPLACE));
  T(fgetxattr(fd, "user.two", buf, sizeof buf));
  T(lgetxattr("l", "user.one", buf, sizeof buf));
  T(lsetxattr("l", "user.one", "v", 1, 0));
  T(setxattr("f", "nonsense", "v", 1, 0));
  T(removexattr("f", "user.one"));
  T(removexattr("f", "user.one"));
  T(fremovexattr(fd, "user.two"));
  T(getxattr("absent", "user.one", buf, sizeof buf));
  YES(listxattr("f", 0, 0) >= 0);
  YES(flistxattr(fd, buf, 1) >= 0 || errno == ERANGE || errno == ENOTSUP);
  return 0;
}
