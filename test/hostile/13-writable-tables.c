/* 13: a table, ENV or THREAD mapped writable: by a small page, a large one, a second alias, another address space. */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(200);
	pfn_t v_pt1 = table_of(v, FH_PT1), big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES);
	const pfn_t mine[] = {pt1, pt2, pt3, pt4, env_self(), fh_name_pfn(thread_self_name()), v_pt1, v->root, v->env, v->thread};

	for (unsigned i = 0; i < sizeof(mine) / sizeof(*mine); i++) {
		pfn_t f = mine[i];
		want(&t, set(pt1, 9, f << 12 | RW), -FH_EACCES, "type %u writable in our table", type(f));
		either(&t, set(v_pt1, 300, f << 12 | RW), -FH_EACCES, -FH_EPERM, "type %u writable in a child's table", type(f));
		want(&t, set(pt1, 9, f << 12 | RO), FH_OP_DONE, "type %u read-only", type(f));
		want(&t, set(pt2, 200, pt1 << 12 | LINK), FH_OP_DONE, "a second, writable link above it");
		want(&t, op(FH_OP_PROTECT, 0, pt1, 9, FH_W | FH_NX, 0), -FH_EACCES, "type %u PROTECTed", type(f));
		want(&t, op(FH_OP_NARROW, 0, pt1, 9, FH_W | FH_NX, 0), FH_OP_DONE, "type %u NARROWed, with W", type(f));
		want(&t, set(pt1, 9, f << 12 | RW), -FH_EACCES, "type %u replaced by its writable self", type(f));
		touch_begin();
		want(&t, writes(at(9)) || writes((char *)VA + 200 * PLAN_LARGE + 9 * FH_PAGE), 0, "type %u written", type(f));
		touch_end();
		clear(pt2, 200);
		clear(pt1, 9);
	}
	none_bad(&t, "tables, ENVs, THREADs: writable in nobody's table, by no second alias; EACCES, and a write faults");
	t.bad = 0;
	for (unsigned k = FH_PT1; k <= FH_THREAD; k++) { /* first the mapping, then the type */
		want(&t, set(pt1, 9, data << 12 | RW), FH_OP_DONE, "a page");
		want(&t, sys_frame_retype(data, k), -FH_EBUSY, "a page mapped here becomes type %u", k);
		clear(pt1, 9);
		want(&t, set(v_pt1, 300, data << 12 | RW), FH_OP_DONE, "a page in a child's table");
		want(&t, sys_frame_retype(data, k), -FH_EBUSY, "a page mapped by a child becomes type %u", k);
		clear(v_pt1, 300);
		want(&t, set(pt2, 100, big << 12 | RW | FH_PS), FH_OP_DONE, "a large page");
		for (unsigned i = 0; i < FH_LARGE_FRAMES; i += 73)
			want(&t, sys_frame_retype(big + i, k), -FH_EBUSY, "frame %u of a large page becomes type %u", i, k);
		clear(pt2, 100);
	}
	none_bad(&t, "what is mapped writable, large or small, here or by a child, becomes none of them: EBUSY");
	t.bad = 0;
	pfn_t batch = frame_at(batch_here()), upcall = frame_at((void *)(va_t)thread_self()->upcall);
	for (unsigned k = FH_PT1; k <= FH_THREAD; k++) {
		want(&t, sys_frame_retype(batch, k), -FH_EBUSY, "the batch frame becomes type %u", k);
		want(&t, sys_frame_retype(upcall, k), -FH_EBUSY, "the upcall frame becomes type %u", k);
		want(&t, sys_frame_retype(v->frames + RAW_BATCH, k), -FH_EBUSY, "a child's batch frame becomes type %u", k);
	}
	none_bad(&t, "nor do frames that a thread has pinned");
	frame_put(big, FH_LARGE_FRAMES);
	victim_end(v, &t);
}
