/*
 * Memory of the program, read and written without trusting the address: a fault inside entry.S's uaccess functions
 * comes back as -EFAULT (signal.c). If the program blocks SIGSEGV or SIGBUS, such a fault would kill; then the kernel
 * copies (process_vm_readv on ourselves), which fails quietly.
 */
#include "agent/agent.h"
#include "agent/kernel.h"
#include "agent/sysnum.h"

long uaccess_copy(void *to, const void *from, size_t n);
long uaccess_str(char *to, const void *from, size_t size);

#define FAULTS (BIT_OF(11) | BIT_OF(7))

static bool faults_blocked(void)
{
  struct thread *t = self();
  return ((t->temp_masked ? t->temp_mask : t->sigmask) & FAULTS) != 0;
}

struct iovec_k {
  void *base;
  size_t len;
};

static long kernel_copy(long nr, void *here, const void *there, size_t n)
{
  struct iovec_k local = {here, n}, remote = {(void *)there, n};
  long r = sys6(nr, self()->tid, (long)&local, 1, (long)&remote, 1, 0);
  return r == (long)n ? 0 : r < 0 && r != -EFAULT ? r : -EFAULT;
}

int copy_in(void *to, const void *from, size_t n)
{
  if (faults_blocked())
    return (int)kernel_copy(SYS_process_vm_readv, to, from, n);
  return (int)uaccess_copy(to, from, n);
}

int copy_out(void *to, const void *from, size_t n)
{
  if (faults_blocked())
    return (int)kernel_copy(SYS_process_vm_writev, (void *)from, to, n);
  return (int)uaccess_copy(to, from, n);
}

/* By pages, since what lies behind the string's end may not be there. */
static long kernel_str(char *to, const char *from, size_t size)
{
  size_t done = 0;
  while (done < size) {
    size_t n = 4096 - ((unsigned long)(from + done) & 4095);
    n = n < size - done ? n : size - done;
    if (kernel_copy(SYS_process_vm_readv, to + done, from + done, n))
      return -EFAULT;
    for (size_t i = 0; i < n; i++)
      if (!to[done + i])
        return (long)(done + i);
    done += n;
  }
  return (long)size;
}

long copy_str(char *to, const void *from, size_t size)
{
  long n = faults_blocked() ? kernel_str(to, from, size) : uaccess_str(to, from, size);
  return n == (long)size ? -ENAMETOOLONG : n;
}
