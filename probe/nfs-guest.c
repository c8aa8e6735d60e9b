/*
 * A guest whose only program is an NFS client's user: it mounts, works and reports as its host tells it, over a virtio
 * serial port. Kernel command line: `guest.name=NAME guest.address=A.B.C.D/BITS [guest.gateway=A.B.C.D]`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"
#include "nfs-command.h"
#include "nfs-report.h"
#include "nfs-work.h"
#include "record.h"

struct settings {
  char name[64], address[32], gateway[32];
};

static struct settings settings_of_command_line(void) {
  struct settings settings = {.name = "guest", .address = "", .gateway = ""};
  static char line[4096];
  read_line(line, sizeof line, "/proc/cmdline", "");
  for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " ")) {
    if (strncmp(word, "guest.name=", 11) == 0) snprintf(settings.name, sizeof settings.name, "%s", word + 11);
    if (strncmp(word, "guest.address=", 14) == 0)
      snprintf(settings.address, sizeof settings.address, "%s", word + 14);
    if (strncmp(word, "guest.gateway=", 14) == 0)
      snprintf(settings.gateway, sizeof settings.gateway, "%s", word + 14);
  }
  return settings;
}

static struct sockaddr internet(in_addr_t address) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};
  struct sockaddr plain;
  memcpy(&plain, &in, sizeof plain);
  return plain;
}

static int interface_up(int fd, const char *name) {
  struct ifreq request = {0};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) return -1;
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  return ioctl(fd, SIOCSIFFLAGS, &request);
}

/* 0, or what failed. */
static const char *network_up(struct settings *settings) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  interface_up(fd, "lo");
  if (settings->address[0] == 0) return NULL;
  char *slash = strchr(settings->address, '/');
  int bits = slash == NULL ? 24 : atoi(slash + 1);
  if (slash != NULL) *slash = 0;
  struct ifreq request = {0};
  snprintf(request.ifr_name, sizeof request.ifr_name, "eth0");
  request.ifr_addr = internet(inet_addr(settings->address));
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) return "address";
  request.ifr_netmask = internet(htonl(bits == 0 ? 0 : ~0u << (32 - bits)));
  if (ioctl(fd, SIOCSIFNETMASK, &request) != 0) return "netmask";
  if (interface_up(fd, "eth0") != 0) return "interface";
  if (settings->gateway[0] != 0) {
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    route.rt_dst = internet(INADDR_ANY);
    route.rt_genmask = internet(INADDR_ANY);
    route.rt_gateway = internet(inet_addr(settings->gateway));
    if (ioctl(fd, SIOCADDRT, &route) != 0) return "gateway";
  }
  close(fd);
  return NULL;
}

static void *report_on(void *argument) {
  for (;;) {
    sleep_until_ns(now_ns() + 1000000000u);
    works_report();
  }
  return argument;
}

int main(void) {
  crc32_setup();
  machine_start();
  struct settings settings = settings_of_command_line();
  /* An NFSv4 server tells its clients apart by their machines' names. */
  if (sethostname(settings.name, strlen(settings.name)) != 0) say("NFS no hostname errno=%d", errno);
  const char *failed = network_up(&settings);
  if (failed != NULL) say("NFS no network: %s errno=%d", failed, errno);
  mkdir("/mnt", 0755);
  if (report_open() != 0) say("NFS no serial port");
  say("NFS ready name=%s address=%s t=%.3f", settings.name, settings.address, now_seconds());
  report("\"event\":\"ready\",\"name\":\"%s\",\"address\":\"%s\",\"network\":%s,\"t\":%.3f", settings.name,
         settings.address, failed == NULL ? "true" : "false", now_seconds());
  pthread_t thread;
  pthread_create(&thread, NULL, report_on, NULL);
  char line[2048];
  while (report_read_line(line, sizeof line) == 0) command_start(line);
  say("NFS the serial port is gone");
  for (;;) pause();
}
