/*
 * test_random.c - a seeded random walk: several envs and two CPUs call whatever they like. After each step the audit
 * runs, a refusal has changed nothing, and a model of the TLBs says whether a frame was reused too early.
 * SEED=n replays a walk, STEPS=n makes it longer.
 */
#include "tlbs.h"
#include "world.h"

#define ENVS 5u
#define CPUS TLBS
static pfn_t env[ENVS];  /* pfn 0: none */
static pfn_t known[160]; /* frames that calls like to name */
static unsigned nknown;
static uint64_t seed, step_number;

static uint64_t lcg;
static uint64_t any(uint64_t n) /* below n */
{
	lcg = lcg * 6364136223846793005ul + 1442695040888963407ul;
	return (lcg >> 33) % n;
}
static bool once_in(unsigned n) { return any(n) == 0; }

/* ---- Choices ---- */

static pfn_t some_env(void)
{
	pfn_t e = env[any(ENVS)];
	return e.n ? e : root;
}

static pfn_t some_frame(void)
{
	if (once_in(12))
		return pfn(any(NFRAMES + 2));
	if (once_in(8))
		return pfn(RUN + any(1024 + 300));
	return known[any(nknown)];
}

static pfn_t of(unsigned type) /* a frame of this type if one is soon found */
{
	pfn_t f = type == FH_FREE && once_in(2) ? tlbs_freed[any(LENGTH(tlbs_freed))] : some_frame();
	for (unsigned tries = 0; tries < 40 && (f.n >= nframes || type_of(f) != type); tries++)
		f = some_frame();
	return f;
}

static pfn_t some_table(void) { return of(FH_PT1 + any(4)); }

static unsigned some_index(void)
{
	static const unsigned edges[] = {0, 1, 2, 3, 255, 509, 510, 511};
	return once_in(10) ? any(512) : edges[any(LENGTH(edges))];
}

static pte_t some_entry(unsigned level)
{
	static const pte_t flags[] = {FH_W, FH_NX, FH_A, FH_D, FH_PWT, FH_PCD, FH_PS, FH_G, 1ul << 9, 1ul << 52, 1ul << 45,
	                              FH_U, FH_P};
	if (once_in(8))
		return once_in(2) ? 0 : any(8) << 5 | any(64) << 58;
	pfn_t f = level > 1 ? of(FH_PT1 + level - 2) : some_frame();
	pte_t e = FH_P | FH_U | (once_in(2) ? FH_W : 0) | (once_in(3) ? 0 : FH_NX);
	if (level == 2 && once_in(6))
		return large(once_in(5) ? any(5) * 512 : RUN + any(2) * 512) & ~(once_in(2) ? FH_W : 0ul);
	if (once_in(3))
		f = of(once_in(3) ? FH_FREE : FH_DATA);
	for (unsigned n = once_in(6) ? any(3) : 0; n; n--)
		e ^= flags[any(LENGTH(flags))];
	return e | f.n << 12;
}

static pfn_t granted_to(pfn_t me) /* a frame of which me is the tenant if there is one */
{
	uint64_t from = any(NFRAMES), name = env_name(me);
	for (uint64_t i = 0; i < NFRAMES; i++) {
		pfn_t f = pfn((from + i) % NFRAMES);
		if (record(f)->tenant == name && type_of(f) != FH_FREE)
			return f;
	}
	return some_frame();
}

/* A tenant's link, in a table of its own. */
static struct fh_op link_granted(pfn_t me)
{
	pfn_t w = granted_to(me), t = w;
	for (unsigned tries = 0; tries < 40 && !(is_table(type_of(t)) && same(owner_of(state_of(t)), me)); tries++)
		t = of(w.n < nframes && type_of(w) == FH_PT1 ? FH_PT2 : FH_PT3);
	return (struct fh_op){fh_what(FH_OP_SET, 0, t.n, some_index(), 1), link_to(w)};
}

/* Unmap a page that is mapped once and may be in a TLB: its frame, if there is one. */
static pfn_t unmapped(void)
{
	for (unsigned tries = 0; tries < 40; tries++) {
		pfn_t t = of(FH_PT1);
		unsigned i = any(4);
		pte_t e = type_of(t) == FH_PT1 ? raw(t, i) : 0;
		pfn_t f = entry_pfn(e);
		if ((e & FH_P) && type_of(f) == FH_DATA && refs_of(f) == 1 && (in_tlb(0, f) || in_tlb(1, f)) &&
		    clear(owner_of(state_of(t)), t, i) == FH_OP_DONE)
			return f;
	}
	return some_frame();
}

static struct fh_op some_op(unsigned count)
{
	pfn_t t = some_table();
	unsigned level = is_table(type_of(t)) ? level_of(type_of(t)) : 1, opcode = any(FH_NOPS + (once_in(50) ? 6 : 0));
	uint64_t flags = (once_in(12) ? any(3) << 4 : 0) | (once_in(4) ? FH_KEEP : 0);
	pte_t e = some_entry(level);
	if (level == 4 && opcode == FH_OP_SET && once_in(6))
		e = t.n << 12 | FH_P | FH_U | FH_NX;
	bool clears = opcode == FH_OP_CLEAR || opcode == FH_OP_UNMAP_FREE || opcode == FH_OP_UNLINK_FREE;
	if (clears && !once_in(20))
		e &= ~(FH_PFN_FIELD | FH_P);
	if (opcode == FH_OP_LINK_NEW && !once_in(6))
		e = link_to(of(FH_FREE));
	return (struct fh_op){fh_what(opcode, flags, t.n, some_index(), count), e};
}

/* ---- Steps ---- */

static long batch(pfn_t me, uint64_t *done)
{
	static struct fh_op ops[6];
	unsigned n = any(LENGTH(ops)) + 1;
	for (unsigned i = 0; i < n; i++)
		ops[i] = some_op(once_in(3) ? any(140) : any(5) + 1);
	machine.interrupt_at = once_in(4) ? machine.checks + 1 + any(3) : 0;
	struct fh_op before[6];
	memcpy(before, ops, sizeof ops);
	long r = pt_update(me, ops, n, done);
	if (r < 0 && memcmp(before, ops, sizeof ops) != 0)
		*done = *done ? *done : 1; /* rounds were done */
	return r;
}

/* An env in a free place of env[]. */
static long new_env(pfn_t me)
{
	unsigned i = 1 + any(ENVS - 1);
	pfn_t f = of(FH_DATA);
	if (env[i].n || f.n >= nframes || frame_retype(me, f.n, FH_ENV) < 0)
		return 0;
	env[i] = f;
	env_move_quota(f, any(80));
	return 1;
}

static void forget_dead_envs(void)
{
	for (unsigned i = 1; i < ENVS; i++)
		if (env[i].n && (type_of(env[i]) != FH_ENV || env_at(env[i])->account & FH_ACCOUNT_DEAD))
			env[i] = pfn(0);
}

static void switch_root(void)
{
	pfn_t t = of(FH_PT4);
	load_root(t.n < nframes && type_of(t) == FH_PT4 && !once_in(3) ? t : kernel_root);
	if (same(epoch_cpu[machine.cpu].root, kernel_root) && once_in(3))
		epoch_enter_idle();
}

static void pin_some(void)
{
	pfn_t t = of(FH_THREAD), f = of(once_in(2) ? FH_PT4 : FH_DATA);
	if (t.n >= nframes || f.n >= nframes || type_of(t) != FH_THREAD)
		return;
	uint64_t *field = type_of(f) == FH_PT4 ? &thread_at(t)->root : &thread_at(t)->batch;
	if (*field) {
		ref_drop(pfn(*field));
		*field = 0;
	} else if ((type_of(f) == FH_PT4 || type_of(f) == FH_DATA) &&
	           ref_get(f, type_of(f), owner_of(state_of(t))) == 0)
		*field = f.n;
}

static unsigned succeeded, refused, taken, links_granted, links_withdrawn;

/* Grant or withdraw. A withdrawal that is refused with EAGAIN has withdrawn: then *withdrew. */
static long grant_some(pfn_t me, bool *withdrew)
{
	static const unsigned types[] = {FH_DATA, FH_DATA, FH_PT1, FH_PT1, FH_PT2, FH_DEVICE, FH_CPU};
	pfn_t f = once_in(8) ? some_frame() : of(types[any(LENGTH(types))]);
	pfn_t owner = f.n < nframes ? owner_of(state_of(f)) : root;
	if (!once_in(4) && owner.n)
		me = owner;
	*withdrew = once_in(3);
	bool linked_now = f.n < nframes && is_table(type_of(f)) && linked_at(f) && tlbs_granted(f);
	long r = frame_grant(me, f.n, *withdrew ? 0 : env_name(some_env()));
	links_withdrawn += *withdrew && r == 0 && linked_now;
	*withdrew &= r == -FH_EAGAIN;
	return r;
}

/* Take, sometimes what is granted at the same step and may be in a TLB: then *granted. */
static long take_some(pfn_t me, pfn_t stale, bool *granted)
{
	pfn_t f = once_in(2) ? stale : granted_to(me);
	if (f.n < nframes && record(f)->tenant != env_name(me))
		*granted = frame_grant(owner_of(state_of(f)), f.n, env_name(me)) == 0;
	long r = frame_take(me, f.n, 1 + any(3));
	taken += r > 0 ? r : 0;
	return r;
}

/* What nothing refers to is in no TLB when frame_sync returns. */
static long sync_some(pfn_t f)
{
	long r = frame_sync(f.n, 1 + any(3));
	for (long i = 0; i < r; i++)
		for (unsigned c = 0; c < CPUS; c++)
			if (refs_of(pfn(f.n + i)) == 0 && in_tlb(c, pfn(f.n + i)) && type_of(pfn(f.n + i)) != FH_CPU && type_of(pfn(f.n + i)) != FH_TABLE)
				suite_fail(__FILE__, __LINE__, "SEED=%lu step %lu: frame %lu is synced, yet in CPU %u's TLB", seed, step_number,
				           f.n + i, c);
	return r;
}

static void one_step(void)
{
	pfn_t me = some_env(), f = some_frame();
	uint64_t done = 0;
	bool died = false, granted = false;
	long r = 0;
	machine.cpu = any(CPUS);
	epoch_leave_idle();
	pfn_t stale = once_in(4) ? unmapped() : some_frame();
	world_before();
	switch (any(18)) {
	case 0:
		f = once_in(2) ? of(FH_FREE) : f;
		r = frame_alloc(me, f.n, 1 + any(4), once_in(3) ? env_name(some_env()) : 0, any(2));
		break;
	case 1: r = frame_free(me, f.n, 1 + any(3)); break;
	case 2: r = frame_retype(me, f.n, once_in(10) ? any(14) : FH_PT1 + any(4)); break;
	case 3:
		r = frame_retype(me, f.n, once_in(4) ? FH_THREAD : FH_DATA);
		died = f.n < nframes && type_of(f) == FH_ENV && env_at(f)->account & FH_ACCOUNT_DEAD;
		break;
	case 4: new_env(me); break;
	case 5: r = env_move_quota(some_env(), (int64_t)any(60) - 20); break;
	case 6: switch_root(); break;
	case 7:
		if (once_in(5))
			epoch_tick();
		break;
	case 8: pin_some(); break;
	case 9: r = batch(me, &done); break;
	case 10:
	case 11: r = grant_some(me, &granted); break;
	case 12: r = take_some(me, stale, &granted); break;
	case 13: r = sync_some(once_in(2) ? stale : f); break;
	default: {
		bool window = once_in(5);
		struct fh_op o = window ? link_granted(me) : some_op(1);
		pte_t old;
		r = pt_set(me, o.what, o.entry, 0, &old);
		links_granted += window && r >= 0 && linked_at(entry_pfn(o.entry)) && !authority(me, owner_of(state_of(entry_pfn(o.entry))));
	}
	}
	const char *wrong = world_wrong(), *changed = NULL;
	if (!wrong)
		wrong = tlbs_wrong(me);
	if (r < 0 && done == 0)
		changed = world_changed(true);
	if (changed && died && r == -FH_EAGAIN) /* an env that owns nothing is dead for good, and then waits */
		changed = NULL;
	if (granted) /* granted or withdrawn, whatever came after */
		changed = NULL;
	if (wrong || changed)
		suite_fail(__FILE__, __LINE__, "SEED=%lu step %lu, returned %ld (%s): %s", seed, step_number, r,
		           suite_sentence(), wrong ? wrong : changed);
	succeeded += r >= 0;
	refused += r < 0;
	forget_dead_envs();
}

/* Something to start from: three envs with trees and pages, one running on each CPU. */
static void populate(void)
{
	env[1] = child(root, 120);
	env[2] = child(env[1], 40);
	for (unsigned i = 0; i < 3; i++) {
		struct tree t = tree(env[i]);
		for (unsigned s = 0; s < 4; s++)
			does(set(env[i], t.t[1], s, rw(data(env[i]))));
		if (i < CPUS)
			run_on(i, t.t[4]);
	}
	does(frame_retype(root, data(root).n, FH_THREAD));
}

static void walk_randomly(uint64_t with_seed, uint64_t steps)
{
	world_make(CPUS);
	world_shallow = true;
	seed = lcg = with_seed;
	memset(env, 0, sizeof env);
	env[0] = root;
	nknown = 0;
	for (unsigned n = SMALL; n < SMALL + 100; n++)
		known[nknown++] = pfn(n);
	pfn_t others[] = {pfn(A_CPU), pfn(A_DEVICE), pfn(TABLE_RUN), root, pfn(RUN), pfn(RUN2), pfn(RAGGED)};
	for (unsigned i = 0; i < LENGTH(others); i++)
		known[nknown++] = others[i];
	large_exec = seed & 1;
	run(root, pfn(RUN), seed % 3 ? 512 : 0);
	populate();
	tlbs_begin();
	for (step_number = 0; step_number < steps; step_number++)
		one_step();
}

TEST("a random walk of five envs on two CPUs keeps every invariant at every step")
{
	uint64_t first = suite_env("SEED", 0), steps = suite_env("STEPS", 2500);
	for (uint64_t s = first ? first : 1; s <= (first ? first : 12); s++)
		walk_randomly(s, steps);
	print_message("# %u steps succeeded, %u were refused; %u frames taken, %u windows linked, %u withdrawn while linked\n",
	              succeeded, refused, taken, links_granted, links_withdrawn);
	assert_true(succeeded > 100 && refused > 100);
	assert_true(first || (taken > 10 && links_granted > 10 && links_withdrawn > 3));
}

TEST("a random walk from a seed that nobody has tried keeps every invariant too")
{
	FILE *f = fopen("/dev/urandom", "r");
	uint32_t fresh = 0;
	assert_int_equal(fread(&fresh, sizeof fresh, 1, f), 1);
	fclose(f);
	print_message("# SEED=%u\n", fresh);
	walk_randomly(suite_env("SEED", fresh), suite_env("STEPS", 2500));
}

int main(void) { return suite_main("random", NULL, NULL); }
