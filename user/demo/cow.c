/* cow.c - copy-on-write: fork into a child env, and a second space. */
#include "demo.h"

#define PAGES 64ul

static char *page;          /* in a mapping: copy-on-write */
static volatile int shared; /* a global: shared by the spaces of one env */

/* In the second space. */
static void other(void *arg)
{
	(void)arg;
	shared = page[0];
	page[0] = 'B';
}

static int second_space(void)
{
	struct space *space = meta_alloc(sizeof(*space));
	int bad = 0, r = space_fork(space, space_current());

	if (r < 0)
		return check(false, "space_fork: %s", error_name(r));
	page[0] = 'A'; /* ours from now on */
	struct thread *t = thread_new(other, NULL, space);
	if (!t)
		return check(false, "thread_new");
	thread_join(t);
	bad += check(shared == 'P', "a thread in the second space saw the byte from before: '%c'", shared);
	bad += check(page[0] == 'A', "its own write stayed there; here the byte is '%c'", page[0]);
	r = space_free(space);
	meta_free(space, sizeof(*space));
	return bad + check(r == 0, "the second space is freed");
}

int demo_cow(void)
{
	int bad = 0;
	struct env *child;

	page = (char *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	memset(page, 'P', PAGES * FH_PAGE);
	int r = env_fork(&child);
	if (r < 0)
		return check(false, "env_fork: %s", error_name(r));
	if (r == 0) {
		bool same = page[0] == 'P' && page[FH_PAGE] == 'P';
		page[0] = 'C';
		uint64_t frames = frames_now(), faults = faults_now();
		for (size_t i = 1; i < PAGES; i++)
			page[i * FH_PAGE] = 'C';
		printf("  child %#lx: wrote %lu pages: %lu faults, %lu frames copied\n", env_self(), PAGES - 1,
		       faults_now() - faults, frames_now() - frames);
		exit(same && page[1] == 'P' ? 7 : 1);
	}
	printf("  parent %#lx: forked %#lx with %lu frames for a copy of %lu mapped pages\n", env_self(), child->pfn,
	       frame_owned(child->pfn), PAGES);
	bad += check(env_wait(child) == ENV_EXITED && env_status(child) == 7, "the child had our bytes and changed its own");
	bad += check(page[0] == 'P' && page[FH_PAGE] == 'P', "ours are as they were");
	uint64_t owned = frame_owned(child->pfn), freed = 0;
	r = env_reap(&child, &freed);
	bad += check(r == 0 && freed == owned + 1, "the child is reaped: %lu frames and its ENV frame are back", owned);
	uint64_t frames = frames_now();
	page[0] = 'P';
	bad += check(frames_now() == frames, "writing now takes no frame: the last user gets W back");
	bad += second_space();
	mm_unmap((va_t)page, PAGES * FH_PAGE);
	return bad;
}
