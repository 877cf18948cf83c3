/*
 * F_PACKED: whole frames, compressed (zstd) as one block that needs no other. Who packs decides block by block whether
 * that is sooner there than the bytes as they are. Built without zstd nothing is ever packed, and HELLO says so.
 */
#ifndef PROTO_PACK_H
#define PROTO_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/codec.h"

#define PACK_MIN 512u      /* less than that is not tried */
#define PACK_MAX FRAME_MAX /* of what is packed, unpacked */

struct packer;
bool pack_able(void);
/* 0: no memory, or built without. */
struct packer *packer_new(void);
void packer_free(struct packer *p);
/* Would packing be worth its time on a stream of `rate' bytes a second (0: not known)? */
bool pack_pays(const struct packer *p, uint64_t rate);
/* What `n' bytes of whole frames (at most PACK_MAX) become on such a stream: a frame in `out', which has room for them
   and is shorter by a tenth at least. Its length, or 0: they go as they are. */
uint32_t pack(struct packer *p, uint64_t rate, const uint8_t *frames, uint32_t n, uint8_t *out);
/* The other way: body of an F_PACKED, to `out', room for PACK_MAX. The length of what was packed, or 0: it is
 * malformed. */
uint32_t unpack(struct packer *p, const uint8_t *body, uint32_t n, uint8_t *out);

#endif
