/*
 * The native call of each operation that needs nothing but a call.
 *
 * Most take words that are the same everywhere, so they are a number. Those with offsets, times or structures, which
 * architectures pass in different ways, are the C library's functions. Owns the table. Must never: hand a register that
 * may have more bits than this machine's words to the kernel by number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "slave/slave.h"
#include "slave/system.h"

/* Newer than some headers; the same numbers on all architectures. */
enum { NR_faccessat2 = 439, NR_fchmodat2 = 452, NR_file_getattr = 468, NR_file_setattr };
#ifdef SYS_fchown32
#define NR_fchown SYS_fchown32 /* the plain one's ids have 16 bits */
#else
#define NR_fchown SYS_fchown
#endif

typedef int64_t native_fn(const uint64_t a[6]);

static void *pointer(uint64_t reg)
{
  return (void *)(uintptr_t)reg;
}

static int64_t told(int64_t r)
{
  return r < 0 ? -errno : r;
}

static int64_t plain_call(long nr, const uint64_t a[6])
{
  return told(syscall(nr, (long)a[0], (long)a[1], (long)a[2], (long)a[3], (long)a[4], (long)a[5]));
}

static int64_t n_lseek(const uint64_t a[6])
{
  off_t at = lseek((int)a[0], (off_t)a[1], (int)a[2]);
  return at < 0 ? -errno : at;
}

static int64_t n_truncate(const uint64_t a[6])
{
  return told(truncate(pointer(a[0]), (off_t)a[1]));
}

static int64_t n_ftruncate(const uint64_t a[6])
{
  return told(ftruncate((int)a[0], (off_t)a[1]));
}

static int64_t n_fallocate(const uint64_t a[6])
{
  return told(fallocate((int)a[0], (int)a[1], (off_t)a[2], (off_t)a[3]));
}

static int64_t n_sync_file_range(const uint64_t a[6])
{
  return told(sync_file_range((int)a[0], (off_t)a[1], (off_t)a[2], (unsigned)a[3]));
}

/* Before Linux 3.15 without flags only. */
static int64_t n_renameat2(const uint64_t a[6])
{
  int64_t r = plain_call(SYS_renameat2, a);
  if (r != -ENOSYS)
    return r;
  return a[4] ? -EINVAL : told(renameat((int)a[0], pointer(a[1]), (int)a[2], pointer(a[3])));
}

static int64_t statfs_told(int64_t r, const struct statfs *s, struct wire_statfs *to)
{
  uint32_t id[2];
  memcpy(id, &s->f_fsid, sizeof id);
  if (r < 0)
    return -errno;
  *to = (struct wire_statfs){.type = (uint32_t)s->f_type,
                             .bsize = (uint64_t)s->f_bsize,
                             .blocks = s->f_blocks,
                             .bfree = s->f_bfree,
                             .bavail = s->f_bavail,
                             .files = s->f_files,
                             .ffree = s->f_ffree,
                             .fsid = id[0] | (uint64_t)id[1] << 32,
                             .namelen = (uint64_t)s->f_namelen,
                             .frsize = (uint64_t)s->f_frsize,
                             .flags = (uint64_t)s->f_flags};
  return r;
}

static int64_t n_statfs(const uint64_t a[6])
{
  struct statfs s = {0};
  return statfs_told(statfs(pointer(a[0]), &s), &s, pointer(a[1]));
}

static int64_t n_fstatfs(const uint64_t a[6])
{
  struct statfs s = {0};
  return statfs_told(fstatfs((int)a[0], &s), &s, pointer(a[1]));
}

static const struct {
  native_fn *run; /* 0: the call of that number */
  int nr;
} natives[WIRE_MAX] = {
    [OP_lseek] = {n_lseek, 0},
    [OP_linkat] = {0, SYS_linkat},
    [OP_symlinkat] = {0, SYS_symlinkat},
    [OP_readlinkat] = {0, SYS_readlinkat},
    [OP_unlinkat] = {0, SYS_unlinkat},
    [OP_renameat2] = {n_renameat2, 0},
    [OP_mkdirat] = {0, SYS_mkdirat},
    [OP_mknodat] = {0, SYS_mknodat},
    [OP_fchmodat] = {0, SYS_fchmodat},
    [OP_fchmodat2] = {0, NR_fchmodat2},
    [OP_fchmod] = {0, SYS_fchmod},
    [OP_fchownat] = {0, SYS_fchownat},
    [OP_fchown] = {0, NR_fchown},
    [OP_faccessat2] = {0, NR_faccessat2},
    [OP_truncate] = {n_truncate, 0},
    [OP_ftruncate] = {n_ftruncate, 0},
    [OP_fallocate] = {n_fallocate, 0},
    [OP_fsync] = {0, SYS_fsync},
    [OP_fdatasync] = {0, SYS_fdatasync},
    [OP_syncfs] = {0, SYS_syncfs},
    [OP_sync_file_range] = {n_sync_file_range, 0},
    [OP_sync] = {0, SYS_sync},
    [OP_statfs] = {n_statfs, 0},
    [OP_fstatfs] = {n_fstatfs, 0},
    [OP_flock] = {0, SYS_flock},
    [OP_setxattr] = {0, SYS_setxattr},
    [OP_lsetxattr] = {0, SYS_lsetxattr},
    [OP_fsetxattr] = {0, SYS_fsetxattr},
    [OP_getxattr] = {0, SYS_getxattr},
    [OP_lgetxattr] = {0, SYS_lgetxattr},
    [OP_fgetxattr] = {0, SYS_fgetxattr},
    [OP_listxattr] = {0, SYS_listxattr},
    [OP_llistxattr] = {0, SYS_llistxattr},
    [OP_flistxattr] = {0, SYS_flistxattr},
    [OP_removexattr] = {0, SYS_removexattr},
    [OP_lremovexattr] = {0, SYS_lremovexattr},
    [OP_fremovexattr] = {0, SYS_fremovexattr},
    [OP_copy_file_range] = {0, SYS_copy_file_range},
    [OP_inotify_rm_watch] = {0, SYS_inotify_rm_watch},
    [OP_file_getattr] = {0, NR_file_getattr},
    [OP_file_setattr] = {0, NR_file_setattr},
    [OP_name_to_handle_at] = {0, SYS_name_to_handle_at},
    [OP_sethostname] = {0, SYS_sethostname},
    [OP_setdomainname] = {0, SYS_setdomainname},
};

int64_t native_call(unsigned op, const uint64_t a[6])
{
  if (op >= WIRE_MAX || !(natives[op].run || natives[op].nr))
    return -ENOSYS;
  return natives[op].run ? natives[op].run(a) : plain_call(natives[op].nr, a);
}
