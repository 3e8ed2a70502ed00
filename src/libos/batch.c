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

/* Take half of what is left of this depth's part. */
static void open_ops(struct batch *b)
{
	struct thread *t = thread_self();
	unsigned p = part(), used = t->batch_used[p];

	b->max = (parts[p].max - used + 1) / 2;
	if (b->max == 0)
		panic("batches nest too deep");
	b->part = p;
	b->base = parts[p].base + used;
	b->ops = t->batch + b->base;
	b->n = 0;
	t->batch_used[p] = used + b->max;
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

/* What a refusal takes from TRIES: a frozen env waits for its thaw; but the one that is frozen may be a child. */
static unsigned cost(int error) { return error == -ECANCELED ? TRIES / 100 : error != -EAGAIN; }

int pt_again(struct frames *f, uint64_t what, pte_t *entry, va_t va, int error)
{
	bool claim = claims(fh_what_op(what));

	for (unsigned tries = 0; tries < TRIES; tries += cost(error)) {
		if (error == -EAGAIN || error == -ECANCELED) /* frozen while we still run: what comes next is the thaw */
			wait_quiet();
		else if (error != -EBUSY || !claim)
			return error;
		if (claim && !another(f, fh_what_op(what), 1, entry))
			return -ENOMEM;
		error = (int)sys_pt_set(what, *entry, va).rax;
		if (error >= 0)
			return error;
	}
	return error == -ECANCELED ? error : -EBUSY;
}

/* The operation at `op` was refused with `error`. Change it so that it can be tried again: 0, or the error. */
static int repair(struct batch *b, struct fh_op *op, int error)
{
	unsigned code = fh_what_op(op->what), count = fh_what_count(op->what), index = fh_what_index(op->what);

	if (error == -EAGAIN || error == -ECANCELED)
		wait_quiet();
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

/* Carry out what is in the frame. */
static void batch_run(struct batch *b)
{
	unsigned at = 0, tries = 0;

	while (at < b->n && !b->error) {
		struct sys_result r = sys_pt_update((b->base + at) * sizeof(struct fh_op), b->n - at);
		at += (unsigned)r.rdx;
		if (r.rdx)
			tries = 0;
		if (r.rax < 0) {
			tries += cost((int)r.rax);
			b->error = tries <= TRIES ? repair(b, &b->ops[at], (int)r.rax) : r.rax == -ECANCELED ? -ECANCELED : -EBUSY;
		}
	}
	b->n = 0;
}

/* Can the operation be had by raising the count of the newest one? */
static bool joins(const struct batch *b, uint64_t what, pte_t entry)
{
	const uint64_t same = 15 | FH_FLUSH_MASK | FH_KEEP | FH_PFN_MASK << 32;
	unsigned op = fh_what_op(what), count = fh_what_count(b->what);
	bool advances = op == FH_OP_SET || claims(op);

	if ((b->what & same) != (what & same) || fh_what_index(b->what) + count != fh_what_index(what))
		return false;
	if (count + fh_what_count(what) > 512)
		return false;
	if (advances && entry & FH_P)
		return entry == b->entry + ((pte_t)count * span(op, entry) << 12);
	return entry == b->entry && (!advances || !(b->entry & FH_P));
}

/* The newest operation goes to the frame. */
static void put(struct batch *b)
{
	if (!b->ops)
		open_ops(b);
	if (b->n == b->max)
		batch_run(b);
	b->ops[b->n++] = (struct fh_op){b->what, b->entry};
}

void batch_join(struct batch *b, uint64_t what, pte_t entry)
{
	if (b->error)
		return;
	if (joins(b, what, entry)) {
		b->what += (uint64_t)fh_what_count(what) << 8;
		return;
	}
	put(b);
	b->what = what;
	b->entry = entry;
}

int batch_end(struct batch *b)
{
	uint64_t what = b->what;

	if (what && !b->ops && fh_what_count(what) == 1 && !b->error) {
		int r = (int)sys_pt_set(what, b->entry, b->va).rax;
		r = r >= 0 ? r : pt_again(b->frames, what, &b->entry, b->va, r);
		return r < 0 ? r : 0;
	}
	if (what && !b->error)
		put(b);
	if (b->ops) {
		batch_run(b);
		thread_self()->batch_used[b->part] = b->base - parts[b->part].base;
	}
	return b->error;
}
