/*
 * Calls that act on what all programs of a machine see: its mounts, its performance counters. As long as every path of
 * the session is local, the kernel judges them, as it would natively. With files of the other side they would change or
 * count half of what the program sees, so they are refused as by a kernel without the privilege or the feature.
 */
#include <asm/errno.h>

#include "agent/agent.h"

handler_fn a_newfd;

static bool all_local(void)
{
  if (standalone())
    return true;
  for (uint32_t i = 0; i < session->nrules && i < SESSION_RULES; i++)
    if (session->rules[i].where != WHERE_LOCAL)
      return false;
  return session->nrules && session->rules[session->nrules - 1].len == 1; /* the last is the shortest: "/" */
}

long a_machine(struct call *c)
{
  return all_local() ? pass(c) : -EPERM;
}

long a_machine_fd(struct call *c)
{
  return all_local() ? a_newfd(c) : -EPERM;
}

long a_perf_event_open(struct call *c)
{
  return all_local() ? a_newfd(c) : -ENOSYS;
}
