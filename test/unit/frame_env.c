/* frame_env.c - authority, quota that moves, counters at their limits. */
#include "world.h"

/*        root
 *       /    \
 *      a      b
 *     / \      \
 *    a1  a2     b1          */
enum { ROOT, A, B, A1, A2, B1, ENVS };
static const int parent_of[ENVS] = {-1, ROOT, ROOT, A, A, B};

static void family(pfn_t *e)
{
	e[ROOT] = root;
	for (unsigned i = 1; i < ENVS; i++)
		e[i] = child(e[parent_of[i]], i < A1 ? 100 : 20);
}

TEST("authority is over oneself and one's descendants, and over nobody else")
{
	pfn_t e[ENVS];
	family(e);
	for (int me = 0; me < ENVS; me++)
		for (int other = 0; other < ENVS; other++) {
			bool over = false;
			for (int up = other; up >= 0; up = parent_of[up])
				over |= up == me;
			assert_int_equal(authority(e[me], e[other]), over);
			pfn_t found;
			gives(env_lookup(e[me], env_name(e[other]), &found), 0);
			gives(env_lookup(e[me], e[other].n, &found), over ? 0 : -FH_EPERM);
		}
}

TEST("authority passes through an ENV that is claimed")
{
	pfn_t e[ENVS];
	family(e);
	uint64_t was = state_of(e[A]);
	record(e[A])->state = make_state(FH_BUSY, root, 0);
	assert_true(authority(root, e[A1]));
	record(e[A])->state = was;
	does(0);
}

TEST("nobody has authority over frames that nobody owns")
{
	assert_false(authority(root, pfn(0)));
	assert_false(env_within(pfn(RUN), root));
}

TEST("quota moves down from the parent and back up; the sum stays")
{
	pfn_t e[ENVS];
	family(e);
	uint64_t a = quota(e[A]);
	does(env_move_quota(e[A1], 7));
	assert_int_equal(quota(e[A]), a - 7);
	assert_int_equal(quota(e[A1]), 27);
	does(env_move_quota(e[A1], -27));
	assert_int_equal(quota(e[A]), a + 20);
	does(env_move_quota(e[A1], 0));
	assert_int_equal(quota(e[A1]), 0);
}

TEST("only quota that is free moves: EDQUOT")
{
	pfn_t a = child(root, 20), a1 = child(a, 10); /* a has 10 left, 1 of it owned: the ENV frame */
	data(a1);
	refuses(env_move_quota(a1, 10), EDQUOT, "isn't free to move");
	does(env_move_quota(a1, 9));
	refuses(env_move_quota(a1, 1), EDQUOT, "isn't free to move");
	refuses(env_move_quota(a1, -19), EDQUOT, "isn't free to move");
	does(env_move_quota(a1, -18));
	refuses(env_move_quota(a1, -1), EDQUOT, "isn't free to move");
}

TEST("more quota than a field holds is EINVAL, in both directions; root has nobody to move it from")
{
	pfn_t a = child(root, 20);
	static const int64_t amounts[] = {FH_ACCOUNT_MAX + 1, -(int64_t)FH_ACCOUNT_MAX - 1, INT64_MAX, INT64_MIN, 1l << 33,
	                                  (1l << 33) + 1};
	for (unsigned i = 0; i < LENGTH(amounts); i++)
		refuses(env_move_quota(a, amounts[i]), EINVAL, "more quota than any env");
	refuses(env_move_quota(a, FH_ACCOUNT_MAX), EDQUOT, "isn't free to move");
	refuses(env_move_quota(a, -(int64_t)FH_ACCOUNT_MAX), EDQUOT, "isn't free to move");
	refuses(env_move_quota(root, 1), EPERM, "no parent");
	refuses(env_move_quota(root, -1), EPERM, "no parent");
}

TEST("quota past the limit of its field is EDQUOT, and the giver keeps its own")
{
	pfn_t a = child(root, 20);
	world_forge_quota(root, FH_ACCOUNT_MAX - quota(root));
	world_forge_quota(a, FH_ACCOUNT_MAX - 5 - quota(a));
	refuses(env_move_quota(a, 6), EDQUOT, "isn't free to move");
	does(env_move_quota(a, 5));
	assert_int_equal(quota(a), FH_ACCOUNT_MAX);
	refuses(env_move_quota(a, 1), EDQUOT, "isn't free to move");
	refuses(env_move_quota(a, -6), EDQUOT, "isn't free to move");
	assert_int_equal(env_at(a)->account >> 62, 0);
	assert_int_equal(env_at(root)->account >> 62, 0);
	gives(frame_alloc(a, RUN, 1, 0, 0), 1);
}

TEST("quota of a frozen env moves and leaves it frozen")
{
	pfn_t a = child(root, 20);
	atomic_or(&env_at(a)->account, FH_ACCOUNT_FROZEN);
	does(env_move_quota(a, -20));
	does(env_move_quota(a, 3));
	assert_int_equal(env_at(a)->account, FH_ACCOUNT_FROZEN | 3ul << 31);
}

TEST("a dead env takes no quota, and its parent loses none")
{
	pfn_t a = child(root, 20);
	env_at(a)->account |= FH_ACCOUNT_DEAD;
	refuses(env_move_quota(a, 1), ECANCELED, "a dead env takes no quota");
}

TEST("a parent's death leaves no orphan: it owns its children's ENV frames")
{
	pfn_t a = child(root, 20), a1 = child(a, 5);
	refuses(frame_retype(root, a.n, FH_DATA), ENOTEMPTY, "still owns frames");
	gives(frame_retype(root, a1.n, FH_DATA), 0);
	refuses(frame_retype(root, a.n, FH_DATA), ENOTEMPTY, "still owns frames");
	gives(frame_free(root, a1.n, 1), 1);
	gives(frame_retype(root, a.n, FH_DATA), 0);
}

/* ---- Counters at their limits ---- */

#define MOST (FH_REFS_MAX - 1024) /* the rest is for references that only the kernel takes */

static void forge_refs(pfn_t f, uint64_t n)
{
	world_no_audit = true;
	record(f)->state = make_state(type_of(f), owner_of(state_of(f)), n);
}

TEST("a frame with as many references as can be counted is mapped no more: ENOSPC")
{
	struct tree t = tree(root);
	pfn_t f = data(root), table = make(root, FH_PT3);
	forge_refs(f, MOST - 1);
	does(set(root, t.t[1], 0, rw(f)));
	refuses(set(root, t.t[1], 1, rw(f)), ENOSPC, "as many references");
	refuses(set(root, t.t[1], 0, ro(f)), ENOSPC, "as many references");
	does(clear(root, t.t[1], 0));
	does(set(root, t.t[1], 1, rw(f)));
	forge_refs(table, MOST);
	refuses(set(root, t.t[4], 1, link_to(table)), ENOSPC, "as many references");
}

TEST("a large page over a frame at its limit is ENOSPC, and the frames before it keep their counts")
{
	struct tree t = tree(root);
	run(root, pfn(RUN), 512);
	static const unsigned at[] = {0, 1, 300, 511};
	for (unsigned i = 0; i < LENGTH(at); i++) {
		forge_refs(pfn(RUN + at[i]), MOST);
		refuses(set(root, t.t[2], 5, large(RUN)), ENOSPC, "as many references");
		forge_refs(pfn(RUN + at[i]), 0);
	}
	world_no_audit = false;
	does(set(root, t.t[2], 5, large(RUN)));
}

TEST("the kernel's own references fit above the limit and never reach the owner's field")
{
	struct tree t = tree(root);
	forge_refs(t.t[4], MOST);
	load_root(t.t[4]);
	assert_int_equal(state_of(t.t[4]), make_state(FH_PT4, root, MOST + 1));
	load_root(kernel_root);
	assert_int_equal(state_of(t.t[4]), make_state(FH_PT4, root, MOST));
}

TEST("a reference is taken only of the type and owner asked for")
{
	pfn_t a = child(root, 20), f = data(a);
	refuses(ref_get(f, FH_PT1, a), EBUSY, "changed type or owner");
	refuses(ref_get(f, FH_DATA, root), EBUSY, "changed type or owner");
	world_no_audit = true;
	gives(ref_get(f, FH_DATA, a), 0);
	assert_int_equal(refs_of(f), 1);
	ref_drop(f);
	world_no_audit = false;
	assert_int_equal(stamp_of(f), clock_now());
	does(0);
}

/* ---- Table locks ---- */

TEST("a table's lock is of its type and owner, and its ticket is passed on when refused")
{
	pfn_t a = child(root, 20), t = make(a, FH_PT1);
	refuses(record_lock(t, make_state(FH_PT2, a, 0)), EBUSY, "changed type or owner");
	refuses(record_lock(t, make_state(FH_PT1, root, 0)), EBUSY, "changed type or owner");
	for (unsigned i = 0; i < 600; i++) { /* tickets are bytes: they wrap */
		assert_int_equal(record_lock(t, state_of(t)), 0);
		assert_true(state_of(t) & FH_STATE_LOCK);
		record_unlock(t);
	}
	does(0);
	assert_int_equal(stamp_of(t), 0);
}

static pfn_t waited_for;
static void pass(void)
{
	if (machine.pauses == 5)
		record_unlock(waited_for);
}

TEST("who finds a table locked waits for its turn")
{
	waited_for = make(root, FH_PT1);
	assert_int_equal(record_lock(waited_for, state_of(waited_for)), 0);
	machine.on_pause = pass;
	gives(set(root, waited_for, 0, 0), FH_OP_DONE);
	assert_int_equal(machine.pauses, 5);
}
