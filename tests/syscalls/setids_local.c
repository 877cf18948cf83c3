/* What the machine where a program runs lets it do after it has become somebody else: signals, priorities, limits, IPC,
   local files, capabilities, and back again. Says little unless it is root's. */
#include "t.h"
#include <linux/capability.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

static int queue;

static void powers(void)
{
  struct rlimit r;
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct caps[2];
  getrlimit(RLIMIT_NOFILE, &r);
  T(kill(getppid(), 0));
  errno = 0;
  T(setpriority(PRIO_PROCESS, 0, -3));
  struct sched_param p = {.sched_priority = 1};
  T(sched_setscheduler(getppid(), SCHED_FIFO, &p));
  T(sched_setaffinity(1, 0, 0) == 0);
  T(msgctl(queue, IPC_RMID, 0));
  T(open("/dev/shm/setids_local", O_RDONLY) >= 0);
  T(chmod("/dev/shm/setids_local", 0644));
  T(unlink("/proc/self/cmdline"));
  T(sethostname("", -1));
  T(syscall(SYS_capget, &head, caps));
  YES(caps[0].effective == 0);
  T(prctl(PR_GET_DUMPABLE) > 0);
  T(getgroups(0, 0));
}

static void files_still_work(void)
{
  char text[16] = "", link[64];
  int fd = open("all", O_RDWR), pair[2];
  T(read(fd, text, sizeof text));
  char *map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  YES(map != MAP_FAILED && !memcmp(map, text, 5));
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  T(open(link, O_RDONLY) >= 0);
  int m = memfd_create("m", 0);
  snprintf(link, sizeof link, "/proc/self/fd/%d", m);
  T(open(link, O_RDWR) >= 0);
  T(access("/proc/self/maps", R_OK));
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  struct ucred u;
  socklen_t n = sizeof u;
  T(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
  YES(u.uid == geteuid() && u.gid == getegid());
  YES(tmpfile() != 0);
}

static void *in_thread(void *arg)
{
  T(kill(getppid(), 0));
  T(geteuid());
  return arg;
}

static void child(const char *what, uid_t uid, void (*f)(void))
{
  pid_t pid = fork();
  if (!pid) {
    say("-- %s", what);
    if (setgroups(0, 0) || setgid(uid) || setuid(uid))
      say("refused: %s", err_name(errno));
    else
      f();
    _exit(5);
  }
  wait_for(pid, what);
}

static void *parked(void *arg)
{
  pthread_barrier_wait(arg);
  pthread_barrier_wait(arg);
  return in_thread(0);
}

/* The C library tells every thread. */
static void threads(void)
{
  pthread_barrier_t b;
  pthread_t t;
  pthread_barrier_init(&b, 0, 2);
  pthread_create(&t, 0, parked, &b);
  pthread_barrier_wait(&b);
  T(setuid(4000));
  pthread_barrier_wait(&b);
  pthread_join(t, 0);
  pthread_create(&t, 0, in_thread, 0);
  pthread_join(t, 0);
  T(setuid(0));
}

static void executes(void)
{
  execl("/bin/sh", "sh", "-c",
        "id -u; kill -0 $PPID; nice -n -5 true 2>/dev/null; cat all; mktemp -t setids.XXXXXX >name && rm $(cat name)",
        (char *)0);
}

static void back_again(void)
{
  T(seteuid(3000));
  T(setpriority(PRIO_PROCESS, 0, -4));
  T(seteuid(0));
  T(setpriority(PRIO_PROCESS, 0, -4));
  T(setfsuid(3000));
  T(open("/dev/shm/setids_local", O_RDONLY) >= 0);
  T(setfsuid(0));
  T(open("/dev/shm/setids_local", O_RDONLY) >= 0);
  T(prctl(PR_SET_KEEPCAPS, 1));
  T(setuid(3000));
  T(setpriority(PRIO_PROCESS, 0, -5));
  T(setuid(0));
}

int main(void)
{
  mkdir("d", 0700);
  chdir("d");
  chmod(".", 0777);
  make("all", "contents");
  chmod("all", 0666);
  int fd = open("/dev/shm/setids_local", O_RDWR | O_CREAT, 0600);
  queue = msgget(IPC_PRIVATE, 0600);
  YES(fd >= 0 && queue >= 0);
  child("rights", 3000, powers);
  child("files", 3000, files_still_work);
  child("threads", 0, threads);
  child("exec", 3000, executes);
  child("back", 0, back_again);
  T(msgctl(queue, IPC_RMID, 0));
  T(unlink("/dev/shm/setids_local"));
  unlink("name");
  return 0;
}
