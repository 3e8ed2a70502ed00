/* pt_batch.c - pt_update: many operations, runs over several rounds, stops and resumes, flushes. */
#include "world.h"

static pfn_t a;
static struct tree t, u; /* root's, a's */
static struct fh_op ops[256];
static uint64_t done;

static void begin(void)
{
	a = child(root, 60);
	t = tree(root), u = tree(a);
	memset(ops, 0, sizeof ops);
}

static struct fh_op run_of(unsigned opcode, pfn_t table, unsigned index, unsigned count, pte_t e)
{
	return (struct fh_op){fh_what(opcode, 0, table.n, index, count), e};
}

static long update(uint64_t n) { return pt_update(root, ops, n, &done); }

/* All n, in as many calls as it takes. */
static void finish(uint64_t n)
{
	for (uint64_t at = 0; at < n; at += done)
		gives(pt_update(root, ops + at, n - at, &done), 0);
}

TEST("no operations are done at once")
{
	gives(update(0), 0);
	assert_int_equal(done, 0);
}

TEST("each operation is done in turn; old entries and status are written back")
{
	begin();
	pfn_t f = data(root);
	ops[0] = run_of(FH_OP_SET, t.t[1], 5, 1, rw(f));
	ops[1] = run_of(FH_OP_NARROW, t.t[1], 5, 1, FH_NX);
	ops[2] = run_of(FH_OP_SET, t.t[1], 6, 1, 0x50);
	ops[3] = run_of(FH_OP_CLEAR, t.t[1], 5, 1, 0);
	ops[4] = run_of(FH_OP_READ, t.t[1], 6, 1, 0);
	gives(update(5), 0);
	assert_int_equal(done, 5);
	static const unsigned opcodes[] = {FH_OP_SET, FH_OP_NARROW, FH_OP_SET, FH_OP_CLEAR, FH_OP_READ};
	pte_t old[] = {0, rw(f), 0, ro(f), 0x50};
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(ops[i].entry, old[i]);
		assert_int_equal(fh_what_status(ops[i].what), FH_OP_DONE);
		assert_int_equal(fh_what_op(ops[i].what), opcodes[i]);
		assert_int_equal(fh_what_count(ops[i].what), 0);
		assert_int_equal(fh_what_table(ops[i].what), t.t[1].n);
	}
}

TEST("it stops at the first refusal: what is before is done, the rest untouched, done counts the whole ones")
{
	begin();
	pfn_t f = data(root);
	ops[0] = run_of(FH_OP_SET, t.t[1], 5, 1, rw(f));
	ops[1] = run_of(FH_OP_SET, t.t[1], 6, 1, rw(pfn(RUN)));
	ops[2] = run_of(FH_OP_SET, t.t[1], 7, 1, rw(f));
	struct fh_op second = ops[1], third = ops[2];
	gives(update(3), -FH_EPERM);
	does(0);
	assert_int_equal(done, 1);
	assert_memory_equal(&ops[1], &second, sizeof second);
	assert_memory_equal(&ops[2], &third, sizeof third);
	assert_int_equal(refs_of(f), 1);
}

TEST("an operation that was done is not done again: its status is a reserved bit to the next call")
{
	begin();
	ops[0] = run_of(FH_OP_READ, t.t[1], 5, 1, 0);
	gives(update(1), 0);
	refuses(update(1), EINVAL, "out of range");
}

/* ---- Runs over many rounds ---- */

TEST("A and D come back ORed over all slots of a run, with the last old entry")
{
	begin();
	static const unsigned opcodes[] = {FH_OP_HARVEST, FH_OP_CLEAR, FH_OP_READ, FH_OP_PROTECT, FH_OP_UNMAP_FREE, FH_OP_SET};
	static const unsigned places[] = {0, 63, 64, 150, 199};
	pfn_t f = data(root);
	does(set(root, t.t[1], 0, ro(f)));
	for (unsigned i = 0; i < LENGTH(opcodes) * LENGTH(places); i++) {
		unsigned opcode = opcodes[i / LENGTH(places)], place = places[i % LENGTH(places)];
		pte_t bit = i % 2 ? FH_A : FH_D;
		ops[0] = run_of(FH_OP_CLEAR, t.t[1], 100, 200, 0);
		gives(update(1), 0);
		for (unsigned s = 0; s < 200; s++)
			assert_int_equal(set(root, t.t[1], 100 + s, ro(f) | (s == place ? bit : 0)), FH_OP_DONE);
		ops[0] = run_of(opcode, t.t[1], 100, 200, 0);
		gives(update(1), 0);
		assert_int_equal(ops[0].entry, ro(f) | bit);
		assert_int_equal(fh_what_status(ops[0].what), opcode == FH_OP_UNMAP_FREE ? FH_OP_KEPT : FH_OP_DONE);
	}
}

TEST("A and D that a run saw before it was stopped are not lost when it is resumed")
{
	begin();
	static const unsigned opcodes[] = {FH_OP_PROTECT, FH_OP_NARROW, FH_OP_SET, FH_OP_UNMAP_FREE};
	pfn_t f = data(root), c = make(root, FH_PT1);
	for (unsigned k = 0; k < LENGTH(opcodes); k++) {
		unsigned opcode = opcodes[k];
		pfn_t table = t.t[2]; /* a slot a round; and t.t[1], 64 */
		for (unsigned level = 1; level <= 2; level++) {
			table = t.t[level];
			pte_t good = level == 1 ? ro(f) : link_to(c);
			if (level == 2 && opcode == FH_OP_UNMAP_FREE)
				continue;
			for (unsigned s = 0; s < 4; s++)
				does(set(root, table, 100 + s, good | (s == 0 ? FH_A : s == 1 ? FH_D : 0)));
			ops[0] = run_of(opcode, table, 100, 4, opcode == FH_OP_SET ? 0 : FH_NX);
			if (opcode == FH_OP_PROTECT || opcode == FH_OP_NARROW) {
				does(clear(root, table, 102));
				gives(update(1), -FH_ENOENT);
				does(set(root, table, 102, good));
			} else
				machine.interrupt_at = machine.checks + 1;
			gives(update(1), 0);
			while (done == 0)
				gives(update(1), 0);
			assert_int_equal(ops[0].entry & (FH_A | FH_D), FH_A | FH_D);
		}
	}
}

TEST("raw words in a run have no A and D: their bits are not ORed into the result")
{
	begin();
	pfn_t f = data(root);
	static const unsigned opcodes[] = {FH_OP_READ, FH_OP_HARVEST, FH_OP_CLEAR, FH_OP_SET, FH_OP_UNMAP_FREE};
	for (unsigned k = 0; k < LENGTH(opcodes); k++) {
		does(set(root, t.t[1], 5, 0x60));
		does(set(root, t.t[1], 6, ro(f)));
		ops[0] = run_of(opcodes[k], t.t[1], 5, 2, 0);
		gives(update(1), 0);
		assert_int_equal(ops[0].entry, ro(f));
	}
}

TEST("a run advances in place: count down, index and pfn up; 64 slots a round")
{
	begin();
	run(root, pfn(RUN), 300);
	ops[0] = run_of(FH_OP_SET, t.t[1], 100, 300, rw(pfn(RUN)));
	for (unsigned left = 300; left; left -= left < 64 ? left : 64) {
		assert_int_equal(fh_what_count(ops[0].what), left);
		assert_int_equal(fh_what_index(ops[0].what), 400 - left);
		assert_int_equal(ops[0].entry, rw(pfn(RUN + 300 - left)));
		machine.interrupt_at = machine.checks + 1;
		gives(update(1), 0);
		assert_int_equal(done, left <= 64);
	}
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(raw(t.t[1], 100 + i), rw(pfn(RUN + i)));
	assert_int_equal(fh_what_status(ops[0].what), FH_OP_DONE);
}

TEST("pt_round is what pt_update does between two looks at the interrupts")
{
	begin();
	run(root, pfn(RUN), 100);
	struct fh_op op = run_of(FH_OP_SET, t.t[1], 0, 100, rw(pfn(RUN)));
	pfn_t owner;
	uint64_t work = 0;
	gives(pt_round(root, &op, &owner, &work), 0);
	assert_true(same(owner, root));
	assert_int_equal(fh_what_count(op.what), 36);
	assert_int_equal(op.entry, rw(pfn(RUN + 64)));
	assert_int_equal(work, 65);
	work = 34;
	gives(pt_round(root, &op, &owner, &work), 0);
	assert_int_equal(fh_what_count(op.what), 6);
	work = 0;
	gives(pt_round(root, &op, &owner, &work), 0);
	assert_int_equal(fh_what_count(op.what), 0);
	assert_int_equal(op.entry, 0);
	assert_int_equal(work, 7);
	gives(pt_round(root, &(struct fh_op){fh_what(FH_OP_READ, 0, u.t[3].n, 0, 1), 0}, &owner, &work), 0);
	assert_true(same(owner, a));
}

TEST("a run that is refused in the middle leaves what it did, and says where it stands")
{
	begin();
	run(root, pfn(RUN), 100);
	gives(frame_free(root, RUN + 80, 1), 1);
	ops[0] = run_of(FH_OP_SET, t.t[1], 0, 100, rw(pfn(RUN)));
	gives(update(1), -FH_EPERM);
	does(0);
	assert_int_equal(done, 0);
	assert_int_equal(fh_what_count(ops[0].what), 20);
	assert_int_equal(fh_what_index(ops[0].what), 80);
	assert_int_equal(ops[0].entry, rw(pfn(RUN + 80)));
	assert_int_equal(count_of(t.t[1]), 80);
}

TEST("a run over a table of links goes on past 64 slots, and a run of words repeats the word")
{
	begin();
	ops[0] = run_of(FH_OP_SET, t.t[3], 1, 511, 0xa30);
	ops[1] = run_of(FH_OP_CLEAR, t.t[2], 1, 511, 0xc50);
	ops[2] = run_of(FH_OP_CLEAR, t.t[4], 1, 510, 0xe70);
	finish(3);
	for (unsigned i = 1; i < 511; i++) {
		assert_int_equal(raw(t.t[3], i), 0xa30);
		assert_int_equal(raw(t.t[2], i), 0xc50);
		assert_int_equal(raw(t.t[4], i), 0xe70);
	}
}

TEST("NARROW of 512 slots across rounds protects each, and stamps each frame")
{
	begin();
	run(root, pfn(RUN), 512);
	ops[0] = run_of(FH_OP_SET, t.t[1], 0, 512, rw(pfn(RUN)));
	gives(update(1), 0);
	epoch_tick();
	ops[0] = run_of(FH_OP_NARROW, t.t[1], 0, 512, FH_NX);
	gives(update(1), 0);
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(raw(t.t[1], i), ro(pfn(RUN + i)));
		assert_int_equal(stamp_of(pfn(RUN + i)), clock_now());
	}
}

/* ---- Stops and resumes ---- */

TEST("it looks for interrupts every 64 slots or 32 operations, sooner among others' frames, around each operation on a PT2")
{
	begin();
	ops[0] = run_of(FH_OP_CLEAR, t.t[1], 0, 512, 0);
	gives(update(1), 0);
	assert_int_equal(machine.checks, 8);
	for (unsigned i = 0; i < 200; i++)
		ops[i] = run_of(FH_OP_READ, t.t[1], i, 1, 0);
	machine.checks = 0;
	machine.interrupt_at = 2;
	gives(update(200), 0);
	assert_int_equal(done, 64);
	machine.checks = 0;
	machine.interrupt_at = 0;
	ops[0] = run_of(FH_OP_READ, t.t[1], 0, 1, 0);
	ops[1] = run_of(FH_OP_READ, t.t[2], 0, 1, 0);
	ops[2] = run_of(FH_OP_READ, t.t[1], 0, 1, 0);
	gives(update(3), 0);
	assert_int_equal(machine.checks, 2);
	run(a, pfn(RUN), 40); /* a descendant's */
	ops[0] = run_of(FH_OP_SET, t.t[1], 0, 40, rw(pfn(RUN)));
	machine.checks = 0;
	machine.interrupt_at = 1;
	gives(update(1), 0);
	assert_int_equal(fh_what_count(ops[0].what), 40 - 16);
}

TEST("a call ends after 64 looks for interrupts, pending or not: the console's can't be seen")
{
	begin();
	for (unsigned i = 0; i < 100; i++)
		ops[i] = run_of(FH_OP_READ, t.t[2], i, 1, 0);
	gives(update(100), 0);
	assert_int_equal(done, 64);
	assert_int_equal(machine.checks, 64);
	gives(pt_update(root, ops + 64, 36, &done), 0);
	assert_int_equal(done, 36);
	ops[0] = run_of(FH_OP_CLEAR, t.t[2], 1, 511, 0xc50);
	gives(update(1), 0);
	assert_int_equal(done, 0);
	assert_int_equal(fh_what_index(ops[0].what), 1 + 64);
	assert_int_equal(fh_what_count(ops[0].what), 511 - 64);
}

TEST("an operation that forced a flush is the last of its call")
{
	begin();
	stamp_now(pfn(RUN));
	ops[0] = run_of(FH_OP_READ, t.t[1], 0, 1, 0);
	ops[1] = run_of(FH_OP_CLAIM, t.t[1], 0, 1, rw(pfn(RUN)));
	ops[2] = run_of(FH_OP_READ, t.t[1], 0, 1, 0);
	gives(update(3), 0);
	assert_int_equal(done, 2);
	assert_int_equal(fh_what_status(ops[2].what), FH_OP_PENDING);
}

static struct fh_frame final_table[NFRAMES];
static uint8_t final_frames[NFRAMES * PAGE];
static struct fh_op final_ops[8];

/* A batch of everything, interrupted at the nth look and resumed, n = 0: not at all; how many looks it took. */
static uint64_t mixed_batch(uint64_t interrupt)
{
	world_make(1);
	begin();
	does(env_move_quota(a, 300));
	pte_t e = rw(pfn(RUN));
	ops[0] = run_of(FH_OP_CLAIM, u.t[1], 0, 150, e);
	ops[1] = run_of(FH_OP_SET, t.t[1], 100, 150, e);
	ops[2] = run_of(FH_OP_LINK_NEW, u.t[2], 10, 100, link_to(pfn(RUN + 200)));
	ops[3] = run_of(FH_OP_NARROW, t.t[1], 100, 150, FH_NX);
	ops[4] = run_of(FH_OP_UNMAP_FREE, u.t[1], 0, 150, 0x7f0);
	ops[5] = run_of(FH_OP_UNLINK_FREE, u.t[2], 20, 80, 0);
	ops[6] = run_of(FH_OP_CLEAR, t.t[1], 100, 70, 0x330);
	ops[7] = run_of(FH_OP_READ, t.t[1], 0, 512, 0);
	machine.checks = 0;
	for (uint64_t at = 0; at < 8; at += done) {
		machine.interrupt_at = interrupt ? machine.checks + interrupt : 0;
		gives(pt_update(root, ops + at, 8 - at, &done), 0);
	}
	return machine.checks;
}

TEST("a batch interrupted anywhere and resumed ends as one that was not")
{
	uint64_t looks = mixed_batch(0);
	memcpy(final_table, table, sizeof final_table);
	memcpy(final_frames, machine.frames, sizeof final_frames);
	memcpy(final_ops, ops, sizeof final_ops);
	assert_true(looks > 10);
	for (uint64_t i = 1; i <= 4; i++) {
		mixed_batch(i);
		assert_memory_equal(table, final_table, sizeof final_table); /* locks were passed on, the same stamps */
		assert_memory_equal(machine.frames, final_frames, sizeof final_frames);
		assert_memory_equal(ops, final_ops, sizeof final_ops);
	}
}

/* ---- Flushes ---- */

TEST("the flush of a batch is done once, at its end: none, local, or all")
{
	begin();
	for (unsigned i = 0; i < 20; i++)
		ops[i] = run_of(FH_OP_CLEAR, t.t[1], i, 1, 0);
	gives(update(20), 0);
	assert_int_equal(machine.loads[0], 0);
	for (unsigned i = 0; i < 20; i++)
		ops[i].what = fh_what(FH_OP_CLEAR, i % 2 ? FH_FLUSH_LOCAL : 0, t.t[1].n, i, 1), ops[i].entry = 0;
	gives(update(20), 0);
	assert_int_equal(machine.loads[0], 1);
	for (unsigned i = 0; i < 20; i++)
		ops[i].what = fh_what(FH_OP_CLEAR, i % 2 ? FH_FLUSH_LOCAL : FH_FLUSH_ALL, t.t[1].n, i, 1), ops[i].entry = 0;
	gives(update(20), 0);
	assert_int_equal(machine.loads[0], 2);
}

TEST("a batch that is refused still flushes what it changed before")
{
	begin();
	ops[0].what = fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, t.t[1].n, 0, 1);
	ops[1] = run_of(FH_OP_CLEAR, data(root), 0, 1, 0);
	gives(update(2), -FH_EINVAL);
	assert_int_equal(machine.loads[0], 1);
}

TEST("pt_set flushes one address by INVLPG, all by a CR3 load; and the other CPUs of the table's owner")
{
	world_make(2);
	begin();
	run_on(1, u.t[4]);
	uint64_t loads = machine.loads[1];
	pte_t old;
	gives(pt_set(root, fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, u.t[1].n, 0, 1), 0, 0x5000, &old), FH_OP_DONE);
	assert_int_equal(machine.invlpgs, 1);
	assert_int_equal(machine.loads[0], 0);
	gives(pt_set(root, fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, u.t[1].n, 0, 1), 0, 0, &old), FH_OP_DONE);
	assert_int_equal(machine.loads[0], 1);
	assert_int_equal(machine.loads[1], loads);
	gives(pt_set(root, fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, t.t[1].n, 0, 1), 0, 0, &old), FH_OP_DONE);
	assert_int_equal(machine.loads[1], loads);
	gives(pt_set(root, fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1), 0, 0, &old), FH_OP_DONE);
	assert_int_equal(machine.loads[1], loads + 1);
}

/* Two envs run: root here, a on CPU 1. */
static void two_run(void)
{
	world_make(2);
	begin();
	run_on(1, u.t[4]);
	memset(machine.ipis, 0, sizeof machine.ipis);
}

TEST("a batch over tables of two owners flushes both, in either order")
{
	for (unsigned first = 0; first < 2; first++) {
		two_run();
		ops[first].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1);
		ops[!first].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, t.t[1].n, 0, 1);
		gives(update(2), 0);
		assert_int_equal(machine.ipis[1], 1);
	}
}

TEST("a batch flushes the owner whose tables it changed, though the next operation, on another's, is refused")
{
	two_run();
	ops[0].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1);
	ops[1] = run_of(FH_OP_PROTECT, t.t[1], 9, 1, FH_NX);
	gives(update(2), -FH_ENOENT);
	assert_int_equal(done, 1);
	assert_int_equal(machine.ipis[1], 1);
}

TEST("where no flush of other CPUs is left in the slice, FLUSH_ALL is EAGAIN before anything changes")
{
	two_run();
	pfn_t f = data(a);
	does(set(a, u.t[1], 0, rw(f)));
	epoch_cpu[0].budget = 0;
	pte_t old;
	refuses(pt_set(root, fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1), 0, 0, &old), EAGAIN, "flushes are spent");
	ops[0].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1);
	refuses(update(1), EAGAIN, "flushes are spent");
	assert_int_equal(machine.ipis[1], 0);
}

TEST("a batch that runs out of flushes stops before the operation that wanted one; what was done is flushed")
{
	two_run();
	epoch_cpu[0].budget = 1;
	ops[0].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, t.t[1].n, 0, 1);
	ops[1].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1);
	ops[2].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, t.t[1].n, 0, 1);
	long r = update(3);
	does(0);
	assert_true(r == 0 || r == -FH_EAGAIN);
	assert_int_equal(machine.ipis[1], done > 1);
	two_run();
	epoch_cpu[0].budget = 1;
	stamp_now(pfn(RUN));
	ops[0] = run_of(FH_OP_CLAIM, u.t[1], 0, 1, rw(pfn(RUN))); /* takes the only one */
	ops[0].what |= FH_FLUSH_ALL;
	ops[1].what = fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, u.t[1].n, 0, 1);
	gives(update(2), 0);
	assert_int_equal(done, 1);
	gives(pt_update(root, ops + 1, 1, &done), -FH_EAGAIN);
}

/* ---- Words that change under the reader ---- */

static void scribble(void)
{
	for (unsigned i = 0; i < 8; i++)
		ops[i] = (struct fh_op){~0ul >> machine.checks, 0x1234567890abcdef * machine.checks};
}

TEST("a batch rewritten by another CPU while it is carried out is checked again at every round")
{
	begin();
	run(root, pfn(RUN), 512);
	machine.on_check = scribble;
	for (unsigned i = 0; i < 8; i++)
		ops[i] = run_of(FH_OP_SET, t.t[1], 0, 512, rw(pfn(RUN)));
	long r = update(8);
	does(0);
	assert_int_equal(r, -FH_EINVAL);
	assert_int_equal(count_of(t.t[1]), 64);
}

TEST("a batch that lies in the frame it maps, or in a table it clears, is carried out or refused, never half checked")
{
	begin();
	pfn_t f = data(root);
	struct fh_op *batch = frame_address(f);
	batch[0] = run_of(FH_OP_SET, t.t[1], 0, 1, rw(f));
	batch[1] = run_of(FH_OP_UNMAP_FREE, t.t[1], 0, 1, 0); /* frees the frame that the batch is in */
	batch[2] = run_of(FH_OP_READ, t.t[1], 0, 1, 0);
	pt_update(root, batch, 3, &done);
	does(0);
	assert_int_equal(type_of(f), FH_FREE);
}
