/* Who is at the other end of a unix socket, and who sent a message: always this user. */
#include "t.h"
#include <sys/socket.h>

static void peer(int fd)
{
  struct ucred u = {0, 0, 0};
  socklen_t len = sizeof u;
  T(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len));
  YES(len == sizeof u && u.pid == getpid() && u.uid == geteuid() && u.gid == getegid());
  u = (struct ucred){0, 0, 7};
  len = 8;
  T(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &len));
  YES(len == 8 && u.uid == geteuid() && u.gid == 7);
  T(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, (void *)8, &len));
}

union control {
  char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
  struct cmsghdr align;
};

static struct msghdr message(union control *c, struct iovec *v, size_t space)
{
  return (struct msghdr){.msg_iov = v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = space};
}

static void put_ids(struct msghdr *m, struct ucred u)
{
  struct cmsghdr *h = CMSG_FIRSTHDR(m);
  *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof u), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS};
  memcpy(CMSG_DATA(h), &u, sizeof u);
}

static void show_control(struct msghdr *m, const char *bytes, long n)
{
  say("%ld bytes %.1s", n, bytes);
  for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
    struct ucred u;
    int fd;
    memcpy(&u, CMSG_DATA(h), sizeof u);
    memcpy(&fd, CMSG_DATA(h), sizeof fd);
    if (h->cmsg_type == SCM_CREDENTIALS)
      say("ids: %s", u.pid == getpid() && u.uid == getuid() && u.gid == getgid() ? "mine" : "other's");
    else
      show_file(h->cmsg_type == SCM_RIGHTS && fcntl(fd, F_GETFD) >= 0 ? "f" : "nothing");
  }
}

static void one(int from, int to)
{
  char bytes[4] = "a";
  struct iovec v = {bytes, 1};
  union control c;
  struct msghdr m = message(&c, &v, CMSG_SPACE(sizeof(struct ucred)));
  struct ucred me = {getpid(), getuid(), getgid()}, root = {1, 0, 0};
  if (getuid() == 0)
    root.pid = root.uid = root.gid = getpid();
  put_ids(&m, me);
  T(sendmsg(from, &m, 0));
  struct ucred after;
  memcpy(&after, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof after);
  YES(!memcmp(&after, &me, sizeof me));
  m = message(&c, &v, sizeof c);
  show_control(&m, bytes, recvmsg(to, &m, 0));
  m = message(&c, &v, CMSG_SPACE(sizeof root));
  put_ids(&m, root);
  if (getuid())
    T(sendmsg(from, &m, 0));
  m = message(0, &v, 0);
  T(sendmsg(from, &m, 0));
  m = message(&c, &v, sizeof c);
  show_control(&m, bytes, recvmsg(to, &m, 0));
}

static void put_right(struct msghdr *m, int fd)
{
  struct cmsghdr *h = CMSG_FIRSTHDR(m);
  *h = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(h), &fd, sizeof fd);
}

static void many(int from, int to)
{
  char in[2][4] = {"x", "y"}, out[3][4] = {"", "", ""};
  struct iovec v[2] = {{in[0], 1}, {in[1], 1}}, w[3] = {{out[0], 4}, {out[1], 4}, {out[2], 4}};
  union control c[3];
  struct mmsghdr m[3] = {{.msg_hdr = message(&c[0], &v[0], CMSG_SPACE(sizeof(struct ucred)))},
                         {.msg_hdr = message(&c[1], &v[1], CMSG_SPACE(sizeof(int)))}};
  int fd = open("f", O_RDONLY);
  put_ids(&m[0].msg_hdr, (struct ucred){getpid(), getuid(), getgid()});
  put_right(&m[1].msg_hdr, fd);
  T(sendmmsg(from, m, 2, 0));
  T(m[0].msg_len + m[1].msg_len);
  for (int i = 0; i < 3; i++)
    m[i].msg_hdr = message(&c[i], &w[i], sizeof c[i]);
  int n = (int)T(recvmmsg(to, m, 3, MSG_DONTWAIT, 0));
  for (int i = 0; i < n; i++)
    show_control(&m[i].msg_hdr, out[i], m[i].msg_len);
  m[0].msg_hdr = message(&c[0], &v[0], CMSG_SPACE(sizeof(int)));
  put_right(&m[0].msg_hdr, 9999);
  T(sendmmsg(from, m, 1, 0));
}

int main(void)
{
  int s[2], on = 1;
  make("f", "a file");
  T(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
  peer(s[0]);
  T(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  one(s[0], s[1]);
  many(s[0], s[1]);
  return 0;
}
