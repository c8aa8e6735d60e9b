#include "record.h"

#include <string.h>

static uint32_t crc_table[8][256];

void crc32_setup(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0);
    crc_table[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int t = 1; t < 8; t++)
      crc_table[t][i] = (crc_table[t - 1][i] >> 8) ^ crc_table[0][crc_table[t - 1][i] & 0xff];
}

/* CRC-32 of zlib and Ethernet, eight bytes at a step: the guest runs under software emulation. */
static uint32_t crc32_update(uint32_t crc, const uint8_t *p, size_t n) {
  crc = ~crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint32_t low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + 4, 4);
    low ^= crc;
    crc = crc_table[7][low & 0xff] ^ crc_table[6][(low >> 8) & 0xff] ^ crc_table[5][(low >> 16) & 0xff] ^
          crc_table[4][low >> 24] ^ crc_table[3][high & 0xff] ^ crc_table[2][(high >> 8) & 0xff] ^
          crc_table[1][(high >> 16) & 0xff] ^ crc_table[0][high >> 24];
  }
  for (; n > 0; n--, p++) crc = (crc >> 8) ^ crc_table[0][(crc ^ *p) & 0xff];
  return ~crc;
}

static uint32_t block_crc(const uint8_t *block) {
  uint32_t crc = crc32_update(0, block, CRC_OFFSET);
  return crc32_update(crc, block + CRC_OFFSET + 4, BLOCK_BYTES - CRC_OFFSET - 4);
}

void record_seal(uint8_t *block, const struct record *head) {
  memcpy(block, head, sizeof *head);
  uint32_t x = (uint32_t)(head->seq * 2654435761u) ^ (uint32_t)head->session_id ^ (uint32_t)head->block;
  if (x == 0) x = 1;
  for (size_t at = sizeof *head; at + 4 <= BLOCK_BYTES; at += 4) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    memcpy(block + at, &x, 4);
  }
  uint32_t stamp[2] = {(uint32_t)head->seq, (uint32_t)head->session_id};
  for (size_t end = SECTOR_BYTES; end <= BLOCK_BYTES; end += SECTOR_BYTES)
    memcpy(block + end - sizeof stamp, stamp, sizeof stamp);
  uint32_t crc = block_crc(block);
  memcpy(block + CRC_OFFSET, &crc, 4);
}

int record_valid(const uint8_t *block, const char *magic) {
  uint32_t crc;
  memcpy(&crc, block + CRC_OFFSET, 4);
  return memcmp(block, magic, 8) == 0 && crc == block_crc(block);
}

static uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  h ^= h >> 16;
  return h;
}

uint32_t target_of(const struct record *session, uint32_t thread, uint64_t seq) {
  uint32_t threads = session->threads;
  uint32_t owned = (session->blocks - thread + threads - 1) / threads;
  uint32_t nth;
  if (seq <= session->fill) {
    nth = (uint32_t)(seq - 1) % owned;
  } else {
    uint32_t seed = mix((uint32_t)session->session_id ^ mix((uint32_t)(session->session_id >> 32) + thread));
    nth = mix(seed + (uint32_t)seq * 0x9e3779b9u) % owned;
  }
  return thread + threads * nth;
}
