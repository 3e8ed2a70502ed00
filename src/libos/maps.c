/* maps.c - printing address spaces. */
#include "maps.h"

#include <errno.h>

#include "console.h"
#include "spacewalk.h"
#include "start.h"

#define LINE_NAME 73 /* column of the name in Linux's lines */

static void line(va_t lo, va_t hi, unsigned rights, bool shared, const char *name)
{
	int n = printf("%08lx-%08lx %c%c%c%c %08x %02x:%02x %d ", lo, hi, rights & RIGHT_R ? 'r' : '-',
	               rights & RIGHT_W ? 'w' : '-', rights & RIGHT_X ? 'x' : '-', shared ? 's' : 'p', 0, 0, 0, 0);

	if (name && *name)
		printf("%*s%s\n", n < LINE_NAME ? LINE_NAME - n : 1, "", name);
	else
		puts("");
}

/* One region, in runs of pages with equal rights. Where no entry says otherwise they are the region's. */
static void print_region(struct space *s, const struct region *r)
{
	va_t lo = r->base, at = lo;
	unsigned rights = region_page_rights(s, r, at);
	struct leaf leaf;

	while (at < r->end) {
		va_t next = space_next(s, at, r->end, &leaf) ? leaf.va : r->end; /* up to there nothing is said */
		unsigned now = next > at ? r->rights & ~RIGHT_LARGE : region_page_rights(s, r, at);
		if (now != rights) {
			line(lo, at, rights, r->fork == REGION_SHARE && rights & RIGHT_W, r->name);
			lo = at;
			rights = now;
		}
		at = next > at ? next : leaf.va + pt_span(leaf.level);
	}
	if (lo < r->end)
		line(lo, r->end, rights, r->fork == REGION_SHARE && rights & RIGHT_W, r->name);
}

void maps_print(struct space *s)
{
	struct region *r;

	/* One region at a time, so that others get the lock in between. Its page tables must stay while they are read. */
	for (va_t from = 0;;) {
		space_lock(s);
		if (!(r = region_after(s, from)))
			break;
		if (r->fork == REGION_SKIP)
			line(r->base, r->end, r->rights, false, r->name);
		else
			print_region(s, r);
		from = r->hi;
		space_unlock(s);
	}
	space_unlock(s);
}

/* What lies there in a program of the kit. */
static const char *plan_name(va_t va)
{
	static const struct {
		va_t lo, hi;
		const char *name;
	} plan[] = {
	    {META_VA, CPUS_VA + PLAN_GIB, "[kit]"}, {BOOTFS_VA, TABLE_VA, "[bootfs]"}, {TABLE_VA, WINDOW_VA, "[table]"},
	    {WINDOW_VA, WINDOW_END, "[window]"},
	};
	if (va >= info->info_va && va < info->upcall_va + FH_PAGE)
		return "[info]";
	for (unsigned i = 0; i < sizeof(plan) / sizeof(plan[0]); i++)
		if (va >= plan[i].lo && va < plan[i].hi)
			return plan[i].name;
	return "";
}

/* Runs of leaves with equal rights and name in [from, end). */
static void print_range(struct space *s, va_t from, va_t end)
{
	va_t lo = 0, hi = 0;
	unsigned rights = 0;
	struct leaf leaf;

	for (; space_next(s, from, end, &leaf); from = leaf.va + pt_span(leaf.level)) {
		if (!(leaf.pte & FH_P))
			continue;
		if (leaf.va != hi || pte_rights(leaf.pte) != rights || plan_name(leaf.va) != plan_name(lo)) {
			if (rights)
				line(lo, hi, rights, false, plan_name(lo));
			lo = leaf.va;
			rights = pte_rights(leaf.pte);
		}
		hi = leaf.va + pt_span(leaf.level);
	}
	if (rights)
		line(lo, hi, rights, false, plan_name(lo));
}

int maps_print_root(pfn_t root)
{
	struct space s = {.root = root};

	if (fh_type(frame_record(root)->state) != FH_PT4)
		return -ESRCH;
	if (root != space_current()->root && !space_slot(&s, 0, 4))
		return -EPERM;
	print_range(&s, 0, 0x800000000000ul);
	print_range(&s, 0xffff800000000000ul, WINDOW_VA);
	print_range(&s, WINDOW_END, FH_KERNEL_BASE);
	space_unpeek(&s);
	return 0;
}
