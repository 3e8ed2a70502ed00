/* frame_retype.c - DATA to every other type and back. */
#include "step.h"
#include "world.h"

static const unsigned made[] = {FH_PT1, FH_PT2, FH_PT3, FH_PT4, FH_ENV, FH_THREAD};

TEST("DATA becomes each type and DATA again, zeroed each time")
{
	for (unsigned i = 0; i < LENGTH(made); i++) {
		pfn_t f = data(root);
		uint64_t before = owned(root);
		fill_frame(f, 0x99);
		gives(frame_retype(root, f.n, made[i]), 0);
		assert_int_equal(state_of(f), make_state(made[i], root, 0));
		const uint64_t *words = frame_address(f);
		for (unsigned k = 0; is_table(made[i]) && k < 511; k++)
			assert_int_equal(words[k], 0);
		if (is_table(made[i]))
			assert_int_equal(words[511], made[i] == FH_PT4 ? mach_kernel_entry() : 0);
		gives(frame_retype(root, f.n, FH_DATA), 0);
		assert_int_equal(state_of(f), make_state(FH_DATA, root, 0));
		assert_true(all_bytes(f, 0));
		assert_int_equal(owned(root), before);
		gives(frame_free(root, f.n, 1), 1);
	}
}

TEST("a new THREAD is stopped, has the FPU's start values and a serial")
{
	pfn_t t = make(root, FH_THREAD);
	const struct fh_thread *thread = thread_at(t);
	assert_int_equal(thread->state, FH_STOPPED);
	assert_int_equal(thread->serial, clock_now());
	assert_int_equal(thread->fx[0] | thread->fx[1] << 8, 0x37f);
	assert_int_equal(thread->fx[24] | thread->fx[25] << 8, 0x1f80);
	assert_int_equal(thread->root | thread->upcall | thread->batch | thread->regs.rip, 0);
}

TEST("a new ENV has no quota, its own serial, and its parent's depth and one more")
{
	pfn_t a = make(root, FH_ENV), a1 = child(root, 5);
	assert_int_equal(env_at(a)->account, 0);
	assert_int_equal(env_at(a)->depth, 1);
	a1 = make(a1, FH_ENV);
	assert_int_equal(env_at(a1)->depth, 2);
	assert_int_equal(env_at(a1)->serial, clock_now());
}

TEST("frame_retype to a type that nobody can make is EINVAL")
{
	static const uint64_t types[] = {FH_KERNEL, FH_FREE, FH_CPU, FH_DEVICE, FH_TABLE, FH_BUSY, 13, 15, 16, 18, ~0ul};
	pfn_t f = data(root);
	for (unsigned i = 0; i < LENGTH(types); i++)
		refuses(frame_retype(root, f.n, types[i]), EINVAL, "a frame becomes");
}

TEST("frame_retype to a type that names a real one only in its low 32 bits is EINVAL")
{
	pfn_t f = data(root);
	for (unsigned i = 0; i < LENGTH(made); i++)
		refuses(frame_retype(root, f.n, 1ul << 32 | made[i]), EINVAL, "a frame becomes");
}

TEST("frame_retype of a frame beyond the table is EINVAL")
{
	static const uint64_t frames[] = {NFRAMES, FH_PFN_MASK, 1ul << 32 | SMALL, ~0ul};
	for (unsigned i = 0; i < LENGTH(frames); i++)
		refuses(frame_retype(root, frames[i], FH_PT1), EINVAL, "no such frame");
}

TEST("frame_retype of a frame that is nobody's, or not the caller's, is EPERM")
{
	pfn_t a = child(root, 50), b = child(root, 50), a1 = child(a, 10);
	uint64_t frames[] = {data(root).n, data(a).n, data(b).n, make(a, FH_PT2).n, make(b, FH_THREAD).n, b.n, a.n, a1.n,
	                     root.n, RUN, 0, A_KERNEL, TABLE_RUN, A_CPU, A_DEVICE};
	for (unsigned i = 0; i < LENGTH(frames); i++) {
		refuses(frame_retype(a1, frames[i], FH_PT1), EPERM, "yours to retype");
		refuses(frame_retype(a1, frames[i], FH_DATA), EPERM, "yours to retype");
	}
	refuses(frame_retype(root, RUN, FH_PT1), EPERM, "yours to retype");
	refuses(frame_retype(root, TABLE_RUN, FH_DATA), EPERM, "yours to retype");
}

TEST("an ancestor retypes its descendant's frame, which stays the descendant's")
{
	pfn_t a = child(root, 50), a1 = child(a, 10), f = data(a1);
	gives(frame_retype(root, f.n, FH_PT3), 0);
	assert_int_equal(state_of(f), make_state(FH_PT3, a1, 0));
	gives(frame_retype(a, f.n, FH_DATA), 0);
}

TEST("only DATA becomes something else, and everything else only DATA: EBUSY")
{
	for (unsigned i = 0; i < LENGTH(made); i++) {
		pfn_t f = make(root, made[i]);
		for (unsigned k = 0; k < LENGTH(made); k++)
			refuses(frame_retype(root, f.n, made[k]), EBUSY, "only DATA becomes");
		refuses(frame_retype(root, A_CPU, made[i]), EBUSY, "only DATA becomes");
		refuses(frame_retype(root, A_DEVICE, made[i]), EBUSY, "only DATA becomes");
	}
	pfn_t d = data(root);
	refuses(frame_retype(root, d.n, FH_DATA), EBUSY, "only DATA becomes");
	refuses(frame_retype(root, A_CPU, FH_DATA), EBUSY, "only DATA becomes");
	refuses(frame_retype(root, A_DEVICE, FH_DATA), EBUSY, "only DATA becomes");
}

TEST("a mapped or pinned DATA frame becomes nothing else: EBUSY")
{
	struct tree t = tree(root);
	pfn_t f = data(root), g = data(root), thread = make(root, FH_THREAD);
	does(set(root, t.t[1], 0, rw(f)));
	pin(thread, &thread_at(thread)->upcall, g);
	for (unsigned i = 0; i < LENGTH(made); i++) {
		refuses(frame_retype(root, f.n, made[i]), EBUSY, "still mapped or pinned");
		refuses(frame_retype(root, g.n, made[i]), EBUSY, "still mapped or pinned");
	}
}

/* ---- Tables ---- */

TEST("a table with a present entry doesn't become DATA: ENOTEMPTY; with raw words it does")
{
	struct tree t = tree(root);
	pfn_t f = data(root);
	does(clear(root, t.t[4], 0));
	refuses(frame_retype(root, t.t[3].n, FH_DATA), ENOTEMPTY, "present entries");
	does(clear(root, t.t[3], 0));
	does(set(root, t.t[3], 9, 0xabc0000000000000));
	gives(frame_retype(root, t.t[3].n, FH_DATA), 0);
	does(clear(root, t.t[2], 0));
	does(set(root, t.t[1], 511, ro(f)));
	refuses(frame_retype(root, t.t[1].n, FH_DATA), ENOTEMPTY, "present entries");
	does(clear(root, t.t[1], 511));
	gives(frame_retype(root, t.t[1].n, FH_DATA), 0);
}

TEST("a table that is linked, mapped, loaded or locked doesn't become DATA: EBUSY")
{
	struct tree t = tree(root);
	refuses(frame_retype(root, t.t[1].n, FH_DATA), EBUSY, "still mapped, linked, loaded");
	does(set(root, t.t[1], 3, ro(t.t[4])));
	does(clear(root, t.t[4], 0));
	refuses(frame_retype(root, t.t[4].n, FH_DATA), EBUSY, "still mapped, linked, loaded");
	does(clear(root, t.t[1], 3));
	run_on(0, t.t[4]);
	refuses(frame_retype(root, t.t[4].n, FH_DATA), EBUSY, "still mapped, linked, loaded");
	run_on(0, kernel_root);
	world_no_audit = true;
	record(t.t[4])->state |= FH_STATE_LOCK;
	refuses(frame_retype(root, t.t[4].n, FH_DATA), EBUSY, "another CPU");
	record(t.t[4])->state &= ~FH_STATE_LOCK;
	world_no_audit = false;
	gives(frame_retype(root, t.t[4].n, FH_DATA), 0);
}

TEST("a PT4 that names only itself becomes DATA, and frees")
{
	pfn_t t = make(root, FH_PT4);
	does(set(root, t, FH_WINDOW_SLOT, ro(t)));
	gives(frame_retype(root, t.n, FH_DATA), 0);
	gives(frame_free(root, t.n, 1), 1);
}

/* ---- Threads ---- */

TEST("a THREAD that isn't stopped, or is held, doesn't become DATA: EBUSY")
{
	pfn_t t = make(root, FH_THREAD);
	uint32_t *runs = &thread_at(t)->state;
	static const uint32_t alive[] = {FH_READY, FH_SLEEPING};
	for (unsigned i = 0; i < LENGTH(alive); i++) {
		*runs = alive[i];
		refuses_stamped(frame_retype(root, t.n, FH_DATA), EBUSY, "isn't stopped");
	}
	*runs = FH_RUNNING;
	ref_hold(t);
	refuses_stamped(frame_retype(root, t.n, FH_DATA), EBUSY, "running");
	*runs = FH_FAULTED;
	world_no_audit = true;
	refuses_stamped(frame_retype(root, t.n, FH_DATA), EBUSY, "running");
	ref_put(t);
	world_no_audit = false;
	gives(frame_retype(root, t.n, FH_DATA), 0);
}

static pfn_t asleep;
static unsigned hidden;
static void look_for_it(void) { hidden += type_of(asleep) != FH_THREAD; }

TEST("a THREAD refused to become DATA is never hidden from a ring, or from the CPU that looks for it")
{
	asleep = make(root, FH_THREAD);
	thread_at(asleep)->state = FH_SLEEPING;
	hidden = 0;
	for (unsigned k = 1; k < 300; k += STEP_STRIDE) { /* the sentence of the refusal is longer still */
		step_begin(k, look_for_it);
		assert_int_equal(frame_retype(root, asleep.n, FH_DATA), -FH_EBUSY);
		step_end();
	}
	assert_int_equal(hidden, 0);
}

TEST("a dying THREAD lets go of its root and frames, and stamps them")
{
	struct tree t = tree(root);
	pfn_t thread = make(root, FH_THREAD), pt4 = make(root, FH_PT4), upcall = data(root), batch = data(root);
	pin(thread, &thread_at(thread)->root, t.t[4]);
	pin(thread, &thread_at(thread)->upcall_root, pt4);
	pin(thread, &thread_at(thread)->upcall, upcall);
	pin(thread, &thread_at(thread)->batch, batch);
	epoch_tick();
	uint64_t now = clock_now();
	gives(frame_retype(root, thread.n, FH_DATA), 0);
	pfn_t pinned[] = {t.t[4], pt4, upcall, batch};
	for (unsigned i = 0; i < LENGTH(pinned); i++) {
		assert_int_equal(refs_of(pinned[i]), 0);
		assert_true(stamp_of(pinned[i]) >= now);
	}
}

TEST("two THREADs or two ENVs that live in one frame have two serials")
{
	pfn_t f = data(root);
	uint64_t serials[6];
	for (unsigned i = 0; i < 6; i++) {
		gives(frame_retype(root, f.n, i & 1 ? FH_THREAD : FH_ENV), 0);
		serials[i] = i & 1 ? thread_at(f)->serial : env_at(f)->serial;
		for (unsigned k = 0; k < i; k++)
			assert_true(serials[k] < serials[i]);
		gives(frame_retype(root, f.n, FH_DATA), 0);
	}
}

/* ---- Envs ---- */

TEST("an ENV that owns a frame doesn't die: ENOTEMPTY; one that owns nothing gives its quota back")
{
	pfn_t a = child(root, 20), f = data(a);
	uint64_t before = quota(root);
	refuses(frame_retype(root, a.n, FH_DATA), ENOTEMPTY, "still owns frames");
	gives(frame_free(a, f.n, 1), 1);
	gives(frame_retype(root, a.n, FH_DATA), 0);
	assert_int_equal(quota(root), before + 20);
	assert_int_equal(state_of(a), make_state(FH_DATA, root, 0));
}

TEST("an ENV doesn't retype itself, nor an ancestor or a sibling: EPERM; root never dies")
{
	pfn_t a = child(root, 20), b = child(root, 20), a1 = child(a, 2);
	pfn_t others[] = {a1, a, b, root};
	for (unsigned i = 0; i < LENGTH(others); i++)
		refuses(frame_retype(a1, others[i].n, FH_DATA), EPERM, "yours to retype");
	refuses(frame_retype(root, root.n, FH_DATA), EPERM, "root never dies");
}

TEST("an ENV that is mapped read-only doesn't die: EBUSY and changes nothing")
{
	struct tree t = tree(root);
	pfn_t a = child(root, 20);
	does(set(root, t.t[1], 0, ro(a)));
	refuses(frame_retype(root, a.n, FH_DATA), EBUSY, "still mapped");
	does(clear(root, t.t[1], 0));
	gives(frame_retype(root, a.n, FH_DATA), 0);
}

TEST("a dying ENV that isn't quiet is EAGAIN, stays dead, and the retry only waits")
{
	pfn_t a = child(root, 20);
	epoch_cpu[0].budget = 0;
	gives(frame_retype(root, a.n, FH_DATA), -FH_EAGAIN);
	assert_null(world_wrong());
	assert_int_equal(env_at(a)->account, FH_ACCOUNT_DEAD);
	assert_int_equal(type_of(a), FH_ENV);
	uint64_t stamp = stamp_of(a);
	refuses(env_move_quota(a, 1), ECANCELED, "a dead env takes no quota");
	epoch_tick();
	epoch_cpu[0].budget = 0;
	gives(frame_retype(root, a.n, FH_DATA), 0);
	assert_int_equal(stamp_of(a), stamp);
}

TEST("a line of 16 envs below root can be made, and not one more: ENOSPC")
{
	pfn_t e = root;
	for (unsigned depth = 1; depth <= FH_ENV_DEPTH; depth++) {
		e = child(e, 40 - depth);
		assert_int_equal(env_at(e)->depth, depth);
	}
	pfn_t f = data(e);
	refuses(frame_retype(e, f.n, FH_ENV), ENOSPC, "too long");
	refuses(frame_retype(root, f.n, FH_ENV), ENOSPC, "too long");
	gives(frame_retype(root, f.n, FH_THREAD), 0);
	assert_true(env_within(e, root));
}

TEST("no ENV or THREAD is made once the clock has passed the last serial: ENOSPC; tables still are")
{
	pfn_t f = data(root);
	tlb_clock->clock = FH_SERIAL_MAX + 1;
	refuses(frame_retype(root, f.n, FH_ENV), ENOSPC, "last serial");
	refuses(frame_retype(root, f.n, FH_THREAD), ENOSPC, "last serial");
	gives(frame_retype(root, f.n, FH_PT4), 0);
}

TEST("the last serial is given out, and its name comes back whole")
{
	pfn_t f = data(root);
	tlb_clock->clock = FH_SERIAL_MAX;
	gives(frame_retype(root, f.n, FH_ENV), 0);
	assert_int_equal(fh_name_serial(env_name(f)), FH_SERIAL_MAX);
	pfn_t e;
	gives(env_lookup(root, env_name(f), &e), 0);
}

TEST("a clock that passes the last serial while the frame becomes quiet gives out no serial")
{
	static const unsigned types[] = {FH_ENV, FH_THREAD};
	for (unsigned i = 0; i < 2; i++) {
		pfn_t f = data(root);
		tlb_clock->clock = FH_SERIAL_MAX;
		tlb_clock->cpu[0].epoch = FH_SERIAL_MAX;
		stamp_now(f);
		long r = frame_retype(root, f.n, types[i]);
		uint64_t serial = *(uint64_t *)(i ? &thread_at(f)->serial : &env_at(f)->serial);
		assert_true(r < 0 || serial <= FH_SERIAL_MAX);
		world_make(1);
	}
}

TEST("a frame that isn't quiet when the slice's flushes are spent is EAGAIN, into a type and out of it")
{
	for (unsigned i = 0; i < LENGTH(made); i++) {
		pfn_t f = data(root);
		epoch_cpu[0].budget = 0;
		stamp_now(f);
		refuses(frame_retype(root, f.n, made[i]), EAGAIN, "flushes are spent");
		epoch_tick();
		gives(frame_retype(root, f.n, made[i]), 0);
		if (made[i] == FH_ENV)
			continue;
		epoch_cpu[0].budget = 0;
		stamp_now(f);
		refuses_stamped(frame_retype(root, f.n, FH_DATA), EAGAIN, "flushes are spent");
		epoch_tick();
		epoch_tick();
		gives(frame_retype(root, f.n, FH_DATA), 0);
	}
}
