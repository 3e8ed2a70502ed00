/* test.c - assignment 1: frames. */
#include <string.h>

#include "grader.h"
#include "lab1.h"

/*
 * An arena of frames that are all ours, aligned to its size, at first; what shall be FREE in it is freed. The kit's own
 * policy takes frames elsewhere meanwhile.
 */
#define ARENA 128u
static pfn_t arena;
static struct frames policy;

static void arena_begin(const char *map)
{
	static struct frames elsewhere;

	if (!(arena = frame_get(&frames_first, ARENA, ARENA, 0, 0)))
		panic("no %u frames in a row", ARENA);
	elsewhere = frames_first;
	elsewhere.lo = elsewhere.cursor = arena + ARENA;
	if (elsewhere.hi - elsewhere.lo < 2000) {
		elsewhere.lo = elsewhere.cursor = frames_first.lo;
		elsewhere.hi = arena;
	}
	space_current()->frames = &elsewhere;
	frames_first = elsewhere;
	for (unsigned i = 0; i < ARENA && map[i]; i++)
		if (map[i] == '.')
			frame_put(arena + i, 1);
	policy = (struct frames){.name = "mine", .next = my_next, .lo = arena, .hi = arena + strlen(map), .cursor = arena};
}

/* The arena's first frames as the test has laid them out, for messages: '.' is FREE, '#' is not. */
static const char *arena_text(void)
{
	static char text[ARENA + 1];

	for (unsigned i = 0; i < policy.hi - policy.lo; i++)
		text[i] = frame_is_free(policy.lo + i) ? '.' : '#';
	return text;
}

/* Ask for a run and check that it is one; `want`: where in the arena it must be, -1: anywhere, -2: nowhere. */
static pfn_t ask(size_t n, size_t align, pfn_t cursor, int want)
{
	policy.cursor = cursor;
	pfn_t p = my_next(&policy, n, align, 0), lo = policy.lo;

#define ASKED "memory from frame %#lx: %s\nnext(n %lu, align %lu) with the cursor at frame %#lx (+%lu) returned %#lx"
#define ARGS lo, arena_text(), n, align, cursor, cursor - lo, p
	if (want == -2) {
		expect(p == 0, ASKED "\nbut there is no such run: 0 was to be returned", ARGS);
		return 0;
	}
	expect(p != 0, ASKED ": none\nbut there is one%s", ARGS, want < 0 ? "" : "; have you looked all around?");
	expect(p >= lo && p + n <= policy.hi, ASKED "\nwhich isn't inside [lo, hi) = [%#lx, %#lx)", ARGS, lo, policy.hi);
	expect(p % align == 0, ASKED " (+%lu)\nwhich isn't a multiple of %lu", ARGS, p - lo, align);
	for (size_t i = 0; i < n; i++)
		expect(frame_is_free(p + i), ASKED " (+%lu)\nbut frame +%lu of the arena isn't FREE", ARGS, p - lo, p - lo + i);
	expect(want < 0 || p == lo + (unsigned)want, ASKED " (+%lu)\nthe first run behind the cursor is at +%d", ARGS, p - lo, want);
	return p;
}

/* ---- Census ---- */

static void test_census(void)
{
	struct frame_counts before, after;
	uint64_t count[FH_NTYPES];

	do { /* nobody else runs, but for ticks; a count during a change is made again */
		frame_count(&before);
		memset(count, 0xa5, sizeof(count));
		census(count);
		frame_count(&after);
	} while (memcmp(&before, &after, sizeof(after)));
	for (unsigned t = 0; t < FH_NTYPES; t++)
		expect(count[t] == after.type[t], "%s: you count %lu frames (%#lx), there are %lu", frame_type_name(t), count[t], count[t],
		       after.type[t]);
}

static void test_census_of(void)
{
	pfn_t run = frame_get(&frames_first, 77, 1, 0, 0);
	pfn_t parent = fh_owner(frame_record(env_self())->state);
	uint64_t theirs = 0;

	expect(run != 0, "no frames for the test");
again:
	for (pfn_t p = 0; p < info->nframes; p++)
		theirs += fh_owner(frame_record(p)->state) == parent;
	uint64_t got = census_of(env_self()), want = (uint64_t)frame_owned(0);
	expect(got == want, "env %#lx (this test) owns %lu frames by its account, you count %lu", env_self(), want, got);
	got = census_of(parent);
	expect(got == theirs, "env %#lx (the parent of this test) owns %lu frames, you count %lu", parent, theirs, got);
	if (run) {
		frame_put(run, 77);
		run = theirs = 0;
		goto again;
	}
}

/* ---- Policy ---- */

static void test_one(void)
{
	arena_begin("################.###############");
	ask(1, 1, policy.lo, 16);
	ask(1, 1, policy.lo + 16, 16);
	ask(1, 16, policy.lo, 16);
}

static void test_runs(void)
{
	arena_begin("#.##..#...#.....##........##....................#.................#");
	ask(1, 1, policy.lo, 1);
	ask(2, 1, policy.lo, 4);
	ask(3, 1, policy.lo, 7);
	ask(4, 1, policy.lo, 11);
	ask(5, 1, policy.lo, 11);
	ask(6, 1, policy.lo, 18);
	ask(4, 4, policy.lo, 12);
	ask(2, 2, policy.lo, 4);
	ask(8, 8, policy.lo, 32);
	ask(16, 16, policy.lo, 32);
	ask(17, 1, policy.lo, 28);
	ask(1, 64, policy.lo, 64);
}

static void test_moves(void)
{
	bool seen[ARENA] = {false};

	arena_begin("#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.#.");
	policy.cursor = policy.lo;
	for (unsigned i = 0; i < 16; i++) {
		pfn_t cursor = policy.cursor, p = my_next(&policy, 1, 1, 0);
		expect(p >= policy.lo && p < policy.hi && frame_is_free(p), "call %u returned %#lx, which is no FREE frame in [%#lx, %#lx)",
		       i + 1, p, policy.lo, policy.hi);
		expect(!seen[p - policy.lo], "call %u returned %#lx, as an earlier one, though others of the 16 FREE frames have not been "
		       "named yet\n(the cursor was at %#lx before the call, and is at %#lx after it)", i + 1, p, cursor, policy.cursor);
		seen[p - policy.lo] = true;
	}
}

static void test_around(void)
{
	arena_begin("..####....##########........####");
	ask(1, 1, policy.lo + 29, 0);
	ask(8, 1, policy.lo + 29, 20);
	ask(4, 1, policy.lo + 10, 20);
	ask(4, 1, policy.lo + 28, 6);
	ask(8, 1, policy.lo + 23, 20); /* begins before the cursor, ends behind it */
	ask(4, 1, policy.lo + 8, 20);
	ask(8, 4, policy.hi, 20);
	ask(8, 4, policy.hi - 1, 20);
}

static void test_none(void)
{
	arena_begin(".###############################");
	ask(2, 1, policy.lo, -2);
	ask(2, 1, policy.hi, -2);
	ask(512, 1, policy.lo, -2);
	frame_get(&(struct frames){.next = frames_first.next, .lo = policy.lo, .hi = policy.lo + 1, .cursor = policy.lo}, 1, 1, 0, 0);
	ask(1, 1, policy.lo, -2);
	ask(1, 1, policy.lo + 7, -2);
	policy.hi = policy.lo;
	ask(1, 1, policy.lo, -2);
	/* A run that would go on behind hi isn't one. */
	policy.hi = arena + 16;
	frame_put(arena + 12, 8);
	ask(5, 1, policy.lo, -2);
	ask(4, 1, policy.lo, 12);
}

/* ---- Claiming ---- */

static void check_ours(pfn_t p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t state = frame_record(p + i)->state;
		expect(fh_type(state) == FH_DATA && fh_owner(state) == env_self(),
		       "get(%lu) returned %#lx, but frame %#lx is %s of env %#lx; it should be DATA of env %#lx", n, p, p + i,
		       frame_type_name(fh_type(state)), fh_owner(state), env_self());
	}
}

static struct frames first; /* a policy that is right, whatever my_next does */

static void test_get(void)
{
	static const size_t sizes[] = {1, 2, 64, 65, 200, 512};

	first = frames_first;
	uint64_t before = (uint64_t)frame_owned(0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];
		pfn_t p = my_get(&first, n, 16);
		expect(p != 0, "get(n %lu, align 16) returned 0, but there are %lu frames free", n, frame_count_free());
		check_ours(p, n);
		uint64_t owned = (uint64_t)frame_owned(0);
		expect(owned == before + n, "after get(%lu) this env owns %ld frames more", n, (int64_t)(owned - before));
		expect_result(my_put(p, n), 0, "put(%#lx, %lu)", p, n);
		owned = (uint64_t)frame_owned(0);
		expect(owned == before, "after get(%lu) and put(%lu) this env owns %ld frames more than before", n, n,
		       (int64_t)(owned - before));
	}
	int r = my_put(fh_name_pfn(info->root_env), 1);
	expect(r == -FH_EPERM, "put of a frame that isn't ours returned %s, should return -EPERM", result_text(r));
}

/* A policy that names, `late` times, a run that somebody else has taken a part of; then a good one. */
static unsigned late, asked;
static pfn_t taken;
static pfn_t next_late(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	asked++;
	if (late) {
		late--;
		return taken;
	}
	(void)f;
	return first.next(&first, n, align, hint);
}

static void test_races(void)
{
	struct frames racy = {.name = "late", .next = next_late};

	arena_begin("............#...................");
	first = frames_first;
	taken = arena + 4; /* 8 frames FREE, then one that isn't */
	uint64_t before = (uint64_t)frame_owned(0);
	late = 3;
	pfn_t p = my_get(&racy, 16, 1);
	expect(p != 0, "the policy's first three answers were taken by others, the fourth was good: get returned 0");
	expect(p != taken, "get returned the run at %#lx, though its frame %#lx belongs to somebody else", p, taken + 8);
	check_ours(p, 16);
	uint64_t owned = (uint64_t)frame_owned(0);
	expect(owned == before + 16, "get(16) got a run at the fourth try, but now this env owns %ld frames more, not 16: what was claimed\n"
	       "of the runs before (8 of 16 frames were FREE) is kept", (int64_t)(owned - before));
	for (unsigned i = 0; i < 8; i++)
		expect(frame_is_free(taken + i), "frame %#lx, of a run that get could not have, isn't FREE again", taken + i);
}

static void test_gives_up(void)
{
	struct frames racy = {.name = "late", .next = next_late};

	arena_begin("............#...................");
	first = frames_first;
	taken = arena + 12;
	uint64_t before = (uint64_t)frame_owned(0);
	late = 100 * MY_TRIES;
	asked = 0;
	pfn_t p = my_get(&racy, 1, 1);
	expect(p == 0, "each frame that the policy names is taken: get returned %#lx", p);
	expect(asked >= MY_TRIES / 2 && asked <= 2 * MY_TRIES, "get asked the policy %u times before it gave up, MY_TRIES is %u", asked,
	       MY_TRIES);
	late = asked = 0;
	/* Quota for 20 more. */
	uint64_t account = env_view()->account;
	sys_env_ctl(0, FH_ENV_QUOTA, (uint64_t)-(int64_t)(fh_quota(account) - fh_owned(account) - 20), 0);
	p = my_get(&racy, 64, 1);
	expect(p == 0, "there is quota for 20 frames: get(64) returned %#lx", p);
	expect(asked < 3, "get asked for %u runs when the quota was used up: another run doesn't help", asked);
	expect((uint64_t)frame_owned(0) == before, "get(64) failed for want of quota, and keeps %ld frames",
	       (int64_t)((uint64_t)frame_owned(0) - before));
	expect((p = my_get(&racy, 20, 1)) != 0, "there is quota for 20 frames: get(20) returned 0");
}

static const struct lab_test tests[] = {
    {10, "census counts the frames of each type", test_census},
    {10, "census_of counts the frames of an env", test_census_of},
    {5, "next finds the only FREE frame", test_one},
    {20, "next finds runs, aligned, of which every frame is FREE", test_runs},
    {10, "next moves on: each FREE frame is named once before any is named again", test_moves},
    {10, "next goes all around memory", test_around},
    {10, "next returns 0 when there is no such run, and stays inside [lo, hi)", test_none},
    {10, "get claims runs of 1 to 512 frames, put frees them", test_get},
    {10, "get tries again when a race is lost, and keeps nothing of a run that it can't have as a whole", test_races},
    {5, "get gives up in time", test_gives_up},
};
const struct lab lab = {.title = "Lab 1: frames", .tests = tests, .ntests = sizeof(tests) / sizeof(tests[0])};
