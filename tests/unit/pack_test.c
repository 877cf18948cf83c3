/*
 * Packed frames: what is packed comes back, what would not be shorter is left, and whatever else is called a block is
 * refused.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/pack.h"
#include "unit.h"

#define SLOW 1000u /* bytes a second */
#define HEAD sizeof(struct frame)

static uint8_t in[PACK_MAX], out[PACK_MAX + 1], back[PACK_MAX + 1];
static struct packer *p;

static int begin(void **state)
{
  (void)state;
  p = packer_new();
  return 0;
}

static int end(void **state)
{
  (void)state;
  packer_free(p);
  return 0;
}

static void need_zstd(void)
{
  if (!pack_able())
    skip();
  assert_non_null(p);
}

static void text(uint32_t n)
{
  for (uint32_t i = 0; i < n; i++)
    in[i] = (uint8_t) "a row of words that come again "[(i + i / 100 % 7) % 31];
}

static void noise(uint32_t n)
{
  srandom(7);
  for (uint32_t i = 0; i < n; i++)
    in[i] = (uint8_t)(random() >> 8);
}

/* The body of the frame that is in `out'. */
static uint32_t body_len(uint32_t len)
{
  struct frame f;
  assert_true(frame_get(&f, out));
  assert_int_equal(f.len, len);
  assert_int_equal(f.type, F_PACKED);
  assert_int_equal(f.seq | f.ack | (uint64_t)f.result | f.tag | f.ctx | f.op | f.flags, 0);
  return len - (uint32_t)HEAD;
}

static void comes_back(void **state)
{
  (void)state;
  need_zstd();
  const uint32_t sizes[] = {PACK_MIN, 1000, 4096, 65536, FRAME_DATA_MAX, PACK_MAX};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    text(sizes[i]);
    uint32_t len = pack(p, SLOW, in, sizes[i], out);
    assert_true(len && len <= sizes[i] - sizes[i] / 10);
    memset(back, 0xa5, sizeof back);
    assert_int_equal(unpack(p, out + HEAD, body_len(len), back), sizes[i]);
    assert_memory_equal(back, in, sizes[i]);
    assert_int_equal(back[sizes[i]], 0xa5);
  }
}

static void left_as_it_is(void **state)
{
  (void)state;
  need_zstd();
  text(PACK_MAX);
  assert_int_equal(pack(p, SLOW, in, PACK_MIN - 1, out), 0);
  assert_int_equal(pack(p, SLOW, in, PACK_MAX + 1, out), 0);
  assert_int_equal(pack(p, 0, in, PACK_MAX, out), 0);            /* nobody knows that it is slow */
  assert_int_equal(pack(p, 100ull << 30, in, PACK_MAX, out), 0); /* faster than any compressor */
  noise(PACK_MAX);
  const uint32_t sizes[] = {PACK_MIN, 5000, 65536, PACK_MAX};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
    assert_int_equal(pack(p, SLOW, in, sizes[i], out), 0);
}

static uint32_t packed_text(uint32_t n)
{
  text(n);
  return body_len(pack(p, SLOW, in, n, out));
}

static void cut_short(void **state)
{
  (void)state;
  need_zstd();
  uint32_t n = packed_text(3000);
  for (uint32_t i = 0; i < n; i++) {
    uint8_t *exact = malloc(i ? i : 1); /* reading behind the end would be seen */
    memcpy(exact, out + HEAD, i);
    assert_int_equal(unpack(p, exact, i, back), 0);
    free(exact);
  }
  out[HEAD + n] = 0;
  assert_int_equal(unpack(p, out + HEAD, n + 1, back), 0);
}

/* It may become something else, never longer than it says, and what is behind stays what it was. */
static void every_bit_wrong(void **state)
{
  (void)state;
  need_zstd();
  uint32_t n = packed_text(3000);
  for (uint32_t bit = 0; bit < 8 * n; bit++) {
    out[HEAD + bit / 8] ^= (uint8_t)(1u << bit % 8);
    memset(back, 0xa5, sizeof back);
    uint32_t got = unpack(p, out + HEAD, n, back);
    assert_true(got <= PACK_MAX);
    assert_int_equal(back[PACK_MAX], 0xa5);
    assert_true(!got || got == 3000);
    out[HEAD + bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
}

static void wrong_lengths(void **state)
{
  (void)state;
  need_zstd();
  uint32_t n = packed_text(3000);
  const uint32_t says[] = {0, 1, 39, 2999, 3001, PACK_MAX, PACK_MAX + 1, UINT32_MAX};
  for (unsigned i = 0; i < sizeof says / sizeof *says; i++) {
    struct wbuf w = {out + HEAD, out + HEAD + 4, false};
    put_u32(&w, says[i]);
    assert_int_equal(unpack(p, out + HEAD, n, back), 0);
  }
}

/* Two blocks, one that may be skipped, formats of old: valid zstd, and not what pack() makes. */
static void other_formats(void **state)
{
  (void)state;
  need_zstd();
  uint32_t n = packed_text(3000);
  memcpy(out + HEAD + n, out + HEAD + 4, n - 4);
  assert_int_equal(unpack(p, out + HEAD, 2 * n - 4, back), 0);
  struct wbuf skippable = {out + HEAD + n, out + HEAD + n + 8, false};
  put_u32(&skippable, 0x184d2a50u);
  put_u32(&skippable, 0);
  assert_int_equal(unpack(p, out + HEAD, n + 8, back), 0);
  const uint32_t magics[] = {0x184d2a50u, 0xfd2fb525u, 0xfd2fb526u, 0xfd2fb527u, 0xfd2fb522u, 0x1eb52ffdu};
  for (unsigned i = 0; i < sizeof magics / sizeof *magics; i++) {
    struct wbuf w = {out + HEAD + 4, out + HEAD + 8, false};
    put_u32(&w, magics[i]);
    assert_int_equal(unpack(p, out + HEAD, n, back), 0);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(comes_back, begin, end),
      cmocka_unit_test_setup_teardown(left_as_it_is, begin, end),
      cmocka_unit_test_setup_teardown(cut_short, begin, end),
      cmocka_unit_test_setup_teardown(every_bit_wrong, begin, end),
      cmocka_unit_test_setup_teardown(wrong_lengths, begin, end),
      cmocka_unit_test_setup_teardown(other_formats, begin, end),
  };
  return cmocka_run_group_tests(tests, 0, 0);
}
