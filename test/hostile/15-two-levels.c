/* 15: one frame at two levels: every type linked in every table. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	pfn_t made[FH_PT4 + 1];
	const pfn_t parent[] = {[2] = pt2, [3] = pt3, [4] = pt4};

	for (unsigned k = FH_PT1; k <= FH_PT4; k++)
		made[k] = table_new(k);
	for (unsigned level = 2; level <= 4; level++) {
		for (unsigned k = FH_PT1; k <= FH_PT4; k++) {
			int64_t r = set(parent[level], 444, made[k] << 12 | LINK);
			bool fits = k - FH_PT1 + 2 == level;
			want(&t, r, fits ? (int64_t)FH_OP_DONE : -FH_EBUSY, "type %u in a table of level %u", k, level);
			if (r < 0)
				continue;
			for (unsigned other = 2; other <= 4; other++) /* it has its place now */
				if (other != level)
					want(&t, set(parent[other], 445, made[k] << 12 | LINK), -FH_EBUSY, "type %u also at level %u", k, other);
			for (unsigned to = FH_DATA; to <= FH_THREAD; to++)
				want(&t, sys_frame_retype(made[k], to), -FH_EBUSY, "type %u, linked, becomes %u", k, to);
			clear(parent[level], 444);
		}
		want(&t, set(parent[level], 444, data << 12 | LINK), -FH_EBUSY, "DATA at level %u", level);
		want(&t, set(parent[level], 444, (uint64_t)env_self() << 12 | LINK), -FH_EBUSY, "an ENV at level %u", level);
		want(&t, set(parent[level], 444, (uint64_t)info->table_pfn << 12 | LINK), -FH_EBUSY, "the ownership table at level %u",
		     level);
		want(&t, set(parent[level], 444, (uint64_t)info->cpu_pfn[0] << 12 | LINK), -FH_EBUSY, "a CPU frame at level %u", level);
	}
	none_bad(&t, "a table has one level: EBUSY at every other, and no new type while it is linked");
	for (unsigned k = FH_PT1; k <= FH_PT4; k++)
		frame_put_typed(made[k]);
}
