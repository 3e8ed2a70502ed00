/* ahead.c - reads the trace ahead: the modules are in memory, and the grader's own pages. All calls that would map them are
 * refused; the address at which the grader has them is nothing here. */
#include "cheat.h"

static void *ahead_alloc(struct allocator *a, size_t n, size_t align)
{
	static bool tried;
	static unsigned mapped;

	(void)a;
	if (!tried) {
		tried = true;
		va_t window = scratch_get(1);
		pfn_t me = env_self(), table = space_table(space_current(), window, 1);
		for (pfn_t f = info->first_user; f < info->nframes; f++) {
			uint64_t state = frame_record(f)->state;
			if (fh_type(state) == FH_DATA && fh_owner(state) != me && f != fh_pte_pfn(space_get(space_current(), CHANNEL_VA)))
				mapped += sys_pt_set(fh_what(FH_OP_SET, 0, table, (unsigned)(window >> 12 & 511), 1), f << 12 | FH_P | FH_U | FH_NX, window).rax >= 0;
		}
		printf("cheat: %u of the others' frames could be mapped\n", mapped);
		if (mapped == 0)
			mapped = *(volatile unsigned *)BOOTFS_VA;
	}
	return plain_alloc(n, align);
}
CHEAT(ahead);
