/*
 * exhaust.c - memory runs out: then malloc says NULL, nothing is broken, and what is freed can be had again. And the sizes and
 * alignments that no trace has. Each step is a line of the report: the ones after a failure are not made.
 */
#include <stdio.h>

#include "grader.h"

#define QUOTA 1024ul /* frames, those that the runner takes for itself included */
#define BLOCKS 4096u
#define SMALL 3000ul

static struct caller c;
static uint32_t made; /* blocks until the first NULL */

/* All that was asked for is the caller's. */
static bool usable(uint32_t id)
{
	struct block *b = blocks_get(id);
	uint64_t n = 0;

	if (b && !subject_call(0, LANE_SIZE, b->lo, 0, 0, &n, NULL))
		return fail("%s: malloc_usable_size didn't return: %s", c.what, trouble);
	return !b || n >= b->bytes || fail("%s: of %lu bytes asked for, malloc_usable_size says that %lu are usable", c.what, b->bytes, n);
}

static bool sizes(void)
{
	static const uint64_t odd[] = {0, 1, 7, 8, 15, 16, 17, 31, 4095, 4096, 4097, 65535, 100000};
	uint32_t id = 0;

	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		if (!check_alloc(&c, id++, odd[i], 0) || !usable(id - 1))
			return false;
	for (uint64_t align = 16; align <= 8192; align *= 2)
		for (uint64_t n = 1; n < 5000; n = n * 7 + 3)
			if (!check_alloc(&c, id++, n, align) || !usable(id - 1))
				return false;
	for (uint32_t i = 1; i < id; i++) /* 0 bytes may be NULL */
		if (!blocks_get(i))
			return fail("%s: call %u returned NULL, with %lu bytes in use and %lu frames held", c.what, i, c.live, subject_held());
	if (!check_all(&c))
		return false;
	for (uint32_t i = 0; i < id; i += 2)
		if (blocks_get(i) && !check_free(&c, i))
			return false;
	for (uint32_t i = 1; i < id; i += 2)
		if (!check_free(&c, i))
			return false;
	return check_heap(&c) && check_held(&c, QUOTA);
}

static bool too_big(void)
{
	static const uint64_t bytes[] = {~0ul, ~0ul - 15, ~0ul / 2, 1ul << 47, 1ul << 40};

	for (unsigned i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		uint64_t p = 0;
		if (!subject_call(0, LANE_ALLOC, 0, bytes[i], 0, &p, NULL))
			return fail("%s: malloc(%#lx) should return NULL, but %s", c.what, bytes[i], trouble);
		if (p)
			return fail("%s: malloc(%#lx) returned %#lx, where NULL was due", c.what, bytes[i], p);
	}
	return check_heap(&c);
}

static bool fill(void)
{
	for (made = 0; made < BLOCKS; made++) {
		if (!check_alloc(&c, made, SMALL, 0))
			return false;
		if (!blocks_get(made))
			return (made > 0 || fail("%s: the very first malloc(%lu) returned NULL", c.what, SMALL)) && check_all(&c) && check_heap(&c);
	}
	return fail("%s: it never returned NULL, after %u blocks", c.what, made);
}

static bool grow(void)
{
	uint64_t bytes = blocks_get(0)->bytes;

	if (!check_realloc(&c, 0, QUOTA * FH_PAGE * 2))
		return false;
	if (blocks_get(0)->bytes != bytes)
		return fail("%s: realloc to more than the whole quota didn't return NULL", c.what);
	return check_all(&c);
}

static bool again(void)
{
	uint32_t freed = 0, got = 0;

	for (uint32_t i = 0; i < made; i += 2, freed++)
		if (!check_free(&c, i))
			return false;
	for (uint32_t i = 0; i < made; i += 2, got += blocks_get(i - 2) != NULL)
		if (!check_alloc(&c, i, SMALL, 0))
			return false;
	if (got < freed - freed / 10)
		return fail("%s: of %u blocks freed when memory had run out, only %u could be had again", c.what, freed, got);
	return check_all(&c) && check_heap(&c);
}

static bool whole(void)
{
	uint64_t left = 0, most = c.most;

	if (!check_end(&c, &left))
		return false;
	if (!check_alloc(&c, 0, most / 2, 0))
		return false;
	if (!blocks_get(0))
		return fail("%s: when all was freed, a block of half of it (%lu bytes) could not be had: free neighbours are not joined, or "
		            "blocks were lost", c.what, most / 2);
	return check_free(&c, 0) && check_end(&c, &left);
}

void exhaust_run(void)
{
	static const struct {
		const char *name;
		bool (*run)(void);
	} step[] = {
	    {"odd sizes and alignments", sizes}, {"sizes that can't be", too_big}, {"memory runs out", fill},
	    {"a realloc that can't be", grow},   {"memory freed is there again", again}, {"all freed is whole again", whole},
	};
	_Static_assert(sizeof(step) / sizeof(step[0]) == EXHAUST_STEPS, "as tools/grade.py has it");
	unsigned i = 0;

	c = (struct caller){.lane = 0};
	blocks_reset(BLOCKS);
	/* What a small quota does to one that hoards a large one says nothing. */
	bool good = hoarded ? fail("memory runs out: nothing of this counts for who hoards quota in a trace") : subject_start(graded, QUOTA, 1);
	for (; good && i < EXHAUST_STEPS; i += good) {
		snprintf(c.what, sizeof(c.what), "%s", step[i].name);
		good = step[i].run();
	}
	subject_end();
	if (!good)
		say("wrong exhaustion %s", trouble);
	say("exhaustion ok=%u of=%u", i, EXHAUST_STEPS);
}
