/*
 * osvdebug.c - the debug allocator of the layouts osv and osv_2022. Addresses rise for ever:
 *
 *   | record, fence | block ... fence | nothing | record, fence | ...        whole pages
 *
 * What was freed is never mapped again. So the first page after a hole is always a record.
 */
#include <stdio.h>
#include <string.h>

#include "osv.h"
#include "spacewalk.h"
#include "start.h"

#define RW (RIGHT_R | RIGHT_W)
#define FENCE '$'
#define MAGIC 0x6775626564ul

struct record { /* at the start of the page before the block; the rest of that page is fence */
	uint64_t magic;
	char *block;
	size_t bytes;
};

static va_t next; /* first address that was never handed out; 0: none was */

static size_t pages_of(size_t bytes) { return page_up(bytes) / FH_PAGE; }

/* Free the tables that are empty and will stay so. */
static void trim(va_t lo, va_t hi)
{
	struct space *s = space_current();
	va_t end = next & ~(PLAN_LARGE - 1);

	if (hi > end)
		hi = end;
	space_lock(s);
	space_trim(s, lo, hi);
	space_unlock(s);
}

void *osv_debug_alloc(struct allocator *a, size_t n, size_t align)
{
	struct space *s = space_current();
	va_t lo = osv_area_base(OSV_DEBUG), hi = lo + OSV_AREA_BYTES, at = next ? next : lo;

	(void)a;
	if (n > OSV_AREA_BYTES || align > OSV_AREA_BYTES)
		return NULL;
	va_t block = align > FH_PAGE ? (at + FH_PAGE + align - 1) & ~(align - 1) : at + FH_PAGE;
	if (block < at || block >= hi || hi - block < page_up(n) + FH_PAGE)
		return NULL;
	struct record *r = (struct record *)(block - FH_PAGE);
	if (space_fill(s, (va_t)r, 1 + pages_of(n), RW) < 0) {
		space_drop(s, (va_t)r, 1 + pages_of(n));
		return NULL;
	}
	memset(r, FENCE, FH_PAGE);
	*r = (struct record){MAGIC, (char *)block, n};
	memset((char *)block + n, FENCE, page_up(n) - n);
	next = block + page_up(n) + FH_PAGE;
	if ((at ^ next) & ~(PLAN_LARGE - 1))
		trim(at, next);
	return (void *)block;
}

static struct record *record_of(void *p)
{
	struct record *r = (struct record *)((va_t)p - FH_PAGE);

	if ((va_t)p % FH_PAGE || !(space_get(space_current(), (va_t)r) & FH_P) || r->magic != MAGIC || r->block != p)
		panic("free(%p): no block of the debug area, or freed before", p);
	return r;
}

/* How far from the block its fence was written to, 0: not at all. Behind: more than 0. */
static long damage(const struct record *r)
{
	const char *end = r->block + r->bytes, *last = r->block + page_up(r->bytes);

	for (const char *p = r->block - 1; p >= (const char *)(r + 1); p--)
		if (*p != FENCE)
			return p - r->block;
	for (const char *p = end; p < last; p++)
		if (*p != FENCE)
			return p - end + 1;
	return 0;
}

void osv_debug_free(void *p)
{
	struct record *r = record_of(p);
	size_t pages = 1 + pages_of(r->bytes);
	long at = damage(r);

	if (at)
		panic("free(%p): a block of %lu bytes, and byte %ld %s it was written to", p, r->bytes, at < 0 ? -at : at,
		      at < 0 ? "before" : "behind");
	space_drop(space_current(), (va_t)r, pages);
	trim((va_t)r, (va_t)r + pages * FH_PAGE);
}

size_t osv_debug_size(void *p) { return record_of(p)->bytes; }

int osv_debug_check(void)
{
	struct leaf leaf;
	int bad = 0;

	for (va_t at = osv_area_base(OSV_DEBUG); next && at < next && space_next(space_current(), at, next, &leaf);) {
		const struct record *r = (const struct record *)leaf.va;
		if (r->magic != MAGIC || (va_t)r->block != leaf.va + FH_PAGE)
			return bad + 1;
		bad += damage(r) != 0;
		at = (va_t)r->block + page_up(r->bytes);
	}
	return bad;
}
