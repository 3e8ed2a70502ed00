/*
 * frames.c - frame_alloc, frame_free and frame_retype from user mode: the life of a frame, quota, and whose bytes a new
 * owner sees (invariants 1-3, 9, 10; HOSTILE 10, 12-14, 27, 29, 51).
 */
#include <string.h>

#include "raw.h"
#include "spacewalk.h"
#include "tap.h"

#define RW (FH_P | FH_W | FH_U | FH_NX)
#define RO (FH_P | FH_U | FH_NX)

static unsigned type(pfn_t f) { return fh_type(frame_record(f)->state); }
static pfn_t owner(pfn_t f) { return fh_owner(frame_record(f)->state); }
static uint64_t refs(pfn_t f) { return fh_refs(frame_record(f)->state); }
static pfn_t free_run(size_t n) { return frames_first.next(&frames_first, n, 1, 0); }

/* frame_alloc, again while the slice's forced flushes are spent. */
static int64_t alloc(pfn_t f, uint64_t n, uint64_t env, uint64_t flags)
{
	int64_t r;

	while ((r = sys_frame_alloc(f, n, env, flags)) == -FH_EAGAIN)
		thread_yield();
	return r;
}

static int64_t retype(pfn_t f, unsigned to)
{
	int64_t r;

	while ((r = sys_frame_retype(f, to)) == -FH_EAGAIN)
		thread_yield();
	return r;
}

/* The words of a frame that are not `word`. */
static unsigned differ(pfn_t f, uint64_t word)
{
	const volatile uint64_t *p = scratch_map(f, 1, RIGHT_R);
	unsigned n = 0;

	if (!p)
		return ~0u;
	for (unsigned i = 0; i < FH_PAGE / 8; i++)
		n += p[i] != word;
	scratch_put((va_t)p, 1);
	return n;
}

static void fill(pfn_t f, uint64_t word)
{
	uint64_t *p = scratch_map(f, 1, RIGHT_R | RIGHT_W);

	for (unsigned i = 0; p && i < FH_PAGE / 8; i++)
		p[i] = word;
	scratch_put((va_t)p, 1);
}

static void check_alloc(void)
{
	uint64_t before = frames_owned();
	pfn_t f = free_run(130);

	returns(alloc(f, 1, 0, 0), 1, "a FREE frame is claimed");
	ok(type(f) == FH_DATA && owner(f) == env_self() && refs(f) == 0, "it is DATA, ours, and nothing refers to it (invariant 1)");
	is((int64_t)(frames_owned() - before), 1, "the account says one more (invariant 9)");
	is(differ(f, 0), 0, "it is all zero (invariant 10)");
	returns(sys_frame_alloc(f, 1, 0, 0), -FH_EBUSY, "twice it can't be claimed");
	returns(alloc(f + 1, 129, 0, 0), 64, "at most 64 are claimed in a call");
	is((int64_t)(frames_owned() - before), 65, "and counted");
	returns(sys_frame_free(f + 10, 1), 1, "one is freed");
	ok(type(f + 10) == FH_FREE && owner(f + 10) == 0, "it is FREE, nobody's");
	returns(sys_frame_free(f + 10, 1), -FH_EPERM, "twice it can't be freed (HOSTILE 27)");
	returns(alloc(f + 10, 9, 0, 0), 1, "a run ends at the first frame that isn't FREE");
	returns(sys_frame_free(f + 20, 1), 1, "another one is freed");
	returns(sys_frame_free(f, 64), 20, "and so does freeing, at the first that can't be freed");
	returns(sys_frame_free(f + 21, 64), 44, "or that isn't ours");
	is((int64_t)frames_owned(), (int64_t)before, "the account is as it was");

	returns(sys_frame_alloc(f, 0, 0, 0), -FH_EINVAL, "no frames at all");
	returns(sys_frame_alloc(info->nframes, 1, 0, 0), -FH_EINVAL, "a frame beyond the table");
	returns(sys_frame_alloc(info->nframes - 1, 2, 0, 0), -FH_EINVAL, "a run that leaves it");
	returns(sys_frame_alloc(f, ~0ul, 0, 0), -FH_EINVAL, "a run that wraps (HOSTILE 46)");
	returns(sys_frame_alloc(~0ul, 2, 0, 0), -FH_EINVAL, "also from the other side");
	returns(sys_frame_alloc(f, 1, 0, 2), -FH_EINVAL, "an unknown flag");
	returns(sys_frame_alloc(f, 1, f, 0), -FH_ESRCH, "for an env that is none");
	returns(sys_frame_alloc(f, 1, info->root_env, 0), -FH_EPERM, "for one's parent");
	returns(sys_frame_free(f, 0), -FH_EINVAL, "freeing none");
	returns(sys_frame_free(info->nframes, 1), -FH_EINVAL, "or one beyond the table");
	is(type(f), FH_FREE, "changes nothing");
}

static void check_keep(void)
{
	const uint64_t secret = 0x5ec2e75ec2e7;
	pfn_t f = free_run(1);
	struct raw c;

	alloc(f, 1, 0, 0);
	fill(f, secret);
	sys_frame_free(f, 1);
	returns(alloc(f, 1, 0, FH_ALLOC_KEEP), 1, "a frame of one's own comes back with KEEP");
	if (!info->debug)
		is(differ(f, secret), 0, "as it was left");
	sys_frame_free(f, 1);
	returns(alloc(f, 1, 0, 0), 1, "and without");
	is(differ(f, 0), 0, "all zero");

	if (raw_new(&c, 64) < 0)
		panic("no child");
	sys_frame_free(f, 1);
	alloc(f, 1, c.env_name, 0);
	fill(f, secret);
	sys_frame_free(f, 1);
	returns(alloc(f, 1, 0, FH_ALLOC_KEEP), 1, "KEEP of a frame that was last a child's");
	is(differ(f, 0), 0, "shows zeroes, not the child's bytes (HOSTILE 51)");
	fill(f, secret);
	sys_frame_free(f, 1);
	returns(alloc(f, 1, c.env_name, FH_ALLOC_KEEP), 1, "nor does a child with KEEP");
	is(differ(f, 0), 0, "see its parent's");
	fill(f, secret);

	/* The child dies with a secret; its ENV frame becomes another env. */
	pfn_t env = c.env, pages = c.frames;
	memset(c.page[RAW_DATA], 0x5e, FH_PAGE);
	sys_frame_free(f, 1);
	returns(raw_end(&c), 0, "the child dies with a secret");
	bool got = alloc(env, 1, 0, FH_ALLOC_KEEP) == 1;
	got &= retype(env, FH_ENV) == 0 && sys_env_ctl(env, FH_ENV_QUOTA, 8, 0) == 0;
	got &= alloc(f, 1, env, FH_ALLOC_KEEP) == 1 && alloc(pages + RAW_DATA, 1, env, FH_ALLOC_KEEP) == 1;
	ok(got, "another env is made of the same ENV frame, and claims the same frames with KEEP");
	ok(differ(f, 0) == 0 && differ(pages + RAW_DATA, 0) == 0, "it sees zeroes: it is told by its serial (HOSTILE 47, 51)");
	sys_frame_free(f, 1);
	sys_frame_free(pages + RAW_DATA, 1);
	returns(frame_put_typed(env), 0, "it dies");
	struct tally t = {0};
	for (unsigned i = 0; i < RAW_PAGES; i++)
		if (alloc(pages + i, 1, 0, FH_ALLOC_KEEP) != 1 || differ(pages + i, 0) || sys_frame_free(pages + i, 1) != 1)
			count_bad(&t, "page %u", i);
	none_bad(&t, "no page of the dead child shows a byte of it");
}

static void check_quota(void)
{
	struct raw c;
	struct fh_env e;
	pfn_t f = free_run(64);

	if (raw_new(&c, 30) < 0)
		panic("no child");
	env_look(c.env, &e);
	uint64_t left = fh_quota(e.account) - fh_owned(e.account);
	returns(alloc(f, 64, c.env_name, 0), (int64_t)left, "a run ends where the quota does: %lu frames", left);
	returns(sys_frame_alloc(f + left, 1, c.env_name, 0), -FH_EDQUOT, "then there is none");
	is(raw_call(&c, FH_SYS_frame_alloc, f + left, 1, 0, 0), -FH_EDQUOT, "for itself neither");
	pfn_t pt1 = frame_find(0, FH_PT1, c.env), pt2 = frame_find(0, FH_PT2, c.env);
	is(raw_call(&c, FH_SYS_pt_set, fh_what(FH_OP_CLAIM, 0, pt1, 9, 1), (f + left) << 12 | RW, 0, 0), -FH_EDQUOT, "nor by CLAIM");
	is(raw_call(&c, FH_SYS_pt_set, fh_what(FH_OP_LINK_NEW, 0, pt2, 9, 1), (f + left) << 12 | FH_P | FH_W | FH_U, 0, 0), -FH_EDQUOT,
	   "nor by LINK_NEW");
	is(type(f + left), FH_FREE, "and the frame stays FREE");
	is(raw_call(&c, FH_SYS_frame_free, f, 3, 0, 0), 3, "it frees three");
	is(raw_call(&c, FH_SYS_frame_alloc, f, 8, 0, 0), 3, "and may claim three");
	is(raw_call(&c, FH_SYS_frame_alloc, f + 40, 1, env_self(), 0), -FH_EPERM, "but none for its parent");
	env_look(c.env, &e);
	is((int64_t)fh_owned(e.account), (int64_t)fh_quota(e.account), "it owns exactly its quota (invariant 9)");
	returns(sys_frame_free(f, 2), 2, "a parent frees its child's frames");
	returns(raw_end(&c), 0, "the child is buried");
}

static void check_free_refused(void)
{
	pfn_t thread = fh_name_pfn(thread_self_name()), root = space_current()->root;
	const struct {
		const char *what;
		pfn_t f;
		int64_t want;
	} cases[] = {
	    {"a page of one's stack: mapped", frame_at(&thread), -FH_EBUSY},
	    {"one's upcall frame: pinned", frame_at((void *)info->upcall_va), -FH_EBUSY},
	    {"one's batch frame: pinned", frame_at((void *)info->batch_va), -FH_EBUSY},
	    {"one's root: loaded", root, -FH_EBUSY},
	    {"one's THREAD: running", thread, -FH_EBUSY},
	    {"one's own ENV, which is one's parent's", env_self(), -FH_EPERM},
	    {"the ownership table", info->table_pfn, -FH_EPERM},
	    {"the clock", info->clock_pfn, -FH_EPERM},
	    {"the info page", info->info_pfn, -FH_EPERM},
	    {"a CPU frame: root's", info->cpu_pfn[0], -FH_EPERM},
	    {"the screen: root's", 0xb8, -FH_EPERM},
	    {"frame 0", 0, -FH_EPERM},
	    {"AP start-up code", 5, -FH_EPERM},
	    {"the kernel", 0x100, -FH_EPERM},
	    {"a module: root's", info->module[0].pfn, -FH_EPERM},
	    {"root's root", info->tables[0], -FH_EPERM},
	    {"root's ENV", fh_name_pfn(info->root_env), -FH_EPERM},
	    {"a FREE frame", free_run(1), -FH_EPERM},
	};
	struct tally t = {0};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t before = frame_record(cases[i].f)->state;
		int64_t r = sys_frame_free(cases[i].f, 1);
		if (r != cases[i].want)
			count_bad(&t, "freeing %s: %ld", cases[i].what, r);
		static const unsigned types[] = {FH_DATA, FH_PT1, FH_PT4, FH_ENV, FH_THREAD};
		for (unsigned k = 0; k < 5; k++) {
			r = sys_frame_retype(cases[i].f, types[k]);
			if (r != -FH_EPERM && r != -FH_EBUSY && r != -FH_ENOTEMPTY)
				count_bad(&t, "%s becomes %u: %ld", cases[i].what, types[k], r);
			if (cases[i].want == -FH_EPERM && r != -FH_EPERM)
				count_bad(&t, "%s becomes %u: %ld, not EPERM", cases[i].what, types[k], r);
		}
		if (cases[i].want == -FH_EPERM && type(cases[i].f) != FH_FREE && sys_frame_alloc(cases[i].f, 1, 0, 0) != -FH_EBUSY)
			count_bad(&t, "%s can be claimed", cases[i].what);
		if (fh_type(frame_record(cases[i].f)->state) != fh_type(before) || fh_owner(frame_record(cases[i].f)->state) != fh_owner(before))
			count_bad(&t, "%s has changed", cases[i].what);
	}
	none_bad(&t, "what is in use, or another's, is neither freed nor retyped nor claimed (HOSTILE 10, 29, 30)");
}

static void check_retype(void)
{
	static const unsigned made[] = {FH_PT1, FH_PT2, FH_PT3, FH_PT4, FH_THREAD, FH_ENV};
	struct tally t = {0};
	pfn_t f = frame_get(&frames_first, 1, 1, 0, 0);
	uint64_t before = frames_owned();

	for (unsigned i = 0; i < 6; i++) {
		fill(f, ~0ul);
		int64_t r = retype(f, made[i]);
		if (r != 0 || type(f) != made[i] || owner(f) != env_self() || refs(f) != 0)
			count_bad(&t, "DATA becomes %u: %ld", made[i], r);
		const volatile uint64_t *p = scratch_map(f, 1, RIGHT_R);
		unsigned words = 0;
		for (unsigned k = 0; p && k < FH_PAGE / 8; k++)
			words += p[k] == ~0ul;
		bool right = p && words == 0;
		if (made[i] <= FH_PT3)
			for (unsigned k = 0; k < 512; k++)
				right &= p[k] == 0;
		if (made[i] == FH_PT4) {
			for (unsigned k = 0; k < 511; k++)
				right &= p[k] == 0;
			right &= p[511] == *(const volatile uint64_t *)window_slot(~0ul, 4) && p[511];
		}
		if (!right)
			count_bad(&t, "type %u begins with old bytes (HOSTILE 19)", made[i]);
		if (retype(f, FH_DATA) != -FH_EBUSY)
			count_bad(&t, "type %u becomes DATA while it is mapped", made[i]);
		scratch_put((va_t)p, 1);
		if (made[i] == FH_ENV && retype(f, FH_DATA) != 0)
			count_bad(&t, "an ENV that is let go does not become DATA");
		else if (made[i] != FH_ENV) {
			for (unsigned to = FH_PT1; to <= FH_THREAD; to++)
				if (sys_frame_retype(f, to) != -FH_EBUSY)
					count_bad(&t, "type %u becomes %u", made[i], to);
			if (sys_frame_free(f, 1) != -FH_EBUSY)
				count_bad(&t, "type %u is freed", made[i]);
			if (retype(f, FH_DATA) != 0)
				count_bad(&t, "type %u does not become DATA", made[i]);
		}
		if (differ(f, 0))
			count_bad(&t, "DATA that was %u is not zero", made[i]);
	}
	none_bad(&t, "DATA becomes a table, a THREAD, an ENV and DATA again, zeroed each time, never one from another (invariant 3)");
	is((int64_t)frames_owned(), (int64_t)before, "the account does not change by it");

	t.bad = 0;
	static const uint64_t others[] = {FH_KERNEL, FH_FREE, FH_CPU, FH_DEVICE, FH_TABLE, FH_BUSY, 13, 15, 16, 0x102, 1ul << 32, ~0ul};
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (sys_frame_retype(f, others[i]) != -FH_EINVAL)
			count_bad(&t, "type %#lx", others[i]);
	none_bad(&t, "nothing becomes KERNEL, FREE, CPU, DEVICE, TABLE, BUSY, or a type that isn't (HOSTILE 52)");
	returns(sys_frame_retype(info->nframes, FH_PT1), -FH_EINVAL, "nor a frame beyond the table");
	returns(sys_frame_retype(f, FH_DATA), -FH_EBUSY, "DATA does not become DATA");

	/* A table with an entry, and mapped frames. */
	pfn_t g = frame_get_typed(&frames_first, 0, FH_PT1);
	sys_pt_set(fh_what(FH_OP_SET, 0, g, 511, 1), f << 12 | RW, 0);
	returns(sys_frame_retype(g, FH_DATA), -FH_ENOTEMPTY, "a table with an entry stays a table");
	returns(sys_frame_retype(f, FH_PT1), -FH_EBUSY, "a mapped frame becomes no table (HOSTILE 13)");
	returns(sys_frame_retype(f, FH_THREAD), -FH_EBUSY, "nor a THREAD");
	sys_pt_set(fh_what(FH_OP_CLEAR, 0, g, 511, 1), 0, 0);
	returns(frame_put_typed(g), 0, "emptied, it is given back");
	frame_put(f, 1);
}

static volatile unsigned faults;
static enum answer skip3(struct fh_context *c)
{
	faults++;
	c->regs.rip += 3;
	return FAULT_DONE;
}

/* A frame that is unmapped without a flush may still be written through the TLB; not any more once it is a table. */
static void check_stale(void)
{
	const va_t va = 0x300000000000ul;
	pfn_t table = space_table(space_current(), va, 1);
	struct tally t = {0};
	unsigned fault_count = 0;

	on_upcall(14, skip3);
	for (unsigned i = 0; i < 20; i++) {
		pfn_t f = frame_get(&frames_first, 1, 1, 0, 0);
		sys_pt_set(fh_what(FH_OP_SET, 0, table, i, 1), f << 12 | RW, 0);
		volatile uint64_t *p = (volatile uint64_t *)(va + i * FH_PAGE);
		*p = 1;
		sys_pt_set(fh_what(FH_OP_CLEAR, FH_FLUSH_NONE, table, i, 1), 0, 0);
		bool reuse = i % 2;
		int64_t r = reuse ? sys_frame_free(f, 1) : 1;
		r = r < 0 ? r : reuse ? alloc(f, 1, 0, 0) - 1 : retype(f, FH_PT1);
		faults = 0;
		__asm__ volatile("movq %%rcx, (%%rdi)" : : "D"(p), "c"(~0ul) : "memory");
		fault_count += faults;
		if (r < 0 || differ(f, 0))
			count_bad(&t, "round %u: %ld, %u words were written", i, r, differ(f, 0));
		if (reuse)
			frame_put(f, 1);
		else
			frame_put_typed(f);
	}
	on_upcall(14, NULL);
	none_bad(&t, "a frame that was unmapped without a flush is not written through the TLB once it is a table, or claimed "
	             "again (HOSTILE 12, 14, 31; %u of 20 writes faulted)", fault_count);
	is(fault_count, 20, "each late write faulted");
	space_trim(space_current(), va, va + PLAN_GIB);
}

int main(void)
{
	tap_begin();
	check_alloc();
	check_keep();
	check_quota();
	check_free_refused();
	check_retype();
	check_stale();
	return tap_end();
}
