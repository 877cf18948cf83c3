/* Numbers and constants of the kernel: only headers that bring macros and plain structs, no declarations of a libc. */
#ifndef AGENT_SYSNUM_H
#define AGENT_SYSNUM_H

#include <asm/prctl.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#endif
