/*
 * A hub in a child process between a slave and programs that are both played here, by hand: what each side may say,
 * and what must not happen whatever they say.
 *
 * Owns one hub at a time. Must never leave one behind: hub_gone() or hub_kill() comes last.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "hub/internal.h"
#include "unit.h"

#define PATIENCE_MS 20000
#define HANDLE(i) ((1u << HANDLE_INDEX_BITS) + H_FIRST + (uint32_t)(i))
#define SLOT 3u

static struct {
  pid_t pid;
  int stream, request, life; /* closing `life' ends the command */
  uint8_t *memory;
  struct session *s;
  uint64_t seq, peer_seq;
  struct frame f; /* the frame taken last, and its body */
  uint8_t body[FRAME_MAX];
  uint8_t made[FRAME_MAX]; /* what is being sent */
  struct wbuf w;
} T;

/* ---- the hub ---- */

static pid_t make_command(int life)
{
  pid_t pid = fork();
  if (pid)
    return pid;
  char byte;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  _exit(read(life, &byte, 1) == 1 ? byte : 0);
}

static void be_hub(int stream, int parent, int life)
{
  static struct rules rules;
  struct hub_options o = {
      .id = (uint64_t)getpid() << 32 | 0x1234, .trace_fd = 2, .rules = &rules, .tmpdir = "/nowhere"};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  rules_add(&rules, WHERE_REMOTE, "/", 1);
  rules_add(&rules, WHERE_LOCAL, "/usr", 4);
  rules_sort(&rules);
  struct hub *h = hub_new(&o);
  if (!h || hub_connect(h, stream, stream))
    _exit(255);
  if (send_with_fd(parent, "", 1, hub_program_end(h)) || send_with_fd(parent, "", 1, hub_session_fd(h)))
    _exit(254);
  pid_t command = make_command(life);
  close(life);
  _exit(hub_run(h, command));
}

static void begin(void)
{
  int stream[2], parent[2], life[2];
  memset(&T, 0, sizeof T);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, parent), 0);
  assert_int_equal(pipe2(life, O_CLOEXEC), 0);
  fflush(0);
  T.pid = fork();
  assert_true(T.pid >= 0);
  if (!T.pid) {
    close(stream[0]);
    close(parent[0]);
    close(life[1]);
    be_hub(stream[1], parent[1], life[0]);
  }
  close(stream[1]);
  close(parent[1]);
  close(life[0]);
  T.stream = stream[0];
  T.request = parent[0]; /* until the real one has come through it */
  T.life = life[1];
}

static int take_fd(int sock)
{
  char byte;
  struct pollfd p = {.fd = sock, .events = POLLIN};
  assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
  struct received r = recv_with_fd(sock, &byte, 1);
  assert_int_equal(r.len, 1);
  return r.fd;
}

/* ---- as the slave ---- */

static void make(void)
{
  T.w = (struct wbuf){T.made, T.made + sizeof T.made, false};
}

static void say_frame(struct frame f, const void *body, uint32_t n)
{
  uint8_t head[sizeof f];
  f.len = f.len ? f.len : (uint32_t)sizeof f + n;
  frame_put(head, &f);
  if (send(T.stream, head, sizeof head, MSG_NOSIGNAL) < 0 || (n && send(T.stream, body, n, MSG_NOSIGNAL) < 0))
    return; /* it has ended already, which is what the test looks at */
}

static void say(uint8_t type, uint16_t op, uint32_t tag, int64_t result)
{
  struct frame f = {.type = type, .op = op, .tag = tag, .result = result, .seq = ++T.seq, .ack = T.peer_seq};
  say_frame(f, T.made, (uint32_t)(T.w.at - T.made));
}

static bool hear(void)
{
  uint8_t head[sizeof(struct frame)];
  uint64_t until = now_ms() + PATIENCE_MS;
  int err = read_until(T.stream, head, sizeof head, until);
  if (err == -ETIMEDOUT)
    fail_msg("the hub says nothing");
  if (err)
    return false;
  assert_true(frame_get(&T.f, head));
  if (T.f.type != F_ACK)
    assert_int_equal(T.f.seq, ++T.peer_seq);
  return !read_until(T.stream, T.body, T.f.len - sizeof T.f, until);
}

static void hear_type(uint8_t type)
{
  do
    if (!hear())
      fail_msg("the hub ended before it said %u", type);
  while (T.f.type != type && (T.f.type == F_ACK || type == F_ABORT));
  if (T.f.type != type)
    fail_msg("the hub said %u (%u), not %u", T.f.type, T.f.op, type);
}

static void greet(uint64_t version)
{
  make();
  put_fact_ints(&T.w, FACT_MAGIC, (uint64_t[]){WIRE_MAGIC}, 1);
  put_fact_ints(&T.w, FACT_VERSION, &version, 1);
  put_fact_ints(&T.w, FACT_IDS, (uint64_t[]){1, 2, 3, 4, 5, 6}, 6);
  put_fact_ints(&T.w, FACT_STDIO, (uint64_t[]){K_STREAM, 0, 1, 1, K_STREAM, 1, 1, 2, K_REG, 1, 1, 3}, 12);
  put_fact(&T.w, FACT_CWD, "/home", 5);
  say(F_HELLO, 0, 0, 0);
}

static int start(void **state)
{
  (void)state;
  begin();
  greet(WIRE_VERSION);
  hear_type(F_HELLO);
  int request = take_fd(T.request), session = take_fd(T.request);
  close(T.request);
  T.request = request;
  T.memory = mmap(0, SESSION_SLOTS_END, PROT_READ | PROT_WRITE, MAP_SHARED, session, 0);
  assert_ptr_not_equal(T.memory, MAP_FAILED);
  T.s = (void *)T.memory;
  close(session);
  return 0;
}

static void forget(void)
{
  close(T.stream);
  close(T.request);
  close(T.life);
  if (T.memory)
    munmap(T.memory, SESSION_SLOTS_END);
}

/* It ends by itself, with that status, and by no signal. */
static void gone(int status)
{
  int how = 0;
  for (uint64_t until = now_ms() + PATIENCE_MS; waitpid(T.pid, &how, WNOHANG) != T.pid; usleep(500))
    if (now_ms() > until) {
      kill(T.pid, SIGKILL);
      waitpid(T.pid, &how, 0);
      fail_msg("the hub did not end");
    }
  if (!WIFEXITED(how))
    fail_msg("the hub was killed by signal %d", WTERMSIG(how));
  assert_int_equal(WEXITSTATUS(how), status);
  forget();
}

static void acknowledge(void)
{
  say_frame((struct frame){.type = F_ACK, .ack = T.peer_seq}, 0, 0);
}

/* The command and the last program end: everything in order. */
static int end_with(int status)
{
  acknowledge();
  close(T.life);
  T.life = -1;
  close(T.request);
  T.request = -1;
  do {
    if (!hear())
      fail_msg("the hub ended without a word");
    acknowledge();
  } while (T.f.type != F_DONE);
  shutdown(T.stream, SHUT_RDWR);
  gone(status);
  return 0;
}

static int end_in_order(void **state)
{
  (void)state;
  return end_with(0);
}

/* ---- as a program ---- */

static struct slot *slot(uint32_t i)
{
  return (struct slot *)(T.memory + SESSION_SLOT_OFFSET(i));
}

static void ask_bytes(struct frame f, const void *body, uint32_t n, int fd)
{
  static uint8_t message[2 * FRAME_MAX];
  f.len = f.len ? f.len : (uint32_t)sizeof f + n;
  frame_put(message, &f);
  if (n)
    memcpy(message + sizeof f, body, n);
  if (fd >= 0)
    assert_int_equal(send_with_fd(T.request, message, sizeof f + n, fd), 0);
  else if (send(T.request, message, sizeof f + n, MSG_NOSIGNAL) < 0)
    return;
}

static void ask(uint8_t type, uint16_t op, uint32_t tag)
{
  if (type == F_CALL) {
    slot(tag)->owner = (uint32_t)getpid();
    __atomic_store_n(&slot(tag)->state, SLOT_WAITING, __ATOMIC_SEQ_CST);
  }
  ask_bytes((struct frame){.type = type, .op = op, .tag = tag, .ctx = 1}, T.made, (uint32_t)(T.w.at - T.made), -1);
}

static int64_t answered(uint32_t tag)
{
  for (uint64_t until = now_ms() + PATIENCE_MS; __atomic_load_n(&slot(tag)->state, __ATOMIC_SEQ_CST) != SLOT_DONE;
       usleep(200))
    if (now_ms() > until)
      fail_msg("slot %u has no answer", tag);
  return slot(tag)->result;
}

static void ask_open(const char *path, uint64_t flags, uint32_t handle)
{
  make();
  put_u64(&T.w, H_ROOT);
  put_blob(&T.w, path, (uint32_t)strlen(path));
  put_u64(&T.w, flags);
  put_u64(&T.w, 0);
  put_u64(&T.w, handle);
  ask(F_CALL, OP_openat, SLOT);
}

static void make_opened(uint64_t kind, uint64_t ino)
{
  struct wire_attr a = {.mode = S_IFREG | 0644, .dev = 1, .ino = ino};
  make();
  put_u64(&T.w, kind);
  put_attr(&T.w, &a);
  put_u64(&T.w, O_RDWR);
  put_u32(&T.w, 0);
}

/* A file that both sides have open. */
static void open_file(const char *path, uint64_t kind, uint32_t handle)
{
  ask_open(path, O_WRONLY | O_CREAT, handle);
  hear_type(F_CALL);
  make_opened(kind, handle);
  say(F_REPLY, OP_openat, SLOT, 0);
  assert_int_equal(answered(SLOT), 0);
  T.s->handles[HANDLE_INDEX(handle)].handle = handle;
}

static void place(uint32_t handle, int fd, uint64_t what)
{
  make();
  put_u64(&T.w, handle);
  put_u64(&T.w, what);
  struct frame f = {.type = F_POST, .flags = FF_FD, .op = W_PLACE, .tag = SLOT, .ctx = 1};
  ask_bytes(f, T.made, (uint32_t)(T.w.at - T.made), fd);
}

static uint64_t int_of_body(unsigned i)
{
  struct rbuf r = {T.body + 8 * i, T.body + 8 * i + 8, false};
  return get_u64(&r);
}

/* ---- in order ---- */

static void greeting(void **state)
{
  (void)state;
  struct rbuf r = {T.body, T.body + T.f.len - sizeof T.f, false};
  const uint8_t *v;
  uint32_t n;
  unsigned rules = 0;
  assert_int_equal(get_fact(&r, &v, &n), FACT_MAGIC);
  for (unsigned fact; (fact = get_fact(&r, &v, &n));)
    rules += fact == FACT_RULE;
  assert_false(r.bad);
  assert_int_equal(rules, 2);
  assert_int_equal(T.s->facts.egid, 5);
  assert_string_equal(T.s->facts.cwd, "/home");
}

static void call_and_reply(void **state)
{
  (void)state;
  ask_open("/etc/motd", O_RDONLY, HANDLE(0));
  hear_type(F_CALL);
  assert_int_equal(T.f.op, OP_openat);
  assert_int_equal(T.f.tag, SLOT);
  make_opened(K_REG, 7);
  say(F_REPLY, OP_openat, SLOT, 0);
  assert_int_equal(answered(SLOT), 0);
  assert_int_equal(slot(SLOT)->reply_len, 8 + 176 + 8 + 4);
  ask_open("/etc/shadow", O_RDONLY, HANDLE(1));
  hear_type(F_CALL);
  make();
  say(F_REPLY, OP_openat, SLOT, -EACCES);
  assert_int_equal(answered(SLOT), -EACCES);
}

/* ---- reading ahead ---- */

#define BLOCK FRAME_DATA_MAX

static void say_cacheable(uint16_t op, uint32_t tag, int64_t result)
{
  struct frame f = {.type = F_REPLY, .flags = FF_CACHEABLE, .op = op, .tag = tag, .result = result};
  f.seq = ++T.seq;
  f.ack = T.peer_seq;
  say_frame(f, T.made, (uint32_t)(T.w.at - T.made));
}

static void make_attr(uint64_t size)
{
  struct wire_attr a = {.mode = S_IFREG | 0644, .dev = 1, .ino = 9, .size = size};
  put_attr(&T.w, &a);
}

static void open_large(uint64_t size)
{
  ask_open("/large", O_RDONLY, HANDLE(0));
  hear_type(F_CALL);
  make();
  put_u64(&T.w, K_REG);
  make_attr(size);
  put_u64(&T.w, O_RDONLY);
  put_u32(&T.w, 0);
  say_cacheable(OP_openat, SLOT, 0);
  assert_int_equal(answered(SLOT), 0);
}

static void ask_read(uint32_t tag, uint64_t offset, uint64_t room)
{
  make();
  put_u64(&T.w, HANDLE(0));
  put_u64(&T.w, room);
  put_u64(&T.w, offset);
  ask(F_CALL, OP_pread64, tag);
}

/* The hub asks for that range; the tag of the question. */
static uint32_t hear_read(uint64_t offset, uint64_t room)
{
  hear_type(F_CALL);
  assert_int_equal(T.f.op, OP_pread64);
  assert_int_equal(int_of_body(1), room);
  assert_int_equal(int_of_body(2), offset);
  return T.f.tag;
}

static void say_bytes(uint32_t tag, uint8_t byte, uint32_t n)
{
  make();
  put_u32(&T.w, n);
  memset(T.w.at, byte, n);
  T.w.at += n;
  say(F_REPLY, OP_pread64, tag, n);
}

static void given(uint32_t tag, uint8_t first, uint8_t last, uint32_t n)
{
  assert_int_equal(answered(tag), n);
  const struct slot *s = slot(tag);
  assert_int_equal(s->reply_len, 4 + n);
  assert_int_equal(s->reply[4], first);
  assert_int_equal(s->reply[4 + n - 1], last);
}

static void say_changed(void)
{
  make();
  put_u64(&T.w, 1);
  put_u64(&T.w, 9);
  say(F_INVALID, 0, 0, 0);
}

/* What comes next is asked for before the program does, given from here, also in parts, and waited for by one. */
static void reads_ahead(void **state)
{
  (void)state;
  open_large(3 * BLOCK + 10);
  ask_read(SLOT, 0, BLOCK);
  assert_int_equal(hear_read(0, BLOCK), SLOT);
  uint32_t second = hear_read(BLOCK, BLOCK);
  say_bytes(second, 2, BLOCK);
  say_bytes(SLOT, 1, BLOCK);
  given(SLOT, 1, 1, BLOCK);
  ask_read(SLOT, BLOCK, 100);
  given(SLOT, 2, 2, 100);
  assert_true(slot(SLOT)->flags & FF_KNOWN);
  ask_read(SLOT, BLOCK + 100, BLOCK);
  uint32_t third = hear_read(2 * BLOCK, BLOCK);
  say_bytes(third, 3, BLOCK);
  given(SLOT, 2, 3, BLOCK);
  say_bytes(hear_read(3 * BLOCK, 10), 4, 10);
  ask_read(SLOT, 2 * BLOCK + 100, BLOCK);
  given(SLOT, 3, 4, BLOCK - 90);
  ask_read(SLOT, 3 * BLOCK + 10, BLOCK);
  assert_int_equal(answered(SLOT), 0);
}

/* What came before a change is not given after it; nor what was asked for before and comes after. */
static void changes_end_reading_ahead(void **state)
{
  (void)state;
  open_large(8 * BLOCK);
  ask_read(SLOT, 0, BLOCK);
  hear_read(0, BLOCK);
  uint32_t second = hear_read(BLOCK, BLOCK);
  say_bytes(SLOT, 1, BLOCK);
  given(SLOT, 1, 1, BLOCK);
  ask_read(SLOT, BLOCK, BLOCK); /* waits for what was asked for */
  uint32_t third = hear_read(2 * BLOCK, BLOCK);
  say_changed();
  say_bytes(second, 2, BLOCK);
  assert_int_equal(hear_read(BLOCK, BLOCK), SLOT);
  say_bytes(SLOT, 5, BLOCK);
  given(SLOT, 5, 5, BLOCK);
  say_bytes(third, 4, BLOCK);
  ask_read(SLOT, 2 * BLOCK, BLOCK);
  hear_type(F_CALL);
  assert_int_equal(T.f.op, OP_fstat);
  uint32_t promise = T.f.tag;
  assert_int_equal(hear_read(2 * BLOCK, BLOCK), SLOT);
  say_bytes(SLOT, 6, BLOCK);
  given(SLOT, 6, 6, BLOCK);
  make();
  make_attr(8 * BLOCK);
  say_cacheable(OP_fstat, promise, 0);
  ask_read(SLOT, 3 * BLOCK, BLOCK);
  assert_int_equal(hear_read(3 * BLOCK, BLOCK), SLOT);
  hear_read(4 * BLOCK, BLOCK);
  say_bytes(SLOT, 7, BLOCK);
  given(SLOT, 7, 7, BLOCK);
}

/* Replies to questions that were not asked, or longer than the question. */
static void hostile_blocks(void **state)
{
  (void)state;
  for (int way = 0; way < 3; way++) {
    start(0);
    open_large(8 * BLOCK);
    ask_read(SLOT, 0, 100);
    hear_read(0, 100);
    uint32_t tag = hear_read(100, BLOCK);
    say_bytes(way == 0 ? tag + 1 : way == 1 ? tag + 1000 : tag, 1, way == 2 ? BLOCK + 1 : 50);
    gone(255);
  }
}

/* Whatever programs write into slots: the hub only writes there, and takes bounded bytes out. */
static void garbage_in_slots(void **state)
{
  (void)state;
  open_file("/f", K_REG, HANDLE(0));
  memset(slot(SLOT), 0xff, sizeof(struct slot));
  memset(slot(SLOT + 1), 0xa5, sizeof(struct slot));
  make();
  put_u64(&T.w, HANDLE(0));
  put_u32(&T.w, FRAME_DATA_MAX);
  uint32_t n = (uint32_t)(T.w.at - T.made);
  ask_bytes((struct frame){.type = F_POST, .flags = FF_OOB, .op = OP_write, .tag = SLOT, .seq = n, .ack = 1}, T.made, n,
            -1);
  hear_type(F_POST);
  assert_int_equal(T.f.len, sizeof T.f + 12 + FRAME_DATA_MAX);
  assert_int_equal(T.body[12 + FRAME_DATA_MAX - 1], 0xff);
  memset(T.s->handles, 0x5a, 1 << 20);
  make();
  put_u64(&T.w, HANDLE(0));
  put_u64(&T.w, 1);
  say(F_WINDOW, 0, 0, 0);
  say(F_READY, 0, 0, 0);
  make();
  put_u64(&T.w, HANDLE(0));
  say(F_LATE, OP_write, 0, -EIO);
  ask(F_CALL, OP_fsync, SLOT);
  hear_type(F_CALL);
  make();
  say(F_REPLY, OP_fsync, SLOT, 0);
  assert_int_equal(answered(SLOT), 0);
  end_with(74); /* of that failure nobody else could be told */
}

static int placeholder(void)
{
  int fd = memfd_create("test", MFD_CLOEXEC);
  assert_true(fd >= 0);
  return fd;
}

/* The close goes when the last holder has gone, behind what speaks of the file. */
static void last_close(void **state)
{
  (void)state;
  open_file("/f", K_REG, HANDLE(0));
  int fd = placeholder(), other = dup(fd);
  place(HANDLE(0), fd, PLACE_FILE);
  close(fd);
  make();
  put_u64(&T.w, HANDLE(0));
  put_blob(&T.w, "x", 1);
  kill(T.pid, SIGSTOP);
  ask(F_POST, OP_write, SLOT);
  close(other);
  ask(F_POST, OP_write, SLOT);
  kill(T.pid, SIGCONT);
  for (int i = 0; i < 2; i++) {
    hear_type(F_POST);
    assert_int_equal(T.f.op, OP_write);
  }
  hear_type(F_POST);
  assert_int_equal(T.f.op, OP_close);
  assert_int_equal(int_of_body(0), HANDLE(0));
}

/* More ends at once than the kernel's queue of events holds. */
static void lost_events(void **state)
{
  enum { MANY = 20000 };
  static void *held[MANY]; /* mappings hold a file as descriptors do, and there may be more of them */
  (void)state;
  for (unsigned i = 0; i < MANY; i++) {
    open_file("/f", K_REG, HANDLE(i));
    int fd = placeholder();
    place(HANDLE(i), fd, PLACE_FILE);
    held[i] = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(held[i], MAP_FAILED);
    close(fd);
  }
  make();
  put_u64(&T.w, H_STDERR);
  ask(F_CALL, OP_fsync, SLOT); /* everything before it has been taken */
  hear_type(F_CALL);
  make();
  say(F_REPLY, OP_fsync, SLOT, 0);
  assert_int_equal(answered(SLOT), 0);
  kill(T.pid, SIGSTOP);
  for (unsigned i = 0; i < MANY; i++)
    munmap(held[i], 4096);
  kill(T.pid, SIGCONT);
  for (unsigned i = 0; i < MANY; i++) {
    hear_type(F_POST);
    assert_int_equal(T.f.op, OP_close);
  }
}

/* A window that opens and a stream that is ready put one byte into the placeholder, if somebody asked for it. */
static void wake_ups(void **state)
{
  int pair[2];
  char bytes[8];
  (void)state;
  open_file("/fifo", K_STREAM, HANDLE(0));
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  place(HANDLE(0), pair[1], PLACE_STREAM);
  close(pair[1]);
  struct hstate *s = &T.s->handles[HANDLE_INDEX(HANDLE(0))];
  s->sent = STREAM_WINDOW;
  make();
  put_u64(&T.w, HANDLE(0));
  put_u64(&T.w, STREAM_WINDOW / 2);
  say(F_WINDOW, 0, 0, 0);
  while (__atomic_load_n(&s->written, __ATOMIC_SEQ_CST) != STREAM_WINDOW / 2)
    usleep(200);
  assert_int_equal(recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT), -1);
  __atomic_fetch_or(&s->armed, POLLOUT, __ATOMIC_SEQ_CST);
  say(F_WINDOW, 0, 0, 0);
  say(F_WINDOW, 0, 0, 0);
  assert_int_equal(poll(&(struct pollfd){.fd = pair[0], .events = POLLIN}, 1, PATIENCE_MS), 1);
  usleep(20000);
  assert_int_equal(recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT), 1);
  assert_int_equal(s->armed & POLLOUT, 0);
  __atomic_fetch_or(&s->armed, POLLIN | POLLPRI | POLLOUT, __ATOMIC_SEQ_CST);
  make();
  put_u64(&T.w, HANDLE(0));
  put_u64(&T.w, POLLIN);
  say(F_READY, 0, 0, 0);
  assert_int_equal(poll(&(struct pollfd){.fd = pair[0], .events = POLLIN}, 1, PATIENCE_MS), 1);
  assert_int_equal(s->ready, POLLIN);
  assert_int_equal(s->armed, POLLOUT); /* the slave has forgotten the rest */
  close(pair[0]);
  hear_type(F_POST);
  assert_int_equal(T.f.op, OP_close);
}

/* What no call of a program could report is told by name, and is in the status. */
static void late_by_name(void **state)
{
  (void)state;
  static const char *const paths[] = {"/d/f", "relative"};
  open_file(paths[0], K_REG, HANDLE(0));
  open_file(paths[1], K_REG, HANDLE(1));
  for (unsigned i = 0; i < 2; i++) {
    make();
    put_u64(&T.w, HANDLE(i));
    say(F_LATE, OP_write, 0, -ENOSPC);
  }
  close(T.life);
  T.life = -1;
  char text[2][128] = {"", ""};
  for (unsigned i = 0; i < 2; i++) {
    hear_type(F_POST);
    assert_int_equal(T.f.op, OP_write);
    assert_int_equal(int_of_body(0), H_STDERR);
    snprintf(text[i], sizeof text[i], "%.*s", (int)(T.f.len - sizeof T.f - 12), (const char *)T.body + 12);
  }
  bool swapped = strstr(text[0], "relative");
  assert_string_equal(text[swapped], "nexec: /d/f: No space left on device\n");
  assert_string_equal(text[!swapped], "nexec: /relative: No space left on device\n");
  hear_type(F_EXIT);
  assert_int_equal(T.f.result, 74);
  close(T.request);
  T.request = -1;
  do
    assert_true(hear());
  while (T.f.type != F_DONE);
  shutdown(T.stream, SHUT_RDWR);
  gone(74);
}

/* ---- who greets wrongly ---- */

static void refused(const char *why)
{
  do
    if (!hear())
      fail_msg("the hub did not say why it ended");
  while (T.f.type != F_ABORT);
  if (!memmem(T.body, T.f.len - sizeof T.f, why, strlen(why)))
    fail_msg("'%.*s' does not say '%s'", (int)(T.f.len - sizeof T.f), (const char *)T.body, why);
  gone(255);
}

static void wrong_version(void **state)
{
  (void)state;
  begin();
  greet(WIRE_VERSION + 41);
  refused("version");
}

static void wrong_greetings(void **state)
{
  (void)state;
  static const char http[] = "HTTP/1.1 400 Bad Request\r\nServer: something\r\nContent-Length: 0\r\n\r\n";
  begin();
  assert_true(send(T.stream, http, sizeof http, 0) > 0);
  refused("protocol");
  begin();
  make();
  put_fact_ints(&T.w, FACT_VERSION, (uint64_t[]){WIRE_VERSION}, 1);
  say(F_HELLO, 0, 0, 0);
  refused("protocol");
  begin();
  make();
  say(F_REPLY, 0, 0, 0);
  refused("protocol");
  begin();
  make();
  put_fact_ints(&T.w, FACT_MAGIC, (uint64_t[]){WIRE_MAGIC}, 1);
  put_fact_ints(&T.w, FACT_VERSION, (uint64_t[]){WIRE_VERSION}, 1);
  put_u32(&T.w, 12345);
  say(F_HELLO, 0, 0, 0);
  refused("greeting");
  begin();
  make();
  put_raw(&T.w, "no \33[2J", 7);
  say(F_ABORT, 0, 0, 0);
  gone(255);
  begin();
  shutdown(T.stream, SHUT_WR);
  gone(255);
}

/* ---- a hostile slave ---- */

/* `n' frames with that number and the one before the next, packed; each refuses the call that waits. */
static void say_packed(unsigned n, uint64_t seq, uint32_t less)
{
  static uint8_t frames[PACK_MAX], out[PACK_MAX];
  struct packer *p = packer_new();
  uint32_t at = 0;
  for (unsigned i = 0; i < n; i++, at += sizeof(struct frame)) {
    struct frame f = {.len = sizeof f,
                      .type = i ? F_ACK : F_REPLY,
                      .op = OP_openat,
                      .tag = SLOT,
                      .seq = i ? 0 : seq,
                      .ack = 1,
                      .result = -5};
    frame_put(frames + at, &f);
  }
  uint32_t len = pack(p, 1, frames, at - less, out);
  packer_free(p);
  assert_true(len);
  assert_int_equal(send(T.stream, out, len, MSG_NOSIGNAL), len);
}

static void takes_packed(void **state)
{
  (void)state;
  if (!pack_able())
    skip();
  start(0);
  ask_open("/x", O_RDONLY, HANDLE(0));
  hear_type(F_CALL);
  T.seq++;
  say_packed(50, T.seq, 0);
  assert_int_equal(answered(SLOT), -5);
  end_in_order(0);
}

/* Each call has one reply: what comes after it ends the session. */
static void replies_twice(void **state)
{
  (void)state;
  start(0);
  ask_open("/x", O_RDONLY, HANDLE(0));
  hear_type(F_CALL);
  for (int i = 0; i < 2; i++) {
    make();
    say(F_REPLY, OP_openat, SLOT, -5);
  }
  assert_int_equal(answered(SLOT), -5);
  gone(255);
}

/* Every call that waits has been answered, and the session is over. */
static void aborted_with_answers(void)
{
  assert_int_equal(answered(SLOT), -ECONNABORTED);
  assert_int_equal(__atomic_load_n(&T.s->over, __ATOMIC_SEQ_CST), 1);
  gone(255);
}

static void with_waiting_call(void)
{
  start(0);
  ask_open("/x", O_RDONLY, HANDLE(0));
  hear_type(F_CALL);
  make();
}

static void wrong_numbers(void **state)
{
  (void)state;
  const struct frame frames[] = {
      {.type = F_REPLY, .op = OP_openat, .tag = SLOT, .seq = 3, .ack = 1}, /* one is missing */
      {.type = F_REPLY, .op = OP_openat, .tag = SLOT, .seq = 1, .ack = 1}, /* again */
      {.type = F_REPLY, .op = OP_openat, .tag = SLOT, .seq = 0, .ack = 1},
      {.type = F_REPLY, .op = OP_openat, .tag = SLOT, .seq = 2, .ack = 99}, /* of what was never sent */
      {.type = F_REPLY, .op = OP_openat, .tag = SLOT + 1, .seq = 2, .ack = 1},
      {.type = F_REPLY, .op = OP_openat, .tag = SESSION_SLOTS, .seq = 2, .ack = 1},
      {.type = F_REPLY, .op = OP_openat, .tag = UINT32_MAX, .seq = 2, .ack = 1},
      {.type = F_REPLY, .op = OP_read, .tag = SLOT, .seq = 2, .ack = 1}, /* of another call */
      {.type = F_ACK, .seq = 2, .ack = 1},
      {.type = F_ACK, .seq = 0, .ack = UINT64_MAX},
      {.type = F_ACK, .seq = 0, .ack = 1, .len = 39},
      {.type = F_ACK, .seq = 0, .ack = 1, .len = 1},
      {.type = F_ACK, .seq = 0, .ack = 1, .len = FRAME_MAX + 1},
      {.type = F_ACK, .seq = 0, .ack = 1, .len = UINT32_MAX},
      {.type = F_SIGNAL, .seq = 2, .ack = 1, .result = 65},
      {.type = F_SIGNAL, .seq = 2, .ack = 1, .result = INT64_MIN},
      {.type = F_LATE, .seq = 2, .ack = 1, .result = -1},
      {.type = 0, .seq = 2, .ack = 1},
      {.type = 255, .seq = 2, .ack = 1},
  };
  for (unsigned i = 0; i < sizeof frames / sizeof *frames; i++) {
    with_waiting_call();
    say_frame(frames[i], 0, 0);
    aborted_with_answers();
  }
}

static void packed_wrongly(void **state)
{
  (void)state;
  if (!pack_able())
    skip();
  with_waiting_call();
  say_packed(50, 3, 0); /* one is missing */
  aborted_with_answers();
  with_waiting_call();
  T.seq++;
  say_packed(50, 2, 7); /* the last goes on behind the block */
  assert_int_equal(answered(SLOT), -5);
  gone(255);
}

/* The reply of every operation, cut off anywhere or full of nonsense: the hub passes it on or ends, and never fails. */
static void every_type_at_every_length(void **state)
{
  (void)state;
  srandom(3);
  for (unsigned type = F_HELLO; type <= F_LAST; type++)
    for (unsigned n = 0; n <= 48; n += 1 + (unsigned)random() % 7) {
      with_waiting_call();
      for (unsigned i = 0; i < n; i++)
        *T.w.at++ = random() % 2 ? 0xff : (uint8_t)random();
      say((uint8_t)type, type == F_REPLY ? OP_openat : (uint16_t)random(), SLOT, type == F_SIGNAL ? SIGCONT : -5);
      shutdown(T.stream, SHUT_WR);
      answered(SLOT);
      gone(255);
    }
}

static void replies_to_every_call(void **state)
{
  (void)state;
  srandom(4);
  start(0);
  for (unsigned wire = 1, tag = 8; wire < WIRE_MAX; wire++) {
    const struct row *row = row_of_wire(wire);
    if (!row || wire == OP_close || wire == OP_openat || wire == OP_inotify_init1 || wire == OP_open_by_handle_at)
      continue;
    for (unsigned n = 0; n < 400; n += 1 + (unsigned)random() % 90) {
      make();
      for (const char *p = row->args; *p; p++) {
        if (strchr("HIO", *p))
          put_u64(&T.w, HANDLE(77));
        if (*p == 'A' || *p == 'P') {
          put_u64(&T.w, H_ROOT);
          put_blob(&T.w, "/p", 2);
        }
        if (strchr("SB", *p))
          put_blob(&T.w, "s", 1);
        for (unsigned i = 0; *p == 'M' && i < 5; i++)
          put_u64(&T.w, 1);
        if (strchr("UL", *p))
          put_u64(&T.w, IOA_NONE);
      }
      ask(F_CALL, (uint16_t)wire, tag);
      hear_type(F_CALL);
      assert_int_equal(T.f.op, wire);
      make();
      for (unsigned i = 0; i < n; i++)
        *T.w.at++ = (uint8_t)random();
      say(F_REPLY, (uint16_t)wire, tag, random() % 3 - 1);
      answered(tag);
    }
  }
  end_in_order(0);
}

/* A slave that vanishes: whatever was under way is answered. */
static void lost_slave(void **state)
{
  (void)state;
  with_waiting_call();
  shutdown(T.stream, SHUT_RDWR);
  aborted_with_answers();
}

/* ---- hostile programs ---- */

static void malformed(void)
{
  do
    if (!hear())
      fail_msg("the hub did not say why it ended");
  while (T.f.type != F_ABORT);
  aborted_with_answers();
}

static void hostile_messages(void **state)
{
  (void)state;
  const struct frame frames[] = {
      {.type = F_REPLY, .tag = SLOT + 1},
      {.type = F_EXIT, .tag = SLOT + 1},
      {.type = 0, .tag = SLOT + 1},
      {.type = F_CALL, .tag = SESSION_SLOTS, .op = OP_fsync},
      {.type = F_CALL, .tag = UINT32_MAX, .op = OP_fsync},
      {.type = F_CALL, .tag = SLOT, .op = OP_fsync}, /* its first call still waits */
      {.type = F_CALL, .tag = SLOT + 1, .op = 63},
      {.type = F_CALL, .tag = SLOT + 1, .op = UINT16_MAX},
      {.type = F_CALL, .tag = SLOT + 1, .op = OP_fsync, .len = 39},
      {.type = F_CALL, .tag = SLOT + 1, .op = OP_fsync, .len = UINT32_MAX},
      {.type = F_CALL, .tag = SLOT + 1, .op = OP_pwrite64, .flags = FF_OOB, .seq = UINT64_MAX, .ack = 0},
      {.type = F_CALL, .tag = SLOT + 1, .op = OP_pwrite64, .flags = FF_OOB, .seq = 4, .ack = 2},
      {.type = F_CALL, .tag = SLOT + 1, .op = OP_pwrite64, .flags = FF_OOB, .seq = 16, .ack = 1},
      {.type = F_POST, .tag = SLOT + 1, .op = W_PLACE, .flags = FF_FD},
      {.type = F_POST, .tag = SLOT + 1, .op = W_MAPFD, .flags = FF_FD},
      {.type = F_CALL, .tag = SLOT, .op = W_FLUSH},
  };
  uint8_t body[16] = {0};
  memset(body + 12, 0xff, 4); /* of data, if somebody takes it for a length */
  for (unsigned i = 0; i < sizeof frames / sizeof *frames; i++) {
    with_waiting_call();
    ask_bytes(frames[i], body, frames[i].op == OP_fsync ? 8 : sizeof body, -1);
    malformed();
  }
  with_waiting_call();
  assert_int_equal(send(T.request, body, sizeof body, 0), sizeof body);
  malformed();
  static const uint32_t handles[] = {H_ROOT, H_STDIN, H_TTY, H_FIRST - 1, SESSION_HANDLES, H_NONE, HANDLE(0)};
  for (unsigned i = 0; i < sizeof handles / sizeof *handles; i++) {
    with_waiting_call();
    make();
    put_u64(&T.w, H_ROOT);
    put_blob(&T.w, "/y", 2);
    put_u64(&T.w, 0);
    put_u64(&T.w, 0);
    put_u64(&T.w, handles[i]);
    ask(F_CALL, OP_openat, SLOT + 1);
    malformed();
  }
}

/* Random messages, with and without descriptors: the hub ends the session or passes on what body_check() accepts. */
static void random_messages(void **state)
{
  (void)state;
  srandom(5);
  for (unsigned round = 0; round < 60; round++) {
    start(0);
    for (unsigned i = 0; i < 40; i++) {
      struct frame f = {.type = random() % 2 ? F_POST : F_CALL,
                        .flags = (uint8_t)(random() % 3 ? 0 : random()),
                        .op = (uint16_t)(random() % 75),
                        .tag = (uint32_t)random() % 50,
                        .ctx = (uint32_t)random() % 3,
                        .seq = (uint64_t)random() % 40,
                        .ack = (uint64_t)random() % 3};
      uint8_t body[64];
      for (unsigned j = 0; j < sizeof body; j++)
        body[j] = (uint8_t)(random() % 4 ? 0 : random() % 20);
      if (random() % 4) {
        ask_bytes(f, body, (uint32_t)random() % 64, -1);
        continue;
      }
      uint8_t message[sizeof f + sizeof body];
      f.len = sizeof message;
      frame_put(message, &f);
      memcpy(message + sizeof f, body, sizeof body);
      if (send_with_fd(T.request, message, sizeof message, 2) == -EPIPE)
        break;
    }
    shutdown(T.stream, SHUT_WR);
    gone(255);
  }
}

/* ---- the parts by themselves ---- */

static enum where where(const struct rules *r, const char *path)
{
  return rules_where(r, path);
}

static void rules_by_length(void **state)
{
  (void)state;
  static const char text[] = "# all\nremote /\nlocal\t/usr  # programs\n\nprograms /opt\ndeny /usr/secret/\n";
  for (unsigned here = 0; here < 2; here++) {
    struct rules *r = calloc(1, sizeof *r);
    assert_int_equal(rules_read(r, text, sizeof text - 1, here), 0);
    assert_int_equal(rules_map(r, "/a=b=local"), 0);
    assert_int_equal(rules_map(r, "/usr=remote"), 0);
    assert_int_equal(rules_map(r, "/nowhere=here"), -EINVAL);
    assert_int_equal(rules_map(r, "relative=local"), -EINVAL);
    rules_sort(r);
    assert_int_equal(where(r, "/usr/bin/x"), WHERE_REMOTE);
    assert_int_equal(where(r, "/usr/secret"), WHERE_DENY);
    assert_int_equal(where(r, "/usr/secrets"), WHERE_REMOTE);
    assert_int_equal(where(r, "/a=b/c"), WHERE_LOCAL);
    assert_int_equal(where(r, "/opt/x"), here ? WHERE_REMOTE : WHERE_LOCAL);
    assert_int_equal(rules_read(r, "remote /\nlocal usr\n", 19, false), 2);
    assert_int_equal(rules_read(r, "local /x y\n", 11, false), 1);
    assert_int_equal(rules_read(r, "elsewhere /", 11, false), 1);
    char name[32];
    int err = 0;
    for (unsigned i = 0; i <= SESSION_RULES && !err; i++)
      err = rules_add(r, WHERE_LOCAL, name, (size_t)snprintf(name, sizeof name, "/%u", i));
    assert_int_equal(err, -ENOSPC);
    free(r);
  }
}

static void rules_of_addresses(void **state)
{
  (void)state;
  static const char *const good[] = {"tcp:*=remote", "tcp:10.0.0.0/8=local", "udp:[fd00::]/16:22=deny",
                                     "tcp:10.0.0.0/8:80=remote"};
  static const char *const bad[] = {"tcp:x=local",         "tcp:1.2.3.4/33=local",    "udp:1.2.3.4:=local",
                                    "tcp:[::1=local",      "udp:1.2.3.4:70000=local", "unix:x=local",
                                    "tcp:1.2.3.4/8x=local"};
  struct rules *r = calloc(1, sizeof *r);
  for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
    assert_int_equal(rules_map(r, good[i]), 0);
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(rules_map(r, bad[i]), -EINVAL);
  rules_sort(r);
  assert_int_equal(r->nnets, 4);
  static const struct net_rule sorted[] = {{.bits = 16, .port = 22, .family = 6},
                                           {.bits = 8, .port = 80, .family = 4},
                                           {.bits = 8, .family = 4},
                                           {.bits = 0}};
  for (unsigned i = 0; i < 4; i++)
    assert_true(r->nets[i].bits == sorted[i].bits && r->nets[i].port == sorted[i].port &&
                r->nets[i].family == sorted[i].family);
  free(r);
}

static void queue_keeps_order(void **state)
{
  (void)state;
  struct queue q = {0};
  int p[2];
  static uint8_t back[FRAME_MAX];
  uint64_t put = 0, got = 0;
  assert_int_equal(pipe2(p, O_NONBLOCK), 0);
  srandom(6);
  for (unsigned i = 0; i < 500 || q.bytes; i++) {
    size_t n = i < 500 ? 1 + (size_t)random() % (i % 5 ? 100 : FRAME_MAX) : 0;
    uint8_t *at = n ? queue_add(&q, n) : 0;
    for (size_t j = 0; j < n; j++)
      at[j] = (uint8_t)(put++ * 31 >> 3);
    int err = queue_write(&q, p[1]);
    assert_true(err == 0 || err == -EAGAIN);
    ssize_t r = read(p[0], back, sizeof back);
    for (ssize_t j = 0; j < r; j++)
      assert_int_equal(back[j], (uint8_t)(got++ * 31 >> 3));
  }
  while (got < put) {
    ssize_t r = read(p[0], back, sizeof back);
    assert_true(r > 0);
    for (ssize_t j = 0; j < r; j++)
      assert_int_equal(back[j], (uint8_t)(got++ * 31 >> 3));
  }
  close(p[0]);
  signal(SIGPIPE, SIG_IGN);
  queue_add(&q, 1)[0] = 0;
  assert_int_equal(queue_write(&q, p[1]), -EPIPE);
  close(p[1]);
  while (q.first) {
    void *c = q.first;
    q.first = *(void **)c;
    free(c);
  }
  free(q.spare);
}

#define WITH_HUB(test) cmocka_unit_test_setup_teardown(test, start, end_in_order)

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rules_by_length),
      cmocka_unit_test(rules_of_addresses),
      cmocka_unit_test(queue_keeps_order),
      WITH_HUB(greeting),
      WITH_HUB(call_and_reply),
      WITH_HUB(reads_ahead),
      WITH_HUB(changes_end_reading_ahead),
      cmocka_unit_test(hostile_blocks),
      cmocka_unit_test_setup(garbage_in_slots, start),
      WITH_HUB(last_close),
      WITH_HUB(wake_ups),
      WITH_HUB(lost_events),
      cmocka_unit_test_setup(late_by_name, start),
      cmocka_unit_test(wrong_version),
      cmocka_unit_test(wrong_greetings),
      cmocka_unit_test(wrong_numbers),
      cmocka_unit_test(replies_twice),
      cmocka_unit_test(takes_packed),
      cmocka_unit_test(packed_wrongly),
      cmocka_unit_test(every_type_at_every_length),
      cmocka_unit_test(replies_to_every_call),
      cmocka_unit_test(lost_slave),
      cmocka_unit_test(hostile_messages),
      cmocka_unit_test(random_messages),
  };
  return cmocka_run_group_tests(tests, 0, 0);
}
