/* io_submit and its kin: files, pipes, vectors, errors at once and in events, eventfds, waiting, cancelling. */
#include "t.h"
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

static aio_context_t ctx;

static long submit(int op, int fd, void *buf, size_t n, long long off, uint64_t data)
{
  static struct iocb c;
  struct iocb *list[] = {&c};
  c = (struct iocb){.aio_lio_opcode = (uint16_t)op,
                    .aio_fildes = (uint32_t)fd,
                    .aio_buf = (uintptr_t)buf,
                    .aio_nbytes = n,
                    .aio_offset = off,
                    .aio_data = data};
  return syscall(SYS_io_submit, ctx, 1, list);
}

static long event(void)
{
  struct io_event e;
  long r = syscall(SYS_io_getevents, ctx, 1, 1, &e, 0);
  if (r == 1)
    say("data %llu res %lld", (unsigned long long)e.data, (long long)e.res);
  return r;
}

static void *late(void *arg)
{
  struct iocb *list[] = {arg};
  sleep_ms(20);
  return (void *)syscall(SYS_io_submit, ctx, 1, list);
}

static void several(int fd)
{
  char a[8] = "", b[8] = "";
  struct iovec v[] = {{a, 3}, {b, 4}};
  struct iocb one = {.aio_lio_opcode = IOCB_CMD_PREADV,
                     .aio_fildes = (uint32_t)fd,
                     .aio_buf = (uintptr_t)v,
                     .aio_nbytes = 2,
                     .aio_data = 11};
  struct iocb two = {.aio_lio_opcode = IOCB_CMD_PWRITE,
                     .aio_fildes = (uint32_t)fd,
                     .aio_buf = (uintptr_t) "ZZ",
                     .aio_nbytes = 2,
                     .aio_offset = 20,
                     .aio_data = 12};
  struct iocb bad = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = 999, .aio_data = 13};
  struct iocb *list[] = {&one, &two, &bad};
  struct io_event e[4];
  T(syscall(SYS_io_submit, ctx, 3, list));
  long n = T(syscall(SYS_io_getevents, ctx, 2, 4, e, 0));
  uint64_t sum = 0;
  for (long i = 0; i < n; i++)
    sum += e[i].data, say("own %d res %lld", e[i].obj == (uintptr_t)(e[i].data == 11 ? &one : &two),
                          (long long)(e[i].data == 11 ? e[i].res : e[i].res + 100));
  say("sum %d a %s b %s", (int)sum, a, b);
  T(syscall(SYS_io_submit, ctx, 1, &list[2]));
}

static void told_by_eventfd(int fd)
{
  uint64_t count = 0;
  int efd = eventfd(0, EFD_NONBLOCK);
  char buf[4];
  struct iocb c = {.aio_lio_opcode = IOCB_CMD_PREAD,
                   .aio_fildes = (uint32_t)fd,
                   .aio_buf = (uintptr_t)buf,
                   .aio_nbytes = 4,
                   .aio_flags = IOCB_FLAG_RESFD,
                   .aio_resfd = (uint32_t)efd,
                   .aio_data = 5};
  struct iocb *list[] = {&c};
  T(syscall(SYS_io_submit, ctx, 1, list));
  T(event());
  T(read(efd, &count, 8));
  T(count);
}

static void waits(int fd)
{
  pthread_t t;
  char buf[4];
  struct iocb c = {.aio_lio_opcode = IOCB_CMD_PREAD,
                   .aio_fildes = (uint32_t)fd,
                   .aio_buf = (uintptr_t)buf,
                   .aio_nbytes = 4,
                   .aio_data = 6};
  pthread_create(&t, 0, late, &c);
  T(event());
  pthread_join(t, 0);
  struct timespec little = {0, 1000000};
  struct io_event e;
  T(syscall(SYS_io_getevents, ctx, 1, 1, &e, &little));
}

int main(void)
{
  char buf[64] = "";
  int fd = open("f", O_RDWR | O_CREAT, 0644), ro = open("f", O_RDONLY), p[2], dir = open(".", O_RDONLY);
  pipe(p);
  signal(SIGXFSZ, SIG_IGN);
  T(syscall(SYS_io_setup, 8, &ctx));
  T(submit(IOCB_CMD_PWRITE, fd, "hello, aio", 10, 0, 1));
  T(event());
  show_file("f");
  T(submit(IOCB_CMD_PREAD, fd, buf, sizeof buf, 7, 2));
  T(event());
  say("%s", buf);
  T(submit(IOCB_CMD_PREAD, ro, buf, 4, 100, 3));
  T(event());
  T(submit(IOCB_CMD_FSYNC, fd, 0, 0, 0, 4));
  T(event());
  T(submit(IOCB_CMD_FDSYNC, fd, 0, 0, 0, 4));
  T(event());
  T(submit(IOCB_CMD_PWRITE, ro, "x", 1, 0, 5));
  T(submit(IOCB_CMD_PREAD, fd, (void *)8, 4, 0, 5));
  T(event());
  T(submit(IOCB_CMD_PREAD, fd, buf, 4, -1, 5));
  T(submit(IOCB_CMD_PREAD, dir, buf, 4, 0, 5));
  T(submit(99, fd, buf, 4, 0, 5));
  T(lseek(fd, 0, SEEK_CUR));
  T(submit(IOCB_CMD_PWRITE, p[1], "piped", 5, 0, 7));
  T(event());
  T(read(p[0], buf, 5));
  setrlimit(RLIMIT_FSIZE, &(struct rlimit){30, RLIM_INFINITY});
  T(submit(IOCB_CMD_PWRITE, fd, "too far", 7, 40, 8));
  T(event());
  several(fd);
  told_by_eventfd(fd);
  waits(fd);
  T(syscall(SYS_io_submit, ctx, 0, 0));
  T(syscall(SYS_io_submit, ctx, -1, 0));
  T(syscall(SYS_io_submit, 0, 1, buf));
  T(syscall(SYS_io_destroy, ctx));
  T(syscall(SYS_io_destroy, ctx));
  show_file("f");
  return 0;
}
