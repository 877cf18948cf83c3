/*
 * Programs that are hard on the interception: each case is a subcommand, run natively and in other ways by the script
 * `torture', with equal output. In an empty directory; prints nothing that differs from run to run.
 */
#include "../syscalls/t.h"

#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdatomic.h>
#include <dirent.h>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>

extern char **environ;
static char self[4096];
static atomic_int bad, done;

static void wrong(const char *what)
{
  if (bad++ < 5)
    say("wrong: %s (%s)", what, err_name(errno));
}

/* One file made, read and removed; its contents must be its own. */
static void file_work(const char *name)
{
  char in[128] = "";
  int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  size_t n = strlen(name);
  if (fd < 0 || write(fd, name, n) != (ssize_t)n || pread(fd, in, sizeof in, 0) != (ssize_t)n || strcmp(in, name))
    wrong(name);
  if (close(fd) || unlink(name))
    wrong(name);
}

static void worker_of(int n, void *(*f)(void *), pthread_t *t)
{
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 128 << 10);
  for (long i = 0; i < n; i++)
    if ((errno = pthread_create(&t[i], &small, f, (void *)i)))
      wrong("pthread_create");
}

static void join_all(int n, pthread_t *t)
{
  for (int i = 0; i < n; i++)
    pthread_join(t[i], 0);
}

/* Four do their work while others are busy, and then those end, too. */
static void among(int nbusy, void *(*busy)(void *), void *(*work)(void *))
{
  pthread_t t[4], b[4];
  worker_of(nbusy, busy, b);
  worker_of(4, work, t);
  join_all(4, t);
  done = 1;
  join_all(nbusy, b);
}

static int reap(void)
{
  int status, n = 0;
  while (wait(&status) > 0) {
    n++;
    if (status)
      show_status("a child", status), bad++;
  }
  return n;
}

/* ---- a thousand at once ---- */
static void case_many(void)
{
  int go[2], forked = 0;
  char byte;
  pipe(go);
  for (int i = 0; i < 1000; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      char name[32];
      close(go[1]);
      read(go[0], &byte, 1);
      snprintf(name, sizeof name, "many.%d", i);
      file_work(name);
      _exit(bad != 0);
    }
    forked += pid > 0;
  }
  close(go[0]);
  close(go[1]);
  T(forked);
  T(reap());
}

/* ---- forks that fork and execute, from threads, while others take the agent's locks ---- */
static void *busy_mapping(void *arg)
{
  (void)arg;
  while (!done) {
    void *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction sa = {.sa_handler = SIG_IGN};
    sigaction(SIGUSR2, &sa, 0);
    sigaction(SIGUSR2, 0, &sa);
    munmap(p, 65536);
  }
  return 0;
}

static void *forker(void *arg)
{
  int status;
  for (int i = 0; i < 25; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      pid_t inner = fork();
      if (inner == 0) {
        execl(self, self, "nothing", (char *)0);
        _exit(99);
      }
      _exit(waitpid(inner, &status, 0) == inner && status == 0 ? 7 : 98);
    }
    if (waitpid(pid, &status, 0) != pid || status != 7 << 8)
      show_status("forked", status), wrong("fork");
  }
  return arg;
}

static void case_storm(void)
{
  among(4, busy_mapping, forker);
}

/* ---- two hundred threads under signals ---- */
static volatile sig_atomic_t ticks;
static void tick(int s)
{
  (void)s;
  ticks++;
}

static void *files_for_a_while(void *arg)
{
  char name[64];
  for (int i = 0; i < 12; i++) {
    snprintf(name, sizeof name, "t%ld.%d", (long)arg, i);
    file_work(name);
  }
  return 0;
}

static void timer_every(long usec)
{
  struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
  struct itimerval every = {{0, usec}, {0, usec}};
  if (usec)
    sigaction(SIGALRM, &sa, 0);
  setitimer(ITIMER_REAL, &every, 0);
}

static pthread_t crowd[200];
static void *needler(void *arg)
{
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, 0);
  for (unsigned i = 0; !done; i++) {
    pthread_kill(crowd[i % 200], SIGUSR1);
    usleep(200);
  }
  return arg;
}

static void *held(void *arg)
{
  files_for_a_while(arg);
  while (!done)
    pause();
  return 0;
}

static int sub_is_empty(void)
{
  return rmdir("sub") == 0;
}

static void case_signals(void)
{
  struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
  pthread_t n;
  char name[64];
  sigaction(SIGUSR1, &sa, 0);
  mkdir("sub", 0700);
  chdir("sub");
  worker_of(200, held, crowd);
  pthread_create(&n, 0, needler, 0);
  timer_every(1000);
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "main.%d", i);
    file_work(name);
  }
  timer_every(0);
  done = 1;
  pthread_join(n, 0);
  for (int i = 0; i < 200; i++) {
    struct timespec soon;
    do {
      pthread_kill(crowd[i], SIGUSR1);
      clock_gettime(CLOCK_REALTIME, &soon);
      soon.tv_nsec += 2000000;
      soon.tv_sec += soon.tv_nsec / 1000000000, soon.tv_nsec %= 1000000000;
    } while (pthread_timedjoin_np(crowd[i], 0, &soon));
  }
  chdir("..");
  YES(ticks > 0);
  YES(sub_is_empty());
}

/* ---- descriptors opened, duplicated and closed by all ---- */
static void *fd_fighter(void *arg)
{
  unsigned seed = (unsigned)(long)arg + 1;
  char buf[16];
  for (int i = 0; i < 400; i++) {
    int r = rand_r(&seed), n = 10 + r / 8 % 30;
    int fd = r & 1 ? open("fight", O_RDONLY) : -1;
    switch (r >> 1 & 3) {
    case 0:
      close(n);
      break;
    case 1:
      fd >= 0 ? dup2(fd, n) : 0;
      break;
    case 2:
      pread(n, buf, sizeof buf, 0);
      break;
    default: {
      struct stat st;
      fstat(n, &st);
    }
    }
    if (fd >= 0 && (fd < 10 || fd >= 40))
      close(fd);
  }
  return 0;
}

static void case_fds(void)
{
  pthread_t t[8];
  make("fight", "some contents");
  worker_of(8, fd_fighter, t);
  join_all(8, t);
  for (int i = 3; i < 1000; i++)
    close(i);
  int fd = open("fight", O_RDONLY);
  T(fd);
  show_fd("fight", fd);
}

/* ---- exec from a thread while others work ---- */
static void *endless(void *arg)
{
  char name[64];
  for (int i = 0;; i++) {
    snprintf(name, sizeof name, "e%d.%ld.%d", getpid(), (long)arg, i);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    write(fd, name, 8);
    close(fd);
    unlink(name);
    if (i % 8 == 0) {
      pid_t pid = vfork();
      if (pid == 0)
        _exit(0);
      waitpid(pid, 0, 0);
    }
  }
  return arg;
}

static void *exec_here(void *arg)
{
  usleep(1000 + (useconds_t)(long)arg * 500);
  execl(self, self, "nothing", (char *)0);
  _exit(97);
}

static void clear_directory(void)
{
  DIR *d = opendir(".");
  for (struct dirent *e; d && (e = readdir(d));)
    unlink(e->d_name);
  closedir(d);
}

static void case_exec(void)
{
  mkdir("sub", 0700);
  chdir("sub");
  for (long i = 0; i < 20; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      pthread_t t[6], x;
      worker_of(6, endless, t);
      pthread_create(&x, 0, exec_here, (void *)i);
      for (;;)
        pause();
    }
    int status;
    waitpid(pid, &status, 0);
    if (status)
      show_status("exec from a thread", status), bad++;
  }
  clear_directory();
  chdir("..");
  YES(sub_is_empty());
}

/* ---- children in borrowed memory whose exec fails, while threads come and go ---- */
static void *idle(void *arg)
{
  char name[64];
  snprintf(name, sizeof name, "idle.%ld", (long)arg);
  access(name, F_OK);
  return arg;
}

static void *come_and_go(void *arg)
{
  while (!done) {
    pthread_t t;
    if (pthread_create(&t, 0, idle, arg) == 0)
      pthread_join(t, 0);
  }
  return 0;
}

static void *spawn_badly(void *arg)
{
  char *words[] = {"no-such-program", 0};
  for (int i = 0; i < 60; i++) {
    pid_t pid;
    int r = posix_spawn(&pid, "./no-such-program", 0, 0, words, environ), status;
    if (r != ENOENT)
      errno = r, wrong("posix_spawn");
    if ((pid = vfork()) == 0) {
      execv("./no-such-program", words);
      syscall(SYS_exit, 9);
    }
    if (waitpid(pid, &status, 0) != pid || status != 9 << 8)
      wrong("vfork");
    char *good[] = {self, "nothing", 0};
    if (i % 10 == 0 && (r = posix_spawn(&pid, self, 0, 0, good, environ)) == 0) {
      if (waitpid(pid, &status, 0) != pid || status)
        wrong("spawned");
    }
  }
  return arg;
}

static void case_spawn(void)
{
  among(3, come_and_go, spawn_badly);
}

/* ---- memory: threads and children come and go and leave nothing ---- */
static long vm_size(void)
{
  char line[256];
  long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f))
    sscanf(line, "VmSize: %ld", &kib);
  if (f)
    fclose(f);
  return kib;
}

static void come_and_leave(int times)
{
  char *words[] = {"torture", "nothing", 0};
  for (int i = 0; i < times; i++) {
    pthread_t t;
    pid_t pid = vfork();
    if (pid == 0) {
      execv(i % 2 ? self : "./none", words);
      syscall(SYS_exit, 0);
    }
    waitpid(pid, 0, 0);
    pthread_create(&t, 0, idle, 0);
    pthread_join(t, 0);
  }
}

static void case_leaks(void)
{
  come_and_leave(20);
  long before = vm_size();
  come_and_leave(200);
  YES(vm_size() - before < 1024);
}

/* ---- no descriptor left ---- */
static void case_limit(void)
{
  struct rlimit few = {24, 4096}, r;
  T(setrlimit(RLIMIT_NOFILE, &few));
  make("file", "contents");
  int n = 0, last = -1, fd;
  while ((fd = open("file", O_RDONLY)) >= 0)
    n++, last = fd;
  show("open", fd);
  T(n + 3);
  T(last);
  int p[2];
  T(pipe(p));
  T(dup(0));
  T(dup2(0, 23));
  T(dup2(0, 24));
  T(fcntl(0, F_DUPFD, 24));
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    execl(self, self, "nothing", (char *)0);
    say("exec: %s", err_name(errno));
    _exit(1);
  }
  wait_for(pid, "exec without descriptors");
  few.rlim_cur = 40;
  T(setrlimit(RLIMIT_NOFILE, &few));
  T(open("file", O_RDONLY));
  few.rlim_cur = 5;
  T(setrlimit(RLIMIT_NOFILE, &few));
  T(getrlimit(RLIMIT_NOFILE, &r));
  T((long)r.rlim_cur);
  close(3);
  T(open("file", O_RDONLY));
  T(open("file", O_RDONLY));
  few.rlim_cur = 3000;
  T(setrlimit(RLIMIT_NOFILE, &few));
  T(open("file", O_RDONLY));
  T(dup2(0, 2999));
  T(dup2(0, 3000));
}

/* ---- jumping out of handlers ---- */
static sigjmp_buf back;
static volatile sig_atomic_t may_jump;
static void jump(int s)
{
  (void)s;
  ticks++;
  if (may_jump)
    siglongjmp(back, 1);
}

static void case_longjmp(void)
{
  struct sigaction sa = {.sa_handler = jump};
  struct itimerval every = {{0, 500}, {0, 500}};
  struct stat st;
  char buf[8];
  volatile int jumps = 0;
  make("file", "12345678");
  int fd = open("file", O_RDONLY);
  sigaction(SIGALRM, &sa, 0);
  setitimer(ITIMER_REAL, &every, 0);
  while (jumps < 2000) {
    if (sigsetjmp(back, 1))
      jumps++;
    may_jump = 1;
    for (;;) {
      if (fstat(fd, &st) || st.st_size != 8 || pread(fd, buf, 8, 0) != 8 || getppid() <= 0)
        wrong("in the storm");
      if (jumps % 4 == 0)
        usleep(100);
      if (jumps >= 2000)
        break;
    }
    may_jump = 0;
  }
  may_jump = 0;
  timer_every(0);
  YES(jumps >= 2000);
}

/* ---- everything closed ---- */
static void case_closefrom(void)
{
  make("file", "contents");
  T(close_range(3, ~0u, 0));
  for (int i = 3; i < 70000; i++)
    if (close(i) == 0)
      wrong("close");
  int fd = open("file", O_RDONLY);
  T(fd);
  show_fd("file", fd);
  for (int i = 3; i < 900; i++)
    dup2(1, i);
  closefrom(3);
  T(open("file", O_RDONLY));
  T(close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
  pid_t pid = fork();
  if (pid == 0) {
    execl(self, self, "nothing", (char *)0);
    _exit(1);
  }
  wait_for(pid, "exec after it");
}

/* ---- memory probes ---- */
static int from_maps(unsigned long *at, int max)
{
  char line[512];
  int n = 0;
  FILE *f = fopen("/proc/self/maps", "r");
  while (f && fgets(line, sizeof line, f) && n + 2 <= max) {
    sscanf(line, "%lx-%lx", &at[n], &at[n + 1]);
    n += 2;
  }
  if (f)
    fclose(f);
  return n;
}

/* Whatever is not mapped may be unmapped, protected and mapped over without harm to anybody. */
static void case_probe(void)
{
  unsigned long at[4000];
  int n = from_maps(at, 4000);
  for (int i = 0; i + 2 < n; i += 2) {
    unsigned long gap = at[i + 1], end = at[i + 2];
    if (end - gap < 8192 || end > 1ul << 46)
      continue;
    munmap((void *)gap, 4096);
    mprotect((void *)gap, 4096, PROT_READ);
    madvise((void *)gap, 4096, MADV_DONTNEED);
    munmap((void *)(end - 4096), 4096);
    void *p = mmap((void *)gap, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != MAP_FAILED)
      munmap(p, 4096);
  }
  /* The agent's own range, where the program has nothing. */
  for (unsigned long a = 0x567000000000; a < 0x567000000000 + (1 << 20); a += 4096) {
    munmap((void *)a, 4096);
    mprotect((void *)a, 4096, PROT_NONE);
    madvise((void *)a, 4096, MADV_DONTNEED);
    mremap((void *)a, 4096, 8192, MREMAP_MAYMOVE);
    mmap((void *)a, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  }
  file_work("afterwards");
  say("alive");
}

/* ---- little address space ---- */
static void case_as(void)
{
  struct rlimit r = {400 << 20, 400 << 20}, got;
  T(setrlimit(RLIMIT_AS, &r));
  T(getrlimit(RLIMIT_AS, &got));
  T((long)got.rlim_cur);
  int fill = 0;
  while (mmap(0, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
    fill++;
  while (mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
    ;
  show_ok("mmap", -1);
  YES(fill > 200 && fill < 400);
  pthread_t t;
  YES(pthread_create(&t, 0, idle, 0) != 0);
  file_work("no memory");
  int status;
  pid_t pid = fork();
  if (pid == 0) {
    file_work("child");
    _exit(bad != 0);
  }
  waitpid(pid, &status, 0);
  show_status("child", status);
  if (vfork() == 0) {
    execl(self, self, "files", (char *)0);
    _exit(95);
  }
  wait(&status);
  show_status("exec", status);
}

static void in_child(const char *what, void (*f)(void))
{
  pid_t pid = fork();
  if (pid == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    f();
    _exit(0);
  }
  wait_for(pid, what);
}

/* ---- little file size ---- */
static void with_none(void)
{
  struct rlimit r = {0, 0};
  T(setrlimit(RLIMIT_FSIZE, &r));
  show_file("small");
  int fd = open(".", O_RDONLY | O_DIRECTORY);
  T(fchdir(fd));
  T(access("small", R_OK));
  execl("./script", "script", (char *)0);
}

static void case_fsize(void)
{
  static char big[9000];
  struct rlimit r = {512, 512};
  memset(big, 'b', sizeof big);
  int fd = open("big", O_WRONLY | O_CREAT, 0600), status;
  write(fd, big, sizeof big);
  close(fd);
  make("small", "small");
  fd = open("script", O_WRONLY | O_CREAT, 0700);
  dprintf(fd, "#!/bin/sh\n: %.2000s\nread x < small; echo $x\n", big);
  close(fd);
  in_child("no size at all", with_none);
  T(setrlimit(RLIMIT_FSIZE, &r));
  show_file("small");
  fd = open("big", O_RDONLY);
  T(read(fd, big, sizeof big));
  T(memchr(big, 'b', 9000) == big && big[8999] == 'b');
  char *p = mmap(0, sizeof big, PROT_READ, MAP_PRIVATE, fd, 0);
  T(p == MAP_FAILED ? -1 : p[8999]);
  pid_t pid = fork();
  if (pid == 0) {
    execl(self, self, "files", (char *)0);
    _exit(95);
  }
  waitpid(pid, &status, 0);
  show_status("exec", status);
  fd = open("new", O_RDWR | O_CREAT, 0600);
  T(write(fd, big, 400));
  signal(SIGXFSZ, tick);
  T(write(fd, big, 400));
  T(write(fd, big, 400));
  YES(ticks > 0);
  show_stat("new");
}

/* ---- a program's own SIGSYS ---- */
static void on_sys(int s, siginfo_t *i, void *uc)
{
  (void)uc;
  ticks++;
  say("handler: signal %d code %d", s, i->si_code);
}

static void case_sigsys(void)
{
  struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO}, old;
  sigset_t set, pending;
  sigemptyset(&set);
  sigaddset(&set, SIGSYS);
  T(sigaction(SIGSYS, &sa, 0));
  T(raise(SIGSYS));
  T(kill(getpid(), SIGSYS));
  T(sigprocmask(SIG_BLOCK, &set, 0));
  T(raise(SIGSYS));
  T(sigpending(&pending));
  T(sigismember(&pending, SIGSYS));
  say("still blocked");
  T(sigprocmask(SIG_UNBLOCK, &set, 0));
  T(sigprocmask(SIG_BLOCK, 0, &pending));
  T(sigismember(&pending, SIGSYS));
  signal(SIGSYS, SIG_IGN);
  T(raise(SIGSYS));
  T(sigaction(SIGSYS, 0, &old));
  YES(old.sa_handler == SIG_IGN);
  int status;
  pid_t pid = fork();
  if (pid == 0)
    execl(self, self, "ignores", (char *)0);
  waitpid(pid, &status, 0);
  show_status("ignoring", status);
  signal(SIGSYS, SIG_DFL);
  pid = fork();
  if (pid == 0) {
    raise(SIGSYS);
    _exit(0);
  }
  waitpid(pid, &status, 0);
  YES(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void case_ignores(void)
{
  struct sigaction old;
  sigaction(SIGSYS, 0, &old);
  YES(old.sa_handler == SIG_IGN);
  T(raise(SIGSYS));
}

/* ---- a program's own filters ---- */
#define CALL_IS(nr, ret) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, ret)

static long filter_on(unsigned flags)
{
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      CALL_IS(SYS_getpriority, SECCOMP_RET_ERRNO | 77),
      CALL_IS(SYS_getpgid, SECCOMP_RET_TRAP | 5),
      CALL_IS(SYS_mkdir, SECCOMP_RET_KILL_PROCESS),
      CALL_IS(SYS_getsid, SECCOMP_RET_TRACE),
      CALL_IS(SYS_sched_yield, SECCOMP_RET_KILL_THREAD),
      CALL_IS(SYS_getitimer, SECCOMP_RET_ERRNO | 5),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog prog = {sizeof code / sizeof code[0], code};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void emulate(int s, siginfo_t *i, void *uc)
{
  greg_t *r = ((ucontext_t *)uc)->uc_mcontext.gregs;
  say("trapped: signal %d code %d data %d call %d arch %x rax %d", s, i->si_code, i->si_errno, i->si_syscall,
      (unsigned)i->si_arch, (int)r[REG_RAX]);
  YES((unsigned long)r[REG_RIP] == (unsigned long)i->si_call_addr);
  r[REG_RAX] = 1234;
}

static void *filtered(void *arg)
{
  T(getpriority(1, 2));
  return arg;
}

static void *yields(void *arg)
{
  sched_yield();
  say("the thread goes on");
  return arg;
}

static void makes_a_directory(void)
{
  mkdir("never", 0700);
}

static void traps_without_handler(void)
{
  signal(SIGSYS, SIG_IGN);
  T(getpgid(0));
}

static void strictly(void)
{
  T(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
}

static void one_thread_dies(void)
{
  pthread_t t;
  pthread_create(&t, 0, yields, 0);
  sleep_ms(100);
  say("the process goes on");
}

static void strict_mode(void)
{
  say("%d", (int)prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
  write(1, "still\n", 6);
  getppid();
  write(1, "never\n", 6);
}

static void executes(void)
{
  execl(self, self, "filtered", (char *)0);
}

static void case_filtered(void)
{
  T(getpriority(1, 2));
  T(prctl(PR_GET_SECCOMP));
  file_work("filtered");
}

static void bad_filters(void)
{
  struct sock_filter jump[] = {BPF_JUMP(BPF_JMP | BPF_JA, 5, 0, 0), BPF_STMT(BPF_RET | BPF_K, 0)};
  struct sock_filter open_end[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  struct sock_filter load[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0)};
  struct sock_fprog prog = {2, jump};
  uint32_t action = SECCOMP_RET_TRAP;
  T(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
  prog = (struct sock_fprog){1, open_end};
  T(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
  prog = (struct sock_fprog){2, load};
  T(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
  prog.len = 0;
  T(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
  T(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0));
  T(syscall(SYS_seccomp, 17, 0, 0));
  T(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
  action = 12345;
  T(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

static void case_seccomp(void)
{
  struct sigaction sa = {.sa_sigaction = emulate, .sa_flags = SA_SIGINFO};
  pthread_t t;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  T(prctl(PR_GET_SECCOMP));
  bad_filters();
  in_child("strict mode", strict_mode);
  T(filter_on(0));
  T(prctl(PR_GET_SECCOMP));
  T(getpriority(1, 2));
  sigaction(SIGSYS, &sa, 0);
  for (int i = 0; i < 3; i++)
    T(getpgid(0));
  T(getsid(0));
  file_work("under the filter");
  pthread_create(&t, 0, filtered, 0);
  pthread_join(t, 0);
  in_child("killed", makes_a_directory);
  in_child("no handler", traps_without_handler);
  in_child("executed", executes);
  in_child("one thread", one_thread_dies);
  in_child("the only thread", (void (*)(void))sched_yield);
  in_child("strict after a filter", strictly);
  T(filter_on(SECCOMP_FILTER_FLAG_TSYNC));
  T(getpriority(1, 2));
  in_child("executed with two", executes);
}

/* ---- faults: handlers that continue, small alternate stacks, broken frames ---- */
static char *guarded;
static void mend(int s, siginfo_t *i, void *uc)
{
  (void)s, (void)i, (void)uc;
  ticks++;
  mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

static void deep(int n)
{
  volatile char frame[4096];
  frame[n % 4096] = 1;
  if (n < 1 << 20)
    deep(n + 1 + frame[n % 4096 / 4096]);
}

static void on_deep(int s)
{
  (void)s;
  say("stack overflow caught");
  _exit(3);
}

static void overflow(void)
{
  stack_t alt = {.ss_sp = malloc(16384), .ss_size = 16384};
  struct sigaction sa = {.sa_handler = on_deep, .sa_flags = SA_ONSTACK};
  sigaltstack(&alt, 0);
  sigaction(SIGSEGV, &sa, 0);
  deep(0);
}

static void blocked_fault(void)
{
  sigset_t set;
  sigfillset(&set);
  sigprocmask(SIG_BLOCK, &set, 0);
  errno = 0;
  T(write(1, (void *)8, 4));
  T(open((char *)8, O_RDONLY));
  *(volatile int *)8 = 1;
}

static void bad_sigreturn(void)
{
  __asm__ volatile("mov $16, %%rsp; mov $15, %%eax; syscall" : : : "memory");
}

static void once(void)
{
  struct sigaction sa = {.sa_handler = tick, .sa_flags = (int)SA_RESETHAND};
  sigaction(SIGUSR1, &sa, 0);
  raise(SIGUSR1);
  say("once");
  raise(SIGUSR1);
}

static void case_faults(void)
{
  guarded = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct sigaction sa = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &sa, 0);
  for (int i = 0; i < 100; i++) {
    mprotect(guarded, 4096, PROT_NONE);
    guarded[7] = (char)i;
    errno = 0;
    mprotect(guarded, 4096, PROT_NONE);
    if (read(open("/dev/zero", O_RDONLY | O_CLOEXEC), guarded, 8) != -1 || errno != EFAULT)
      wrong("read into nothing");
    close_range(3, ~0u, 0);
  }
  T(ticks);
  in_child("deep recursion", overflow);
  in_child("a fault while blocked", blocked_fault);
  in_child("a frame that is none", bad_sigreturn);
  in_child("SA_RESETHAND", once);
}

static void case_nothing(void)
{
}

static void case_files(void)
{
  for (int i = 0; i < 10; i++)
    file_work("a file");
}

static const struct {
  const char *name;
  void (*run)(void);
} cases[] = {
    {"many", case_many},           {"storm", case_storm},     {"signals", case_signals}, {"fds", case_fds},
    {"exec", case_exec},           {"spawn", case_spawn},     {"limit", case_limit},     {"longjmp", case_longjmp},
    {"closefrom", case_closefrom}, {"probe", case_probe},     {"as", case_as},           {"fsize", case_fsize},
    {"sigsys", case_sigsys},       {"ignores", case_ignores}, {"faults", case_faults},   {"seccomp", case_seccomp},
    {"filtered", case_filtered},   {"leaks", case_leaks},     {"nothing", case_nothing}, {"files", case_files}};

int main(int argc, char **argv)
{
  (void)argc;
  signal(SIGXFSZ, SIG_DFL);
  readlink("/proc/self/exe", self, sizeof self - 1);
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
    if (argv[1] && !strcmp(argv[1], cases[i].name)) {
      cases[i].run();
      return bad != 0;
    }
  say("cases:");
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
    say("%s", cases[i].name);
  return 2;
}
