/* flock: shared, exclusive, inherited, released at the last close, waited for. */
#include "t.h"
#include <sys/file.h>

int main(void)
{
  make("f", "");
  int a = open("f", O_RDWR), b = open("f", O_RDWR);
  T(flock(a, LOCK_SH));
  T(flock(b, LOCK_SH));
  T(flock(b, LOCK_EX | LOCK_NB));
  T(flock(a, LOCK_UN));
  T(flock(b, LOCK_EX | LOCK_NB));
  T(flock(a, LOCK_SH | LOCK_NB));
  int d = dup(b);
  T(close(b));
  T(flock(a, LOCK_SH | LOCK_NB));
  T(flock(d, LOCK_EX | LOCK_NB));
  T(close(d));
  T(flock(a, LOCK_EX | LOCK_NB));
  T(flock(a, 77));
  T(flock(-1, LOCK_EX));
  int ready[2];
  pipe(ready);
  pid_t pid = fork();
  if (!pid) {
    int mine = open("f", O_RDWR);
    say("child: %d", flock(mine, LOCK_EX | LOCK_NB));
    write(ready[1], "x", 1);
    say("child waits: %d", flock(mine, LOCK_EX));
    _exit(0);
  }
  char c;
  read(ready[0], &c, 1);
  sleep_ms(50);
  say("parent releases");
  flock(a, LOCK_UN);
  wait_for(pid, "child");
  return 0;
}
