/*
 * The table against the kernel's headers, as the compiler here finds them, and against itself.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/table.h"
#include "unit.h"

static void every_kernel_number(void **state)
{
  (void)state;
  FILE *p = popen("echo '#include <asm/unistd.h>' | cc -E -dM -", "r");
  char line[256], name[128];
  int nr, seen = 0;
  assert_non_null(p);
  while (fgets(line, sizeof line, p)) {
    if (sscanf(line, "#define __NR_%127s %d", name, &nr) != 2)
      continue;
    assert_in_range(nr, 0, SYSCALL_MAX - 1);
    if (!syscall_rows[nr].name)
      fail_msg("%s (%d) has no row", name, nr);
    assert_string_equal(syscall_rows[nr].name, name);
    seen++;
  }
  pclose(p);
  assert_true(seen > 300);
}

/* Linux numbers its calls without gaps, but for the range that x32 and the common numbering have left free. */
static void no_gaps(void **state)
{
  (void)state;
  int last = SYSCALL_MAX;
  while (!syscall_rows[--last].name)
    ;
  assert_true(last >= 471); /* rseq_slice_yield, the newest when this was written */
  for (int nr = 0; nr <= last; nr++)
    if (!syscall_rows[nr].name != (nr > 336 && nr < 424))
      fail_msg("number %d: a row too few or too many", nr);
}

/* What is refused has a reason for people, and the errno of a kernel that lacks it. */
static void refusals_have_reasons(void **state)
{
  (void)state;
  for (int nr = 0; nr < SYSCALL_MAX; nr++) {
    const struct row *r = &syscall_rows[nr];
    if (r->name && r->level == LEVEL_NONE)
      assert_true((r->refuse == EPERM || r->refuse == ENOSYS) && *r->note);
    if (r->name && r->level == LEVEL_PART)
      assert_true(!r->refuse && *r->note);
  }
}

static void wire_numbers(void **state)
{
  (void)state;
  unsigned sent = 0;
  for (int nr = 0; nr < SYSCALL_MAX; nr++) {
    const struct row *r = &syscall_rows[nr];
    if (!r->wire)
      continue;
    assert_in_range(r->wire, 1, WIRE_MAX - 1);
    assert_ptr_equal(row_of_wire(r->wire), r);
    assert_int_equal(row_nr(r), nr);
    sent++;
  }
  assert_true(sent >= 49);
  assert_null(row_of_wire(0));
  assert_null(row_of_wire(WIRE_MAX));
  assert_null(row_of_wire(UINT32_MAX));
}

static void args_are_known(void **state)
{
  (void)state;
  for (int nr = 0; nr < SYSCALL_MAX; nr++) {
    const struct row *r = &syscall_rows[nr];
    unsigned regs = 0;
    if (!r->name)
      continue;
    for (const char *p = r->args; *p; p++) {
      assert_non_null(strchr("HIAPSBOUXFML", *p));
      regs += *p == 'A' || *p == 'B' || *p == 'O' ? 2 : 1;
    }
    assert_true(regs <= 6);
    assert_true(!r->wire || r->level != LEVEL_NONE);
  }
}

static void spellings_lead_to_rows(void **state)
{
  (void)state;
  for (int nr = 0; nr < SYSCALL_MAX; nr++) {
    const struct row *r = &syscall_rows[nr];
    if (!r->name || r->target < 0)
      continue;
    assert_non_null(syscall_rows[r->target].name);
    assert_int_equal(syscall_rows[r->target].target, -1);
  }
}

static void flag_registers(void **state)
{
  (void)state;
  assert_int_equal(TRAIT_NOFOLLOW_REG(FLAG_NOFOLLOW(4)), 4);
  assert_int_equal(TRAIT_FOLLOW_REG(FLAG_NOFOLLOW(4)), -1);
  assert_int_equal(TRAIT_FOLLOW_REG(FLAG_FOLLOW(0)), 0);
  assert_int_equal(TRAIT_NOFOLLOW_REG(POSTED | FOLLOW), -1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kernel_number), cmocka_unit_test(no_gaps),        cmocka_unit_test(refusals_have_reasons),
      cmocka_unit_test(wire_numbers),        cmocka_unit_test(args_are_known), cmocka_unit_test(spellings_lead_to_rows),
      cmocka_unit_test(flag_registers),
  };
  return cmocka_run_group_tests(tests, 0, 0);
}
