/* revoke.c - a parent asks for frames: one child obeys, the other finds in its repossession vector what was taken. */
#include "demo.h"

#define PAGES 64ul
#define WANTED 40ul
#define SLACK 8ul /* unused quota that each child is left */

enum { OBEYS, IGNORES };
static char *page;    /* each child's own */
static size_t given;  /* pages that the obedient one has unmapped, from the end */

/* The least valuable first: a cache would know. */
static uint64_t give(uint64_t frames, uint64_t deadline)
{
	uint64_t n = frames < PAGES ? frames : PAGES;

	(void)deadline;
	mm_unmap((va_t)page + (PAGES - n) * FH_PAGE, n * FH_PAGE);
	given = n;
	return n;
}

static int obey(void)
{
	int bad = 0;

	revoke_listen(give);
	sibling_ready(OBEYS);
	ring_wait();
	bad += check(given == WANTED - SLACK, "child 0 has unmapped %lu pages when it was asked for %lu frames", given, WANTED);
	for (size_t i = 0; i < PAGES - given; i++)
		bad += page[i * FH_PAGE] != 'v';
	return bad;
}

static int ignore(void)
{
	pfn_t mine[PAGES], taken[PAGES];
	uint64_t seen = 0, lost = 0;
	size_t found = 0;

	for (size_t i = 0; i < PAGES; i++)
		mine[i] = fh_pte_pfn(space_get(space_current(), (va_t)page + i * FH_PAGE));
	sibling_ready(IGNORES);
	ring_wait();
	size_t n = repossessed_next(&seen, taken, PAGES, &lost);
	printf("  child 1 finds in its repossession vector:");
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < PAGES; k++)
			found += taken[i] == mine[k] && !space_get(space_current(), (va_t)page + k * FH_PAGE);
		if (i < 6)
			printf(" %#lx", taken[i]);
	}
	puts(" ...");
	return check(n == WANTED && found == n && !lost, "%lu frames, all of them pages that it has no more", n);
}

static int run(unsigned i)
{
	page = (char *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	memset(page, 'v', PAGES * FH_PAGE);
	cpu_touch_stack(4 * FH_PAGE);
	return i == OBEYS ? obey() : ignore();
}

/* Wait until it is ready, and leave it little more than it has. */
static void tighten(unsigned i)
{
	struct env *e = sibling_env(i);
	struct fh_env look;

	sibling_await(i);
	env_look(e->pfn, &look);
	sys_env_ctl(e->name, FH_ENV_QUOTA, -(fh_quota(look.account) - fh_owned(look.account) - SLACK), 0);
}

int demo_revoke(void)
{
	int bad = 0;

	if (!siblings_start(2, run))
		return 1;
	siblings_go();
	for (unsigned i = OBEYS; i <= IGNORES; i++)
		tighten(i);
	int64_t owned = frame_owned(sibling_env(OBEYS)->pfn), back = env_revoke(sibling_env(OBEYS), WANTED, 2000);
	bad += check(back == WANTED, "asked for %lu frames, child 0 gives %ld back: it owns %ld instead of %ld", WANTED, back,
	             frame_owned(sibling_env(OBEYS)->pfn), owned);
	ring(OBEYS);
	env_wait(sibling_env(OBEYS));
	back = env_revoke(sibling_env(IGNORES), WANTED, 50);
	bad += check(back == 0, "child 1 lets the deadline pass");
	back = env_repossess(sibling_env(IGNORES), WANTED);
	bad += check(back == WANTED, "its parent takes %ld frames by force", back);
	ring(IGNORES);
	return bad + siblings_end();
}
