/*
 * heap.c - malloc and its family, on top of whichever allocator malloc_default names. Nothing here knows what it runs on:
 * the same file is built on Linux (make host-NAME). Locking is heap_enter's and heap_leave's, in heaplock.c.
 */
#include "heap.h"

#include <errno.h>
#include <string.h>

__attribute__((weak)) struct allocator *malloc_default = &allocator_tags;

#define CALLER __builtin_return_address(0)

/* Every public function has the call of its own program recorded, so none of them calls another. */
static inline uint64_t begin(struct allocator *a, const void *caller)
{
	uint64_t token = heap_enter(a);

	if (!a->threads)
		a->caller = caller;
	return token;
}

static void *allocate(size_t n, size_t align, const void *caller)
{
	struct allocator *a = malloc_default;

	if (n > PTRDIFF_MAX || align > PTRDIFF_MAX || !align || align & (align - 1))
		return NULL;
	uint64_t token = begin(a, caller);
	void *p = a->alloc(a, n, align < HEAP_ALIGN ? HEAP_ALIGN : align);
	heap_leave(a, token);
	return p;
}

static void release(void *p, const void *caller)
{
	struct allocator *a = malloc_default;

	if (!p)
		return;
	uint64_t token = begin(a, caller);
	a->free(a, p);
	heap_leave(a, token);
}

/* What serves an allocator that has no realloc of its own; the lock is held. A block that would lose less than half of
 * itself stays where it is. */
static void *move(struct allocator *a, void *p, size_t n)
{
	size_t old = a->size(a, p);

	if (n <= old && n >= old / 2)
		return p;
	void *q = a->alloc(a, n, HEAP_ALIGN);
	if (!q)
		return NULL;
	memcpy(q, p, old < n ? old : n);
	a->free(a, p);
	return q;
}

__attribute__((weak)) void *malloc(size_t n) { return allocate(n, HEAP_ALIGN, CALLER); }
__attribute__((weak)) void *aligned_alloc(size_t align, size_t n) { return allocate(n, align, CALLER); }
__attribute__((weak)) void *memalign(size_t align, size_t n) { return allocate(n, align, CALLER); }
__attribute__((weak)) void free(void *p) { release(p, CALLER); }

__attribute__((weak)) int posix_memalign(void **p, size_t align, size_t n)
{
	if (align < sizeof(void *) || align & (align - 1))
		return EINVAL;
	void *block = allocate(n, align, CALLER);
	if (!block)
		return ENOMEM;
	*p = block;
	return 0;
}

__attribute__((weak)) void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	void *p = allocate(bytes, HEAP_ALIGN, CALLER);
	return p ? memset(p, 0, bytes) : NULL;
}

__attribute__((weak)) void *realloc(void *p, size_t n)
{
	struct allocator *a = malloc_default;

	if (!p || n > PTRDIFF_MAX)
		return p ? NULL : allocate(n, HEAP_ALIGN, CALLER);
	uint64_t token = begin(a, CALLER);
	void *q = a->realloc ? a->realloc(a, p, n) : move(a, p, n);
	heap_leave(a, token);
	return q;
}

__attribute__((weak)) size_t malloc_usable_size(void *p)
{
	struct allocator *a = malloc_default;

	if (!p)
		return 0;
	uint64_t token = begin(a, CALLER);
	size_t n = a->size(a, p);
	heap_leave(a, token);
	return n;
}

int malloc_check(void)
{
	struct allocator *a = malloc_default;
	uint64_t token = begin(a, CALLER);
	int bad = a->check(a);

	heap_leave(a, token);
	return bad;
}

bool malloc_walk(heap_visitor *visit, void *arg)
{
	struct allocator *a = malloc_default;

	if (!a->walk)
		return false;
	uint64_t token = begin(a, CALLER);
	a->walk(a, visit, arg);
	heap_leave(a, token);
	return true;
}

size_t malloc_trim(void)
{
	struct allocator *a = malloc_default;

	if (!a->trim)
		return 0;
	uint64_t token = begin(a, CALLER);
	size_t bytes = a->trim(a);
	heap_leave(a, token);
	return bytes;
}

bool malloc_explain(const void *address, char *text, size_t bytes)
{
	struct allocator *a = malloc_default;

	return a->explain && a->explain(a, address, text, bytes);
}
