#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "machine.h"

/* Every so many writes a writer reads one of its own earlier blocks back. */
enum { READ_EVERY = 8 };
/* Bins of latencies: 16 in each doubling of a microsecond, the last from 16 s on without an end. */
enum { BINS_IN_DOUBLING = 16, WAIT_BINS = 24 * BINS_IN_DOUBLING, BINS_IN_LINE = 40 };
#define RETRY_SECONDS 0.1

struct writer {
  pthread_t thread;
  struct session *session;
  uint32_t index;
  uint8_t *buffer;
  uint32_t *last_seq; /* for each block that it owns: the last acknowledged write of this session */
  atomic_uint_fast64_t acked;
  atomic_uint_fast64_t began_ns;  /* of the request in flight; 0: none */
  atomic_uint_fast64_t worst_ns;  /* since the last report */
  atomic_uint_fast64_t errors, reads, bad;
  atomic_int ended;
  atomic_uint_fast32_t waits[WAIT_BINS]; /* since the last report */
};

struct session {
  char name[32];
  int fd;
  struct record head;
  atomic_int stopping;
  uint32_t counts_waits;
  uint64_t reported_acked;
  double reported_at;
  struct writer writers[MAX_THREADS];
};

/* A disk that was taken away has no size any more; what fails on it then is no error of its storage. */
static int taken_away(int fd) {
  uint64_t bytes;
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode)) return 0;
  return ioctl(fd, BLKGETSIZE64, &bytes) != 0 || bytes == 0;
}

/* The first bin holds what took less than a microsecond. */
static uint32_t bin_of(uint64_t ns) {
  uint64_t us = ns / 1000;
  if (us == 0) return 0;
  uint32_t power = 63u - (uint32_t)__builtin_clzll(us);
  /* In sixteenths of the power of two: what follows the highest bit of the nanoseconds, scaled. */
  uint32_t part = (uint32_t)((ns * BINS_IN_DOUBLING / 1000) >> power) - BINS_IN_DOUBLING;
  uint32_t bin = power * BINS_IN_DOUBLING + part;
  return bin < WAIT_BINS ? bin : WAIT_BINS - 1;
}

/* One request with its measurement; repeated on errors until it succeeds or the session ends. */
static int transfer(struct writer *w, int writing, uint64_t block) {
  struct session *s = w->session;
  off_t at = (off_t)(block * BLOCK_BYTES);
  uint64_t began = now_ns();
  atomic_store(&w->began_ns, began);
  for (;;) {
    ssize_t n = writing ? pwrite(s->fd, w->buffer, BLOCK_BYTES, at) : pread(s->fd, w->buffer, BLOCK_BYTES, at);
    if (n == BLOCK_BYTES) break;
    int why = n < 0 ? errno : EIO;
    if (atomic_load(&s->stopping)) {
      atomic_store(&w->began_ns, 0);
      return -1;
    }
    if (!taken_away(s->fd) && atomic_fetch_add(&w->errors, 1) < 3)
      say("PROBE %s error op=%s block=%llu thread=%u errno=%d t=%.3f", s->name, writing ? "write" : "read",
          (unsigned long long)block, w->index, why, now_seconds());
    sleep_until_ns(now_ns() + (uint64_t)(RETRY_SECONDS * 1e9));
  }
  uint64_t took = now_ns() - began;
  atomic_store(&w->began_ns, 0);
  if (took > atomic_load(&w->worst_ns)) atomic_store(&w->worst_ns, took);
  if (s->counts_waits) atomic_fetch_add(&w->waits[bin_of(took)], 1);
  return 0;
}

/* Reads back a block that this writer alone writes, so it must hold exactly its last acknowledged write. */
static void read_back(struct writer *w, uint64_t seq) {
  struct session *s = w->session;
  uint32_t target = target_of(&s->head, w->index, 1 + ((seq * 2654435761u) >> 5) % seq);
  uint64_t block = DATA_FIRST_BLOCK + (uint64_t)target;
  uint32_t want = w->last_seq[target / s->head.threads];
  if (transfer(w, 0, block) != 0) return;
  atomic_fetch_add(&w->reads, 1);
  struct record got;
  memcpy(&got, w->buffer, sizeof got);
  if (record_valid(w->buffer, BLOCK_MAGIC) && got.session_id == s->head.session_id && got.seq == want) return;
  atomic_fetch_add(&w->bad, 1);
  say("PROBE %s bad-read block=%llu thread=%u want=%u got=%llu valid=%d t=%.3f", s->name,
      (unsigned long long)block, w->index, want, (unsigned long long)got.seq,
      record_valid(w->buffer, BLOCK_MAGIC), now_seconds());
}

static void *write_on(void *argument) {
  struct writer *w = argument;
  struct session *s = w->session;
  uint64_t interval = s->head.iops == 0 ? 0 : 1000000000u / s->head.iops * s->head.threads;
  uint64_t due = now_ns() + interval * w->index / s->head.threads;
  for (uint64_t seq = 1; !atomic_load(&s->stopping); seq++) {
    if (interval > 0 && seq > s->head.fill) {
      uint64_t now = now_ns();
      if (now < due) sleep_until_ns(due);
      /* Time lost in a pause is not made up for by a burst. */
      else if (now - due > 100000000u) due = now;
      due += interval;
    }
    struct record head = s->head;
    uint32_t target = target_of(&s->head, w->index, seq);
    memcpy(head.magic, BLOCK_MAGIC, sizeof head.magic);
    head.thread = (uint16_t)w->index;
    head.block = DATA_FIRST_BLOCK + (uint64_t)target;
    head.seq = seq;
    head.time_ns = wall_ns();
    record_seal(w->buffer, &head);
    if (transfer(w, 1, head.block) != 0) break;
    w->last_seq[target / s->head.threads] = (uint32_t)seq;
    atomic_store(&w->acked, seq);
    if (seq > s->head.fill && seq % READ_EVERY == 0) read_back(w, seq);
  }
  atomic_store(&w->ended, 1);
  return NULL;
}

/* The highest session in the table, 0 for none; sessions of another serial (a clone's) count too. */
static uint32_t highest_session(int fd, uint8_t *block) {
  uint32_t highest = 0;
  for (uint64_t slot = 0; slot < TABLE_SLOTS; slot++) {
    if (pread(fd, block, BLOCK_BYTES, (off_t)((TABLE_FIRST_BLOCK + slot) * BLOCK_BYTES)) != BLOCK_BYTES) break;
    if (!record_valid(block, SESSION_MAGIC)) break;
    struct record head;
    memcpy(&head, block, sizeof head);
    if (head.session > highest) highest = head.session;
  }
  return highest;
}

static int write_header(struct session *s, uint8_t *block, uint64_t at) {
  s->head.block = at;
  record_seal(block, &s->head);
  if (pwrite(s->fd, block, BLOCK_BYTES, (off_t)(at * BLOCK_BYTES)) != BLOCK_BYTES) return -1;
  return fdatasync(s->fd);
}

static int describe(struct session *s, const char *serial, uint64_t size, const struct settings *settings,
                    uint8_t *block) {
  uint64_t used = settings->span < size ? settings->span : size;
  uint64_t blocks = used / BLOCK_BYTES;
  if (blocks < DATA_FIRST_BLOCK + 1u + settings->threads) return -1;
  memcpy(s->head.magic, SESSION_MAGIC, sizeof s->head.magic);
  memcpy(s->head.serial, serial, strnlen(serial, SERIAL_BYTES));
  s->head.thread = NO_THREAD;
  s->head.threads = (uint16_t)settings->threads;
  s->head.session = highest_session(s->fd, block) + 1;
  /* One block less: the disk's last block holds a copy of the header. */
  s->head.blocks = (uint32_t)(blocks - DATA_FIRST_BLOCK - 1);
  s->head.iops = settings->iops;
  s->counts_waits = settings->waits;
  s->head.time_ns = wall_ns();
  s->head.size = size;
  if (s->head.session == 1) {
    uint64_t fill = settings->fill / BLOCK_BYTES;
    if (fill > s->head.blocks) fill = s->head.blocks;
    s->head.fill = (uint32_t)(fill / settings->threads);
  }
  if (getrandom(&s->head.session_id, sizeof s->head.session_id, GRND_NONBLOCK) < 0)
    s->head.session_id = s->head.time_ns ^ now_ns() << 20;
  return 0;
}

static struct session *give_up(struct session *s, const char *why, int number) {
  say("PROBE %s unusable reason=%s errno=%d t=%.3f", s->name, why, number, now_seconds());
  if (s->fd >= 0) close(s->fd);
  free(s);
  return NULL;
}

struct session *session_start(const char *name, const char *path, const char *serial, uint64_t size,
                              const struct settings *settings) {
  struct session *s = calloc(1, sizeof *s);
  snprintf(s->name, sizeof s->name, "%s", name);
  s->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
  if (s->fd < 0) return give_up(s, "open", errno);
  uint8_t *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
  if (describe(s, serial, size, settings, block) != 0) {
    free(block);
    return give_up(s, "too-small", 0);
  }
  uint64_t slot = TABLE_FIRST_BLOCK + (s->head.session - 1) % TABLE_SLOTS;
  int failed = write_header(s, block, size / BLOCK_BYTES - 1) || write_header(s, block, slot);
  int why = errno;
  free(block);
  if (failed) return give_up(s, "header", why);
  say("PROBE %s found serial=%.20s size=%llu session=%u id=%016llx threads=%u blocks=%u fill=%u iops=%u t=%.3f",
      s->name, serial, (unsigned long long)size, s->head.session, (unsigned long long)s->head.session_id,
      s->head.threads, s->head.blocks, s->head.fill, s->head.iops, now_seconds());
  /* The announcement must be on the host before the first write is on the disk. */
  tcdrain(STDOUT_FILENO);
  s->reported_at = now_seconds();
  for (uint32_t i = 0; i < settings->threads; i++) {
    struct writer *w = &s->writers[i];
    w->session = s;
    w->index = i;
    w->buffer = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    w->last_seq = calloc(s->head.blocks / settings->threads + 1, sizeof *w->last_seq);
    pthread_create(&w->thread, NULL, write_on, w);
  }
  return s;
}

void session_report(struct session *s) {
  uint64_t acked = 0, worst = 0, oldest = 0, errors = 0, reads = 0, bad = 0;
  char acks[MAX_THREADS * 21] = "";
  size_t used = 0;
  uint64_t at_ns = now_ns();
  for (uint32_t i = 0; i < s->head.threads; i++) {
    struct writer *w = &s->writers[i];
    uint64_t mine = atomic_load(&w->acked);
    uint64_t took = atomic_exchange(&w->worst_ns, 0);
    uint64_t began = atomic_load(&w->began_ns);
    acked += mine;
    if (took > worst) worst = took;
    if (began != 0 && at_ns > began && at_ns - began > oldest) oldest = at_ns - began;
    errors += atomic_load(&w->errors);
    reads += atomic_load(&w->reads);
    bad += atomic_load(&w->bad);
    used += (size_t)snprintf(acks + used, sizeof acks - used, "%s%llu", i ? "," : "", (unsigned long long)mine);
  }
  double now = now_seconds(), passed = now - s->reported_at;
  say("PROBE %s serial=%.20s acked=%llu iops=%.0f maxms=%.1f inflightms=%.1f errors=%llu reads=%llu bad=%llu "
      "acks=%s session=%u id=%016llx t=%.3f",
      s->name, s->head.serial, (unsigned long long)acked,
      passed > 0 ? (double)(acked - s->reported_acked) / passed : 0.0, (double)worst / 1e6, (double)oldest / 1e6,
      (unsigned long long)errors, (unsigned long long)reads, (unsigned long long)bad, acks, s->head.session,
      (unsigned long long)s->head.session_id, now);
  s->reported_acked = acked;
  s->reported_at = now;
}

void session_report_waits(struct session *s) {
  if (!s->counts_waits) return;
  char bins[BINS_IN_LINE * 24] = "";
  int count = 0, told = 0;
  double now = now_seconds();
  for (uint32_t bin = 0; bin <= WAIT_BINS; bin++) {
    if (bin == WAIT_BINS || count == BINS_IN_LINE) {
      if (count > 0 || !told) say("PROBE %s waits serial=%.20s bins=%s t=%.3f", s->name, s->head.serial, bins, now);
      if (bin == WAIT_BINS) return;
      told = 1;
      count = 0;
      bins[0] = 0;
    }
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->head.threads; i++) n += atomic_exchange(&s->writers[i].waits[bin], 0);
    if (n == 0) continue;
    size_t at = strlen(bins);
    snprintf(bins + at, sizeof bins - at, "%s%u:%llu", at ? "," : "", bin, (unsigned long long)n);
    count++;
  }
}

int session_stop(struct session *s, double seconds) {
  atomic_store(&s->stopping, 1);
  double until = now_seconds() + seconds;
  for (uint32_t i = 0; i < s->head.threads; i++)
    while (!atomic_load(&s->writers[i].ended)) {
      if (now_seconds() > until) return -1;
      sleep_until_ns(now_ns() + 2000000u);
    }
  session_report(s);
  for (uint32_t i = 0; i < s->head.threads; i++) {
    pthread_join(s->writers[i].thread, NULL);
    free(s->writers[i].buffer);
    free(s->writers[i].last_seq);
  }
  close(s->fd);
  free(s);
  return 0;
}
