/*
 * The user's terminal: raw while the program has one of its own at the other side, and given back as it was.
 *
 * Owns its modes. Must never leave it raw when this process ends or stops in a way that it can see, and never change it
 * under somebody else's hands.
 */
#include "cmd/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define CHARS 19 /* of the kernel's struct termios */

static struct {
  bool saved, own, raw;
  struct termios was, ours;
  char modes[4 * 9 + CHARS * 3 + 1];
} T = {.modes = "-"};

/* On a terminal that is not ours everybody is. */
static bool foreground(void)
{
  pid_t group = tcgetpgrp(STDIN_FILENO);
  return group < 0 || group == getpgrp();
}

static void write_modes(void)
{
  const struct termios *t = &T.was;
  int n = snprintf(T.modes, sizeof T.modes, "%x:%x:%x:%x", t->c_iflag, t->c_oflag, t->c_cflag, t->c_lflag);
  for (int i = 0; i < CHARS; i++)
    n += snprintf(T.modes + n, sizeof T.modes - (size_t)n, ":%x", t->c_cc[i]);
}

/* What is typed is neither looked at nor changed, nor is what is written. */
static void make_raw(struct termios *t)
{
  t->c_iflag |= IGNPAR;
  t->c_iflag &= ~(tcflag_t)(ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXANY | IXOFF | IUCLC);
  t->c_lflag &= ~(tcflag_t)(ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHONL | IEXTEN);
  t->c_oflag &= ~(tcflag_t)OPOST;
  t->c_cc[VMIN] = 1;
  t->c_cc[VTIME] = 0;
}

/* Signals that nobody expects: the terminal first, then what they do. */
static void fatal(int sig)
{
  terminal_restore(false);
  raise(sig);
}

static void restore_at_end(void)
{
  terminal_restore(false);
}

static void restore_when_killed(void)
{
  static const int signals[] = {SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ, SIGPOLL,   SIGPWR, SIGSEGV,
                                SIGBUS,  SIGFPE,    SIGILL,  SIGABRT, SIGTRAP, SIGSTKFLT, SIGSYS};
  struct sigaction a = {.sa_handler = fatal, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
  sigemptyset(&a.sa_mask);
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    struct sigaction was;
    if (!sigaction(signals[i], 0, &was) && was.sa_handler == SIG_DFL)
      sigaction(signals[i], &a, 0);
  }
}

void terminal_begin(enum terminal_wish wish)
{
  T.saved = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &T.was);
  T.own = wish == TERMINAL_FORCED || (wish == TERMINAL_AUTO && T.saved && isatty(STDOUT_FILENO) && foreground());
  if (!T.own || !T.saved)
    return;
  if (!foreground())
    tcdrain(STDIN_FILENO); /* stops us by SIGTTOU until we are not */
  tcgetattr(STDIN_FILENO, &T.was);
  write_modes();
  restore_when_killed();
  atexit(restore_at_end);
}

bool terminal_own(void)
{
  return T.own;
}

const char *terminal_modes(void)
{
  return T.modes;
}

static bool is_ours(const struct termios *now)
{
  return now->c_iflag == T.ours.c_iflag && now->c_oflag == T.ours.c_oflag && now->c_lflag == T.ours.c_lflag &&
         !memcmp(now->c_cc, T.ours.c_cc, CHARS);
}

/* Whoever stopped us may have set other modes since, which are to be given back then. */
void terminal_raw(void)
{
  struct termios now;
  if (!T.own || !T.saved || !foreground() || tcgetattr(STDIN_FILENO, &now) || (T.raw && is_ours(&now)))
    return;
  T.was = now;
  make_raw(&now);
  if (!tcsetattr(STDIN_FILENO, TCSANOW, &now))
    T.raw = !tcgetattr(STDIN_FILENO, &T.ours);
}

/* Not TCSADRAIN: a terminal that shows nothing just now must not keep us. A background process may do it as well, with
   SIGTTOU blocked. */
void terminal_restore(bool anyway)
{
  struct termios now;
  if (!T.saved || (T.own && !T.raw))
    return;
  if (T.own && ((!anyway && !foreground()) || tcgetattr(STDIN_FILENO, &now) || !is_ours(&now)))
    return;
  T.raw = false;
  tcsetattr(STDIN_FILENO, T.own ? TCSANOW : TCSADRAIN, &T.was);
}
