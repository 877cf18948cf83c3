/* open through symbolic links: followed, refused, dangling, in a circle, up and out. */
#include "t.h"

int main(void)
{
  make("f", "data");
  mkdir("d", 0755);
  make("d/g", "inner");
  T(symlink("f", "l"));
  T(symlink("absent", "dangling"));
  T(symlink("loop2", "loop1"));
  T(symlink("loop1", "loop2"));
  T(symlink("d", "ld"));
  T(symlink("../f", "d/up"));
  show_file("l");
  OK(open("l", O_RDONLY | O_NOFOLLOW));
  OK(open("dangling", O_RDONLY));
  OK(open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0644));
  OK(open("loop1", O_RDONLY));
  show_file("ld/g");
  OK(open("ld/g", O_RDONLY | O_NOFOLLOW));
  OK(open("ld", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  show_file("d/up");
  show_file("ld/up");
  show_file("ld/../f");
  show_file("d/./../d/./g");
  OK(open("dangling", O_WRONLY | O_CREAT, 0644));
  show_stat("absent");
  char cwd[4096], path[5000];
  YES(getcwd(cwd, sizeof cwd) == cwd);
  snprintf(path, sizeof path, "%s/d/../l", cwd);
  int fd = (int)OK(open(path, O_RDONLY));
  show_fd("by absolute path", fd);
  snprintf(path, sizeof path, "%s/d", cwd);
  T(symlink(path, "abs"));
  show_file("abs/g");
  return 0;
}
