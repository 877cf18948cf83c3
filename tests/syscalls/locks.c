/* Record locks of processes, and locks of open file descriptions. */
#include "t.h"

static struct flock region(int type, long start, long len)
{
  return (struct flock){.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static long set(int fd, int cmd, int type, long start, long len)
{
  struct flock l = region(type, start, len);
  return fcntl(fd, cmd, &l);
}

static void get(int fd, int type, long start, long len)
{
  struct flock l = region(type, start, len);
  if (fcntl(fd, F_GETLK, &l))
    show("F_GETLK", -1);
  else
    say("F_GETLK: type %d start %ld len %ld by parent %d", l.l_type, l.l_type == F_UNLCK ? 0 : (long)l.l_start,
        l.l_type == F_UNLCK ? 0 : (long)l.l_len, l.l_type != F_UNLCK && l.l_pid == getppid());
}

static void child(void)
{
  int fd = open("f", O_RDWR);
  get(fd, F_WRLCK, 0, 100);
  T(set(fd, F_SETLK, F_WRLCK, 5, 1));
  T(set(fd, F_SETLK, F_WRLCK, 20, 5));
  T(set(fd, F_SETLK, F_RDLCK, 40, 5));
  T(set(fd, F_SETLK, F_WRLCK, 40, 5));
  T(set(fd, F_SETLKW, F_WRLCK, 20, 5));
  _exit(0);
}

int main(void)
{
  make("f", "0123456789");
  int fd = open("f", O_RDWR), ro = open("f", O_RDONLY);
  T(set(fd, F_SETLK, F_WRLCK, 0, 10));
  T(set(fd, F_SETLK, F_RDLCK, 40, 10));
  T(set(fd, F_SETLK, F_WRLCK, 5, 10));
  T(set(ro, F_SETLK, F_WRLCK, 100, 1));
  T(set(fd, F_SETLK, F_WRLCK, -5, 1));
  get(fd, F_WRLCK, 0, 100);
  pid_t pid = fork();
  if (!pid)
    child();
  wait_for(pid, "child");
  T(close(dup(fd)));
  pid = fork();
  if (!pid) {
    int mine = open("f", O_RDWR);
    get(mine, F_WRLCK, 0, 0);
    T(set(mine, F_OFD_SETLK, F_WRLCK, 0, 10));
    int other = open("f", O_RDWR);
    T(set(other, F_OFD_SETLK, F_WRLCK, 0, 10));
    T(set(other, F_OFD_SETLK, F_WRLCK, 10, 10));
    _exit(0);
  }
  wait_for(pid, "after a close");
  return 0;
}
