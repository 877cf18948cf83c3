/* Processes that have their descriptors in common without being threads (CLONE_FILES), with memory in common or not; handlers
   in common (CLONE_SIGHAND); a thread with descriptors of its own. What one does with a number, the others see. */
#include "t.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

static char stack[4][256 << 10] __attribute__((aligned(16)));
static int turns[2]; /* both ends in each process: one byte in either direction at a time */
static char dir[4096];

static void pass_turn(int side)
{
  write(turns[side], "", 1);
}

static void await_turn(int side)
{
  char c;
  read(turns[side], &c, 1);
}

static void show_number(const char *who, int fd)
{
  char text[64] = "", what[64];
  snprintf(what, sizeof what, "%s reads %d", who, fd);
  long n = show(what, pread(fd, text, sizeof text - 1, 0));
  if (n > 0)
    say("  %s", text);
}

/* The child's half of together(): answers what the parent has just done. */
static int other(void *arg)
{
  (void)arg;
  await_turn(1);
  show_number("child", 10); /* opened before */
  close(10);
  T(dup2(open("two", O_RDONLY), 10));
  pass_turn(1);

  await_turn(1);
  show_number("child", 11); /* opened since */
  close(11);
  pass_turn(1);

  await_turn(1);
  char buf[8];
  T(lseek(12, 0, SEEK_CUR));
  T(read(12, buf, 4));
  T(write(13, "child's ", 8));
  T(close(13));
  T(dup2(12, 13));
  pass_turn(1);

  await_turn(1);
  T(chdir("sub"));
  show_file("inner");
  T(fchdir(14));
  show_file("one");
  T(fcntl(10, F_GETFD));
  T(fcntl(10, F_SETFD, FD_CLOEXEC));
  void *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, 12, 0);
  say("%.4s", p == MAP_FAILED ? "none" : (char *)p);
  pass_turn(1);
  await_turn(1);
  _exit(7);
}

static int small(const char *name, int flags, int to)
{
  int fd = open(name, flags, 0600);
  dup2(fd, to);
  close(fd);
  return to;
}

static void together(const char *what, int flags)
{
  int pair[2];
  say("-- %s", what);
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  turns[0] = dup2(pair[0], 20), turns[1] = dup2(pair[1], 21);
  show_file("one"); /* known from here on */
  small("one", O_RDONLY, 10);
  pid_t pid = clone(other, stack[0] + sizeof stack[0], flags | SIGCHLD, 0);
  if (pid < 0) {
    show(what, -1);
    return;
  }
  pass_turn(0);
  await_turn(0);
  show_number("parent", 10);

  small("three", O_RDONLY, 11);
  show_number("parent", 11);
  pass_turn(0);
  await_turn(0);
  show_number("parent", 11);
  T(fcntl(11, F_GETFD));

  small("one", O_RDONLY, 12);
  small("out", O_RDWR | O_CREAT | O_TRUNC, 13);
  T(write(13, "parent's ", 9));
  pass_turn(0);
  await_turn(0);
  T(lseek(12, 0, SEEK_CUR));
  show_number("parent", 13);
  T(write(13, "x", 1));
  show_file("out");

  small(".", O_RDONLY | O_DIRECTORY, 14);
  pass_turn(0);
  await_turn(0);
  T(fcntl(10, F_GETFD));
  YES(flags & CLONE_FS || !strcmp(getcwd(0, 0), dir));
  void *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE, 10, 0);
  say("%.3s", p == MAP_FAILED ? "none" : (char *)p);
  pass_turn(0);
  wait_for(pid, what);
  show_number("parent", 12);
  T(unshare(CLONE_FILES));
  show_number("parent", 12);
  show_file("three");
  closefrom(10);
}

/* What is executed has a table of its own. */
static int executes(void *arg)
{
  execl("/bin/cat", "cat", arg, (char *)0);
  _exit(1);
}

static void over_exec(void)
{
  say("-- exec");
  small("one", O_RDONLY, 10);
  fcntl(10, F_SETFD, FD_CLOEXEC);
  pid_t pid = clone(executes, stack[0] + sizeof stack[0], CLONE_FILES | SIGCHLD, "two");
  wait_for(pid, "exec");
  show_number("parent", 10);
  chdir("sub");
  pid = clone(executes, stack[0] + sizeof stack[0], CLONE_FILES | CLONE_VM | CLONE_VFORK | SIGCHLD, "inner");
  wait_for(pid, "exec");
  show_number("parent", 10);
  chdir("..");
  pid = fork();
  if (!pid) {
    close(10);
    _exit(0);
  }
  wait_for(pid, "fork");
  show_number("parent", 10);
  close(10);
}

static volatile int handled;

static void on_usr1(int s)
{
  handled = s;
}

static int handles(void *arg)
{
  (void)arg;
  signal(SIGUSR1, on_usr1);
  signal(SIGUSR2, SIG_IGN);
  return 0;
}

static void handlers(void)
{
  say("-- handlers");
  pid_t pid = clone(handles, stack[0] + sizeof stack[0], CLONE_SIGHAND | CLONE_VM | SIGCHLD, 0);
  wait_for(pid, "child");
  raise(SIGUSR1);
  raise(SIGUSR2);
  T(handled);
  signal(SIGUSR1, SIG_DFL);
  pid = clone(handles, stack[0] + sizeof stack[0], CLONE_VM | SIGCHLD, 0);
  wait_for(pid, "child");
  struct sigaction old;
  sigaction(SIGUSR1, 0, &old);
  YES(old.sa_handler == SIG_DFL);
}

static volatile int tid;

static int thread(void *arg)
{
  (void)arg;
  close(10);
  dup2(1, 11);
  int fd = open("two", O_RDONLY);
  dup2(fd, 12);
  show_number("thread", 12);
  syscall(SYS_exit, 0);
  return 0;
}

static void own_descriptors(void)
{
  say("-- a thread with descriptors of its own");
  small("one", O_RDONLY, 10);
  small("one", O_RDONLY, 12);
  tid = 1;
  int flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_CHILD_CLEARTID;
  if (clone(thread, stack[1] + sizeof stack[1], flags, 0, 0, 0, &tid) < 0)
    show("thread", -1);
  while (tid)
    sched_yield();
  show_number("parent", 10);
  show_number("parent", 11);
  show_number("parent", 12);
}

int main(void)
{
  make("one", "one's");
  make("two", "two's");
  make("three", "three's");
  mkdir("sub", 0700);
  make("sub/inner", "inner's");
  getcwd(dir, sizeof dir);
  together("descriptors", CLONE_FILES);
  together("descriptors and memory", CLONE_FILES | CLONE_VM);
  over_exec();
  handlers();
  own_descriptors();
  return 0;
}
