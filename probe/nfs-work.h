/* What the NFS guest does on its mounts until it is told to stop. README.md says what each kind proves. */
#ifndef PROBE_NFS_WORK_H
#define PROBE_NFS_WORK_H

#include <stdatomic.h>
#include <stdint.h>

enum { MAX_WORKS = 32, NAME_BYTES = 32, FOLDER_BYTES = 128, PATH_BYTES = 256 };

struct work {
  char name[NAME_BYTES];
  char kind[16];
  char folder[FOLDER_BYTES];
  uint32_t rate;  /* rounds per second; 0: as fast as it goes */
  uint32_t count; /* records, files or pages */
  atomic_int used, pausing, resting, stopping, ended;
  atomic_uint_fast64_t rounds, errors, bad;
  atomic_uint_fast64_t began_ns; /* of the round in flight; 0: none */
  atomic_uint_fast64_t worst_ns; /* since the last report */
};

/* What one kind is: makes what it needs, does one round (0: done), leaves. All run in the work's own thread. */
struct work_kind {
  const char *name;
  void *(*open)(struct work *work);
  int (*round)(struct work *work, void *state);
  void (*close)(struct work *work, void *state);
};

extern const struct work_kind writer_kind, lock_kind, unlinked_kind, walk_kind, mapped_kind;

/* The errno of a wrong argument, or 0: it runs. The state is made in its own thread, which reports "begun". */
int work_start(const char *name, const char *kind, const char *folder, uint32_t rate, uint32_t count);
/* Waits for the end of the round in flight, for `seconds` at most; -1: it hangs, -2: there is no such work. */
int work_stop(const char *name, double seconds);
/* The same, without giving up what it holds; with `on` 0 it goes on. */
int work_pause(const char *name, int on, double seconds);
/* A line of each work. */
void works_report(void);

/* For the kinds: an operation failed, or something is not as it was. Both are reported. */
int work_failed(struct work *work, const char *operation, int number);
int work_wrong(struct work *work, const char *what, uint64_t where, uint64_t want, uint64_t got);
/* A sealed record: the session is the work's name. */
void work_seal(const struct work *work, uint8_t *block, uint64_t where, uint64_t seq);
/* The sequence number that the block holds; 0: zeroes; UINT64_MAX: damaged, or another place's or work's. */
uint64_t work_seq_of(const char *name, const uint8_t *block, uint64_t where);

#endif
