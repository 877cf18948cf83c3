/*
 * Packing and unpacking of frames, see pack.h.
 *
 * Owns the compressor's memory and what it knows of its own speed. Must never: give back more than there is room for,
 * whatever a block says of itself, or keep anything from one block to the next (two strangers' bytes must not be
 * measured against each other).
 */
#include <stdlib.h>
#include <time.h>
#include <zstd.h>

#include "proto/pack.h"

#define FIRST_SPEED (200u << 20) /* bytes a second, until it has been measured */
#define PAYS 2                   /* so much faster than the stream the compressor has to be */
#define PATIENT 16               /* ... and so much, that it may take its time */
#define SAMPLE 4096u             /* bytes by which one sees whether a block has been compressed before ... */
#define SAMPLES 16u              /* ... from so many places */
#define HEAD (sizeof(struct frame) + 4)

struct packer {
  ZSTD_CCtx *c;
  ZSTD_DCtx *d;
  uint64_t speed;
};

bool pack_able(void)
{
  return true;
}

struct packer *packer_new(void)
{
  struct packer *p = calloc(1, sizeof *p);
  if (!p)
    return 0;
  *p = (struct packer){ZSTD_createCCtx(), ZSTD_createDCtx(), FIRST_SPEED};
  if (p->c && p->d)
    return p;
  packer_free(p);
  return 0;
}

void packer_free(struct packer *p)
{
  if (!p)
    return;
  ZSTD_freeCCtx(p->c);
  ZSTD_freeDCtx(p->d);
  free(p);
}

bool pack_pays(const struct packer *p, uint64_t rate)
{
  return p && rate && rate < p->speed / PAYS;
}

/* Bytes that occur all alike often: noise, or what has been compressed already. */
static bool is_noise(const uint8_t *from, uint32_t n)
{
  uint32_t count[256] = {0}, piece = SAMPLE / SAMPLES, alike = 0;
  if (n < SAMPLE)
    return false;
  for (uint32_t i = 0; i < SAMPLES; i++)
    for (uint32_t k = 0; k < piece; k++)
      count[from[(uint64_t)(n - piece) * i / (SAMPLES - 1) + k]]++;
  for (unsigned i = 0; i < 256; i++)
    alike += count[i] * count[i];
  return alike < (SAMPLE * (SAMPLE / 256) + SAMPLE) / 8 * 9; /* that many, and an eighth, if all are equally likely */
}

/* The time that this thread has worked: that others were let run is not the compressor's slowness. */
static uint64_t worked_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void learn_speed(struct packer *p, uint32_t n, uint64_t ns)
{
  uint64_t speed = (uint64_t)n * 1000000000u / (ns + 1);
  if (n >= SAMPLE) /* less says more of the beginning than of the work */
    p->speed = (p->speed * 7 + speed) / 8;
}

uint32_t pack(struct packer *p, uint64_t rate, const uint8_t *frames, uint32_t n, uint8_t *out)
{
  uint32_t room = n - n / 10;
  if (!pack_pays(p, rate) || n < PACK_MIN || n > PACK_MAX || is_noise(frames, n))
    return 0;
  uint64_t start = worked_ns();
  int level = rate < p->speed / PATIENT ? 3 : 1;
  size_t made = ZSTD_compressCCtx(p->c, out + HEAD, room - HEAD, frames, n, level);
  learn_speed(p, n, worked_ns() - start);
  if (ZSTD_isError(made))
    return 0;
  struct frame f = {.len = (uint32_t)(HEAD + made), .type = F_PACKED};
  struct wbuf w = {out + sizeof f, out + HEAD, false};
  frame_put(out, &f);
  put_u32(&w, n);
  return f.len;
}

/* Only what pack() makes: one block of today's format that says how long it will be. */
uint32_t unpack(struct packer *p, const uint8_t *body, uint32_t n, uint8_t *out)
{
  struct rbuf r = {body, body + n, false};
  uint32_t want = get_u32(&r), magic = get_u32(&r);
  const uint8_t *block = body + 4;
  if (!p || r.bad || want < sizeof(struct frame) || want > PACK_MAX || magic != ZSTD_MAGICNUMBER ||
      ZSTD_getFrameContentSize(block, n - 4) != want || ZSTD_findFrameCompressedSize(block, n - 4) != n - 4)
    return 0;
  return ZSTD_decompressDCtx(p->d, out, want, block, n - 4) == want ? want : 0;
}
