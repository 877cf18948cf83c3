/*
 * Ends every program of a session, whoever its parent is.
 *
 * Owns nothing. Must never signal a process whose executable it has not just seen to be the session's agent.
 */
#include "base/killall.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOKS_MAX 1000 /* against a program that forks as fast as we look */

static bool belongs(const char *pid, const char *want)
{
  char path[64], exe[128];
  snprintf(path, sizeof path, "/proc/%.20s/exe", pid);
  ssize_t n = readlink(path, exe, sizeof exe - 1);
  if (n < 0)
    return false;
  exe[n] = 0;
  return !strcmp(exe, want);
}

/* By pidfd, and looked at again through it: the number may have passed to another process meanwhile. */
static bool kill_one(const char *pid, const char *want)
{
  int fd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
  bool ours = fd >= 0 && belongs(pid, want);
  if (ours)
    syscall(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0);
  if (fd >= 0)
    close(fd);
  return ours;
}

static int kill_all(uint64_t id)
{
  char want[96];
  int found = 0;
  snprintf(want, sizeof want, "/memfd:" AGENT_NAME_FORMAT " (deleted)", (unsigned long)id);
  DIR *proc = opendir("/proc");
  if (!proc)
    return 0;
  for (struct dirent *d; (d = readdir(proc));)
    if (d->d_name[0] >= '1' && d->d_name[0] <= '9' && belongs(d->d_name, want))
      found += kill_one(d->d_name, want);
  closedir(proc);
  return found;
}

int killall_session(uint64_t id)
{
  int told = 0;
  for (int i = 0; i < LOOKS_MAX; i++) {
    int now = kill_all(id);
    if (!now)
      break;
    told += now;
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, 0);
  }
  return told;
}
