/* mkdir, rmdir, umask. */
#include "t.h"

int main(void)
{
  T(mkdir("d", 0777));
  show_stat("d");
  T(mkdir("d", 0777));
  T(mkdir("absent/d", 0777));
  make("f", "");
  T(mkdir("f/d", 0777));
  T(mkdir("d/slash/", 0700));
  show_stat("d/slash");
  T(umask(077));
  T(mkdir("private", 0777));
  show_stat("private");
  make("file", "");
  show_stat("file");
  T(umask(0));
  T(mkdir("open", 01777));
  show_stat("open");
  close(open("all", O_CREAT | O_WRONLY, 0666));
  show_stat("all");
  T(umask(0777777));
  T(umask(022));
  T(rmdir("d"));
  T(rmdir("d/slash"));
  T(rmdir("d"));
  T(rmdir("f"));
  T(rmdir("absent"));
  T(rmdir("."));
  T(rmdir(".."));
  T(rmdir("private/."));
  char name[300];
  memset(name, 'n', 299);
  name[299] = 0;
  show("mkdir(300 letters)", mkdir(name, 0755));
  name[255] = 0;
  show("mkdir(255 letters)", mkdir(name, 0755));
  return 0;
}
