/*
 * remap.c - what an allocator can do that has page tables to itself.
 *
 * Large blocks grow without memcpy: realloc takes more addresses and moves the page-table entries - whole page tables, where
 * it can (source_move). A mebibyte costs no more than a page.
 *
 * Small blocks are compacted without moving: Powers, Tench, Berger, McGregor, "Mesh: Compacting Memory Management for C/C++",
 * PLDI 2019. Two pages of the same class of which no two objects are at the same offset fit into one frame: the objects of
 * one are copied into the holes of the other, and both addresses then show that frame. Every pointer stays good, a frame is
 * won. Objects get random offsets in their page, so that such pairs are likely. trim does it.
 *
 *   page A   [x][ ][ ][x]      A -> [x][y][ ][x]     one frame; a bit of `taken` for each offset in use, in the record of the
 *   page B   [ ][y][ ][ ]      B -> [x][y][ ][x]     group's leader; of `live` in each page's own, for what is its
 *
 * Invariants: taken of a leader is the union of live of its group, which don't meet. A leader with an offset to spare is in its
 * class's list, no other page is. New objects go to leaders. Between hold and alias nobody writes to the page that is copied.
 *
 * Cost: a page for each class in use, a record for each page; realloc of large blocks is nearly free. Good at: vectors that
 * grow; heaps with holes. Bad at: blocks between half a page and some pages; several threads (one lock).
 */
#include <string.h>

#include "heap.h"
#include "source.h"

#define PAGE SOURCE_PAGE
#define ARENA (1ul << 32)
#define PAGES (ARENA / PAGE)
#define SMALL_MAX 2048ul
#define ROOM_FROM (256 * 1024ul) /* blocks from here on reserve addresses to grow into */
#define PROBES 32u               /* pages tried as a partner of each */
#define WORDS (PAGE / 16 / 64)

static const uint16_t sizes[] = {16,  32,  48,  64,  80,  96,  112, 128,  160,  192, 224,
                                 256, 320, 384, 448, 512, 640, 816, 1024, 1360, 2048};
#define CLASSES (sizeof(sizes) / sizeof(sizes[0]))

struct page {
	uint64_t live[WORDS], taken[WORDS];
	struct page *next, *prev;     /* in its class's list; or of places that are free */
	struct page *leader, *member; /* itself, or whose frame it shows; the next of the group */
	unsigned class, used;         /* offsets taken; in all; 0 used: the page isn't there, or is kept */
	bool there;
};

struct run { /* in front of a large block */
	size_t room, bytes; /* addresses from its first page on, of which so much is there */
	size_t lead;        /* from the first page to the block: more than this struct only for an alignment */
	struct run *next, *prev;
	uint64_t pad[3];    /* blocks are aligned to 64 */
};

static struct {
	char *base;         /* the arena */
	struct page *page;  /* one for each page of it */
	size_t top;         /* pages used so far */
	struct page *free;  /* among these */
	struct page *list[CLASSES];
	struct run *runs;
	uint64_t random;
	size_t there;       /* pages of the arena */
} heap = {.random = 0x9e3779b97f4a7c15};

static size_t page_up(size_t n) { return (n + PAGE - 1) & ~(PAGE - 1); }
static char *address(const struct page *p) { return heap.base + (size_t)(p - heap.page) * PAGE; }
static bool is_small(const void *p) { return heap.base && (const char *)p >= heap.base && (const char *)p < heap.base + ARENA; }
static struct page *page_of(const void *p) { return &heap.page[(size_t)((const char *)p - heap.base) / PAGE]; }
static unsigned objects(unsigned class) { return (unsigned)(PAGE / sizes[class]); }
static bool bit(const uint64_t *bits, unsigned i) { return bits[i / 64] >> i % 64 & 1; }
static void flip(uint64_t *bits, unsigned i) { bits[i / 64] ^= 1ul << i % 64; }

static bool none(const uint64_t *bits)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < WORDS; i++)
		any |= bits[i];
	return !any;
}

/* ---- Pages of small objects ---- */

static void list_in(struct page *p)
{
	p->prev = NULL;
	p->next = heap.list[p->class];
	if (p->next)
		p->next->prev = p;
	heap.list[p->class] = p;
}

static void list_out(struct page *p)
{
	if (p->next)
		p->next->prev = p->prev;
	if (p->prev)
		p->prev->next = p->next;
	else
		heap.list[p->class] = p->next;
}

static struct page *page_new(unsigned class)
{
	size_t records = page_up(PAGES * sizeof(struct page)), used = heap.top * sizeof(struct page);

	if (!heap.base) {
		heap.page = source_reserve(records, PAGE);
		if (!heap.page || !(heap.base = source_reserve(ARENA, PAGE))) {
			if (heap.page)
				source_unmap(heap.page, records);
			return NULL;
		}
	}
	struct page *p = heap.free;
	if (!p) {
		size_t more = page_up(used + sizeof(*p)) - page_up(used);
		if (heap.top == PAGES || (more && source_commit((char *)heap.page + page_up(used), more) < 0))
			return NULL;
		p = &heap.page[heap.top++];
		p->next = heap.free;
		heap.free = p;
	}
	if (source_commit(address(p), PAGE) < 0)
		return NULL;
	heap.free = p->next;
	*p = (struct page){.leader = p, .class = class, .there = true};
	heap.there++;
	list_in(p);
	return p;
}

/* Nobody looks at it any more. */
static void page_end(struct page *p)
{
	source_discard(address(p), PAGE);
	p->there = false;
	heap.there--;
	p->next = heap.free;
	heap.free = p;
}

static void *small_alloc(unsigned class)
{
	struct page *p = heap.list[class] ? heap.list[class] : page_new(class);

	if (!p)
		return NULL;
	heap.random ^= heap.random << 13; /* xorshift: Marsaglia 2003 */
	heap.random ^= heap.random >> 7;
	heap.random ^= heap.random << 17;
	unsigned n = objects(class), i = (unsigned)((heap.random >> 32) * n >> 32);
	while (bit(p->taken, i))
		i = i + 1 < n ? i + 1 : 0;
	flip(p->taken, i);
	flip(p->live, i);
	if (++p->used == n)
		list_out(p);
	return address(p) + i * sizes[class];
}

static void small_free(void *block)
{
	struct page *p = page_of(block), *l = p->leader;
	unsigned i = (unsigned)((size_t)((char *)block - address(p)) / sizes[p->class]);

	flip(p->live, i);
	flip(l->taken, i);
	if (l->used-- == objects(l->class))
		list_in(l);
	if (p != l && none(p->live)) {
		struct page *before = l;
		while (before->member != p)
			before = before->member;
		before->member = p->member;
		page_end(p);
	}
	if (l->used == 0 && (l->next || l->prev)) { /* the last of its class stays */
		list_out(l);
		page_end(l);
	}
}

/* Have b's objects in a's frame. False: the system won't. */
static bool mesh(struct page *a, struct page *b)
{
	size_t size = sizes[b->class];

	if (source_hold(address(b), true) < 0)
		return false;
	for (unsigned i = 0; i < objects(b->class); i++)
		if (bit(b->live, i))
			memcpy(address(a) + i * size, address(b) + i * size, size);
	if (source_alias(address(b), address(a)) < 0) {
		source_hold(address(b), false);
		return false;
	}
	list_out(b);
	for (unsigned i = 0; i < WORDS; i++)
		a->taken[i] |= b->taken[i];
	if ((a->used += b->used) == objects(a->class))
		list_out(a);
	b->leader = a;
	b->member = a->member;
	a->member = b;
	return true;
}

static bool meet(const struct page *a, const struct page *b)
{
	uint64_t both = 0;

	for (unsigned i = 0; i < WORDS; i++)
		both |= a->taken[i] & b->taken[i];
	return both;
}

/* Find partners for the pages of a class: frames won. */
static size_t mesh_class(unsigned class)
{
	size_t won = 0;

	for (struct page *a = heap.list[class], *after; a; a = after) {
		unsigned probes = 0;
		for (struct page *b = a->next, *next; b && probes < PROBES && a->used < objects(class); b = next, probes++) {
			next = b->next;
			won += !b->member && b->used && !meet(a, b) && mesh(a, b);
		}
		after = a->next; /* still good if a has left the list: it was changed last by that */
	}
	return won;
}

/* ---- Large blocks ---- */

static struct run *run_of(void *p) { return (struct run *)p - 1; }

/* Addresses for a block that takes `bytes` now: *room of them, and as many again if it may grow, to work in. */
static char *run_room(size_t bytes, size_t *room)
{
	*room = bytes;
	if (bytes < ROOM_FROM)
		return source_reserve(bytes, PAGE);
	for (*room = SOURCE_LARGE; *room < 2 * bytes;)
		*room *= 2;
	/* Aligned so that all its page tables hang in one directory: moving pages inside needs no more frames. */
	return source_reserve(2 * *room, *room < 1ul << 30 ? *room : 1ul << 30);
}

static size_t reserved(const struct run *r) { return r->room < SOURCE_LARGE ? r->room : 2 * r->room; }

static void run_link(struct run *r)
{
	r->prev = NULL;
	r->next = heap.runs;
	if (r->next)
		r->next->prev = r;
	heap.runs = r;
}

static void run_unlink(struct run *r)
{
	if (r->next)
		r->next->prev = r->prev;
	if (r->prev)
		r->prev->next = r->next;
	else
		heap.runs = r->next;
}

static void *run_alloc(size_t n)
{
	size_t bytes = page_up(sizeof(struct run) + n), room;
	char *base = run_room(bytes, &room);

	if (!base)
		return NULL;
	struct run r = {.room = room, .bytes = bytes, .lead = sizeof(struct run)};
	if (source_commit(base, bytes) < 0) {
		source_unmap(base, reserved(&r));
		return NULL;
	}
	*(struct run *)base = r;
	run_link((struct run *)base);
	return base + sizeof(struct run);
}

/* One that can't grow, for an alignment above 64: what lies in front of it isn't there. */
static void *run_aligned(size_t n, size_t align)
{
	size_t bytes = page_up(align + n), skip = align > PAGE ? align - PAGE : 0;
	char *base = source_reserve(bytes, align > PAGE ? align : PAGE);

	if (!base)
		return NULL;
	if (source_commit(base + skip, bytes - skip) < 0) {
		source_unmap(base, bytes);
		return NULL;
	}
	struct run *r = run_of(base + align);
	*r = (struct run){.room = bytes, .bytes = bytes, .lead = align};
	run_link(r);
	return base + align;
}

static void run_free(void *p)
{
	struct run *r = run_of(p);

	run_unlink(r);
	source_unmap((char *)p - r->lead, r->lead == sizeof(*r) ? reserved(r) : r->room);
}

/* Move a block to where it has room for `bytes`. NULL: no memory; it is as it was. */
static struct run *run_move(struct run *old, size_t bytes)
{
	size_t have = old->bytes, room;
	char *new = run_room(bytes, &room), *stage;
	struct run r = {.room = room, .bytes = bytes}, gone = *old;

	if (!new)
		return NULL;
	/* All that can fail comes first: new pages come in at a place of their own, then the old ones move, then these. */
	stage = room < SOURCE_LARGE ? new : new + room;
	if (source_commit(stage + have, bytes - have) < 0 || source_move(new, old, have) < 0) {
		source_unmap(new, reserved(&r));
		return NULL;
	}
	if (stage != new && source_move(new + have, stage + have, bytes - have) < 0)
		source_fatal("realloc: pages can't be moved within a directory");
	source_unmap(old, reserved(&gone));
	struct run *to = (struct run *)new;
	to->room = room;
	to->bytes = bytes;
	if (to->next)
		to->next->prev = to;
	if (to->prev)
		to->prev->next = to;
	else
		heap.runs = to;
	return to;
}

static void *run_realloc(void *p, size_t n)
{
	struct run *r = run_of(p);
	size_t bytes = page_up(sizeof(*r) + n);

	if (bytes <= r->bytes) {
		if (bytes < r->bytes)
			source_discard((char *)r + bytes, r->bytes - bytes);
	} else if (bytes > r->room) {
		r = run_move(r, bytes);
		return r ? r + 1 : NULL;
	} else if (source_commit((char *)r + r->bytes, bytes - r->bytes) < 0) {
		return NULL;
	}
	r->bytes = bytes;
	return p;
}

/* ---- What malloc calls ---- */

static unsigned class_for(size_t n, size_t align)
{
	for (unsigned i = 0; n <= SMALL_MAX && i < CLASSES; i++)
		if (sizes[i] >= n && sizes[i] % align == 0)
			return i;
	return CLASSES;
}

static void *remap_alloc(struct allocator *a, size_t n, size_t align)
{
	unsigned class = class_for(n, align);

	(void)a;
	if (n > 1ul << 44 || align > 1ul << 40)
		return NULL;
	return class < CLASSES ? small_alloc(class) : align > 64 ? run_aligned(n, align) : run_alloc(n);
}

static void remap_free(struct allocator *a, void *p)
{
	(void)a;
	if (is_small(p))
		small_free(p);
	else
		run_free(p);
}

static size_t remap_size(struct allocator *a, void *p)
{
	(void)a;
	return is_small(p) ? sizes[page_of(p)->class] : run_of(p)->bytes - run_of(p)->lead;
}

static void *remap_realloc(struct allocator *a, void *p, size_t n)
{
	size_t old = remap_size(a, p);

	if (n > 1ul << 44)
		return NULL;
	if (!is_small(p) && n > SMALL_MAX && run_of(p)->lead == sizeof(struct run))
		return run_realloc(p, n);
	if (is_small(p) && n <= old && n >= old / 2)
		return p;
	void *q = remap_alloc(a, n, HEAP_ALIGN);
	if (q) {
		memcpy(q, p, old < n ? old : n);
		remap_free(a, p);
	}
	return q;
}

static void remap_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	(void)a;
	for (struct page *p = heap.page; p < heap.page + heap.top; p++)
		for (unsigned i = 0; p->there && i < objects(p->class); i++)
			if (bit(p->live, i))
				visit(arg, address(p) + i * sizes[p->class], sizes[p->class], true);
	for (struct run *r = heap.runs; r; r = r->next)
		visit(arg, r + 1, r->bytes - r->lead, true);
}

/* What is wrong with a group. */
static int check_group(const struct page *l)
{
	uint64_t all[WORDS] = {0}, twice = 0;
	unsigned used = 0;
	int bad = 0;

	for (const struct page *p = l; p; p = p->member) {
		bad += !p->there || p->leader != l || p->class != l->class || (p != l && none(p->live));
		for (unsigned i = 0; i < WORDS; i++) {
			twice |= all[i] & p->live[i];
			all[i] |= p->live[i];
		}
	}
	for (unsigned i = 0; i < WORDS; i++)
		used += (unsigned)__builtin_popcountl(all[i]);
	return bad + (twice != 0) + (memcmp(all, l->taken, sizeof(all)) != 0) + (used != l->used);
}

static int remap_check(struct allocator *a)
{
	size_t there = 0, open = 0, listed = 0;
	int bad = 0;

	(void)a;
	for (struct page *p = heap.page; p < heap.page + heap.top; p++) {
		there += p->there;
		if (p->there && p->leader == p) {
			bad += check_group(p);
			open += p->used < objects(p->class);
		}
	}
	for (unsigned class = 0; class < CLASSES; class++)
		for (struct page *p = heap.list[class], *prev = NULL; p && listed <= open; prev = p, p = p->next, listed++)
			bad += p->leader != p || p->class != class || p->prev != prev || p->used == objects(class);
	for (struct run *r = heap.runs, *prev = NULL; r && bad < 100; prev = r, r = r->next)
		bad += r->prev != prev || r->bytes > r->room || r->lead >= r->bytes;
	return bad + (there != heap.there) + (open != listed);
}

/* Empty pages go; pages that fit together become one frame. */
static size_t remap_trim(struct allocator *a)
{
	size_t won = 0;

	(void)a;
	for (unsigned class = 0; class < CLASSES; class++) {
		for (struct page *p = heap.list[class], *next; p; p = next) {
			next = p->next;
			if (p->used == 0) {
				list_out(p);
				page_end(p);
				won++;
			}
		}
		won += mesh_class(class);
	}
	if (heap.base && !heap.there) {
		source_unmap(heap.base, ARENA);
		source_unmap(heap.page, page_up(PAGES * sizeof(struct page)));
		won += page_up(heap.top * sizeof(struct page)) / PAGE;
		heap.base = NULL;
		heap.page = heap.free = NULL;
		heap.top = 0;
	}
	return won * PAGE;
}

struct allocator allocator_remap = {
    .name = "remap",
    .alloc = remap_alloc,
    .free = remap_free,
    .size = remap_size,
    .check = remap_check,
    .realloc = remap_realloc,
    .walk = remap_walk,
    .trim = remap_trim,
};
