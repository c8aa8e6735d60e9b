/*
 * A writer whose every write can be checked: as process 1 of a guest it writes to each disk that has a serial;
 * `probe FILE --serial NAME [--iops N] [--threads N] [--span BYTES] [--fill BYTES] [--seconds N]` does the same
 * to one file of the host. The console lines and the block format are described in README.md.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"
#include "machine.h"
#include "session.h"

static volatile sig_atomic_t interrupted;
static void interrupt(int number) { interrupted = number; }

static int run_on_file(int count, char **arguments) {
  struct settings settings = {.iops = 500, .threads = 4, .span = (uint64_t)256 << 20, .fill = 0, .waits = 0};
  const char *path = arguments[1], *serial = "";
  double seconds = 1e9;
  for (int i = 2; i + 1 < count; i += 2) {
    const char *name = arguments[i], *value = arguments[i + 1];
    if (strcmp(name, "--serial") == 0) serial = value;
    if (strcmp(name, "--iops") == 0) settings.iops = (uint32_t)strtoul(value, NULL, 10);
    if (strcmp(name, "--threads") == 0) settings.threads = (uint32_t)strtoul(value, NULL, 10);
    if (strcmp(name, "--span") == 0) settings.span = strtoull(value, NULL, 10);
    if (strcmp(name, "--fill") == 0) settings.fill = strtoull(value, NULL, 10);
    if (strcmp(name, "--seconds") == 0) seconds = strtod(value, NULL);
  }
  struct stat status;
  if (serial[0] == 0 || stat(path, &status) != 0 || settings.threads < 1 || settings.threads > MAX_THREADS) {
    fprintf(stderr, "usage: probe FILE --serial NAME [--iops N] [--threads 1..%d] [--span BYTES] [--fill BYTES] "
                    "[--seconds N]\n", MAX_THREADS);
    return 2;
  }
  signal(SIGTERM, interrupt);
  signal(SIGINT, interrupt);
  double begin = now_seconds();
  struct session *session = session_start("file", path, serial, (uint64_t)status.st_size, &settings);
  if (session == NULL) return 1;
  double due = begin + 1;
  while (!interrupted && now_seconds() < begin + seconds) {
    usleep(20000);
    if (now_seconds() < due) continue;
    session_report(session);
    due += 1;
  }
  return session_stop(session, 3.0) == 0 ? 0 : 1;
}

int main(int count, char **arguments) {
  crc32_setup();
  if (getpid() == 1) guest_run();
  return run_on_file(count, count > 1 ? arguments : (char *[]){"", "", NULL});
}
