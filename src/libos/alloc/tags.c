/*
 * tags.c - the kit's allocator: boundary tags (Knuth, TAOCP 1, 2.5) and free lists by powers of two ("segregated fit": Wilson,
 * Johnstone, Neely, Boles, "Dynamic Storage Allocation: A Survey", 1995).
 *
 *   | head | user bytes ............ | head | ...        head: {size of the block before, own size | USED}
 *          ^ 16-aligned
 *
 * Invariants: blocks lie side by side from the first to the end mark, a used block of size 16; no two free blocks are
 * neighbours; a free block of size z is on the list log2(z). If somebody else moves the break in between, the gap looks
 * like a used block.
 *
 * Cost: free is O(1); malloc is first fit within one list, then the first of the next ones, so O(1) but for requests that are
 * larger than most of their own list. 16 bytes of each block are head.
 * Good at: mixed sizes, long runs; it coalesces at once. Bad at: many small blocks (heads), many threads (one lock).
 */
#include <string.h>

#include "heap.h"
#include "source.h"

struct head {
	size_t before; /* size of the block before, 0: none */
	size_t size;   /* whole block, head included, a multiple of 16; bit 0: USED */
};
#define USED 1ul
#define GAP 2ul /* not a block: bytes of somebody else */
#define HEAD sizeof(struct head)
#define LISTS 48u
#define GROW (16 * 1024ul) /* least to ask from the heap at once */

struct links { /* in the user bytes of a free block */
	struct links *next, *prev;
};
#define SMALLEST (HEAD + sizeof(struct links))

struct tags { /* allocator.state */
	struct head *first, *end; /* end: the end mark */
	size_t skip;              /* bytes before the first, up to alignment */
	struct links *list[LISTS];
};
_Static_assert(sizeof(struct tags) <= sizeof(((struct allocator *)0)->state), "fits");

static struct tags *tags_of(struct allocator *a) { return (struct tags *)a->state; }
static size_t size_of(const struct head *h) { return h->size & ~15ul; }
static struct head *after(struct head *h) { return (struct head *)((char *)h + size_of(h)); }
static struct head *head_of(void *p) { return (struct head *)p - 1; }
static struct links *links_of(struct head *h) { return (struct links *)(h + 1); }
static unsigned list_of(size_t size) { return 63 - (unsigned)__builtin_clzl(size); }

static void unlink_block(struct tags *t, struct head *h)
{
	struct links *l = links_of(h);

	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		t->list[list_of(h->size)] = l->next;
}

static void link_block(struct tags *t, struct head *h)
{
	struct links **list = &t->list[list_of(h->size)], *l = links_of(h);

	*l = (struct links){*list, NULL};
	if (*list)
		(*list)->prev = l;
	*list = l;
}

static void set_size(struct head *h, size_t size, size_t used)
{
	h->size = size | used;
	after(h)->before = size;
}

/* Join a block that is on no list with its free neighbours, and put the result on its list. */
static void release(struct tags *t, struct head *h)
{
	struct head *next = after(h);

	if (!(next->size & USED)) {
		unlink_block(t, next);
		h->size += next->size;
	}
	if (h->before && !(head_of((char *)h - h->before + HEAD)->size & USED)) {
		h = head_of((char *)h - h->before + HEAD);
		unlink_block(t, h);
		h->size += size_of((struct head *)((char *)h + h->size));
	}
	set_size(h, size_of(h), 0);
	link_block(t, h);
}

/* The block before h, which isn't the first. */
static struct head *before(struct head *h) { return (struct head *)((char *)h - h->before); }

/* Room for a block of `size`, which none of the free ones has, at the end of the heap. False: the heap cannot grow. */
static int extend(struct tags *t, size_t size)
{
	size_t have = t->end && !(before(t->end)->size & USED) && source_grow(0) == t->end + 1 ? t->end->before : 0;
	size_t n = size - have + 2 * HEAD > GROW ? (size - have + 2 * HEAD + 15) & ~15ul : GROW;
	char *p = source_grow((intptr_t)n);

	if (!p)
		return 0;
	struct head *h;
	if (t->end && p == (char *)(t->end + 1)) {
		h = t->end; /* the old end mark becomes the head of the new block */
		h->size = n;
	} else {
		size_t skip = -(uintptr_t)p & 15;
		h = (struct head *)(p + skip);
		n = (n - skip - HEAD) & ~15ul;
		*h = (struct head){0, n};
		if (t->end) { /* somebody else's bytes in between: a used block */
			t->end->size = (size_t)((char *)h - (char *)t->end) | USED | GAP;
			h->before = size_of(t->end);
		} else {
			t->first = h;
			t->skip = skip;
		}
	}
	t->end = after(h);
	*t->end = (struct head){size_of(h), HEAD | USED};
	release(t, h);
	return 1;
}

/* Take `size` bytes from the front of a free block; the rest stays free. */
static void *carve(struct tags *t, struct head *h, size_t size)
{
	size_t whole = h->size;

	unlink_block(t, h);
	if (whole - size >= SMALLEST) {
		struct head *rest = (struct head *)((char *)h + size);
		set_size(h, size, USED);
		set_size(rest, whole - size, 0);
		link_block(t, rest);
	} else {
		h->size |= USED;
	}
	return h + 1;
}

static void *take(struct tags *t, size_t size)
{
	for (unsigned i = list_of(size); i < LISTS; i++)
		for (struct links *l = t->list[i]; l; l = l->next)
			if (head_of(l)->size >= size)
				return carve(t, head_of(l), size);
	return NULL;
}

static void *tags_alloc(struct allocator *a, size_t n, size_t align)
{
	struct tags *t = tags_of(a);

	if (n > 1ul << 46 || align > 1ul << 30)
		return NULL;
	size_t size = (n + HEAD + 15) & ~15ul, extra = align > 16 ? align + SMALLEST : 0;
	if (size < SMALLEST)
		size = SMALLEST;
	char *p = take(t, size + extra);
	while (!p && extend(t, size + extra)) /* again, if somebody moved the break just then */
		p = take(t, size + extra);
	if (!p || !extra)
		return p;
	/* Cut off the front, so that the rest begins at an aligned address, and what is too much at the end. */
	struct head *h = head_of(p);
	char *aligned = (char *)(((uintptr_t)p + align - 1) & ~(align - 1));
	if (aligned != p && (size_t)(aligned - p) < SMALLEST)
		aligned += align;
	if (aligned != p) {
		size_t front = (size_t)(aligned - p), whole = size_of(h);
		struct head *mine = head_of(aligned);
		mine->before = front;
		set_size(mine, whole - front, USED);
		h->size = front;
		release(t, h);
		h = mine;
	}
	if (size_of(h) - size >= SMALLEST) {
		struct head *rest = (struct head *)((char *)h + size);
		size_t whole = size_of(h);
		set_size(h, size, USED);
		rest->size = (whole - size) | USED;
		release(t, rest);
	}
	return h + 1;
}

static void tags_free(struct allocator *a, void *p) { release(tags_of(a), head_of(p)); }

static size_t tags_size(struct allocator *a, void *p)
{
	(void)a;
	return size_of(head_of(p)) - HEAD;
}

/* Grow or shrink where it is, if the neighbour lets it; else by copying. */
static void *tags_realloc(struct allocator *a, void *p, size_t n)
{
	struct tags *t = tags_of(a);
	struct head *h = head_of(p), *next = after(h);

	if (n > 1ul << 46)
		return NULL;
	size_t size = (n + HEAD + 15) & ~15ul, old = size_of(h);
	if (size < SMALLEST)
		size = SMALLEST;
	if (size > old && next == t->end && source_grow(0) == t->end + 1)
		extend(t, size - old);
	next = after(h);
	if (size > old && !(next->size & USED) && old + next->size >= size) {
		unlink_block(t, next);
		set_size(h, old + next->size, USED);
		old = size_of(h);
	}
	if (size <= old) {
		if (old - size >= SMALLEST) {
			struct head *rest = (struct head *)((char *)h + size);
			set_size(h, size, USED);
			rest->size = (old - size) | USED;
			release(t, rest);
		}
		return p;
	}
	void *q = tags_alloc(a, n, HEAP_ALIGN);
	if (q) {
		memcpy(q, p, old - HEAD);
		tags_free(a, p);
	}
	return q;
}

static void tags_walk(struct allocator *a, heap_visitor *visit, void *arg)
{
	struct tags *t = tags_of(a);

	for (struct head *h = t->first; h && h < t->end; h = after(h))
		if (!(h->size & GAP))
			visit(arg, h + 1, size_of(h) - HEAD, h->size & USED);
}

static int tags_check(struct allocator *a)
{
	struct tags *t = tags_of(a);
	size_t before = 0, free_blocks = 0, listed = 0;
	int bad = 0, free_before = 0;

	for (struct head *h = t->first; h && h < t->end; h = after(h)) {
		int is_free = !(h->size & USED);
		bad += h->before != before || size_of(h) < HEAD || h->size & 12;
		bad += is_free && free_before;
		free_blocks += (size_t)is_free;
		free_before = is_free;
		before = size_of(h);
		if (size_of(h) < HEAD)
			return bad;
	}
	for (unsigned i = 0; i < LISTS; i++) {
		for (struct links *l = t->list[i]; l; l = l->next, listed++)
			bad += head_of(l)->size & USED || list_of(head_of(l)->size) != i;
	}
	return bad + (listed != free_blocks);
}

/* The last block's pages, if it is free and the break is still ours; the block stays unless it is all there is. */
static size_t tags_trim(struct allocator *a)
{
	struct tags *t = tags_of(a);

	if (!t->end || !t->end->before || source_grow(0) != t->end + 1)
		return 0;
	struct head *h = before(t->end);
	if (h->size & USED)
		return 0;
	if (h == t->first) {
		char *start = (char *)h - t->skip;
		size_t bytes = (size_t)((char *)(t->end + 1) - start);
		memset(t, 0, sizeof(*t));
		source_grow(-(intptr_t)bytes);
		return bytes;
	}
	size_t spare = h->size & ~15ul, keep = SMALLEST;
	if (spare <= keep)
		return 0;
	unlink_block(t, h);
	set_size(h, keep, 0);
	link_block(t, h);
	t->end = after(h);
	*t->end = (struct head){keep, HEAD | USED};
	source_grow(-(intptr_t)(spare - keep));
	return (spare - keep) & ~(SOURCE_PAGE - 1);
}

struct allocator allocator_tags = {
    .name = "tags",
    .alloc = tags_alloc,
    .free = tags_free,
    .realloc = tags_realloc,
    .size = tags_size,
    .check = tags_check,
    .walk = tags_walk,
    .trim = tags_trim,
};
