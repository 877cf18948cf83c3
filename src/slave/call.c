/*
 * One call: decode by the row's args, walk its paths, make the native call, encode, answer.
 *
 * Most rows need no code: their registers are filled as the args string says. The table below names those that do, and
 * how paths are understood. Owns nothing that outlives a call. Must never: leave a CALL without exactly one
 * REPLY, or hand a path of the master to the kernel unwalked.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"

#define WIRE_DONT_FOLLOW 0x2000000 /* IN_DONT_FOLLOW */

enum how {
  HOW_PARENT = 1, /* the last path's last component is not looked up but made, renamed or removed */
  HOW_OBJECT = 2, /* the native call takes a path alone: reached through /proc/self/fd */
};
struct act {
  do_fn *run;
  uint8_t how;
};

static const struct act acts[W_END] = {
    [OP_openat] = {do_openat, 0},
    [OP_read] = {do_read, 0},
    [OP_pread64] = {do_pread, 0},
    [OP_write] = {do_write, 0},
    [OP_pwrite64] = {do_pwrite, 0},
    [OP_close] = {do_close, 0},
    [OP_fstat] = {do_fstat, 0},
    [OP_statx] = {do_statx, 0},
    [OP_faccessat2] = {do_faccessat2, 0},
    [OP_getdents64] = {do_getdents, 0},
    [OP_linkat] = {do_linkat, 0},
    [OP_symlinkat] = {call_plain, HOW_PARENT},
    [OP_readlinkat] = {do_readlinkat, 0},
    [OP_unlinkat] = {call_plain, HOW_PARENT},
    [OP_renameat2] = {call_plain, HOW_PARENT},
    [OP_mkdirat] = {call_plain, HOW_PARENT},
    [OP_mknodat] = {call_plain, HOW_PARENT},
    [OP_fchmodat] = {call_plain, HOW_OBJECT},
    [OP_fchmodat2] = {do_fchmodat2, 0},
    [OP_utimensat] = {do_utimensat, 0},
    [OP_truncate] = {call_plain, HOW_OBJECT},
    [OP_statfs] = {call_plain, HOW_OBJECT},
    [OP_fsync] = {do_slow, 0},
    [OP_fdatasync] = {do_slow, 0},
    [OP_syncfs] = {do_slow, 0},
    [OP_sync_file_range] = {do_slow, 0},
    [OP_sync] = {do_slow, 0},
    [OP_flock] = {do_flock, 0},
    [OP_inotify_init1] = {do_inotify_init, 0},
    [OP_inotify_add_watch] = {do_inotify_add, 0},
    [OP_setxattr] = {call_plain, HOW_OBJECT},
    [OP_lsetxattr] = {call_plain, HOW_OBJECT},
    [OP_getxattr] = {call_plain, HOW_OBJECT},
    [OP_lgetxattr] = {call_plain, HOW_OBJECT},
    [OP_listxattr] = {call_plain, HOW_OBJECT},
    [OP_llistxattr] = {call_plain, HOW_OBJECT},
    [OP_removexattr] = {call_plain, HOW_OBJECT},
    [OP_lremovexattr] = {call_plain, HOW_OBJECT},
    [OP_ioctl] = {do_ioctl, 0},
    [OP_fcntl] = {do_fcntl, 0},
    [OP_copy_file_range] = {do_copy_file_range, 0},
    [OP_file_getattr] = {do_file_getattr, 0},
    [OP_file_setattr] = {do_file_setattr, 0},
    [OP_name_to_handle_at] = {do_name_to_handle, 0},
    [OP_open_by_handle_at] = {do_open_by_handle, 0},
    [OP_quotactl] = {do_quotactl, 0},
    [W_UBIND] = {do_ubind, HOW_PARENT},
    [W_UCONNECT] = {do_uconnect, 0},
    [W_SOCKET] = {do_socket, 0},
    [W_NBIND] = {do_nbind, 0},
    [W_NCONNECT] = {do_nconnect, 0},
    [W_LISTEN] = {do_listen, 0},
    [W_SHUTDOWN] = {do_shutdown, 0},
    [W_SOCKNAME] = {do_sockname, 0},
    [W_GETOPT] = {do_getopt, 0},
    [W_SETOPT] = {do_setopt, 0},
    [W_CREDIT] = {do_credit, 0},
    [W_ADOPT] = {do_adopt, 0},
};
static const struct act plain = {call_plain, 0};

/* ---- decoding ---- */

static int take_handle(struct call *c, uint64_t num, uint64_t *fd)
{
  struct handle *h = handle_get(num);
  if (!c->nhandles)
    c->num = num;
  if (!h)
    return -EBADF;
  c->h[c->nhandles++] = h;
  *fd = (uint64_t)h->fd;
  return 0;
}

static void take_path(struct call *c, struct rbuf *r, char letter, unsigned reg)
{
  struct call_path *p = &c->path[c->npaths++];
  char *text = c->text[c->ntexts++];
  p->base = get_u64(r);
  get_str(r, text, WIRE_PATH_MAX);
  p->text = text;
  p->letter = letter;
  p->reg = reg;
}

static void take_room(struct call *c, struct rbuf *r, unsigned reg)
{
  uint64_t room = get_u64(r);
  c->o_room = room > FRAME_DATA_MAX ? FRAME_DATA_MAX : (uint32_t)room;
  c->o_at = c->out.at + 4;
  c->a[reg] = c->o_room ? (uintptr_t)c->o_at : 0;
  c->a[reg + 1] = c->o_room;
}

static void take_times(struct call *c, struct rbuf *r, unsigned reg)
{
  c->a[reg] = get_u64(r) ? (uintptr_t)c->times : 0;
  for (unsigned i = 0; i < 4; i++)
    c->times[i] = (int64_t)get_u64(r);
  for (unsigned i = 0; i < 4; i += 2)
    if (c->times[i + 1] != UTIME_OMIT && c->times[i + 1] != UTIME_NOW)
      c->times[i] -= clock_shift();
}

static void take_kind(struct call *c, struct rbuf *r)
{
  c->kind = get_u64(r);
  if (c->kind == IOA_INT || c->kind == IOA_OUT)
    c->value = get_u64(r);
  else if (c->kind != IOA_NONE)
    c->blob = get_blob(r, &c->blob_len, FRAME_DATA_MAX);
}

static void take_blob(struct call *c, struct rbuf *r, unsigned reg)
{
  c->blob = get_blob(r, &c->blob_len, FRAME_DATA_MAX);
  c->a[reg] = (uintptr_t)c->blob;
  c->a[reg + 1] = c->blob_len;
}

static void take_text(struct call *c, struct rbuf *r, unsigned reg)
{
  char *text = c->text[c->ntexts++];
  get_str(r, text, WIRE_PATH_MAX);
  c->a[reg] = (uintptr_t)text;
}

/* Takes one argument; returns how many registers it fills, or -errno. */
static int take(struct call *c, struct rbuf *r, char letter, unsigned reg)
{
  switch (letter) {
  case 'H':
    return take_handle(c, get_u64(r), &c->a[reg]) ? -EBADF : 1;
  case 'I':
    c->a[reg] = get_u64(r);
    return 1;
  case 'A':
  case 'P':
    take_path(c, r, letter, reg);
    return letter == 'A' ? 2 : 1;
  case 'S':
    take_text(c, r, reg);
    return 1;
  case 'B':
    take_blob(c, r, reg);
    return 2;
  case 'O':
    take_room(c, r, reg);
    return 2;
  case 'M':
    take_times(c, r, reg);
    return 1;
  case 'U':
  case 'L':
    take_kind(c, r);
    return 1;
  default: /* X, F: made by the encoder */
    return 1;
  }
}

static int decode(struct call *c, const uint8_t *body, uint32_t n)
{
  struct rbuf r = {body, body + n, false};
  unsigned reg = 0;
  for (const char *p = c->row->args; *p && reg < 6; p++) {
    int used = take(c, &r, *p, reg);
    if (used < 0)
      return used;
    reg += (unsigned)used;
  }
  if (c->row->wire == OP_openat)
    c->a[2] = flags_from_wire(c->a[2]);
  if (c->row->wire == OP_open_by_handle_at)
    c->a[3] = flags_from_wire(c->a[3]);
  return r.bad ? -EPROTO : 0;
}

/* ---- paths ---- */

static bool follows(const struct call *c, unsigned which)
{
  int traits = c->row->traits;
  if (c->row->wire == OP_inotify_add_watch)
    return !(c->a[2] & WIRE_DONT_FOLLOW);
  if (which && traits & (NOFOLLOW2 | NOFOLLOW))
    return false;
  if (TRAIT_NOFOLLOW_REG(traits) >= 0)
    return !(c->a[TRAIT_NOFOLLOW_REG(traits)] & AT_SYMLINK_NOFOLLOW);
  if (TRAIT_FOLLOW_REG(traits) >= 0)
    return c->a[TRAIT_FOLLOW_REG(traits)] & AT_SYMLINK_FOLLOW;
  return traits & FOLLOW;
}

static unsigned walk_flags(const struct call *c, unsigned which)
{
  if (c->act->how & HOW_PARENT || (which && c->row->traits & NOFOLLOW2))
    return WALK_PARENT;
  if (c->row->wire != OP_openat)
    return follows(c, which) ? WALK_FOLLOW : 0;
  uint64_t flags = c->a[2];
  bool creates = flags & O_CREAT && !(flags & O_PATH);
  return (flags & O_NOFOLLOW || (creates && flags & O_EXCL) ? 0 : WALK_FOLLOW) | (creates ? WALK_CREATE : 0);
}

int call_base(struct call *c)
{
  uint64_t fd = 0;
  if (c->path[0].base == H_ROOT)
    return c->context.root;
  return take_handle(c, c->path[0].base, &fd) ? -EBADF : (int)fd;
}

static int walk_one(struct call *c, unsigned which)
{
  const struct call_path *p = &c->path[which];
  char left[WIRE_PATH_MAX];
  uint64_t base = 0;
  bool root = p->base == H_ROOT || p->text[0] == '/';
  int err = root ? 0 : take_handle(c, p->base, &base);
  if (!err)
    err = walk(c->context.root, root ? -1 : (int)base, p->text, walk_flags(c, which), &c->at[which], left);
  if (!err)
    c->nspots = which + 1;
  if (err != WALK_LEFT)
    return err;
  c->out.at = c->reply;
  put_blob(&c->out, left, (uint32_t)strlen(left));
  c->f.result = which;
  return CALL_LEFT;
}

int call_walk(struct call *c)
{
  for (unsigned i = 0; i < c->npaths; i++) {
    int err = walk_one(c, i);
    if (err)
      return err;
    if (c->path[i].letter == 'A') {
      c->a[c->path[i].reg] = (uint64_t)c->at[i].dir;
      c->a[c->path[i].reg + 1] = (uintptr_t)c->at[i].name;
    }
  }
  /* The walk has followed what was to be followed. */
  if (TRAIT_NOFOLLOW_REG(c->row->traits) >= 0)
    c->a[TRAIT_NOFOLLOW_REG(c->row->traits)] |= AT_SYMLINK_NOFOLLOW;
  if (c->f.flags & FF_OWN && !c->worker)
    own_begin(c);
  return 0;
}

/* Where there is no /proc: from the directory itself. */
static int object_by_name(struct call *c, const struct spot *s)
{
  snprintf(c->object, sizeof c->object, "%s", s->name[0] ? s->name : ".");
  return fchdir(s->dir) ? -errno : 0;
}

int call_object(struct call *c, bool follow)
{
  const struct spot *s = &c->at[0];
  static int have_proc = -1;
  struct stat st;
  if (have_proc < 0)
    have_proc = !access("/proc/self/fd", X_OK);
  if (!have_proc)
    return object_by_name(c, s);
  if (s->name[0] && follow) {
    c->object_fd = openat(s->dir, s->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (c->object_fd < 0 || fstatat(c->object_fd, "", &st, AT_EMPTY_PATH))
      return -errno;
    if (S_ISLNK(st.st_mode))
      return -ELOOP;
  }
  if (s->name[0] && !follow)
    snprintf(c->object, sizeof c->object, "/proc/self/fd/%d/%s", s->dir, s->name);
  else
    snprintf(c->object, sizeof c->object, "/proc/self/fd/%d", s->name[0] ? c->object_fd : s->dir);
  return 0;
}

/* The pairs setxattr and lsetxattr, getxattr and lgetxattr, ... are neighbours in the wire's numbers. */
_Static_assert((int)OP_lsetxattr == (int)OP_setxattr + 1 && (int)OP_lgetxattr == (int)OP_getxattr + 1 &&
                   (int)OP_llistxattr == (int)OP_listxattr + 1 && (int)OP_lremovexattr == (int)OP_removexattr + 1,
               "following and not following variants");

static int aim_at_object(struct call *c)
{
  int err = call_object(c, follows(c, 0));
  if (err)
    return err;
  bool itself = !c->at[0].name[0]; /* the descriptor: its link in /proc is to be followed */
  if (itself && c->row->traits & NOFOLLOW)
    c->op--;
  unsigned reg = c->path[0].reg;
  if (c->path[0].letter == 'A')
    c->a[reg++] = (uint64_t)AT_FDCWD;
  c->a[reg] = (uintptr_t)c->object;
  return 0;
}

/* ---- encoding ---- */

static void put_data(struct call *c, uint32_t n)
{
  put_u32(&c->out, n);
  c->out.at += n - c->promise.lifted;
}

int64_t call_plain(struct call *c)
{
  struct wire_statfs fs;
  const char *f = strchr(c->row->args, 'F');
  int err = call_walk(c);
  if (!err && c->act->how & HOW_OBJECT)
    err = aim_at_object(c);
  if (err)
    return err;
  if (f)
    c->a[f - c->row->args] = (uintptr_t)&fs;
  int64_t r = native_call(c->op, c->a);
  if (r >= 0 && f)
    put_statfs(&c->out, &fs);
  return r;
}

/* ---- calls that need a little more than the plain way ---- */

/* May take long, though nothing can interrupt it: not on the main thread. */
int64_t do_slow(struct call *c)
{
  if (c->asked && !c->worker)
    return CALL_DEFER;
  return call_plain(c);
}

int64_t do_flock(struct call *c)
{
  if (!c->worker && !(c->a[1] & 4 /* LOCK_NB */) && (c->a[1] & 15) != 8 /* LOCK_UN */)
    return CALL_DEFER;
  long r;
  do
    r = worker_cancelled() ? -EINTR : native_call(c->op, c->a);
  while (r == -EINTR && !worker_cancelled());
  return r;
}

int64_t do_faccessat2(struct call *c)
{
  long r = call_plain(c);
  if (r == -ENOSYS) /* before Linux 5.8; the link, if there was one, has been followed */
    r = faccessat(c->at[0].dir, c->at[0].name, (int)c->a[2], 0) ? -errno : 0;
  return r;
}

int64_t do_fchmodat2(struct call *c)
{
  long r = call_plain(c);
  if (r != -ENOSYS) /* before Linux 6.6 */
    return r;
  struct stat st;
  if (fstatat(c->at[0].dir, c->at[0].name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
    return -errno;
  if (S_ISLNK(st.st_mode))
    return -EOPNOTSUPP;
  int err = call_object(c, true);
  return err ? err : chmod(c->object, (mode_t)c->a[2]) ? -errno : 0;
}

int64_t do_linkat(struct call *c)
{
  int err = call_walk(c);
  if (err)
    return err;
  bool itself = !c->at[0].name[0] && c->a[4] & AT_SYMLINK_FOLLOW;
  c->a[4] &= ~(uint64_t)AT_SYMLINK_FOLLOW;
  if (itself) { /* a descriptor by way of its link in /proc, as for O_TMPFILE */
    err = call_object(c, true);
    c->a[0] = (uint64_t)AT_FDCWD;
    c->a[1] = (uintptr_t)c->object;
    c->a[4] = AT_SYMLINK_FOLLOW;
  }
  return err ? err : native_call(c->op, c->a);
}

/* Without the call's own reference, so that what close() says is known here. */
int64_t do_close(struct call *c)
{
  handle_put(c->h[0]);
  c->nhandles = 0;
  return handle_close(c->num);
}

/* ---- a whole call ---- */

static void set_umask(struct call *c)
{
  static mode_t current = 01000; /* the main thread's; none yet */
  mode_t want = (mode_t)(c->f.result & 0777);
  if (!(c->row->traits & CREATES) || (!c->worker && want == current))
    return;
  umask(want);
  if (!c->worker)
    current = want;
}

static void release(struct call *c)
{
  for (unsigned i = 0; i < c->nspots; i++)
    spot_done(&c->at[i]);
  if (c->object_fd >= 0)
    close(c->object_fd);
  for (unsigned i = 0; i < c->nhandles; i++)
    handle_put(c->h[i]);
}

static void answer_call(struct call *c, int64_t r)
{
  struct frame f = {.type = F_REPLY, .op = c->f.op, .tag = c->f.tag, .ctx = c->f.ctx, .result = r};
  f.flags = c->reply_flags;
  if (r == CALL_LEFT) {
    f.result = c->f.result;
    f.flags = FF_REDIRECT;
  } else if (r < 0) {
    f.flags = 0;
    c->out.at = c->reply;
  } else if (c->o_at) {
    put_data(c, c->o_room ? (uint32_t)r : 0);
  }
  out_send(&f, c->reply, (uint32_t)(c->out.at - c->reply), &c->promise);
}

static void answer_post(struct call *c, int64_t r)
{
  if (r >= 0)
    return;
  uint64_t num = c->row->wire == OP_openat ? c->a[4] : H_NONE;
  if (c->row->args[0] == 'H')
    num = c->num;
  out_note(F_LATE, c->f.op, r == CALL_LEFT ? -EXDEV : r, &num, 1);
}

/* What the call was about may be a directory itself. */
static void tell_directory(struct call *c)
{
  struct stat st;
  const struct spot *s = &c->at[0];
  bool opened = c->row->wire == OP_openat;
  if (!s->name[0] || fstatat(s->dir, s->name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode))
    return;
  int fd = openat(s->dir, s->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0)
    names_touch_dir(fd, opened);
  if (fd >= 0 && opened)
    guess_dir_opened(fd);
  if (fd >= 0)
    close(fd);
}

/* Calls that only ask about names; the master could have answered them itself, had it known. */
static void tell_names(struct call *c, int64_t r)
{
  unsigned op = c->row->wire;
  bool asks = op == OP_statx || op == OP_faccessat2 || op == OP_readlinkat || op == OP_openat || op == OP_statfs ||
              op == W_UCONNECT;
  bool about = r >= 0 || r == -ENOENT || (r == -EINVAL && op == OP_readlinkat);
  if (!asks || !about || c->worker || !c->asked || !c->npaths || c->rooted)
    return;
  if (c->nspots)
    names_touch(&c->at[0], op != OP_openat || r < 0);
  if (c->nspots && r >= 0 && (op == OP_openat || op == OP_statx))
    tell_directory(c);
  bool reads = r >= 0 && op == OP_openat && !(c->a[2] & (O_ACCMODE | O_PATH));
  if (c->nspots && reads && c->at[0].name[0])
    (c->promise.contents ? guess_file_opened : guess_large_opened)(c->at[0].dir, c->at[0].name);
  if (c->nspots)
    return;
  if (r == -ENOENT && c->nhandles)
    names_missed(c->h[0]->fd, c->path[0].text);
  else if (r == -ENOENT)
    names_missed(-1, c->path[0].text);
}

/* Names that somebody has waited for are likely to be asked about, and so is their directory. */
static void tell_changed(struct call *c)
{
  unsigned op = c->row->wire;
  bool makes = op == OP_mkdirat || op == OP_mknodat || op == OP_symlinkat || op == OP_linkat || op == OP_renameat2;
  bool changes = makes || op == OP_unlinkat || (op == OP_openat && c->a[2] & O_CREAT);
  if (!changes || c->f.flags & (FF_OWN | FF_MADE) || c->worker || !c->asked || c->rooted)
    return;
  for (unsigned i = op == OP_linkat; i < c->nspots; i++)
    names_refresh(&c->at[i]);
}

static void run(struct call *c, const uint8_t *body, uint32_t n)
{
  int64_t r = decode(c, body, n);
  if (!r)
    r = context_enter(c->f.ctx, &c->context);
  if (!r) {
    set_umask(c);
    r = c->act->run(c);
    if (c->f.flags & FF_OWN && !c->worker)
      own_end(r >= 0);
    c->rooted = c->context.root >= 0;
    context_leave(&c->context);
    if (r >= 0 && !c->rooted)
      own_made(c);
  }
  if (r == CALL_DEFER) {
    r = worker_start(&c->f, body, n);
    if (!r) {
      release(c);
      return;
    }
  }
  tell_names(c, r);
  if (r >= 0)
    tell_changed(c);
  if (c->asked)
    answer_call(c, r);
  else
    answer_post(c, r);
  release(c);
}

/* W_POLL: what is true now, or a READY once something is. */
static bool run_poll(const struct frame *f, const uint8_t *body)
{
  struct rbuf r = {body, body + 16, false};
  uint64_t num = get_u64(&r), want = get_u64(&r) & 0x3fff;
  struct handle *h = handle_get(num);
  long now = h ? poll_now(h, (uint32_t)want) : -EBADF;
  bool arm = h && !now && (f->type == F_POST || f->flags & FF_CONTENTS);
  if (arm && events_arm(h, (uint32_t)want))
    now = (long)want; /* what epoll refuses is always ready */
  if (f->type == F_CALL)
    out_send(&(struct frame){.type = F_REPLY, .op = f->op, .tag = f->tag, .ctx = f->ctx, .result = now}, "", 0, 0);
  else if (now)
    out_note(F_READY, 0, 0, (uint64_t[]){num, (uint64_t)(now < 0 ? POLLNVAL : now)}, 2);
  if (h)
    handle_put(h);
  return true;
}

static bool run_unlock(const struct frame *f, const uint8_t *body)
{
  struct rbuf r = {body, body + 16, false};
  uint64_t dev = get_u64(&r), ino = get_u64(&r);
  locks_release(f->ctx, dev, ino);
  return f->type == F_POST;
}

static bool run_ahead(const uint8_t *body)
{
  struct rbuf r = {body, body + 8, false};
  return guess_used(get_u64(&r));
}

bool call_run(const struct frame *f, const uint8_t *body, uint32_t n, bool worker)
{
  static uint8_t main_reply[FRAME_MAX];
  const struct row *row = row_of_op(f->op);
  if (f->op == W_POLL)
    return !body_check("HI", body, n) && run_poll(f, body);
  if (f->op == W_UNLOCK)
    return !body_check("II", body, n) && run_unlock(f, body);
  if (f->op == W_CONTEXT)
    return f->type == F_POST && !body_check("HIIIIB", body, n) && context_set(f->ctx, body, n);
  if (f->op == W_AHEAD)
    return f->type == F_POST && !body_check("I", body, n) && run_ahead(body);
  if (!row || !row->name || body_check(row->args, body, n))
    return false;
  struct call c;
  memset(&c, 0, offsetof(struct call, object));
  c.f = *f;
  c.row = row;
  c.act = acts[row->wire].run ? &acts[row->wire] : &plain;
  c.worker = worker;
  c.asked = f->type == F_CALL;
  c.op = f->op;
  c.object_fd = -1;
  c.reply = worker ? malloc(FRAME_MAX) : main_reply;
  c.out = (struct wbuf){c.reply, c.reply + FRAME_MAX - sizeof *f, false};
  if (c.reply)
    run(&c, body, n);
  else if (c.asked)
    out_send(&(struct frame){.type = F_REPLY, .op = f->op, .tag = f->tag, .ctx = f->ctx, .result = -ENOMEM}, "", 0, 0);
  else
    answer_post(&c, -ENOMEM);
  if (worker)
    free(c.reply);
  return true;
}
