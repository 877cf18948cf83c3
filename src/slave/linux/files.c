/*
 * Files and directories, beyond POSIX: listing, reading and writing without waiting, what devices are, who writes.
 *
 * Owns nothing. Must never wait.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <linux/fs.h>

#include "proto/codec.h"
#include "slave/system.h"

#define LITTLE_ENDIAN_HERE (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#define EXECVE_CHECK 0x10000 /* AT_EXECVE_CHECK */

/* ---- records that the kernel makes ---- */

/* struct linux_dirent64: inode[8] offset[8] length[2] type[1] name */
static void list_to_wire(uint8_t *p, long n)
{
  uint64_t ino, offset;
  uint16_t length;
  for (uint8_t *end = p + n; !LITTLE_ENDIAN_HERE && p < end; p += length) {
    struct wbuf w = {p, end, false};
    memcpy(&ino, p, 8), memcpy(&offset, p + 8, 8), memcpy(&length, p + 16, 2);
    put_u64(&w, ino), put_u64(&w, offset), put_u16(&w, length);
  }
}

long list_read(int dirfd, uint8_t *to, uint32_t n)
{
  long r = syscall(SYS_getdents64, dirfd, to, n);
  if (r > 0)
    list_to_wire(to, r);
  return r < 0 ? -errno : r;
}

/* struct inotify_event: four words, the last of them the length of the name behind them. */
void events_to_wire(uint8_t *p, long n)
{
  uint32_t word[4];
  for (uint8_t *end = p + n; !LITTLE_ENDIAN_HERE && p < end; p += sizeof word + word[3]) {
    struct wbuf w = {p, end, false};
    memcpy(word, p, sizeof word);
    for (unsigned i = 0; i < 4; i++)
      put_u32(&w, word[i]);
  }
}

/* ---- without waiting ---- */

/* The kernel takes an offset as two words, of which the second counts only where a word has 32 bits. */
#define OFFSET_WORDS(offset) (long)(offset), (long)((offset) >> 32)

long read_nowait(int fd, void *to, uint32_t n, uint64_t offset)
{
  struct iovec v = {to, n};
  long r = syscall(SYS_preadv2, fd, &v, 1, OFFSET_WORDS(offset), RWF_NOWAIT);
  return r < 0 ? -errno : r;
}

long write_nowait(int fd, const void *from, uint32_t n)
{
  struct iovec v = {(void *)from, n};
  long r = syscall(SYS_pwritev2, fd, &v, 1, -1L, -1L, RWF_NOWAIT);
  return r < 0 ? -errno : r;
}

/* ---- what they are ---- */

/* Terminals: tty0 to ttyS, /dev/tty and console, Unix98 slaves. */
uint32_t device_kind(dev_t device)
{
  unsigned n = major(device);
  if (device == makedev(1, 3))
    return K_NULL;
  return n == 4 || n == 5 || (n >= 136 && n < 144) ? K_TTY : K_CHR;
}

bool without_acl(int fd)
{
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return getxattr(path, "system.posix_acl_access", 0, 0) < 0 && (errno == ENODATA || errno == EOPNOTSUPP);
}

/* Since Linux 6.14; EINVAL before. */
bool being_written(int fd)
{
  char *const argv[] = {"", NULL}, *const envp[] = {NULL};
  return syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH | EXECVE_CHECK) && errno == ETXTBSY;
}
