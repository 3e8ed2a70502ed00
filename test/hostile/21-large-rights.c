/* 21: rights that only the small-page path asks for. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(700);
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES), table = info->table_pfn, v_pt2 = table_of(v, FH_PT2);
	int64_t executable = info->features & FH_HAS_LARGE_X ? (int64_t)FH_OP_DONE : -FH_EACCES;

	want(&t, set(pt2, 9, table << 12 | RW | FH_PS), -FH_EACCES, "the ownership table, writable");
	want(&t, set(pt2, 9, table << 12 | FH_P | FH_U | FH_PS), -FH_EACCES, "the ownership table, executable");
	want(&t, set(pt2, 9, table << 12 | RO | FH_PS), FH_OP_DONE, "the ownership table, to be read");
	want(&t, op(FH_OP_PROTECT, 0, pt2, 9, FH_W | FH_NX, 0), -FH_EACCES, "PROTECTed to be written");
	want(&t, op(FH_OP_PROTECT, 0, pt2, 9, 0, 0), -FH_EACCES, "PROTECTed to be run");
	want(&t, op(FH_OP_UNMAP_FREE, 0, pt2, 9, 0, 0), FH_OP_KEPT, "unmapped and freed");
	want(&t, type(table) == FH_TABLE && type(table + 511) == FH_TABLE, 1, "the ownership table is there");
	want(&t, set(pt2, 9, big << 12 | FH_P | FH_U | FH_PS), executable, "memory, executable");
	clear(pt2, 9);
	want(&t, op(FH_OP_CLAIM, 0, pt2, 9, big << 12 | RW | FH_PS, 0), -FH_EBUSY, "a claim of what is claimed");
	none_bad(&t, "a large page over the ownership table is to be read, not written, run or freed: EACCES");

	/* What is the parent's, in a child's tree: the child narrows it and unmaps it, and that is all. */
	t.bad = 0;
#define BY(o, e) raw_call(v, FH_SYS_pt_set, fh_what(o, 0, v_pt2, 200, 1), e, 0, 0)
	want(&t, set(v_pt2, 200, big << 12 | RO | FH_PS), FH_OP_DONE, "ours, in a child's tree");
	want(&t, BY(FH_OP_PROTECT, FH_W | FH_NX), -FH_EPERM, "the child makes it writable");
	either(&t, BY(FH_OP_PROTECT, 0), -FH_EPERM, -FH_EACCES, "the child makes it executable");
	want(&t, BY(FH_OP_SET, big << 12 | RO | FH_PS), -FH_EEXIST, "the child sets it anew");
	want(&t, BY(FH_OP_UNMAP_FREE, 0), FH_OP_KEPT, "the child unmaps and frees it");
	want(&t, BY(FH_OP_SET, big << 12 | RO | FH_PS), -FH_EPERM, "the child maps it by itself");
	for (unsigned i = 0; i < FH_LARGE_FRAMES; i++)
		want(&t, (int64_t)state(big + i), (int64_t)(FH_DATA | (uint64_t)env_self() << 32), "state of frame %u", i);
	none_bad(&t, "a child neither widens nor frees its parent's large page: EPERM, and all 512 frames are the parent's");
	frame_put(big, FH_LARGE_FRAMES);
	victim_end(v, &t);
}
