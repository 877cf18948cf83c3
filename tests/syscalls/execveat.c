/* execveat and fexecve: by descriptor, with AT_EMPTY_PATH, relative to a directory. */
#include "t.h"

static void run(const char *what, int fd, const char *path, int flags)
{
  char *argv[] = {"name", "-c", "echo ran; exit 5", 0}, *envp[] = {0};
  pid_t pid = fork();
  if (!pid) {
    syscall(SYS_execveat, fd, path, argv, envp, flags);
    say("%s: %s", what, err_name(errno));
    _exit(100);
  }
  wait_for(pid, what);
}

int main(void)
{
  int bin = open("/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC), sh = open("/bin/sh", O_RDONLY | O_CLOEXEC);
  make("s", "#!/bin/sh\necho script; exit 6\n");
  chmod("s", 0755);
  symlink("s", "l");
  int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), s = open("s", O_RDONLY),
      se = open("s", O_RDONLY | O_CLOEXEC);
  run("relative", bin, "sh", 0);
  run("by descriptor", sh, "", AT_EMPTY_PATH);
  run("absolute", -1, "/bin/sh", 0);
  run("script", dir, "s", 0);
  run("script by descriptor", s, "", AT_EMPTY_PATH);
  run("script by a descriptor that is closed", se, "", AT_EMPTY_PATH);
  run("link not followed", dir, "l", AT_SYMLINK_NOFOLLOW);
  run("empty path", sh, "", 0);
  run("bad descriptor", -1, "sh", 0);
  run("bad descriptor itself", -1, "", AT_EMPTY_PATH);
  int w = open("s", O_WRONLY | O_CLOEXEC);
  run("script that is being written", dir, "s", 0);
  close(w);
  run("script again", dir, "s", 0);
  run("bad flags", sh, "", 0x40000000);
  return 0;
}
