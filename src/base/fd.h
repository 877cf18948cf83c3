/* Descriptors: passing them, memfds, futexes in shared memory. Results: 0 or more, or -errno. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What came with a message. */
struct received {
  ssize_t len; /* 0: end of file; -errno */
  int fd;      /* -1: none; the caller closes it */
  pid_t pid;   /* of the sender, 0: not told (needs SO_PASSCRED) */
};

int send_with_fd(int sock, const void *buf, size_t n, int fd);
/* Never blocks. A message longer than `size' is -EMSGSIZE, its descriptors closed. */
struct received recv_with_fd(int sock, void *buf, size_t size);

/* A memfd, close-on-exec, that can be sealed. executable: it may be executed even where that has to be asked for. */
int memfd_new(const char *name, bool executable);
/* The same with contents, sealed against any change. */
int memfd_of(const char *name, const void *data, size_t n, bool executable);

int set_nonblocking(int fd);
int set_cloexec(int fd, bool on);
/* Moves `fd' to the lowest free number at or above `least', close-on-exec; the old one is closed. */
int move_above(int fd, int least);

void futex_wake(const uint32_t *word, int n); /* across processes */

#endif
