/*
 * table.c - the ownership table: the bytes are system calls of several envs on two CPUs, 12 bytes each. After each step a
 * refusal has changed nothing, no frame was reused while a TLB may hold it, no contents reached another owner, nobody changed
 * what isn't theirs; after every few all invariants are recomputed.
 */
#define _GNU_SOURCE
#include "fuzz.h"
#include "../unit/tlbs.h"
#include "../unit/world.c"
#include <sys/mman.h>
#include <unistd.h>

#define STEPS_MAX 60u
#define AUDIT_EVERY 5u /* steps: it takes longer than all else */
#define ENVS 8u
#define OWN 0x67 /* what owners keep in their frames: in a page table it would be wrong entries */
#define OPS_MAX 6u

/* ---- The machine, as each run finds it ---- */

static pfn_t env[ENVS]; /* those that act; pfn 0: none */
static struct { struct fh_clock clock; struct epoch_cpu cpu[LENGTH(epoch_cpu)]; struct fh_frame *table; pfn_t env[ENVS]; } begin;

/* Root with a child, a grandchild and another child, each with tables, pages and a window; two of them run. */
static void populate(void)
{
	world_make(TLBS);
	world_shallow = true;
	env[0] = root;
	env[1] = child(root, 120);
	env[2] = child(env[1], 40);
	env[3] = child(root, 60);
	for (unsigned i = 0; i < 4; i++) {
		struct tree t = tree(env[i]);
		for (unsigned s = 0; s < 3; s++)
			does(set(env[i], t.t[1], s, rw(data(env[i]))));
		if (i < TLBS)
			run_on(i, t.t[4]);
		pfn_t window = make(env[i], FH_PT1);
		does(set(env[i], window, 0, ro(data(env[i]))));
		data(env[i]);
	}
	does(frame_grant(env[1], make(env[1], FH_PT1).n, env_name(env[3])));
	make(env[1], FH_THREAD);
	run(root, pfn(RUN), 512);
	for (uint64_t n = 0; n < nframes; n++)
		if (type_of(pfn(n)) == FH_DATA)
			fill_frame(pfn(n), OWN);
}

/* The frames lie in a private mapping of a file: MADV_DONTNEED undoes what a run has written. */
static void keep_begin(void)
{
	int file = memfd_create("frames", 0);
	FUZZ_CHECK(file >= 0 && write(file, machine.frames, NFRAMES * PAGE) == NFRAMES * PAGE);
	FUZZ_CHECK(mmap(machine.frames, NFRAMES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0) == machine.frames);
	close(file);
	begin.clock = clock_frames;
	memcpy(begin.cpu, epoch_cpu, sizeof epoch_cpu);
	memcpy(begin.env, env, sizeof env);
	begin.table = malloc(TABLE_ROOM * sizeof *table);
	memcpy(begin.table, table, TABLE_ROOM * sizeof *table);
}

static void begin_again(void)
{
	if (!begin.table) {
		populate();
		keep_begin();
	}
	FUZZ_CHECK(madvise(machine.frames, NFRAMES * PAGE, MADV_DONTNEED) == 0);
	memcpy(table, begin.table, TABLE_ROOM * sizeof *table);
	memcpy(epoch_cpu, begin.cpu, sizeof epoch_cpu);
	memcpy(env, begin.env, sizeof env);
	clock_frames = begin.clock;
	clock_before = clock_now();
	machine = (struct machine){.frames = machine.frames};
	tlbs_begin();
}

/* ---- From bytes to arguments ---- */

static struct input in;
static struct step {
	uint8_t call, who, frame, other, n, index, op, bits, noise_what, noise_entry, more, edge;
} s;
static bool nested; /* a call is being made while another awaits quiet */

static void next_step(void)
{
	s = (struct step){0};
	size_t n = MIN(in.n, sizeof s);
	memcpy(&s, in.at, n);
	in.at += n;
	in.n -= n;
}

/* Frames by a byte: mostly those in use, and a few FREE ones; then the special ones, and edges. */
static uint64_t frame_of(uint8_t b)
{
	static const uint64_t others[] = {ROOT_ENV, A_DEVICE, A_DEVICE + 1, A_CPU, A_CPU + 1, A_KERNEL, 0, TABLE_RUN, TABLE_RUN + 1,
	                                  RUN, RUN + 1, RUN + 511, RUN2, RUN2 + 1, RUN2 + 511, RAGGED, RAGGED + 1, NFRAMES - 1,
	                                  NFRAMES, NFRAMES + 1, RAGGED + 512, FH_PFN_MASK};
	return b < 224 ? SMALL + b % 64 : others[(b - 224u) % LENGTH(others)];
}

static uint64_t noise(uint64_t word, uint8_t b) { return b & 128 ? word ^ 1ul << (b & 63) : word; }
static pfn_t env_of(uint8_t b) { return env[b % ENVS].n ? env[b % ENVS] : root; }

/* A name: of an env with its serial; sometimes without it, with a wrong one, or of what is no env. */
static uint64_t name_of(uint8_t b)
{
	pfn_t e = env_of(b);
	switch (b >> 4) {
	case 15: return 0;
	case 14: return e.n;
	case 13: return fh_name(e.n, env_at(e)->serial - 1);
	case 12: return fh_name(frame_of(s.other), 0);
	default: return env_name(e);
	}
}

static unsigned index_of(void) { return s.edge & 1 ? 508 + (s.index & 3) : s.index; }

static struct fh_op op_of(unsigned count)
{
	static const pte_t bit[] = {FH_W, FH_NX, FH_A, FH_D, FH_PS, FH_PCD, FH_AVL & 1 << 9, FH_P | FH_U};
	uint64_t flags = (s.op >> 4 & 3) << 4 | (s.op & 64 ? FH_KEEP : 0);
	pte_t e = (FH_P | FH_U) | frame_of(s.other) << 12;
	for (unsigned i = 0; i < 8; i++)
		if (s.bits >> i & 1)
			e ^= bit[i];
	unsigned opcode = s.op & 15;
	if (s.edge & 2 || ((opcode == FH_OP_CLEAR || opcode == FH_OP_UNMAP_FREE || opcode == FH_OP_UNLINK_FREE) && !(s.edge & 4)))
		e &= FH_AVL; /* a word that names nothing */
	return (struct fh_op){noise(fh_what(opcode, flags, frame_of(s.frame), index_of(), count), s.noise_what),
	                      noise(e, s.noise_entry)};
}

static uint64_t count_of_frames(void) { return s.edge & 8 ? -(uint64_t)s.n : s.n; }

/* ---- Steps ---- */

static void act_on(pfn_t f, unsigned type)
{
	for (unsigned i = 1; i < ENVS; i++)
		if (env[i].n && (type_of(env[i]) != FH_ENV || env_at(env[i])->account & FH_ACCOUNT_DEAD))
			env[i] = pfn(0);
	for (unsigned i = 1; i < ENVS && type == FH_ENV; i++)
		if (env[i].n == 0) {
			env[i] = f;
			return;
		}
}

/* What user code does to the page tables by using them: A and D are set. */
static void hardware_sets_bits(void)
{
	pfn_t t = pfn(frame_of(s.frame));
	if (t.n >= nframes || !is_table(type_of(t)) || index_of() == FH_KERNEL_SLOT)
		return;
	uint64_t e = raw(t, index_of());
	if (e & FH_P)
		forge(t, index_of(), e | FH_A | (e & FH_W && (type_of(t) == FH_PT1 || e & FH_PS) ? FH_D : 0));
}

/* As thread_write and the end of a thread do. */
static void pin_or_unpin(void)
{
	pfn_t t = pfn(frame_of(s.frame)), f = pfn(frame_of(s.other));
	if (t.n >= nframes || f.n >= nframes || type_of(t) != FH_THREAD)
		return;
	uint64_t *field = s.op & 1 ? &thread_at(t)->root : &thread_at(t)->batch;
	unsigned type = s.op & 1 ? FH_PT4 : FH_DATA;
	if (*field) {
		ref_drop(pfn(*field));
		*field = 0;
	} else if (ref_get(f, type, owner_of(state_of(t))) == 0)
		*field = f.n;
}

static void load_some_root(void)
{
	pfn_t t = pfn(frame_of(s.frame));
	if (t.n < nframes && type_of(t) == FH_PT4)
		load_root(t);
	else
		epoch_enter_idle();
}

/* env_ctl's part of moving quota, freezing and asking for frames. */
static long control(pfn_t me)
{
	pfn_t e;
	long r = env_lookup(me, name_of(s.more), &e);
	if (r < 0 || !authority(me, e))
		return r;
	bool above = authority(me, owner_of(state_of(e)));
	if (s.op & 1 && !same(e, root))
		return atomic_or(&env_at(e)->account, FH_ACCOUNT_FROZEN), 0;
	if (s.op & 2 && above)
		return atomic_and(&env_at(e)->account, ~FH_ACCOUNT_FROZEN), 0;
	if (s.op & 4 && above && !same(me, e))
		return env_revoke(e, s.n, 0);
	int64_t n = s.edge & 8 ? (int64_t)noise(0, s.noise_what) : (int8_t)s.n;
	return above || n < 0 ? env_move_quota(e, n) : 0;
}

static long batch(pfn_t me, uint64_t *done)
{
	struct fh_op ops[OPS_MAX], before[OPS_MAX];
	unsigned n = 1 + s.more % OPS_MAX;
	machine.interrupt_at = s.edge & 64 ? machine.checks + 1 + s.edge / 128 : 0;
	for (unsigned i = 0; i < n; i++) {
		ops[i] = op_of(s.n);
		if (i + 1 < n)
			next_step();
	}
	memcpy(before, ops, sizeof before);
	long r = pt_update(me, ops, n, done);
	*done += memcmp(before, ops, n * sizeof *ops) != 0; /* part of one */
	return r;
}

/* One call. *partly: refused, it may have changed something: what DESIGN 3 allows. */
static long call(bool *partly)
{
	pfn_t me = env_of(s.who);
	uint64_t f = frame_of(s.frame), done = 0;
	pte_t old;
	long r;
	switch (s.call % 16) {
	case 0: return frame_alloc(me, f, count_of_frames(), name_of(s.more), s.op & 3);
	case 1: return frame_free(me, f, count_of_frames());
	case 2: {
		unsigned was = f < nframes ? type_of(pfn(f)) : 0;
		r = frame_retype(me, f, s.op & 128 ? s.noise_what : s.op % FH_NTYPES);
		*partly = was == FH_ENV && r == -FH_EAGAIN; /* an env that owns nothing is dead for good, and then waits */
		act_on(pfn(f), r == 0 ? type_of(pfn(f)) : 0);
		return r;
	}
	case 3: return frame_grant(me, f, name_of(s.more));
	case 4: r = frame_grant(me, f, 0); *partly = r == -FH_EAGAIN; return r;
	case 5: return frame_take(me, f, count_of_frames());
	case 6: return frame_sync(f, count_of_frames());
	case 7: return control(me);
	case 8: load_some_root(); return 0;
	case 9: epoch_tick(); return 0;
	case 10: pin_or_unpin(); return 0;
	case 11: hardware_sets_bits(); return 0;
	case 12: r = batch(me, &done); *partly = done != 0; return r;
	default: {
		struct fh_op o = op_of(s.edge & 32 ? s.n : 1);
		va_t va = s.edge & 16 ? noise(-1ul, s.noise_what) : (uint64_t)s.more << 12;
		return pt_set(me, o.what, o.entry, va, &old);
	}
	}
}

static void other_cpu(void)
{
	bool partly;
	nested = true;
	epoch_leave_idle();
	next_step();
	call(&partly);
}

/* What a frame held reaches no other owner: it left FREE zeroed, or its last owner has it again. Then its owner writes. */
static void check_contents(void)
{
	for (uint64_t n = 0; n < nframes; n++) {
		pfn_t f = pfn(n), owner = owner_of(state_of(f));
		if (fh_type(records_before[n].state) != FH_FREE || type_of(f) != FH_DATA)
			continue;
		if (records_before[n].tenant != env_name(owner) && !all_bytes(f, 0))
			fuzz_fail("frame %lu isn't zeroed, and its last owner was another", n);
		fill_frame(f, OWN);
	}
}

/* Whose is what has changed? An env changes its own and its descendants' frames, takes what is FREE or granted to it; a table of
 * another's changes when a window is withdrawn, or by being used. */
static void check_authority(pfn_t me)
{
	for (uint64_t n = 0; n < nframes; n++) {
		uint64_t was = records_before[n].state, is = table[n].state;
		if (fh_type(was) == FH_FREE || authority(me, owner_of(was)))
			continue;
		if ((fh_type(was) != fh_type(is) || fh_owner(was) != fh_owner(is)) && records_before[n].tenant != env_name(me))
			fuzz_fail("call %u: env %lu has changed frame %lu of env %lu", s.call % 16, me.n, n, fh_owner(was));
		bool withdrawn = s.call % 16 == 4 || (s.call % 16 == 3 && name_of(s.more) == 0);
		if (is_table(fh_type(was)) && !withdrawn && s.call % 16 != 11 &&
		    memcmp(frames_before + n * PAGE, frame_address(pfn(n)), PAGE) != 0)
			fuzz_fail("call %u: env %lu has changed table %lu of env %lu", s.call % 16, me.n, n, fh_owner(was));
	}
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
	in = (struct input){bytes, size};
	begin_again();
	for (unsigned i = 0; i < STEPS_MAX && in.n; i++) {
		bool partly = false;
		next_step();
		machine.cpu = s.who >> 6 & 1;
		pfn_t me = env_of(s.who);
		nested = false;
		machine.pauses = 0;
		machine.meanwhile = s.who & 128 ? other_cpu : NULL;
		epoch_leave_idle();
		world_before();
		long r = call(&partly);
		machine.meanwhile = NULL;
		const char *wrong = i % AUDIT_EVERY == 0 || in.n == 0 ? world_wrong() : NULL;
		if (!wrong)
			wrong = tlbs_wrong(nested ? root : me); /* whose link it was isn't known: then root's, who may */
		if (!wrong && r < 0 && !partly && !nested)
			wrong = world_changed(true);
		if (wrong)
			fuzz_fail("step %u, call %u of env %lu, returned %ld (%s): %s", i, s.call % 16, me.n, r, suite_sentence(), wrong);
		if (!nested)
			check_authority(me);
		check_contents();
	}
}

/* ---- What test/unit has in suite.c ---- */

static const char *last_refusal = "";
const char *suite_sentence(void) { return last_refusal; }
void suite_forget(void) { last_refusal = ""; }
void refusal_note(unsigned error, const char *sentence)
{
	(void)error;
	last_refusal = sentence;
}

_Noreturn void suite_fail(const char *file, int line, const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fuzz_fail("%s:%d: %s", file, line, text);
}

_Noreturn void panic(const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fuzz_fail("panic: %s", text);
}
