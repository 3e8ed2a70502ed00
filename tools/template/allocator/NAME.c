/*
 * NAME.c - your allocator. It works as it is: first fit, free blocks in a list sorted by address, neighbours joined (K&R, 8.7).
 * It is slow, and wastes 16 bytes a block. src/libos/heap.h says what each function must do, src/libos/source.h where memory
 * comes from; src/libos/alloc/ has eight others to learn from.
 *
 *     make run-NAME       this and main.c in the machine
 *     make host-NAME      on Linux, under sanitizers: start here when something breaks
 *     make check-NAME     the same checks in the machine
 */
#include "heap.h"
#include "source.h"

struct head {          /* in front of every block, used or free */
	size_t size;       /* of the whole block, this included: a multiple of 16 */
	struct head *next; /* of a free block: the next one by address */
};
static struct head *holes;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }
static struct head *end_of(struct head *h) { return (struct head *)((char *)h + h->size); }

/* Into the list, joined with the block in front and the one behind if they are free. CHANGE: this searches. */
static void insert(struct head *h)
{
	struct head **link = &holes, *before = NULL;

	for (; *link && *link < h; link = &before->next)
		before = *link;
	h->next = *link;
	*link = h;
	if (h->next && end_of(h) == h->next) {
		h->size += h->next->size;
		h->next = h->next->next;
	}
	if (before && end_of(before) == h) {
		before->size += h->size;
		before->next = h->next;
	}
}

/* CHANGE: first fit is one way to choose. Best fit? Lists by size? No heads at all? */
static void *NAME_alloc(struct allocator *a, size_t n, size_t align)
{
	size_t size = round_up(n + sizeof(struct head), HEAP_ALIGN);

	for (struct head **link = &holes; *link; link = &(*link)->next) {
		struct head *h = *link, *rest = h->next;
		struct head *block = (struct head *)round_up((size_t)(h + 1), align) - 1; /* where it would begin */
		size_t front = (size_t)((char *)block - (char *)h);
		if (h->size < front || h->size - front < size)
			continue;
		if (h->size - front - size >= 2 * sizeof(struct head)) { /* the end stays free */
			rest = (struct head *)((char *)block + size);
			*rest = (struct head){h->size - front - size, h->next};
		} else {
			size = h->size - front;
		}
		*link = rest;
		if (front) { /* so does the front */
			*h = (struct head){front, rest};
			*link = h;
		}
		block->size = size;
		return block + 1;
	}
	/* CHANGE: how much to ask for? It costs frames if it isn't used. */
	size_t bytes = round_up(size + align, 4 * SOURCE_PAGE);
	struct head *h = source_grow((intptr_t)bytes);
	if (!h)
		return NULL;
	h->size = bytes;
	insert(h);
	return NAME_alloc(a, n, align);
}

static void NAME_free(struct allocator *a, void *p)
{
	(void)a;
	insert((struct head *)p - 1);
}

static size_t NAME_size(struct allocator *a, void *p)
{
	(void)a;
	return ((struct head *)p - 1)->size - sizeof(struct head);
}

/* What must be true of the list, always. CHANGE: with every field you add, add what must be true of it. */
static int NAME_check(struct allocator *a)
{
	int bad = 0;

	(void)a;
	for (struct head *h = holes; h && bad < 100; h = h->next)
		bad += h->size % HEAP_ALIGN != 0 || h->size == 0 || (h->next && end_of(h) >= h->next);
	return bad;
}

/* The last hole, if it ends where the heap ends. */
static size_t NAME_trim(struct allocator *a)
{
	struct head **link = &holes, *h;

	(void)a;
	while ((h = *link) != NULL && h->next)
		link = &h->next;
	if (!h || (void *)end_of(h) != source_grow(0))
		return 0;
	size_t bytes = h->size;
	*link = NULL;
	source_grow(-(intptr_t)bytes);
	return bytes;
}

/* CHANGE: .realloc could grow in place, .walk could show the blocks: see heap.h. */
struct allocator allocator_NAME = {
    .name = "NAME",
    .alloc = NAME_alloc,
    .free = NAME_free,
    .size = NAME_size,
    .check = NAME_check,
    .trim = NAME_trim,
};
