/* Logins: authorized_keys, OpenSSH's forms, the wire form of a login, what a TLS server may have signed. */
#include <stdlib.h>
#include <string.h>

#include "login/authkeys.h"
#include "login/login.h"
#include "login/sshsig.h"
#include "unit.h"

/* A key of the right form: "ssh-ed25519" and 32 bytes. */
static const char letters[] = "AAAAC3NzaC1lZDI1NTE5AAAAIIEJPzAjCgKRBAzwQHL9BIAPiC62qPBhPbb27M0AGJqm";
static uint8_t key[64];
static size_t nkey;
#define NOW 1700000000 /* 2023-11-14 22:13:20 UTC */

static int make_key(void **state)
{
  (void)state;
  nkey = base64_bytes(letters, strlen(letters), key, sizeof key);
  return nkey != 51;
}

static bool allows(const char *options, const char *address)
{
  char why[256], *text;
  if (asprintf(&text, "# a comment\n\nssh-ed25519 AAAAother me\n%sssh-ed25519 %s me\n", options, letters) < 0)
    abort();
  bool good = authkeys_allow(text, key, nkey, address, NOW, why);
  free(text);
  return good;
}

static void test_options(void **state)
{
  static const struct {
    const char *options;
    bool good;
  } t[] = {
      {"", true},
      {"  ", true},
      {"pty ", true},
      {"no-agent-forwarding,NO-X11-FORWARDING\t", true},
      {"restrict ", false},
      {"command=\"x\" ", false},
      {"command=\"a \\\"quoted\\\" ssh-ed25519 word\" ", false},
      {"pty=\"x\" ", false},
      {"from ", false},
      {"from= ", false},
      {"from=10.0.0.1 ", false},
      {"from=\"10.0.0.1 ", false},
      {"from=\"10.0.0.1\"x ", false},
      {"from=\"10.0.0.1\", ", false},
      {"from=\"10.0.0.1\",pty ", true},
      {"from=\"10.0.0.1\" pty ", false},
      {"from=\"\" ", false},
      {"pty,,pty ", false},
      {"cert-authority ", false},
      {"expiry-time=\"20231114221321Z\" ", true},
      {"expiry-time=\"20231114221320Z\" ", false},
      {"expiry-time=\"20231231\" ", true},
      {"expiry-time=\"20231331\" ", false},
      {"expiry-time=\"2023\" ", false},
      {"expiry-time=\"20231231T\" ", false},
      {"expiry-time=\"\" ", false},
      {"# ", false},
      {"x", false},
  };
  (void)state;
  for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
    if (allows(t[i].options, "10.0.0.1") != t[i].good)
      fail_msg("options '%s'", t[i].options);
}

static void test_from(void **state)
{
  static const struct {
    const char *from, *address;
    bool good;
  } t[] = {
      {"10.0.0.1", "10.0.0.1", true},
      {"10.0.0.1", "10.0.0.11", false},
      {"10.0.0.0/8", "10.255.0.1", true},
      {"10.0.0.0/8", "11.0.0.1", false},
      {"10.0.0.0/31", "10.0.0.1", true},
      {"10.0.0.0/31", "10.0.0.2", false},
      {"0.0.0.0/0", "1.2.3.4", true},
      {"0.0.0.0/0", "::1", false},
      {"10.0.0.0/33", "10.0.0.0", false},
      {"10.0.0.0/", "10.0.0.0", false},
      {"10.0.0.0/-1", "10.0.0.0", false},
      {"2001:db8::/32", "2001:db8:1::5", true},
      {"2001:db8::/32", "2001:db9::5", false},
      {"::/0", "fe80::1", true},
      {"10.0.?.1", "10.0.7.1", true},
      {"*", "10.0.0.1", true},
      {"*,!10.0.0.0/24", "10.0.0.9", false},
      {"!10.0.0.0/24", "10.0.1.9", false},
      {"a.host.name,10.0.0.1", "10.0.0.1", true},
      {"a.host.name", "10.0.0.1", false},
  };
  (void)state;
  for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
    char options[128];
    snprintf(options, sizeof options, "from=\"%s\" ", t[i].from);
    if (allows(options, t[i].address) != t[i].good)
      fail_msg("from %s for %s", t[i].from, t[i].address);
  }
}

/* The first line that lets a key in is enough, wherever it stands. */
static void test_lines(void **state)
{
  char why[256], text[1024];
  (void)state;
  snprintf(text, sizeof text, "restrict ssh-ed25519 %s\r\nssh-rsa %s\nssh-ed25519 %sx\n", letters, letters, letters);
  assert_false(authkeys_allow(text, key, nkey, "10.0.0.1", NOW, why));
  assert_non_null(strstr(why, "restrict"));
  strcat(text, "ssh-ed25519 ");
  strcat(text, letters);
  assert_true(authkeys_allow(text, key, nkey, "10.0.0.1", NOW, why));
  assert_false(authkeys_allow("", key, nkey, "10.0.0.1", NOW, why));
  assert_false(authkeys_allow(text, key, nkey - 1, "10.0.0.1", NOW, why));
  assert_false(authkeys_allow(text, (const uint8_t *)"\0\0\0\1", 4, "10.0.0.1", NOW, why));
}

static void test_paths(void **state)
{
  const struct passwd pw = {.pw_name = (char *)"ann", .pw_dir = (char *)"/home/ann"};
  static const char *const t[][2] = {{".ssh/authorized_keys", "/home/ann/.ssh/authorized_keys"},
                                     {"%h/keys", "/home/ann/keys"},
                                     {"/etc/keys/%u", "/etc/keys/ann"},
                                     {"/a%%b", "/a%b"},
                                     {"/a%", "/a"}};
  (void)state;
  for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
    char *path = authkeys_path(t[i][0], &pw);
    assert_string_equal(path, t[i][1]);
    free(path);
  }
}

static void test_base64(void **state)
{
  uint8_t out[8];
  (void)state;
  assert_int_equal(base64_bytes("YWJj", 4, out, sizeof out), 3);
  assert_memory_equal(out, "abc", 3);
  assert_int_equal(base64_bytes("YQ==", 4, out, sizeof out), 1);
  assert_int_equal(base64_bytes("YWJj", 4, out, 2), 0);
  for (const char *const *bad = (const char *const[]){"", "Y", "YWJ", "YWJj!", "!!!!", "====", 0}; *bad; bad++)
    assert_int_equal(base64_bytes(*bad, strlen(*bad), out, sizeof out), 0);
}

static void test_armour(void **state)
{
  uint8_t bytes[300], out[300];
  (void)state;
  for (unsigned i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)(i * 7);
  for (size_t n = 1; n <= sizeof bytes; n += 13) {
    char *text = sshsig_armour(bytes, n);
    assert_int_equal(sshsig_bare(text, out, sizeof out), n);
    assert_memory_equal(out, bytes, n);
    free(text);
  }
  assert_int_equal(sshsig_bare("no signature", out, sizeof out), 0);
  assert_int_equal(sshsig_bare("-----BEGIN SSH SIGNATURE-----\nYWJj", out, sizeof out), 0);
}

static void test_key_types(void **state)
{
  char type[64];
  (void)state;
  assert_true(ssh_key_type(key, nkey, type));
  assert_string_equal(type, "ssh-ed25519");
  assert_false(ssh_key_type(key, 3, type));
  assert_false(ssh_key_type((const uint8_t *)"\0\0\0\xff"
                                             "abc",
                            7, type));
  assert_false(ssh_key_type((const uint8_t *)"\0\0\0\3a b", 7, type));
  assert_false(ssh_key_type((const uint8_t *)"\0\0\0\0", 4, type));
}

static void test_wire(void **state)
{
  static struct login l, m;
  size_t n;
  uint32_t len, ahead;
  char why[256];
  (void)state;
  strcpy(l.user, "ann");
  strcpy(l.caller, "anna");
  l.has_secret = true;
  memset(l.secret, 5, PROOF);
  l.nkeys = 2;
  for (unsigned i = 0; i < 2; i++) {
    l.key[i].n = (uint32_t)nkey;
    memcpy(l.key[i].blob, key, nkey);
  }
  l.signed_by = 1;
  l.nsignature = 3;
  memcpy(l.signature, "sig", 3);
  uint8_t *text = login_put(&l, 77, &n);
  assert_int_equal(login_get_head(text, &len, &ahead, why), V_OK);
  assert_int_equal(len, n - LOGIN_HEAD);
  assert_int_equal(ahead, 77);
  assert_true(login_get(&m, text + LOGIN_HEAD, len));
  assert_memory_equal(&l, &m, sizeof l);
  for (uint32_t cut = 0; cut < len; cut++) { /* whole facts only: no prefix may be read past its end */
    uint8_t *part = malloc(cut ? cut : 1);
    memcpy(part, text + LOGIN_HEAD, cut);
    memset(&m, 0, sizeof m);
    login_get(&m, part, cut);
    free(part);
  }
  for (unsigned i = 0; i < LOGIN_HEAD; i++) {
    text[i] ^= 0x80;
    enum verdict v = login_get_head(text, &len, &ahead, why);
    assert_true(i < 8 ? v == V_VERSION : v == V_OK || v == V_REQUEST);
    text[i] ^= 0x80;
  }
  free(text);
}

static void test_server_proof(void **state)
{
  static const char context[] = "TLS 1.3, server CertificateVerify";
  uint8_t text[256];
  (void)state;
  memset(text, ' ', 64);
  memcpy(text + 64, context, sizeof context);
  memset(text + 64 + sizeof context, 9, 48);
  assert_true(tls_is_server_proof(text, 64 + sizeof context + 32));
  assert_true(tls_is_server_proof(text, 64 + sizeof context + 48));
  assert_false(tls_is_server_proof(text, 64 + sizeof context + 33));
  assert_false(tls_is_server_proof(text, 0));
  text[3] = 'x';
  assert_false(tls_is_server_proof(text, 64 + sizeof context + 32));
  text[3] = ' ';
  text[64 + 9] = 'c'; /* a client's */
  assert_false(tls_is_server_proof(text, 64 + sizeof context + 32));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_options),   cmocka_unit_test(test_from),   cmocka_unit_test(test_lines),
      cmocka_unit_test(test_paths),     cmocka_unit_test(test_base64), cmocka_unit_test(test_armour),
      cmocka_unit_test(test_key_types), cmocka_unit_test(test_wire),   cmocka_unit_test(test_server_proof),
  };
  return cmocka_run_group_tests(tests, make_key, 0);
}
