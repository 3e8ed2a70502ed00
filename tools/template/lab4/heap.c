/*
 * heap.c - assignment 4: malloc on brk. docs/lab/4-heap.md says what to do, heap.h and test/lab/lib/lab4.h what each function
 * promises. Test it with `make lab N=4`.
 *
 * heap_grow(n) (mm.h) moves the heap's end up by n bytes and returns where it was, or -errno (mm_failed). Nobody else calls it. What
 * it gives is zeroed. Pages come when they are touched.
 */
#include <string.h>

#include "lab4.h"

/* n bytes, aligned to `align`, a power of two, at least 16. */
static void *alloc(struct allocator *a, size_t n, size_t align)
{
	(void)a, (void)n, (void)align; /* your code here */
	return NULL;
}

static void release(struct allocator *a, void *p)
{
	(void)a, (void)p; /* your code here */
}

static size_t size(struct allocator *a, void *p)
{
	(void)a, (void)p; /* your code here */
	return 0;
}

/* Walk over all blocks: is each one whole? Returns how many aren't. */
static int check(struct allocator *a)
{
	(void)a; /* your code here */
	return 0;
}

void *my_realloc(struct allocator *a, void *p, size_t n)
{
	(void)a, (void)p, (void)n; /* your code here */
	return NULL;
}

struct allocator my_allocator = {.name = "mine", .alloc = alloc, .free = release, .size = size, .check = check};
