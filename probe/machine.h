/* What every guest of ours needs to come up, and to say something. */
#ifndef PROBE_MACHINE_H
#define PROBE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* Mounts /proc, /sys and /dev, takes the serial console, loads the modules of /modules/order. */
void machine_start(void);
/* One whole line to the console; never mixed with another's. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The first line of the file whose path is `format` with `name`; -1 where it cannot be read. */
int read_line(char *text, size_t bytes, const char *format, const char *name);

/* CLOCK_MONOTONIC. */
double now_seconds(void);
uint64_t now_ns(void);
/* CLOCK_REALTIME. */
uint64_t wall_ns(void);
/* Until CLOCK_MONOTONIC is there. */
void sleep_until_ns(uint64_t at);

#endif
