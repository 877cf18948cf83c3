/* Every call of signal(7) that sleeps, with a handler that asks for restarting and with one that does not: EINTR or the
   result that it was waiting for; nothing that it waits for is lost on the way. */
#include "t.h"
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { FUTEX_WAIT, FUTEX_WAKE };

static struct shared {
  volatile int held, begun, returned, over;
  volatile int word;
  sem_t sem;
} * sh;
static int p[2], q = -1, fd = -1, listener = -1;
static char big[1 << 20];
static volatile int hits;

static void handler(int s)
{
  (void)s;
  hits++;
}

static void until(volatile int *flag)
{
  while (!*flag)
    sleep_ms(1);
}

/* ---- what the call waits for ---- */

static void none(void)
{
}

static void make_pipe(void)
{
  pipe(p);
}

static void make_fifo(void)
{
  unlink("fifo"), mkfifo("fifo", 0600);
}

static void open_fifo(void)
{
  make_fifo();
  p[0] = p[1] = open("fifo", O_RDWR);
}

static void put(void)
{
  write(p[1], "put", 3);
}

/* Until whoever waits for room has been served. */
static void drain(void)
{
  struct pollfd in = {p[0], POLLIN, 0};
  while (!sh->returned)
    if (poll(&in, 1, 1) > 0)
      read(p[0], big, 65536);
}

static void tcp_pair(void)
{
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  int l = socket(AF_INET, SOCK_STREAM, 0);
  bind(l, (void *)&a, n);
  listen(l, 5);
  getsockname(l, (void *)&a, &n);
  p[1] = socket(AF_INET, SOCK_STREAM, 0);
  connect(p[1], (void *)&a, n);
  p[0] = accept(l, 0, 0);
  listener = l;
}

static void unix_pair(void)
{
  int v[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, v);
  p[0] = v[0], p[1] = v[1];
}

static void connect_to(void)
{
  struct sockaddr_in a;
  socklen_t n = sizeof a;
  getsockname(listener, (void *)&a, &n);
  connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, n);
}

static void timeout_receiving(void)
{
  struct timeval t = {1000, 0};
  tcp_pair();
  setsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

static void open_lock(void)
{
  fd = open("lock", O_RDWR | O_CREAT, 0600);
}

static void hold_flock(void)
{
  fd = open("lock", O_RDWR);
  flock(fd, LOCK_EX);
}

static void hold_record(void)
{
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  fd = open("lock", O_RDWR);
  fcntl(fd, F_SETLKW, &l);
}

static void let_go(void)
{
  close(fd);
}

static void open_queue(void)
{
  struct mq_attr a = {.mq_maxmsg = 1, .mq_msgsize = 8};
  mq_unlink("/sigcalls");
  fd = (int)mq_open("/sigcalls", O_RDWR | O_CREAT, 0600, &a);
}

static void full_queue(void)
{
  open_queue();
  mq_send(fd, "x", 1, 0);
}

static void send_queue(void)
{
  mq_send(fd, "sent", 5, 0);
}

static void take_queue(void)
{
  mq_receive(fd, big, 8, 0);
}

static void sysv(void)
{
  q = msgget(IPC_PRIVATE, 0600);
  fd = semget(IPC_PRIVATE, 1, 0600);
}

static void sysv_go(void)
{
  struct msgbuf m = {1, "m"};
  struct sembuf up = {0, 1, 0};
  msgsnd(q, &m, 1, 0);
  semop(fd, &up, 1);
}

static void watch(void)
{
  fd = inotify_init();
  inotify_add_watch(fd, ".", IN_CREATE);
}

static void create(void)
{
  close(open("created", O_CREAT | O_WRONLY, 0600));
  unlink("created");
}

static void make_eventfd(void)
{
  fd = eventfd(0, 0);
}

static void raise_eventfd(void)
{
  write(fd, &(uint64_t){7}, 8);
}

static void wake(void)
{
  sh->word = 1;
  while (!sh->returned) {
    syscall(SYS_futex, &sh->word, FUTEX_WAKE, 1, 0, 0, 0);
    sleep_ms(1);
  }
}

static void post(void)
{
  sem_post(&sh->sem);
}

static void read_other(void)
{
  open("fifo", O_RDONLY);
}

static void write_other(void)
{
  write(open("fifo", O_WRONLY), "by", 2);
}

/* ---- the calls ---- */

/* More than any buffer on the way takes. */
static long all_of_it(long (*some)(void))
{
  long n = 0, r;
  while (n < 4 << 20 && (r = some()) >= 0)
    n += r;
  return n < 4 << 20 ? -1 : 0;
}

static long c_read(void)
{
  return read(p[0], big, 3);
}
static long c_readv(void)
{
  return readv(p[0], &(struct iovec){big, 3}, 1);
}
static long write_out(void)
{
  return write(p[1], big, 65536);
}
static long c_write(void)
{
  return all_of_it(write_out);
}
static long writev_out(void)
{
  return writev(p[1], &(struct iovec){big, 65536}, 1);
}
static long c_writev(void)
{
  return all_of_it(writev_out);
}
static long c_open_read(void)
{
  return open("fifo", O_RDONLY) >= 0 ? 0 : -1;
}
static long c_open_write(void)
{
  return open("fifo", O_WRONLY) >= 0 ? 0 : -1;
}
static long c_recv(void)
{
  return recv(p[0], big, 3, 0);
}
static long c_recvmsg(void)
{
  return recvmsg(p[0], &(struct msghdr){.msg_iov = &(struct iovec){big, 3}, .msg_iovlen = 1}, 0);
}
static long c_recvmmsg(void)
{
  return recvmmsg(p[0], &(struct mmsghdr){{.msg_iov = &(struct iovec){big, 3}, .msg_iovlen = 1}, 0}, 1, 0, 0);
}
static long send_out(void)
{
  return send(p[1], big, 65536, 0);
}
static long c_send(void)
{
  return all_of_it(send_out);
}
static long sendmsg_out(void)
{
  return sendmsg(p[1], &(struct msghdr){.msg_iov = &(struct iovec){big, 65536}, .msg_iovlen = 1}, 0);
}
static long c_sendmsg(void)
{
  return all_of_it(sendmsg_out);
}
static long c_accept(void)
{
  return accept(listener, 0, 0) >= 0 ? 0 : -1;
}
static long c_flock(void)
{
  return flock(fd, LOCK_EX);
}
static long c_setlkw(void)
{
  return fcntl(fd, F_SETLKW, &(struct flock){.l_type = F_WRLCK});
}
static long c_ofd_setlkw(void)
{
  return fcntl(fd, F_OFD_SETLKW, &(struct flock){.l_type = F_WRLCK});
}
static long c_mq_receive(void)
{
  return mq_receive(fd, big, 8, 0);
}
static long c_mq_send(void)
{
  return mq_send(fd, "y", 1, 0);
}
static long c_futex(void)
{
  return sh->word ? 0 : syscall(SYS_futex, &sh->word, FUTEX_WAIT, 0, 0, 0, 0) && errno != EAGAIN ? -1 : 0;
}
static long c_sem_wait(void)
{
  return sem_wait(&sh->sem);
}
static long c_wait(void)
{
  return waitpid(-1, 0, 0) > 0 ? 0 : -1;
}
static long c_waitid(void)
{
  return waitid(P_ALL, 0, 0, WEXITED);
}
static long c_inotify(void)
{
  return read(fd, big, 4096) > 0 ? 0 : -1;
}
static long c_eventfd(void)
{
  return read(fd, big, 8);
}
static long c_poll(void)
{
  return poll(&(struct pollfd){p[0], POLLIN, 0}, 1, -1);
}
static long c_ppoll(void)
{
  return ppoll(&(struct pollfd){p[0], POLLIN, 0}, 1, 0, 0);
}
static long c_select(void)
{
  fd_set s;
  FD_ZERO(&s);
  FD_SET(p[0], &s);
  return select(p[0] + 1, &s, 0, 0, 0);
}
static long c_pselect(void)
{
  fd_set s;
  FD_ZERO(&s);
  FD_SET(p[0], &s);
  return pselect(p[0] + 1, &s, 0, 0, 0, 0);
}
static long c_epoll(void)
{
  struct epoll_event e = {EPOLLIN, {0}};
  int ep = epoll_create1(0);
  epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e);
  return epoll_wait(ep, &e, 1, -1);
}
static long c_pause(void)
{
  return pause();
}
static long c_sigsuspend(void)
{
  sigset_t s;
  sigemptyset(&s);
  return sigsuspend(&s);
}
static long c_sigwaitinfo(void)
{
  sigset_t s;
  sigemptyset(&s), sigaddset(&s, SIGUSR2);
  return syscall(SYS_rt_sigtimedwait, &s, 0, 0, 8); /* musl goes on */
}
static long c_nanosleep(void)
{
  return nanosleep(&(struct timespec){1000, 0}, 0);
}
static long c_clock_nanosleep(void)
{
  return (errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){1000, 0}, 0)) ? -1 : 0;
}
static long c_msgrcv(void)
{
  return msgrcv(q, big, 8, 0, 0);
}
static long c_semop(void)
{
  return semop(fd, &(struct sembuf){0, -1, 0}, 1);
}

static const struct test {
  const char *name;
  void (*prepare)(void); /* before the fork */
  void (*hold)(void);    /* by the other process, first */
  long (*call)(void);
  void (*serve)(void); /* by the other process, at the end */
  bool never;          /* is never restarted */
} tests[] = {
    {"read pipe", make_pipe, none, c_read, put, false},
    {"read FIFO", open_fifo, none, c_read, put, false},
    {"readv FIFO", open_fifo, none, c_readv, put, false},
    {"read TCP", tcp_pair, none, c_read, put, false},
    {"write pipe", make_pipe, none, c_write, drain, false},
    {"write FIFO", open_fifo, none, c_write, drain, false},
    {"writev FIFO", open_fifo, none, c_writev, drain, false},
    {"open FIFO to read", make_fifo, none, c_open_read, write_other, false},
    {"open FIFO to write", make_fifo, none, c_open_write, read_other, false},
    {"recv TCP", tcp_pair, none, c_recv, put, false},
    {"recvmsg TCP", tcp_pair, none, c_recvmsg, put, false},
    {"recvmmsg TCP", tcp_pair, none, c_recvmmsg, put, false},
    {"recv unix", unix_pair, none, c_recv, put, false},
    {"recv TCP with a timeout", timeout_receiving, none, c_recv, put, true},
    {"send unix", unix_pair, none, c_send, drain, false},
    {"sendmsg unix", unix_pair, none, c_sendmsg, drain, false},
    {"accept", tcp_pair, none, c_accept, connect_to, false},
    {"flock", open_lock, hold_flock, c_flock, let_go, false},
    {"F_SETLKW", open_lock, hold_record, c_setlkw, let_go, false},
    {"F_OFD_SETLKW", open_lock, hold_record, c_ofd_setlkw, let_go, false},
    {"mq_receive", open_queue, none, c_mq_receive, send_queue, false},
    {"mq_send", full_queue, none, c_mq_send, take_queue, false},
    {"futex", none, none, c_futex, wake, false},
    {"sem_wait", none, none, c_sem_wait, post, false},
    {"waitpid", none, none, c_wait, none, false},
    {"waitid", none, none, c_waitid, none, false},
    {"inotify", watch, none, c_inotify, create, false},
    {"eventfd", make_eventfd, none, c_eventfd, raise_eventfd, false},
    {"poll pipe", make_pipe, none, c_poll, put, true},
    {"poll FIFO", open_fifo, none, c_poll, put, true},
    {"ppoll FIFO", open_fifo, none, c_ppoll, put, true},
    {"ppoll TCP", tcp_pair, none, c_ppoll, put, true},
    {"select FIFO", open_fifo, none, c_select, put, true},
    {"pselect FIFO", open_fifo, none, c_pselect, put, true},
    {"epoll pipe", make_pipe, none, c_epoll, put, true},
    {"epoll FIFO", open_fifo, none, c_epoll, put, true},
    {"epoll TCP", tcp_pair, none, c_epoll, put, true},
    {"pause", none, none, c_pause, none, true},
    {"sigsuspend", none, none, c_sigsuspend, none, true},
    {"sigwaitinfo", none, none, c_sigwaitinfo, none, true},
    {"nanosleep", none, none, c_nanosleep, none, true},
    {"clock_nanosleep", none, none, c_clock_nanosleep, none, true},
    {"msgrcv", sysv, none, c_msgrcv, sysv_go, true},
    {"semop", sysv, none, c_semop, sysv_go, true},
};

/* Signals for as long as the call sleeps, or some, and then what it waits for: the outcome is the same wherever they
 * come. */
static void other(const struct test *t, pid_t sleeper, bool interrupts)
{
  t->hold();
  sh->held = 1;
  until(&sh->begun);
  for (int i = 0; !sh->returned && (interrupts ? i < 3000 : i < 8); i++) {
    sleep_ms(3);
    kill(sleeper, SIGUSR1);
  }
  if (!sh->returned)
    t->serve();
  _exit(0);
}

static void once(const struct test *t, int flags)
{
  struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};
  bool interrupts = t->never || !(flags & SA_RESTART);
  t->prepare();
  sigaction(SIGUSR1, &sa, 0);
  pid_t sleeper = getpid(), pid = fork();
  if (!pid)
    other(t, sleeper, interrupts);
  until(&sh->held);
  sh->begun = 1;
  long r = t->call();
  int e = errno;
  sh->returned = 1;
  say("%s, %s: %ld %s, %s", t->name, flags ? "restarting" : "not", r, r < 0 ? err_name(e) : "",
      hits ? "handled" : "no signal");
  while (waitpid(pid, 0, 0) < 0 && errno == EINTR)
    ;
  if (t->prepare == sysv)
    msgctl(q, IPC_RMID, 0), semctl(fd, 0, IPC_RMID);
  _exit(0);
}

int main(int argc, char **argv)
{
  sh = mmap(0, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
    for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
      if (argc > 1 && strcmp(argv[1], tests[i].name))
        continue;
      memset(sh, 0, sizeof *sh);
      sem_init(&sh->sem, 1, 0);
      pid_t pid = fork();
      if (!pid)
        once(&tests[i], flags);
      wait_for(pid, tests[i].name);
    }
  mq_unlink("/sigcalls");
  unlink("fifo"), unlink("lock");
  return 0;
}
