/* frame_epoch.c - the TLB clock: who waits for whom, and what a flush costs (epoch.c). */
#include "world.h"

static pfn_t lagging; /* a FREE frame with a stamp as new as the clock: no CPU is quiet */

static void lag(void)
{
	lagging = some_free();
	stamp_now(lagging);
}

static uint64_t epoch(unsigned cpu) { return tlb_clock->cpu[cpu].epoch; }

TEST("a frame is quiet when every epoch is greater than its stamp, not equal")
{
	world_make(2);
	tlb_clock->clock = 9;
	tlb_clock->cpu[0].epoch = 8;
	tlb_clock->cpu[1].epoch = 7;
	assert_true(quiet(6));
	assert_false(quiet(7));
	assert_false(quiet(8));
	tlb_clock->cpu[1].epoch = FH_EPOCH_INF;
	assert_true(quiet(7));
	assert_false(quiet(8));
	does(0);
}

TEST("frame_alloc of a quiet frame forces no flush and interrupts nobody")
{
	world_make(2);
	gives(frame_alloc(root, RUN, 64, 0, 0), 64);
	assert_int_equal(machine.loads[0] + machine.loads[1] + machine.ipis[1], 0);
	assert_int_equal(epoch_cpu[0].budget, FLUSH_BUDGET);
}

TEST("frame_alloc of a frame that is not quiet flushes this CPU, and the other by one IPI")
{
	world_make(2);
	lag();
	uint64_t clock = clock_now();
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(clock_now(), clock + 1);
	assert_true(quiet(stamp_of(lagging)));
	assert_int_equal(machine.loads[0], 1);
	assert_int_equal(machine.loads[1], 1);
	assert_int_equal(machine.ipis[1], 1);
	assert_int_equal(epoch_cpu[0].budget, FLUSH_BUDGET - 1);
	assert_int_equal(epoch_cpu[0].forced, 1);
}

TEST("one flush makes a whole run quiet")
{
	world_make(2);
	for (unsigned i = 0; i < 64; i++)
		stamp_now(pfn(RUN + i));
	gives(frame_alloc(root, RUN, 64, 0, 0), 64);
	assert_int_equal(machine.ipis[1], 1);
}

TEST("who waits waits for the newest stamp of a run")
{
	stamp_now(pfn(RUN + 3));
	epoch_tick();
	stamp_now(pfn(RUN + 7));
	stamp_now(pfn(RUN + 40));
	uint64_t stamp = clock_now();
	gives(frame_alloc(root, RUN, 64, 0, 0), 64);
	assert_true(epoch(0) > stamp);
}

TEST("frame_alloc of a frame that is not quiet is EAGAIN when the slice's flushes are spent, and changes nothing")
{
	world_make(2);
	lag();
	epoch_cpu[0].budget = 0;
	refuses(frame_alloc(root, lagging.n, 1, 0, 0), EAGAIN, "flushes are spent");
	refuses(frame_alloc(root, lagging.n, 64, 0, FH_ALLOC_KEEP), EAGAIN, "flushes are spent");
	assert_int_equal(machine.ipis[1], 0);
}

TEST("after EAGAIN the next ticks make the frame quiet without an IPI")
{
	world_make(2);
	lag();
	epoch_cpu[0].budget = 0;
	refuses(frame_alloc(root, lagging.n, 1, 0, 0), EAGAIN, "flushes are spent");
	for (machine.cpu = 0; machine.cpu < 2; machine.cpu++)
		epoch_tick();
	machine.cpu = 0;
	epoch_cpu[0].budget = 0;
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(machine.ipis[1], 0);
}

TEST("a CPU that is slow to answer is waited for")
{
	world_make(2);
	lag();
	machine.deaf = true;
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(machine.pauses, 1);
	assert_true(epoch(1) > stamp_of(lagging));
}

TEST("a CPU already asked to flush is not interrupted again")
{
	world_make(2);
	lag();
	machine.deaf = true;
	epoch_cpu[1].request = 1;
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(machine.ipis[1], 0);
}

static void both_wait(void)
{
	if (machine.pauses == 1)
		epoch_cpu[0].request = 1; /* CPU 1 began to wait for us, and answers only when we have served it */
	else if (!epoch_cpu[0].request) {
		machine.cpu = 1;
		serve_flush();
		machine.cpu = 0;
	}
}

TEST("two CPUs that wait for each other serve each other")
{
	world_make(2);
	lag();
	machine.deaf = true;
	machine.on_pause = both_wait;
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(machine.loads[0], 2);
}

TEST("an idle CPU is not waited for, and publishes the clock before it reads a record again")
{
	world_make(2);
	machine.cpu = 1;
	epoch_enter_idle();
	machine.cpu = 0;
	assert_int_equal(epoch(1), FH_EPOCH_INF);
	lag();
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(machine.ipis[1], 0);
	machine.cpu = 1;
	epoch_leave_idle();
	assert_int_equal(epoch(1), clock_now());
	epoch_leave_idle();
	machine.cpu = 0;
	lag();
	gives(frame_alloc(root, lagging.n, 1, 0, 0), 1);
	assert_int_equal(machine.ipis[1], 1);
}

TEST("a CPU that goes idle lets go of its root")
{
	struct tree t = tree(root);
	run_on(0, t.t[4]);
	assert_int_equal(refs_of(t.t[4]), 1);
	epoch_enter_idle();
	does(0);
	assert_int_equal(refs_of(t.t[4]), 0);
	epoch_leave_idle();
}

TEST("load_root references the new root before, and stamps and lets go of the old one after")
{
	struct tree t = tree(root), u = tree(root);
	run_on(0, t.t[4]);
	epoch_tick();
	run_on(0, u.t[4]);
	assert_int_equal(refs_of(t.t[4]), 0);
	assert_int_equal(stamp_of(t.t[4]), clock_now());
	assert_int_equal(refs_of(u.t[4]), 1);
	run_on(0, u.t[4]);
	assert_int_equal(refs_of(u.t[4]), 1);
	assert_int_equal(stamp_of(u.t[4]), 0);
}

TEST("a root that was loaded becomes DATA only when no CPU can walk it any more")
{
	world_make(2);
	pfn_t t = make(root, FH_PT4);
	run_on(1, t);
	run_on(1, kernel_root);
	epoch_cpu[0].budget = 0;
	refuses(frame_retype(root, t.n, FH_DATA), EAGAIN, "flushes are spent");
	epoch_cpu[0].budget = 1;
	gives(frame_retype(root, t.n, FH_DATA), 0);
	assert_int_equal(machine.ipis[1], 1);
}

static void late_request(unsigned cpu)
{
	if (cpu == 0 && machine.loads[0] == 1)
		epoch_cpu[0].request = 1; /* between the load and the publishing: it must not be lost */
}

TEST("a flush asked for while another is being served is served again")
{
	epoch_cpu[0].request = 1;
	machine.on_load = late_request;
	serve_flush();
	assert_int_equal(epoch_cpu[0].request, 1);
	serve_flush();
	assert_int_equal(epoch_cpu[0].request, 0);
	assert_int_equal(machine.loads[0], 2);
}

static void advance_clock(unsigned cpu)
{
	(void)cpu;
	tlb_clock->clock++;
}

TEST("the epoch published is the clock read before the load")
{
	uint64_t clock = clock_now();
	machine.on_load = advance_clock;
	flush_local();
	assert_int_equal(epoch(0), clock);
	assert_int_equal(clock_now(), clock + 1);
}

TEST("a tick advances the clock once for all CPUs, flushes, and renews the budget")
{
	world_make(2);
	epoch_cpu[0].budget = 3;
	uint64_t clock = clock_now();
	for (machine.cpu = 0; machine.cpu < 2; machine.cpu++)
		epoch_tick();
	machine.cpu = 0;
	assert_int_equal(clock_now(), clock + 1);
	assert_int_equal(epoch(0), clock + 1);
	assert_int_equal(epoch(1), clock + 1);
	assert_int_equal(epoch_cpu[0].budget, FLUSH_BUDGET);
}

TEST("a stamp only rises, and keeps the ticket lock beside it")
{
	pfn_t t = make(root, FH_PT1);
	record(t)->stamp = 0x0505ul << 48 | 40;
	tlb_clock->clock = 30;
	stamp_now(t);
	assert_int_equal(record(t)->stamp, 0x0505ul << 48 | 40);
	tlb_clock->clock = 50;
	stamp_now(t);
	assert_int_equal(record(t)->stamp, 0x0505ul << 48 | 50);
	does(0);
}

TEST("flush_owner asks only CPUs whose root belongs to that env")
{
	world_make(2);
	pfn_t a = child(root, 50);
	struct tree t = tree(a);
	run_on(1, t.t[4]);
	gives(flush_allowed(), 0);
	flush_owner(root);
	assert_int_equal(machine.ipis[1], 0);
	gives(flush_allowed(), 0);
	flush_owner(a);
	assert_int_equal(machine.ipis[1], 1);
}

TEST("flush_allowed is EAGAIN when the slice's flushes are spent and there is another CPU to flush")
{
	world_make(2);
	epoch_cpu[0].budget = 0;
	refuses(flush_allowed(), EAGAIN, "flushes are spent");
}

TEST("flush_owner on the only CPU is a local flush and spends no budget")
{
	epoch_cpu[0].budget = 0;
	gives(flush_allowed(), 0);
	flush_owner(root);
	assert_int_equal(machine.loads[0], 1);
}

TEST("a flush of other CPUs is allowed while the slice has flushes left, and spends one")
{
	world_make(2);
	epoch_cpu[0].budget = 1;
	gives(flush_allowed(), 0);
	flush_owner(root);
	assert_int_equal(epoch_cpu[0].budget, 0);
	refuses(flush_allowed(), EAGAIN, "forced TLB flushes are spent");
	flush_owner(root); /* what was allowed once may take more than one: never less than none */
	assert_int_equal(epoch_cpu[0].budget, 0);
	epoch_tick();
	gives(flush_allowed(), 0);
}
