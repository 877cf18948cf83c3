/*
 * The hub's life: the session's memory, its sockets, one loop.
 *
 * Owns the event descriptors and the order of a turn: what the slave says, what programs ask, who has ended, what is to
 * be sent. Must never block outside epoll_wait().
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/io.h"
#include "base/killall.h"
#include "base/log.h"
#include "hub/internal.h"
#include "proto/kept.h"

#define REQUEST_BUFFER (4 << 20)
#define EVENTS_MAX 64
#define TICK 1000 /* milliseconds */
#define LINGER_MS 20

int hub_watch(struct hub *h, int fd, uint32_t events, enum source src, uint32_t value)
{
  struct epoll_event e = {.events = events, .data.u64 = (uint64_t)src << 32 | value};
  return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static void rewatch(struct hub *h, int fd, uint32_t events, enum source src)
{
  struct epoll_event e = {.events = events, .data.u64 = (uint64_t)src << 32};
  epoll_ctl(h->epoll, EPOLL_CTL_MOD, fd, &e);
}

/* ---- making one ---- */

/* Nobody can change its size: a program that cut it short would kill everyone who has it mapped. */
static int make_memory(struct hub *h)
{
  h->session_fd = memfd_new("fsyscall-session", false);
  if (h->session_fd < 0)
    return h->session_fd;
  if (ftruncate(h->session_fd, (off_t)SESSION_SIZE) ||
      fcntl(h->session_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
    return -errno;
  void *p = mmap(0, SESSION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, h->session_fd, 0);
  if (p == MAP_FAILED)
    return -errno;
  h->memory = p;
  h->s = p;
  return 0;
}

static int make_socket(struct hub *h)
{
  int pair[2], on = 1, size = REQUEST_BUFFER;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
    return -errno;
  h->request = pair[0];
  h->program_end = pair[1];
  if (setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) ? -errno : 0;
}

/* Asked to end: by the supervisor's death (PR_SET_PDEATHSIG), or by a person. */
static int make_signals(struct hub *h)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  bool near = h->o.flags & SF_NEAR;
  for (const int *s = (const int[]){SIGQUIT, SIGUSR1, SIGUSR2, 0}; near && *s; s++)
    sigaddset(&set, *s);
  if (near) /* the terminal stops programs; who serves them goes on */
    for (const int *s = (const int[]){SIGTSTP, SIGTTIN, SIGTTOU, 0}; *s; s++)
      signal(*s, SIG_IGN);
  h->parent = getppid();
  sigprocmask(SIG_BLOCK, &set, 0);
  signal(SIGPIPE, SIG_IGN);
  h->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  return h->signals < 0 ? -errno : 0;
}

static int make_events(struct hub *h)
{
  h->epoll = epoll_create1(EPOLL_CLOEXEC);
  h->ends = epoll_create1(EPOLL_CLOEXEC);
  h->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (h->inotify < 0)
    return -errno;
  if (h->epoll < 0 || h->ends < 0)
    return -errno;
  int err = make_signals(h);
  err = err ? err : hub_watch(h, h->request, EPOLLIN, SRC_REQUEST, 0);
  err = err ? err : hub_watch(h, h->inotify, EPOLLIN, SRC_INOTIFY, 0);
  err = err ? err : hub_watch(h, h->ends, EPOLLIN, SRC_ENDS, 0);
  return err ? err : hub_watch(h, h->signals, EPOLLIN, SRC_SIGNAL, 0);
}

static void fill_head(struct hub *h)
{
  struct session *s = h->s;
  s->magic = SESSION_MAGIC;
  s->version = WIRE_VERSION;
  s->flags = h->o.flags;
  s->id = h->o.id;
  s->hub_pid = (uint32_t)getpid();
  s->next_ctx = 2; /* 1 is the command */
  s->next_handle = s->high_handle = H_FIRST;
  s->nrules = h->o.rules->n;
  memcpy(s->rules, h->o.rules->rule, s->nrules * sizeof s->rules[0]);
  s->nunix = h->o.rules->nunix;
  memcpy(s->unixes, h->o.rules->unixes, s->nunix * sizeof s->unixes[0]);
  s->nnets = h->o.rules->nnets;
  memcpy(s->nets, h->o.rules->nets, s->nnets * sizeof s->nets[0]);
  s->facts.master_uid = getuid();
  s->facts.master_gid = getgid();
  snprintf(s->facts.tmpdir, sizeof s->facts.tmpdir, "%s", h->o.tmpdir);
}

struct hub *hub_new(const struct hub_options *o)
{
  struct hub *h = calloc(1, sizeof *h);
  if (!h)
    return 0;
  h->o = *o;
  h->in = h->out = h->command_fd = h->pty.master = h->pty.slave = -1;
  h->status = -1;
  h->result = 255;
  int err = make_memory(h);
  err = err ? err : make_socket(h);
  err = err ? err : make_events(h);
  if (err) {
    free(h);
    errno = -err;
    return 0;
  }
  fill_head(h);
  if (o->flags & SF_STANDALONE)
    facts_local(h);
  return h;
}

int hub_connect(struct hub *h, int in, int out)
{
  h->in = in;
  h->out = fcntl(out, F_DUPFD_CLOEXEC, 3); /* of its own, also if both are one */
  if (h->out < 0 || set_nonblocking(in) || set_nonblocking(h->out)) {
    log_line("the stream's descriptors are not open");
    return -EBADF;
  }
  int tcp = h->o.link >= 0 ? fcntl(h->o.link, F_DUPFD_CLOEXEC, 3) : -1;
  link_start(&h->link, tcp >= 0 ? tcp : h->out);
  h->packer = packer_new();
  int err = hello_exchange(h);
  if (!err && h->o.store)
    disk_start(h);
  err = err ? err : pty_open(h);
  err = err ? err : hub_watch(h, h->in, EPOLLIN, SRC_IN, 0);
  return err ? err : hub_watch(h, h->out, 0, SRC_OUT, 0);
}

struct session *hub_session(struct hub *h)
{
  return h->s;
}

char **hub_slave_env(struct hub *h)
{
  return h->env;
}

int hub_program_end(const struct hub *h)
{
  return h->program_end;
}

int hub_session_fd(const struct hub *h)
{
  return h->session_fd;
}

/* ---- placeholders of what is inherited ---- */

static int stream_placeholder(struct hub *h, struct file *f, uint64_t *ino)
{
  int pair[2];
  struct stat st;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
    return -errno;
  int err = fstat(pair[0], &st) ? -errno : file_place_fd(h, f, pair[1]);
  if (err) {
    close(pair[0]);
    close(pair[1]);
    return err;
  }
  *ino = st.st_ino;
  return pair[0];
}

/* Placed through a duplicate: who places a file gives its descriptor away. */
static int file_placeholder(struct hub *h, struct file *f)
{
  char name[64];
  snprintf(name, sizeof name, "fsyscall:%lx:%x", (unsigned long)h->o.id, f->handle);
  int fd = memfd_new(name, false), copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
  int err = fd < 0 ? fd : copy < 0 ? -errno : file_place_fd(h, f, copy);
  if (err && fd >= 0)
    close(fd);
  return err ? err : fd;
}

static bool is_stream(uint32_t kind)
{
  return kind == K_STREAM || kind == K_TTY;
}

int hub_placeholder(struct hub *h, uint32_t handle)
{
  struct file *f = file_at(h, handle);
  if (!f)
    return -EBADF;
  return is_stream(f->kind) ? stream_placeholder(h, f, &h->s->handles[handle].sock_ino) : file_placeholder(h, f);
}

void hub_give_up(struct hub *h, const char *reason)
{
  hub_abort(h, true, "%s", reason);
}

/* ---- the loop ---- */

/* Programs that wait are answered first, so that none hangs if killing takes its time. */
static void end_programs(struct hub *h)
{
  __atomic_store_n(&h->s->over, 1, __ATOMIC_SEQ_CST);
  pump(h);
  pty_hangup(h);
  slots_fail_all(h);
  files_wake_all(h);
  /* It may not be the agent yet. */
  if (h->command > 0 && h->status < 0) {
    kill(h->command, SIGKILL);
    waitpid(h->command, 0, 0);
  }
  killall_session(h->o.id);
}

static void see_command_end(struct hub *h)
{
  epoll_ctl(h->epoll, EPOLL_CTL_DEL, h->command_fd, 0);
  h->command_over = true;
  h->command_over_at = h->taken;
}

static void settle_deaths(struct hub *h, bool drained)
{
  procs_settle(h, drained);
  if (h->command_over && h->status < 0 && (drained || all_taken_since(h, h->command_over_at)))
    command_ended(h);
}

/* The programs have got the terminal's themselves; others are meant for the command, while nexec is there to send them.
 */
static bool pass_on(struct hub *h, const struct signalfd_siginfo *si)
{
  if (!(h->o.flags & SF_NEAR) || getppid() != h->parent)
    return false;
  if (si->ssi_code != SI_KERNEL && h->command > 0 && h->status < 0)
    kill(h->command, (int)si->ssi_signo);
  return true;
}

static void take_signal(struct hub *h)
{
  struct signalfd_siginfo si;
  if (read(h->signals, &si, sizeof si) == sizeof si && !pass_on(h, &si))
    hub_abort(h, true, "the master was told to end (signal %u)", si.ssi_signo);
}

static void watch_wants(struct hub *h)
{
  bool full = h->queue.bytes > QUEUE_MAX;
  if (full != h->requests_paused) {
    h->requests_paused = full;
    rewatch(h, h->request, full ? 0 : EPOLLIN, SRC_REQUEST);
  }
  if (h->out >= 0 && h->out_waits != h->out_watched) {
    h->out_watched = h->out_waits;
    rewatch(h, h->out, h->out_waits ? EPOLLOUT : 0, SRC_OUT);
  }
}

static void tick(struct hub *h)
{
  uint64_t now = now_ms();
  if (now < h->tick)
    return;
  h->tick = now + TICK;
  stores_tick(h);
  bound_sweep(h);
  slots_sweep(h);
}

/* If the slave ended the session, why it did so is still to be read. */
static void stream_broke(struct hub *h)
{
  stream_read(h);
  if (!h->over)
    hub_abort(h, false, "the connection to the slave broke: %s", strerror(-h->out_error));
}

static void turn(struct hub *h)
{
  struct epoll_event e[EVENTS_MAX];
  watch_wants(h);
  bool at_once = (h->requests_ended && h->out < 0) || (stores_busy(h) && !h->out_waits);
  int n = epoll_wait(h->epoll, e, EVENTS_MAX, at_once ? 0 : TICK);
  for (int i = 0; i < n && !h->over; i++) {
    enum source src = (enum source)(e[i].data.u64 >> 32);
    if (src == SRC_IN)
      stream_read(h);
    if (src == SRC_FAULT)
      lazy_faults(h, (uint32_t)e[i].data.u64);
    if (src == SRC_SIGNAL)
      take_signal(h);
    if (src == SRC_NOTES)
      notes_ready(h, (uint32_t)e[i].data.u64);
    if (src == SRC_PROCESS)
      proc_ended(h, (pid_t)(uint32_t)e[i].data.u64);
    if (src == SRC_COMMAND)
      see_command_end(h);
  }
  bool drained = pump(h);
  settle_deaths(h, drained);
  if (drained)
    socks_send(h);
  stores_acked(h);
  stores_go_on(h);
  files_acked(h);
  tick(h);
  pty_step(h);
  hub_flush(h);
  if (h->out_error && !h->over)
    stream_broke(h);
  finish_step(h, drained);
}

static void request_ended(struct hub *h)
{
  static bool done;
  if (h->requests_ended && !done) {
    done = true;
    epoll_ctl(h->epoll, EPOLL_CTL_DEL, h->request, 0);
  }
}

/*
 * Without a slave our parent waits for us as it would for the command. Who goes on serving the rest of the session is a
 * child; the command was waited for already.
 */
static bool leave_rest_to_child(struct hub *h)
{
  if (!(h->o.flags & SF_NEAR) || h->requests_ended)
    return false;
  /* Most often the last of them is just ending. */
  if (poll(&(struct pollfd){.fd = h->request}, 1, LINGER_MS) > 0)
    return false;
  pid_t child = fork();
  if (!child)
    h->s->hub_pid = (uint32_t)getpid();
  return child > 0;
}

/* A descriptor for each socket of every program; who starts the programs has kept their own limit. */
static void raise_limit(void)
{
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r))
    return;
  r.rlim_cur = r.rlim_max;
  setrlimit(RLIMIT_NOFILE, &r);
}

int hub_run(struct hub *h, pid_t command)
{
  bool asked = false;
  close(h->program_end);
  h->program_end = -1;
  raise_limit();
  h->command = command;
  h->command_fd = (int)syscall(SYS_pidfd_open, command, 0);
  if (h->command_fd < 0 || hub_watch(h, h->command_fd, EPOLLIN, SRC_COMMAND, 0))
    hub_abort(h, true, "cannot watch the command: %s", strerror(errno));
  while (!h->over && !h->left) {
    turn(h);
    request_ended(h);
    if (h->exit_sent && !asked) {
      asked = true;
      h->left = leave_rest_to_child(h);
    }
  }
  if (h->lost)
    end_programs(h);
  return h->result;
}

bool hub_left(const struct hub *h)
{
  return h->left;
}
