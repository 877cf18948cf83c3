/*
 * Numbers that differ between Linux's architectures; the wire's are x86-64's (proto/wire.h).
 *
 * Owns the list of open flags that Arm has elsewhere. An architecture with other numbers of errno, signals or file
 * types does not build: it needs a map here first.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "slave/system.h"

_Static_assert(EDEADLK == 35 && ENOTEMPTY == 39 && ELOOP == 40 && ENODATA == 61 && ENOTSOCK == 88 && EDQUOT == 122 &&
                   ECONNREFUSED == 111 && EINPROGRESS == 115,
               "errno is numbered as on x86-64");
_Static_assert(SIGUSR1 == 10 && SIGCHLD == 17 && SIGSTOP == 19 && SIGTSTP == 20 && SIGWINCH == 28, "signals as well");
_Static_assert(SOCK_STREAM == 1 && SOCK_DGRAM == 2 && AF_INET6 == 10 && SOL_SOCKET == 1, "and sockets");
_Static_assert(O_CREAT == 0100 && O_EXCL == 0200 && O_TRUNC == 01000 && O_APPEND == 02000 && O_NONBLOCK == 04000 &&
                   O_CLOEXEC == 02000000 && O_PATH == 010000000,
               "and the open flags that are not below");

/* The C libraries' O_LARGEFILE is 0 where files are large anyway; the kernel's is not. */
#if defined __arm__ || defined __aarch64__
#define NATIVE_LARGEFILE 0400000
#else
#define NATIVE_LARGEFILE 0100000
#endif

static const struct {
  uint32_t wire, native;
} flags[] = {{040000, O_DIRECT}, {0100000, NATIVE_LARGEFILE}, {0200000, O_DIRECTORY}, {0400000, O_NOFOLLOW}};

#define SAME (O_DIRECT == 040000 && NATIVE_LARGEFILE == 0100000 && O_DIRECTORY == 0200000 && O_NOFOLLOW == 0400000)
#define MOVED (uint64_t)(040000 | 0100000 | 0200000 | 0400000) /* the same bits on either side */

uint64_t flags_from_wire(uint64_t wire)
{
  uint64_t native = wire & ~MOVED;
  if (SAME)
    return wire;
  for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
    native |= wire & flags[i].wire ? flags[i].native : 0;
  return native;
}

uint64_t flags_to_wire(uint64_t native)
{
  uint64_t wire = native & ~MOVED;
  if (SAME)
    return native;
  for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
    wire |= native & flags[i].native ? flags[i].wire : 0;
  return wire;
}
