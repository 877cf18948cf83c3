/*
 * The key by which a machine is known; see the header.
 *
 * Owns its file and its certificate. Must never leave the private key readable by others, or in a process that talks to
 * strangers.
 */
#include "login/hostkey.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "login/keep.h"
#include "proto/codec.h"

#define FILE_MAX 4096
#define BLOB_LEN (4 + 11 + 4 + HOSTKEY_LEN)

/* ---- as OpenSSH writes it ---- */

static void make_blob(const uint8_t public[HOSTKEY_LEN], uint8_t blob[BLOB_LEN])
{
  static const uint8_t head[] = {0, 0, 0, 11, 's', 's', 'h', '-', 'e', 'd', '2', '5', '5', '1', '9', 0, 0, 0, 32};
  memcpy(blob, head, sizeof head);
  memcpy(blob + sizeof head, public, HOSTKEY_LEN);
}

void hostkey_text(const uint8_t public[HOSTKEY_LEN], char out[HOSTKEY_TEXT])
{
  static const char type[] = "ssh-ed25519 ";
  uint8_t blob[BLOB_LEN];
  make_blob(public, blob);
  strcpy(out, type);
  EVP_EncodeBlock((uint8_t *)out + strlen(type), blob, sizeof blob);
}

void key_fingerprint(const void *blob, size_t n, char out[FINGERPRINT_TEXT])
{
  static const char name[] = "SHA256:";
  uint8_t md[32] = {0};
  unsigned len = sizeof md;
  EVP_Digest(blob, n, md, &len, EVP_sha256(), 0);
  strcpy(out, name);
  EVP_EncodeBlock((uint8_t *)out + strlen(name), md, sizeof md);
  out[strcspn(out, "=")] = 0;
}

void hostkey_fingerprint(const uint8_t public[HOSTKEY_LEN], char out[FINGERPRINT_TEXT])
{
  uint8_t blob[BLOB_LEN];
  make_blob(public, blob);
  key_fingerprint(blob, sizeof blob, out);
}

/* ---- its file ---- */

char *hostkey_path(void)
{
  const char *given = getenv("NEXEC_HOST_KEY");
  if (!geteuid() && (!given || !*given))
    return strdup("/etc/nexec/host_key");
  return keep_path("NEXEC_HOST_KEY", "host_key");
}

static int write_key(const char *path, EVP_PKEY *key)
{
  char *text = 0;
  BIO *b = BIO_new(BIO_s_secmem());
  int err = -ENOMEM;
  if (b && PEM_write_bio_PrivateKey(b, key, 0, 0, 0, 0, 0)) {
    long n = BIO_get_mem_data(b, &text);
    err = keep_create(path, text, (size_t)n);
  }
  BIO_free(b);
  return err;
}

static int make_key(const char *path)
{
  EVP_PKEY *key = EVP_PKEY_Q_keygen(0, 0, "ED25519");
  int err = key ? write_key(path, key) : -ENOMEM;
  EVP_PKEY_free(key);
  return err;
}

static EVP_PKEY *parse_key(const char *text, size_t n)
{
  BIO *b = BIO_new_mem_buf(text, (int)n);
  EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, 0, 0, (void *)"") : 0;
  BIO_free(b);
  if (key && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
    return key;
  EVP_PKEY_free(key);
  return 0;
}

static bool read_key(const char *path, struct hostkey *k)
{
  size_t n, len = HOSTKEY_LEN;
  char *text = keep_read(path, FILE_MAX, &n);
  if (!text)
    return false;
  k->key = parse_key(text, n);
  OPENSSL_cleanse(text, n);
  free(text);
  errno = 0;
  if (!k->key || !EVP_PKEY_get_raw_public_key(k->key, k->public, &len)) {
    log_line("%s holds no ed25519 key", path);
    return false;
  }
  return true;
}

/* For people and for `ssh-keygen -l'; that it cannot be written harms nothing. */
static void write_public(const char *path, const struct hostkey *k)
{
  char name[4096], line[HOSTKEY_TEXT + 16];
  hostkey_text(k->public, line);
  strcat(line, " nexecd\n");
  if (snprintf(name, sizeof name, "%s.pub", path) < (int)sizeof name)
    keep_create(name, line, strlen(line));
}

/* ---- its certificate ---- */

static X509 *certify(EVP_PKEY *key)
{
  X509 *x = X509_new();
  bool good =
      x && X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) &&
      ASN1_TIME_set_string(X509_getm_notBefore(x), "19700101000000Z") &&
      ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z") &&
      X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)"nexecd", -1, -1, 0) &&
      X509_set_issuer_name(x, X509_get_subject_name(x)) && X509_set_pubkey(x, key) && X509_sign(x, key, 0);
  if (good)
    return x;
  X509_free(x);
  return 0;
}

bool hostkey_open(const char *path, struct hostkey *k)
{
  bool good = read_key(path, k);
  int err = good ? 0 : -errno;
  if (err == -ENOENT && !(err = make_key(path))) {
    good = read_key(path, k);
    err = good ? 0 : -errno;
    if (good)
      write_public(path, k);
  }
  if (err)
    log_line("no host key: %s: %s", path, strerror(-err));
  if (!good)
    return false;
  k->certificate = certify(k->key);
  if (!k->certificate)
    log_line("no certificate can be made of the host key %s", path);
  return k->certificate;
}

int hostkey_sign(const struct hostkey *k, const void *text, size_t n, uint8_t signature[HOSTKEY_SIG])
{
  size_t len = HOSTKEY_SIG;
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  bool good = c && k->key && EVP_DigestSignInit(c, 0, 0, 0, k->key) && EVP_DigestSign(c, signature, &len, text, n) &&
              len == HOSTKEY_SIG;
  EVP_MD_CTX_free(c);
  return good ? 0 : -1;
}

void hostkey_forget(struct hostkey *k)
{
  EVP_PKEY_free(k->key);
  k->key = 0;
}
