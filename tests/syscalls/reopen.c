/* Small files and directories that are opened again and again: every opening is an open file of its own, and whatever
   is done with it later works as if it had been the first. */
#include <dirent.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "t.h"

static char buf[64];

/* What is read next, as text. */
static void next(const char *what, int fd, size_t n)
{
  ssize_t r = read(fd, buf, n);
  if (r < 0)
    say("%s: %s", what, err_name(errno));
  else
    say("%s: \"%.*s\"", what, (int)r, buf);
}

static void put(const char *name, const char *text)
{
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  write(fd, text, strlen(text));
  close(fd);
}

/* Opened so often that whoever remembers contents does. */
static int again(const char *name)
{
  for (int i = 0; i < 3; i++) {
    int fd = open(name, O_RDONLY);
    read(fd, buf, sizeof buf);
    close(fd);
  }
  return open(name, O_RDONLY);
}

static void offsets(void)
{
  struct stat st;
  int a = again("f"), b = open("f", O_RDONLY | O_CLOEXEC), c = dup(a), d = fcntl(a, F_DUPFD_CLOEXEC, 50);
  next("one", a, 4);
  next("another", b, 2);
  next("its duplicate", c, 3);
  next("the other duplicate", d, 3);
  T(lseek(a, 1, SEEK_SET));
  T(lseek(d, 0, SEEK_CUR));
  T(lseek(a, -2, SEEK_END));
  T(lseek(a, -99, SEEK_CUR));
  T(lseek(a, 2, SEEK_DATA));
  T(lseek(a, 2, SEEK_HOLE));
  T(pread(a, buf, 5, 3));
  T(pread(a, buf, 5, -1));
  T(pread(a, buf, 5, 1000));
  T(read(a, (void *)8, 5));
  T(write(a, "x", 1));
  T(ftruncate(a, 3));
  T(fcntl(a, F_GETFD));
  T(fcntl(b, F_GETFD));
  T(fcntl(a, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND));
  T(fcntl(a, F_SETFL, O_NONBLOCK));
  T(fcntl(c, F_GETFL) & O_NONBLOCK);
  T(fstat(a, &st));
  T(st.st_size);
  T(close(a));
  next("a duplicate alone", c, 5);
  T(dup2(b, c));
  T(lseek(c, 0, SEEK_CUR));
  T(close(b));
  T(close(c));
  T(close(d));
  T(close(c));
}

static void shared(void)
{
  int status, a = again("f");
  next("before the fork", a, 3);
  if (!fork()) {
    next("in the child", a, 3);
    _exit(0);
  }
  wait(&status);
  next("after it", a, 3);
  int b = again("f"), c = open("f", O_RDONLY);
  T(flock(b, LOCK_EX));
  T(flock(c, LOCK_EX | LOCK_NB));
  T(close(b));
  T(flock(c, LOCK_EX | LOCK_NB));
  struct pollfd p = {.fd = c, .events = POLLIN};
  T(poll(&p, 1, 0));
  T(p.revents);
  close(a);
  close(c);
}

static void passed(void)
{
  int pair[2], a = again("f");
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec v = {buf, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(h), &a, sizeof a);
  T(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  next("before it is passed", a, 2);
  T(sendmsg(pair[0], &m, 0));
  T(recvmsg(pair[1], &m, 0));
  int b;
  memcpy(&b, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof b);
  next("what was passed", b, 3);
  next("the one that was", a, 3);
  close(a);
  close(b);
}

static void changed(void)
{
  struct stat st;
  int a = again("f"), w = open("f", O_WRONLY);
  next("before the change", a, 4);
  T(pwrite(w, "WRITTEN", 7, 3));
  next("behind it", a, 20);
  T(ftruncate(w, 2));
  T(lseek(a, 0, SEEK_END));
  T(pread(a, buf, 20, 0));
  T(fstat(a, &st));
  T(st.st_size);
  close(a);
  put("f", "what it held at last");
  a = again("f");
  T(unlink("f"));
  next("removed", a, 7);
  T(fstat(a, &st));
  T(st.st_nlink);
  close(a);
  T(open("f", O_RDONLY));
  put("f", "the new one");
  put("g", "the old one");
  a = again("g");
  T(rename("f", "g"));
  next("replaced", a, 20);
  int b = open("g", O_RDONLY);
  next("in its place", b, 20);
  T(fchmod(a, 0600));
  close(a);
  close(b);
  close(w);
}

static void mapped(void)
{
  int a = again("g");
  char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, a, 0);
  YES(p != MAP_FAILED);
  say("mapped: %.7s", p);
  p[0] = 'T';
  next("not changed by that", a, 3);
  char *q = mmap(0, 4096, PROT_READ, MAP_SHARED, a, 0);
  YES(q != MAP_FAILED);
  say("shared: %.7s", q);
  YES(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0) == MAP_FAILED);
  close(a);
  say("still mapped: %.7s %.7s", p, q);
}

static int names(DIR *d)
{
  int n = 0;
  while (readdir(d))
    n++;
  return n;
}

static void directories(void)
{
  mkdir("d", 0755);
  put("d/x", "x of d");
  put("d/y", "y");
  for (int i = 0; i < 3; i++)
    closedir(opendir("d"));
  DIR *d = opendir("d");
  T(names(d));
  T(names(d));
  rewinddir(d);
  T(names(d));
  put("d/z", "z");
  rewinddir(d);
  T(names(d));
  rewinddir(d);
  readdir(d);
  long here = telldir(d);
  int rest = names(d);
  seekdir(d, here);
  YES(names(d) == rest);
  int x = openat(dirfd(d), "x", O_RDONLY);
  next("by its directory", x, 20);
  int up = openat(dirfd(d), "../g", O_RDONLY);
  next("by way of it", up, 20);
  T(read(dirfd(d), buf, 1));
  T(faccessat(dirfd(d), "none", F_OK, 0));
  T(renameat(dirfd(d), "y", dirfd(d), "w"));
  T(fchdir(dirfd(d)));
  T(access("w", F_OK));
  T(chdir(".."));
  T(rename("d", "e"));
  T(faccessat(dirfd(d), "w", F_OK, 0));
  T(openat(dirfd(d), "y", O_RDONLY));
  int z = openat(dirfd(d), "z", O_RDONLY);
  next("under its new name", z, 5);
  closedir(d);
  close(x);
  close(up);
  close(z);
}

static void executed(const char *self)
{
  int status, a = again("g"), b = open("g", O_RDONLY | O_CLOEXEC);
  char number[2][12];
  next("before exec", a, 4);
  snprintf(number[0], sizeof number[0], "%d", a);
  snprintf(number[1], sizeof number[1], "%d", b);
  fflush(stdout);
  if (!vfork()) {
    execl(self, self, number[0], number[1], (char *)0);
    _exit(9);
  }
  wait(&status);
  show_status("exec", status);
  next("after it", a, 20);
}

int main(int argc, char **argv)
{
  if (argc > 2) {
    next("inherited", atoi(argv[1]), 4);
    next("closed", atoi(argv[2]), 4);
    return 0;
  }
  put("f", "0123456789 and more");
  offsets();
  shared();
  passed();
  changed();
  mapped();
  directories();
  executed(argv[0]);
  return 0;
}
