/*
 * heap.h - malloc as a replaceable part. malloc and its family (heap.c, weak) call *malloc_default.
 *
 * An allocator is one file NAME.c that defines `struct allocator allocator_NAME`, includes heap.h, source.h (where memory
 * comes from) and sync.h, and nothing else of the kit: then it builds on Linux, too (make host-NAME). The gallery is
 * src/libos/alloc/; docs/gallery.md walks through it. A program chooses one by a line of its own,
 *
 *     struct allocator *malloc_default = &allocator_NAME;
 *
 * which takes the place of the kit's; or it links a malloc of its own.
 *
 * The kit does the locking: an allocator's functions are called under the heap mutex, with doorbell upcalls held back, so
 * they need no lock and no handler can come between. One that locks by itself says `threads`, and is called without the
 * mutex, by several threads at once. Either may fault on the pages it uses. None may call malloc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_ALIGN 16ul /* every block is aligned to this (System V ABI: max_align_t) */

/*
 * Told of one block: its address as malloc gave it out, its usable bytes, and whether it is in use. Must not call malloc
 * or free.
 */
typedef void heap_visitor(void *arg, void *block, size_t bytes, bool live);

/* Steps of a fork, for who has locks of its own: before it (take them all), after it in the parent (give them back), after
 * it in the child, where no other thread exists (make them as new). */
enum heap_fork { HEAP_FORK_BEFORE, HEAP_FORK_PARENT, HEAP_FORK_CHILD };

struct allocator {
	const char *name;
	bool threads; /* locks itself: the kit doesn't hold its heap mutex */

	/* -- needed -- */
	/* n usable bytes (0 is a size like others), aligned to `align`, a power of two and at least HEAP_ALIGN. NULL: there is no
	 * memory, and nothing has changed. What is in it is not defined. */
	void *(*alloc)(struct allocator *, size_t n, size_t align);
	/* p is not NULL, and came from alloc or realloc. */
	void (*free)(struct allocator *, void *p);
	/* Usable bytes of a block: what was asked for, or more. All of them are the caller's. */
	size_t (*size)(struct allocator *, void *p);
	/* Walk all there is. 0, or how many inconsistencies were found. Changes nothing. */
	int (*check)(struct allocator *);

	/* -- may be NULL -- */
	/* As realloc(p, n) with p not NULL: the block has moved, or not; NULL: no memory, and p is as it was. Alignment above
	 * HEAP_ALIGN may be lost. NULL: the kit allocates, copies and frees. */
	void *(*realloc)(struct allocator *, void *p, size_t n);
	/* Visit every live block once, in any order, and what free ones are known. Calls without it: nothing is visited. */
	void (*walk)(struct allocator *, heap_visitor *visit, void *arg);
	/* Give memory back to the system, as much as can be: bytes given. With no block in use, that is all of it. */
	size_t (*trim)(struct allocator *);
	/* A sentence about an address that could not be accessed, for the report of the fault: what block was there, whose.
	 * False: not mine. Called in a handler; takes no lock, allocates nothing. */
	bool (*explain)(struct allocator *, const void *address, char *text, size_t bytes);
	/* Only with `threads`, and then needed in programs that fork. */
	void (*fork)(struct allocator *, enum heap_fork);

	/* The return address of the call of malloc, free, ... : who wants the block. Set by the kit, not with `threads`. */
	const void *caller;
	uint64_t state[72]; /* the allocator's own, zero at first; it may as well use static data, there is one of it */
};

extern struct allocator *malloc_default;
extern struct allocator allocator_tags; /* the kit's: boundary tags, power-of-two bins (alloc/tags.c) */

/* What C and POSIX say. NULL: no memory, or an alignment that is no power of two (or 0). A free of NULL does nothing;
 * realloc(p, 0) is a block of size 0. */
void *malloc(size_t n);
void free(void *p);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void *aligned_alloc(size_t align, size_t n);
void *memalign(size_t align, size_t n);
int posix_memalign(void **p, size_t align, size_t n); /* 0, EINVAL (align: a power of two, 8 or more) or ENOMEM */
size_t malloc_usable_size(void *p);                   /* 0 for NULL */

/* The walk through the heap of malloc_default. 0: consistent. */
int malloc_check(void);
/* Visit its blocks; false: it has no walk. Other threads' calls of malloc wait meanwhile, unless it has locks of its own. */
bool malloc_walk(heap_visitor *visit, void *arg);
/* Give back what can be given: bytes; 0 also if it has no trim. */
size_t malloc_trim(void);
/* For fault.c: malloc_default's sentence about an address. False: it has none. */
bool malloc_explain(const void *address, char *text, size_t bytes);

/* For fork.c: the heap stands still, and the child's is whole. */
void heap_fork(enum heap_fork);

/* Between heap.c and what it runs on (heaplock.c; tools/host/source.c): around each call of an allocator's functions. */
uint64_t heap_enter(const struct allocator *);
void heap_leave(const struct allocator *, uint64_t token);
