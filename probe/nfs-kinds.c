#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"
#include "nfs-report.h"
#include "nfs-work.h"
#include "record.h"

/* One open file of records. */
struct records {
  int fd;
  ino_t inode;
  uint64_t seq;
  uint32_t count;
  uint64_t *seqs; /* what each place must hold */
  uint8_t *block;
};

static void free_records(struct work *work, void *argument) {
  (void)work;
  struct records *state = argument;
  if (state->fd >= 0) close(state->fd);
  free(state->seqs);
  free(state->block);
  free(state);
}

static struct records *open_records(struct work *work, const char *name, uint32_t places, int flags) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", work->folder, name);
  struct records *state = calloc(1, sizeof *state);
  state->seqs = calloc(places, sizeof *state->seqs);
  state->block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
  state->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0644);
  struct stat status;
  if (state->fd < 0 || fstat(state->fd, &status) != 0) {
    work_failed(work, "open", errno);
    free_records(work, state);
    return NULL;
  }
  state->inode = status.st_ino;
  return state;
}

static int check_inode(struct work *work, const struct records *state) {
  struct stat status;
  if (fstat(state->fd, &status) != 0) return work_failed(work, "fstat", errno);
  if (status.st_ino == state->inode) return 0;
  return work_wrong(work, "inode number", 0, state->inode, status.st_ino);
}

static int put(struct work *work, struct records *state, uint64_t place, uint64_t seq) {
  work_seal(work, state->block, place, seq);
  ssize_t n = pwrite(state->fd, state->block, BLOCK_BYTES, (off_t)(place * BLOCK_BYTES));
  if (n != BLOCK_BYTES) return work_failed(work, "write", n < 0 ? errno : EIO);
  if (fsync(state->fd) != 0) return work_failed(work, "fsync", errno);
  return 0;
}

/* From the server: what the client itself has in memory is given up first. */
static int get(struct work *work, struct records *state, uint64_t place) {
  posix_fadvise(state->fd, (off_t)(place * BLOCK_BYTES), BLOCK_BYTES, POSIX_FADV_DONTNEED);
  ssize_t n = pread(state->fd, state->block, BLOCK_BYTES, (off_t)(place * BLOCK_BYTES));
  if (n != BLOCK_BYTES) return work_failed(work, "read", n < 0 ? errno : EIO);
  uint64_t got = work_seq_of(work->name, state->block, place);
  return got == state->seqs[place] ? 0 : work_wrong(work, "record", place, state->seqs[place], got);
}

static uint32_t scatter(uint64_t seq) { return (uint32_t)((seq * 0x9e3779b97f4a7c15u) >> 33); }

/* Every fourth record is appended, until there are `count`; the others overwrite an earlier one. */
static void *open_writer(struct work *work) {
  if (work->count == 0) work->count = 1024;
  return open_records(work, work->name, work->count, O_TRUNC);
}

static int write_round(struct work *work, void *argument) {
  struct records *state = argument;
  uint64_t seq = state->seq + 1;
  int appends = state->count == 0 || (state->count < work->count && seq % 4 == 0);
  uint32_t place = appends ? state->count : scatter(seq) % state->count;
  uint64_t began = now_ns();
  if (put(work, state, place, seq) != 0) return -1;
  double ms = (double)(now_ns() - began) / 1e6;
  state->seq = seq;
  state->seqs[place] = seq;
  if (appends) state->count++;
  report("\"event\":\"ack\",\"work\":\"%s\",\"seq\":%llu,\"place\":%u,\"ms\":%.1f,\"t\":%.3f", work->name,
         (unsigned long long)seq, place, ms, now_seconds());
  return seq % 16 == 0 ? get(work, state, scatter(seq + 7) % state->count) : 0;
}

const struct work_kind writer_kind = {"writer", open_writer, write_round, free_records};

/*
 * A file that is held under a write lock all the time, and written. The lock is the open file's and not the process's,
 * which any other command would give back when it closes the same file.
 */
static void *open_locked(struct work *work) {
  struct records *state = open_records(work, work->name, 1, 0);
  if (state == NULL) return NULL;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(state->fd, F_OFD_SETLK, &lock) == 0) return state;
  work_failed(work, "lock", errno);
  free_records(work, state);
  return NULL;
}

static int lock_round(struct work *work, void *argument) {
  struct records *state = argument;
  if (put(work, state, 0, state->seq + 1) != 0) return -1;
  state->seqs[0] = ++state->seq;
  return get(work, state, 0) != 0 ? -1 : check_inode(work, state);
}

const struct work_kind lock_kind = {"lock", open_locked, lock_round, free_records};

/* A file that has no name any more (the client renames it and removes it when it is closed). */
static void *open_unlinked(struct work *work) {
  if (work->count == 0) work->count = 16;
  struct records *state = open_records(work, work->name, work->count, O_TRUNC);
  if (state == NULL) return NULL;
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", work->folder, work->name);
  for (uint32_t place = 0; place < work->count; place++) {
    state->seqs[place] = ++state->seq;
    if (put(work, state, place, state->seq) != 0) break;
  }
  if (unlink(path) == 0) return state;
  work_failed(work, "unlink", errno);
  free_records(work, state);
  return NULL;
}

static int unlinked_round(struct work *work, void *argument) {
  struct records *state = argument;
  uint32_t place = scatter(state->seq) % work->count;
  if (put(work, state, place, state->seq + 1) != 0) return -1;
  state->seqs[place] = ++state->seq;
  if (get(work, state, scatter(state->seq * 3) % work->count) != 0) return -1;
  return check_inode(work, state);
}

const struct work_kind unlinked_kind = {"unlinked", open_unlinked, unlinked_round, free_records};

/* A shared mapping; what was synchronised is read back past it, from the server. */
struct mapped {
  struct records *file;
  uint8_t *pages;
  int direct;
};

static void close_mapped(struct work *work, void *argument) {
  struct mapped *state = argument;
  if (state->pages != MAP_FAILED) munmap(state->pages, (size_t)work->count * BLOCK_BYTES);
  if (state->direct >= 0) close(state->direct);
  free_records(work, state->file);
  free(state);
}

static void *open_mapped(struct work *work) {
  if (work->count == 0) work->count = 32;
  struct records *file = open_records(work, work->name, work->count, O_TRUNC);
  if (file == NULL) return NULL;
  struct mapped *state = calloc(1, sizeof *state);
  size_t bytes = (size_t)work->count * BLOCK_BYTES;
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", work->folder, work->name);
  state->file = file;
  state->direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
  int failed = state->direct < 0 || ftruncate(file->fd, (off_t)bytes) != 0;
  state->pages = failed ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
  if (state->pages != MAP_FAILED) return state;
  work_failed(work, "mmap", errno);
  close_mapped(work, state);
  return NULL;
}

static int mapped_round(struct work *work, void *argument) {
  struct mapped *state = argument;
  struct records *file = state->file;
  uint64_t seq = file->seq + 1;
  uint32_t place = scatter(seq) % work->count;
  uint8_t *page = state->pages + (size_t)place * BLOCK_BYTES;
  work_seal(work, page, place, seq);
  if (msync(page, BLOCK_BYTES, MS_SYNC) != 0) return work_failed(work, "msync", errno);
  file->seqs[place] = file->seq = seq;
  uint32_t other = seq % 2 == 0 ? place : scatter(seq * 5) % work->count;
  ssize_t n = pread(state->direct, file->block, BLOCK_BYTES, (off_t)other * BLOCK_BYTES);
  if (n != BLOCK_BYTES) return work_failed(work, "read", n < 0 ? errno : EIO);
  uint64_t got = work_seq_of(work->name, file->block, other);
  if (got != file->seqs[other]) return work_wrong(work, "record in the file", other, file->seqs[other], got);
  got = work_seq_of(work->name, state->pages + (size_t)other * BLOCK_BYTES, other);
  return got == file->seqs[other] ? 0 : work_wrong(work, "record in memory", other, file->seqs[other], got);
}

const struct work_kind mapped_kind = {"mapped", open_mapped, mapped_round, close_mapped};

/* A directory of many files: each round must find the same names with the same inode numbers. */
struct tree {
  char folder[PATH_BYTES];
  uint32_t round;
  uint64_t inodes[];
};

static void close_walk(struct work *work, void *state) {
  (void)work;
  free(state);
}

static void *open_walk(struct work *work) {
  if (work->count == 0) work->count = 200;
  struct tree *tree = calloc(1, sizeof *tree + work->count * sizeof *tree->inodes);
  snprintf(tree->folder, sizeof tree->folder, "%s/%s", work->folder, work->name);
  if (mkdir(tree->folder, 0755) != 0 && errno != EEXIST) {
    work_failed(work, "mkdir", errno);
    free(tree);
    return NULL;
  }
  for (uint32_t i = 0; i < work->count; i++) {
    char path[PATH_BYTES + 32];
    struct stat status;
    int length = snprintf(path, sizeof path, "%s/file-%05u", tree->folder, i);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, path, (size_t)length) != length || fstat(fd, &status) != 0) {
      work_failed(work, "create", errno);
      free(tree);
      return NULL;
    }
    close(fd);
    tree->inodes[i] = status.st_ino;
  }
  return tree;
}

/* A name that comes and goes, so that the client must ask for the directory again. */
static int touch_folder(struct work *work, struct tree *tree) {
  char path[PATH_BYTES + 32];
  snprintf(path, sizeof path, "%s/round-%u", tree->folder, tree->round);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return work_failed(work, "create", errno);
  close(fd);
  if (unlink(path) != 0) return work_failed(work, "unlink", errno);
  return 0;
}

static int check_entry(struct work *work, struct tree *tree, DIR *folder, const struct dirent *entry, uint32_t i) {
  uint64_t want = tree->inodes[i];
  if (entry->d_ino != want) return work_wrong(work, "inode number of a name", i, want, entry->d_ino);
  struct statx status;
  if (statx(dirfd(folder), entry->d_name, AT_STATX_FORCE_SYNC, STATX_INO, &status) != 0)
    return work_failed(work, "statx", errno);
  if (status.stx_ino != want) return work_wrong(work, "inode number of a file", i, want, status.stx_ino);
  if (i != tree->round % work->count) return 0;
  char want_text[PATH_BYTES + 32], text[PATH_BYTES + 32];
  int length = snprintf(want_text, sizeof want_text, "%s/%s", tree->folder, entry->d_name);
  int fd = open(want_text, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return work_failed(work, "open", errno);
  ssize_t n = read(fd, text, sizeof text);
  int why = errno;
  close(fd);
  if (n < 0) return work_failed(work, "read", why);
  return n == length && memcmp(text, want_text, (size_t)n) == 0 ? 0 : work_wrong(work, "content", i, (uint64_t)length, (uint64_t)n);
}

static int walk_round(struct work *work, void *argument) {
  struct tree *tree = argument;
  tree->round++;
  if (touch_folder(work, tree) != 0) return -1;
  DIR *folder = opendir(tree->folder);
  if (folder == NULL) return work_failed(work, "opendir", errno);
  uint32_t seen = 0, i;
  int failed = 0;
  for (;;) {
    errno = 0;
    struct dirent *entry = readdir(folder);
    if (entry == NULL && errno != 0) failed = work_failed(work, "readdir", errno);
    if (entry == NULL || failed) break;
    if (sscanf(entry->d_name, "file-%u", &i) != 1) continue;
    seen++;
    failed = i >= work->count ? work_wrong(work, "unknown name", i, 0, 0) : check_entry(work, tree, folder, entry, i);
    if (failed) break;
  }
  closedir(folder);
  if (failed) return -1;
  return seen == work->count ? 0 : work_wrong(work, "number of names", 0, work->count, seen);
}

const struct work_kind walk_kind = {"walk", open_walk, walk_round, close_walk};
