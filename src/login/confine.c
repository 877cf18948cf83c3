/*
 * What a process that talks to strangers gives up.
 *
 * Owns the list of system calls that are left. Must never return true with anything of it undone.
 */
#include "login/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "login/keep.h"

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv)
#define THIS_ARCH AUDIT_ARCH_RISCV64
#else
#error "confine.c has to be told this machine's AUDIT_ARCH"
#endif

/* ---- the filter ---- */

static const int allowed[] = {
    SYS_read,       SYS_write,        SYS_readv,          SYS_writev,       SYS_sendto,        SYS_sendmsg,
    SYS_recvfrom,   SYS_recvmsg,      SYS_ppoll,          SYS_close,        SYS_shutdown,      SYS_exit,
    SYS_exit_group, SYS_brk,          SYS_munmap,         SYS_mremap,       SYS_madvise,       SYS_futex,
    SYS_getrandom,  SYS_gettimeofday, SYS_getpid,         SYS_rt_sigreturn, SYS_clock_gettime, SYS_restart_syscall,
    SYS_gettid,     SYS_sched_yield,  SYS_rt_sigprocmask,
#ifdef SYS_poll
    SYS_poll,
#endif
#ifdef SYS_time
    SYS_time,
#endif
};
#define NALLOWED (sizeof allowed / sizeof *allowed)

/* Calls that may be made if an argument, less the bits that do not matter, has this value. */
static const struct {
  int nr;
  unsigned arg;
  uint32_t mask, value;
} bounded[] = {
    {SYS_mmap, 2, PROT_EXEC, 0},
    {SYS_mprotect, 2, PROT_EXEC, 0},
    {SYS_prctl, 0, UINT32_MAX, PR_SET_PDEATHSIG},
};
#define NBOUNDED (sizeof bounded / sizeof *bounded)

#define LOAD(field) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (field))
#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))

/* The low half: no argument that is looked at has more. */
static uint32_t argument(unsigned n)
{
  uint32_t at = FIELD(args) + 8 * n;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  at += 4;
#endif
  return at;
}

static int install_filter(void)
{
  struct sock_filter f[8 + 2 * NALLOWED + 6 * NBOUNDED];
  unsigned short n = 0;
  const struct sock_filter yes = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const struct sock_filter no = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  f[n++] = LOAD(FIELD(arch));
  f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0);
  f[n++] = no;
  f[n++] = LOAD(FIELD(nr));
  for (unsigned i = 0; i < NALLOWED; i++) {
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
    f[n++] = yes;
  }
  for (unsigned i = 0; i < NBOUNDED; i++) {
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)bounded[i].nr, 0, 5);
    f[n++] = LOAD(argument(bounded[i].arg));
    f[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bounded[i].mask);
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, bounded[i].value, 0, 1);
    f[n++] = yes;
    f[n++] = no;
  }
  f[n++] = no;
  struct sock_fprog p = {n, f};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}

/* ---- descriptors ---- */

static bool is_kept(int fd, const int *kept, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    if (kept[i] == fd)
      return true;
  return false;
}

/* What is open is listed first: closing changes the list. */
bool confine_descriptors(const int *kept, unsigned n)
{
  int null = open("/dev/null", O_RDWR), *open_fds = 0;
  unsigned all = 0;
  DIR *dir = opendir("/proc/self/fd");
  for (struct dirent *e; dir && (e = readdir(dir));) {
    int fd = atoi(e->d_name), *more = realloc(open_fds, (all + 1) * sizeof *more);
    if (!more)
      break;
    open_fds = more;
    open_fds[all++] = fd;
  }
  bool good = null > 2 && dir && open_fds && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2;
  if (dir)
    closedir(dir);
  for (unsigned i = 0; i < all; i++)
    if (open_fds[i] > 2 && !is_kept(open_fds[i], kept, n))
      close(open_fds[i]);
  free(open_fds);
  return good;
}

/* ---- as root ---- */

static bool alone; /* there is no other user to become */

static bool become(uid_t uid, gid_t gid)
{
  return !setgroups(0, 0) && !setresgid(gid, gid, gid) && !setresuid(uid, uid, uid) && setuid(0);
}

bool confine_user(void)
{
  if (geteuid() || alone)
    return true;
  const struct passwd *pw = getpwnam(CONFINE_USER);
  return pw && pw->pw_uid && become(pw->pw_uid, pw->pw_gid);
}

static bool drop_root(void)
{
  if (geteuid() || alone)
    return true;
  const struct passwd *pw = getpwnam(CONFINE_USER);
  return pw && pw->pw_uid && !chroot(CONFINE_EMPTY) && !chdir("/") && become(pw->pw_uid, pw->pw_gid);
}

static bool can_drop(void)
{
  int how = 1;
  pid_t pid = fork();
  if (!pid)
    _exit(!drop_root());
  return pid > 0 && waitpid(pid, &how, 0) == pid && !how;
}

bool confine_prepare(void)
{
  struct stat st;
  if (geteuid())
    return true;
  int err = keep_directories(CONFINE_EMPTY "/");
  if (err) {
    log_line("%s: %s", CONFINE_EMPTY, strerror(-err));
    return false;
  }
  if (lstat(CONFINE_EMPTY, &st) || !S_ISDIR(st.st_mode) || st.st_uid || st.st_mode & 022) {
    log_line("%s has to be a directory that root alone can write", CONFINE_EMPTY);
    return false;
  }
  if (!getpwnam(CONFINE_USER)) {
    log_line("there is no user %s to talk to strangers as", CONFINE_USER);
    return false;
  }
  alone = !can_drop();
  if (alone)
    log_line("this root may not become %s: a filter of system calls is all that confines who talks to strangers",
             CONFINE_USER);
  return true;
}

static bool no_limit(int which, rlim_t most)
{
  struct rlimit r = {most, most};
  return !setrlimit(which, &r);
}

bool confine_self(void)
{
  if (!drop_root())
    return false;
  return no_limit(RLIMIT_CORE, 0) && no_limit(RLIMIT_FSIZE, 0) && !prctl(PR_SET_DUMPABLE, 0) &&
         !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !install_filter();
}
