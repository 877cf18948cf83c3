/* chdir, fchdir, getcwd; a working directory that is renamed or removed. */
#include "t.h"

static char base[4096];

static void where(void)
{
  char now[4096];
  if (!getcwd(now, sizeof now))
    show("getcwd", -1);
  else
    say("in %s", strncmp(now, base, strlen(base)) ? now : now + strlen(base));
}

int main(void)
{
  char buf[2];
  mkdir("d", 0755);
  mkdir("d/e", 0755);
  make("f", "");
  symlink("d/e", "l");
  getcwd(base, sizeof base);
  int top = open(".", O_RDONLY | O_DIRECTORY);
  T(chdir("d"));
  where();
  T(chdir("e/../../l"));
  where();
  T(chdir(".."));
  where();
  T(chdir("absent"));
  T(chdir("../f"));
  make("made-in-d", "");
  T(fchdir(top));
  where();
  show_stat("d/made-in-d");
  int f = open("f", O_RDONLY);
  T(fchdir(f));
  T(fchdir(-1));
  YES(getcwd(buf, sizeof buf) == 0 && errno == ERANGE);
  T(chdir("d/e"));
  T(rename("../../d", "../../moved"));
  where();
  T(rmdir("../e"));
  where();
  OK(open("x", O_CREAT | O_WRONLY, 0644));
  T(access(".", F_OK));
  T(chdir(".."));
  where();
  pid_t pid = fork();
  if (!pid) {
    chdir("/");
    where();
    _exit(0);
  }
  wait_for(pid, "child");
  where();
  T(chdir(""));
  return 0;
}
