/*
 * fsyscall's modes, for programs that want to say where their calls run: fsyscall_mode(7).
 *
 * A mode is a thread's own. Nothing is linked: it is a system call, which a kernel answers with ENOSYS where no session of
 * fsyscall is around the program.
 */
#ifndef FSYSCALL_H
#define FSYSCALL_H

#define FSYSCALL_NR 26227 /* x86-64 */
enum fsyscall_op { FSYSCALL_GET_MODE, FSYSCALL_SET_MODE };

/* One of each line, ored together. */
enum fsyscall_mode {
  FSYSCALL_LOCAL = 0,    /* calls that are not about files run on this machine, and names are this machine's */
  FSYSCALL_REMOTE = 1,   /* they are the slave's */
  FSYSCALL_UNMAPPED = 0, /* descriptors and signals are the kernel's, or the raw ones of the slave */
  FSYSCALL_MAPPED = 2    /* they are those of the virtual tables */
};

#ifndef FSYSCALL_NUMBERS_ONLY
#include <sys/syscall.h>
#include <unistd.h>

/* The mode, or -1: errno ENOSYS. */
static inline int fsyscall_get_mode(void)
{
  return (int)syscall(FSYSCALL_NR, FSYSCALL_GET_MODE);
}

/* The mode before, or -1: errno EINVAL, ENOTCONN (remote, and there is no slave), ENOSYS. */
static inline int fsyscall_set_mode(int mode)
{
  return (int)syscall(FSYSCALL_NR, FSYSCALL_SET_MODE, mode);
}
#endif

#endif
