/*
 * Counts the lines of its standard input by four workers. Each is this program executed anew, with its end of a link as
 * a descriptor that it inherits; blocks of the input reach them in memory that is shared, not copied. A worker that
 * dies loses nothing: its block comes back as a reply with an error, and goes to another.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <syslink.h>

#define WORKERS 4

union room {
  struct syslink_msg msg;
  char bytes[SYSLINK_MSG_MAX];
};

struct worker {
  int fd;
  char *block; /* that it counts; 0: it is free */
  uint32_t bytes;
};

/* ---- the worker ---- */

static int work(int fd, int dies)
{
  union room m;
  struct syslink_builder b;
  char *block = syslink_alloc(SYSLINK_BUF_MAX);
  struct iovec in[2] = {{&m, sizeof m}, {block, SYSLINK_BUF_MAX}};
  while (syslink_readv(fd, in, 2) > 0) {
    int lines = 0;
    for (uint32_t i = 0, n = syslink_msg_buffer_bytes(&m.msg); i < n; i++)
      lines += block[i] == '\n';
    if (dies)
      abort();
    union room answer;
    syslink_msg_reply(&b, &answer, sizeof answer, &m.msg, 0);
    syslink_elm_put(&b, 1, lines, 0, 0);
    syslink_writev(fd, &(struct iovec){&answer, (size_t)syslink_msg_end(&b)}, 1);
  }
  return 0;
}

static int start(const char *self, int dies)
{
  struct syslink_info info = {.flags = SYSLINK_CLOEXEC}; /* nobody inherits the ends of others */
  char number[12];
  if (syslink(SYSLINK_CMD_NEW, &info, sizeof info))
    return -1;
  snprintf(number, sizeof number, "%d", info.fd[1]);
  if (!fork()) {
    fcntl(info.fd[1], F_SETFD, 0);
    execl(self, self, number, dies ? "dies" : (char *)0, (char *)0);
    _exit(1);
  }
  close(info.fd[1]);
  return info.fd[0];
}

/* ---- who gives the work ---- */

static int give(struct worker *w, char *block, uint32_t bytes)
{
  union room m;
  struct syslink_builder b;
  syslink_msg_begin(&b, &m, sizeof m, 1, 1);
  syslink_msg_buffer(&b, bytes);
  struct iovec out[2] = {{&m, (size_t)syslink_msg_end(&b)}, {block, bytes}};
  if (syslink_writev(w->fd, out, 2) < 0)
    return -1;
  w->block = block;
  w->bytes = bytes;
  return 0;
}

/* The block of one that has died goes to another; who is dead is not asked again. */
static void give_to_any(struct worker *w, char *block, uint32_t bytes)
{
  for (int i = 0; i < WORKERS; i++)
    if (w[i].fd >= 0 && !w[i].block && !give(&w[i], block, bytes))
      return;
  fputs("no worker is left\n", stderr);
  exit(1);
}

static int take(struct worker *all, struct worker *w)
{
  union room m;
  char *block = w->block;
  if (syslink_readv(w->fd, &(struct iovec){&m, sizeof m}, 1) <= 0)
    return 0;
  w->block = 0;
  if (!m.msg.sm_head.se_aux) {
    syslink_free(block);
    return syslink_elm_first(&m.msg.sm_head)->se_aux;
  }
  syslink_close(w->fd);
  w->fd = -1;
  give_to_any(all, block, w->bytes);
  return 0;
}

/* Waits until somebody has answered. */
static int collect(struct worker *w)
{
  struct pollfd p[WORKERS];
  int lines = 0;
  for (int i = 0; i < WORKERS; i++)
    p[i] = (struct pollfd){.fd = w[i].block ? w[i].fd : -1, .events = POLLIN};
  poll(p, WORKERS, -1);
  for (int i = 0; i < WORKERS; i++)
    if (p[i].revents)
      lines += take(w, &w[i]);
  return lines;
}

static int busy(const struct worker *w)
{
  int n = 0;
  for (int i = 0; i < WORKERS; i++)
    n += w[i].fd < 0 || w[i].block;
  return n;
}

static int working(const struct worker *w)
{
  for (int i = 0; i < WORKERS; i++)
    if (w[i].block)
      return 1;
  return 0;
}

int main(int argc, char **argv)
{
  struct worker w[WORKERS];
  int lines = 0;
  size_t n;
  if (argc > 1)
    return work(atoi(argv[1]), argc > 2);
  for (int i = 0; i < WORKERS; i++)
    w[i] = (struct worker){.fd = start(argv[0], i == 1)};
  for (;;) {
    char *block = syslink_alloc(SYSLINK_BUF_MAX);
    if (!(n = fread(block, 1, SYSLINK_BUF_MAX, stdin)))
      break;
    while (busy(w) >= WORKERS - 1) /* one is kept for what may come back */
      lines += collect(w);
    give_to_any(w, block, (uint32_t)n);
  }
  while (working(w))
    lines += collect(w);
  for (int i = 0; i < WORKERS; i++)
    if (w[i].fd >= 0)
      syslink_close(w[i].fd);
  while (wait(0) > 0)
    continue;
  printf("%d\n", lines);
  return 0;
}
