/*
 * guard.c - for finding bugs: each block has pages of its own, with a guard page that can't be touched on either side, and a
 * freed block's pages go at once. So the instruction that reads or writes past a block, or after its free, faults, and the
 * report of the fault says which block it was, and where it was allocated and freed. Perens' Electric Fence (1987) did it
 * with mmap and mprotect; here the pages are simply not there.
 *
 *   | guard | fence .... | block | guard |        GUARD_END: the block ends where the page ends; overruns are caught at once,
 *                                               underruns by more than its page. What else was written over is in the fence,
 *   | guard | block | .... fence | guard |        which is looked at by free and by check. GUARD_START: the other way round.
 *
 * A block's end is only where the page ends if its size is a multiple of 16: up to 15 bytes of fence come behind it.
 *
 * Places (a block's addresses and record) are used again, for the same number of pages, after QUARANTINE other frees, so that
 * a stale pointer hits nothing for a long time. Records stand in the order of addresses: the one of an address is found by
 * binary search, in a handler, without a lock.
 *
 * Cost: a page and more for each block, page-table work for each malloc and free. Good at: naming the culprit. Bad at: the rest.
 */
#include <stdio.h>
#include <string.h>

#include "heap.h"
#include "source.h"

/* Where a block stands in its pages. For all that come; a program or a debugger sets it. */
enum guard_side { GUARD_END, GUARD_START } guard_side = GUARD_END;

#define ARENA (1ul << 34)
#define QUARANTINE 256u
#define SIZES 64u /* lists of places by number of pages; the last one for all above */
#define FENCE 0xfbu

struct place {
	char *base;       /* the guard page in front; at base + (pages + 1) * SOURCE_PAGE is the next place's */
	char *block;      /* or NULL: free for use */
	size_t n, pages;  /* asked for; between the guards */
	const void *allocated, *freed; /* by whom: return addresses */
	bool live;
	uint32_t next;    /* place in the same list, + 1; 0: none */
};
#define PLACES (ARENA / SOURCE_PAGE / 3)

static struct {
	char *base, *top;      /* the arena; places cover [base, top) */
	struct place *place;   /* by address */
	size_t places, live;
	uint32_t free[SIZES];  /* first place, + 1 */
	uint32_t old, young;   /* quarantine: first in, last in, + 1 */
	unsigned quarantined;
} heap;

static unsigned list_of(size_t pages) { return pages < SIZES ? (unsigned)pages : SIZES - 1; }
static size_t page_up(size_t n) { return (n + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1); }

/* The place that an address belongs to: its pages, or the guard page in front; behind the last one, too. NULL: none. */
static struct place *find(const void *address)
{
	const char *p = address;
	size_t lo = 0, hi = heap.places;

	if (!heap.base || p < heap.base || p >= heap.top + SOURCE_PAGE)
		return NULL;
	while (hi - lo > 1) {
		size_t mid = (lo + hi) / 2;
		if (heap.place[mid].base <= p)
			lo = mid;
		else
			hi = mid;
	}
	return lo < hi ? &heap.place[lo] : NULL;
}

/* ---- Places ---- */

static bool begin(void)
{
	heap.place = source_reserve(page_up(PLACES * sizeof(struct place)), SOURCE_PAGE);
	heap.base = heap.top = heap.place ? source_reserve(ARENA, SOURCE_PAGE) : NULL;
	if (heap.place && !heap.base)
		source_unmap(heap.place, page_up(PLACES * sizeof(struct place)));
	return heap.base != NULL;
}

/* A new one at the end of the arena, its pages aligned. NULL: no memory. */
static struct place *place_new(size_t pages, size_t align)
{
	size_t used = heap.places * sizeof(struct place);
	char *base = heap.top;

	if (align > SOURCE_PAGE) /* the pages, not the guard, begin there */
		base += -(uintptr_t)(heap.top + SOURCE_PAGE) & (align - 1);
	if (pages > ARENA / SOURCE_PAGE || (size_t)(heap.base + ARENA - base) < (pages + 2) * SOURCE_PAGE || heap.places == PLACES)
		return NULL;
	if (page_up(used) != page_up(used + sizeof(struct place)) &&
	    source_commit((char *)heap.place + page_up(used), page_up(used + sizeof(struct place)) - page_up(used)) < 0)
		return NULL;
	struct place *p = &heap.place[heap.places++];
	*p = (struct place){.base = base, .pages = pages};
	heap.top = base + (pages + 1) * SOURCE_PAGE;
	return p;
}

/* A place of that many pages, from its list or new. */
static struct place *place_get(size_t pages, size_t align)
{
	uint32_t *link = &heap.free[list_of(pages)];

	for (; *link; link = &heap.place[*link - 1].next) {
		struct place *p = &heap.place[*link - 1];
		if (p->pages == pages && ((uintptr_t)p->base + SOURCE_PAGE) % align == 0) {
			*link = p->next;
			return p;
		}
	}
	return place_new(pages, align);
}

static void place_put(struct place *p)
{
	p->block = NULL;
	p->next = heap.free[list_of(p->pages)];
	heap.free[list_of(p->pages)] = (uint32_t)(p - heap.place) + 1;
}

/* A freed place goes into quarantine; the oldest one there may be used again. */
static void quarantine(struct place *p)
{
	p->next = 0;
	if (heap.young)
		heap.place[heap.young - 1].next = (uint32_t)(p - heap.place) + 1;
	else
		heap.old = (uint32_t)(p - heap.place) + 1;
	heap.young = (uint32_t)(p - heap.place) + 1;
	if (heap.quarantined++ < QUARANTINE)
		return;
	struct place *oldest = &heap.place[heap.old - 1];
	heap.old = oldest->next;
	heap.quarantined--;
	place_put(oldest);
}

/* ---- The fence ---- */

/* The bytes of the pages that aren't the block's, in front or behind. */
static size_t fence(const struct place *p, bool front, unsigned char **at)
{
	char *pages = p->base + SOURCE_PAGE, *end = pages + p->pages * SOURCE_PAGE;

	*at = (unsigned char *)(front ? pages : p->block + p->n);
	return (size_t)(front ? p->block - pages : end - (p->block + p->n));
}

/* The first byte of the fence that was written over; NULL: none. By words: a check looks at nearly a page for each small block. */
static const char *broken(const struct place *p)
{
	unsigned char *at;
	uint64_t word;

	for (unsigned front = 0; front < 2; front++) {
		size_t n = fence(p, front, &at), i = 0;
		for (; i + sizeof(word) <= n; i += sizeof(word)) {
			__builtin_memcpy(&word, at + i, sizeof(word));
			if (word != FENCE * 0x0101010101010101ul)
				break;
		}
		for (; i < n; i++)
			if (at[i] != FENCE)
				return (const char *)at + i;
	}
	return NULL;
}

/* "3 bytes past the end of a block of 100 bytes, allocated by the call before 0x401234, ..." */
static void describe(const struct place *p, const char *address, char *text, size_t bytes)
{
	char where[48], freed[64] = "";

	if (address < p->block)
		snprintf(where, sizeof(where), "%zu bytes before", (size_t)(p->block - address));
	else if (address >= p->block + p->n)
		snprintf(where, sizeof(where), "%zu bytes past the end of", (size_t)(address - (p->block + p->n)) + 1);
	else
		snprintf(where, sizeof(where), "byte %zu of", (size_t)(address - p->block));
	if (!p->live)
		snprintf(freed, sizeof(freed), ", freed by the call before %p", p->freed);
	snprintf(text, bytes, "%s a block of %zu bytes at %p, allocated by the call before %p%s (addr2line names the lines)", where,
	         p->n, (void *)p->block, p->allocated, freed);
}

static _Noreturn void accuse(const char *what, const struct place *p, const char *address, const void *caller)
{
	char text[200];

	describe(p, address, text, sizeof(text));
	source_fatal("%s, by the call before %p: %s", what, caller, text);
}

/* ---- What malloc calls ---- */

static void *guard_alloc(struct allocator *a, size_t n, size_t align)
{
	size_t least = n ? n : 1, room = (least + align - 1) & ~(align - 1); /* an aligned block may end before its page does */
	size_t pages = page_up(room) / SOURCE_PAGE;

	if (n > ARENA || align > ARENA || (!heap.base && !begin()))
		return NULL;
	struct place *p = place_get(pages, align > SOURCE_PAGE ? align : SOURCE_PAGE);
	if (!p)
		return NULL;
	char *first = p->base + SOURCE_PAGE;
	if (source_commit(first, pages * SOURCE_PAGE) < 0) {
		place_put(p);
		return NULL;
	}
	p->block = first + (guard_side == GUARD_END && align <= SOURCE_PAGE ? pages * SOURCE_PAGE - room : 0);
	p->n = n;
	p->allocated = a->caller;
	p->live = true;
	heap.live++;
	for (unsigned front = 0; front < 2; front++) {
		unsigned char *at;
		size_t bytes = fence(p, front, &at);
		memset(at, FENCE, bytes);
	}
	return p->block;
}

static struct place *live_place(struct allocator *a, void *block, const char *what)
{
	struct place *p = find(block);

	if (!p || !p->block)
		source_fatal("%s of %p, which is no block, by the call before %p", what, block, a->caller);
	if (!p->live)
		accuse(what, p, block, a->caller);
	if (p->block != block)
		accuse(what, p, block, a->caller);
	return p;
}

static void guard_free(struct allocator *a, void *block)
{
	struct place *p = live_place(a, block, "free");
	const char *bad = broken(p);

	if (bad)
		accuse("the fence was written over, as a free finds", p, bad, a->caller);
	p->freed = a->caller;
	p->live = false;
	heap.live--;
	source_discard(p->base + SOURCE_PAGE, p->pages * SOURCE_PAGE);
	quarantine(p);
}

static size_t guard_size(struct allocator *a, void *block)
{
	return live_place(a, block, "malloc_usable_size")->n;
}

/* Always by moving, so that pointers to the old block are found out. */
static void *guard_realloc(struct allocator *a, void *block, size_t n)
{
	size_t old = live_place(a, block, "realloc")->n;
	void *new = guard_alloc(a, n, HEAP_ALIGN);

	if (new) {
		memcpy(new, block, old < n ? old : n);
		guard_free(a, block);
	}
	return new;
}

static void guard_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	(void)a;
	for (size_t i = 0; i < heap.places; i++)
		if (heap.place[i].live)
			visit(arg, heap.place[i].block, heap.place[i].n, true);
}

static int guard_check(struct allocator *a)
{
	size_t live = 0;
	int bad = 0;

	(void)a;
	for (size_t i = 0; i < heap.places; i++) {
		struct place *p = &heap.place[i];
		bad += i > 0 && p->base < p[-1].base + (p[-1].pages + 1) * SOURCE_PAGE;
		bad += p->live && broken(p);
		live += p->live;
	}
	return bad + (live != heap.live);
}

static size_t guard_trim(struct allocator *a)
{
	size_t given = page_up(heap.places * sizeof(struct place));

	(void)a;
	if (heap.live || !heap.base)
		return 0; /* freed blocks' pages have gone already; the records stay for the reports */
	source_unmap(heap.base, ARENA);
	source_unmap(heap.place, page_up(PLACES * sizeof(struct place)));
	memset(&heap, 0, sizeof(heap));
	return given;
}

static bool guard_explain(struct allocator *a, const void *address, char *text, size_t bytes)
{
	const char *at = address;
	struct place *p = find(at);

	(void)a;
	if (!p)
		return false;
	/* The guard page between two blocks: past the end of the one in front if that is live, or nearer. */
	if (p > heap.place && at < p->base + SOURCE_PAGE && p[-1].block && (!p->block || p[-1].live >= p->live) &&
	    (p[-1].live > p->live || at - (p[-1].block + p[-1].n) <= p->block - at))
		p--;
	if (!p->block)
		return false;
	describe(p, at, text, bytes);
	return true;
}

struct allocator allocator_guard = {
    .name = "guard",
    .alloc = guard_alloc,
    .free = guard_free,
    .size = guard_size,
    .check = guard_check,
    .realloc = guard_realloc,
    .walk = guard_walk,
    .trim = guard_trim,
    .explain = guard_explain,
};
