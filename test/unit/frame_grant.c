/* frame_grant.c - frame_grant, of what and to whom; revocation (grant.c). A tenant's links are in pt_window.c. */
#include "step.h"
#include "world.h"

static pfn_t a, b, a1;
static struct tree u, v; /* a's, b's */

static void begin(void)
{
	a = child(root, 100), b = child(root, 60), a1 = child(a, 30);
	u = tree(a), v = tree(b);
}

static uint64_t tenant(pfn_t f) { return record(f)->tenant; }
static long grant(pfn_t me, pfn_t f, pfn_t to) { return frame_grant(me, f.n, env_name(to)); }
static long withdraw(pfn_t me, pfn_t f) { return frame_grant(me, f.n, 0); }

TEST("a frame, a device, a CPU and a window are granted by their owner or its ancestor, and withdrawn")
{
	begin();
	pfn_t of_a[] = {data(a), make(a, FH_PT1), make(a, FH_PT2)}, of_root[] = {pfn(A_DEVICE), pfn(A_CPU), data(root)};
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 2; k++) {
			uint64_t before = state_of(of_a[i]);
			gives(grant(k ? a : root, of_a[i], b), 0);
			assert_int_equal(tenant(of_a[i]), env_name(b));
			assert_int_equal(state_of(of_a[i]), before);
			gives(withdraw(k ? root : a, of_a[i]), 0);
			assert_int_equal(tenant(of_a[i]), 0);
			gives(withdraw(a, of_a[i]), 0); /* nothing is withdrawn as well */
			gives(grant(root, of_root[i], b), 0);
			assert_int_equal(tenant(of_root[i]), env_name(b));
			gives(withdraw(root, of_root[i]), 0);
			assert_int_equal(tenant(of_root[i]), 0);
		}
}

TEST("a tenant may be an ancestor or a descendant, but not the owner: EINVAL")
{
	begin();
	pfn_t f = data(a);
	pfn_t others[] = {root, b, a1};
	for (unsigned i = 0; i < 3; i++) {
		gives(grant(a, f, others[i]), 0);
		gives(withdraw(a, f), 0);
	}
	refuses(grant(a, f, a), EINVAL, "its own owner");
	refuses(grant(root, f, a), EINVAL, "its own owner");
	refuses(frame_grant(root, f.n, a.n), EINVAL, "its own owner");
}

TEST("frame_grant of a frame beyond the table is EINVAL, granting and withdrawing")
{
	static const uint64_t frames[] = {NFRAMES, FH_PFN_MASK, 1ul << 32 | SMALL, ~0ul};
	for (unsigned i = 0; i < LENGTH(frames); i++) {
		refuses(frame_grant(root, frames[i], env_name(root)), EINVAL, "no such frame");
		refuses(frame_grant(root, frames[i], 0), EINVAL, "no such frame");
	}
}

TEST("frame_grant of a frame that is nobody's, or not the caller's, is EPERM")
{
	begin();
	uint64_t frames[] = {data(root).n, data(a).n, data(b).n, u.t[1].n, a.n, root.n, RUN, 0, A_KERNEL, TABLE_RUN, A_CPU,
	                     A_DEVICE};
	for (unsigned i = 0; i < LENGTH(frames); i++) {
		refuses(frame_grant(a1, frames[i], env_name(b)), EPERM, "yours to grant");
		refuses(frame_grant(a1, frames[i], 0), EPERM, "yours to grant");
	}
	gives(frame_free(root, frames[0], 1), 1);
	refuses(frame_grant(root, frames[0], env_name(b)), EPERM, "yours to grant");
	refuses(frame_grant(root, A_KERNEL, 0), EPERM, "yours to grant");
	refuses(frame_grant(root, TABLE_RUN, env_name(b)), EPERM, "yours to grant");
}

TEST("upper tables, ENVs, THREADs and frames being changed are not granted: EBUSY")
{
	begin();
	pfn_t f = data(a), of[] = {u.t[3], u.t[4], make(a, FH_THREAD), a1, f};
	record(f)->state = make_state(FH_BUSY, a, 0);
	for (unsigned i = 0; i < LENGTH(of); i++) {
		assert_int_equal(grant(a, of[i], b), -FH_EBUSY);
		assert_int_equal(withdraw(a, of[i]), -FH_EBUSY);
		assert_non_null(strstr(suite_sentence(), "frames are granted"));
		assert_int_equal(tenant(of[i]), 0);
	}
	record(f)->state = make_state(FH_DATA, a, 0);
	does(0);
}

TEST("a grant is to a living env by its whole name; a name without serial is for its ancestors (HOSTILE 22)")
{
	begin();
	pfn_t f = data(a), f1 = data(a1);
	refuses(frame_grant(a, f.n, b.n), EPERM, "only for the env's ancestors");
	gives(frame_grant(a, f.n, a1.n), 0);
	gives(withdraw(a, f), 0);
	refuses(frame_grant(a, f.n, env_name(b) + (1ul << FH_PFN_BITS)), ESRCH, "another lives in its frame");
	refuses(frame_grant(a, f.n, f1.n), ESRCH, "no ENV frame");
	refuses(frame_grant(a, f.n, fh_name(FH_PFN_MASK, 1)), ESRCH, "no ENV frame");
	env_at(b)->account |= FH_ACCOUNT_DEAD;
	refuses(grant(a, f, b), ECANCELED, "the env is dead");
}

static pfn_t dead;
static void make_anew(void)
{
	machine.cpu = 1;
	assert_int_equal(frame_retype(a, dead.n, FH_DATA), 0);
	assert_int_equal(frame_retype(a, dead.n, FH_ENV), 0);
	machine.cpu = 0;
}

TEST("an env is made anew in a dead one's frame at any instruction of a call that names the dead one: it isn't meant")
{
	world_make(2);
	begin();
	pfn_t f = data(a);
	dead = child(a, 0);
	for (unsigned k = 1;; k += STEP_STRIDE) {
		uint64_t name = env_name(dead);
		epoch_cpu[0].budget = 0;
		assert_int_equal(frame_retype(a, dead.n, FH_DATA), -FH_EAGAIN);
		for (unsigned i = 0; i < 4; i++) { /* quiet from here on */
			machine.cpu = i % 2;
			epoch_tick();
		}
		machine.cpu = 0;
		step_begin(k, make_anew);
		long r = frame_grant(a, f.n, name);
		bool done = !step_end();
		assert_true(r == -FH_ECANCELED || r == -FH_ESRCH);
		if (done)
			break;
	}
}

TEST("a frame has one tenant until its grant is withdrawn, though that tenant be dead: EBUSY")
{
	begin();
	pfn_t f = data(a), c = child(root, 10);
	uint64_t dead = env_name(c);
	does(grant(a, f, c));
	refuses(grant(a, f, b), EBUSY, "granted already");
	refuses(grant(root, f, c), EBUSY, "granted already");
	gives(frame_retype(root, c.n, FH_DATA), 0);
	refuses(grant(a, f, b), EBUSY, "granted already");
	gives(frame_retype(root, c.n, FH_ENV), 0); /* another env of the same pfn */
	does(env_move_quota(c, 10));
	assert_int_not_equal(env_name(c), dead);
	refuses(frame_take(c, f.n, 1), EPERM, "granted to the caller");
	gives(withdraw(a, f), 0);
	gives(grant(a, f, c), 0);
	gives(frame_take(c, f.n, 1), 1);
}

TEST("a granted frame is its owner's to map, free and retype, and then granted no more (HOSTILE 29)")
{
	begin();
	pfn_t f = data(a);
	does(grant(a, f, b));
	gives(set(a, u.t[1], 0, rw(f)), FH_OP_DONE);
	gives(op(a, FH_OP_UNMAP_FREE, u.t[1], 0, 0), FH_OP_DONE);
	assert_int_equal(tenant(f), env_name(a)); /* its last owner */
	refuses(frame_take(b, f.n, 1), EPERM, "granted to the caller");
	refuses(frame_take(a, f.n, 1), EPERM, "granted to the caller");
	gives(frame_alloc(a, f.n, 1, 0, FH_ALLOC_KEEP), 1);
	assert_int_equal(tenant(f), 0);
	does(grant(a, f, b));
	gives(frame_retype(a, f.n, FH_THREAD), 0);
	assert_int_equal(tenant(f), 0);
	gives(frame_retype(a, f.n, FH_DATA), 0);
	refuses(frame_take(b, f.n, 1), EPERM, "granted to the caller");
	does(grant(a, f, b));
	gives(frame_free(a, f.n, 1), 1);
	gives(frame_alloc(root, f.n, 1, 0, 0), 1);
	refuses(frame_take(b, f.n, 1), EPERM, "granted to the caller");
}

TEST("a retype that is put off leaves the grant as it was")
{
	begin();
	pfn_t f = data(a);
	does(grant(a, f, b));
	stamp_now(f);
	epoch_cpu[0].budget = 0;
	refuses(frame_retype(a, f.n, FH_PT1), EAGAIN, "flushes are spent");
	assert_int_equal(tenant(f), env_name(b));
	gives(frame_grant(a, f.n, 0), 0); /* a frame's grant is withdrawn without a wait: nothing was reached by it */
}

static pfn_t w;
static void unlink_meanwhile(void) { clear(a, u.t[2], 9); }

TEST("a table unlinked while its grant waits is not quiet again: EAGAIN")
{
	world_make(2);
	begin();
	w = make(a, FH_PT1);
	does(set(a, u.t[2], 9, link_to(w)));
	epoch_tick();
	machine.cpu = 1;
	epoch_tick();
	machine.cpu = 0;
	meanwhile(w, unlink_meanwhile);
	gives(grant(a, w, b), -FH_EAGAIN);
	assert_int_equal(tenant(w), 0);
	does(0);
	gives(grant(a, w, b), 0);
}

static pfn_t locked;
static void unlock_later(void)
{
	if (machine.pauses == 5)
		record_unlock(locked);
}

TEST("who grants a frame waits for who holds its record; a locked frame isn't claimed")
{
	begin();
	locked = data(a);
	does(set(a, u.t[1], 0, rw(locked)));
	assert_int_equal(record_lock(locked, state_of(locked)), 0);
	assert_int_equal(clear(a, u.t[1], 0), FH_OP_DONE);
	assert_int_equal(frame_free(a, locked.n, 1), -FH_EBUSY);
	assert_int_equal(frame_retype(a, locked.n, FH_PT1), -FH_EBUSY);
	assert_int_equal(set(a, u.t[1], 0, rw(locked)), FH_OP_DONE);
	assert_int_equal(op(a, FH_OP_UNMAP_FREE, u.t[1], 0, 0), FH_OP_KEPT);
	assert_int_equal(state_of(locked), make_state(FH_DATA, a, 0) | FH_STATE_LOCK);
	machine.on_pause = unlock_later;
	gives(grant(a, locked, b), 0);
	assert_int_equal(machine.pauses, 5);
	gives(frame_free(a, locked.n, 1), 1);
}

/* ---- What an ancestor takes, and asks for ---- */

static const struct fh_env *env_of_a(void) { return env_at(a); }
static void expect_entry(uint64_t seq, pfn_t f)
{
	assert_int_equal(env_of_a()->repossessed, seq + 1);
	assert_int_equal(env_of_a()->repossession[seq % FH_REPOSSESSIONS], f.n | seq << 32);
}

TEST("each frame of an env that an ancestor frees is in the env's repossession vector")
{
	begin();
	pfn_t f = data(a), g = data(a), t = make(a, FH_PT1), old = u.t[1];
	gives(frame_free(root, f.n, 1), 1);
	expect_entry(0, f);
	does(set(a, u.t[1], 0, rw(g)));
	gives(op(root, FH_OP_UNMAP_FREE, u.t[1], 0, 0), FH_OP_DONE);
	expect_entry(1, g);
	gives(op(root, FH_OP_UNLINK_FREE, u.t[2], 0, 0), FH_OP_DONE);
	expect_entry(2, old);
	gives(frame_retype(root, t.n, FH_DATA), 0); /* still a's */
	assert_int_equal(env_of_a()->repossessed, 3);
	gives(frame_free(root, t.n, 1), 1);
	expect_entry(3, t);
	assert_int_equal(env_at(root)->repossessed, 0);
}

TEST("what an env frees itself is not repossessed, in whosever table it stands")
{
	begin();
	pfn_t f = data(a), g = data(a), h = data(root), t = make(root, FH_PT1);
	does(set(a, u.t[1], 0, rw(f)));
	does(set(root, u.t[1], 1, rw(h)));
	does(set(root, u.t[2], 1, link_to(t)));
	gives(op(a, FH_OP_UNMAP_FREE, u.t[1], 0, 0), FH_OP_DONE);
	gives(op(root, FH_OP_UNMAP_FREE, u.t[1], 1, 0), FH_OP_DONE);
	gives(op(root, FH_OP_UNLINK_FREE, u.t[2], 1, 0), FH_OP_DONE);
	gives(op(a, FH_OP_UNLINK_FREE, u.t[2], 0, 0), FH_OP_DONE);
	gives(frame_free(a, g.n, 1), 1);
	assert_int_equal(env_of_a()->repossessed, 0);
	assert_int_equal(env_at(root)->repossessed, 0);
}

TEST("an ancestor that grants its descendant's frame away is in the vector; granting its window isn't")
{
	begin();
	pfn_t f = data(a), w = make(a, FH_PT1);
	gives(grant(a, f, b), 0);
	gives(withdraw(a, f), 0);
	gives(grant(root, w, b), 0);
	assert_int_equal(env_of_a()->repossessed, 0);
	gives(grant(root, f, root), 0);
	expect_entry(0, f);
	refuses(grant(root, f, b), EBUSY, "granted already");
	gives(frame_take(root, f.n, 1), 1);
	assert_int_equal(env_of_a()->repossessed, 1);
}

TEST("the vector keeps the last 256, and a reader can tell which are lost (DESIGN 7)")
{
	begin();
	does(env_move_quota(a, 400));
	run(a, pfn(RUN), 300);
	for (unsigned i = 0; i < 300; i++)
		gives(frame_free(root, RUN + i, 1), 1);
	assert_int_equal(env_of_a()->repossessed, 300);
	unsigned lost = 0;
	for (uint64_t seq = 0; seq < 300; seq++) {
		uint64_t entry = env_of_a()->repossession[seq % FH_REPOSSESSIONS];
		if (entry >> 32 != seq)
			lost++;
		else
			assert_int_equal(entry & FH_PFN_MASK, RUN + seq);
	}
	assert_int_equal(lost, 44);
}

TEST("a request for frames is written and counted, and waits for another's")
{
	begin();
	gives(env_revoke(a, 17, 12345), 0);
	assert_int_equal(env_of_a()->revoke_frames, 17);
	assert_int_equal(env_of_a()->revoke_deadline, 12345);
	assert_int_equal(env_of_a()->revoke_seq, 1);
	locked = a;
	assert_int_equal(record_lock(a, state_of(a)), 0);
	machine.on_pause = unlock_later;
	gives(env_revoke(a, 18, 1), 0);
	assert_int_equal(machine.pauses, 5);
	assert_int_equal(env_of_a()->revoke_seq, 2);
	assert_int_equal(env_of_a()->revoke_frames, 18);
	uint64_t was = state_of(a);
	record(a)->state = make_state(FH_BUSY, root, 0);
	assert_int_equal(env_revoke(a, 19, 1), -FH_EBUSY);
	record(a)->state = was;
	assert_int_equal(env_of_a()->revoke_frames, 18);
	does(0);
}
