/*
 * What the test programs print with. Every line goes out by one write, so that forked children do not repeat it.
 *
 * A program shows results, errno names and what is left; nothing that differs from run to run: no process or inode
 * numbers, no times of day. It runs in an empty directory of its own; native output is what every other way of running
 * it is compared with.
 */
#ifndef T_H
#define T_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
  char line[4096];
  va_list ap;
  va_start(ap, format);
  int n = vsnprintf(line, sizeof line - 1, format, ap);
  va_end(ap);
  if (n > (int)sizeof line - 2)
    n = (int)sizeof line - 2;
  line[n++] = '\n';
  if (write(1, line, (size_t)n) != n)
    _exit(99);
}

static inline const char *err_name(int e)
{
#ifdef __GLIBC__
  const char *name = strerrorname_np(e);
  return name ? name : "?";
#else
  return strerror(e);
#endif
}

static inline long show(const char *what, long result)
{
  if (result == -1)
    say("%s = -1 %s", what, err_name(errno));
  else
    say("%s = %ld", what, result);
  return result;
}
/* A call whose result is the same every time. */
#define T(call) show(#call, (long)(call))

/* A call whose result is a descriptor or another number that may differ: only success or the error is shown. */
static inline long show_ok(const char *what, long result)
{
  if (result == -1)
    say("%s = -1 %s", what, err_name(errno));
  else
    say("%s: ok", what);
  return result;
}
#define OK(call) show_ok(#call, (long)(call))

#define YES(condition) say("%s: %s", #condition, (condition) ? "yes" : "no")

static inline void show_stat_buf(const char *what, const struct stat *st)
{
  const char *type = S_ISREG(st->st_mode)    ? "file"
                     : S_ISDIR(st->st_mode)  ? "directory"
                     : S_ISLNK(st->st_mode)  ? "link"
                     : S_ISFIFO(st->st_mode) ? "fifo"
                     : S_ISCHR(st->st_mode)  ? "device"
                     : S_ISSOCK(st->st_mode) ? "socket"
                                             : "other";
  say("%s: %s %04o links %d size %ld %s", what, type, st->st_mode & 07777, S_ISDIR(st->st_mode) ? 0 : (int)st->st_nlink,
      S_ISDIR(st->st_mode) ? 0L : (long)st->st_size, st->st_uid == geteuid() ? "mine" : "other's");
}

static inline void show_stat(const char *path)
{
  struct stat st;
  if (lstat(path, &st))
    show(path, -1);
  else
    show_stat_buf(path, &st);
}

/* A file with these contents. */
static inline void make(const char *path, const char *contents)
{
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  size_t n = strlen(contents);
  if (fd < 0 || write(fd, contents, n) != (ssize_t)n || close(fd))
    show(path, -1);
}

/* The first 200 bytes of a file, escaped. */
static inline void show_fd(const char *what, int fd)
{
  unsigned char in[200];
  char out[sizeof in * 4 + 1];
  ssize_t n = pread(fd, in, sizeof in, 0);
  int at = 0;
  if (n < 0) {
    show(what, -1);
    return;
  }
  for (ssize_t i = 0; i < n; i++)
    at += snprintf(out + at, sizeof out - (size_t)at, in[i] >= ' ' && in[i] < 127 ? "%c" : "\\%03o", in[i]);
  out[at] = 0;
  say("%s: %ld bytes \"%s\"", what, (long)n, out);
}

static inline void show_file(const char *path)
{
  int fd = open(path, O_RDONLY);
  if (fd < 0) {
    show(path, -1);
    return;
  }
  show_fd(path, fd);
  close(fd);
}

static inline void show_status(const char *what, int status)
{
  if (WIFEXITED(status))
    say("%s: exited %d", what, WEXITSTATUS(status));
  else if (WIFSIGNALED(status))
    say("%s: killed by %d", what, WTERMSIG(status));
  else if (WIFSTOPPED(status))
    say("%s: stopped by %d", what, WSTOPSIG(status));
  else
    say("%s: continued", what);
}

/* True if the kernel is at least that new. Some calls work on the other side although the kernel here has none of them:
   such a test is no test where the native run cannot be the oracle. */
static inline bool kernel_has(int major, int minor)
{
  struct utsname u;
  int a = 0, b = 0;
  uname(&u);
  sscanf(u.release, "%d.%d", &a, &b);
  if (a > major || (a == major && b >= minor))
    return true;
  say("needs Linux %d.%d", major, minor);
  return false;
}

static inline void wait_for(pid_t pid, const char *what)
{
  int status;
  if (waitpid(pid, &status, 0) != pid)
    show(what, -1);
  else
    show_status(what, status);
}

static inline void sleep_ms(long ms)
{
  struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&ts, &ts) && errno == EINTR)
    ;
}

#endif
