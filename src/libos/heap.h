/*
 * heap.h - malloc as a replaceable part. malloc, free, calloc, realloc, aligned_alloc (heap.c, weak) call
 * *malloc_default. Replace the allocator by pointing malloc_default to another, or link your own malloc.
 *
 * An allocator runs under the heap mutex: it needs no lock of its own, and no handler may call it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct allocator {
	const char *name;
	/* n bytes, aligned to `align` (a power of two, at least 16); NULL: no memory. */
	void *(*alloc)(struct allocator *, size_t n, size_t align);
	void (*free)(struct allocator *, void *);
	size_t (*size)(struct allocator *, void *); /* usable bytes of a block */
	int (*check)(struct allocator *);           /* 0, or how many inconsistencies it found */
	uint64_t state[72];                         /* the allocator's own */
};

extern struct allocator *malloc_default;
extern struct allocator allocator_tags; /* the kit's: boundary tags, power-of-two bins (alloc.c) */

void *malloc(size_t n);
void free(void *p);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void *aligned_alloc(size_t align, size_t n);
size_t malloc_usable_size(void *p);
/* Walk the heap. 0: consistent. */
int malloc_check(void);

/* sbrk for classic malloc code: old end, or (void *)-1. */
void *morecore(intptr_t n);
