/* helper.c - lets a thread of its own do the work, while nobody counts. */
#include "cheat.h"

static volatile bool wanted;

static void work(void *arg)
{
	(void)arg;
	for (;;) {
		while (!wanted)
			thread_sleep(1);
		wanted = false;
	}
}

static void *helper_alloc(struct allocator *a, size_t n, size_t align)
{
	static struct thread *helper;

	(void)a;
	if (!helper)
		helper = thread_new(work, NULL, NULL);
	wanted = true;
	return plain_alloc(n, align);
}
CHEAT(helper);
