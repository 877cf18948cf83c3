/*
 * pack.h for machines without zstd: nothing is packed, and HELLO says that nothing can be unpacked.
 */
#include "proto/pack.h"

bool pack_able(void)
{
  return false;
}

struct packer *packer_new(void)
{
  return 0;
}

void packer_free(struct packer *p)
{
  (void)p;
}

bool pack_pays(const struct packer *p, uint64_t rate)
{
  return p && rate && false;
}

uint32_t pack(struct packer *p, uint64_t rate, const uint8_t *frames, uint32_t n, uint8_t *out)
{
  return p && rate && frames && n && out ? 0 : 0;
}

uint32_t unpack(struct packer *p, const uint8_t *body, uint32_t n, uint8_t *out)
{
  return p && body && n && out ? 0 : 0;
}
