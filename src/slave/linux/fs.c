/*
 * Inode attributes, file handles and quotas: calls whose arguments have a layout of their own, in neutral form.
 *
 * Owns nothing. Must never open by handle what the master's rules keep away from here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/fs.h>

#include "slave/slave.h"

/* As the kernel has it: newer than some headers. */
struct inode_attr {
  uint64_t xflags;
  uint32_t extsize, nextents, projid, cowextsize;
};
#define INODE_ATTR_BYTES 24

/* ---- attributes of inodes ---- */

/* Before Linux 6.17 only what can be opened can be asked, by ioctl. */
static int open_for_ioctl(struct call *c)
{
  struct stat st;
  const struct spot *s = &c->at[0];
  if (fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
    return -errno;
  if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
    return -EOPNOTSUPP;
  int err = call_object(c, true);
  int fd = err ? -1 : open(c->object, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  return err ? err : fd < 0 ? -errno : fd;
}

static long by_ioctl(struct call *c, bool set, struct inode_attr *k)
{
  struct fsxattr x = {(uint32_t)k->xflags, k->extsize, k->nextents, k->projid, k->cowextsize, {0}};
  int fd = open_for_ioctl(c);
  if (fd < 0)
    return fd;
  long r = ioctl(fd, set ? FS_IOC_FSSETXATTR : FS_IOC_FSGETXATTR, &x) ? -errno : 0;
  close(fd);
  *k = (struct inode_attr){x.fsx_xflags, x.fsx_extsize, x.fsx_nextents, x.fsx_projid, x.fsx_cowextsize};
  return r == -ENOTTY || r == -ENOSYS ? -EOPNOTSUPP : r;
}

static long attr_call(struct call *c, bool set, struct inode_attr *k)
{
  const struct spot *s = &c->at[0];
  const uint64_t a[6] = {(uint64_t)s->dir, (uintptr_t)s->name, (uintptr_t)k, sizeof *k,
                         AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH};
  int64_t r = native_call(c->op, a);
  return r == -ENOSYS ? by_ioctl(c, set, k) : r;
}

int64_t do_file_getattr(struct call *c)
{
  struct inode_attr k = {0};
  long r = c->o_room < INODE_ATTR_BYTES ? -EINVAL : call_walk(c);
  if (!r)
    r = attr_call(c, false, &k);
  if (r)
    return r;
  struct wbuf w = {c->o_at, c->o_at + INODE_ATTR_BYTES, false};
  put_u64(&w, k.xflags);
  put_u32(&w, k.extsize), put_u32(&w, k.nextents), put_u32(&w, k.projid), put_u32(&w, k.cowextsize);
  return INODE_ATTR_BYTES;
}

int64_t do_file_setattr(struct call *c)
{
  struct rbuf r = {c->blob, c->blob + c->blob_len, false};
  struct inode_attr k = {.xflags = get_u64(&r)};
  k.extsize = get_u32(&r), k.nextents = get_u32(&r), k.projid = get_u32(&r), k.cowextsize = get_u32(&r);
  long err = r.bad ? -EINVAL : call_walk(c);
  return err ? err : attr_call(c, true, &k);
}

/* ---- file handles ---- */

#define MOUNT_UNIQUE 1 /* AT_HANDLE_MNT_ID_UNIQUE: the mount's number has 64 bits */

struct any_handle {
  struct file_handle h;
  uint8_t room[MAX_HANDLE_SZ];
};

int64_t do_name_to_handle(struct call *c)
{
  struct any_handle k;
  uint64_t wide = 0;
  int narrow = 0;
  long err = call_walk(c);
  if (err)
    return err;
  if (c->o_room < 16 + MAX_HANDLE_SZ)
    return -EINVAL;
  bool unique = c->a[4] & MOUNT_UNIQUE;
  int flags = ((int)c->a[4] & ~AT_SYMLINK_FOLLOW) | AT_EMPTY_PATH;
  memset(&k, 0, sizeof k);
  k.h.handle_bytes = MAX_HANDLE_SZ;
  if (syscall(SYS_name_to_handle_at, c->at[0].dir, c->at[0].name, &k.h, unique ? (void *)&wide : &narrow, flags) < 0)
    return -errno;
  struct wbuf w = {c->o_at, c->o_at + c->o_room, false};
  put_u64(&w, unique ? wide : (uint64_t)narrow);
  put_u32(&w, k.h.handle_bytes);
  put_u32(&w, (uint32_t)k.h.handle_type);
  put_raw(&w, k.h.f_handle, k.h.handle_bytes);
  return 16 + (long)k.h.handle_bytes;
}

static int handle_in(const struct call *c, struct any_handle *k)
{
  struct rbuf r = {c->blob, c->blob + c->blob_len, false};
  memset(k, 0, sizeof *k);
  k->h.handle_bytes = get_u32(&r);
  k->h.handle_type = (int)get_u32(&r);
  if (r.bad || k->h.handle_bytes > MAX_HANDLE_SZ || c->blob_len != 8 + k->h.handle_bytes)
    return -EINVAL;
  memcpy(k->h.f_handle, r.at, k->h.handle_bytes);
  return 0;
}

/* What it is shows only when it is open, and a device's or a FIFO's opening may wait. The working directory's own
   descriptor is one that the kernel takes for nothing but paths. */
int64_t do_open_by_handle(struct call *c)
{
  struct any_handle k;
  if (!c->worker)
    return CALL_DEFER;
  int err = handle_in(c, &k);
  if (err)
    return err;
  int flags = (int)c->a[3], fd, mount = openat(c->h[0]->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  do
    fd = worker_cancelled() ? -EINTR
                            : open_by_handle_at(mount < 0 ? c->h[0]->fd : mount, &k.h, flags | O_NOCTTY | O_CLOEXEC);
  while (fd == -1 && errno == EINTR);
  int opened = fd == -1 ? -errno : fd;
  if (mount >= 0)
    close(mount);
  if (opened < 0)
    return opened;
  if (walk_elsewhere(fd)) {
    close(fd);
    return -ESTALE;
  }
  return open_finish(c, fd, flags, c->a[4]);
}

/* ---- quotas ---- */

#define NR_QUOTACTL_FD 443 /* newer than some headers; the same on all architectures */

/* Of the structure that goes with a command: limits and use of one id, those of all, words; and XFS's own. */
static const char *quota_layout(uint64_t command)
{
  static const struct {
    uint32_t command;
    const char *layout;
  } layouts[] = {{0x800005, "2q2w"},
                 {0x800006, "2q2w"},
                 {0x800007, "8q2w"},
                 {0x800008, "8q2w"},
                 {0x800009, "8q2w"},
                 {0x5803, "2bhw6q2w2h4b3qw2h"},
                 {0x5804, "2bhw6q2w2h4b3qw2h"},
                 {0x5809, "2bhw6q2w2h4b3qw2h"},
                 {0x5805, "2bh4b2qw4b2qw4b4w2h"}};
  for (unsigned i = 0; i < sizeof layouts / sizeof *layouts; i++)
    if (layouts[i].command == (uint32_t)command >> 8)
      return layouts[i].layout;
  return "w";
}

/* IPIU: the command, the device (or, with an empty path, any file of the file system), the id, the structure. */
int64_t do_quotactl(struct call *c)
{
  uint64_t v[16] = {0};
  uint32_t n = c->kind == IOA_OUT ? (uint32_t)c->value : c->kind == IOA_IN ? c->blob_len : 0;
  bool by_fd = !c->path[0].text[0];
  long err = n > sizeof v ? -EINVAL : call_walk(c);
  if (!err && !by_fd)
    err = call_object(c, true);
  if (err)
    return err;
  if (c->kind == IOA_IN)
    memcpy(v, c->blob, n);
  wire_order(v, n, quota_layout(c->a[0]));
  long r = by_fd ? syscall(NR_QUOTACTL_FD, c->at[0].dir, c->a[0], c->a[2], v)
                 : syscall(SYS_quotactl, c->a[0], c->object, c->a[2], v);
  if (r < 0)
    return -errno;
  wire_order(v, n, quota_layout(c->a[0]));
  if (c->kind == IOA_OUT)
    put_blob(&c->out, v, n);
  return r;
}
