/* Arguments and environment: many, long, empty, odd; what is too much. */
#include "t.h"

extern char **environ;

int main(int argc, char **argv)
{
  if (argc > 1 && !strcmp(argv[1], "count")) {
    size_t bytes = 0, env = 0;
    int n = 0;
    for (int i = 0; i < argc; i++)
      bytes += strlen(argv[i]) + 1;
    for (char **e = environ; *e; e++, n++)
      env += strlen(*e) + 1;
    say("%d arguments, %zu bytes; %d variables, %zu bytes; odd '%s'", argc, bytes, n, env, getenv("ODD"));
    return 0;
  }
  char **many = calloc(5003, sizeof *many), *big = malloc(200001), *envp[] = {"ODD=\t \"'\\\n=", "EMPTY=", big, 0};
  many[0] = "x";
  many[1] = "count";
  for (int i = 2; i < 5002; i++)
    many[i] = i % 3 ? "argument" : "";
  memset(big, 'e', 100000);
  big[100000] = 0;
  pid_t pid = fork();
  if (!pid) {
    execve("/proc/self/exe", many, envp);
    show("execve", -1);
    _exit(1);
  }
  wait_for(pid, "many");
  memset(big, 'a', 200000);
  big[200000] = 0;
  char *one[] = {"x", big, 0}, *none[] = {0};
  pid = fork();
  if (!pid) {
    execve("/proc/self/exe", one, none);
    show("execve", -1);
    _exit(1);
  }
  wait_for(pid, "one too long");
  return 0;
}
