/*
 * probe.h - what the probe, a program in the linux layout, says of itself: in a page that its parent reads when it has ended.
 */
#pragma once

#include "kit.h"

#define REPORT_AT 0x200000000000ul

struct report {
	/* where things are */
	va_t image, text, data, bss, image_end, heap, brk, mmap_base, mapping, second, sp, stack_base, stack_end, last_page;
	uint64_t moved;             /* the address that a relocated pointer to `data` holds */
	uint64_t seed, stack_limit;
	/* the stack image */
	uint64_t argc, envc, args_lo, args_hi, env_lo, env_hi, strings; /* strings: hash of all of them, arguments first */
	uint64_t in_a_row;          /* strings that begin where the one before ends */
	uint64_t aux[2 * 24], naux; /* entries, AT_NULL counted */
	uint64_t headers;           /* hash of what AT_PHDR leads to */
	uint64_t random[2];
	char name[32];              /* what AT_EXECFN leads to */
};

/* FNV-1a */
static inline uint64_t hash(uint64_t h, const void *p, size_t n)
{
	const uint8_t *bytes = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ bytes[i]) * 0x100000001b3;
	return h;
}
#define HASH_FIRST 0xcbf29ce484222325ul
