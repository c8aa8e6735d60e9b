/* The probe's on-disk format: see README.md. All numbers are little-endian, as on every machine it runs on. */
#ifndef PROBE_RECORD_H
#define PROBE_RECORD_H

#include <stdint.h>

enum {
  BLOCK_BYTES = 4096,
  SECTOR_BYTES = 512,
  SERIAL_BYTES = 20,
  CRC_OFFSET = 4080,
  /* The first MiB holds the session table; block 0 is never touched. */
  TABLE_FIRST_BLOCK = 1,
  TABLE_SLOTS = 255,
  DATA_FIRST_BLOCK = 256,
  NO_THREAD = 0xffff,
};

#define BLOCK_MAGIC "VPBLOCK1"
#define SESSION_MAGIC "VPSESSN1"

/* The head of every block that the probe writes. */
struct record {
  char magic[8];
  char serial[SERIAL_BYTES];
  uint16_t thread;  /* NO_THREAD in a session's header */
  uint16_t threads;
  uint64_t block;   /* of the disk, in units of BLOCK_BYTES */
  uint64_t seq;     /* of this thread in this session, from 1; 0 in a session's header */
  uint64_t session_id;
  uint32_t session; /* from 1, rising with each session on this disk */
  uint32_t blocks;  /* length of the data area */
  uint32_t fill;    /* so many first writes of each thread go to its blocks in order */
  uint32_t iops;
  uint64_t time_ns; /* CLOCK_REALTIME */
  uint64_t size;    /* of the disk, bytes */
} __attribute__((packed));

void crc32_setup(void);
/* Completes a block: pattern after the head, a stamp at the end of each sector, the checksum. */
void record_seal(uint8_t *block, const struct record *head);
/* Whether the block is one of the probe's, whole and undamaged. */
int record_valid(const uint8_t *block, const char *magic);
/* The block (counted from DATA_FIRST_BLOCK) that a thread's write number `seq` goes to. */
uint32_t target_of(const struct record *session, uint32_t thread, uint64_t seq);

#endif
