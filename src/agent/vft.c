/*
 * The virtual file table: what each descriptor of the program stands for, and the handles behind the placeholders.
 *
 * The kernel's table is the truth; what is here is a cache of it, and a number that is not known is asked for. Owns the
 * entries, the taking of handles and the making of placeholders. Never closes a placeholder: the hub sees its last
 * close. No locks: entries change by compare-and-swap, and a generation keeps an answer that the kernel gave from being
 * kept when the number has been closed meanwhile. Where processes share their descriptors without sharing memory,
 * nothing that is cached is used.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/stat.h>

#include "agent/light.h"

#define CHUNK_ENTRIES 4096
#define CHUNKS 256 /* a million descriptors; numbers above are asked for each time */
#define CHUNK_BYTES (CHUNK_ENTRIES * sizeof(uint64_t))

/* An entry: handle in the low half, state in three bits, then the generation. */
struct vft {
  uint32_t high; /* one above the highest number noted */
  uint64_t *chunk[CHUNKS];
};
enum state { UNKNOWN, LOCAL, REMOTE, LIGHT, SOCKET /* of the slave: the kernel here does all input and output */ };
#define PURE 1 /* in the low half of a LOCAL one */
#define STATE(e) ((enum state)((e) >> 32 & 7))
#define ENTRY(state, h) ((uint64_t)(state) << 32 | (h))
#define GENERATION_ONE (1ul << 35)
#define GENERATION(e) ((e) & ~(GENERATION_ONE - 1))

#define AF_UNIX_FAMILY 1
#define MEMFD_NAME_MAX 249
#define SOCK_STREAM_TYPE 1
#define SOCK_SEQPACKET_TYPE 5
#define PROBES 64

/* ---- entries ---- */

struct vft *vft_new(void)
{
  return small_new(sizeof(struct vft));
}

void vft_free(struct vft *v)
{
  for (unsigned i = 0; i < CHUNKS; i++)
    if (v->chunk[i])
      pages_free(v->chunk[i], CHUNK_BYTES);
  small_free(v, sizeof *v);
}

/* The place of a number, or 0: out of range, or not there and not to be made. */
static uint64_t *slot_of(struct vft *v, int fd, bool make)
{
  if (fd < 0 || fd >= CHUNKS * CHUNK_ENTRIES)
    return 0;
  uint64_t **at = &v->chunk[fd / CHUNK_ENTRIES];
  uint64_t *chunk = __atomic_load_n(at, __ATOMIC_ACQUIRE);
  if (!chunk && make) {
    uint64_t *fresh = pages_new(CHUNK_BYTES);
    if (!fresh)
      return 0;
    if (__atomic_compare_exchange_n(at, &chunk, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      chunk = fresh;
    else
      pages_free(fresh, CHUNK_BYTES);
  }
  return chunk ? &chunk[fd % CHUNK_ENTRIES] : 0;
}

static void note_high(struct vft *v, int fd)
{
  uint32_t high = __atomic_load_n(&v->high, __ATOMIC_RELAXED);
  while ((uint32_t)fd >= high &&
         !__atomic_compare_exchange_n(&v->high, &high, (uint32_t)fd + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

/* Without memory for it the copy starts empty: the kernel is asked again. */
struct vft *vft_copy(const struct vft *v)
{
  struct vft *n = vft_new();
  if (!n)
    return 0;
  for (uint32_t fd = 0; fd < v->high; fd++) {
    const uint64_t *from = slot_of((struct vft *)v, (int)fd, false);
    uint64_t *to = from && *from && STATE(*from) != LIGHT ? slot_of(n, (int)fd, true) : 0;
    if (to)
      *to = *from;
  }
  n->high = v->high;
  return n;
}

/* Says what a number stands for from now on; answers of the kernel still under way are void. */
static void set(struct proc *p, int fd, uint64_t what)
{
  struct vft *v = p->vft;
  uint64_t *e = slot_of(v, fd, what != 0);
  if (!e)
    return;
  note_high(v, fd);
  uint64_t old = __atomic_load_n(e, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(e, &old, GENERATION(old + GENERATION_ONE) | what, true, __ATOMIC_ACQ_REL,
                                      __ATOMIC_RELAXED)) {
  }
  if (STATE(old) == LIGHT)
    light_release(p, (uint32_t)old);
}

int vft_light(struct proc *p, int fd)
{
  const uint64_t *e = p->lights && !mode_raw() ? slot_of(p->vft, fd, false) : 0;
  uint64_t v = e ? __atomic_load_n(e, __ATOMIC_ACQUIRE) : 0;
  return STATE(v) == LIGHT ? (int)(uint32_t)v : -1;
}

void vft_set_light(struct proc *p, int fd, unsigned light)
{
  set(p, fd, ENTRY(LIGHT, light));
}

void vft_replace(struct proc *p, int fd, struct handle h)
{
  set(p, fd, h.v == H_NONE ? ENTRY(LOCAL, 0) : ENTRY(REMOTE, h.v));
}

int vft_next_light(struct proc *p, int fd, int light)
{
  uint32_t high = p->lights ? __atomic_load_n(&p->vft->high, __ATOMIC_RELAXED) : 0;
  for (; (uint32_t)fd < high; fd++) {
    int is = vft_light(p, fd);
    if (is >= 0 && (light < 0 || is == light))
      return fd;
  }
  return -1;
}

void vft_forget(struct proc *p, int fd)
{
  set(p, fd, 0);
}

void vft_forget_range(struct proc *p, unsigned first, unsigned last)
{
  unsigned high = __atomic_load_n(&p->vft->high, __ATOMIC_RELAXED);
  for (unsigned fd = first; fd < high && fd <= last; fd++)
    vft_forget(p, (int)fd);
}

void vft_local(struct proc *p, int fd)
{
  if (!standalone())
    set(p, fd, ENTRY(LOCAL, 0));
}

void vft_dup(struct proc *p, int from, int to)
{
  uint64_t *e = slot_of(p->vft, from, false);
  uint64_t was = e ? __atomic_load_n(e, __ATOMIC_ACQUIRE) : 0;
  if (STATE(was) == LIGHT) {
    light_hold(p, (uint32_t)was);
  }
  set(p, to, was & (GENERATION_ONE - 1));
}

/* ---- asking the kernel ---- */

static bool parse_hex(const char **s, uint64_t *v)
{
  const char *p = *s;
  for (*v = 0;; p++) {
    unsigned d = (unsigned)*p - '0';
    if (d > 9)
      d = (unsigned)*p - 'a' < 6 ? (unsigned)*p - 'a' + 10 : 16;
    if (d > 15)
      break;
    *v = *v << 4 | d;
  }
  bool any = p != *s;
  *s = p;
  return any;
}

static bool handle_alive(uint64_t h)
{
  return h != H_NONE && HANDLE_INDEX(h) < SESSION_HANDLES &&
         (HANDLE_INDEX(h) < H_FIRST ||
          __atomic_load_n(&session->handles[HANDLE_INDEX(h)].handle, __ATOMIC_ACQUIRE) == h);
}

/* "/memfd:fsyscall:ID:HANDLE (deleted)" */
static uint64_t parse_placeholder(const char *name)
{
  static const char prefix[] = "/memfd:fsyscall:";
  uint64_t id, h;
  if (strncmp(name, prefix, sizeof prefix - 1))
    return ENTRY(LOCAL, 0);
  name += sizeof prefix - 1;
  if (!parse_hex(&name, &id) || id != session->id || *name++ != ':' || !parse_hex(&name, &h) || !handle_alive(h))
    return ENTRY(LOCAL, 0);
  return ENTRY(REMOTE, h);
}

static uint64_t ask_name(int fd)
{
  char link[40], name[128];
  fmt(link, sizeof link, "/proc/thread-self/fd/%d", fd);
  long n = sys3(__NR_readlink, link, name, sizeof name - 1);
  if (n < 0)
    return ENTRY(LOCAL, 0);
  name[n] = 0;
  return parse_placeholder(name);
}

static uint64_t ask_socket(uint64_t ino)
{
  uint32_t high = __atomic_load_n(&session->high_handle, __ATOMIC_RELAXED);
  if (high < H_FIRST)
    high = H_FIRST;
  for (uint32_t i = 1; i < high && i < SESSION_HANDLES; i++) {
    struct hstate *s = &session->handles[i];
    if (s->sock_ino == ino && (s->handle || i < H_FIRST))
      return ENTRY(s->kind == K_SOCKET ? SOCKET : REMOTE, i < H_FIRST ? i : s->handle);
  }
  return ENTRY(LOCAL, 0);
}

struct handle handle_open(uint32_t h)
{
  return (struct handle){handle_alive(h) ? h : (uint32_t)H_NONE};
}

/* What the text of a link in /proc/PID/fd of a process of the session stands for. */
struct handle vft_of_link(const char *name)
{
  static const char socket[] = "socket:[";
  uint64_t e = parse_placeholder(name), ino = 0;
  if (!strncmp(name, socket, sizeof socket - 1)) {
    for (name += sizeof socket - 1; *name >= '0' && *name <= '9'; name++)
      ino = ino * 10 + (uint64_t)(*name - '0');
    e = ask_socket(ino);
  }
  return (struct handle){STATE(e) == REMOTE && !standalone() ? (uint32_t)e : (uint32_t)H_NONE};
}

static uint64_t ask_kernel(int fd)
{
  struct stat_k st;
  if (sys2(__NR_fstat, fd, &st) < 0)
    return ENTRY(UNKNOWN, 0);
  if (S_ISSOCK(st.mode))
    return ask_socket(st.ino);
  if (S_ISREG(st.mode) && st.nlink == 0)
    return ask_name(fd);
  return ENTRY(LOCAL, 0);
}

static uint64_t resolve(const struct proc *p, int fd)
{
  struct vft *v = p->vft;
  if (p->files_shared)
    return ask_kernel(fd);
  uint64_t *e = slot_of(v, fd, true);
  uint64_t old = e ? __atomic_load_n(e, __ATOMIC_ACQUIRE) : 0;
  if (STATE(old) != UNKNOWN)
    return old;
  uint64_t is = ask_kernel(fd);
  if (e && STATE(is) != UNKNOWN) {
    note_high(v, fd);
    __atomic_compare_exchange_n(e, &old, GENERATION(old) | is, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
  }
  return is;
}

struct handle vft_remote(struct proc *p, int fd)
{
  if (fd < 0 || standalone() || mode_raw() || fd_hidden(p, fd))
    return (struct handle){H_NONE};
  uint64_t e = resolve(p, fd);
  if (STATE(e) == LIGHT) {
    light_settle(p, fd);
    e = resolve(p, fd);
  }
  return (struct handle){STATE(e) == REMOTE ? (uint32_t)e : (uint32_t)H_NONE};
}

struct handle vft_socket(struct proc *p, int fd)
{
  if (fd < 0 || standalone() || mode_raw() || fd_hidden(p, fd))
    return (struct handle){H_NONE};
  uint64_t e = resolve(p, fd);
  return (struct handle){STATE(e) == SOCKET ? (uint32_t)e : (uint32_t)H_NONE};
}

void vft_set_socket(struct proc *p, int fd, struct handle h)
{
  set(p, fd, ENTRY(SOCKET, h.v));
}

bool vft_pure(struct proc *p, int fd)
{
  uint64_t *e = slot_of(p->vft, fd, false);
  uint64_t is = e ? __atomic_load_n(e, __ATOMIC_ACQUIRE) : 0;
  return STATE(is) == LOCAL && is & PURE && !p->files_shared;
}

void vft_set_pure(struct proc *p, int fd)
{
  uint64_t *e = slot_of(p->vft, fd, false);
  uint64_t old = e ? __atomic_load_n(e, __ATOMIC_ACQUIRE) : 0;
  if (STATE(old) == LOCAL)
    __atomic_compare_exchange_n(e, &old, GENERATION(old) | ENTRY(LOCAL, PURE), false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
}

/* ---- handles ---- */

struct hstate *hstate(struct handle h)
{
  return &session->handles[HANDLE_INDEX(h.v) % SESSION_HANDLES];
}

static void hstate_clear(struct hstate *s)
{
  s->kind = K_NONE;
  s->flags = 0;
  s->late = 0;
  s->gen = s->snap_gen = 0;
  s->snap = SNAP_NONE;
  s->offset_remote = 0;
  s->window_waiters = 0;
  s->notes = s->minded = 0;
  s->sync = 0;
  s->noexec = 0;
  s->names_len = 0;
  s->sent = s->written = 0;
  s->ready = s->armed = 0;
  s->sock_ino = 0;
  memset(&s->attr, 0, sizeof s->attr);
  memset(&s->sock, 0, sizeof s->sock);
}

static struct handle handle_take(uint32_t i)
{
  struct hstate *s = &session->handles[i];
  uint32_t none = 0, generation = s->next_gen & 0xfff;
  uint32_t h = generation << HANDLE_INDEX_BITS | i;
  if (!__atomic_compare_exchange_n(&s->handle, &none, h, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    return (struct handle){H_NONE};
  s->next_gen = generation + 1;
  hstate_clear(s);
  return (struct handle){h};
}

/* Looks for a free index among `n' from `from' on, wrapping within the range that is in use. */
static struct handle handle_probe(uint32_t from, uint32_t n, uint32_t high)
{
  uint32_t span = high - H_FIRST;
  for (uint32_t k = 0; k < n && k < span; k++) {
    uint32_t i = H_FIRST + (from - H_FIRST + k) % span;
    struct handle h = {H_NONE};
    if (!__atomic_load_n(&session->handles[i].handle, __ATOMIC_RELAXED))
      h = handle_take(i);
    if (h.v != H_NONE) {
      __atomic_store_n(&session->next_handle, i + 1, __ATOMIC_RELAXED);
      return h;
    }
  }
  return (struct handle){H_NONE};
}

static struct handle handle_extend(void)
{
  uint32_t high = __atomic_load_n(&session->high_handle, __ATOMIC_RELAXED);
  for (;;) {
    uint32_t i = high < H_FIRST ? H_FIRST : high;
    if (i >= SESSION_HANDLES)
      return (struct handle){H_NONE};
    if (!__atomic_compare_exchange_n(&session->high_handle, &high, i + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      continue;
    struct handle h = handle_take(i);
    if (h.v != H_NONE)
      return h;
    high = i + 1;
  }
}

/* Indices in use stay dense, for whoever has to scan them: a few probes, then one more, at last all. */
struct handle handle_new(void)
{
  uint32_t high = __atomic_load_n(&session->high_handle, __ATOMIC_RELAXED);
  uint32_t from = __atomic_load_n(&session->next_handle, __ATOMIC_RELAXED);
  if (high <= H_FIRST)
    return handle_extend();
  if (high > SESSION_HANDLES)
    high = SESSION_HANDLES;
  if (from < H_FIRST || from >= high)
    from = H_FIRST;
  struct handle h = handle_probe(from, PROBES, high);
  if (h.v == H_NONE)
    h = handle_extend();
  return h.v == H_NONE ? handle_probe(from, SESSION_HANDLES, high) : h;
}

/* The hub frees the handle of a failed open, too, and by now the index may be somebody's again. */
void handle_drop(struct handle h)
{
  uint32_t own = h.v;
  __atomic_compare_exchange_n(&hstate(h)->handle, &own, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void handle_close(struct thread *t, struct handle h)
{
  struct req q;
  req_start(&q, t, &syscall_rows[__NR_close]);
  req_handle(&q, h);
  req_post(&q, -1);
  handle_drop(h);
}

/* ---- placeholders ---- */

static void place_post(struct call *c, struct handle h, enum place kind, int fd)
{
  struct req q;
  req_start_op(&q, c->t, W_PLACE);
  req_handle(&q, h);
  req_u64(&q, kind);
  req_post_uncounted(&q, fd);
}

void stream_placed(struct call *c, struct handle h, int fd)
{
  place_post(c, h, PLACE_STREAM, fd);
}

/* The lowest number for a remote file: where few are allowed, half of them are above it. */
static uint64_t fd_least(struct proc *p)
{
  uint64_t half = nofile_now(p) / 2;
  return half < FD_HIGH ? half : FD_HIGH;
}

/* -EMFILE: there is none so high. */
static long fd_raised(struct proc *p, int fd, int cloexec)
{
  if (!(session->flags & SF_HIGH))
    return -EMFILE;
  return fd_new(p, sys3(__NR_fcntl, fd, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, fd_least(p)));
}

long fd_remote(struct proc *p, int fd, int cloexec)
{
  long high = fd_raised(p, fd, cloexec);
  return high >= 0 ? high : fd_new(p, sys3(__NR_fcntl, fd, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0));
}

/* Where they are high, the number that the kernel has chosen is not kept, unless there is no other. */
static long placed(struct proc *p, long fd, int cloexec)
{
  long high = fd < 0 ? fd : fd_raised(p, (int)fd, cloexec);
  if (high < 0)
    return fd_new(p, fd);
  sys1(__NR_close, fd);
  vft_forget(p, (int)fd);
  return high;
}

/* The path is for people who look at the list of mappings (view.c). */
static long place_file(struct call *c, struct handle h, int cloexec, const char *path)
{
  char name[MEMFD_NAME_MAX + 1];
  int n = fmt(name, sizeof name, "fsyscall:%lx:%x", (unsigned long)session->id, h.v);
  size_t len = strlen(path);
  if (len && n + 1 + len < sizeof name) {
    name[n] = ':';
    memcpy(name + n + 1, path, len + 1);
  }
  unsigned flags = (cloexec ? MFD_CLOEXEC : 0) | (session->flags & SF_HIGH ? MFD_ALLOW_SEALING : 0);
  long fd = placed(c->p, sys2(__NR_memfd_create, name, flags), cloexec);
  if (fd >= 0)
    place_post(c, h, PLACE_FILE, (int)fd);
  return fd;
}

void placeholder_seal(int fd)
{
  if (session->flags & SF_HIGH)
    sys3(__NR_fcntl, fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
}

static long place_stream(struct call *c, struct handle h, int type)
{
  int sv[2];
  struct stat_k st;
  long r = sys4(__NR_socketpair, AF_UNIX_FAMILY, type, 0, sv);
  if (r < 0)
    return r;
  r = placed(c->p, sv[0], type & O_CLOEXEC);
  if (r >= 0 && sys2(__NR_fstat, r, &st) == 0) {
    __atomic_store_n(&hstate(h)->sock_ino, st.ino, __ATOMIC_RELEASE);
    place_post(c, h, PLACE_STREAM, sv[1]);
  }
  sys1(__NR_close, sv[1]);
  return r;
}

long socket_place(struct call *c, struct handle h, bool datagrams, int flags)
{
  long fd = place_stream(c, h, (datagrams ? SOCK_SEQPACKET_TYPE : SOCK_STREAM_TYPE) | flags);
  if (fd < 0)
    handle_close(c->t, h);
  else
    vft_set_socket(c->p, (int)fd, h);
  return fd;
}

long handle_place(struct call *c, struct handle h, int cloexec, const char *path)
{
  uint32_t kind = hstate(h)->kind;
  bool stream = kind == K_STREAM || kind == K_TTY || kind == K_NOTIFY;
  long fd = stream ? place_stream(c, h, SOCK_STREAM_TYPE | cloexec) : place_file(c, h, cloexec, path);
  if (fd < 0)
    handle_close(c->t, h);
  else
    set(c->p, (int)fd, ENTRY(REMOTE, h.v));
  return fd;
}

/* ---- what is remembered of a file ---- */

static uint32_t gen_now(const struct hstate *s)
{
  return __atomic_load_n(&session->gens[s->gen % SESSION_GENS], __ATOMIC_ACQUIRE);
}

bool snap_true(const struct hstate *s, enum snap what)
{
  return (__atomic_load_n(&s->snap, __ATOMIC_ACQUIRE) & what) == (uint32_t)what && s->snap_gen == gen_now(s);
}

/* Written so that a reader who checks before and after copying never takes a torn answer for a true one. */
void snap_take(struct hstate *s, const struct req *q, const struct wire_attr *a, uint32_t what)
{
  __atomic_store_n(&s->snap, SNAP_NONE, __ATOMIC_SEQ_CST);
  s->attr = *a;
  s->gen = file_gen(a->dev, a->ino);
  s->snap_gen = q->reply_gen;
  __atomic_store_n(&s->snap, q->reply_flags & FF_CACHEABLE ? what : (uint32_t)SNAP_NONE, __ATOMIC_RELEASE);
}

void file_changed(struct hstate *s)
{
  __atomic_fetch_add(&session->gens[s->gen % SESSION_GENS], 1, __ATOMIC_ACQ_REL);
}

long late_error(struct hstate *s)
{
  return __atomic_load_n(&s->late, __ATOMIC_RELAXED) ? __atomic_exchange_n(&s->late, 0, __ATOMIC_ACQ_REL) : 0;
}
