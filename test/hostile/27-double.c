/* 27: double free, unmap, unpin, start, stop, retype, take; one after the other, and by all CPUs at once. */
#include "hostile.h"

#define FRAMES 64u
#define ROUNDS (info->ncpus > 1 ? 60u : 30u)
static pfn_t frames[FRAMES]; /* consecutive: claimed by one call */
static volatile uint64_t won[3];
static volatile unsigned turn, ready;
static struct tally shared;

/* All do the same to the same frames: of each frame one succeeds. */
static void rival(void *arg)
{
	(void)arg;
	for (unsigned round = 1; round <= ROUNDS; round++) {
		while (turn < round)
			relax();
		for (unsigned i = 0; i < FRAMES; i++) {
			int64_t r = round % 3 == 0   ? sys_frame_free(frames[i], 1)
			            : round % 3 == 1 ? sys_frame_retype(frames[i], FH_PT1)
			                             : sys_pt_set(fh_what(FH_OP_UNMAP_FREE, 0, pt1, i, 1), 0, 0).rax;
			if (round % 3 == 1 ? r == 0 : r == 1 && (round % 3 == 0 || type(frames[i]) == FH_FREE))
				__atomic_fetch_add(&won[round % 3], 1, __ATOMIC_RELAXED);
			else if (r < 0 && r != -FH_EPERM && r != -FH_EBUSY && r != -FH_EAGAIN)
				count_bad(&shared, "round %u: %ld", round, r);
		}
		__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	}
}

static void one_by_one(void)
{
	struct tally t = {0};
	struct raw *v = victim(64);
	pfn_t f = data_new(1, 1);

	want(&t, sys_frame_free(f, 1), 1, "freed");
	want(&t, sys_frame_free(f, 1), -FH_EPERM, "freed twice");
	sys_frame_alloc(f, 1, 0, 0);
	set(pt1, 9, f << 12 | RW);
	want(&t, op(FH_OP_UNMAP_FREE, 0, pt1, 9, 0, 0), FH_OP_DONE, "unmapped");
	want(&t, op(FH_OP_UNMAP_FREE, 0, pt1, 9, 0, 0), FH_OP_DONE, "unmapped twice: the slot is empty");
	want(&t, type(f) == FH_FREE, 1, "free once");
	pfn_t table = table_new(FH_PT1);
	set(pt2, 99, table << 12 | LINK);
	want(&t, op(FH_OP_UNLINK_FREE, 0, pt2, 99, 0, 0), FH_OP_DONE, "unlinked");
	want(&t, op(FH_OP_UNLINK_FREE, 0, pt2, 99, 0, 0), FH_OP_DONE, "unlinked twice: the slot is empty");
	struct fh_thread_args none = {.fields = FH_SET_BATCH | FH_SET_UPCALL | FH_SET_ROOT | FH_SET_UPCALL_ROOT};
	for (unsigned i = 0; i < 3; i++)
		want(&t, raw_write(v, &none), 0, "unpinned, time %u", i);
	want(&t, (int64_t)refs(v->frames + RAW_BATCH), 2, "references of the batch frame: two pages");
	want(&t, sys_thread_ctl(v->name, FH_THREAD_START, 0), -FH_EINVAL, "started without a root");
	struct fh_thread_args root = {.fields = FH_SET_ROOT, .root = v->root};
	want(&t, raw_write(v, &root), 0, "a root again");
	want(&t, raw_write(v, &root), 0, "and again");
	want(&t, (int64_t)refs(v->root), 1, "references of the root");
	want(&t, sys_thread_ctl(v->name, FH_THREAD_START, 0), 0, "started");
	want(&t, sys_thread_ctl(v->name, FH_THREAD_START, 0), -FH_EBUSY, "started twice");
	thread_stop(v->name, 0);
	want(&t, sys_thread_ctl(v->name, FH_THREAD_STOP, 0), 0, "stopped twice");
	pfn_t thread = v->thread;
	scratch_put((va_t)v->view, 1);
	want(&t, retype(thread, FH_DATA), 0, "a THREAD is DATA");
	want(&t, sys_frame_retype(thread, FH_DATA), -FH_EBUSY, "twice");
	v->view = NULL;
	victim_end(v, &t);
	none_bad(&t, "what is freed, unmapped, unlinked, unpinned, started or retyped twice: EPERM, EBUSY, or nothing to do");
}

void attack(void)
{
	struct tally t = {0};
	uint64_t rounds[3] = {0};

	one_by_one();
	crew_begin(rival);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		pfn_t first = data_new(FRAMES, 1);
		for (unsigned i = 0; i < FRAMES; i++) {
			frames[i] = first + i;
			if (round % 3 == 2)
				set(pt1, i, frames[i] << 12 | RW);
		}
		ready = 0;
		rounds[round % 3]++;
		turn = round;
		while (ready < crew_size() - 1)
			relax();
		for (unsigned i = 0; i < FRAMES; i++)
			if (type(frames[i]) == FH_PT1 || (type(frames[i]) == FH_DATA && owner(frames[i]) == env_self()))
				frame_put_typed(frames[i]);
	}
	crew_end();
	want(&t, (int64_t)won[0], (int64_t)(rounds[0] * FRAMES), "frames freed");
	if (won[1] > rounds[1] * FRAMES) /* fewer: what isn't quiet is refused */
		count_bad(&t, "%lu tables of %lu frames", won[1], rounds[1] * FRAMES);
	none_bad(&shared, "%u CPUs free, retype and unmap the same frames at once: EPERM, EBUSY for all but one", info->ncpus);
	none_bad(&t, "%lu frees, %lu tables: never two of one frame", won[0], won[1]);
}
