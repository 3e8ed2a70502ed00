/* subject.c - see subject.h. */
#include "subject.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "spacewalk.h"

/* The runner's address a is the grader's a + VIEW_VA: its level-3 tables are linked at slots 256 and up. */
#define VIEW_VA 0xffff800000000000ul
#define VIEW_SLOT 256u
#define VIEW_SLOTS 252u             /* of the lower half; what lies above is no place for blocks */
#define VIEW_END ((va_t)VIEW_SLOTS << 39)

struct channel *channel;
char trouble[320];

bool fail(const char *format, ...)
{
	char text[sizeof(trouble)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	memcpy(trouble, text, sizeof(text));
	return false;
}

static struct env *env;
static const volatile struct fh_env *account;
static const volatile pte_t *tables; /* its PT4 */
static uint64_t quota;
static uint64_t own_calls; /* this program's, since it slept last */
#define CALIBRATIONS 256u
static struct spent round_trip; /* sum of so many */
static uint64_t runner_frames;

static struct spent now(void)
{
	struct spent s = {.instructions = cpu_tsc()};

	for (unsigned c = 0; c < info->ncpus; c++) {
		const volatile uint64_t *count = cpu_view(c)->count;
		s.upcalls += count[FH_COUNT_UPCALLS];
		s.calls += count[FH_COUNT_CALLS];
		s.flushes += count[FH_COUNT_ROOT_LOADS];
	}
	return s;
}

static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/*
 * Who waits here has no deadline of its own: some CPU would have to be woken to watch it, at each call. A second thread looks
 * now and then whether it is late.
 */
#define BELL_LATE (1ul << (BELL_USER + 1 + LANES))
#define WATCH_MS 50
static volatile uint64_t late;

static void watch(void *waiter)
{
	for (;;) {
		thread_sleep(WATCH_MS);
		if (cpu_tsc() >= late)
			sys_thread_switch((uint64_t)waiter, BELL_LATE, 1ul << BELL_USER, cpu_tsc());
	}
}

static bool make_channel(unsigned lanes)
{
	if (!channel) {
		int64_t p = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
		if (mm_failed(p))
			return fail("no page for the channel");
		channel = (struct channel *)p;
	}
	memset(channel, 0, FH_PAGE);
	channel->grader = thread_self_name();
	static bool watched;
	if (!watched && !thread_new(watch, (void *)thread_self_name(), NULL))
		return fail("no thread to watch");
	watched = true;
	channel->lanes = lanes;
	struct space s = child_space(env);
	int r = space_map(&s, CHANNEL_VA, fh_pte_pfn(space_get(space_current(), (va_t)channel)), 1, RIGHT_R | RIGHT_W);
	space_unpeek(&s);
	return r == 0 || fail("the channel can't be mapped: %s", error_name(r));
}

/* Wait until all of `bits` have rung. */
static bool wait(uint64_t to, uint64_t bits, uint64_t limit)
{
	const uint64_t mine = 1ul << BELL_CHILD | BELL_LATE;

	late = cpu_tsc() + limit;
	while (bits) {
		int64_t r = sys_thread_switch(to, to ? LANE_GO : 0, bits | mine, 0);
		if (r == -ESRCH || r == -EPERM)
			return fail("its thread is gone");
		to = 0;
		if (r > 0)
			bits &= ~(uint64_t)r;
		if (env_state(env) == ENV_EXITED)
			return fail("the program ended with status %d", env_status(env));
		if (env_state(env) == ENV_FAULTED)
			return fail("the program faulted past its handlers: %s at rip %#lx", upcall_vector_name((unsigned)env->view->regs.vector),
			            env->view->regs.rip);
		if (bits && cpu_tsc() >= late)
			return fail("it had not come back after %lu million instructions: a loop, in a list perhaps", limit / 1000000);
	}
	return true;
}

static uint64_t bells(unsigned lanes)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < lanes; i++)
		all |= LANE_BELL(i);
	return all;
}

bool subject_start(const struct module *program, uint64_t frames, unsigned lanes)
{
	char *argv[] = {(char *)program->name, NULL};
	struct spawn_options o = {.quota = frames, .stopped = true};
	int r = spawn(&env, program->data, program->bytes, argv, &o);

	if (r < 0)
		return fail("it can't be started: %s", error_name(r));
	account = scratch_map(env->pfn, 1, RIGHT_R);
	tables = scratch_map(env->view->root, 1, RIGHT_R);
	if (!account || !tables)
		return fail("no scratch pages");
	quota = fh_quota(account->account);
	if (!make_channel(lanes) || (r = (int)sys_env_ctl(0, FH_ENV_CALLER, 0, env->name)) < 0)
		return fail("no channel: %s", error_name(r));
	sys_thread_switch(0, 0, bells(LANES) | 1ul << BELL_CHILD, cpu_tsc()); /* what has rung for an earlier one */
	sys_thread_ctl(env->thread_name, FH_THREAD_START, 0);
	return wait(0, bells(lanes), ROUND_LIMIT) || fail("before the first call, %s", trouble);
}

void subject_end(void)
{
	int r = -EBUSY;

	if (!env)
		return;
	for (unsigned k = 0; k < VIEW_SLOTS; k++)
		if (*window_slot(VIEW_VA + ((va_t)k << 39), 4) & FH_P)
			sys_pt_set(fh_what(FH_OP_CLEAR, FH_FLUSH_LOCAL, space_current()->root, VIEW_SLOT + k, 1), 0, 0);
	if (account)
		scratch_put((va_t)account, 1);
	if (tables)
		scratch_put((va_t)tables, 1);
	account = NULL;
	tables = NULL;
	env_kill(env);
	for (unsigned i = 0; i < 1000 && (r = env_reap(&env, NULL)) == -EBUSY; i++)
		thread_sleep(1);
	if (r < 0)
		panic("the graded program can't be buried: %s", error_name(r));
}

bool subject_call(unsigned lane, enum lane_op op, uint64_t p, uint64_t n, uint64_t align, uint64_t *result, struct spent *spent)
{
	volatile struct lane *l = &channel->lane[lane];
	struct spent a, b;

	l->op = op, l->p = p, l->n = n, l->align = align;
	l->result = l->done = 0;
	a = now();
	a.calls += own_calls; /* they are counted when it sleeps */
	bool back = wait(l->thread, LANE_BELL(lane), CALL_LIMIT);
	b = now();
	own_calls = 0;
	if (result)
		*result = l->result;
	if (!back)
		return false;
	if (!l->done)
		return fail("it rang, but had not come back");
	if (spent) {
		spent->round_trips++;
		spent->instructions += b.instructions - a.instructions;
		spent->upcalls += b.upcalls - a.upcalls;
		spent->calls += b.calls - a.calls;
		spent->flushes += b.flushes - a.flushes;
	}
	return true;
}

bool subject_round(unsigned work, unsigned round, uint64_t *instructions)
{
	uint64_t begin = cpu_tsc();

	for (unsigned i = 0; i < channel->lanes; i++) {
		volatile struct lane *l = &channel->lane[i];
		l->op = LANE_WORK, l->p = work, l->n = round;
		l->done = l->bad = 0;
	}
	/* All but the last are rung without waiting: they run when this thread sleeps, or on other CPUs at once. */
	for (unsigned i = 1; i < channel->lanes; i++)
		if (sys_thread_switch(channel->lane[i].thread, LANE_GO, 1ul << BELL_CHILD, cpu_tsc()) < 0)
			return fail("thread %u is gone", i);
	if (!wait(channel->lane[0].thread, bells((unsigned)channel->lanes), ROUND_LIMIT))
		return false;
	*instructions += cpu_tsc() - begin;
	return true;
}

void subject_calibrate(void)
{
	runner_frames = 0;
	runner_frames = subject_held();
	round_trip = (struct spent){0};
	for (unsigned i = 0; i < CALIBRATIONS; i++)
		if (!subject_call(i % (unsigned)channel->lanes, LANE_NOP, 0, 0, 0, NULL, &round_trip))
			panic("no round trip: %s", trouble);
}

struct spent subject_spent(const struct spent *s)
{
#define NET(field) less(s->field, round_trip.field * s->round_trips / CALIBRATIONS)
	return (struct spent){NET(instructions), NET(upcalls), NET(calls), NET(flushes), 0};
#undef NET
}

/* Quota that it has given away is used by somebody below it, or lost to it: that counts as held. */
uint64_t subject_held(void)
{
	uint64_t word = account->account;
	return less(quota - (fh_quota(word) - fh_owned(word)), runner_frames);
}

unsigned subject_threads(void)
{
	unsigned n = 0;

	for (pfn_t f = 0; (f = frame_find(f, FH_THREAD, env->pfn)) != 0;)
		n++;
	return n;
}

/* Link the table that the runner has for this slot now. */
static bool look_into(unsigned slot)
{
	pte_t theirs = tables[slot], ours = *window_slot(VIEW_VA + ((va_t)slot << 39), 4);

	if (!(theirs & FH_P))
		return false;
	if (ours & FH_P && fh_pte_pfn(ours) == fh_pte_pfn(theirs))
		return true;
	own_calls++;
	return sys_pt_set(fh_what(FH_OP_SET, FH_FLUSH_LOCAL, space_current()->root, VIEW_SLOT + slot, 1),
	                  fh_pte_pfn(theirs) << 12 | FH_P | FH_W | FH_U | FH_NX, 0).rax >= 0;
}

/* The entry that maps an address of the runner now; 0: none. `span`: what it covers. */
static pte_t entry_at(uint64_t p, uint64_t *span)
{
	va_t va = VIEW_VA + p;

	*span = FH_PAGE;
	if (!look_into((unsigned)(p >> 39)) || !link_at(va, 4) || !link_at(va, 3))
		return 0;
	pte_t e = *window_slot(va, 2);
	if (!(e & FH_P))
		return 0;
	if (e & FH_PS) {
		*span = PLAN_LARGE;
		return e + (p >> 12 & 511) * FH_PAGE;
	}
	return *window_slot(va, 1);
}

volatile char *subject_memory(uint64_t p, uint64_t n)
{
	uint64_t span;

	if (p >= VIEW_END || n > VIEW_END - p)
		return (void)fail("is no address for a block"), NULL;
	own_calls++;
	sys_tlb_flush(0, FH_TLB_LOCAL, 0, 0); /* what it has unmapped meanwhile, perhaps on another CPU */
	for (uint64_t at = p; at < p + (n ? n : 1); at = (at & ~(span - 1)) + span) {
		pte_t e = entry_at(at, &span);
		if (!(e & FH_P) || !(e & FH_W))
			return (void)fail("has a page at %#lx that is not %s", page_down(at), e & FH_P ? "writable" : "mapped"), NULL;
		uint64_t state = frame_record(fh_pte_pfn(e))->state;
		if (fh_type(state) != FH_DATA || fh_owner(state) != env->pfn)
			return (void)fail("has a page at %#lx whose frame isn't the program's own", page_down(at)), NULL;
	}
	return (volatile char *)(VIEW_VA + p);
}
