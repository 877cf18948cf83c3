/*
 * What the slave needs beyond POSIX: a system's folder (linux/) provides all of it, and beside it what slave.h names as
 * that folder's: whose calls these are, locks, ioctls, file handles and quotas.
 *
 * A call that a kernel lacks is told as -ENOSYS or done in an older way; that is the folder's affair. Of its headers
 * the rest of the slave uses only what POSIX names, and O_PATH, AT_EMPTY_PATH, SOCK_CLOEXEC and their like, which
 * others have too.
 */
#ifndef SLAVE_SYSTEM_H
#define SLAVE_SYSTEM_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/wire.h"

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
/* What a character device is: K_NULL, K_TTY or K_CHR. */
uint32_t device_kind(dev_t device);
/* A file's mode says all about who may use it: there is no list beside it. */
bool without_acl(int fd);
/* Somebody has the file open for writing; false as well if the kernel cannot tell. */
bool being_written(int fd);

/* ---- attr.c ---- */
/* Attributes as statx tells them; 0 or -errno. */
int attr_native(int dir, const char *name, int flags, unsigned mask, struct wire_attr *a);

/* ---- lookup.c: the kernel's own walks, restricted ---- */
enum lookup {
  LOOKUP_NO_MAGIC = 2,
  LOOKUP_NO_LINKS = 4,
  LOOKUP_BENEATH = 8,
  LOOKUP_IN_ROOT = 16
}; /* openat2's resolve */
/* A descriptor, or -errno; -ENOSYS: this kernel cannot. */
int lookup_open(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
/* The symbolic link is more than its text (of /proc); must not be followed by its text. */
bool lookup_magic(int dir, const char *name);

/* ---- notify.c: changes of files ---- */
enum note {
  NOTE_MODIFY = 2,
  NOTE_ATTRIB = 4,
  NOTE_CLOSE_WRITE = 8,
  NOTE_MOVED_FROM = 0x40,
  NOTE_MOVED_TO = 0x80,
  NOTE_CREATE = 0x100,
  NOTE_DELETE = 0x200,
  NOTE_DELETE_SELF = 0x400,
  NOTE_MOVE_SELF = 0x800,
  NOTE_LOST = 0x4000,         /* some could not be told */
  NOTE_DIRECTORY = 0x1000000, /* adding: only if it is one */
  NOTE_ONCE = 0x80000000u,    /* adding: speaks once */
};
int notify_open(void); /* a descriptor to wait for, or -errno: nothing can be watched */
/* The number of the watch, the same for the same file; -errno, -ENOSPC: there are too many. */
int notify_add(int notify, int fd, uint32_t what);
void notify_remove(int notify, int watch);
typedef void note_fn(int watch, uint32_t what, const char *name); /* name: "", or of an entry */
bool notify_take(int notify, note_fn *take);                      /* some of what has come; false: nothing has */
/* All changes of files there are told. */
bool watchable(int fd);
int mounts_open(void); /* a descriptor for mounts_changed(), or -1 */
bool mounts_changed(int mounts);

/* ---- poller.c: waiting for many descriptors ---- */
struct ready {
  uint64_t about;
  uint32_t events; /* poll's */
};
int poller_open(void); /* or -errno */
/* once: until it has been told. known: it has been asked about before, probably. 0 or -errno. */
int poller_want(int poller, int fd, uint32_t events, bool once, bool known, uint64_t about);
void poller_forget(int poller, int fd);
int poller_wait(int poller, struct ready *r, int max, int ms); /* ms -1: as long as it takes */
int signals_open(const sigset_t *set); /* readable when one of them (blocked) has come; or -errno */
int signals_take(int fd);              /* its number, 0: none */
int wake_open(void);                   /* readable from wake_set() to wake_clear(); or -errno */
bool wake_set(int fd);
bool wake_clear(int fd); /* false: it is broken */

/* ---- options.c ---- */
bool socket_of_system(int domain, int protocol); /* it may be made, though other systems have none such */

/* ---- lift.c ---- */
/* From lift_pipe() to the stream: how many, -errno; -EINVAL: it does not take them so. */
long lift_send(int stream, uint32_t n);

/* ---- context.c ---- */
void context_own_umask(void); /* the calling thread's umask is its own from now on */

#endif
