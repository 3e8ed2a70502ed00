/* 18: a type or a reference that outlives a transfer of ownership (214, 217, 287). */
#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(700);
	pfn_t f = data_new(1, 1), v_pt1 = table_of(v, FH_PT1);

#define TAKE(f) raw_call(v, FH_SYS_frame_take, f, 1, 0, 0)
	want(&t, frame_grant(f, v->env_name), 0, "granted");
	set(pt1, 9, f << 12 | RO);
	want(&t, TAKE(f), -FH_EBUSY, "taken while mapped by its owner, read-only");
	clear(pt1, 9);
	set(v_pt1, 300, f << 12 | RO);
	want(&t, TAKE(f), -FH_EBUSY, "taken while mapped in a child's table");
	clear(v_pt1, 300);
	uint64_t off, size;
	struct fh_thread_args *a = batch_area(&off, &size);
	struct raw here;
	if (raw_here(&here) < 0)
		panic("no thread");
	*a = (struct fh_thread_args){.fields = FH_SET_BATCH, .batch = f};
	want(&t, raw_write(&here, a), 0, "pinned as a batch frame");
	want(&t, TAKE(f), -FH_EBUSY, "taken while pinned");
	struct fh_thread_args b = {.fields = FH_SET_BATCH, .batch = here.frames + RAW_BATCH};
	want(&t, raw_write(&here, &b), 0, "unpinned");
	none_bad(&t, "a frame with live references isn't taken: EBUSY, mapped by anybody or pinned");

	/* It changes its type between grant and take. */
	t.bad = 0;
	for (unsigned k = FH_PT1; k <= FH_THREAD; k++) {
		want(&t, retype(f, k), 0, "granted, it becomes type %u", k);
		want(&t, TAKE(f), -FH_EPERM, "taken as type %u", k);
		want(&t, retype(f, FH_DATA), 0, "and DATA again");
		want(&t, TAKE(f), -FH_EPERM, "the grant is not there any more");
		want(&t, frame_grant(f, v->env_name), 0, "granted again");
	}
	want(&t, sys_frame_free(f, 1), 1, "freed, though granted");
	want(&t, TAKE(f), -FH_EPERM, "taken when FREE");
	want(&t, sys_frame_alloc(f, 1, 0, 0), 1, "claimed again");
	want(&t, TAKE(f), -FH_EPERM, "the grant isn't inherited");
	none_bad(&t, "a grant ends with the frame's type: EPERM");

	/* Ours no more. */
	t.bad = 0;
	want(&t, frame_grant(f, v->env_name), 0, "granted");
	set(pt1, 9, f << 12 | RW);
	*at(9) = MARK;
	clear(pt1, 9);
	want(&t, TAKE(f), 1, "taken");
	want(&t, (int64_t)owner(f), (int64_t)v->env, "its owner");
	want(&t, raw_call(v, FH_SYS_frame_grant, f, STAGE->env, 0, 0), 0, "granted on, to a stranger");
	want(&t, sys_frame_take(f, 1), -FH_EPERM, "taken back by who gave it, but isn't the tenant");
	want(&t, raw_call(v, FH_SYS_frame_grant, f, 0, 0, 0), 0, "withdrawn");
	want(&t, raw_call(v, FH_SYS_frame_take, f, 1, 0, 0), -FH_EPERM, "taken twice");
	none_bad(&t, "what was taken is the taker's alone, and taken once");
	raw_end(&here);
	victim_end(v, &t); /* buries f, too */
}
