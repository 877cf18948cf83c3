/* Ends of multi-threaded processes: exit from another thread, exec from one, the leader leaving first. */
#include "t.h"
#include <pthread.h>

static void *leave(void *arg)
{
  sleep_ms(20);
  if (arg)
    execl("/bin/sh", "sh", "-c", "echo exec from a thread; exit 8", (char *)0);
  exit(6);
}

static void *last(void *arg)
{
  (void)arg;
  sleep_ms(30);
  say("the last thread");
  return 0;
}

static void run(int how)
{
  pthread_t t;
  pthread_create(&t, 0, how == 2 ? last : leave, how == 1 ? "x" : 0);
  if (how == 2)
    pthread_exit(0);
  pause();
}

int main(void)
{
  const char *names[] = {"exit in a thread", "exec in a thread", "the leader first"};
  for (int how = 0; how < 3; how++) {
    pid_t pid = fork();
    if (!pid)
      run(how);
    wait_for(pid, names[how]);
  }
  return 0;
}
