/*
 * commit.h - how much memory may be promised that is not there yet: Linux's overcommit accounting (its
 * Documentation/mm/overcommit-accounting.rst; admin-guide/sysctl/vm.rst; mm/util.c, __vm_enough_memory), as a policy that a
 * layout switches on with commit_begin. Without it everything may be mapped, and nothing is counted.
 *
 * What Linux counts for the machine each env counts for itself: its RAM is its quota, there is no swap, and nobody is admin.
 * Counted are the accessible pages of regions that are `charged`: private ones that can be written (also once mm_protect
 * has made them so; they stay counted then), shared ones, heap and stacks as far as they have grown. A fork's child begins
 * with its parent's count.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct space;

enum commit_mode { /* vm.overcommit_memory */
	COMMIT_GUESS,  /* refused is what alone is more than RAM */
	COMMIT_ALWAYS, /* nothing is refused */
	COMMIT_NEVER,  /* all that is promised stays below commit_limit, less the user reserve */
};

extern struct commit {
	bool on;
	enum commit_mode mode;
	unsigned ratio;   /* vm.overcommit_ratio: percent of RAM, 50 at first */
	uint64_t kbytes;  /* vm.overcommit_kbytes: if not 0, in place of the ratio */
	uint64_t reserve; /* vm.user_reserve_kbytes, in pages: COMMIT_NEVER keeps free this, or 1/32 of what is mapped if that is less */
	int64_t pages;    /* Committed_AS: promised now */
} commit;

/* Count what this space has, and all that comes from now on; mode COMMIT_GUESS. */
void commit_begin(struct space *);
/* CommitLimit, in pages. */
uint64_t commit_limit(void);
/* May `pages` more be promised in s? 0 (also for 0 or less of them, or if it is off) or -ENOMEM. The space's lock is held. */
int commit_may(struct space *, int64_t pages);
/* They are, or no longer (below 0). For region.c, and who moves the ends of a charged region. */
void commit_count(int64_t pages);
