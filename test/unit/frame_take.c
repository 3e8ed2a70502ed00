/* frame_take.c - ownership passes by grant and take; frame_sync (grant.c). */
#include "step.h"
#include "world.h"

static pfn_t a, b;
static struct tree u, v; /* a's, b's */

static void begin(void)
{
	a = child(root, 200), b = child(root, 100);
	u = tree(a), v = tree(b);
}

static long grant(pfn_t me, pfn_t f, pfn_t to) { return frame_grant(me, f.n, env_name(to)); }

TEST("a DATA frame passes to its tenant with its contents, and counts for the new owner")
{
	begin();
	pfn_t f = data(a);
	uint64_t of_a = owned(a), of_b = owned(b);
	fill_frame(f, 0x5a);
	does(grant(a, f, b));
	gives(frame_take(b, f.n, 1), 1);
	assert_int_equal(state_of(f), make_state(FH_DATA, b, 0));
	assert_int_equal(record(f)->tenant, 0);
	assert_true(all_bytes(f, 0x5a));
	assert_int_equal(owned(a), of_a - 1);
	assert_int_equal(owned(b), of_b + 1);
	refuses(frame_take(b, f.n, 1), EPERM, "granted to the caller");
	refuses(frame_free(a, f.n, 1), EPERM, "yours to free");
	gives(set(b, v.t[1], 0, rw(f)), FH_OP_DONE);
	refuses(set(a, u.t[1], 0, ro(f)), EPERM, "no authority over the frame");
}

TEST("a DEVICE frame passes to its tenant, who maps it; its old owner doesn't any more")
{
	begin();
	pfn_t f = pfn(A_DEVICE);
	struct tree t = tree(root);
	does(set(root, t.t[1], 0, rw(f) | FH_PCD));
	does(grant(root, f, a));
	refuses(frame_take(a, f.n, 1), EBUSY, "still mapped");
	does(clear(root, t.t[1], 0));
	gives(frame_take(a, f.n, 1), 1);
	assert_int_equal(state_of(f), make_state(FH_DEVICE, a, 0));
	gives(set(a, u.t[1], 0, rw(f) | FH_PCD), FH_OP_DONE);
	refuses(set(b, v.t[1], 0, rw(f)), EPERM, "no authority over the frame");
	does(clear(a, u.t[1], 0));
	gives(grant(root, f, root), 0); /* and how root gets it back when a ends */
	gives(frame_take(root, f.n, 1), 1);
}

TEST("a CPU frame passes to its tenant though everybody has it mapped, and stays a CPU")
{
	begin();
	pfn_t f = pfn(A_CPU);
	uint64_t of_root = owned(root), of_a = owned(a);
	does(set(b, v.t[1], 0, ro(f)));
	does(grant(root, f, a));
	gives(frame_take(a, f.n, 1), 1);
	assert_int_equal(state_of(f), make_state(FH_CPU, a, 0));
	assert_int_equal(owned(root), of_root - 1);
	assert_int_equal(owned(a), of_a + 1);
	gives(clear(b, v.t[1], 0), FH_OP_DONE);
	refuses(grant(b, f, b), EPERM, "yours to grant");
	gives(grant(a, f, b), 0);
	gives(frame_take(b, f.n, 2), 1); /* the next is root's still */
}

TEST("what is not granted to the caller, or not to be taken, is EPERM; what is being changed, EBUSY")
{
	begin();
	pfn_t w = make(a, FH_PT1), f = data(a), c = child(b, 20);
	does(grant(a, w, b));
	does(grant(a, f, b));
	pfn_t of[] = {w, data(a), data(b), data(root), u.t[1], a, pfn(A_CPU), pfn(A_DEVICE), pfn(TABLE_RUN), pfn(A_KERNEL), pfn(RUN)};
	for (unsigned i = 0; i < LENGTH(of); i++)
		refuses(frame_take(b, of[i].n, 1), EPERM, "granted to the caller");
	refuses(frame_take(a, f.n, 1), EPERM, "granted to the caller");
	refuses(frame_take(c, f.n, 1), EPERM, "granted to the caller");
	refuses(frame_take(root, f.n, 1), EPERM, "granted to the caller");
	record(f)->state = make_state(FH_BUSY, a, 0);
	assert_int_equal(frame_take(b, f.n, 1), -FH_EBUSY);
	assert_non_null(strstr(suite_sentence(), "another CPU is changing"));
	record(f)->state = make_state(FH_DATA, a, 0);
	gives(frame_take(b, f.n, 1), 1);
}

TEST("an empty run, and one that leaves the table, are EINVAL")
{
	static const uint64_t runs[][2] = {{RUN, 0}, {NFRAMES, 1}, {NFRAMES - 1, 2}, {~0ul, 1}, {RUN, ~0ul}, {1, ~0ul}};
	for (unsigned i = 0; i < LENGTH(runs); i++) {
		refuses(frame_take(root, runs[i][0], runs[i][1]), EINVAL, "leaves the table");
		refuses(frame_sync(runs[i][0], runs[i][1]), EINVAL, "leaves the table");
	}
}

TEST("a frame still mapped, large or small, or pinned, isn't taken: EBUSY (HOSTILE 18)")
{
	begin();
	pfn_t f = data(a), thread = make(a, FH_THREAD);
	does(grant(a, f, b));
	does(set(a, u.t[1], 0, ro(f)));
	refuses(frame_take(b, f.n, 1), EBUSY, "still mapped");
	does(clear(a, u.t[1], 0));
	pin(thread, &thread_at(thread)->batch, f);
	refuses(frame_take(b, f.n, 1), EBUSY, "still mapped");
	ref_drop(f);
	thread_at(thread)->batch = 0;
	gives(frame_take(b, f.n, 1), 1);
	does(env_move_quota(a, 512));
	run(a, pfn(RUN), 512);
	does(set(a, u.t[2], 1, large(RUN)));
	does(grant(a, pfn(RUN + 5), b));
	refuses(frame_take(b, RUN + 5, 1), EBUSY, "still mapped");
}

TEST("a run ends at what isn't granted, is mapped, or is of another type, and after 64")
{
	begin();
	run(a, pfn(RUN), 100);
	for (unsigned i = 0; i < 100; i++)
		does(grant(a, pfn(RUN + i), b));
	does(set(a, u.t[1], 0, ro(pfn(RUN + 10))));
	does(frame_grant(a, RUN + 20, 0));
	gives(frame_take(b, RUN, 100), 10);
	refuses(frame_take(b, RUN + 10, 90), EBUSY, "still mapped");
	gives(frame_take(b, RUN + 11, 90), 9);
	gives(frame_free(a, RUN + 20, 1), 1);
	refuses(frame_take(b, RUN + 20, 80), EPERM, "granted to the caller");
	gives(frame_take(b, RUN + 21, 79), 64);
	does(grant(root, pfn(A_DEVICE + 7), a));
	does(grant(root, pfn(A_CPU), a));
	gives(frame_take(a, A_DEVICE + 7, 2), 1);
	gives(frame_take(a, A_CPU, 2), 1);
}

TEST("a run has frames of several owners, each of whom gets its quota back")
{
	begin();
	uint64_t before[] = {owned(a), owned(root), owned(b)};
	for (unsigned i = 0; i < 6; i++) {
		gives(frame_alloc(i % 2 ? root : a, RUN + i, 1, 0, 0), 1);
		does(grant(root, pfn(RUN + i), b));
	}
	gives(frame_take(b, RUN, 64), 6);
	assert_int_equal(owned(a), before[0]);
	assert_int_equal(owned(root), before[1]);
	assert_int_equal(owned(b), before[2] + 6);
}

TEST("a take is against the caller's quota: EDQUOT, or a shorter run; a frozen env takes nothing: ECANCELED")
{
	begin();
	run(a, pfn(RUN), 10);
	for (unsigned i = 0; i < 10; i++)
		does(grant(a, pfn(RUN + i), b));
	does(grant(root, pfn(A_CPU), b));
	does(env_move_quota(b, 3 - (int64_t)(quota(b) - owned(b))));
	gives(frame_take(b, RUN, 10), 3);
	refuses(frame_take(b, RUN + 3, 1), EDQUOT, "quota allows");
	refuses(frame_take(b, A_CPU, 1), EDQUOT, "quota allows");
	does(env_move_quota(b, 1));
	atomic_or(&env_at(b)->account, FH_ACCOUNT_FROZEN);
	refuses(frame_take(b, RUN + 3, 1), ECANCELED, "frozen or dead");
	atomic_and(&env_at(b)->account, ~FH_ACCOUNT_FROZEN);
	gives(frame_take(b, A_CPU, 2), 1);
}

TEST("a taken frame is quiet: its old owner's CPUs have forgotten it (HOSTILE 31)")
{
	world_make(2);
	begin();
	pfn_t f = data(a), g = data(a);
	run_on(1, u.t[4]);
	does(set(a, u.t[1], 0, rw(f)));
	does(clear(a, u.t[1], 0));
	does(grant(a, f, b));
	does(grant(a, g, b));
	epoch_cpu[0].budget = 0;
	refuses(frame_take(b, f.n, 1), EAGAIN, "flushes are spent");
	refuses(frame_take(b, MIN(f.n, g.n), 2), EAGAIN, "flushes are spent");
	epoch_cpu[0].budget = 1;
	gives(frame_take(b, MIN(f.n, g.n), 2), 2);
	assert_true(quiet(stamp_of(f)));
	assert_int_equal(machine.ipis[1], 1);
}

static pfn_t wanted;
static void withdraw_meanwhile(void) { assert_int_equal(frame_grant(a, wanted.n, 0), -FH_EBUSY); }
static void map_meanwhile(void) { assert_int_equal(set(a, u.t[1], 0, rw(wanted)), -FH_EBUSY); }

TEST("while the taker waits for quiet the owner neither withdraws nor maps the frame: EBUSY")
{
	begin();
	void (*const what[])(void) = {withdraw_meanwhile, map_meanwhile};
	for (unsigned i = 0; i < 2; i++) {
		wanted = data(a);
		does(grant(a, wanted, b));
		meanwhile(wanted, what[i]);
		gives(frame_take(b, wanted.n, 1), 1);
		assert_null(machine.meanwhile);
	}
}

/* ---- At every instruction of a take, another CPU ---- */

static long other; /* what came of its call */
static bool alone(pfn_t f) /* would it not wait for a record that the interrupted call has locked? */
{
	return *ticket_next(f) == *ticket_serving(f);
}
static void withdraw_now(void)
{
	bool in_time = !same(owner_of(state_of(wanted)), b);
	other = in_time && alone(wanted) ? frame_grant(root, wanted.n, 0) : -FH_EBUSY;
}
static void map_now(void) { other = set(a, u.t[1], 0, rw(wanted)); }
static void free_now(void) { other = frame_free(a, wanted.n, 1); }

/* Repeats until the call is shorter than k instructions; in how many of the repeats the other CPU came first. */
static void against(const char *name, void (*what)(void), pfn_t f, pfn_t from, void (*check)(bool taken))
{
	unsigned k, won = 0, lost = 0;
	wanted = f;
	for (k = 1;; k += STEP_STRIDE) {
		epoch_tick();
		does(grant(root, f, b));
		other = -1000;
		step_begin(k, what);
		long r = frame_take(b, f.n, 1);
		bool done = !step_end();
		if (r < 0 && r != -FH_EPERM && r != -FH_EBUSY)
			suite_fail(__FILE__, __LINE__, "%s at instruction %u: take returns %ld", name, k, r);
		check(r == 1);
		*(r == 1 ? &won : &lost) += 1;
		does(0);
		if (r == 1) { /* and back again */
			does(grant(root, f, from));
			gives(frame_take(from, f.n, 1), 1);
		}
		if (done)
			break;
	}
	print_message("# %s: %u instructions: %u times taken, %u times not\n", name, k, won, lost);
	assert_true(won > 20 && lost > 20);
}

static void check_withdrawn(bool taken)
{
	if (other == 0) /* withdrawn: then not taken, but by who took it before */
		assert_false(taken);
	else
		assert_true(taken);
	if (!taken)
		assert_int_equal(record(wanted)->tenant, 0);
}

TEST("a grant withdrawn at any instruction of the take is taken or withdrawn, never both (HOSTILE 41)")
{
	begin();
	does(set(root, v.t[1], 9, ro(pfn(A_CPU))));
	against("DATA against withdraw", withdraw_now, data(a), a, check_withdrawn);
	against("CPU against withdraw", withdraw_now, pfn(A_CPU), root, check_withdrawn);
}

static void check_mapped(bool taken)
{
	assert_int_equal(refs_of(wanted), other == FH_OP_DONE);
	if (taken && other == FH_OP_DONE)
		suite_fail(__FILE__, __LINE__, "taken, and mapped by its old owner");
	if (other == FH_OP_DONE)
		does(clear(a, u.t[1], 0));
	if (!taken)
		does(frame_grant(a, wanted.n, 0));
}

TEST("a frame mapped by its owner at any instruction of the take is mapped or taken, never both")
{
	begin();
	against("DATA against map", map_now, data(a), a, check_mapped);
}

static void check_freed(bool taken)
{
	assert_int_equal(taken, other != 1);
	if (!taken)
		gives(frame_alloc(a, wanted.n, 1, 0, 0), 1);
}

TEST("a frame freed by its owner at any instruction of the take is freed or taken, never both")
{
	begin();
	against("DATA against free", free_now, data(a), a, check_freed);
}

/* ---- frame_sync ---- */

TEST("frame_sync returns when the frames are quiet: by one flush, or none; at most 64")
{
	world_make(2);
	begin();
	pfn_t f = data(a), g = data(a);
	run_on(1, u.t[4]);
	does(set(a, u.t[1], 0, rw(f)));
	does(set(a, u.t[1], 1, rw(g)));
	gives(frame_sync(MIN(f.n, g.n), 2), 2);
	assert_int_equal(machine.ipis[1], 0);
	does(clear(a, u.t[1], 0));
	does(op(a, FH_OP_PROTECT, u.t[1], 1, FH_NX));
	gives(frame_sync(f.n, 1), 1);
	assert_true(quiet(stamp_of(f)));
	assert_int_equal(machine.ipis[1], 1);
	stamp_now(pfn(RUN + 63));
	gives(frame_sync(RUN, 200), 64);
	assert_true(quiet(stamp_of(pfn(RUN + 63))));
	assert_int_equal(machine.ipis[1], 2);
	stamp_now(pfn(RUN + 64));
	gives(frame_sync(RUN, 200), 64);
	assert_int_equal(machine.ipis[1], 2);
	epoch_cpu[0].budget = 0;
	refuses(frame_sync(RUN + 64, 1), EAGAIN, "flushes are spent");
}
