/* pt_claim.c - CLAIM and UNMAP_FREE: FREE to mapped and back in one operation; what happens while they await. */
#include "world.h"

static pfn_t a;
static struct tree t, u; /* root's, a's */

static void begin(void)
{
	a = child(root, 60);
	t = tree(root), u = tree(a);
}

static long claim(pfn_t me, pfn_t table, unsigned index, pte_t e) { return op(me, FH_OP_CLAIM, table, index, e); }

/* A run of one operation, resumed until it is done or refused. */
static struct fh_op o;
static long whole(pfn_t me, unsigned opcode, uint64_t flags, pfn_t table, unsigned index, unsigned count, pte_t e)
{
	uint64_t done = 0;
	long r = 0;
	o = (struct fh_op){fh_what(opcode, flags, table.n, index, count), e};
	while (r == 0 && done == 0)
		r = pt_update(me, &o, 1, &done);
	return r;
}

TEST("CLAIM maps a FREE frame, zeroed, owned by the table's owner, with one reference")
{
	begin();
	pfn_t f = some_free();
	uint64_t of_a = owned(a), of_root = owned(root);
	fill_frame(f, 0x31);
	gives(claim(root, u.t[1], 9, rw(f) | FH_AVL | FH_A | FH_D), FH_OP_DONE);
	assert_int_equal(state_of(f), make_state(FH_DATA, a, 1));
	assert_true(all_bytes(f, 0));
	assert_int_equal(raw(u.t[1], 9), rw(f) | FH_AVL | FH_A | FH_D);
	assert_int_equal(count_of(u.t[1]), 1);
	assert_int_equal(owned(a), of_a + 1);
	assert_int_equal(owned(root), of_root);
}

TEST("CLAIM with KEEP leaves what the last owner left, to the last owner only")
{
	begin();
	pfn_t f = some_free();
	for (unsigned i = 0; i < 2; i++) {
		pfn_t table = i ? t.t[1] : u.t[1];
		gives(whole(root, FH_OP_CLAIM, FH_KEEP, u.t[1], 9, 1, rw(f)), 0);
		gives(op(root, FH_OP_UNMAP_FREE, u.t[1], 9, 0), FH_OP_DONE);
		assert_int_equal(record(f)->tenant, env_name(a));
		fill_frame(f, 0x31); /* a stale translation may write until the frame is claimed */
		gives(whole(root, FH_OP_CLAIM, FH_KEEP, table, 9, 1, rw(f)), 0);
		assert_true(all_bytes(f, i ? 0 : 0x31));
		gives(op(root, FH_OP_UNMAP_FREE, table, 9, 0), FH_OP_DONE);
		gives(whole(root, FH_OP_CLAIM, 0, table, 9, 1, rw(f)), 0);
		assert_true(all_bytes(f, 0));
		gives(op(root, FH_OP_UNMAP_FREE, table, 9, 0), FH_OP_DONE);
	}
}

TEST("CLAIM makes leaves only, write-back: a link, a word and cache bits are EINVAL")
{
	begin();
	for (unsigned level = 2; level <= 4; level++)
		refuses(claim(root, t.t[level], 9, rw(pfn(RUN))), EINVAL, "CLAIM makes leaves");
	refuses(claim(root, t.t[1], 9, 0), EINVAL, "CLAIM makes leaves");
	static const pte_t cache[] = {FH_PWT, FH_PCD, FH_PAT};
	for (unsigned i = 0; i < 3; i++)
		refuses(claim(root, t.t[1], 9, rw(pfn(RUN)) | cache[i]), EINVAL, "write-back");
	refuses(claim(root, t.t[2], 9, large(RUN) & ~FH_NX), EACCES, "may not execute");
}

TEST("CLAIM and LINK_NEW of a frame that isn't FREE are EBUSY, of a filled slot EEXIST")
{
	begin();
	pfn_t of[] = {data(root), t.t[1], make(root, FH_THREAD), a, pfn(TABLE_RUN), pfn(A_CPU), pfn(A_DEVICE), pfn(A_KERNEL)};
	for (unsigned i = 0; i < LENGTH(of); i++) {
		refuses(claim(root, t.t[1], 9, rw(of[i])), EBUSY, "isn't FREE");
		refuses(op(root, FH_OP_LINK_NEW, t.t[2], 9, link_to(of[i])), EBUSY, "isn't FREE");
	}
	does(set(root, t.t[1], 9, rw(of[0])));
	refuses(claim(root, t.t[1], 9, rw(pfn(RUN))), EEXIST, "already holds");
	refuses(op(root, FH_OP_LINK_NEW, t.t[2], 0, link_to(pfn(RUN))), EEXIST, "already holds");
	refuses(claim(root, t.t[1], 9, rw(of[0])), EEXIST, "already holds");
}

TEST("CLAIM and LINK_NEW go by the quota of the table's owner, and by whether it is frozen")
{
	begin();
	does(env_move_quota(a, -56)); /* all it had left */
	refuses(claim(root, u.t[1], 9, rw(pfn(RUN))), EDQUOT, "quota allows");
	refuses(op(root, FH_OP_LINK_NEW, u.t[2], 9, link_to(pfn(RUN))), EDQUOT, "quota allows");
	does(env_move_quota(a, 1));
	atomic_or(&env_at(a)->account, FH_ACCOUNT_FROZEN);
	refuses(claim(root, u.t[1], 9, rw(pfn(RUN))), ECANCELED, "frozen or dead");
	atomic_and(&env_at(a)->account, ~FH_ACCOUNT_FROZEN);
	gives(claim(root, u.t[1], 9, rw(pfn(RUN))), FH_OP_DONE);
}

TEST("CLAIM returns the word that stood in the slot, as SET does")
{
	begin();
	does(set(root, t.t[1], 9, 0x4560000000000000));
	gives(claim(root, t.t[1], 9, rw(pfn(RUN))), FH_OP_DONE);
	assert_int_equal(old_entry, 0x4560000000000000);
}

TEST("a run of CLAIM takes consecutive frames into consecutive slots, over several rounds")
{
	begin();
	gives(whole(root, FH_OP_CLAIM, 0, t.t[1], 100, 300, rw(pfn(RUN))), 0);
	assert_int_equal(fh_what_status(o.what), FH_OP_DONE);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(raw(t.t[1], 100 + i), rw(pfn(RUN + i)));
		assert_int_equal(state_of(pfn(RUN + i)), make_state(FH_DATA, root, 1));
	}
	assert_int_equal(count_of(t.t[1]), 300);
}

/* A run of 100 CLAIMs from slot 100 and frame RUN stops at the 71st, and says where. */
static void stops_at_70(pfn_t me, pfn_t table, long error)
{
	uint64_t had = owned(a);
	gives(whole(me, FH_OP_CLAIM, 0, table, 100, 100, rw(pfn(RUN))), error);
	does(0);
	assert_int_equal(fh_what_count(o.what), 30);
	assert_int_equal(fh_what_index(o.what), 170);
	assert_int_equal(fh_what_status(o.what), FH_OP_PENDING);
	assert_int_equal(o.entry, rw(pfn(RUN + 70)));
	assert_int_equal(owned(a), had + 70);
	for (unsigned i = 0; i < 70; i++)
		assert_int_equal(raw(table, 100 + i), rw(pfn(RUN + i)));
}

TEST("a run of CLAIM stops at a frame that is taken: EBUSY, what was done stays")
{
	begin();
	does(env_move_quota(a, 100));
	gives(frame_alloc(root, RUN + 70, 1, 0, 0), 1);
	stops_at_70(a, u.t[1], -FH_EBUSY);
	gives(frame_free(root, RUN + 70, 1), 1);
	uint64_t done = 0;
	gives(pt_update(a, &o, 1, &done), 0); /* and goes on from there */
	assert_int_equal(done, 1);
	assert_int_equal(count_of(u.t[1]), 100);
}

TEST("a run of CLAIM stops at a slot that is filled: EEXIST")
{
	begin();
	does(env_move_quota(a, 100));
	pfn_t f = data(root);
	does(set(root, u.t[1], 170, ro(f)));
	stops_at_70(a, u.t[1], -FH_EEXIST);
}

TEST("a run of CLAIM stops where the quota ends: EDQUOT")
{
	begin();
	does(env_move_quota(a, 70 - 56));
	stops_at_70(a, u.t[1], -FH_EDQUOT);
}

TEST("a run of CLAIM stops where the table ends: EINVAL")
{
	begin();
	gives(whole(root, FH_OP_CLAIM, 0, t.t[1], 0, 100, rw(pfn(NFRAMES - 70))), -FH_EINVAL);
	assert_int_equal(count_of(t.t[1]), 70);
	assert_int_equal(fh_what_count(o.what), 30);
}

/* ---- Awaiting ---- */

TEST("CLAIM and LINK_NEW of frames that aren't quiet are EAGAIN when the flushes are spent, and change nothing")
{
	world_make(2);
	begin();
	pfn_t f = some_free();
	stamp_now(f);
	epoch_cpu[0].budget = 0;
	refuses(claim(root, t.t[1], 9, rw(f)), EAGAIN, "flushes are spent");
	refuses(op(root, FH_OP_LINK_NEW, t.t[2], 9, link_to(f)), EAGAIN, "flushes are spent");
	epoch_cpu[0].budget = 1;
	gives(claim(root, t.t[1], 9, rw(f)), FH_OP_DONE);
	assert_int_equal(machine.ipis[1], 1);
}

static void fill_slot(void) { assert_int_equal(set(root, u.t[1], 9, ro(pfn(A_DEVICE))), FH_OP_DONE); }
static void fill_later_slot(void) { assert_int_equal(set(root, u.t[1], 11, ro(pfn(A_DEVICE))), FH_OP_DONE); }
static void retype_table(void)
{
	assert_int_equal(op(root, FH_OP_CLEAR, u.t[2], 0, 0), FH_OP_DONE);
	assert_int_equal(frame_retype(root, u.t[1].n, FH_DATA), 0);
}
static void move_env(void) { record(a)->state = make_state(FH_ENV, pfn(SMALL + 200), 0); } /* as a take will */
static void freeze(void) { atomic_or(&env_at(a)->account, FH_ACCOUNT_FROZEN); }

/* While CLAIM of slot 9 and two more awaits, `what` happens: refused with `error`, the frames FREE again. */
static void spoiled(void (*what)(void), unsigned count, long error)
{
	world_make(2);
	begin();
	pfn_t f = pfn(RUN);
	gives(frame_alloc(a, f.n, 1, 0, 0), 1);
	gives(frame_free(a, f.n, 1), 1);
	uint64_t had = owned(a);
	meanwhile(f, what);
	o = (struct fh_op){fh_what(FH_OP_CLAIM, FH_KEEP, u.t[1].n, 9, count), rw(f)};
	uint64_t done;
	assert_int_equal(pt_update(root, &o, 1, &done), error);
	assert_int_equal(owned(a), had);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(state_of(pfn(f.n + i)), FH_FREE);
		assert_int_equal(record(pfn(f.n + i))->tenant, 0);
	}
}

TEST("a slot filled while CLAIM awaits is EEXIST; frames and quota go back, and nobody is their last owner")
{
	spoiled(fill_slot, 1, -FH_EEXIST);
	does(0);
	assert_string_equal(suite_sentence(), "the slot was filled meanwhile");
	spoiled(fill_later_slot, 3, -FH_EEXIST);
	does(0);
}

TEST("a table retyped while CLAIM awaits is EBUSY; frames and quota go back")
{
	spoiled(retype_table, 3, -FH_EBUSY);
	does(0);
}

TEST("authority over the table lost while CLAIM awaits is EPERM; frames and quota go back")
{
	spoiled(move_env, 1, -FH_EPERM);
	record(a)->state = make_state(FH_ENV, root, 0);
	does(0);
}

TEST("an env frozen while CLAIM awaits still gets the frames it had reserved")
{
	world_make(2);
	begin();
	meanwhile(pfn(RUN), freeze);
	gives(claim(root, u.t[1], 9, rw(pfn(RUN))), FH_OP_DONE);
}

/* ---- UNMAP_FREE ---- */

TEST("UNMAP_FREE of the last reference to one's own DATA frees it: DONE; poisoned, quota returned")
{
	begin();
	pfn_t f = some_free();
	does(claim(a, u.t[1], 9, rw(f)));
	forge(u.t[1], 9, rw(f) | FH_A | FH_D);
	uint64_t had = owned(a);
	epoch_tick();
	gives(op(root, FH_OP_UNMAP_FREE, u.t[1], 9, 0x1110000000000000), FH_OP_DONE);
	assert_int_equal(old_entry, rw(f) | FH_A | FH_D);
	assert_int_equal(raw(u.t[1], 9), 0x1110000000000000);
	assert_int_equal(state_of(f), FH_FREE);
	assert_int_equal(record(f)->tenant, env_name(a));
	assert_int_equal(stamp_of(f), clock_now());
	assert_true(all_bytes(f, 0xa5));
	assert_int_equal(owned(a), had - 1);
	assert_int_equal(count_of(u.t[1]), 0);
	gives(op(root, FH_OP_UNMAP_FREE, u.t[1], 9, 0), FH_OP_DONE);
	assert_int_equal(old_entry, 0x1110000000000000);
}

TEST("UNMAP_FREE of a descendant's frame in one's own table frees it and returns the descendant's quota")
{
	begin();
	pfn_t f = data(a);
	does(set(root, t.t[1], 9, rw(f)));
	uint64_t had = owned(a), of_root = owned(root);
	gives(op(root, FH_OP_UNMAP_FREE, t.t[1], 9, 0), FH_OP_DONE);
	assert_int_equal(owned(a), had - 1);
	assert_int_equal(owned(root), of_root);
}

TEST("UNMAP_FREE only unmaps what is mapped elsewhere, pinned, not DATA, or not the caller's: KEPT")
{
	begin();
	pfn_t twice = data(root), pinned = data(root), thread = make(root, FH_THREAD);
	does(set(root, t.t[1], 50, ro(twice)));
	pin(thread, &thread_at(thread)->batch, pinned);
	pfn_t kept[] = {twice, pinned, thread, t.t[4], a, pfn(A_DEVICE), pfn(A_CPU), pfn(TABLE_RUN + 3)};
	for (unsigned i = 0; i < LENGTH(kept); i++) {
		uint64_t was = state_of(kept[i]);
		does(set(root, t.t[1], 9, ro(kept[i])));
		gives(op(root, FH_OP_UNMAP_FREE, t.t[1], 9, 0), FH_OP_KEPT);
		assert_int_equal(state_of(kept[i]), was);
	}
	pfn_t f = data(root);
	does(set(root, u.t[1], 9, ro(f)));
	gives(op(a, FH_OP_UNMAP_FREE, u.t[1], 9, 0), FH_OP_KEPT);
	gives(frame_free(root, f.n, 1), 1);
}

TEST("UNMAP_FREE of a link or the window is EINVAL and leaves it")
{
	begin();
	for (unsigned level = 2; level <= 4; level++)
		refuses(op(root, FH_OP_UNMAP_FREE, t.t[level], 0, 0), EINVAL, "not a leaf");
}

TEST("a run of UNMAP_FREE frees what it can, over several rounds; one kept makes it KEPT")
{
	begin();
	gives(whole(root, FH_OP_CLAIM, 0, t.t[1], 0, 200, rw(pfn(RUN))), 0);
	gives(whole(root, FH_OP_UNMAP_FREE, 0, t.t[1], 100, 100, 0), 0);
	assert_int_equal(fh_what_status(o.what), FH_OP_DONE);
	does(set(root, t.t[1], 300, ro(pfn(RUN + 3))));
	uint64_t had = owned(root);
	gives(whole(root, FH_OP_UNMAP_FREE, 0, t.t[1], 0, 200, 0), 0);
	assert_int_equal(fh_what_status(o.what), FH_OP_KEPT);
	assert_int_equal(owned(root), had - 99);
	assert_int_equal(state_of(pfn(RUN + 3)), make_state(FH_DATA, root, 1));
}

/* ---- Large pages ---- */

TEST("a large page is claimed, mapped twice, unmapped but KEPT, and freed with the last mapping")
{
	begin();
	uint64_t had = owned(root);
	gives(claim(root, t.t[2], 9, large(RUN)), FH_OP_DONE);
	assert_int_equal(owned(root), had + 512);
	gives(set(root, t.t[2], 10, large(RUN) & ~FH_W), FH_OP_DONE);
	does(set(root, t.t[1], 10, rw(pfn(RUN + 100))));
	gives(op(root, FH_OP_UNMAP_FREE, t.t[2], 9, 0), FH_OP_KEPT);
	assert_int_equal(owned(root), had + 512);
	gives(op(root, FH_OP_UNMAP_FREE, t.t[2], 10, 0), FH_OP_KEPT); /* one 4 KiB mapping is left */
	assert_int_equal(owned(root), had + 1);
	assert_int_equal(state_of(pfn(RUN + 100)), make_state(FH_DATA, root, 1));
	assert_int_equal(state_of(pfn(RUN + 101)), FH_FREE);
	gives(op(root, FH_OP_UNMAP_FREE, t.t[1], 10, 0), FH_OP_DONE);
	gives(claim(root, t.t[2], 9, large(RUN)), FH_OP_DONE);
	gives(op(root, FH_OP_UNMAP_FREE, t.t[2], 9, 0), FH_OP_DONE);
	assert_int_equal(owned(root), had);
}

TEST("a large page isn't claimed over a taken frame (EBUSY), with quota for 511 (EDQUOT), or a filled slot (EEXIST)")
{
	begin();
	static const unsigned at[] = {0, 1, 300, 511};
	for (unsigned i = 0; i < LENGTH(at); i++) {
		gives(frame_alloc(root, RUN + at[i], 1, 0, 0), 1);
		refuses(claim(root, t.t[2], 9, large(RUN)), EBUSY, "isn't FREE");
		gives(frame_free(root, RUN + at[i], 1), 1);
	}
	does(env_move_quota(a, 511 - 56));
	refuses(claim(a, u.t[2], 9, large(RUN)), EDQUOT, "quota allows");
	does(env_move_quota(a, 1));
	refuses(claim(a, u.t[2], 0, large(RUN)), EEXIST, "already holds");
	gives(claim(a, u.t[2], 9, large(RUN)), FH_OP_DONE);
	refuses(claim(root, t.t[2], 9, large(RAGGED)), EINVAL, "leaves the table");
}

TEST("two large pages are one run: 1024 frames, 2 MiB a step")
{
	begin();
	gives(whole(root, FH_OP_CLAIM, 0, t.t[2], 9, 2, large(RUN)), 0);
	assert_int_equal(raw(t.t[2], 10), large(RUN2));
	gives(whole(root, FH_OP_CLEAR, 0, t.t[2], 9, 2, 0), 0);
	gives(whole(root, FH_OP_SET, 0, t.t[2], 20, 2, large(RUN)), 0);
	assert_int_equal(raw(t.t[2], 21), large(RUN2));
	gives(whole(root, FH_OP_UNMAP_FREE, 0, t.t[2], 20, 2, 0), 0);
	assert_int_equal(fh_what_status(o.what), FH_OP_DONE);
}
