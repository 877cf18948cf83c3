/*
 * From a trapped or jumped call to its handler and back: the table says which. Restarting after a signal is decided
 * here and nowhere else.
 */
#include "agent/lazy.h"
#include "agent/light.h"
#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

enum { SOL_SOCKET = 1, RCVTIMEO = 20, SNDTIMEO = 21 };

#define SYS(nr, name, handler, args, wire, traits, level, note) handler_fn a_##handler;
#include "proto/syscalls.def"

handler_fn *const handlers[SYSCALL_MAX] = {
#define SYS(nr, name, handler, args, wire, traits, level, note) [nr] = a_##handler,
#include "proto/syscalls.def"
};

void dispatch(struct thread *t, struct regs *r);

long pass(struct call *c)
{
  return cp_raw(c->nr, (long)c->a[0], (long)c->a[1], (long)c->a[2], (long)c->a[3], (long)c->a[4], (long)c->a[5]);
}

/* Cannot sleep: a signal held back does not keep it from being made. */
long a_local(struct call *c)
{
  return sys6(c->nr, (long)c->a[0], (long)c->a[1], (long)c->a[2], (long)c->a[3], (long)c->a[4], (long)c->a[5]);
}

long a_wait(struct call *c)
{
  return pass(c);
}

/* An older spelling: puts the arguments where the row that serves expects them. */
static void translate(struct call *c)
{
  const char *map = c->row->note;
  unsigned long old[6];
  memcpy(old, c->a, sizeof old);
  for (unsigned i = 0; i < 6 && map[i]; i++) {
    switch (map[i]) {
    case 'C':
      c->a[i] = (unsigned long)AT_FDCWD;
      break;
    case 'z':
      c->a[i] = 0;
      break;
    case 'n':
      c->a[i] = AT_SYMLINK_NOFOLLOW;
      break;
    case 'r':
      c->a[i] = AT_REMOVEDIR;
      break;
    case 't':
      c->a[i] = O_CREAT | O_WRONLY | O_TRUNC;
      break;
    default:
      c->a[i] = old[map[i] - '0'];
    }
  }
  c->nr = c->row->target;
  c->row = &syscall_rows[c->nr];
}

static long serve(struct call *c)
{
  if (c->nr == FSYSCALL_NR)
    return mode_call(c);
  if (!c->row->name) {
    count(N_ENOSYS);
    return -ENOSYS;
  }
  if (c->row->target >= 0)
    translate(c);
  if (c->row->refuse) {
    c->where = N_ENOSYS;
    return -c->row->refuse;
  }
  if (c->p->lights)
    light_before(c);
  if (lazy_any)
    lazy_before(c);
  if ((c->t->mode | (standalone() ? FSYSCALL_REMOTE : 0)) != MODE_ALL)
    return mode_serve(c);
  return c->p->control ? mode_written(c, handlers[c->nr](c)) : handlers[c->nr](c);
}

/* Calls on sockets that wait for so long only are not restarted: the time would begin anew (signal(7)). */
static bool is_timed(const struct call *c)
{
  static const struct {
    int16_t nr;
    int8_t option;
  } timed[] = {{SYS_read, RCVTIMEO},     {SYS_readv, RCVTIMEO},   {SYS_recvfrom, RCVTIMEO}, {SYS_recvmsg, RCVTIMEO},
               {SYS_recvmmsg, RCVTIMEO}, {SYS_accept, RCVTIMEO},  {SYS_accept4, RCVTIMEO},  {SYS_write, SNDTIMEO},
               {SYS_writev, SNDTIMEO},   {SYS_sendto, SNDTIMEO},  {SYS_sendmsg, SNDTIMEO},  {SYS_sendmmsg, SNDTIMEO},
               {SYS_connect, SNDTIMEO},  {SYS_sendfile, SNDTIMEO}};
  for (unsigned i = 0; i < sizeof timed / sizeof timed[0]; i++) {
    uint64_t time[2] = {0, 0};
    uint32_t size = sizeof time;
    if (timed[i].nr == c->nr)
      return sys5(SYS_getsockopt, c->a[0], SOL_SOCKET, timed[i].option, time, &size) == 0 && (time[0] | time[1]);
  }
  return false;
}

/* Not begun: begins after the handler. Interrupted: as the row and the handler's flags say. */
static bool restarts(struct call *c, long result)
{
  if (result == -ERESTART_CALL)
    return true;
  return result == -EINTR && c->t->pending && (c->row->traits & RESTART) && held_restarts(c->t) && !is_timed(c);
}

void dispatch(struct thread *t, struct regs *r)
{
  static const struct row unknown = {.target = -1};
  struct call c = {.t = t, .p = t->proc, .nr = (int)(uint32_t)r->nr, .where = N_LOCAL, .regs = r};
  c.row = (uint32_t)r->nr < SYSCALL_MAX ? &syscall_rows[(uint32_t)r->nr] : &unknown;
  c.a[0] = r->rdi, c.a[1] = r->rsi, c.a[2] = r->rdx, c.a[3] = r->r10, c.a[4] = r->r8, c.a[5] = r->r9;
  t->sigret_uc = 0;
  t->waited = t->posted = false;
  if (session->over)
    sys1(SYS_exit_group, 255);
  if (session->flags & SF_TRACE)
    c.began = trace_clock();
  long result;
  if ((!t->filters && !t->strict) || filter_allows(&c, &result))
    result = serve(&c);
  if (c.where == N_WAITED && !t->waited)
    c.where = t->posted ? N_POSTED : N_MEMORY;
  if (session->flags & SF_TRACE)
    trace_call(&c, result);
  if (c.where == N_LOCAL)
    t->n_local++;
  else if (c.where == N_MEMORY)
    count(N_MEMORY);
  if (c.no_return)
    return;
  if (restarts(&c, result)) {
    r->rip = rewrite_call_site(r->rip);
    r->rax = r->nr;
    return;
  }
  r->rax = (uint64_t)result;
}

/* A call of the agent's own, made as the program would make it. */
long as_program(struct thread *t, int nr, unsigned long a, unsigned long b, unsigned long d)
{
  struct regs none = {0};
  struct call c = {.t = t, .p = t->proc, .row = &syscall_rows[nr], .nr = nr, .a = {a, b, d}, .regs = &none};
  return serve(&c);
}

void last_words(const char *line, size_t n)
{
  static uint32_t speaking;
  bool first = !__atomic_exchange_n(&speaking, 1, __ATOMIC_ACQ_REL);
  if (first && session && thread_ready() && !standalone())
    as_program(self(), SYS_write, 2, (unsigned long)line, n);
  else
    sys3(SYS_write, 2, line, n);
}
