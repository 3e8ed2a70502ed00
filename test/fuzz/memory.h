/*
 * memory.h - physical memory from bytes, for the parsers of what lies in it: pieces {address 4, length 2, bytes}, the rest
 * zeroes up to 4 GiB. Where pieces overlap the later one counts.
 */
#pragma once
#include "fuzz.h"

#define PIECES 24u
#define PIECE_MAX 4095u
#define READS_MAX (8u << 20) /* calls of boot_read for one input: a few tables of 1 MiB are added up byte by byte */
#define SEALED 0x8000u /* in a length: checksums in the piece are mended, which mutations alone would hardly get right */

struct piece { uint64_t at, n; uint8_t bytes[PIECE_MAX + 1]; };
extern struct piece piece[PIECES];
extern unsigned npieces;

void memory_from(struct input *in, void (*seal)(struct piece *));
