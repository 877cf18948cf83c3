/* Changing user and group ids: the rules of each call, and what files may then be done with, made and owned by whom. */
#include "t.h"
#include <grp.h>
#include <sys/fsuid.h>

static void ids(void)
{
  uid_t r, e, s;
  gid_t rg, eg, sg, groups[32];
  getresuid(&r, &e, &s);
  getresgid(&rg, &eg, &sg);
  int n = getgroups(32, groups);
  say("uids %d %d %d gids %d %d %d, %d groups, last %d", (int)r, (int)e, (int)s, (int)rg, (int)eg, (int)sg, n,
      n > 0 ? (int)groups[n - 1] : -1);
}

static void owner(const char *name)
{
  struct stat st;
  if (lstat(name, &st))
    say("%s: %s", name, err_name(errno));
  else
    say("%s: %o %d %d", name, st.st_mode, (int)st.st_uid, (int)st.st_gid);
}

static void files(const char *prefix)
{
  char name[64];
  snprintf(name, sizeof name, "open/%s", prefix);
  T(open(name, O_CREAT | O_WRONLY, 0640) >= 0);
  owner(name);
  snprintf(name, sizeof name, "open/%s-dir", prefix);
  T(mkdir(name, 0750));
  owner(name);
  T(open("secret", O_RDONLY) >= 0);
  T(open("group", O_RDONLY) >= 0);
  T(access("secret", R_OK));
  T(access("group", R_OK));
  T(chmod("secret", 0600));
  T(chown("group", 1001, 1001));
  T(unlink("secret-dir/file"));
  T(access("secret-dir/file", F_OK));
  T(truncate("secret", 1));
  T(rename("group", "group2"));
}

static void in_child(void (*f)(void))
{
  int status;
  pid_t child = fork();
  if (!child) {
    f();
    exit(0);
  }
  waitpid(child, &status, 0);
  T(status);
}

static void as_user(void)
{
  T(setgid(2000));
  T(setuid(2000));
  ids();
  files("user");
  T(setuid(0));
  T(setgid(0));
  T(setgroups(0, 0));
  ids();
}

static void as_member(void)
{
  gid_t groups[] = {5, 3000};
  T(setgroups(2, groups));
  T(setresgid(2001, 2001, 2001));
  T(setresuid(2001, 2001, 2001));
  ids();
  files("member");
  pid_t child = fork();
  if (!child)
    exit(open("group", O_RDONLY) >= 0 ? 7 : 8);
  int status;
  waitpid(child, &status, 0);
  T(WEXITSTATUS(status));
}

static void for_a_while(void)
{
  T(seteuid(2002));
  ids();
  files("while");
  T(seteuid(0));
  ids();
  T(access("secret", R_OK));
  T(setfsuid(2003));
  T(setfsuid(-1));
  T(open("secret", O_RDONLY) >= 0);
  T(setfsuid(0));
  T(open("secret", O_RDONLY) >= 0);
  T(setreuid(2004, -1));
  ids();
  T(access("secret", R_OK));
  T(setreuid(-1, 2005));
  ids();
  T(setreuid(2005, 2004));
  ids();
  T(setuid(0));
  T(setresuid(2004, 2006, -1));
  T(setuid(-1));
}

static void in_program(void)
{
  if (setgid(2000) || setuid(2000))
    exit(9);
  execl("/bin/sh", "sh", "-c",
        "id -u; id -g; cat secret 2>&1; cat group 2>&1; : >open/made; ls -ln open/made | cut -d' ' -f1-4", (char *)0);
}

int main(void)
{
  umask(022);
  mkdir("open", 0777);
  chmod("open", 0777);
  make("secret", "secret\n");
  chmod("secret", 0600);
  make("group", "group\n");
  chmod("group", 0640);
  mkdir("secret-dir", 0700);
  make("secret-dir/file", "");
  if (geteuid()) {
    T(setuid(0));
    T(setresgid(0, 0, 0));
    T(setgroups(0, 0));
    T(setfsuid(0) == (int)geteuid());
    return 0;
  }
  chown("group", 0, 3000);
  chmod(".", 0755);
  ids();
  in_child(as_user);
  in_child(for_a_while);
  in_child(in_program);
  in_child(as_member);
  ids();
  T(access("secret", R_OK));
  return 0;
}
