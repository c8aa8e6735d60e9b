#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "machine.h"
#include "session.h"

enum { MAX_DISKS = 64, MAX_BUTTONS = 4, POLL_MS = 200 };
/* Little: emulation, heads and exports pay for each write, and what was written is copied and verified. */
#define SPAN ((uint64_t)32 << 20)
#define IOPS 150

struct disk {
  char name[32];
  char serial[SERIAL_BYTES + 1];
  char generation[32]; /* the kernel's diskseq: another disk under an old name has another one */
  uint64_t size;
  struct session *session; /* NULL: a disk without a serial, or an unusable one */
  int seen;
};

static struct disk disks[MAX_DISKS];

static uint64_t bytes_of(const char *text) {
  char *end;
  uint64_t n = strtoull(text, &end, 10);
  switch (*end) {
    case 'k': case 'K': return n << 10;
    case 'm': case 'M': return n << 20;
    case 'g': case 'G': return n << 30;
    default: return n;
  }
}

static struct settings settings_of_command_line(void) {
  struct settings settings = {.iops = IOPS, .threads = 4, .span = SPAN, .fill = 0, .waits = 0};
  static char line[4096];
  if (read_line(line, sizeof line, "/proc/cmdline", "") != 0) return settings;
  for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " ")) {
    if (strncmp(word, "probe.iops=", 11) == 0) settings.iops = (uint32_t)bytes_of(word + 11);
    if (strncmp(word, "probe.threads=", 14) == 0) settings.threads = (uint32_t)bytes_of(word + 14);
    if (strncmp(word, "probe.span=", 11) == 0) settings.span = bytes_of(word + 11);
    if (strncmp(word, "probe.fill=", 11) == 0) settings.fill = bytes_of(word + 11);
    if (strncmp(word, "probe.waits=", 12) == 0) settings.waits = (uint32_t)bytes_of(word + 12);
  }
  if (settings.threads < 1) settings.threads = 1;
  if (settings.threads > MAX_THREADS) settings.threads = MAX_THREADS;
  return settings;
}

static void start(struct disk *disk, const struct settings *settings) {
  char path[48];
  snprintf(path, sizeof path, "/dev/%s", disk->name);
  disk->session = session_start(disk->name, path, disk->serial, disk->size, settings);
}

static void leave(struct disk *disk) {
  if (disk->session != NULL) {
    session_stop(disk->session, 1.0);
    say("PROBE %s gone serial=%s t=%.3f", disk->name, disk->serial, now_seconds());
  }
  memset(disk, 0, sizeof *disk);
}

static void look_at(const char *name, const struct settings *settings) {
  char text[64], generation[32] = "";
  if (read_line(text, sizeof text, "/sys/block/%s/size", name) != 0) return;
  uint64_t size = strtoull(text, NULL, 10) * 512;
  /* Of one that is taken away: its size goes before its name does. Not seen, it is left. */
  if (size == 0) return;
  read_line(generation, sizeof generation, "/sys/block/%s/diskseq", name);
  struct disk *disk = NULL, *empty = NULL;
  for (int i = 0; i < MAX_DISKS; i++) {
    if (disks[i].name[0] == 0) {
      if (empty == NULL) empty = &disks[i];
    } else if (strcmp(disks[i].name, name) == 0) {
      disk = &disks[i];
    }
  }
  if (disk != NULL && strcmp(disk->generation, generation) != 0) {
    leave(disk);
    empty = disk;
    disk = NULL;
  }
  if (disk != NULL) {
    disk->seen = 1;
    if (disk->size == size) return;
    disk->size = size;
    if (disk->session == NULL) return;
    say("PROBE %s size=%llu t=%.3f", name, (unsigned long long)size, now_seconds());
    /* The new session's header goes to the new last block, which proves that the growth can be used. */
    if (session_stop(disk->session, 1.0) == 0) start(disk, settings);
    return;
  }
  if (empty == NULL) return;
  if (read_line(text, SERIAL_BYTES + 1, "/sys/block/%s/serial", name) != 0) text[0] = 0;
  strcpy(empty->name, name);
  snprintf(empty->serial, sizeof empty->serial, "%s", text);
  snprintf(empty->generation, sizeof empty->generation, "%s", generation);
  empty->size = size;
  empty->seen = 1;
  if (empty->serial[0] != 0) start(empty, settings);
}

static void scan(const struct settings *settings) {
  for (int i = 0; i < MAX_DISKS; i++) disks[i].seen = 0;
  DIR *folder = opendir("/sys/block");
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;)
    if (strncmp(entry->d_name, "vd", 2) == 0 && strlen(entry->d_name) < sizeof disks[0].name)
      look_at(entry->d_name, settings);
  if (folder != NULL) closedir(folder);
  for (int i = 0; i < MAX_DISKS; i++)
    if (disks[i].name[0] != 0 && !disks[i].seen) leave(&disks[i]);
}

static void power_off(void) {
  for (int i = 0; i < MAX_DISKS; i++)
    if (disks[i].session != NULL) session_stop(disks[i].session, 3.0);
  say("PROBE poweroff t=%.3f", now_seconds());
  tcdrain(STDOUT_FILENO);
  reboot(RB_POWER_OFF);
}

static int open_buttons(struct pollfd *buttons) {
  int count = 0;
  for (int i = 0; i < MAX_BUTTONS; i++) {
    char path[32];
    snprintf(path, sizeof path, "/dev/input/event%d", i);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) buttons[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
  return count;
}

/* Waits for the next look at the disks; the power button ends the guest. */
static void wait_a_little(struct pollfd *buttons, int count) {
  if (poll(buttons, (nfds_t)count, POLL_MS) <= 0) return;
  for (int i = 0; i < count; i++) {
    struct input_event event;
    while (buttons[i].revents && read(buttons[i].fd, &event, sizeof event) == (ssize_t)sizeof event)
      if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) power_off();
  }
}

void guest_run(void) {
  machine_start();
  struct settings settings = settings_of_command_line();
  say("PROBE ready iops=%u threads=%u span=%llu fill=%llu t=%.3f", settings.iops, settings.threads,
      (unsigned long long)settings.span, (unsigned long long)settings.fill, now_seconds());
  struct pollfd buttons[MAX_BUTTONS];
  int count = open_buttons(buttons);
  double due = now_seconds() + 1;
  for (;;) {
    scan(&settings);
    for (int i = 0; i < MAX_DISKS; i++)
      if (disks[i].session != NULL) session_report_waits(disks[i].session);
    if (now_seconds() >= due) {
      due = now_seconds() + 1;
      for (int i = 0; i < MAX_DISKS; i++)
        if (disks[i].session != NULL) session_report(disks[i].session);
    }
    if (count == 0) count = open_buttons(buttons);
    wait_a_little(buttons, count);
  }
}
