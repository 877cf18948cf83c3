/* exec of a program that lies in the working directory: a copy of this one, and a chain of them. */
#include "t.h"

static void copy(const char *from, const char *to, int mode)
{
  static char buf[65536];
  int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
  for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0;)
    write(out, buf, (size_t)n);
  close(in);
  close(out);
  chmod(to, (mode_t)mode);
}

int main(int argc, char **argv)
{
  char exe[4096], left[12];
  if (argc == 2) {
    int n = atoi(argv[1]);
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len < 0 ? 0 : len] = 0;
    say("%d left, exe is %s", n, strrchr(exe, '/') ? strrchr(exe, '/') + 1 : exe);
    if (!n)
      return 33;
    snprintf(left, sizeof left, "%d", n - 1);
    execl(n % 2 ? "./copy" : "./link", "x", left, (char *)0);
    return 1;
  }
  copy("/proc/self/exe", "copy", 0755);
  copy("/proc/self/exe", "no", 0644);
  symlink("copy", "link");
  pid_t pid = fork();
  if (!pid) {
    execl("./copy", "x", "5", (char *)0);
    _exit(1);
  }
  wait_for(pid, "chain");
  pid = fork();
  if (!pid) {
    execl("./no", "x", "5", (char *)0);
    say("%s", err_name(errno));
    _exit(1);
  }
  wait_for(pid, "without permission");
  unlink("copy");
  unlink("no");
  return 0;
}
