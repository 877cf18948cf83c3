/* process_vm_readv, process_vm_writev, kcmp, process_madvise, process_mrelease, prlimit of another process. */
#include "t.h"
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

static char shared_name[64] = "before";

static long compare(pid_t a, pid_t b, int type, unsigned long x, unsigned long y)
{
  return syscall(SYS_kcmp, a, b, type, x, y);
}

static void limits(pid_t pid)
{
  struct rlimit r, old;
  T(prlimit(pid, RLIMIT_NOFILE, 0, &r));
  struct rlimit mine;
  getrlimit(RLIMIT_NOFILE, &mine);
  YES(r.rlim_cur == mine.rlim_cur && r.rlim_max == mine.rlim_max);
  r.rlim_cur = 64;
  T(prlimit(pid, RLIMIT_NOFILE, &r, &old));
  YES(old.rlim_cur == mine.rlim_cur);
  T(prlimit(pid, RLIMIT_NOFILE, 0, &r));
  T(r.rlim_cur);
  r = (struct rlimit){12345678, 12345678};
  T(prlimit(pid, RLIMIT_CORE, &(struct rlimit){4096, 8192}, 0));
  T(prlimit(pid, RLIMIT_CORE, 0, &r));
  say("%lu %lu", r.rlim_cur, r.rlim_max);
  T(prlimit(pid, 99, 0, &r));
  T(prlimit(-1, RLIMIT_CORE, 0, &r));
}

int main(void)
{
  int to[2], from[2];
  char c, text[64] = "", more[8] = "after";
  pipe(to);
  pipe(from);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  make("f", "contents");
  int fd = open("f", O_RDONLY), same = dup(fd), other = open("f", O_RDONLY);
  pid_t pid = fork();
  if (!pid) {
    struct rlimit r;
    strcpy(shared_name, "the child's");
    write(from[1], "x", 1);
    read(to[0], &c, 1);
    say("child has %s", shared_name);
    getrlimit(RLIMIT_NOFILE, &r);
    say("its limit is %lu", r.rlim_cur);
    T(dup2(1, 64));
    _exit(0);
  }
  read(from[0], &c, 1);
  struct iovec mine = {text, 32}, theirs = {shared_name, 32};
  T(process_vm_readv(pid, &mine, 1, &theirs, 1, 0));
  say("%s", text);
  mine = (struct iovec){more, 6};
  T(process_vm_writev(pid, &mine, 1, &theirs, 1, 0));
  theirs.iov_base = (void *)8;
  T(process_vm_readv(pid, &mine, 1, &theirs, 1, 0));
  T(process_vm_readv(pid, &mine, 1, &theirs, 1, 1));
  T(compare(getpid(), pid, KCMP_VM, 0, 0) != 0);
  T(compare(getpid(), getpid(), KCMP_VM, 0, 0));
  T(compare(getpid(), pid, KCMP_FILE, (unsigned long)fd, (unsigned long)fd));
  T(compare(getpid(), getpid(), KCMP_FILE, (unsigned long)fd, (unsigned long)same));
  T(compare(getpid(), getpid(), KCMP_FILE, (unsigned long)fd, (unsigned long)other) != 0);
  T(compare(getpid(), getpid(), KCMP_FILE, 999, 0));
  limits(pid);
  write(to[1], "x", 1);
  wait_for(pid, "child");
  char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(p, 'x', 8192);
  struct iovec range = {p, 8192};
  int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
  T(syscall(SYS_process_madvise, self, &range, 1, MADV_COLD, 0));
  T(syscall(SYS_process_madvise, self, &range, 1, 9999, 0));
  T(syscall(SYS_process_mrelease, self, 0));
  return 0;
}
