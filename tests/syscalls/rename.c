/* rename and renameat2 with its flags. */
#include "t.h"

#define EXCHANGE 2
#define NOREPLACE 1

int main(void)
{
  make("a", "a");
  make("b", "b");
  mkdir("d", 0755);
  mkdir("e", 0755);
  make("e/x", "x");
  int fd = open("a", O_RDONLY);
  T(rename("a", "c"));
  show_stat("a");
  T(rename("c", "b"));
  show_file("b");
  show_fd("open all along", fd);
  T(rename("absent", "z"));
  T(rename("b", "d"));
  T(rename("d", "b"));
  T(rename("d", "e"));
  T(rename("e", "d"));
  T(rename("d", "d/sub"));
  T(rename("b", "absent/b"));
  T(rename("b", "b"));
  make("o", "o");
  T(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "o", NOREPLACE));
  T(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "n", NOREPLACE));
  T(syscall(SYS_renameat2, AT_FDCWD, "n", AT_FDCWD, "o", EXCHANGE));
  show_file("n");
  show_file("o");
  T(syscall(SYS_renameat2, AT_FDCWD, "n", AT_FDCWD, "absent", EXCHANGE));
  T(syscall(SYS_renameat2, AT_FDCWD, "n", AT_FDCWD, "o", EXCHANGE | NOREPLACE));
  link("o", "hard");
  T(rename("o", "hard"));
  show_stat("o");
  symlink("n", "l");
  T(rename("l", "m"));
  show_stat("m");
  T(rename("d/.", "q"));
  mkdir("own", 0755);
  make("own/a", "a");
  symlink("a", "own/l");
  T(rename("own/a", "own/a"));
  T(rename("own/a", "own/./a"));
  T(rename("own/l", "own/l"));
  T(syscall(SYS_renameat2, AT_FDCWD, "own/a", AT_FDCWD, "own/a", NOREPLACE));
  T(rename("own", "own"));
  show_file("own/a");
  return 0;
}
