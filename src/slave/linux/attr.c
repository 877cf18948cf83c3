/*
 * Attributes of files, from the kernel's form to the wire's.
 *
 * Owns nothing. Must never: invent a value that the kernel did not give (the mask says which it gave).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "slave/system.h"

/* The kernel's struct statx: declared here because the libcs differ in having it. */
struct kernel_time {
  int64_t sec;
  uint32_t nsec;
  int32_t pad;
};
struct kernel_statx {
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, pad;
  uint64_t ino, size, blocks, attributes_mask;
  struct kernel_time atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t mnt_id;
  uint64_t spare[13];
};
_Static_assert(sizeof(struct kernel_statx) == 256, "as the kernel has it");

#define MASK_BASIC 0x7ff
#define STATX_FLAGS (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | 0x6000 /* synchronised how */)
#define STATX_RESERVED 0x80000000u

static void from_statx(struct wire_attr *a, const struct kernel_statx *x)
{
  *a = (struct wire_attr){.mask = x->mask,
                          .attributes = x->attributes,
                          .attributes_mask = x->attributes_mask,
                          .mode = x->mode,
                          .nlink = x->nlink,
                          .uid = x->uid,
                          .gid = x->gid,
                          .rdev = makedev(x->rdev_major, x->rdev_minor),
                          .dev = makedev(x->dev_major, x->dev_minor),
                          .ino = x->ino,
                          .size = x->size,
                          .blocks = x->blocks,
                          .blksize = x->blksize,
                          .mnt_id = x->mnt_id,
                          .atime = x->atime.sec,
                          .atime_nsec = x->atime.nsec,
                          .btime = x->btime.sec,
                          .btime_nsec = x->btime.nsec,
                          .ctime = x->ctime.sec,
                          .ctime_nsec = x->ctime.nsec,
                          .mtime = x->mtime.sec,
                          .mtime_nsec = x->mtime.nsec};
}

static void from_stat(struct wire_attr *a, const struct stat *s)
{
  *a = (struct wire_attr){.mask = MASK_BASIC,
                          .mode = s->st_mode,
                          .nlink = s->st_nlink,
                          .uid = s->st_uid,
                          .gid = s->st_gid,
                          .rdev = s->st_rdev,
                          .dev = s->st_dev,
                          .ino = s->st_ino,
                          .size = (uint64_t)s->st_size,
                          .blocks = (uint64_t)s->st_blocks,
                          .blksize = (uint64_t)s->st_blksize,
                          .atime = s->st_atim.tv_sec,
                          .atime_nsec = s->st_atim.tv_nsec,
                          .ctime = s->st_ctim.tv_sec,
                          .ctime_nsec = s->st_ctim.tv_nsec,
                          .mtime = s->st_mtim.tv_sec,
                          .mtime_nsec = s->st_mtim.tv_nsec};
}

int attr_native(int dir, const char *name, int flags, unsigned mask, struct wire_attr *a)
{
  struct kernel_statx x;
  struct stat st;
  if (!syscall(SYS_statx, dir, name, flags, mask, &x)) {
    from_statx(a, &x);
    return 0;
  }
  if (errno != ENOSYS)
    return -errno;
  if (flags & ~STATX_FLAGS || mask & STATX_RESERVED)
    return -EINVAL;
  if (fstatat(dir, name, &st, flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
    return -errno;
  from_stat(a, &st);
  return 0;
}
