/*
 * What the slave needs beyond POSIX: each system's folder (linux/) provides all of it, and nothing else is there.
 *
 * A call that a kernel lacks is told as -ENOSYS or done in an older way; that is the folder's affair.
 */
#ifndef SLAVE_SYSTEM_H
#define SLAVE_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- native.c ---- */
/* The call of an operation (enum slave_op) with its row's registers; statfs's and fstatfs's F points to a
   struct wire_statfs. The result, or -errno; -ENOSYS for what is not made this way. */
int64_t native_call(unsigned op, const uint64_t a[6]);

/* ---- numbers.c: what is numbered otherwise than on x86-64 Linux ---- */
/* Open flags; bits that are none of theirs stay as they are. */
uint64_t flags_from_wire(uint64_t flags);
uint64_t flags_to_wire(uint64_t flags);

/* ---- files.c ---- */
/* Records of a directory as the wire has them (struct linux_dirent64, little-endian): bytes, 0 at the end, or -errno.
 */
long list_read(int dirfd, uint8_t *to, uint32_t n);
/* The inotify events that were read, in the wire's byte order; in place. */
void events_to_wire(uint8_t *p, long n);
/* Reads and writes that never wait; offset UINT64_MAX: the descriptor's own. -EAGAIN: it would wait; another error may
   mean that the kernel cannot tell. */
long read_nowait(int fd, void *to, uint32_t n, uint64_t offset);
long write_nowait(int fd, const void *from, uint32_t n);
/* Somebody has the file open for writing; false as well if the kernel cannot tell. */
bool being_written(int fd);

#endif
