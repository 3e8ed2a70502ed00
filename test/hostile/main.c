/*
 * main.c - the runner of the hostile programs: starts each attacker (NN-name, from hostile.tar) as a child env with a quota
 * of its own, beside a canary whose memory is all patterns and that works all the while. After each: the kernel is alive, the
 * canary's memory and registers are as they were and it has made progress, no frame, quota or CPU slot is lost, the records
 * are sound, and the audit (debug kernels) finds nothing. class=NN on the kernel's command line: only that one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "hostile.h"

#define ATTACKER_QUOTA 2000u
#define CANARY_QUOTA 400u
#define PATIENCE 120u /* seconds for an attack, or for a canary's step */

static struct stage *stage;       /* here; the canary has it at STAGE_VA, writable */
static struct tap_lines *count;
static struct env *canary;

/* ---- The canary: this program with an argument ---- */

static uint64_t pattern(unsigned page, unsigned word) { return 0xca9a51e5ul * (page * 512 + word + 1) << 8 | page; }

static volatile uint64_t *canary_page(unsigned i) { return (volatile uint64_t *)(VA + i * FH_PAGE); }

/* A vector register, over a sleep. */
static bool keeps_register(uint64_t value)
{
	uint64_t after;

	__asm__ volatile("movq %0, %%xmm15" : : "r"(value) : "xmm15");
	thread_sleep(2);
	__asm__ volatile("movq %%xmm15, %0" : "=r"(after));
	return after == value;
}

static int canary_main(void)
{
	struct stage *s = (struct stage *)STAGE_VA;

	if (space_fill(space_current(), VA, CANARY_PAGES, RIGHT_R | RIGHT_W) < 0)
		return 1;
	for (unsigned i = 0; i < CANARY_PAGES; i++) {
		for (unsigned k = 0; k < 512; k++)
			canary_page(i)[k] = pattern(i, k);
		s->page[i] = frame_at(canary_page(i));
	}
	s->pt1 = space_table(space_current(), VA, 1);
	s->root = space_current()->root;
	for (uint64_t n = 0;; n++) {
		unsigned i = n % CANARY_PAGES;
		bool good = keeps_register(n * 0x9e3779b97f4a7c15);
		for (unsigned k = 0; k < 512; k++)
			good &= canary_page(i)[k] == pattern(i, k);
		int64_t va = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER); /* a frame and an entry of its own, too */
		good &= !mm_failed(va) && *(volatile uint64_t *)va == 0;
		*(volatile uint64_t *)va = n;
		good &= mm_unmap((va_t)va, FH_PAGE) == 0;
		s->harm += !good;
		s->steps = n + 1;
	}
}

/* Show a page of ours to a child, which has not started yet. */
static void show(struct env *child, va_t va, const volatile void *page, unsigned rights)
{
	struct space s = child_space(child);
	int e = space_map(&s, va, frame_at(page), 1, rights);

	space_unpeek(&s);
	if (e < 0)
		panic("a page can't be shown to %s: %s", child->title, error_name(e));
}

static bool wait_steps(uint64_t n)
{
	for (uint64_t from = stage->steps, end = cpu_tsc() + ms(PATIENCE * 1000); stage->steps < from + n; thread_sleep(1))
		if (cpu_tsc() > end)
			return false;
	return true;
}

static void canary_begin(const struct module *self)
{
	char *argv[] = {"canary", "canary", NULL};
	int e = spawn(&canary, self->data, self->bytes, argv,
	              &(struct spawn_options){.quota = CANARY_QUOTA, .slots = 4 * info->ncpus, .stopped = true});

	if (e < 0)
		panic("no canary: %s", error_name(e));
	show(canary, STAGE_VA, stage, RIGHT_R | RIGHT_W);
	stage->env = canary->name, stage->thread = canary->thread_name;
	stage->runner_env = env_self_name(), stage->runner_thread = thread_self_name();
	stage->runner_root = space_current()->root, stage->runner_page = frame_at(count);
	sys_thread_ctl(canary->thread_name, FH_THREAD_START, 0);
	if (!wait_steps(2))
		panic("the canary doesn't work");
}

/* Its pages, seen from here. */
static bool canary_whole(void)
{
	bool whole = stage->harm == 0;

	for (unsigned i = 0; i < CANARY_PAGES; i++) {
		uint64_t *page = scratch_map(stage->page[i], 1, RIGHT_R);
		for (unsigned k = 0; page && k < 512; k++)
			whole &= page[k] == pattern(i, k);
		whole &= page && owner(stage->page[i]) == canary->pfn && type(stage->page[i]) == FH_DATA;
		if (page)
			scratch_put((va_t)page, 1);
		whole &= refs(stage->page[i]) == 1;
	}
	return whole;
}

/* ---- The books ---- */

struct sums {
	uint64_t frames, quota, slots;
};

/* Frames that are free, the canary's, or hold the kit's records here: the canary takes some and gives them back. */
static struct sums sums(void)
{
	struct fh_env c;

	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	env_look(canary->pfn, &c);
	return (struct sums){frame_count_free() + fh_owned(c.account) + kit_pages(), fh_quota(env_view()->account), slot_count()};
}

static bool balanced(const struct sums *before, const char **what)
{
	struct sums now;

	for (unsigned tries = 0; tries < 2000; tries++, thread_sleep(1)) {
		now = sums();
		*what = now.frames != before->frames ? "frames are lost"
		        : now.quota != before->quota ? "quota is lost"
		                                     : "CPU slots are lost";
		if (memcmp(&now, before, sizeof(now)) == 0)
			return true;
	}
	note("frames %lu, were %lu; quota %lu, was %lu; slots %lu, were %lu", now.frames, before->frames, now.quota, before->quota,
	     now.slots, before->slots);
	return false;
}

/* A record that nobody works on is neither BUSY nor locked, and its owner is an ENV. */
static bool sound(pfn_t f)
{
	for (unsigned tries = 0; tries < 2000; tries++, thread_sleep(1)) {
		uint64_t s = state(f);
		unsigned t = fh_type(s);
		bool owned = t != FH_KERNEL && t != FH_FREE && t != FH_TABLE;
		if (t < FH_BUSY && !(s & FH_STATE_LOCK) && (owned ? type(fh_owner(s)) == FH_ENV : fh_owner(s) == 0))
			return true;
	}
	note("frame %#lx: state %#lx", f, state(f));
	return false;
}

static bool records_sound(void)
{
	for (pfn_t f = 0; f < info->nframes; f++)
		if (!sound(f))
			return false;
	return true;
}

static int64_t audit(void)
{
	int64_t r;

	while ((r = sys_env_ctl(0, FH_ENV_AUDIT, 0, 0)) == -FH_EAGAIN)
		thread_yield();
	return r;
}

/* ---- One attack ---- */

static void await(struct env *e)
{
	for (uint64_t end = cpu_tsc() + ms(PATIENCE * 1000); env_state(e) == ENV_RUNNING && cpu_tsc() < end;)
		sys_thread_switch(0, 0, 1ul << BELL_CHILD, cpu_tsc() + ms(100));
}

static void run(const char *name, const void *elf, size_t bytes)
{
	static char prefix[48];
	char number[8];
	struct env *e;
	const char *wrong = NULL, *lost;

	snprintf(number, sizeof(number), "%d", atoi(name));
	snprintf(prefix, sizeof(prefix), "hostile %s at %u CPU%s: ", number, info->ncpus, info->ncpus == 1 ? "" : "s");
	tap_for(count, prefix);
	note("%s begins", name); /* test/hostile/mistakes.py: what fails before has not been noticed by it */
	struct sums before = sums();
	uint64_t steps = stage->steps, begin = cpu_tsc();
	unsigned lines = count->run;
	char *argv[] = {(char *)name, number, NULL};
	int r =
		spawn(&e, elf, bytes, argv, &(struct spawn_options){.quota = ATTACKER_QUOTA, .slots = 16 * info->ncpus, .stopped = true});
	if (r < 0)
		panic("%s: %s", name, error_name(r));
	show(e, STAGE_VA, stage, RIGHT_R);
	show(e, COUNT_VA, count, RIGHT_R | RIGHT_W);
	sys_thread_ctl(e->thread_name, FH_THREAD_START, 0);
	await(e);
	if (env_state(e) != ENV_EXITED || env_status(e) != 0) {
		wrong = env_state(e) == ENV_RUNNING ? "it doesn't end" : "it failed";
		if (env_state(e) == ENV_FAULTED)
			env_report(e);
	} else if (count->run == lines)
		wrong = "it said nothing";
	uint64_t took = (cpu_tsc() - begin) / info->tsc_khz;
	if ((r = env_reap(&e, NULL)) < 0)
		wrong = "it can't be buried";
	if (!wait_steps(1) || stage->steps < steps + 1)
		wrong = "the canary has stopped";
	if (!canary_whole())
		wrong = "the canary has come to harm";
	if (!balanced(&before, &lost))
		wrong = lost;
	if (!records_sound())
		wrong = "a record is not sound";
	if (info->debug && audit() != 0)
		wrong = "the audit finds an invariant broken";
	ok(!wrong, "afterwards canary, books%s and kernel are well%s%s", info->debug ? ", audit" : "", wrong ? ", but " : "",
	   wrong ? wrong : "");
	note("%s took %lu ms", name, took);
}

/* A tar archive (POSIX ustar): 512 bytes of header, name first, size in octal at 124; contents in whole blocks. */
static unsigned run_all(const char *p, const char *end, long only)
{
	unsigned n = 0;

	while (end - p > 512 && *p) {
		size_t bytes = strtoul(p + 124, NULL, 8);
		if (!only || strtol(p, NULL, 10) == only) {
			run(p, p + 512, bytes);
			n++;
		}
		p += 512 + (bytes + 511) / 512 * 512;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct module self, attackers;
	char only[8] = "0";
	struct raw r;

	if (argc > 1 && strcmp(argv[1], "canary") == 0)
		return canary_main();
	if (module_named(program_name, &self) < 0 || module_named("hostile.tar", &attackers) < 0)
		panic("no modules hostile and hostile.tar");
	char *pages = (char *)mm_map(0, 2 * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	stage = (struct stage *)pages;
	count = (struct tap_lines *)(pages + FH_PAGE);
	boot_option("class", only, sizeof(only));
	canary_begin(&self);
	if (raw_new(&r, 64) < 0 || raw_end(&r) < 0) /* what the kit makes once and keeps */
		panic("no child env");
	unsigned n = run_all(attackers.data, (const char *)attackers.data + attackers.bytes, strtol(only, NULL, 10));
	env_kill(canary);
	tap_for(count, "");
	ok(n > 0, "attackers that came: %u", n);
	returns(env_reap(&canary, NULL), 0, "the canary is buried");
	return tap_plan();
}
