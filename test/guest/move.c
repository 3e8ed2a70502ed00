/* move.c - pages that move, and pages that are seen twice: space_move, space_alias, space_hold, as source.h hands them out. */
#include <errno.h>
#include <string.h>

#include "cpus.h"
#include "tap.h"
#include "touch.h"

#define PAGES(n) ((n) * FH_PAGE)
#define LARGE PLAN_LARGE

static char *reserve(size_t bytes, size_t align)
{
	char *p = source_reserve(bytes, align);

	if (!p)
		panic("no addresses");
	return p;
}

/* Each page says which one it is. */
static void mark(char *p, size_t pages, unsigned first)
{
	for (size_t i = 0; i < pages; i++)
		memset(p + PAGES(i), (int)(first + i) & 127, FH_PAGE);
}

static bool marked(const char *p, size_t pages, unsigned first)
{
	for (size_t i = 0; i < pages; i++)
		for (size_t k = 0; k < FH_PAGE; k += 511)
			if (p[PAGES(i) + k] != (char)((first + i) & 127))
				return false;
	return true;
}

static uint64_t present(const char *p, size_t bytes) { return space_count(space_current(), (va_t)p, bytes / FH_PAGE); }

static pfn_t frame_of(const char *p)
{
	pte_t e = space_get(space_current(), page_down((va_t)p));
	return !(e & FH_P) ? 0 : fh_pte_pfn(e) + (e & FH_PS ? (va_t)p / FH_PAGE % FH_LARGE_FRAMES : 0);
}

/* `bytes` from offset `at` of one place to offset `to` of another; all frames stay what they are. */
static void check_one(size_t bytes, size_t at, size_t to, const char *what)
{
	char *a = reserve(4 * LARGE, LARGE), *b = reserve(4 * LARGE, LARGE);
	size_t n = bytes / FH_PAGE;
	static pfn_t before[2048];
	struct tally t = {0};

	if (source_commit(a + at, bytes) < 0)
		panic("no frames");
	mark(a + at, n, 3);
	for (size_t i = 0; i < n; i++)
		before[i] = frame_of(a + at + PAGES(i));
	int r = source_move(b + to, a + at, bytes);
	if (r < 0)
		count_bad(&t, "%s", error_name(r));
	if (present(a, 4 * LARGE) || present(b, 4 * LARGE) != n)
		count_bad(&t, "%lu pages are where they were, %lu of %lu at the new place", present(a, 4 * LARGE), present(b, 4 * LARGE), n);
	for (size_t i = 0; i < n && r == 0; i++)
		if (frame_of(b + to + PAGES(i)) != before[i])
			count_bad(&t, "page %lu has another frame", i);
	if (r == 0 && (!marked(b + to, n, 3) || !writes(b + to) || reads(a + at) || reads(b + to + bytes)))
		count_bad(&t, "contents or rights are wrong");
	if (r == 0 && (source_commit(a + at, bytes) < 0 || *(volatile char *)(a + at) != 0 || b[to] != 3))
		count_bad(&t, "new pages at the old place aren't zero, or are the moved ones");
	source_unmap(a, 4 * LARGE);
	source_unmap(b, 4 * LARGE);
	none_bad(&t, "%s: the same frames, the same rights, nothing left behind", what);
}

static void check_moves(void)
{
	check_one(PAGES(1), 0, 0, "a page moves");
	check_one(PAGES(7), PAGES(5), PAGES(100), "a run of pages moves");
	check_one(PAGES(100), PAGES(500), PAGES(450), "a run across two page tables, to another offset, moves");
	check_one(PAGES(256), 0, 0, "a mebibyte moves by its page table");
	check_one(PAGES(700), PAGES(100), LARGE + PAGES(100), "a run that is alike modulo 2 MiB moves");
	check_one(2 * LARGE, LARGE, 0, "two 2 MiB pages move");
	check_one(LARGE, LARGE, PAGES(8), "a 2 MiB page moves to where it doesn't fit");

	/* Both places under one page table. */
	char *p = reserve(LARGE, LARGE);
	source_commit(p, PAGES(10));
	mark(p, 10, 1);
	returns(source_move(p + PAGES(20), p, PAGES(10)), 0, "pages move within one page table");
	ok(marked(p + PAGES(20), 10, 1) && !reads(p) && present(p, LARGE) == 10, "which keeps what else is in it");
	source_unmap(p, LARGE);
}

static void check_refusals(void)
{
	char *a = reserve(2 * LARGE, LARGE), *b = reserve(2 * LARGE, LARGE);

	source_commit(a, PAGES(600));
	source_commit(b + PAGES(599), PAGES(1));
	mark(a, 600, 0);
	mark(b + PAGES(599), 1, 77);
	returns(source_move(b, a, PAGES(600)), -EEXIST, "the last of 600 pages has one in its way: nothing moves");
	ok(marked(a, 600, 0) && marked(b + PAGES(599), 1, 77) && present(a, 2 * LARGE) == 600 && present(b, 2 * LARGE) == 1 && writes(a),
	   "all is as it was");
	returns(source_discard(b, 2 * LARGE), 0, "out of the way");
	returns(source_move(b, a, PAGES(600)), 0, "now they do");
	source_unmap(a, 2 * LARGE);
	source_unmap(b, 2 * LARGE);
}

/* The next memory at an address that has moved away must not be seen through a stale translation, on any CPU. */
static volatile uint64_t reads_done;
static char *volatile stale;
static volatile bool stop;
static volatile unsigned wrong;

static void reader(void *arg)
{
	(void)arg;
	while (!stop) {
		char *p = stale;
		if (p && *(volatile char *)p != 1)
			wrong++;
		reads_done++;
	}
}

/* It has read `n` times since; false: not for a long time. */
static bool goes_on(uint64_t n)
{
	uint64_t from = reads_done;

	for (unsigned tries = 0; tries < 100000 && reads_done < from + n; tries++)
		thread_yield();
	return reads_done >= from + n;
}

static void check_stale(void)
{
	char *a = reserve(LARGE, LARGE), *b = reserve(LARGE, LARGE);
	struct tally t = {0};

	source_commit(a, PAGES(1));
	memset(a, 1, FH_PAGE);
	struct thread *r = thread_start(reader, 0);
	for (unsigned i = 0; i < 20 && t.bad == 0; i++) {
		stale = a;
		bool on = goes_on(2); /* a's translation is in its TLB */
		stale = NULL;
		on &= goes_on(2); /* now it doesn't look */
		if (!on || source_move(b, a, PAGES(1)) < 0 || source_commit(a, PAGES(1)) < 0)
			count_bad(&t, "round %u: not moved", i);
		memset(b, 2, FH_PAGE); /* what it would read by a stale one */
		memset(a, 1, FH_PAGE);
		stale = a;
		on = goes_on(2);
		stale = NULL;
		if (!on || !goes_on(2) || wrong)
			count_bad(&t, "round %u: %u stale reads", i, wrong);
		source_discard(b, PAGES(1));
	}
	stop = true;
	thread_join(r);
	none_bad(&t, "a thread, on another CPU too, never sees a frame that has moved at its old address");
	source_unmap(a, LARGE);
	source_unmap(b, LARGE);
}

/* ---- Two views of a frame ---- */

static volatile bool held_write_done;
static void write_held(void *p)
{
	*(volatile char *)p = 9;
	held_write_done = true;
}

static void check_alias(void)
{
	char *p = reserve(PAGES(4), FH_PAGE);
	volatile char *v = p; /* the compiler takes two addresses for two bytes */

	source_commit(p, PAGES(3));
	mark(p, 3, 5);
	uint64_t before = frames_owned();
	returns(source_alias(p + PAGES(2), p), 0, "a page becomes a second view of another one's frame");
	is((int64_t)(before - frames_owned()), 1, "its own frame goes");
	v[PAGES(2) + 10] = 42;
	ok(v[10] == 42 && marked(p + PAGES(1), 1, 6), "what is written to one is in the other");
	returns(source_alias(p + PAGES(2), p), 0, "twice is no error");
	returns(source_alias(p + PAGES(3), p), -EINVAL, "a page that isn't there can't become one");
	returns(source_discard(p, PAGES(1)), 0, "the first view goes");
	ok(v[PAGES(2) + 10] == 42 && writes(p + PAGES(2)), "the second still has it");

	returns(source_hold(p + PAGES(1), true), 0, "a page is held");
	ok(marked(p + PAGES(1), 1, 6), "it can be read");
	struct thread *t = thread_start(write_held, (uintptr_t)p + PAGES(1) + 20);
	thread_sleep(50);
	ok(!held_write_done && marked(p + PAGES(1), 1, 6), "who writes to it waits");
	returns(source_hold(p + PAGES(1), false), 0, "until it is let go");
	thread_join(t);
	ok(held_write_done && v[PAGES(1) + 20] == 9, "then the write is done");
	source_unmap(p, PAGES(4));
	is((int64_t)(before - frames_owned()), 3, "with the last view the frame goes, too");
}

/* After a fork frames have other users: a moved page is copied at its next write, as before. */
static void check_fork(void)
{
	char *a = reserve(LARGE, LARGE), *b = reserve(LARGE, LARGE);
	struct env *child;

	source_commit(a, PAGES(20));
	mark(a, 20, 1);
	int r = env_fork(&child);
	if (r == 0) {
		int bad = source_move(b, a, PAGES(20)) < 0 || !marked(b, 20, 1);
		mark(b, 20, 50);
		exit(bad || !marked(b, 20, 50));
	}
	if (ok(r > 0, "the program forks")) {
		returns(source_move(b, a, PAGES(20)), 0, "pages that a fork shares move");
		ok(marked(b, 20, 1), "with their contents");
		env_wait(child);
		is(env_status(child), 0, "in the child, too, which then writes to them");
		ok(marked(b, 20, 1), "of which we see nothing");
		env_reap(&child, NULL);
		mark(b, 20, 30);
		ok(marked(b, 20, 30), "and we write to ours");
	}
	source_unmap(a, LARGE);
	source_unmap(b, LARGE);
}

int main(void)
{
	tap_begin();
	touch_begin();
	check_moves();
	check_refusals();
	check_stale();
	check_alias();
	touch_end();
	check_fork();
	return tap_end();
}
