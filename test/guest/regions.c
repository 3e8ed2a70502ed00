/*
 * regions.c - the list that says who answers a fault where: ordered, without overlap, thousands of them, and after
 * thousands of random changes what a plain array says it is. The lists here belong to no address space that runs.
 */
#include <errno.h>
#include <string.h>

#include "tap.h"

#define LO 0x200000000000ul /* where the lists play */
#define PAGES(n) ((n) * FH_PAGE)

static struct space space;
static const char *const names[2] = {"even", "odd"};

static int add(va_t lo, va_t hi, unsigned rights)
{
	return region_add(&space, &(struct region){.base = lo, .end = hi, .rights = (uint8_t)rights, .fault = fault_zero});
}

/* Walks the list from the bottom: how many regions; -1: they overlap, or are out of order. */
static int walk(void)
{
	va_t at = 0;
	int n = 0;

	for (struct region *r = region_after(&space, 0); r; r = region_after(&space, r->hi), n++) {
		if (r->lo < at || r->base < r->lo || r->end < r->base || r->hi < r->end || r->hi == r->lo)
			return -1;
		at = r->hi;
	}
	return n;
}

static void check_overlap(void)
{
	static const struct {
		va_t lo, hi;
		const char *text;
	} cases[] = {
	    {20, 30, "the same range"},   {22, 25, "inside it"},        {10, 40, "around it"},
	    {10, 21, "one page into its low end"}, {29, 40, "one page into its high end"},
	    {20, 21, "its first page"},   {29, 30, "its last page"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		va_t lo = LO + PAGES(cases[i].lo), hi = LO + PAGES(cases[i].hi);
		add(LO + PAGES(20), LO + PAGES(30), RIGHT_R);
		returns(add(lo, hi, RIGHT_W), -EEXIST, "a region that takes %s is refused", cases[i].text);
		is(walk(), 1, "and the list is as it was");
		region_cut(&space, LO, LO + PAGES(100));
		add(lo, hi, RIGHT_R);
		returns(add(LO + PAGES(20), LO + PAGES(30), RIGHT_W), -EEXIST, "so is the other one, if it was there first");
		region_cut(&space, LO, LO + PAGES(100));
	}
	is(walk(), 0, "cut out, nothing is left");
	add(LO + PAGES(20), LO + PAGES(30), RIGHT_R);
	returns(add(LO + PAGES(10), LO + PAGES(20), RIGHT_W), 0, "a region may end where another begins");
	returns(add(LO + PAGES(30), LO + PAGES(31), RIGHT_W), 0, "and begin where it ends");
	is(walk(), 3, "they stay three, their rights differ");
	returns(add(LO + PAGES(31), LO + PAGES(40), RIGHT_W), 0, "a neighbour of the same kind");
	is(walk(), 3, "becomes one with it");
	region_clear(&space);
}

static void check_refused(void)
{
	returns(add(LO, LO, 0), -EINVAL, "an empty region");
	returns(add(LO + 1, LO + PAGES(1), 0), -EINVAL, "an unaligned beginning");
	returns(add(LO, LO + PAGES(1) + 8, 0), -EINVAL, "an unaligned end");
	returns(add(LO + PAGES(2), LO, 0), -EINVAL, "an end before the beginning");
	returns(add(0x7ffffffff000ul, 0x800000001000ul, 0), -EINVAL, "into the addresses that x86-64 doesn't have");
	returns(add(FH_KERNEL_BASE, FH_KERNEL_BASE + PAGES(1), 0), -EINVAL, "the kernel's addresses");
	returns(add(FH_KERNEL_BASE - PAGES(1), FH_KERNEL_BASE + PAGES(1), 0), -EINVAL, "up to the kernel's");
	returns(region_add(&space, &(struct region){.lo = LO, .hi = LO + PAGES(4), .base = LO, .end = LO + PAGES(5)}), -EINVAL,
	        "accessible beyond its reservation");
	returns(region_add(&space, &(struct region){.lo = LO + PAGES(1), .hi = LO + PAGES(4), .base = LO, .end = LO + PAGES(4)}),
	        -EINVAL, "or before it");
	is(walk(), 0, "nothing of all this is on the list");
	returns(add(0x7ffffffff000ul, 0x800000000000ul, 0), 0, "the last page of the lower half can be had");
	returns(add(FH_KERNEL_BASE - PAGES(1), FH_KERNEL_BASE, 0), 0, "and the last below the kernel");
	is(walk(), 2, "both are there");
	region_clear(&space);
}

/* What is reserved, and what of it is accessible. */
static void check_reserved(void)
{
	struct region stack = {.lo = LO, .hi = LO + PAGES(100), .base = LO + PAGES(90), .end = LO + PAGES(100), .fault = fault_zero,
	                       .grow = REGION_GROW_DOWN, .guard = 1};

	returns(region_add(&space, &stack), 0, "a stack reserves the room it may grow into");
	returns(add(LO + PAGES(10), LO + PAGES(11), RIGHT_R), -EEXIST, "nobody else may have that");
	ok(region_busy(&space, LO, LO + PAGES(1)), "it counts as busy");
	ok(!region_busy(&space, LO - PAGES(1), LO) && !region_busy(&space, LO + PAGES(100), LO + PAGES(101)),
	   "the pages around it don't");
	ok(region_find(&space, LO + 5) == region_find(&space, LO + PAGES(100) - 1), "its first and last byte find it");
	ok(!region_find(&space, LO - 1) && !region_find(&space, LO + PAGES(100)), "the bytes around it don't");
	returns(region_covers(&space, LO + PAGES(90), LO + PAGES(100)), 0, "its upper part is accessible");
	returns(region_covers(&space, LO + PAGES(89), LO + PAGES(100)), -ENOMEM, "not one page more");

	returns(region_cut(&space, LO + PAGES(40), LO + PAGES(95)), 0, "cut across the border between the two");
	is(walk(), 2, "it leaves two regions");
	struct region *low = region_find(&space, LO), *high = region_find(&space, LO + PAGES(99));
	ok(low && low->hi == LO + PAGES(40) && low->base == low->hi && low->end == low->hi, "the lower all reserved");
	ok(high && high->lo == LO + PAGES(95) && high->base == high->lo && high->end == high->hi, "the upper all accessible");
	region_clear(&space);
}

static void check_cut(void)
{
	for (unsigned i = 0; i < 10; i++)
		add(LO + PAGES(10 * i), LO + PAGES(10 * i + 8), RIGHT_R);
	is(walk(), 10, "ten regions with holes between them");
	returns(region_cut(&space, LO + PAGES(8), LO + PAGES(10)), 0, "cutting a hole");
	is(walk(), 10, "changes nothing");
	returns(region_cut(&space, LO + PAGES(2), LO + PAGES(5)), 0, "cutting the middle of one");
	is(walk(), 11, "makes it two");
	returns(region_cut(&space, LO + PAGES(14), LO + PAGES(53)), 0, "cutting from inside one to inside another");
	is(walk(), 8, "takes those between, and halves these");
	struct region *a = region_find(&space, LO + PAGES(13)), *b = region_find(&space, LO + PAGES(53));
	ok(a && a->hi == LO + PAGES(14) && b && b->lo == LO + PAGES(53), "exactly there");
	returns(region_cut(&space, 0, 0x800000000000ul), 0, "cutting everything");
	is(walk(), 0, "leaves nothing");
	region_clear(&space);
}

static void check_gap(void)
{
	const va_t hi = LO + PAGES(1024);

	is((int64_t)region_gap(&space, LO, hi, PAGES(1024), FH_PAGE), LO, "an empty range fits exactly once");
	is((int64_t)region_gap(&space, LO, hi, PAGES(1025), FH_PAGE), 0, "one page more doesn't fit");
	is((int64_t)region_gap(&space, LO, hi, PAGES(3), FH_PAGE), (int64_t)(hi - PAGES(3)), "the highest place is chosen");
	add(hi - PAGES(10), hi + PAGES(10), RIGHT_R);
	is((int64_t)region_gap(&space, LO, hi, PAGES(3), FH_PAGE), (int64_t)(hi - PAGES(13)), "below a region that sticks out");
	is((int64_t)region_gap(&space, LO, hi, PAGES(3), 64 * FH_PAGE), (int64_t)(hi - PAGES(64)), "aligned downward");
	add(LO - PAGES(5), LO + PAGES(5), RIGHT_R);
	add(LO + PAGES(8), LO + PAGES(1000), RIGHT_R);
	is((int64_t)region_gap(&space, LO, hi, PAGES(14), FH_PAGE), (int64_t)(LO + PAGES(1000)), "a hole that fits exactly");
	is((int64_t)region_gap(&space, LO, hi, PAGES(3), 8 * FH_PAGE), (int64_t)(LO + PAGES(1008)), "or aligned in it");
	is((int64_t)region_gap(&space, LO, hi, PAGES(15), FH_PAGE), 0, "none that is large enough");
	is((int64_t)region_gap(&space, LO, hi, ~0ul & ~(FH_PAGE - 1), FH_PAGE), 0, "nor ever for nearly 2^64 bytes");
	region_clear(&space);
}

#define MANY 4096u

static void check_many(void)
{
	struct tally t = {0};
	struct space copy = {0};
	unsigned wrong = 0;

	for (unsigned round = 0; round < 2; round++) {
		va_t kit = meta_end();
		for (unsigned i = 0; i < MANY; i++) { /* an order that visits each once, up and down */
			va_t k = (i * 1367u + 11) % MANY, va = LO + PAGES(3 * k);
			int r = region_add(&space, &(struct region){.base = va, .end = va + PAGES(2), .name = names[k & 1]});
			if (r < 0)
				count_bad(&t, "region %lu: %s", k, error_name(r));
		}
		if (round)
			is((int64_t)meta_end(), (int64_t)kit, "their memory is used again");
		is(walk(), MANY, "%u regions, added in no order, are in order", MANY);
		for (va_t k = 0; k < MANY; k++) {
			struct region *r = region_find(&space, LO + PAGES(3 * k + 1) + 77);
			wrong += !r || r->lo != LO + PAGES(3 * k) || r->name != names[k & 1] || region_find(&space, LO + PAGES(3 * k + 2));
		}
		is(wrong, 0, "each is found where it is, and not behind it");
		is((int64_t)region_gap(&space, LO, LO + PAGES(3 * MANY - 1), PAGES(2), FH_PAGE), 0, "no hole of two pages in between");
		if (round == 0) {
			returns(region_copy(&copy, &space), 0, "the list is copied");
			region_cut(&space, LO + PAGES(3), LO + PAGES(6));
			ok(!region_find(&space, LO + PAGES(3)) && region_find(&copy, LO + PAGES(3)), "what is cut here stays there");
			region_clear(&copy);
		}
		region_clear(&space);
		is(walk(), 0, "cleared, none is left");
	}
	none_bad(&t, "none was refused");
}

/* ---- The model: an array of cells, each with the rights it has + 1, 0: in no region ---- */

#define CELLS 160u
#define CELL PLAN_LARGE /* so that region_protect cuts */
#define STEPS 4000u

static uint8_t cell[CELLS];
static uint64_t state;

static uint64_t draw(uint64_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % n;
}

static va_t cell_va(uint64_t i) { return LO + i * CELL; }

static bool all_are(unsigned a, unsigned b, bool mapped)
{
	for (unsigned i = a; i < b; i++)
		if (!cell[i] == mapped)
			return false;
	return true;
}

static void fill(unsigned a, unsigned b, unsigned value) { memset(cell + a, (int)value, b - a); }

/* A region's rights change at its borders only: the model says so of each part. */
static int protect(unsigned a, unsigned b, unsigned rights)
{
	int r = region_covers(&space, cell_va(a), cell_va(b));

	for (va_t at = cell_va(a), stop; r == 0 && at < cell_va(b); at = stop) {
		struct region *g = region_find(&space, at);
		stop = g->end < cell_va(b) ? g->end : cell_va(b);
		if (!(g = region_protect(&space, g, at, stop, rights)) || g->lo > at || g->hi < stop || g->rights != rights)
			return -1;
	}
	return r;
}

/* Highest run of n empty cells: its first, or -1. */
static int model_gap(unsigned n)
{
	for (int i = (int)(CELLS - n); i >= 0; i--)
		if (all_are((unsigned)i, (unsigned)i + n, false))
			return i;
	return -1;
}

static unsigned alike; /* neighbours that could be one region: region_protect of a whole region leaves them two */

static void compare(struct tally *t, unsigned step)
{
	struct region *before = NULL;
	unsigned n = 1 + (unsigned)draw(12);
	int gap = model_gap(n);

	if (walk() < 0)
		count_bad(t, "step %u: out of order", step);
	for (struct region *r = region_after(&space, 0); r; before = r, r = region_after(&space, r->hi))
		alike += before && before->hi == r->lo && before->rights == r->rights;
	for (unsigned i = 0; i < CELLS; i++) {
		struct region *r = region_find(&space, cell_va(i) + draw(CELL));
		if ((r ? r->rights + 1u : 0) != cell[i])
			count_bad(t, "step %u: cell %u has %d, should have %d", step, i, r ? r->rights : -1, cell[i] - 1);
	}
	va_t got = region_gap(&space, LO, cell_va(CELLS), n * CELL, CELL);
	if (got != (gap < 0 ? 0 : cell_va((unsigned)gap)))
		count_bad(t, "step %u: gap of %u cells at %#lx, should be at %d", step, n, got, gap);
}

static void check_random(void)
{
	struct tally t = {0};
	char text[32];
	uint64_t seed = cpu_tsc() | 1;

	if (boot_option("seed", text, sizeof(text))) {
		seed = 0;
		for (const char *p = text; *p >= '0' && *p <= '9'; p++)
			seed = seed * 10 + (uint64_t)(*p - '0');
	}
	note("seed %lu (give it as seed= on the kernel's command line to have this walk again)", seed);
	state = seed | 1;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned a = (unsigned)draw(CELLS), left = CELLS - a, b = a + 1 + (unsigned)draw(left < 20 ? left : 20);
		unsigned rights = (unsigned)draw(4);
		int r, want = 0;
		switch (draw(4)) {
		case 0:
		case 1:
			r = add(cell_va(a), cell_va(b), rights);
			want = all_are(a, b, false) ? 0 : -EEXIST;
			if (want == 0)
				fill(a, b, rights + 1);
			break;
		case 2:
			r = region_cut(&space, cell_va(a), cell_va(b));
			fill(a, b, 0);
			break;
		default:
			r = protect(a, b, rights);
			want = all_are(a, b, true) ? 0 : -ENOMEM;
			if (want == 0)
				fill(a, b, rights + 1);
		}
		if (r != want)
			count_bad(&t, "step %u: [%u, %u): %d, should be %d", step, a, b, r, want);
		if (region_busy(&space, cell_va(a), cell_va(b)) == all_are(a, b, false))
			count_bad(&t, "step %u: [%u, %u): busy or not?", step, a, b);
		compare(&t, step);
	}
	none_bad(&t, "after each of %u random changes the list is what a plain array of %u cells says", STEPS, CELLS);
	ok(alike < STEPS, "and neighbours of one kind are mostly one region (%u times two)", alike);
	region_clear(&space);
}

int main(void)
{
	tap_begin();
	check_overlap();
	check_refused();
	check_reserved();
	check_cut();
	check_gap();
	check_many();
	check_random();
	return tap_end();
}
