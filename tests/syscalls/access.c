/* access, faccessat, faccessat2. */
#include "t.h"

int main(void)
{
  make("rw", "");
  make("ro", "");
  make("x", "");
  make("none", "");
  chmod("ro", 0444);
  chmod("x", 0755);
  chmod("none", 0);
  symlink("x", "l");
  symlink("absent", "dangling");
  mkdir("d", 0);
  const char *names[] = {"rw", "ro", "x", "none", "l", "dangling", "absent", "d", "d/x", "rw/x"};
  if (geteuid())
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
      say("%s", names[i]);
      T(access(names[i], F_OK));
      T(access(names[i], R_OK));
      T(access(names[i], W_OK));
      T(access(names[i], X_OK));
    }
  T(access("x", R_OK | X_OK));
  T(access("x", 64));
  T(faccessat(AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW));
  T(faccessat(AT_FDCWD, "x", X_OK, AT_EACCESS));
  T(syscall(SYS_faccessat, AT_FDCWD, "x", X_OK));
  T(euidaccess("x", X_OK));
  rmdir("d");
  return 0;
}
