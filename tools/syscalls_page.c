/*
 * syscalls_page: docs/syscalls.md, made from the table of system calls: what each call does in a session, and counts.
 *
 *   build/tests/syscalls-page >docs/syscalls.md      makes it
 *   build/tests/syscalls-page docs/syscalls.md       fails if that is not what the table says
 *
 * Owns the words for where a call runs. Must never know a call by its number: what is true of one is in its row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/table.h"

struct entry {
  int nr;
  const char *name, *handler, *target;
};

static const struct entry entries[] = {
#define SYS(nr, name, handler, args, wire, traits, level, note) {nr, #name, #handler, ""},
#define AKA(nr, name, target, map) {nr, #name, "", #target},
#define NO(nr, name, err, note) {nr, #name, #err, ""},
#include "proto/syscalls.def"
};

/* Handlers of calls that are not sent as they are, but may concern the other side. */
static const char by_descriptor[] =
    " readv writev preadv pwritev poll select ppoll pselect epoll_ctl epoll_wait sockop sendmsg recvmsg recvmmsg "
    "sendmmsg"
    " getsockopt sendfile splice tee vmsplice dup dup2 close_range mmap munmap mremap msync getdents_old fchdir fadvise"
    " io_submit cachestat ";
static const char by_path[] = " chdir execve execveat openat2 newfstatat utimes utime chroot connect bind xattrat"
                              " remap_file_pages ";
static const char of_caller[] = " identity setid uname time clock_gettime gettimeofday clock_nanosleep timer_settime"
                                " timerfd_settime umask getcwd ";

static int has(const char *list, const char *word)
{
  char spaced[64];
  snprintf(spaced, sizeof spaced, " %s ", word);
  return strstr(list, spaced) != 0;
}

static const char *where(const struct entry *e, const struct row *r)
{
  if (strpbrk(r->args, "AP") || has(by_path, e->handler))
    return "as the path says";
  if (strchr(r->args, 'H') || has(by_descriptor, e->handler))
    return "as the descriptor says";
  if (r->wire)
    return "both sides";
  return has(of_caller, e->handler) ? "as the caller sees it" : "where the program runs";
}

static void line(FILE *out, const struct entry *e)
{
  const struct row *r = &syscall_rows[e->nr];
  if (r->target >= 0)
    fprintf(out, "| %d | %s | works | as %s | |\n", e->nr, e->name, e->target);
  else if (r->level == LEVEL_NONE)
    fprintf(out, "| %d | %s | refused | %s | %s |\n", e->nr, e->name, e->handler, r->note);
  else
    fprintf(out, "| %d | %s | %s | %s | %s |\n", e->nr, e->name, r->level == LEVEL_PART ? "partly" : "works",
            where(e, r), r->note);
}

static void page(FILE *out)
{
  unsigned count[3] = {0}, n = sizeof entries / sizeof *entries;
  for (unsigned i = 0; i < n; i++)
    count[syscall_rows[entries[i].nr].level]++;
  fprintf(
      out,
      "# System calls\n\n"
      "Made from `src/proto/syscalls.def` by `tools/syscalls_page.c`; a test holds this page against the table.\n\n"
      "| calls of x86-64 Linux | %u |\n| --- | --- |\n| work | %u |\n| work partly, as the note says | %u |\n"
      "| refused, with what a kernel without the feature answers | %u |\n\n"
      "Where a call acts: `where the program runs` is the master's kernel and nothing else; `as the descriptor says`\n"
      "and `as the path says`: on the side where the file is; `as the caller sees it`: identity and time are the\n"
      "slave's. A number that is not here is answered with ENOSYS and counted (`--stats`).\n\n"
      "| number | call | support | where, or the error | note |\n| --- | --- | --- | --- | --- |\n",
      n, count[LEVEL_FULL], count[LEVEL_PART], count[LEVEL_NONE]);
  for (unsigned i = 0; i < n; i++)
    line(out, &entries[i]);
}

/* 0 if the file holds these bytes. */
static int differs(const char *path, const char *text, size_t n)
{
  FILE *f = fopen(path, "r");
  size_t i = 0;
  int c = 0;
  while (f && (c = getc(f)) != EOF && i < n && c == (unsigned char)text[i])
    i++;
  int same = f && c == EOF && i == n;
  if (f)
    fclose(f);
  return !same;
}

int main(int argc, char **argv)
{
  char *text;
  size_t n;
  FILE *out = open_memstream(&text, &n);
  if (!out)
    return 1;
  page(out);
  fclose(out);
  int status = argc > 1 ? differs(argv[1], text, n) : fwrite(text, 1, n, stdout) != n;
  if (argc > 1 && status)
    fprintf(stderr, "%s is not what the table says: build/tests/syscalls-page >docs/syscalls.md\n", argv[1]);
  free(text);
  return status;
}
