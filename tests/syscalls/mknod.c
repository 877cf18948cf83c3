/* mknod and mkfifo; two processes talk through the FIFO. */
#include "t.h"
#include <sys/sysmacros.h>

int main(void)
{
  char buf[16] = "";
  T(mkfifo("p", 0644));
  T(mkfifo("p", 0644));
  show_stat("p");
  T(mknod("f", S_IFREG | 0600, 0));
  show_stat("f");
  T(mknod("s", S_IFSOCK | 0600, 0));
  show_stat("s");
  if (geteuid())
    T(mknod("dev", S_IFCHR | 0600, makedev(1, 3)));
  OK(open("p", O_WRONLY | O_NONBLOCK));
  OK(open("s", O_RDONLY));
  pid_t pid = fork();
  if (!pid) {
    int w = open("p", O_WRONLY);
    write(w, "through", 7);
    _exit(5);
  }
  int r = open("p", O_RDONLY);
  ssize_t got = 0, n;
  while ((n = read(r, buf + got, sizeof buf - 1 - (size_t)got)) > 0)
    got += n;
  T(got);
  say("%s", buf);
  wait_for(pid, "writer");
  int rw = (int)OK(open("p", O_RDWR));
  T(write(rw, "self", 4));
  T(read(rw, buf, 4));
  return 0;
}
