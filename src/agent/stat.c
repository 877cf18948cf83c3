/*
 * What files are: stat and its kin, from memory while that is true.
 *
 * Owns the merging of the two sides' answers: files on the master that belong to the session's user there are shown as
 * the slave user's, since that is who the program believes to be. Never invents a number of a remote file.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

#include "agent/call.h"
#include "agent/light.h"

struct owner {
  uint32_t uid, gid;
};

/* ---- local answers ---- */

/* `user' points at the owner and group, side by side in all the kernel's structures. */
static long show_owner(void *user)
{
  const struct facts *f = &session->facts;
  struct owner o;
  if (standalone() || !mode_remote() || (f->master_uid == f->euid && f->master_gid == f->egid))
    return 0;
  if (copy_in(&o, user, sizeof o))
    return -EFAULT;
  o.uid = o.uid == f->master_uid ? f->euid : o.uid;
  o.gid = o.gid == f->master_gid ? f->egid : o.gid;
  return copy_out(user, &o, sizeof o);
}

static void *owner_in(const struct call *c)
{
  if (c->nr == __NR_statx)
    return (char *)c->a[4] + offsetof(struct statx, stx_uid);
  return (char *)c->a[c->nr == __NR_fstat ? 1 : 2] + offsetof(struct stat_k, uid);
}

static long stat_here(struct call *c)
{
  long r = pass(c);
  return r < 0 ? r : show_owner(owner_in(c));
}

static long stat_at_here(struct call *c, const struct at *at)
{
  c->a[0] = (unsigned long)at->dirfd;
  c->a[1] = (unsigned long)at->path;
  return stat_here(c);
}

/* ---- remote answers ---- */

static bool from_memory(struct call *c, const struct hstate *s, struct wire_attr *a)
{
  uint32_t gen = s->snap_gen;
  if (!snap_true(s, SNAP_ATTR))
    return false;
  *a = s->attr;
  if (!snap_true(s, SNAP_ATTR) || s->snap_gen != gen)
    return false;
  c->where = N_MEMORY;
  return true;
}

long attr_of_handle(struct call *c, struct handle h, struct wire_attr *a)
{
  struct hstate *s = hstate(h);
  struct req q;
  if (from_memory(c, s, a))
    return 0;
  req_start(&q, c->t, &syscall_rows[__NR_fstat]);
  req_handle(&q, h);
  c->where = N_WAITED;
  long r = req_call(&q, false);
  if (r < 0)
    return r;
  get_attr(&q.r, a);
  if (q.r.bad)
    return -EIO;
  if (HANDLE_INDEX(h.v) >= H_FIRST)
    snap_take(s, &q, a, SNAP_ATTR);
  return 0;
}

long handle_known(struct call *c, struct handle h)
{
  struct wire_attr a;
  const struct hstate *s = hstate(h);
  bool wait = HANDLE_INDEX(h.v) >= H_FIRST && s->kind == K_REG && !s->attr.ino;
  return wait ? attr_of_handle(c, h, &a) : 0;
}

/* One question; q->reply_flags tells a redirect from an answer. */
static long ask_attr(struct call *c, struct at *at, uint64_t flags, uint64_t mask, struct req *q, struct wire_attr *a)
{
  long lost = at_settle(c, at);
  if (lost)
    return lost;
  req_start(q, c->t, &syscall_rows[__NR_statx]);
  req_handle(q, at->base);
  req_str(q, at->path);
  req_u64(q, flags);
  req_u64(q, mask);
  c->where = N_WAITED;
  long r = req_call(q, false);
  if (r < 0 || q->reply_flags & FF_REDIRECT)
    return r < 0 ? r : 0;
  get_attr(&q->r, a);
  return q->r.bad ? -EIO : 0;
}

/* 0: `a' is the answer; 1: `at' has become local; -errno. */
static long attr_of_path(struct call *c, struct at *at, uint64_t flags, uint64_t mask, struct wire_attr *a)
{
  for (;;) {
    struct req q;
    if (!*at->path)
      return attr_of_handle(c, at->base, a);
    long r = ask_attr(c, at, flags, mask, &q, a);
    if (r < 0 || !(q.reply_flags & FF_REDIRECT))
      return r;
    r = route_again(c, &q, at, 0);
    if (r < 0)
      return r;
    if (at->local) {
      c->where = N_LOCAL;
      return 1;
    }
  }
}

/* 0: `a' is the answer; 1: ask, the kernel here if `at' has become local; -errno. */
static long attr_in_memory(struct call *c, struct at *at, unsigned long flags, struct wire_attr *a)
{
  struct name_answer n;
  if (flags & ~(unsigned long)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_DONT_SYNC))
    return 1;
  enum known k = names_ask(c, at, !(flags & AT_SYMLINK_NOFOLLOW), &n);
  if (k == KNOWN_NOT || k == KNOWN_LOCAL || (k == KNOWN_THERE && !n.full))
    return 1;
  c->where = N_MEMORY;
  *a = n.attr;
  return k == KNOWN_THERE ? 0 : n.error;
}

/* fstat as libraries make it: with an empty path. */
static bool is_light(struct call *c, unsigned long flags, struct wire_attr *a)
{
  char first = 0;
  return flags & AT_EMPTY_PATH && c->p->lights && !copy_in(&first, (const void *)c->a[1], 1) && !first &&
         light_attr(c, (int)c->a[0], a);
}

static long stat_path(struct call *c, unsigned long flags, unsigned long mask, unsigned long user)
{
  struct at at;
  struct wire_attr a;
  if (is_light(c, flags, &a))
    return attr_out(c->row, (void *)user, &a);
  long r = route(c, (int)c->a[0], (const void *)c->a[1], (int)flags, &at, 0);
  if (r)
    return r;
  if (at.local)
    return stat_at_here(c, &at);
  r = attr_in_memory(c, &at, flags, &a);
  if (r == 1 && !at.local)
    r = attr_of_path(c, &at, flags, mask, &a);
  if (r < 0)
    return r;
  return r == 1 ? stat_at_here(c, &at) : attr_out(c->row, (void *)user, &a);
}

/* ---- the calls ---- */

long a_newfstatat(struct call *c)
{
  unsigned long flags = c->a[3];
  if (flags & ~(unsigned long)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
    return -EINVAL;
  return stat_path(c, flags, STATX_BASIC_STATS, c->a[2]);
}

long a_statx(struct call *c)
{
  if (c->a[3] & STATX__RESERVED)
    return -EINVAL;
  return stat_path(c, c->a[2], c->a[3], c->a[4]);
}

long a_fstat(struct call *c)
{
  struct wire_attr a;
  if (fd_hidden(c->p, (int)c->a[0]))
    return -EBADF;
  if (light_attr(c, (int)c->a[0], &a))
    return attr_out(c->row, (void *)c->a[1], &a);
  struct handle h = vft_remote(c->p, (int)c->a[0]);
  if (h.v == H_NONE)
    return stat_here(c);
  long r = attr_of_handle(c, h, &a);
  return r < 0 ? r : attr_out(c->row, (void *)c->a[1], &a);
}
