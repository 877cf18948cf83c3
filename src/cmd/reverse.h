/* nexec -r: the programs are this machine's, what they look at is the other's. */
#ifndef CMD_REVERSE_H
#define CMD_REVERSE_H

#include <stddef.h>
#include <stdint.h>

/* Runs fmaster here on the stream to a slave, for a request as nexecd would get it; lines of --trace go to trace_fd.
   link: the TCP connection below the stream, or -1. The exit status. */
int reverse_run(int stream, int link, int trace_fd, const uint8_t *request, size_t n);

#endif
