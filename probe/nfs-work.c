#define _GNU_SOURCE
#include "nfs-work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "nfs-report.h"
#include "record.h"

#define RETRY_NS 100000000u
static const struct work_kind *const kinds[] = {&writer_kind, &lock_kind, &unlinked_kind, &walk_kind, &mapped_kind};
static struct work works[MAX_WORKS];
static __thread struct work *mine;

int work_failed(struct work *work, const char *operation, int number) {
  atomic_fetch_add(&work->errors, 1);
  report("\"event\":\"error\",\"work\":\"%s\",\"op\":\"%s\",\"errno\":%d,\"error\":\"%s\",\"t\":%.3f", work->name, operation,
         number, strerrorname_np(number), now_seconds());
  return -1;
}

int work_wrong(struct work *work, const char *what, uint64_t where, uint64_t want, uint64_t got) {
  atomic_fetch_add(&work->bad, 1);
  report("\"event\":\"wrong\",\"work\":\"%s\",\"what\":\"%s\",\"where\":%llu,\"want\":%llu,\"got\":%lld,\"t\":%.3f",
         work->name, what, (unsigned long long)where, (unsigned long long)want, (long long)got, now_seconds());
  return -1;
}

static uint64_t session_of(const char *name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (; *name != 0; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
  return hash;
}

void work_seal(const struct work *work, uint8_t *block, uint64_t where, uint64_t seq) {
  struct record head = {.thread = 0, .threads = 1, .block = where, .seq = seq, .session_id = session_of(work->name)};
  memcpy(head.magic, BLOCK_MAGIC, sizeof head.magic);
  memcpy(head.serial, work->name, strnlen(work->name, SERIAL_BYTES));
  head.time_ns = wall_ns();
  record_seal(block, &head);
}

uint64_t work_seq_of(const char *name, const uint8_t *block, uint64_t where) {
  struct record head;
  memcpy(&head, block, sizeof head);
  if (record_valid(block, BLOCK_MAGIC))
    return head.block == where && head.session_id == session_of(name) ? head.seq : UINT64_MAX;
  for (size_t at = 0; at < BLOCK_BYTES; at++)
    if (block[at] != 0) return UINT64_MAX;
  return 0;
}

/* A page of a mapping that the server refuses: the work stands still, and is counted as failed. */
static void on_bus_error(int number) {
  (void)number;
  if (mine != NULL) work_failed(mine, "mapped page", EIO);
  for (;;) pause();
}

static void *run(void *argument) {
  struct work *work = mine = argument;
  const struct work_kind *kind = NULL;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i]->name, work->kind) == 0) kind = kinds[i];
  void *state = kind->open(work);
  report("\"event\":\"begun\",\"work\":\"%s\",\"ok\":%s,\"t\":%.3f", work->name, state != NULL ? "true" : "false",
         now_seconds());
  uint64_t interval = work->rate == 0 ? 0 : 1000000000u / work->rate, due = now_ns();
  while (state != NULL && !atomic_load(&work->stopping)) {
    if (atomic_load(&work->pausing)) {
      atomic_store(&work->resting, 1);
      sleep_until_ns(now_ns() + 10000000u);
      continue;
    }
    atomic_store(&work->resting, 0);
    if (now_ns() < due) sleep_until_ns(due);
    uint64_t began = now_ns();
    due = began + interval;
    atomic_store(&work->began_ns, began);
    int failed = kind->round(work, state);
    uint64_t took = now_ns() - began;
    atomic_store(&work->began_ns, 0);
    if (took > atomic_load(&work->worst_ns)) atomic_store(&work->worst_ns, took);
    if (failed) sleep_until_ns(now_ns() + RETRY_NS);
    else atomic_fetch_add(&work->rounds, 1);
  }
  if (state != NULL) kind->close(work, state);
  atomic_store(&work->ended, 1);
  return NULL;
}

int work_start(const char *name, const char *kind, const char *folder, uint32_t rate, uint32_t count) {
  int known = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) known |= strcmp(kinds[i]->name, kind) == 0;
  if (!known || strlen(name) >= NAME_BYTES || strlen(folder) >= FOLDER_BYTES || name[0] == 0) return EINVAL;
  struct work *empty = NULL;
  for (struct work *work = works; work < works + MAX_WORKS; work++) {
    if (atomic_load(&work->used)) {
      if (strcmp(work->name, name) == 0) return EEXIST;
    } else if (empty == NULL) {
      empty = work;
    }
  }
  if (empty == NULL) return ENOSPC;
  signal(SIGBUS, on_bus_error);
  memset(empty, 0, sizeof *empty);
  strcpy(empty->name, name);
  snprintf(empty->kind, sizeof empty->kind, "%s", kind);
  strcpy(empty->folder, folder);
  empty->rate = rate;
  empty->count = count;
  atomic_store(&empty->used, 1);
  pthread_t thread;
  int why = pthread_create(&thread, NULL, run, empty);
  if (why != 0) atomic_store(&empty->used, 0);
  else pthread_detach(thread);
  return why;
}

static struct work *find(const char *name) {
  for (struct work *work = works; work < works + MAX_WORKS; work++)
    if (atomic_load(&work->used) && strcmp(work->name, name) == 0) return work;
  return NULL;
}

static int wait_for(atomic_int *flag, atomic_int *or_else, double seconds) {
  for (double until = now_seconds() + seconds; now_seconds() < until; sleep_until_ns(now_ns() + 2000000u))
    if (atomic_load(flag) || atomic_load(or_else)) return 0;
  return -1;
}

int work_stop(const char *name, double seconds) {
  struct work *work = find(name);
  if (work == NULL) return -2;
  atomic_store(&work->stopping, 1);
  if (wait_for(&work->ended, &work->ended, seconds) != 0) return -1;
  atomic_store(&work->used, 0);
  return 0;
}

int work_pause(const char *name, int on, double seconds) {
  struct work *work = find(name);
  if (work == NULL) return -2;
  atomic_store(&work->pausing, on);
  return on ? wait_for(&work->resting, &work->ended, seconds) : 0;
}

void works_report(void) {
  for (struct work *work = works; work < works + MAX_WORKS; work++) {
    if (!atomic_load(&work->used)) continue;
    uint64_t worst = atomic_exchange(&work->worst_ns, 0), began = atomic_load(&work->began_ns), at = now_ns();
    report("\"event\":\"work\",\"work\":\"%s\",\"kind\":\"%s\",\"rounds\":%llu,\"errors\":%llu,\"bad\":%llu,"
           "\"maxms\":%.1f,\"inflightms\":%.1f,\"t\":%.3f",
           work->name, work->kind, (unsigned long long)atomic_load(&work->rounds),
           (unsigned long long)atomic_load(&work->errors), (unsigned long long)atomic_load(&work->bad),
           (double)worst / 1e6, began != 0 && at > began ? (double)(at - began) / 1e6 : 0.0, now_seconds());
  }
}
