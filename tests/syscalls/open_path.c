/* O_PATH: what such a descriptor can and cannot do. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/socket.h>

int main(void)
{
  char buf[64];
  struct stat st;
  make("f", "data");
  mkdir("d", 0755);
  make("d/g", "inner");
  symlink("f", "l");
  int fd = (int)OK(open("f", O_PATH));
  T(read(fd, buf, 1));
  T(write(fd, "x", 1));
  T(fchmod(fd, 0600));
  T(fstat(fd, &st));
  show_stat_buf("f", &st);
  T(fcntl(fd, F_GETFL) & O_PATH ? 1 : 0);
  T(lseek(fd, 0, SEEK_SET));
  T(close(dup(fd)));
  int link_fd = (int)OK(open("l", O_PATH | O_NOFOLLOW));
  T(fstat(link_fd, &st));
  show_stat_buf("l", &st);
  ssize_t n = readlinkat(link_fd, "", buf, sizeof buf);
  T(n);
  say("%.*s", (int)n, buf);
  int dir = (int)OK(open("d", O_PATH | O_DIRECTORY));
  int g = (int)OK(openat(dir, "g", O_RDONLY));
  show_fd("d/g", g);
  T(fchdir(dir));
  show_file("g");
  T(fstatat(fd, "", &st, AT_EMPTY_PATH));
  OK(openat(fd, "x", O_RDONLY));
  T(accept(fd, 0, 0));
  T(listen(fd, 1));
  struct epoll_event e = {EPOLLIN, {0}};
  T(epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, fd, &e));
  int p[2];
  pipe(p);
  T(openat(p[0], "x", O_RDONLY));
  T(linkat(p[0], "x", AT_FDCWD, "new", 0));
  T(linkat(AT_FDCWD, "g", p[0], "new", 0));
  T(linkat(999, "x", AT_FDCWD, "new", 0));
  T(renameat(p[0], "x", fd, "new"));
  return 0;
}
