/*
 * generations.c - a region of memory and its past, side by side. [now] is the first entry of a PT3, generation i its entry i:
 * a link to the page tables of that time. Keeping a generation is one more link to the present's tables. A link or page
 * that has W has no second parent, so that a write to anything shared faults; the fault copies what is shared on the way
 * from the PT3 down to the page, and nothing else: a persistent tree (Driscoll et al., 1989), made of page tables. Who else
 * has a table or a page is in the ownership table, where the kernel counts references.
 */
#include "generations.h"

#include <errno.h>

#include "env.h"
#include "layout.h"
#include "spacewalk.h"
#include "syscall.h"

#define RX (RIGHT_R | RIGHT_X)
#define RW (RIGHT_R | RIGHT_W)
#define PAST_VA (NOW_VA + GENERATION_BYTES)
#define PAST_END (NOW_VA + (GENERATIONS + 1) * GENERATION_BYTES)

static int start(void);

const struct layout layout_generations = {
    .name = "generations",
    .title = "a region of memory, and its past beside it",
    .teaches = "A page table is a tree, and trees can share branches. To keep the state of a gigabyte is one more link to its "
               "tables; to read it as it was, add a constant to the address; the price is paid by the next write, for the way "
               "down to one page: two tables and the page. It is how git, ZFS and persistent maps keep the past. No copy, no "
               "protocol with a kernel: reference counts are in the ownership table already, and a fault handler of forty lines "
               "does the rest. So a program can look for the moment when its data went wrong, go back there, and go on.",
    .area = {
        {"[null]", 0, 0x10000, AREA_GUARD, 0, .grow = REGION_FIXED},
        {"[text]", 0x400000, 0, AREA_TEXT, RX, .grow = REGION_FIXED},
        {"[rodata]", 0, 0, AREA_RODATA, RIGHT_R, .after = true},
        {"[data]", 0, 0, AREA_DATA, RW, .after = true},
        {"[bss]", 0, 0, AREA_BSS, RW, .after = true},
        {"[heap]", 0, NOW_VA, AREA_HEAP, RW, REGION_GROW_UP, .after = true, .meets = "ENOMEM at its end"},
        {"[now]", NOW_VA, PAST_VA, AREA_OWN, RW, .note = "1 GiB: the first entry of PML4[32]'s PT3"},
        {"[past]", PAST_VA, PAST_END, AREA_OWN, RIGHT_R, .meets = "generation i at [now] + i GiB, 511 of them",
         .note = "read-only by the W bit of that entry, whatever those below it say"},
        {"[mmap]", PAST_END, 0x7e0000000000, AREA_MMAP, RW, REGION_GROW_DOWN, .meets = "ENOMEM at its end"},
        {"[stack]", 0x7f0000100000, 0x7f0000200000, AREA_STACK, RW, REGION_GROW_DOWN, .guard = 1},
    },
    .start = start,
};

static va_t base_of(unsigned i) { return NOW_VA + i * GENERATION_BYTES; }

/* va's entry at `level`; 0: no table there. */
static pte_t entry(va_t va, unsigned level)
{
	const volatile pte_t *slot = space_slot(&space_main, va, level);
	return slot ? *slot : 0;
}

/* ---- A write to the present: its way down becomes its own ---- */

/* `to`, empty: links to (or pages) all that the table at `from` has, in neither with W. */
static int share_entries(pfn_t to, pfn_t table, const volatile pte_t *from)
{
	struct batch b;

	batch_begin(&b, space_main.frames);
	for (unsigned i = 0; i < 512; i++)
		if (from[i] & FH_P)
			batch_add(&b, FH_OP_NARROW, 0, table, i, 1, from[i] & (FH_P | FH_U | FH_NX));
	for (unsigned i = 0; i < 512; i++)
		if (from[i] & FH_P)
			batch_add(&b, FH_OP_SET, 0, to, i, 1, from[i] & ~(FH_W | FH_A | FH_D));
	return batch_end(&b);
}

/* The table of `level` that va is in has no other parent, and its link has W. */
static int own_table(va_t va, unsigned level)
{
	pte_t link = entry(va, level + 1);
	pfn_t old = fh_pte_pfn(link), parent = space_table(&space_main, va, level + 1);
	unsigned index = pt_index(va, level + 1);
	int r;

	if (!(link & FH_P) || link & FH_W)
		return 0;
	link |= FH_W;
	if (frame_sole(old)) /* the others have let go of it */
		return pt_one(space_main.frames, FH_OP_PROTECT, 0, parent, index, &link, 0);
	pfn_t copy = frame_get_typed(space_main.frames, 0, level == 2 ? FH_PT2 : FH_PT1);
	if (!copy)
		return -ENOMEM;
	link = copy << 12 | FH_P | FH_W | FH_U;
	r = share_entries(copy, old, space_slot(&space_main, va & ~(pt_span(level + 1) - 1), level));
	/* Flushed at once: the new table is read in the window next. */
	if (r < 0 || (r = pt_one(space_main.frames, FH_OP_SET, space_flush(), parent, index, &link, 0)) < 0) {
		table_drain(copy, level);
		frame_put_typed(copy);
	}
	return r;
}

static enum answer touch_now(struct region *r, struct fault *f)
{
	va_t va = page_down(f->address);
	pfn_t table;

	if (f->space != &space_main || f->error & FAULT_FETCH || own_table(va, 2) < 0 || own_table(va, 1) < 0 ||
	    !(table = space_table(f->space, va, 1)))
		return FAULT_KILL;
	pte_t e = entry(va, 1);
	if (!(e & FH_P)) {
		e = pte_make(f->space->frames->next(f->space->frames, 1, 1, va / FH_PAGE), r->rights);
		return fh_pte_pfn(e) && pt_one(f->space->frames, FH_OP_CLAIM, 0, table, pt_index(va, 1), &e, 0) >= 0 ? FAULT_DONE : FAULT_KILL;
	}
	if (!(f->error & FAULT_WRITE) || e & FH_W)
		return FAULT_DONE;
	return fault_unshare(f->space, va, e, r->rights) < 0 ? FAULT_KILL : FAULT_DONE;
}

/* ---- Generations ---- */

static int start(void)
{
	struct region now = {.base = NOW_VA, .end = PAST_VA, .rights = RW, .fork = REGION_SKIP, .fault = touch_now, .name = "[now]"};
	struct region past = {.base = PAST_VA, .end = PAST_END, .rights = RIGHT_R, .fork = REGION_SKIP, .fault = fault_guard, .name = "[past]"};
	int r = region_add(&space_main, &now);

	return r < 0 ? r : region_add(&space_main, &past);
}

static int change(unsigned op, uint64_t flush, unsigned i, pte_t e)
{
	pfn_t pt3 = space_table(&space_main, NOW_VA, 3);
	return pt3 ? pt_one(space_main.frames, op, flush, pt3, i, &e, 0) : -ENOMEM;
}

/* Give up the link of generation i (0: now), and what it alone leads to. */
static int let_go(unsigned i)
{
	pfn_t table = fh_pte_pfn(entry(base_of(i), 3));
	int r = frame_sole(table) ? table_drain(table, 2) : 0, unlinked = change(FH_OP_UNLINK_FREE, space_flush(), i, 0);

	orphan_collect(); /* fault_unshare has noted each page that a generation kept */
	return r < 0 ? r : unlinked < 0 ? unlinked : 0;
}

/* Nobody has it with W from now on: not generation i, not the present. */
static int show(unsigned i, unsigned from)
{
	pte_t link = entry(base_of(from), 3) & ~(FH_W | FH_A | FH_D);
	int r = change(FH_OP_NARROW, space_flush(), from, link & ~FH_PFN_FIELD);

	return r < 0 ? r : change(FH_OP_SET, 0, i, link);
}

static unsigned last_kept(void)
{
	unsigned i = GENERATIONS;

	while (i > 0 && !(entry(base_of(i), 3) & FH_P))
		i--;
	return i;
}

static bool kept(unsigned i) { return i >= 1 && i <= GENERATIONS && entry(base_of(i), 3) & FH_P; }

int generation_keep(void)
{
	space_lock(&space_main);
	unsigned i = last_kept() + 1;
	int r = i > GENERATIONS ? -ENOSPC : !space_table(&space_main, NOW_VA, 2) ? -ENOMEM : show(i, 0);
	space_unlock(&space_main);
	return r < 0 ? r : (int)i;
}

unsigned generation_last(void)
{
	space_lock(&space_main);
	unsigned i = last_kept();
	space_unlock(&space_main);
	return i;
}

int generation_return(unsigned i)
{
	space_lock(&space_main);
	int r = kept(i) ? 0 : -ENOENT;
	if (r == 0 && entry(NOW_VA, 3) & FH_P)
		r = let_go(0);
	if (r == 0)
		r = show(0, i);
	space_unlock(&space_main);
	return r < 0 ? r : 0;
}

int generation_forget(unsigned i)
{
	space_lock(&space_main);
	int r = kept(i) ? let_go(i) : -ENOENT;
	space_unlock(&space_main);
	return r;
}

/* ---- What has changed: a table that both have is the same all the way down ---- */

static size_t differ(va_t a, va_t b, unsigned level, uint32_t *page, size_t most)
{
	size_t n = 0;

	if (fh_pte_pfn(entry(a, level)) == fh_pte_pfn(entry(b, level)))
		return 0;
	if (level == 1) {
		if (most)
			*page = (uint32_t)(a % GENERATION_BYTES / FH_PAGE);
		return 1;
	}
	for (unsigned i = 0; i < 512; i++) {
		size_t seen = n < most ? n : most;
		n += differ(a + i * pt_span(level - 1), b + i * pt_span(level - 1), level - 1, page + seen, most - seen);
	}
	return n;
}

size_t generations_differ(unsigned a, unsigned b, uint32_t *page, size_t most)
{
	if (a > GENERATIONS || b > GENERATIONS)
		return 0;
	space_lock(&space_main);
	size_t n = differ(base_of(a), base_of(b), 3, page, most);
	space_unlock(&space_main);
	return n;
}
