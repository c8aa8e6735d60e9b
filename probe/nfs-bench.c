#define _GNU_SOURCE
#include "nfs-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"

enum { MAX_DEPTH = 32 };

struct run {
  const struct bench *bench;
  int fd;
  uint64_t blocks, until_ns;
  atomic_uint_fast64_t next, done, worst_ns;
  atomic_int why;
};

static void *requests(void *argument) {
  struct run *run = argument;
  const struct bench *bench = run->bench;
  int is_random = strncmp(bench->mode, "rand", 4) == 0, is_write = strstr(bench->mode, "write") != NULL;
  uint8_t *buffer = aligned_alloc(4096, bench->block);
  memset(buffer, 0x5a, bench->block);
  while (now_ns() < run->until_ns && atomic_load(&run->why) == 0) {
    uint64_t n = atomic_fetch_add(&run->next, 1);
    if (bench->seconds == 0 && n >= run->blocks) break;
    uint64_t place = (is_random ? (n * 0x9e3779b97f4a7c15u) >> 24 : n) % run->blocks;
    memcpy(buffer, &n, sizeof n);
    uint64_t began = now_ns();
    off_t at = (off_t)(place * bench->block);
    ssize_t got = is_write ? pwrite(run->fd, buffer, bench->block, at) : pread(run->fd, buffer, bench->block, at);
    if (got != (ssize_t)bench->block) {
      atomic_store(&run->why, got < 0 ? errno : ENODATA);
      break;
    }
    uint64_t took = now_ns() - began;
    if (took > atomic_load(&run->worst_ns)) atomic_store(&run->worst_ns, took);
    atomic_fetch_add(&run->done, 1);
  }
  free(buffer);
  return NULL;
}

int bench_run(const struct bench *bench, FILE *answer) {
  if (bench->block == 0 || bench->block % 4096 != 0 || bench->depth == 0 || bench->depth > MAX_DEPTH) return EINVAL;
  struct run run = {.bench = bench};
  run.blocks = ((uint64_t)bench->megabytes << 20) / bench->block;
  run.fd = open(bench->path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);
  if (run.fd < 0 || run.blocks == 0) return run.fd < 0 ? errno : EINVAL;
  pthread_t threads[MAX_DEPTH];
  uint64_t began = now_ns();
  run.until_ns = bench->seconds == 0 ? UINT64_MAX : began + bench->seconds * 1000000000ull;
  for (uint32_t i = 0; i < bench->depth; i++) pthread_create(&threads[i], NULL, requests, &run);
  for (uint32_t i = 0; i < bench->depth; i++) pthread_join(threads[i], NULL);
  if (strstr(bench->mode, "write") != NULL && fsync(run.fd) != 0) atomic_store(&run.why, errno);
  double seconds = (double)(now_ns() - began) / 1e9;
  close(run.fd);
  fprintf(answer, ",\"requests\":%llu,\"took\":%.3f,\"perSecond\":%.1f,\"bytesPerSecond\":%.0f,\"maxms\":%.1f",
          (unsigned long long)run.done, seconds, (double)run.done / seconds, (double)run.done * bench->block / seconds,
          (double)run.worst_ns / 1e6);
  return atomic_load(&run.why);
}
