/* reap.c - a child dies holding everything: all of it comes back, and its neighbour lives on. */
#include "demo.h"

#define PAGES 32u

enum { VICTIM, WITNESS };

static void spin(void *arg)
{
	(void)arg;
	for (;;)
		cpu_pause();
}

/* Whatever an env can hold. It never ends by itself. */
static int victim(void)
{
	va_t pages = (va_t)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	static struct space second;
	struct env *child;
	struct window w;

	if (!exchange(&w, pages, 1, RIGHT_R | RIGHT_W, WITNESS) || page_give(pages + FH_PAGE, sibling[WITNESS].env) < 0)
		return 1;
	frame_get(space_current()->frames, 10, 1, 0, 0); /* mapped nowhere */
	for (unsigned i = 0; i < 2; i++) {
		if (env_fork(&child) == 0) {
			thread_new(spin, NULL, NULL);
			if (i)
				spin(NULL);
			thread_sleep(1000000);
		}
	}
	space_fork(&second, space_current());
	for (unsigned i = 0; i < 3; i++)
		thread_new(spin, NULL, NULL);
	sibling_ready(VICTIM);
	spin(NULL);
	return 0;
}

static int witness(void)
{
	char *page = (char *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	struct window w;

	page[0] = 'w';
	volatile char *theirs = exchange(&w, (va_t)page, 1, RIGHT_R | RIGHT_W, VICTIM);
	if (!theirs || !try_write(theirs, 'x'))
		return 1;
	sibling_ready(WITNESS);
	ring_wait();
	int byte = try_read(theirs), bad = check(byte == -1, "the window that it had granted is gone: fault at %#lx", missed.address);
	bad += check(page[0] == 'w' && !(frame_record(w.table)->link >> 16), "what it had been granted is its owner's alone again");
	return bad + (window_unlink((va_t)theirs) < 0) + (window_free(&w) < 0);
}

static int run(unsigned i) { return i == VICTIM ? victim() : witness(); }

/* Frames that are FREE, or hold the kit's own records, which are kept. */
static uint64_t books(void)
{
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	return frame_count_free() + (meta_end() - META_VA) / FH_PAGE;
}

static void count(pfn_t top, unsigned n[FH_NTYPES])
{
	for (pfn_t p = frame_find(0, FH_NTYPES, 0); p; p = frame_find(p, FH_NTYPES, 0)) {
		uint64_t state = frame_record(p)->state;
		if (fh_type(state) != FH_FREE && env_below(fh_owner(state), top))
			n[fh_type(state)]++;
	}
}

int demo_reap(void)
{
	unsigned n[FH_NTYPES] = {0};
	uint64_t before = books(), freed = 0;
	int bad = 0;

	if (!siblings_start(2, run))
		return 1;
	siblings_go();
	sibling_await(VICTIM);
	sibling_await(WITNESS);
	count(sibling_env(VICTIM)->pfn, n);
	printf("  child 0 has %u DATA frames, %u page tables, %u threads, %u envs below it\n", n[FH_DATA],
	       n[FH_PT1] + n[FH_PT2] + n[FH_PT3] + n[FH_PT4], n[FH_THREAD], n[FH_ENV]);
	bad += sibling_reap(VICTIM, &freed);
	printf("  it is dead: %lu frames\n", freed);
	ring(WITNESS);
	bad += siblings_end();
	uint64_t after = books();
	return bad + check(after == before, "frames free before: %lu, and after: %lu", before, after);
}
