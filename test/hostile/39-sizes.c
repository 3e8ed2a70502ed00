/* 39: 4 KiB to 2 MiB and back without a gap: a CPU with both in its TLB. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES), other = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES),
		  table = table_new(FH_PT1);
	const pte_t leaf = big << 12 | RW | FH_PS, link = table << 12 | LINK;
	struct fh_op *b = batch_here();

	for (unsigned i = 0; i < 50; i++) {
		want(&t, set(pt2, 100, leaf), FH_OP_DONE, "2 MiB");
		want(&t, set(pt2, 100, link), -FH_EEXIST, "a link over 2 MiB");
		want(&t, set(pt2, 100, other << 12 | RW | FH_PS), -FH_EEXIST, "2 MiB over 2 MiB");
		want(&t, set(pt2, 100, leaf), -FH_EEXIST, "the same over itself");
		want(&t, op(FH_OP_LINK_NEW, 0, pt2, 100, free_frame() << 12 | LINK, 0), -FH_EEXIST, "a new table over 2 MiB");
		want(&t, op(FH_OP_UNLINK_FREE, 0, pt2, 100, 0, 0), -FH_EINVAL, "2 MiB unlinked like a table");
		clear(pt2, 100);
		want(&t, set(pt2, 100, link), FH_OP_DONE, "a link");
		want(&t, set(pt2, 100, leaf), -FH_EEXIST, "2 MiB over a link");
		want(&t, op(FH_OP_CLAIM, 0, pt2, 100, leaf, 0), -FH_EEXIST, "2 MiB claimed over a link");
		want(&t, op(FH_OP_UNMAP_FREE, 0, pt2, 100, 0, 0), -FH_EINVAL, "a link unmapped like a page");
		want(&t, op(FH_OP_PROTECT, 0, pt2, 100, FH_PS | FH_W, 0), FH_OP_DONE, "PROTECT with PS");
		want(&t, (int64_t)(*window_slot(VA + 100 * PLAN_LARGE, 2) & FH_PS), 0, "PS after PROTECT");
		b[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt2, 100, 1), leaf};
		want(&t, update(b, 1), -FH_EEXIST, "by a batch");
		clear(pt2, 100);
	}
	none_bad(&t, "2 MiB goes only into an empty slot, and nothing over it: EEXIST");

	/* The gap is there, the flush is not: all that a stale translation reaches is still ours. */
	struct tally bytes = {0};
	t.bad = 0;
	writer_begin();
	for (unsigned i = 0; i < (info->ncpus > 1 ? 30u : 6u); i++) {
		set(pt2, 100, leaf);
		if (!writer_go(VA + 100 * PLAN_LARGE))
			panic("round %u: nobody writes", i);
		op(FH_OP_CLEAR, 0, pt2, 100, 0, 0);
		op(FH_OP_SET, 0, table, 0, data << 12 | RO, 0);
		op(FH_OP_SET, 0, pt2, 100, link, 0);
		int64_t r = retype(big, FH_PT1); /* waits for who still has the large page */
		const uint64_t *words = scratch_map(big, 1, RIGHT_R);
		for (unsigned k = 0; k < 20000; k++)
			if (words[k % 512])
				count_bad(&bytes, "round %u: word %u of a table is %#lx", i, k % 512, words[k % 512]);
		want(&t, r, 0, "round %u: a frame of the large page becomes a table", i);
		if (!writer_ends(60000))
			count_bad(&t, "round %u: the writer goes on", i);
		scratch_put((va_t)words, 1);
		retype(big, FH_DATA);
		clear(pt2, 100), clear(table, 0);
	}
	writer_end();
	none_bad(&bytes,
	         "a large page in use is replaced by small ones without a flush; its frames become tables: not a byte arrives there");
	none_bad(&t, "each time the writer ended by a fault, at the read-only page");
	frame_put_typed(table);
	frame_put(big, FH_LARGE_FRAMES), frame_put(other, FH_LARGE_FRAMES);
}
