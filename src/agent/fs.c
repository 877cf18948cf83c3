/*
 * Calls on files with arguments of a layout of their own: extended attributes and inode attributes by directory and
 * name, file handles, quotas, accounting. What concerns the slave is sent in neutral form; the rest is the kernel's.
 *
 * Owns no state. Must never let the kernel here resolve a name or a handle of the slave.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/xattr.h>

#include "agent/io.h"
#include "agent/start.h"

#define PAGE_BYTES 4096ul
#define AT_NAMED (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
/* Newer than some headers: the same numbers on all architectures. */
enum { NR_setxattrat = 463, NR_getxattrat, NR_listxattrat, NR_removexattrat, NR_quotactl_fd = 443 };

static long go_here(struct call *c, const struct at *at)
{
  c->a[0] = (unsigned long)at->dirfd;
  if (c->a[1])
    c->a[1] = (unsigned long)at->path;
  return pass(c);
}

/* Routes a[0] and a[1]. True: to the slave. Else *r is the call's result: the kernel's here, or why it leads nowhere. A
   null path stands for an empty one where the descriptor itself may be meant. */
static bool leads_there(struct call *c, unsigned long flags, struct at *at, long *r)
{
  const void *path = !c->a[1] && flags & AT_EMPTY_PATH ? "" : (const void *)c->a[1];
  *r = route(c, (int)c->a[0], path, (int)(flags & AT_NAMED), at, 0);
  if (!*r && at->local)
    *r = go_here(c, at);
  else if (!*r)
    return true;
  return false;
}

/* ---- a request whose body is made anew after each redirect ---- */

typedef void build_fn(struct req *q, const struct at *at, const void *what);
#define NOW_LOCAL (-100000) /* the path has turned out to be local */

static long ask_path(struct call *c, const struct row *row, struct at *at, struct req *q, build_fn *build,
                     const void *what)
{
  for (;;) {
    long r = at_settle(c, at);
    if (r)
      return r;
    req_start(q, c->t, row);
    build(q, at, what);
    c->where = N_WAITED;
    r = req_call(q, false);
    if (r < 0 || !(q->reply_flags & FF_REDIRECT))
      return r;
    r = route_again(c, q, at, 0);
    if (r < 0)
      return r;
    if (at->local) {
      c->where = N_LOCAL;
      return NOW_LOCAL;
    }
  }
}

static void put_at(struct req *q, const struct at *at)
{
  req_handle(q, at->base);
  req_str(q, at->path);
}

/* ---- structures that may grow: the kernel's rules for those of another size ---- */

static bool rest_is_zero(unsigned long user, size_t from, size_t to)
{
  uint8_t byte;
  for (size_t i = from; i < to; i++)
    if (copy_in(&byte, (char *)user + i, 1) || byte)
      return false;
  return true;
}

static long struct_in(void *to, size_t size, unsigned long user, size_t usize)
{
  if (usize < size)
    return -EINVAL;
  if (usize > PAGE_BYTES)
    return -E2BIG;
  if (copy_in(to, (void *)user, size))
    return -EFAULT;
  return rest_is_zero(user, size, usize) ? 0 : -E2BIG;
}

/* ---- extended attributes ---- */

struct xattr_args_k {
  uint64_t value;
  uint32_t size, flags;
};

/* The older call that does it by path; `a' gets its arguments behind the path, as the row's registers have them. */
static long older_xattr(struct call *c, unsigned long a[6], const struct row **row)
{
  struct xattr_args_k x;
  unsigned nofollow = c->a[2] & AT_SYMLINK_NOFOLLOW ? 1 : 0;
  a[1] = c->a[3];
  if (c->nr == NR_listxattrat) {
    a[2] = c->a[4];
    *row = &syscall_rows[__NR_listxattr + nofollow];
    return 0;
  }
  if (c->nr == NR_removexattrat) {
    *row = &syscall_rows[__NR_removexattr + nofollow];
    return 0;
  }
  long r = struct_in(&x, sizeof x, c->a[4], c->a[5]);
  if (r)
    return r;
  a[2] = x.value, a[3] = x.size, a[4] = x.flags;
  bool set = c->nr == NR_setxattrat;
  *row = &syscall_rows[(set ? __NR_setxattr : __NR_getxattr) + nofollow];
  return x.flags & ~(set ? XATTR_CREATE | XATTR_REPLACE : 0u) ? -EINVAL : 0;
}

/* setxattrat, getxattrat (dirfd, path, at_flags, name, args, size), listxattrat (..., list, size), removexattrat. */
long a_xattrat(struct call *c)
{
  long r;
  struct at at;
  const struct row *row;
  unsigned long a[6] = {0};
  if (c->a[2] & ~(unsigned long)AT_NAMED)
    return -EINVAL;
  if (!leads_there(c, c->a[2], &at, &r))
    return r;
  r = older_xattr(c, a, &row);
  if (r)
    return r;
  if (!*at.path && at.base.v != c->p->cwd.v && hstate(at.base)->flags & O_PATH)
    return -EBADF;
  r = remote_row(c, row, a, &at);
  if (!*at.path && r >= 0 && strchr(row->args, 'B'))
    file_changed(hstate(at.base));
  return r;
}

/* ---- attributes of inodes ---- */

struct file_attr_k {
  uint64_t xflags;
  uint32_t extsize, nextents, projid, cowextsize;
};

static void build_getattr(struct req *q, const struct at *at, const void *flags)
{
  put_at(q, at);
  req_u64(q, sizeof(struct file_attr_k));
  req_u64(q, *(const unsigned long *)flags);
}

static long file_attr_out(struct req *q, unsigned long user, size_t usize)
{
  uint32_t n;
  const void *body = get_blob(&q->r, &n, sizeof(struct file_attr_k));
  if (!body || n != sizeof(struct file_attr_k))
    return -EIO;
  struct rbuf r = {body, (const uint8_t *)body + n, false};
  struct file_attr_k k = {.xflags = get_u64(&r)};
  k.extsize = get_u32(&r), k.nextents = get_u32(&r), k.projid = get_u32(&r), k.cowextsize = get_u32(&r);
  static const uint8_t zero[64];
  if (copy_out((void *)user, &k, sizeof k))
    return -EFAULT;
  for (size_t at = sizeof k, piece; at < usize; at += piece) {
    piece = usize - at < sizeof zero ? usize - at : sizeof zero;
    if (copy_out((char *)user + at, zero, piece))
      return -EFAULT;
  }
  return 0;
}

/* file_getattr(dirfd, path, attr, size, flags) */
long a_file_getattr(struct call *c)
{
  long r;
  struct at at;
  struct req q;
  if (c->a[4] & ~(unsigned long)AT_NAMED)
    return -EINVAL;
  if (!leads_there(c, c->a[4], &at, &r))
    return r;
  if (c->a[3] > PAGE_BYTES || c->a[3] < sizeof(struct file_attr_k))
    return c->a[3] > PAGE_BYTES ? -E2BIG : -EINVAL;
  r = ask_path(c, c->row, &at, &q, build_getattr, &c->a[4]);
  if (r == NOW_LOCAL)
    return go_here(c, &at);
  return r < 0 ? r : file_attr_out(&q, c->a[2], c->a[3]);
}

struct setattr {
  struct file_attr_k k;
  unsigned long flags;
};

static void build_setattr(struct req *q, const struct at *at, const void *what)
{
  const struct setattr *s = what;
  put_at(q, at);
  uint8_t body[sizeof s->k];
  struct wbuf w = {body, body + sizeof body, false};
  put_u64(&w, s->k.xflags);
  put_u32(&w, s->k.extsize), put_u32(&w, s->k.nextents), put_u32(&w, s->k.projid), put_u32(&w, s->k.cowextsize);
  put_blob(&q->w, body, sizeof body);
  req_u64(q, s->flags);
}

/* file_setattr(dirfd, path, attr, size, flags) */
long a_file_setattr(struct call *c)
{
  long r;
  struct at at;
  struct req q;
  struct setattr s = {.flags = c->a[4]};
  if (c->a[4] & ~(unsigned long)AT_NAMED)
    return -EINVAL;
  if (!leads_there(c, c->a[4], &at, &r))
    return r;
  r = struct_in(&s.k, sizeof s.k, c->a[2], c->a[3]);
  if (r)
    return r;
  r = ask_path(c, c->row, &at, &q, build_setattr, &s);
  return r == NOW_LOCAL ? go_here(c, &at) : r;
}

/* ---- file handles ---- */

#define HANDLE_BYTES_MAX 128
#define HANDLE_ANSWER (16 + HANDLE_BYTES_MAX) /* mount, length, type, bytes */
#define HANDLE_MNT_UNIQUE 1
#define HANDLE_FLAGS (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW | 0x200 /* AT_HANDLE_FID */ | 2 /* CONNECTABLE */ | 1)

struct file_handle_k {
  uint32_t bytes;
  int32_t type;
};

static void build_handle(struct req *q, const struct at *at, const void *flags)
{
  put_at(q, at);
  req_u64(q, HANDLE_ANSWER);
  req_u64(q, *(const unsigned long *)flags);
}

/* What does not fit the program's room leaves the size that it should have. */
static long handle_out(struct call *c, struct req *q, uint32_t room)
{
  uint32_t n;
  const uint8_t *body = get_blob(&q->r, &n, HANDLE_ANSWER);
  if (!body || n < 16)
    return -EIO;
  struct rbuf r = {body, body + n, false};
  uint64_t mount = get_u64(&r);
  struct file_handle_k h = {.bytes = get_u32(&r)};
  h.type = (int32_t)get_u32(&r);
  if (h.bytes != n - 16)
    return -EIO;
  bool fits = h.bytes <= room;
  size_t head = fits ? sizeof h : sizeof h.bytes;
  if (copy_out((void *)c->a[3], &mount, c->a[4] & HANDLE_MNT_UNIQUE ? 8 : 4) || copy_out((void *)c->a[2], &h, head))
    return -EFAULT;
  if (!fits)
    return -EOVERFLOW;
  return copy_out((char *)c->a[2] + sizeof h, body + 16, h.bytes) ? -EFAULT : 0;
}

/* name_to_handle_at(dirfd, path, handle, mount_id, flags) */
long a_name_to_handle(struct call *c)
{
  long r;
  struct at at;
  struct req q;
  uint32_t room;
  unsigned flags = (c->a[4] & AT_EMPTY_PATH) | (c->a[4] & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW);
  if (c->a[4] & ~(unsigned long)HANDLE_FLAGS)
    return -EINVAL;
  if (!leads_there(c, flags, &at, &r))
    return r;
  if (copy_in(&room, (void *)c->a[2], sizeof room))
    return -EFAULT;
  if (room > HANDLE_BYTES_MAX)
    return -EINVAL;
  r = ask_path(c, c->row, &at, &q, build_handle, &c->a[4]);
  if (r == NOW_LOCAL)
    return go_here(c, &at);
  return r < 0 ? r : handle_out(c, &q, room);
}

static long send_handle(struct call *c, struct handle mount, const struct file_handle_k *k, struct opened *o)
{
  uint8_t body[8 + HANDLE_BYTES_MAX];
  struct wbuf w = {body, body + sizeof body, false};
  put_u32(&w, k->bytes);
  put_u32(&w, (uint32_t)k->type);
  if (copy_in(w.at, (char *)c->a[1] + sizeof *k, k->bytes))
    return -EFAULT;
  req_start(&o->q, c->t, c->row);
  req_handle(&o->q, mount);
  put_blob(&o->q.w, body, 8 + k->bytes);
  req_u64(&o->q, c->a[2] & ~(unsigned long)O_CLOEXEC);
  req_handle(&o->q, o->h);
  c->where = N_WAITED;
  return req_call(&o->q, true);
}

/* open_by_handle_at(mount_fd, handle, flags): the slave's kernel decides who may. */
long a_open_by_handle(struct call *c)
{
  struct at at;
  struct opened o;
  struct rfile mount;
  struct file_handle_k k;
  int r = route(c, (int)c->a[0], "", AT_EMPTY_PATH, &at, 0);
  if (r)
    return r;
  if (at.local)
    return handlers[__NR_pidfd_open](c);
  if (file_of(c, (int)c->a[0], &mount) && mount.s->flags & O_PATH)
    return -EBADF;
  if (copy_in(&k, (void *)c->a[1], sizeof k))
    return -EFAULT;
  if (!k.bytes || k.bytes > HANDLE_BYTES_MAX)
    return -EINVAL;
  if (creds_real() && !capable(CAP_DAC_READ_SEARCH))
    return -EPERM;
  o.h = handle_new();
  if (o.h.v == H_NONE)
    return -ENFILE;
  long opened = send_handle(c, at.base, &k, &o);
  if (opened < 0) {
    handle_drop(o.h);
    return opened;
  }
  return open_taken(c, &o, (int)(c->a[2] & O_CLOEXEC));
}

/* ---- quotas ---- */

enum { QUOTA_NONE = IOA_NONE, QUOTA_IN = IOA_IN, QUOTA_OUT = IOA_OUT };
struct quota_row {
  uint32_t cmd;
  uint8_t kind, size;
};
/* Those that take a name are not here: quotas are switched on by whoever owns the machine. */
static const struct quota_row quota_rows[] = {
    {0x800001, QUOTA_NONE, 0},                           /* Q_SYNC, Q_QUOTAOFF */
    {0x800003, QUOTA_NONE, 0}, {0x800004, QUOTA_OUT, 4}, /* Q_GETFMT, Q_GETINFO, Q_SETINFO */
    {0x800005, QUOTA_OUT, 24}, {0x800006, QUOTA_IN, 24},  {0x800007, QUOTA_OUT, 72}, /* Q_GETQUOTA, Q_SETQUOTA,
                                                                                        Q_GETNEXTQUOTA */
    {0x800008, QUOTA_IN, 72},  {0x800009, QUOTA_OUT, 72}, {0x5801, QUOTA_IN, 4},     /* XFS: on, off, get, set, state,
                                                                                        remove, sync, next */
    {0x5802, QUOTA_IN, 4},     {0x5803, QUOTA_OUT, 112},  {0x5804, QUOTA_IN, 112},   {0x5805, QUOTA_OUT, 80},
    {0x5806, QUOTA_IN, 4},     {0x5807, QUOTA_NONE, 0},   {0x5809, QUOTA_OUT, 112},
};

struct quota {
  const struct quota_row *known;
  unsigned long cmd, id;
  const void *addr;
};

static void build_quota(struct req *q, const struct at *at, const void *what)
{
  const struct quota *k = what;
  req_u64(q, k->cmd);
  put_at(q, at);
  req_u64(q, k->id);
  req_u64(q, k->known->kind);
  if (k->known->kind == QUOTA_IN)
    req_data(q, k->addr, k->known->size);
  if (k->known->kind == QUOTA_OUT)
    req_u64(q, k->known->size);
}

static long quota_ask(struct call *c, struct at *at, struct quota *k)
{
  struct req q;
  uint32_t n;
  for (unsigned i = 0; i < sizeof quota_rows / sizeof *quota_rows; i++)
    if (quota_rows[i].cmd == (uint32_t)k->cmd >> 8)
      k->known = &quota_rows[i];
  if (!k->known)
    return (uint32_t)k->cmd >> 8 == 0x800002 ? -EPERM : -EINVAL;
  long r = ask_path(c, &syscall_rows[__NR_quotactl], at, &q, build_quota, k);
  if (r < 0 || k->known->kind != QUOTA_OUT)
    return r;
  const void *data = get_blob(&q.r, &n, k->known->size);
  if (!data || n != k->known->size)
    return -EIO;
  return copy_out((void *)k->addr, data, n) ? -EFAULT : r;
}

/* quotactl(cmd, special, id, addr), and with a descriptor quotactl_fd(fd, cmd, id, addr). */
long a_quotactl(struct call *c)
{
  struct at at;
  bool by_fd = c->nr == NR_quotactl_fd;
  struct quota k = {.cmd = c->a[by_fd ? 1 : 0], .id = c->a[2], .addr = (void *)c->a[3]};
  if (!by_fd && !c->a[1])
    return pass(c); /* all file systems: an advice */
  int r =
      by_fd ? route(c, (int)c->a[0], "", AT_EMPTY_PATH, &at, 0) : route(c, AT_FDCWD, (const void *)c->a[1], 0, &at, 0);
  if (r)
    return r;
  long result = at.local ? NOW_LOCAL : quota_ask(c, &at, &k);
  if (result != NOW_LOCAL)
    return result;
  if (!by_fd)
    c->a[1] = (unsigned long)at.path;
  return pass(c);
}

/* ---- accounting ---- */

/* The kernel here writes the records, and only into a file of its own: to it, one of the slave's is none. */
long a_acct(struct call *c)
{
  struct at at;
  if (!c->a[0])
    return pass(c);
  int r = route(c, AT_FDCWD, (const void *)c->a[0], 0, &at, 0);
  if (r)
    return r;
  c->a[0] = at.local ? (unsigned long)at.path : (unsigned long)"/dev/null";
  return pass(c);
}
