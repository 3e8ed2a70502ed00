/* 04: PCD and PWT on RAM (402), aliases of device memory (154). */
#include "hostile.h"

void attack(void)
{
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES);
	struct tally t = {0};
	static const uint64_t bits[] = {FH_PWT, FH_PCD, FH_PWT | FH_PCD};

	const pfn_t shown[] = {data, pt1, pt4, info->table_pfn, info->info_pfn, info->cpu_pfn[0], info->clock_pfn, env_self()};
	for (unsigned b = 0; b < 3; b++) {
		for (unsigned i = 0; i < sizeof(shown) / sizeof(*shown); i++)
			want(&t, set(pt1, 9, shown[i] << 12 | RO | bits[b]), -FH_EINVAL, "bits %#lx on type %u", bits[b], type(shown[i]));
		want(&t, set(pt2, 9, big << 12 | RW | FH_PS | bits[b]), -FH_EINVAL, "bits %#lx on a large page", bits[b]);
		want(&t, set(pt2, 9, pt1 << 12 | LINK | bits[b]), -FH_EINVAL, "bits %#lx on a link", bits[b]);
		want(&t, set(pt4, 9, pt4 << 12 | RO | bits[b]), -FH_EINVAL, "bits %#lx on a self-map", bits[b]);
		want(&t, op(FH_OP_CLAIM, 0, pt1, 9, free_frame() << 12 | RW | bits[b], 0), -FH_EINVAL, "a claim with %#lx", bits[b]);
		want(&t, op(FH_OP_LINK_NEW, 0, pt2, 9, free_frame() << 12 | LINK | bits[b], 0), -FH_EINVAL, "a new table with %#lx",
		     bits[b]);
		want(&t, set(pt1, 9, data << 12 | RW), FH_OP_DONE, "a page");
		want(&t, op(FH_OP_PROTECT, 0, pt1, 9, FH_W | FH_NX | bits[b], 0), FH_OP_DONE, "PROTECT with %#lx", bits[b]);
		want(&t, (int64_t)(*window_slot(VA + 9 * FH_PAGE, 1) & (FH_PWT | FH_PCD)), 0, "cache bits after PROTECT");
		clear(pt1, 9);
	}
	none_bad(&t, "RAM is write-back: PCD and PWT are EINVAL in leaves, large pages, links and self-maps, and PROTECT gives none");
	t.bad = 0;
	for (pfn_t f = 0; f < info->nframes; f++)
		for (unsigned b = 0; type(f) == FH_DEVICE && b < 4; b++)
			want(&t, set(pt1, 9, f << 12 | RW | (b ? bits[b - 1] : 0)), -FH_EPERM, "device frame %#lx", f);
	none_bad(&t, "device memory, cached or not, is its owner's: EPERM");
	frame_put(big, FH_LARGE_FRAMES);
}
