/* pt_link.c - links between tables, own and foreign, and the recursive window (invariant 5). */
#include "world.h"

static pfn_t a, b;
static struct tree t, u, v; /* root's, a's, b's */

static void begin(void)
{
	a = child(root, 60), b = child(root, 60);
	t = tree(root), u = tree(a), v = tree(b);
}

static uint64_t link_word(pfn_t parent, unsigned index) { return (uint64_t)index << 16 | parent.n << 32; }
static uint64_t parent_word(pfn_t c) { return record(c)->link & ~1023ul; }

TEST("a link at level k names a table of level k-1, and nothing else: EBUSY")
{
	begin();
	pfn_t of[] = {data(root), make(root, FH_PT1), make(root, FH_PT2), make(root, FH_PT3), make(root, FH_PT4),
	              make(root, FH_THREAD), pfn(TABLE_RUN), pfn(A_CPU), pfn(A_DEVICE), pfn(RUN), pfn(A_KERNEL), a};
	for (unsigned level = 2; level <= 4; level++)
		for (unsigned i = 0; i < LENGTH(of); i++)
			if (i == level - 1)
				gives(set(root, t.t[level], 9, link_to(of[i])), FH_OP_DONE);
			else
				refuses(set(root, t.t[level], 9, link_to(of[i])), EBUSY, "one level down");
}

TEST("an env links its own table any number of times, and nobody has to record where")
{
	begin();
	pfn_t c = make(root, FH_PT2);
	for (unsigned i = 0; i < 511; i++)
		gives(set(root, t.t[3], 1 + i, link_to(c)), FH_OP_DONE);
	assert_int_equal(refs_of(c), 511);
	assert_int_equal(parent_word(c), 0);
	assert_int_equal(count_of(t.t[3]), 512);
	for (unsigned i = 0; i < 511; i++)
		gives(clear(root, t.t[3], 1 + i), FH_OP_DONE);
	assert_int_equal(refs_of(c), 0);
}

TEST("unlinking stamps the child table, then lets go of it")
{
	begin();
	epoch_tick();
	gives(clear(root, t.t[3], 0), FH_OP_DONE);
	assert_int_equal(stamp_of(t.t[2]), clock_now());
	assert_int_equal(refs_of(t.t[2]), 0);
	assert_int_equal(count_of(t.t[3]), 0);
	assert_int_equal(refs_of(t.t[1]), 1);
}

TEST("a link to an ancestor's or a stranger's table is EPERM, whoever's table it would stand in")
{
	begin();
	refuses(set(a, u.t[2], 9, link_to(t.t[1])), EPERM, "table to be linked");
	refuses(set(a, u.t[2], 9, link_to(v.t[1])), EPERM, "table to be linked");
	refuses(set(a, v.t[2], 9, link_to(u.t[1])), EPERM, "no authority over the table");
}

TEST("an ancestor links its descendant's table once, the child records the slot, unlinking clears the record")
{
	begin();
	pfn_t c = u.t[1];
	gives(set(root, t.t[2], 77, link_to(c)), FH_OP_DONE);
	assert_int_equal(parent_word(c), link_word(t.t[2], 77));
	assert_int_equal(refs_of(c), 2);
	refuses(set(root, t.t[2], 78, link_to(c)), EBUSY, "foreign owner already");
	refuses(set(root, v.t[2], 77, link_to(c)), EBUSY, "foreign owner already");
	gives(set(a, u.t[2], 33, link_to(c)), FH_OP_DONE); /* the owner goes on as it likes */
	gives(clear(a, u.t[2], 33), FH_OP_DONE);
	assert_int_equal(parent_word(c), link_word(t.t[2], 77));
	gives(clear(root, t.t[2], 77), FH_OP_DONE);
	assert_int_equal(parent_word(c), 0);
	gives(set(root, v.t[2], 511, link_to(c)), FH_OP_DONE); /* root has authority over both */
	assert_int_equal(parent_word(c), link_word(v.t[2], 511));
	gives(set(b, v.t[2], 511, 0), FH_OP_DONE); /* whose table it stands in may drop it */
	assert_int_equal(parent_word(c), 0);
}

TEST("a foreign link replaced by another table, a word or itself leaves the records right")
{
	begin();
	pfn_t c = u.t[1], d = make(a, FH_PT1), own = make(root, FH_PT1);
	does(set(root, t.t[2], 5, link_to(c)));
	gives(set(root, t.t[2], 5, link_to(d)), FH_OP_DONE);
	assert_int_equal(parent_word(c), 0);
	assert_int_equal(parent_word(d), link_word(t.t[2], 5));
	gives(set(root, t.t[2], 5, link_to(own)), FH_OP_DONE);
	assert_int_equal(parent_word(d), 0);
	gives(set(root, t.t[2], 5, link_to(d)), FH_OP_DONE);
	gives(op(root, FH_OP_NARROW, t.t[2], 5, 0), FH_OP_DONE);
	assert_int_equal(parent_word(d), link_word(t.t[2], 5));
	gives(op(root, FH_OP_UNLINK_FREE, t.t[2], 5, 0), FH_OP_DONE);
	assert_int_equal(state_of(d), FH_FREE);
}

TEST("a foreign link keeps the child's count of its own entries apart from its parent")
{
	begin();
	pfn_t f = data(a);
	does(set(root, t.t[2], 5, link_to(u.t[1])));
	for (unsigned i = 0; i < 512; i++)
		gives(set(a, u.t[1], i, ro(f)), FH_OP_DONE);
	assert_int_equal(record(u.t[1])->link, link_word(t.t[2], 5) | 512);
	for (unsigned i = 0; i < 512; i++)
		gives(clear(root, u.t[1], i), FH_OP_DONE);
	assert_int_equal(record(u.t[1])->link, link_word(t.t[2], 5));
}

TEST("a table linked by an ancestor is not the owner's to retype or free: EBUSY, KEPT")
{
	begin();
	does(set(root, t.t[2], 5, link_to(u.t[1])));
	gives(op(a, FH_OP_UNLINK_FREE, u.t[2], 0, 0), FH_OP_KEPT);
	refuses(frame_retype(a, u.t[1].n, FH_DATA), EBUSY, "linked");
	does(clear(root, t.t[2], 5));
	gives(frame_retype(a, u.t[1].n, FH_DATA), 0);
}

/* ---- The recursive window ---- */

TEST("a PT4 names itself read-only and NX, in any slot of the libOS's, uncounted")
{
	begin();
	for (unsigned i = 1; i < 511; i++) {
		gives(set(root, t.t[4], i, ro(t.t[4])), FH_OP_DONE);
		assert_int_equal(refs_of(t.t[4]), 0);
		assert_int_equal(count_of(t.t[4]), 1);
	}
	for (unsigned i = 1; i < 511; i++)
		gives(i % 2 ? clear(root, t.t[4], i) : set(root, t.t[4], i, 0x40), FH_OP_DONE);
	assert_int_equal(count_of(t.t[4]), 1);
}

TEST("a recursive window is never writable or executable, by no operation: EACCES")
{
	begin();
	pfn_t p = t.t[4];
	refuses(set(root, p, 9, rw(p)), EACCES, "recursive window");
	refuses(set(root, p, 9, rx(p)), EACCES, "recursive window");
	refuses(set(root, p, 9, link_to(p)), EACCES, "recursive window");
	does(set(root, p, 9, ro(p)));
	refuses(op(root, FH_OP_PROTECT, p, 9, FH_W | FH_NX), EACCES, "recursive window");
	refuses(op(root, FH_OP_PROTECT, p, 9, 0), EACCES, "recursive window");
	gives(op(root, FH_OP_NARROW, p, 9, FH_W), FH_OP_DONE);
	assert_int_equal(raw(p, 9), ro(p));
	refuses(op(root, FH_OP_CLAIM, p, 8, ro(p)), EINVAL, "CLAIM makes leaves");
	refuses(op(root, FH_OP_LINK_NEW, p, 8, ro(p)), EINVAL, "LINK_NEW links");
	refuses(op(root, FH_OP_UNMAP_FREE, p, 9, 0), EINVAL, "holds a link");
	refuses(op(root, FH_OP_UNLINK_FREE, p, 9, 0), EINVAL, "leaf or the self-map");
}

TEST("no table but a PT4 names itself, and a PT4 names no other: no cycles, no chains")
{
	begin();
	for (unsigned level = 2; level <= 3; level++)
		refuses(set(root, t.t[level], 9, ro(t.t[level])), EBUSY, "one level down");
	refuses(set(root, t.t[4], 9, ro(u.t[4])), EBUSY, "one level down");
	refuses(set(root, t.t[3], 9, ro(t.t[4])), EBUSY, "one level down");
	gives(set(root, t.t[1], 9, ro(t.t[1])), FH_OP_DONE); /* a PT1 is shown in itself, read-only */
	refuses(set(root, t.t[1], 9, rw(t.t[1])), EACCES, "mapped writable");
	assert_int_equal(refs_of(t.t[1]), 2);
}

TEST("a window and a link take each other's place, and the count stays right")
{
	begin();
	pfn_t p = t.t[4], c = make(root, FH_PT3);
	gives(set(root, p, 9, ro(p)), FH_OP_DONE);
	gives(set(root, p, 9, link_to(c)), FH_OP_DONE);
	assert_int_equal(count_of(p), 2);
	gives(set(root, p, 9, ro(p)), FH_OP_DONE);
	assert_int_equal(count_of(p), 1);
	assert_int_equal(refs_of(c), 0);
}

TEST("a window and a word take each other's place, whatever the word, and the count stays right")
{
	begin();
	pfn_t p = t.t[4];
	static const uint64_t words[] = {0, 0x80, ~(FH_PFN_MASK << 12) & ~1ul, FH_PFN_MASK << 12, ~1ul};
	for (unsigned i = 0; i < LENGTH(words); i++) {
		gives(set(root, p, 9, words[i]), FH_OP_DONE);
		gives(set(root, p, 9, ro(p)), FH_OP_DONE);
		gives(op(root, FH_OP_CLEAR, p, 9, words[i]), FH_OP_DONE);
	}
}

/* ---- LINK_NEW and UNLINK_FREE ---- */

TEST("LINK_NEW makes a FREE frame the next lower table of the table's owner, zeroed, and links it")
{
	begin();
	for (unsigned level = 2; level <= 4; level++) {
		pfn_t f = some_free();
		uint64_t before = owned(a);
		fill_frame(f, 0x44);
		gives(op(root, FH_OP_LINK_NEW, u.t[level], 9, link_to(f) | FH_AVL), FH_OP_DONE);
		assert_int_equal(state_of(f), make_state(FH_PT1 + level - 2, a, 1));
		assert_true(all_bytes(f, 0));
		assert_int_equal(raw(u.t[level], 9), link_to(f) | FH_AVL);
		assert_int_equal(owned(a), before + 1);
		assert_int_equal(count_of(u.t[level]), 2);
	}
	refuses(op(root, FH_OP_LINK_NEW, u.t[1], 9, link_to(pfn(RUN))), EINVAL, "LINK_NEW links");
	refuses(op(root, FH_OP_LINK_NEW, u.t[2], 9, large(RUN)), EINVAL, "LINK_NEW links");
	refuses(op(root, FH_OP_LINK_NEW, u.t[2], 9, 0), EINVAL, "LINK_NEW links");
}

TEST("LINK_NEW zeroes the frame in spite of KEEP, the last owner's too")
{
	begin();
	pfn_t f = data(root);
	gives(frame_free(root, f.n, 1), 1);
	fill_frame(f, 0xff);
	pte_t old;
	gives(pt_set(root, fh_what(FH_OP_LINK_NEW, FH_KEEP, t.t[2].n, 9, 1), link_to(f), 0, &old), FH_OP_DONE);
	assert_true(all_bytes(f, 0));
}

TEST("UNLINK_FREE frees an empty table that nothing else names, and returns its owner's quota: DONE")
{
	begin();
	uint64_t before = owned(a);
	gives(op(root, FH_OP_UNLINK_FREE, u.t[2], 0, 0x5550000000000000), FH_OP_DONE);
	assert_int_equal(old_entry, link_to(u.t[1]));
	assert_int_equal(raw(u.t[2], 0), 0x5550000000000000);
	assert_int_equal(state_of(u.t[1]), FH_FREE);
	assert_int_equal(record(u.t[1])->tenant, env_name(a));
	assert_int_equal(owned(a), before - 1);
	assert_int_equal(count_of(u.t[2]), 0);
	gives(op(a, FH_OP_UNLINK_FREE, u.t[3], 0, 0), FH_OP_DONE);
	gives(op(a, FH_OP_UNLINK_FREE, u.t[4], 0, 0), FH_OP_DONE);
}

TEST("UNLINK_FREE only unlinks a table with entries, linked or mapped elsewhere, or not the caller's: KEPT")
{
	begin();
	gives(op(root, FH_OP_UNLINK_FREE, t.t[4], 0, 0), FH_OP_KEPT);
	assert_int_equal(state_of(t.t[3]), make_state(FH_PT3, root, 0));
	does(set(root, t.t[2], 1, link_to(t.t[1])));
	gives(op(root, FH_OP_UNLINK_FREE, t.t[2], 0, 0), FH_OP_KEPT);
	assert_int_equal(state_of(t.t[1]), make_state(FH_PT1, root, 1));
	does(set(root, t.t[1], 0, ro(t.t[1])));
	gives(op(root, FH_OP_UNLINK_FREE, t.t[2], 1, 0), FH_OP_KEPT);
	pfn_t ours = make(root, FH_PT1);
	does(set(root, u.t[2], 1, link_to(ours)));
	gives(op(a, FH_OP_UNLINK_FREE, u.t[2], 1, 0), FH_OP_KEPT);
	assert_int_equal(state_of(ours), make_state(FH_PT1, root, 0));
}

TEST("UNLINK_FREE of a leaf, large or small, is EINVAL; of an empty slot there is nothing to do: DONE")
{
	begin();
	run(root, pfn(RUN), 512);
	does(set(root, t.t[2], 9, large(RUN)));
	does(set(root, t.t[1], 9, rw(pfn(RUN))));
	refuses(op(root, FH_OP_UNLINK_FREE, t.t[2], 9, 0), EINVAL, "leaf or the self-map");
	refuses(op(root, FH_OP_UNLINK_FREE, t.t[1], 9, 0), EINVAL, "leaf or the self-map");
	gives(op(root, FH_OP_UNLINK_FREE, t.t[2], 10, 0), FH_OP_DONE);
}

TEST("UNLINK_FREE, like CLEAR and UNMAP_FREE, puts its word into a slot that was empty")
{
	begin();
	static const unsigned clears[] = {FH_OP_CLEAR, FH_OP_UNMAP_FREE, FH_OP_UNLINK_FREE};
	for (unsigned i = 0; i < LENGTH(clears); i++) {
		gives(op(root, clears[i], t.t[2], 10 + i, 0x70), FH_OP_DONE);
		assert_int_equal(raw(t.t[2], 10 + i), 0x70);
	}
}

static void finish(pfn_t me, struct fh_op *o)
{
	uint64_t done = 0;
	while (!done)
		gives(pt_update(me, o, 1, &done), 0);
}

TEST("a run of links: consecutive tables in consecutive slots, unlinked and freed as a run; one kept is KEPT")
{
	begin();
	pte_t e = link_to(pfn(RUN));
	struct fh_op o = {fh_what(FH_OP_LINK_NEW, 0, u.t[2].n, 100, 70), e};
	uint64_t done;
	gives(pt_update(a, &o, 1, &done), -FH_EDQUOT);
	gives(env_move_quota(a, 60), 0);
	assert_int_equal(fh_what_count(o.what), 70 - (56 - 0)); /* a had room for 56 */
	finish(a, &o);
	for (unsigned i = 0; i < 70; i++)
		assert_int_equal(raw(u.t[2], 100 + i), link_to(pfn(RUN + i)));
	pfn_t f = data(a);
	does(set(a, pfn(RUN + 33), 0, rw(f)));
	o = (struct fh_op){fh_what(FH_OP_UNLINK_FREE, 0, u.t[2].n, 100, 70), 0};
	finish(a, &o);
	assert_int_equal(fh_what_status(o.what), FH_OP_KEPT);
	assert_int_equal(o.entry & FH_PFN_FIELD, (RUN + 69ul) << 12);
	assert_int_equal(type_of(pfn(RUN + 33)), FH_PT1);
	assert_int_equal(type_of(pfn(RUN + 34)), FH_FREE);
}
