/* What /proc tells of a process and of its child: mappings, masks, filters, limits, descriptors, where it is. */
#include "t.h"
#include <dirent.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static char here[4096];

static int by_text(const void *a, const void *b)
{
  return strcmp(a, b);
}

/* Mappings of this directory's files, by name and access. Nothing may show what makes the program run elsewhere. */
static void mappings(const char *path)
{
  char line[4600], perms[8], name[4096];
  unsigned long from, to, off, ino;
  unsigned major, minor;
  char found[8][256];
  int odd = 0, twice = 0, count = 0;
  unsigned long last = 0;
  struct stat st;
  FILE *f = fopen(path, "r");
  if (!f) {
    show(path, -1);
    return;
  }
  while (fgets(line, sizeof line, f)) {
    name[0] = 0;
    int n = sscanf(line, "%lx-%lx %7s %lx %x:%x %lu %4095[^\n]", &from, &to, perms, &off, &major, &minor, &ino, name);
    odd += n < 7 || strstr(line, "/memfd:");
    twice += from < last;
    last = to;
    if (strncmp(name, here, strlen(here)) || strstr(name, "/proc_view"))
      continue;
    bool true_inode = !stat(name, &st) && st.st_ino == ino;
    if (count < 8)
      snprintf(found[count++], sizeof found[0], "%s %.100s %lx pages %lu inode %d", perms, name + strlen(here), off,
               (to - from) / 4096, true_inode);
  }
  fclose(f);
  qsort(found, (size_t)count, sizeof found[0], by_text); /* where the kernel put them is its affair */
  for (int i = 0; i < count; i++)
    say("%s", found[i]);
  say("odd %d overlapping %d", odd, twice);
}

static void status_of(const char *path)
{
  static const char *const labels[] = {"TracerPid:", "Uid:",        "Gid:",     "SigBlk:",          "SigIgn:",
                                       "SigCgt:",    "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "Threads:"};
  char line[4096];
  FILE *f = fopen(path, "r");
  if (!f) {
    show(path, -1);
    return;
  }
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    unsigned id;
    if (sscanf(line, "Uid: %u", &id) == 1)
      say("Uid mine %d", id == getuid());
    else if (sscanf(line, "Gid: %u", &id) == 1)
      say("Gid mine %d", id == getgid());
    else
      for (unsigned i = 0; i < sizeof labels / sizeof *labels; i++)
        if (!strncmp(line, labels[i], strlen(labels[i])))
          say("%s", line);
  }
  fclose(f);
}

static void fdinfo_of(const char *format, int pid, int fd)
{
  char path[64], line[256];
  snprintf(path, sizeof path, format, pid, fd);
  FILE *f = fopen(path, "r");
  if (!f) {
    show("fdinfo", -1);
    return;
  }
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, "pos:", 4) || !strncmp(line, "flags:", 6)) {
      line[strcspn(line, "\n")] = 0;
      say("%s", line);
    }
  fclose(f);
}

static void open_files(const char *path)
{
  char line[256];
  struct rlimit r;
  unsigned long cur = 0, max = 0;
  getrlimit(RLIMIT_NOFILE, &r);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "Max open files %lu %lu files", &cur, &max) == 2)
      say("limits agree: %d", cur == r.rlim_cur && max == r.rlim_max);
  if (f)
    fclose(f);
}

static void link_of(const char *format, int pid, int fd)
{
  char path[64], text[4096];
  snprintf(path, sizeof path, format, pid, fd);
  ssize_t n = readlink(path, text, sizeof text - 1);
  text[n < 0 ? 0 : n] = 0;
  bool inside = !strncmp(text, here, strlen(here));
  say("%s -> %s", strrchr(format, '/'), n < 0 ? err_name(errno) : inside ? text + strlen(here) : strrchr(text, '/'));
}

static int descriptors(const char *format, int pid)
{
  char path[64];
  int count = 0;
  snprintf(path, sizeof path, format, pid);
  DIR *d = opendir(path);
  while (d && readdir(d))
    count++;
  if (d)
    closedir(d);
  return count;
}

static void nothing(int sig)
{
  (void)sig;
}

int main(void)
{
  static char big[200000];
  int ready[2], go[2], fd, shared;
  char c, path[64];
  getcwd(here, sizeof here);
  memset(big, 'x', sizeof big);
  fd = open("big", O_RDWR | O_CREAT, 0644);
  write(fd, big, sizeof big);
  make("small", "small");
  shared = open("small", O_RDWR | O_CLOEXEC | O_APPEND);
  signal(SIGUSR1, nothing);
  signal(SIGSEGV, nothing);
  signal(SIGUSR2, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGHUP);
  sigprocmask(SIG_BLOCK, &set, 0);
  mmap(0, 8192, PROT_READ, MAP_PRIVATE, fd, 4096);
  mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  int small = open("small", O_RDONLY);
  mmap(0, 4096, PROT_READ, MAP_PRIVATE, small, 0);
  lseek(fd, 77, SEEK_SET);
  mappings("/proc/self/maps");
  mappings("/proc/thread-self/maps");
  status_of("/proc/self/status");
  open_files("/proc/self/limits");
  fdinfo_of("/proc/self/fdinfo/%2$d", 0, fd);
  fdinfo_of("/proc/%d/fdinfo/%d", getpid(), shared);
  fdinfo_of("/proc/self/fdinfo/%2$d", 0, 999);
  pipe(ready);
  pipe(go);
  mkdir("d", 0755);
  pid_t pid = fork();
  if (!pid) {
    signal(SIGSEGV, SIG_DFL);
    chdir("d");
    write(ready[1], "r", 1);
    read(go[0], &c, 1);
    _exit(0);
  }
  read(ready[0], &c, 1);
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  mappings(path);
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  status_of(path);
  snprintf(path, sizeof path, "/proc/%d/limits", pid);
  open_files(path);
  link_of("/proc/%d/exe", pid, 0);
  link_of("/proc/%d/cwd", pid, 0);
  link_of("/proc/%d/fd/%d", pid, fd);
  link_of("/proc/%d/fd/%d", pid, 999);
  fdinfo_of("/proc/%d/fdinfo/%d", pid, fd);
  snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, small);
  show_fd("by its descriptor", open(path, O_RDONLY));
  snprintf(path, sizeof path, "/proc/%d/cwd/../small", pid);
  show_fd("by its directory", open(path, O_RDONLY));
  YES(descriptors("/proc/%d/fd", pid) + 1 == descriptors("/proc/self/fd", 0));
  YES(descriptors("/proc/%d/fdinfo", pid) + 1 == descriptors("/proc/self/fdinfo", 0));
  write(go[1], "g", 1);
  wait_for(pid, "child");
  return 0;
}
