/* Who and where: ids agree with each other, the host name with itself. */
#include "t.h"
#include <grp.h>
#include <pwd.h>
#include <sys/utsname.h>

int main(void)
{
  uid_t r, e, s;
  gid_t groups[64];
  struct utsname u;
  char host[256];
  T(getresuid(&r, &e, &s));
  YES(r == getuid() && e == geteuid() && s == e);
  YES(getgid() == getegid());
  int n = getgroups(64, groups);
  YES(n >= 0);
  T(getgroups(0, groups) == n);
  T(uname(&u));
  T(gethostname(host, sizeof host));
  YES(!strcmp(u.nodename, host));
  say("%s %s", u.sysname, u.machine);
  struct passwd *p = getpwuid(getuid());
  say("user %s home %s", p ? p->pw_name : "?", p ? p->pw_dir : "?");
  struct group *g = getgrgid(getgid());
  say("group %s", g ? g->gr_name : "?");
  make("f", "");
  struct stat st;
  stat("f", &st);
  YES(st.st_uid == geteuid() && st.st_gid == getegid());
  T(setuid(getuid()));
  T(setresuid(-1, -1, -1));
  if (geteuid()) {
    T(setuid(0));
    T(setgroups(0, 0));
    T(sethostname("x", 1));
    T(chroot("."));
  }
  T(getsid(0) > 0 || getsid(0) == 0);
  YES(getpgid(0) == getpgrp());
  return 0;
}
