/* Private and shared mappings of files, with writes through both the mapping and the descriptor. */
#include "t.h"
#include <sys/mman.h>

int main(void)
{
  int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
  T(ftruncate(fd, 10000));
  T(pwrite(fd, "start", 5, 0));
  T(pwrite(fd, "end", 3, 9997));
  char *private = mmap(0, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  say("%.5s %.3s", private, private + 9997);
  T(private[10000]);
  memcpy(private, "MINE", 4);
  show_fd("f", fd);
  char *shared = mmap(0, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  memcpy(shared, "OURS", 4);
  shared[5000] = 'm';
  T(msync(shared, 10000, MS_SYNC));
  show_fd("f", fd);
  say("%.5s", private);
  pid_t pid = fork();
  if (!pid) {
    memcpy(shared + 4, "CHILD", 5);
    memcpy(private + 4, "CHILD", 5);
    _exit(0);
  }
  wait_for(pid, "child");
  say("%.9s %.9s", shared, private);
  T(munmap(shared, 10000));
  show_fd("f", fd);
  char *page = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
  say("%c", page[5000 - 4096]);
  T(close(fd));
  say("%c", page[5000 - 4096]);
  int ro = open("f", O_RDONLY);
  YES(mmap(0, 4096, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED && errno == EACCES);
  YES(mmap(0, 4096, PROT_READ, MAP_PRIVATE, ro, 1) == MAP_FAILED && errno == EINVAL);
  YES(mmap(0, 0, PROT_READ, MAP_PRIVATE, ro, 0) == MAP_FAILED && errno == EINVAL);
  YES(mmap(0, 4096, PROT_READ, MAP_PRIVATE, -1, 0) == MAP_FAILED && errno == EBADF);
  int dir = open(".", O_RDONLY);
  YES(mmap(0, 4096, PROT_READ, MAP_PRIVATE, dir, 0) == MAP_FAILED && errno == ENODEV);
  return 0;
}
