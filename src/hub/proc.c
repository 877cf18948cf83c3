/*
 * The processes of the session: that they exist, and what has to be done when one has ended.
 *
 * Owns a pidfd for each. Must never act on an end before what the process sent has been passed on.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hub/internal.h"

static struct process **find(struct hub *h, pid_t pid)
{
  struct process **p = &h->processes;
  while (*p && (*p)->pid != pid)
    p = &(*p)->next;
  return p;
}

static void unlock(struct hub *h, uint32_t ctx)
{
  uint8_t body[16];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, 0);
  put_u64(&w, 0);
  hub_post(h, W_UNLOCK, ctx, &w, body);
}

static void context_over(struct hub *h, uint32_t ctx)
{
  uint8_t body[48];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, H_ROOT);
  put_u64(&w, CONTEXT_OVER);
  for (int i = 0; i < 3; i++)
    put_u64(&w, 0);
  put_blob(&w, 0, 0);
  hub_post(h, W_CONTEXT, ctx, &w, body);
}

static struct process *of_context(struct hub *h, uint32_t ctx)
{
  struct process *p = h->processes;
  while (p && p->ctx != ctx)
    p = p->next;
  return p;
}

/* Who is not known had ended before it could be watched. */
void proc_context(struct hub *h, uint32_t ctx)
{
  struct process *p = of_context(h, ctx);
  h->contexts = true;
  if (p)
    p->context = true;
  else
    context_over(h, ctx);
}

bool proc_has_context(struct hub *h, uint32_t ctx)
{
  const struct process *p = h->contexts ? of_context(h, ctx) : 0;
  return h->contexts && (!p || p->context);
}

void proc_locked(struct hub *h, uint32_t ctx)
{
  struct process *p = of_context(h, ctx);
  if (p)
    p->locks = true;
  else
    unlock(h, ctx);
}

static bool ended(const struct process *p)
{
  return poll(&(struct pollfd){.fd = p->pidfd, .events = POLLIN}, 1, 0) > 0;
}

bool proc_gone(struct hub *h, pid_t pid)
{
  const struct process *p = *find(h, pid);
  return p ? ended(p) : kill(pid, 0) && errno == ESRCH;
}

/* It stays in the list: what it asked for before its end may still be on its way, and is undone by settle(). */
void procs_unlock_dead(struct hub *h)
{
  for (struct process *p = h->processes; p; p = p->next)
    if (p->locks && ended(p))
      unlock(h, p->ctx);
}

static void end_of(struct hub *h, pid_t pid, uint32_t ctx)
{
  slots_of_dead(h, pid);
  lazy_process_gone(h, ctx);
  stores_flush(h);
  files_of_dead(h, ctx);
  bound_sweep(h);
}

/* Takes it out of the list. */
static void settle(struct hub *h, struct process **at)
{
  struct process *p = *at;
  *at = p->next;
  close(p->pidfd);
  end_of(h, p->pid, p->ctx);
  if (p->locks)
    unlock(h, p->ctx);
  if (p->context)
    context_over(h, p->ctx);
  free(p);
}

void proc_bind(struct hub *h, const struct message *m)
{
  struct process **known = find(h, m->pid);
  if (*known && (*known)->ended) /* its number has passed on: nothing of it can follow this message */
    settle(h, known);
  else if (*known) { /* the same process after an exec */
    lazy_process_gone(h, (*known)->ctx);
    (*known)->ctx = m->f.ctx;
    return;
  }
  struct process *p = calloc(1, sizeof *p);
  if (!p)
    return;
  *p = (struct process){.pid = m->pid, .ctx = m->f.ctx, .pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0)};
  if (p->pidfd < 0 || hub_watch(h, p->pidfd, EPOLLIN, SRC_PROCESS, (uint32_t)m->pid)) {
    if (p->pidfd >= 0)
      close(p->pidfd);
    free(p);
    end_of(h, m->pid, m->f.ctx);
    return;
  }
  p->next = h->processes;
  h->processes = p;
}

void proc_ended(struct hub *h, pid_t pid)
{
  struct process *p = *find(h, pid);
  if (!p || p->ended)
    return;
  epoll_ctl(h->epoll, EPOLL_CTL_DEL, p->pidfd, 0);
  p->ended = true;
  p->ended_at = h->taken;
}

void procs_settle(struct hub *h, bool drained)
{
  for (struct process **at = &h->processes, *p; (p = *at);) {
    if (!p->ended || !(drained || all_taken_since(h, p->ended_at))) {
      at = &p->next;
      continue;
    }
    settle(h, at);
  }
}
