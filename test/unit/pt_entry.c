/* pt_entry.c - each bit of an entry, at each level; which slots, counts and tables an operation may name. */
#include "world.h"

#define CACHE (FH_PWT | FH_PCD | FH_PAT)
#define ALWAYS_FREE (FH_W | FH_A | FH_D | FH_AVL | FH_NX)
#define ADDRESS (FH_PFN_MASK << 12)

static struct tree t;
static pfn_t frame;

static void begin(void)
{
	t = tree(root);
	frame = data(root);
}

/* Each bit of a good entry flipped, one at a time, into an empty slot: those in `free` may be, all others are refused;
 * bits in `other` are left to tests of their own. */
static void flip_bits(pfn_t table, pte_t good, uint64_t free, uint64_t other)
{
	gives(set(root, table, 9, good), FH_OP_DONE);
	assert_int_equal(raw(table, 9), good);
	does(clear(root, table, 9));
	for (unsigned bit = 0; bit < 64; bit++) {
		pte_t e = good ^ 1ul << bit;
		if (other & 1ul << bit)
			continue;
		if (free & 1ul << bit) {
			gives(set(root, table, 9, e), FH_OP_DONE);
			assert_int_equal(raw(table, 9), e);
			gives(clear(root, table, 9), FH_OP_DONE);
			assert_int_equal(old_entry, e);
		} else
			refuses(set(root, table, 9, e), EINVAL, "");
	}
}

TEST("a 4 KiB entry of RAM has U=1, G=0, no cache bit, no reserved bit; the rest is the libOS's")
{
	begin();
	flip_bits(t.t[1], rw(frame), ALWAYS_FREE, ADDRESS);
	flip_bits(t.t[1], ro(frame) | FH_A | FH_D | FH_AVL, ALWAYS_FREE, ADDRESS);
}

TEST("a 4 KiB entry of a DEVICE frame may have cache bits")
{
	begin();
	flip_bits(t.t[1], rw(pfn(A_DEVICE)), ALWAYS_FREE | CACHE, ADDRESS);
}

TEST("a 4 KiB entry of a TABLE frame, a CPU frame or a page table has no cache bit either")
{
	begin();
	flip_bits(t.t[1], ro(pfn(TABLE_RUN)), ALWAYS_FREE & ~FH_W, ADDRESS | FH_W);
	flip_bits(t.t[1], ro(pfn(A_CPU)), ALWAYS_FREE & ~FH_W, ADDRESS | FH_W);
	flip_bits(t.t[1], ro(t.t[4]), ALWAYS_FREE & ~FH_W, ADDRESS | FH_W);
}

TEST("a link has no cache bit, no G, no reserved bit; PS makes it a large page")
{
	begin();
	for (unsigned level = 2; level <= 4; level++) {
		pfn_t c = make(root, FH_PT1 + level - 2);
		flip_bits(t.t[level], link_to(c), ALWAYS_FREE, ADDRESS | FH_PS);
		refuses(set(root, t.t[level], 9, link_to(c) | FH_PS), EINVAL, "large pages are 2 MiB");
	}
}

TEST("a large page has no cache bit, no PAT (bit 12), no G, no reserved bit, and an aligned address")
{
	begin();
	run(root, pfn(RUN), 512);
	flip_bits(t.t[2], large(RUN), ALWAYS_FREE & ~FH_NX, (ADDRESS & ~((1ul << 21) - 1)) | FH_NX | FH_PS);
	refuses(set(root, t.t[2], 9, large(RUN) & ~FH_NX), EACCES, "may not execute large pages");
	refuses(set(root, t.t[2], 9, large(RUN) & ~FH_PS), EBUSY, "one level down");
	large_exec = true;
	flip_bits(t.t[2], large(RUN), ALWAYS_FREE, (ADDRESS & ~((1ul << 21) - 1)) | FH_PS);
}

TEST("PS in a PT3 or a PT4 is EINVAL, aligned to 1 GiB or not")
{
	begin();
	for (unsigned level = 3; level <= 4; level++) {
		refuses(set(root, t.t[level], 9, large(0)), EINVAL, "large pages are 2 MiB");
		refuses(set(root, t.t[level], 9, large(RUN)), EINVAL, "large pages are 2 MiB");
		refuses(op(root, FH_OP_CLAIM, t.t[level], 9, large(RUN)), EINVAL, "large pages are 2 MiB");
	}
}

static const uint64_t beyond[] = {NFRAMES, NFRAMES + 1, 1ul << 20, FH_PFN_MASK - 511, FH_PFN_MASK};

TEST("a present entry that names a frame beyond the table is EINVAL at every level")
{
	begin();
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned i = 0; i < LENGTH(beyond); i++) {
			refuses(set(root, t.t[level], 9, ro(pfn(beyond[i]))), EINVAL, "beyond the table");
			refuses(op(root, FH_OP_CLAIM, t.t[level], 9, ro(pfn(beyond[i]))), EINVAL, "beyond the table");
			refuses(op(root, FH_OP_LINK_NEW, t.t[level], 9, link_to(pfn(beyond[i]))), EINVAL, "beyond the table");
		}
	for (uint64_t f = NFRAMES; f < 2560; f++)
		refuses(set(root, t.t[1], 9, ro(pfn(f))), EINVAL, "beyond the table");
}

TEST("a large page that begins in the table and ends beyond it is refused")
{
	begin();
	run(root, pfn(RAGGED), NFRAMES - RAGGED);
	refuses(set(root, t.t[2], 9, large(RAGGED)), EINVAL, "leaves the table");
	gives(frame_free(root, RAGGED, 64), 64);
	refuses(op(root, FH_OP_CLAIM, t.t[2], 9, large(RAGGED)), EINVAL, "leaves the table");
}

/* ---- Non-present words ---- */

TEST("a non-present word is the libOS's, at every level, whatever its other bits")
{
	begin();
	static const uint64_t words[] = {0, 2, 0x80, 0xffe, FH_NX, ~(FH_PFN_MASK << 12) & ~1ul, NFRAMES << 12,
	                                 FH_PFN_MASK << 12, ~1ul, 0x7ffful << 39 | 0x104};
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned i = 0; i < LENGTH(words); i++) {
			/* with PS it would name 2 MiB or 1 GiB of frames */
			uint64_t mask = level == 2 || level == 3 ? ~FH_PS : ~0ul;
			gives(set(root, t.t[level], 9, words[i] & mask), FH_OP_DONE);
			assert_int_equal(raw(t.t[level], 9), words[i] & mask);
			gives(op(root, FH_OP_CLEAR, t.t[level], 9, words[LENGTH(words) - 1 - i] & mask), FH_OP_DONE);
			assert_int_equal(old_entry, words[i] & mask);
			does(clear(root, t.t[level], 9));
		}
}

TEST("a non-present word that names a frame is EINVAL (L1TF), whoever's and whatever it is")
{
	begin();
	static const uint64_t named[] = {1, 3, A_KERNEL, A_CPU, A_DEVICE, ROOT_ENV, TABLE_RUN, RUN, NFRAMES - 1};
	static const unsigned clears[] = {FH_OP_SET, FH_OP_CLEAR, FH_OP_UNMAP_FREE, FH_OP_UNLINK_FREE};
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned i = 0; i < LENGTH(named); i++)
			for (unsigned k = 0; k < LENGTH(clears); k++) {
				const char *words = clears[k] == FH_OP_SET ? "L1TF" : "names no frame";
				refuses(op(root, clears[k], t.t[level], 9, named[i] << 12), EINVAL, words);
				refuses(op(root, clears[k], t.t[level], 9, named[i] << 12 | 0x8000000000000ffe), EINVAL, words);
			}
}

TEST("of a non-present word the CPU sees only as many address bits as it has")
{
	begin();
	uint64_t high = 1ul << 45 | 5ul << 12;
	phys_mask = (1ul << 36) - PAGE;
	refuses(set(root, t.t[1], 9, high), EINVAL, "L1TF");
	refuses(set(root, t.t[1], 9, 1ul << 36 | 5ul << 12), EINVAL, "L1TF");
	does(set(root, t.t[1], 9, 1ul << 35 | 5ul << 12));
	does(clear(root, t.t[1], 9));
	phys_mask = (1ul << 46) - PAGE;
	does(set(root, t.t[1], 9, high));
	does(clear(root, t.t[1], 9));
	refuses(set(root, t.t[1], 9, 1ul << 46 | 5ul << 12), EINVAL, "L1TF");
}

TEST("a non-present word with PS that spans a frame is EINVAL (L1TF): of its address bits 21 or 30 and up count")
{
	begin();
	uint64_t word = (uint64_t)NFRAMES << 12 | FH_PS; /* its 2 MiB begin at RAGGED, its 1 GiB at 0 */
	refuses(set(root, t.t[2], 9, word), EINVAL, "L1TF");
	refuses(set(root, t.t[3], 9, word), EINVAL, "L1TF");
	refuses(set(root, t.t[2], 9, FH_PS), EINVAL, "L1TF"); /* the first 2 MiB, the first 1 GiB */
	refuses(set(root, t.t[3], 9, FH_PS), EINVAL, "L1TF");
}

TEST("CLEAR, UNMAP_FREE and UNLINK_FREE leave no present entry behind: EINVAL")
{
	begin();
	static const unsigned clears[] = {FH_OP_CLEAR, FH_OP_UNMAP_FREE, FH_OP_UNLINK_FREE};
	for (unsigned level = 1; level <= 4; level++)
		for (unsigned i = 0; i < LENGTH(clears); i++) {
			refuses(op(root, clears[i], t.t[level], 0, rw(frame)), EINVAL, "keeps a non-present word");
			refuses(op(root, clears[i], t.t[level], 0, 1), EINVAL, "keeps a non-present word");
		}
}

/* ---- The operation word ---- */

TEST("slot 511 of a PT4 is out of every operation's reach, loaded or not, and so is a run into it")
{
	begin();
	pfn_t other = make(root, FH_PT4);
	run_on(0, t.t[4]);
	pfn_t roots[] = {t.t[4], other};
	for (unsigned i = 0; i < 2; i++)
		for (unsigned o = 0; o < FH_NOPS; o++) {
			pte_t e = o == FH_OP_SET ? link_to(t.t[3]) : 0, old;
			refuses(op(root, o, roots[i], 511, e), EINVAL, "out of range");
			for (unsigned index = 0; index < 511; index += 73) {
				struct fh_op run = {fh_what(o, 0, roots[i].n, index, 512 - index), e};
				pfn_t owner;
				uint64_t work = 0;
				refuses(pt_round(root, &run, &owner, &work), EINVAL, "out of range");
				(void)old;
			}
		}
	assert_int_equal(raw(other, 511), mach_kernel_entry());
	run_on(0, kernel_root);
}

TEST("slot 511 of other tables is like any other, and 512 slots are one operation")
{
	begin();
	gives(set(root, t.t[1], 511, rw(frame)), FH_OP_DONE);
	gives(set(root, t.t[2], 511, link_to(t.t[1])), FH_OP_DONE);
	gives(set(root, t.t[3], 511, link_to(t.t[2])), FH_OP_DONE);
	struct fh_op o = {fh_what(FH_OP_READ, 0, t.t[1].n, 0, 512), 0};
	uint64_t done;
	gives(pt_update(root, &o, 1, &done), 0);
	assert_int_equal(done, 1);
}

static const struct { unsigned index, count; } bad_runs[] = {
	{0, 0}, {511, 0}, {0, 513}, {1, 512}, {511, 2}, {256, 257}, {511, 1023}, {0, 1023},
};

TEST("a run of slots that is empty, or leaves its table, is EINVAL for every operation")
{
	begin();
	for (unsigned o = 0; o < FH_NOPS; o++)
		for (unsigned i = 0; i < LENGTH(bad_runs); i++) {
			struct fh_op run = {fh_what(o, 0, t.t[1].n, bad_runs[i].index, bad_runs[i].count), 0};
			uint64_t done;
			refuses(pt_update(root, &run, 1, &done), EINVAL, "out of range");
			assert_int_equal(done, 0);
		}
}

TEST("an unknown opcode, a reserved bit, a preset status and the fourth flush flag are EINVAL")
{
	begin();
	uint64_t good = fh_what(FH_OP_READ, 0, t.t[1].n, 9, 1);
	pte_t old;
	for (unsigned o = FH_NOPS; o < 16; o++)
		refuses(op(root, o, t.t[1], 9, 0), EINVAL, "out of range");
	static const unsigned bits[] = {7, 30, 31, 59, 60, 61, 62, 63};
	for (unsigned i = 0; i < LENGTH(bits); i++)
		refuses(pt_set(root, good | 1ul << bits[i], 0, 0, &old), EINVAL, "out of range");
	refuses(pt_set(root, good | FH_FLUSH_MASK, 0, 0, &old), EINVAL, "out of range");
	gives(pt_set(root, good, 0, 0, &old), FH_OP_DONE);
}

TEST("an operation on what is no page table is EINVAL, on another env's EPERM")
{
	begin();
	pfn_t a = child(root, 50), b = child(root, 50), a1 = child(a, 10);
	uint64_t no_tables[] = {frame.n, RUN, 0, A_KERNEL, TABLE_RUN, A_CPU, A_DEVICE, a.n, make(root, FH_THREAD).n, NFRAMES,
	                        FH_PFN_MASK};
	for (unsigned o = 0; o < FH_NOPS; o++)
		for (unsigned i = 0; i < LENGTH(no_tables); i++)
			refuses(op(root, o, pfn(no_tables[i]), 0, 0), EINVAL, "names no page table");
	pfn_t others[] = {t.t[1], make(a, FH_PT1), make(b, FH_PT2)};
	for (unsigned o = 0; o < FH_NOPS; o++)
		for (unsigned i = 0; i < LENGTH(others); i++)
			refuses(op(a1, o, others[i], 0, 0), EPERM, "no authority over the table");
}

TEST("pt_set works on one slot, and flushes only what may be a user's address")
{
	begin();
	pte_t old;
	refuses(pt_set(root, fh_what(FH_OP_READ, 0, t.t[1].n, 0, 2), 0, 0, &old), EINVAL, "one slot");
	refuses(pt_set(root, fh_what(FH_OP_READ, 0, t.t[1].n, 0, 0), 0, 0, &old), EINVAL, "one slot");
	static const va_t bad[] = {1ul << 47, 0x0000800000000000, 0xffff7fffffffffff, FH_KERNEL_BASE, ~0ul, 1ul << 63};
	static const va_t good[] = {PAGE, 0x00007fffffffffff, 0xffff800000000000, FH_KERNEL_BASE - 1};
	uint64_t what = fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, t.t[1].n, 0, 1);
	for (unsigned i = 0; i < LENGTH(bad); i++)
		refuses(pt_set(root, what, 0, bad[i], &old), EINVAL, "no user address");
	for (unsigned i = 0; i < LENGTH(good); i++) {
		gives(pt_set(root, what, 0, good[i], &old), FH_OP_DONE);
		assert_int_equal(machine.invlpg_va, good[i]);
	}
	assert_int_equal(machine.invlpgs, LENGTH(good));
}
