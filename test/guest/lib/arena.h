/*
 * arena.h - a run of FREE frames that several envs fight for, kept clear of the kit's own frames.
 */
#pragma once

#include "kit.h"

/* The last run of n FREE frames. From now on the kit takes its own from below it. */
pfn_t arena_find(uint64_t n);
/* The second part alone: for a forked child, whose policies are set up anew. */
void arena_keep_below(pfn_t arena);
