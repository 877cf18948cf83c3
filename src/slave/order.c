/*
 * Structures that cross in the form of a kernel's: their integers, between this machine's byte order and the wire's.
 *
 * Owns nothing. Must never: touch anything where the two are the same.
 */
#include <ctype.h>
#include <stdlib.h>

#include "slave/slave.h"

static void swap(uint8_t *p, unsigned n)
{
  for (unsigned i = 0; i < n / 2; i++) {
    uint8_t b = p[i];
    p[i] = p[n - 1 - i];
    p[n - 1 - i] = b;
  }
}

static unsigned width(char letter)
{
  return letter == 'q' ? 8 : letter == 'w' ? 4 : letter == 'h' ? 2 : 1;
}

void wire_order(void *bytes, uint32_t n, const char *layout)
{
  uint8_t *p = bytes, *end = p + n;
  if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
    return;
  while (*layout) {
    char *letter = (char *)layout;
    unsigned long count = isdigit((unsigned char)*layout) ? strtoul(layout, &letter, 10) : 1;
    unsigned size = width(*letter);
    for (; count && (size_t)(end - p) >= size; count--, p += size)
      swap(p, size);
    layout = letter + 1;
  }
}
