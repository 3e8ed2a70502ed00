/*
 * first.c - first fit with boundary tags, free blocks in the order of their addresses: Knuth, TAOCP 1, 2.5, algorithms A and
 * C; the allocator that textbooks begin with, and a hard one to beat in space (Wilson et al., "Dynamic Storage Allocation: A
 * Survey", 1995).
 *
 *   used   | head | the caller's bytes ........................ |        head: size of the whole block, and two bits
 *   free   | head | next | prev | ........................ foot |        foot: the size again
 *                 ^ 16-aligned, so heads are 8 bytes before a multiple of 16
 *
 * Invariants: blocks lie side by side from `first` to the end mark, a head of size 0 that is in use. A block's BEFORE bit says
 * whether the one before it is in use; if not, its foot says where it begins. No two free blocks are neighbours. The list of
 * the free ones is sorted by address.
 *
 * Cost: 8 bytes for each block; malloc and free search a list as long as there are holes. Good at: space. Bad at: speed with
 * many holes, several threads.
 */
#include <string.h>

#include "heap.h"
#include "source.h"

struct block {
	size_t head;
	struct block *next, *prev; /* of a free block: the list */
};
#define USED 1ul
#define BEFORE 2ul /* the block before is in use */
#define GAP 4ul    /* bytes of somebody else, who moved the end of the heap: never free */
#define HEAD sizeof(size_t)
#define SMALLEST 32ul /* head, two links, foot */
#define GROW (4 * SOURCE_PAGE)

static struct {
	struct block *first, *end; /* end: the end mark */
	struct block *free;
} heap;

static size_t size_of(const struct block *b) { return b->head & ~15ul; }
static struct block *after(struct block *b) { return (struct block *)((char *)b + size_of(b)); }
static struct block *before(struct block *b) { return (struct block *)((char *)b - ((size_t *)b)[-1]); }
static void *user(struct block *b) { return (char *)b + HEAD; }
static struct block *block_of(void *p) { return (struct block *)((char *)p - HEAD); }
static char *top(void) { return (char *)heap.end + HEAD; }
static bool ours(void) { return heap.end && source_grow(0) == top(); } /* nobody else has moved the end of the heap */

/* ---- The list ---- */

static void link_after(struct block *b, struct block *prev)
{
	b->prev = prev;
	b->next = prev ? prev->next : heap.free;
	if (b->next)
		b->next->prev = b;
	if (prev)
		prev->next = b;
	else
		heap.free = b;
}

static void unlink_block(struct block *b)
{
	if (b->next)
		b->next->prev = b->prev;
	if (b->prev)
		b->prev->next = b->next;
	else
		heap.free = b->next;
}

static struct block *place(struct block *b)
{
	struct block *prev = NULL;

	for (struct block *f = heap.free; f && f < b; f = f->next)
		prev = f;
	return prev;
}

/* ---- Blocks ---- */

/* Make it a free block of this size, which stands in the list. */
static void set_free(struct block *b, size_t size)
{
	b->head = size | (b->head & BEFORE);
	((size_t *)after(b))[-1] = size;
	after(b)->head &= ~BEFORE;
}

static void set_used(struct block *b, size_t size)
{
	b->head = size | (b->head & BEFORE) | USED;
	after(b)->head |= BEFORE;
}

/* A block that is in no list becomes free, joined with its free neighbours. */
static struct block *release(struct block *b)
{
	size_t size = size_of(b);
	struct block *next = after(b);

	if (!(next->head & USED)) {
		size += size_of(next);
		unlink_block(next);
	}
	if (b->head & BEFORE) {
		link_after(b, place(b));
	} else {
		b = before(b);
		size += size_of(b);
	}
	set_free(b, size);
	return b;
}

/* Use the first `size` bytes of a block that is in no list; what is left is free. */
static void *carve(struct block *b, size_t whole, size_t size)
{
	if (whole - size < SMALLEST)
		size = whole;
	set_used(b, size);
	if (size < whole) {
		struct block *rest = after(b);
		rest->head = (whole - size) | BEFORE | USED;
		release(rest);
	}
	return user(b);
}

/* More memory at the end of the heap: then its last block is free and has `size`. False: there is none. */
static bool extend(size_t size)
{
	size_t have = ours() && !(heap.end->head & BEFORE) ? size_of(before(heap.end)) : 0;
	size_t n = (size - have + 2 * HEAD + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1);
	size_t pad = -(uintptr_t)source_grow(0) & 15;
	n = pad + (n < GROW ? GROW : n);
	char *p = source_grow((intptr_t)n);

	if (!p)
		return false;
	struct block *b = heap.end, *end = (struct block *)((((uintptr_t)p + n) & ~15ul) - HEAD);
	if (!b || p != top()) {
		b = (struct block *)((((uintptr_t)p + 15) & ~15ul) + HEAD);
		b->head = BEFORE;
		if (heap.end)
			heap.end->head = (size_t)((char *)b - (char *)heap.end) | (heap.end->head & BEFORE) | USED | GAP;
		else
			heap.first = b;
	} /* else the end mark becomes the head of what is new */
	b->head = (size_t)((char *)end - (char *)b) | (b->head & BEFORE) | USED;
	heap.end = end;
	end->head = USED | BEFORE;
	release(b);
	return true;
}

static void *take(size_t size, size_t align)
{
	for (struct block *b = heap.free; b; b = b->next) {
		size_t whole = size_of(b), front = -(uintptr_t)user(b) & (align - 1);
		while (front && front < SMALLEST)
			front += align;
		if (whole < front || whole - front < size)
			continue;
		if (!front) {
			unlink_block(b);
			return carve(b, whole, size);
		}
		set_free(b, front); /* the front stays in the list */
		b = after(b);
		b->head = USED;
		return carve(b, whole - front, size);
	}
	return NULL;
}

/* ---- What malloc calls ---- */

static bool too_large(size_t n, size_t align) { return n > 1ul << 46 || align > 1ul << 40; }

static size_t size_for(size_t n)
{
	size_t size = (n + HEAD + 15) & ~15ul;
	return size < SMALLEST ? SMALLEST : size;
}

static void *first_alloc(struct allocator *a, size_t n, size_t align)
{
	(void)a;
	if (too_large(n, align))
		return NULL;
	void *p = take(size_for(n), align);
	while (!p && extend(size_for(n) + (align > HEAP_ALIGN ? align + SMALLEST : 0)))
		p = take(size_for(n), align);
	return p;
}

static void first_free(struct allocator *a, void *p)
{
	(void)a;
	release(block_of(p));
}

static size_t first_size(struct allocator *a, void *p)
{
	(void)a;
	return size_of(block_of(p)) - HEAD;
}

/* Into the free block behind it, if that is enough; the rest of both is free. Else by copying. */
static void *first_realloc(struct allocator *a, void *p, size_t n)
{
	if (too_large(n, HEAP_ALIGN))
		return NULL;
	struct block *b = block_of(p), *next = after(b);
	size_t size = size_for(n), old = size_of(b);
	if (size > old && !(next->head & USED) && old + size_of(next) >= size) {
		unlink_block(next);
		set_used(b, old + size_of(next));
	}
	if (size <= size_of(b))
		return carve(b, size_of(b), size);
	void *q = first_alloc(a, n, HEAP_ALIGN);
	if (q) {
		memcpy(q, p, old - HEAD);
		release(b);
	}
	return q;
}

static int first_check(struct allocator *a)
{
	size_t free = 0, listed = 0;
	bool used = true;
	int bad = 0;

	(void)a;
	for (struct block *b = heap.first; b && b < heap.end; b = after(b)) {
		bad += ((uintptr_t)b & 15) != HEAD || !(b->head & BEFORE) != !used;
		if (size_of(b) < 16)
			return bad + 1; /* no way on from here */
		bad += !(b->head & USED) && (!used || ((size_t *)after(b))[-1] != size_of(b));
		used = b->head & USED;
		free += !used;
	}
	bad += heap.end && !(heap.end->head & BEFORE) != !used;
	for (struct block *b = heap.free, *prev = NULL; b && listed <= free; prev = b, b = b->next, listed++)
		bad += b->head & USED || b->prev != prev || b <= prev;
	return bad + (listed != free);
}

static void first_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	(void)a;
	for (struct block *b = heap.first; b && b < heap.end; b = after(b))
		if (!(b->head & GAP))
			visit(arg, user(b), size_of(b) - HEAD, b->head & USED);
}

/* The last block, if it is free, but for its links; all of the heap, if it is the only one. */
static size_t first_trim(struct allocator *a)
{
	(void)a;
	if (!ours() || heap.end->head & BEFORE)
		return 0;
	struct block *b = before(heap.end);
	if (b == heap.first) {
		size_t all = (size_t)(top() - ((char *)b - HEAD));
		memset(&heap, 0, sizeof(heap));
		return source_grow(-(intptr_t)all) ? all : 0;
	}
	size_t spare = (size_of(b) - SMALLEST) & ~(SOURCE_PAGE - 1);
	if (!spare)
		return 0;
	size_t size = size_of(b) - spare;
	heap.end = (struct block *)((char *)b + size);
	heap.end->head = USED;
	set_free(b, size);
	return source_grow(-(intptr_t)spare) ? spare : 0;
}

struct allocator allocator_first = {
    .name = "first",
    .alloc = first_alloc,
    .free = first_free,
    .size = first_size,
    .check = first_check,
    .realloc = first_realloc,
    .walk = first_walk,
    .trim = first_trim,
};
