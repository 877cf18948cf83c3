/* execve: arguments, environment, scripts, and every way it fails. */
#include "t.h"

static void run(const char *what, const char *path, char *const argv[])
{
  char *envp[] = {"A=1", "B=two words", 0};
  pid_t pid = fork();
  if (!pid) {
    execve(path, argv, envp);
    say("%s: %s", what, err_name(errno));
    _exit(100);
  }
  wait_for(pid, what);
}

static void script(const char *name, const char *text, int mode)
{
  make(name, text);
  chmod(name, (mode_t)mode);
}

int main(int argc, char **argv)
{
  if (argc == 3 && !strcmp(argv[1], "again")) {
    say("argv0 %s, %s, A=%s B=%s, PATH %s", argv[0], argv[2], getenv("A"), getenv("B"), getenv("PATH") ? "yes" : "no");
    return 21;
  }
  char *plain[] = {"x", "one", "two three", "", 0}, *again[] = {"other name", "again", "arg", 0}, *none[] = {0};
  run("self", "/proc/self/exe", again);
  script("s", "#!/bin/sh\necho script $# \"$1\" \"$2\" $A; exit 12\n", 0755);
  run("script", "./s", plain);
  script("opt", "#!/bin/sh -e\nfalse\necho not reached\n", 0755);
  run("script with option", "./opt", plain);
  script("nested", "#!./s\n", 0755);
  run("script of a script", "./nested", plain);
  script("noexec", "#!/bin/sh\n", 0644);
  run("no permission", "./noexec", plain);
  script("noformat", "echo text\n", 0755);
  run("no format", "./noformat", plain);
  script("empty", "", 0755);
  run("empty", "./empty", plain);
  script("badinterp", "#!/absent/interpreter\n", 0755);
  run("interpreter missing", "./badinterp", plain);
  script("selfinterp", "#!./selfinterp\n", 0755);
  run("its own interpreter", "./selfinterp", plain);
  script("noname", "#!\n", 0755);
  run("no interpreter named", "./noname", plain);
  run("absent", "./absent", plain);
  run("directory", ".", plain);
  run("not a directory", "./s/x", plain);
  symlink("s", "link");
  run("by link", "./link", plain);
  run("no argv", "/bin/true", none);
  script("trunc", "\177ELF\2\1\1", 0755);
  run("truncated ELF", "./trunc", plain);
  execl("./absent", "x", (char *)0);
  show("and on it goes", -1);
  return 0;
}
