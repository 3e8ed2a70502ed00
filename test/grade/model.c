/*
 * model.c - a first-fit allocator with boundary tags as students write it, and the ways in which it goes wrong: compiled with
 * -DWAY=off_by_one it has that mistake (test/grade/grade.py says which message each must get). `right` has none.
 *
 *   | head | user bytes ... | foot |    head and foot: size of the whole block, a multiple of 16 | USED
 *          ^ 16-aligned
 */
#include <string.h>

#include "heap.h"
#include "source.h"

enum way {
	right, off_by_one, misaligned, double_insert, lost_block, no_joining, race, realloc_no_copy, realloc_frees, no_null,
	links_too_big, never_returns, rest_lost, endless, align_ignored, used_joined,
};
#define IS(way) (WAY == (way))

#define USED 1ul
#define LEAST 32ul
#define CHUNK (16 * SOURCE_PAGE)

struct block { /* its user bytes begin here; the links are in a free one's */
	struct block *next, *prev;
};
static struct block *list;
static char *first, *end; /* the heap; its first and last 8 bytes are marks that look used */

static size_t *head(const void *p) { return (size_t *)p - 1; }
static size_t size_of(const void *p) { return *head(p) & ~USED; }
static size_t *foot(const void *p) { return (size_t *)((char *)p + size_of(p)) - 2; }
static void set(void *p, size_t size, size_t used)
{
	*head(p) = size | used;
	*foot(p) = size | used;
}

static void push(struct block *b)
{
	*b = (struct block){list, NULL};
	if (list)
		list->prev = b;
	list = b;
}

static void take_out(struct block *b)
{
	if (b->next)
		b->next->prev = b->prev;
	if (b->prev)
		b->prev->next = b->next;
	else
		list = b->next;
}

static void release(char *p, size_t size)
{
	char *after = p + size;

	if (!IS(no_joining)) {
		size_t before = *((size_t *)p - 2);
		if (!(*head(after) & USED) || (IS(used_joined) && *head(after) > USED)) {
			if (!(*head(after) & USED))
				take_out((struct block *)after);
			size += size_of(after);
		}
		if (!(before & USED)) {
			p -= before;
			size += before;
			take_out((struct block *)p);
		}
	}
	set(p, size, 0);
	push((struct block *)p);
}

static bool grow(size_t size)
{
	size_t n = (size + 16 + CHUNK - 1) & ~(CHUNK - 1);
	char *p = source_grow((intptr_t)n);

	if (!p && !IS(no_null))
		return false;
	if (p != end) { /* at the start, or somebody else has moved the break: a heap of its own */
		first = p;
		*(size_t *)p = USED; /* what looks like the foot of a block before */
		p += 16;
		n -= 16;
	}
	end = p + n;
	*head(end) = USED;
	release(p, n);
	return true;
}

static void *find(size_t size)
{
	for (struct block *b = list; b; b = b->next ? b->next : IS(endless) ? list : NULL) {
		size_t whole = size_of(b);
		if (whole < size)
			continue;
		take_out(b);
		if (whole - size >= LEAST) {
			set(b, size, USED);
			if (!IS(rest_lost))
				set((char *)b + size, whole - size, 0), push((struct block *)((char *)b + size));
			else
				set((char *)b + size, whole - size, USED);
		} else {
			set(b, whole, USED);
		}
		return b;
	}
	return NULL;
}

static void *model_alloc(struct allocator *a, size_t n, size_t align)
{
	size_t extra = IS(off_by_one) ? 8 : 16, size = (n + extra + 15) & ~15ul;

	(void)a;
	if (n > 1ul << 46)
		return NULL;
	if (size < LEAST && !IS(links_too_big))
		size = LEAST;
	if (size < 16)
		size = 16;
	if (align > 16 && !IS(align_ignored))
		size += align + LEAST;
	char *p = find(size);
	if (!p && grow(size))
		p = find(size);
	if (p && align > 16 && !IS(align_ignored) && (uintptr_t)p % align) {
		char *q = (char *)(((uintptr_t)p + LEAST + align - 1) & ~(align - 1));
		size_t whole = size_of(p);
		set(q, whole - (size_t)(q - p), USED);
		set(p, (size_t)(q - p), USED);
		release(p, (size_t)(q - p));
		p = q;
	}
	return p && IS(misaligned) ? p + 8 : p;
}

static void model_free(struct allocator *a, void *p)
{
	static unsigned count;

	(void)a;
	if (IS(misaligned))
		p = (char *)p - 8;
	if (IS(lost_block) && ++count % 3 == 0)
		return;
	release(p, size_of(p));
	if (IS(double_insert) && ++count % 7 == 0)
		set(p, size_of(p), USED), release(p, size_of(p));
}

static size_t model_size(struct allocator *a, void *p)
{
	(void)a;
	return size_of(p) - 16;
}

static void *model_realloc(struct allocator *a, void *p, size_t n)
{
	size_t old = model_size(a, p);

	if (n <= old && old - n < 64)
		return p;
	if (IS(realloc_frees))
		model_free(a, p);
	void *q = model_alloc(a, n, 16);
	if (!q)
		return NULL;
	if (!IS(realloc_no_copy))
		memmove(q, p, old < n ? old : n);
	if (!IS(realloc_frees))
		model_free(a, p);
	return q;
}

static int model_check(struct allocator *a)
{
	(void)a;
	return 0;
}

/* Whole pages of a free block at the end. */
static size_t model_trim(struct allocator *a)
{
	(void)a;
	if (IS(never_returns) || !end || *((size_t *)end - 2) & USED)
		return 0;
	size_t last = *((size_t *)end - 2);
	char *p = end - last;
	size_t give = last & ~(SOURCE_PAGE - 1);

	if (p - 16 == first)
		give = last + 16;
	else if (last - give < LEAST && last != give)
		give -= SOURCE_PAGE;
	if (!give)
		return 0;
	take_out((struct block *)p);
	source_grow(-(intptr_t)give);
	end = give > last ? NULL : end - give;
	if (end) {
		*head(end) = USED;
		if (last > give)
			release(p, last - give);
	}
	return give;
}

struct allocator allocator_model = {
    .name = "model",
    .threads = IS(race), /* and no lock */
    .alloc = model_alloc,
    .free = model_free,
    .size = model_size,
    .realloc = model_realloc,
    .check = model_check,
    .trim = model_trim,
};
