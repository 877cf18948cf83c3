/*
 * What a program sees in each of the four modes. In its directory lies `f', whose text tells whose it is, and `big' of
 * 100 KiB. With an argument it only tells the mode it was started in.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/fsyscall.h"

#define RM (FSYSCALL_REMOTE | FSYSCALL_MAPPED)
#define LM (FSYSCALL_LOCAL | FSYSCALL_MAPPED)
#define LU (FSYSCALL_LOCAL | FSYSCALL_UNMAPPED)
#define RU (FSYSCALL_REMOTE | FSYSCALL_UNMAPPED)

static const char *const names[] = {"local,unmapped", "remote,unmapped", "local,mapped", "remote,mapped"};

/* Printed from the usual mode, where standard output is what it was. */
static void show(int mode, const char *what, long r, int error)
{
  int was = fsyscall_set_mode(mode);
  if (r < 0)
    printf("%-15s %s: %s\n", was < 0 ? "" : names[was], what, strerrorname_np(error));
  else
    printf("%-15s %s: %ld\n", was < 0 ? "" : names[was], what, r);
  fflush(stdout);
  if (was >= 0)
    fsyscall_set_mode(was);
}

static void text(int home, const char *what, const char *value)
{
  int was = fsyscall_set_mode(home);
  printf("%-15s %s: %s\n", names[was], what, value);
  fflush(stdout);
  fsyscall_set_mode(was);
}

static int home;

/* The slave's clock is a day ahead in this test. */
static void clock_of(void)
{
  struct timeval there, seen;
  int mode = fsyscall_set_mode(LM);
  gettimeofday(&there, 0);
  fsyscall_set_mode(mode);
  gettimeofday(&seen, 0);
  text(home, "gettimeofday", seen.tv_sec - there.tv_sec > 80000 ? "the slave's" : "this machine's");
}

static void number(const char *what, long r)
{
  show(home, what, r, errno);
}

/* The slave's name or this machine's: of a call that is not about files. */
static void host(void)
{
  struct utsname u;
  uname(&u);
  text(home, "uname", u.nodename);
}

static void content(const char *what, int fd)
{
  char line[64];
  ssize_t n = pread(fd, line, sizeof line - 1, 0);
  int error = errno;
  line[n < 0 ? 0 : n] = 0;
  line[strcspn(line, "\n")] = 0;
  if (n < 0)
    show(home, what, n, error);
  else
    text(home, what, line);
}

static void open_file(void)
{
  int fd = open("f", O_RDONLY);
  number("open", fd);
  if (fd < 0)
    return;
  content("its text", fd);
  if (fsyscall_get_mode() == RU) {
    fsyscall_set_mode(RM);
    number("the same number, mapped, fstat", fstat(fd, &(struct stat){0}));
    fsyscall_set_mode(RU);
  }
  number("close", close(fd));
  number("close again", close(fd));
}

static void in_mode(int mode, int far, int near)
{
  fsyscall_set_mode(mode);
  host();
  number("read of the slave's file", pread(far, &(char){0}, 1, 0));
  number("read of a pipe", read(near, &(char){0}, 1));
  open_file();
  clock_of();
  fsyscall_set_mode(home);
}

/* ---- signals ---- */

static void nothing(int sig)
{
  (void)sig;
}

static void signals(void)
{
  sigset_t set, seen;
  struct sigaction a = {.sa_handler = nothing}, b;
  sigemptyset(&set);
  sigaddset(&set, SIGSYS);
  sigaddset(&set, SIGUSR1);
  sigaction(SIGUSR1, &a, 0);
  sigprocmask(SIG_BLOCK, &set, 0);
  for (int mapped = 1; mapped >= 0; mapped--) {
    fsyscall_set_mode(mapped ? LM : LU);
    sigprocmask(SIG_BLOCK, 0, &seen);
    number("SIGUSR1 is blocked", sigismember(&seen, SIGUSR1));
    number("SIGSYS is blocked", sigismember(&seen, SIGSYS));
    sigaction(SIGUSR1, 0, &b);
    number("the handler is the program's", b.sa_handler == nothing);
  }
  signal(SIGUSR2, SIG_IGN);
  sigdelset(&set, SIGSYS);
  sigprocmask(SIG_UNBLOCK, &set, 0);
  sigprocmask(SIG_BLOCK, 0, &seen);
  number("SIGUSR1 is blocked after unblocking", sigismember(&seen, SIGUSR1));
  raise(SIGUSR2);
  fsyscall_set_mode(LM);
  sigprocmask(SIG_BLOCK, 0, &seen);
  number("SIGUSR1 is blocked", sigismember(&seen, SIGUSR1));
  sigaction(SIGUSR2, 0, &b);
  number("SIGUSR2 is ignored", b.sa_handler == SIG_IGN);
  sigemptyset(&set);
  sigprocmask(SIG_SETMASK, &set, 0);
  fsyscall_set_mode(home);
}

/* ---- inheritance ---- */

static void *thread(void *arg)
{
  (void)arg;
  number("a new thread's mode", fsyscall_get_mode());
  fsyscall_set_mode(LU);
  return 0;
}

static void inherits(char **argv)
{
  pthread_t t;
  fsyscall_set_mode(LM);
  pthread_create(&t, 0, thread, 0);
  pthread_join(t, 0);
  number("the mode after a thread set its own", fsyscall_get_mode());
  fflush(stdout);
  pid_t pid = fork();
  if (!pid) {
    number("a child's mode", fsyscall_get_mode());
    execl("/proc/self/exe", argv[0], "started", (char *)0);
    _exit(9);
  }
  int status;
  waitpid(pid, &status, 0);
  number("status", status);
  fsyscall_set_mode(home);
}

/* Raw numbers are inherited, and a process context's own. */
static void raw_table(void)
{
  int status;
  fsyscall_set_mode(RU);
  int fd = open("f", O_RDONLY), two = dup(fd), far = fcntl(fd, F_DUPFD, 100), put = dup2(fd, 50);
  number("dup follows open by", two - fd);
  number("F_DUPFD", far);
  number("dup2", put);
  pid_t pid = fork();
  if (!pid) {
    content("a child reads it", fd);
    close(fd);
    _exit(0);
  }
  waitpid(pid, &status, 0);
  content("after the child closed its own", fd);
  number("epoll_create1", syscall(SYS_epoll_create1, 0));
  int made = openat(AT_FDCWD, "made", O_WRONLY | O_CREAT | O_EXCL, 0600);
  number("write", write(made, "raw\n", 4));
  close(made);
  struct stat st;
  number("stat", stat("made", &st));
  number("bytes", st.st_size);
  fd = open("/usr/share/which-host", O_RDONLY); /* this machine's by the rules */
  number("open of what is elsewhere otherwise", fd);
  content("its text", fd);
  fsyscall_set_mode(home);
}

int main(int argc, char **argv)
{
  int p[2], old = fsyscall_get_mode();
  home = old;
  if (argc > 1) {
    printf("started with %s\n", old < 0 ? strerrorname_np(errno) : names[old]);
    return 0;
  }
  if (old < 0) {
    printf("%s\n", strerrorname_np(errno));
    return 0;
  }
  number("set 4", fsyscall_set_mode(4));
  number("set -1", fsyscall_set_mode(-1));
  number("set, which gives the old one", fsyscall_set_mode(old));
  int far = open("big", O_RDONLY);
  if (pipe(p) || write(p[1], "12345678", 8) != 8)
    return 1;
  for (int mode = 3; mode >= 0; mode--)
    if (mode != 1 || old & FSYSCALL_REMOTE)
      in_mode(mode == 3 && !(old & FSYSCALL_REMOTE) ? LM : mode, far, p[0]);
  if (old & FSYSCALL_REMOTE)
    raw_table();
  else
    number("set to remote", fsyscall_set_mode(RM));
  signals();
  inherits(argv);
  return 0;
}
