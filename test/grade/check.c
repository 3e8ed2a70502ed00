/* check.c - one call of the allocator, and whether what it did is right. */
#include <stdio.h>
#include <string.h>

#include "grader.h"
#include "work.h"

#define CALL_TEXT 48

/* The sentence for what went wrong in a call: who, what, then `trouble`. */
static bool wrong(struct caller *c, const char *call)
{
	return fail("%s: %s %s", c->what, call, trouble);
}

void count_held(struct caller *c)
{
	uint64_t held = subject_held();
	c->held = held > c->held ? held : c->held;
}

/* A block of so many bytes comes. */
static void count_in(struct caller *c, uint64_t bytes)
{
	c->live += bytes;
	c->most = c->live > c->most ? c->live : c->most;
	c->pages += block_pages(bytes);
	c->pages_most = c->pages > c->pages_most ? c->pages : c->pages_most;
}

static void count_out(struct caller *c, uint64_t bytes)
{
	c->live -= bytes;
	c->pages -= block_pages(bytes);
}

/* The block is where no other one is, in the program's own memory. NULL: trouble. */
static volatile char *place(uint64_t p, uint64_t bytes, uint64_t align)
{
	struct block *other = blocks_touching(p, p + (bytes ? bytes : 1));

	if (p % align)
		return (void)fail("returned %#lx, which is not aligned to %lu", p, align), NULL;
	if (other)
		return (void)fail("returned %#lx, which overlaps block %u (%#lx-%#lx, %lu bytes)", p, blocks_id(other), other->lo, other->hi,
		            other->bytes), NULL;
	volatile char *m = subject_memory(p, bytes);
	if (!m)
		fail("returned %#lx, which %s", p, trouble);
	return m;
}

/* What the first wrong byte of a block tells. */
static const char *guess(uint64_t at, uint64_t bytes)
{
	if (at < 16)
		return "its first bytes: a header, or links of a free list, lie in it?";
	return bytes - at <= 16 ? "its last bytes: a footer, or the next block's header, lies in it?" : "in its midst";
}

/* Is block b still as it was filled, `kept` bytes of it at p? */
static bool same(const struct block *b, uint32_t id, uint64_t p, uint64_t kept)
{
	volatile char *m = subject_memory(p, kept);

	if (!m)
		return fail("finds that block %u (%#lx-%#lx, %lu bytes) %s", id, b->lo, b->hi, b->bytes, trouble);
	size_t at = pattern_wrong(m, b->bytes, kept, b->key);
	return at == kept || fail("finds block %u (%#lx-%#lx, %lu bytes) overwritten at byte %lu, %s", id, b->lo, b->hi, b->bytes, at,
	                          guess(at, b->bytes));
}

static void enter(uint32_t id, uint64_t p, uint64_t bytes, volatile char *m)
{
	static uint64_t keys = 1;
	struct block *b = blocks_add(id, p, bytes);

	b->key = work_random(&keys);
	pattern_fill(m, bytes, b->key);
}

/* A pointer that the program died of is worth telling. */
static void died(uint64_t p)
{
	if (p)
		fail("returned %#lx, and when that was used %s", p, trouble);
	else
		fail("didn't return: %s", trouble);
}

bool check_alloc(struct caller *c, uint32_t id, uint64_t bytes, uint64_t align)
{
	char call[CALL_TEXT];
	uint64_t p = 0;

	if (align)
		snprintf(call, sizeof(call), "aligned_alloc(%lu, %lu)", align, bytes);
	else
		snprintf(call, sizeof(call), "malloc(%lu)", bytes);
	if (!subject_call(c->lane, LANE_ALLOC, 0, bytes, align, &p, &c->spent))
		return died(p), wrong(c, call);
	count_held(c);
	if (!p)
		return true;
	volatile char *m = place(p, bytes, align > 16 ? align : 16);
	if (!m)
		return wrong(c, call);
	enter(id, p, bytes, m);
	count_in(c, bytes);
	return true;
}

bool check_realloc(struct caller *c, uint32_t id, uint64_t bytes)
{
	struct block *b = blocks_get(id), old = b ? *b : (struct block){0};
	char call[CALL_TEXT];
	uint64_t p = 0, kept = old.bytes < bytes ? old.bytes : bytes;

	snprintf(call, sizeof(call), "realloc of block %u from %lu to %lu bytes", id, old.bytes, bytes);
	if (b && !same(b, id, b->lo, b->bytes))
		return wrong(c, call);
	if (!subject_call(c->lane, LANE_REALLOC, old.lo, bytes, 0, &p, &c->spent))
		return died(p), wrong(c, call);
	count_held(c);
	if (!p)
		return true;
	if (b)
		blocks_remove(id);
	volatile char *m = place(p, bytes, 16);
	if (!m)
		return wrong(c, call);
	size_t at = pattern_wrong(m, old.bytes, kept, old.key);
	if (at != kept)
		return (void)fail("returned %#lx, where byte %lu isn't the old block's any more: the payload was not kept", p, at), wrong(c, call);
	enter(id, p, bytes, m);
	if (b)
		count_out(c, old.bytes);
	count_in(c, bytes);
	return true;
}

bool check_free(struct caller *c, uint32_t id)
{
	struct block *b = blocks_get(id);
	char call[CALL_TEXT];

	snprintf(call, sizeof(call), "free of block %u", id);
	if (!same(b, id, b->lo, b->bytes))
		return wrong(c, call);
	uint64_t p = b->lo;
	count_out(c, b->bytes);
	blocks_remove(id);
	if (!subject_call(c->lane, LANE_FREE, p, 0, 0, NULL, &c->spent))
		return died(0), wrong(c, call);
	count_held(c);
	return true;
}

bool check_all(struct caller *c)
{
	for (uint32_t id = 0; id < blocks_ids(); id++) {
		struct block *b = blocks_get(id);
		if (b && !same(b, id, b->lo, b->bytes))
			return wrong(c, "a look at all blocks");
	}
	return true;
}

bool check_heap(struct caller *c)
{
	uint64_t bad = 0;

	if (!subject_call(c->lane, LANE_CHECK, 0, 0, 0, &bad, NULL))
		return died(0), wrong(c, "check()");
	return bad == 0 || ((void)fail("finds %lu inconsistencies", bad), wrong(c, "the allocator's own check()"));
}

bool check_end(struct caller *c, uint64_t *left)
{
	snprintf(c->what + strlen(c->what), sizeof(c->what) - strlen(c->what), ", at its end");
	for (uint32_t id = 0; id < blocks_ids(); id++)
		if (blocks_get(id) && !check_free(c, id))
			return false;
	if (!check_heap(c))
		return false;
	if (!subject_call(c->lane, LANE_TRIM, 0, 0, 0, NULL, NULL))
		return died(0), wrong(c, "trim()");
	*left = subject_held();
	return true;
}

bool hoarded;

bool check_held(const struct caller *c, uint64_t quota)
{
	if (c->held <= quota / 4 || c->held * FH_PAGE <= 10 * c->most || c->held <= 2 * c->pages_most)
		return true;
	hoarded = true;
	return fail("%s: %lu frames of a quota of %lu were held for at most %lu bytes in use: it is hoarded", c->what, c->held, quota, c->most);
}
