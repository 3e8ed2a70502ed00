/* policy.c - which frame? one function pointer, yours or the kit's. */
#include "demo.h"

#define PAGES 8ul

/* A student's policy: even frames, from the top of memory down. The kernel doesn't care; it only checks. */
static pfn_t next_even(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	(void)n, (void)align, (void)hint; /* this demo asks for single frames only */
	for (uint64_t tries = (f->hi - f->lo) / 2; tries > 0; tries--) {
		f->cursor = f->cursor <= f->lo + 1 ? f->hi & ~1ul : f->cursor; /* all around memory */
		f->cursor -= 2;
		if (frame_is_free(f->cursor))
			return f->cursor;
	}
	return 0; /* there is none at all */
}

/* Frames of PAGES fresh pages under a policy; -1 on failure. */
static int touch(struct frames *policy, pfn_t *pfn, va_t *va)
{
	struct frames *usual = space_current()->frames;
	int64_t at = mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, 0);

	if (mm_failed(at))
		return -1;
	((char *)at)[0] = 1; /* the page table, if one is needed, is not what we look at */
	space_current()->frames = policy;
	printf("  %-7s", policy->name);
	for (size_t i = 1; i < PAGES; i++) {
		((char *)at)[i * FH_PAGE] = 1;
		pfn[i] = fh_pte_pfn(space_get(space_current(), (va_t)at + i * FH_PAGE));
		printf(" %#lx", pfn[i]);
	}
	puts("");
	space_current()->frames = usual;
	*va = (va_t)at;
	return 0;
}

int demo_policy(void)
{
	struct frames mine = {
	    .name = "even", .next = next_even, .lo = info->first_user, .hi = info->nframes, .cursor = info->nframes & ~1ul};
	struct frames *policies[] = {&mine, &frames_colour, &frames_first};
	pfn_t pfn[PAGES];
	va_t va;
	int bad = 0;

	for (unsigned k = 0; k < 3; k++) {
		bool even = true, colour = true;
		if (touch(policies[k], pfn, &va) < 0)
			return bad + check(false, "no room for %lu pages", PAGES);
		for (size_t i = 1; i < PAGES; i++) {
			even &= pfn[i] % 2 == 0;
			colour &= (pfn[i] ^ (va / FH_PAGE + i)) % frames_colour.colours == 0;
		}
		if (policies[k] == &mine)
			bad += check(even, "our own function chose: all even");
		else if (policies[k] == &frames_colour)
			bad += check(colour, "coloured: frame and page agree modulo %lu", frames_colour.colours);
		mm_unmap(va, PAGES * FH_PAGE);
	}
	return bad;
}
