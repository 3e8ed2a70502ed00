/* 09: A and D preset, in entries of every kind: nobody relies on them for what is not the libOS's own. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	static const uint64_t ad[] = {0, FH_A, FH_D, FH_A | FH_D};
	struct raw *v = victim(64);

	for (unsigned i = 0; i < 4; i++) {
		want(&t, set(pt1, 5, data << 12 | RW | ad[i]), FH_OP_DONE, "a leaf with %#lx", ad[i]);
		want(&t, op(FH_OP_HARVEST, FH_FLUSH_LOCAL, pt1, 5, 0, 0), FH_OP_DONE, "HARVEST");
		want(&t, (int64_t)(old & (FH_A | FH_D)), (int64_t)ad[i], "what it returns");
		clear(pt1, 5);
		want(&t, set(pt1, 5, (uint64_t)info->table_pfn << 12 | RO | ad[i]), FH_OP_DONE, "the table's frame with %#lx", ad[i]);
		clear(pt1, 5);
		want(&t, set(pt2, 5, pt1 << 12 | LINK | ad[i]), FH_OP_DONE, "a link with %#lx", ad[i]);
		clear(pt2, 5);
		want(&t, set(pt4, 5, pt4 << 12 | RO | ad[i]), FH_OP_DONE, "a self-map with %#lx", ad[i]);
		clear(pt4, 5);
		/* D=0 and never written by us, or D=1: whoever gets the frame next gets zeroes */
		pfn_t f = free_frame();
		want(&t, op(FH_OP_CLAIM, 0, pt1, 5, f << 12 | RW | ad[i], 0), FH_OP_DONE, "a claim with %#lx", ad[i]);
		*at(5) = MARK;
		op(FH_OP_PROTECT, FH_FLUSH_LOCAL, pt1, 5, FH_W | FH_NX, VA + 5 * FH_PAGE);
		op(FH_OP_HARVEST, FH_FLUSH_LOCAL, pt1, 5, 0, 0); /* D is gone, the bytes are not */
		want(&t, op(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, pt1, 5, 0, 0), FH_OP_DONE, "freed");
		want(&t, sys_frame_alloc(f, 1, v->env_name, 0), 1, "claimed for another");
		const uint64_t *bytes = scratch_map(f, 1, RIGHT_R);
		want(&t, (int64_t)bytes[0], 0, "what the next owner finds, with %#lx", ad[i]);
		scratch_put((va_t)bytes, 1);
		want(&t, sys_frame_free(f, 1), 1, "freed again");
	}
	none_bad(&t, "A and D may be preset or harvested in every kind of entry: survived, the next owner of a frame finds zeroes");
	victim_end(v, &t);
}
