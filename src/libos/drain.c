/* SPDX-License-Identifier: MIT */
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

/* Does unmapping the frame have a chance to free it? Tables, CPUs, kernel frames are only unmapped. */
static unsigned leaf_op(pte_t e)
{
	return fh_type(frame_record(fh_pte_pfn(e))->state) == FH_DATA ? FH_OP_UNMAP_FREE : FH_OP_CLEAR;
}

static int drain(struct batch *b, pfn_t table, unsigned level);

/* Entry `index` of `table` links `child`, a table of `level`. Add what undoes it and all below. */
static int drain_link(struct batch *b, pfn_t table, unsigned index, pfn_t child, unsigned level)
{
	int r = 0;

	if (fh_refs(frame_record(child)->state) == 1) /* else another table links it too, and will drain it */
		r = drain(b, child, level);
	batch_add(b, FH_OP_UNLINK_FREE, 0, table, index, 1, 0);
	return r;
}

/* The leaves from slot[i] on that one operation undoes: how many. */
static unsigned run(const volatile pte_t *slot, unsigned i, unsigned op)
{
	unsigned n = 1;

	while (i + n < 512 && slot[i + n] & FH_P && leaf_op(slot[i + n]) == op)
		n++;
	return n;
}

/* All `left` present entries of a table that is readable at `slot`. */
static int drain_slots(struct batch *b, pfn_t table, unsigned level, const volatile pte_t *slot, unsigned left)
{
	int r = 0;

	for (unsigned i = 0, n; i < 512 && left && r == 0; i += n) {
		pte_t e = slot[i];
		n = 1;
		if (!(e & FH_P) || fixed(level, i, e, table))
			continue;
		if (level == 1) {
			unsigned op = leaf_op(e);
			n = run(slot, i, op);
			batch_add(b, op, 0, table, i, n, 0);
		} else if (e & FH_PS) {
			batch_add(b, leaf_op(e), 0, table, i, 1, 0);
		} else {
			r = drain_link(b, table, i, fh_pte_pfn(e), level - 1);
		}
		left = left > n ? left - n : 0;
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
	if (r == 0)
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
