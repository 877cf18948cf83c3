/*
 * exec: a real execve of the agent, which then maps the program itself (start.c). What the new agent must know travels
 * in a socket's queue (struct carry; a file's size could be limited, RLIMIT_FSIZE); argv stays the program's own, so
 * that /proc/PID/cmdline is right.
 *
 * Everything that can fail is done before: finding the file, permissions, #! lines, the interpreter.
 */
#include "agent/signal.h"
#include "agent/start.h"
#include "agent/sysnum.h"

#define LINE 256
#define AF_UNIX_K 1
#define SOCK_SEQPACKET_K 5
#define MSG_NOSIGNAL_K 0x4000
#define MAX_INTERPRETERS 5
#define PLAN_PAGES (4ul * 4096) /* real path, and words of #! lines: a path and 5 short lines */
#define S_ISUID 04000
#define S_ISGID 02000
#define S_IXGRP 00010

static void close_if(int *fd)
{
  if (*fd >= 0)
    sys1(SYS_close, *fd);
  *fd = -1;
}

void exec_plan_drop(struct exec_plan *plan)
{
  close_if(&plan->prog_fd);
  close_if(&plan->interp_fd);
  if (plan->page)
    pages_free(plan->page, PLAN_PAGES);
  plan->page = 0;
}

static const char set_id_why[] = "a set-id program; those cannot run in a session";

/* A set-id program would have to change identity, which a session does not do; one that may not change it, need not. */
static int set_id_check(const struct thread *t, int fd, const char **why)
{
  struct {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, rest[32];
  } st;
  if (t->no_new_privs || sys2(SYS_fstat, fd, &st))
    return 0;
  bool suid = (st.mode & S_ISUID) && st.uid != (uint32_t)sys0(SYS_geteuid) && sys0(SYS_geteuid) != 0;
  bool sgid = (st.mode & S_ISGID) && (st.mode & S_IXGRP) && st.gid != (uint32_t)sys0(SYS_getegid) && sys0(SYS_geteuid);
  if (!suid && !sgid)
    return 0;
  *why = set_id_why;
  return -EPERM;
}

static char *pooled(struct exec_plan *plan, const char *s, size_t n)
{
  char *at = plan->pool + plan->pool_used;
  memcpy(at, s, n);
  at[n] = 0;
  plan->pool_used += n + 1;
  return at;
}

static bool blank(char ch)
{
  return ch == ' ' || ch == '\t';
}

/* Puts one more word before the arguments. */
static void lead_push(struct exec_plan *plan, char *word)
{
  memmove(plan->lead + 1, plan->lead, plan->nlead++ * sizeof plan->lead[0]);
  plan->lead[0] = word;
}

/*
 * "#! interpreter [argument]" of the script `name': the words it puts before the program's arguments. The interpreter,
 * 0 if the line is none of that kind (*err 0), or a bad one.
 */
static char *script_line(char *line, long n, const char *name, struct exec_plan *plan, int *err)
{
  *err = 0;
  if (n < 2 || line[0] != '#' || line[1] != '!')
    return 0;
  line[n] = 0;
  char *end = strchr(line, '\n'), *p = line + 2, *word;
  *err = -ENOEXEC;
  if (end)
    *end = 0;
  while (blank(*p))
    p++;
  for (word = p; *p && !blank(*p);)
    p++;
  if (p == word || (!end && !*p && n == LINE - 1))
    return 0;
  size_t word_len = (size_t)(p - word);
  while (blank(*p))
    p++;
  size_t len = strlen(p);
  while (len && blank(p[len - 1]))
    len--;
  *err = 0;
  if (!plan->nlead)
    lead_push(plan, pooled(plan, name, strlen(name)));
  if (len)
    lead_push(plan, pooled(plan, p, len));
  lead_push(plan, pooled(plan, word, word_len));
  return plan->lead[0];
}

static int plan_elf(struct call *c, struct exec_plan *plan, const char **why)
{
  struct image im;
  int r = image_look(plan->prog_fd, &im, why);
  if (!r)
    r = set_id_check(c->t, plan->prog_fd, why);
  if (r || !im.interp[0])
    return r;
  r = route_open_exec(c, AT_FDCWD, im.interp, 0, 0);
  if (r < 0) {
    if (r == -ENOENT)
      *why = "its interpreter (the dynamic loader it names) does not exist";
    return r;
  }
  plan->interp_fd = r;
  struct image loader;
  r = image_look(plan->interp_fd, &loader, why);
  return r == -ENOEXEC ? -ELIBBAD : r;
}

static int plan_open(struct call *c, int dirfd, const char *path, int flags, struct exec_plan *plan)
{
  close_if(&plan->prog_fd);
  int fd = route_open_exec(c, dirfd, path, flags, plan->real);
  if (fd >= 0)
    plan->prog_fd = fd;
  return fd < 0 ? fd : 0;
}

static int plan_script(struct call *c, const char *name, struct exec_plan *plan, const char **why, int depth)
{
  char line[LINE + 1];
  int r;
  long n = sys4(SYS_pread64, plan->prog_fd, line, LINE - 1, 0);
  if (n < 0)
    return (int)n;
  char *interp = script_line(line, n, name, plan, &r);
  if (!interp)
    return r ? r : plan_elf(c, plan, why);
  if (depth == MAX_INTERPRETERS)
    return -ELOOP;
  r = plan_open(c, AT_FDCWD, interp, 0, plan);
  if (r == -ENOENT)
    *why = "the interpreter in its first line does not exist";
  return r ? r : plan_script(c, interp, plan, why, depth + 1);
}

/* How a script opened through a descriptor is named to its interpreter. */
static long plan_name(char *buf, int dirfd, const char *path, int flags)
{
  long n = copy_str(buf, path, 4096);
  if (n < 0)
    return n;
  if (n == 0 && (flags & AT_EMPTY_PATH))
    fmt(buf, 4096, "/dev/fd/%d", dirfd);
  else if (buf[0] != '/' && dirfd != AT_FDCWD) {
    char rest[4096];
    memcpy(rest, buf, (size_t)n + 1);
    fmt(buf, 4096, "/dev/fd/%d/%s", dirfd, rest);
  }
  return 0;
}

/* A script named through a descriptor that its interpreter will not have. */
static bool closes_before(int dirfd, const char *path, const char *name)
{
  char first = 0;
  copy_in(&first, path, 1);
  return first != '/' && !strncmp(name, "/dev/fd/", 8) && sys2(SYS_fcntl, dirfd, F_GETFD) == 1;
}

int exec_plan(struct call *c, int dirfd, const char *path, int flags, struct exec_plan *plan, const char **why)
{
  *why = 0;
  *plan = (struct exec_plan){.prog_fd = -1, .interp_fd = -1};
  plan->page = pages_new(PLAN_PAGES);
  if (!plan->page)
    return -ENOMEM;
  plan->real = plan->page, plan->pool = plan->page + 4096;
  char name[4096];
  long r = plan_name(name, dirfd, path, flags);
  if (!r)
    r = plan_open(c, dirfd, path, flags, plan);
  if (r == -EPERM) /* of the slave's; ours are looked at later */
    *why = set_id_why;
  if (!r)
    r = plan_script(c, name, plan, why, 0);
  if (!r && plan->nlead && closes_before(dirfd, path, name))
    r = -ENOENT;
  if (r)
    exec_plan_drop(plan);
  return (int)r;
}

/* ---- argument vectors ---- */
struct vector {
  unsigned long *v;
  size_t n, bytes; /* entries without the final 0; of the mapping */
};

static long vector_length(unsigned long user)
{
  unsigned long p;
  for (long n = 0; n < (1 << 20); n++) {
    if (copy_in(&p, (void *)(user + (unsigned long)n * 8), 8))
      return -EFAULT;
    if (!p)
      return n;
  }
  return -E2BIG;
}

/* `extra' places are left free at the front. */
static long vector_read(struct vector *v, unsigned long user, size_t extra)
{
  long n = user ? vector_length(user) : 0;
  if (n < 0)
    return n;
  v->n = extra + (size_t)n;
  v->bytes = ((v->n + 1) * 8 + 4095) & ~4095ul;
  v->v = pages_new(v->bytes);
  if (!v->v)
    return -ENOMEM;
  return n ? copy_in(v->v + extra, (void *)user, (size_t)n * 8) : 0;
}

/* The words of #! lines stand in for argv[0]. */
static long argv_read(struct vector *v, unsigned long user, struct exec_plan *plan)
{
  if (!plan->nlead)
    return vector_read(v, user, 0);
  long n = user ? vector_length(user) : 0;
  if (n < 0)
    return n;
  long r = vector_read(v, n ? user + 8 : 0, plan->nlead);
  for (unsigned i = 0; !r && i < plan->nlead; i++)
    v->v[i] = (unsigned long)plan->lead[i];
  return r;
}

/* ---- the step over ---- */
static long carry_send(const struct thread *t, const struct carry *k)
{
  const struct proc *p = t->proc;
  int pair[2];
  long r = sys4(SYS_socketpair, AF_UNIX_K, SOCK_SEQPACKET_K | O_CLOEXEC, 0, pair);
  if (r < 0)
    return r;
  r = sys6(SYS_sendto, pair[1], (long)k, sizeof *k, MSG_NOSIGNAL_K, 0, 0);
  if (r >= 0)
    r = filters_send(t->filters, pair[1]);
  if (r >= 0)
    r = sys3(SYS_dup3, pair[0], afd(p, AFD_CARRY), 0);
  sys1(SYS_close, pair[0]);
  sys1(SYS_close, pair[1]);
  return r < 0 ? r : 0;
}

static long carry_write(struct call *c, struct exec_plan *plan, const char *execfn)
{
  struct proc *p = c->p;
  struct carry *k = pages_new(sizeof *k);
  if (!k)
    return -ENOMEM;
  k->magic = SESSION_MAGIC, k->kind = CARRY_EXEC, k->afd_base = p->afd_base, k->ctx = p->ctx;
  k->umask = p->umask, k->rlim_cur = nofile_now(p), k->rlim_max = p->rlim_max, k->sigmask = c->t->sigmask;
  space_now(p);
  memcpy(k->space, p->space, sizeof k->space);
  k->nfilters = filters_count(c->t->filters);
  k->no_new_privs = c->t->no_new_privs;
  k->mode = c->t->told_mode;
  k->raw_ready = p->raw_ready;
  memcpy(k->raw, p->raw, sizeof k->raw);
  k->prog_fd = afd(p, AFD_SPARE), k->interp_fd = plan->interp_fd >= 0 ? afd(p, AFD_SPARE) + 1 : -1;
  memcpy(k->exe, plan->real, strlen(plan->real) + 1);
  memcpy(k->execfn, execfn, strlen(execfn) + 1);
  creds_carry(p, k);
  route_carry(p, k);
  long r = carry_send(c->t, k);
  pages_free(k, sizeof *k);
  return r;
}

static long hand_over(struct call *c, struct exec_plan *plan, const char *execfn)
{
  struct proc *p = c->p;
  long r = carry_write(c, plan, execfn);
  if (!r)
    r = sys3(SYS_dup3, plan->prog_fd, afd(p, AFD_SPARE), 0);
  if (r >= 0 && plan->interp_fd >= 0)
    r = sys3(SYS_dup3, plan->interp_fd, afd(p, AFD_SPARE) + 1, 0);
  if (r >= 0 && p->files_shared) { /* nothing of this is to stay with the others */
    close_if(&plan->prog_fd);
    close_if(&plan->interp_fd);
    files_unshare(p);
  }
  return r < 0 ? r : 0;
}

static void take_back(struct proc *p)
{
  for (int fd = afd(p, AFD_SPARE); fd <= afd(p, AFD_SPARE) + 1; fd++)
    sys1(SYS_close, fd);
  sys1(SYS_close, afd(p, AFD_CARRY));
  afd_fill(p);
}

/* Signals wait outside from here to the new program's start, so none is lost in between. */
static long step_over(struct call *c, struct exec_plan *plan, const char *execfn, unsigned long *argv,
                      unsigned long *envp)
{
  signals_block();
  long r = c->t->pending ? -ERESTART_CALL : hand_over(c, plan, execfn);
  if (!r) {
    map_flush_all(c->p);
    counters_flush(c->t);
    count(N_EXECS);
    call_thread_end(c->t);
    signal_exec(c->p->sig, true);
    r = sys5(SYS_execveat, afd(c->p, AFD_AGENT), "", argv, envp, AT_EMPTY_PATH);
    signal_exec(c->p->sig, false);
    take_back(c->p);
  }
  signals_restore(c->t);
  return r;
}

long exec_program(struct call *c, int dirfd, const char *path, unsigned long argv, unsigned long envp, int flags,
                  const char **why);
static void pages_note(struct thread *t, const struct exec_plan *plan, const struct vector *a, const struct vector *e)
{
  t->exec_pages[0].at = plan->page, t->exec_pages[0].bytes = PLAN_PAGES;
  t->exec_pages[1].at = a->v, t->exec_pages[1].bytes = a->bytes;
  t->exec_pages[2].at = e->v, t->exec_pages[2].bytes = e->bytes;
}

void exec_pages_drop(struct thread *t)
{
  for (int i = 0; i < 3; i++)
    if (t->exec_pages[i].at)
      pages_free(t->exec_pages[i].at, t->exec_pages[i].bytes);
  memset(t->exec_pages, 0, sizeof t->exec_pages);
}

static long exec_once(struct call *c, int dirfd, const char *path, unsigned long argv, unsigned long envp, int flags,
                      const char **why)
{
  struct exec_plan plan;
  struct vector a = {0}, e = {0};
  char execfn[4096];
  long r = exec_plan(c, dirfd, path, flags, &plan, why);
  if (r)
    return r;
  r = plan_name(execfn, dirfd, path, flags);
  if (!r)
    r = argv_read(&a, argv, &plan);
  if (!r)
    r = vector_read(&e, envp, 0);
  pages_note(c->t, &plan, &a, &e);
  if (!r)
    r = step_over(c, &plan, execfn, a.v, e.v);
  exec_pages_drop(c->t);
  plan.page = 0;
  exec_plan_drop(&plan);
  return r;
}

/* The kernel needs no descriptor to execute something: where the program has none left, the agent's idle ones serve. */
long exec_program(struct call *c, int dirfd, const char *path, unsigned long argv, unsigned long envp, int flags,
                  const char **why)
{
  long r = exec_once(c, dirfd, path, argv, envp, flags, why);
  if (r != -EMFILE || c->p->files_shared)
    return r;
  afd_yield(c->p, AFD_SPARE + 2);
  r = exec_once(c, dirfd, path, argv, envp, flags, why);
  afd_fill(c->p);
  return r;
}

long a_execve(struct call *c)
{
  const char *why;
  return exec_program(c, AT_FDCWD, (const char *)c->a[0], c->a[1], c->a[2], 0, &why);
}

long a_execveat(struct call *c)
{
  const char *why;
  struct exec_plan plan;
  char first;
  if (copy_in(&first, (void *)c->a[1], 1))
    return -EFAULT;
  if (!first && !(c->a[4] & AT_EMPTY_PATH))
    return -ENOENT;
  if (c->a[4] & ~(unsigned long)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_EXECVE_CHECK_FLAG))
    return -EINVAL;
  if (c->a[4] & AT_EXECVE_CHECK_FLAG) {
    long r = exec_plan(c, (int)c->a[0], (const char *)c->a[1], (int)c->a[4], &plan, &why);
    if (!r)
      exec_plan_drop(&plan);
    return r;
  }
  return exec_program(c, (int)c->a[0], (const char *)c->a[1], c->a[2], c->a[3], (int)c->a[4], &why);
}
