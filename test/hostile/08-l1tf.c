/* 08: non-present words that name frames: a CPU with L1TF loads through them (273). Every frame there is, at every level. */
#include "hostile.h"

void attack(void)
{
	static const unsigned ops[] = {FH_OP_SET, FH_OP_CLEAR, FH_OP_UNMAP_FREE, FH_OP_UNLINK_FREE};
	const pfn_t tables[] = {pt1, pt2, pt3, pt4};
	static const uint64_t flags[] = {0, FH_W | FH_U, FH_PS, 0xfff0000000000f7e, FH_NX};
	struct tally t = {0};
	uint64_t tried = 0;

	for (pfn_t f = 1; f < info->nframes; f++, tried++)
		want(&t, sys_pt_set(fh_what(FH_OP_SET, 0, pt1, 60, 1), f << 12, 0).rax, -FH_EINVAL, "frame %#lx", f);
	for (pfn_t f = 1; f < info->nframes; f += 61)
		for (unsigned level = 0; level < 4; level++)
			for (unsigned o = 0; o < 4; o++)
				for (unsigned i = 0; i < 5; i++, tried++)
					want(&t, sys_pt_set(fh_what(ops[o], 0, tables[level], 60, 1), f << 12 | flags[i], 0).rax, -FH_EINVAL,
					     "frame %#lx, operation %u, level %u, flags %#lx", f, ops[o], level + 1, flags[i]);
	none_bad(&t, "%lu non-present words that name a frame are EINVAL, by every operation that stores one", tried);
	t.bad = 0;
	for (pfn_t f = info->nframes; f % FH_LARGE_FRAMES; f++) { /* past the table's end, but in the last large page of it */
		want(&t, set(pt2, 60, f << 12 | FH_PS), -FH_EINVAL, "PS with frame %#lx at level 2", f);
		want(&t, set(pt3, 60, f << 12 | FH_PS), -FH_EINVAL, "PS with frame %#lx at level 3", f);
	}
	for (unsigned level = 2; level <= 3; level++)
		want(&t, set(tables[level - 1], 60, FH_PS), -FH_EINVAL, "PS with address 0 at level %u: a large page of frames", level);
	for (unsigned shift = 0; shift < 27; shift++) {
		pfn_t f = info->nframes + (1ul << shift) - 1;
		if (f > FH_PFN_MASK)
			break;
		want(&t, set(pt1, 60, f << 12), FH_OP_DONE, "frame %#lx, which isn't", f);
		want(&t, set(pt1, 60, 0), FH_OP_DONE, "cleared");
	}
	none_bad(&t, "a large page's word counts for all its frames; what names no frame is the libOS's own");
	want(&t, set(pt1, 60, data << 12 | RW), FH_OP_DONE, "a page");
	want(&t, op(FH_OP_CLEAR, FH_FLUSH_LOCAL, pt1, 60, data << 12, 0), -FH_EINVAL, "cleared, but for its address");
	ok(t.bad == 0 && (*window_slot(VA + 60 * FH_PAGE, 1) & FH_P), "an entry is not made non-present by its P bit alone: EINVAL");
	clear(pt1, 60);
}
