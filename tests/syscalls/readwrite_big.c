/* Buffers much larger than any message, at odd sizes; every byte is checked. */
#include "t.h"

static unsigned char byte_at(size_t i)
{
  return (unsigned char)(i * 2654435761u >> 13);
}

int main(void)
{
  size_t size = 5 * 1024 * 1024 + 77, bad = 0;
  unsigned char *p = malloc(size), *q = calloc(size, 1);
  for (size_t i = 0; i < size; i++)
    p[i] = byte_at(i);
  int fd = (int)OK(open("f", O_RDWR | O_CREAT, 0644));
  T(write(fd, p, size));
  T(lseek(fd, 0, SEEK_END));
  T(pread(fd, q, size, 0));
  T(memcmp(p, q, size));
  T(lseek(fd, 0, SEEK_SET));
  size_t got = 0, step = 1;
  for (ssize_t n; (n = read(fd, q, step)) > 0; got += (size_t)n, step = step * 3 + 1) {
    if (step > size)
      step = 12345;
    for (ssize_t i = 0; i < n; i++)
      bad += q[i] != byte_at(got + (size_t)i);
  }
  T(got);
  T(bad);
  for (size_t at = 0; at < size; at += 65537)
    bad += pwrite(fd, "!", 1, (off_t)at) != 1;
  T(pread(fd, q, size, 0));
  for (size_t i = 0; i < size; i++)
    bad += q[i] != (i % 65537 ? byte_at(i) : '!');
  T(bad);
  T(close(fd));
  show_stat("f");
  return 0;
}
