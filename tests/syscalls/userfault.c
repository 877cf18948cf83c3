/* userfaultfd on memory of the program, memfd_secret, memfds with seals, pkeys, mseal. */
#include "t.h"
#include <linux/memfd.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int uffd;
static char *area;

static void *serve(void *arg)
{
  struct uffd_msg m;
  struct pollfd p = {uffd, POLLIN, 0};
  static char page[4096] __attribute__((aligned(4096)));
  for (int i = 0; i < 2; i++) {
    poll(&p, 1, -1);
    read(uffd, &m, sizeof m);
    snprintf(page, sizeof page, "page %d", (int)((m.arg.pagefault.address - (uintptr_t)area) / 4096));
    struct uffdio_copy c = {.dst = m.arg.pagefault.address & ~4095ul, .src = (uintptr_t)page, .len = 4096};
    ioctl(uffd, UFFDIO_COPY, &c);
  }
  return arg;
}

static void faults(void)
{
  pthread_t t;
  struct uffdio_api api = {.api = UFFD_API};
  uffd = (int)OK(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  T(ioctl(uffd, UFFDIO_API, &api));
  area = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct uffdio_register r = {.range = {(uintptr_t)area, 8192}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  T(ioctl(uffd, UFFDIO_REGISTER, &r));
  pthread_create(&t, 0, serve, 0);
  char first = *(volatile char *)(area + 4096);
  say("%c %s", first, area + 4096);
  first = *(volatile char *)area;
  say("%c %s", first, area);
  pthread_join(t, 0);
  T(munmap(area, 8192));
  T(close(uffd));
  T(syscall(SYS_userfaultfd, 0x12345));
}

static void seals(void)
{
  int fd = (int)OK(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  T(ftruncate(fd, 4096));
  T(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
  T(ftruncate(fd, 8192));
  T(fcntl(fd, F_GET_SEALS));
  T(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  T(write(fd, "x", 1));
  char link[64], text[64] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  T(readlink(link, text, sizeof text - 1));
  say("%s", text);
  close(fd);
}

static void secret(void)
{
  int fd = (int)syscall(SYS_memfd_secret, 0);
  if (fd < 0) {
    show("memfd_secret", -1);
    return;
  }
  T(ftruncate(fd, 4096));
  char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  YES(p != MAP_FAILED);
  if (p != MAP_FAILED) {
    strcpy(p, "secret");
    say("%s", p);
    T(write(1, p, 6));
  }
  T(close(fd));
}

static void sealed(void)
{
  char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (syscall(462, p, 4096, 0)) {
    show("mseal", -1);
    return;
  }
  T(munmap(p, 4096));
  T(mprotect(p, 4096, PROT_NONE));
  T(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
  T(munmap(p + 4096, 4096));
  T(syscall(462, p + 1, 4096, 0));
}

int main(void)
{
  faults();
  seals();
  secret();
  sealed();
  int key = pkey_alloc(0, 0);
  if (key < 0)
    show("pkey_alloc", -1);
  else
    T(pkey_free(key));
  T(pkey_free(99));
  return 0;
}
