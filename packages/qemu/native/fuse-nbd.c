/*
 * Presents the export of an NBD server, at a unix socket, as one regular file: the root of a FUSE file system. A loop
 * device over that file is a disk whose server may die, and whose own processes may die, without an I/O error: requests
 * wait. Words are KEY=VALUE; paths are absolute.
 *
 *   fuse-nbd serve mount=FILE head=FILE size=BYTES pids=FILE [identity=TEXT]
 *     Mounts at `mount`, an empty file that is there, and serves until that is unmounted. `head` has two lines, the
 *     path of the server's socket and the export's name; it is read again for each connection, for the server may be
 *     replaced by one at another place. TEXT is what the export's description must be. `pids` gets lines "supervisor PID
 *     START" and "worker PID START" (START: field 22 of /proc/PID/stat) and "boot ID", when one of them is another.
 *     `pids`.trouble has a sentence as long as something is wrong.
 *
 *   fuse-nbd adopt worker=PID START=TICKS (and all words of serve)
 *     Takes the place of a supervisor that died: the worker's connection to the kernel is fetched from the worker.
 *
 *   fuse-nbd work (and all words of serve)     A supervisor starts it; descriptor 3 is the connection to the kernel.
 *   fuse-nbd check                             Says what this machine lacks, a line each.
 *
 *           serve                                               unmounted: both end, status 0
 *             │ mounts, holds /dev/fuse                          ▲
 *             ▼                                                  │
 *        ┌─ both run ── worker dies ──▶ supervisor alone ── starts a worker, which: connects,
 *        │     ▲                             │    ▲          waits until the server is done with what the
 *        │     │                             │    └─ dies ── dead one sent, has the kernel send again all that
 *        │     └─────────────────────────────┼────────────── was not answered (FUSE_NOTIFY_RESEND)
 *        │                                   │
 *        └── supervisor dies ──▶ worker alone: starts a supervisor ("adopt")
 *                                            │
 *                              both dead at once: the kernel ends the connection; every request fails with ENOTCONN.
 *                              Whoever finds both gone unmounts what is above it, and begins anew.
 *
 * A request is answered to the kernel when the server has answered it, and is repeated until then. So what the kernel
 * was told is written is written, what it was told is flushed is flushed, and what was under way is written again, with
 * the same bytes at the same place, before anything that the kernel sends because of its answer.
 *
 * Why the server must be done first. A write that a dead worker had sent may still be under way in the server. The new
 * worker's repetition of it would be answered, the kernel would send a newer write of the same block, that would be
 * answered, and then the old one would land on top. What a QEMU server guarantees: a connection that its client closed
 * is kept open at the server's end until the last request that came over it has ended (each holds a reference to the
 * client). So it is waited for that end: the kernel lists unix sockets with the file that they are bound to and their
 * peer (sock_diag), and as long as one that is bound to the file of this server's has a peer that no longer exists, nothing is sent. The
 * same is done whenever a living worker has lost its connection. A dead server is replaced only when nothing of it has
 * the image open any more (the storage daemon's starter waits for that), so a server's death needs no more than this.
 *
 * Thin stays thin: a hole that the kernel punches is zeroes that the server need not allocate (write zeroes, which may
 * unmap; a trim would not promise that zeroes are read).
 *
 * Errors. There is no error for a server that is away, however long. A server that is there and has no space left is
 * asked again every second: whoever frees space lets the client go on. Any other error of its disk is passed on when it
 * lasts longer than `patience`.
 *
 * How long requests took, from the moment that a worker took them until they were answered, it counts in bins, in memory that it
 * shares as its descriptor 4 (a file without a name, /proc/PID/fd/4): see `struct latency`. Nothing is written to a disk
 * for that, which might be what waits. The next worker counts anew.
 *
 * Memory is locked, for its own file may be what memory would be freed by writing to, and a page that is missing
 * while a dying worker reads a request makes the kernel end that request.
 *
 * One file on purpose: one program to build, and what it is built from has one checksum.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Newer than Debian 12's headers. */
enum { notify_resend = 7, has_resend_in_flags2 = 1 << 7 };
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum {
  fuse_fd = 3,    /* in a worker, always */
  latency_fd = 4, /* in a worker */
  page = 4096,
  most_at_once = 512 << 10, /* bytes of one request */
  slots = 16,               /* requests under way, as many as a QEMU server takes of one connection; 8 MiB */
  on_the_way = 1 << 20,     /* bytes that the socket takes before we have to wait for the server to read */
  zero_at_once = 1 << 30,
  shortest_pause = 10,
  longest_pause = 1000, /* ms */
  longest_away = 200,   /* ms until a worker that died soon is replaced: requests wait meanwhile */
  patience = 600,       /* s */
  never_works = 3,      /* a worker's status: another one would fail, too */
  another_has_it = 5,
  most_words = 32,
};

extern char **environ;

/* ---- Words, and what is said ---- */

static const char *at, *head_path, *identity, *pids_path;
static char socket_path[128], export_name[512]; /* of the connection that is there, or was tried last */
static int64_t size;
static char **given; /* all words but the first two */

static void say(const char *what, ...) {
  char text[1024], now[32];
  time_t seconds = time(NULL);
  strftime(now, sizeof now, "%FT%TZ", gmtime(&seconds));
  va_list arguments;
  va_start(arguments, what);
  vsnprintf(text, sizeof text, what, arguments);
  va_end(arguments);
  dprintf(2, "%s %d %s\n", now, getpid(), text);
}

static void fail(const char *what, ...) {
  char text[512];
  int error = errno;
  va_list arguments;
  va_start(arguments, what);
  vsnprintf(text, sizeof text, what, arguments);
  va_end(arguments);
  if (error) say("%s: %s", text, strerror(error));
  else say("%s", text);
  _exit(1);
}

static const char *word(const char *key) {
  size_t length = strlen(key);
  for (char **one = given; *one; one++)
    if (strncmp(*one, key, length) == 0 && (*one)[length] == '=') return *one + length + 1;
  return NULL;
}

/* Those of serve, after the first `n`. */
static void pass_on(char **words, int n) {
  static const char *const passed[] = {"mount=", "head=", "size=", "pids=", "identity="};
  for (char **one = given; *one; one++)
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
      if (strncmp(*one, passed[i], strlen(passed[i])) == 0 && n < most_words - 1) words[n++] = *one;
  words[n] = NULL;
}

static const char *required(const char *key) {
  const char *value = word(key);
  errno = 0;
  if (!value || !*value) fail("%s=... is missing", key);
  return value;
}

static void read_words(char **words) {
  given = words;
  at = required("mount"), head_path = required("head"), pids_path = required("pids"), identity = word("identity");
  size = strtoll(required("size"), NULL, 10);
  errno = 0;
  if (size <= 0 || size % 512) fail("size must be a multiple of 512 bytes");
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void pause_ms(int ms) { poll(NULL, 0, ms); }

static int longer(int pause) { return pause * 2 > longest_pause ? longest_pause : pause * 2; }

/* For whoever asks how it is: there as long as something is wrong, beside `pids`. */
static void tell_trouble(const char *what) {
  static char told[512] = "?";
  char path[4200];
  if (strncmp(told, what, sizeof told - 1) == 0) return;
  snprintf(told, sizeof told, "%s", what);
  snprintf(path, sizeof path, "%s.trouble", pids_path);
  if (!*what) unlink(path);
  int fd = *what ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
  if (fd < 0) return;
  dprintf(fd, "%s\n", what);
  close(fd);
}

/* What may be refused to us (CAP_SYS_RESOURCE) is done where it may be. Children inherit all but the locks. */
static void protect(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (write(fd, "-1000", 5) < 0) errno = 0;
    close(fd);
  }
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

static char *start_of(pid_t pid, char *into, size_t length) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  snprintf(into, length, "0");
  if (got <= 0) return into;
  text[got] = 0;
  char *field = strrchr(text, ')'); /* field 2; a name may have blanks and parentheses */
  for (int i = 2; field && i < 22; i++) field = strchr(field + 1, ' ');
  if (field) snprintf(into, length, "%.*s", (int)strcspn(field + 1, " "), field + 1);
  return into;
}

/* Unmounted, or ended by the kernel: nobody will ask for anything any more. */
static bool is_over(int fd) {
  struct pollfd one = {.fd = fd};
  return poll(&one, 1, 0) > 0 && (one.revents & (POLLERR | POLLNVAL));
}

/* ---- What is left of clients that are gone ---- */

/* The file that a server's socket is bound to, as the kernel names it; accepted sockets have it, too. */
struct bound {
  bool known;
  uint32_t file, device;
};

struct listed {
  struct bound to;
  uint32_t peer; /* the inode of the other end; 0: it is gone */
};

static struct listed read_listed(struct nlmsghdr *header) {
  struct unix_diag_msg *one = NLMSG_DATA(header);
  struct listed found = {0};
  int left = header->nlmsg_len - NLMSG_LENGTH(sizeof *one);
  for (struct nlattr *a = (void *)(one + 1); left >= (int)sizeof *a && a->nla_len >= sizeof *a;) {
    void *value = (char *)a + NLA_HDRLEN;
    struct unix_diag_vfs *vfs = value;
    if (a->nla_type == UNIX_DIAG_VFS) found.to = (struct bound){true, vfs->udiag_vfs_ino, vfs->udiag_vfs_dev};
    if (a->nla_type == UNIX_DIAG_PEER) found.peer = *(uint32_t *)value;
    int length = NLA_ALIGN(a->nla_len);
    left -= length, a = (void *)((char *)a + length);
  }
  return found;
}

/*
 * With a socket of ours: what its other end is bound to, or nothing where it is not listed. With a file: how many
 * connections to it have lost their client. -1 where the kernel does not list sockets.
 */
static int list_sockets(uint32_t ours, struct bound *file) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), orphans = 0;
  if (fd < 0) return -1;
  struct {
    struct nlmsghdr header;
    struct unix_diag_req wanted;
  } ask = {.header = {.nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
           .wanted = {.sdiag_family = AF_UNIX, .udiag_states = ~(1u << 10 /* listening */),
                      .udiag_show = UDIAG_SHOW_VFS | UDIAG_SHOW_PEER}};
  bool done = send(fd, &ask, sizeof ask, 0) < 0;
  if (done) orphans = -1;
  while (!done) {
    static char answer[32768] __attribute__((aligned(16)));
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) orphans = -1, done = true;
    for (struct nlmsghdr *h = (void *)answer; !done && NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
      if (h->nlmsg_type == NLMSG_ERROR) orphans = -1;
      done = h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR;
      if (done) break;
      struct listed one = read_listed(h);
      if (!one.to.known) continue;
      if (ours && one.peer == ours) *file = one.to;
      if (!ours && !one.peer && one.to.file == file->file && one.to.device == file->device) orphans++;
    }
  }
  close(fd);
  return orphans;
}

/*
 * See the top. `connection` is new, and has sent nothing. A list that changes while it is read may lack a line, so two
 * in a row must be empty.
 */
static void await_end_of_the_past(int connection) {
  int64_t begun = now_ms(), told = begun;
  struct stat ours;
  struct bound file = {0};
  if (fstat(connection, &ours) < 0) fail("a socket has no number");
  for (int pause = 1, clean = 0; clean < 2 && !is_over(fuse_fd);) {
    int found = file.known ? 0 : list_sockets(ours.st_ino, &file);
    if (file.known) found = list_sockets(0, &file);
    clean = file.known && found == 0 ? clean + 1 : 0;
    if (clean) continue;
    if (now_ms() - told > 10000) {
      told = now_ms();
      if (found < 0) say("the kernel does not list unix sockets (sock_diag); nothing is sent before it does");
      else if (!file.known) say("the server's end of the connection is not listed; nothing is sent before it is");
      else say("the server is not done with what was sent before; waiting for %d connections", found);
    }
    pause_ms(pause);
    if (pause < 50) pause *= 2;
  }
  if (now_ms() - begun > 100) say("waited %" PRId64 " ms for what was sent before", now_ms() - begun);
}

/* ---- The worker: requests ---- */

enum { first_bound = 31623, bounds = 45 };

/* All in the machine's byte order; the last bin of each has no upper bound. */
static struct latency {
  char magic[8]; /* written last */
  uint64_t bounds;
  uint64_t bound[bounds]; /* ns */
  uint64_t count[3][bounds + 1]; /* reads, writes, flushes */
} *latency;

static void share_latency(void) {
  int fd = memfd_create("latency", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, sizeof *latency) < 0) fail("no memory to share");
  if (fd != latency_fd && (dup3(fd, latency_fd, O_CLOEXEC) < 0 || close(fd) < 0)) fail("no descriptor to share");
  latency = mmap(NULL, sizeof *latency, PROT_READ | PROT_WRITE, MAP_SHARED, latency_fd, 0);
  if (latency == MAP_FAILED) fail("no memory to share");
  latency->bounds = bounds;
  /* A third more each, up to 10 s. */
  latency->bound[0] = first_bound;
  for (int i = 1; i < bounds; i++) latency->bound[i] = latency->bound[i - 1] * 4 / 3;
  __atomic_thread_fence(__ATOMIC_RELEASE);
  memcpy(latency->magic, "latency1", 8);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void count_latency(uint32_t opcode, uint64_t ns) {
  int kind = opcode == FUSE_READ ? 0 : opcode == FUSE_WRITE ? 1 : opcode == FUSE_FSYNC ? 2 : -1, bin = 0;
  if (kind < 0) return;
  while (bin < bounds && ns >= latency->bound[bin]) bin++;
  /* It is read by others meanwhile; nobody else writes. */
  __atomic_store_n(&latency->count[kind][bin], latency->count[kind][bin] + 1, __ATOMIC_RELAXED);
}

enum place { is_free, is_sent, is_waiting };

struct slot {
  enum place place;
  char *data; /* page-aligned; the request is read such that a write's bytes are here */
  uint32_t opcode;
  uint64_t unique, offset, length, done;
  uint64_t taken_at; /* ns */
  bool durable;
  int64_t failing_since, again_at; /* ms; 0: not failing, at once */
};

static struct slot all[slots];
static int free_slots = slots, waiting, failing;
static struct nbd_handle *nbd;
static bool lost = true; /* the connection; until it is there again requests are taken, and wait */

static void reply(uint64_t unique, int error, const void *data, size_t length) {
  struct fuse_out_header header = {.len = sizeof header + length, .error = -error, .unique = unique};
  struct iovec parts[2] = {{&header, sizeof header}, {(void *)data, length}};
  while (writev(fuse_fd, parts, length ? 2 : 1) < 0) {
    if (errno == EINTR) continue;
    /* ENOENT: nobody waits for it any more. */
    if (errno != ENOENT && errno != ENODEV) say("the kernel does not take an answer: %s", strerror(errno));
    return;
  }
}

static void finish(struct slot *one, int error) {
  if (one->failing_since && --failing == 0) tell_trouble("");
  count_latency(one->opcode, now_ns() - one->taken_at);
  struct fuse_write_out written = {.size = one->length};
  if (error) reply(one->unique, error, NULL, 0);
  else if (one->opcode == FUSE_READ) reply(one->unique, 0, one->data, one->length);
  else if (one->opcode == FUSE_WRITE) reply(one->unique, 0, &written, sizeof written);
  else reply(one->unique, 0, NULL, 0);
  one->place = is_free;
  free_slots++;
}

static void later(struct slot *one, int64_t pause) {
  one->place = is_waiting;
  one->again_at = pause ? now_ms() + pause : 0;
  waiting++;
}

static void issue(struct slot *one);

static void answered(struct slot *one, int error) {
  bool partly = one->opcode == FUSE_FALLOCATE && !error;
  if (partly) {
    one->done += one->length - one->done > zero_at_once ? zero_at_once : one->length - one->done;
    /* Not from within a completion: libnbd holds its lock there. */
    if (one->done < one->length) return later(one, 0);
  }
  /* Codes that no server sends, or only one that is ending. */
  if (error == ENOTCONN || error == ESHUTDOWN) return lost = true, later(one, 0);
  bool may_pass = error == EIO || error == ENOMEM || error == ENOSPC;
  if (!may_pass) return finish(one, error);
  int64_t now = now_ms();
  if (!one->failing_since) {
    one->failing_since = now;
    say("the server cannot %s %" PRIu64 " bytes at %" PRIu64 " (%s); trying on", one->opcode == FUSE_READ ? "read" : "write",
        one->length, one->offset, strerror(error));
    tell_trouble(error == ENOSPC ? "There is no space left where its image lies; writes wait until there is."
                                 : "The disk that its image lies on has errors; requests are tried again.");
    failing++;
  }
  if (error != ENOSPC && now - one->failing_since > patience * 1000LL) return finish(one, error);
  later(one, longest_pause);
}

static int completed(void *slot, int *error) {
  answered(slot, *error);
  return 1;
}

static void issue(struct slot *one) {
  nbd_completion_callback then = {.callback = completed, .user_data = one};
  int64_t sent = -1;
  uint64_t rest = one->length - one->done;
  one->place = is_sent;
  if (one->opcode == FUSE_READ) sent = nbd_aio_pread(nbd, one->data, one->length, one->offset, then, 0);
  if (one->opcode == FUSE_WRITE)
    sent = nbd_aio_pwrite(nbd, one->data, one->length, one->offset, then, one->durable ? LIBNBD_CMD_FLAG_FUA : 0);
  if (one->opcode == FUSE_FSYNC) sent = nbd_aio_flush(nbd, then, 0);
  if (one->opcode == FUSE_FALLOCATE)
    sent = nbd_aio_zero(nbd, rest > zero_at_once ? zero_at_once : rest, one->offset + one->done, then, 0);
  if (sent >= 0 || one->place != is_sent) return;
  int error = nbd_get_errno();
  answered(one, nbd_aio_is_dead(nbd) || nbd_aio_is_closed(nbd) ? ENOTCONN : error ? error : EIO);
}

static void issue_waiting(void) {
  if (!waiting) return;
  int64_t now = now_ms();
  for (int i = 0; i < slots && !lost; i++) {
    if (all[i].place != is_waiting || all[i].again_at > now) continue;
    waiting--;
    issue(&all[i]);
  }
}

static void attributes(struct fuse_attr *of) {
  memset(of, 0, sizeof *of);
  of->ino = 1, of->nlink = 1, of->mode = S_IFREG | 0600;
  of->size = size, of->blocks = size / 512, of->blksize = page;
}

static void begin(uint64_t unique, struct fuse_init_in *in) {
  struct fuse_init_out out = {
    .major = FUSE_KERNEL_VERSION,
    .minor = 36,
    .max_readahead = in->max_readahead,
    .flags = in->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV |
                          FUSE_INIT_EXT),
    .max_background = slots,
    .congestion_threshold = slots * 3 / 4,
    .max_write = most_at_once,
    .max_pages = most_at_once / page,
    .time_gran = 1,
  };
  if (!(in->flags & FUSE_INIT_EXT) || !(in->flags2 & has_resend_in_flags2)) {
    say("this kernel cannot send requests again (FUSE_NOTIFY_RESEND); that came with Linux 6.9");
    _exit(never_works);
  }
  reply(unique, 0, &out, sizeof out);
}

/* What needs the server: false where it does not. */
static bool take(struct slot *one, struct fuse_in_header *header, void *body) {
  struct fuse_read_in *read = body;
  struct fuse_write_in *write = body;
  struct fuse_fallocate_in *hole = body;
  int zeroes = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  *one = (struct slot){
    .data = one->data, .opcode = header->opcode, .unique = header->unique, .taken_at = now_ns()};
  switch (header->opcode) {
  case FUSE_READ: one->offset = read->offset, one->length = read->size; break;
  case FUSE_WRITE:
    one->offset = write->offset, one->length = write->size;
    one->durable = write->flags & O_DSYNC;
    break;
  case FUSE_FALLOCATE: one->offset = hole->offset, one->length = hole->length; break;
  case FUSE_FSYNC: return true;
  default: return false;
  }
  uint64_t end = size;
  if (one->offset > end) one->offset = end;
  uint64_t fits = end - one->offset;
  int error = header->opcode == FUSE_WRITE && one->length > fits                                      ? ENOSPC
              : header->opcode == FUSE_FALLOCATE && (!(hole->mode & zeroes) || hole->mode & ~(zeroes | FALLOC_FL_KEEP_SIZE)) ? EOPNOTSUPP
                                                                                                        : 0;
  if (one->length > fits) one->length = fits;
  if (!error && one->length > 0) return true;
  free_slots--;
  finish(one, error);
  one->opcode = 0; /* answered */
  return false;
}

static void answer_at_once(struct fuse_in_header *header, void *body) {
  struct fuse_attr_out attr = {.attr_valid = 3600};
  struct fuse_open_out open = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
  struct fuse_statfs_out space = {.st = {.bsize = page, .frsize = page, .namelen = 255}};
  struct fuse_setattr_in *change = body;
  attributes(&attr.attr);
  switch (header->opcode) {
  case FUSE_INIT: return begin(header->unique, body);
  case FUSE_SETATTR:
    if (change->valid & FATTR_SIZE && (int64_t)change->size != size) return reply(header->unique, EPERM, NULL, 0);
    return reply(header->unique, 0, &attr, sizeof attr);
  case FUSE_GETATTR: return reply(header->unique, 0, &attr, sizeof attr);
  case FUSE_OPEN: return reply(header->unique, 0, &open, sizeof open);
  case FUSE_STATFS: return reply(header->unique, 0, &space, sizeof space);
  case FUSE_FLUSH:
  case FUSE_RELEASE:
  case FUSE_ACCESS:
  case FUSE_DESTROY: return reply(header->unique, 0, NULL, 0);
  case FUSE_FORGET:
  case FUSE_BATCH_FORGET:
  case FUSE_INTERRUPT: return;
  default: return reply(header->unique, ENOSYS, NULL, 0);
  }
}

static struct slot *free_slot(void) {
  for (int i = 0; i < slots; i++)
    if (all[i].place == is_free) return &all[i];
  return NULL;
}

enum { head = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) };

/* Takes what the kernel has, as far as there is room. */
static void take_requests(void) {
  while (free_slots > 0) {
    struct slot *one = free_slot();
    char *request = one->data - head;
    ssize_t got = read(fuse_fd, request, head + most_at_once);
    if (got < 0) {
      if (errno == EINTR || errno == ENOENT) continue;
      if (errno == EAGAIN) return;
      if (errno == ENODEV || errno == ECONNABORTED) _exit(0);
      fail("the kernel gives no requests");
    }
    struct fuse_in_header *header = (void *)request;
    if (take(one, header, request + sizeof *header)) {
      free_slots--;
      if (lost) later(one, 0);
      else issue(one);
    } else if (one->opcode != 0) {
      one->opcode = 0;
      answer_at_once(header, request + sizeof *header);
    }
  }
}

/* ---- The worker: its connection, and its supervisor ---- */

static int supervisor_fd = -1;
static pid_t supervisor, started; /* the one that is watched; the one that this process has started last */
static int64_t supervisor_due;    /* when to start one, where none is watched */
static int supervisor_pause = shortest_pause;

static void watch_supervisor(pid_t pid) {
  supervisor = pid;
  supervisor_fd = syscall(SYS_pidfd_open, pid, 0);
  if (supervisor_fd < 0) supervisor_due = now_ms() + supervisor_pause;
}

/* The one that is written down, where it runs: somebody else may have started it. */
static pid_t written_supervisor(void) {
  char start[32], found[32] = "";
  int pid = -1;
  FILE *file = fopen(pids_path, "re");
  if (!file) return -1;
  bool whole = fscanf(file, "supervisor %d %31s", &pid, start) == 2;
  fclose(file);
  return whole && pid > 0 && strcmp(start_of(pid, found, sizeof found), start) == 0 ? pid : -1;
}

/* The one that was watched has ended, or there is none. */
static void lose_supervisor(void) {
  int status = 0;
  bool own = supervisor == started && waitpid(supervisor, &status, WNOHANG) == supervisor;
  close(supervisor_fd);
  supervisor_fd = -1;
  pid_t other = own && WIFEXITED(status) && WEXITSTATUS(status) == another_has_it ? written_supervisor() : -1;
  if (other > 0) return watch_supervisor(other);
  supervisor_due = now_ms() + (own ? supervisor_pause : 0);
  supervisor_pause = own ? longer(supervisor_pause) : shortest_pause;
}

/* It gets the connection to the kernel from this process. */
static void start_supervisor(void) {
  char worker_word[64], start_word[64], start[32];
  snprintf(worker_word, sizeof worker_word, "worker=%d", getpid());
  snprintf(start_word, sizeof start_word, "start=%s", start_of(getpid(), start, sizeof start));
  char *words[most_words] = {"fuse-nbd", "adopt", worker_word, start_word, "inherited=yes"};
  pass_on(words, 5);
  int error = posix_spawn(&started, "/proc/self/exe", NULL, NULL, words, environ);
  say(error ? "no supervisor can be started: %s" : "the supervisor died; started another one", strerror(error));
  if (!error) return watch_supervisor(started);
  supervisor_due = now_ms() + supervisor_pause;
  supervisor_pause = longer(supervisor_pause);
}

/* Waits for whatever is first, and takes requests. Ends at the end of time: unmounted. */
static void look_around(short *nbd_events, int timeout) {
  struct pollfd of[3] = {{.fd = fuse_fd, .events = free_slots > 0 ? POLLIN : 0},
                         {.fd = supervisor_fd, .events = POLLIN},
                         {.fd = nbd ? nbd_aio_get_fd(nbd) : -1, .events = *nbd_events}};
  if (supervisor_fd < 0) {
    int64_t left = supervisor_due - now_ms();
    if (timeout < 0 || left < timeout) timeout = left > 0 ? left : 0;
  }
  if (poll(of, 3, timeout) < 0 && errno != EINTR) fail("cannot wait");
  *nbd_events = of[2].revents;
  if (of[1].revents) lose_supervisor();
  if (supervisor_fd < 0 && now_ms() >= supervisor_due) start_supervisor();
  if (of[0].revents & (POLLERR | POLLNVAL)) _exit(0);
  if (of[0].revents) take_requests();
}

static short directions(void) {
  unsigned both = nbd_aio_get_direction(nbd);
  return (both & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) | (both & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
}

static void go_on(short events) {
  unsigned both = nbd_aio_get_direction(nbd);
  if (both & LIBNBD_AIO_DIRECTION_READ && events & (POLLIN | POLLHUP | POLLERR)) nbd_aio_notify_read(nbd);
  else if (both & LIBNBD_AIO_DIRECTION_WRITE && events & (POLLOUT | POLLHUP | POLLERR)) nbd_aio_notify_write(nbd);
}

/* Why this connection is not the one that is meant; "": it is. */
static const char *objection(void) {
  static char text[512];
  if (nbd_aio_is_dead(nbd) || !nbd_aio_is_ready(nbd)) return nbd_get_error() ? nbd_get_error() : "it was closed";
  char *said = nbd_get_export_description(nbd);
  bool other = identity && (!said || strcmp(said, identity) != 0);
  snprintf(text, sizeof text, "it serves %s, not %s", said ? said : "something without a name", identity ? identity : "");
  free(said);
  if (other) return text;
  snprintf(text, sizeof text, "it has %" PRId64 " bytes instead of %" PRId64, nbd_get_size(nbd), size);
  if (nbd_get_size(nbd) < size) return text;
  if (nbd_can_flush(nbd) != 1 || nbd_can_zero(nbd) != 1) return "it cannot flush, or write zeroes";
  return "";
}

static bool read_head(void) {
  FILE *file = fopen(head_path, "re");
  if (!file) return false;
  bool whole = fgets(socket_path, sizeof socket_path, file) && fgets(export_name, sizeof export_name, file);
  fclose(file);
  socket_path[strcspn(socket_path, "\n")] = 0;
  export_name[strcspn(export_name, "\n")] = 0;
  return whole;
}

static bool try_to_connect(const char **reason) {
  if (!read_head()) return *reason = "there is no word of where the server is", false;
  nbd = nbd_create();
  if (!nbd) return *reason = nbd_get_error(), false;
  nbd_set_export_name(nbd, export_name);
  nbd_set_full_info(nbd, identity != NULL);
  nbd_set_request_structured_replies(nbd, false);
  nbd_set_pread_initialize(nbd, false);
  nbd_set_strict_mode(nbd, 0);
  if (nbd_aio_connect_unix(nbd, socket_path) < 0) return *reason = nbd_get_error(), false;
  /* A server that is away or asleep may take as long as it likes: its socket is kept open for it. */
  while (nbd_aio_is_connecting(nbd)) {
    short events = directions();
    look_around(&events, -1);
    go_on(events);
  }
  int bytes = on_the_way;
  int fd = nbd_aio_get_fd(nbd);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  *reason = objection();
  return !**reason;
}

static void connect_for_ever(void) {
  static char last[512];
  static int64_t connected;
  static int next_pause = shortest_pause;
  int64_t begun = now_ms(), told = 0;
  /* A server that ends each connection at once is not asked without a pause. */
  if (connected && begun - connected < 1000) pause_ms(next_pause), next_pause = longer(next_pause);
  else next_pause = shortest_pause;
  if (!failing) tell_trouble("It waits for the head.");
  for (int pause = shortest_pause;; pause = longer(pause)) {
    if (nbd) nbd_close(nbd);
    nbd = NULL;
    /* What was sent comes again. */
    for (int i = 0; i < slots; i++)
      if (all[i].place == is_sent) later(&all[i], 0);
    const char *reason = "";
    if (try_to_connect(&reason)) break;
    if (strncmp(last, reason, sizeof last - 1) != 0 || now_ms() - told > 60000) {
      say("no connection to %s: %s", socket_path, reason);
      char text[768];
      snprintf(text, sizeof text, "There is no connection to the head at %s: %s", socket_path, reason);
      tell_trouble(text);
      snprintf(last, sizeof last, "%s", reason);
      told = now_ms();
    }
    if (nbd) nbd_close(nbd);
    nbd = NULL;
    short none = 0;
    for (int64_t end = now_ms() + pause; now_ms() < end;) look_around(&none, (int)(end - now_ms()));
  }
  await_end_of_the_past(nbd_aio_get_fd(nbd));
  connected = now_ms();
  lost = false;
  if (!failing) tell_trouble("");
  last[0] = 0;
  for (int i = 0; i < slots; i++)
    if (all[i].place == is_waiting) all[i].again_at = 0;
  say("connected after %" PRId64 " ms; %d requests have waited", now_ms() - begun, waiting);
}

static int until_next(void) {
  int64_t first = INT64_MAX, now = now_ms();
  for (int i = 0; waiting && i < slots; i++)
    if (all[i].place == is_waiting && all[i].again_at < first) first = all[i].again_at;
  return first == INT64_MAX ? -1 : first <= now ? 0 : (int)(first - now);
}

static void work(void) {
  share_latency(); /* before anything else has its descriptor */
  protect();
  bool first = strcmp(required("first"), "yes") == 0;
  /* It may have died since it started us: then whoever our parent is now is nobody to watch. */
  char start[32];
  watch_supervisor(getppid());
  if (strcmp(start_of(getppid(), start, sizeof start), required("parent")) != 0) lose_supervisor();
  size_t bytes = (size_t)slots * (page + most_at_once);
  char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("no memory");
  /* Each page is there before the kernel is to write to it; MAP_POPULATE does nothing under MCL_ONFAULT. */
  memset(memory, 0, bytes);
  for (int i = 0; i < slots; i++) all[i].data = memory + (size_t)i * (page + most_at_once) + page;
  fcntl(fuse_fd, F_SETFL, fcntl(fuse_fd, F_GETFL) | O_NONBLOCK);
  /* They come, and wait until there is a connection that may be used. */
  struct fuse_out_header again = {.len = sizeof again, .error = notify_resend};
  if (!first && write(fuse_fd, &again, sizeof again) < 0 && errno != ENODEV)
    fail("the kernel does not send its requests again");
  for (bool connected = false;; connected = true) {
    if (lost && connected) say("the connection to %s is lost; %d requests wait", socket_path, slots - free_slots);
    if (lost) connect_for_ever();
    issue_waiting();
    if (lost || (waiting && until_next() == 0)) continue;
    short events = directions();
    look_around(&events, until_next());
    if (lost) continue;
    if (events) go_on(events);
    if (nbd_aio_is_dead(nbd) || nbd_aio_is_closed(nbd)) lost = true;
  }
}

/* ---- The supervisor ---- */

static int kernel_fd = -1;

static void write_pids(pid_t worker) {
  char path[4200], start[2][32], boot[64] = "";
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    ssize_t got = read(fd, boot, sizeof boot - 1);
    boot[got > 0 ? got : 0] = 0;
    close(fd);
  }
  snprintf(path, sizeof path, "%s.new", pids_path);
  fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return say("%s cannot be written: %s", path, strerror(errno));
  dprintf(fd, "supervisor %d %s\nworker %d %s\nboot %s", getpid(), start_of(getpid(), start[0], 32), worker,
          start_of(worker, start[1], 32), boot);
  close(fd);
  if (rename(path, pids_path) < 0) say("%s cannot be written: %s", pids_path, strerror(errno));
}

static pid_t start_worker(bool first) {
  char parent[64], start[32];
  snprintf(parent, sizeof parent, "parent=%s", start_of(getpid(), start, sizeof start));
  char *words[most_words] = {"fuse-nbd", "work", first ? "first=yes" : "first=no", parent};
  pass_on(words, 4);
  pid_t pid;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  /* Also where it has that number already, it loses its mark of being closed. */
  posix_spawn_file_actions_adddup2(&files, kernel_fd, fuse_fd);
  int error = posix_spawn(&pid, "/proc/self/exe", &files, NULL, words, environ);
  posix_spawn_file_actions_destroy(&files);
  if (!error) return pid;
  say("no worker can be started: %s", strerror(error));
  return -1;
}

/* `pidfd` of the worker, which another may have started; -1 where it is gone. */
static void supervise(pid_t worker, int pidfd) {
  int64_t begun = now_ms();
  for (int pause = shortest_pause;;) {
    int status = 0;
    if (pidfd >= 0) {
      struct pollfd one = {.fd = pidfd, .events = POLLIN};
      while (poll(&one, 1, -1) <= 0) {}
      close(pidfd);
    }
    /* An adopted worker is not ours to wait for. */
    bool own = worker > 0 && waitpid(worker, &status, 0) == worker;
    if (is_over(kernel_fd)) {
      say("unmounted");
      unlink(pids_path);
      _exit(0);
    }
    errno = 0;
    if (own && WIFEXITED(status) && WEXITSTATUS(status) == never_works) {
      umount2(at, MNT_DETACH);
      unlink(pids_path);
      fail("this machine cannot do it");
    }
    say("the worker ended (status %#x); starting another one", status);
    if (now_ms() - begun < 1000) pause_ms(pause), pause = pause * 2 > longest_away ? longest_away : pause * 2;
    else pause = shortest_pause;
    begun = now_ms();
    worker = start_worker(false);
    pidfd = worker > 0 ? (int)syscall(SYS_pidfd_open, worker, 0) : -1;
    if (worker > 0) write_pids(worker);
  }
}

/* One supervisor at a time: the lock goes with it. */
static void lock_out_others(void) {
  char path[4200];
  snprintf(path, sizeof path, "%s.lock", pids_path);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) fail("%s cannot be opened", path);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return;
  say("%s has a supervisor", at);
  _exit(another_has_it);
}

static void serve(void) {
  protect();
  lock_out_others();
  char options[160];
  kernel_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (kernel_fd < 0) fail("/dev/fuse cannot be opened");
  snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=%d,group_id=%d,allow_other,max_read=%d", kernel_fd,
           S_IFREG, geteuid(), getegid(), most_at_once);
  if (mount("volant", at, "fuse", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, options) < 0)
    fail("%s cannot be mounted at", at);
  if (mount(NULL, at, NULL, MS_PRIVATE, NULL) < 0) say("the mount is not private: %s", strerror(errno));
  pid_t worker = start_worker(true);
  if (worker < 0) umount2(at, MNT_DETACH), _exit(1);
  write_pids(worker);
  supervise(worker, syscall(SYS_pidfd_open, worker, 0));
}

static void adopt(void) {
  protect();
  pid_t worker = atoi(required("worker"));
  const char *wanted = required("start");
  char start[32];
  lock_out_others();
  int pidfd = syscall(SYS_pidfd_open, worker, 0);
  if (pidfd >= 0 && strcmp(start_of(worker, start, sizeof start), wanted) != 0) close(pidfd), pidfd = -1;
  errno = 0;
  if (word("inherited")) kernel_fd = fuse_fd;
  else if (pidfd < 0) fail("there is no worker %d any more", worker);
  else kernel_fd = syscall(SYS_pidfd_getfd, pidfd, fuse_fd, 0);
  if (kernel_fd < 0) fail("the connection of worker %d cannot be had", worker);
  fcntl(kernel_fd, F_SETFD, FD_CLOEXEC);
  write_pids(worker);
  say("adopted worker %d", worker);
  supervise(worker, pidfd);
}

static void check(void) {
  struct utsname kernel;
  int major = 0, minor = 0;
  uname(&kernel);
  sscanf(kernel.release, "%d.%d", &major, &minor);
  if (major * 1000 + minor < 6009) printf("the kernel must be Linux 6.9 or newer (this is %s)\n", kernel.release);
  if (geteuid() != 0) printf("Volant must run as root\n");
  int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) printf("the kernel must have FUSE (/dev/fuse: %s)\n", strerror(errno));
  struct bound none = {0};
  if (list_sockets(0, &none) < 0) printf("the kernel must list unix sockets (CONFIG_UNIX_DIAG)\n");
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  prctl(PR_SET_NAME, "volant-fuse-nbd", 0, 0, 0); /* else it is called "exe" */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  if (strcmp(what, "check") == 0) return check(), 0;
  if (count > 2) read_words(words + 2);
  else what = "";
  if (strcmp(what, "serve") == 0) serve();
  if (strcmp(what, "adopt") == 0) adopt();
  if (strcmp(what, "work") == 0) work();
  fprintf(stderr, "usage: fuse-nbd serve|adopt|work KEY=VALUE..., fuse-nbd check; see its source\n");
  return 2;
}
