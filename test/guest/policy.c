/*
 * policy.c - which frame next? Each of the kit's policies does what its name says, a student's own is one function, and
 * one that knows nothing, lies or is late costs nothing but an error.
 */
#include <string.h>

#include "tap.h"

#define RW (RIGHT_R | RIGHT_W)
#define N 96u

/* The policy under test. It is asked with the space locked, in handlers too: its state must not fault, so it lies among the
 * globals, not on a stack that a fork has made copy-on-write. */
static struct frames f;

static char *page(char *p, size_t i) { return p + i * FH_PAGE; }

/* N pages of this policy, touched one by one; the frames they got. False: no memory. */
static char *fill(struct frames *policy, pfn_t *frames)
{
	struct frames *before = space_current()->frames;
	int64_t r = mm_map(0, N * FH_PAGE, RW, 0);
	char *p = mm_failed(r) ? NULL : (char *)r;

	if (!p)
		panic("no addresses");
	memset(page(p, 0), 0, 1);
	memset(page(p, N - 1), 0, 1); /* with other frames: from here on the tables are there */
	mm_unmap((va_t)page(p, N - 1), FH_PAGE);
	mm_map((va_t)page(p, N - 1), FH_PAGE, RW, MM_FIXED);
	mm_unmap((va_t)p, FH_PAGE);
	mm_map((va_t)p, FH_PAGE, RW, MM_FIXED);
	space_current()->frames = policy;
	for (size_t i = 0; i < N; i++) {
		*(volatile char *)page(p, i) = (char)i;
		frames[i] = frame_at(page(p, i));
	}
	space_current()->frames = before;
	return p;
}

static void drop(char *p) { mm_unmap((va_t)p, N * FH_PAGE); }

static void check_first(void)
{
	f = frames_first;
	f.cursor = f.lo; /* the kit's own begins anywhere, at the end of memory too */
	pfn_t got[N], want = f.cursor;
	unsigned wrong = 0;
	char *p;

	p = fill(&f, got);
	for (size_t i = 0; i < N; i++) {
		wrong += got[i] < want;
		for (; want < got[i]; want++)
			wrong += frame_is_free(want);
		want = got[i] + 1;
	}
	is(wrong, 0, "first: frames are taken in order, none that was FREE is left out");
	drop(p);
	f.cursor = got[0];
	p = fill(&f, got);
	is(frame_at(p) == got[0] && f.cursor > got[N - 1], 1, "and its cursor is where it goes on");
	drop(p);

	f.lo = f.cursor = f.hi - 1;
	while (!frame_is_free(f.lo))
		f.lo--;
	f.cursor = f.hi;
	is((int64_t)f.next(&f, 1, 1, 0), (int64_t)f.lo, "at the end of its range it begins again");
	f.cursor = f.hi = f.lo;
	is((int64_t)f.next(&f, 1, 1, 0), 0, "an empty range has none");

	f = frames_first;
	pfn_t run = f.next(&f, 100, 64, 0);
	for (size_t i = 0; i < 100; i++)
		wrong += !frame_is_free(run + i);
	ok(run && run % 64 == 0 && wrong == 0, "a run of 100, aligned to 64, is one: all FREE, at %#lx", run);
}

static void check_quiet(void)
{
	pfn_t got[N];
	unsigned loud = 0, skipped = 0;

	f = frames_first;
	f.cursor = f.lo;
	drop(fill(&f, got)); /* these were mapped a moment ago: some CPU may know them still */
	f = frames_quiet;
	f.cursor = f.lo = got[0];
	for (unsigned i = 0; i < N; i++) {
		pfn_t p = f.next(&f, 1, 1, 0);
		uint64_t stamp = frame_record(p)->stamp & FH_STAMP_MASK, epoch = frame_epoch();
		loud += stamp >= epoch || !frame_is_free(p);
	}
	for (unsigned i = 0; i < N; i++)
		skipped += !frame_is_quiet(got[i]);
	is(loud, 0, "quiet: the stamp of each frame is below every CPU's epoch");
	note("%u of the %u frames freed just before were not quiet", skipped, N);
	f.cursor = got[0];
	pfn_t run = f.next(&f, 64, 1, 0);
	for (unsigned i = 0; i < 64; i++)
		loud += !frame_is_quiet(run + i);
	is(loud, 0, "a run of 64 is quiet as a whole");
	f = (struct frames){.next = f.next, .lo = got[N - 1], .hi = got[N - 1] + 1, .cursor = got[N - 1]};
	is((int64_t)f.next(&f, 1, 1, 0), (int64_t)got[N - 1], "where nothing is quiet, a frame that isn't is better than none");
	f = frames_quiet;
	drop(fill(&f, got));
}

static void check_colour(void)
{
	static const uint64_t colours[] = {1, 16, 64, 256};
	pfn_t got[N];

	for (unsigned k = 0; k < 4; k++) {
		f = frames_colour;
		unsigned wrong = 0;
		f.colours = colours[k];
		char *p = fill(&f, got);
		for (size_t i = 0; i < N; i++)
			wrong += (got[i] ^ (va_t)page(p, i) / FH_PAGE) & (f.colours - 1) ? 1 : 0;
		is(wrong, 0, "coloured: each page's frame has the page's colour, of %lu", f.colours);
		drop(p);
	}
	f = frames_colour;
	while (!frame_is_free(f.lo))
		f.lo++;
	f.cursor = f.lo;
	f.hi = f.lo + 1;
	is((int64_t)f.next(&f, 1, 1, f.lo + 1), (int64_t)f.lo, "a frame of another colour is better than none");
}

static void check_large(void)
{
	f = frames_large;
	unsigned blocks = 0, wrong = 0;
	pfn_t last = 0;

	for (pfn_t p; blocks < 8 && (p = f.next(&f, FH_LARGE_FRAMES, 1, 0)) != 0; blocks++) {
		wrong += p % FH_LARGE_FRAMES != 0 || p == last;
		for (unsigned i = 0; i < FH_LARGE_FRAMES; i++)
			wrong += !frame_is_free(p + i);
		last = p;
	}
	ok(blocks == 8 && wrong == 0, "large: %u blocks, each aligned to 2 MiB and all FREE", blocks);
	pfn_t block = frame_get(&f, FH_LARGE_FRAMES, FH_LARGE_FRAMES, 0, 0);
	ok(block % FH_LARGE_FRAMES == 0 && frame_record(block)->state && !frame_is_free(block + 511), "one can be had as a whole");
	f.cursor = f.lo = block;
	f.hi = block + 2 * FH_LARGE_FRAMES - 1;
	is((int64_t)f.next(&f, 1, 1, 0), 0, "where no whole block is FREE, there is none");
	if (block)
		frame_put(block, FH_LARGE_FRAMES);
	is((int64_t)f.next(&f, 1, 1, 0), (int64_t)block, "given back, it is the next one");
}

static void check_random(void)
{
	f = frames_random;
	pfn_t a[N], b[N], lowest = ~0ul, highest = 0;
	unsigned same = 0, steps = 0;

	drop(fill(&f, a));
	drop(fill(&f, b));
	for (unsigned i = 0; i < N; i++) {
		lowest = a[i] < lowest ? a[i] : lowest;
		highest = a[i] > highest ? a[i] : highest;
		same += a[i] == b[i];
		steps += i && a[i] == a[i - 1] + 1;
	}
	ok(highest - lowest > (f.hi - f.lo) / 2, "random: %u frames lie %lu apart, of %lu", N, highest - lowest, f.hi - f.lo);
	ok(steps < N / 4, "%u of them are the next one of the one before", steps);
	ok(same < N / 4, "the second time %u of them are the same", same);
}

/* ---- Policies of one's own ---- */

static struct {
	unsigned calls, hints;
	va_t base; /* hints within N pages of it are counted */
} seen;

/* From the top down, even frames only. */
static pfn_t next_down(struct frames *policy, size_t n, size_t align, uint64_t hint)
{
	seen.calls++;
	seen.hints += hint - seen.base / FH_PAGE < N;
	if (n != 1 || align != 1)
		return frames_first.next(&frames_first, n, align, hint);
	while (policy->cursor > policy->lo)
		if (frame_is_free(--policy->cursor) && policy->cursor % 2 == 0)
			return policy->cursor;
	return 0;
}

static pfn_t next_none(struct frames *policy, size_t n, size_t align, uint64_t hint)
{
	(void)policy, (void)n, (void)align, (void)hint;
	return 0;
}

static struct frames down = {.name = "down", .next = next_down}, none = {.name = "none", .next = next_none};

/* Every other answer is somebody's frame already: a race that is lost. */
static pfn_t next_late(struct frames *policy, size_t n, size_t align, uint64_t hint)
{
	return policy->colours++ % 2 ? frames_first.next(&frames_first, n, align, hint) : fh_name_pfn(info->root_env);
}

static pfn_t next_beyond(struct frames *policy, size_t n, size_t align, uint64_t hint)
{
	(void)policy, (void)n, (void)align, (void)hint;
	return info->nframes + 5;
}

static struct frames late = {.name = "late", .next = next_late}, beyond = {.name = "beyond", .next = next_beyond};

static void check_own(void)
{
	pfn_t got[N];
	unsigned wrong = 0;
	char *p = fill(&frames_first, got);

	drop(p);
	down.lo = info->first_user;
	down.cursor = down.hi = info->nframes;
	seen.base = (va_t)p; /* the next mapping goes there again */
	p = fill(&down, got);
	for (unsigned i = 0; i < N; i++)
		wrong += got[i] % 2 != 0 || (i && got[i] >= got[i - 1]);
	is(wrong, 0, "one's own: even frames from the top down, as its function says");
	ok(seen.calls >= N && ((va_t)p != seen.base || seen.hints >= N), "asked %u times, told the page %u times", seen.calls,
	   seen.hints);
	drop(p);
}

static void check_bad(void)
{
	struct space *s = space_current();
	pfn_t got[N];
	space_trim(s, layout_mmap.lo, layout_stack.lo);
	uint64_t before = frames_owned();
	for (unsigned i = 0; i < 2; i++) {
		struct frames *bad = i ? &beyond : &none;
		s->frames = bad;
		int64_t r = mm_map(0, N * FH_PAGE, RW, MM_EAGER);
		pfn_t one = frame_get(bad, 1, 1, 0, 0);
		s->frames = &frames_first;
		ok(mm_failed(r), "a policy that %s: an eager mapping fails: %s", i ? "names frames beyond the table" : "knows no frame",
		   error_name((int)r));
		is((int64_t)one, 0, "frame_get has none");
		space_trim(s, layout_mmap.lo, layout_stack.lo);
		is((int64_t)frames_owned(), (int64_t)before, "nothing is kept");
	}
	drop(fill(&late, got));
	pfn_t one = frame_get(&late, 1, 1, 0, 0), two = frame_get(&late, 1, 1, 0, 0);
	ok(one && two && one != two, "a policy that is late every other time is asked again");
	frame_put(one, 1);
	frame_put(two, 1);
}

/* Whatever the policy: the memory is good, a fork works, and everything comes back. */
static void check_use(void)
{
	struct frames *all[] = {&frames_first, &frames_quiet, &frames_colour, &frames_random, &down};
	struct space *s = space_current();

	for (unsigned k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
		struct env *child;
		unsigned wrong = 0;
		s->frames = all[k];
		uint64_t *p = (uint64_t *)mm_map(0, N * FH_PAGE, RW, k % 2 ? MM_EAGER : 0);
		for (size_t i = 0; i < N * 512; i++)
			wrong += p[i] != 0;
		for (size_t i = 0; i < N * 512; i += 64)
			p[i] = i * k;
		int r = env_fork(&child);
		if (r == 0) {
			for (size_t i = 0; i < N * 512; i += 64) {
				wrong += p[i] != i * k;
				p[i] = 1;
			}
			exit(wrong ? 1 : 7);
		}
		ok(r > 0 && env_wait(child) == ENV_EXITED && env_status(child) == 7, "%s: a fork's child has copies", all[k]->name);
		if (r > 0)
			wrong += env_reap(&child, NULL) != 0;
		for (size_t i = 0; i < N * 512; i += 64)
			wrong += p[i] != i * k;
		is(wrong, 0, "%s: pages begin as zeroes and keep what is written", all[k]->name);
		mm_unmap((va_t)p, N * FH_PAGE);
		s->frames = &frames_first;
	}
}

int main(void)
{
	tap_begin();
	check_first();
	check_quiet();
	check_colour();
	check_large();
	check_random();
	check_own();
	check_bad();
	check_use();
	return tap_end();
}
