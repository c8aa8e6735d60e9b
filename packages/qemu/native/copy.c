/*
 * Copies images at rest, and counts what they occupy: what Node.js cannot ask a file system for (holes, extents), at
 * the speed of one. Words are KEY=VALUE; paths are absolute.
 *
 *   copy image image=ID from=PATH to=PATH [part=PATH [clone=PATH]] [base=PATH] [rate=BYTES]
 *     Makes TO equal to FROM, which nobody writes to. With `part` TO is made under that name, as a clone of CLONE where
 *     that is given, and gets its own name when it is whole and on disk: a TO that is there is complete. Without, TO is
 *     there and is brought up to date in place, which ends with an fsync.
 *     `base` is beside FROM and holds what TO holds already: only the blocks that FROM does not share with it are read.
 *     Thin stays thin: a hole of FROM is one of TO, and no block of zeroes is written. ID is for whoever looks for it.
 *
 *   copy watch WORD -- PROGRAM [ARGUMENT...]
 *     PROGRAM, with what it says; it ends with this process, however that ends. WORD is for whoever looks for it. Its rate,
 *     of what it reads, is held by stopping it for some milliseconds at a time.
 *
 *   copy usage FOLDER
 *     "allocated N" and "unique N": bytes of the files in it, shared blocks counted each time, and once.
 *
 * The first two take commands on standard input, a line each: "pause", "resume", "rate BYTES" (0: unlimited). When the
 * input ends they end at once, and nothing of them writes any more: so they die with whoever started them. `image` says
 * "total N" once it is known, and "done N" as it goes on, in bytes read. The status is 0 when all is done and on disk,
 * 4 when the input ended, else the last line of standard error is the reason.
 *
 * One file on purpose: one program to build, and what it is built from has one checksum.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { block = 4096, most_at_once = 1 << 20, least_at_once = 64 << 10, scattered = 128 << 10, input_ended = 4 };
/* Read ahead of the copying, and written behind it, before the page cache is given back. */
static const int64_t window = 8 << 20;

/* Ends all threads. An error of the system is told in words where there is something to do about it. */
static void fail(const char *what, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, what);
  vfprintf(stderr, what, arguments);
  va_end(arguments);
  if (error == ENOSPC) fprintf(stderr, ": there is no space left on its file system\n");
  else if (error == EDQUOT) fprintf(stderr, ": the quota of its file system is used up\n");
  else if (error) fprintf(stderr, ": %s\n", strerror(error));
  else fprintf(stderr, "\n");
  fflush(stderr);
  _exit(1);
}

static void refuse(const char *what) {
  errno = 0;
  fail("%s", what);
}

static int open_file(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) fail("%s cannot be opened", path);
  return fd;
}

/* ---- Extents: where a file's data lies on its device ---- */

struct extent {
  int64_t start, end; /* in the file */
  uint64_t physical;  /* of its start */
  bool comparable;    /* the same place on the device is the same data */
};

enum { extents_at_once = 512 };

struct extents {
  int fd;
  int64_t size, next;
  struct fiemap *map;
  unsigned used;
  bool last;
  struct extent now; /* the first that has not been passed; at the end one that begins nowhere */
};

static const uint32_t incomparable = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
                                     FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_NOT_ALIGNED |
                                     FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL;

/* False where the file system cannot say. */
static bool read_extents(struct extents *at, uint32_t flags) {
  struct fiemap *map = at->map;
  memset(map, 0, sizeof *map);
  map->fm_start = at->next;
  map->fm_length = FIEMAP_MAX_OFFSET - at->next;
  map->fm_flags = flags;
  map->fm_extent_count = extents_at_once;
  at->used = 0;
  if (ioctl(at->fd, FS_IOC_FIEMAP, map) == 0) return true;
  if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EBADR || errno == EINVAL) return false;
  fail("the extents of an image cannot be read");
  return false;
}

static void advance(struct extents *at) {
  for (;;) {
    if (at->used == at->map->fm_mapped_extents) {
      bool more = !at->last && at->map->fm_mapped_extents > 0;
      if (more && !read_extents(at, 0)) fail("the extents of an image cannot be read");
      if (!more || at->map->fm_mapped_extents == 0) {
        at->now = (struct extent){INT64_MAX, INT64_MAX, 0, false};
        return;
      }
    }
    struct fiemap_extent *found = &at->map->fm_extents[at->used++];
    at->next = found->fe_logical + found->fe_length;
    at->last = found->fe_flags & FIEMAP_EXTENT_LAST;
    if ((int64_t)found->fe_logical >= at->size) continue;
    /* Allocated, and reads as zeroes: no data. */
    if (found->fe_flags & FIEMAP_EXTENT_UNWRITTEN) continue;
    at->now = (struct extent){found->fe_logical, at->next < at->size ? at->next : at->size, found->fe_physical,
                              !(found->fe_flags & incomparable)};
    return;
  }
}

/* From the file's beginning. What is still on its way to the disk gets its place there first. */
static bool begin_extents(struct extents *at, int fd, int64_t size, uint32_t flags) {
  if (!at->map) at->map = malloc(sizeof *at->map + extents_at_once * sizeof(struct fiemap_extent));
  if (!at->map) fail("no memory");
  at->fd = fd, at->size = size, at->next = 0, at->last = false;
  if (!read_extents(at, flags)) return false;
  advance(at);
  return true;
}

/* ---- Segments: what is to be done, from the image's beginning to its end ---- */

enum kind {
  same,    /* nothing */
  fresh,   /* data, where TO has zeroes */
  over,    /* data, where TO may have other data */
  zeroes,  /* none, where TO may have data */
};

struct segment {
  int64_t start, end;
  enum kind kind;
};

static int from, to, base = -1;
static int64_t size;
static bool by_extents, to_is_empty;
static int64_t position;
static struct extents of_from, of_base;
static struct segment ahead; /* joined with those of its kind that follow */

static void begin_segments(void) {
  position = 0;
  ahead = (struct segment){0, 0, same};
  by_extents = base >= 0;
  struct stat one, other;
  if (!by_extents) return;
  if (fstat(from, &one) < 0 || fstat(base, &other) < 0) fail("an image cannot be asked for its size");
  by_extents = one.st_dev == other.st_dev && begin_extents(&of_from, from, size, FIEMAP_FLAG_SYNC) &&
               begin_extents(&of_base, base, size, FIEMAP_FLAG_SYNC);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static struct segment by_difference(void) {
  while (of_from.now.end <= position) advance(&of_from);
  while (of_base.now.end <= position) advance(&of_base);
  struct extent *f = &of_from.now, *b = &of_base.now;
  bool has = f->start <= position, had = b->start <= position;
  int64_t end = least(size, least(has ? f->end : f->start, had ? b->end : b->start));
  bool shared = has && had && f->comparable && b->comparable &&
                f->physical + (position - f->start) == b->physical + (position - b->start);
  return (struct segment){position, end, shared ? same : has ? (had ? over : fresh) : had ? zeroes : same};
}

static struct segment by_holes(void) {
  int64_t data = lseek(from, position, SEEK_DATA);
  if (data < 0 && errno != ENXIO) fail("the holes of the source cannot be read");
  if (data < 0) data = size;
  if (data > position) return (struct segment){position, least(data, size), to_is_empty ? same : zeroes};
  int64_t hole = lseek(from, position, SEEK_HOLE);
  if (hole < 0) fail("the holes of the source cannot be read");
  return (struct segment){position, least(hole, size), to_is_empty ? fresh : over};
}

/* False at the end. */
static bool next_segment(struct segment *found) {
  for (;;) {
    struct segment next = {size, size, same};
    if (position < size) next = by_extents ? by_difference() : by_holes();
    position = next.end;
    if (next.kind == ahead.kind && next.start < size) {
      ahead.end = next.end;
      continue;
    }
    *found = ahead;
    ahead = next;
    if (found->kind != same) return true;
    if (next.start >= size) return false;
  }
}

/* ---- Pace ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static bool paused;
static int64_t rate, next_at; /* bytes per second; nanoseconds */
static atomic_llong done_bytes, total_bytes = -1;
/* What one turn took longer than it might have is made up for by the next ones, up to this. */
static const int64_t late_ns = 125000000;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Waits for its turn; how much may be read at once then, at most `wanted`. */
static int64_t take_turn(int64_t wanted) {
  pthread_mutex_lock(&lock);
  for (;;) {
    int64_t now = now_ns();
    if (paused) {
      pthread_cond_wait(&changed, &lock);
    } else if (rate > 0 && now < next_at) {
      struct timespec until = {next_at / 1000000000, next_at % 1000000000};
      pthread_cond_timedwait(&changed, &lock, &until);
    } else {
      int64_t bytes = wanted;
      if (rate > 0) {
        int64_t portion = rate / 8 / block * block;
        bytes = least(bytes, portion < least_at_once ? least_at_once : portion);
        if (next_at < now - late_ns) next_at = now;
        next_at += (int64_t)((double)bytes / rate * 1e9);
      }
      pthread_mutex_unlock(&lock);
      return bytes;
    }
  }
}

static void command(const char *line) {
  pthread_mutex_lock(&lock);
  if (strcmp(line, "pause") == 0) paused = true;
  else if (strcmp(line, "resume") == 0) paused = false;
  else if (strncmp(line, "rate ", 5) == 0) rate = strtoll(line + 5, NULL, 10), next_at = 0;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

/* ---- Copying ---- */

static const char *to_path, *part_path;
static const char unwritable[] = "the target cannot be written";

static void write_all(const char *bytes, int64_t length, int64_t at) {
  while (length > 0) {
    ssize_t written = pwrite(to, bytes, length, at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(unwritable);
    bytes += written, at += written, length -= written;
  }
}

static void punch(int64_t start, int64_t end) {
  static char nothing[64 << 10];
  static bool cannot;
  /* In pieces: others have the same disk. */
  for (int64_t piece = 1 << 30; start < end && !cannot;) {
    int64_t length = least(piece, end - start);
    if (fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length) == 0) start += length;
    else if (errno == EOPNOTSUPP) cannot = true;
    else if (errno != EINTR) fail(unwritable);
  }
  for (; start < end; start += sizeof nothing) write_all(nothing, least(sizeof nothing, end - start), start);
}

static bool is_zero(const char *bytes, int64_t length) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

static void write_thin(const char *bytes, int64_t length, int64_t at, enum kind kind) {
  for (int64_t start = 0; start < length;) {
    bool zero = is_zero(bytes + start, block);
    int64_t end = start + block;
    while (end < length && is_zero(bytes + end, block) == zero) end += block;
    if (!zero) write_all(bytes + start, end - start, at + start);
    else if (kind == over) punch(at + start, at + end);
    start = end;
  }
}

static void read_all(char *bytes, int64_t length, int64_t at) {
  while (length > 0) {
    ssize_t got = pread(from, bytes, length, at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("the source cannot be read");
    if (got == 0) refuse("the source has become shorter: somebody writes to it");
    bytes += got, at += got, length -= got;
  }
}

/*
 * What was copied leaves the page cache behind: an image is larger than it, and nobody reads it there. What was written
 * goes to the disk while the next is read; it is waited for before it has become more than the disk can take.
 */
static int64_t given_back, sent, settled;

/* An error that is met here is not told again by the fsync at the end. */
static void write_out(int64_t start, int64_t end, unsigned how) {
  if (sync_file_range(to, start, end - start, how) == 0) return;
  if (errno != EINVAL && errno != ENOSYS && errno != ESPIPE) fail(unwritable);
}

static void pass(int64_t at, bool all) {
  if (!all && at - sent < window) return;
  posix_fadvise(from, given_back, at - given_back, POSIX_FADV_DONTNEED);
  given_back = at;
  if (sent > settled) {
    write_out(settled, sent, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(to, settled, sent - settled, POSIX_FADV_DONTNEED);
  }
  settled = sent;
  if (at > sent) write_out(sent, at, SYNC_FILE_RANGE_WRITE);
  sent = at;
}

/* Whole blocks: one that belongs to two segments in part is copied with either, which does no harm. */
static void copy_range(int64_t start, int64_t end, enum kind kind) {
  static char *buffer;
  if (!buffer && posix_memalign((void **)&buffer, block, most_at_once)) fail("no memory");
  start -= start % block;
  end = least(size, (end + block - 1) / block * block);
  while (start < end) {
    int64_t length = take_turn(least(end - start, most_at_once));
    read_all(buffer, length, start);
    write_thin(buffer, length, start, kind);
    start += length;
    atomic_fetch_add(&done_bytes, length);
    pass(start, false);
  }
}

static void carry_out(struct segment one) {
  if (one.kind != zeroes) return copy_range(one.start, one.end, one.kind);
  take_turn(0);
  int64_t start = (one.start + block - 1) / block * block, end = one.end / block * block;
  if (start > end) return copy_range(one.start, one.end, over);
  if (one.start < start) copy_range(one.start, start, over);
  punch(start, end);
  if (end < one.end) copy_range(end, one.end, over);
}

static int64_t bytes_of(struct segment one) {
  return one.kind == zeroes ? 0 : least(size, (one.end + block - 1) / block * block) - one.start / block * block;
}

enum { queue_length = 256 };

/* The source is read ahead over several segments: scattered ones would be waited for one by one. */
static void copy_segments(void) {
  struct segment queue[queue_length];
  int first = 0, count = 0;
  int64_t queued = 0;
  bool more = true;
  begin_segments();
  for (;;) {
    while (more && count < queue_length && queued < window) {
      static struct segment rest;
      if (rest.start >= rest.end && !(more = next_segment(&rest))) break;
      struct segment one = rest;
      /* Not split within a block, else it would be copied twice. */
      if (one.kind != zeroes) one.end = least(one.end, (one.start / block + window / block / 4) * block);
      rest.start = one.end;
      /* The kernel's own read-ahead is better at what lies together: asked for whole MiB, it is slower by a third. */
      if (one.kind != zeroes && one.end - one.start <= scattered)
        posix_fadvise(from, one.start, one.end - one.start, POSIX_FADV_WILLNEED);
      queued += bytes_of(one);
      queue[(first + count++) % queue_length] = one;
    }
    if (count == 0) return;
    struct segment one = queue[first];
    first = (first + 1) % queue_length, count--;
    queued -= bytes_of(one);
    carry_out(one);
  }
}

/* A block that is written in a shared extent takes itself, and not the usual 128 KiB around it. */
static struct fsxattr attributes;
static bool had_attributes;

static void copy_on_write_exactly(bool exactly) {
  if (exactly) had_attributes = ioctl(to, FS_IOC_FSGETXATTR, &attributes) == 0;
  if (!had_attributes) return;
  struct fsxattr wanted = attributes;
  if (exactly) wanted.fsx_xflags |= FS_XFLAG_COWEXTSIZE, wanted.fsx_cowextsize = block;
  if (ioctl(to, FS_IOC_FSSETXATTR, &wanted) < 0) had_attributes = false;
}

static void sync_folder_of(const char *path) {
  char copy[PATH_MAX];
  snprintf(copy, sizeof copy, "%s", path);
  int folder = open_file(dirname(copy), O_RDONLY | O_DIRECTORY);
  if (fsync(folder) < 0) fail("%s cannot be put on disk", path);
  close(folder);
}

static struct stat source;

/* Writes to the source would make a target that never was. */
static void require_at_rest(void) {
  struct stat now;
  if (fstat(from, &now) < 0) fail("the source cannot be asked for its size");
  if (now.st_size != source.st_size || now.st_mtim.tv_sec != source.st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != source.st_mtim.tv_nsec)
    refuse("somebody wrote to the source meanwhile");
}

static void *copy_image(void *finished) {
  struct segment one;
  int64_t total = 0;
  begin_segments();
  while (next_segment(&one)) total += bytes_of(one);
  atomic_store(&total_bytes, total);
  if (base >= 0) copy_on_write_exactly(true);
  copy_segments();
  pass(size, true);
  if (base >= 0) copy_on_write_exactly(false);
  take_turn(0);
  require_at_rest();
  if (fsync(to) < 0) fail(unwritable);
  posix_fadvise(to, 0, 0, POSIX_FADV_DONTNEED);
  if (part_path) {
    if (rename(part_path, to_path) < 0) fail("%s cannot be renamed", part_path);
    sync_folder_of(to_path);
  }
  if (write(*(int *)finished, "", 1) < 0) _exit(1);
  return NULL;
}

static void open_target(const char *clone) {
  if (!part_path) {
    to = open_file(to_path, O_RDWR);
    struct stat found;
    if (fstat(to, &found) < 0) fail("%s cannot be asked for its size", to_path);
    if (found.st_size != size) refuse("the target has another size than the source");
    return;
  }
  to = open_file(part_path, O_RDWR | O_CREAT | O_EXCL);
  to_is_empty = clone == NULL;
  if (clone) {
    int original = open_file(clone, O_RDONLY);
    if (ioctl(to, FICLONE, original) < 0) fail("%s cannot be cloned", clone);
    close(original);
  }
  if (ftruncate(to, size) < 0) fail("%s cannot be made as large as the source", to_path);
}

/* Lines of standard input; true at its end. */
static bool read_commands(void (*obey)(const char *)) {
  static char text[256];
  static size_t length;
  ssize_t got = read(STDIN_FILENO, text + length, sizeof text - 1 - length);
  if (got <= 0) return !(got < 0 && errno == EINTR);
  length += got;
  text[length] = 0;
  for (char *end; (end = strchr(text, '\n'));) {
    *end = 0;
    obey(text);
    length -= end + 1 - text;
    memmove(text, end + 1, length + 1);
  }
  if (length == sizeof text - 1) length = 0;
  return false;
}

static void tell(const char *what, long long bytes, long long *told) {
  if (bytes == *told) return;
  printf("%s %lld\n", what, bytes);
  fflush(stdout);
  *told = bytes;
}

static const char *value_of(const char *word, const char *key) {
  size_t length = strlen(key);
  return strncmp(word, key, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static int image(int count, char **words) {
  const char *from_path = NULL, *base_path = NULL, *clone = NULL, *value;
  for (int i = 0; i < count; i++) {
    if ((value = value_of(words[i], "from"))) from_path = value;
    else if ((value = value_of(words[i], "to"))) to_path = value;
    else if ((value = value_of(words[i], "part"))) part_path = value;
    else if ((value = value_of(words[i], "base"))) base_path = value;
    else if ((value = value_of(words[i], "clone"))) clone = value;
    else if (value_of(words[i], "image")) continue;
    else if ((value = value_of(words[i], "rate"))) rate = strtoll(value, NULL, 10);
    else refuse("usage: copy image image=ID from=PATH to=PATH [part=PATH [clone=PATH]] [base=PATH] [rate=BYTES]");
  }
  if (!from_path || !to_path || (part_path && !base_path != !clone)) refuse("copy image: a word is missing");
  from = open_file(from_path, O_RDONLY);
  if (fstat(from, &source) < 0) fail("%s cannot be asked for its size", from_path);
  size = source.st_size;
  if (size % block) refuse("the source is not made of whole blocks");
  if (base_path) base = open_file(base_path, O_RDONLY);
  open_target(clone);

  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&changed, &monotonic);
  int finished[2];
  pthread_t worker;
  if (pipe2(finished, O_CLOEXEC) < 0) fail("no pipe");
  errno = pthread_create(&worker, NULL, copy_image, &finished[1]);
  if (errno) fail("no thread");
  long long told_total = -1, told_done = 0;
  struct pollfd polled[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = finished[0], .events = POLLIN}};
  for (;;) {
    int ready = poll(polled, 2, 100);
    if (ready > 0 && polled[0].revents && read_commands(command)) _exit(input_ended);
    tell("total", atomic_load(&total_bytes), &told_total);
    tell("done", atomic_load(&done_bytes), &told_done);
    if (ready > 0 && polled[1].revents) return 0;
  }
}

/* ---- A program that ends with us ---- */

static pid_t watched;
static bool is_stopped;
static double overdrawn; /* bytes read beyond its rate */
static int64_t read_before, looked_at;
/* How often a program with a rate is looked at. What it read too little of in so long it may make up for. */
enum { look_ms = 5, made_up_ms = 50 };

static void keep_going(bool goes_on) {
  if (goes_on == !is_stopped) return;
  kill(watched, goes_on ? SIGCONT : SIGSTOP);
  is_stopped = !goes_on;
}

/* All that its threads have read, by the kernel's count; -1 where that is not told. */
static int64_t read_by_watched(void) {
  char path[64];
  long long bytes = -1;
  snprintf(path, sizeof path, "/proc/%d/io", (int)watched);
  FILE *io = fopen(path, "re");
  if (!io) return -1;
  if (fscanf(io, "rchar: %lld", &bytes) != 1) bytes = -1;
  fclose(io);
  return bytes;
}

static void hold_rate(void) {
  int64_t now = now_ns(), has_read = read_by_watched();
  if (has_read < 0) return;
  if (looked_at > 0) {
    overdrawn += (double)(has_read - read_before) - (double)rate * (now - looked_at) / 1e9;
    double credit = -(double)rate * made_up_ms / 1000;
    if (overdrawn < credit) overdrawn = credit;
  }
  read_before = has_read, looked_at = now;
  keep_going(!paused && overdrawn <= 0);
}

static void command_watched(const char *line) {
  if (strcmp(line, "pause") == 0) paused = true;
  else if (strcmp(line, "resume") == 0) paused = false;
  else if (strncmp(line, "rate ", 5) == 0) {
    rate = strtoll(line + 5, NULL, 10);
    /* What was read before at another rate is not paid for at this one. */
    overdrawn = 0, looked_at = 0;
  }
  keep_going(!paused);
}

static int watch(int count, char **words) {
  if (count < 3 || strcmp(words[1], "--") != 0) refuse("usage: copy watch WORD -- PROGRAM [ARGUMENT...]");
  pid_t self = getpid();
  watched = fork();
  if (watched < 0) fail("no process");
  if (watched == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self) _exit(1);
    int nothing = open_file("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    execvp(words[2], words + 2);
    fail("%s cannot be started", words[2]);
  }
  int status, child = syscall(SYS_pidfd_open, watched, 0);
  if (child < 0) {
    kill(watched, SIGKILL);
    fail("the program cannot be watched");
  }
  struct pollfd polled[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = child, .events = POLLIN}};
  for (;;) {
    int ready = poll(polled, 2, rate > 0 && !paused ? look_ms : -1);
    bool ended = ready > 0 && polled[0].revents && read_commands(command_watched);
    if (rate > 0 && !ended) hold_rate();
    if (ended) kill(watched, SIGKILL);
    if (!ended && !(ready > 0 && polled[1].revents)) continue;
    waitpid(watched, &status, 0);
    if (ended) return input_ended;
    errno = 0;
    if (WIFSIGNALED(status)) fail("%s was ended by signal %d", words[2], WTERMSIG(status));
    return WEXITSTATUS(status);
  }
}

/* ---- What images occupy ---- */

struct place {
  uint64_t start, end; /* on the device */
};

static struct place *places;
static size_t places_used, places_room;
static uint64_t unplaced; /* bytes of what has no place that could be compared */

static void add_place(uint64_t start, uint64_t length) {
  if (places_used == places_room) {
    places_room = places_room ? places_room * 2 : 4096;
    places = realloc(places, places_room * sizeof *places);
    if (!places) fail("no memory");
  }
  places[places_used++] = (struct place){start, start + length};
}

/* Everything that is allocated, also what was never written. */
static void add_file(int fd, uint64_t allocated) {
  static struct extents at;
  if (!at.map) at.map = malloc(sizeof *at.map + extents_at_once * sizeof(struct fiemap_extent));
  if (!at.map) fail("no memory");
  at.fd = fd, at.next = 0;
  for (;;) {
    if (!read_extents(&at, 0)) {
      unplaced += allocated;
      return;
    }
    for (unsigned i = 0; i < at.map->fm_mapped_extents; i++) {
      struct fiemap_extent *one = &at.map->fm_extents[i];
      at.next = one->fe_logical + one->fe_length;
      if (one->fe_flags & incomparable) unplaced += one->fe_length;
      else add_place(one->fe_physical, one->fe_length);
      if (one->fe_flags & FIEMAP_EXTENT_LAST) return;
    }
    if (at.map->fm_mapped_extents == 0) return;
  }
}

static int by_start(const void *a, const void *b) {
  const struct place *one = a, *other = b;
  return one->start < other->start ? -1 : one->start > other->start;
}

static int usage(const char *folder) {
  DIR *open_folder = opendir(folder);
  if (!open_folder) fail("%s cannot be read", folder);
  uint64_t allocated = 0, unique = 0, reached = 0;
  for (struct dirent *entry; (entry = readdir(open_folder));) {
    int fd = openat(dirfd(open_folder), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat found;
    if (fd < 0) continue; /* it was removed meanwhile, or is a link */
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
      allocated += found.st_blocks * 512;
      add_file(fd, found.st_blocks * 512);
    }
    close(fd);
  }
  qsort(places, places_used, sizeof *places, by_start);
  for (size_t i = 0; i < places_used; i++) {
    uint64_t start = places[i].start > reached ? places[i].start : reached;
    if (places[i].end > start) unique += places[i].end - start;
    if (places[i].end > reached) reached = places[i].end;
  }
  printf("allocated %" PRIu64 "\nunique %" PRIu64 "\n", allocated, unique + unplaced);
  return 0;
}

int main(int count, char **words) {
  if (count > 2 && strcmp(words[1], "image") == 0) return image(count - 2, words + 2);
  if (count > 2 && strcmp(words[1], "watch") == 0) return watch(count - 2, words + 2);
  if (count == 3 && strcmp(words[1], "usage") == 0) return usage(words[2]);
  refuse("usage: copy image|watch|usage; see packages/qemu/native/copy.c");
}
