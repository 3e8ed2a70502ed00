/* frame_alloc.c - frame_alloc and frame_free: FREE to DATA and back. */
#include "world.h"

static uint64_t stale(pfn_t e) { return fh_name(e.n, env_at(e)->serial + 1); }

/* A frame of each type but FREE; BUSY is forged, by whoever asks for it. */
static pfn_t of_type(unsigned type)
{
	switch (type) {
	case FH_KERNEL: return pfn(3);
	case FH_CPU: return pfn(A_CPU);
	case FH_DEVICE: return pfn(A_DEVICE);
	case FH_TABLE: return pfn(TABLE_RUN);
	case FH_BUSY: return data(root);
	default: return make(root, type);
	}
}

TEST("frame_alloc makes FREE frames DATA of the caller, zeroed, with no references")
{
	pfn_t f = pfn(RUN);
	fill_frame(pfn(RUN + 2), 0x77);
	uint64_t before = owned(root);
	gives(frame_alloc(root, f.n, 3, 0, 0), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(state_of(pfn(f.n + i)), make_state(FH_DATA, root, 0));
		assert_int_equal(record(pfn(f.n + i))->tenant, 0);
		assert_true(all_bytes(pfn(f.n + i), 0));
	}
	assert_int_equal(owned(root), before + 3);
}

TEST("frame_alloc of a frame that isn't FREE is EBUSY, whatever it is")
{
	for (unsigned type = 0; type < FH_NTYPES; type++) {
		if (type == FH_FREE)
			continue;
		pfn_t f = of_type(type);
		uint64_t was = state_of(f);
		world_no_audit = type == FH_BUSY;
		if (type == FH_BUSY)
			assert_true(claim_exact(f, was));
		refuses(frame_alloc(root, f.n, 1, 0, 0), EBUSY, "isn't FREE");
		record(f)->state = was;
	}
}

TEST("frame_alloc stops before the first frame that isn't FREE, and says how many it claimed")
{
	gives(frame_alloc(root, RUN + 5, 1, 0, 0), 1);
	gives(frame_alloc(root, RUN, 64, 0, 0), 5);
	assert_int_equal(type_of(pfn(RUN + 6)), FH_FREE);
}

TEST("frame_alloc claims 64 frames at most between interrupt checks")
{
	gives(frame_alloc(root, RUN, 512, 0, 0), 64);
	gives(frame_alloc(root, RUN + 64, 65, 0, 0), 64);
	gives(frame_alloc(root, NFRAMES - 2, 2, 0, 0), 2);
}

static const struct { uint64_t first, n; } bad_runs[] = {
	{SMALL, 0}, {NFRAMES, 1}, {NFRAMES - 1, 2}, {SMALL, NFRAMES}, {SMALL, ~0ul}, {~0ul, 1}, {~0ul, 2},
	{~0ul - 1, ~0ul}, {1ul << 27, 1}, {(1ul << 32) + SMALL, 1}, {0, NFRAMES + 1},
};

TEST("frame_alloc and frame_free of a run that is empty, wraps or leaves the table are EINVAL")
{
	for (unsigned i = 0; i < LENGTH(bad_runs); i++) {
		refuses(frame_alloc(root, bad_runs[i].first, bad_runs[i].n, 0, 0), EINVAL, "leaves the table");
		refuses(frame_free(root, bad_runs[i].first, bad_runs[i].n), EINVAL, "leaves the table");
	}
}

TEST("frame_alloc with any flag but KEEP is EINVAL")
{
	for (unsigned bit = 1; bit < 64; bit++)
		refuses(frame_alloc(root, RUN, 1, 0, 1ul << bit), EINVAL, "flag");
}

TEST("frame_alloc claims for the caller or a descendant, never for an ancestor, sibling or stranger")
{
	pfn_t a = child(root, 50), b = child(root, 50), a1 = child(a, 10);
	gives(frame_alloc(root, RUN, 1, env_name(a1), 0), 1);
	assert_true(same(owner_of(state_of(pfn(RUN))), a1));
	gives(frame_alloc(a, RUN + 1, 1, a1.n, 0), 1); /* serial 0: under authority */
	gives(frame_alloc(a1, RUN + 2, 1, env_name(a1), 0), 1);
	assert_int_equal(owned(a1), 3);
	pfn_t strangers[] = {root, a, b};
	for (unsigned i = 0; i < LENGTH(strangers); i++) {
		refuses(frame_alloc(a1, RUN + 3, 1, env_name(strangers[i]), 0), EPERM, "oneself or a descendant");
		refuses(frame_alloc(a1, RUN + 3, 1, strangers[i].n, 0), EPERM, "without a serial");
	}
}

TEST("an env named with a stale serial, or a name that is no ENV, is ESRCH")
{
	pfn_t a = child(root, 50), f = data(a), t = make(root, FH_THREAD);
	uint64_t wrong[] = {stale(a), stale(root), f.n, t.n, fh_name(0, 5), NFRAMES, FH_PFN_MASK, 3, ~0ul,
	                    fh_name(A_CPU, 2)};
	for (unsigned i = 0; i < LENGTH(wrong); i++)
		refuses(frame_alloc(root, RUN, 1, wrong[i], 0), ESRCH, "");
	refuses(frame_alloc(root, RUN, 1, stale(a), 0), ESRCH, "another lives in its frame");
	refuses(frame_alloc(root, RUN, 1, t.n, 0), ESRCH, "no ENV frame");
}

TEST("the name of an env whose frame holds another one by now is ESRCH")
{
	pfn_t e = make(root, FH_ENV);
	uint64_t name = env_name(e);
	gives(frame_retype(root, e.n, FH_DATA), 0);
	refuses(frame_alloc(root, RUN, 1, name, 0), ESRCH, "no ENV frame");
	gives(frame_retype(root, e.n, FH_ENV), 0);
	assert_int_not_equal(env_name(e), name);
	refuses(frame_alloc(root, RUN, 1, name, 0), ESRCH, "another lives in its frame");
}

TEST("an env claims up to its quota and not one more; a run is cut short there")
{
	pfn_t a = child(root, 3);
	gives(frame_alloc(a, RUN, 64, 0, 0), 3);
	refuses(frame_alloc(a, RUN + 10, 1, 0, 0), EDQUOT, "quota allows");
	refuses(frame_alloc(root, RUN + 10, 1, env_name(a), 0), EDQUOT, "quota allows");
	gives(frame_free(a, RUN + 1, 1), 1);
	gives(frame_alloc(a, RUN + 10, 64, 0, 0), 1);
}

TEST("a frozen env, and a dead one, are given no frames: ECANCELED")
{
	pfn_t a = child(root, 30), d = make(root, FH_ENV);
	atomic_or(&env_at(a)->account, FH_ACCOUNT_FROZEN);
	refuses(frame_alloc(a, RUN, 1, 0, 0), ECANCELED, "dead");
	refuses(frame_alloc(root, RUN, 1, env_name(a), 0), ECANCELED, "dead");
	atomic_and(&env_at(a)->account, ~FH_ACCOUNT_FROZEN);
	gives(frame_alloc(a, RUN, 1, 0, 0), 1);
	env_at(d)->account |= FH_ACCOUNT_DEAD;
	refuses(frame_alloc(root, RUN + 1, 1, env_name(d), 0), ECANCELED, "dead");
}

TEST("a refused or partial frame_alloc reserves no quota")
{
	pfn_t a = child(root, 70);
	gives(frame_alloc(root, RUN + 2, 1, 0, 0), 1);
	gives(frame_alloc(a, RUN, 64, 0, 0), 2);
	assert_int_equal(owned(a), 2);
	refuses(frame_alloc(a, RUN, 64, 0, 0), EBUSY, "isn't FREE");
	gives(frame_alloc(a, RUN2, 64, 0, 0), 64);
	gives(frame_alloc(a, RUN2 + 64, 64, 0, 0), 4);
}

/* ---- Contents ---- */

TEST("a new owner sees zeroes, with KEEP and without")
{
	pfn_t a = child(root, 9), b = child(root, 9), f = pfn(RUN);
	for (uint64_t flags = 0; flags <= FH_ALLOC_KEEP; flags++) {
		gives(frame_alloc(a, f.n, 1, 0, 0), 1);
		fill_frame(f, 0x5e);
		gives(frame_free(a, f.n, 1), 1);
		gives(frame_alloc(b, f.n, 1, 0, flags), 1);
		assert_true(all_bytes(f, 0));
		gives(frame_free(b, f.n, 1), 1);
	}
}

TEST("the last owner sees zeroes without KEEP; with KEEP what freeing left, which is poison in debug builds")
{
	pfn_t a = child(root, 9), f = pfn(RUN);
	gives(frame_alloc(a, f.n, 1, 0, FH_ALLOC_KEEP), 1);
	assert_true(all_bytes(f, 0));
	gives(frame_free(a, f.n, 1), 1);
	assert_int_equal(record(f)->tenant, env_name(a));
	assert_true(all_bytes(f, 0xa5));
	gives(frame_alloc(a, f.n, 1, 0, FH_ALLOC_KEEP), 1);
	assert_true(all_bytes(f, 0xa5));
	gives(frame_free(a, f.n, 1), 1);
	gives(frame_alloc(a, f.n, 1, 0, 0), 1);
	assert_true(all_bytes(f, 0));
}

TEST("a new env in the last owner's ENV frame sees zeroes in spite of KEEP")
{
	pfn_t e = child(root, 9), f = pfn(RUN);
	gives(frame_alloc(e, f.n, 1, 0, 0), 1);
	gives(frame_free(e, f.n, 1), 1);
	gives(frame_retype(root, e.n, FH_DATA), 0);
	gives(frame_retype(root, e.n, FH_ENV), 0);
	does(env_move_quota(e, 9));
	gives(frame_alloc(e, f.n, 1, 0, FH_ALLOC_KEEP), 1);
	assert_true(all_bytes(f, 0));
}

/* ---- frame_free ---- */

TEST("frame_free makes DATA FREE, remembers the last owner, and returns the owner's quota")
{
	pfn_t a = child(root, 9), f = data(a);
	uint64_t was = owned(root);
	gives(frame_free(root, f.n, 1), 1); /* an ancestor frees; the owner's quota comes back */
	assert_int_equal(state_of(f), FH_FREE);
	assert_int_equal(record(f)->tenant, env_name(a));
	assert_int_equal(owned(a), 0);
	assert_int_equal(owned(root), was);
}

TEST("frame_free of a mapped frame is EBUSY and changes nothing")
{
	struct tree t = tree(root);
	pfn_t f = data(root);
	does(set(root, t.t[1], 7, ro(f)));
	refuses(frame_free(root, f.n, 1), EBUSY, "still mapped");
	does(clear(root, t.t[1], 7));
	gives(frame_free(root, f.n, 1), 1);
}

TEST("frame_free of a pinned frame is EBUSY and changes nothing")
{
	pfn_t t = make(root, FH_THREAD), f = data(root);
	pin(t, &thread_at(t)->batch, f);
	refuses(frame_free(root, f.n, 1), EBUSY, "still mapped or pinned");
}

TEST("frame_free of anything but DATA is EBUSY; of what nobody owns EPERM")
{
	for (unsigned type = FH_DATA + 1; type < FH_BUSY; type++) {
		pfn_t f = of_type(type);
		if (type == FH_TABLE)
			refuses(frame_free(root, f.n, 1), EPERM, "yours to free");
		else
			refuses(frame_free(root, f.n, 1), EBUSY, "only a DATA frame");
	}
	refuses(frame_free(root, RUN, 1), EPERM, "yours to free");
	refuses(frame_free(root, 0, 1), EPERM, "yours to free");
	refuses(frame_free(root, A_KERNEL, 1), EPERM, "yours to free");
}

TEST("frame_free of a frame that another CPU has locked or claimed is EBUSY")
{
	pfn_t f = data(root);
	world_no_audit = true;
	record(f)->state |= FH_STATE_LOCK;
	refuses(frame_free(root, f.n, 1), EBUSY, "another CPU");
	record(f)->state &= ~FH_STATE_LOCK;
	assert_true(claim_exact(f, state_of(f)));
	refuses(frame_free(root, f.n, 1), EBUSY, "only a DATA frame");
}

TEST("frame_free twice is EPERM the second time")
{
	pfn_t f = data(root);
	gives(frame_free(root, f.n, 1), 1);
	refuses(frame_free(root, f.n, 1), EPERM, "yours to free");
}

TEST("frame_free of an ancestor's, sibling's or stranger's frame is EPERM")
{
	pfn_t a = child(root, 50), b = child(root, 50), a1 = child(a, 10);
	pfn_t frames[] = {data(root), data(a), data(b)};
	for (unsigned i = 0; i < LENGTH(frames); i++)
		refuses(frame_free(a1, frames[i].n, 1), EPERM, "yours to free");
}

TEST("frame_free stops before the first frame it refuses and says how many it freed")
{
	run(root, pfn(RUN), 5);
	does(frame_retype(root, RUN + 3, FH_PT1));
	gives(frame_free(root, RUN, 5), 3);
	assert_int_equal(type_of(pfn(RUN + 4)), FH_DATA);
	run(root, pfn(RUN2), 100);
	gives(frame_free(root, RUN2, 100), 64);
	gives(frame_free(root, RUN2 + 64, 100), 36);
}
