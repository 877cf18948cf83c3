/* fork: memory apart, descriptors shared, orphans, many children. */
#include "t.h"

int main(void)
{
  static int x = 1;
  make("f", "0123456789");
  int fd = open("f", O_RDWR);
  pid_t parent = getpid(), pid = fork();
  if (!pid) {
    x = 2;
    YES(getppid() == parent && getpid() != parent);
    lseek(fd, 4, SEEK_SET);
    write(fd, "C", 1);
    close(fd);
    _exit(7);
  }
  wait_for(pid, "child");
  T(x);
  T(lseek(fd, 0, SEEK_CUR));
  T(write(fd, "P", 1));
  show_fd("f", fd);
  for (int i = 0; i < 50; i++)
    if (!fork()) {
      char name[16];
      snprintf(name, sizeof name, "child%d", i);
      make(name, name);
      _exit(i);
    }
  int sum = 0, status;
  while (wait(&status) > 0)
    sum += WEXITSTATUS(status);
  T(sum);
  show_file("child49");
  T(wait(&status));
  int p[2];
  pipe(p);
  pid = fork();
  if (!pid) {
    if (!fork()) {
      close(p[0]);
      sleep_ms(30);
      make("orphan", "alone");
      _exit(0);
    }
    _exit(0);
  }
  wait_for(pid, "middle");
  close(p[1]);
  char c;
  T(read(p[0], &c, 1));
  show_file("orphan");
  return 0;
}
