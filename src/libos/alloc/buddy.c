/*
 * buddy.c - the binary buddy system: Knowlton, "A Fast Storage Allocator", CACM 8 (10), 1965; Knuth, TAOCP 1, 2.5, algorithms R
 * and S. Blocks are powers of two, at addresses that are multiples of their size. A block of 2^k bytes is one half of a block
 * of 2^(k+1); the other half, its buddy, is where one bit of the address is the other way. A free block whose buddy is free
 * becomes one block with it.
 *
 *   order 9   |                 512                  |
 *   order 8   |        256       |       256 used    |
 *   order 7   |  128   | 128 used|
 *
 * There is nothing in a block in use but what the caller puts there: orders stand in a map, a byte for each 64 bytes of the
 * arena. The arena is reserved addresses. It begins small and doubles; a free block has only the page with its links in
 * memory, until it is used: then the pages that it lacks come.
 *
 * Invariants: a free block has a FREE order at its first unit of the map and is in the list of that order; its buddy isn't
 * free as a whole (or is the arena's end); all units but the first of a block are 0 in the map.
 *
 * Cost: malloc and free halve or join at most 26 times, usually 0 or 1. Good at: alignment for nothing, fast joining, runs of
 * pages. Bad at: space: a request is rounded up to a power of two, so a quarter is lost on average.
 */
#include <string.h>

#include "heap.h"
#include "source.h"

#define LEAST 6u  /* the smallest block: 64 bytes */
#define MOST 32u  /* the arena is 4 GiB of addresses */
#define FIRST 15u /* and 32 KiB at first */
#define UNIT (1ul << LEAST)
#define ARENA (1ul << MOST)
#define PAGES (ARENA / SOURCE_PAGE)
#define USED 0x40u
#define FREE 0x80u
#define ORDER 0x3fu

struct links {
	struct links *next, *prev;
};

static struct {
	char *base;         /* of the arena, aligned to its size */
	uint8_t *map;       /* a byte for each unit: USED or FREE and the order, at a block's first unit */
	uint64_t *present;  /* a bit for each page that is in memory */
	unsigned order;     /* of what the arena has come to */
	struct links *free[MOST + 1];
} heap;

static size_t size_of(unsigned order) { return 1ul << order; }
static size_t unit_of(const void *p) { return (size_t)((const char *)p - heap.base) / UNIT; }
static uint8_t *map_of(const void *p) { return &heap.map[unit_of(p)]; }
static size_t offset_of(const void *p) { return (size_t)((const char *)p - heap.base); }
static void *buddy_of(const void *p, unsigned order) { return heap.base + (offset_of(p) ^ size_of(order)); }

static unsigned order_for(size_t n)
{
	return n <= UNIT ? LEAST : 64 - (unsigned)__builtin_clzl(n - 1);
}

/* ---- Pages ---- */

static bool is_present(size_t page) { return heap.present[page / 64] >> page % 64 & 1; }

/* Have all pages of [p, p + n) in memory. False: there is not enough; some may have come. */
static bool bring(void *p, size_t n)
{
	size_t page = offset_of(p) / SOURCE_PAGE, end = (offset_of(p) + n + SOURCE_PAGE - 1) / SOURCE_PAGE;

	for (size_t run; page < end; page = run) {
		for (run = page; run < end && is_present(run) == is_present(page); run++)
			;
		if (is_present(page))
			continue;
		if (source_commit(heap.base + page * SOURCE_PAGE, (run - page) * SOURCE_PAGE) < 0)
			return false;
		for (size_t i = page; i < run; i++)
			heap.present[i / 64] |= 1ul << i % 64;
	}
	return true;
}

/* Give back the pages that lie wholly in [p, p + n): bytes. */
static size_t send(char *p, size_t n)
{
	size_t page = (offset_of(p) + SOURCE_PAGE - 1) / SOURCE_PAGE, end = (offset_of(p) + n) / SOURCE_PAGE, given = 0;

	for (size_t run; page < end; page = run) {
		for (run = page; run < end && is_present(run) == is_present(page); run++)
			;
		if (!is_present(page))
			continue;
		source_discard(heap.base + page * SOURCE_PAGE, (run - page) * SOURCE_PAGE);
		given += (run - page) * SOURCE_PAGE;
		for (size_t i = page; i < run; i++)
			heap.present[i / 64] &= ~(1ul << i % 64);
	}
	return given;
}

/* ---- Blocks ---- */

static void link_block(void *p, unsigned order)
{
	struct links *l = p;

	*l = (struct links){heap.free[order], NULL};
	if (l->next)
		l->next->prev = l;
	heap.free[order] = l;
	*map_of(p) = (uint8_t)(FREE | order);
}

static void unlink_block(void *p, unsigned order)
{
	struct links *l = p;

	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		heap.free[order] = l->next;
	*map_of(p) = 0;
}

/* A block that is in no list becomes free, joined with its buddy while that is free. */
static void release(void *p, unsigned order)
{
	*map_of(p) = 0;
	for (; order < heap.order; order++) {
		char *buddy = buddy_of(p, order);
		if (*map_of(buddy) != (FREE | order))
			break;
		unlink_block(buddy, order);
		p = buddy < (char *)p ? buddy : p;
	}
	link_block(p, order);
}

/* The arena, and the first block in it. */
static bool begin(void)
{
	size_t map = ARENA / UNIT, bits = PAGES / 8;

	heap.map = source_reserve(map + bits, SOURCE_PAGE);
	heap.base = heap.map ? source_reserve(ARENA, ARENA) : NULL;
	if (heap.base && source_commit(heap.map, SOURCE_PAGE) == 0) {
		heap.present = (uint64_t *)(heap.map + map);
		heap.order = FIRST;
		if (source_commit(heap.present, SOURCE_PAGE) == 0 && bring(heap.base, SOURCE_PAGE)) {
			link_block(heap.base, FIRST);
			return true;
		}
	}
	if (heap.base)
		source_unmap(heap.base, ARENA);
	if (heap.map)
		source_unmap(heap.map, map + bits);
	memset(&heap, 0, sizeof(heap));
	return false;
}

/* The arena as long again: its new half is a free block. False: no memory, or it is as long as can be. */
static bool extend(void)
{
	char *half = heap.base + size_of(heap.order);
	size_t units = size_of(heap.order) / UNIT, bits = size_of(heap.order) / SOURCE_PAGE / 8;

	if (heap.order == MOST)
		return false;
	bool map = units < SOURCE_PAGE || source_commit(heap.map + units, units) == 0;
	bool present = map && (bits < SOURCE_PAGE || source_commit((char *)heap.present + bits, bits) == 0);
	if (present && bring(half, SOURCE_PAGE)) {
		heap.order++;
		release(half, heap.order - 1);
		return true;
	}
	if (present && bits >= SOURCE_PAGE)
		source_discard((char *)heap.present + bits, bits);
	if (map && units >= SOURCE_PAGE)
		source_discard(heap.map + units, units);
	return false;
}

static size_t buddy_trim(struct allocator *);

/* ---- What malloc calls ---- */

static void *take(size_t n, size_t align)
{
	unsigned order = order_for(n > align ? n : align), have;

	if (order > MOST || (!heap.base && !begin()))
		return NULL;
	for (;;) {
		for (have = order; have <= heap.order && !heap.free[have]; have++)
			;
		if (have <= heap.order)
			break;
		if (!extend())
			return NULL;
	}
	char *p = (char *)heap.free[have];
	unlink_block(p, have);
	/* Upper halves become free again. Each needs the page of its links. */
	while (have > order && bring(p + size_of(have - 1), sizeof(struct links))) {
		have--;
		link_block(p + size_of(have), have);
	}
	if (have > order || !bring(p, size_of(order))) {
		release(p, have);
		return NULL;
	}
	*map_of(p) = (uint8_t)(USED | order);
	return p;
}

/* A free block may be without pages while others still have theirs: when memory has run out those are for all. */
static void *buddy_alloc(struct allocator *a, size_t n, size_t align)
{
	void *p = take(n, align);

	return p || !buddy_trim(a) ? p : take(n, align);
}

static void buddy_free(struct allocator *a, void *p)
{
	(void)a;
	release(p, *map_of(p) & ORDER);
}

static size_t buddy_size(struct allocator *a, void *p)
{
	(void)a;
	return size_of(*map_of(p) & ORDER);
}

/* Every block of the arena in turn. */
static void buddy_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	(void)a;
	for (char *p = heap.base; heap.base && p < heap.base + size_of(heap.order); p += size_of(*map_of(p) & ORDER))
		visit(arg, p, size_of(*map_of(p) & ORDER), *map_of(p) & USED);
}

static int buddy_check(struct allocator *a)
{
	size_t free = 0, listed = 0;
	int bad = 0;

	(void)a;
	for (char *p = heap.base; heap.base && p < heap.base + size_of(heap.order);) {
		uint8_t m = *map_of(p);
		unsigned order = m & ORDER;
		if (order < LEAST || order > heap.order || !(m & USED) == !(m & FREE) || (size_t)(p - heap.base) % size_of(order))
			return bad + 1; /* no way on from here */
		free += m & FREE ? 1 : 0;
		bad += m & FREE && order < heap.order && *map_of(buddy_of(p, order)) == m;
		p += size_of(order);
	}
	for (unsigned order = 0; order <= MOST; order++)
		for (struct links *l = heap.free[order], *prev = NULL; l && listed <= free; prev = l, l = l->next, listed++)
			bad += *map_of(l) != (FREE | order) || l->prev != prev;
	return bad + (free != listed);
}

/* Of each free block all pages but the one of its links; of an empty arena all. */
static size_t buddy_trim(struct allocator *a)
{
	size_t given = 0;

	(void)a;
	if (heap.base && *map_of(heap.base) == (FREE | heap.order)) {
		size_t units = size_of(heap.order) / UNIT, bits = size_of(heap.order) / SOURCE_PAGE / 8;
		given = send(heap.base, size_of(heap.order));
		given += (units > SOURCE_PAGE ? units : SOURCE_PAGE) + (bits > SOURCE_PAGE ? bits : SOURCE_PAGE);
		source_unmap(heap.base, ARENA);
		source_unmap(heap.map, ARENA / UNIT + PAGES / 8);
		memset(&heap, 0, sizeof(heap));
		return given;
	}
	for (unsigned order = 13; order <= MOST; order++)
		for (struct links *l = heap.free[order]; l; l = l->next)
			given += send((char *)l + SOURCE_PAGE, size_of(order) - SOURCE_PAGE);
	return given;
}

struct allocator allocator_buddy = {
    .name = "buddy",
    .alloc = buddy_alloc,
    .free = buddy_free,
    .size = buddy_size,
    .check = buddy_check,
    .walk = buddy_walk,
    .trim = buddy_trim,
};
