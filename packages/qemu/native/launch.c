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
 *
 *   launch reach [--netns PATH] HOST PORT MILLISECONDS
 *     Connects, and ends; or says why it can't, and ends with 1.
 *
 *   launch guard MONITOR JOB REGISTER WINDOW DECISION
 *     Ends a cutover that nobody ends: it depends on no other process of ours. See the part "The guard" below.
 *
 *   launch hold PID START MILLISECONDS
 *     Stops the process with that start time (field 22 of /proc/PID/stat), says "held", and lets it go when its own
 *     input ends, when the time is over, or when it is told to end; the latter by a second process, too.
 *
 * One file on purpose: one program to build, and what it is built from has one checksum.
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
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
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

/* A host that is gone without a word would hold a plain connect() up for minutes. */
static void reach(const char *host, const char *port, int ms) {
  struct addrinfo *at = resolve(host, port);
  int error = 0, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("cannot make a socket");
  if (connect(fd, at->ai_addr, at->ai_addrlen) < 0) error = errno;
  if (error == EINPROGRESS) {
    struct pollfd connected = {.fd = fd, .events = POLLOUT};
    socklen_t length = sizeof error;
    if (poll(&connected, 1, ms) <= 0) error = ETIMEDOUT;
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) error = errno;
  }
  if (error) fprintf(stderr, "%s\n", strerror(error));
  exit(error != 0);
}

/*
 * The guard of one attempt at a cutover. MONITOR is a QMP monitor of the storage daemon that nobody else uses, JOB the
 * mirror's id there, REGISTER the attempt's decision register: a name that does not exist until the decision, and then
 * is a link to REGISTER.committed or REGISTER.abandoned, which lie ready. A link is made once: whoever is second
 * finds the decision of the first, and whoever comes after the attempt was tidied up finds nothing to link.
 *
 * WINDOW (ms) is what the job is given until PENDING, DECISION what the register is given from PENDING on. Then:
 * nothing decided: `abandoned` is written, and the job cancelled: I/O goes on at the source. `committed`: the job is
 * finalized: I/O goes on at the target. Where that is not confirmed the daemon is killed, so that it cannot
 * acknowledge anything at the source. The guard ends with the job, and with the daemon. REGISTER.guard appears when it
 * is ready. Time is CLOCK_MONOTONIC: it neither jumps nor counts while the machine sleeps, guest and all.
 */
/*
 * A finalize that fails is told at once; one that is slow, on a machine that is busy, is better waited for: where the
 * daemon is killed, the guest waits until somebody starts it again.
 */
enum { confirm_ms = 15000, cancel_ms = 5000, write_ms = 60000 };

static struct {
  int monitor, head;
  const char *job, *path;
  char id[160], text[65536];
  size_t length, taken;
} guarded;

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(const char *what) { fprintf(stderr, "guard of %s: %s\n", guarded.job, what); }

/* The next line of the monitor; NULL when `until` has come. Ends the program with the daemon. */
static char *next_line(long until) {
  for (;;) {
    char *from = guarded.text + guarded.taken;
    char *end = memchr(from, '\n', guarded.length - guarded.taken);
    if (end) {
      *end = 0;
      guarded.taken = end + 1 - guarded.text;
      return from;
    }
    guarded.length -= guarded.taken;
    memmove(guarded.text, from, guarded.length);
    guarded.taken = 0;
    if (guarded.length == sizeof guarded.text) guarded.length = 0; /* nothing that we asked for is so long */
    long left = until - now_ms();
    struct pollfd from_daemon = {.fd = guarded.monitor, .events = POLLIN};
    if (left <= 0) return NULL;
    if (poll(&from_daemon, 1, left > 60000 ? 60000 : (int)left) <= 0) continue;
    ssize_t got = read(guarded.monitor, guarded.text + guarded.length, sizeof guarded.text - guarded.length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) exit(0);
    guarded.length += got;
  }
}

static bool tells(const char *line, const char *status) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"status\": \"%s\"", status);
  return strstr(line, "\"JOB_STATUS_CHANGE\"") && strstr(line, guarded.id) && strstr(line, wanted);
}

/* Sends a command; its answer carries the number that is returned. */
static int ask(const char *command, bool of_job) {
  static int number = 0;
  char text[320];
  int length = snprintf(text, sizeof text, "{\"execute\": \"%s\", \"id\": \"q%d\", \"arguments\": {%s}}\n", command,
                        ++number, of_job ? guarded.id : "");
  if (send(guarded.monitor, text, length, MSG_NOSIGNAL) != length) exit(0);
  return number;
}

static bool answers(const char *line, int number) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "\"id\": \"q%d\"", number);
  return strstr(line, wanted) != NULL;
}

/* NULL where it does not come. Events in between tell nothing that is not asked for again. */
static char *answer_to(int number, long until) {
  for (char *line; (line = next_line(until));)
    if (answers(line, number)) return line;
  return NULL;
}

/* The object of our job in an answer of query-jobs, as text; NULL where there is none. */
static char *own_job(char *list) {
  char *begin = NULL;
  bool quoted = false;
  int depth = 0;
  for (char *at = list; *at; at++) {
    if (quoted && *at == '\\' && at[1]) at++;
    else if (*at == '"') quoted = !quoted;
    else if (!quoted && *at == '{' && ++depth == 2) begin = at;
    else if (!quoted && *at == '}' && --depth == 1 && begin) {
      *at = 0;
      if (strstr(begin, guarded.id)) return begin;
    }
  }
  return NULL;
}

static void make_durable(void) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", guarded.path);
  *strrchr(folder, '/') = 0;
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) < 0) say("the folder of the register cannot be synchronised");
  if (fd >= 0) close(fd);
}

/* The register's value, on disk before it is acted upon; 0 where it has none. */
static char decision(void) {
  char value = 0;
  int fd = open(guarded.path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  if (read(fd, &value, 1) != 1) value = 0;
  close(fd);
  make_durable();
  return value;
}

/* Afterwards the export stands on the target, or the daemon is dead; a job that is gone was looked after. */
static void confirm(void) {
  char *list = answer_to(ask("query-jobs", false), now_ms() + confirm_ms);
  bool answered = list && strstr(list, "\"return\"");
  char *job = answered ? own_job(list) : NULL;
  if (answered && (!job || (strstr(job, "\"status\": \"concluded\"") && !strstr(job, "\"error\": "))))
    exit(0);
  say("the target is the truth, and the daemon does not confirm that it stands on it; killed");
  syscall(SYS_pidfd_send_signal, guarded.head, SIGKILL, NULL, 0);
  exit(0);
}

static void finalize(void) {
  say("nobody carried the cutover out in time; finalizing");
  long until = now_ms() + confirm_ms;
  int number = ask("job-finalize", true);
  for (char *line; (line = next_line(until));)
    if (tells(line, "concluded") || (answers(line, number) && strstr(line, "\"error\""))) break;
  confirm();
}

static void decide(void) {
  char abandoned[4096];
  snprintf(abandoned, sizeof abandoned, "%s.abandoned", guarded.path);
  for (long end = now_ms() + write_ms; link(abandoned, guarded.path) < 0; usleep(100000)) {
    if (errno == ENOENT) exit(0); /* tidied up: not ours any more */
    if (errno == EEXIST) break;
    if (now_ms() > end) die("guard of %s: cannot write the register %s", guarded.job, guarded.path);
  }
  char value = decision();
  if (value == 'c') finalize();
  errno = 0;
  if (value != 'a') die("guard of %s: cannot read the register %s", guarded.job, guarded.path);
  say("nobody decided in time; cancelling");
  answer_to(ask("job-cancel", true), now_ms() + cancel_ms);
  exit(0);
}

static void guard(char **words) {
  guarded.job = words[1];
  guarded.path = words[2];
  long begun = now_ms(), decision_ms = atol(words[4]), until = begun + atol(words[3]);
  snprintf(guarded.id, sizeof guarded.id, "\"id\": \"%s\"", guarded.job);
  signal(SIGHUP, SIG_IGN);
  struct sockaddr_un address = unix_address(words[0]);
  struct ucred head;
  socklen_t length = sizeof head;
  guarded.monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (guarded.monitor < 0 || connect(guarded.monitor, (struct sockaddr *)&address, sizeof address) < 0)
    die("guard of %s: cannot connect to %s", guarded.job, words[0]);
  if (getsockopt(guarded.monitor, SOL_SOCKET, SO_PEERCRED, &head, &length) < 0 ||
      (guarded.head = syscall(SYS_pidfd_open, head.pid, 0)) < 0)
    die("guard of %s: cannot find the storage daemon", guarded.job);
  if (!next_line(begun + cancel_ms)) exit(1);
  if (!answer_to(ask("qmp_capabilities", false), begun + cancel_ms)) exit(1);
  char *list = answer_to(ask("query-jobs", false), begun + cancel_ms), *job = list ? own_job(list) : NULL;
  errno = 0;
  if (!job) die("guard of %s: there is no such job", guarded.job);
  bool pending = strstr(job, "\"status\": \"pending\"") != NULL;
  if (pending) until = now_ms() + decision_ms;
  char ready[4096];
  snprintf(ready, sizeof ready, "%s.guard", guarded.path);
  int fd = open(ready, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) die("guard of %s: cannot make %s", guarded.job, ready);
  close(fd);
  for (char *line; (line = next_line(until));) {
    if (!pending && tells(line, "pending")) pending = true, until = now_ms() + decision_ms;
    if (tells(line, "null")) exit(0);
    if (!tells(line, "concluded")) continue;
    if (decision() == 'c') confirm();
    exit(0);
  }
  decide();
}

static int held = -1;

static void let_go(int unused) {
  (void)unused;
  syscall(SYS_pidfd_send_signal, held, SIGCONT, NULL, 0);
  _exit(0);
}

/* Field 22 of /proc/PID/stat; what follows the command's closing parenthesis has no other. */
static bool started_at(const char *pid, const char *start) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (got <= 0) return false;
  text[got] = 0;
  char *field = strrchr(text, ')');
  for (int n = 2; field && n < 22; n++) field = strchr(field + 1, ' ');
  size_t length = strlen(start);
  return field && !strncmp(field + 1, start, length) && field[1 + length] == ' ';
}

/* A guest must not stay stopped because this process was killed: its child, which dies last, lets it go, too. */
static void hold(const char *pid, const char *start, int ms) {
  held = syscall(SYS_pidfd_open, atoi(pid), 0);
  errno = 0;
  if (held < 0 || !started_at(pid, start)) die("there is no process %s that was started at %s", pid, start);
  int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGALRM};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], let_go);
  pid_t parent = getpid();
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) let_go(0); /* it died before the signal was asked for, and may have stopped the process */
    close(0);
    close(1);
    for (;;) pause();
  }
  if (syscall(SYS_pidfd_send_signal, held, SIGSTOP, NULL, 0) < 0) die("cannot stop process %s", pid);
  if (write(1, "held\n", 5) == 5) {
    struct pollfd word = {.fd = 0, .events = POLLIN};
    poll(&word, 1, ms);
  }
  let_go(0);
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
  /* These outlive whoever starts them, and what they inherit would stay open: a lock held, a pipe that never ends. */
  if (strcmp(mode, "dial")) syscall(SYS_close_range, 3, ~0U, 0);
  if (netns) enter_netns(netns);
  if (!strcmp(mode, "keep") && control && (unix_path || host))
    keep(unix_path ? listen_unix(unix_path) : listen_tcp(host, port), control);
  if (!strcmp(mode, "dial") && i + 1 < count) dial(words[i], words[i + 1]);
  if (!strcmp(mode, "reach") && i + 3 == count) reach(words[i], words[i + 1], atoi(words[i + 2]));
  if (!strcmp(mode, "guard") && i + 5 == count) guard(words + i);
  if (!strcmp(mode, "hold") && i + 3 == count) hold(words[i], words[i + 1], atoi(words[i + 2]));
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
  die("usage: launch keep|run|dial|reach|guard|hold ... (see the head of launch.c)");
}
