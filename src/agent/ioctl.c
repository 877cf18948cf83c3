/*
 * ioctl on the slave's files: a list of the requests whose arguments are known, each with how its argument travels.
 * What is not in the list gets the error of a driver that does not know the request, without a message. Process groups
 * of a terminal are left out on purpose: the slave's is never a program's controlling terminal, and then that is
 * ENOTTY.
 */
#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/fs.h>

#include "agent/light.h"
#include "agent/sock.h"

#define TERMIOS_SIZE 36 /* the kernel's struct termios: 4 words, a line discipline, 19 characters */
#define TERMIOS2_SIZE 44
#define WINSIZE_SIZE 8

enum on { ON_TTY = 1, ON_STREAM = 2, ON_FILE = 4, ON_BLOCK = 8 };

struct request {
  uint32_t nr;
  uint8_t kind; /* enum ioctl_arg */
  uint8_t size;
  uint8_t on; /* enum on: where it means something */
  bool waits; /* may block */
};

static const struct request requests[] = {
    {TCGETS, IOA_OUT, TERMIOS_SIZE, ON_TTY, false},
    {TCSETS, IOA_IN, TERMIOS_SIZE, ON_TTY, false},
    {TCSETSW, IOA_IN, TERMIOS_SIZE, ON_TTY, true},
    {TCSETSF, IOA_IN, TERMIOS_SIZE, ON_TTY, true},
    {TCGETS2, IOA_OUT, TERMIOS2_SIZE, ON_TTY, false},
    {TCSETS2, IOA_IN, TERMIOS2_SIZE, ON_TTY, false},
    {TCSETSW2, IOA_IN, TERMIOS2_SIZE, ON_TTY, true},
    {TCSETSF2, IOA_IN, TERMIOS2_SIZE, ON_TTY, true},
    {TCSBRK, IOA_INT, 0, ON_TTY, true},
    {TCSBRKP, IOA_INT, 0, ON_TTY, true},
    {TCXONC, IOA_INT, 0, ON_TTY, false},
    {TCFLSH, IOA_INT, 0, ON_TTY, false},
    {TIOCOUTQ, IOA_OUT, 4, ON_TTY, false},
    {TIOCGWINSZ, IOA_OUT, WINSIZE_SIZE, ON_TTY, false},
    {TIOCSWINSZ, IOA_IN, WINSIZE_SIZE, ON_TTY, false},
    {FIONREAD, IOA_OUT, 4, ON_TTY | ON_STREAM, false},
    {FS_IOC_GETFLAGS, IOA_OUT, 4, ON_FILE, false},
    {FS_IOC_SETFLAGS, IOA_IN, 4, ON_FILE, false},
    {BLKGETSIZE64, IOA_OUT, 8, ON_BLOCK, false},
    {BLKSSZGET, IOA_OUT, 4, ON_BLOCK, false},
};

static const struct request *request_of(uint32_t nr)
{
  for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++)
    if (requests[i].nr == nr)
      return &requests[i];
  return 0;
}

static unsigned on_of(const struct hstate *s)
{
  switch (s->kind) {
  case K_TTY:
    return ON_TTY;
  case K_STREAM:
    return ON_STREAM;
  case K_BLK:
    return ON_BLOCK;
  case K_REG:
  case K_DIR:
    return ON_FILE;
  default:
    return 0;
  }
}

static long put_argument(struct req *q, const struct request *r, unsigned long arg)
{
  req_u64(q, r->kind);
  if (r->kind == IOA_IN)
    return req_data(q, (void *)arg, r->size);
  if (r->kind == IOA_INT)
    req_u64(q, arg);
  if (r->kind == IOA_OUT)
    req_u64(q, r->size);
  return 0;
}

static long get_argument(struct req *q, const struct request *r, unsigned long arg)
{
  uint32_t n;
  const void *data = get_blob(&q->r, &n, r->size);
  if (!data || n != r->size)
    return -EIO;
  return copy_out((void *)arg, data, n);
}

static long ask(struct call *c, struct rfile *f, const struct request *known)
{
  struct req q;
  req_start(&q, c->t, ROW(ioctl));
  req_handle(&q, f->h);
  req_u64(&q, known->nr);
  long r = put_argument(&q, known, c->a[2]);
  if (r < 0)
    return r;
  c->where = N_WAITED;
  r = req_call(&q, known->waits);
  if (r < 0 || known->kind != IOA_OUT)
    return r;
  long stored = get_argument(&q, known, c->a[2]);
  return stored < 0 ? stored : r;
}

/* The program's own wish; the slave's open file, which others may share, stays as it is. */
static long set_nonblock(struct call *c, struct rfile *f)
{
  int on;
  if (copy_in(&on, (void *)c->a[2], sizeof on))
    return -EFAULT;
  if (on)
    __atomic_fetch_or(&f->s->flags, O_NONBLOCK, __ATOMIC_ACQ_REL);
  else
    __atomic_fetch_and(&f->s->flags, ~(uint32_t)O_NONBLOCK, __ATOMIC_ACQ_REL);
  return 0;
}

/* How many bytes a read would still give. */
static long bytes_left(struct call *c, struct rfile *f)
{
  struct wire_attr a;
  long r = file_attr(c, f, &a), off = 0;
  if (r < 0)
    return r;
  if (f->s->offset_remote)
    off = file_call(c, ROW(lseek), f, (uint64_t[]){0, SEEK_CUR}, 2, false);
  else
    off = sys3(__NR_lseek, f->fd, 0, SEEK_CUR);
  int left = (int)(a.size - (uint64_t)off);
  return off < 0 ? off : copy_out((void *)c->a[2], &left, sizeof left);
}

static long remote_ioctl(struct call *c, struct rfile *f, uint32_t nr)
{
  if (f->s->flags & O_PATH)
    return -EBADF;
  c->where = N_MEMORY;
  if (nr == FIONBIO)
    return set_nonblock(c, f);
  if (nr == FIONREAD && f->s->kind == K_REG)
    return bytes_left(c, f);
  if (nr == FIONREAD && f->s->kind == K_NOTIFY)
    return notify_waiting(c, f);
  const struct request *known = request_of(nr);
  return known && known->on & on_of(f->s) ? ask(c, f, known) : -ENOTTY;
}

long a_ioctl(struct call *c)
{
  struct rfile f;
  uint32_t nr = (uint32_t)c->a[1];
  if (nr == TCGETS && vft_light(c->p, (int)c->a[0]) >= 0)
    return -ENOTTY;
  long r;
  if (nr == FIOCLEX || nr == FIONCLEX || !file_of(c, (int)c->a[0], &f))
    return net_ioctl(c, &r) ? r : pass(c);
  return remote_ioctl(c, &f, nr);
}
