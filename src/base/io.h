/* Whole reads and writes, with deadlines. Results: 0, or -errno. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stddef.h>
#include <stdint.h>

uint64_t now_ns(void); /* CLOCK_MONOTONIC */
uint64_t now_ms(void); /* CLOCK_MONOTONIC */
int64_t wall_ns(void); /* CLOCK_REALTIME */

/* Blocks as long as it takes, on non-blocking descriptors too. */
int write_full(int fd, const void *buf, size_t n);
/* Given up with -ETIMEDOUT when now_ms() reaches `deadline'. read_until: -ENODATA when the end comes first. */
int read_until(int fd, void *buf, size_t n, uint64_t deadline);
int write_until(int fd, const void *buf, size_t n, uint64_t deadline);

/* A whole file of at most `max' bytes, malloc'd and terminated with a NUL; *n is its length. 0 on failure, errno set.
 */
char *read_file(const char *path, size_t max, size_t *n);
/* The same for an open descriptor, from its offset. */
char *read_all(int fd, size_t max, size_t *n);

#endif
