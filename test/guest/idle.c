/*
 * idle.c - what CPUs do to each other that have nothing to do with each other: nothing. An idle CPU is not interrupted for a
 * flush; mapping and unmapping quiet frames forces none; and a CPU that idles is woken for each thread that becomes ready
 * (DESIGN 3, 4; HOSTILE 34, 36).
 */
#include <string.h>

#include "cpus.h"
#include "raw.h"
#include "tap.h"

#define RW (FH_P | FH_W | FH_U | FH_NX)
#define WORK_VA 0x600000000000ul

static volatile uint64_t stop;

static uint64_t ms(uint64_t n) { return cpu_tsc() + n * info->tsc_khz; }

/* ---- An idle CPU ---- */

static void spin(void *arg)
{
	volatile uint64_t *count = arg;

	while (!stop) {
		*count = *count + 1;
		cpu_pause();
	}
}

/* Timers that were set before it went idle have run out. */
static bool settle(unsigned cpu)
{
	for (unsigned i = 0; i < 100; i++) {
		uint64_t idle = cpu_view(cpu)->idle;
		thread_sleep(50);
		if (cpu_view(cpu)->thread == 0 && cpu_view(cpu)->idle == idle)
			return true;
	}
	return false;
}

#define FLUSHES 500u

static void check_idle(void)
{
	const volatile struct fh_clock *clock = (const volatile struct fh_clock *)info->clock_va;
	const volatile struct fh_cpu *idler = cpu_view(2);
	static volatile uint64_t spins;
	pfn_t table = space_table(space_current(), WORK_VA, 1), f = frame_get(&frames_first, 1, 1, 0, 0);
	struct tally t = {0};

	stop = 0;
	struct thread *other = thread_on(1, spin, (void *)&spins);
	bool quiet = settle(2), running = spin_change(&spins, 0, 2000);
	uint64_t before[] = {idler->idle, idler->ticks, idler->count[FH_COUNT_ROOT_LOADS]};
	uint64_t forced = counted(FH_COUNT_FORCED), ipis = counted(FH_COUNT_FLUSH_IPIS);
	for (unsigned i = 0; i < FLUSHES; i++) {
		int64_t r;
		sys_pt_set(fh_what(FH_OP_SET, 0, table, 0, 1), f << 12 | RW, 0);
		*(volatile uint64_t *)WORK_VA = i;
		sys_pt_set(fh_what(FH_OP_CLEAR, 0, table, 0, 1), 0, 0);
		while ((r = sys_frame_sync(f, 1)) == -FH_EAGAIN)
			thread_sleep(1);
		if (r != 1)
			count_bad(&t, "flush %u: %s", i, error_name((int)r));
		if (clock->cpu[2].epoch != FH_EPOCH_INF)
			count_bad(&t, "flush %u: CPU 2 has epoch %lu", i, clock->cpu[2].epoch);
	}
	uint64_t after[] = {idler->idle, idler->ticks, idler->count[FH_COUNT_ROOT_LOADS]};
	forced = counted(FH_COUNT_FORCED) - forced, ipis = counted(FH_COUNT_FLUSH_IPIS) - ipis;
	ok(quiet && running, "CPU 2 idles, CPU 1 is busy");
	none_bad(&t, "%u times a page is unmapped on CPU 0, and the frame awaited", FLUSHES);
	ok(forced >= FLUSHES / 4 && ipis >= FLUSHES / 8 && ipis <= forced,
	   "%lu waits for other CPUs took %lu flush interrupts: CPU 1's, at most one each", forced, ipis);
	is((int64_t)(after[0] - before[0]), 0, "the idle CPU was never interrupted");
	is((int64_t)(after[1] - before[1]), 0, "began no slice");
	is((int64_t)(after[2] - before[2]), 0, "and loaded no root");
	stop = 1;
	thread_off(other);
	frame_put(f, 1);
	space_trim(space_current(), WORK_VA, WORK_VA + PLAN_GIB);
}

/* ---- The steady state ---- */

#define MAPPERS 4u

static uint64_t pairs[MAPPERS];

static void map_unmap(void *arg)
{
	uint64_t k = (uint64_t)arg, share = (info->nframes - info->first_user) / MAPPERS;
	va_t base = WORK_VA + k * PLAN_LARGE;
	pfn_t table = space_table(space_current(), base, 1), lo = info->first_user + k * share;
	struct frames mine = {.lo = lo, .hi = lo + share, .cursor = lo};

	for (unsigned i = 0; table && !stop; i = (i + 1) % FH_LARGE_FRAMES) {
		va_t va = base + i * FH_PAGE;
		pfn_t f = frames_quiet.next(&mine, 1, 1, 0);
		if (!f || !frame_is_quiet(f)) {
			thread_yield(); /* the next tick makes more of them quiet */
			continue;
		}
		if (sys_pt_set(fh_what(FH_OP_CLAIM, 0, table, i, 1), f << 12 | RW, va).rax < 0)
			continue;
		*(volatile char *)va = 1;
		sys_pt_set(fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, table, i, 1), 0, va);
		pairs[k]++;
	}
}

static void check_steady(void)
{
	unsigned n = info->ncpus < MAPPERS ? info->ncpus : MAPPERS, made = 0;
	struct thread *t[MAPPERS];
	uint64_t done = 0, least = ~0ul;

	stop = 0;
	for (; made < n; made++)
		t[made] = thread_on(made, map_unmap, (void *)(uint64_t)made);
	thread_sleep(60);
	uint64_t forced = counted(FH_COUNT_FORCED), ipis = counted(FH_COUNT_FLUSH_IPIS), before[MAPPERS];
	memcpy(before, pairs, sizeof(before));
	for (uint64_t end = ms(2000); least < 50 || least == ~0ul;) {
		thread_sleep(100);
		done = 0, least = ~0ul;
		for (unsigned i = 0; i < n; i++) {
			uint64_t p = *(volatile uint64_t *)&pairs[i] - before[i];
			done += p;
			least = p < least ? p : least;
		}
		if (cpu_tsc() > end)
			break;
	}
	forced = counted(FH_COUNT_FORCED) - forced, ipis = counted(FH_COUNT_FLUSH_IPIS) - ipis;
	ok(least >= 50, "%u CPUs map and unmap, each in its own table: %lu pairs, each CPU at least %lu", n, done, least);
	is((int64_t)forced, 0, "no flush was forced: freed frames are claimed again when they are quiet");
	is((int64_t)ipis, 0, "and no flush interrupt sent");
	stop = 1;
	while (made > 0)
		thread_off(t[--made]);
	space_trim(space_current(), WORK_VA, WORK_VA + PLAN_GIB);
}

/* ---- No wake-up is lost ---- */

#define ROUNDS 20000u
#define PAIRS 4u
#define BELL_BALL (1ul << (BELL_USER + 1))
#define AT_ONCE 1ul /* a deadline long past: ring, and go on */
#define STUCK_MS 10000u

enum how { RING_AND_SLEEP, HAND_OVER, WANDER };
static struct player {
	enum how how;
	volatile uint64_t partner; /* name */
	volatile uint64_t rounds;
	struct thread *thread;
} player[PAIRS][2];

/* Play: sleep until the ball comes, without a deadline; ring the partner. */
static void play(void *arg)
{
	struct player *p = arg;

	while (!p->partner)
		thread_yield();
	for (;;) {
		int64_t r = p->how == HAND_OVER && p->rounds
		                ? sys_thread_switch(p->partner, BELL_BALL, BELL_BALL, 0)
		                : sys_thread_switch(0, 0, BELL_BALL, 0);
		if (stop)
			break;
		if (r != (int64_t)BELL_BALL)
			continue;
		p->rounds++;
		for (unsigned i = 0; i < 4 && p->how == WANDER; i++)
			sys_thread_switch(0, 0, 0, 0);
		if (p->how != HAND_OVER || p->rounds == 1)
			sys_thread_switch(p->partner, BELL_BALL, 0, p->how == HAND_OVER ? 0 : AT_ONCE);
	}
	sys_thread_switch(p->partner, BELL_BALL, 0, AT_ONCE); /* so that it sees `stop` */
}

static uint64_t rounds_of(unsigned pair) { return player[pair][0].rounds + player[pair][1].rounds; }

static void check_wakeups(enum how how)
{
	static const char *const texts[] = {"ring each other and go to sleep", "hand each other the slice as they ring",
	                                    "ring each other while they are moved from CPU to CPU"};
	unsigned n = info->ncpus / 2 < PAIRS ? info->ncpus / 2 : PAIRS;
	uint64_t seen[PAIRS] = {0}, since[PAIRS], idled = 0, end = ms(500), total = 0;
	struct tally t = {0};

	stop = 0;
	memset(player, 0, sizeof(player));
	for (unsigned c = 0; c < info->ncpus; c++)
		idled += cpu_view(c)->idle;
	for (unsigned i = 0; i < 2 * n; i++) {
		struct player *p = &player[i / 2][i % 2];
		p->how = how;
		p->thread = thread_on(i, play, p);
	}
	for (unsigned i = 0; i < 2 * n; i++)
		player[i / 2][i % 2].partner = player[i / 2][!(i % 2)].thread->name;
	for (unsigned i = 0; i < n; i++) {
		sys_thread_switch(player[i][0].thread->name, BELL_BALL, 0, AT_ONCE);
		since[i] = cpu_tsc();
	}
	/* We look, by a deadline of our own, whether the balls still fly. */
	for (bool playing = true; playing && cpu_tsc() < end && t.bad == 0;) {
		playing = false;
		sys_thread_switch(0, 0, 0, cpu_tsc() + info->tsc_khz * (how == WANDER ? 1 : 10));
		for (unsigned i = 0; i < n; i++) {
			playing |= rounds_of(i) < ROUNDS;
			if (rounds_of(i) != seen[i]) { /* not before: being moved would wake one that was forgotten */
				since[i] = cpu_tsc();
				seen[i] = rounds_of(i);
				if (how == WANDER)
					cpu_place(player[i][random64() % 2].thread->name, (unsigned)(random64() % info->ncpus));
			}
			while (rounds_of(i) == seen[i] && cpu_tsc() - since[i] > STUCK_MS / 50 * info->tsc_khz && t.bad == 0) {
				thread_sleep(10);
				if (rounds_of(i) == seen[i] && cpu_tsc() - since[i] > STUCK_MS * info->tsc_khz)
					count_bad(&t, "pair %u is stuck after %lu rounds: states %u and %u, bells %lx and %lx, homes %lu and %lu", i, seen[i],
					          player[i][0].thread->view->state, player[i][1].thread->view->state,
					          player[i][0].thread->view->bells, player[i][1].thread->view->bells,
					          player[i][0].thread->view->home, player[i][1].thread->view->home);
			}
		}
	}
	for (unsigned c = 0; c < info->ncpus; c++)
		idled -= cpu_view(c)->idle;
	stop = 1;
	for (unsigned i = 0; i < 2 * n; i++) {
		total += player[i / 2][i % 2].rounds;
		cpu_place(player[i / 2][i % 2].thread->name, i); /* wakes its CPU, too */
		sys_thread_switch(player[i / 2][i % 2].thread->name, BELL_BALL, 0, AT_ONCE);
	}
	for (unsigned i = 0; i < 2 * n; i++)
		thread_off(player[i / 2][i % 2].thread);
	none_bad(&t, "%u pairs on different CPUs %s, with no deadline: none got stuck in %lu rounds (CPUs went idle %lu times)", n,
	         texts[how], total, -idled);
	ok(total > 20, "and they did get on"); /* Bochs: 50 */
}

static void nothing(void *arg) { (void)arg; }

int main(void)
{
	thread_join(thread_new(nothing, NULL, NULL)); /* makes the kit's tables for threads */
	tap_begin();
	cpus_begin();
	if (info->ncpus >= 3)
		check_idle();
	else
		skip("fewer than 3 CPUs", "an idle CPU is never interrupted for a flush");
	check_steady();
	if (info->ncpus >= 2) {
		check_wakeups(RING_AND_SLEEP);
		check_wakeups(HAND_OVER);
		check_wakeups(WANDER);
	} else {
		skip("one CPU", "no wake-up is lost between CPUs");
	}
	cpus_end();
	return tap_end();
}
