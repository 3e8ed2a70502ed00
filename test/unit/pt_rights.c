/* pt_rights.c - NARROW, PROTECT, HARVEST, READ: an entry changes, what it names doesn't. */
#include "world.h"

#define KEPT (~(FH_W | FH_NX | FH_AVL)) /* what PROTECT and NARROW never touch */

static pfn_t a;
static struct tree t, u; /* root's, a's */

static void begin(void)
{
	a = child(root, 60);
	t = tree(root), u = tree(a);
}

/* W and NX from two bits. */
static pte_t rights(unsigned i) { return (i & 1 ? FH_W : 0) | (i & 2 ? FH_NX : 0); }

/* The slot holds `old`; PROTECT or NARROW by `rights`: the entry that must come of it, and whether f is stamped. */
static void one_change(unsigned opcode, pfn_t table, unsigned index, pte_t old, pte_t e, pfn_t f)
{
	pte_t want = (old & KEPT) | (e & FH_AVL);
	want |= opcode == FH_OP_PROTECT ? e & (FH_W | FH_NX) : (old & e & FH_W) | ((old | e) & FH_NX);
	bool lost = (old & ~want & FH_W) || (want & ~old & FH_NX);
	forge(table, index, old);
	epoch_tick();
	uint64_t stamp = stamp_of(f), refs = refs_of(f);
	gives(op(root, opcode, table, index, e), FH_OP_DONE);
	assert_int_equal(raw(table, index), want);
	assert_int_equal(old_entry, old);
	assert_int_equal(refs_of(f), refs);
	assert_int_equal(stamp_of(f), lost ? clock_now() : stamp);
}

TEST("PROTECT sets W, NX and AVL; NARROW only takes away; both keep the rest, and stamp what lost a right")
{
	begin();
	static const pte_t keep[] = {0, FH_A, FH_D, FH_A | FH_D};
	pfn_t f = data(root), c = make(root, FH_PT1), device = pfn(A_DEVICE);
	run(root, pfn(RUN), 512);
	large_exec = true;
	does(set(root, t.t[1], 9, rw(f)));
	does(set(root, t.t[1], 10, rw(device)));
	does(set(root, t.t[2], 9, link_to(c)));
	does(set(root, t.t[2], 10, large(RUN)));
	for (unsigned opcode = FH_OP_NARROW; opcode <= FH_OP_PROTECT; opcode++)
		for (unsigned was = 0; was < 4; was++)
			for (unsigned will = 0; will < 4; will++)
				for (unsigned k = 0; k < 4; k++) {
					pte_t old = FH_P | FH_U | rights(was) | keep[k] | 3ul << 9, e = rights(will) | 1ul << 10 | 9ul << 52;
					one_change(opcode, t.t[1], 9, old | f.n << 12, e, f);
					one_change(opcode, t.t[1], 10, old | device.n << 12 | FH_PCD | FH_PAT, e | 0xf8, device);
					one_change(opcode, t.t[2], 9, old | c.n << 12, e | ~0ul << 20 >> 24 << 12, c);
					one_change(opcode, t.t[2], 10, old | RUN << 12 | FH_PS, e, pfn(RUN + 511));
				}
}

TEST("PROTECT and NARROW of an empty slot are ENOENT at every level, whatever its word")
{
	begin();
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned i = 0; i < 2; i++) {
			does(set(root, t.t[level], 9, i ? ~(FH_PFN_MASK << 12 | FH_PS) & ~1ul : 0));
			refuses(op(root, FH_OP_PROTECT, t.t[level], 9, FH_NX), ENOENT, "no present entry");
			refuses(op(root, FH_OP_NARROW, t.t[level], 9, FH_NX), ENOENT, "no present entry");
		}
}

TEST("no operation makes an entry of a table, THREAD, ENV, CPU or TABLE frame writable: EACCES")
{
	begin();
	pfn_t of[] = {make(root, FH_PT1), make(root, FH_PT4), make(root, FH_THREAD), make(root, FH_ENV), pfn(TABLE_RUN),
	              pfn(A_CPU), root};
	for (unsigned i = 0; i < LENGTH(of); i++) {
		refuses(set(root, t.t[1], 9, rw(of[i])), EACCES, "mapped writable");
		does(set(root, t.t[1], 9, ro(of[i])));
		refuses(op(root, FH_OP_PROTECT, t.t[1], 9, FH_W | FH_NX), EACCES, "mapped writable");
		refuses(op(root, FH_OP_PROTECT, t.t[1], 9, FH_W), EACCES, "mapped writable");
		gives(op(root, FH_OP_NARROW, t.t[1], 9, FH_W), FH_OP_DONE);
		assert_int_equal(raw(t.t[1], 9), ro(of[i]));
		gives(op(root, FH_OP_PROTECT, t.t[1], 9, 0), FH_OP_DONE); /* to execute a table's bytes is the libOS's affair */
		does(clear(root, t.t[1], 9));
	}
}

TEST("over an ancestor's frame the table's owner takes rights away, clears, and adds none: EPERM")
{
	begin();
	pfn_t f = data(root);
	does(set(root, u.t[1], 9, rx(f) | FH_W));
	gives(op(a, FH_OP_PROTECT, u.t[1], 9, FH_W | FH_NX), FH_OP_DONE);
	refuses(op(a, FH_OP_PROTECT, u.t[1], 9, FH_W), EPERM, "no authority over the frame");
	gives(op(a, FH_OP_NARROW, u.t[1], 9, FH_NX), FH_OP_DONE);
	refuses(op(a, FH_OP_PROTECT, u.t[1], 9, FH_W | FH_NX), EPERM, "no authority over the frame");
	refuses(op(a, FH_OP_PROTECT, u.t[1], 9, 0), EPERM, "no authority over the frame");
	refuses(set(a, u.t[1], 9, ro(f)), EPERM, "no authority over the frame");
	gives(op(a, FH_OP_PROTECT, u.t[1], 9, FH_NX | FH_AVL), FH_OP_DONE);
	gives(op(a, FH_OP_HARVEST, u.t[1], 9, 0), FH_OP_DONE);
	gives(op(root, FH_OP_PROTECT, u.t[1], 9, FH_W | FH_NX), FH_OP_DONE);
	gives(op(a, FH_OP_UNMAP_FREE, u.t[1], 9, 0), FH_OP_KEPT);
	assert_int_equal(state_of(f), make_state(FH_DATA, root, 0));
}

TEST("over a link to an ancestor's table the parent table's owner takes rights away and adds none: EPERM")
{
	begin();
	pfn_t c = make(root, FH_PT1);
	does(set(root, u.t[2], 9, link_to(c)));
	gives(op(a, FH_OP_NARROW, u.t[2], 9, FH_NX), FH_OP_DONE);
	refuses(op(a, FH_OP_PROTECT, u.t[2], 9, FH_NX | FH_W), EPERM, "no authority over the linked table");
	refuses(op(a, FH_OP_PROTECT, u.t[2], 9, 0), EPERM, "no authority over the linked table");
	gives(op(root, FH_OP_PROTECT, u.t[2], 9, FH_W), FH_OP_DONE);
}

TEST("a large page loses NX only where the CPU may execute large pages: EACCES")
{
	begin();
	run(root, pfn(RUN), 512);
	does(set(root, t.t[2], 9, large(RUN)));
	refuses(op(root, FH_OP_PROTECT, t.t[2], 9, FH_W), EACCES, "this large page is not for execution");
	gives(op(root, FH_OP_NARROW, t.t[2], 9, FH_W), FH_OP_DONE);
	large_exec = true;
	gives(op(root, FH_OP_PROTECT, t.t[2], 9, FH_W), FH_OP_DONE);
}

TEST("NARROW of a link stamps the child table: fork write-protects 2 MiB by one entry")
{
	begin();
	pfn_t f = data(root);
	does(set(root, t.t[1], 0, rw(f)));
	epoch_tick();
	gives(op(root, FH_OP_NARROW, t.t[2], 0, 0), FH_OP_DONE);
	assert_int_equal(raw(t.t[2], 0), t.t[1].n << 12 | FH_P | FH_U);
	assert_int_equal(stamp_of(t.t[1]), clock_now());
	assert_int_equal(refs_of(t.t[1]), 1);
	assert_int_equal(raw(t.t[1], 0), rw(f));
}

TEST("HARVEST returns A and D and clears them, and stamps only what lost D")
{
	begin();
	pfn_t f = data(root);
	does(set(root, t.t[1], 9, rw(f)));
	for (unsigned i = 0; i < 4; i++) {
		pte_t e = rw(f) | FH_AVL | (i & 1 ? FH_A : 0) | (i & 2 ? FH_D : 0);
		forge(t.t[1], 9, e);
		epoch_tick();
		uint64_t stamp = stamp_of(f);
		gives(op(root, FH_OP_HARVEST, t.t[1], 9, ~0ul), FH_OP_DONE);
		assert_int_equal(old_entry, e);
		assert_int_equal(raw(t.t[1], 9), rw(f) | FH_AVL);
		assert_int_equal(stamp_of(f), i & 2 ? clock_now() : stamp);
	}
}

TEST("HARVEST and READ leave a raw word as it is")
{
	begin();
	uint64_t word = 0x1230000000000060;
	does(set(root, t.t[1], 9, word));
	gives(op(root, FH_OP_HARVEST, t.t[1], 9, 0), FH_OP_DONE);
	assert_int_equal(old_entry, word);
	assert_int_equal(raw(t.t[1], 9), word);
}

TEST("HARVEST of a dirty large page stamps all of its frames")
{
	begin();
	run(root, pfn(RUN), 512);
	does(set(root, t.t[2], 9, large(RUN) | FH_D));
	epoch_tick();
	gives(op(root, FH_OP_HARVEST, t.t[2], 9, 0), FH_OP_DONE);
	assert_int_equal(raw(t.t[2], 9), large(RUN));
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(stamp_of(pfn(RUN + i)), clock_now());
}

TEST("READ returns the entry and changes nothing, not even a stamp")
{
	begin();
	for (unsigned level = 2; level <= 4; level++) {
		epoch_tick();
		world_before();
		gives(op(root, FH_OP_READ, t.t[level], 0, ~0ul), FH_OP_DONE);
		assert_int_equal(old_entry, raw(t.t[level], 0));
		assert_null(world_changed(false));
	}
	gives(op(a, FH_OP_READ, u.t[4], 510, 0), FH_OP_DONE);
	assert_int_equal(old_entry, 0);
}

TEST("CLEAR leaves the libOS's word, returns the entry with its A and D, stamps, lets go, and counts")
{
	begin();
	pfn_t f = data(root);
	does(set(root, t.t[1], 9, rw(f)));
	forge(t.t[1], 9, rw(f) | FH_A | FH_D);
	epoch_tick();
	gives(op(root, FH_OP_CLEAR, t.t[1], 9, 0x7770000000000080), FH_OP_DONE);
	assert_int_equal(old_entry, rw(f) | FH_A | FH_D);
	assert_int_equal(raw(t.t[1], 9), 0x7770000000000080);
	assert_int_equal(stamp_of(f), clock_now());
	assert_int_equal(state_of(f), make_state(FH_DATA, root, 0));
	assert_int_equal(count_of(t.t[1]), 0);
}
