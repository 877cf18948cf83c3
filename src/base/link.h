/* How fast a stream takes what is written to it, as far as can be seen from this end. */
#ifndef BASE_LINK_H
#define BASE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link {
  int fd;
  bool tcp;
  uint64_t rate;          /* bytes a second; 0: not known, or faster than anybody has tried */
  uint64_t looked;        /* now_ns() when the kernel was asked last (tcp) */
  uint64_t start, bytes;  /* else: of one measurement, its begin, what has been written since ... */
  uint64_t tried, waited; /* ... since when a write has been under way (0: none is), and how long others were */
};

void link_start(struct link *l, int fd);
/* A write begins, or goes on since there was no room for all; so many bytes have been taken. */
void link_write(struct link *l);
void link_wrote(struct link *l, size_t n);
uint64_t link_rate(struct link *l);

#endif
