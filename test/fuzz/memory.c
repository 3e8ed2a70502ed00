/* memory.c - see memory.h. */
#include "memory.h"
#include "multiboot.h"

struct piece piece[PIECES];
unsigned npieces;
static uint64_t nreads;

void memory_from(struct input *in, void (*seal)(struct piece *))
{
	nreads = 0;
	for (npieces = 0; npieces < PIECES && in->n > 6; npieces++) {
		struct piece *p = &piece[npieces];
		p->at = take_bytes(in, 4);
		uint64_t length = take_bytes(in, 2);
		p->n = MIN(length & PIECE_MAX, in->n);
		memcpy(p->bytes, in->at, p->n);
		in->at += p->n;
		in->n -= p->n;
		if (seal && length & SEALED)
			seal(p);
	}
}

bool boot_read(uint64_t at, void *to, uint64_t n)
{
	if (++nreads > READS_MAX)
		fuzz_fail("memory is read %u times, there seems to be no end", READS_MAX);
	if (at > 1ul << 32 || n > (1ul << 32) - at)
		return false;
	memset(to, 0, n);
	for (unsigned i = 0; i < npieces; i++) {
		const struct piece *p = &piece[i];
		uint64_t from = MAX(at, p->at), end = MIN(at + n, p->at + p->n);
		if (from < end)
			memcpy((uint8_t *)to + (from - at), p->bytes + (from - p->at), end - from);
	}
	return true;
}
