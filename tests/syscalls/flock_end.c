/* What ends a lock of flock or of a description: the last close, in every way there is; who waited for that end may
   lock at once. */
#include "t.h"
#include <sys/file.h>

static int ofd;

static int lock(int fd, int type)
{
  struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET};
  if (ofd)
    return fcntl(fd, F_OFD_SETLK, &l);
  return flock(fd, (type == F_WRLCK ? LOCK_EX : type == F_RDLCK ? LOCK_SH : LOCK_UN) | LOCK_NB);
}

static int others;

static void may(const char *what)
{
  static int busy, free_;
  int r = lock(others, F_WRLCK);
  if (!r)
    lock(others, F_UNLCK);
  if (what)
    say("%s: %s", what, r ? err_name(errno) : "free");
  else if (r)
    say("busy after %d and %d", busy, free_);
  *(r ? &busy : &free_) += 1;
}

static void closes(void)
{
  int fd = open("f", O_RDWR);
  lock(fd, F_WRLCK);
  may("locked");
  int two = dup(fd);
  close(fd);
  may("a copy is left");
  dup2(others, two);
  may("dup2 over the last");
  close(two);
  fd = open("f", O_RDWR);
  lock(fd, F_WRLCK);
  pid_t pid = fork();
  if (!pid) {
    close(fd);
    _exit(0);
  }
  waitpid(pid, 0, 0);
  may("a child closed its copy");
  pid = fork();
  if (!pid) {
    lock(fd, F_UNLCK);
    _exit(0);
  }
  waitpid(pid, 0, 0);
  may("a child unlocked it");
  lock(fd, F_WRLCK);
  close_range((unsigned)fd, ~0u, 0);
  may("close_range");
}

static void ends(int how)
{
  int ready[2];
  char c;
  pipe(ready);
  pid_t pid = fork();
  if (!pid) {
    int fd = open("f", O_RDWR);
    lock(fd, F_WRLCK);
    int data = open("data", O_WRONLY | O_CREAT, 0644);
    write(data, &fd, sizeof fd);
    if (how == 1)
      close(fd);
    write(ready[1], "x", 1);
    if (how)
      pause();
    _exit(0);
  }
  read(ready[0], &c, 1);
  if (how == 1)
    may(0);
  if (how)
    kill(pid, SIGKILL);
  waitpid(pid, 0, 0);
  may(0);
  close(ready[0]);
  close(ready[1]);
}

static void executes(void)
{
  pid_t pid = fork();
  if (!pid) {
    lock(open("f", O_RDWR | O_CLOEXEC), F_WRLCK);
    execl("/proc/self/exe", "end", "x", (char *)0);
    _exit(99);
  }
  wait_for(pid, "exec");
}

int main(int argc, char **argv)
{
  (void)argv;
  make("f", "");
  others = open("f", O_RDWR);
  if (argc > 1) {
    may("closed by exec");
    return 0;
  }
  for (ofd = 0; ofd < 2; ofd++) {
    closes();
    executes();
    for (int i = 0; i < 60; i++)
      ends(i % 3);
  }
  unlink("data");
  return 0;
}
