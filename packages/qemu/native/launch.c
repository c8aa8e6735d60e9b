/*
 * Starts data-plane processes. Three things Node.js cannot do: enter a network namespace, set TCP_NODELAY on a
 * listening socket (accepted sockets inherit it; without it QEMU 7.2's NBD server stalls 40 ms per request), and
 * hand an open socket to a program it starts.
 *
 *   launch keep [--netns PATH] --control PATH (--unix PATH | --tcp HOST PORT)
 *     Listens, and hands the listening socket to whoever connects to the control socket, together with the port as
 *     text. It outlives the server that uses the socket, so a client that reconnects while the server is
 *     restarted waits in the backlog instead of being refused. The control socket appears when all is ready.
 *
 *   launch run [--netns PATH] [--take CONTROL] -- PROGRAM [ARGUMENT...]
 *     Becomes PROGRAM, in a session of its own; the socket taken from CONTROL is file descriptor 3.
 *
 *   launch dial [--netns PATH] HOST PORT
 *     Connects and relays between the connection and file descriptor 3.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what, ...) {
  va_list arguments;
  va_start(arguments, what);
  int error = errno;
  vfprintf(stderr, what, arguments);
  fprintf(stderr, error ? ": %s\n" : "\n", strerror(error));
  va_end(arguments);
  exit(126);
}

static void enter_netns(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die("cannot open network namespace %s", path);
  if (setns(fd, CLONE_NEWNET) < 0) die("cannot enter network namespace %s", path);
  close(fd);
}

static struct sockaddr_un unix_address(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = 0;
    die("socket path %s is longer than %zu bytes", path, sizeof address.sun_path - 1);
  }
  strcpy(address.sun_path, path);
  return address;
}

/* The name appears only once the socket listens, so whoever sees it can connect. */
static int listen_unix(const char *path) {
  char hidden[128];
  snprintf(hidden, sizeof hidden, "%s~", path);
  struct sockaddr_un address = unix_address(hidden);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(hidden);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("cannot bind %s", hidden);
  if (listen(fd, 128) < 0) die("cannot listen on %s", hidden);
  if (rename(hidden, path) < 0) die("cannot rename %s", hidden);
  return fd;
}

static struct addrinfo *resolve(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
  int error = getaddrinfo(host, port, &hints, &found);
  errno = 0;
  if (error) die("cannot resolve %s port %s: %s", host, port, gai_strerror(error));
  return found;
}

static int listen_tcp(const char *host, const char *port) {
  struct addrinfo *at = resolve(host, port);
  int on = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("cannot make a socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) die("cannot set TCP_NODELAY");
  if (bind(fd, at->ai_addr, at->ai_addrlen) < 0) die("cannot bind %s port %s", host, port);
  if (listen(fd, 128) < 0) die("cannot listen on %s port %s", host, port);
  return fd;
}

static int port_of(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return 0;
  if (address.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
  return 0;
}

static void send_socket(int to, int fd) {
  char port[16];
  int length = snprintf(port, sizeof port, "%d\n", port_of(fd));
  struct iovec text = {port, length};
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = {0};
  struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  sendmsg(to, &message, MSG_NOSIGNAL);
}

static int take_socket(const char *path) {
  struct sockaddr_un address = unix_address(path);
  int from = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1;
  if (from < 0 || connect(from, (struct sockaddr *)&address, sizeof address) < 0) die("cannot connect to %s", path);
  char port[16];
  struct iovec text = {port, sizeof port};
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = {0};
  struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  if (recvmsg(from, &message, 0) < 0) die("no answer from %s", path);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  errno = 0;
  if (!header || header->cmsg_type != SCM_RIGHTS) die("%s gave no socket", path);
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  close(from);
  return fd;
}

static void keep(int listener, const char *control_path) {
  signal(SIGHUP, SIG_IGN);
  int control = listen_unix(control_path);
  for (;;) {
    int to = accept4(control, NULL, NULL, SOCK_CLOEXEC);
    if (to < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      die("cannot accept on %s", control_path);
    }
    send_socket(to, listener);
    close(to);
  }
}

static int copy_some(int from, int to) {
  char bytes[65536];
  ssize_t got = read(from, bytes, sizeof bytes);
  for (ssize_t sent = 0; sent < got;) {
    ssize_t n = write(to, bytes + sent, got - sent);
    if (n <= 0) return -1;
    sent += n;
  }
  return got > 0 ? 0 : -1;
}

static void dial(const char *host, const char *port) {
  struct addrinfo *at = resolve(host, port);
  int on = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, at->ai_addr, at->ai_addrlen) < 0) die("cannot connect to %s port %s", host, port);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct pollfd ends[2] = {{.fd = fd, .events = POLLIN}, {.fd = 3, .events = POLLIN}};
  while (poll(ends, 2, -1) > 0) {
    if (ends[0].revents && copy_some(fd, 3) < 0) break;
    if (ends[1].revents && copy_some(3, fd) < 0) break;
  }
  exit(0);
}

int main(int count, char **words) {
  const char *netns = NULL, *control = NULL, *unix_path = NULL, *host = NULL, *port = NULL, *take = NULL;
  int i = 2;
  for (; i < count; i++) {
    if (!strcmp(words[i], "--netns") && i + 1 < count) netns = words[++i];
    else if (!strcmp(words[i], "--control") && i + 1 < count) control = words[++i];
    else if (!strcmp(words[i], "--take") && i + 1 < count) take = words[++i];
    else if (!strcmp(words[i], "--unix") && i + 1 < count) unix_path = words[++i];
    else if (!strcmp(words[i], "--tcp") && i + 2 < count) host = words[++i], port = words[++i];
    else break;
  }
  if (i < count && !strcmp(words[i], "--")) i++;
  umask(0077);
  setsid();
  errno = 0;
  const char *mode = count > 1 ? words[1] : "";
  if (netns) enter_netns(netns);
  if (!strcmp(mode, "keep") && control && (unix_path || host))
    keep(unix_path ? listen_unix(unix_path) : listen_tcp(host, port), control);
  if (!strcmp(mode, "dial") && i + 1 < count) dial(words[i], words[i + 1]);
  if (!strcmp(mode, "run") && i < count) {
    if (take) {
      int fd = take_socket(take);
      if (fd == 3) fcntl(fd, F_SETFD, 0);
      else if (dup2(fd, 3) < 0 || close(fd) < 0) die("cannot pass the socket on");
    }
    execvp(words[i], words + i);
    die("cannot start %s", words[i]);
  }
  errno = 0;
  die("usage: launch keep|run|dial ... (see the head of launch.c)");
}
