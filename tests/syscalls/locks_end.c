/* What ends a process's record locks: closing any descriptor of the file, in every way there is, an exec that closes
   one, and the process's end; and what does not. */
#include "t.h"

static int lock(int fd, int cmd, int type, long start, long len)
{
  struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
  return fcntl(fd, cmd, &l);
}

/* Whether somebody else could lock the file's first byte now. */
static void probe(const char *what)
{
  pid_t pid = fork();
  if (!pid) {
    int fd = open("f", O_RDWR);
    _exit(lock(fd, F_SETLK, F_WRLCK, 0, 1) ? errno : 0);
  }
  int status;
  waitpid(pid, &status, 0);
  say("%s: %s", what, WEXITSTATUS(status) ? err_name(WEXITSTATUS(status)) : "free");
}

static void closes(int fd)
{
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  probe("locked");
  close(open("g", O_RDONLY));
  probe("another file closed");
  close(open("f", O_RDONLY));
  probe("closed");
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  dup2(1, dup(fd));
  probe("dup2 over it");
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  int self = dup(fd);
  dup2(self, self);
  probe("dup2 to itself");
  dup2(-1, self);
  probe("dup2 that failed");
  dup3(fd, self, O_CLOEXEC);
  probe("dup3 of the same over it");
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  int high = fcntl(fd, F_DUPFD, 400);
  close_range((unsigned)high, ~0u, CLOSE_RANGE_CLOEXEC);
  probe("close_range that only marks");
  close_range((unsigned)high, ~0u, 0);
  probe("close_range");
  link("f", "f2");
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  close(open("f2", O_RDONLY));
  probe("closed by another name");
}

static void of_child(int fd)
{
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  pid_t pid = fork();
  if (!pid) {
    say("child: %d", lock(fd, F_SETLK, F_WRLCK, 0, 1));
    close(fd);
    _exit(0);
  }
  waitpid(pid, 0, 0);
  probe("a child closed");
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
}

static void ends(const char *how, int sig)
{
  int ready[2];
  char c;
  pipe(ready);
  pid_t pid = fork();
  if (!pid) {
    int fd = open("f", O_RDWR);
    lock(fd, F_SETLK, F_WRLCK, 0, 1);
    write(ready[1], "x", 1);
    if (sig)
      pause();
    _exit(0);
  }
  read(ready[0], &c, 1);
  if (sig) {
    probe("a child holds it");
    kill(pid, sig);
  }
  waitpid(pid, 0, 0);
  probe(how);
}

/* The child waits for what another holds, and is killed before it gets it. */
static void waiter_ends(int fd)
{
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  pid_t pid = fork();
  if (!pid) {
    int mine = open("f", O_RDWR);
    lock(mine, F_SETLKW, F_WRLCK, 0, 1);
    _exit(9);
  }
  sleep_ms(100);
  kill(pid, SIGKILL);
  wait_for(pid, "waiter");
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
  probe("after a waiter was killed");
}

static void executes(const char *self, const char *what, int flags)
{
  pid_t pid = fork();
  if (!pid) {
    int keep = open("f", O_RDWR);
    lock(keep, F_SETLK, F_WRLCK, 0, 1);
    open("f", O_RDONLY | flags);
    execl(self, self, what, (char *)0);
    _exit(99);
  }
  wait_for(pid, what);
  probe("after its end");
}

int main(int argc, char **argv)
{
  if (argc > 1) {
    probe(argv[1]);
    return 0;
  }
  make("f", "0123456789");
  make("g", "");
  int fd = open("f", O_RDWR);
  closes(fd);
  of_child(fd);
  ends("a child ended", 0);
  ends("a child was killed", SIGKILL);
  for (int i = 0; i < 20; i++)
    ends("again", i & 1 ? SIGKILL : 0);
  waiter_ends(fd);
  executes("/proc/self/exe", "exec keeps", 0);
  executes("/proc/self/exe", "exec closes", O_CLOEXEC);
  return 0;
}
