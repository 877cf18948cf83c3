/* O_TMPFILE: a file without a name, and giving it one. */
#include "t.h"

int main(void)
{
  char path[64];
  struct stat st;
  int fd = (int)OK(open(".", O_TMPFILE | O_RDWR, 0600));
  if (fd < 0)
    return 0;
  T(write(fd, "nameless", 8));
  T(fstat(fd, &st));
  T(st.st_nlink);
  T(st.st_size);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  show("linkat", linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  show_file("named");
  show_stat("named");
  int excl = (int)OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
  T(close(excl));
  OK(open("named", O_TMPFILE | O_RDWR, 0600));
  OK(open(".", O_TMPFILE | O_RDONLY, 0600));
  return 0;
}
