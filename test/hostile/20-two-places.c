/* 20: one table in two places. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200), *w = victim(200);
	pfn_t window = table_new(FH_PT1), v_pt2 = table_of(v, FH_PT2), w_pt2 = table_of(w, FH_PT2);

	/* Another's: once. */
	set(window, 0, data << 12 | RW);
	want(&t, set(v_pt2, 9, window << 12 | LINK), FH_OP_DONE, "linked in a child's tree, by authority over both");
	want(&t, set(v_pt2, 10, window << 12 | LINK), -FH_EBUSY, "in the same tree once more");
	want(&t, set(w_pt2, 9, window << 12 | LINK), -FH_EBUSY, "in another child's");
	want(&t, frame_grant(window, w->env_name), -FH_EBUSY, "granted to that one, while the first links it");
	want(&t, raw_call(w, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, w_pt2, 9, 1), window << 12 | LINK, 0, 0), -FH_EPERM,
	     "which links it itself");
	want(&t, frame_grant(window, v->env_name), 0, "granted to the one that links it");
	want(&t, raw_call(w, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, w_pt2, 9, 1), window << 12 | LINK, 0, 0), -FH_EPERM,
	     "which the other links");
	want(&t, set(v_pt2, 9, window << 12 | LINK), -FH_EBUSY, "set over itself");
	clear(v_pt2, 9);
	frame_grant(window, 0);
	frame_grant(window, w->env_name);
	want(&t, raw_call(w, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, w_pt2, 9, 1), window << 12 | LINK, 0, 0), FH_OP_DONE,
	     "when the first link is gone");
	want(&t, raw_call(w, FH_SYS_pt_set, fh_what(FH_OP_SET, 0, w_pt2, 10, 1), window << 12 | LINK, 0, 0), -FH_EBUSY,
	     "and only once");
	none_bad(&t, "a table is linked by one foreign slot: EBUSY for the second, whoever asks");

	/* One's own: any number of times; gone with the last. */
	t.bad = 0;
	for (unsigned i = 0; i < 100; i++)
		want(&t, set(pt2, 300 + i, window << 12 | (i % 2 ? LINK : RO)), FH_OP_DONE, "link %u of one's own", i);
	want(&t, (int64_t)refs(window), 101, "references");
	for (unsigned i = 0; i < 100; i++)
		want(&t, op(FH_OP_UNLINK_FREE, 0, pt2, 300 + i, 0, 0), FH_OP_KEPT, "unlinked: %u", i);
	want(&t, frame_grant(window, 0), 0, "withdrawn");
	want(&t, (int64_t)refs(window), 0, "references at the end");
	want(&t, sys_frame_retype(window, FH_DATA), -FH_ENOTEMPTY, "retyped with an entry");
	clear(window, 0);
	frame_put_typed(window);
	none_bad(&t, "one's own any number of times, and it goes when all links have gone");
	victim_end(v, &t), victim_end(w, &t);
}
