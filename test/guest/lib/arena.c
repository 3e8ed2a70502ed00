/* arena.c - see arena.h. */
#include "arena.h"

void arena_keep_below(pfn_t arena)
{
	struct frames *const all[] = {&frames_first, &frames_quiet, &frames_colour, &frames_large, &frames_random};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		all[i]->hi = arena;
		if (all[i]->cursor >= arena)
			all[i]->cursor = all[i]->lo;
	}
}

pfn_t arena_find(uint64_t n)
{
	pfn_t f = info->nframes;

	for (uint64_t run = 0; run < n;)
		run = frame_is_free(--f) ? run + 1 : 0;
	arena_keep_below(f);
	return f;
}
