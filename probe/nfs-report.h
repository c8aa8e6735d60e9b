/* Lines of JSON from the NFS guest to its host, over the virtio serial port. */
#ifndef PROBE_NFS_REPORT_H
#define PROBE_NFS_REPORT_H

#include <stdint.h>

/* Opens the port named `volant.nfs`; waits for it. -1: there is none. */
int report_open(void);
/* The next command's line, without its end; -1: the port is gone. */
int report_read_line(char *line, int bytes);
/*
 * One whole line, never mixed with another's; `format` is the inside of a JSON object. It blocks while the host does
 * not listen, so that what was acknowledged to the host was really told.
 */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
