/*
 * drain.c - empty a page table and everything below it, from outside (a dead child's, a second space's): read each table
 * through a scratch page, add the operations that undo it to one batch.
 */
#include <errno.h>

#include "spacewalk.h"
#include "syscall.h"

/* Entries of a PT4 that are not the libOS's to clear: the kernel's, and the recursive window, which goes with the PT4. */
static bool fixed(unsigned level, unsigned index, pte_t e, pfn_t table)
{
	return level == 4 && (index == FH_KERNEL_SLOT || fh_pte_pfn(e) == table);
}

/* 2 MiB of the ownership table can't be freed: then clearing is the cheaper way. */
static unsigned large_op(pte_t e)
{
	return fh_type(frame_record(fh_pte_pfn(e))->state) == FH_DATA ? FH_OP_UNMAP_FREE : FH_OP_CLEAR;
}

static int drain(struct batch *b, pfn_t table, unsigned level);

/* Entry `index` of `table` links `child`, a table of `level`. Add what undoes it and all below. Somebody else's table, a
 * window, is only unlinked: what is in it lives on. */
static int drain_link(struct batch *b, pfn_t table, unsigned index, pfn_t child, unsigned level)
{
	int r = 0;

	if (fh_owner(frame_record(child)->state) != fh_owner(frame_record(table)->state)) {
		batch_add(b, FH_OP_CLEAR, 0, table, index, 1, 0);
		return 0;
	}
	if (fh_refs(frame_record(child)->state) == 1) /* else another table links it too, and will drain it */
		r = drain(b, child, level);
	batch_add(b, FH_OP_UNLINK_FREE, 0, table, index, 1, 0);
	return r;
}

/* The first present entry from index i on, 512: none. Most slots of most tables are empty: four at a glance. */
static unsigned next_present(const volatile pte_t *slot, unsigned i)
{
	for (; i < 512 && i % 4; i++)
		if (slot[i] & FH_P)
			return i;
	while (i < 512 && !((slot[i] | slot[i + 1] | slot[i + 2] | slot[i + 3]) & FH_P))
		i += 4;
	while (i < 512 && !(slot[i] & FH_P))
		i++;
	return i;
}

/* The `left` leaves of a level-1 table: a run of slots is one operation. */
static void drain_leaves(struct batch *b, pfn_t table, const volatile pte_t *slot, unsigned left)
{
	for (unsigned i = 0, j; left && (i = next_present(slot, i)) < 512; left -= j - i, i = j) {
		for (j = i + 1; j < 512 && slot[j] & FH_P; j++)
			;
		batch_add(b, FH_OP_UNMAP_FREE, 0, table, i, j - i, 0);
	}
}

/* The `left` present entries of a higher table. */
static int drain_slots(struct batch *b, pfn_t table, unsigned level, const volatile pte_t *slot, unsigned left)
{
	int r = 0;

	for (unsigned i = 0; left && r == 0 && (i = next_present(slot, i)) < 512; i++) {
		pte_t e = slot[i];
		if (fixed(level, i, e, table))
			continue;
		if (e & FH_PS)
			batch_add(b, large_op(e), 0, table, i, 1, 0);
		else
			r = drain_link(b, table, i, fh_pte_pfn(e), level - 1);
		left--;
	}
	return r;
}

static int drain(struct batch *b, pfn_t table, unsigned level)
{
	unsigned left = (unsigned)fh_count(frame_record(table)->link);
	va_t view;

	if (!left)
		return 0;
	if (!(view = scratch_get(1)))
		return -ENOMEM;
	int r = scratch_set(view, pte_make(table, RIGHT_R));
	if (r == 0 && level == 1)
		drain_leaves(b, table, (const volatile pte_t *)view, left);
	else if (r == 0)
		r = drain_slots(b, table, level, (const volatile pte_t *)view, left);
	scratch_put(view, 1); /* now nothing but its parent refers to the table */
	return r;
}

int table_drain(pfn_t table, unsigned level)
{
	struct batch b;

	batch_begin(&b, NULL);
	int r = drain(&b, table, level), end = batch_end(&b);
	return r < 0 ? r : end;
}
