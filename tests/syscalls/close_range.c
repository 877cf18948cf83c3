/* close_range and closing everything by hand, as daemons do. */
#include "t.h"

int main(void)
{
  make("f", "abc");
  int a = open("f", O_RDONLY), b = open("f", O_RDONLY), c = open("f", O_RDONLY);
  T(syscall(SYS_close_range, b, c, 0));
  T(fcntl(a, F_GETFD));
  T(fcntl(b, F_GETFD));
  T(fcntl(c, F_GETFD));
  b = open("f", O_RDONLY);
  T(syscall(SYS_close_range, a, ~0u, 4));
  T(fcntl(a, F_GETFD));
  T(fcntl(b, F_GETFD));
  show_fd("f", a);
  T(syscall(SYS_close_range, 10, 5, 0));
  T(syscall(SYS_close_range, 3, 5, 0x1000));
  T(syscall(SYS_close_range, 3, ~0u, 0));
  T(fcntl(a, F_GETFD));
  T(open("f", O_RDONLY));
  for (int i = 3; i < 2000; i++)
    close(i);
  T(open("f", O_RDONLY));
  show_file("f");
  pid_t pid = fork();
  if (!pid) {
    close(0);
    T(open("f", O_RDONLY));
    execl("/bin/cat", "cat", (char *)0);
    _exit(1);
  }
  wait_for(pid, "cat");
  return 0;
}
