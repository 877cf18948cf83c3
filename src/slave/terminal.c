/*
 * The user's terminal, when the program has one of its own at the master: what is typed goes there as it is, what that
 * one shows is written here. Two threads: one reads, one sends, so that the escape is understood even while nothing
 * can be sent. Output takes the way of every stream (stream.c).
 *
 * Owns what was typed and not yet sent, and the escape. Must never: read the terminal once the command's status may be
 * told, since others read it then; or have more under way than the master lets it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "slave/slave.h"

#define MODES (4 + TERMIOS_CHARS)
#define PIECE 4096
#define SUSPEND 26 /* ^Z */

static struct {
  bool on, known; /* the program gets a terminal of its own; and how its modes are */
  uint64_t modes[MODES];
  bool terminal;         /* standard input is one */
  int escape;            /* -1: none */
  bool line_start, held; /* the next character may be the escape; it has been typed and waits for the next */
  pthread_mutex_t lock;
  pthread_cond_t moved;
  uint8_t typed[TERMINAL_WINDOW]; /* a ring */
  uint32_t at, n;
  uint64_t taken, shown;  /* bytes read so far, and given to the program's terminal */
  bool ended, gone, over; /* no more will come; since the terminal has gone; nobody wants any */
  int from;               /* what is read */
  int stop;
  pthread_mutex_t reading; /* held while the terminal is read */
} T = {.escape = -1,
       .line_start = true,
       .lock = PTHREAD_MUTEX_INITIALIZER,
       .moved = PTHREAD_COND_INITIALIZER,
       .stop = -1,
       .reading = PTHREAD_MUTEX_INITIALIZER};

bool terminal_on(void)
{
  return T.on;
}

bool terminal_set(const char *modes)
{
  T.on = true;
  T.known = strcmp(modes, "-");
  for (unsigned i = 0; i < MODES && T.known; i++) {
    char *end;
    errno = 0;
    T.modes[i] = strtoul(modes, &end, 16);
    if (errno || end == modes || (*end && *end != ':') || T.modes[i] > UINT32_MAX || (!*end && i + 1 < MODES))
      return false;
    modes = end + (*end == ':');
  }
  return true;
}

void terminal_escape(int c)
{
  T.escape = c;
}

void terminal_fact(struct wbuf *w)
{
  if (T.on)
    put_fact_ints(w, FACT_TERMIOS, T.modes, T.known ? MODES : 0);
}

/* ---- what is typed ---- */

/* With the lock held; there is room. */
static void keep(uint8_t c)
{
  T.typed[(T.at + T.n++) % sizeof T.typed] = c;
  T.taken++;
}

static void give_up(void)
{
  say("the session has been given up");
  _exit(SLAVE_FAILED);
}

/* Whoever started us sees us stop, and stops as well. */
static void suspend(void)
{
  pthread_mutex_unlock(&T.lock);
  kill(getpid(), SIGSTOP);
  pthread_mutex_lock(&T.lock);
}

static void help(void)
{
  static const struct {
    const char *key, *what;
  } keys[] = {{".", "give up the session"}, {"^Z", "stop nexec"}, {"?", "this list"}};
  for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
    dprintf(STDERR_FILENO, "\r\n %c%-3s %s", T.escape, keys[i].key, keys[i].what);
  dprintf(STDERR_FILENO, "\r\n %c%c   the character itself\r\n", T.escape, T.escape);
}

/* The character behind the escape. */
static void command(uint8_t c)
{
  switch (c) {
  case '.':
    give_up();
    break;
  case SUSPEND:
    suspend();
    break;
  case '?':
    help();
    break;
  default:
    keep((uint8_t)T.escape);
    if (c != T.escape)
      keep(c);
  }
}

static void take_char(uint8_t c)
{
  if (T.held) {
    T.held = false;
    command(c);
    T.line_start = c == '\r' || c == '\n' || c == SUSPEND;
    return;
  }
  T.held = T.line_start && c == T.escape;
  T.line_start = c == '\r' || c == '\n';
  if (!T.held)
    keep(c);
}

static void take_typed(const uint8_t *p, ssize_t n)
{
  pthread_mutex_lock(&T.lock);
  for (ssize_t i = 0; i < n; i++)
    take_char(p[i]);
  T.ended = n <= 0;
  T.gone = n < 0 || (!n && T.terminal);
  pthread_cond_broadcast(&T.moved);
  pthread_mutex_unlock(&T.lock);
}

/* How much may be read: one less than would be taken of it, since an escape that is none makes two characters. */
static uint32_t wait_room(void)
{
  pthread_mutex_lock(&T.lock);
  while (!T.over && T.taken - T.shown >= TERMINAL_WINDOW - 1)
    pthread_cond_wait(&T.moved, &T.lock);
  uint32_t room = T.over ? 0 : (uint32_t)(TERMINAL_WINDOW - 1 - (T.taken - T.shown));
  pthread_mutex_unlock(&T.lock);
  return room < PIECE ? room : PIECE;
}

/* Others who share standard input must not see it change; a description of our own never keeps us waiting. */
static void open_input(void)
{
  struct stat st;
  T.from = STDIN_FILENO;
  T.terminal = isatty(STDIN_FILENO);
  if (!T.terminal && (fstat(STDIN_FILENO, &st) || !S_ISFIFO(st.st_mode)))
    return;
  int own = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  T.from = own < 0 ? STDIN_FILENO : own;
}

static ssize_t read_typed(uint8_t *p, uint32_t room)
{
  struct pollfd f[2] = {{.fd = T.from, .events = POLLIN}, {.fd = T.stop, .events = POLLIN}};
  ssize_t n;
  if (poll(f, 2, -1) < 0)
    return -EINTR;
  pthread_mutex_lock(&T.reading);
  n = poll(&f[1], 1, 0) ? -ECANCELED : read(T.from, p, room);
  n = n == -1 ? -errno : n;
  pthread_mutex_unlock(&T.reading);
  return n;
}

static void *reader(void *arg)
{
  uint8_t piece[PIECE];
  uint32_t room;
  while ((room = wait_room())) {
    ssize_t n = read_typed(piece, room);
    if (n == -EINTR || n == -EAGAIN)
      continue;
    if (n == -ECANCELED)
      break;
    take_typed(piece, n);
    if (n <= 0)
      break;
  }
  return arg;
}

static void *sender(void *arg)
{
  uint8_t piece[TERMINAL_PIECE];
  bool last = false;
  while (!last && !out_lost()) {
    pthread_mutex_lock(&T.lock);
    while (!T.n && !T.ended)
      pthread_cond_wait(&T.moved, &T.lock);
    uint32_t n = 0;
    for (; n < sizeof piece && T.n; T.n--, n++) {
      piece[n] = T.typed[T.at];
      T.at = (T.at + 1) % sizeof T.typed;
    }
    last = T.ended && !T.n;
    bool gone = T.gone;
    pthread_mutex_unlock(&T.lock);
    out_send(&(struct frame){.type = F_INPUT, .flags = last ? FF_EOF : 0, .op = last && gone}, piece, n, 0);
  }
  return arg;
}

int terminal_start(void)
{
  if (!T.on)
    return 0;
  T.stop = wake_open();
  if (T.stop < 0)
    return T.stop;
  open_input();
  T.escape = T.terminal ? T.escape : -1;
  int err = thread_start(sender, 0);
  return err ? err : thread_start(reader, 0);
}

void terminal_stop(void)
{
  if (!T.on)
    return;
  pthread_mutex_lock(&T.reading);
  if (!wake_set(T.stop))
    say("the terminal cannot be left: %s", strerror(errno));
  pthread_mutex_unlock(&T.reading);
  pthread_mutex_lock(&T.lock);
  T.over = true;
  pthread_cond_broadcast(&T.moved);
  pthread_mutex_unlock(&T.lock);
}

/* ---- what the master says ---- */

bool terminal_window(const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  uint64_t handle = get_u64(&r), shown = get_u64(&r);
  if (r.bad || r.at != r.end || handle != H_STDIN || !T.on)
    return false;
  pthread_mutex_lock(&T.lock);
  bool good = shown >= T.shown && shown <= T.taken;
  T.shown = good ? shown : T.shown;
  pthread_cond_broadcast(&T.moved);
  pthread_mutex_unlock(&T.lock);
  return good;
}

bool terminal_output(const struct frame *f, const uint8_t *body, uint32_t n)
{
  if (!T.on || n > TERMINAL_PIECE || f->op > 1)
    return false;
  struct handle *h = handle_get(H_STDOUT);
  if (!h) {
    out_note(F_LATE, OP_write, -EBADF, (uint64_t[]){H_STDOUT}, 1);
    return true;
  }
  if (f->op) {
    stream_discard(h);
    if (h->kind == K_TTY && !ioctl(h->fd, TCFLSH, 1)) /* TCOFLUSH */
      stream_look_again(h);
  }
  if (n)
    stream_post(h, body, n);
  handle_put(h);
  return true;
}

/* Lines for people end as on a terminal that does nothing by itself. */
const char *terminal_newline(int fd)
{
  return T.on && isatty(fd) ? "\r\n" : "\n";
}
