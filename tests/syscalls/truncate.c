/* truncate, ftruncate, fallocate. */
#include "t.h"

int main(void)
{
  struct stat st;
  make("f", "0123456789");
  T(truncate("f", 4));
  show_file("f");
  T(truncate("f", 8));
  show_file("f");
  T(truncate("f", -1));
  T(truncate("absent", 0));
  T(truncate(".", 0));
  int fd = open("f", O_RDWR), ro = open("f", O_RDONLY);
  T(lseek(fd, 6, SEEK_SET));
  T(ftruncate(fd, 2));
  T(lseek(fd, 0, SEEK_CUR));
  T(write(fd, "w", 1));
  show_fd("f", fd);
  T(ftruncate(ro, 0));
  T(ftruncate(-1, 0));
  T(ftruncate(fd, 3000000));
  fstat(fd, &st);
  YES(st.st_blocks * 512 < 3000000);
  T(fallocate(fd, 0, 0, 10000));
  T(fallocate(fd, FALLOC_FL_KEEP_SIZE, 4000000, 10));
  T(fallocate(fd, 0, 3000000, 10));
  fstat(fd, &st);
  T(st.st_size);
  T(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2));
  show_fd("f", fd);
  T(fallocate(fd, 0, 0, 0));
  T(fallocate(ro, 0, 0, 1));
  T(posix_fallocate(fd, 0, 5000));
  T(ftruncate(fd, 0));
  show_stat("f");
  return 0;
}
