/*
 * guest.c - checks.c in the machine, and what Linux can't show: a fork with a heap; memory that runs out, in a child with a
 * small quota. Run as `alloc-NAME exhaust` it is that child.
 */
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "cpus.h"
#include "touch.h"

#define QUOTA 1200u /* frames of the child: image, stack and tables are some 100 of them */

size_t memory_held(void)
{
	trim_tables();
	return (frames_owned() - (meta_end() - META_VA) / FH_PAGE) * FH_PAGE;
}

void let_others(void) { thread_yield(); }

static void (*work)(unsigned);
static void one(void *i) { work((unsigned)(uintptr_t)i); }

bool run_threads(unsigned n, void (*f)(unsigned i))
{
	struct thread *t[16];
	unsigned made = 0;

	work = f;
	for (; made < n && made < 16 && (t[made] = thread_new(one, (void *)(uintptr_t)made, NULL)); made++)
		;
	for (unsigned i = 0; i < made; i++)
		thread_join(t[i]);
	return made == n;
}

/* ---- A fork ---- */

#define KEPT 200u

static volatile bool enough;
static void busy(void *arg)
{
	while (!enough) {
		void *p = malloc(100 + (uintptr_t)arg), *q = malloc(3000);
		free(p);
		free(q);
	}
}

static bool kept(unsigned char **p)
{
	bool good = true;

	for (unsigned i = 0; i < KEPT; i++)
		for (unsigned k = 0; k < i * 10; k++)
			good &= p[i][k] == (unsigned char)i;
	return good;
}

static void check_fork(void)
{
	static unsigned char *p[KEPT];
	struct thread *t[2];
	struct env *child;
	int bad = 0;

	for (unsigned i = 0; i < KEPT; i++)
		memset(p[i] = malloc(i * 10), (int)i, i * 10);
	enough = false;
	for (unsigned i = 0; i < 2; i++)
		t[i] = thread_start(busy, i);
	thread_sleep(20);
	int r = env_fork(&child);
	if (r == 0) {
		bad |= !kept(p) << 0;
		for (unsigned i = 0; i < KEPT; i++)
			free(p[i]);
		for (unsigned i = 0; i < KEPT; i++)
			memset(p[i] = malloc(i * 10), (int)i, i * 10);
		bad |= !kept(p) << 1 | (malloc_check() != 0) << 2;
		exit(bad);
	}
	enough = true;
	thread_join_all(t, 2);
	if (ok(r > 0, "the program forks, while other threads of it are in malloc")) {
		is(env_wait(child), ENV_EXITED, "the child ends");
		is(env_status(child), 0, "it has had its parent's blocks, and freed them and made others");
		ok(kept(p) && malloc_check() == 0, "of which the parent notices nothing");
		env_reap(&child, NULL);
	}
	for (unsigned i = 0; i < KEPT; i++)
		free(p[i]);
}

/* ---- The allocator for debugging: guard.c ---- */

extern unsigned guard_side __attribute__((weak)); /* its own */

/* Its sentence about p has these words, and names an instruction of this file. */
static bool explains(const volatile void *p, const char *words)
{
	char text[256] = "";
	const char *by;

	if (!malloc_explain((const void *)p, text, sizeof(text)) || !strstr(text, words) || !(by = strstr(text, "before 0x"))) {
		note("it says: %s", text);
		return false;
	}
	va_t at = strtoul(by + 7, NULL, 16);
	extern const char __image_start[], __rodata_start[];
	return at > (va_t)__image_start && at < (va_t)__rodata_start;
}

/* In a child: the status it ends with. */
static int status_of(void (*f)(void))
{
	struct env *child;
	int r = env_fork(&child);

	if (r == 0) {
		f();
		exit(0);
	}
	if (r < 0)
		return r;
	r = env_wait(child) == ENV_EXITED ? env_status(child) : -1;
	env_reap(&child, NULL);
	return r;
}

static volatile char *volatile victim; /* volatile: what is done to it is wrong, and the compiler may know */
static void overrun(void) { victim[48] = 1; }
static void fence(void)
{
	victim = malloc(41);
	victim[41] = 1;
	free((void *)victim);
}
static void free_twice(void)
{
	free((void *)victim);
	free((void *)victim);
}
static void free_inside(void) { free((void *)(victim + 16)); }

static void check_guards(void)
{
	volatile char *p = victim = malloc(48), *q;

	touch_begin();
	ok(writes(p) && writes(p + 47) && !writes(p + 48) && !reads(p + 48), "a byte past a block's end faults at the instruction");
	ok(explains(p + 48, "1 bytes past the end of a block of 48 bytes"), "and the report names block and caller");
	free((void *)p);
	ok(!reads(p) && !writes(p + 20), "so does a block that has been freed");
	ok(explains(p + 20, "byte 20 of a block of 48 bytes") && explains(p + 20, "freed by"), "which is named, too, with who freed it");
	guard_side = 1;
	q = malloc(1000);
	guard_side = 0;
	ok(writes(q) && !writes(q - 1) && !reads(q - 1), "with GUARD_START, so does the byte in front");
	ok(explains(q - 1, "1 bytes before a block of 1000 bytes"), "named, too");
	free((void *)q);
	q = malloc(70000); /* more pages than any before: the last place of all */
	ok(!reads(q + 70000) && explains(q + 70000, "1 bytes past the end of a block of 70000 bytes"),
	   "and what lies behind the last block");
	free((void *)q);
	victim = malloc(48);
	touch_end();
	is(status_of(overrun), 128 + 14, "an overrun ends the program with a page fault's report");
	is(status_of(fence), 134, "a write into the bytes up to the page's end is found by the free");
	is(status_of(free_twice), 134, "a second free is refused");
	is(status_of(free_inside), 134, "so is a free of what is no block's start");
	free((void *)victim);
}

/* ---- Memory runs out ---- */

static void check_quota(char *name)
{
	char *argv[] = {name, "exhaust", NULL};
	struct spawn_options o = {.quota = QUOTA, .slots = 1};
	struct env *child;
	struct module m;

	if (!ok(module_named(name, &m) == 0 && spawn(&child, m.data, m.bytes, argv, &o) == 0, "a child with %u frames", QUOTA))
		return;
	enum env_state state = env_wait(child);
	if (state == ENV_FAULTED)
		env_report(child);
	int bad = state == ENV_EXITED ? env_status(child) : -1;
	for (unsigned i = 0; i < EXHAUSTION_TEXTS; i++)
		ok(!(bad >> i & 1), "%s", exhaustion_text[i]);
	env_reap(&child, NULL);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exhaust") == 0)
		return (int)check_exhaustion();
	struct thread *t[4]; /* the kit's records grow now, not later */
	for (unsigned i = 0; i < 4; i++)
		t[i] = thread_start(busy, i);
	enough = true;
	thread_join_all(t, 4);
	tap_begin();
	check_allocator();
	check_fork();
	check_quota((char *)program_name);
	if (&guard_side)
		check_guards();
	if (!malloc_default->trim)
		tap_forget();
	return tap_end();
}
