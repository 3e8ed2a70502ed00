/*
 * reap.c - children that share, pass on, fork and spin without end are killed at any moment and reaped, on all CPUs,
 * while their siblings go on: no frame and no CPU slot is lost (DESIGN 7; HOSTILE 28, 47).
 *
 * What a child does next is chosen at random; when it is killed is chosen by the clock, so no two runs are alike.
 */
#include <string.h>

#include "syscall.h"
#include "tap.h"
#include "touch.h"

#define CHILDREN 4u
#define ROUNDS 24u
#define QUOTA 1000ul /* unused frames that a child is left */

/* In a page shared with all children. */
static volatile struct place {
	uint64_t env;   /* name of the child that lives there */
	uint64_t steps, links, takes, forks; /* what it and its children have done */
} *place;

/* ---- A child's life ---- */

#define KEPT 3u
static struct window window[KEPT];
static va_t linked[KEPT], page;
static struct env *forked;
static unsigned threads, depth;

static void spin(void *arg)
{
	(void)arg;
	for (;;)
		cpu_pause();
}

static uint64_t some_sibling(void) { return place[random64() % CHILDREN].env; }

static void do_window(unsigned i)
{
	if (window[i].table)
		window_free(&window[i]);
	else if (window_new(&window[i]) == 0 && window_show(&window[i], 0, page, 2, RIGHT_R | RIGHT_W) == 0)
		window_grant(&window[i], some_sibling());
}

static void do_hide(unsigned i)
{
	if (window[i].table)
		window_hide(&window[i], 1, 1);
}

static void do_link(unsigned i, unsigned me)
{
	if (linked[i]) {
		writes((char *)linked[i]);
		reads((char *)linked[i] + FH_PAGE);
		window_unlink(linked[i]);
		linked[i] = 0;
		return;
	}
	pfn_t table = granted_next(random64() % info->nframes, FH_PT1, 0);
	int64_t va = table ? window_link(table, RIGHT_R | RIGHT_W, NULL, NULL) : 0;
	if (!mm_failed(va) && va) {
		linked[i] = (va_t)va;
		place[me].links++;
	}
}

static void do_give(void)
{
	*(volatile char *)(page + 3 * FH_PAGE) = 1;
	int64_t pfn = page_give(page + 3 * FH_PAGE, some_sibling());
	if (pfn > 0 && random64() % 4 == 0 && page_recall((pfn_t)pfn, page + 3 * FH_PAGE, RIGHT_R | RIGHT_W) == 0)
		space_drop(space_current(), page + 3 * FH_PAGE, 1);
}

static void do_take(unsigned me)
{
	pfn_t pfn = granted_next(random64() % info->nframes, FH_DATA, 0);

	space_drop(space_current(), page + 4 * FH_PAGE, 1);
	if (pfn && page_take(pfn, page + 4 * FH_PAGE, RIGHT_R | RIGHT_W) == 0)
		place[me].takes++;
}

static void do_map(void)
{
	size_t bytes = (1 + random64() % 20) * FH_PAGE;
	int64_t va = mm_map(0, bytes, RIGHT_R | RIGHT_W, MM_EAGER);

	if (!mm_failed(va))
		mm_unmap((va_t)va, bytes);
}

static void live(unsigned me);

static void do_fork(unsigned me)
{
	if (forked) {
		env_reap(&forked, NULL);
	} else if (depth < 2) {
		if (env_fork(&forked) == 0) {
			forked = NULL;
			threads = 0;
			depth++;
			memset(window, 0, sizeof(window)); /* they are our parent's; what it had linked is not here */
			memset(linked, 0, sizeof(linked));
			live(me);
		}
		place[me].forks += forked != NULL;
	}
}

static void live(unsigned me)
{
	page = (va_t)mm_map(0, 8 * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	for (unsigned i = 0;; i = (i + 1) % KEPT) {
		switch (random64() % 16) {
		case 0: case 1: case 2: do_window(i); break;
		case 3: do_hide(i); break;
		case 4: case 5: case 6: do_link(i, me); break;
		case 7: case 8: do_give(); break;
		case 9: case 10: do_take(me); break;
		case 11: do_map(); break;
		case 12: do_fork(me); break;
		case 13: threads += threads < 2 && thread_new(spin, NULL, NULL); break;
		case 14: thread_sleep(random64() % 3); break;
		default: thread_yield(); break;
		}
		place[me].steps++;
	}
}

/* ---- Its parent ---- */

static struct env *child[CHILDREN];

static void start(unsigned i)
{
	struct fh_env e;

	random64(); /* another life than the last */
	int r = env_fork(&child[i]);
	if (r == 0) {
		touch_begin();
		live(i);
	}
	if (r < 0)
		panic("env_fork: %s", error_name(r));
	slot_give(child[i]->thread_name, 8);
	env_look(child[i]->pfn, &e);
	sys_env_ctl(child[i]->name, FH_ENV_QUOTA, -(fh_quota(e.account) - fh_owned(e.account) - QUOTA), 0);
	place[i].env = child[i]->name;
}

/* What a parent may do to the living. */
static uint64_t bother(unsigned i)
{
	switch (random64() % 4) {
	case 0: { /* a few pages are missing: those of its mappings are zeroes when it touches them again */
		int64_t n = env_repossess(child[i], random64() % 8);
		return n > 0 ? (uint64_t)n : 0;
	}
	case 1:
		sys_env_ctl(child[i]->name, FH_ENV_FREEZE, 0, 0);
		thread_sleep(random64() % 10);
		sys_env_ctl(child[i]->name, FH_ENV_THAW, 0, 0);
		break;
	case 2: sys_env_ctl(child[i]->name, FH_ENV_REVOKE, random64() % 100, 0); break;
	default: thread_sleep(random64() % 10); break;
	}
	return 0;
}

/* What it is before it is killed; reaped, it has left nothing. */
static void end(unsigned i, struct tally *dead, struct tally *bad)
{
	if (env_state(child[i]) != ENV_RUNNING)
		count_bad(dead, "child %u had ended: state %d, status %d, vector %lu", i, env_state(child[i]), env_status(child[i]),
		          child[i]->view->regs.vector);
	if (random64() % 2)
		env_kill(child[i]);
	pfn_t pfn = child[i]->pfn;
	int r = env_reap(&child[i], NULL);
	if (r < 0)
		count_bad(bad, "child %u: %s", i, error_name(r));
	else if (frame_find(0, FH_NTYPES, pfn))
		count_bad(bad, "child %u: frame %#lx is still its", i, frame_find(0, FH_NTYPES, pfn));
	place[i].env = 0;
}

static uint64_t books(void)
{
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	return frame_count_free() + (meta_end() - META_VA) / FH_PAGE;
}

/* `rounds` deaths, CHILDREN alive at a time. */
static void generations(unsigned rounds)
{
	struct tally dead = {0}, bad = {0};
	uint64_t steps = 0, links = 0, takes = 0, forks = 0, repossessed = 0;

	for (unsigned i = 0; i < CHILDREN; i++)
		start(i);
	for (unsigned n = 0; n < rounds; n++) {
		unsigned i = (unsigned)(random64() % CHILDREN);
		for (unsigned k = 0; k < 2; k++)
			repossessed += bother((unsigned)(random64() % CHILDREN));
		end(i, &dead, &bad);
		start(i);
	}
	for (unsigned i = 0; i < CHILDREN; i++) {
		end(i, &dead, &bad);
		steps += place[i].steps, links += place[i].links, takes += place[i].takes, forks += place[i].forks;
		memset((void *)&place[i], 0, sizeof(place[i]));
	}
	none_bad(&dead, "none of %u children ended by itself", rounds + CHILDREN);
	if (rounds >= ROUNDS)
		ok(links && takes && forks && repossessed, "in %lu steps: windows linked %lu, pages taken %lu, repossessed %lu, forks %lu",
		   steps, links, takes, repossessed, forks);
	none_bad(&bad, "each was reaped while the others went on");
}

int main(void)
{
	place = (volatile struct place *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	tap_begin();
	generations(2); /* records and tables that are made once and kept */
	uint64_t before = books();
	unsigned slots = slot_count();
	generations(ROUNDS);
	is((int64_t)books(), (int64_t)before, "as many frames are FREE as before");
	ok(slot_count() == slots && !env_list, "as many CPU slots are ours: %u", slots);
	return tap_end();
}
