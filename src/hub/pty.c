/*
 * The program's own terminal: a pty of this machine's kernel, so that job control, line editing, echo and /dev/pts are
 * what they always are. What the user types comes from the slave and is typed here; what the pty shows goes there.
 *
 * Both ways no more than TERMINAL_WINDOW bytes are under way. What the line discipline throws away (at an interrupt) is
 * thrown away all along. Before what was shown is sent, the requests are drained: a line on the terminal never precedes
 * the file it speaks of.
 *
 * Owns the two ends; the slave's end is kept open, so that the pty lives through moments in which no program has it
 * open. Must never block, and never read more after the command's end than it can have left.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "hub/internal.h"

#define PIECE 4096
#define LEFT_MAX (64u << 10) /* more than a pty holds */

/* ---- what the slave told of the user's ---- */

void pty_fact_modes(struct pty *p, const uint8_t *v, uint32_t n)
{
  p->wanted = true;
  p->known = n == 8 * PTY_MODES;
  for (unsigned i = 0; i < PTY_MODES && p->known; i++)
    p->modes[i] = fact_int(v, n, i);
}

static struct winsize winsize_of(const uint64_t size[4])
{
  return (struct winsize){(uint16_t)size[0], (uint16_t)size[1], (uint16_t)size[2], (uint16_t)size[3]};
}

void pty_fact_size(struct pty *p, const uint8_t *v, uint32_t n)
{
  uint64_t size[4];
  for (unsigned i = 0; i < 4; i++)
    size[i] = fact_int(v, n, i);
  p->size = winsize_of(size);
}

/* ---- making it ---- */

static void set_modes(const struct pty *p)
{
  struct termios t;
  if (!p->known || tcgetattr(p->slave, &t))
    return;
  t.c_iflag = (tcflag_t)p->modes[0];
  t.c_oflag = (tcflag_t)p->modes[1];
  t.c_cflag = (tcflag_t)p->modes[2];
  t.c_lflag = (tcflag_t)p->modes[3];
  for (unsigned i = 0; i < TERMIOS_CHARS; i++)
    t.c_cc[i] = (cc_t)p->modes[4 + i];
  tcsetattr(p->slave, TCSANOW, &t);
}

static int open_ends(struct pty *p)
{
  int off = 0, on = 1;
  p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (p->master < 0 || ioctl(p->master, TIOCSPTLCK, &off))
    return -errno;
  p->slave = ioctl(p->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return p->slave < 0 || ioctl(p->master, TIOCPKT, &on) ? -errno : 0;
}

int pty_open(struct hub *h)
{
  struct pty *p = &h->pty;
  p->line_start = true;
  int err = p->wanted ? open_ends(p) : 0;
  if (!err && p->wanted) {
    set_modes(p);
    ioctl(p->master, TIOCSWINSZ, &p->size);
    p->watched = EPOLLIN;
    err = hub_watch(h, p->master, EPOLLIN, SRC_PTY, 0);
  }
  if (err)
    hub_abort(h, true, "no terminal for the program: %s", strerror(-err));
  return err;
}

int hub_terminal(const struct hub *h)
{
  return h->pty.slave;
}

/* Input and output are; errors are kept apart if they are. */
bool hub_on_terminal(const struct hub *h, unsigned i)
{
  const struct facts *f = &h->s->facts;
  bool same = f->stdio[2].kind && f->stdio[2].dev == f->stdio[1].dev && f->stdio[2].ino == f->stdio[1].ino;
  return h->pty.slave >= 0 && (i < 2 || same || f->stdio[2].kind == K_TTY);
}

/* ---- what is typed ---- */

static void tell_window(struct hub *h)
{
  struct pty *p = &h->pty;
  uint8_t body[16];
  struct wbuf w = {body, body + sizeof body, false};
  if (p->put - p->told < TERMINAL_WINDOW / 4)
    return;
  p->told = p->put;
  put_u64(&w, H_STDIN);
  put_u64(&w, p->put);
  struct iovec part = {body, sizeof body};
  hub_send(h, (struct frame){.type = F_WINDOW}, &part, 1);
}

static void type_waiting(struct hub *h)
{
  struct pty *p = &h->pty;
  ssize_t n = p->waiting ? write(p->master, p->in, p->waiting) : 0;
  if (n <= 0)
    return;
  p->waiting -= (uint32_t)n;
  memmove(p->in, p->in + n, p->waiting);
  p->put += (uint64_t)n;
  p->put = p->put < p->taken ? p->put : p->taken; /* without what type_end() added */
  tell_window(h);
}

/* As if the user typed ^D: once ends an empty line, twice any. */
static void type_end(struct pty *p)
{
  struct termios t;
  if (tcgetattr(p->slave, &t) || t.c_cc[VEOF] == _POSIX_VDISABLE)
    return;
  for (int i = p->line_start ? 1 : 0; i < 2; i++)
    p->in[p->waiting++] = t.c_cc[VEOF];
}

int pty_input(struct hub *h, const struct frame *f, const uint8_t *body, uint32_t n)
{
  struct pty *p = &h->pty;
  if (!p->wanted || p->input_ended || n > TERMINAL_WINDOW - (p->taken - p->told))
    return -EPROTO;
  p->taken += n;
  p->input_ended = f->flags & FF_EOF;
  if (p->master < 0)
    return 0;
  memcpy(p->in + p->waiting, body, n);
  p->waiting += n;
  p->line_start = n ? body[n - 1] == '\n' || body[n - 1] == '\r' : p->line_start;
  if (p->input_ended && f->op)
    pty_hangup(h);
  else if (p->input_ended)
    type_end(p);
  if (p->master >= 0)
    type_waiting(h);
  return 0;
}

void pty_resize(struct hub *h, const uint64_t size[4])
{
  struct winsize w = winsize_of(size);
  if (h->pty.master >= 0)
    ioctl(h->pty.master, TIOCSWINSZ, &w);
}

/* A signal that the user's terminal would send: to whoever is in the foreground of the program's. */
void pty_signal(struct hub *h, int sig)
{
  pid_t group = h->pty.master >= 0 ? tcgetpgrp(h->pty.master) : -1;
  if (sig == SIGHUP)
    pty_hangup(h);
  else if (group > 1)
    kill(-group, sig);
}

/* ---- what is shown ---- */

void pty_shown(struct hub *h, uint64_t bytes)
{
  struct pty *p = &h->pty;
  bytes = bytes < p->sent ? bytes : p->sent;
  p->shown = bytes > p->shown ? bytes : p->shown;
}

static uint32_t room_for(const struct hub *h)
{
  const struct pty *p = &h->pty;
  uint32_t window = TERMINAL_WINDOW - (uint32_t)(p->sent - p->shown), room = TERMINAL_PIECE;
  room = room < window ? room : window;
  return p->have < room ? room - p->have : 0;
}

/* One reading gives a word about the terminal, or 0 and what it shows. False: there is nothing. */
static bool read_once(struct hub *h, uint32_t room)
{
  struct pty *p = &h->pty;
  uint8_t piece[1 + PIECE];
  ssize_t n = read(p->master, piece, 1 + (room < PIECE ? room : PIECE));
  if (n <= 0)
    return false;
  if (piece[0] & TIOCPKT_FLUSHWRITE) {
    p->have = 0;
    p->flush = true;
  }
  if (piece[0] == TIOCPKT_DATA) {
    memcpy(p->out + p->have, piece + 1, (size_t)n - 1);
    p->have += (uint32_t)n - 1;
    p->left += h->status >= 0 ? (uint32_t)n - 1 : 0;
  }
  return piece[0] || room;
}

static void read_shown(struct hub *h)
{
  struct pty *p = &h->pty;
  uint32_t room;
  p->dry = false;
  do {
    room = p->left < LEFT_MAX ? room_for(h) : 0;
    p->dry = !read_once(h, room) && room;
  } while (room && !p->dry);
  p->read_at = h->taken;
}

static void send_shown(struct hub *h)
{
  struct pty *p = &h->pty;
  struct iovec part = {p->out, p->have};
  hub_send(h, (struct frame){.type = F_OUTPUT, .op = p->flush}, &part, 1);
  p->sent += p->have;
  p->have = 0;
  p->flush = false;
}

static void show(struct hub *h)
{
  struct pty *p = &h->pty;
  do {
    read_shown(h);
    if (!p->have && !p->flush)
      return;
    if (!pump(h) && !all_taken_since(h, p->read_at))
      return;
    send_shown(h);
  } while (!p->dry && room_for(h) && !h->over);
}

static void watch(struct hub *h)
{
  struct pty *p = &h->pty;
  uint32_t events = (!p->have && room_for(h) ? EPOLLIN : EPOLLPRI) | (p->waiting ? EPOLLOUT : 0);
  struct epoll_event e = {.events = events, .data.u64 = (uint64_t)SRC_PTY << 32};
  if (events != p->watched && !epoll_ctl(h->epoll, EPOLL_CTL_MOD, p->master, &e))
    p->watched = events;
}

void pty_step(struct hub *h)
{
  struct pty *p = &h->pty;
  if (p->master < 0 || h->over)
    return;
  type_waiting(h);
  show(h);
  if (p->master >= 0)
    watch(h);
}

bool pty_empty(const struct hub *h)
{
  const struct pty *p = &h->pty;
  return p->master < 0 || (!p->have && !p->flush && (p->dry || p->left >= LEFT_MAX));
}

/* The user's terminal has gone, or nobody looks at it any more. The kernel tells the programs. */
void pty_hangup(struct hub *h)
{
  struct pty *p = &h->pty;
  if (p->master < 0)
    return;
  close(p->master);
  close(p->slave);
  p->master = p->slave = -1;
  p->waiting = p->have = 0;
  p->flush = false;
}
