/*
 * The codec: what is written is read again, for the request of every row that travels; whatever is cut short or too
 * long is refused.
 */
#include <string.h>

#include "proto/codec.h"
#include "proto/table.h"
#include "unit.h"

static uint8_t buf[FRAME_MAX];

static struct wbuf writer(void)
{
  return (struct wbuf){buf, buf + sizeof buf, false};
}

static void put_field(struct wbuf *w, char letter, unsigned kind)
{
  switch (letter) {
  case 'A':
  case 'P':
    put_u64(w, 7);
    put_blob(w, "some/path", 9);
    break;
  case 'S':
    put_blob(w, "user.name", 9);
    break;
  case 'B':
    put_blob(w, "data\0data", 9);
    break;
  case 'M':
    for (unsigned i = 0; i < 5; i++)
      put_u64(w, i);
    break;
  case 'U':
  case 'L':
    put_u64(w, kind);
    if (kind == IOA_INT || kind == IOA_OUT)
      put_u64(w, 4);
    else if (kind != IOA_NONE)
      put_blob(w, "argument", 8);
    break;
  case 'X':
  case 'F':
    break;
  default:
    put_u64(w, UINT64_MAX - 1);
  }
}

static void check_row(const struct row *row, unsigned kind)
{
  struct wbuf w = writer();
  for (const char *p = row->args; *p; p++)
    put_field(&w, *p, kind);
  uint32_t n = (uint32_t)(w.at - buf);
  assert_false(w.bad);
  assert_int_equal(body_check(row->args, buf, n), 0);
  for (uint32_t i = 0; i < n; i++)
    assert_int_equal(body_check(row->args, buf, i), -71);
  buf[n] = 0;
  assert_int_equal(body_check(row->args, buf, n + 1), -71);
}

static void every_row(void **state)
{
  (void)state;
  for (unsigned wire = 1; wire < WIRE_MAX; wire++) {
    const struct row *row = row_of_wire(wire);
    for (unsigned kind = IOA_NONE; row && kind <= IOA_INOUT; kind++)
      check_row(row, kind);
  }
}

static void unknown_kind(void **state)
{
  (void)state;
  struct wbuf w = writer();
  put_u64(&w, IOA_INOUT + 1);
  assert_int_equal(body_check("U", buf, 8), -71);
  assert_int_equal(body_check("?", buf, 8), -71);
}

static void integers(void **state)
{
  (void)state;
  struct wbuf w = writer();
  put_u16(&w, 0x1234);
  put_u32(&w, 0x12345678);
  put_u64(&w, 0x123456789abcdef0);
  assert_memory_equal(buf, "\x34\x12\x78\x56\x34\x12\xf0\xde\xbc\x9a\x78\x56\x34\x12", 14);
  struct rbuf r = {buf, buf + 14, false};
  assert_int_equal(get_u16(&r), 0x1234);
  assert_int_equal(get_u32(&r), 0x12345678);
  assert_true(get_u64(&r) == 0x123456789abcdef0);
  assert_false(r.bad);
  assert_int_equal(get_u16(&r), 0);
  assert_true(r.bad);
}

static void no_room(void **state)
{
  (void)state;
  struct wbuf w = {buf, buf + 10, false};
  put_blob(&w, "0123456", 7);
  assert_true(w.bad);
  put_u16(&w, 1);
  assert_true(w.bad);
}

static void strings(void **state)
{
  (void)state;
  char s[8];
  struct wbuf w = writer();
  put_blob(&w, "1234567", 7);
  struct rbuf r = {buf, w.at, false};
  assert_true(get_str(&r, s, sizeof s));
  assert_string_equal(s, "1234567");
  r = (struct rbuf){buf, w.at, false};
  assert_false(get_str(&r, s, 7));
  assert_true(r.bad);
  buf[5] = 0;
  r = (struct rbuf){buf, w.at, false};
  assert_false(get_str(&r, s, sizeof s));
}

static void structures(void **state)
{
  (void)state;
  struct wire_attr a, b;
  struct wire_statfs s, t;
  memset(&a, 0x5a, sizeof a);
  a.mtime = -1;
  memset(&s, 0xa5, sizeof s);
  struct wbuf w = writer();
  put_attr(&w, &a);
  put_statfs(&w, &s);
  struct rbuf r = {buf, w.at, false};
  get_attr(&r, &b);
  get_statfs(&r, &t);
  assert_false(r.bad);
  assert_memory_equal(&a, &b, sizeof a);
  assert_memory_equal(&s, &t, sizeof s);
}

static void facts(void **state)
{
  (void)state;
  const uint8_t *v;
  uint32_t n;
  struct wbuf w = writer();
  put_fact_ints(&w, FACT_IDS, (uint64_t[]){1, 2, 3}, 3);
  put_fact(&w, 999, "?", 1);
  put_fact(&w, FACT_CWD, "/", 1);
  for (const uint8_t *end = buf; end <= w.at; end++) {
    struct rbuf r = {buf, end, false};
    unsigned seen = 0;
    while (get_fact(&r, &v, &n))
      seen++;
    assert_true(end == w.at ? seen == 3 && !r.bad : seen < 3);
  }
  struct rbuf r = {buf, w.at, false};
  assert_int_equal(get_fact(&r, &v, &n), FACT_IDS);
  assert_int_equal(fact_int(v, n, 2), 3);
  assert_int_equal(fact_int(v, n, 3), 0);
  assert_int_equal(get_fact(&r, &v, &n), 999);
  assert_int_equal(get_fact(&r, &v, &n), FACT_CWD);
  assert_int_equal(n, 1);
}

static void headers(void **state)
{
  (void)state;
  struct frame a = {.len = FRAME_MAX,
                    .type = F_REPLY,
                    .flags = FF_EOF,
                    .op = 63,
                    .tag = 0x01020304,
                    .ctx = 9,
                    .seq = 1ull << 40,
                    .ack = 77,
                    .result = -2};
  struct frame b;
  frame_put(buf, &a);
  assert_true(frame_get(&b, buf));
  assert_memory_equal(&a, &b, sizeof a);
  const uint32_t lengths[] = {0, 39, FRAME_MAX + 1, UINT32_MAX};
  for (unsigned i = 0; i < 4; i++) {
    a.len = lengths[i];
    frame_put(buf, &a);
    assert_false(frame_get(&b, buf));
  }
  a.len = 40;
  for (unsigned type = 0; type < 256; type++) {
    a.type = (uint8_t)type;
    frame_put(buf, &a);
    assert_int_equal(frame_get(&b, buf), type >= F_HELLO && type <= F_LAST);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row), cmocka_unit_test(unknown_kind), cmocka_unit_test(integers),
      cmocka_unit_test(no_room),   cmocka_unit_test(strings),      cmocka_unit_test(structures),
      cmocka_unit_test(facts),     cmocka_unit_test(headers),
  };
  return cmocka_run_group_tests(tests, 0, 0);
}
