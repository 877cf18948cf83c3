/* Waiting for record locks: granted, interrupted by a signal, circles; locks of descriptions beside those of processes;
   who holds what. */
#include "t.h"

static int lock(int fd, int cmd, int type, long start, long len)
{
  struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
  return fcntl(fd, cmd, &l);
}

static void ask(const char *what, int fd, int cmd, int type, int whence, long start, long len, pid_t expected)
{
  struct flock l = {.l_type = (short)type, .l_whence = (short)whence, .l_start = start, .l_len = len, .l_pid = 0};
  if (fcntl(fd, cmd, &l))
    show(what, -1);
  else
    say("%s: type %d whence %d %ld+%ld pid %s", what, l.l_type, l.l_whence, (long)l.l_start, (long)l.l_len,
        l.l_pid == -1         ? "-1"
        : l.l_pid == 0        ? "0"
        : l.l_pid == expected ? "as expected"
                              : "another");
}

static void nothing(int sig)
{
  (void)sig;
}

static void interrupted(int fd, int flags)
{
  struct sigaction sa = {.sa_handler = nothing, .sa_flags = flags};
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  pid_t pid = fork();
  if (!pid) {
    int mine = open("f", O_RDWR);
    sigaction(SIGALRM, &sa, 0);
    ualarm(50000, 0);
    T(lock(mine, F_SETLKW, F_WRLCK, 0, 1));
    _exit(0);
  }
  sleep_ms(200);
  lock(fd, F_SETLK, F_UNLCK, 0, 1);
  wait_for(pid, flags ? "restarted" : "interrupted");
}

static void granted(int fd)
{
  lock(fd, F_SETLK, F_WRLCK, 0, 10);
  pid_t pid = fork();
  if (!pid) {
    int mine = open("f", O_RDWR);
    T(lock(mine, F_SETLKW, F_RDLCK, 5, 1));
    ask("then the rest", mine, F_GETLK, F_WRLCK, SEEK_SET, 0, 0, getppid());
    _exit(0);
  }
  sleep_ms(50);
  say("parent lets go of a part");
  lock(fd, F_SETLK, F_UNLCK, 5, 1);
  wait_for(pid, "granted");
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
}

/* Parent holds 0 and wants 1, child holds 1 and wants 0: the one who comes last is told. */
static void circle(int fd)
{
  int ready[2];
  char c;
  pipe(ready);
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  pid_t pid = fork();
  if (!pid) {
    int mine = open("f", O_RDWR);
    lock(mine, F_SETLK, F_WRLCK, 1, 1);
    write(ready[1], "x", 1);
    int r = lock(mine, F_SETLKW, F_WRLCK, 0, 1);
    _exit(r ? 1 : 0);
  }
  read(ready[0], &c, 1);
  sleep_ms(100);
  T(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
  lock(fd, F_SETLK, F_UNLCK, 0, 1);
  wait_for(pid, "child of the circle");
  T(lock(fd, F_SETLKW, F_WRLCK, 1, 1));
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
}

static void descriptions(void)
{
  int a = open("f", O_RDWR), b = open("f", O_RDWR), d = dup(a);
  T(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  T(lock(b, F_OFD_SETLK, F_RDLCK, 5, 1));
  T(lock(d, F_OFD_SETLK, F_RDLCK, 5, 1));
  T(lock(b, F_OFD_SETLK, F_RDLCK, 5, 1));
  T(lock(b, F_SETLK, F_WRLCK, 0, 1));
  ask("own description's, asked for the process", a, F_GETLK, F_WRLCK, SEEK_SET, 0, 1, 0);
  ask("own description's, asked for it", a, F_OFD_GETLK, F_WRLCK, SEEK_SET, 0, 1, 0);
  ask("another's", b, F_OFD_GETLK, F_WRLCK, SEEK_SET, 0, 1, 0);
  pid_t pid = fork();
  if (!pid) {
    say("inherited: %d", lock(a, F_OFD_SETLK, F_WRLCK, 20, 1));
    close(a);
    close(d);
    _exit(0);
  }
  wait_for(pid, "child");
  T(lock(b, F_OFD_SETLK, F_WRLCK, 20, 1));
  close(a);
  T(lock(b, F_OFD_SETLK, F_WRLCK, 20, 1));
  close(d);
  T(lock(b, F_OFD_SETLK, F_WRLCK, 20, 1));
  T(lock(b, F_SETLK, F_WRLCK, 30, 1));
  ask("the process's own, asked for a description", b, F_OFD_GETLK, F_WRLCK, SEEK_SET, 30, 1, getpid());
  pid = fork();
  if (!pid) {
    ask("the parent's", b, F_GETLK, F_WRLCK, SEEK_SET, 30, 1, getppid());
    ask("the parent's, for a description", b, F_OFD_GETLK, F_WRLCK, SEEK_SET, 30, 1, getppid());
    ask("a description's", b, F_GETLK, F_WRLCK, SEEK_SET, 20, 1, getppid());
    _exit(0);
  }
  wait_for(pid, "child");
  struct flock l = {.l_type = F_WRLCK, .l_pid = 7};
  T(fcntl(b, F_OFD_SETLK, &l));
  close(b);
}

static void arguments(int fd)
{
  int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), path = open("f", O_PATH);
  T(lock(ro, F_SETLK, F_WRLCK, 0, 1));
  T(lock(wo, F_SETLK, F_RDLCK, 0, 1));
  T(lock(ro, F_SETLK, F_WRLCK, -1, 1));
  T(lock(path, F_SETLK, F_RDLCK, 0, 1));
  T(lock(fd, F_SETLK, 77, 0, 1));
  T(lock(fd, F_GETLK, F_UNLCK, 0, 1));
  T(lock(fd, F_SETLK, F_WRLCK, 5, -5));
  T(lock(fd, F_SETLK, F_WRLCK, 5, -6));
  T(lock(fd, F_SETLK, F_WRLCK, INT64_MAX, 2));
  T(lock(fd, F_SETLK, F_WRLCK, INT64_MAX, 1));
  T(fcntl(fd, F_SETLK, (struct flock *)1));
  lseek(fd, 4, SEEK_SET);
  ask("from the offset, nothing", fd, F_GETLK, F_WRLCK, SEEK_CUR, 2, 3, 0);
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -4, .l_len = 2};
  T(fcntl(fd, F_SETLK, &l));
  pid_t pid = fork();
  if (!pid) {
    ask("from the end", fd, F_GETLK, F_RDLCK, SEEK_CUR, 1, 0, getppid());
    _exit(0);
  }
  wait_for(pid, "child");
  chmod("f", 0400);
  T(lock(fd, F_SETLK, F_WRLCK, 0, 2));
  lock(fd, F_SETLK, F_UNLCK, 0, 0);
  chmod("f", 0600);
}

int main(void)
{
  make("f", "0123456789");
  int fd = open("f", O_RDWR);
  interrupted(fd, 0);
  interrupted(fd, SA_RESTART);
  granted(fd);
  circle(fd);
  descriptions();
  arguments(fd);
  return 0;
}
