/* 05: G from user code: a translation that a CR3 reload would keep. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES);
	const struct {
		pfn_t table;
		pte_t e;
	} good[] = {{pt1, data << 12 | RW}, {pt1, data << 12 | RO}, {pt2, pt1 << 12 | LINK}, {pt2, big << 12 | RW | FH_PS},
	            {pt3, pt2 << 12 | LINK}, {pt4, pt3 << 12 | LINK}, {pt4, pt4 << 12 | RO}};

	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++)
		want(&t, set(good[i].table, 33, good[i].e | FH_G), -FH_EINVAL, "entry %u with G", i);
	want(&t, op(FH_OP_CLAIM, 0, pt1, 33, free_frame() << 12 | RW | FH_G, 0), -FH_EINVAL, "a claim with G");
	want(&t, op(FH_OP_LINK_NEW, 0, pt2, 33, free_frame() << 12 | LINK | FH_G, 0), -FH_EINVAL, "a new table with G");
	want(&t, set(pt1, 33, data << 12 | RW), FH_OP_DONE, "a page");
	for (unsigned o = FH_OP_NARROW; o <= FH_OP_HARVEST; o++) {
		if (o == FH_OP_CLEAR)
			continue;
		want(&t, op(o, 0, pt1, 33, FH_G | FH_W | FH_NX, 0), FH_OP_DONE, "operation %u with G", o);
		want(&t, (int64_t)(*window_slot(VA + 33 * FH_PAGE, 1) & FH_G), 0, "G after operation %u", o);
	}
	clear(pt1, 33);
	none_bad(&t, "G is EINVAL in every kind of entry, and no operation gives it");
	frame_put(big, FH_LARGE_FRAMES);
}
