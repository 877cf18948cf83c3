/* The list of rules that says where a path leads: longest prefix wins. */
#ifndef HUB_RULES_H
#define HUB_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/session.h"

struct rules {
  unsigned n;
  struct rule rule[SESSION_RULES];
  /* of sockets */
  unsigned nunix, nnets;
  struct rule unixes[SESSION_UNIX];
  struct net_rule nets[SESSION_NETS];
};

/* One rule; an equal prefix is replaced. 0, -ENAMETOOLONG, -EINVAL (not an absolute path) or -ENOSPC. */
int rules_add(struct rules *r, enum where where, const char *prefix, size_t len);
/*
 * The text of a profile: "WHERE PREFIX" a line, # begins a comment. WHERE: local, remote, deny, or programs, which is
 * remote if `programs_here' and else local. 0, or the number of the first wrong line.
 */
int rules_read(struct rules *r, const char *text, size_t n, bool programs_here);
/* "PATH=WHERE", as --map has it; of sockets "unix:PATH=WHERE" and "tcp:ADDRESS[/BITS][:PORT]=WHERE" (udp: as well). 0 or
   -EINVAL, -ENAMETOOLONG, -ENOSPC. */
int rules_map(struct rules *r, const char *map);
/* netrules.c: what stands between tcp: or udp: (the protocol's number) and the =. */
int rules_add_net(struct rules *r, enum where where, unsigned protocol, const char *text, size_t n);
void rules_sort_nets(struct rules *r);
/* Longest first; done before the rules are shown to anyone. */
void rules_sort(struct rules *r);
/* Where an absolute path without . and .. leads; remote if no rule says. */
enum where rules_where(const struct rules *r, const char *path);
const char *where_name(enum where w);

/* The profiles that are built in. */
extern const char profile_forward[], profile_forward_end[], profile_reverse[], profile_reverse_end[];

#endif
