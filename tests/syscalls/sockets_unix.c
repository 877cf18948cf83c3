/* Unix sockets by their names in the file system: streams, datagrams, packets, who is there, what names are told. */
#include "t.h"
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un name_of(const char *path)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
  return a;
}

static long bind_to(int fd, const char *path)
{
  struct sockaddr_un a = name_of(path);
  return bind(fd, (struct sockaddr *)&a, sizeof a);
}

static long connect_to(int fd, const char *path)
{
  struct sockaddr_un a = name_of(path);
  return connect(fd, (struct sockaddr *)&a, sizeof a);
}

static void show_name(const char *what, const struct sockaddr_un *a, socklen_t len)
{
  say("%s: family %d, length %d, name %.*s", what, a->sun_family, (int)len, len > 2 ? (int)len - 2 : 0, a->sun_path);
}

static void names(int fd)
{
  struct sockaddr_un a = {0};
  socklen_t len = sizeof a;
  T(getsockname(fd, (struct sockaddr *)&a, &len));
  show_name("own", &a, len);
  len = 5;
  memset(&a, 0, sizeof a);
  T(getsockname(fd, (struct sockaddr *)&a, &len));
  say("%d %.3s", (int)len, a.sun_path);
  len = sizeof a;
  memset(&a, 0, sizeof a);
  if (!T(getpeername(fd, (struct sockaddr *)&a, &len)))
    show_name("peer", &a, len);
}

static void client(int type, const char *path)
{
  char buf[16] = "";
  int c = socket(AF_UNIX, type, 0);
  T(connect_to(c, path));
  names(c);
  struct ucred u;
  socklen_t len = sizeof u;
  T(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &len));
  YES(u.pid == getppid() && u.uid == getuid() && u.gid == getgid());
  T(write(c, "question", 8));
  T(recv(c, buf, sizeof buf, 0));
  say("%s", buf);
}

static void connections(int type, const char *path)
{
  char buf[16] = "";
  struct sockaddr_un a = {0};
  socklen_t len = sizeof a;
  int l = (int)OK(socket(AF_UNIX, type, 0));
  T(bind_to(l, path));
  T(bind_to(l, "other"));
  names(l);
  int c = (int)OK(socket(AF_UNIX, type, 0));
  T(connect_to(c, path)); /* nobody listens */
  T(listen(l, 2));
  pid_t pid = fork();
  if (!pid) {
    dup2(open("client", O_CREAT | O_WRONLY | O_TRUNC, 0600), 1); /* what the two say is not mixed */
    client(type, path);
    fflush(stdout);
    _exit(0);
  }
  int s = (int)OK(accept4(l, (struct sockaddr *)&a, &len, SOCK_CLOEXEC));
  T(recv(s, buf, sizeof buf, 0));
  struct ucred u;
  socklen_t ulen = sizeof u;
  T(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &ulen));
  YES(u.pid == pid);
  T(send(s, "answer", 6, 0));
  wait_for(pid, "client");
  show_file("client");
  show_name("accepted", &a, len);
  names(s);
  T(close(l));
  T(connect_to(c, path)); /* nobody there any more */
}

static void datagrams(void)
{
  char buf[16] = "";
  struct sockaddr_un a = name_of("d1"), from = {0};
  socklen_t len = sizeof from;
  int d = (int)OK(socket(AF_UNIX, SOCK_DGRAM, 0)), e = (int)OK(socket(AF_UNIX, SOCK_DGRAM, 0));
  T(bind_to(d, "d1"));
  T(sendto(e, "one", 3, 0, (struct sockaddr *)&a, sizeof a));
  T(recvfrom(d, buf, sizeof buf, 0, (struct sockaddr *)&from, &len));
  show_name("from", &from, len);
  T(bind_to(e, "d2"));
  struct iovec v = {"three", 5};
  struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1};
  T(sendmsg(e, &m, 0));
  v = (struct iovec){buf, sizeof buf};
  m = (struct msghdr){.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1};
  T(recvmsg(d, &m, 0));
  show_name("from", &from, m.msg_namelen);
  T(connect_to(e, "d1"));
  T(send(e, "four", 4, 0));
  len = sizeof from;
  T(recvfrom(d, buf, 2, MSG_TRUNC, (struct sockaddr *)&from, &len));
  show_name("from", &from, len);
  T(recvfrom(d, buf, 2, MSG_DONTWAIT, 0, 0));
  names(e);
  a = name_of("absent");
  T(sendto(e, "x", 1, 0, (struct sockaddr *)&a, sizeof a));
  T(close(d));
  T(send(e, "x", 1, MSG_NOSIGNAL));
}

static void passing(void)
{
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } ctl = {0};
  char byte = 'x';
  struct iovec v = {&byte, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = sizeof ctl};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  int l = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
  T(bind_to(l, "p"));
  T(listen(l, 1));
  make("f", "what a file holds\n");
  pid_t pid = fork();
  if (!pid) {
    int c = socket(AF_UNIX, SOCK_STREAM, 0), f = open("f", O_RDONLY);
    connect_to(c, "p");
    *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof f), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &f, sizeof f);
    _exit(sendmsg(c, &m, 0) != 1);
  }
  int s = (int)OK(accept(l, 0, 0)), fd = -1;
  T(recvmsg(s, &m, 0));
  memcpy(&fd, CMSG_DATA(h), sizeof fd);
  char buf[32] = "";
  T(read(fd, buf, sizeof buf - 1));
  say("%s", buf);
  wait_for(pid, "sender");
}

int main(void)
{
  struct stat st;
  umask(027);
  connections(SOCK_STREAM, "stream");
  connections(SOCK_SEQPACKET, "packets");
  datagrams();
  passing();
  T(stat("stream", &st));
  YES(S_ISSOCK(st.st_mode));
  T(st.st_mode & 07777);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  T(bind_to(s, "stream"));
  T(bind_to(s, "no/such/place"));
  make("file", "");
  T(connect_to(s, "file"));
  T(connect_to(s, "absent"));
  T(connect_to(s, "d1"));
  mkdir("dir", 0755);
  T(bind_to(s, "dir/sock"));
  T(listen(s, 1));
  T(rename("dir/sock", "moved"));
  symlink("moved", "link");
  T(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "link"));
  T(unlink("moved"));
  T(connect_to(socket(AF_UNIX, SOCK_STREAM, 0), "moved"));
  return 0;
}
