/*
 * sharing.c - the kit's windows, pages passed on, and requests for frames: between this env and a child made by fork, which
 * checks its side and says by its status what went wrong. (The demos show the same between siblings.)
 */
#include <errno.h>
#include <string.h>

#include "syscall.h"
#include "tap.h"
#include "touch.h"

/* Who does what when: both go on when the other has got as far. */
static volatile unsigned *turn;

static void until(unsigned n)
{
	while (*turn < n)
		thread_sleep(1);
}

static void step(unsigned n)
{
	*turn = n;
	until(n + 1);
}

/* Fork; the child ends with what run() returns: 0, or the number of a step that failed. */
static struct env *forked(int (*run)(void))
{
	struct env *child = NULL;

	*turn = 0;
	int r = env_fork(&child);
	if (r == 0) {
		touch_begin();
		until(1);
		exit(run());
	}
	if (r < 0)
		panic("env_fork: %s", error_name(r));
	return child;
}

static void ends(struct env *child, const char *sentence)
{
	is(env_wait(child) == ENV_EXITED ? env_status(child) : -1, 0, "%s", sentence);
	returns(env_reap(&child, NULL), 0, "and is reaped");
}

/* ---- Windows ---- */

static pfn_t not_granted;

static int tenant(void)
{
	pfn_t table = granted_next(0, FH_PT1, fh_owner(frame_record(env_self())->state));

	if (!table || granted_next(table, FH_PT1, 0))
		return 1;
	if (window_link(not_granted, RIGHT_R, NULL, NULL) != -EPERM)
		return 2;
	int64_t at = window_link(table, RIGHT_R | RIGHT_W, NULL, NULL);
	if (mm_failed(at) || (va_t)at % PLAN_LARGE)
		return 3;
	if (window_link(table, RIGHT_R, NULL, NULL) != -EBUSY)
		return 4;
	volatile char *p = (volatile char *)at;
	if (p[0] != 'a' || p[FH_PAGE] != 'b' || writes(p) || reads(p + 2 * FH_PAGE))
		return 5;
	if (mm_unmap((va_t)at, FH_PAGE) != -EINVAL || mm_protect((va_t)at, FH_PAGE, 0) == 0)
		return 6;
	step(2); /* nothing is in it now */
	if (reads(p) || reads(p + FH_PAGE))
		return 7;
	space_trim(space_current(), layout_mmap.lo, layout_mmap.hi); /* an empty table, but not ours to free */
	step(4); /* a page is there again, and may be written */
	if (!writes(p + FH_PAGE) || reads(p))
		return 8;
	p[FH_PAGE] = 'x';
	step(6); /* withdrawn */
	if (reads(p + FH_PAGE) || window_link(table, RIGHT_R, NULL, NULL) != -EPERM)
		return 9;
	if (window_unlink((va_t)at) < 0 || region_find(space_current(), (va_t)at))
		return 10;
	return 0;
}

static void check_windows(void)
{
	char *page = (char *)mm_map(0, 3 * FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	va_t hole = (va_t)mm_map(0, FH_PAGE, RIGHT_R, 0);
	struct window w, other;

	page[0] = 'a', page[FH_PAGE] = 'b';
	returns(window_new(&w), 0, "there is a window");
	returns(window_show(&w, 511, (va_t)page, 2, RIGHT_R), -EINVAL, "it has 512 pages");
	returns(window_show(&w, 0, hole, 1, RIGHT_R), -ENOENT, "what isn't mapped can't be shown");
	returns(window_show(&w, 0, (va_t)page, 2, RIGHT_R), 0, "two pages are shown");
	window_new(&other);
	not_granted = other.table;
	struct env *child = forked(tenant);
	returns(window_grant(&w, child->name), 0, "a child is its tenant");
	returns(window_grant(&w, child->name), -EBUSY, "once");
	step(1);
	returns(window_hide(&w, 0, 512), 0, "all pages are taken back");
	step(3);
	returns(window_show(&w, 1, (va_t)page + FH_PAGE, 1, RIGHT_R | RIGHT_W), 0, "one is shown again, writable");
	step(5);
	is(page[FH_PAGE], 'x', "the tenant has written to it");
	returns(window_withdraw(&w), 0, "the window is withdrawn");
	*turn = 7;
	ends(child, "the tenant has seen all that, and ends");
	returns(window_free(&w), 0, "the window is freed");
	window_free(&other);
	mm_unmap((va_t)page, 3 * FH_PAGE);
	mm_unmap(hole, FH_PAGE);
}

/* ---- Pages passed on ---- */

static int taker(void)
{
	va_t at = (va_t)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, 0);
	pfn_t pfn = granted_next(0, FH_DATA, 0);

	*(volatile char *)at = 1;
	if (!pfn || page_take(pfn, at, RIGHT_R) == 0)
		return 1; /* something is mapped there: the frame is ours, and free again */
	if (fh_type(frame_record(pfn)->state) == FH_DATA && fh_owner(frame_record(pfn)->state) == env_self())
		return 2;
	return page_take(pfn, at, RIGHT_R) == -EPERM ? 0 : 3;
}

static void check_pages(void)
{
	uint64_t stranger = info->root_env;
	char *large = (char *)mm_map(0, 2 * PLAN_LARGE, RIGHT_R | RIGHT_W, MM_EAGER);
	va_t mid = (va_t)large + 100 * FH_PAGE;
	struct window w;

	memset(large, 'm', 2 * PLAN_LARGE);
	int64_t pfn = page_give(mid, stranger);
	ok(pfn > 0, "a page in the middle of 2 MiB is given: %#lx", pfn);
	is((int64_t)frame_record((pfn_t)pfn)->tenant, (int64_t)stranger, "to root, says its record");
	returns(page_give(mid, stranger), -ENOENT, "once");
	returns(page_recall((pfn_t)pfn, mid, RIGHT_R | RIGHT_W), 0, "it is taken back");
	ok(*(char *)mid == 'm' && *(char *)(mid + FH_PAGE - 1) == 'm', "with what was in it");
	window_new(&w);
	window_show(&w, 0, mid, 1, RIGHT_R);
	returns(page_give(mid, stranger), -EBUSY, "one that a window shows can't be given");
	window_free(&w);
	struct env *child = forked(taker);
	pfn = page_give((va_t)large + 101 * FH_PAGE, child->name);
	returns(pfn, -EBUSY, "nor one that a fork shares");
	char *page = (char *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	pfn = page_give((va_t)page, child->name);
	*turn = 1;
	ends(child, "a taker without room for it frees the page");
	returns(page_recall((pfn_t)pfn, (va_t)page, RIGHT_R), -EPERM, "it isn't the giver's any more");
	mm_unmap((va_t)page, FH_PAGE);
	mm_unmap((va_t)large, 2 * PLAN_LARGE);
}

/* ---- Frames asked for, frames taken ---- */

static int asked(void)
{
	revoke_listen(NULL);
	for (unsigned i = 0; i < 10; i++) { /* tables that are empty now, far apart */
		va_t va = (va_t)mm_map(0x200000000000ul + i * PLAN_GIB, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER | MM_FIXED);
		mm_unmap(va, FH_PAGE);
	}
	step(2);
	return 0;
}

static int robbed(void)
{
	pfn_t pfn[FH_REPOSSESSIONS + 1];
	uint64_t seen = 0, lost = 0;
	char *p = (char *)mm_map(0, 300 * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);

	memset(p, 1, 300 * FH_PAGE);
	if (repossessed_next(&seen, pfn, 1, &lost) || lost)
		return 1;
	step(2);
	size_t n = repossessed_next(&seen, pfn, 100, &lost), more = repossessed_next(&seen, pfn, FH_REPOSSESSIONS + 1, &lost);
	if (n != 100 || more != FH_REPOSSESSIONS - 100 || lost != 300 - FH_REPOSSESSIONS)
		return 2;
	return repossessed_next(&seen, pfn, 1, &lost) ? 3 : p[0] || p[299 * FH_PAGE];
}

static uint64_t unused(struct env *child)
{
	struct fh_env e;

	env_look(child->pfn, &e);
	return fh_quota(e.account) - fh_owned(e.account);
}

static void check_revocation(void)
{
	struct env *child = forked(asked);

	step(1);
	uint64_t left = unused(child);
	int64_t owned = frame_owned(child->pfn), back = env_revoke(child, left + 15, 500);
	ok(back >= (int64_t)left + 15 && frame_owned(child->pfn) <= owned - 15,
	   "asked for 15 frames more than its unused quota, a child frees empty tables: %ld given back", back - (int64_t)left);
	*turn = 3;
	ends(child, "it ends");

	child = forked(robbed);
	step(1);
	is(env_revoke(child, 10, 20), 0, "one that doesn't listen gives nothing");
	is(env_repossess(child, 300), 300, "and loses 300 frames");
	*turn = 3;
	ends(child, "it finds 256 of them in its vector, 44 lost, and zeroes where they were");
}

int main(void)
{
	turn = (volatile unsigned *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	struct env *first = forked(tenant); /* records and tables that are made once and kept */
	*turn = 1;
	env_wait(first);
	env_reap(&first, NULL);
	tap_begin();
	check_windows();
	check_pages();
	check_revocation();
	return tap_end();
}
