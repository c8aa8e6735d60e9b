#define _GNU_SOURCE
#include "nfs-command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "machine.h"
#include "nfs-bench.h"
#include "nfs-report.h"
#include "nfs-work.h"
#include "record.h"

enum { LINE_BYTES = 2048, MAX_WORDS = 16 };
#define STOP_SECONDS 120.0

struct command {
  char line[LINE_BYTES];
  char *id, *verb;
  char *words[MAX_WORDS];
  int count;
  FILE *answer; /* fields of the answer, each after a comma */
  const char *failed;
};

static const char *word(const struct command *command, const char *key, const char *otherwise) {
  size_t length = strlen(key);
  for (int i = 0; i < command->count; i++)
    if (strncmp(command->words[i], key, length) == 0 && command->words[i][length] == '=')
      return command->words[i] + length + 1;
  return otherwise;
}

static uint32_t number(const struct command *command, const char *key, uint32_t otherwise) {
  const char *text = word(command, key, NULL);
  return text == NULL ? otherwise : (uint32_t)strtoul(text, NULL, 10);
}

/* Every action returns 0 or an errno, and says in `failed` what it was at. */
static int failed(struct command *command, const char *operation, int why) {
  command->failed = operation;
  return why;
}

static int ping(struct command *command) {
  (void)command;
  return 0;
}

/* mount source=ADDRESS:/PATH at=FOLDER vers=4.1|4.2|3 client=ADDRESS [more=OPTIONS] */
static int do_mount(struct command *command) {
  const char *source = word(command, "source", ""), *at = word(command, "at", ""), *vers = word(command, "vers", "4.1");
  const char *colon = strchr(source, ':');
  if (colon == NULL || at[0] != '/') return failed(command, "arguments", EINVAL);
  int length = (int)(colon - source), is_3 = strcmp(vers, "3") == 0;
  char options[512];
  if (is_3)
    snprintf(options, sizeof options,
             "vers=3,addr=%.*s,mountaddr=%.*s,mountvers=3,mountport=%s,mountproto=tcp,port=2049,proto=tcp,nolock,hard,"
             "timeo=50,retrans=2",
             length, source, length, source, word(command, "mountport", "20048"));
  else
    snprintf(options, sizeof options, "vers=%s,addr=%.*s,clientaddr=%s,hard,proto=tcp,sec=sys,timeo=50,retrans=2", vers,
             length, source, word(command, "client", "0.0.0.0"));
  mkdir(at, 0755);
  if (mount(source, at, is_3 ? "nfs" : "nfs4", 0, options) != 0) return failed(command, "mount", errno);
  return 0;
}

static int do_umount(struct command *command) {
  if (umount2(word(command, "at", ""), number(command, "force", 0) ? MNT_FORCE : 0) != 0)
    return failed(command, "umount", errno);
  return 0;
}

/* start work=NAME kind=writer|lock|unlinked|walk|mapped folder=PATH [rate=N] [count=N] */
static int do_start(struct command *command) {
  int why = work_start(word(command, "work", ""), word(command, "kind", ""), word(command, "folder", ""),
                       number(command, "rate", 0), number(command, "count", 0));
  return why == 0 ? 0 : failed(command, "start", why);
}

static int of_work(struct command *command, int outcome) {
  if (outcome == 0) return 0;
  return failed(command, "work", outcome == -1 ? ETIMEDOUT : ESRCH);
}
static int do_stop(struct command *command) {
  return of_work(command, work_stop(word(command, "work", ""), STOP_SECONDS));
}
static int do_pause(struct command *command) {
  return of_work(command, work_pause(word(command, "work", ""), 1, STOP_SECONDS));
}
static int do_resume(struct command *command) {
  return of_work(command, work_pause(word(command, "work", ""), 0, STOP_SECONDS));
}

/* Gives up all that the client has in memory. */
static int do_drop(struct command *command) {
  sync();
  int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "3\n", 2) != 2) return failed(command, "drop_caches", errno);
  close(fd);
  return 0;
}

/* records file=PATH work=NAME: the sequence number in each place; -1: damaged, or of another place. */
static int do_records(struct command *command) {
  int fd = open(word(command, "file", ""), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed(command, "open", errno);
  uint8_t *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
  fprintf(command->answer, ",\"seqs\":[");
  ssize_t n;
  for (uint64_t place = 0; (n = pread(fd, block, BLOCK_BYTES, (off_t)(place * BLOCK_BYTES))) == BLOCK_BYTES; place++)
    fprintf(command->answer, "%s%lld", place ? "," : "", (long long)work_seq_of(word(command, "work", ""), block, place));
  int why = n < 0 ? errno : n > 0 ? EIO : 0;
  fprintf(command->answer, "]");
  free(block);
  close(fd);
  return why == 0 ? 0 : failed(command, "read", why);
}

/* identity file=PATH: its inode number and what the server knows it by. */
static int do_identity(struct command *command) {
  struct stat status;
  const char *path = word(command, "file", "");
  if (stat(path, &status) != 0) return failed(command, "stat", errno);
  struct {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
  } handle = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
  int mount_id;
  if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0) != 0) return failed(command, "name_to_handle_at", errno);
  fprintf(command->answer, ",\"inode\":\"%llu\",\"size\":%lld,\"uid\":%u,\"mode\":%u,\"handle\":\"",
          (unsigned long long)status.st_ino, (long long)status.st_size, status.st_uid, status.st_mode);
  for (unsigned i = 0; i < handle.head.handle_bytes; i++) fprintf(command->answer, "%02x", handle.bytes[i]);
  fprintf(command->answer, "\"");
  return 0;
}

/* create file=PATH: a new file with its own path in it. */
static int do_create(struct command *command) {
  const char *path = word(command, "file", "");
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failed(command, "open", errno);
  int why = write(fd, path, strlen(path)) < 0 || fsync(fd) != 0 ? errno : 0;
  close(fd);
  return why == 0 ? 0 : failed(command, "write", why);
}

static int do_read(struct command *command) {
  char text[256];
  int fd = open(word(command, "file", ""), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed(command, "open", errno);
  ssize_t n = read(fd, text, sizeof text - 1);
  int why = errno;
  close(fd);
  if (n < 0) return failed(command, "read", why);
  text[n] = 0;
  for (ssize_t i = 0; i < n; i++)
    if (text[i] < 32 || text[i] > 126 || text[i] == '"' || text[i] == '\\') text[i] = '?';
  fprintf(command->answer, ",\"text\":\"%s\"", text);
  return 0;
}

static int do_remove(struct command *command) {
  return remove(word(command, "file", "")) == 0 ? 0 : failed(command, "remove", errno);
}

static int do_mkdir(struct command *command) {
  return mkdir(word(command, "file", ""), 0755) == 0 ? 0 : failed(command, "mkdir", errno);
}

static int do_list(struct command *command) {
  DIR *folder = opendir(word(command, "folder", ""));
  if (folder == NULL) return failed(command, "opendir", errno);
  fprintf(command->answer, ",\"names\":[");
  int count = 0;
  errno = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
    if (entry->d_name[0] != '.') fprintf(command->answer, "%s\"%s\"", count++ ? "," : "", entry->d_name);
  int why = errno;
  closedir(folder);
  fprintf(command->answer, "]");
  return why == 0 ? 0 : failed(command, "readdir", why);
}

static int do_space(struct command *command) {
  struct statvfs status;
  if (statvfs(word(command, "folder", ""), &status) != 0) return failed(command, "statvfs", errno);
  fprintf(command->answer, ",\"bytes\":%llu,\"free\":%llu", (unsigned long long)status.f_blocks * status.f_frsize,
          (unsigned long long)status.f_bfree * status.f_frsize);
  return 0;
}

/* lock file=PATH: tries for the write lock, and gives it back where it was got. */
static int do_lock(struct command *command) {
  int fd = open(word(command, "file", ""), O_RDWR | O_CLOEXEC);
  if (fd < 0) return failed(command, "open", errno);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int why = fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
  close(fd);
  return why == 0 ? 0 : failed(command, "lock", why);
}

/* bench file=PATH mode=write|read|randwrite|randread block=BYTES size=MIB depth=N seconds=N */
static int do_bench(struct command *command) {
  struct bench bench = {.path = word(command, "file", ""),
                        .mode = word(command, "mode", "read"),
                        .block = number(command, "block", 4096),
                        .megabytes = number(command, "size", 64),
                        .depth = number(command, "depth", 4),
                        .seconds = number(command, "seconds", 5)};
  int why = bench_run(&bench, command->answer);
  return why == 0 ? 0 : failed(command, "bench", why);
}

static const struct {
  const char *verb;
  int (*act)(struct command *command);
} verbs[] = {{"ping", ping},         {"mount", do_mount},       {"umount", do_umount}, {"start", do_start},
             {"stop", do_stop},      {"pause", do_pause},       {"resume", do_resume}, {"drop", do_drop},
             {"records", do_records}, {"identity", do_identity}, {"create", do_create}, {"read", do_read},
             {"remove", do_remove},  {"mkdir", do_mkdir},       {"list", do_list},     {"space", do_space},
             {"lock", do_lock},      {"bench", do_bench}};

static void *carry_out(void *argument) {
  struct command *command = argument;
  char *fields = NULL;
  size_t bytes = 0;
  int why = EOPNOTSUPP;
  command->failed = "verb";
  command->answer = open_memstream(&fields, &bytes);
  double began = now_seconds();
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(verbs[i].verb, command->verb) == 0) why = verbs[i].act(command);
  fclose(command->answer);
  if (why == 0)
    report("\"id\":%s,\"ok\":true,\"seconds\":%.4f%s", command->id, now_seconds() - began, fields);
  else
    report("\"id\":%s,\"ok\":false,\"op\":\"%s\",\"errno\":%d,\"error\":\"%s\"", command->id, command->failed, why,
           strerrorname_np(why));
  free(fields);
  free(command);
  return NULL;
}

void command_start(const char *line) {
  struct command *command = calloc(1, sizeof *command);
  snprintf(command->line, sizeof command->line, "%s", line);
  char *rest;
  command->id = strtok_r(command->line, " ", &rest);
  command->verb = strtok_r(NULL, " ", &rest);
  for (char *next; command->count < MAX_WORDS && (next = strtok_r(NULL, " ", &rest)) != NULL;)
    command->words[command->count++] = next;
  pthread_t thread;
  if (command->verb == NULL || pthread_create(&thread, NULL, carry_out, command) != 0) free(command);
  else pthread_detach(thread);
}
