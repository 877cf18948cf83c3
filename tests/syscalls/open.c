/* open and openat: creation, exclusivity, truncation, appending, kinds of target, permissions. */
#include "t.h"

int main(void)
{
  char buf[16];
  OK(open("absent", O_RDONLY));
  int fd = (int)OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
  T(write(fd, "hello", 5));
  OK(open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
  show_stat("f");
  int append = (int)OK(open("f", O_WRONLY | O_APPEND));
  T(write(append, "+", 1));
  T(lseek(append, 0, SEEK_SET));
  T(write(append, "+", 1));
  T(lseek(append, 0, SEEK_CUR));
  T(read(append, buf, 1));
  show_fd("f", fd);
  T(fcntl(append, F_GETFL) & (O_ACCMODE | O_APPEND));
  OK(open("f", O_WRONLY | O_TRUNC));
  show_stat("f");
  T(write(fd, "x", 1));
  show_file("f");
  mkdir("d", 0755);
  OK(open("d", O_WRONLY));
  OK(open("d", O_RDONLY | O_CREAT, 0644));
  OK(open("f", O_RDONLY | O_DIRECTORY));
  OK(open("d", O_RDONLY | O_DIRECTORY));
  OK(open("f/x", O_RDONLY));
  OK(open("d/absent/x", O_WRONLY | O_CREAT, 0644));
  OK(open("", O_RDONLY));
  OK(open("d/", O_RDONLY));
  OK(open("f/", O_RDONLY));
  OK(open("new/", O_WRONLY | O_CREAT, 0644));
  OK(open((const char *)1, O_RDONLY));
  make("secret", "s");
  T(chmod("secret", 0));
  if (geteuid())
    OK(open("secret", O_RDONLY));
  int a = open("f", O_RDONLY), b = open("f", O_RDONLY);
  YES(b == a + 1);
  return 0;
}
