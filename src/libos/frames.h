/*
 * frames.h - which frame next? The kernel has no free list: every env reads the ownership table and names the frame it
 * wants. This is the part of the kit that chooses. A policy is one function; write your own and set space.frames to it.
 *
 * What is read is a hint (records change under the reader's eyes). The kernel checks; a lost race is -EBUSY and the
 * caller asks for the next one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "abi.h"
#include "plan.h"

/*
 * A policy and its state. next() returns the first pfn of a run of n (1 to 512) FREE frames, aligned to `align` frames
 * (a power of two), or 0 when there is none at all: it searches all around memory before it says so. `hint` is what the
 * frame is for, a virtual page number or 0; only colouring looks. It must move on: called again, it does not return the
 * same run first. It runs on the fault path, under the space's lock: what it touches must be mapped and writable, so its
 * data are globals, not on a stack that a fork has write-protected.
 */
struct frames {
	const char *name;
	pfn_t (*next)(struct frames *, size_t n, size_t align, uint64_t hint);
	pfn_t cursor, lo, hi; /* where to look next; the range it stays in, [lo, hi) */
	uint64_t colours;     /* frames_colour: how many, a power of two */
	uint64_t state;       /* the policy's own; frames_random: its generator */
};

extern struct frames frames_first;  /* the first FREE run at or after the cursor, all around memory */
extern struct frames frames_quiet;  /* first a run that no CPU can hold a stale translation of: no flush is forced */
extern struct frames frames_colour; /* pfn and hint equal modulo `colours`: pages spread over a physical cache */
extern struct frames frames_large;  /* whole free 2 MiB blocks, last record tested first */
extern struct frames frames_random; /* anywhere: finds bad habits in tests */

/* Set up the policies: each cursor starts at a place hashed from the env's name, so that envs rarely collide. */
void frames_init(const struct fh_info *info);

/* The record of a frame, pfn < info.nframes. Plain loads. */
static inline const volatile struct fh_frame *frame_record(pfn_t pfn)
{
	return (const volatile struct fh_frame *)TABLE_VA + pfn;
}
static inline bool frame_is_free(pfn_t pfn) { return fh_type(frame_record(pfn)->state) == FH_FREE; }
/* Ours, and one entry alone names it. */
bool frame_sole(pfn_t pfn);
/* FREE, and every running CPU's epoch is past its stamp (DESIGN 4). */
bool frame_is_quiet(pfn_t pfn);
/* The lowest epoch of any CPU that is not idle: a frame with a lower stamp is quiet. */
uint64_t frame_epoch(void);

/* The first frame of `type` (or any, if FH_NTYPES) with owner `env` (or any, if 0) after pfn `after`; 0: none. */
pfn_t frame_find(pfn_t after, unsigned type, pfn_t env);

/* Counts over the whole table: one pass, about 3 instructions a frame. */
struct frame_counts {
	uint64_t type[FH_NTYPES];
};
void frame_count(struct frame_counts *);
uint64_t frame_count_free(void);

/* Frames this env owns now (env is a pfn; 0: me). For an env that is neither me nor a descendant: -EPERM. */
int64_t frame_owned(pfn_t env);

/*
 * Allocate one frame, or a run of n, as DATA owned by `env` (0: me), zeroed; try others while races are lost.
 * Returns the first pfn, or 0: no run of FREE frames left, or env's quota used up. Flags: FH_ALLOC_KEEP.
 */
pfn_t frame_get(struct frames *, size_t n, size_t align, pfn_t env, uint64_t flags);
/* Give n frames back that nothing refers to. 0, or the -errno of the first that could not be freed. */
int frame_put(pfn_t pfn, size_t n);
/* Allocate one frame for env and make it `type`. 0: as frame_get. */
pfn_t frame_get_typed(struct frames *, pfn_t env, unsigned type);
/* Turn a frame of another type back into DATA and free it. Waits while it isn't quiet, or a CPU still uses it; `soon`: gives
 * up early, for who will come again. 0 or -errno. */
int frame_put_typed(pfn_t pfn);
int frame_put_soon(pfn_t pfn);

/* Grant a frame to `env` (a name), or with 0 withdraw it from whom it was granted to, waiting while it isn't quiet. 0 or
 * -errno. */
int frame_grant(pfn_t pfn, uint64_t env);

const char *frame_type_name(unsigned type);
