/*
 * Attributes of the slave's files in the layouts of the master's kernel.
 *
 * Owns the conversions only; never asks the slave, never decides what is true.
 */
#include <asm/unistd.h>
#include <linux/stat.h>

#include "agent/call.h"

struct statfs_k { /* the kernel's struct statfs of x86-64 */
  int64_t type, bsize;
  uint64_t blocks, bfree, bavail, files, ffree;
  uint64_t fsid;
  int64_t namelen, frsize, flags, spare[4];
};

static uint32_t dev_major(uint64_t dev)
{
  return (uint32_t)((dev >> 8 & 0xfff) | (dev >> 32 & 0xfffff000));
}

static uint32_t dev_minor(uint64_t dev)
{
  return (uint32_t)((dev & 0xff) | (dev >> 12 & 0xffffff00));
}

void attr_to_stat(struct stat_k *st, const struct wire_attr *a)
{
  *st = (struct stat_k){
      .dev = a->dev | SLAVE_DEV,
      .ino = a->ino,
      .nlink = a->nlink,
      .mode = (uint32_t)a->mode,
      .uid = (uint32_t)a->uid,
      .gid = (uint32_t)a->gid,
      .rdev = a->rdev,
      .size = (int64_t)a->size,
      .blksize = (int64_t)a->blksize,
      .blocks = (int64_t)a->blocks,
      .atime = a->atime,
      .atime_nsec = a->atime_nsec,
      .mtime = a->mtime,
      .mtime_nsec = a->mtime_nsec,
      .ctime = a->ctime,
      .ctime_nsec = a->ctime_nsec,
  };
}

static struct statx_timestamp stamp(int64_t sec, int64_t nsec)
{
  return (struct statx_timestamp){.tv_sec = sec, .tv_nsec = (uint32_t)nsec};
}

static void attr_to_statx(struct statx *x, const struct wire_attr *a)
{
  *x = (struct statx){
      .stx_mask = (uint32_t)a->mask,
      .stx_blksize = (uint32_t)a->blksize,
      .stx_attributes = a->attributes,
      .stx_nlink = (uint32_t)a->nlink,
      .stx_uid = (uint32_t)a->uid,
      .stx_gid = (uint32_t)a->gid,
      .stx_mode = (uint16_t)a->mode,
      .stx_ino = a->ino,
      .stx_size = a->size,
      .stx_blocks = a->blocks,
      .stx_attributes_mask = a->attributes_mask,
      .stx_atime = stamp(a->atime, a->atime_nsec),
      .stx_btime = stamp(a->btime, a->btime_nsec),
      .stx_ctime = stamp(a->ctime, a->ctime_nsec),
      .stx_mtime = stamp(a->mtime, a->mtime_nsec),
      .stx_rdev_major = dev_major(a->rdev),
      .stx_rdev_minor = dev_minor(a->rdev),
      .stx_dev_major = dev_major(a->dev | SLAVE_DEV),
      .stx_dev_minor = dev_minor(a->dev),
      .stx_mnt_id = a->mnt_id,
  };
}

long attr_out(const struct row *row, void *user, const struct wire_attr *a)
{
  if (row_nr(row) == __NR_statx) {
    struct statx x;
    attr_to_statx(&x, a);
    return copy_out(user, &x, sizeof x);
  }
  struct stat_k st;
  attr_to_stat(&st, a);
  return copy_out(user, &st, sizeof st);
}

long statfs_out(void *user, const struct wire_statfs *f)
{
  struct statfs_k k = {
      .type = (int64_t)f->type,
      .bsize = (int64_t)f->bsize,
      .blocks = f->blocks,
      .bfree = f->bfree,
      .bavail = f->bavail,
      .files = f->files,
      .ffree = f->ffree,
      .fsid = f->fsid,
      .namelen = (int64_t)f->namelen,
      .frsize = (int64_t)f->frsize,
      .flags = (int64_t)f->flags,
  };
  return copy_out(user, &k, sizeof k);
}
