/* Sockets of the slave: what net.c (states and bytes) and netopt.c (options, interfaces) share. */
#ifndef AGENT_NET_H
#define AGENT_NET_H

#include "agent/sock.h"

#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define SOCK_STREAM 1
#define SOCK_RAW 3
#define SOL_TCP 6

static inline bool datagrams(const struct nsock *n)
{
  return n->s->type != SOCK_STREAM;
}

static inline uint32_t place(const struct nsock *n)
{
  return __atomic_load_n(&n->s->place, __ATOMIC_ACQUIRE);
}

/* What is to be told once: 0 or -errno. */
static inline long error_taken(struct nsock *n)
{
  return __atomic_load_n(&n->s->error, __ATOMIC_ACQUIRE) ? -__atomic_exchange_n(&n->s->error, 0, __ATOMIC_ACQ_REL) : 0;
}

static inline void ask_start(struct call *c, struct req *q, const struct nsock *n, enum wire_op op)
{
  req_start_op(q, c->t, op);
  req_handle(q, n->h);
  c->where = N_WAITED;
}

/* A socket that the slave could not make is told as what it could not be made for. */
static inline long said(struct nsock *n, long r)
{
  long late = r == -EBADF ? error_taken(n) : 0;
  return late ? late : r;
}

#endif
