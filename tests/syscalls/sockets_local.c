/* Socket pairs and unix sockets between the program's own processes. */
#include "t.h"
#include <sys/socket.h>
#include <sys/un.h>

int main(void)
{
  int s[2];
  char buf[16] = "";
  T(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  T(send(s[0], "hello", 5, 0));
  T(recv(s[1], buf, 2, MSG_PEEK));
  T(recv(s[1], buf, sizeof buf, 0));
  say("%s", buf);
  T(shutdown(s[0], SHUT_WR));
  T(recv(s[1], buf, sizeof buf, 0));
  T(send(s[0], "x", 1, MSG_NOSIGNAL));
  T(recv(s[0], buf, 1, MSG_DONTWAIT));
  T(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
  T(write(s[0], "one", 3));
  T(write(s[0], "three", 5));
  T(read(s[1], buf, 2));
  T(read(s[1], buf, sizeof buf));
  T(read(s[1], buf, sizeof buf));
  int type;
  socklen_t len = sizeof type;
  T(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &len));
  T(type);
  struct ucred cred;
  len = sizeof cred;
  T(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &cred, &len));
  YES(cred.pid == getpid() && cred.uid == geteuid());
  T(socketpair(AF_INET, SOCK_STREAM, 0, s));
  T(getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &len));
  struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0fsyscall-test"};
  snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "test-%d", getpid());
  int l = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
  T(bind(l, (struct sockaddr *)&a, sizeof a));
  T(listen(l, 5));
  pid_t pid = fork();
  if (!pid) {
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    _exit(connect(c, (struct sockaddr *)&a, sizeof a) || write(c, "client", 6) != 6);
  }
  int c = (int)OK(accept(l, 0, 0));
  T(recv(c, buf, 6, MSG_WAITALL));
  wait_for(pid, "client");
  return 0;
}
