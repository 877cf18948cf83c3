/*
 * Rules for network addresses: ADDRESS[/BITS][:PORT], where ADDRESS is IPv4, IPv6 in brackets, or * for any.
 *
 * Owns their text form. Must never ask a resolver: a name may mean something else tomorrow.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/rules.h"

/* A decimal number up to `max' at *at, which moves on; -1: there is none. */
static long number(const char **at, long max)
{
  char *end;
  if (**at < '0' || **at > '9')
    return -1;
  long v = strtol(*at, &end, 10);
  *at = end;
  return v <= max ? v : -1;
}

/* The address at *at, which moves on. */
static int take_address(struct net_rule *rule, const char **at)
{
  char text[64];
  bool six = **at == '[';
  size_t n = six ? strcspn(*at + 1, "]") : strcspn(*at, "/:");
  if (n >= sizeof text || (six && (*at)[n + 1] != ']'))
    return -EINVAL;
  memcpy(text, *at + six, n);
  text[n] = 0;
  *at += n + 2u * six;
  if (!strcmp(text, "*"))
    return 0;
  rule->family = six ? 6 : 4;
  rule->bits = six ? 128 : 32;
  return inet_pton(six ? AF_INET6 : AF_INET, text, rule->addr) == 1 ? 0 : -EINVAL;
}

static int take_rest(struct net_rule *rule, const char *at)
{
  long v = 0;
  if (*at == '/') {
    at++;
    v = number(&at, rule->bits);
    rule->bits = (uint8_t)v;
  }
  if (v >= 0 && *at == ':') {
    at++;
    v = number(&at, 65535);
    rule->port = (uint16_t)v;
  }
  return v < 0 || *at ? -EINVAL : 0;
}

/* b says more than a. */
static bool weaker(const struct net_rule *a, const struct net_rule *b)
{
  return a->bits != b->bits ? a->bits < b->bits : !a->port && b->port;
}

int rules_add_net(struct rules *r, enum where where, unsigned protocol, const char *text, size_t n)
{
  char copy[128];
  const char *at = copy;
  struct net_rule rule = {.where = (uint8_t)where, .protocol = (uint8_t)protocol};
  if (n >= sizeof copy)
    return -EINVAL;
  memcpy(copy, text, n);
  copy[n] = 0;
  int err = take_address(&rule, &at);
  if (!err)
    err = take_rest(&rule, at);
  if (err)
    return err;
  if (r->nnets == SESSION_NETS)
    return -ENOSPC;
  /* In front: of equal ones the last that was said counts. */
  memmove(r->nets + 1, r->nets, r->nnets++ * sizeof rule);
  r->nets[0] = rule;
  return 0;
}

void rules_sort_nets(struct rules *r)
{
  /* Stable, and they are few. */
  for (unsigned i = 1; i < r->nnets; i++)
    for (unsigned k = i; k && weaker(&r->nets[k - 1], &r->nets[k]); k--) {
      struct net_rule x = r->nets[k];
      r->nets[k] = r->nets[k - 1];
      r->nets[k - 1] = x;
    }
}
