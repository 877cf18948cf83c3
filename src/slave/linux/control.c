/*
 * ioctl and fcntl: what may be asked of the slave's descriptors, as data. What is not listed is refused.
 *
 * Owns nothing. Must never: let a program put input into a terminal (TIOCSTI, TIOCLINUX), or change who owns one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <linux/fs.h>

#include "slave/slave.h"

enum ioctl_how {
  DRAINS = 1, /* what was written before comes first; may block */
  REFUSED = 2,
  LISTS = 4, /* interfaces */
};
struct ioctl_row {
  uint32_t request; /* the wire's, x86-64's; the kernel's here differs where the number holds the size of a long */
  uint32_t native;
  uint16_t kind; /* enum ioctl_arg */
  uint16_t size; /* of its buffer */
  uint16_t how;
  const char *layout; /* of its integers */
};

#define TERMIOS 36
#define TERMIOS2 44
#define TERMIOS_WORDS "4w"
#define TERMIOS2_WORDS "4w20b2w"
#define IFREQ 40 /* of x86-64 */
#define IFCONF_MAX 16384
#define NAME_SHORT "16bh" /* a name, then flags or an address */
#define NAME_WORD "16bw"
/* Where the libcs do not name them. */
#define R_TCGETS2 0x802c542a
#define R_TCSETS2 0x402c542b
#define R_TCSETSW2 0x402c542c
#define R_TCSETSF2 0x402c542d
#define W_GETFLAGS 0x80086601
#define W_SETFLAGS 0x40086602
#define W_BLKGETSIZE64 0x80081272
#define SAME(request) (request), (request)

static const struct ioctl_row ioctls[] = {
    {SAME(TCGETS), IOA_OUT, TERMIOS, 0, TERMIOS_WORDS},
    {SAME(TCSETS), IOA_IN, TERMIOS, 0, TERMIOS_WORDS},
    {SAME(TCSETSW), IOA_IN, TERMIOS, DRAINS, TERMIOS_WORDS},
    {SAME(TCSETSF), IOA_IN, TERMIOS, DRAINS, TERMIOS_WORDS},
    {SAME(R_TCGETS2), IOA_OUT, TERMIOS2, 0, TERMIOS2_WORDS},
    {SAME(R_TCSETS2), IOA_IN, TERMIOS2, 0, TERMIOS2_WORDS},
    {SAME(R_TCSETSW2), IOA_IN, TERMIOS2, DRAINS, TERMIOS2_WORDS},
    {SAME(R_TCSETSF2), IOA_IN, TERMIOS2, DRAINS, TERMIOS2_WORDS},
    {SAME(TIOCGWINSZ), IOA_OUT, sizeof(struct winsize), 0, "4h"},
    {SAME(TIOCSWINSZ), IOA_IN, sizeof(struct winsize), 0, "4h"},
    {SAME(TIOCGPGRP), IOA_OUT, 4, 0, "w"},
    {SAME(TIOCGSID), IOA_OUT, 4, 0, "w"},
    {SAME(TIOCOUTQ), IOA_OUT, 4, 0, "w"},
    {SAME(FIONREAD), IOA_OUT, 4, 0, "w"},
    {SAME(TCFLSH), IOA_INT, 0, 0, ""},
    {SAME(TCXONC), IOA_INT, 0, 0, ""},
    {SAME(TCSBRK), IOA_INT, 0, DRAINS, ""},
    {SAME(TCSBRKP), IOA_INT, 0, DRAINS, ""},
    {W_GETFLAGS, FS_IOC_GETFLAGS, IOA_OUT, 8, 0, "w"},
    {W_SETFLAGS, FS_IOC_SETFLAGS, IOA_IN, 8, 0, "w"},
    {W_BLKGETSIZE64, BLKGETSIZE64, IOA_OUT, 8, 0, "q"},
    {SAME(BLKSSZGET), IOA_OUT, 4, 0, "w"},
    {SAME(SIOCGIFCONF), IOA_OUT, IFCONF_MAX, LISTS, NAME_SHORT},
    {SAME(SIOCGIFNAME), IOA_INOUT, IFREQ, 0, NAME_WORD},
    {SAME(SIOCGIFFLAGS), IOA_INOUT, IFREQ, 0, NAME_SHORT},
    {SAME(SIOCGIFADDR), IOA_INOUT, IFREQ, 0, NAME_SHORT},
    {SAME(SIOCGIFDSTADDR), IOA_INOUT, IFREQ, 0, NAME_SHORT},
    {SAME(SIOCGIFBRDADDR), IOA_INOUT, IFREQ, 0, NAME_SHORT},
    {SAME(SIOCGIFNETMASK), IOA_INOUT, IFREQ, 0, NAME_SHORT},
    {SAME(SIOCGIFMETRIC), IOA_INOUT, IFREQ, 0, NAME_WORD},
    {SAME(SIOCGIFMTU), IOA_INOUT, IFREQ, 0, NAME_WORD},
    {SAME(SIOCGIFHWADDR), IOA_INOUT, IFREQ, 0, NAME_SHORT},
    {SAME(SIOCGIFINDEX), IOA_INOUT, IFREQ, 0, NAME_WORD},
    {SAME(SIOCGIFTXQLEN), IOA_INOUT, IFREQ, 0, NAME_WORD},
    {SAME(TIOCSTI), 0, 0, REFUSED, ""},
    {SAME(TIOCLINUX), 0, 0, REFUSED, ""},
};

static const struct ioctl_row *find_ioctl(uint32_t request)
{
  for (unsigned i = 0; i < sizeof ioctls / sizeof *ioctls; i++)
    if (ioctls[i].request == request)
      return &ioctls[i];
  return 0;
}

/* The flags of an inode are a long to ioctl's number and an int to the file systems; four bytes do. */
static bool fits(const struct ioctl_row *row, const struct call *c)
{
  if (row->kind != c->kind)
    return false;
  bool in = row->kind == IOA_IN || row->kind == IOA_INOUT;
  return !in || c->blob_len >= row->size || (row->request == W_SETFLAGS && c->blob_len >= 4);
}

static long run_ioctl(struct call *c, const struct ioctl_row *row)
{
  _Alignas(8) uint8_t arg[64] = {0};
  int fd = c->h[0]->fd;
  if (row->kind == IOA_INT)
    return ioctl(fd, (int)row->native, (long)c->value) < 0 ? -errno : 0;
  if (row->kind == IOA_IN || row->kind == IOA_INOUT)
    memcpy(arg, c->blob, c->blob_len < row->size ? c->blob_len : row->size);
  wire_order(arg, row->size, row->layout);
  long r = ioctl(fd, (int)row->native, arg);
  if (r < 0)
    return -errno;
  wire_order(arg, row->size, row->layout);
  if (row->kind == IOA_OUT)
    put_blob(&c->out, arg, c->value < row->size ? (uint32_t)c->value : row->size);
  else if (row->kind == IOA_INOUT)
    put_blob(&c->out, arg, row->size);
  else
    put_u32(&c->out, 0);
  return r;
}

/* Each as long as the wire has it, whatever it is here. */
static long list_interfaces(struct call *c)
{
  _Alignas(8) uint8_t list[IFCONF_MAX];
  struct ifconf conf = {.ifc_len = IFCONF_MAX / IFREQ * (int)sizeof(struct ifreq), .ifc_buf = (char *)list};
  static const size_t step = sizeof(struct ifreq), part = sizeof(struct ifreq) < IFREQ ? sizeof(struct ifreq) : IFREQ;
  uint8_t out[IFCONF_MAX] = {0};
  if (ioctl(c->h[0]->fd, SIOCGIFCONF, &conf) < 0)
    return -errno;
  uint32_t n = (uint32_t)conf.ifc_len / sizeof(struct ifreq), room = (uint32_t)(c->value / IFREQ);
  n = n < room ? n : room;
  for (uint32_t i = 0; i < n; i++) {
    memcpy(out + i * IFREQ, list + i * step, part);
    wire_order(out + i * IFREQ, IFREQ, NAME_SHORT);
  }
  put_blob(&c->out, out, n * IFREQ);
  return 0;
}

int64_t do_ioctl(struct call *c)
{
  const struct ioctl_row *row = find_ioctl((uint32_t)c->a[1]);
  if (!row)
    return -ENOTTY;
  if (row->how & REFUSED)
    return -EPERM;
  if (!fits(row, c))
    return -EINVAL;
  if (row->how & DRAINS) {
    if (!c->worker)
      return CALL_DEFER;
    int err = stream_drain(c->h[0]);
    if (err)
      return err;
  }
  return row->how & LISTS ? list_interfaces(c) : run_ioctl(c, row);
}

/* ---- fcntl ---- */

/* The wire's; a machine of 32 bits has other numbers for those with large offsets. */
enum { WIRE_GETLK = 5, WIRE_SETLK, WIRE_SETLKW };

#define MAY_SET (O_APPEND | O_NONBLOCK | O_NOATIME)

static long set_flags(struct handle *h, uint64_t flags)
{
  int now = fcntl(h->fd, F_GETFL);
  if (now < 0)
    return -errno;
  return fcntl(h->fd, F_SETFL, (now & ~MAY_SET) | ((int)flags_from_wire(flags) & MAY_SET)) ? -errno : 0;
}

/* A record lock: in and out, five integers. */
static long run_lock(struct call *c, int cmd)
{
  int64_t lk[5];
  if (c->kind != IOA_INOUT || c->blob_len != sizeof lk)
    return -EINVAL;
  struct rbuf r = {c->blob, c->blob + c->blob_len, false};
  for (unsigned i = 0; i < 5; i++)
    lk[i] = (int64_t)get_u64(&r);
  long result = lock_call(c->f.ctx, c->h[0], cmd, c->worker, lk);
  if (result < 0)
    return result;
  put_u32(&c->out, sizeof lk);
  for (unsigned i = 0; i < 5; i++)
    put_u64(&c->out, (uint64_t)lk[i]);
  return result;
}

int64_t do_fcntl(struct call *c)
{
  int cmd = (int)c->a[1];
  long r;
  switch (cmd) {
  case F_GETFL:
    r = fcntl(c->h[0]->fd, F_GETFL);
    return r < 0 ? -errno : (int64_t)flags_to_wire((uint64_t)r);
  case F_SETFL:
    return set_flags(c->h[0], c->value);
  case F_GETPIPE_SZ:
  case F_SETPIPE_SZ:
  case F_CREATED_QUERY_CMD:
    r = fcntl(c->h[0]->fd, cmd, (int)c->value);
    return r < 0 ? -errno : r;
  case WIRE_GETLK:
    return run_lock(c, F_GETLK);
  case WIRE_SETLK:
    return run_lock(c, F_SETLK);
  case WIRE_SETLKW:
    return run_lock(c, F_SETLKW);
  case F_OFD_GETLK:
  case F_OFD_SETLK:
  case F_OFD_SETLKW:
    return run_lock(c, cmd);
  default:
    return -EINVAL;
  }
}
