/* 22: tenants and owners in a circle; a grant to oneself, to a dead env, to what is no env. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200), *w = victim(200), *dead = victim(64);
	pfn_t window = table_new(FH_PT1);
	const pfn_t kinds[] = {data, window};
	const uint64_t gone = dead->env_name, gone_pfn = dead->env;

	victim_end(dead, &t);
	for (unsigned i = 0; i < 2; i++) {
		want(&t, sys_frame_grant(kinds[i], env_self_name()), -FH_EINVAL, "to oneself");
		want(&t, sys_frame_grant(kinds[i], gone), -FH_ESRCH, "to a dead env");
		either(&t, sys_frame_grant(kinds[i], gone_pfn), -FH_ESRCH, -FH_EPERM, "to a dead env's frame");
		want(&t, sys_frame_grant(kinds[i], thread_self_name()), -FH_ESRCH, "to a thread");
		want(&t, sys_frame_grant(kinds[i], fh_name(data, 1)), -FH_ESRCH, "to a DATA frame");
		want(&t, sys_frame_grant(kinds[i], fh_name(info->table_pfn, 1)), -FH_ESRCH, "to the ownership table");
		want(&t, sys_frame_grant(kinds[i], ~0ul), -FH_ESRCH, "to -1");
		want(&t, sys_frame_grant(kinds[i], v->env_name + (1ul << FH_PFN_BITS)), -FH_ESRCH, "to the next serial");
		want(&t, sys_frame_grant(kinds[i], fh_name_pfn(STAGE->env)), -FH_EPERM, "to a stranger, without its serial");
		want(&t, (int64_t)frame_record(kinds[i])->tenant, 0, "tenant");
	}
	none_bad(&t, "grants to oneself, to the dead, to threads and frames: EINVAL, ESRCH");

	/* v grants to w, w to v, and each links the other's window; then both die, in the middle of it. */
	t.bad = 0;
	struct raw *pair[] = {v, w};
	pfn_t lent[2];
	for (unsigned i = 0; i < 2; i++) {
		lent[i] = frame_get_typed(&frames_first, pair[i]->env, FH_PT1);
		want(&t, raw_call(pair[i], FH_SYS_frame_grant, lent[i], pair[!i]->env_name, 0, 0), 0, "%u grants", i);
	}
	for (unsigned i = 0; i < 2; i++) {
		want(&t, raw_call(pair[i], FH_SYS_pt_set, fh_what(FH_OP_SET, 0, table_of(pair[i], FH_PT2), 7, 1), lent[!i] << 12 | LINK, 0, 0),
			FH_OP_DONE, "%u links the other's", i);
		want(&t, raw_call(pair[i], FH_SYS_pt_set, fh_what(FH_OP_SET, 0, lent[!i], 0, 1), lent[i] << 12 | RO, 0, 0), -FH_EPERM,
		     "%u shows its table in the other's window", i);
		want(&t, raw_call(pair[i], FH_SYS_frame_grant, lent[!i], pair[i]->env_name, 0, 0), -FH_EPERM,
		     "%u grants what it was granted", i);
		want(&t, raw_call(pair[i], FH_SYS_frame_take, lent[!i], 1, 0, 0), -FH_EPERM, "%u takes a table", i);
	}
	none_bad(&t, "two envs are each other's tenants, and can make no more of it: EPERM");
	t.bad = 0;
	victim_end(v, &t);
	want(&t, vector_of(w, "\x48\xa1\x00\x00\xe0\x00\x00\x00\x00\x00", 10, NULL), 14,
	     "the survivor reads where the dead one's window was");
	victim_end(w, &t);
	none_bad(&t, "one dies, its window is gone, the other lives");
	frame_put_typed(window);
}
