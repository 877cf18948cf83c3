/* Processes and threads that all create, read, rename and remove files at once; the counts must come out right. */
#include "t.h"
#include <dirent.h>
#include <pthread.h>

static int process;

static void *work(void *arg)
{
  char a[64], b[64], buf[64];
  long bad = 0;
  for (int i = 0; i < 40; i++) {
    snprintf(a, sizeof a, "d/%d-%ld-%d", process, (long)arg, i);
    snprintf(b, sizeof b, "%s.new", a);
    make(a, a);
    bad += rename(a, b) != 0;
    int fd = open(b, O_RDONLY);
    ssize_t n = read(fd, buf, sizeof buf);
    bad += n != (ssize_t)strlen(a) || memcmp(buf, a, (size_t)n) != 0;
    close(fd);
    if (i % 4)
      bad += unlink(b) != 0;
  }
  return (void *)bad;
}

static void child(int n)
{
  pthread_t t[4];
  long bad = 0;
  process = n;
  for (long i = 0; i < 4; i++)
    pthread_create(&t[i], 0, work, (void *)i);
  for (int i = 0; i < 4; i++) {
    void *r;
    pthread_join(t[i], &r);
    bad += (long)r;
  }
  _exit(bad > 255 ? 255 : (int)bad);
}

int main(void)
{
  int status, bad = 0, left = 0;
  mkdir("d", 0755);
  for (int i = 0; i < 4; i++)
    if (!fork())
      child(i);
  while (wait(&status) > 0)
    bad += status != 0;
  T(bad);
  DIR *d = opendir("d");
  for (struct dirent *e; (e = readdir(d));)
    left += e->d_name[0] != '.';
  closedir(d);
  T(left);
  return 0;
}
