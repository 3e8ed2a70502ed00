/* pass.c - the ownership of a page, passed back and forth like a message: nothing is copied. */
#include "demo.h"

#define PASSES 20u

/* A page without access unless something is put there: what is given away doesn't come back as a page of zeroes. */
static volatile char *place(void)
{
	struct space *s = space_current();
	va_t va = (va_t)mm_map(0, FH_PAGE, 0, MM_GUARD);

	space_lock(s);
	region_find(s, va)->fault = miss;
	space_unlock(s);
	return (volatile char *)va;
}

static bool intact(const volatile char *page, unsigned n)
{
	for (size_t i = 1; i < FH_PAGE; i++)
		if (page[i] != (char)(i * 7))
			return false;
	return page[0] == (char)n;
}

static int run(unsigned me)
{
	unsigned other = me ^ 1;
	volatile char *page = place();
	int64_t pfn = 0;
	int bad = 0, r;

	if (me == 0) {
		space_fill(space_current(), (va_t)page, 1, RIGHT_R | RIGHT_W);
		for (size_t i = 1; i < FH_PAGE; i++)
			page[i] = (char)(i * 7);
	}
	uint64_t frames = frames_now();
	for (unsigned n = me; n < PASSES; n += 2) {
		if (n > 0) { /* the ownership table says what has come */
			ring_wait();
			pfn = (int64_t)granted_next(0, FH_DATA, fh_name_pfn(sibling[other].env));
			if ((r = page_take((pfn_t)pfn, (va_t)page, RIGHT_R | RIGHT_W)) < 0)
				return bad + check(false, "page_take %#lx: %s", pfn, error_name(r));
		}
		if (!intact(page, n))
			return bad + check(false, "pass %u: the page is not what it was", n);
		page[0]++;
		if ((pfn = page_give((va_t)page, sibling[other].env)) < 0)
			return bad + check(false, "page_give: %s", error_name((int)pfn));
		bad += try_read(page) != -1;
		ring(other);
	}
	if (me == 0) { /* the last one comes to us */
		ring_wait();
		r = page_take((pfn_t)(pfn = (int64_t)granted_next(0, FH_DATA, fh_name_pfn(sibling[1].env))), (va_t)page, RIGHT_R);
		bad += check(r == 0 && intact(page, PASSES), "frame %#lx changed hands %u times, its contents are intact", pfn, PASSES);
		return bad + check(frames_now() == frames, "and we own what we owned before: %lu frames", frames);
	}
	return check(!bad, "whoever has given it away can't read it any more: fault at %#lx", missed.address);
}

int demo_pass(void)
{
	if (!siblings_start(2, run))
		return 1;
	siblings_go();
	return siblings_end();
}
