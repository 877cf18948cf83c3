/* The program's memory calls that concern the agent only: protecting its own ranges and knowing about text. */
#include "agent/names.h"
#include "agent/start.h"
#include "agent/sysnum.h"

bool thread_memory(unsigned long addr, unsigned long len);

/* The agent's image and what it shares with the hub lie in one range; threads and trampolines are kept apart. */
bool agent_memory(unsigned long addr, unsigned long len)
{
  unsigned long end = addr + len;
  if (addr < (unsigned long)agent_end && end > (unsigned long)agent_text_begin)
    return true;
  if (addr < (unsigned long)session + SESSION_HEAD_SIZE && end > (unsigned long)session)
    return true;
  return thread_memory(addr, len) || names_memory(addr, len) || rewrite_memory(addr, len);
}

/* Text that becomes writable belongs to a program that makes its own: no more rewriting there. */
long a_mprotect(struct call *c)
{
  unsigned long addr = c->a[0], len = c->a[1];
  if (len && agent_memory(addr, len))
    return -EACCES;
  if (c->a[2] & PROT_WRITE)
    text_unmapped(addr, len);
  return a_local(c);
}

long a_brk(struct call *c)
{
  return a_local(c);
}
