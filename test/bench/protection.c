/*
 * protection.c - changing rights, and the two of Appel and Li (ASPLOS 1991): appel1 touches a protected page, whose
 * handler protects another and unprotects this one; appel2 protects 100 pages and touches each, in random order.
 *
 * Twice: by mm_protect, which also keeps the regions' rights (what Linux does and what maps shows), and -pager: a region
 * with a fault function of its own, for which rights are a matter of page tables alone (space_protect).
 */
#include "bench.h"

#define PAGES 100u

static char *area; /* PAGES pages, with a guard page on either side that keeps their region apart */
static char *other;

static void protect(char *p, size_t pages, unsigned rights) { MUST(mm_protect((va_t)p, pages * FH_PAGE, rights) == 0); }

static void touch_all(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		touch(area + i * FH_PAGE);
}

static void prot1(void)
{
	char *p = bench_touched(3);

	MUST(mm_unmap((va_t)p, FH_PAGE) == 0 && mm_unmap((va_t)p + 2 * FH_PAGE, FH_PAGE) == 0);
	p += FH_PAGE;
	bench_group();
	for (int i = 0; i < 2000; i++) {
		bench_begin();
		protect(p, 1, RIGHT_R);
		BENCH_END(0);
		protect(p, 1, RW);
		touch(p);
	}
	bench_report("prot1", 1);
	bench_group();
	for (int i = 0; i < 2000; i++) {
		protect(p, 1, RIGHT_R);
		bench_begin();
		protect(p, 1, RW);
		BENCH_END(0);
		touch(p);
	}
	bench_report("unprot1", 1);
	MUST(mm_unmap((va_t)p, FH_PAGE) == 0);
}

static void prot100(void)
{
	bench_group();
	for (int i = 0; i < 300; i++) {
		bench_begin();
		protect(area, PAGES, RIGHT_R);
		BENCH_END(0);
		protect(area, PAGES, RW);
		touch_all();
	}
	bench_report("prot100", PAGES);
}

static enum answer swap_handler(struct fh_context *c)
{
	protect(other, 1, RIGHT_R);
	protect((char *)page_down(c->address), 1, RW);
	return FAULT_DONE;
}

static enum answer unprotect_handler(struct fh_context *c)
{
	protect((char *)page_down(c->address), 1, RW);
	return FAULT_DONE;
}

/* The same as fault functions of a region; the space is locked. */
static enum answer swap_pager(struct region *r, struct fault *f)
{
	(void)r;
	bool done = space_protect(f->space, (va_t)other, 1, RIGHT_R) == 0 &&
	            space_protect(f->space, page_down(f->address), 1, RW) == 0;
	return done ? FAULT_DONE : FAULT_KILL;
}

static enum answer unprotect_pager(struct region *r, struct fault *f)
{
	(void)r;
	return space_protect(f->space, page_down(f->address), 1, RW) == 0 ? FAULT_DONE : FAULT_KILL;
}

/* Half of the pages protected; each sample swaps one for another. */
static void appel1(const char *name, void (*set)(char *, size_t, unsigned))
{
	static bool protected[PAGES];
	unsigned left = PAGES / 2, j, k;

	for (unsigned i = 0; i < PAGES; i++)
		protected[i] = false;
	while (left) {
		if (protected[j = bench_random(PAGES)])
			continue;
		protected[j] = true;
		set(area + j * FH_PAGE, 1, RIGHT_R);
		left--;
	}
	bench_group();
	for (int i = 0; i < 2000; i++) {
		do
			j = bench_random(PAGES);
		while (!protected[j]);
		do
			k = bench_random(PAGES);
		while (protected[k]);
		other = area + k * FH_PAGE;
		bench_begin();
		touch(area + j * FH_PAGE);
		BENCH_END(0);
		protected[j] = false;
		protected[k] = true;
		MUST(!(space_get(space_current(), (va_t)other) & FH_W));
	}
	bench_report(name, 1);
	set(area, PAGES, RW);
	touch_all();
}

static void appel2(const char *name, void (*set)(char *, size_t, unsigned))
{
	static unsigned order[PAGES];

	for (unsigned i = 0; i < PAGES; i++)
		order[i] = i;
	for (unsigned i = PAGES - 1; i > 0; i--) {
		unsigned j = bench_random(i + 1), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	bench_group();
	for (int i = 0; i < 100; i++) {
		bench_begin();
		set(area, PAGES, RIGHT_R);
		for (unsigned j = 0; j < PAGES; j++)
			touch(area + order[j] * FH_PAGE);
		BENCH_END(0);
	}
	bench_report(name, PAGES);
}

static void set_pages(char *p, size_t pages, unsigned rights)
{
	space_lock(space_current());
	int r = space_protect(space_current(), (va_t)p, pages, rights);
	space_unlock(space_current());
	MUST(r == 0);
}

static void set_fault(region_fault *fault)
{
	space_lock(space_current());
	struct region *r = region_find(space_current(), (va_t)area);
	r->fault = fault;
	space_unlock(space_current());
}

void bench_protection(void)
{
	char *p = bench_touched(PAGES + 2);

	prot1();
	protect(p, 1, 0);
	protect(p + (PAGES + 1) * FH_PAGE, 1, 0);
	area = p + FH_PAGE;
	prot100();
	on_upcall(14, swap_handler);
	appel1("appel1", protect);
	on_upcall(14, unprotect_handler);
	appel2("appel2", protect);
	on_upcall(14, NULL);
	set_fault(swap_pager);
	appel1("appel1-pager", set_pages);
	set_fault(unprotect_pager);
	appel2("appel2-pager", set_pages);
	MUST(mm_unmap((va_t)p, (PAGES + 2) * FH_PAGE) == 0);
}
