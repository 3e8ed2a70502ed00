/* 03: bit 7 is PAT at level 1 and PS above; bit 12 of a large page is PAT. */
#include "hostile.h"

void attack(void)
{
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES);
	struct tally t = {0};

	const pfn_t shown[] = {data, pt1, pt4, info->table_pfn, info->cpu_pfn[0], info->clock_pfn, env_self()};
	for (unsigned i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		want(&t, set(pt1, 9, shown[i] << 12 | RO | FH_PAT), -FH_EINVAL, "PAT on a frame of type %u", type(shown[i]));
	want(&t, op(FH_OP_CLAIM, 0, pt1, 9, free_frame() << 12 | RW | FH_PAT, 0), -FH_EINVAL, "a claim with PAT");
	want(&t, set(pt2, 9, pt1 << 12 | LINK | FH_PS), pt1 % 512 ? -FH_EINVAL : -FH_EACCES, "a table linked with PS");
	want(&t, set(pt2, 9, big << 12 | 1ul << 12 | RW | FH_PS), -FH_EINVAL, "bit 12 of a large page");
	want(&t, set(pt2, 9, big << 12 | RW), -FH_EBUSY, "without PS it is a link, and no table stands there");
	none_bad(&t, "PAT is EINVAL on RAM at both levels; PS makes no leaf of a table, its lack no table of DATA");
	t.bad = 0;
	want(&t, set(pt2, 9, big << 12 | RW | FH_PS), FH_OP_DONE, "a large page");
	want(&t, op(FH_OP_PROTECT, FH_FLUSH_LOCAL, pt2, 9, FH_NX | FH_PS | FH_PAT << 1, 0), FH_OP_DONE, "PROTECT with other bits");
	want(&t, (int64_t)*window_slot(VA + 9 * PLAN_LARGE, 2), (int64_t)(big << 12 | RO | FH_PS), "keeps PS, gives no G");
	want(&t, op(FH_OP_PROTECT, 0, pt1, 9, FH_PAT | FH_W, 0), -FH_ENOENT, "nothing there");
	none_bad(&t, "PROTECT changes neither PS nor PAT");
	clear(pt2, 9);
	frame_put(big, FH_LARGE_FRAMES);
}
