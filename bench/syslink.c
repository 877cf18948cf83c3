/*
 * Calls between two processes and the bytes that they bring: libsyslink, a plain socket pair, and sd-bus (if it was
 * there when this was built) on a socket pair of its own, without a bus daemon.
 *
 * A call is a message and its reply. "waiting" sends the next when the reply has come, "64 under way" keeps so many
 * without a reply; blocks of 128 KiB are answered by a small reply. `bench-syslink [SECONDS]' measures each for so
 * long; us is the time of processors that one call takes in both processes, which other load changes less.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_SDBUS
#include <systemd/sd-bus.h>
#endif

#include "syslink/syslink.h"

#define SMALL 64
#define DEEP 64

static double limit = 1;

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void __attribute__((noreturn)) die(const char *what)
{
  perror(what);
  exit(1);
}

/* How one way of calling does it: `ask' sends a call with a block of that size (0: none), `take' waits for a reply. */
struct way {
  const char *name;
  void (*pair)(int fd[2]);
  void (*serve)(int fd); /* until the end */
  void (*start)(int fd);
  void (*ask)(int fd, uint64_t id, size_t block);
  void (*take)(int fd);
  unsigned deep;
  bool shares; /* blocks in shared memory as well */
};

static char *block; /* that is sent */
static bool maps;   /* the receiver has its pages in place of some of its own */

/* As one who uses what came. */
static void look(const void *p, size_t n)
{
  const uint64_t *at = p;
  uint64_t sum = 0;
  for (size_t i = 0; i < n / sizeof *at; i++)
    sum += at[i];
  __asm__ volatile("" ::"r"(sum));
}

/* ---- libsyslink ---- */

union room {
  struct syslink_msg msg;
  uint8_t bytes[SYSLINK_MSG_MAX];
};

static void link_pair(int fd[2])
{
  struct syslink_info info = {0};
  if (syslink(SYSLINK_CMD_NEW, &info, sizeof info))
    die("syslink");
  memcpy(fd, info.fd, sizeof info.fd);
}

static void link_serve(int fd)
{
  union room r, a;
  struct syslink_builder b;
  char *got = maps ? syslink_alloc(SYSLINK_BUF_MAX) : malloc(SYSLINK_BUF_MAX);
  struct iovec in[2] = {{&r, sizeof r}, {got, SYSLINK_BUF_MAX}};
  while (syslink_readv(fd, in, 2) > 0) {
    look(got, syslink_msg_buffer_bytes(&r.msg));
    syslink_msg_reply(&b, &a, sizeof a, &r.msg, 0);
    struct iovec out = {&a, (size_t)syslink_msg_end(&b)};
    if (syslink_writev(fd, &out, 1) < 0)
      die("syslink_writev");
  }
}

static void link_ask(int fd, uint64_t id, size_t n)
{
  static const char data[SMALL - 40];
  union room r;
  struct syslink_builder b;
  syslink_msg_begin(&b, &r, sizeof r, 1, id);
  if (n)
    syslink_msg_buffer(&b, (uint32_t)n);
  else
    syslink_elm_put(&b, 1, 0, data, sizeof data);
  struct iovec out[2] = {{&r, (size_t)syslink_msg_end(&b)}, {block, n}};
  if (syslink_writev(fd, out, n ? 2 : 1) < 0)
    die("syslink_writev");
}

static void link_take(int fd)
{
  static char none[SYSLINK_BUF_MAX];
  union room r;
  struct iovec in[2] = {{&r, sizeof r}, {none, sizeof none}};
  if (syslink_readv(fd, in, 2) <= 0 || r.msg.sm_head.se_aux)
    die("syslink_readv");
}

/* ---- a socket pair ---- */

static void plain_pair(int fd[2])
{
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd))
    die("socketpair");
}

static void plain_serve(int fd)
{
  static char in[SYSLINK_BUF_MAX];
  ssize_t n;
  while ((n = recv(fd, in, sizeof in, 0)) > 0) {
    look(in, (size_t)n);
    if (send(fd, in, SMALL, MSG_NOSIGNAL) < 0)
      die("send");
  }
}

static void plain_ask(int fd, uint64_t id, size_t n)
{
  (void)id;
  if (send(fd, block, n ? n : SMALL, 0) < 0)
    die("send");
}

static void plain_take(int fd)
{
  char in[SMALL];
  if (recv(fd, in, sizeof in, 0) <= 0)
    die("recv");
}

static void nothing(int fd)
{
  (void)fd;
}

/* ---- sd-bus ---- */

#ifdef HAVE_SDBUS
static sd_bus *bus;

static void bus_pair(int fd[2])
{
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
    die("socketpair");
}

static int answer(sd_bus_message *m, void *arg, sd_bus_error *e)
{
  const void *data;
  size_t n;
  uint64_t id;
  (void)arg;
  (void)e;
  if (sd_bus_message_read(m, "t", &id) < 0 || sd_bus_message_read_array(m, 'y', &data, &n) < 0)
    die("sd-bus");
  look(data, n);
  return sd_bus_reply_method_return(m, "t", (uint64_t)1);
}

static void bus_serve(int fd)
{
  sd_id128_t id;
  int r;
  sd_id128_randomize(&id);
  if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0 || sd_bus_set_server(bus, 1, id) < 0 ||
      sd_bus_set_anonymous(bus, 1) < 0 || sd_bus_start(bus) < 0 || sd_bus_add_object(bus, 0, "/o", answer, 0) < 0)
    die("sd-bus");
  while ((r = sd_bus_process(bus, 0)) >= 0)
    if (!r && sd_bus_wait(bus, UINT64_MAX) < 0)
      break;
}

static void bus_start(int fd)
{
  if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0 || sd_bus_set_anonymous(bus, 1) < 0 ||
      sd_bus_start(bus) < 0)
    die("sd-bus");
}

static void bus_ask(int fd, uint64_t id, size_t n)
{
  sd_bus_message *m = 0, *reply = 0;
  (void)fd;
  if (sd_bus_message_new_method_call(bus, &m, 0, "/o", "i.f", "call") < 0 || sd_bus_message_append(m, "t", id) < 0 ||
      sd_bus_message_append_array(m, 'y', block, n ? n : 8) < 0 || sd_bus_call(bus, m, 0, 0, &reply) < 0)
    die("sd_bus_call");
  sd_bus_message_unref(m);
  sd_bus_message_unref(reply);
}
#endif

/* ---- measuring ---- */

static pid_t serve(const struct way *w, int fd[2])
{
  w->pair(fd);
  fflush(stdout);
  pid_t pid = fork();
  if (!pid) {
    close(fd[0]);
    w->serve(fd[1]);
    _exit(0);
  }
  close(fd[1]);
  w->start(fd[0]);
  return pid;
}

static double cpu_of(int who)
{
  struct rusage u;
  getrusage(who, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Calls a second, and the processor's time that both processes use for one. */
static void rate(const struct way *w, unsigned deep, size_t n)
{
  int fd[2];
  double cpu = -cpu_of(RUSAGE_SELF) - cpu_of(RUSAGE_CHILDREN);
  pid_t pid = serve(w, fd);
  uint64_t asked = 0, taken = 0;
  double begin = now(), t = begin;
  while (asked < deep)
    w->ask(fd[0], asked++, n);
  for (; t - begin < limit; t = taken % 16 ? t : now()) {
    w->take(fd[0]);
    taken++;
    w->ask(fd[0], asked++, n);
  }
  kill(pid, SIGKILL);
  waitpid(pid, 0, 0);
  close(fd[0]);
  cpu += cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN);
  double calls = (double)taken / (t - begin);
  printf(" %9.0f %6.2f", n ? calls * (double)n / 1e6 : calls, cpu / (double)taken * 1e6);
}

static void measure_shared(const struct way *w)
{
  char *plain = block;
  block = syslink_alloc(SYSLINK_BUF_MAX);
  if (!block)
    die("syslink_alloc");
  memset(block, 1, SYSLINK_BUF_MAX);
  rate(w, 1, SYSLINK_BUF_MAX);
  maps = true;
  rate(w, 1, SYSLINK_BUF_MAX);
  maps = false;
  syslink_free(block);
  block = plain;
}

static void measure(const struct way *w)
{
  printf("%-20s", w->name);
  rate(w, 1, 0);
  if (w->deep > 1)
    rate(w, w->deep, 0);
  else
    printf(" %9s %6s", "-", "");
  rate(w, 1, SYSLINK_BUF_MAX);
  if (w->shares)
    measure_shared(w);
  printf("\n");
}

int main(int argc, char **argv)
{
  static const struct way ways[] = {
      {"socket pair", plain_pair, plain_serve, nothing, plain_ask, plain_take, DEEP, false},
      {"libsyslink", link_pair, link_serve, nothing, link_ask, link_take, DEEP, true},
#ifdef HAVE_SDBUS
      {"sd-bus method call", bus_pair, bus_serve, bus_start, bus_ask, nothing, 1, false},
#endif
  };
  limit = argc > 1 ? atof(argv[1]) : limit;
  block = aligned_alloc(4096, SYSLINK_BUF_MAX);
  memset(block, 1, SYSLINK_BUF_MAX);
  printf("%-20s %16s %16s %16s %16s %16s\n", "", "calls, waiting", "64 under way", "blocks", "of a memfd", "mapped");
  printf("%-20s", "");
  for (int i = 0; i < 5; i++)
    printf(" %9s %6s", i < 2 ? "a second" : "MB/s", "us");
  printf("\n");
  for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
    measure(&ways[i]);
  return 0;
}
