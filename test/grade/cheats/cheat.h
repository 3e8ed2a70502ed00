/* cheat.h - for allocators that try to get points in other ways: an honest one to build on, that takes memory and keeps it. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "kit.h"
#include "source.h"

#include "../job.h"

#define CHEAT_HEAD 16ul

/* A new block for each call, none used again: right, as far as memory goes. */
static inline void *plain_alloc(size_t n, size_t align)
{
	static char *at, *end;
	size_t size = (n + CHEAT_HEAD + 15) & ~15ul, most = size + align;

	if (n > 1ul << 40)
		return NULL;
	if ((size_t)(end - at) < most) {
		size_t bytes = page_up(most) + 64 * FH_PAGE;
		char *p = source_map(bytes, FH_PAGE);
		if (!p)
			return NULL;
		at = p;
		end = p + bytes;
	}
	char *p = (char *)(((uintptr_t)at + CHEAT_HEAD + align - 1) & ~(align - 1));
	((size_t *)p)[-1] = n;
	at = p + ((n + 15) & ~15ul);
	return p;
}

static inline void plain_free(struct allocator *a, void *p) { (void)a, (void)p; }
static inline size_t plain_size(struct allocator *a, void *p)
{
	(void)a;
	return ((size_t *)p)[-1];
}
static inline int plain_check(struct allocator *a)
{
	(void)a;
	return 0;
}
#define CHEAT(which) \
	struct allocator allocator_##which = {.name = #which, .alloc = which##_alloc, .free = plain_free, .size = plain_size, .check = plain_check}
