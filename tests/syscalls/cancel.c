/* Threads that are cancelled in calls that sleep: they end, their cleanups run, and what comes afterwards is for
 * others. */
#include "t.h"
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

static int p[2], lock;
static volatile int cleaned, begun;

static void cleanup(void *arg)
{
  (void)arg;
  cleaned++;
}

static void sleep_in(void (*f)(void))
{
  pthread_cleanup_push(cleanup, 0);
  begun = 1;
  f();
  pthread_cleanup_pop(0);
}

static void *thread(void *arg)
{
  sleep_in(*(void (**)(void))arg);
  return 0;
}

static void reads(void)
{
  char c[8];
  read(p[0], c, sizeof c);
}

static void receives(void)
{
  char c[8];
  recv(p[0], c, sizeof c, 0);
}

static void polls(void)
{
  poll(&(struct pollfd){p[0], POLLIN, 0}, 1, -1);
}

static void locks(void)
{
  struct flock l = {.l_type = F_WRLCK};
  fcntl(lock, F_OFD_SETLKW, &l);
}

static void opens(void)
{
  open("other", O_RDONLY);
}

static void waits(void)
{
  pause();
}

/* Wherever it is by then: before the call, in it, or held up on the way. */
static void cancel(const char *what, void (*f)(void))
{
  pthread_t t;
  void *result = 0;
  cleaned = begun = 0;
  pthread_create(&t, 0, thread, &f);
  while (!begun)
    sleep_ms(1);
  sleep_ms(20);
  pthread_cancel(t);
  pthread_join(t, &result);
  say("%s: %s, cleaned up %d", what, result == PTHREAD_CANCELED ? "cancelled" : "not", cleaned);
}

static void then_data(const char *what, int to)
{
  char c[8] = "";
  write(to, "for us", 6);
  say("%s: %ld %s", what, (long)read(p[0], c, sizeof c - 1), c);
}

static void fifo(void)
{
  mkfifo("fifo", 0600);
  p[0] = p[1] = open("fifo", O_RDWR);
  for (int i = 0; i < 5; i++) {
    cancel("read FIFO", reads);
    then_data("FIFO", p[1]);
  }
  cancel("poll FIFO", polls);
  then_data("FIFO", p[1]);
}

static void local_pipe(void)
{
  pipe(p);
  cancel("read pipe", reads);
  then_data("pipe", p[1]);
}

static void tcp(void)
{
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof a;
  int l = socket(AF_INET, SOCK_STREAM, 0);
  bind(l, (void *)&a, n);
  listen(l, 1);
  getsockname(l, (void *)&a, &n);
  p[1] = socket(AF_INET, SOCK_STREAM, 0);
  connect(p[1], (void *)&a, n);
  p[0] = accept(l, 0, 0);
  cancel("recv TCP", receives);
  then_data("TCP", p[1]);
}

__attribute__((unused)) static void record(void)
{
  struct flock l = {.l_type = F_WRLCK};
  int held = open("lock", O_RDWR | O_CREAT, 0600);
  lock = open("lock", O_RDWR);
  fcntl(held, F_OFD_SETLK, &l);
  cancel("lock", locks);
  l.l_type = F_UNLCK;
  T(fcntl(held, F_OFD_SETLK, &l));
  l.l_type = F_WRLCK;
  T(fcntl(held, F_OFD_SETLK, &l));
}

int main(void)
{
  fifo();
  local_pipe();
  tcp();
#ifdef __GLIBC__ /* no point of cancellation elsewhere */
  record();
#endif
  mkfifo("other", 0600);
  cancel("open FIFO", opens);
  T(open("other", O_WRONLY | O_NONBLOCK));
  cancel("pause", waits);
  return 0;
}
