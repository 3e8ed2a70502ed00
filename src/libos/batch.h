/*
 * batch.h - page-table operations, many to a crossing.
 *
 * A thread has one batch frame, which main code and nested upcall handlers share. It is partitioned by upcall depth: a
 * fault in the middle of building a batch uses other slots, and nobody notices.
 *
 *   depth 0   operations 0-127, bytes 0-2047
 *   depth 1   operations 128-191
 *   deeper    operations 192-255; there at most one level at a time builds batches (a handler of a handler)
 *
 * Batches of one depth may nest (a function called while a batch is being built may build its own): each takes half of
 * what is left. So every batch_begin needs its batch_end, on error paths too.
 *
 * The newest operation waits in struct batch: the next one may join it. If it stays the only one, and is about one slot,
 * it goes by registers and never sees the batch frame.
 */
#pragma once

#include "frames.h"
#include "syscall.h"

/* A batch under construction. Lives on the stack; operations go to the thread's batch frame. */
struct batch {
	struct frames *frames; /* where CLAIM and LINK_NEW find another frame when a race is lost */
	uint64_t what;         /* the newest operation; 0: none yet */
	pte_t entry;
	va_t va;               /* set after batch_begin if one page is all it is about: then only that is flushed */
	struct fh_op *ops;     /* the ones before it, in the batch frame; NULL: none so far */
	unsigned n, max, base; /* added, room, index of ops[0] in the frame */
	unsigned part;         /* of the batch frame: depth 0, 1, deeper */
	int error;             /* the first error; later additions do nothing */
};

/* Unused part of the batch frame, for arguments of one call: bytes [offset, offset + size) at the returned address. */
void *batch_area(uint64_t *offset, uint64_t *size);

static inline void batch_begin(struct batch *b, struct frames *frames)
{
	b->frames = frames;
	b->what = b->va = 0;
	b->ops = NULL;
	b->error = 0;
}
/* Add an operation; joins it to the last one where that only grows its count; runs the batch when it is full.
 * Only for operations whose old entry is not wanted. */
void batch_join(struct batch *, uint64_t what, pte_t entry);
static inline void batch_add(struct batch *b, unsigned op, uint64_t flags, pfn_t table, unsigned index, unsigned count,
                             pte_t entry)
{
	uint64_t what = fh_what(op, flags, table, index, count);

	if (b->what) {
		batch_join(b, what, entry);
		return;
	}
	b->what = what;
	b->entry = entry;
}
/* Run what was added. 0 or the first -errno; -ENOMEM: no FREE frame is left. */
int batch_end(struct batch *);

/* sys_pt_set(what, *entry, va) was refused with `error`: try again as long as that may help. */
int pt_again(struct frames *, uint64_t what, pte_t *entry, va_t va, int error);
/* One operation by registers, claims retried with other frames: FH_OP_DONE, FH_OP_KEPT or -errno.
 * *entry becomes the entry as written (CLAIM, LINK_NEW: with the frame that was won). */
static inline int pt_one(struct frames *f, unsigned op, uint64_t flags, pfn_t table, unsigned index, pte_t *entry, va_t va)
{
	uint64_t what = fh_what(op, flags, table, index, 1);
	int r = (int)sys_pt_set(what, *entry, va).rax;

	return r >= 0 ? r : pt_again(f, what, entry, va, r);
}
