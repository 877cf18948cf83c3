/* Finding what was installed together, and addresses as people write them. */
#ifndef CMD_NEAR_H
#define CMD_NEAR_H

#include <stdbool.h>
#include <stddef.h>

#define NEXEC_PORT "57005"

/* The sibling executable: beside this one, in ../libexec/fsyscall, or in PATH; malloc'd, 0 if there is none. */
char *near_find(const char *name);
/* The options of a session's connection. */
void near_socket(int sock);
/* "HOST", "HOST:PORT", "[HOST]:PORT", or an IPv6 address alone. False if it is none of these or too long. */
bool near_split(const char *text, char *host, size_t host_size, char *port, size_t port_size);

#endif
