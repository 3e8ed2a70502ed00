/*
 * tlsf.c - two-level segregated fit: Masmano, Ripoll, Crespo, Real, "TLSF: A New Dynamic Memory Allocator for Real-Time
 * Systems", ECRTS 2004. Every operation takes a bounded number of steps, whatever the heap looks like.
 *
 * Free blocks are in lists by size: the first level is the power of two, the second divides it into 16. One word of bits for
 * each level says which lists have something, so that "a list with blocks of at least n" is two bit scans. A request is
 * rounded up to the next list, whose every block fits: "good fit", no search. Only when there is no more memory are the blocks of
 * its own list tried one by one, of which some fit: the step that isn't bounded comes where the answer would be NULL.
 *
 *   used   | prev | head | the caller's bytes ......... |     prev: the block before, by address, if that is free
 *   free   | prev | head | next | last | ...            |     head: bytes after it, and two bits
 *                        ^ 16-aligned
 *
 * prev lies in the last 8 bytes of the block before, whose own it is while that one is in use: 8 bytes of each block are
 * overhead. Invariants: blocks lie side by side; no two free ones are neighbours; each free one is in the list of its size.
 *
 * Good at: bounded time, space nearly as best fit. Bad at: many threads (one lock); exact sizes (good fit may pass one by).
 */
#include <string.h>

#include "heap.h"
#include "source.h"

struct block {
	struct block *prev; /* valid if that is free */
	size_t head;        /* size: from here to the next block's head */
	struct block *next, *last; /* of a free one: the list */
};
#define FREE 1ul
#define PREV_FREE 2ul
#define GAP 4ul /* somebody else's bytes */
#define HEAD sizeof(size_t)
#define USER (2 * sizeof(size_t)) /* from a block to what the caller sees */
#define SMALLEST 24ul             /* two links, and the next one's prev */
#define GROW (4 * SOURCE_PAGE)

#define SPLIT 4u /* log2 of the lists of a power of two */
#define LISTS (1u << SPLIT)
#define LEAST 8u /* sizes below 2^8 are in the lists of level 0, 16 bytes each */
#define LEVELS (47u - LEAST + 1)

static struct {
	struct block *first, *end; /* end: the end mark, in use, of size 0 */
	uint64_t levels;
	uint32_t lists[LEVELS];
	struct block *free[LEVELS][LISTS];
} heap;

static size_t size_of(const struct block *b) { return b->head & ~7ul; }
static struct block *after(struct block *b) { return (struct block *)((char *)b + HEAD + size_of(b)); }
static void *user(struct block *b) { return (char *)b + USER; }
static struct block *block_of(void *p) { return (struct block *)((char *)p - USER); }
static char *top(void) { return (char *)heap.end + USER; }
static bool ours(void) { return heap.end && source_grow(0) == top(); }

/* Which list a size belongs to. */
static void mapping(size_t size, unsigned *level, unsigned *list)
{
	if (size < 1ul << LEAST) {
		*level = 0;
		*list = (unsigned)(size >> (LEAST - SPLIT));
		return;
	}
	unsigned log = 63 - (unsigned)__builtin_clzl(size);
	*level = log - LEAST + 1;
	*list = (unsigned)(size >> (log - SPLIT)) & (LISTS - 1);
}

static void link_block(struct block *b)
{
	unsigned level, list;

	mapping(size_of(b), &level, &list);
	b->last = NULL;
	b->next = heap.free[level][list];
	if (b->next)
		b->next->last = b;
	heap.free[level][list] = b;
	heap.lists[level] |= 1u << list;
	heap.levels |= 1ul << level;
}

static void unlink_block(struct block *b)
{
	unsigned level, list;

	mapping(size_of(b), &level, &list);
	if (b->next)
		b->next->last = b->last;
	if (b->last)
		b->last->next = b->next;
	else if (!(heap.free[level][list] = b->next) && !(heap.lists[level] &= ~(1u << list)))
		heap.levels &= ~(1ul << level);
}

/* A free block of at least `size`; NULL: none. */
static struct block *find(size_t size)
{
	unsigned level, list;

	if (size >= 1ul << LEAST)
		size += (1ul << (63 - __builtin_clzl(size) - SPLIT)) - 1;
	else
		size += (1ul << (LEAST - SPLIT)) - 1;
	mapping(size, &level, &list);
	uint32_t lists = level < LEVELS ? heap.lists[level] & ~0u << list : 0;
	if (!lists) {
		uint64_t levels = level + 1 < LEVELS ? heap.levels & ~0ul << (level + 1) : 0;
		if (!levels)
			return NULL;
		level = (unsigned)__builtin_ctzl(levels);
		lists = heap.lists[level];
	}
	return heap.free[level][__builtin_ctz(lists)];
}

/* The same in the list that `size` itself belongs to, where blocks may be smaller. */
static struct block *search(size_t size)
{
	unsigned level, list;

	mapping(size, &level, &list);
	struct block *b = level < LEVELS ? heap.free[level][list] : NULL;
	while (b && size_of(b) < size)
		b = b->next;
	return b;
}

static void mark_free(struct block *b, size_t size)
{
	b->head = size | (b->head & PREV_FREE) | FREE;
	after(b)->prev = b;
	after(b)->head |= PREV_FREE;
	link_block(b);
}

static void mark_used(struct block *b, size_t size)
{
	b->head = size | (b->head & PREV_FREE);
	after(b)->head &= ~PREV_FREE;
}

/* A block in use, or a new one, becomes free. */
static void release(struct block *b)
{
	size_t size = size_of(b);
	struct block *next = after(b);

	if (next->head & FREE) {
		unlink_block(next);
		size += HEAD + size_of(next);
	}
	if (b->head & PREV_FREE) {
		b = b->prev;
		unlink_block(b);
		size += HEAD + size_of(b);
	}
	mark_free(b, size);
}

/* Use the first `size` bytes of a block that is in no list. */
static void *carve(struct block *b, size_t whole, size_t size)
{
	if (whole - size < HEAD + SMALLEST)
		size = whole;
	mark_used(b, size);
	if (size < whole) {
		struct block *rest = after(b);
		rest->head = whole - size - HEAD;
		release(rest);
	}
	return user(b);
}

/* More memory, as a free block of at least `size` at the end of the heap. */
static bool extend(size_t size)
{
	size_t have = ours() && heap.end->head & PREV_FREE ? size_of(heap.end->prev) : 0;
	size_t n = ((size > have ? size - have : 0) + 3 * USER + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1);
	size_t pad = -(uintptr_t)source_grow(0) & 15;
	n = pad + (n < GROW ? GROW : n);
	char *p = source_grow((intptr_t)n);

	if (!p)
		return false;
	struct block *b = heap.end, *end = (struct block *)((((uintptr_t)p + n) & ~15ul) - USER);
	if (!b || p != top()) {
		b = (struct block *)(((uintptr_t)p + 15) & ~15ul);
		b->head = 0;
		if (heap.end)
			heap.end->head = (size_t)((char *)b - (char *)heap.end - HEAD) | (heap.end->head & PREV_FREE) | GAP;
		else
			heap.first = b;
	} /* else the end mark becomes the head of what is new */
	b->head = (size_t)((char *)end - (char *)b - HEAD) | (b->head & PREV_FREE);
	heap.end = end;
	end->head = 0;
	release(b);
	return true;
}

/* ---- What malloc calls ---- */

static bool too_large(size_t n, size_t align) { return n > 1ul << 45 || align > 1ul << 40; }
/* Sizes are 8 modulo 16: so is the distance from one block's user bytes to the next one's, less a head. */
static size_t size_for(size_t n) { return n <= SMALLEST ? SMALLEST : ((n + 7) & ~15ul) + 8; }

static void *tlsf_alloc(struct allocator *a, size_t n, size_t align)
{
	(void)a;
	if (too_large(n, align))
		return NULL;
	size_t size = size_for(n), room = align > HEAP_ALIGN ? size + align + HEAD + SMALLEST : size;
	struct block *b = find(room);
	while (!b && extend(room + (room >> SPLIT))) /* so that good fit finds it */
		b = find(room);
	if (!b && !(b = search(room)))
		return NULL;
	unlink_block(b);
	size_t whole = size_of(b), front = -(uintptr_t)user(b) & (align - 1);
	while (front && front < HEAD + SMALLEST)
		front += align;
	if (front) { /* which is free by itself */
		struct block *mine = (struct block *)((char *)b + front);
		mine->head = whole - front;
		mark_free(b, front - HEAD);
		whole -= front;
		b = mine;
	}
	return carve(b, whole, size);
}

static void tlsf_free(struct allocator *a, void *p)
{
	(void)a;
	release(block_of(p));
}

static size_t tlsf_size(struct allocator *a, void *p)
{
	(void)a;
	return size_of(block_of(p));
}

static void *tlsf_realloc(struct allocator *a, void *p, size_t n)
{
	if (too_large(n, HEAP_ALIGN))
		return NULL;
	struct block *b = block_of(p), *next = after(b);
	size_t size = size_for(n), old = size_of(b);
	if (size > old && next->head & FREE && old + HEAD + size_of(next) >= size) {
		unlink_block(next);
		mark_used(b, old + HEAD + size_of(next));
	}
	if (size <= size_of(b))
		return carve(b, size_of(b), size);
	void *q = tlsf_alloc(a, n, HEAP_ALIGN);
	if (q) {
		memcpy(q, p, old);
		release(b);
	}
	return q;
}

static int tlsf_check(struct allocator *a)
{
	size_t free = 0, listed = 0;
	struct block *prev = NULL; /* if it is free */
	int bad = 0;

	(void)a;
	for (struct block *b = heap.first; b && b < heap.end; b = after(b)) {
		bad += size_of(b) < 8 || (uintptr_t)b & 15 || !(b->head & PREV_FREE) != !prev || (prev && b->prev != prev);
		if (size_of(b) < 8)
			return bad; /* no way on from here */
		bad += prev && b->head & FREE;
		prev = b->head & FREE ? b : NULL;
		free += prev != NULL;
	}
	for (unsigned level = 0; level < LEVELS; level++) {
		bad += !(heap.levels >> level & 1) != !heap.lists[level];
		for (unsigned list = 0; list < LISTS; list++) {
			bad += !(heap.lists[level] >> list & 1) != !heap.free[level][list];
			for (struct block *b = heap.free[level][list]; b && listed <= free; b = b->next, listed++) {
				unsigned l, i;
				mapping(size_of(b), &l, &i);
				bad += !(b->head & FREE) || l != level || i != list || (b->next && b->next->last != b);
			}
		}
	}
	return bad + (listed != free);
}

static void tlsf_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	(void)a;
	for (struct block *b = heap.first; b && b < heap.end; b = after(b))
		if (!(b->head & GAP))
			visit(arg, user(b), size_of(b), !(b->head & FREE));
}

/* The last block, if it is free; all of the heap, if it is the only one. */
static size_t tlsf_trim(struct allocator *a)
{
	(void)a;
	if (!ours() || !(heap.end->head & PREV_FREE))
		return 0;
	struct block *b = heap.end->prev;
	if (b == heap.first) {
		size_t all = (size_t)(top() - (char *)b);
		memset(&heap, 0, sizeof(heap));
		return source_grow(-(intptr_t)all) ? all : 0;
	}
	size_t spare = size_of(b) < SMALLEST ? 0 : (size_of(b) - SMALLEST) & ~(SOURCE_PAGE - 1);
	if (!spare)
		return 0;
	unlink_block(b);
	heap.end = (struct block *)((char *)heap.end - spare);
	heap.end->head = 0;
	mark_free(b, size_of(b) - spare);
	return source_grow(-(intptr_t)spare) ? spare : 0;
}

struct allocator allocator_tlsf = {
    .name = "tlsf",
    .alloc = tlsf_alloc,
    .free = tlsf_free,
    .size = tlsf_size,
    .check = tlsf_check,
    .realloc = tlsf_realloc,
    .walk = tlsf_walk,
    .trim = tlsf_trim,
};
