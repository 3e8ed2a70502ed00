/*
 * audit.c - the invariants of DESIGN 2, one named check each. Reads everything, changes nothing but its counters.
 */
#include "audit.h"
#ifdef DEBUG
#include "epoch.h"
#include "frame.h"
#include "grant.h"
#include "pte.h"

struct audit_count *audit_counts;
static long violations;

static void check(bool ok, const char *invariant, uint64_t frame, uint64_t found, uint64_t expected)
{
	if (ok)
		return;
	if (violations++ < 20)
		audit_report(invariant, frame, found, expected);
}

static bool has_owner(unsigned type)
{
	return type == FH_DATA || is_table(type) || (type >= FH_ENV && type <= FH_DEVICE);
}

/* Invariant 1: one type, one owner; owners are living ENVs on a line to root. */
static void check_owner(pfn_t f, uint64_t state)
{
	unsigned type = fh_type(state);
	pfn_t owner = owner_of(state);
	check(type < FH_NTYPES && type != FH_BUSY, "1 type", f.n, type, 0);
	check(!(state & FH_STATE_LOCK), "1 no lock is left held", f.n, state, 0);
	uint64_t stamp = atomic_get(&record(f)->stamp), tenant = record(f)->tenant;
	check((stamp >> 48 & 255) == stamp >> 56, "1 no ticket is outstanding", f.n, stamp, 0);
	check(!tenant || type == FH_FREE || grantable(type), "1 only memory, devices, CPUs and windows are granted", f.n, tenant, 0);
	if (!has_owner(type)) {
		check(owner.n == 0 && fh_refs(state) == 0, "1 nobody owns or references it", f.n, state, 0);
		return;
	}
	check(owner.n < nframes && fh_type(state_of(owner)) == FH_ENV, "1 owner is an ENV", f.n, owner.n, 0);
	if (owner.n >= nframes || fh_type(state_of(owner)) != FH_ENV)
		return;
	check(tenant != env_name(owner), "1 nothing is granted to its owner", f.n, tenant, 0);
	audit_counts[owner.n].owned++;
	for (unsigned depth = 0; !same(owner_of(state_of(owner)), owner); depth++) {
		if (depth > FH_ENV_DEPTH) {
			check(false, "1 line of owners reaches root", f.n, depth, FH_ENV_DEPTH);
			return;
		}
		owner = owner_of(state_of(owner));
	}
}

static bool related(pfn_t a, pfn_t b) { return env_within(a, b) || env_within(b, a); }

/* Invariants 4 and 7 for one leaf of a table that `owner` owns. */
static void check_leaf(pfn_t t, pfn_t owner, pte_t e, unsigned level)
{
	bool large = level == 2;
	uint64_t first = fh_pte_pfn(e), n = large ? FH_LARGE_FRAMES : 1;
	pte_t cache = e & (FH_PWT | FH_PCD | (large ? 0 : FH_PAT));
	check(first + n <= nframes && first % n == 0, "7 pfn in range and aligned", t.n, e, 0);
	check(!large || (e & FH_NX) || large_exec, "7 executable large page", t.n, e, 0);
	for (uint64_t i = 0; i < n && first + n <= nframes; i++) {
		pfn_t f = pfn(first + i);
		uint64_t state = state_of(f);
		unsigned type = fh_type(state);
		if (type == FH_DATA || (type == FH_DEVICE && !large)) {
			check(related(owner_of(state), owner), "4 the frame's owner is on the table's line", t.n, e, f.n);
			check(type == FH_DEVICE || !cache, "7 cache bits only on DEVICE", t.n, e, 0);
		} else {
			bool shown = uncounted(type) || same(f, owner) || (has_owner(type) && env_within(owner_of(state), owner));
			check(shown && !(e & FH_W) && !cache, "4 other types only read-only, to owner and ancestors", t.n, e, f.n);
			check(!large || (type == FH_TABLE && (e & FH_NX)), "7 large pages show only the table, NX", t.n, e, f.n);
		}
		if (!uncounted(type))
			audit_counts[f.n].refs++;
	}
}

/* Invariant 5 for one link. Returns whether it counts as an entry (the self-map doesn't). */
static bool check_link(pfn_t t, uint64_t state, pte_t e, unsigned index)
{
	pfn_t c = entry_pfn(e);
	unsigned level = level_of(fh_type(state));
	if (level == 4 && same(c, t)) {
		check((e & (FH_W | FH_NX)) == FH_NX, "5 self-map is read-only and NX", t.n, e, 0);
		return false;
	}
	check(c.n < nframes && fh_type(state_of(c)) == fh_type(state) - 1, "5 a link names a table one level down", t.n, e, 0);
	if (c.n >= nframes)
		return true;
	audit_counts[c.n].refs++;
	uint64_t link = atomic_get(&record(c)->link), here = (uint64_t)index << 16 | t.n << 32;
	if (!same(owner_of(state_of(c)), owner_of(state))) {
		check((link & ~1023ul) == here, "5 a foreign link is recorded in the child", c.n, link, here);
		audit_counts[c.n].owned++;
	}
	return true;
}

static void check_table(pfn_t t, uint64_t state)
{
	unsigned level = level_of(fh_type(state)), count = 0;
	const uint64_t *slots = frame_address(t);
	for (unsigned i = 0; i < 512; i++) {
		pte_t e = slots[i];
		if (level == 4 && i == FH_KERNEL_SLOT) {
			check(e == mach_kernel_entry(), "6 PML4[511] is the kernel's", t.n, e, mach_kernel_entry());
			continue;
		}
		if (!(e & FH_P)) {
			uint64_t named = (e & phys_mask) >> 12;
			check(named == 0 || named >= nframes, "7 a non-present word names no frame", t.n, e, 0);
			continue;
		}
		bool leaf = level == 1 || (e & FH_PS);
		check((e & FH_U) && !(e & FH_G) && !(e & (0xffful << 39 | 1ul << 51)), "7 U=1, G=0, no reserved bit", t.n, e, 0);
		check(leaf || !(e & (FH_PWT | FH_PCD)), "7 cache bits only on leaves", t.n, e, 0);
		check(level <= 2 || !(e & FH_PS), "7 PS only at level 2", t.n, e, 0);
		if (leaf)
			check_leaf(t, owner_of(state), e, level);
		count += leaf || check_link(t, state, e, i);
	}
	check(fh_count(atomic_get(&record(t)->link)) == count, "2 a table's count of present entries", t.n,
	      fh_count(atomic_get(&record(t)->link)), count);
}

static void count_thread(pfn_t f)
{
	const struct fh_thread *t = thread_at(f);
	const uint64_t pins[] = {t->root, t->upcall_root, t->upcall, t->batch};
	for (unsigned i = 0; i < 4; i++) {
		if (pins[i] == 0)
			continue;
		check(pins[i] < nframes && same(owner_of(state_of(pfn(pins[i]))), owner_of(state_of(f))),
		      "2 a thread pins frames of its own env", f.n, pins[i], 0);
		if (pins[i] < nframes)
			audit_counts[pins[i]].refs++;
	}
	check(t->state <= FH_FAULTED, "1 thread state", f.n, t->state, 0);
	audit_counts[f.n].refs += t->state == FH_RUNNING;
}

/* A thread knows which CPUs have it in their slices: whoever makes it READY wakes one of them. */
static void check_slices(pfn_t f)
{
	const struct fh_cpu *cpu = frame_address(f);
	for (uint64_t i = 0; i < cpu->nslices && i < FH_CPU_SLICES; i++) {
		pfn_t t = pfn(fh_name_pfn(cpu->slice[i]));
		if (t.n >= nframes || fh_type(state_of(t)) != FH_THREAD || thread_at(t)->serial != fh_name_serial(cpu->slice[i]))
			continue;
		check(thread_at(t)->cpus[cpu->id / 64] >> cpu->id % 64 & 1, "2 a thread knows whose slices it is in", t.n, cpu->id, 0);
	}
}

/* Invariants 2 and 9: what was counted is what the records say. */
static void compare(pfn_t f, uint64_t state)
{
	if (!uncounted(fh_type(state)))
		check(fh_refs(state) == audit_counts[f.n].refs, "2 refs are the references", f.n, fh_refs(state),
		      audit_counts[f.n].refs);
	if (fh_type(state) == FH_ENV) {
		uint64_t account = env_at(f)->account;
		check(fh_owned(account) == audit_counts[f.n].owned, "9 owned is what it owns", f.n, fh_owned(account),
		      audit_counts[f.n].owned);
		check(fh_owned(account) <= fh_quota(account), "9 within its quota", f.n, fh_owned(account), fh_quota(account));
	}
	if (is_table(fh_type(state)))
		check(audit_counts[f.n].owned == (linked_at(f) != 0), "5 a recorded link is there", f.n, linked_at(f),
		      audit_counts[f.n].owned);
	check(stamp_of(f) <= clock_now(), "3 no stamp is ahead of the clock", f.n, stamp_of(f), clock_now());
}

long audit(void)
{
	violations = 0;
	for (uint64_t n = 0; n < nframes; n++)
		audit_counts[n] = (struct audit_count){0};
	for (unsigned c = 0; c < ncpus; c++)
		if (!same(epoch_cpu[c].root, kernel_root))
			audit_counts[epoch_cpu[c].root.n].refs++;
	for (uint64_t n = 0; n < nframes; n++) {
		uint64_t state = state_of(pfn(n));
		check_owner(pfn(n), state);
		if (is_table(fh_type(state)))
			check_table(pfn(n), state);
		else if (fh_type(state) == FH_THREAD)
			count_thread(pfn(n));
		else if (fh_type(state) == FH_CPU)
			check_slices(pfn(n));
	}
	for (uint64_t n = 0; n < nframes; n++)
		compare(pfn(n), state_of(pfn(n)));
	return violations;
}
#endif
