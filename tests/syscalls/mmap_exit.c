/* What was changed through shared mappings is in the file after exit, also without msync, munmap or close. */
#include "t.h"
#include <sys/mman.h>

static void change(const char *path, int how)
{
  int fd = open(path, O_RDWR | O_CREAT, 0644);
  ftruncate(fd, 8192);
  char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  strcpy(p, "first");
  strcpy(p + 4096, "second");
  if (how == 1)
    exit(3);
  if (how == 2)
    _exit(4);
  if (how == 3)
    raise(SIGKILL);
}

int main(void)
{
  for (int how = 1; how <= 3; how++) {
    char path[8] = {'f', (char)('0' + how), 0};
    pid_t pid = fork();
    if (!pid)
      change(path, how);
    wait_for(pid, path);
    if (how < 3) {
      int fd = open(path, O_RDONLY);
      char a[8] = "", b[8] = "";
      T(pread(fd, a, 6, 0));
      T(pread(fd, b, 7, 4096));
      say("%s %s", a, b);
    }
  }
  unlink("f3");
  return 0;
}
