/*
 * selfish.c - one env can't take the machine: others hog it, each in a way of its own, on the CPU of a neighbour and on all the
 * others, and the neighbour must get on (HOSTILE 43, 48).
 *
 * Two measures, neither of which depends on the host's speed or load. Slices: of those that CPU 0 begins, which the kernel counts in
 * the CPU frame, the neighbour must have its share, which it counts by FH_BELL_SLICE; and in these it must get done what it gets
 * done beside envs that just spin, but for what interrupts may cost: a fiftieth. Time, on one CPU alone: a quarter of what it gets
 * done beside spinning ones must be left, in the same run and by turns, where half is what the worst of them should cost. (With
 * several virtual CPUs time goes by whom the host lets run.)
 */
#include <string.h>

#include "cpus.h"
#include "tap.h"

#define TURN_MS 15u
#define TURNS 3u
#define TRIES 10u /* to be fair to a host that is not */
#define SLICES 5u /* of the neighbour's, in a turn */
#define SHARE 20u /* at least every 20th slice: it is every third, beside one hog and the parent, but one whose bell it has masked isn't counted */
#define PART 50u
#define HOGS 4u
#define GO (1ul << BELL_USER)
#define MINE 64u /* frames that the neighbour is sure of */

#define ATTACKS(X)                                                                                                     \
	X(SPIN, "spin")                                                                                                \
	X(CONSOLE, "flood the console")                                                                                \
	X(FLUSH, "force TLB flushes")                                                                                  \
	X(CLAIM, "claim and free frames as fast as they can")                                                          \
	X(BATCH, "work through the longest batches")                                                                   \
	X(FAULT, "fault all the time")                                                                                 \
	X(SLOTS, "take a new slot all the time")                                                                       \
	X(HAND_ON, "hand their slice to an accomplice and back")                                                       \
	X(RING, "ring each other, asleep and awake")                                                                   \
	X(NAP, "sleep as shortly as can be")                                                                           \
	X(LATE, "give up their slice just before it ends")

#define AS_NAME(name, text) name,
enum attack { ATTACKS(AS_NAME) NATTACKS };
#define AS_TEXT(name, text) text,
static const char *const texts[] = {ATTACKS(AS_TEXT)};

static struct shared {
	volatile uint64_t attack, units, slices, printed, failed, hogged[HOGS + 1];
	uint64_t thread[HOGS + 1]; /* the last is the accomplice on CPU 0 */
	uint64_t unit_failed;      /* what the neighbour was refused */
} *shared; /* a page that all have */

static struct env *hog[HOGS + 1], *neighbour;
static unsigned hogs;

/* ---- The hogs ---- */

static pfn_t table, scratch;

static enum answer skip_ud2(struct fh_context *c)
{
	c->regs.rip += 2;
	return FAULT_DONE;
}

static void hog_once(unsigned k)
{
	uint64_t offset, size, other = shared->thread[k == HOGS ? 0 : k == 0 ? HOGS : 0];
	struct fh_op *ops = batch_area(&offset, &size);
	unsigned cpu = cpu_here(), slot = 0;

	switch (shared->attack) {
	case CONSOLE: /* one alone, which is asked for: not the neighbour's CPU, if there are others */
		if (k != hogs - 1)
			break;
		memset(ops, '\n', 128);
		sys_console_write(offset, 128);
		break;
	case FLUSH:
		if (sys_tlb_flush(0, FH_TLB_ALL, 0, 0) < 0)
			sys_frame_sync(scratch, 1);
		break;
	case CLAIM:
		sys_frame_alloc(scratch, 64, 0, 0);
		sys_frame_free(scratch, 64);
		break;
	case BATCH:
		for (unsigned i = 0; i < size / sizeof(*ops); i++)
			ops[i] = (struct fh_op){fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, table, 0, 512), 0};
		sys_pt_update(offset, size / sizeof(*ops));
		break;
	case FAULT: __asm__ volatile("ud2"); break;
	case SLOTS:
		while (slot < FH_CPU_SLICES && cpu_view(cpu)->slice[slot] != thread_self_name())
			slot++;
		sys_cpu_slice(info->cpu_pfn[cpu], slot % FH_CPU_SLICES, thread_self_name());
		break;
	case HAND_ON: sys_thread_switch(other, 0, 0, 0); break;
	case RING: sys_thread_switch(other, GO, GO, cpu_tsc() + 2000); break;
	case NAP: sys_thread_switch(0, 0, 0, cpu_tsc() + 200); break;
	case LATE:
		for (uint64_t end = cpu_tsc() + info->tsc_khz * 95 / 10; cpu_tsc() < end;)
			cpu_pause();
		thread_yield();
		break;
	default:
		for (unsigned i = 0; i < 100; i++)
			cpu_pause();
	}
	shared->hogged[k]++;
}

static void be_hog(unsigned k)
{
	sys_thread_switch(0, 0, GO, 0);
	on_upcall(6, skip_ud2);
	scratch = frame_get(&frames_first, 64, 1, 0, 0);
	table = frame_get_typed(&frames_first, 0, FH_PT1);
	if (!scratch || !table || frame_put(scratch, 64) < 0)
		exit(1);
	while (shared->attack < NATTACKS)
		hog_once(k);
	exit(0);
}

/* ---- The neighbour: some work of its own, and some that needs the kernel ---- */

static void count_slice(uint64_t bits) { shared->slices += bits == FH_BELL_SLICE; }

static void be_neighbour(void)
{
	uint64_t offset, size;
	char *text;

	sys_thread_switch(0, 0, GO, 0);
	on_bell(FH_BELL_SLICE, count_slice);
	while (shared->attack < NATTACKS) {
		for (volatile unsigned i = 0; i < 2000; i++)
			;
		pfn_t f = frame_get(&frames_quiet, 1, 1, 0, 0);
		if (!f || frame_put(f, 1) < 0)
			shared->failed++;
		if (shared->attack == CONSOLE && shared->units % 32 == 0) { /* not what it is measured by */
			text = batch_area(&offset, &size);
			memset(text, '\n', 8); /* nothing in front of a line of TAP */
			int64_t r = sys_console_write(offset, 8);
			shared->printed += r > 0 ? (uint64_t)r : 0;
		}
		shared->units++;
	}
	/* all that it is sure of, though everybody else may have taken what they could get */
	pfn_t all = 0;
	for (unsigned i = 0; i < MINE; i++)
		if (!(all = frame_get(&frames_first, 1, 1, 0, 0)))
			shared->unit_failed++;
	exit(0);
}

/* ---- The parent ---- */

static struct env *child(void (*run)(unsigned), unsigned k, uint64_t *name)
{
	struct env *e;
	struct fh_env view;
	int r = env_fork(&e);

	if (r == 0) {
		if (run)
			run(k);
		be_neighbour();
	}
	if (r < 0 || env_look(e->pfn, &view) < 0)
		panic("no child: %s", error_name(r));
	uint64_t spare = fh_quota(view.account) - fh_owned(view.account), wanted = run ? 200 : MINE + 100;
	if (spare > wanted) /* a fork halves what there is */
		sys_env_ctl(e->name, FH_ENV_QUOTA, -(int64_t)(spare - wanted), 0);
	slot_take(e->thread);
	*name = e->thread_name;
	return e;
}

static void begin(void)
{
	uint64_t name;

	hogs = info->ncpus < HOGS ? info->ncpus : HOGS;
	shared->attack = SPIN;
	for (unsigned k = 0; k < hogs; k++)
		hog[k] = child(be_hog, k, &shared->thread[k]);
	hog[HOGS] = child(be_hog, HOGS, &shared->thread[HOGS]);
	neighbour = child(NULL, 0, &name);
	for (unsigned k = 0; k < hogs; k++)
		for (unsigned i = 0; i <= HOGS; i++)
			if (hog[i] && i != k) /* they may ring each other: strangers, but for that */
				sys_env_ctl(hog[k]->name, FH_ENV_CALLER, i, hog[i]->name), sys_env_ctl(hog[i]->name, FH_ENV_CALLER, k, hog[k]->name);
	for (unsigned k = 0; k < hogs; k++)
		if (!cpu_place(hog[k]->thread_name, k))
			panic("no slot on CPU %u", k);
	if (!cpu_place(neighbour->thread_name, 0))
		panic("no slot for the neighbour");
	for (unsigned k = 0; k <= HOGS; k++)
		if (hog[k])
			sys_thread_switch(hog[k]->thread_name, GO, 0, cpu_tsc() + info->tsc_khz);
	sys_thread_switch(neighbour->thread_name, GO, 0, cpu_tsc() + info->tsc_khz);
	while (!shared->slices && cpu_view(0)->ticks < 10000)
		thread_sleep(1);
}

/* What the neighbour gets done in a turn of such hogs. */
static uint64_t turn(enum attack attack)
{
	shared->attack = attack;
	thread_sleep(2);
	uint64_t before = shared->units;
	thread_sleep(TURN_MS);
	return shared->units - before;
}

/* Until the neighbour has had some slices, or far too many have gone to others. */
struct share {
	uint64_t slices, all, units;
};

static void take_slices(enum attack attack, struct share *s)
{
	shared->attack = attack;
	thread_sleep(2);
	uint64_t slices = shared->slices, units = shared->units, all = cpu_view(0)->ticks;
	while (shared->slices < slices + SLICES && cpu_view(0)->ticks < all + SLICES * SHARE * 4)
		thread_sleep(1);
	s->slices += shared->slices - slices, s->all += cpu_view(0)->ticks - all, s->units += shared->units - units;
}

static bool enough_done(const struct share *spin, const struct share *s)
{
	return spin->units && spin->slices && s->units * PART * spin->slices >= spin->units * s->slices;
}

static void check_slices(enum attack attack)
{
	struct share spin = {0}, s = {0};
	uint64_t did = shared->hogged[0];

	for (unsigned tries = 0; tries < TRIES && (!tries || s.slices * SHARE < s.all || !enough_done(&spin, &s)); tries++)
		take_slices(SPIN, &spin), take_slices(attack, &s);
	shared->attack = SPIN;
	ok(s.slices && s.slices * SHARE >= s.all && shared->hogged[0] != did, "beside envs that %s a neighbour has its slices: at least every %uth",
	   texts[attack], SHARE);
	ok(enough_done(&spin, &s), "and can use them: at least for 1/%u of what it does beside spinning ones", PART);
	note("%lu of %lu slices, %lu units; beside spinning ones %lu of %lu, %lu units", s.slices, s.all, s.units, spin.slices, spin.all,
	     spin.units);
}

static void check_time(enum attack attack)
{
	uint64_t beside[2] = {0, 0};
	bool enough = false;

	for (unsigned tries = 0; tries < TRIES && !enough; tries++) {
		for (unsigned i = 0; i < TURNS; i++)
			beside[0] += turn(SPIN), beside[1] += turn(attack);
		enough = beside[1] * 4 >= beside[0] && beside[0];
	}
	shared->attack = SPIN;
	ok(enough, "beside envs that %s a neighbour gets on: at least a quarter of what it does beside spinning ones", texts[attack]);
	note("%lu to %lu", beside[1], beside[0]);
}

int main(void)
{
	tap_begin();
	int64_t page = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);
	if (mm_failed(page))
		panic("no page to share");
	shared = (struct shared *)page;
	cpus_begin();
	begin();
	for (enum attack a = SPIN + 1; a < NATTACKS; a++) {
		if (a == CONSOLE && info->ncpus > 1) /* CPU 0 draws the screen: how long that takes beside CPU 3's port I/O is QEMU's affair */
			continue;
		check_slices(a);
		if (info->ncpus == 1)
			check_time(a);
	}
	if (info->ncpus == 1) {
		ok(shared->printed > 0, "while they flood the console, its own bytes are taken, too");
		note("%lu bytes", shared->printed);
	}
	/* frames: hogs and parent take all they can get */
	static uint64_t taken[4096]; /* a bit for each frame of 1 GiB */
	uint64_t took = 0;
	for (pfn_t f; (f = frame_get(&frames_first, 1, 1, 0, 0)); took++)
		if (f / 64 < sizeof(taken) / sizeof(taken[0]))
			taken[f / 64] |= 1ul << f % 64;
	shared->attack = NATTACKS;
	while (neighbour->view->state != FH_STOPPED)
		thread_sleep(1);
	is((int64_t)shared->unit_failed, 0, "when nobody else can have another frame (%lu are ours), it still gets the %u of its quota", took, MINE);
	for (pfn_t f = 0; f < sizeof(taken) * 8; f++)
		if (taken[f / 64] >> f % 64 & 1)
			frame_put(f, 1);
	int r = env_wait(neighbour) == ENV_EXITED ? env_reap(&neighbour, NULL) : -FH_EBUSY;
	is(r, 0, "the neighbour has ended by itself");
	for (unsigned k = 0; k <= HOGS; k++)
		if (hog[k] && (k == HOGS || env_wait(hog[k]) != ENV_FAULTED)) {
			env_kill(hog[k]);
			cpu_leave(shared->thread[k]);
			if ((r = env_reap(&hog[k], NULL)) < 0)
				panic("hog %u can't be buried: %s", k, error_name(r));
		}
	cpus_end();
	mm_unmap((va_t)page, FH_PAGE);
	return tap_end();
}
