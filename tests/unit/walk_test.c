/*
 * The slave's walk over a scratch tree. The kernel is the oracle: whatever a path leads to natively, the walk's entry
 * leads to, and the errors are the same; then the rules, which the kernel does not know.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slave/slave.h"
#include "unit.h"

static char top[] = "/tmp/fsyscall-walk-XXXXXX";
static int base;

static void link_to(const char *target, const char *name)
{
  assert_int_equal(symlinkat(target, base, name), 0);
}

static int set_up(void **state)
{
  char path[WIRE_PATH_MAX];
  (void)state;
  if (!mkdtemp(top))
    return -1;
  base = open(top, O_PATH | O_DIRECTORY);
  mkdirat(base, "a", 0755);
  mkdirat(base, "a/b", 0755);
  close(openat(base, "a/b/file", O_CREAT | O_WRONLY, 0644));
  close(openat(base, "file", O_CREAT | O_WRONLY, 0644));
  link_to("a/b", "rel");
  link_to("../b/file", "a/up");
  link_to("nowhere", "dangling");
  link_to("loop2", "loop1");
  link_to("loop1", "loop2");
  link_to("rel/file", "chain");
  link_to("a/b/", "slashed");
  link_to("file", "tofile");
  snprintf(path, sizeof path, "%s/a", top);
  link_to(path, "abs");
  walk_start();
  return 0;
}

static int tear_down(void **state)
{
  char command[64];
  (void)state;
  close(base);
  snprintf(command, sizeof command, "rm -rf %s", top);
  return system(command);
}

static int native(const char *path, bool follow, struct stat *st)
{
  return fstatat(base, path, st, follow ? 0 : AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int walked(const char *path, unsigned flags, struct stat *st)
{
  struct spot s;
  char left[WIRE_PATH_MAX];
  int err = walk(-1, base, path, flags, &s, left);
  if (err)
    return err;
  err = fstatat(s.dir, s.name, st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
  spot_done(&s);
  return err;
}

static const char *const paths[] = {
    "file",      "a",          "a/",        "a/b/file",    "a/b/file/", "a//b///file", "./a/./b",    "a/..",
    "a/b/..",    "a/../file",  "rel",       "rel/",        "rel/file",  "rel/..",      "rel/../b",   "a/up",
    "a/up/",     "dangling",   "dangling/", "dangling/x",  "loop1",     "loop1/x",     "chain",      "chain/",
    "slashed",   "slashed/",   "tofile",    "tofile/",     "tofile/x",  "abs",         "abs/b/file", "abs/../file",
    "missing",   "missing/x",  "file/x",    "file/..",     "file/.",    "a/.",         "a/b/./file", ".",
    "..",        "./",         "../..",     "/",           "//",        "/..",         "/tmp",       "/tmp/../tmp/",
    "rel/./../", "a/b/file/.", "abs/up",    "abs//b/../up"};

static void as_the_kernel(void **state)
{
  (void)state;
  for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
    for (unsigned follow = 0; follow < 2; follow++) {
      struct stat a, b;
      int want = native(paths[i], follow, &a);
      int got = walked(paths[i], follow ? WALK_FOLLOW : 0, &b);
      if (want != got || (!want && (a.st_dev != b.st_dev || a.st_ino != b.st_ino)))
        fail_msg("%s (%s): the kernel says %d, the walk %d", paths[i], follow ? "following" : "not following", want,
                 got);
    }
}

static void long_names(void **state)
{
  (void)state;
  char path[WIRE_PATH_MAX];
  struct stat st;
  memset(path, 'x', 300);
  path[300] = 0;
  assert_int_equal(walked(path, 0, &st), -ENAMETOOLONG);
  memcpy(path, "missing/", 8);
  assert_int_equal(walked(path, 0, &st), -ENOENT);
}

static void forty_links(void **state)
{
  (void)state;
  struct stat st;
  for (int i = 1; i <= 41; i++) {
    char name[16], target[16];
    snprintf(name, sizeof name, "n%d", i);
    snprintf(target, sizeof target, "n%d", i - 1);
    link_to(i == 1 ? "file" : target, name);
  }
  assert_int_equal(walked("n40", WALK_FOLLOW, &st), 0);
  assert_int_equal(walked("n41", WALK_FOLLOW, &st), -ELOOP);
  assert_int_equal(walked("n41", 0, &st), 0);
}

static void what_is_made(void **state)
{
  (void)state;
  const struct {
    const char *path, *name;
  } t[] = {{"new", "new"}, {"new/", "new/"}, {"a/b/new/", "new/"}, {"rel/new/", "new/"}, {"rel", "rel"},
           {"a/..", ".."}, {"a/.", "."},     {"rel/..", ".."},     {"loop1", "loop1"}};
  for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
    struct spot s;
    char left[WIRE_PATH_MAX];
    assert_int_equal(walk(-1, base, t[i].path, WALK_PARENT, &s, left), 0);
    assert_string_equal(s.name, t[i].name);
    spot_done(&s);
  }
}

static void creating(void **state)
{
  (void)state;
  struct spot s;
  char left[WIRE_PATH_MAX];
  assert_int_equal(walk(-1, base, "a/new/", WALK_FOLLOW | WALK_CREATE, &s, left), -EISDIR);
  assert_int_equal(walk(-1, base, "dangling", WALK_FOLLOW | WALK_CREATE, &s, left), 0);
  assert_string_equal(s.name, "nowhere");
  spot_done(&s);
}

static void empty_path(void **state)
{
  (void)state;
  struct spot s;
  char left[WIRE_PATH_MAX];
  assert_int_equal(walk(-1, base, "", 0, &s, left), 0);
  assert_int_equal(s.dir, base);
  assert_string_equal(s.name, "");
  assert_int_equal(walk(-1, -1, "", 0, &s, left), -ENOENT);
}

static void magic_links(void **state)
{
  (void)state;
  struct stat st;
  assert_int_equal(walked("/proc/self/root/tmp", WALK_FOLLOW, &st), -ELOOP);
  assert_int_equal(walked("/proc/self/exe", WALK_FOLLOW, &st), -ELOOP);
  assert_int_equal(walked("/proc/self/exe", 0, &st), 0);
  assert_int_equal(walked("/proc/self/status", WALK_FOLLOW, &st), 0);
}

static void no_descriptor_is_left(void **state)
{
  (void)state;
  int before = dup(0);
  struct stat st;
  for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
    walked(paths[i], WALK_FOLLOW, &st);
  int after = dup(0);
  assert_int_equal(after, before + 1);
  close(before);
  close(after);
}

static void expect_left(const char *path, unsigned flags, const char *want)
{
  struct spot s;
  char left[WIRE_PATH_MAX] = "";
  int err = walk(-1, base, path, flags, &s, left);
  if (!want) {
    assert_int_equal(err, 0);
    spot_done(&s);
    return;
  }
  assert_int_equal(err, WALK_LEFT);
  assert_string_equal(left, want);
}

static void rules(void **state)
{
  (void)state;
  char rule[128], a_b[64];
  link_to("/usr/bin", "bin");
  link_to("/usr/local/share", "share");
  link_to("/", "root");
  link_to("/usr", "odd");
  walk_rule("remote /", 8);
  walk_rule("local /usr", 10);
  walk_rule("remote /usr/local/", 18);
  walk_rule("deny /etc/secret", 16);
  expect_left("bin", 0, 0);
  expect_left("bin", WALK_FOLLOW, "/usr/bin");
  expect_left("bin/", 0, "/usr/bin/");
  expect_left("bin/ls", WALK_FOLLOW, "/usr/bin/ls");
  expect_left("bin/new", WALK_PARENT, "/usr/bin/new");
  expect_left("share/x", 0, "/usr/local/share/x");
  expect_left("root/usr/lib/../x", 0, "/usr/lib/../x");
  expect_left("root/etc/secret", 0, "/etc/secret");
  expect_left("root/tmp", WALK_FOLLOW, 0);
  expect_left("odd", WALK_PARENT, 0);
  expect_left("/usr", WALK_FOLLOW, 0); /* the master asked for it itself */
  snprintf(a_b, sizeof a_b, "%s/a/b", top);
  int n = snprintf(rule, sizeof rule, "local %s", a_b);
  walk_rule(rule, (uint32_t)n);
  snprintf(rule, sizeof rule, "%s/file", a_b);
  expect_left("a/../rel/file", 0, rule);
  expect_left("chain", WALK_FOLLOW, rule);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_the_kernel), cmocka_unit_test(long_names),
      cmocka_unit_test(forty_links),   cmocka_unit_test(what_is_made),
      cmocka_unit_test(creating),      cmocka_unit_test(empty_path),
      cmocka_unit_test(magic_links),   cmocka_unit_test(no_descriptor_is_left),
      cmocka_unit_test(rules),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
