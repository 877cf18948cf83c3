/* Asks another process three questions; it dies over the third, and that one has its reply all the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <syslink.h>

static void serve(int fd)
{
  union {
    struct syslink_msg msg;
    char room[SYSLINK_MSG_MAX];
  } in, out;
  struct syslink_builder b;
  while (syslink_readv(fd, &(struct iovec){&in, sizeof in}, 1) > 0) {
    const struct syslink_elm *e = syslink_elm_first(&in.msg.sm_head);
    if (e->se_aux == 0)
      abort();
    syslink_msg_reply(&b, &out, sizeof out, &in.msg, 0);
    syslink_elm_put(&b, 1, 1000 / e->se_aux, 0, 0);
    syslink_writev(fd, &(struct iovec){&out, (size_t)syslink_msg_end(&b)}, 1);
  }
}

int main(void)
{
  struct syslink_info info = {.flags = SYSLINK_CLOEXEC};
  union {
    struct syslink_msg msg;
    char room[SYSLINK_MSG_MAX];
  } m;
  struct syslink_builder b;
  if (syslink(SYSLINK_CMD_NEW, &info, sizeof info)) {
    perror("syslink");
    return 1;
  }
  if (!fork()) {
    close(info.fd[0]);
    serve(info.fd[1]);
    _exit(0);
  }
  close(info.fd[1]); /* or its end would not end with it */
  for (int i = 2; i >= 0; i--) {
    syslink_msg_begin(&b, &m, sizeof m, 1, (uint64_t)i);
    syslink_elm_put(&b, 1, i, 0, 0);
    syslink_writev(info.fd[0], &(struct iovec){&m, (size_t)syslink_msg_end(&b)}, 1);
  }
  while (syslink_readv(info.fd[0], &(struct iovec){&m, sizeof m}, 1) > 0) {
    int error = m.msg.sm_head.se_aux;
    if (error)
      printf("1000 / %d: %s\n", (int)m.msg.sm_msgid, strerror(error));
    else
      printf("1000 / %d = %d\n", (int)m.msg.sm_msgid, syslink_elm_first(&m.msg.sm_head)->se_aux);
  }
  wait(0);
  return 0;
}
