/* 17: "only flags changed" (148, 182): rights widened in place, by SET of the same frame, PROTECT and NARROW. */
#include "hostile.h"

static int64_t by(struct raw *v, unsigned o, pfn_t table, unsigned index, pte_t e)
{
	return raw_call(v, FH_SYS_pt_set, fh_what(o, 0, table, index, 1), e, 0, 0);
}

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200);
	pfn_t v_pt1 = table_of(v, FH_PT1), v_pt2 = table_of(v, FH_PT2), big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES),
		  own = table_new(FH_PT1);

	/* The child has frames of its parent's in its own table, read-only: put there by the parent. */
	set(v_pt1, 300, data << 12 | RO);
	set(v_pt2, 300, big << 12 | RO | FH_PS);
	set(v_pt2, 301, own << 12 | RO);
	static const uint64_t wider[] = {FH_W | FH_NX, FH_W, 0};
	for (unsigned i = 0; i < 3; i++) {
		want(&t, by(v, FH_OP_PROTECT, v_pt1, 300, wider[i]), -FH_EPERM, "the parent's page, PROTECT %#lx", wider[i]);
		either(&t, by(v, FH_OP_PROTECT, v_pt2, 300, wider[i]), -FH_EPERM, -FH_EACCES, "the parent's large page, PROTECT %#lx",
		       wider[i]);
		want(&t, by(v, FH_OP_PROTECT, v_pt2, 301, wider[i]), -FH_EPERM, "the parent's table, PROTECT %#lx", wider[i]);
		want(&t, by(v, FH_OP_SET, v_pt1, 300, data << 12 | FH_P | FH_U | wider[i]), -FH_EPERM, "the parent's page, SET %#lx",
		     wider[i]);
		want(&t, by(v, FH_OP_SET, v_pt2, 301, own << 12 | FH_P | FH_U | wider[i]), -FH_EPERM, "the parent's table, SET %#lx",
		     wider[i]);
		want(&t, by(v, FH_OP_NARROW, v_pt1, 300, wider[i]), FH_OP_DONE, "NARROW with %#lx", wider[i]);
	}
	want(&t, by(v, FH_OP_SET, v_pt1, 300, data << 12 | RO), -FH_EPERM, "the parent's page, SET as it is");
	want(&t, by(v, FH_OP_PROTECT, v_pt1, 300, FH_NX | 1ul << 52), FH_OP_DONE, "PROTECT that adds nothing");
	none_bad(&t, "a child widens nothing that its parent has put there, by PROTECT, SET or NARROW: EPERM");

	/* The same entries, while a right goes to and fro: a flag-only path that keeps what it looked at too long. */
	t.bad = 0;
	set(pt1, 9, (uint64_t)info->table_pfn << 12 | RO);
	for (unsigned i = 0; i < 2000; i++) {
		want(&t, op(FH_OP_SET, 0, pt1, 9, data << 12 | RW, 0), FH_OP_DONE, "a page");
		want(&t, op(FH_OP_PROTECT, 0, pt1, 9, FH_NX, 0), FH_OP_DONE, "read-only");
		want(&t, op(FH_OP_SET, 0, pt1, 9, (uint64_t)info->table_pfn << 12 | RO, 0), FH_OP_DONE,
		     "the ownership table in its place");
		want(&t, op(FH_OP_PROTECT, 0, pt1, 9, FH_W | FH_NX, 0), -FH_EACCES, "writable");
		want(&t, sys_pt_set(fh_what(FH_OP_SET, 0, pt1, 9, 1), (uint64_t)info->table_pfn << 12 | RW, 0).rax, -FH_EACCES,
		     "set writable");
	}
	clear(pt1, 9);
	none_bad(&t, "the frame that stands there now decides, 2000 times: EACCES");
	clear(v_pt1, 300), clear(v_pt2, 300), clear(v_pt2, 301);
	frame_put_typed(own);
	frame_put(big, FH_LARGE_FRAMES);
	victim_end(v, &t);
}
