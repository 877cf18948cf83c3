/* fsync, fdatasync, sync_file_range, syncfs, sync, posix_fadvise, readahead. */
#include "t.h"

int main(void)
{
  int p[2];
  int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
  T(write(fd, "data", 4));
  T(fsync(fd));
  T(fdatasync(fd));
  T(syncfs(fd));
  T(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
  T(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  T(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  T(posix_fadvise(fd, 0, 0, 99));
  T(readahead(fd, 0, 4096));
  int dir = open(".", O_RDONLY | O_DIRECTORY);
  T(fsync(dir));
  pipe(p);
  T(fsync(p[0]));
  T(fsync(-1));
  T(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL));
  sync();
  int ds = (int)OK(open("g", O_WRONLY | O_CREAT | O_SYNC, 0644));
  T(write(ds, "synced", 6));
  show_file("g");
  return 0;
}
