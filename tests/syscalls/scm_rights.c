/* Descriptors passed in messages: the offset is shared, the file stays open in flight, credentials. */
#include "t.h"
#include <sys/socket.h>
#include <sys/uio.h>

static long pass_fd(int sock, int fd)
{
  char c = 'm', room[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec v = {&c, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(h), &fd, sizeof fd);
  return sendmsg(sock, &m, 0);
}

static int take_fd(int sock, int flags)
{
  char c, room[CMSG_SPACE(sizeof(int))];
  struct iovec v = {&c, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  show("recvmsg", recvmsg(sock, &m, flags));
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  int fd = -1;
  if (h)
    memcpy(&fd, CMSG_DATA(h), sizeof fd);
  return fd;
}

int main(void)
{
  int s[2];
  char buf[4];
  make("f", "0123456789");
  T(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  int fd = open("f", O_RDWR);
  T(read(fd, buf, 2));
  T(pass_fd(s[0], fd));
  T(close(fd));
  int got = take_fd(s[1], MSG_CMSG_CLOEXEC);
  T(fcntl(got, F_GETFD));
  T(lseek(got, 0, SEEK_CUR));
  pid_t pid = fork();
  if (!pid) {
    int theirs = take_fd(s[1], 0);
    T(lseek(theirs, 3, SEEK_CUR));
    T(write(theirs, "W", 1));
    _exit(0);
  }
  long sent = pass_fd(s[0], got);
  wait_for(pid, "receiver");
  T(sent);
  T(lseek(got, 0, SEEK_CUR));
  show_fd("f", got);
  int p[2];
  pipe(p);
  T(pass_fd(s[0], p[1]));
  close(p[1]);
  int w = take_fd(s[1], 0);
  T(write(w, "pipe", 4));
  T(read(p[0], buf, 4));
  T(pass_fd(s[0], 999));
  return 0;
}
