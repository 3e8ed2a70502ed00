/*
 * generations.h - the rules that only the layout generations has (layout/generations.c): a gigabyte of memory whose past can
 * be kept, and read beside it. The byte at `p` in [now] is, as it was in generation i, at p + i GiB. For programs that live
 * in that layout; functions return 0 or -errno unless said otherwise, and any thread may call them.
 *
 * What a program puts into [now] is its own affair: pages come zeroed at the first touch. A pointer that is stored there
 * means the present also when it is read in the past: add the distance to it, too.
 *
 * A fork's child begins with an empty present and no past.
 */
#pragma once

#include "space.h"

#define NOW_VA 0x100000000000ul
#define GENERATION_BYTES PLAN_GIB
#define GENERATIONS 511u

/* Where what is at `now` was in generation i; 0: now. */
static inline const volatile void *generation_at(const volatile void *now, unsigned i)
{
	return (const volatile char *)now + i * GENERATION_BYTES;
}
/* The present becomes a generation, too, read-only. Its number, one above the highest so far, from 1; -ENOSPC: that would be
 * above GENERATIONS; -ENOMEM. Copies nothing: pages are copied when they are written to, one at a time. */
int generation_keep(void);
/* The highest number that is kept; 0: none. */
unsigned generation_last(void);
/* The present becomes what generation i was; what it is now is lost, unless it has been kept. -ENOENT: i isn't kept. */
int generation_return(unsigned i);
/* Generation i is given up, and every frame that no other needs. -ENOENT. */
int generation_forget(unsigned i);
/* How many pages differ between two of them (0: now), or are in one only; and the numbers of the first `most` of these, as
 * multiples of 4 KiB. Takes time for what differs, not for what is there. */
size_t generations_differ(unsigned a, unsigned b, uint32_t *page, size_t most);
