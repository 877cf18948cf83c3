/*
 * The agent's beginning, after every exec: find the session through inherited descriptors, become able to catch calls,
 * map the program, give it the stack it expects, and go there.
 *
 * The first agent of a session is started by fmaster; it installs the filter and then executes the command like any
 * other program would.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

struct session *session;

struct start {
  unsigned long *sp; /* argc, as the kernel left it */
  unsigned long argc, *argv, *envp;
  Elf64_auxv_t *auxv;
  struct carry *carry;
  struct thread *t;
};

long exec_program(struct call *c, int dirfd, const char *path, unsigned long argv, unsigned long envp, int flags,
                  const char **why);

/* ---- the filter: whatever is not called from the agent's own text traps ---- */
static void filter_install(void)
{
  uint32_t low = (uint32_t)(unsigned long)agent_text_end, high = (uint32_t)(AGENT_BASE >> 32);
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, low, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  struct sock_fprog prog = {sizeof code / sizeof code[0], code};
  sys5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  long r = sys3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
  if (r)
    r = sys5(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
  if (r)
    fatal("the kernel refuses a system call filter (seccomp error %ld); a kernel with seccomp is needed", -r);
}

/* ---- what was inherited ---- */
static int number(const char *s)
{
  int n = 0;
  while (*s >= '0' && *s <= '9')
    n = n * 10 + (*s++ - '0');
  return n;
}

static void stack_read(struct start *s, unsigned long *sp)
{
  s->sp = sp;
  s->argc = sp[0];
  s->argv = sp + 1;
  s->envp = s->argv + s->argc + 1;
  unsigned long *p = s->envp;
  while (*p)
    p++;
  s->auxv = (Elf64_auxv_t *)(p + 1);
}

static Elf64_auxv_t *aux(struct start *s, unsigned long type)
{
  for (Elf64_auxv_t *a = s->auxv; a->a_type != AT_NULL; a++)
    if (a->a_type == type)
      return a;
  return 0;
}

/* The kernel names what was executed by its descriptor: /dev/fd/N, and N is the agent's own place among its numbers. */
static int afd_base_find(struct start *s)
{
  static const char prefix[] = "/dev/fd/";
  Elf64_auxv_t *name = aux(s, AT_EXECFN);
  const char *file = name ? (const char *)name->a_un.a_val : "";
  if (strncmp(file, prefix, sizeof prefix - 1))
    fatal("the agent is not a program to start by hand");
  return number(file + sizeof prefix - 1) - AFD_AGENT;
}

static void aux_set(struct start *s, unsigned long type, unsigned long value)
{
  Elf64_auxv_t *a = aux(s, type);
  if (a)
    a->a_un.a_val = value;
}

static void session_map(int fd)
{
  long p = arena_map(SESSION_HEAD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p < 0 && p > -4096)
    fatal("cannot map the session's memory (error %ld)", -p);
  session = (struct session *)p;
  if (session->magic != SESSION_MAGIC)
    fatal("the session's memory is not of this version");
}

static struct carry *carry_read(int fd)
{
  struct carry *k = pages_new(sizeof *k);
  long n = k ? sys4(SYS_pread64, fd, k, sizeof *k, 0) : -ENOMEM;
  if (n == -ESPIPE)
    n = sys3(SYS_read, fd, k, sizeof *k);
  if (n != sizeof *k || k->magic != SESSION_MAGIC)
    fatal("cannot read what the last program left for this one");
  return k;
}

/* lock() needs a thread; until there is one, none is taken. */
static struct proc *proc_first(const struct carry *k)
{
  static struct proc p;
  static struct sigtab sig = {.refs = 1};
  static char cwd_path[4096], exe[4096];
  p = (struct proc){.ctx = k->ctx, .refs = 1, .umask = k->umask, .afd_base = k->afd_base, .sig = &sig};
  p.pid = (int)sys0(SYS_getpid);
  p.cwd.v = p.mapped.v = H_NONE;
  p.cwd_fd = -1;
  p.cwd_path = cwd_path;
  p.exe = exe;
  p.rlim_cur = k->rlim_cur, p.rlim_max = k->rlim_max;
  memset(p.space, 0xff, sizeof p.space); /* unlimited, until space_start() knows */
  memcpy(exe, k->exe, sizeof exe);
  return &p;
}

static void process_start(struct start *s)
{
  struct proc *p = proc_first(s->carry);
  struct thread *t = s->t = thread_new(p);
  t->mode = t->told_mode = (uint8_t)s->carry->mode;
  p->raw_ready = s->carry->raw_ready;
  memcpy(p->raw, s->carry->raw, sizeof p->raw);
  if (!t)
    fatal("no memory for the first thread");
  thread_here(t);
  if (!(p->vft = vft_new()))
    fatal("no memory for the table of open files");
  signal_start(t, p->sig);
  Elf64_auxv_t *vdso = aux(s, AT_SYSINFO_EHDR);
  time_start(vdso ? vdso->a_un.a_val : 0);
  t->sigmask = s->carry->sigmask;
  space_start(p, s->carry);
  creds_start(p, s->carry);
  route_start(p, s->carry);
}

/* ---- the program ---- */
static unsigned long program_map(struct start *s)
{
  struct carry *k = s->carry;
  struct image prog, interp = {0};
  const char *why;
  int r = image_look(k->prog_fd, &prog, &why);
  if (!r)
    r = image_map(k->prog_fd, &prog, true);
  if (!r && k->interp_fd >= 0)
    r = image_map(k->interp_fd, &interp, false);
  if (r)
    fatal("%s: cannot be mapped (error %d)", k->exe, -r);
  sys1(SYS_close, k->prog_fd);
  sys1(SYS_close, k->interp_fd);
  afd_fill(s->t->proc);
  aux_set(s, AT_PHDR, prog.phdr);
  aux_set(s, AT_PHNUM, prog.phnum);
  aux_set(s, AT_PHENT, sizeof(Elf64_Phdr));
  aux_set(s, AT_BASE, interp.base);
  aux_set(s, AT_ENTRY, prog.entry);
  if (prog.exec_stack)
    sys3(SYS_mprotect, (unsigned long)s->sp & ~4095ul, 4096, PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN);
  return k->interp_fd >= 0 ? interp.entry : prog.entry;
}

static void aux_identity(struct start *s)
{
  if (standalone())
    return;
  const struct ids *f = &s->t->proc->ids;
  aux_set(s, AT_UID, f->ruid);
  aux_set(s, AT_EUID, f->euid);
  aux_set(s, AT_GID, f->rgid);
  aux_set(s, AT_EGID, f->egid);
  Elf64_auxv_t *vdso = aux(s, AT_SYSINFO_EHDR);
  if (vdso && (session->flags & SF_TIME))
    vdso->a_type = AT_IGNORE;
}

static void names_set(struct start *s)
{
  static char execfn[4096];
  memcpy(execfn, s->carry->execfn, sizeof execfn);
  aux_set(s, AT_EXECFN, (unsigned long)execfn);
  char *slash = strrchr(execfn, '/');
  sys2(SYS_prctl, PR_SET_NAME, slash ? slash + 1 : execfn);
}

static void program_enter(struct start *s) __attribute__((noreturn));
static void program_enter(struct start *s)
{
  static struct regs regs;
  struct thread *t = s->t;
  unsigned long entry = program_map(s);
  aux_identity(s);
  names_set(s);
  pages_free(s->carry, sizeof *s->carry);
  regs = (struct regs){.rip = entry, .rsp = (uint64_t)s->sp};
  t->regs = &regs;
  signals_restore(t);
  leave();
}

/* ---- the session's command ---- */
static const char *env_get(struct start *s, const char *name)
{
  size_t n = strlen(name);
  for (unsigned long *e = s->envp; *e; e++)
    if (!strncmp((char *)*e, name, n) && ((char *)*e)[n] == '=')
      return (char *)*e + n + 1;
  return 0;
}

static long command_try(struct start *s, const char *path, const char **why)
{
  struct regs none = {0};
  struct call c = {.t = s->t, .p = s->t->proc, .row = &syscall_rows[SYS_execve], .nr = SYS_execve, .regs = &none};
  return exec_program(&c, AT_FDCWD, path, (unsigned long)s->argv, (unsigned long)s->envp, 0, why);
}

static long command_search(struct start *s, const char *name, const char **why)
{
  const char *path = env_get(s, "PATH");
  char file[4096];
  long worst = -ENOENT;
  for (path = path ? path : "/usr/local/bin:/usr/bin:/bin"; *path; path += *path == ':') {
    size_t n = 0;
    while (path[n] && path[n] != ':')
      n++;
    if (n + strlen(name) + 2 < sizeof file) {
      memcpy(file, path, n);
      fmt(file + n, sizeof file - n, "%s%s", n ? "/" : "", name);
      long r = command_try(s, file, why);
      if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
        return r;
      worst = r == -EACCES ? r : worst;
    }
    path += n;
  }
  return worst;
}

static const char *reason(long r)
{
  switch (-r) {
  case ENOENT:
    return "no such command";
  case EACCES:
    return "permission denied";
  case ENOEXEC:
    return "not a program that can be executed";
  case E2BIG:
    return "the arguments are too long";
  case ENOTDIR:
    return "not a directory on the way to it";
  case EISDIR:
    return "a directory";
  case ELOOP:
    return "too many symbolic links or interpreters";
  case ENAMETOOLONG:
    return "the name is too long";
  case ELIBBAD:
    return "its interpreter is not a program";
  default:
    return "cannot be executed";
  }
}

/* 127 and 126 as a shell has them. */
static void command_start(struct start *s) __attribute__((noreturn));
static void command_start(struct start *s)
{
  const char *name = s->carry->execfn, *why = 0;
  char line[4600];
  sys5(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0); /* fmaster's, which finds us by our name from here on */
  filter_install();
  call_bind(s->t->proc);
  count(N_PROCESSES);
  long r = strchr(name, '/') ? command_try(s, name, &why) : command_search(s, name, &why);
  int n = fmt(line, sizeof line, "nexec: %s: %s (errno %ld)\n", name, why ? why : reason(r), -r);
  as_program(s->t, SYS_write, 2, (unsigned long)line, (unsigned long)n);
  sys1(SYS_exit_group, r == -ENOENT && !why ? 127 : 126);
  __builtin_unreachable();
}

void agent_start(unsigned long *sp) __attribute__((noreturn));
void agent_start(unsigned long *sp)
{
  static struct start s;
  stack_read(&s, sp);
  int base = afd_base_find(&s);
  space_image();
  session_map(base + AFD_SESSION);
  s.carry = carry_read(base + AFD_CARRY);
  process_start(&s);
  filters_receive(s.t, base + AFD_CARRY, s.carry->nfilters);
  s.t->no_new_privs = s.carry->no_new_privs;
  sys1(SYS_close, base + AFD_CARRY);
  if (s.carry->kind == CARRY_FIRST)
    command_start(&s);
  call_publish(s.t->proc);
  program_enter(&s);
}
