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

struct msg_k {
  uint64_t name, namelen, iov, iovlen, control, controllen, flags;
};

/* net.c: sockets of the slave */
struct nsock {
  int fd;
  struct handle h;
  struct sock_state *s;
};
bool net_of(struct call *c, int fd, struct nsock *n);
long net_bind(struct call *c, struct nsock *n);
long net_connect(struct call *c, struct nsock *n);
long net_listen(struct call *c, struct nsock *n);
/* A connection's descriptor, -errno; `from': whose it is. */
long net_accept(struct call *c, struct nsock *n, int flags, struct addr *from);
long net_shutdown(struct call *c, struct nsock *n);
long net_name(struct call *c, struct nsock *n, bool peer, struct addr *a);
long net_getsockopt(struct call *c, struct nsock *n);
long net_setsockopt(struct call *c, struct nsock *n);
/* ioctl, if that is one of such a socket and no affair of the pair's. */
bool net_ioctl(struct call *c, long *r);
/* One message; to and from memory of the program, but for the message and its name, which are the agent's. */
long net_send(struct call *c, struct nsock *n, const struct msg_k *m, const struct addr *to, int flags);
long net_receive(struct call *c, struct nsock *n, struct msg_k *m, struct addr *from, int flags);

/* One more of the slave, with a descriptor of its own and no address: that, or -errno. */
long net_make(struct call *c, long domain, long type, long protocol, int flags, struct handle *h);
void net_option(struct call *c, struct handle h, uint64_t level, uint64_t option, const void *value, uint32_t n);

/* place.c */
bool net_ruled(void); /* rules say where network sockets go: they are the kernel's here until net_settle() */
/* A socket of the kernel here is about to be bound, connected, listened on (0) or sent from. 1: it has become one of the
   slave; 0; -errno. */
long net_settle(struct call *c, int fd, const struct addr *a);
/* What is said of the unix socket at that absolute path; false: the rules of paths count. */
bool unix_rule(const char *path, enum where *w);

/* unix.c */
/* Binds to a name in the file system that is the slave's. 1: it is not, `a' is what the kernel here is to bind to. */
long unix_bind(struct call *c, struct addr *a);
/* A name to connect or send to becomes what the kernel here knows it by. 0 or -errno; UNIX_JOINED: the socket has been
   connected to it already. */
#define UNIX_JOINED 1
long unix_lead(struct call *c, int fd, struct addr *a);
/* Others on the slave may connect from now on, if it is bound to a name there. */
void unix_listening(struct call *c, int fd);
/* A name of the kernel's becomes what the program knows it by. */
void unix_show(struct addr *a);

#endif
