/* pt_window.c - a table granted to a stranger: who links it, how it is taken back (DESIGN 5). */
#include "step.h"
#include "world.h"

static pfn_t a, b, w;    /* a grants w, a PT1, to b */
static pfn_t page;       /* of a's, in w's slot 3 */
static struct tree u, v; /* a's, b's */

static void begin(void)
{
	a = child(root, 60), b = child(root, 60);
	u = tree(a), v = tree(b);
	w = make(a, FH_PT1), page = data(a);
	does(set(a, w, 3, ro(page)));
}

static long grant(pfn_t me, pfn_t f, pfn_t to) { return frame_grant(me, f.n, env_name(to)); }
static long withdraw(pfn_t me, pfn_t f) { return frame_grant(me, f.n, 0); }
static uint64_t link_word(pfn_t parent, unsigned index) { return (uint64_t)index << 16 | parent.n << 32; }

static void begin_linked(void)
{
	begin();
	does(grant(a, w, b));
	does(set(b, v.t[2], 9, link_to(w)));
}

/* Nothing of b's leads to w, and the books say so. */
static void expect_unlinked(void)
{
	assert_int_equal(linked_at(w), 0);
	assert_int_equal(refs_of(w), 0);
	assert_int_equal(raw(v.t[2], 9), 0);
	assert_int_equal(count_of(v.t[2]), 1);
	assert_true(quiet(stamp_of(w)));
	does(0);
}

TEST("a window's tenant links it, in one slot of its own, and unlinks it when it likes (HOSTILE 11)")
{
	begin();
	refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	does(grant(a, w, b));
	gives(set(b, v.t[2], 9, link_to(w)), FH_OP_DONE);
	assert_int_equal(linked_at(w), link_word(v.t[2], 9));
	assert_int_equal(refs_of(w), 1);
	refuses(set(b, v.t[2], 10, link_to(w)), EBUSY, "foreign owner already");
	gives(clear(b, v.t[2], 9), FH_OP_DONE);
	assert_int_equal(linked_at(w), 0);
	gives(set(b, v.t[2], 10, link_to(w)), FH_OP_DONE);
	gives(op(b, FH_OP_UNLINK_FREE, v.t[2], 10, 0), FH_OP_KEPT);
	assert_int_equal(state_of(w), make_state(FH_PT1, a, 0));
	gives(set(b, v.t[2], 10, link_to(w)), FH_OP_DONE);
	gives(set(b, v.t[2], 10, 0x40), FH_OP_DONE);
	assert_int_equal(linked_at(w), 0);
}

TEST("a withdrawal that finds the linking table BUSY may leave the link: then the window is nobody else's before it has been withdrawn")
{
	begin_linked();
	pfn_t c = child(root, 30), p = v.t[2];
	uint64_t idle = state_of(p);
	does(0);
	world_no_audit = true;
	record(p)->state = make_state(FH_BUSY, b, 0); /* another CPU has just claimed it */
	assert_int_equal(withdraw(a, w), -FH_EAGAIN);
	assert_int_equal(set(b, p, 10, link_to(w)), -FH_EBUSY);
	record(p)->state = idle;
	world_no_audit = false;
	does(0);
	assert_int_equal(linked_at(w), link_word(p, 9));
	refuses(grant(a, w, c), EBUSY, "another's table links it");
	refuses(set(b, v.t[2], 10, link_to(w)), EPERM, "nor is it granted");
	does(withdraw(a, w));
	expect_unlinked();
	does(grant(a, w, c));
	/* who links it already may have it again */
	does(withdraw(a, w));
	does(set(root, p, 9, link_to(w)));
	does(grant(a, w, b));
	gives(withdraw(a, w), 0);
	expect_unlinked();
}

TEST("a window of 1 GiB is a PT2, linked by its tenant's PT3")
{
	begin();
	pfn_t w2 = make(a, FH_PT2);
	does(set(a, w2, 0, link_to(w)));
	does(grant(a, w2, b));
	refuses(set(b, v.t[2], 9, link_to(w2)), EBUSY, "one level down");
	refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted"); /* what the window links isn't granted with it */
	gives(set(b, v.t[3], 9, link_to(w2)), FH_OP_DONE);
	gives(withdraw(a, w2), 0);
	assert_int_equal(raw(v.t[3], 9), 0);
	assert_int_equal(refs_of(w), 1);
}

TEST("nobody links a window for its tenant, and the tenant only into its own tables: EPERM")
{
	begin();
	pfn_t b1 = child(b, 30), c = child(root, 30), b2;
	struct tree of_b1 = tree(b1), of_c = tree(c);
	does(grant(a, w, b));
	refuses(set(b, of_b1.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	refuses(set(b1, of_b1.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	refuses(set(b, of_c.t[2], 9, link_to(w)), EPERM, "no authority over the table");
	refuses(set(c, of_c.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	does(withdraw(a, w));
	b2 = b1;
	does(grant(a, w, b2));
	refuses(set(b, of_b1.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	gives(set(b2, of_b1.t[2], 9, link_to(w)), FH_OP_DONE);
}

TEST("a tenant narrows its link and widens it again; once the grant is gone there is nothing to widen")
{
	begin_linked();
	gives(op(b, FH_OP_NARROW, v.t[2], 9, FH_NX), FH_OP_DONE);
	assert_int_equal(raw(v.t[2], 9), (link_to(w) | FH_NX) & ~FH_W);
	gives(op(b, FH_OP_PROTECT, v.t[2], 9, FH_W | FH_AVL), FH_OP_DONE);
	assert_int_equal(raw(v.t[2], 9), link_to(w) | FH_AVL);
	gives(op(b, FH_OP_PROTECT, v.t[2], 9, FH_NX), FH_OP_DONE);
	gives(withdraw(a, w), 0);
	refuses(op(b, FH_OP_PROTECT, v.t[2], 9, FH_W), ENOENT, "no present entry");
	does(set(root, v.t[2], 9, link_to(w) & ~FH_W)); /* by root's authority over both: b may not widen that */
	refuses(op(b, FH_OP_PROTECT, v.t[2], 9, FH_W), EPERM, "over the linked table, nor is it granted");
	gives(op(b, FH_OP_NARROW, v.t[2], 9, FH_NX), FH_OP_DONE);
	does(grant(a, w, b));
	gives(op(b, FH_OP_PROTECT, v.t[2], 9, FH_W), FH_OP_DONE);
}

TEST("a tenant's ancestor doesn't widen its link: EPERM")
{
	pfn_t p = child(root, 60);
	a = child(root, 60), b = child(p, 40);
	v = tree(b);
	w = make(a, FH_PT1);
	does(grant(a, w, b));
	does(set(b, v.t[2], 9, link_to(w) & ~FH_W));
	refuses(op(p, FH_OP_PROTECT, v.t[2], 9, FH_W), EPERM, "over the linked table, nor is it granted");
	gives(clear(p, v.t[2], 9), FH_OP_DONE);
}

TEST("a tenant changes, reads, frees and grants nothing of a window: EPERM")
{
	begin_linked();
	for (unsigned opcode = 0; opcode < FH_NOPS; opcode++)
		refuses(op(b, opcode, w, 3, opcode == FH_OP_CLAIM ? rw(pfn(RUN)) : 0), EPERM, "no authority over the table");
	refuses(frame_retype(b, w.n, FH_DATA), EPERM, "yours to retype");
	refuses(frame_grant(b, w.n, env_name(root)), EPERM, "yours to grant");
	refuses(withdraw(b, w), EPERM, "yours to grant");
	refuses(frame_take(b, w.n, 1), EPERM, "granted to the caller");
	refuses(set(b, v.t[1], 0, ro(page)), EPERM, "no authority over the frame");
	refuses(set(b, v.t[1], 0, ro(w)), EPERM, "shown to their owner");
}

TEST("the owner goes on to change a window while it is linked")
{
	begin_linked();
	gives(set(a, w, 4, rw(page)), FH_OP_DONE);
	gives(clear(a, w, 3), FH_OP_DONE);
	gives(clear(a, w, 4), FH_OP_DONE);
	refuses(frame_retype(a, w.n, FH_DATA), EBUSY, "linked");
	gives(set(a, u.t[2], 9, link_to(w)), FH_OP_DONE);
	gives(op(a, FH_OP_UNLINK_FREE, u.t[2], 9, 0), FH_OP_KEPT);
	assert_int_equal(state_of(w), make_state(FH_PT1, a, 1));
}

TEST("a withdrawn window is out of its tenant's tree, whoever of its ancestors withdraws it")
{
	for (unsigned i = 0; i < 2; i++) {
		world_make(1);
		begin_linked();
		gives(withdraw(i ? root : a, w), 0);
		expect_unlinked();
		refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	}
}

TEST("withdrawing a window leaves its other links, the owner's and an ancestor's, alone")
{
	begin();
	struct tree of_root = tree(root);
	does(set(a, u.t[2], 9, link_to(w)));
	does(grant(a, w, b));
	does(set(root, of_root.t[2], 5, link_to(w))); /* to inspect it */
	refuses(set(b, v.t[2], 9, link_to(w)), EBUSY, "foreign owner already");
	gives(withdraw(a, w), 0);
	assert_int_equal(linked_at(w), link_word(of_root.t[2], 5));
	assert_int_equal(refs_of(w), 2);
	assert_int_equal(raw(of_root.t[2], 5), link_to(w));
	does(clear(root, of_root.t[2], 5));
	does(grant(a, w, b));
	does(set(b, v.t[2], 9, link_to(w)));
	gives(withdraw(a, w), 0);
	assert_int_equal(refs_of(w), 1);
	assert_int_equal(raw(u.t[2], 9), link_to(w));
}

TEST("what a common ancestor linked between strangers the owner may withdraw, granted or not")
{
	begin();
	does(set(root, v.t[2], 9, link_to(w)));
	gives(withdraw(a, w), 0);
	expect_unlinked();
	pfn_t a1 = child(a, 30);
	struct tree of_a1 = tree(a1);
	does(set(a, of_a1.t[2], 9, link_to(w)));
	gives(withdraw(a, w), 0);
	assert_int_equal(raw(of_a1.t[2], 9), 0);
	does(set(a, u.t[2], 7, link_to(of_a1.t[1])));
	gives(withdraw(a1, of_a1.t[1]), 0);
	assert_int_equal(linked_at(of_a1.t[1]), link_word(u.t[2], 7));
}

TEST("withdraw returns when no CPU can still walk to the window: one IPI (HOSTILE 32)")
{
	world_make(2);
	begin_linked();
	run_on(1, v.t[4]);
	unsigned ipis = machine.ipis[1];
	gives(withdraw(a, w), 0);
	assert_int_equal(machine.ipis[1], ipis + 1);
	expect_unlinked();
}

TEST("withdraw waits for the CPUs too when the tenant had just unlinked the window itself")
{
	world_make(2);
	begin_linked();
	run_on(1, v.t[4]);
	does(clear(b, v.t[2], 9));
	assert_false(quiet(stamp_of(w)));
	gives(withdraw(a, w), 0);
	expect_unlinked();
}

TEST("withdraw without flushes left is EAGAIN: the tenant has lost the window, and repeating waits")
{
	world_make(2);
	begin_linked();
	run_on(1, v.t[4]);
	epoch_cpu[0].budget = 0;
	gives(withdraw(a, w), -FH_EAGAIN);
	assert_int_equal(record(w)->tenant, 0);
	assert_int_equal(raw(v.t[2], 9), 0);
	assert_int_equal(refs_of(w), 0);
	refuses(withdraw(a, w), EAGAIN, "flushes are spent");
	epoch_cpu[0].budget = 1;
	gives(withdraw(a, w), 0);
	expect_unlinked();
}

TEST("a table is granted, and granted again, only when it is quiet: a former tenant must not see on")
{
	world_make(2);
	begin_linked();
	run_on(1, v.t[4]);
	pfn_t c = child(root, 30);
	epoch_cpu[0].budget = 0;
	gives(withdraw(a, w), -FH_EAGAIN);
	refuses(grant(a, w, c), EAGAIN, "flushes are spent");
	epoch_cpu[0].budget = 1;
	gives(grant(a, w, c), 0);
	assert_true(quiet(stamp_of(w)));
	refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted");
}

TEST("a granted table that becomes something else is granted no more")
{
	begin_linked();
	does(clear(b, v.t[2], 9));
	does(clear(a, w, 3));
	gives(frame_retype(a, w.n, FH_DATA), 0);
	assert_int_equal(record(w)->tenant, 0);
	gives(frame_retype(a, w.n, FH_PT1), 0);
	refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted");
	does(grant(a, w, b));
	does(set(a, u.t[2], 9, link_to(w)));
	gives(op(a, FH_OP_UNLINK_FREE, u.t[2], 9, 0), FH_OP_DONE);
	assert_int_equal(record(w)->tenant, env_name(a)); /* its last owner */
	gives(op(a, FH_OP_LINK_NEW, u.t[2], 9, link_to(w)), FH_OP_DONE);
	assert_int_equal(record(w)->tenant, 0);
	refuses(set(b, v.t[2], 9, link_to(w)), EPERM, "nor is it granted");
}

/* ---- Against other CPUs ---- */

/* Another CPU holds the lock of the table that links w, and each time somebody waits for it, moves the link on into the
 * next of these, locked by it beforehand: what CLEAR and SET by root come to. */
static pfn_t places[4];
static unsigned at_place, last_place;

static void move_on(void)
{
	pfn_t from = places[at_place];
	if (at_place < last_place) {
		pfn_t to = places[++at_place];
		forge(from, 9, 0);
		record(from)->link--;
		stamp_now(w);
		assert_int_equal(record_lock(to, state_of(to)), 0);
		record(w)->link = count_of(w) | link_word(to, 9);
		forge(to, 9, link_to(w));
		record(to)->link++;
	} else
		machine.on_pause = NULL;
	record_unlock(from);
}

static void begin_moving(unsigned last)
{
	begin();
	for (unsigned i = 0; i < 4; i++)
		places[i] = make(b, FH_PT2);
	does(set(root, places[0], 9, link_to(w)));
	assert_int_equal(record_lock(places[0], state_of(places[0])), 0);
	at_place = 0, last_place = last;
	machine.on_pause = move_on;
}

TEST("withdraw follows a link that moves while it waits for the parent's lock (HOSTILE 41)")
{
	for (unsigned moves = 0; moves < 3; moves++) {
		world_make(1);
		begin_moving(moves);
		gives(withdraw(a, w), 0);
		assert_int_equal(raw(places[moves], 9), 0);
		expect_unlinked();
	}
}

TEST("withdraw gives up after three moves: EAGAIN, and is repeated")
{
	begin_moving(3);
	assert_int_equal(withdraw(a, w), -FH_EAGAIN);
	assert_non_null(strstr(suite_sentence(), "being changed by another CPU"));
	assert_int_equal(linked_at(w), link_word(places[3], 9));
	record_unlock(places[3]);
	machine.on_pause = NULL;
	does(0);
	gives(withdraw(a, w), 0);
	expect_unlinked();
}

static void parent_goes(void)
{
	machine.on_pause = NULL;
	forge(places[0], 9, 0);
	record(places[0])->link--;
	record(w)->link = count_of(w);
	record(w)->state -= FH_STATE_REF;
	record(places[0])->state = make_state(FH_DATA, b, 0); /* unlocked, and retyped */
	ticket_pass(places[0]);
}

TEST("withdraw finds that the parent has become something else, and that there is no link any more")
{
	begin_moving(0);
	machine.on_pause = parent_goes;
	gives(withdraw(a, w), 0);
	expect_unlinked();
	assert_int_equal(state_of(places[0]), make_state(FH_DATA, b, 0));
}

/* Another CPU withdraws. If it finds a link, it does the first half only: then it needs the lock that the linker holds. */
static bool withdrawn;
static void withdraw_now(void)
{
	if (linked_at(w) == 0) {
		assert_int_equal(withdraw(a, w), 0);
		withdrawn = true;
		return;
	}
	assert_int_equal(record_lock(w, state_of(w)), 0);
	record(w)->tenant = 0;
	record_unlock(w);
}

/* The linker has waited for its table's lock: from here on. */
static unsigned steps;
static void begin_steps(void)
{
	machine.on_pause = NULL;
	record_unlock(v.t[2]);
	step_begin(steps, withdraw_now);
}

TEST("a grant withdrawn at any instruction of the tenant's link: not linked, or found linked (HOSTILE 41)")
{
	unsigned k, linked = 0, refused = 0;
	begin();
	for (k = 1;; k += STEP_STRIDE) {
		epoch_tick(); /* flushes to spend */
		machine.pauses = 0;
		does(grant(a, w, b));
		machine.on_pause = begin_steps;
		assert_int_equal(record_lock(v.t[2], state_of(v.t[2])), 0);
		steps = k;
		withdrawn = false;
		long r = set(b, v.t[2], 9, link_to(w));
		bool done = !step_end();
		if (r < 0)
			assert_int_equal(r, -FH_EPERM);
		else
			assert_false(withdrawn);
		assert_int_equal(raw(v.t[2], 9), r < 0 ? 0 : link_to(w));
		assert_int_equal(linked_at(w), r < 0 ? 0 : link_word(v.t[2], 9));
		*(r < 0 ? &refused : &linked) += 1;
		gives(withdraw(a, w), 0);
		expect_unlinked();
		if (done)
			break;
	}
	print_message("# %u instructions: %u times refused, %u times linked first\n", k, refused, linked);
	assert_true(refused > 20 && linked > 20);
}
