/* Sockets: what sock.c (what comes) and do_sock.c (calls) share. */
#ifndef SLAVE_SOCK_H
#define SLAVE_SOCK_H

#include <sys/socket.h>

#include "slave/slave.h"

void addr_to_wire(struct wire_dgram *to, const struct sockaddr_storage *a, socklen_t n);
/* Its length, 0: it is none. */
socklen_t addr_from_wire(struct sockaddr_storage *to, const uint8_t *p, uint32_t n);

/* Takes fd over as a socket of the session; bound: as the one behind that file. 0; -errno: fd is still the caller's. */
int sock_add(uint64_t num, int fd, int type, const struct stat *bound);
/* Of a connection that was under way: 0 or errno; EALREADY, EINPROGRESS: it still is. */
int sock_connect_result(int fd);
/* It has been connected, or will be. */
void sock_connecting(struct handle *h, bool now);
void sock_listening(struct handle *h, uint32_t backlog);
void sock_credit(struct handle *h, uint64_t n);
/* The connection of that token, no longer waiting; -1: there is none. */
int sock_take_waiting(struct handle *h, uint64_t token);

#endif
