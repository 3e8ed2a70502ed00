/* 19: contents that are there before the frame becomes a table, an ENV or a THREAD. */
#include "hostile.h"

static pte_t forged(unsigned i)
{
	const pfn_t wanted[] = {STAGE->page[0], 0x100, info->table_pfn, STAGE->root};

	return wanted[i % 4] << 12 | LINK;
}

void attack(void)
{
	struct tally t = {0};

	for (unsigned k = FH_PT1; k <= FH_THREAD; k++) {
		for (unsigned way = 0; way < 2; way++) {
			pfn_t f = data_new(1, 1);
			set(pt1, 9, f << 12 | RW);
			for (unsigned i = 0; i < 512; i++)
				at(9)[i] = forged(i);
			clear(pt1, 9);
			if (way && k <= FH_PT3) { /* by way of FREE, and as a new table; an env's own last frame */
				pfn_t parent = (pfn_t[]){pt2, pt3, pt4}[k - FH_PT1];
				sys_frame_free(f, 1);
				want(&t, op(FH_OP_LINK_NEW, FH_KEEP, parent, 444, f << 12 | LINK, 0), FH_OP_DONE, "a new table of type %u", k);
			} else
				want(&t, retype(f, k), 0, "type %u", k);
			const uint64_t *words = scratch_map(f, 1, RIGHT_R);
			for (unsigned i = 0; i < 512; i++)
				for (unsigned j = 0; j < 4; j++)
					if (words[i] == forged(j))
						count_bad(&t, "type %u, word %u is what was forged", k, i);
			scratch_put((va_t)words, 1);
			want(&t, (int64_t)fh_count(frame_record(f)->link), 0, "entries counted in type %u", k);
			if (way && k <= FH_PT3)
				want(&t, op(FH_OP_UNLINK_FREE, FH_FLUSH_LOCAL, (pfn_t[]){pt2, pt3, pt4}[k - FH_PT1], 444, 0, 0), FH_OP_DONE,
				     "unlinked");
			else
				frame_put_typed(f);
		}
	}
	none_bad(&t, "forged entries and registers don't survive retyping or LINK_NEW, KEEP or not: six types");
}
