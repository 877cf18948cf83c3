/* Times of files: utimensat, futimens, utimes, utime, and the ones that follow from use. */
#include "t.h"
#include <sys/time.h>
#include <utime.h>

static void times(const char *path)
{
  struct stat st;
  lstat(path, &st);
  say("%s: %ld.%09ld %ld.%09ld", path, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* One of the two at a time; the times have been asked for before. */
static void each_alone(const char *path, struct timespec *ts)
{
  struct timespec one[2] = {ts[0], {0, UTIME_OMIT}}, other[2] = {{0, UTIME_OMIT}, ts[1]}, none[2] = {other[0], one[1]};
  struct stat st;
  stat(path, &st);
  T(utimensat(AT_FDCWD, path, ts, 0));
  times(path);
  one[0].tv_sec++;
  T(utimensat(AT_FDCWD, path, one, 0));
  times(path);
  other[1].tv_sec += 2;
  T(utimensat(AT_FDCWD, path, other, 0));
  times(path);
  T(utimensat(AT_FDCWD, path, none, 0));
  times(path);
  int fd = open(path, O_RDONLY);
  fstat(fd, &st);
  one[0].tv_sec++;
  T(futimens(fd, one));
  fstat(fd, &st);
  T(st.st_atime);
  times(path);
  close(fd);
}

int main(void)
{
  make("f", "x");
  symlink("f", "l");
  struct timespec ts[2] = {{1000000000, 123456789}, {1200000000, 987654321}};
  T(utimensat(AT_FDCWD, "f", ts, 0));
  times("f");
  ts[0].tv_nsec = UTIME_OMIT;
  ts[1].tv_sec = 5;
  T(utimensat(AT_FDCWD, "f", ts, 0));
  times("f");
  ts[0].tv_nsec = 0;
  T(utimensat(AT_FDCWD, "l", ts, AT_SYMLINK_NOFOLLOW));
  times("l");
  times("f");
  ts[1].tv_nsec = 1000000000;
  T(utimensat(AT_FDCWD, "f", ts, 0));
  T(utimensat(AT_FDCWD, "absent", 0, 0));
  int fd = open("f", O_RDWR);
  ts[1].tv_nsec = 7;
  T(futimens(fd, ts));
  times("f");
  struct timeval tv[2] = {{11, 22}, {33, 44}};
  T(utimes("f", tv));
  times("f");
  struct utimbuf ub = {100, 200};
  T(utime("f", &ub));
  times("f");
  struct stat st;
  T(write(fd, "y", 1));
  fstat(fd, &st);
  YES(st.st_mtime > 1500000000);
  T(utimensat(AT_FDCWD, "f", 0, 0));
  stat("f", &st);
  YES(labs((long)(time(0) - st.st_mtime)) < 5);
  ts[0].tv_sec = ts[1].tv_sec = -100;
  T(utimensat(AT_FDCWD, "f", ts, 0));
  times("f");
  struct timespec known[2] = {{1900000000, 5}, {1950000000, 6}};
  make("g", "");
  each_alone("g", known);
  mkdir("d", 0755);
  each_alone("d", known);
  return 0;
}
