/* One session: the writers of one disk from its attachment (or growth) to its end. */
#ifndef PROBE_SESSION_H
#define PROBE_SESSION_H

#include <stdint.h>

#include "record.h"

enum { MAX_THREADS = 16 };

struct settings {
  uint32_t iops;    /* writes per second and disk; 0: as fast as it goes */
  uint32_t threads;
  uint64_t span;    /* bytes of the disk in use, table included */
  uint64_t fill;    /* bytes filled in order when a disk is seen for the first time */
  uint32_t waits;   /* not 0: how long requests took is counted, and told by session_report_waits */
};

struct session;

/*
 * Writes the session's header to the table and to the disk's last block, announces it, starts the writers.
 * NULL when the disk is too small or its header could not be written (the reason is printed).
 */
struct session *session_start(const char *name, const char *path, const char *serial, uint64_t size,
                              const struct settings *settings);
/* Prints the line of the second. */
void session_report(struct session *session);
/* Prints how long the requests took that have ended since the last time; nothing where that is not counted. */
void session_report_waits(struct session *session);
/*
 * Asks the writers to end after the request in flight and waits for `seconds` at most. Returns 0 when they have
 * ended and the session is freed; -1 when a request still hangs (the session is left to it).
 */
int session_stop(struct session *session, double seconds);

#endif
