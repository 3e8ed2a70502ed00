/* 10: every frame that is not ours - frame 0, low memory, AP code, kernel, modules, ownership table, LAPIC, holes - by every call. */
#include "hostile.h"

static bool readable(unsigned type) { return type == FH_TABLE || type == FH_CPU; }

void attack(void)
{
	struct tally t = {0};
	uint64_t frames = 0;

	for (pfn_t f = 0; f < info->nframes; f++) {
		unsigned k = type(f);
		if (k == FH_FREE || k == FH_BUSY || owner(f) == env_self() || f == env_self())
			continue;
		frames++;
		want(&t, sys_pt_set(fh_what(FH_OP_SET, 0, pt1, 9, 1), f << 12 | RW, 0).rax,
		     k == FH_KERNEL || k == FH_DATA || k == FH_DEVICE ? -FH_EPERM : -FH_EACCES, "frame %#lx of type %u, writable", f, k);
		if (k != FH_KERNEL && f % 16)
			continue; /* the rest for all of the kernel's, and for some of others' */
		int64_t r = sys_pt_set(fh_what(FH_OP_SET, 0, pt1, 9, 1), f << 12 | RO, 0).rax;
		want(&t, r, readable(k) ? (int64_t)FH_OP_DONE : -FH_EPERM, "frame %#lx of type %u, read-only", f, k);
		clear(pt1, 9);
		want(&t, sys_frame_alloc(f, 1, 0, 0), -FH_EBUSY, "frame %#lx of type %u, claimed", f, k);
		want(&t, sys_frame_free(f, 1), -FH_EPERM, "freed: %#lx", f);
		want(&t, sys_frame_retype(f, FH_PT1), -FH_EPERM, "retyped: %#lx", f);
		want(&t, sys_frame_grant(f, env_self_name()), -FH_EPERM, "granted: %#lx", f);
		want(&t, sys_frame_take(f, 1), -FH_EPERM, "taken: %#lx", f);
		want(&t, op(FH_OP_CLAIM, 0, pt1, 9, f << 12 | RW, 0), -FH_EBUSY, "claimed and mapped: %#lx", f);
	}
	none_bad(&t, "%lu frames that aren't ours: none is mapped writable, none but what all may read is mapped at all, claimed, freed, "
	         "retyped, granted or taken", frames);
	t.bad = 0;
	static const pfn_t devices[] = {0xfee00, 0xfec00, 0xfed00, 0xe0000, 0xfffff, FH_PFN_MASK};
	for (unsigned i = 0; i < 6; i++)
		want(&t, set(pt1, 9, devices[i] << 12 | RW), devices[i] < info->nframes ? -FH_EPERM : -FH_EINVAL, "frame %#lx",
		     devices[i]);
	for (pfn_t f = 0; f < info->nframes; f += FH_LARGE_FRAMES) {
		bool all = type(f) == FH_TABLE;
		int64_t r = set(pt2, 9, f << 12 | RW | FH_PS);
		if (r >= 0)
			count_bad(&t, "2 MiB from frame %#lx on, writable", f);
		r = set(pt2, 9, f << 12 | FH_P | FH_U | FH_PS);
		if (r >= 0 && !all)
			count_bad(&t, "2 MiB from frame %#lx on, executable", f);
		if (r >= 0)
			clear(pt2, 9);
	}
	none_bad(&t, "LAPIC, IOAPIC, HPET and holes are no frames to map; no 2 MiB anywhere in the machine");
}
