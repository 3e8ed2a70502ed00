/*
 * meta.c - power-of-two blocks for the kit's records, carved from a rising run of pages that are mapped at once.
 * A block smaller than a page never crosses one. Freed blocks go to a list of their size.
 */
#include "meta.h"

#include <string.h>

#include "space.h"
#include "sync.h"

#define ORDER_MIN 6u /* 64 bytes */
#define ORDER_MAX 30u

struct block {
	struct block *next;
};

static struct {
	struct lock lock;
	va_t end;                             /* first address never handed out */
	struct block *freed[ORDER_MAX + 1];   /* by log2 of the size */
} meta = {.end = META_VA};

void meta_lock(void) { lock_take(&meta.lock); }
void meta_unlock(void) { lock_give(&meta.lock); }
void meta_reset(void) { meta.lock.holder = 0; }

va_t meta_end(void) { return meta.end; }

static unsigned order_of(size_t n)
{
	unsigned order = ORDER_MIN;
	while (order < ORDER_MAX && 1ul << order < n)
		order++;
	return order;
}

static void push(unsigned order, void *p)
{
	((struct block *)p)->next = meta.freed[order];
	meta.freed[order] = p;
}

/* Map enough new pages for a block of this order, and put what they hold on its list. */
static void refill(unsigned order)
{
	size_t bytes = 1ul << order < FH_PAGE ? FH_PAGE : 1ul << order;
	va_t va = meta.end;

	if (bytes > META_VA + PLAN_GIB - va || space_fill(space_current(), va, bytes / FH_PAGE, RIGHT_R | RIGHT_W) < 0)
		return;
	meta.end = va + bytes;
	for (va_t p = va; p < va + bytes; p += 1ul << order)
		push(order, (void *)p);
}

void *meta_alloc(size_t n)
{
	unsigned order = order_of(n);

	lock_take(&meta.lock);
	if (!meta.freed[order])
		refill(order);
	struct block *b = meta.freed[order];
	if (b)
		meta.freed[order] = b->next;
	lock_give(&meta.lock);
	return b ? memset(b, 0, n) : NULL;
}

void meta_free(void *p, size_t n)
{
	if (!p)
		return;
	lock_take(&meta.lock);
	push(order_of(n), p);
	lock_give(&meta.lock);
}
