/* Measures one file past the client's own cache. */
#ifndef PROBE_NFS_BENCH_H
#define PROBE_NFS_BENCH_H

#include <stdint.h>
#include <stdio.h>

struct bench {
  const char *path;
  const char *mode; /* write, read: in order; randwrite, randread */
  uint32_t block;   /* bytes of a request, a multiple of 4096 */
  uint32_t megabytes;
  uint32_t depth; /* requests at a time */
  uint32_t seconds; /* 0: until each block had its turn */
};

/* 0, with what was measured added to `answer` as JSON fields; or an errno. */
int bench_run(const struct bench *bench, FILE *answer);

#endif
