/* The probe as the only program of a guest. */
#ifndef PROBE_GUEST_H
#define PROBE_GUEST_H

/* Runs as process 1: brings the machine up, writes to every disk that has a serial, ends with the machine. */
void guest_run(void) __attribute__((noreturn));

#endif
