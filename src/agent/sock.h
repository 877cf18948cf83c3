/* Sockets: what sock.c and unix.c share. */
#ifndef AGENT_SOCK_H
#define AGENT_SOCK_H

#include "agent/io.h"

#define AF_UNIX 1
#define SOL_SOCKET 1
#define SO_TYPE 3
#define SO_DOMAIN 39
#define ADDR_MAX 128 /* the kernel's struct sockaddr_storage */

/* An address of any family. */
struct addr {
  uint32_t len;
  uint8_t bytes[ADDR_MAX];
};
/* The program's; 0, -EINVAL, -EFAULT. */
long addr_in(struct addr *a, unsigned long user, unsigned long len);
/* To where the program wants it, with its length at `lenp', as the kernel does it. 0 or -errno. */
long addr_out(const struct addr *a, unsigned long user, unsigned long lenp);

/* An option of the socket here with an integer value, or -errno. */
long int_option(int fd, int level, int option);

/* unix.c */
/* Binds to a name in the file system that is the slave's. 1: it is not, `a' is what the kernel here is to bind to. */
long unix_bind(struct call *c, struct addr *a);
/* A name to connect or send to becomes what the kernel here knows it by. 0 or -errno. */
long unix_lead(struct call *c, int fd, struct addr *a);
/* A name of the kernel's becomes what the program knows it by. */
void unix_show(struct addr *a);

#endif
