/*
 * The trace: one readable line a call, sent to the hub, which brings it to the person.
 *
 * Owns the lines' form. Reads the program's memory only where the call's row says what lies there; never changes a
 * result and never fails a call.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/time_types.h>

#include "agent/call.h"

#define LINE_ROOM 1024
#define SHOWN_BYTES 32 /* of a buffer */
#define SHOWN_PATH 200
#define CLOCK_MONOTONIC_ID 1

/* Indexed by number; "" where there is none. */
static const char errno_names[][16] = {"",
                                       "EPERM",
                                       "ENOENT",
                                       "ESRCH",
                                       "EINTR",
                                       "EIO",
                                       "ENXIO",
                                       "E2BIG",
                                       "ENOEXEC",
                                       "EBADF",
                                       "ECHILD",
                                       "EAGAIN",
                                       "ENOMEM",
                                       "EACCES",
                                       "EFAULT",
                                       "ENOTBLK",
                                       "EBUSY",
                                       "EEXIST",
                                       "EXDEV",
                                       "ENODEV",
                                       "ENOTDIR",
                                       "EISDIR",
                                       "EINVAL",
                                       "ENFILE",
                                       "EMFILE",
                                       "ENOTTY",
                                       "ETXTBSY",
                                       "EFBIG",
                                       "ENOSPC",
                                       "ESPIPE",
                                       "EROFS",
                                       "EMLINK",
                                       "EPIPE",
                                       "EDOM",
                                       "ERANGE",
                                       "EDEADLK",
                                       "ENAMETOOLONG",
                                       "ENOLCK",
                                       "ENOSYS",
                                       "ENOTEMPTY",
                                       "ELOOP",
                                       "",
                                       "ENOMSG",
                                       "EIDRM",
                                       "ECHRNG",
                                       "EL2NSYNC",
                                       "EL3HLT",
                                       "EL3RST",
                                       "ELNRNG",
                                       "EUNATCH",
                                       "ENOCSI",
                                       "EL2HLT",
                                       "EBADE",
                                       "EBADR",
                                       "EXFULL",
                                       "ENOANO",
                                       "EBADRQC",
                                       "EBADSLT",
                                       "",
                                       "EBFONT",
                                       "ENOSTR",
                                       "ENODATA",
                                       "ETIME",
                                       "ENOSR",
                                       "ENONET",
                                       "ENOPKG",
                                       "EREMOTE",
                                       "ENOLINK",
                                       "EADV",
                                       "ESRMNT",
                                       "ECOMM",
                                       "EPROTO",
                                       "EMULTIHOP",
                                       "EDOTDOT",
                                       "EBADMSG",
                                       "EOVERFLOW",
                                       "ENOTUNIQ",
                                       "EBADFD",
                                       "EREMCHG",
                                       "ELIBACC",
                                       "ELIBBAD",
                                       "ELIBSCN",
                                       "ELIBMAX",
                                       "ELIBEXEC",
                                       "EILSEQ",
                                       "ERESTART",
                                       "ESTRPIPE",
                                       "EUSERS",
                                       "ENOTSOCK",
                                       "EDESTADDRREQ",
                                       "EMSGSIZE",
                                       "EPROTOTYPE",
                                       "ENOPROTOOPT",
                                       "EPROTONOSUPPORT",
                                       "ESOCKTNOSUPPORT",
                                       "EOPNOTSUPP",
                                       "EPFNOSUPPORT",
                                       "EAFNOSUPPORT",
                                       "EADDRINUSE",
                                       "EADDRNOTAVAIL",
                                       "ENETDOWN",
                                       "ENETUNREACH",
                                       "ENETRESET",
                                       "ECONNABORTED",
                                       "ECONNRESET",
                                       "ENOBUFS",
                                       "EISCONN",
                                       "ENOTCONN",
                                       "ESHUTDOWN",
                                       "ETOOMANYREFS",
                                       "ETIMEDOUT",
                                       "ECONNREFUSED",
                                       "EHOSTDOWN",
                                       "EHOSTUNREACH",
                                       "EALREADY",
                                       "EINPROGRESS",
                                       "ESTALE",
                                       "EUCLEAN",
                                       "ENOTNAM",
                                       "ENAVAIL",
                                       "EISNAM",
                                       "EREMOTEIO",
                                       "EDQUOT",
                                       "ENOMEDIUM",
                                       "EMEDIUMTYPE",
                                       "ECANCELED",
                                       "ENOKEY",
                                       "EKEYEXPIRED",
                                       "EKEYREVOKED",
                                       "EKEYREJECTED",
                                       "EOWNERDEAD",
                                       "ENOTRECOVERABLE",
                                       "ERFKILL",
                                       ""};

/* Calls that the wire never sees as they are, but that a reader of the trace wants to see whole. */
static const struct {
  int nr;
  const char *args;
} shown[] = {
    {__NR_newfstatat, "Axx"}, {__NR_openat, "AxI"},   {__NR_openat2, "Ax"},       {__NR_chdir, "P"},
    {__NR_fchdir, "I"},       {__NR_chroot, "P"},     {__NR_execve, "Pxx"},       {__NR_execveat, "Axx"},
    {__NR_utime, "Px"},       {__NR_utimes, "Px"},    {__NR_umask, "I"},          {__NR_getcwd, "xI"},
    {__NR_dup, "I"},          {__NR_dup2, "II"},      {__NR_dup3, "IIx"},         {__NR_readv, "IxI"},
    {__NR_writev, "IxI"},     {__NR_getdents, "IxI"}, {__NR_pipe2, "xx"},         {__NR_poll, "xII"},
    {__NR_mmap, "xIxxIx"},    {__NR_munmap, "xI"},    {__NR_mprotect, "xIx"},     {__NR_brk, "x"},
    {__NR_futex, "xIIx"},     {__NR_wait4, "Ixxx"},   {__NR_kill, "II"},          {__NR_clone, "xxxxx"},
    {__NR_socket, "III"},     {__NR_connect, "IxI"},  {__NR_rt_sigaction, "Ixx"}, {__NR_rt_sigprocmask, "Ixx"},
    {__NR_exit_group, "I"},
};

struct line {
  char *at, *end;
};

uint64_t trace_clock(void)
{
  struct __kernel_timespec ts;
  sys2(__NR_clock_gettime, CLOCK_MONOTONIC_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void put_char(struct line *l, char ch)
{
  if (l->at < l->end)
    *l->at++ = ch;
}

static void put_text(struct line *l, const char *s)
{
  while (*s)
    put_char(l, *s++);
}

static void put_number(struct line *l, const char *format, unsigned long v)
{
  char buf[32];
  if (*format == 'x')
    fmt(buf, sizeof buf, "0x%lx", v);
  else
    fmt(buf, sizeof buf, "%ld", (long)v);
  put_text(l, buf);
}

static void put_byte(struct line *l, unsigned char ch)
{
  static const char hex[] = "0123456789abcdef";
  if (ch == '\n') {
    put_text(l, "\\n");
  } else if (ch < 32 || ch > 126) {
    put_text(l, "\\x");
    put_char(l, hex[ch >> 4]);
    put_char(l, hex[ch & 15]);
  } else {
    if (ch == '"' || ch == '\\')
      put_char(l, '\\');
    put_char(l, (char)ch);
  }
}

static void put_quoted(struct line *l, const void *p, size_t n, bool more)
{
  put_char(l, '"');
  for (size_t i = 0; i < n; i++)
    put_byte(l, ((const unsigned char *)p)[i]);
  put_text(l, more ? "\"..." : "\"");
}

static void put_string(struct line *l, unsigned long user)
{
  char buf[SHOWN_PATH];
  long n = copy_str(buf, (const void *)user, sizeof buf);
  if (n == -ENAMETOOLONG)
    put_quoted(l, buf, sizeof buf, true);
  else if (n < 0)
    put_number(l, "x", user);
  else
    put_quoted(l, buf, (size_t)n, false);
}

static void put_buffer(struct line *l, unsigned long user, long n)
{
  char buf[SHOWN_BYTES];
  size_t shown_bytes = n > (long)sizeof buf ? sizeof buf : (size_t)n;
  if (n <= 0 || copy_in(buf, (const void *)user, shown_bytes))
    put_number(l, "x", user);
  else
    put_quoted(l, buf, shown_bytes, n > (long)sizeof buf);
}

static void put_dirfd(struct line *l, unsigned long fd)
{
  if ((int)fd == AT_FDCWD)
    put_text(l, "AT_FDCWD");
  else
    put_number(l, "d", (unsigned long)(long)(int)fd);
}

/* Small numbers and negative ones as such, others as what they probably are: bits. */
static void put_integer(struct line *l, unsigned long v)
{
  long s = (long)v, i = (int)v;
  if (v >> 32 == 0 && i < 0 && i > -4096)
    s = i;
  put_number(l, s > -4096 && s < 1000000 ? "d" : "x", (unsigned long)s);
}

/* One argument by its letter (syscalls.def; x: in hexadecimal); how many registers it took. */
static unsigned put_arg(struct line *l, char kind, const unsigned long *a, long result)
{
  switch (kind) {
  case 'A':
    put_dirfd(l, a[0]);
    put_text(l, ", ");
    put_string(l, a[1]);
    return 2;
  case 'P':
  case 'S':
    put_string(l, a[0]);
    return 1;
  case 'B':
  case 'O':
    put_buffer(l, a[0], kind == 'B' ? (long)a[1] : result);
    put_text(l, ", ");
    put_integer(l, a[1]);
    return 2;
  case 'H':
  case 'I':
    put_integer(l, a[0]);
    return 1;
  default:
    put_number(l, "x", a[0]);
    return 1;
  }
}

static const char *shown_args(const struct call *c)
{
  for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
    if (shown[i].nr == c->nr)
      return shown[i].args;
  return c->row->args ? c->row->args : "";
}

static void put_args(struct line *l, const struct call *c, long result)
{
  unsigned reg = 0;
  for (const char *k = shown_args(c); *k && reg < 6; k++) {
    if (reg)
      put_text(l, ", ");
    reg += put_arg(l, *k, c->a + reg, result);
  }
}

static void put_result(struct line *l, long r)
{
  put_text(l, ") = ");
  if (r >= 0 || r < -4095) {
    put_integer(l, (unsigned long)r);
    return;
  }
  put_number(l, "d", (unsigned long)r);
  put_char(l, ' ');
  if ((size_t)-r < sizeof errno_names / sizeof *errno_names)
    put_text(l, errno_names[-r]);
  else if (r == -ERESTART_CALL)
    put_text(l, "(to be restarted)");
}

static const char *where_name(int where)
{
  switch (where) {
  case N_LOCAL:
    return "local";
  case N_MEMORY:
    return "memory";
  case N_WAITED:
    return "remote";
  case N_POSTED:
    return "posted";
  default:
    return "refused";
  }
}

static void put_caller(struct line *l, const struct call *c)
{
  long pid = sys0(__NR_getpid);
  put_number(l, "d", (unsigned long)pid);
  if (pid != c->t->tid) {
    put_char(l, '/');
    put_number(l, "d", (unsigned long)c->t->tid);
  }
  put_char(l, ' ');
  if (c->row->name)
    put_text(l, c->row->name);
  else
    put_number(l, "d", (unsigned long)c->nr);
  put_char(l, '(');
}

static void put_end(struct line *l, const struct call *c)
{
  put_char(l, ' ');
  put_text(l, where_name(c->where));
  if (c->began) {
    put_char(l, ' ');
    put_number(l, "d", (trace_clock() - c->began) / 1000);
    put_text(l, "us");
  }
}

void trace_call(struct call *c, long result)
{
  char text[LINE_ROOM];
  struct line l = {text, text + sizeof text - 1};
  struct req q;
  put_caller(&l, c);
  put_args(&l, c, result);
  put_result(&l, result);
  put_end(&l, c);
  *l.at++ = '\n';
  req_start_op(&q, c->t, W_TRACE);
  put_raw(&q.w, text, (uint32_t)(l.at - text));
  req_post_uncounted(&q, -1);
}
