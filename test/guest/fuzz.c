/*
 * fuzz.c - random system calls from several envs on all CPUs at once: every call, arguments at the edges and live ones (frames,
 * names, slots; one's own, another's, nobody's), batches of random operations, forged upcall frames and contexts, faults.
 * After each round the audit must find nothing, and a canary env between whose frames all of it happens must be untouched;
 * no call may answer what its reference doesn't list; at the end every frame is back (HOSTILE 11, 17, 22, 25, 27-29, 45-47, 50, 53).
 *
 * Each worker works in turns: a call, a fault, a touch. What it draws in one comes from a generator whose state at the turn's begin
 * is a function of `seed=`, its place, how often its env was made anew and the number of the turn. So turn n of a worker does the
 * same thing in every run with this seed, with the same numbers drawn as long as what it finds in the ownership table lets it draw;
 * how many that are, what they hit, how many turns there are and when an env is made anew depends on the others. A hash of what each
 * worker chose in each of its first turns is printed; test/boot/replay.py compares. `calls=` on the kernel's command line says how many calls all
 * of them make.
 *
 * The envs: 0 - (2 - 4, 3) and 1 - (6) and 7, below this one; place 5 is a second thread of env 1. So some have authority
 * over others. The workers have no slots to live by: a thread of this program on each CPU hands each of them its time, and sets up
 * what has stopped, faulted, frozen itself or lost its way.
 */
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "cpus.h"
#include "fuzzer.h"
#include "tap.h"

#define ARENA 256u
#define CANARIES 32u  /* every 8th frame of the arena */
#define ROUND 400u    /* calls of a worker between two audits */
#define SPARE 12u     /* that a worker may claim, at the begin of a round */
#define SLOTS_LOST 60u /* on a CPU: slots given to workers, which may be gone for good */
#define STUCK 40u     /* times that a worker is given time and makes no call */
#define CANARY FUZZ_PLACES

/* Whose child or second thread; the quota, of which that of its own children is a part. */
static const struct { int parent; bool thread; unsigned quota; } plan[FUZZ_PLACES] = {
    {-1, false, 190}, {-1, false, 115}, {0, false, 85}, {0, false, 40}, {2, false, 40}, {1, true, 0}, {1, false, 45}, {-1, false, 65}};
static struct place {
	struct raw raw;
	unsigned generation, stuck, begun, revived;
	bool broken; /* until its tree is made anew */
} place[FUZZ_PLACES];
static struct raw canary;
static struct { pfn_t frame; uint64_t state, tenant; } canaries[CANARIES];
static uint64_t seed, calls, rounds, remade;
static uint64_t round_begun, round_done; /* what the other CPUs' drivers wait for, and answer */
static uint8_t chose[FUZZ_PLACES][FUZZ_KEPT]; /* in the first round: all envs are their first ones */
static struct tally wrong;

/* ---- Making workers ---- */

static unsigned top_of(unsigned k) { return plan[k].parent < 0 ? k : top_of((unsigned)plan[k].parent); }

/* What a worker's space needs beside its raw pages: the program's code, the ownership table, the pages of the fuzzer. */
static int furnish(unsigned k)
{
	extern const char __image_start[], __data_start[];
	struct space *s = &place[k].raw.space;
	int e = 0;

	for (va_t va = (va_t)__image_start; va < (va_t)__data_start && e == 0; va += FH_PAGE)
		e = space_map(s, va, fh_pte_pfn(space_get(space_current(), va)), 1, RIGHT_R | RIGHT_X);
	if (e == 0)
		e = space_map(s, TABLE_VA, info->table_pfn, info->table_frames, RIGHT_R | RIGHT_LARGE);
	for (unsigned i = 0; i <= FUZZ_PLACES && e == 0; i++) {
		bool mine = i && (i - 1 == k || (plan[i - 1].thread && plan[i - 1].parent == (int)k));
		if (i == 0 || mine)
			e = space_map(s, FUZZ_VA + i * FH_PAGE, frame_at(fuzz_board()) + i, 1, mine ? RIGHT_R | RIGHT_W : RIGHT_R);
	}
	return e;
}

static void publish(unsigned k, struct raw *r, struct space *s)
{
	struct fuzz_place *p = &fuzz_board()->place[k];

	for (unsigned level = 1; level <= 3; level++)
		p->frame[FUZZ_PT1 + 1 - level] = space_table(s, RAW_BASE, level);
	space_unpeek(s);
	p->frame[FUZZ_ROOT] = s->root;
	for (unsigned i = 0; i < RAW_PAGES; i++)
		p->frame[FUZZ_RAW + i] = r->frames + i;
	p->frame[FUZZ_ENV] = r->env, p->frame[FUZZ_THREAD] = r->thread;
	p->env = r->env_name, p->thread = r->name;
}

/* Registers, upcall frame and all else of a stopped thread as at its start. */
static int set_up(unsigned k)
{
	struct raw *r = &place[k].raw;
	struct fh_thread_args a = {.fields = FH_SET_REGS, .regs = {.rip = fuzz_landing(k), .rflags = 2}};
	int e = raw_reset(r);

	memset(r->upcall, 0, offsetof(struct fh_upcall, slot));
	r->upcall->entry = fuzz_landing(k), r->upcall->mask = -1ul, r->upcall->self_va = raw_va(r, RAW_UPCALL);
	return e < 0 ? e : (e = (int)raw_write(r, &a)) < 0 ? e : (int)sys_thread_ctl(r->name, FH_THREAD_START, 0);
}

static void make(unsigned k)
{
	struct fuzz *f = fuzz_of(k);
	struct raw *r = &place[k].raw, *parent = plan[k].parent < 0 ? NULL : &place[plan[k].parent].raw;
	int e = plan[k].thread ? raw_beside(r, parent) : raw_below(r, parent ? parent->env : 0, plan[k].quota);

	if (e == 0 && !plan[k].thread)
		e = furnish(k);
	if (e < 0)
		panic("no worker %u: %s", k, error_name(e));
	publish(k, r, plan[k].thread ? &parent->space : &r->space);
	f->stack_top = raw_stack_top(r);
	f->place = k;
	f->key = random_begin(seed, k, place[k].generation++);
	f->turn = 0;
	f->drawn = FUZZ_HASHED;
	memset(f->chose, 0, sizeof(f->chose));
	f->calling = f->lost = 0;
	place[k].broken = false;
	if ((e = set_up(k)) < 0)
		panic("worker %u doesn't start: %s", k, error_name(e));
}

/* One slot on some CPU, to be fought over: the worker may hand it to another thread, and if that dies it is gone. */
static void give_slot(unsigned k)
{
	static unsigned given[FUZZ_PLACES];
	unsigned c = (unsigned)rounds % info->ncpus, slot = FH_CPU_SLICES;
	struct fuzz_board *b = fuzz_board();

	if (c < FUZZ_PLACES && given[c]++ < SLOTS_LOST && cpu_place(place[k].raw.name, c))
		while (slot-- && cpu_view(c)->slice[slot] != place[k].raw.name)
			;
	if (slot < FH_CPU_SLICES)
		b->slot_cpu = info->cpu_pfn[c], b->slot = slot;
}

static void make_tree(unsigned top)
{
	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		if (top_of(k) == top)
			make(k);
	remade++;
}

static void end_tree(unsigned top)
{
	uint64_t freed;
	int r;

	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		if (top_of(k) == top) {
			slot_take(place[k].raw.thread);
			raw_forget(&place[k].raw);
			memset(&fuzz_board()->place[k], 0, sizeof(fuzz_board()->place[k]));
		}
	if ((r = env_reap_pfn(place[top].raw.env, &freed)) < 0)
		panic("the envs of worker %u can't be buried: %s", top, error_name(r));
}

/* ---- The canary: an env that does nothing, with frames all over the arena that nobody has mapped ---- */

static uint64_t canary_word(unsigned i, unsigned k) { return 0xca4a47ul << 32 | i << 16 | k; }

static void canary_make(void)
{
	static const unsigned types[] = {FH_PT1, FH_PT2, FH_PT4, FH_ENV, FH_THREAD};

	if (raw_new(&canary, CANARIES + 40) < 0)
		panic("no canary");
	publish(CANARY, &canary, &canary.space);
	raw_forget(&canary);
	for (unsigned i = 0; i < CANARIES; i++) {
		pfn_t f = canaries[i].frame = fuzz_board()->arena + 3 + i * (ARENA / CANARIES);
		if (sys_frame_alloc(f, 1, canary.env, 0) != 1)
			panic("no frame for the canary");
		uint64_t *words = scratch_map(f, 1, RIGHT_R | RIGHT_W);
		for (unsigned k = 0; k < 512; k++)
			words[k] = canary_word(i, k);
		scratch_put((va_t)words, 1);
		if (i < sizeof(types) / sizeof(types[0]) && sys_frame_retype(f, types[i]) < 0)
			panic("no %s for the canary", frame_type_name(types[i]));
		canaries[i].state = frame_record(f)->state;
		canaries[i].tenant = frame_record(f)->tenant;
	}
}

static void canary_check(void)
{
	for (unsigned i = 0; i < CANARIES; i++) {
		pfn_t f = canaries[i].frame;
		if (frame_record(f)->state != canaries[i].state || frame_record(f)->tenant != canaries[i].tenant)
			count_bad(&wrong, "round %lu: the canary's frame %#lx: state %#lx, was %#lx; tenant %#lx", rounds, f, frame_record(f)->state,
			          canaries[i].state, frame_record(f)->tenant);
		if (fh_type(canaries[i].state) != FH_DATA)
			continue;
		const uint64_t *words = scratch_map(f, 1, RIGHT_R);
		for (unsigned k = 0; words && k < 512; k++)
			if (words[k] != canary_word(i, k)) {
				count_bad(&wrong, "round %lu: word %u of the canary's frame %#lx is %#lx", rounds, k, f, words[k]);
				break;
			}
		if (words)
			scratch_put((va_t)words, 1);
	}
}

/* ---- Rounds ---- */

/* Stop it, whatever it does, and set it up anew. */
static void revive(unsigned k)
{
	struct place *p = &place[k];

	sys_env_ctl(p->raw.env, FH_ENV_THAW, 0, 0);
	p->revived++;
	p->stuck = 0;
	if (thread_stop(p->raw.name, 0) < 0 || set_up(k) < 0 || ++p->begun > STUCK)
		p->broken = true;
}

/* A little time for it. True: it has done its part, or can't. */
static bool drive(unsigned k)
{
	struct place *p = &place[k];
	struct fuzz *f = fuzz_of(k);
	uint64_t before = f->steps;

	if (p->broken || before >= f->target)
		return true;
	unsigned state = p->raw.view->state;
	if (state == FH_STOPPED || state == FH_FAULTED)
		revive(k);
	sys_thread_switch(p->raw.name, state == FH_SLEEPING ? FH_BELLS_USER : 0, RAW_BELL, cpu_tsc() + info->tsc_khz / 16);
	if (f->steps != before)
		p->stuck = p->begun = 0;
	else if (state != FH_RUNNING && ++p->stuck > STUCK)
		revive(k);
	return false;
}

static void drive_cpu(unsigned cpu)
{
	for (bool done = false; !done;) {
		done = true;
		for (unsigned k = cpu; k < FUZZ_PLACES; k += info->ncpus)
			done &= drive(k);
	}
}

static void driver(void *cpu)
{
	for (uint64_t seen = 0;;) {
		uint64_t now = __atomic_load_n(&round_begun, __ATOMIC_SEQ_CST);
		if (now == -1ul)
			return;
		if (now == seen) {
			thread_sleep(1);
			continue;
		}
		seen = now;
		drive_cpu((unsigned)(uint64_t)cpu);
		__atomic_fetch_add(&round_done, 1, __ATOMIC_SEQ_CST);
	}
}

/* Room for more frames, and whoever is in disorder put right. */
static void prepare(unsigned k)
{
	struct fh_env e;
	struct raw *r = &place[k].raw;

	place[k].begun = 0;
	if (env_look(r->env, &e) < 0)
		panic("worker %u has lost its env", k);
	if (fh_quota(e.account) - fh_owned(e.account) < SPARE)
		sys_env_ctl(r->env, FH_ENV_QUOTA, SPARE, 0);
	revive(k);
	fuzz_of(k)->target = fuzz_of(k)->steps + ROUND;
}

static void do_round(unsigned drivers, uint64_t *choice)
{
	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		prepare(k);
	if (random_below(choice, 4) == 0)
		give_slot((unsigned)random_below(choice, FUZZ_PLACES));
	__atomic_store_n(&round_done, 0, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&round_begun, 1, __ATOMIC_SEQ_CST);
	drive_cpu(0);
	while (__atomic_load_n(&round_done, __ATOMIC_SEQ_CST) < drivers)
		thread_sleep(1);
	rounds++;
	int64_t r = info->debug ? sys_env_ctl(0, FH_ENV_AUDIT, 0, 0) : 0;
	while (r == -FH_EAGAIN)
		r = sys_env_ctl(0, FH_ENV_AUDIT, 0, 0);
	if (r != 0)
		count_bad(&wrong, "round %lu: the audit finds %ld invariants broken", rounds, r);
	canary_check();
	for (unsigned k = 0; k < FUZZ_PLACES && rounds == 1; k++)
		memcpy(chose[k], fuzz_of(k)->chose, FUZZ_KEPT);
	uint64_t killed = random_below(choice, 64);
	for (unsigned k = 0; k < FUZZ_PLACES; k++) {
		bool broken = false;
		for (unsigned i = 0; i < FUZZ_PLACES; i++)
			broken |= top_of(i) == k && place[i].broken;
		if (top_of(k) == k && (broken || killed == k)) {
			end_tree(k);
			make_tree(k);
		}
	}
}

/* ---- The report ---- */

static uint64_t sum(unsigned call, unsigned column)
{
	uint64_t n = 0;

	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		n += call <= FH_NSYSCALLS ? fuzz_of(k)->calls[call][column] : fuzz_of(k)->ops[call - FH_NSYSCALLS - 1][column];
	return n;
}

static void row(const char *name, unsigned row)
{
	char text[256];
	size_t n = (size_t)snprintf(text, sizeof(text), "%-13s %7lu done", name, sum(row, FUZZ_DONE));

	if (sum(row, FUZZ_AWAY))
		n += (size_t)snprintf(text + n, sizeof(text) - n, ", %lu away", sum(row, FUZZ_AWAY));
	for (unsigned c = 0; c < FUZZ_DONE && n < sizeof(text) - 30; c++)
		if (sum(row, c))
			n += (size_t)snprintf(text + n, sizeof(text) - n, ", %lu %s", sum(row, c), error_name(fuzz_error(c)));
	note("%s", text);
}

static void histogram(void)
{
	static const char *const names[] = {
#define FH_X(number, name, nargs, args) #name,
	    FH_SYSCALLS(FH_X)
#undef FH_X
	    "(no call)"};
	static const char *const ops[] = {
#define FH_X(name, number, text) #name,
	    FH_OPS(FH_X)
#undef FH_X
	};
	char text[240] = "";
	size_t n = 0;

	for (unsigned i = 0; i <= FH_NSYSCALLS; i++)
		row(names[i], i);
	note("pt_set by operation:");
	for (unsigned i = 0; i < FH_NOPS; i++)
		row(ops[i], FH_NSYSCALLS + 1 + i);
	for (unsigned i = 0; i < FH_NSYSCALLS; i++)
		for (unsigned c = 0; c < FUZZ_DONE; c++) {
			if (!fuzz_documented(i, c) || sum(i, c))
				continue;
			if (n > sizeof(text) - 40) {
				note("never: %s", text);
				n = 0;
			}
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s %s, ", names[i], error_name(fuzz_error(c)));
		}
	note("never: %s", n ? text : "-");
}

static uint64_t total(size_t offset)
{
	uint64_t n = 0;

	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		n += *(uint64_t *)((char *)fuzz_of(k) + offset);
	return n;
}
#define TOTAL(field) total(offsetof(struct fuzz, field))

static void progress(uint64_t begun)
{
	uint64_t ms = (cpu_tsc() - begun) / info->tsc_khz + 1, steps = TOTAL(steps);

	note("round %lu: %lu calls, %lu a second, %lu faults landed, %lu envs made", rounds, steps, steps * 1000 / ms, TOTAL(landed), remade);
}

/* Calls that answered what can't be: the first of each worker, with the last ones before it. */
static void answers(void)
{
	for (unsigned k = 0; k < FUZZ_PLACES; k++) {
		const struct fuzz *f = fuzz_of(k);
		if (f->bad)
			count_bad(&wrong, "worker %u: call %ld(%#lx, %#lx, %#lx, %#lx) = %ld is no answer of its (%lu in all)", k, f->wrong[0],
			          f->wrong[1], f->wrong[2], f->wrong[3], f->wrong[4], (int64_t)f->wrong[5], f->bad);
	}
}

static void choices(void)
{
	char text[2 * FUZZ_KEPT + 1];

	for (unsigned k = 0; k < FUZZ_PLACES; k++) {
		for (unsigned i = 0; i < FUZZ_KEPT; i++)
			snprintf(text + 2 * i, 3, "%02x", chose[k][i]);
		note("choices of worker %u: %s", k, text);
	}
}

/* ---- All of it ---- */

static unsigned not_free(void)
{
	unsigned n = 0;

	for (pfn_t f = fuzz_board()->arena; f < fuzz_board()->arena + ARENA; f++)
		n += !frame_is_free(f);
	return n;
}

static void board_fill(pfn_t arena)
{
	struct fuzz_board *b = fuzz_board();
	const pfn_t special[] = {info->cpu_pfn[0],   info->cpu_pfn[info->ncpus - 1], info->table_pfn, info->table_pfn + 1, info->clock_pfn,
	                         info->info_pfn,     fh_name_pfn(info->root_env),    fh_name_pfn(info->root_thread), info->tables[0],
	                         info->tables[1],    env_self(),                     fh_name_pfn(thread_main.name), space_current()->root,
	                         space_table(space_current(), FUZZ_VA, 1), frame_at(b), frame_at(&seed), 0xa0, 0xb8, 0xfee00, 0x100, 5, 0};

	*b = (struct fuzz_board){.arena = arena, .narena = ARENA, .nframes = info->nframes, .tsc_khz = info->tsc_khz, .ncpus = info->ncpus,
	                         .places = FUZZ_PLACES, .nspecial = sizeof(special) / sizeof(special[0])};
	memcpy(b->special, special, sizeof(special));
	b->slot_cpu = info->cpu_pfn[0];
}

int main(void)
{
	unsigned drivers = (info->ncpus < FUZZ_PLACES ? info->ncpus : FUZZ_PLACES) - 1;
	struct thread *t[FUZZ_PLACES];
	uint64_t choice, freed;

	tap_begin();
	cpus_begin();
	pfn_t pages = frame_get(&frames_first, 1 + FUZZ_PLACES, 1, 0, 0);
	if (!pages || space_map(space_current(), FUZZ_VA, pages, 1 + FUZZ_PLACES, RIGHT_R | RIGHT_W) < 0)
		panic("no pages to share");
	for (unsigned i = 0; i < drivers; i++)
		t[i] = thread_on(i + 1, driver, (void *)(uint64_t)(i + 1));
	choice = seed = option("seed", cpu_tsc() % 1000000007);
	calls = option("calls", 150000);
	board_fill(arena_find(ARENA));
	note("seed %lu, %lu calls (seed= and calls= on the kernel's command line): %u workers on %u CPUs, frames %#lx to %#lx", seed, calls,
	     FUZZ_PLACES, info->ncpus, fuzz_board()->arena, fuzz_board()->arena + ARENA - 1);
	canary_make();
	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		if (top_of(k) == k)
			make_tree(k);
	uint64_t begun = cpu_tsc(), shown = 0;
	while (TOTAL(steps) < calls && !wrong.bad) {
		do_round(drivers, &choice);
		answers();
		if (TOTAL(steps) - shown > calls / 10) {
			shown = TOTAL(steps);
			printf("\n");
			progress(begun);
		}
	}
	round_begun = -1ul;
	for (unsigned i = 0; i < drivers; i++)
		thread_off(t[i]);
	for (unsigned k = 0; k < FUZZ_PLACES; k++)
		if (top_of(k) == k)
			end_tree(k);
	printf("\n");
	progress(begun);
	none_bad(&wrong, "after each of %lu rounds the audit finds nothing, the canary is untouched, and all answers are documented", rounds);
	histogram();
	uint64_t done = 0;
	for (unsigned i = 0; i < FH_NSYSCALLS; i++)
		done += sum(i, FUZZ_DONE);
	ok(done > TOTAL(steps) / 10, "of %lu calls, %lu did something", TOTAL(steps), done);
	ok(TOTAL(touches) && TOTAL(poked) && TOTAL(landed), "%lu touches of windows, %lu writes among them succeeded; %lu faults landed",
	   TOTAL(touches), TOTAL(poked), TOTAL(landed));
	choices();
	is(env_reap_pfn(canary.env, &freed), 0, "the canary is buried");
	is(not_free(), 0, "all frames that they fought for are free again");
	cpus_end();
	space_unmap(space_current(), FUZZ_VA, 1 + FUZZ_PLACES);
	frame_put(pages, 1 + FUZZ_PLACES);
	return tap_end();
}
