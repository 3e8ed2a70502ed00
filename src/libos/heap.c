/*
 * heap.c - malloc and its family, on top of whichever allocator malloc_default names. One mutex around it, doorbell
 * upcalls held back inside it. Page faults inside are fine (they take other locks); calling malloc from a handler that
 * interrupted malloc is not, and ends the program with a sentence.
 */
#include "heap.h"

#include <string.h>

#include "mm.h"
#include "start.h"
#include "sync.h"
#include "thread.h"
#include "upcall.h"

struct allocator *malloc_default = &allocator_tags;
struct mutex heap_mutex;
static uint64_t heap_holder; /* name of the thread in the allocator */

void *morecore(intptr_t n)
{
	int64_t old = heap_grow(n);
	return mm_failed(old) ? (void *)-1 : (void *)old;
}

static uint64_t enter(void)
{
	uint64_t me = thread_self_name();

	if (heap_holder == me)
		panic("malloc called by a handler that interrupted malloc");
	uint64_t mask = upcalls_mask();
	mutex_lock(&heap_mutex);
	heap_holder = me;
	return mask;
}

static void leave(uint64_t mask)
{
	heap_holder = 0;
	mutex_unlock(&heap_mutex);
	upcalls_restore(mask);
}

__attribute__((weak)) void *aligned_alloc(size_t align, size_t n)
{
	if (align & (align - 1))
		return NULL;
	uint64_t mask = enter();
	void *p = malloc_default->alloc(malloc_default, n, align < 16 ? 16 : align);
	leave(mask);
	return p;
}

__attribute__((weak)) void *malloc(size_t n) { return aligned_alloc(16, n); }

__attribute__((weak)) void free(void *p)
{
	if (!p)
		return;
	uint64_t mask = enter();
	malloc_default->free(malloc_default, p);
	leave(mask);
}

__attribute__((weak)) void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	void *p = malloc(bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

size_t malloc_usable_size(void *p)
{
	uint64_t mask = enter();
	size_t n = malloc_default->size(malloc_default, p);
	leave(mask);
	return n;
}

__attribute__((weak)) void *realloc(void *p, size_t n)
{
	if (!p)
		return malloc(n);
	size_t old = malloc_usable_size(p);
	if (n <= old && n >= old / 2)
		return p;
	void *q = malloc(n);
	if (!q)
		return NULL;
	memcpy(q, p, old < n ? old : n);
	free(p);
	return q;
}

int malloc_check(void)
{
	uint64_t mask = enter();
	int bad = malloc_default->check(malloc_default);
	leave(mask);
	return bad;
}
