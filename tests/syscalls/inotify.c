/* inotify on directories and files, here and in $TMPDIR, which may lie elsewhere: events, masks, names, cookies;
   polling, waiting, sharing; watches that end; the queue that runs over. */
#include "t.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

/* Opening, reading and closing what was only read are left out: how often a file is read is nobody's contract. */
#define MASK (IN_ALL_EVENTS & ~(uint32_t)(IN_ACCESS | IN_OPEN | IN_CLOSE_NOWRITE))

static struct {
  int wd;
  const char *what;
} names[16];
static unsigned nnames;

static const char *name_of(int wd)
{
  for (unsigned i = nnames; i > 0; i--)
    if (names[i - 1].wd == wd)
      return names[i - 1].what;
  return wd == -1 ? "none" : "unknown";
}

static int watch(int fd, const char *path, uint32_t mask, const char *what)
{
  int wd = inotify_add_watch(fd, path, mask);
  if (wd < 0) {
    show(what, wd);
    return wd;
  }
  say("%s: watched", what);
  names[nnames].wd = wd;
  names[nnames++].what = what;
  return wd;
}

static uint32_t cookies[64];
static unsigned ncookies;

static unsigned cookie_index(uint32_t cookie)
{
  unsigned i = 0;
  if (!cookie)
    return 0;
  while (i < ncookies && cookies[i] != cookie)
    i++;
  if (i == ncookies)
    cookies[ncookies++] = cookie;
  return i + 1;
}

static void show_events(const char *buf, ssize_t n)
{
  for (ssize_t at = 0; at < n;) {
    struct inotify_event e;
    memcpy(&e, buf + at, sizeof e);
    say("  %s mask %x cookie %u name '%s'", name_of(e.wd), e.mask, cookie_index(e.cookie),
        e.len ? buf + at + sizeof e : "");
    at += (ssize_t)(sizeof e + e.len);
  }
}

/* Everything that is there; the descriptor does not block. */
static void drain(int fd, const char *what)
{
  char buf[65536];
  ssize_t n;
  say("%s:", what);
  while ((n = read(fd, buf, sizeof buf)) > 0)
    show_events(buf, n);
  if (errno != EAGAIN)
    show("read", n);
}

static void in_directory(int fd)
{
  watch(fd, ".", MASK, "dir");
  make("a", "text");
  drain(fd, "made");
  make("a", "other");
  chmod("a", 0600);
  truncate("a", 2);
  drain(fd, "written, mode, cut");
  mkdir("sub", 0755);
  symlink("a", "l");
  link("a", "hard");
  mknod("fifo", S_IFIFO | 0600, 0);
  drain(fd, "directory, links, fifo");
  rename("a", "b");
  rename("b", "sub/b");
  rename("sub/b", "a");
  drain(fd, "renamed");
  unlink("hard");
  unlink("l");
  unlink("fifo");
  rmdir("sub");
  drain(fd, "removed");
  int held = open("a", O_WRONLY);
  write(held, "1", 1);
  drain(fd, "written, open");
  close(held);
  drain(fd, "closed");
}

static void of_file(int fd)
{
  make("f", "1");
  int wd = watch(fd, "f", MASK, "file");
  link("f", "g");
  drain(fd, "before");
  YES(inotify_add_watch(fd, "g", MASK) == wd);
  YES(inotify_add_watch(fd, "./f", MASK) == wd);
  int w = open("g", O_WRONLY | O_APPEND);
  write(w, "2", 1);
  close(w);
  drain(fd, "written by its other name");
  rename("f", "h");
  unlink("g");
  unlink("h");
  drain(fd, "its end");
  T(inotify_rm_watch(fd, wd));
}

static void flags(int fd)
{
  mkdir("d", 0755);
  symlink("d", "link");
  symlink("nowhere", "dangling");
  make("plain", "");
  drain(fd, "before");
  T(inotify_add_watch(fd, "plain", MASK | IN_ONLYDIR));
  T(inotify_add_watch(fd, "none", MASK));
  T(inotify_add_watch(fd, "dangling", MASK));
  T(inotify_add_watch(fd, "plain/x", MASK));
  T(inotify_add_watch(fd, "", MASK));
  T(inotify_add_watch(fd, (char *)8, MASK));
  T(inotify_add_watch(fd, "d", 0));
  T(inotify_add_watch(1, "d", MASK));
  T(inotify_add_watch(-1, "d", MASK));
  int once = watch(fd, "d", IN_CREATE | IN_ONESHOT, "once");
  make("d/1", "");
  make("d/2", "");
  drain(fd, "one shot");
  T(inotify_rm_watch(fd, once));
  int wd = watch(fd, "link", IN_CREATE, "through a link");
  YES(inotify_add_watch(fd, "d", IN_DELETE | IN_MASK_ADD) == wd);
  make("d/3", "");
  unlink("d/3");
  drain(fd, "mask added");
  YES(inotify_add_watch(fd, "d", IN_DELETE) == wd);
  make("d/3", "");
  unlink("d/3");
  drain(fd, "mask replaced");
  T(inotify_add_watch(fd, "d", IN_DELETE | IN_MASK_CREATE));
  T(inotify_add_watch(fd, "d", IN_DELETE | IN_MASK_CREATE | IN_MASK_ADD));
  int itself = watch(fd, "link", IN_DELETE_SELF | IN_ATTRIB | IN_DONT_FOLLOW, "the link");
  YES(itself != wd);
  unlink("link");
  drain(fd, "link removed");
  T(inotify_rm_watch(fd, wd));
  make("d/4", "");
  drain(fd, "watch removed");
  T(inotify_rm_watch(fd, wd));
  T(inotify_rm_watch(fd, 12345));
  T(inotify_rm_watch(fd, -1));
  T(inotify_rm_watch(1, 1));
  T(inotify_init1(1));
}

static int poll_in(int fd, int ms)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int r = poll(&p, 1, ms);
  return r <= 0 ? r : p.revents;
}

static void polls(int fd)
{
  char buf[4096];
  int n, ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN}, got;
  epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
  T(poll_in(fd, 0));
  T(epoll_wait(ep, &got, 1, 0));
  make("p", "");
  T(poll_in(fd, 0));
  T(poll_in(fd, 1000));
  T(epoll_wait(ep, &got, 1, 1000));
  T(read(fd, buf, 8));
  T(read(fd, buf, sizeof(struct inotify_event)));
  T(ioctl(fd, FIONREAD, &n));
  T(n);
  T(read(fd, buf, sizeof(struct inotify_event) + 16));
  T(poll_in(fd, 1000));
  T(epoll_wait(ep, &got, 1, 1000));
  drain(fd, "polled");
  T(poll_in(fd, 0));
  T(epoll_wait(ep, &got, 1, 0));
  pid_t pid = fork();
  if (!pid) {
    sleep_ms(50);
    _exit(unlink("p"));
  }
  T(epoll_wait(ep, &got, 1, 5000));
  wait_for(pid, "child");
  drain(fd, "by a child");
  T(write(fd, "x", 1));
  T(pread(fd, buf, sizeof buf, 0));
  close(ep);
}

static void nothing(int sig)
{
  (void)sig;
}

static void blocks(int fd)
{
  char buf[4096];
  fcntl(fd, F_SETFL, 0);
  pid_t pid = fork();
  if (!pid) {
    sleep_ms(50);
    _exit(mkdir("later", 0755));
  }
  show_events(buf, T(read(fd, buf, sizeof buf)));
  wait_for(pid, "child");
  struct sigaction sa = {.sa_handler = nothing};
  sigaction(SIGALRM, &sa, 0);
  ualarm(50000, 0);
  T(read(fd, buf, sizeof buf));
  pid = fork();
  if (!pid) {
    show_events(buf, T(read(fd, buf, sizeof buf)));
    _exit(0);
  }
  sleep_ms(50);
  rmdir("later");
  wait_for(pid, "reader");
  int copy = dup(fd);
  fcntl(copy, F_SETFL, O_NONBLOCK);
  T(fcntl(fd, F_GETFL));
  T(read(fd, buf, sizeof buf));
  close(copy);
}

static void in_tmp(int fd)
{
  char dir[4096], path[5000], other[5000];
  snprintf(dir, sizeof dir, "%s/inotify-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  if (!mkdtemp(dir)) {
    show("mkdtemp", -1);
    return;
  }
  int wd = watch(fd, dir, MASK, "elsewhere");
  snprintf(path, sizeof path, "%s/x", dir);
  snprintf(other, sizeof other, "%s/y", dir);
  make(path, "1");
  drain(fd, "there");
  rename(path, other);
  drain(fd, "renamed there");
  rename("a", "z");
  drain(fd, "renamed here");
  make(path, "2");
  T(poll_in(fd, 1000));
  T(poll_in(fd, 0));
  drain(fd, "polled there");
  T(poll_in(fd, 0));
  int n;
  mkdir("m", 0755);
  unlink(path);
  T(ioctl(fd, FIONREAD, &n));
  YES(n == 2 * (16 + 16));
  char buf[4096];
  T(read(fd, buf, sizeof buf)); /* from two places, in whatever order */
  unlink(other);
  T(inotify_rm_watch(fd, wd));
  drain(fd, "removed there");
  T(inotify_rm_watch(fd, wd));
  rmdir(dir);
  rmdir("m");
  rename("z", "a");
  drain(fd, "tidied");
}

static void overflow(void)
{
  static char buf[1 << 20];
  int fd = inotify_init1(IN_NONBLOCK), a = open("a", O_WRONLY), b = open("plain", O_WRONLY);
  inotify_add_watch(fd, "a", IN_MODIFY);
  inotify_add_watch(fd, "plain", IN_MODIFY);
  for (int i = 0; i < 10000; i++) {
    pwrite(a, "x", 1, 0);
    pwrite(b, "x", 1, 0);
  }
  struct inotify_event last = {0};
  long count = 0;
  ssize_t n;
  while ((n = read(fd, buf, sizeof buf)) > 0) {
    count += n / (ssize_t)sizeof last;
    memcpy(&last, buf + n - sizeof last, sizeof last);
  }
  YES(last.wd == -1 && last.mask == IN_Q_OVERFLOW && last.len == 0);
  YES(count > 1000 && count < 20000);
  close(fd);
  close(a);
  close(b);
}

/* Nobody but the program itself opens and reads what it watches. */
static void opens(int fd)
{
  struct stat st;
  mkdir("quiet", 0755);
  make("quiet/f", "x");
  T(inotify_add_watch(fd, "quiet", IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE) > 0);
  T(stat("quiet/f", &st));
  T(stat("quiet/absent", &st));
  T(access("quiet/other", F_OK));
  make("quiet/new", "");
  close(open("quiet/f", O_RDONLY));
  drain(fd, "opens");
  unlink("quiet/f");
  unlink("quiet/new");
  rmdir("quiet");
  drain(fd, "gone");
}

int main(void)
{
  int fd = (int)OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  T(fcntl(fd, F_GETFD));
  T(fcntl(fd, F_GETFL));
  drain(fd, "nothing");
  in_directory(fd);
  of_file(fd);
  flags(fd);
  polls(fd);
  blocks(fd);
  in_tmp(fd);
  opens(fd);
  overflow();
  T(close(fd));
  T(read(fd, &fd, sizeof fd));
  return 0;
}
