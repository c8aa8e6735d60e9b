#define _GNU_SOURCE
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t wall_ns(void) { return clock_ns(CLOCK_REALTIME); }
double now_seconds(void) { return (double)now_ns() / 1e9; }

void sleep_until_ns(uint64_t at) {
  struct timespec t = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

void say(const char *format, ...) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  if (length > (int)sizeof line - 2) length = (int)sizeof line - 2;
  line[length++] = '\n';
  pthread_mutex_lock(&mutex);
  for (int done = 0; done < length;) {
    ssize_t n = write(STDOUT_FILENO, line + done, (size_t)(length - done));
    if (n <= 0) break;
    done += (int)n;
  }
  pthread_mutex_unlock(&mutex);
}

int read_line(char *text, size_t bytes, const char *format, const char *name) {
  char path[128];
  snprintf(path, sizeof path, format, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, bytes - 1);
  close(fd);
  if (n < 0) return -1;
  text[n] = 0;
  text[strcspn(text, "\n")] = 0;
  return 0;
}

/* The modules that the guest needs stand in their order of loading in /modules/order. */
static void load_modules(void) {
  FILE *order = fopen("/modules/order", "re");
  char name[128], path[160];
  while (order != NULL && fgets(name, sizeof name, order) != NULL) {
    name[strcspn(name, "\n")] = 0;
    snprintf(path, sizeof path, "/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
      say("PROBE module %s failed errno=%d", name, errno);
    if (fd >= 0) close(fd);
  }
  if (order != NULL) fclose(order);
}

void machine_start(void) {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  int console = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  if (console >= 0) {
    dup2(console, STDIN_FILENO);
    dup2(console, STDOUT_FILENO);
    dup2(console, STDERR_FILENO);
    struct termios mode;
    if (tcgetattr(STDOUT_FILENO, &mode) == 0) {
      mode.c_oflag &= ~(tcflag_t)OPOST;
      tcsetattr(STDOUT_FILENO, TCSANOW, &mode);
    }
  }
  load_modules();
}
