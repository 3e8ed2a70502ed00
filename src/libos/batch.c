/* SPDX-License-Identifier: MIT */
/*
 * batch.c - building and running batches of page-table operations; one operation by registers.
 *
 * What can go wrong and is put right here: a FREE frame that somebody else claimed first (-EBUSY: take another), a
 * frame that is not quiet while the slice's flushes are spent (-EAGAIN: the next tick), a batch that stopped early.
 */
#include "batch.h"

#include <errno.h>

#include "machine.h"
#include "start.h"
#include "sync.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

#define TRIES 100000u

/* Parts of the batch frame by upcall depth. */
static const struct {
	unsigned base, max;
} parts[] = {{0, 128}, {128, 64}, {192, 64}};
_Static_assert(FH_BATCH_OPS == 256, "the three parts fill the batch frame");

static unsigned part(void)
{
	unsigned depth = upcall_depth();
	return depth < 2 ? depth : 2;
}

void *batch_area(uint64_t *offset, uint64_t *size)
{
	unsigned p = part(), base = parts[p].base + thread_self()->batch_used[p];

	*offset = base * sizeof(struct fh_op);
	*size = (parts[p].base + parts[p].max - base) * sizeof(struct fh_op);
	return thread_self()->batch + base;
}

void batch_begin(struct batch *b, struct frames *frames)
{
	struct thread *t = thread_self();
	unsigned p = part(), used = t->batch_used[p], max = (parts[p].max - used + 1) / 2;

	if (max == 0)
		panic("batches nest too deep");
	*b = (struct batch){.ops = t->batch + parts[p].base + used,
	                    .max = max,
	                    .base = parts[p].base + used,
	                    .part = p,
	                    .frames = frames};
	t->batch_used[p] = used + max;
}

static bool claims(unsigned op) { return op == FH_OP_CLAIM || op == FH_OP_LINK_NEW; }

/* Frames that one slot of this entry covers. */
static unsigned span(unsigned op, pte_t entry) { return op != FH_OP_LINK_NEW && entry & FH_PS ? FH_LARGE_FRAMES : 1; }

/* Name another FREE frame in a claiming entry. False: there is none. */
static bool another(struct frames *f, unsigned op, unsigned count, pte_t *entry)
{
	size_t n = span(op, *entry);
	pfn_t p = f->next(f, n * count, n, 0);

	if (p)
		*entry = (*entry & ~FH_PFN_FIELD) | p << 12;
	return p != 0;
}

int pt_one(struct frames *f, unsigned op, uint64_t flags, pfn_t table, unsigned index, pte_t *entry, va_t va)
{
	uint64_t what = fh_what(op, flags, table, index, 1);

	for (unsigned tries = 0; tries < TRIES; tries++) {
		int64_t r = sys_pt_set(what, *entry, va).rax;
		if (r == -EAGAIN)
			thread_yield();
		else if (r != -EBUSY || !claims(op))
			return (int)r;
		if (claims(op) && !another(f, op, 1, entry))
			return -ENOMEM;
	}
	return -EBUSY;
}

/* The operation at `op` was refused with `error`. Change it so that it can be tried again: 0, or the error. */
static int repair(struct batch *b, struct fh_op *op, int error)
{
	unsigned code = fh_what_op(op->what), count = fh_what_count(op->what), index = fh_what_index(op->what);

	if (error == -EAGAIN)
		thread_yield();
	else if (error != -EBUSY || !claims(code))
		return error;
	if (!claims(code) || another(b->frames, code, count, &op->entry))
		return 0;
	if (count == 1)
		return -ENOMEM;
	/* No run that long is left: do one slot by itself, the rest comes again. */
	if (!another(b->frames, code, 1, &op->entry))
		return -ENOMEM;
	pte_t entry = op->entry;
	pfn_t table = fh_what_table(op->what);
	uint64_t flags = op->what & (FH_FLUSH_MASK | FH_KEEP);
	int r = pt_one(b->frames, code, flags, table, index, &entry, 0);
	op->what = fh_what(code, flags, table, index + 1, count - 1);
	return r < 0 ? r : 0;
}

/* The only operation, on one page: by registers it is half the price. */
static void run_one(struct batch *b)
{
	struct fh_op *op = b->ops;
	int r = pt_one(b->frames, fh_what_op(op->what), op->what & (FH_FLUSH_MASK | FH_KEEP), fh_what_table(op->what),
	               fh_what_index(op->what), &op->entry, b->va);

	b->kept += r == FH_OP_KEPT;
	b->error = r < 0 ? r : 0;
	b->n = 0;
}

static void batch_run(struct batch *b)
{
	unsigned at = 0, tries = 0;

	if (b->n == 1 && b->va && fh_what_count(b->ops->what) == 1 && !b->error) {
		run_one(b);
		return;
	}

	while (at < b->n && !b->error) {
		struct sys_result r = sys_pt_update((b->base + at) * sizeof(struct fh_op), b->n - at);
		at += (unsigned)r.rdx;
		if (r.rdx)
			tries = 0;
		if (r.rax < 0)
			b->error = ++tries > TRIES ? -EBUSY : repair(b, &b->ops[at], (int)r.rax);
	}
	for (unsigned i = 0; i < at; i++)
		b->kept += fh_what_status(b->ops[i].what) == FH_OP_KEPT;
	b->n = 0;
}

/* Can the operation be had by raising the count of the one before? */
static bool joins(const struct fh_op *last, uint64_t what, pte_t entry)
{
	const uint64_t same = 15 | FH_FLUSH_MASK | FH_KEEP | FH_PFN_MASK << 32;
	unsigned op = fh_what_op(what), count = fh_what_count(last->what);
	bool advances = op == FH_OP_SET || claims(op);

	if ((last->what & same) != (what & same) || fh_what_index(last->what) + count != fh_what_index(what))
		return false;
	if (count + fh_what_count(what) > 512)
		return false;
	if (advances && entry & FH_P)
		return entry == last->entry + ((pte_t)count * span(op, entry) << 12);
	return entry == last->entry && !advances;
}

void batch_add(struct batch *b, unsigned op, uint64_t flags, pfn_t table, unsigned index, unsigned count, pte_t entry)
{
	uint64_t what = fh_what(op, flags, table, index, count);

	if (b->error)
		return;
	if (b->n && joins(&b->ops[b->n - 1], what, entry)) {
		b->ops[b->n - 1].what += (uint64_t)count << 8;
		return;
	}
	if (b->n == b->max)
		batch_run(b);
	b->ops[b->n++] = (struct fh_op){what, entry};
}

int batch_end(struct batch *b)
{
	batch_run(b);
	thread_self()->batch_used[b->part] = b->base - parts[b->part].base;
	return b->error;
}
