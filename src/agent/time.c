/*
 * Time. When it is the slave's, the program is handed no vDSO, and every wall clock is the master's plus an offset
 * measured when the session began; deadlines on the wall clock are shifted back before the kernel sees them.
 */
#include <elf.h>

#include "agent/start.h"
#include "agent/sysnum.h"

enum { CLOCK_REALTIME_K = 0, CLOCK_REALTIME_COARSE_K = 5, CLOCK_REALTIME_ALARM_K = 8, CLOCK_TAI_K = 11 };
#define TIMER_ABSTIME 1
#define NANO 1000000000l

struct timespec_k {
  int64_t sec, nsec;
};

static long (*vdso_clock_gettime)(long clock, struct timespec_k *ts);

/* The kernel's own fast clock, if it has one: symbols of the little library it maps into every process. */
void time_start(unsigned long vdso)
{
  const Elf64_Ehdr *e = (const Elf64_Ehdr *)vdso;
  const Elf64_Phdr *ph = vdso ? (const Elf64_Phdr *)(vdso + e->e_phoff) : 0;
  const Elf64_Dyn *dyn = 0;
  unsigned long bias = 0;
  for (int i = 0; vdso && i < e->e_phnum; i++) {
    if (ph[i].p_type == PT_LOAD)
      bias = vdso + ph[i].p_offset - ph[i].p_vaddr;
    if (ph[i].p_type == PT_DYNAMIC)
      dyn = (const Elf64_Dyn *)(vdso + ph[i].p_offset);
  }
  const char *str = 0;
  const Elf64_Sym *sym = 0;
  const uint32_t *hash = 0;
  for (; dyn && dyn->d_tag; dyn++) {
    unsigned long at = bias + dyn->d_un.d_ptr;
    if (dyn->d_tag == DT_STRTAB)
      str = (const char *)at;
    else if (dyn->d_tag == DT_SYMTAB)
      sym = (const Elf64_Sym *)at;
    else if (dyn->d_tag == DT_HASH)
      hash = (const uint32_t *)at;
  }
  for (uint32_t i = 0; str && sym && hash && i < hash[1]; i++)
    if (sym[i].st_shndx && !strcmp(str + sym[i].st_name, "__vdso_clock_gettime"))
      vdso_clock_gettime = (long (*)(long, struct timespec_k *))(bias + sym[i].st_value);
}

static int64_t offset(void)
{
  return session->flags & SF_TIME && mode_remote() ? session->facts.clock_offset : 0;
}

static bool wall(long clock)
{
  return clock == CLOCK_REALTIME_K || clock == CLOCK_REALTIME_COARSE_K || clock == CLOCK_TAI_K ||
         clock == CLOCK_REALTIME_ALARM_K;
}

static void shift(struct timespec_k *ts, int64_t by)
{
  int64_t nsec = ts->nsec + by % NANO;
  ts->sec += by / NANO + (nsec >= NANO) - (nsec < 0);
  ts->nsec = nsec + (nsec < 0 ? NANO : 0) - (nsec >= NANO ? NANO : 0);
}

/* Others would only make the vDSO ask the kernel. */
static bool in_vdso(long clock)
{
  return vdso_clock_gettime && clock >= 0 && clock < 12 && (0x8f3u >> clock & 1);
}

static long now(long clock, struct timespec_k *ts)
{
  struct thread *t = self();
  long r;
  if (in_vdso(clock)) {
    t->in_vdso = 1;
    r = vdso_clock_gettime(clock, ts);
    t->in_vdso = 0;
  } else {
    r = sys2(SYS_clock_gettime, clock, ts);
  }
  if (!r && wall(clock))
    shift(ts, offset());
  return r;
}

long a_clock_gettime(struct call *c)
{
  struct timespec_k ts;
  long r = now((int)c->a[0], &ts);
  return r ? r : copy_out((void *)c->a[1], &ts, sizeof ts) ? -EFAULT : 0;
}

long a_gettimeofday(struct call *c)
{
  struct timespec_k ts;
  int32_t zone[2] = {0, 0};
  now(CLOCK_REALTIME_K, &ts);
  int64_t tv[2] = {ts.sec, ts.nsec / 1000};
  if (c->a[0] && copy_out((void *)c->a[0], tv, sizeof tv))
    return -EFAULT;
  return c->a[1] && copy_out((void *)c->a[1], zone, sizeof zone) ? -EFAULT : 0;
}

long a_time(struct call *c)
{
  struct timespec_k ts;
  now(CLOCK_REALTIME_K, &ts);
  return c->a[0] && copy_out((void *)c->a[0], &ts.sec, 8) ? -EFAULT : ts.sec;
}

/* The program's absolute deadline as the master's clock will show it. 0: pointer as it was. */
static int deadline(struct timespec_k *ts, unsigned long user)
{
  if (copy_in(ts, (void *)user, sizeof *ts))
    return -EFAULT;
  shift(ts, -offset());
  return 0;
}

long a_clock_nanosleep(struct call *c)
{
  struct timespec_k ts;
  if (!offset() || !wall((int)c->a[0]) || !(c->a[1] & TIMER_ABSTIME))
    return pass(c);
  if (deadline(&ts, c->a[2]))
    return -EFAULT;
  return cp_call(c->t, c->nr, (long)c->a[0], (long)c->a[1], (long)&ts, 0, 0, 0);
}

long a_futex(struct call *c)
{
  struct timespec_k ts;
  int op = (int)c->a[1], command = op & FUTEX_CMD_MASK;
  bool absolute = command == FUTEX_WAIT_BITSET || command == FUTEX_LOCK_PI || command == FUTEX_WAIT_REQUEUE_PI ||
                  command == FUTEX_LOCK_PI2;
  bool realtime = (op & FUTEX_CLOCK_REALTIME) || command == FUTEX_LOCK_PI;
  if (!offset() || !absolute || !realtime || !c->a[3])
    return pass(c);
  if (deadline(&ts, c->a[3]))
    return -EFAULT;
  return cp_call(c->t, c->nr, (long)c->a[0], op, (long)c->a[2], (long)&ts, (long)c->a[4], (long)c->a[5]);
}

struct itimerspec_k {
  struct timespec_k interval, value;
};

/* timerfd_settime and timer_settime: absolute expiry on the wall clock. The timer's clock is not in the arguments; an
   absolute value that is far from every other clock (seconds since 1970) can only be the wall's. */
static long settime(struct call *c)
{
  struct itimerspec_k it;
  if (!offset() || !(c->a[1] & TIMER_ABSTIME))
    return pass(c);
  if (copy_in(&it, (void *)c->a[2], sizeof it))
    return -EFAULT;
  if (it.value.sec > 1000000000)
    shift(&it.value, -offset());
  return sys4(c->nr, c->a[0], c->a[1], &it, c->a[3]);
}

long a_timerfd_settime(struct call *c)
{
  return settime(c);
}

long a_timer_settime(struct call *c)
{
  return settime(c);
}
