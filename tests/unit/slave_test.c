/*
 * A slave in a child process, served with frames by hand: what every kind of message does, and what must not happen.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master.h"
#include "proto/pack.h"
#include "unit.h"

static struct master m;
static char top[] = "/tmp/fsyscall-slave-XXXXXX";
static char path_buf[256];

#define H1 ((1u << HANDLE_INDEX_BITS) + 16)
#define H2 ((1u << HANDLE_INDEX_BITS) + 17)

static const char *at(const char *name)
{
  snprintf(path_buf, sizeof path_buf, "%s/%s", top, name);
  return path_buf;
}

static int make_top(void **state)
{
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
  char command[64];
  (void)state;
  snprintf(command, sizeof command, "rm -rf %s", top);
  return system(command);
}

static int begin(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  return 0;
}

static int finish(void **state)
{
  (void)state;
  return master_end(&m, 3);
}

/* ---- requests ---- */

static long call_h(uint16_t op, uint64_t h)
{
  master_begin(&m);
  put_u64(&m.w, h);
  return master_reply(&m, master_call(&m, op, 0));
}

static uint32_t start_read(uint64_t h, uint64_t room)
{
  master_begin(&m);
  put_u64(&m.w, h);
  put_u64(&m.w, room);
  return master_call(&m, OP_read, 0);
}

static void build_write(uint64_t h, const void *p, uint32_t n)
{
  master_begin(&m);
  put_u64(&m.w, h);
  put_blob(&m.w, p, n);
}

static void post_write(uint64_t h, const void *p, uint32_t n)
{
  build_write(h, p, n);
  master_post(&m, OP_write);
}

static void post_close(uint64_t h)
{
  master_begin(&m);
  put_u64(&m.w, h);
  master_post(&m, OP_close);
}

static long call_path(uint16_t op, const char *path, uint64_t a)
{
  master_begin(&m);
  put_u64(&m.w, H_ROOT);
  put_blob(&m.w, path, (uint32_t)strlen(path));
  put_u64(&m.w, a);
  return master_reply(&m, master_call(&m, op, 0));
}

static void put_file(const char *name, const void *p, size_t n)
{
  int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  assert_int_equal(write(fd, p, n), n);
  close(fd);
}

struct opened {
  uint64_t kind, flags;
  struct wire_attr attr;
  uint32_t n;
  const void *data;
};

static struct opened opened(void)
{
  struct rbuf r = {m.body, m.body + m.f.len - sizeof m.f, false};
  struct opened o = {.kind = get_u64(&r)};
  get_attr(&r, &o.attr);
  o.flags = get_u64(&r);
  o.data = get_blob(&r, &o.n, FRAME_DATA_MAX);
  assert_false(r.bad);
  assert_ptr_equal(r.at, r.end);
  return o;
}

/* ---- the tests ---- */

static void greeting(void **state)
{
  (void)state;
  struct rbuf r = {m.body, m.body + m.f.len - sizeof m.f, false};
  const uint8_t *v;
  uint32_t n;
  uint64_t seen = 0;
  assert_int_equal(get_fact(&r, &v, &n), FACT_MAGIC);
  assert_int_equal(fact_int(v, n, 0), WIRE_MAGIC);
  for (unsigned fact; (fact = get_fact(&r, &v, &n));) {
    seen |= 1ull << fact;
    if (fact == FACT_STDIO)
      assert_int_equal(fact_int(v, n, 0), K_STREAM);
    if (fact == FACT_IDS)
      assert_int_equal(fact_int(v, n, 1), geteuid());
    if (fact == FACT_ENV)
      assert_false(n >= 6 && !memcmp(v, "SECRET", 6));
  }
  assert_false(r.bad);
  const unsigned needed[] = {FACT_VERSION,  FACT_CAPS,   FACT_PID,   FACT_IDS,   FACT_GROUPS,  FACT_UMASK, FACT_CWD,
                             FACT_HOSTNAME, FACT_DOMAIN, FACT_CLOCK, FACT_STDIO, FACT_RELEASE, FACT_ENV};
  for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
    assert_true(seen & 1ull << needed[i]);
}

static void open_brings_contents(void **state)
{
  (void)state;
  put_file("small", "contents", 8);
  assert_int_equal(master_open(&m, H_ROOT, at("small"), O_RDONLY, 0, H1), 0);
  struct opened o = opened();
  assert_int_equal(o.kind, K_REG);
  assert_int_equal(o.attr.size, 8);
  assert_int_equal(o.n, 8);
  assert_memory_equal(o.data, "contents", 8);
  assert_int_equal(m.f.flags, FF_CONTENTS | FF_CACHEABLE);
  assert_int_equal(o.flags & O_ACCMODE, O_RDONLY);
  assert_false(o.flags & (O_NONBLOCK | O_NOFOLLOW));
  post_close(H1);
  assert_int_equal(call_h(OP_fsync, H1), -EBADF);
  assert_int_equal(master_open(&m, H_ROOT, at("missing"), O_RDONLY, 0, H1), -ENOENT);
  assert_int_equal(m.f.len, sizeof m.f);
}

static void directories(void **state)
{
  (void)state;
  char dir[300];
  put_file("entry", "", 0);
  snprintf(dir, sizeof dir, "%s/../%s", top, top + 5);
  assert_int_equal(master_open(&m, H_ROOT, dir, O_RDONLY | O_DIRECTORY, 0, H1), 0);
  struct opened o = opened();
  assert_int_equal(o.kind, K_DIR);
  assert_true(o.n > strlen(top)); /* its records follow */
  assert_memory_equal(o.data, top, strlen(top) + 1);
  master_begin(&m);
  put_u64(&m.w, H1);
  put_u64(&m.w, 32768);
  long n = master_reply(&m, master_call(&m, OP_getdents64, 0));
  assert_true(n > 0);
  assert_true(m.f.flags & FF_EOF);
  assert_non_null(memmem(m.body, (size_t)n + 4, "entry", 6));
  assert_int_equal(master_open(&m, H1, "entry", O_RDONLY, 0, H2), 0);
  assert_int_equal(master_open(&m, H2, "", O_WRONLY, 0, H2 + 1), 0); /* anew, as through /proc/self/fd */
}

static void read_and_write(void **state)
{
  (void)state;
  assert_int_equal(master_open(&m, H_ROOT, at("rw"), O_RDWR | O_CREAT | O_EXCL, 0666, H1), 0);
  assert_int_equal(opened().attr.mode & 07777, 0644);
  post_write(H1, "hello", 5);
  build_write(H1, "world", 5);
  put_u64(&m.w, 3);
  assert_int_equal(master_reply(&m, master_call(&m, OP_pwrite64, 0)), 5);
  master_begin(&m);
  put_u64(&m.w, H1);
  put_u64(&m.w, 100);
  put_u64(&m.w, 1);
  assert_int_equal(master_reply(&m, master_call(&m, OP_pread64, 0)), 7);
  assert_memory_equal(m.body, "\7\0\0\0elworld", 11);
  assert_int_equal(call_h(OP_fstat, H1), 0);
  assert_int_equal(m.f.len, sizeof m.f + sizeof(struct wire_attr));
  assert_int_equal(master_open(&m, H_ROOT, at("rw"), O_RDWR | O_CREAT | O_EXCL, 0666, H2), -EEXIST);
}

static void late_errors(void **state)
{
  (void)state;
  put_file("late", "x", 1);
  assert_int_equal(master_open(&m, H_ROOT, at("late"), O_RDONLY, 0, H1), 0);
  post_write(H1, "no", 2);
  master_expect(&m, F_LATE);
  assert_int_equal(m.f.result, -EBADF);
  assert_int_equal(m.f.op, OP_write);
  struct rbuf r = {m.body, m.body + 8, false};
  assert_int_equal(get_u64(&r), H1);
  post_close(H2);
  master_expect(&m, F_LATE);
  assert_int_equal(m.f.result, -EBADF);
  post_close(H1);
  while (m.acked < m.seq)
    assert_true(master_take(&m));
}

static void full_device(void **state)
{
  (void)state;
  assert_int_equal(master_open(&m, H_ROOT, "/dev/full", O_WRONLY, 0, H1), 0);
  assert_int_equal(opened().kind, K_CHR);
  post_write(H1, "data", 4);
  master_expect(&m, F_LATE);
  assert_int_equal(m.f.result, -ENOSPC);
  build_write(H1, "data", 4);
  assert_int_equal(master_reply(&m, master_call(&m, OP_write, 0)), -ENOSPC);
}

static void paths(void **state)
{
  (void)state;
  assert_int_equal(call_path(OP_mkdirat, at("dir"), 0777), 0);
  assert_int_equal(call_path(OP_mkdirat, at("dir"), 0777), -EEXIST);
  assert_int_equal(symlink("dir", at("dirlink")), 0);
  assert_int_equal(call_path(OP_fchmodat, at("dirlink"), 0700), 0);
  struct stat st;
  assert_int_equal(stat(at("dir"), &st), 0);
  assert_int_equal(st.st_mode & 07777, 0700);
  put_file("dir/f", "12345", 5);
  assert_int_equal(call_path(OP_truncate, at("dirlink/f"), 2), 0);
  assert_int_equal(stat(at("dir/f"), &st), 0);
  assert_int_equal(st.st_size, 2);
  assert_int_equal(call_path(OP_readlinkat, at("dirlink"), 100), 3);
  assert_memory_equal(m.body, "\3\0\0\0dir", 7);
  assert_int_equal(call_path(OP_unlinkat, at("dir/f"), 0), 0);
  assert_int_equal(call_path(OP_unlinkat, at("dirlink/"), AT_REMOVEDIR), -ENOTDIR);
  assert_int_equal(call_path(OP_unlinkat, at("dir/"), AT_REMOVEDIR), 0);
  assert_int_equal(call_path(OP_truncate, at("dirlink"), 0), -ENOENT);
}

static void times_and_space(void **state)
{
  (void)state;
  struct stat st;
  put_file("t", "", 0);
  master_begin(&m);
  put_u64(&m.w, H_ROOT);
  put_blob(&m.w, at("t"), (uint32_t)strlen(at("t")));
  for (unsigned i = 1; i <= 5; i++)
    put_u64(&m.w, i);
  put_u64(&m.w, 0);
  assert_int_equal(master_reply(&m, master_call(&m, OP_utimensat, 0)), 0);
  assert_int_equal(stat(at("t"), &st), 0);
  assert_int_equal(st.st_atim.tv_sec, 2);
  assert_int_equal(st.st_mtim.tv_nsec, 5);
  assert_int_equal(master_open(&m, H_ROOT, at("t"), O_RDONLY, 0, H1), 0);
  assert_int_equal(call_h(OP_fstatfs, H1), 0);
  assert_int_equal(m.f.len, sizeof m.f + sizeof(struct wire_statfs));
  assert_int_equal(call_h(OP_fsync, H1), 0);
}

static void blocked_read_is_cancelled(void **state)
{
  (void)state;
  assert_int_equal(mkfifo(at("fifo"), 0644), 0);
  assert_int_equal(master_open(&m, H_ROOT, at("fifo"), O_RDWR, 0, H1), 0);
  assert_int_equal(opened().kind, K_STREAM);
  uint32_t tag = start_read(H1, 100);
  assert_int_equal(call_h(OP_fsync, H1), -EINVAL); /* others go on meanwhile */
  m.tag = tag;
  master_send(&m, F_CANCEL, 0, 0, 0, "", 0);
  assert_int_equal(master_reply(&m, tag), -EINTR);
  m.tag += 10;
  tag = start_read(H1, 100);
  post_write(H1, "bytes", 5);
  assert_int_equal(master_reply(&m, tag), 5);
  assert_memory_equal(m.body, "\5\0\0\0bytes", 9);
  master_send(&m, F_CANCEL, 0, 0, 0, "", 0); /* too late: nothing happens */
  unlink(at("fifo"));
}

/* Cancels race with data; whatever wins, no byte is lost and each call has one reply. */
static void cancels_lose_nothing(void **state)
{
  (void)state;
  unsigned sent = 0, got = 0;
  for (unsigned i = 0; i < 300; i++) {
    uint32_t tag = start_read(H_STDIN, 1);
    if (i % 3) {
      char c = (char)sent++;
      assert_int_equal(write(m.in[1], &c, 1), 1);
    }
    master_send(&m, F_CANCEL, 0, 0, 0, "", 0);
    long r = master_reply(&m, tag);
    assert_true(r == -EINTR || r == 1);
    if (r == 1)
      assert_int_equal(m.body[4], (uint8_t)got++);
  }
  while (got < sent) {
    assert_int_equal(master_reply(&m, start_read(H_STDIN, 1)), 1);
    assert_int_equal(m.body[4], (uint8_t)got++);
  }
}

static void blocked_open_is_cancelled(void **state)
{
  (void)state;
  assert_int_equal(mkfifo(at("fifo"), 0644), 0);
  master_begin(&m);
  put_u64(&m.w, H_ROOT);
  put_blob(&m.w, at("fifo"), (uint32_t)strlen(at("fifo")));
  put_u64(&m.w, O_RDONLY);
  put_u64(&m.w, 0);
  put_u64(&m.w, H1);
  uint32_t tag = master_call(&m, OP_openat, 0);
  usleep(20000);
  master_send(&m, F_CANCEL, 0, 0, 0, "", 0);
  assert_int_equal(master_reply(&m, tag), -EINTR);
  assert_int_equal(call_h(OP_fstat, H1), -EBADF);
  unlink(at("fifo"));
}

static void blocked_lock_is_cancelled(void **state)
{
  (void)state;
  put_file("lock", "", 0);
  int fd = open(at("lock"), O_RDWR);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  assert_int_equal(master_open(&m, H_ROOT, at("lock"), O_RDWR, 0, H1), 0);
  master_begin(&m);
  put_u64(&m.w, H1);
  put_u64(&m.w, LOCK_EX);
  uint32_t tag = master_call(&m, OP_flock, 0);
  usleep(20000);
  master_send(&m, F_CANCEL, 0, 0, 0, "", 0);
  assert_int_equal(master_reply(&m, tag), -EINTR);
  tag = master_call(&m, OP_flock, 0);
  close(fd);
  assert_int_equal(master_reply(&m, tag), 0);
}

static uint64_t window(void)
{
  struct rbuf r = {m.body, m.body + 16, false};
  assert_int_equal(get_u64(&r), H_STDOUT);
  return get_u64(&r);
}

static void output_window(void **state)
{
  (void)state;
  static uint8_t data[65536], back[65536];
  uint64_t sent = 0, taken = 0, written = 0;
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)(i * 7);
  for (unsigned i = 0; i < 8; i++, sent += sizeof data)
    post_write(H_STDOUT, data, sizeof data);
  while (taken < sent) {
    size_t n = 0;
    while (n < sizeof back)
      n += (size_t)read(m.out[0], back + n, sizeof back - n);
    assert_memory_equal(back, data, sizeof data);
    taken += n;
  }
  while (written < sent) {
    master_expect(&m, F_WINDOW);
    assert_true(window() > written);
    written = window();
  }
  assert_true(written == sent);
}

/* A close does not lose what is queued, and the end waits for it. */
static void nothing_queued_is_lost(void **state)
{
  (void)state;
  static uint8_t data[FRAME_DATA_MAX];
  size_t total = 0;
  master_start(&m);
  master_hello(&m, 0);
  for (unsigned i = 0; i < 4; i++)
    post_write(H_STDOUT, data, sizeof data);
  post_close(H_STDOUT);
  master_send(&m, F_EXIT, 0, 0, 0, "", 0);
  usleep(50000);
  assert_int_equal(poll(&(struct pollfd){.fd = m.status, .events = POLLIN}, 1, 0), 0);
  put_file("other", "x", 1); /* for the session's other programs it goes on */
  assert_int_equal(master_open(&m, H_ROOT, at("other"), O_RDONLY, 0, H1), 0);
  while (total < 4 * sizeof data) {
    ssize_t n = read(m.out[0], data, sizeof data);
    assert_true(n > 0);
    total += (size_t)n;
  }
  char line[8] = "";
  assert_int_equal(read(m.status, line, sizeof line), 2);
  master_send(&m, F_DONE, 0, 0, 0, "", 0);
  assert_int_equal(master_wait(&m), 0);
}

static void armed_poll(void **state)
{
  (void)state;
  master_begin(&m);
  put_u64(&m.w, H_STDIN);
  put_u64(&m.w, POLLIN);
  assert_int_equal(master_reply(&m, master_call(&m, W_POLL, 0)), 0);
  master_post(&m, W_POLL);
  usleep(20000);
  assert_int_equal(write(m.in[1], "x", 1), 1);
  master_expect(&m, F_READY);
  struct rbuf r = {m.body, m.body + 16, false};
  assert_int_equal(get_u64(&r), H_STDIN);
  assert_int_equal(get_u64(&r), POLLIN);
  assert_int_equal(master_reply(&m, master_call(&m, W_POLL, 0)), POLLIN);
  assert_int_equal(master_reply(&m, start_read(H_STDIN, 10)), 1);
  assert_int_equal(write(m.in[1], "y", 1), 1); /* no longer armed: told to nobody */
  assert_int_equal(master_reply(&m, start_read(H_STDIN, 10)), 1);
}

static bool told_invalid(uint64_t ino)
{
  for (size_t i = 0; i + 16 <= m.f.len - sizeof m.f; i += 16) {
    struct rbuf r = {m.body + i + 8, m.body + i + 16, false};
    if (get_u64(&r) == ino)
      return true;
  }
  return false;
}

static void changes_are_told_first(void **state)
{
  (void)state;
  put_file("watched", "old", 3);
  assert_int_equal(master_open(&m, H_ROOT, at("watched"), O_RDONLY, 0, H1), 0);
  struct opened o = opened();
  assert_true(m.f.flags & FF_CACHEABLE);
  put_file("watched", "new!", 4);
  put_file("flag", "", 0);
  master_begin(&m);
  put_u64(&m.w, H_ROOT);
  put_blob(&m.w, at("flag"), (uint32_t)strlen(at("flag")));
  put_u64(&m.w, F_OK);
  put_u64(&m.w, 0);
  master_call(&m, OP_faccessat2, 0);
  do
    assert_true(master_take(&m));
  while (m.f.type == F_ACK);
  assert_int_equal(m.f.type, F_INVALID);
  assert_true(told_invalid(o.attr.ino));
  assert_int_equal(master_reply(&m, m.tag), 0);
  assert_int_equal(call_h(OP_fstat, H1), 0);
  assert_true(m.f.flags & FF_CACHEABLE);
  put_file("watched", "newer", 5); /* told at once, though nobody asks anything */
  master_expect(&m, F_INVALID);
  assert_true(told_invalid(o.attr.ino));
}

static long lock_as(uint32_t ctx, uint64_t h, int cmd, int64_t type)
{
  uint8_t lk[40], head[sizeof(struct frame)];
  struct wbuf w = {lk, lk + sizeof lk, false};
  const int64_t fields[5] = {type, SEEK_SET, 0, 10, 0};
  for (unsigned i = 0; i < 5; i++)
    put_u64(&w, (uint64_t)fields[i]);
  master_begin(&m);
  put_u64(&m.w, h);
  put_u64(&m.w, (uint64_t)cmd);
  put_u64(&m.w, IOA_INOUT);
  put_blob(&m.w, lk, sizeof lk);
  uint32_t n = (uint32_t)(m.w.at - m.request);
  struct frame f = {
      .len = (uint32_t)sizeof f + n, .type = F_CALL, .op = OP_fcntl, .tag = ++m.tag, .ctx = ctx, .seq = ++m.seq};
  frame_put(head, &f);
  assert_int_equal(send(m.fd, head, sizeof head, 0), sizeof head);
  assert_int_equal(send(m.fd, m.request, n, 0), n);
  return master_reply(&m, m.tag);
}

static void unlock_as(uint32_t ctx, uint64_t dev, uint64_t ino)
{
  uint8_t bytes[sizeof(struct frame) + 16];
  struct frame f = {.len = sizeof bytes, .type = F_POST, .op = W_UNLOCK, .ctx = ctx, .seq = ++m.seq};
  struct wbuf w = {bytes + sizeof f, bytes + sizeof bytes, false};
  frame_put(bytes, &f);
  put_u64(&w, dev);
  put_u64(&w, ino);
  assert_int_equal(send(m.fd, bytes, sizeof bytes, 0), sizeof bytes);
}

static void record_locks(void **state)
{
  struct stat st;
  (void)state;
  put_file("records", "", 0);
  assert_int_equal(stat(at("records"), &st), 0);
  assert_int_equal(master_open(&m, H_ROOT, at("records"), O_RDWR, 0, H1), 0);
  assert_int_equal(master_open(&m, H_ROOT, at("records"), O_RDWR, 0, H2), 0);
  assert_int_equal(lock_as(1, H1, F_SETLK, F_WRLCK), 0);
  assert_int_equal(lock_as(1, H2, F_SETLK, F_RDLCK), 0); /* one's own lock changes */
  assert_int_equal(lock_as(2, H2, F_SETLK, F_RDLCK), 0);
  assert_int_equal(lock_as(2, H2, F_SETLK, F_WRLCK), -EAGAIN);
  assert_int_equal(lock_as(2, H2, F_GETLK, F_WRLCK), 0);
  assert_int_equal(m.body[4], F_RDLCK);
  unlock_as(1, 0, 0);
  unlock_as(2, st.st_dev, st.st_ino);
  post_close(H2);
  assert_int_equal(lock_as(3, H1, F_SETLKW, F_WRLCK), 0);
  assert_int_equal(lock_as(4, H1, F_GETLK, F_RDLCK), 0);
  struct rbuf r = {m.body + 4 + 32, m.body + 4 + 40, false};
  assert_int_equal(get_u64(&r), LOCK_CTX | 3);
}

static void redirects(void **state)
{
  (void)state;
  const char *const rules[] = {"remote /", "local /usr", 0};
  master_start(&m);
  master_hello(&m, rules);
  assert_int_equal(symlink("/usr/share", at("share")), 0);
  assert_int_equal(master_open(&m, H_ROOT, at("share/x"), O_RDONLY, 0, H1), 0);
  assert_int_equal(m.f.flags, FF_REDIRECT);
  assert_memory_equal(m.body, "\x0c\0\0\0/usr/share/x", 16);
  master_begin(&m);
  put_u64(&m.w, H_ROOT);
  put_blob(&m.w, at("small"), (uint32_t)strlen(at("small")));
  put_u64(&m.w, H_ROOT);
  put_blob(&m.w, at("share/y"), (uint32_t)strlen(at("share/y")));
  put_u64(&m.w, 0);
  assert_int_equal(master_reply(&m, master_call(&m, OP_renameat2, 0)), 1);
  assert_int_equal(m.f.flags, FF_REDIRECT);
  assert_int_equal(master_end(&m, 0), 0);
}

static void controls(void **state)
{
  (void)state;
  const uint32_t requests[] = {TIOCSTI, TIOCLINUX, FIONREAD, 0x1234};
  const long want[] = {-EPERM, -EPERM, 0, -ENOTTY};
  for (unsigned i = 0; i < 4; i++) {
    master_begin(&m);
    put_u64(&m.w, H_STDIN);
    put_u64(&m.w, requests[i]);
    put_u64(&m.w, IOA_OUT);
    put_u64(&m.w, 4);
    assert_int_equal(master_reply(&m, master_call(&m, OP_ioctl, 0)), want[i]);
  }
  uint8_t forwarded[2] = {SIGTERM, SIGINT | 128};
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(write(m.control, &forwarded[i], 1), 1);
    master_expect(&m, F_SIGNAL);
    assert_int_equal(m.f.result, i ? SIGINT : SIGTERM);
    assert_int_equal(m.f.op, i);
  }
}

static void acknowledges_when_idle(void **state)
{
  (void)state;
  put_file("acks", "", 0);
  assert_int_equal(master_open(&m, H_ROOT, at("acks"), O_WRONLY, 0, H1), 0);
  for (unsigned i = 0; i < 100; i++)
    post_write(H1, "x", 1);
  while (m.acked < m.seq)
    assert_true(master_take(&m));
  struct stat st;
  assert_int_equal(stat(at("acks"), &st), 0);
  assert_int_equal(st.st_size, 100);
}

/* ---- what breaks a session ---- */

static void expect_failure(void)
{
  while (master_take(&m) && m.f.type != F_ABORT)
    ;
  assert_int_equal(m.f.type, F_ABORT);
  assert_int_equal(master_wait(&m), SLAVE_FAILED);
}

static void malformed_call(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  master_begin(&m);
  put_u32(&m.w, 1);
  master_call(&m, OP_fstat, 0);
  expect_failure();
}

static void unknown_operation(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  master_begin(&m);
  master_call(&m, 63, 0);
  expect_failure();
}

static void garbage(void **state)
{
  (void)state;
  master_start(&m);
  const char request[] = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
  assert_true(send(m.fd, request, sizeof request - 1, 0) > 0);
  expect_failure();
}

static void a_few_bytes_of_garbage(void **state)
{
  (void)state;
  master_start(&m);
  assert_int_equal(send(m.fd, "hello\n", 6, 0), 6);
  expect_failure();
}

/* A block of what has been gathered in m.request. */
static void send_packed(uint32_t n)
{
  static uint8_t out[PACK_MAX];
  struct packer *p = packer_new();
  uint32_t len = pack(p, 1, m.request, n, out);
  packer_free(p);
  assert_true(len);
  assert_int_equal(send(m.fd, out, len, 0), len);
}

/* A posted write as a frame of `n' bytes, at that place of m.request. */
static uint32_t write_frame(uint32_t at, uint32_t handle, char c, uint32_t n)
{
  uint32_t len = (uint32_t)sizeof(struct frame) + 8 + 4 + n;
  struct frame f = {.len = len, .type = F_POST, .op = OP_write, .seq = ++m.seq};
  frame_put(m.request + at, &f);
  struct wbuf w = {m.request + at + sizeof f, m.request + sizeof m.request, false};
  put_u64(&w, handle);
  put_u32(&w, n);
  memset(w.at, c, n);
  return len;
}

static void takes_packed(void **state)
{
  (void)state;
  char got[3000];
  if (!pack_able())
    skip();
  put_file("packed", "", 0);
  assert_int_equal(master_open(&m, H_ROOT, at("packed"), O_WRONLY, 0, H1), 0);
  uint32_t n = write_frame(0, H1, 'a', 1000);
  n += write_frame(n, H1, 'b', 2000);
  send_packed(n);
  post_close(H1);
  while (m.acked < m.seq)
    assert_true(master_take(&m));
  int fd = open(at("packed"), O_RDONLY);
  assert_int_equal(read(fd, got, sizeof got), 3000);
  close(fd);
  assert_true(got[0] == 'a' && got[999] == 'a' && got[1000] == 'b' && got[2999] == 'b');
}

static void wrong_lists(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  master_send(&m, F_HAVE, 0, 0, 0, "abc", 3);
  expect_failure();
  master_start(&m);
  master_hello(&m, 0);
  memset(m.request, 7, FRAME_DATA_MAX); /* once is as many as there may be */
  for (unsigned i = 0; i < 2; i++)
    master_send(&m, F_HAVE, 0, 0, 0, m.request, FRAME_DATA_MAX);
  expect_failure();
}

static void packed_wrongly(void **state)
{
  (void)state;
  if (!pack_able())
    skip();
  for (unsigned how = 0; how < 5; how++) {
    master_start(&m);
    if (how)
      master_hello(&m, 0);
    uint32_t n = write_frame(0, H_STDOUT, 'a', 1000);
    if (how == 1)
      n -= 100; /* a frame that goes on behind the block */
    if (how == 2)
      m.request[4] = F_PACKED; /* a block in a block */
    if (how == 3)
      memset(m.request + n, 0, 50), n += 50; /* what is no frame behind it */
    if (how == 4)
      m.seq++, write_frame(0, H_STDOUT, 'a', 1000); /* one is missing */
    send_packed(n);
    expect_failure();
  }
  for (unsigned n = 0; n < 60; n += 4) {
    master_start(&m);
    master_hello(&m, 0);
    memset(m.request, 0x28, n);
    master_send(&m, F_PACKED, 0, 0, 0, m.request, n);
    expect_failure();
  }
}

static void wrong_version(void **state)
{
  (void)state;
  master_start(&m);
  master_begin(&m);
  put_fact_ints(&m.w, FACT_MAGIC, (uint64_t[]){WIRE_MAGIC}, 1);
  put_fact_ints(&m.w, FACT_VERSION, (uint64_t[]){WIRE_VERSION + 1}, 1);
  master_send(&m, F_HELLO, 0, 0, 0, m.request, (uint32_t)(m.w.at - m.request));
  while (master_take(&m) && m.f.type != F_ABORT)
    ;
  assert_int_equal(m.f.type, F_ABORT);
  assert_non_null(memmem(m.body, m.f.len - sizeof m.f, "version", 7));
  assert_int_equal(master_wait(&m), SLAVE_FAILED);
}

static void frame_lost(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  m.seq++;
  post_close(H1);
  expect_failure();
}

/* Two calls of one number: whose would the reply be? */
static void number_in_use(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  start_read(H_STDIN, 10);
  m.tag--;
  start_read(H_STDIN, 10);
  expect_failure();
}

static void stream_lost(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  start_read(H_STDIN, 10);
  assert_int_equal(master_wait(&m), SLAVE_FAILED);
}

/* What the master said is heard, though it left without waiting for what the slave was about to say. */
static void last_words(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 50; i++) {
    master_start(&m);
    master_hello(&m, 0);
    for (unsigned j = 0; j < i; j++)
      post_close(H2);
    master_send(&m, F_EXIT, 0, 0, 0, "", 0);
    master_send(&m, F_DONE, 0, 0, 0, "", 0);
    assert_int_equal(master_wait(&m), 0);
  }
}

static void master_aborts(void **state)
{
  (void)state;
  master_start(&m);
  master_hello(&m, 0);
  master_send(&m, F_ABORT, 0, 0, 0, "tests \33[2J end", 14);
  assert_int_equal(master_wait(&m), SLAVE_FAILED);
}

/* Random bodies for every operation: each is answered or ends the session; nothing else happens to the slave. */
static void random_bodies(void **state)
{
  (void)state;
  srandom(1);
  for (unsigned round = 0; round < 40; round++) {
    master_start(&m);
    master_hello(&m, 0);
    for (unsigned i = 0; i < 20; i++) {
      uint16_t op = (uint16_t)(1 + random() % 49);
      if (op == OP_sync || op == OP_read)
        continue;
      master_begin(&m);
      for (long n = random() % 60; n--;)
        *m.w.at++ = (uint8_t)(random() % 4 ? 0 : random());
      uint8_t head[sizeof(struct frame)];
      uint32_t n = (uint32_t)(m.w.at - m.request);
      frame_put(head, &(struct frame){.len = 40 + n, .type = F_CALL, .op = op, .tag = i, .seq = ++m.seq});
      if (send(m.fd, head, sizeof head, MSG_NOSIGNAL) < 0 || send(m.fd, m.request, n, MSG_NOSIGNAL) < 0)
        break;
    }
    shutdown(m.fd, SHUT_WR);
    while (master_take(&m))
      ;
    assert_int_equal(master_wait(&m), SLAVE_FAILED);
  }
}

static uint64_t some_integer(void)
{
  static const uint64_t values[] = {0,      1, 2, 64, 65, 577, 4096,       1 << 20,
                                    0x1000, 5, 6, 7,  H1, H2,  UINT64_MAX, UINT64_MAX - 1};
  return values[random() % (long)(sizeof values / sizeof *values)];
}

/* Handles that lead into the scratch directory or nowhere: what comes is carried out. */
static uint64_t some_handle(void)
{
  static const uint64_t values[] = {H1, H1, H1, H2, H_STDIN, H_STDOUT, 99, H_NONE, UINT64_MAX};
  return values[random() % (long)(sizeof values / sizeof *values)];
}

static void put_some_text(void)
{
  static const char *const values[] = {"", "x", "x/", "y", "y/x", "l", "l/y", "user.x", ".", "./y/.", "missing/y"};
  const char *text = values[random() % (long)(sizeof values / sizeof *values)];
  put_blob(&m.w, text, (uint32_t)strlen(text));
}

static void put_some_kind(void)
{
  uint64_t kind = (uint64_t)random() % 5;
  put_u64(&m.w, kind);
  if (kind == IOA_INT || kind == IOA_OUT)
    put_u64(&m.w, some_integer());
  else if (kind != IOA_NONE)
    put_blob(&m.w, "0123456789012345678901234567890123456789", (uint32_t)(random() % 2 ? 40 : random() % 40));
}

static void put_some(char letter)
{
  switch (letter) {
  case 'A':
  case 'P':
    put_u64(&m.w, some_handle());
    put_some_text();
    break;
  case 'S':
    put_some_text();
    break;
  case 'B':
    put_blob(&m.w, m.body, (uint32_t)(random() % 5000));
    break;
  case 'M':
    for (unsigned i = 0; i < 5; i++)
      put_u64(&m.w, some_integer());
    break;
  case 'U':
  case 'L':
    put_some_kind();
    break;
  case 'H':
    put_u64(&m.w, some_handle());
    break;
  case 'I':
  case 'O':
    put_u64(&m.w, some_integer());
  }
}

/* Well-formed nonsense: each call has at most one reply (some block), and the slave is as well as before. */
static void nonsense(void **state)
{
  static uint8_t replies[4000];
  (void)state;
  srandom(2);
  memset(replies, 0, sizeof replies);
  for (uint32_t i = 0; i < sizeof replies - 10; i++) {
    if (i % 100 == 0)
      master_open(&m, H_ROOT, top, O_RDONLY | O_DIRECTORY, 0, H1);
    const struct row *row = row_of_wire((uint16_t)(1 + random() % 49));
    if (!row || row->wire == OP_sync)
      continue;
    master_begin(&m);
    for (const char *p = row->args; *p; p++)
      put_some(*p);
    uint32_t tag = master_call(&m, row->wire, (uint8_t)random());
    bool waits = row->wire == OP_read || row->wire == OP_pread64 || row->wire == OP_flock || row->wire == OP_fcntl ||
                 row->wire == OP_openat;
    if (waits)
      master_send(&m, F_CANCEL, 0, 0, 0, "", 0);
    do
      master_expect(&m, F_REPLY);
    while (m.f.tag != tag);
    assert_true(tag >= sizeof replies || ++replies[tag] == 1);
  }
}

#define WITH_SLAVE(test) cmocka_unit_test_setup_teardown(test, begin, finish)

int main(void)
{
  setenv("SECRET_TOKEN", "x", 1);
  setenv("LC_TIME", "C", 1);
  const struct CMUnitTest tests[] = {
      WITH_SLAVE(greeting),
      WITH_SLAVE(open_brings_contents),
      WITH_SLAVE(directories),
      WITH_SLAVE(read_and_write),
      WITH_SLAVE(late_errors),
      WITH_SLAVE(full_device),
      WITH_SLAVE(paths),
      WITH_SLAVE(times_and_space),
      WITH_SLAVE(blocked_read_is_cancelled),
      WITH_SLAVE(cancels_lose_nothing),
      WITH_SLAVE(blocked_open_is_cancelled),
      WITH_SLAVE(blocked_lock_is_cancelled),
      WITH_SLAVE(output_window),
      WITH_SLAVE(armed_poll),
      WITH_SLAVE(changes_are_told_first),
      WITH_SLAVE(record_locks),
      WITH_SLAVE(controls),
      WITH_SLAVE(acknowledges_when_idle),
      WITH_SLAVE(takes_packed),
      WITH_SLAVE(nonsense),
      cmocka_unit_test(nothing_queued_is_lost),
      cmocka_unit_test(redirects),
      cmocka_unit_test(malformed_call),
      cmocka_unit_test(unknown_operation),
      cmocka_unit_test(garbage),
      cmocka_unit_test(packed_wrongly),
      cmocka_unit_test(wrong_lists),
      cmocka_unit_test(a_few_bytes_of_garbage),
      cmocka_unit_test(wrong_version),
      cmocka_unit_test(number_in_use),
      cmocka_unit_test(frame_lost),
      cmocka_unit_test(stream_lost),
      cmocka_unit_test(last_words),
      cmocka_unit_test(master_aborts),
      cmocka_unit_test(random_bodies),
  };
  return cmocka_run_group_tests(tests, make_top, remove_top);
}
