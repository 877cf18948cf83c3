/*
 * What the master has of this machine's files from earlier sessions: those need not be sent.
 *
 * Owns the list. Must never take it for more than a hint: whatever is not sent on its account can be asked for.
 */
#include <stdlib.h>
#include <time.h>

#include "proto/state.h"
#include "slave/slave.h"

static uint32_t have[HAVE_MAX];
static unsigned n;
static bool told;

static int by_value(const void *a, const void *b)
{
  const uint32_t *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

bool have_take(const uint8_t *body, uint32_t len)
{
  struct rbuf r = {body, body + len, false};
  if (len % 4 || len / 4 > HAVE_MAX - n)
    return false;
  while (r.at < r.end)
    have[n++] = get_u32(&r);
  qsort(have, n, sizeof *have, by_value);
  told = true;
  return true;
}

bool have_wanted(void)
{
  return told;
}

bool have_it(const struct wire_attr *a)
{
  uint32_t key = state_hash(a);
  return n && state_old(a) && bsearch(&key, have, n, sizeof *have, by_value);
}

/* The file systems' clock goes in steps: two changes within one look alike. */
bool state_old(const struct wire_attr *a)
{
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return S_ISREG(a->mode) && a->ctime < now.tv_sec + clock_shift() - OLD_AFTER;
}
