/* promises.c - line 8: overcommit. */
#include <errno.h>

#include "parts.h"

static uint64_t ram(void) { return fh_quota(env_view()->account); }

/* total_vm, as the documentation has it. */
static uint64_t mapped(void)
{
	uint64_t pages = 0;

	for (struct region *r = NULL; (r = region_after(space_current(), r ? r->hi : 0)) != NULL;)
		pages += r->fork == REGION_SKIP ? 0 : (r->end - r->base) / FH_PAGE;
	return pages;
}

static int64_t map(uint64_t pages, unsigned rights, unsigned flags) { return mm_map(0, pages * FH_PAGE, rights, flags); }
static void unmap(int64_t at, uint64_t pages) { mm_unmap((va_t)at, pages * FH_PAGE); }

/* ---- What is counted ---- */

static void counted(void)
{
	static const struct {
		unsigned rights, flags;
		int64_t counts;
		const char *what;
	} cases[] = {
	    {RW, 0, 10, "private, writable"}, {RIGHT_R, 0, 0, "private, read-only"}, {0, MM_GUARD, 0, "without rights"},
	    {RW, MM_SHARED, 10, "shared"}, {RIGHT_R, MM_SHARED, 10, "shared, read-only"}, {RW, MM_EAGER, 10, "at once"},
	    {RW, MM_NORESERVE, 0, "MAP_NORESERVE"},
	};
	int64_t before = commit.pages, at;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		at = map(10, cases[i].rights, cases[i].flags);
		expect_is(commit.pages - before, cases[i].counts, "10 pages %s", cases[i].what);
		unmap(at + (int64_t)(3 * FH_PAGE), 2);
		expect_is(commit.pages - before, cases[i].counts * 8 / 10, "2 of them unmapped");
		unmap(at, 10);
		expect_is(commit.pages, before, "all");
	}
	at = map(10, RIGHT_R, 0);
	mm_protect((va_t)at + FH_PAGE, 2 * FH_PAGE, RW);
	expect_is(commit.pages - before, 2, "2 pages made writable");
	mm_protect((va_t)at, 10 * FH_PAGE, RW);
	expect_is(commit.pages - before, 10, "all of them");
	mm_protect((va_t)at, 10 * FH_PAGE, RIGHT_R);
	expect_is(commit.pages - before, 10, "made read-only they are still promised");
	mm_map((va_t)at, 4 * FH_PAGE, RIGHT_R, MM_FIXED);
	expect_is(commit.pages - before, 6, "4 of them replaced by what isn't");
	mm_map((va_t)at, 5 * FH_PAGE, RW, MM_FIXED);
	expect_is(commit.pages - before, 10, "5 by what is");
	unmap(at, 10);
	expect_is(commit.pages, before, "all unmapped");

	heap_grow(7 * (intptr_t)FH_PAGE);
	expect_is(commit.pages - before, 7, "brk, 7 pages up");
	heap_grow(-7 * (intptr_t)FH_PAGE);
	expect_is(commit.pages, before, "and down");
	void *source = source_map(3 * FH_PAGE, FH_PAGE);
	expect_is(commit.pages - before, 3, "an allocator's pages");
	source_unmap(source, 3 * FH_PAGE);
	expect_is(commit.pages, before, "given back");
	int64_t top = mm_stack(space_current(), 16 * FH_PAGE, "[stack]");
	expect_is(commit.pages - before, 1, "a thread's stack: its first page");
	*(volatile char *)(top - 3 * (int64_t)FH_PAGE) = 1;
	expect_is(commit.pages - before, 3, "and what it grows by");
	mm_unmap((va_t)top - 16 * FH_PAGE, 16 * FH_PAGE);
	expect_is(commit.pages, before, "all gone");
}

/* A second address space promises all that is private once more. */
static void counted_twice(void)
{
	static struct space second; /* not on the stack, which is write-protected meanwhile */
	int64_t before = commit.pages, shared = map(10, RW, MM_SHARED);

	if (expect_returns(space_fork(&second, space_current()), 0, "a second space")) {
		expect(commit.pages - before > 10 && commit.pages - before - 10 <= before, "%ld pages promised before, %ld after", before, commit.pages);
		space_free(&second);
		expect_is(commit.pages, before + 10, "it is gone");
	}
	commit.mode = COMMIT_NEVER;
	commit.kbytes = 4 * (uint64_t)(commit.pages + 64);
	expect_returns(space_fork(&second, space_current()), -ENOMEM, "a second space where it may not be promised");
	commit.kbytes = 0;
	commit.mode = COMMIT_GUESS;
	unmap(shared, 10);
	expect_is(commit.pages, before, "nothing has changed");
}

static int act_grow(void *arg)
{
	int64_t before = commit.pages;
	va_t base = region_find(space_current(), (va_t)program_stack)->base;

	(void)arg;
	*(volatile char *)(base - 20 * FH_PAGE) = 1;
	return (int)(commit.pages - before);
}

static int act_grow_in_vain(void *arg)
{
	commit.mode = COMMIT_NEVER;
	commit.kbytes = 4;
	return act_grow(arg);
}

/* ---- The modes ---- */

static void guess(void)
{
	uint64_t all = ram();
	int64_t at, many[3];

	expect_returns(map(all + 1, RW, 0), -ENOMEM, "more than all RAM at once");
	at = map(all, RW, 0);
	expect(!mm_failed(at), "all of it can be promised");
	many[0] = map(all, RW, 0), many[1] = map(all, RW, 0);
	expect(!mm_failed(many[0]) && !mm_failed(many[1]), "and again, and again");
	unmap(many[0], all), unmap(many[1], all), unmap(at, all);
	at = map(4 * all, RIGHT_R, 0);
	expect(!mm_failed(at), "four times that read-only");
	expect_returns(mm_protect((va_t)at, 4 * all * FH_PAGE, RW), -ENOMEM, "which can't be made writable");
	touch_begin();
	expect(reads((char *)at) && !writes((char *)at), "and isn't");
	touch_end();
	unmap(at, 4 * all);
	expect_returns(heap_grow((intptr_t)((all + 1) * FH_PAGE)), -ENOMEM, "brk by more than all RAM");
	at = map(2 * all, RW, MM_NORESERVE);
	expect(!mm_failed(at), "with MAP_NORESERVE nobody asks");
	unmap(at, 2 * all);
}

static void always(void)
{
	int64_t at;

	commit.mode = COMMIT_ALWAYS;
	at = map(1ul << 28, RW, 0);
	expect(!mm_failed(at), "a TiB is promised");
	*(volatile char *)at = 1;
	unmap(at, 1ul << 28);
}

/* As many pages as may still be promised by the formula. */
static int64_t room(void)
{
	uint64_t limit = commit.kbytes ? commit.kbytes / 4 : ram() * commit.ratio / 100, reserve = mapped() / 32;

	expect_is((int64_t)commit_limit(), (int64_t)limit, "CommitLimit");
	return (int64_t)limit - (int64_t)(reserve < commit.reserve ? reserve : commit.reserve) - 1 - commit.pages;
}

static void at_the_limit(const char *how)
{
	int64_t n = room(), before = commit.pages, at;

	if (!expect(n > 300, "%s: there is room for %ld", how, n))
		return;
	expect_returns(map((uint64_t)n + 1, RW, 0), -ENOMEM, "%s: a page more than %ld", how, n);
	expect_is(commit.pages, before, "what is refused isn't counted");
	at = map((uint64_t)n, RW, 0);
	expect(!mm_failed(at), "%s: %ld pages", how, n);
	/* Mapped, they make the reserve larger: there is nothing left. */
	expect_returns(map(1, RW, 0), -ENOMEM, "%s: after that one", how);
	expect_returns(map(1, RW, MM_SHARED), -ENOMEM, "%s: a shared one", how);
	expect_returns(map(1, RW, MM_NORESERVE), -ENOMEM, "%s: MAP_NORESERVE changes nothing", how);
	expect_returns(heap_grow((intptr_t)FH_PAGE), -ENOMEM, "%s: brk", how);
	expect(source_map(64 * FH_PAGE, FH_PAGE) == NULL && malloc(1 << 20) == NULL, "%s: malloc says NULL", how);
	int64_t plain = map(1, RIGHT_R, 0);
	expect(!mm_failed(plain), "%s: a read-only one costs nothing", how);
	expect_returns(mm_protect((va_t)plain, FH_PAGE, RW), -ENOMEM, "%s: until it is to be writable", how);
	unmap(plain, 1);
	expect_returns(mm_map((va_t)at, FH_PAGE, RW, MM_FIXED), at, "%s: one in place of another", how);
	expect_returns(mm_map((va_t)at - FH_PAGE, 2 * FH_PAGE, RW, MM_FIXED), -ENOMEM, "%s: two in place of one", how);
	expect(region_find(space_current(), (va_t)at) != NULL, "which then is still there");
	unmap(at, (uint64_t)n);
	expect_is(commit.pages, before, "all is given back");
}

static void never(void)
{
	static const unsigned ratios[] = {50, 80, 100};

	uint64_t plain_pages = 2 * ram();
	int64_t plain = map(plain_pages, RIGHT_R, 0); /* not promised, but it is the program's size */
	commit.mode = COMMIT_NEVER;
	for (unsigned i = 0; i < 3; i++) {
		commit.ratio = ratios[i];
		at_the_limit("by the ratio");
		commit.reserve = 1ul << 40; /* from now on it is 1/32 of the program that is kept */
	}
	unmap(plain, plain_pages);
	commit.kbytes = ram(); /* a quarter of it */
	at_the_limit("by kbytes");
	commit.reserve = 0;
	at_the_limit("without a reserve");
	commit.kbytes = 4;
	expect_returns(map(1, RW, 0), -ENOMEM, "with a limit of a page nothing more can be had");
}

void overcommit(void)
{
	const struct commit as_it_was = commit;

	expect(commit.on && commit.mode == COMMIT_GUESS && commit.ratio == 50, "mode 0, ratio 50 at first");
	free(malloc(1)); /* it has what it begins with */
	counted();
	counted_twice();
	expect_is(told(act_grow, NULL, false).status, 20, "the stack's growth by 20 pages counts");
	expect(told(act_grow_in_vain, NULL, false).who == TOLD_HANDLER, "and is refused where nothing more may be promised");
	guess();
	always();
	never();
	int64_t pages = commit.pages;
	commit = as_it_was;
	commit.pages = pages;
}
