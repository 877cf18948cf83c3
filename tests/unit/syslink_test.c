/*
 * libsyslink: every rule of syslink(3) and syslink_msg(5) by itself. Where death is the matter, a process dies.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "syslink/ledger.h"
#include "syslink/syslink.h"

#define BUFFER_SIZE 65536
#define LABEL 0xabcd1234u
#define SESSION 0x1122334455667788u

union room {
  struct syslink_msg msg;
  uint8_t bytes[SYSLINK_MSG_MAX];
};

/* ---- helpers ---- */

static void link_new(int fd[2], unsigned flags)
{
  struct syslink_info info = {.flags = flags};
  assert_int_equal(syslink(SYSLINK_CMD_NEW, &info, sizeof info), 0);
  fd[0] = info.fd[0];
  fd[1] = info.fd[1];
}

static void link_end(const int fd[2])
{
  assert_int_equal(syslink_close(fd[0]), 0);
  assert_int_equal(syslink_close(fd[1]), 0);
}

static ssize_t command_in(union room *r, uint64_t id, uint32_t buffer)
{
  struct syslink_builder b;
  syslink_msg_begin(&b, r, sizeof *r, 7, id);
  r->msg.sm_label = LABEL;
  r->msg.sm_sessid = SESSION;
  if (buffer)
    syslink_msg_buffer(&b, buffer);
  syslink_elm_put(&b, 9, 5, "twelve bytes", 12);
  return syslink_msg_end(&b);
}

static ssize_t put(int fd, void *msg, size_t n, void *buffer, size_t size)
{
  struct iovec iov[2] = {{msg, n}, {buffer, size}};
  return syslink_writev(fd, iov, buffer ? 2 : 1);
}

static ssize_t get(int fd, void *msg, size_t n, void *buffer, size_t size)
{
  struct iovec iov[2] = {{msg, n}, {buffer, size}};
  return syslink_readv(fd, iov, buffer ? 2 : 1);
}

static ssize_t command(int fd, uint64_t id)
{
  union room r;
  return put(fd, &r, (size_t)command_in(&r, id, 0), 0, 0);
}

static ssize_t reply_to(int fd, const struct syslink_msg *to, int error)
{
  struct syslink_builder b;
  union room r;
  syslink_msg_reply(&b, &r, sizeof r, to, error);
  return put(fd, &r, (size_t)syslink_msg_end(&b), 0, 0);
}

static ssize_t reply(int fd, uint64_t id)
{
  struct syslink_msg to = {.sm_proto = SM_PROTO, .sm_bytes = sizeof to, .sm_label = LABEL, .sm_msgid = id};
  to.sm_sessid = SESSION;
  to.sm_head = (struct syslink_elm){7, 8, 0};
  return reply_to(fd, &to, 0);
}

static void expect_command(int fd, uint64_t id)
{
  union room r;
  assert_true(get(fd, &r, sizeof r, 0, 0) > 0);
  assert_int_equal(r.msg.sm_proto, SM_PROTO);
  assert_int_equal(r.msg.sm_msgid, id);
}

static void expect_reply(int fd, uint64_t id, int error)
{
  union room r;
  assert_int_equal(get(fd, &r, sizeof r, 0, 0), sizeof r.msg);
  assert_int_equal(r.msg.sm_proto, SM_PROTO | SM_PROTO_REPLY);
  assert_int_equal(r.msg.sm_msgid, id);
  assert_int_equal(r.msg.sm_label, LABEL);
  assert_int_equal(r.msg.sm_sessid, SESSION);
  assert_int_equal(r.msg.sm_head.se_aux, error);
}

static void expect_errno(ssize_t r, int error)
{
  assert_int_equal(r, -1);
  assert_int_equal(errno, error);
}

static short events(int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  assert_true(poll(&p, 1, 0) >= 0);
  return p.revents;
}

static pid_t child_of(void (*f)(int fd), const int fd[2])
{
  pid_t pid = fork();
  if (pid)
    return pid;
  close(fd[0]);
  f(fd[1]);
  _exit(0);
}

static void expect_exit(pid_t pid)
{
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static unsigned descriptors(void)
{
  DIR *d = opendir("/proc/self/fd");
  unsigned n = 0;
  while (readdir(d))
    n++;
  closedir(d);
  return n;
}

/* ---- links ---- */

static void new_checks_what_it_is_given(void **state)
{
  struct syslink_info info = {0};
  (void)state;
  expect_errno(syslink(2, &info, sizeof info), EINVAL);
  expect_errno(syslink(SYSLINK_CMD_NEW, &info, sizeof info - 1), EINVAL);
  expect_errno(syslink(SYSLINK_CMD_NEW, &(struct syslink_info){.version = 1}, sizeof info), EINVAL);
  expect_errno(syslink(SYSLINK_CMD_NEW, &(struct syslink_info){.flags = 4}, sizeof info), EINVAL);
}

static void new_gives_a_connected_pair(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, SYSLINK_CLOEXEC | SYSLINK_NONBLOCK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(fcntl(fd[i], F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd[i], F_GETFL) & O_NONBLOCK);
    union room r;
    assert_int_equal(command(fd[i], 1), command_in(&r, 1, 0));
    expect_command(fd[!i], 1);
    assert_int_equal(reply(fd[!i], 1), sizeof(struct syslink_msg));
    expect_reply(fd[i], 1, 0);
  }
  link_end(fd);
}

static void other_descriptors_are_no_links(void **state)
{
  int p[2], s[2];
  (void)state;
  assert_int_equal(pipe(p), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
  expect_errno(command(p[1], 1), ENOTSOCK);
  expect_errno(command(s[1], 1), EINVAL);
  expect_errno(syslink_close(p[0]), ENOTSOCK);
  for (int i = 0; i < 2; i++) {
    close(p[i]);
    close(s[i]);
  }
  expect_errno(command(p[1], 1), EBADF);
}

/* This program again, with the link as a descriptor that it inherits. */
static int inheritor(int fd)
{
  union room r;
  if (get(fd, &r, sizeof r, 0, 0) <= 0 || reply_to(fd, &r.msg, 42) != sizeof r.msg)
    return 1;
  return command(fd, 77) > 0 ? 0 : 2;
}

static void inherited_by_exec(void **state)
{
  int fd[2], status;
  char number[12];
  (void)state;
  link_new(fd, 0);
  snprintf(number, sizeof number, "%d", fd[1]);
  pid_t pid = fork();
  if (!pid) {
    close(fd[0]);
    execl("/proc/self/exe", "inheritor", number, (char *)0);
    _exit(9);
  }
  close(fd[1]);
  assert_true(command(fd[0], 5) > 0);
  expect_reply(fd[0], 5, 42);
  expect_command(fd[0], 77);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_int_equal(syslink_close(fd[0]), 0);
}

static void send_fd(int sock, int fd)
{
  union {
    struct cmsghdr h;
    char room[CMSG_SPACE(sizeof(int))];
  } c = {.h = {CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS}};
  struct iovec iov = {"x", 1};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
  memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
  assert_int_equal(sendmsg(sock, &m, 0), 1);
}

static void receiver(int sock)
{
  union {
    struct cmsghdr h;
    char room[CMSG_SPACE(sizeof(int))];
  } c;
  char byte;
  struct iovec iov = {&byte, 1};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
  int fd;
  if (recvmsg(sock, &m, 0) != 1)
    _exit(1);
  memcpy(&fd, CMSG_DATA(&c.h), sizeof fd);
  _exit(inheritor(fd));
}

static void passed_to_a_process(void **state)
{
  int fd[2], s[2];
  (void)state;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
  pid_t pid = child_of(receiver, s); /* who knows nothing of the link yet */
  link_new(fd, SYSLINK_CLOEXEC);
  assert_true(command(fd[0], 5) > 0); /* on its way already */
  send_fd(s[0], fd[1]);
  close(fd[1]);
  expect_reply(fd[0], 5, 42);
  expect_command(fd[0], 77);
  expect_exit(pid);
  close(s[0]);
  close(s[1]);
  assert_int_equal(syslink_close(fd[0]), 0);
}

static void duplicates_are_one_end(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  int twin = dup(fd[0]);
  assert_true(command(fd[0], 1) > 0);
  expect_errno(command(twin, 1), EEXIST);
  expect_command(fd[1], 1);
  assert_true(reply(fd[1], 1) > 0);
  expect_reply(twin, 1, 0);
  close(twin);
  link_end(fd);
}

static void a_number_used_again_is_another_link(void **state)
{
  int fd[2], again[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  close(fd[0]);
  close(fd[1]);
  link_new(again, 0);
  assert_int_equal(again[0], fd[0]);
  assert_true(command(again[0], 1) > 0);
  expect_command(again[1], 1);
  link_end(again);
}

static void child_answers(int fd)
{
  _exit(reply(fd, 3) > 0 ? 0 : 1);
}

static void a_fork_takes_over_what_was_read(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 3) > 0);
  expect_command(fd[1], 3);
  expect_exit(child_of(child_answers, fd));
  expect_reply(fd[0], 3, 0);
  link_end(fd);
}

/* ---- what is written ---- */

static void too_much_is_EFBIG(void **state)
{
  static uint8_t big[SYSLINK_BUF_MAX + 1];
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, SYSLINK_NONBLOCK);
  struct iovec three[3] = {{&r, (size_t)command_in(&r, 1, 0)}, {big, 0}, {big, 0}};
  expect_errno(syslink_writev(fd[0], three, 3), EFBIG);
  expect_errno(syslink_readv(fd[0], three, 3), EFBIG);
  expect_errno(put(fd[0], big, SYSLINK_MSG_MAX + 8, 0, 0), EFBIG);
  expect_errno(put(fd[0], &r, (size_t)command_in(&r, 1, 4), big, sizeof big), EFBIG);
  expect_errno(syslink_writev(fd[0], three, 0), EINVAL);
  expect_errno(syslink_readv(fd[0], three, 0), EINVAL);
  assert_int_equal(events(fd[1]), 0);
  link_end(fd);
}

/* One field at a time of a good message. */
static const struct flaw {
  const char *what;
  size_t at, size;
  uint64_t value;
} flaws[] = {
    {"protocol", 0, 2, 0x1a54},
    {"size beyond what is there", 2, 2, 64},
    {"size less than what is there", 2, 2, 48},
    {"size not a multiple of 8", 2, 2, 57},
    {"size less than a head", 2, 2, 24},
    {"number of the head", 24, 2, 0x3f00 | SE_NESTED},
    {"a buffer told that does not come", 24, 2, 7 | SE_NESTED | SE_BUFFER},
    {"a buffer without elements", 24, 2, 7 | SE_BUFFER},
    {"bytes of the head: less", 26, 2, 24},
    {"bytes of the head: more", 26, 2, 40},
    {"an element of the library's", 32, 2, SE_CMD_BUFFER},
    {"an element with a buffer", 32, 2, 9 | SE_BUFFER},
    {"an element less than its head", 34, 2, 7},
    {"an element of nothing", 34, 2, 0},
    {"an element beyond the end", 34, 2, 25},
    {"rest after an element", 34, 2, 12},
    {"a nested element with odd bytes", 32, 2, 9 | SE_NESTED},
};

static void malformed_is_EINVAL(void **state)
{
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, SYSLINK_NONBLOCK);
  for (unsigned i = 0; i < sizeof flaws / sizeof *flaws; i++) {
    size_t n = (size_t)command_in(&r, 1, 0);
    assert_int_equal(n, 56);
    memcpy(r.bytes + flaws[i].at, &flaws[i].value, flaws[i].size);
    if (put(fd[0], &r, n, 0, 0) != -1 || errno != EINVAL)
      fail_msg("%s: taken", flaws[i].what);
  }
  for (size_t n = 0; n < 56; n++) {
    command_in(&r, 1, 0);
    expect_errno(put(fd[0], &r, n, 0, 0), EINVAL);
  }
  assert_int_equal(events(fd[1]), 0);
  assert_true(command(fd[0], 1) > 0);
  link_end(fd);
}

static void a_buffer_and_its_element_belong_together(void **state)
{
  char buffer[64];
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, SYSLINK_NONBLOCK);
  expect_errno(put(fd[0], &r, (size_t)command_in(&r, 1, 64), 0, 0), EINVAL);
  expect_errno(put(fd[0], &r, (size_t)command_in(&r, 1, 64), buffer, 63), EINVAL);
  expect_errno(put(fd[0], &r, (size_t)command_in(&r, 1, 0), buffer, 64), EINVAL);
  assert_true(put(fd[0], &r, (size_t)command_in(&r, 1, 0), buffer, 0) > 0);
  assert_true(put(fd[0], &r, (size_t)command_in(&r, 2, 64), buffer, 64) > 0);
  link_end(fd);
}

static ssize_t nested(union room *r, int depth)
{
  struct syslink_builder b;
  syslink_msg_begin(&b, r, sizeof *r, 1, 1);
  for (int i = 1; i < depth; i++)
    syslink_elm_open(&b, (uint16_t)i, i);
  syslink_elm_put(&b, 100, -1, "x", 1);
  for (int i = 1; i < depth; i++)
    syslink_elm_close(&b);
  syslink_elm_put(&b, 101, 0, 0, 0);
  return syslink_msg_end(&b);
}

/* By hand, since the builder makes none that are too deep: an element of nothing but the next one, again and again. */
static size_t nested_by_hand(union room *r, int depth)
{
  size_t n = sizeof(struct syslink_msg) + 8 * (size_t)depth;
  r->msg = (struct syslink_msg){.sm_proto = SM_PROTO, .sm_bytes = (uint16_t)n};
  struct syslink_elm *e = &r->msg.sm_head;
  for (int i = 0; i <= depth; i++)
    e[i] = (struct syslink_elm){.se_cmd = SE_NESTED, .se_bytes = (uint16_t)(8 * (depth - i + 1))};
  return n;
}

static void elements_nest_to_depth_10(void **state)
{
  union room r, got;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  ssize_t n = nested(&r, SYSLINK_DEPTH_MAX);
  assert_true(n > 0);
  assert_int_equal(put(fd[0], &r, (size_t)n, 0, 0), n);
  assert_int_equal(get(fd[1], &got, sizeof got, 0, 0), n);
  assert_memory_equal(&r, &got, n);
  const struct syslink_elm *in = &got.msg.sm_head, *e = syslink_elm_first(in);
  assert_int_equal(syslink_elm_next(in, e)->se_cmd, 101);
  assert_null(syslink_elm_next(in, syslink_elm_next(in, e)));
  for (int i = 1; i < SYSLINK_DEPTH_MAX; i++, e = syslink_elm_first(e))
    assert_int_equal(e->se_aux, i);
  assert_int_equal(e->se_cmd, 100);
  assert_int_equal(syslink_elm_bytes(e), 1);
  assert_memory_equal(syslink_elm_data(e), "x", 1);
  assert_null(syslink_elm_first(e));
  expect_errno(nested(&r, SYSLINK_DEPTH_MAX + 1), EINVAL);
  assert_int_equal(syslink_msg_check(&r, nested_by_hand(&r, SYSLINK_DEPTH_MAX)), 0);
  expect_errno(put(fd[0], &r, nested_by_hand(&r, SYSLINK_DEPTH_MAX + 1), 0, 0), EINVAL);
  link_end(fd);
}

static void the_builder_tells_what_does_not_fit(void **state)
{
  struct syslink_builder b;
  union room r;
  static uint8_t data[SYSLINK_MSG_MAX];
  (void)state;
  syslink_msg_begin(&b, &r, 31, 1, 1);
  expect_errno(syslink_msg_end(&b), EMSGSIZE);
  syslink_msg_begin(&b, &r, sizeof r, 1, 1);
  syslink_elm_put(&b, 1, 0, data, SYSLINK_MSG_MAX - 40);
  assert_int_equal(syslink_msg_end(&b), SYSLINK_MSG_MAX);
  syslink_msg_begin(&b, &r, sizeof r, 1, 1);
  syslink_elm_put(&b, 1, 0, data, SYSLINK_MSG_MAX - 39);
  expect_errno(syslink_msg_end(&b), EMSGSIZE);
  syslink_msg_begin(&b, &r, sizeof r, 1, 1);
  syslink_elm_open(&b, 1, 0);
  expect_errno(syslink_msg_end(&b), EINVAL);
  syslink_msg_begin(&b, &r, sizeof r, SE_APP_END, 1);
  expect_errno(syslink_msg_end(&b), EINVAL);
}

/* ---- numbers ---- */

static void a_number_in_use_is_EEXIST(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  expect_errno(command(fd[0], 1), EEXIST);
  expect_command(fd[1], 1);
  expect_errno(command(fd[0], 1), EEXIST);
  assert_true(reply(fd[1], 1) > 0);
  expect_errno(command(fd[0], 1), EEXIST); /* the reply has not been read */
  expect_reply(fd[0], 1, 0);
  assert_true(command(fd[0], 1) > 0);
  link_end(fd);
}

static void each_direction_has_its_own_numbers(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  assert_true(command(fd[1], 1) > 0);
  expect_command(fd[1], 1);
  expect_command(fd[0], 1);
  assert_true(reply(fd[1], 1) > 0);
  assert_true(reply(fd[0], 1) > 0);
  expect_reply(fd[0], 1, 0);
  expect_reply(fd[1], 1, 0);
  link_end(fd);
}

static void a_reply_that_nobody_waits_for_is_ENOENT(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  expect_errno(reply(fd[1], 1), ENOENT);
  assert_true(command(fd[0], 1) > 0);
  expect_errno(reply(fd[1], 1), ENOENT); /* not read yet */
  expect_errno(reply(fd[0], 1), ENOENT); /* to a command of one's own */
  expect_command(fd[1], 1);
  expect_errno(reply(fd[1], 2), ENOENT);
  assert_true(reply(fd[1], 1) > 0);
  expect_errno(reply(fd[1], 1), ENOENT); /* the second */
  expect_reply(fd[0], 1, 0);
  link_end(fd);
}

static void label_and_session_come_back_unchanged(void **state)
{
  union room r, got;
  struct syslink_builder b;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  assert_true(get(fd[1], &got, sizeof got, 0, 0) > 0);
  for (int i = 0; i < 2; i++) {
    syslink_msg_reply(&b, &r, sizeof r, &got.msg, 0);
    r.msg.sm_label += !i;
    r.msg.sm_sessid += (unsigned)i;
    expect_errno(put(fd[1], &r, (size_t)syslink_msg_end(&b), 0, 0), EINVAL);
  }
  assert_true(reply_to(fd[1], &got.msg, ENOSPC) > 0);
  expect_reply(fd[0], 1, ENOSPC);
  link_end(fd);
}

/* ---- how much ---- */

/* The kernel holds fewer packets: the other side reads them. */
static void fill(const int fd[2])
{
  for (uint64_t i = 0; i < SYSLINK_UNREPLIED_MAX; i++) {
    assert_true(command(fd[0], i) > 0);
    expect_command(fd[1], i);
  }
}

static void too_much_unreplied_is_EAGAIN(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, SYSLINK_NONBLOCK);
  fill(fd);
  expect_errno(command(fd[0], 5000), EAGAIN);
  assert_true(reply(fd[1], 7) > 0);
  expect_errno(command(fd[0], 5000), EAGAIN); /* until it is read */
  expect_reply(fd[0], 7, 0);
  assert_true(command(fd[0], 5000) > 0);
  expect_errno(command(fd[0], 5001), EAGAIN);
  link_end(fd);
}

static void *write_one_more(void *arg)
{
  return (void *)(command(*(int *)arg, 9999) > 0 ? 0 : (intptr_t)errno);
}

static void too_much_unreplied_blocks(void **state)
{
  int fd[2];
  void *result;
  pthread_t t;
  (void)state;
  link_new(fd, 0);
  fill(fd);
  pthread_create(&t, 0, write_one_more, &fd[0]);
  assert_true(reply(fd[1], 7) > 0);
  expect_reply(fd[0], 7, 0);
  pthread_join(t, &result);
  assert_null(result);
  expect_command(fd[1], 9999);
  link_end(fd);
}

static void a_full_socket_is_EAGAIN(void **state)
{
  static char out[BUFFER_SIZE], in[BUFFER_SIZE];
  union room r;
  int fd[2], n = 0;
  (void)state;
  link_new(fd, SYSLINK_NONBLOCK);
  while (put(fd[0], &r, (size_t)command_in(&r, (uint64_t)n, sizeof out), out, sizeof out) > 0)
    n++;
  assert_int_equal(errno, EAGAIN);
  assert_in_range(n, 1, SYSLINK_UNREPLIED_MAX - 1);
  for (int i = 0; i < n; i++)
    assert_true(get(fd[1], &r, sizeof r, in, sizeof in) > 0);
  assert_true(command(fd[0], (uint64_t)n) > 0); /* what did not go has left nothing behind */
  link_end(fd);
}

static void a_thousand_wait_for_their_replies(void **state)
{
  int fd[2];
  bool seen[1000] = {0};
  (void)state;
  link_new(fd, 0);
  for (uint64_t i = 0; i < 1000; i++) {
    assert_true(command(fd[0], i * i) > 0);
    expect_command(fd[1], i * i);
  }
  for (uint64_t i = 1000; i--;) {
    assert_true(reply(fd[1], i * i) > 0);
    union room r;
    assert_int_equal(get(fd[0], &r, sizeof r, 0, 0), sizeof r.msg);
    assert_int_equal(r.msg.sm_msgid, i * i);
    assert_false(seen[i]);
    seen[i] = true;
  }
  link_end(fd);
}

/* ---- what is read ---- */

static void too_little_room_is_ENOSPC_and_loses_nothing(void **state)
{
  static char out[BUFFER_SIZE], in[BUFFER_SIZE];
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, SYSLINK_NONBLOCK);
  memset(out, 'b', sizeof out);
  expect_errno(get(fd[1], &r, sizeof r, 0, 0), EAGAIN);
  ssize_t n = command_in(&r, 1, sizeof out);
  assert_int_equal(put(fd[0], &r, (size_t)n, out, sizeof out), n); /* counts iov[0] only */
  assert_true(command(fd[0], 2) > 0);
  expect_errno(get(fd[1], &r, (size_t)n - 1, in, sizeof in), ENOSPC);
  expect_errno(get(fd[1], &r, sizeof r, 0, 0), ENOSPC);
  expect_errno(get(fd[1], &r, sizeof r, in, sizeof in - 1), ENOSPC);
  assert_int_equal(events(fd[1]), POLLIN);
  assert_int_equal(get(fd[1], &r, (size_t)n, in, sizeof in), n); /* counts iov[0] only */
  assert_int_equal(syslink_msg_buffer_bytes(&r.msg), sizeof out);
  assert_memory_equal(in, out, sizeof out);
  expect_command(fd[1], 2);
  link_end(fd);
}

static void room_for_a_buffer_may_stay_unused(void **state)
{
  static char in[SYSLINK_BUF_MAX];
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  memset(in, 'i', sizeof in);
  assert_true(command(fd[0], 1) > 0);
  assert_true(get(fd[1], &r, sizeof r, in, sizeof in) > 0);
  assert_int_equal(syslink_msg_buffer_bytes(&r.msg), 0);
  for (unsigned i = 0; i < sizeof in; i++)
    assert_int_equal(in[i], 'i');
  link_end(fd);
}

static void poll_tells_what_a_read_would_find(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_int_equal(events(fd[1]), 0);
  assert_true(command(fd[0], 1) > 0);
  assert_int_equal(events(fd[1]), POLLIN);
  assert_int_equal(events(fd[0]), 0);
  expect_command(fd[1], 1);
  assert_int_equal(events(fd[1]), 0);
  assert_true(reply(fd[1], 1) > 0);
  assert_int_equal(events(fd[0]), POLLIN);
  expect_reply(fd[0], 1, 0);
  assert_int_equal(events(fd[0]), 0);
  assert_true(command(fd[0], 2) > 0);
  assert_int_equal(syslink_close(fd[1]), 0);
  assert_int_equal(events(fd[0]) & (POLLIN | POLLHUP), POLLIN | POLLHUP);
  expect_reply(fd[0], 2, ECONNABORTED);
  assert_int_equal(syslink_close(fd[0]), 0);
}

static void both_byte_orders_are_read(void **state)
{
  union room r, got;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  ssize_t n = nested(&r, 3);
  struct syslink_elm *e = &r.msg.sm_head;
  size_t heads[] = {0, 1, 2, 3, 5}; /* of the elements, in units of 8 bytes behind the head */
  for (unsigned i = 0; i < sizeof heads / sizeof *heads; i++) {
    struct syslink_elm *x = e + heads[i];
    *x = (struct syslink_elm){__builtin_bswap16(x->se_cmd), __builtin_bswap16(x->se_bytes),
                              (int32_t)__builtin_bswap32((uint32_t)x->se_aux)};
  }
  r.msg.sm_proto = __builtin_bswap16(r.msg.sm_proto);
  r.msg.sm_bytes = __builtin_bswap16(r.msg.sm_bytes);
  r.msg.sm_label = __builtin_bswap32(LABEL);
  r.msg.sm_msgid = __builtin_bswap64(1);
  r.msg.sm_sessid = __builtin_bswap64(SESSION);
  assert_int_equal(put(fd[0], &r, (size_t)n, 0, 0), n);
  expect_errno(command(fd[0], 1), EEXIST); /* the number is 1 in either order */
  assert_int_equal(get(fd[1], &got, sizeof got, 0, 0), n);
  assert_memory_equal(&got, &r, n); /* as it was written */
  assert_int_equal(syslink_msg_native(&got.msg), 1);
  assert_int_equal(syslink_msg_native(&got.msg), 0);
  assert_int_equal(got.msg.sm_label, LABEL);
  nested(&r, 3);
  assert_memory_equal(&got.msg.sm_head, &r.msg.sm_head, (size_t)n - 24);
  assert_true(reply_to(fd[1], &got.msg, 5) > 0);
  expect_reply(fd[0], 1, 5);
  link_end(fd);
}

static void a_made_up_reply_has_its_commands_byte_order(void **state)
{
  struct syslink_msg m = {.sm_proto = __builtin_bswap16(SM_PROTO), .sm_bytes = __builtin_bswap16(sizeof m)}, got;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  m.sm_msgid = __builtin_bswap64(11);
  m.sm_label = 1;
  m.sm_head = (struct syslink_elm){__builtin_bswap16(7), __builtin_bswap16(8), 0};
  assert_int_equal(put(fd[0], &m, sizeof m, 0, 0), sizeof m);
  assert_int_equal(syslink_close(fd[1]), 0);
  assert_int_equal(get(fd[0], &got, sizeof got, 0, 0), sizeof got);
  assert_int_equal(got.sm_proto, __builtin_bswap16(SM_PROTO | SM_PROTO_REPLY));
  assert_int_equal(got.sm_label, 1);
  assert_int_equal(got.sm_msgid, m.sm_msgid);
  assert_int_equal(got.sm_head.se_aux, __builtin_bswap32(ECONNABORTED));
  assert_int_equal(syslink_msg_check(&got, sizeof got), 0);
  assert_int_equal(syslink_close(fd[0]), 0);
}

/* ---- buffers ---- */

static void send_buffer(int fd, uint64_t id, void *p, size_t n)
{
  union room r;
  ssize_t len = command_in(&r, id, (uint32_t)n);
  assert_int_equal(put(fd, &r, (size_t)len, p, n), len);
}

static void expect_buffer(int fd, uint64_t id, char *room, size_t n, char c)
{
  union room r;
  assert_true(get(fd, &r, sizeof r, room, n) > 0);
  assert_int_equal(r.msg.sm_msgid, id);
  assert_int_equal(syslink_msg_buffer_bytes(&r.msg), n);
  for (size_t i = 0; i < n; i++)
    if (room[i] != c)
      fail_msg("byte %zu of the buffer: %d", i, room[i]);
}

static void buffers_of_any_size_arrive(void **state)
{
  static const size_t sizes[] = {1, 7, 8, 4095, 4096, 16384, 65537, SYSLINK_BUF_MAX};
  static char out[SYSLINK_BUF_MAX], in[SYSLINK_BUF_MAX];
  int fd[2];
  (void)state;
  link_new(fd, 0);
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    memset(out, 'a' + (int)i, sizeof out);
    send_buffer(fd[0], i, out, sizes[i]);
    expect_buffer(fd[1], i, in, sizes[i], (char)('a' + i));
  }
  link_end(fd);
}

static void a_buffer_survives_its_unmapping(void **state)
{
  static char in[BUFFER_SIZE];
  int fd[2];
  (void)state;
  link_new(fd, 0);
  char *plain = mmap(0, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(plain, 'p', BUFFER_SIZE);
  send_buffer(fd[0], 1, plain, BUFFER_SIZE);
  munmap(plain, BUFFER_SIZE);
  char *shared = syslink_alloc(BUFFER_SIZE);
  memset(shared, 's', BUFFER_SIZE);
  send_buffer(fd[0], 2, shared, BUFFER_SIZE);
  assert_int_equal(syslink_free(shared), 0);
  expect_errno(syslink_free(shared), EINVAL);
  expect_buffer(fd[1], 1, in, sizeof in, 'p');
  expect_buffer(fd[1], 2, in, sizeof in, 's');
  link_end(fd);
}

static void aligned_memory_is_shared_not_copied(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  char *out = syslink_alloc(2 * BUFFER_SIZE), *in = syslink_alloc(BUFFER_SIZE);
  memset(out + BUFFER_SIZE, '1', BUFFER_SIZE);
  send_buffer(fd[0], 1, out + BUFFER_SIZE, BUFFER_SIZE);
  out[2 * BUFFER_SIZE - 1] = '2'; /* which its owner must not do before the reply: it is seen */
  union room r;
  assert_true(get(fd[1], &r, sizeof r, in, BUFFER_SIZE) > 0);
  assert_int_equal(in[0], '1');
  assert_int_equal(in[BUFFER_SIZE - 1], '2');
  out[2 * BUFFER_SIZE - 1] = '3';
  assert_int_equal(in[BUFFER_SIZE - 1], '3');
  memset(in, 'w', BUFFER_SIZE); /* the reader's own */
  assert_int_equal(out[BUFFER_SIZE], '1');
  send_buffer(fd[1], 1, in, BUFFER_SIZE); /* what it holds now, whoever's pages these were */
  static char back[BUFFER_SIZE];
  expect_buffer(fd[0], 1, back, sizeof back, 'w');
  assert_int_equal(syslink_free(out), 0);
  assert_int_equal(syslink_free(in), 0);
  link_end(fd);
}

static void a_replys_buffer_is_copied_at_once(void **state)
{
  static char in[BUFFER_SIZE];
  struct syslink_builder b;
  union room r, got;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  assert_true(get(fd[1], &got, sizeof got, 0, 0) > 0);
  char *out = syslink_alloc(BUFFER_SIZE);
  memset(out, 'r', BUFFER_SIZE);
  syslink_msg_reply(&b, &r, sizeof r, &got.msg, 0);
  syslink_msg_buffer(&b, BUFFER_SIZE);
  assert_int_equal(put(fd[1], &r, (size_t)syslink_msg_end(&b), out, BUFFER_SIZE), 40);
  memset(out, 'x', BUFFER_SIZE);
  expect_errno(get(fd[0], &got, sizeof got, 0, 0), ENOSPC);
  expect_buffer(fd[0], 1, in, sizeof in, 'r');
  assert_int_equal(syslink_free(out), 0);
  link_end(fd);
}

/* ---- ends ---- */

static void reads_two_and_dies(int fd)
{
  union room r;
  for (int i = 0; i < 2; i++)
    if (get(fd, &r, sizeof r, 0, 0) <= 0)
      _exit(1);
  if (reply_to(fd, &r.msg, 0) < 0)
    _exit(1);
  raise(SIGKILL);
}

/* Two read, of them one answered; two not read at all: each has one reply. */
static void death_answers_what_has_no_reply(void **state)
{
  int fd[2], errors[4] = {-1, -1, -1, -1}, status;
  union room r;
  (void)state;
  link_new(fd, 0);
  for (uint64_t i = 0; i < 4; i++)
    assert_true(command(fd[0], i) > 0);
  pid_t pid = child_of(reads_two_and_dies, fd);
  close(fd[1]);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(get(fd[0], &r, sizeof r, 0, 0), sizeof r.msg);
    assert_int_equal(r.msg.sm_proto, SM_PROTO | SM_PROTO_REPLY);
    assert_int_equal(r.msg.sm_label, LABEL);
    assert_int_equal(r.msg.sm_sessid, SESSION);
    assert_in_range(r.msg.sm_msgid, 0, 3);
    assert_int_equal(errors[r.msg.sm_msgid], -1);
    errors[r.msg.sm_msgid] = r.msg.sm_head.se_aux;
  }
  assert_int_equal(get(fd[0], &r, sizeof r, 0, 0), 0);
  assert_int_equal(get(fd[0], &r, sizeof r, 0, 0), 0);
  for (int i = 0; i < 4; i++)
    assert_int_equal(errors[i], i == 1 ? 0 : ECONNABORTED);
  expect_errno(command(fd[0], 9), EPIPE);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  assert_int_equal(syslink_close(fd[0]), 0);
}

static void a_made_up_reply_needs_room_too(void **state)
{
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  assert_int_equal(syslink_close(fd[1]), 0);
  expect_errno(get(fd[0], &r, sizeof r.msg - 1, 0, 0), ENOSPC);
  expect_reply(fd[0], 1, ECONNABORTED);
  assert_int_equal(syslink_close(fd[0]), 0);
}

/* What the dead had sent is read, and answered to nobody. */
static void the_last_words_of_an_end_are_read(void **state)
{
  union room r;
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[1], 1) > 0);
  assert_true(command(fd[1], 2) > 0);
  expect_command(fd[0], 1);
  assert_int_equal(syslink_close(fd[1]), 0);
  expect_command(fd[0], 2);
  expect_errno(reply(fd[0], 1), EPIPE);
  assert_int_equal(get(fd[0], &r, sizeof r, 0, 0), 0);
  expect_errno(reply(fd[0], 2), EPIPE);
  assert_int_equal(syslink_close(fd[0]), 0);
}

static void close_takes_plain_close_for_the_last_one(void **state)
{
  int fd[2];
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  close(fd[1]);
  expect_reply(fd[0], 1, ECONNABORTED);
  assert_int_equal(syslink_close(fd[0]), 0);
  expect_errno(syslink_close(fd[0]), EBADF);
}

struct sleeper {
  pthread_t thread;
  int fd, error, answers;
};

static void *sleep_reading(void *arg)
{
  struct sleeper *s = arg;
  union room r;
  ssize_t n;
  while ((n = get(s->fd, &r, sizeof r, 0, 0)) > 0)
    s->answers += r.msg.sm_head.se_aux == ECONNABORTED;
  s->error = n ? errno : 0;
  return 0;
}

static void *sleep_writing(void *arg)
{
  struct sleeper *s = arg;
  s->error = command(s->fd, 9999) < 0 ? errno : 0;
  return 0;
}

/* Whose end is closed does not matter; nor whether they are asleep yet, when it is. */
static void closing_wakes_sleepers(int which)
{
  struct sleeper s[4];
  int fd[2], answers = 0;
  link_new(fd, 0);
  fill(fd);
  for (int i = 0; i < 4; i++) {
    s[i] = (struct sleeper){.fd = fd[0]};
    pthread_create(&s[i].thread, 0, i < 2 ? sleep_reading : sleep_writing, &s[i]);
  }
  assert_int_equal(syslink_close(fd[which]), 0);
  for (int i = 0; i < 4; i++) {
    pthread_join(s[i].thread, 0);
    answers += s[i].answers;
    bool closed = s[i].error == EBADF && !which; /* he came too late */
    assert_true(closed || s[i].error == (i < 2 ? 0 : EPIPE));
  }
  if (which)
    assert_int_equal(answers, SYSLINK_UNREPLIED_MAX);
  assert_int_equal(syslink_close(fd[!which]), 0);
}

static void sleepers_wake_when_the_other_end_closes(void **state)
{
  (void)state;
  closing_wakes_sleepers(1);
}

static void sleepers_wake_when_their_end_closes(void **state)
{
  (void)state;
  closing_wakes_sleepers(0);
}

static void nothing_stays_open(void **state)
{
  static char in[BUFFER_SIZE];
  int fd[2];
  (void)state;
  unsigned before = descriptors();
  link_new(fd, 0);
  char *p = syslink_alloc(BUFFER_SIZE);
  memset(p, 'x', BUFFER_SIZE);
  for (uint64_t i = 0; i < 20; i++) {
    send_buffer(fd[0], i, p, BUFFER_SIZE);
    expect_buffer(fd[1], i, in, sizeof in, 'x');
  }
  send_buffer(fd[0], 100, p, BUFFER_SIZE); /* never read */
  assert_int_equal(syslink_free(p), 0);
  link_end(fd);
  assert_int_equal(descriptors(), before);
}

/* ---- both ways, by many ---- */

#define SIDES 2
#define THREADS 4
#define EACH 200

struct party {
  pthread_t thread;
  int fd, number;
  struct tally *t;
};
struct tally {
  unsigned commands[SIDES], replies[SIDES];
  bool wrong; /* atomic, as all */
};

static void note(struct tally *t, bool wrong)
{
  if (wrong)
    __atomic_store_n(&t->wrong, true, __ATOMIC_SEQ_CST);
}

static void *sends_commands(void *arg)
{
  struct party *p = arg;
  char *buffer = syslink_alloc(BUFFER_SIZE);
  for (int i = 0; i < EACH; i++) {
    uint64_t id = (uint64_t)p->number * EACH + (unsigned)i;
    union room r;
    bool with = i % 8 == 0;
    if (with)
      memset(buffer, (int)id & 127, BUFFER_SIZE);
    ssize_t n = command_in(&r, id, with ? BUFFER_SIZE : 0);
    note(p->t, put(p->fd, &r, (size_t)n, with ? buffer : 0, BUFFER_SIZE) != n);
    if (with) { /* its contents must stay until the reply: the memory may go */
      syslink_free(buffer);
      buffer = syslink_alloc(BUFFER_SIZE);
    }
  }
  syslink_free(buffer);
  return 0;
}

static bool whole(const char *buffer, uint32_t n, uint64_t id)
{
  for (uint32_t i = 0; i < n; i++)
    if (buffer[i] != (char)(id & 127))
      return false;
  return true;
}

/* Takes whatever comes to its side: commands are answered. The last reply of both sides ends it. */
static void *reads_all(void *arg)
{
  struct party *p = arg;
  int side = p->number;
  char *buffer = malloc(SYSLINK_BUF_MAX);
  union room r;
  while (get(p->fd, &r, sizeof r, buffer, SYSLINK_BUF_MAX) > 0) {
    if (r.msg.sm_proto & SM_PROTO_REPLY) {
      note(p->t, r.msg.sm_head.se_aux != 0);
      if (__atomic_add_fetch(&p->t->replies[side], 1, __ATOMIC_SEQ_CST) == THREADS * EACH &&
          __atomic_load_n(&p->t->replies[!side], __ATOMIC_SEQ_CST) == THREADS * EACH)
        shutdown(p->fd, SHUT_RDWR);
      continue;
    }
    note(p->t, !whole(buffer, syslink_msg_buffer_bytes(&r.msg), r.msg.sm_msgid));
    __atomic_add_fetch(&p->t->commands[side], 1, __ATOMIC_SEQ_CST);
    note(p->t, reply_to(p->fd, &r.msg, 0) != sizeof r.msg);
  }
  free(buffer);
  return 0;
}

static void many_threads_on_both_sides(void **state)
{
  struct tally t = {0};
  struct party writers[SIDES][THREADS], readers[SIDES][THREADS];
  int fd[2];
  (void)state;
  link_new(fd, 0);
  for (int s = 0; s < SIDES; s++)
    for (int i = 0; i < THREADS; i++) {
      readers[s][i] = (struct party){.fd = fd[s], .number = s, .t = &t};
      pthread_create(&readers[s][i].thread, 0, reads_all, &readers[s][i]);
      writers[s][i] = (struct party){.fd = fd[s], .number = i, .t = &t};
      pthread_create(&writers[s][i].thread, 0, sends_commands, &writers[s][i]);
    }
  for (int s = 0; s < SIDES; s++)
    for (int i = 0; i < THREADS; i++) {
      pthread_join(writers[s][i].thread, 0);
      pthread_join(readers[s][i].thread, 0);
    }
  assert_false(t.wrong);
  for (int s = 0; s < SIDES; s++) {
    assert_int_equal(t.commands[s], THREADS * EACH);
    assert_int_equal(t.replies[s], THREADS * EACH);
  }
  link_end(fd);
}

/* ---- an enemy on the other side, who does not use the library ---- */

static void expect_broken(int fd, int raw)
{
  union room r;
  expect_reply(fd, 1, EPROTO);
  assert_int_equal(get(fd, &r, sizeof r, 0, 0), 0);
  assert_int_equal(syslink_close(fd), 0);
  close(raw);
}

static void a_malformed_peer_ends_the_link(void **state)
{
  static char big[SYSLINK_MSG_MAX + 4096];
  union room r;
  int fd[2];
  (void)state;
  for (unsigned i = 0; i < sizeof flaws / sizeof *flaws + 6; i++) {
    unsigned own = i - sizeof flaws / sizeof *flaws;
    link_new(fd, 0);
    assert_true(command(fd[0], 1) > 0);
    size_t n = (size_t)command_in(&r, 1, 0);
    const void *what = &r;
    if (own > 5)
      memcpy(r.bytes + flaws[i].at, &flaws[i].value, flaws[i].size);
    else if (own == 0)
      n = 20;
    else if (own == 1)
      what = big, n = sizeof big;
    else if (own == 2)
      r.msg.sm_proto |= SM_PROTO_REPLY, r.msg.sm_msgid = 2; /* to what was never asked */
    else if (own == 3)
      r.msg.sm_proto |= SM_PROTO_REPLY, r.msg.sm_label = 0;
    else if (own == 4)
      assert_true(send(fd[1], &r, n, 0) > 0); /* and once more */
    else
      n += 8, memset(r.bytes + n - 8, 0, 8); /* bytes behind the message */
    if (own == 4)
      expect_command(fd[0], 1);
    assert_true(send(fd[1], what, n, 0) > 0);
    expect_broken(fd[0], fd[1]);
  }
}

static void descriptors_of_an_enemy_do_not_stay(void **state)
{
  int fd[2];
  (void)state;
  unsigned before = descriptors();
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  send_fd(fd[1], fd[1]);
  expect_broken(fd[0], fd[1]);
  assert_int_equal(descriptors(), before);
}

/* A file that is shorter than it says: an error, never a signal. */
static void a_file_that_is_too_short_ends_the_link(void **state)
{
  static char in[SYSLINK_BUF_MAX], zeros[SYSLINK_MSG_MAX];
  union {
    struct cmsghdr h;
    char room[CMSG_SPACE(sizeof(int))];
  } c = {.h = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
  union room r, got;
  uint64_t offset = 0;
  int fd[2], file = memfd_create("short", MFD_CLOEXEC);
  (void)state;
  link_new(fd, 0);
  assert_true(command(fd[0], 1) > 0);
  size_t n = (size_t)command_in(&r, 5, BUFFER_SIZE);
  struct iovec parts[] = {{&r, n}, {zeros, SYSLINK_MSG_MAX - n}, {&offset, 8}};
  struct msghdr m = {.msg_iov = parts, .msg_iovlen = 3, .msg_control = &c, .msg_controllen = sizeof c};
  memcpy(CMSG_DATA(&c.h), &file, sizeof file);
  assert_int_equal(ftruncate(file, BUFFER_SIZE - 1), 0);
  assert_true(sendmsg(fd[1], &m, 0) > 0);
  assert_true(get(fd[0], &got, sizeof got, in, sizeof in) > 0);
  assert_int_equal(got.msg.sm_head.se_aux, EPROTO);
  assert_int_equal(get(fd[0], &got, sizeof got, in, sizeof in), 0);
  close(file);
  close(fd[1]);
  assert_int_equal(syslink_close(fd[0]), 0);
}

/* ---- the ledger ---- */

static void the_ledger_forgets_nothing(void **state)
{
  struct ledger_entry at[64] = {0}, *e;
  struct ledger l;
  bool in[40] = {0};
  uint32_t x = 1, n = 0;
  (void)state;
  sl_ledger_init(&l, at, 64, 32);
  for (int i = 0; i < 100000; i++) {
    x = x * 1664525u + 1013904223u;
    uint32_t k = (x >> 16) % 40;
    uint64_t id = k * 64 + k % 3; /* most of them collide */
    assert_int_equal(sl_ledger_find(&l, id) != 0, in[k]);
    if (in[k] && x >> 31) {
      sl_ledger_drop(&l, sl_ledger_find(&l, id));
      in[k] = false;
      n--;
    } else {
      int r = sl_ledger_add(&l, id, &e);
      assert_int_equal(r, in[k] ? -EEXIST : n == 32 ? -EAGAIN : 0);
      n += !r;
      in[k] = in[k] || !r;
    }
    assert_int_equal(l.count, n);
  }
  for (e = l.at; (e = sl_ledger_next(&l, e)); e++)
    n--;
  assert_int_equal(n, 0);
}

int main(int argc, char **argv)
{
  if (argc == 2 && !strcmp(argv[0], "inheritor"))
    return inheritor(atoi(argv[1]));
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(new_checks_what_it_is_given),
      cmocka_unit_test(new_gives_a_connected_pair),
      cmocka_unit_test(other_descriptors_are_no_links),
      cmocka_unit_test(inherited_by_exec),
      cmocka_unit_test(passed_to_a_process),
      cmocka_unit_test(duplicates_are_one_end),
      cmocka_unit_test(a_number_used_again_is_another_link),
      cmocka_unit_test(a_fork_takes_over_what_was_read),
      cmocka_unit_test(too_much_is_EFBIG),
      cmocka_unit_test(malformed_is_EINVAL),
      cmocka_unit_test(a_buffer_and_its_element_belong_together),
      cmocka_unit_test(elements_nest_to_depth_10),
      cmocka_unit_test(the_builder_tells_what_does_not_fit),
      cmocka_unit_test(a_number_in_use_is_EEXIST),
      cmocka_unit_test(each_direction_has_its_own_numbers),
      cmocka_unit_test(a_reply_that_nobody_waits_for_is_ENOENT),
      cmocka_unit_test(label_and_session_come_back_unchanged),
      cmocka_unit_test(too_much_unreplied_is_EAGAIN),
      cmocka_unit_test(too_much_unreplied_blocks),
      cmocka_unit_test(a_full_socket_is_EAGAIN),
      cmocka_unit_test(a_thousand_wait_for_their_replies),
      cmocka_unit_test(too_little_room_is_ENOSPC_and_loses_nothing),
      cmocka_unit_test(room_for_a_buffer_may_stay_unused),
      cmocka_unit_test(poll_tells_what_a_read_would_find),
      cmocka_unit_test(both_byte_orders_are_read),
      cmocka_unit_test(a_made_up_reply_has_its_commands_byte_order),
      cmocka_unit_test(buffers_of_any_size_arrive),
      cmocka_unit_test(a_buffer_survives_its_unmapping),
      cmocka_unit_test(aligned_memory_is_shared_not_copied),
      cmocka_unit_test(a_replys_buffer_is_copied_at_once),
      cmocka_unit_test(death_answers_what_has_no_reply),
      cmocka_unit_test(a_made_up_reply_needs_room_too),
      cmocka_unit_test(the_last_words_of_an_end_are_read),
      cmocka_unit_test(close_takes_plain_close_for_the_last_one),
      cmocka_unit_test(sleepers_wake_when_the_other_end_closes),
      cmocka_unit_test(sleepers_wake_when_their_end_closes),
      cmocka_unit_test(nothing_stays_open),
      cmocka_unit_test(many_threads_on_both_sides),
      cmocka_unit_test(a_malformed_peer_ends_the_link),
      cmocka_unit_test(descriptors_of_an_enemy_do_not_stay),
      cmocka_unit_test(a_file_that_is_too_short_ends_the_link),
      cmocka_unit_test(the_ledger_forgets_nothing),
  };
  return cmocka_run_group_tests(tests, 0, 0);
}
