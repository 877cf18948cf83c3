/* unshare and setns: descriptors and directory of one process, what needs privilege, wrong flags. */
#include "t.h"
#include <sched.h>

int main(void)
{
  make("f", "contents");
  mkdir("d", 0755);
  T(unshare(0));
  T(unshare(CLONE_FILES));
  T(unshare(CLONE_FS));
  T(chdir("d"));
  show_file("../f");
  T(umask(027));
  make("g", "made");
  show_stat("g");
  T(unshare(CLONE_NEWUTS));
  T(unshare(CLONE_NEWNS));
  T(unshare(0x2));
  T(unshare(-1));
  int fd = (int)OK(open("/proc/self/ns/uts", O_RDONLY));
  T(setns(fd, CLONE_NEWNET));
  T(setns(fd, CLONE_NEWUTS));
  T(setns(1, 0));
  T(setns(1, CLONE_NEWUSER));
  T(setns(fd, CLONE_NEWUSER));
  T(setns(fd, -1));
  int file = open("g", O_RDONLY);
  T(setns(file, CLONE_NEWPID));
  T(setns(-1, 0));
  return 0;
}
