/* 02: PS where there are no large pages; a large page unaligned, over frames of mixed owner or type, over a live table. */
#include "hostile.h"

static int64_t large(pfn_t f) { return op(FH_OP_SET, 0, pt2, 16, f << 12 | RW | FH_PS, 0); }

void attack(void)
{
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES);
	struct raw *v = victim(64);
	struct tally t = {0};

	want(&t, set(pt4, 16, big << 12 | RW | FH_PS), -FH_EINVAL, "PS in a PT4");
	want(&t, set(pt3, 16, big << 12 | RW | FH_PS), -FH_EINVAL, "PS in a PT3: 1 GiB");
	want(&t, set(pt4, 16, pt3 << 12 | LINK | FH_PS), -FH_EINVAL, "PS in a link of a PT4");
	want(&t, op(FH_OP_CLAIM, 0, pt3, 16, big << 12 | RW | FH_PS, 0), -FH_EINVAL, "a claim with PS in a PT3");
	want(&t, op(FH_OP_LINK_NEW, 0, pt2, 16, big << 12 | LINK | FH_NX | FH_PS, 0), -FH_EINVAL, "a new table with PS");
	for (unsigned i = 1; i < FH_LARGE_FRAMES; i++)
		want(&t, large(big + i), -FH_EINVAL, "%u frames off alignment", i);
	want(&t, large(info->nframes & ~511ul), -FH_EINVAL, "past the table's end");
	none_bad(&t, "large pages are EINVAL but in a PT2, aligned, inside the table");

	t.bad = 0;
	static const unsigned places[] = {0, 1, 255, 511};
	for (unsigned i = 0; i < 4; i++) {
		pfn_t f = big + places[i];
		want(&t, retype(f, FH_PT1), 0, "frame %u becomes a table", places[i]);
		either(&t, large(big), -FH_EBUSY, -FH_EACCES, "over a live table at %u", places[i]);
		want(&t, op(FH_OP_CLAIM, 0, pt2, 16, big << 12 | RW | FH_PS, 0), -FH_EBUSY, "claimed over a table at %u", places[i]);
		retype(f, FH_DATA);
		sys_frame_free(f, 1);
		either(&t, large(big), -FH_EBUSY, places[i] ? -FH_EBUSY : -FH_EACCES, "with a FREE frame at %u", places[i]);
		want(&t, sys_frame_alloc(f, 1, v->env_name, 0), 1, "a child's frame at %u", places[i]);
		either(&t, large(big), -FH_EBUSY, -FH_EPERM, "of two owners, at %u", places[i]);
		want(&t, sys_frame_free(f, 1), 1, "freed");
		want(&t, sys_frame_alloc(f, 1, 0, 0), 1, "ours again");
	}
	for (unsigned i = 0; i < FH_LARGE_FRAMES; i++)
		want(&t, (int64_t)refs(big + i), 0, "references of frame %u", i);
	none_bad(&t, "over a table, a FREE frame or another's: EBUSY, and the references taken so far are given back (148, 167)");

	t.bad = 0;
	want(&t, large(big), FH_OP_DONE, "a good one");
	for (unsigned i = 0; i < FH_LARGE_FRAMES; i++)
		either(&t, sys_frame_retype(big + i, FH_PT1 + i % 6), -FH_EBUSY, -FH_ENOSPC, "frame %u under it is retyped", i);
	none_bad(&t, "what lies under a large page becomes no table: EBUSY, 512 times");
	clear(pt2, 16);
	frame_put(big, FH_LARGE_FRAMES);
	victim_end(v, &t);
}
