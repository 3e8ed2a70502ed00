/* test_audit.c - the audit notices each invariant that is broken by hand. */
#include "world.h"

static pfn_t a, f, pt4, pt3, pt2, pt1, thread;

static void begin(void)
{
	a = child(root, 60);
	struct tree t = tree(a);
	pt4 = t.t[4], pt3 = t.t[3], pt2 = t.t[2], pt1 = t.t[1];
	f = data(a);
	thread = make(a, FH_THREAD);
	does(set(a, pt1, 0, rw(f)));
	does(set(a, pt4, FH_WINDOW_SLOT, ro(pt4)));
	pin(thread, &thread_at(thread)->root, pt4);
	run(root, pfn(RUN), 512);
	does(0);
}

static void broken(const char *invariant, const char *what, int line)
{
	const char *wrong = world_wrong();
	if (!wrong || !strstr(wrong, invariant))
		suite_fail(__FILE__, line, "%s: %s", what, wrong ? wrong : "not noticed");
}

/* Break something, be told of the invariant, mend it. */
#define BROKEN(invariant, place, value) do {                                                                           \
		__typeof__(place) was = (place);                                                                       \
		(place) = (value);                                                                                     \
		broken(invariant, #place " = " #value, __LINE__);                                                      \
		(place) = was;                                                                                         \
		does(0);                                                                                               \
	} while (0)
#define SLOT(t, i) (((uint64_t *)frame_address(t))[i])

TEST("invariant 1: one type, one owner, on a line to root")
{
	begin();
	BROKEN("1 type", record(pfn(RUN))->state, make_state(FH_BUSY, root, 0));
	BROKEN("1 type", record(pfn(RUN))->state, make_state(14, root, 0));
	BROKEN("1 no lock", record(pt1)->state, state_of(pt1) | FH_STATE_LOCK);
	BROKEN("1 nobody owns", record(pfn(RUN2))->state, make_state(FH_FREE, a, 0));
	BROKEN("1 nobody owns", record(pfn(RUN2))->state, make_state(FH_FREE, pfn(0), 1));
	BROKEN("1 owner is an ENV", record(pfn(RUN))->state, make_state(FH_DATA, pt1, 0));
	BROKEN("1 owner is an ENV", record(pfn(RUN))->state, make_state(FH_DATA, pfn(NFRAMES), 0));
	BROKEN("1 no ticket", record(pt1)->stamp, record(pt1)->stamp + (1ul << 48));
	BROKEN("1 thread state", thread_at(thread)->state, 9);
}

TEST("invariants 2 and 9: counts are what is counted")
{
	begin();
	BROKEN("2 refs", record(f)->state, state_of(f) + FH_STATE_REF);
	BROKEN("2 refs", record(pt1)->state, state_of(pt1) - FH_STATE_REF);
	BROKEN("2 refs", thread_at(thread)->root, 0);
	BROKEN("2 refs", thread_at(thread)->upcall, f.n);
	BROKEN("2 a thread pins", thread_at(thread)->batch, RUN);
	BROKEN("2 refs", epoch_cpu[0].root, pt4);
	struct fh_cpu *cpu = frame_address(pfn(A_CPU));
	cpu->nslices = 1, cpu->slice[0] = fh_name(thread.n, thread_at(thread)->serial), cpu->id = 70;
	broken("2 a thread knows", "in a slice, unknown to the thread", __LINE__);
	thread_at(thread)->cpus[1] = 1 << 6;
	does(0);
	BROKEN("2 a thread knows", cpu->id, 6);
	cpu->nslices = 0;
	BROKEN("2 a table's count", record(pt1)->link, record(pt1)->link + 1);
	BROKEN("9 owned", env_at(a)->account, env_at(a)->account + 1);
	BROKEN("9 ", env_at(a)->account, env_at(a)->account & FH_ACCOUNT_MAX);
}

TEST("invariants 3 to 7: what stands in tables")
{
	begin();
	BROKEN("3 no stamp", record(f)->stamp, 1ul << 40);
	BROKEN("4 ", SLOT(pt1, 1), ro(pfn(RUN2)));
	BROKEN("4 ", SLOT(pt1, 1), rw(pt1));
	BROKEN("4 ", SLOT(pt1, 1), rw(pfn(TABLE_RUN)));
	BROKEN("5 ", SLOT(pt2, 1), link_to(pt2));
	BROKEN("5 self-map", SLOT(pt4, FH_WINDOW_SLOT), rw(pt4));
	BROKEN("6 ", SLOT(pt4, FH_KERNEL_SLOT), 0);
	BROKEN("7 ", SLOT(pt1, 0), rw(f) & ~FH_U);
	BROKEN("7 ", SLOT(pt1, 0), rw(f) | FH_G);
	BROKEN("7 ", SLOT(pt1, 0), rw(f) | 1ul << 45);
	BROKEN("7 cache bits only on DEVICE", SLOT(pt1, 0), rw(f) | FH_PCD);
	BROKEN("7 cache bits only on leaves", SLOT(pt2, 0), link_to(pt1) | FH_PWT);
	BROKEN("7 a non-present word", SLOT(pt1, 1), f.n << 12);
	BROKEN("7 PS only", SLOT(pt3, 1), large(RUN));
	BROKEN("7 ", SLOT(pt2, 1), large(RUN + 1));
	BROKEN("7 ", SLOT(pt2, 1), large(RAGGED));
	BROKEN("7 executable", SLOT(pt2, 1), large(RUN) & ~FH_NX);
}

TEST("invariant 4: no frame of a stranger's is mapped")
{
	begin();
	pfn_t b = child(root, 20), g = data(b);
	record(g)->state += FH_STATE_REF;
	record(pt1)->link++;
	SLOT(pt1, 1) = ro(g);
	broken("4 the frame's owner", "a stranger's frame", __LINE__);
}

TEST("invariant 1: what is granted is memory, a device, a CPU or a window, and not to its owner")
{
	begin();
	pfn_t b = child(root, 20);
	BROKEN("1 only memory", record(pt3)->tenant, env_name(b));
	BROKEN("1 only memory", record(thread)->tenant, env_name(b));
	BROKEN("1 nothing is granted to its owner", record(f)->tenant, env_name(a));
	BROKEN("1 no ticket", record(f)->stamp, record(f)->stamp + (1ul << 48));
	does(frame_grant(a, f.n, env_name(b)));
	does(frame_grant(a, pt1.n, env_name(b)));
}

TEST("invariant 7: a large page of TABLE frames is never executable")
{
	begin();
	large_exec = true;
	does(set(a, pt2, 1, large(TABLE_RUN) & ~FH_W));
	BROKEN("7 ", SLOT(pt2, 1), large(TABLE_RUN) & ~FH_W & ~FH_NX);
}

TEST("invariant 5: a foreign link is recorded in the child")
{
	begin();
	pfn_t top = make(root, FH_PT3);
	does(set(root, top, 7, link_to(pt2)));
	BROKEN("5 a foreign link", record(pt2)->link, fh_count(record(pt2)->link));
	BROKEN("5 ", record(pt2)->link, record(pt2)->link ^ 1ul << 16);
}

int main(void) { return suite_main("audit", NULL, NULL); }
