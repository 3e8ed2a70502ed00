/* 12: frames that are FREE, or have just become so. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(64);
	uint64_t n = 0;

	for (pfn_t f = 0; f < info->nframes; f++) {
		if (type(f) != FH_FREE)
			continue;
		int64_t r = sys_pt_set(fh_what(FH_OP_SET, 0, pt1, 9, 1), f << 12 | (n % 2 ? RW : RO), 0).rax;
		if (r != -FH_EPERM && (type(f) == FH_FREE || r >= 0)) /* the canary may have it meanwhile */
			count_bad(&t, "frame %#lx: %ld", f, r);
		if (n++ % 8)
			continue;
		r = sys_frame_free(f, 1);
		if (r != -FH_EPERM)
			count_bad(&t, "frame %#lx freed: %ld", f, r);
		want(&t, sys_frame_retype(f, FH_PT1), -FH_EPERM, "frame %#lx retyped", f);
		want(&t, sys_frame_grant(f, v->env_name), -FH_EPERM, "frame %#lx granted", f);
		want(&t, sys_frame_take(f, 1), -FH_EPERM, "frame %#lx taken", f);
		want(&t, set(pt2, 9, f << 12 | LINK), -FH_EBUSY, "frame %#lx linked", f);
	}
	none_bad(&t, "%lu FREE frames: not mapped, linked, freed, retyped, granted or taken", n);
	t.bad = 0;
	for (unsigned i = 0; i < 200; i++) { /* freed this moment, its translation perhaps still there */
		pfn_t f = data_new(1, 1);
		set(pt1, 9, f << 12 | RW);
		*at(9) = MARK;
		want(&t, op(FH_OP_UNMAP_FREE, 0, pt1, 9, 0, 0), FH_OP_DONE, "unmapped without a flush");
		want(&t, set(pt1, 10, f << 12 | RW), -FH_EPERM, "mapped again, without a claim");
		int64_t r;
		while ((r = sys_frame_alloc(f, 1, v->env_name, 0)) == -FH_EAGAIN)
			thread_sleep(1);
		if (want(&t, r, 1, "claimed for a child")) {
			touch_begin();
			want(&t, writes(at(9)), 0, "try %u: we still write to it", i);
			touch_end();
			sys_frame_free(f, 1);
		}
	}
	none_bad(&t, "200 frames freed without a flush: not ours any more, and once another has them our old address faults");
	victim_end(v, &t);
}
