/* pt_leaf.c - who may map what, where, with which rights (invariant 4); large pages (invariant 7). */
#include "world.h"

/*   root: a (a1 (a2)), b   */
enum { ROOT, A, A1, A2, B, ENVS };
static const int parent_of[ENVS] = {-1, ROOT, A, A1, ROOT};
static pfn_t env[ENVS], table_of[ENVS];

static void family(void)
{
	static const unsigned quotas[ENVS] = {0, 150, 80, 30, 30};
	for (unsigned i = 0; i < ENVS; i++) {
		env[i] = i == ROOT ? root : child(env[parent_of[i]], quotas[i]);
		table_of[i] = make(env[i], FH_PT1);
	}
}

static bool over(int a, int e) /* a is e or its ancestor */
{
	for (; e >= 0; e = parent_of[e])
		if (e == a)
			return true;
	return false;
}

#define DONE (long)FH_OP_DONE

/* DESIGN 2, invariant 4, said once more. */
static long rule(int me, int table_owner, int frame_owner, unsigned type, pfn_t f, bool writable)
{
	if (!over(me, table_owner))
		return -FH_EPERM;
	switch (type) {
	case FH_DATA:
	case FH_DEVICE:
		return over(me, frame_owner) && (over(table_owner, frame_owner) || over(frame_owner, table_owner)) ?
		       DONE : -(long)FH_EPERM;
	case FH_TABLE:
	case FH_CPU: return writable ? -(long)FH_EACCES : DONE;
	case FH_KERNEL:
	case FH_FREE: return -FH_EPERM;
	case FH_BUSY: return -FH_EBUSY;
	}
	if (writable)
		return -FH_EACCES;
	return over(table_owner, frame_owner) || same(f, env[table_owner]) ? DONE : -(long)FH_EPERM;
}

static void try_all(int frame_owner, unsigned type, pfn_t f)
{
	for (int me = 0; me < ENVS; me++)
		for (int owner = 0; owner < ENVS; owner++)
			for (int writable = 0; writable < 2; writable++) {
				long want = rule(me, owner, frame_owner, type, f, writable);
				pte_t e = writable ? rw(f) : ro(f);
				uint64_t refs = refs_of(f);
				world_before();
				long r = set(env[me], table_of[owner], 3, e);
				if (r != want)
					suite_fail(__FILE__, __LINE__, "env %d maps %s a type %u of env %d in env %d's table: %ld, not %ld",
					           me, writable ? "rw" : "ro", type, frame_owner, owner, r, want);
				if (r < 0) {
					assert_null(world_changed(false));
					continue;
				}
				assert_int_equal(refs_of(f), refs + !uncounted(type));
				if (type != FH_BUSY)
					does(0);
				gives(clear(env[owner], table_of[owner], 3), FH_OP_DONE); /* who owns the table clears it */
				assert_int_equal(refs_of(f), refs);
			}
}

TEST("every env, over every env's table, maps every type of every env's frame just as invariant 4 says")
{
	static const unsigned types[] = {FH_DATA, FH_PT1, FH_PT2, FH_PT3, FH_PT4, FH_ENV, FH_THREAD};
	world_shallow = true;
	family();
	for (int owner = 0; owner < ENVS; owner++)
		for (unsigned i = 0; i < LENGTH(types); i++) {
			if (owner == A2 && types[i] == FH_ENV)
				continue;
			try_all(owner, types[i], make(env[owner], types[i]));
		}
	for (int e = 0; e < ENVS; e++)
		try_all(e ? parent_of[e] : ROOT, FH_ENV, env[e]);
}

TEST("DEVICE frames go by the rule for memory; TABLE and CPU frames are everybody's to read; the rest nobody's")
{
	world_shallow = true;
	family();
	try_all(ROOT, FH_DEVICE, pfn(A_DEVICE));
	try_all(ROOT, FH_CPU, pfn(A_CPU));
	try_all(-1, FH_TABLE, pfn(TABLE_RUN + 7));
	try_all(-1, FH_FREE, pfn(RUN));
	try_all(-1, FH_KERNEL, pfn(0));
	try_all(-1, FH_KERNEL, pfn(A_KERNEL));
}

TEST("a frame that another CPU has claimed is EBUSY to map")
{
	family();
	pfn_t f = data(root);
	assert_true(claim_exact(f, state_of(f)));
	world_no_audit = true;
	refuses(set(root, table_of[ROOT], 3, rw(f)), EBUSY, "another CPU is changing");
}

TEST("refused maps say why: no authority, no common line, more rights than the frame may have")
{
	family();
	pfn_t of_b = data(env[B]), of_root = data(root), thread = make(env[A], FH_THREAD);
	refuses(set(env[A], table_of[A], 3, ro(of_root)), EPERM, "no authority over the frame");
	refuses(set(root, table_of[A], 3, ro(of_b)), EPERM, "ancestor and descendant");
	refuses(set(env[A], table_of[A], 3, rw(thread)), EACCES, "mapped writable");
	refuses(set(root, table_of[B], 3, ro(thread)), EPERM, "shown to their owner");
	refuses(set(root, table_of[A], 3, ro(pfn(RUN))), EPERM, "nobody's, or the kernel's");
}

TEST("a frame is mapped any number of times, and is free to go when the last mapping is")
{
	family();
	pfn_t f = data(env[A1]);
	pfn_t where[] = {table_of[A1], table_of[A], table_of[ROOT], table_of[A2]};
	for (unsigned i = 0; i < 8; i++)
		gives(set(root, where[i % 4], 10 + i, i % 2 ? rw(f) : rx(f)), FH_OP_DONE);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(refs_of(f), 8 - i);
		refuses(frame_free(env[A1], f.n, 1), EBUSY, "still mapped");
		does(clear(root, where[i % 4], 10 + i));
	}
	gives(frame_free(env[A1], f.n, 1), 1);
}

TEST("SET over an entry returns it, and its frame is stamped and let go; over itself too")
{
	family();
	pfn_t f = data(root), g = data(root);
	does(set(root, table_of[ROOT], 3, rw(f) | FH_A | FH_D));
	epoch_tick();
	gives(set(root, table_of[ROOT], 3, rw(g)), FH_OP_DONE);
	assert_int_equal(old_entry, rw(f) | FH_A | FH_D);
	assert_int_equal(refs_of(f), 0);
	assert_int_equal(stamp_of(f), clock_now());
	assert_int_equal(stamp_of(g), 0);
	gives(set(root, table_of[ROOT], 3, ro(g)), FH_OP_DONE);
	assert_int_equal(refs_of(g), 1);
	assert_int_equal(stamp_of(g), clock_now());
	gives(set(root, table_of[ROOT], 3, 0x1230000000000000), FH_OP_DONE);
	assert_int_equal(refs_of(g), 0);
	assert_int_equal(count_of(table_of[ROOT]), 0);
}

/* ---- Large pages ---- */

static pfn_t pt2;

static void large_world(void)
{
	family();
	pt2 = make(root, FH_PT2);
	run(root, pfn(RUN), 512);
}

TEST("a large page references all of its 512 frames, and clearing it stamps and lets go of all")
{
	large_world();
	gives(set(root, pt2, 3, large(RUN)), FH_OP_DONE);
	gives(set(root, pt2, 4, large(RUN) & ~FH_W), FH_OP_DONE);
	assert_int_equal(count_of(pt2), 2);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(refs_of(pfn(RUN + i)), 2);
	epoch_tick();
	gives(clear(root, pt2, 3), FH_OP_DONE);
	gives(clear(root, pt2, 4), FH_OP_DONE);
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(refs_of(pfn(RUN + i)), 0);
		assert_int_equal(stamp_of(pfn(RUN + i)), clock_now());
	}
}

TEST("a large page over frames of two owners, or two types, or one that is claimed, is EBUSY and keeps no reference")
{
	large_world();
	static const unsigned at[] = {1, 255, 511};
	for (unsigned i = 0; i < LENGTH(at); i++) {
		uint64_t f = RUN + at[i];
		does(frame_retype(root, f, FH_PT1));
		refuses(set(root, pt2, 3, large(RUN)), EBUSY, "changed type or owner");
		does(frame_retype(root, f, FH_DATA));
		gives(frame_free(root, f, 1), 1);
		refuses(set(root, pt2, 3, large(RUN)), EBUSY, "changed type or owner");
		gives(frame_alloc(root, f, 1, env_name(env[A]), 0), 1);
		refuses(set(root, pt2, 3, large(RUN)), EBUSY, "changed type or owner");
		gives(frame_free(root, f, 1), 1);
		gives(frame_alloc(root, f, 1, 0, 0), 1);
		uint64_t was = state_of(pfn(f));
		assert_true(claim_exact(pfn(f), was));
		world_no_audit = true;
		refuses(set(root, pt2, 3, large(RUN)), EBUSY, "claimed");
		record(pfn(f))->state = was;
		world_no_audit = false;
	}
	gives(set(root, pt2, 3, large(RUN)), FH_OP_DONE);
}

TEST("a large page over anything but DATA and TABLE is EACCES; over nobody's or a stranger's frames not allowed")
{
	large_world();
	does(frame_retype(root, RUN, FH_PT1));
	refuses(set(root, pt2, 3, large(RUN)), EACCES, "DATA or TABLE");
	refuses(set(root, pt2, 3, large(RUN2)), EACCES, "DATA or TABLE");
	does(frame_retype(root, RUN, FH_DATA));
	pfn_t other = make(env[A], FH_PT2);
	refuses(set(env[A], other, 3, large(RUN)), EPERM, "no authority over the frame");
	gives(set(root, other, 3, large(RUN)), FH_OP_DONE);
	refuses(op(env[A], FH_OP_SET, other, 3, large(RUN) & ~FH_W), EEXIST, "empty slot");
	gives(clear(env[A], other, 3), FH_OP_DONE);
}

TEST("a large page over TABLE frames is read-only, NX and uncounted, and all 512 are TABLE frames")
{
	large_world();
	large_exec = true;
	pte_t e = large(TABLE_RUN) & ~FH_W;
	gives(set(root, pt2, 3, e), FH_OP_DONE);
	gives(op(root, FH_OP_PROTECT, pt2, 3, FH_NX), FH_OP_DONE);
	refuses(op(root, FH_OP_PROTECT, pt2, 3, 0), EACCES, "not for execution");
	refuses(op(root, FH_OP_PROTECT, pt2, 3, FH_NX | FH_W), EACCES, "mapped writable");
	gives(clear(root, pt2, 3), FH_OP_DONE);
	refuses(set(root, pt2, 3, e | FH_W), EACCES, "mapped writable");
	refuses(set(root, pt2, 3, e & ~FH_NX), EACCES, "not for execution");
	table[TABLE_RUN + 300].state = FH_KERNEL;
	refuses(set(root, pt2, 3, e), EBUSY, "frames of one type");
}

TEST("a large page goes only into an empty slot, and nothing but a word into a large page's: EEXIST")
{
	large_world();
	pfn_t pt1 = make(root, FH_PT1);
	gives(set(root, pt2, 3, link_to(pt1)), FH_OP_DONE);
	refuses(set(root, pt2, 3, large(RUN)), EEXIST, "empty slot");
	gives(clear(root, pt2, 3), FH_OP_DONE);
	gives(set(root, pt2, 3, 0xf70), FH_OP_DONE);
	gives(set(root, pt2, 3, large(RUN)), FH_OP_DONE);
	refuses(set(root, pt2, 3, link_to(pt1)), EEXIST, "empty slot");
	refuses(set(root, pt2, 3, large(RUN)), EEXIST, "empty slot");
	gives(set(root, pt2, 3, 0xf70), FH_OP_DONE);
	assert_int_equal(refs_of(pfn(RUN + 77)), 0);
}
