/* posix_spawn with file actions and attributes; system and popen. */
#include "t.h"
#include <spawn.h>

extern char **environ;

static void run(const char *what, posix_spawn_file_actions_t *fa, posix_spawnattr_t *at, const char *script)
{
  char *argv[] = {"sh", "-c", (char *)script, 0};
  pid_t pid;
  int r = posix_spawn(&pid, "/bin/sh", fa, at, argv, environ);
  if (!r)
    wait_for(pid, what);
  say("%s: %s", what, r ? err_name(r) : "0");
}

int main(void)
{
  posix_spawn_file_actions_t fa;
  posix_spawnattr_t at;
  char *argv[] = {"absent", 0}, line[64];
  pid_t pid;
  run("plain", 0, 0, "echo spawned; exit 4");
  posix_spawn_file_actions_init(&fa);
  posix_spawn_file_actions_addopen(&fa, 1, "out", O_WRONLY | O_CREAT, 0644);
  posix_spawn_file_actions_adddup2(&fa, 1, 2);
  posix_spawn_file_actions_addclose(&fa, 0);
  run("to a file", &fa, 0, "echo to file; echo error >&2; read x; echo $?");
  show_file("out");
  posix_spawn_file_actions_addopen(&fa, 5, "absent/x", O_RDONLY, 0);
  run("bad action", &fa, 0, "exit 0");
  posix_spawnattr_init(&at);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  posix_spawnattr_setsigmask(&at, &set);
  posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  run("attributes", 0, &at, "kill -USR1 $$; echo survived");
  T(posix_spawn(&pid, "/absent", 0, 0, argv, environ) == ENOENT);
  T(posix_spawnp(&pid, "no-such-program", 0, 0, argv, environ) == ENOENT);
  T(WEXITSTATUS(system("echo in system; exit 3")));
  FILE *f = popen("echo one; echo two", "r");
  while (fgets(line, sizeof line, f))
    say("got %.*s", (int)strcspn(line, "\n"), line);
  T(pclose(f));
  return 0;
}
