/* 28: a reference, a claim or quota that an error path loses or drops twice (299): each call refused late, again and again. */
#include "hostile.h"

#define TRIES 300u

static volatile uint64_t lost, won;

/* Two CPUs claim for one slot: the one that comes late gives all back. */
static void claim(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 1500; i++) {
		int64_t r = sys_pt_set(fh_what(i % 2 ? FH_OP_CLAIM : FH_OP_LINK_NEW, 0, i % 2 ? pt1 : pt2, 77, 1),
		                       free_frame() << 12 | (i % 2 ? RW : LINK), 0)
		                .rax;
		__atomic_fetch_add(r >= 0 ? &won : &lost, 1, __ATOMIC_RELAXED);
		sys_pt_set(fh_what(i % 2 ? FH_OP_UNMAP_FREE : FH_OP_UNLINK_FREE, 0, i % 2 ? pt1 : pt2, 77, 1), 0, 0);
	}
}

void attack(void)
{
	struct tally t = {0};
	struct raw *v = victim(100);
	pfn_t big = data_new(FH_LARGE_FRAMES, FH_LARGE_FRAMES), free_one = big + 511;
	struct fh_op *b = batch_here();
	uint64_t owned = frames_owned(), off, size;

	retype(big + 500, FH_PT1);
	frame_put(free_one, 1);
	for (unsigned i = 0; i < TRIES; i++) {
		want(&t, set(pt2, 99, big << 12 | RW | FH_PS), -FH_EBUSY, "a large page whose frame 500 is a table");
		b[0] = (struct fh_op){fh_what(FH_OP_SET, 0, pt1, 0, 8), (big + 496) << 12 | RW};
		either(&t, update(b, 1), -FH_EACCES, -FH_EBUSY, "a run that ends at a table");
		b[0] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, pt1, 0, 8), 0};
		update(b, 1);
		want(&t, op(FH_OP_CLAIM, 0, pt2, 99, big << 12 | RW | FH_PS, 0), -FH_EBUSY, "512 frames claimed, none of them FREE");
		want(&t, op(FH_OP_CLAIM, 0, pt1, 9, free_frame() << 12 | RW | FH_PCD, 0), -FH_EINVAL, "a claim with a bad entry");
		want(&t, set(pt1, 9, data << 12 | RW), FH_OP_DONE, "a page");
		want(&t, op(FH_OP_CLAIM, 0, pt1, 9, free_frame() << 12 | RW, 0), -FH_EEXIST, "a claim into a full slot");
		want(&t, op(FH_OP_LINK_NEW, 0, pt2, pt_index(VA, 2), free_frame() << 12 | LINK, 0), -FH_EEXIST,
		     "a table into a full slot");
		clear(pt1, 9);
		struct fh_thread_args *a = batch_area(&off, &size); /* the last of four pins is refused */
		*a = (struct fh_thread_args){.fields = FH_SET_ROOT | FH_SET_UPCALL | FH_SET_BATCH,
		                             .root = v->root,
		                             .upcall = v->frames + RAW_UPCALL,
		                             .batch = data};
		want(&t, sys_thread_write(v->name, off), -FH_EPERM, "pins, the last of another owner");
		a->batch = v->root;
		want(&t, sys_thread_write(v->name, off), -FH_EBUSY, "pins, the last of another type");
		a->batch = ~0ul;
		want(&t, sys_thread_write(v->name, off), -FH_EINVAL, "pins, the last no frame");
		want(&t, sys_frame_grant(data, 12345), -FH_ESRCH, "a grant to nobody");
		want(&t, sys_frame_take(data, data + 64 <= info->nframes ? 64 : 1), -FH_EPERM, "a take of what isn't granted");
		want(&t, sys_env_ctl(v->env_name, FH_ENV_QUOTA, 1ul << 30, 0), -FH_EDQUOT, "more quota than there is");
		want(&t, sys_thread_switch(STAGE->thread, 1, 0, 1), -FH_EPERM, "a stranger rung");
		want(&t, sys_cpu_slice(info->cpu_pfn[0], 255, STAGE->thread), -FH_EPERM, "a stranger's slice");
		want(&t, set(pt2, 99, STAGE->pt1 << 12 | LINK), -FH_EPERM, "a stranger's table linked");
	}
	none_bad(&t, "17 calls refused at their last check, %u times each", TRIES);
	t.bad = 0;
	for (unsigned i = 0; i < FH_LARGE_FRAMES - 1; i++)
		want(&t, (int64_t)refs(big + i), 0, "references of frame %u", i);
	want(&t, (int64_t)refs(v->root), 1, "references of a root");
	want(&t, (int64_t)refs(v->frames + RAW_UPCALL), 3, "references of an upcall frame");
	want(&t, (int64_t)(frames_owned() + 1), (int64_t)owned, "frames owned");
	want(&t, (int64_t)fh_refs(state(fh_name_pfn(STAGE->thread))) < 5, 1, "references of the stranger's THREAD");
	none_bad(&t, "and every reference, frame and quota is where it was");
	retype(big + 500, FH_DATA);
	sys_frame_alloc(free_one, 1, 0, 0);
	frame_put(big, type(free_one) == FH_DATA ? FH_LARGE_FRAMES : FH_LARGE_FRAMES - 1);
	crew(claim);
	op(FH_OP_UNMAP_FREE, 0, pt1, 77, 0, 0), op(FH_OP_UNLINK_FREE, 0, pt2, 77, 0, 0);
	ok(won > 0, "%u CPUs claim for one slot at once: %lu times first, %lu times given back", info->ncpus, won, lost);
	victim_end(v, &t);
}
