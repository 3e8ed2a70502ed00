/* SPDX-License-Identifier: MIT */
/*
 * region.h - who answers a page fault at which address. A space has any number of regions, ordered, without overlap;
 * a collision is refused with -EEXIST in both directions.
 *
 * A region reserves [lo, hi) and is accessible in [base, end), lo <= base <= end <= hi: a stack reserves the room it may
 * grow into, the heap the room brk may move in. For all others the two ranges are the same.
 *
 * Callers hold the space's lock. Pointers to regions are good until the next region_ call that adds or cuts.
 */
#pragma once

#include "space.h"

struct fault {
	va_t address;            /* byte that was touched */
	uint64_t error;          /* page-fault error code: FAULT_* (SDM vol. 3A, 4.7) */
	struct fh_context *context;
	struct space *space;     /* locked */
};
#define FAULT_PRESENT 1u
#define FAULT_WRITE 2u
#define FAULT_FETCH 16u

enum answer {
	FAULT_DONE, /* retry the instruction */
	FAULT_NEXT, /* not mine: the default report, and the end of the program */
	FAULT_KILL, /* the same, but the region knows that this address is forbidden */
};

struct region;
typedef enum answer region_fault(struct region *, struct fault *);

enum region_grow { REGION_FIXED, REGION_GROW_UP, REGION_GROW_DOWN }; /* on faults, page by page within [lo, hi) */

/* What a fork does with a region: copy on write; share the frames; copy now (env_fork) or share (space_fork); nothing,
 * the kit looks after it. */
enum region_fork { REGION_COW, REGION_SHARE, REGION_COPY, REGION_SKIP };

struct region {
	va_t lo, hi, base, end;
	region_fault *fault; /* called with the space's lock held, in the upcall handler; must not block or use malloc */
	void *arg;           /* the fault function's own */
	const char *name;    /* as maps prints it, "" for none; kept by reference */
	uint8_t rights;      /* RIGHT_R|W|X, RIGHT_LARGE: demand-zero by 2 MiB pages where they fit */
	uint8_t grow, fork;
};

/* Fault functions of the kit. */
region_fault fault_zero;  /* demand-zero; copy-on-write of what a fork left read-only */
region_fault fault_guard; /* whatever touches it is killed */

/* Add a copy of *r. lo and hi 0 mean base and end. Merges with a neighbour of the same kind. Returns 0, -EEXIST
 * (overlap), -EINVAL (unaligned, empty, not a user address), -ENOMEM. */
int region_add(struct space *, const struct region *);
/* The region whose [lo, hi) holds va, or NULL. */
struct region *region_find(struct space *, va_t va);
/* The first region that ends after va (it may hold it), or NULL. */
struct region *region_after(struct space *, va_t va);
/* Does any region touch [lo, hi)? */
bool region_busy(struct space *, va_t lo, va_t hi);
/* Take [lo, hi) out of all regions: removes, shortens, splits. Pages are not touched. 0, -ENOMEM. */
int region_cut(struct space *, va_t lo, va_t hi);
/* Set the rights of [lo, hi), splitting at the ends. -ENOMEM also if some of it is in no region (POSIX). */
int region_protect(struct space *, va_t lo, va_t hi, unsigned rights);
/* Highest free [va, va + bytes) in [lo, hi), va aligned; 0: none. */
va_t region_gap(struct space *, va_t lo, va_t hi, uint64_t bytes, uint64_t align);
/* Copy the list of one space to another (whose list is empty). */
int region_copy(struct space *to, const struct space *from);
void region_clear(struct space *);

/* fault.c: the handler of vector 14. True: the instruction may be retried. */
bool fault_page(struct fh_context *);
/* Give the page at va its own writable frame: regain W if the frame has no other user, else copy. Lock held. */
int fault_unshare(struct space *, va_t va, pte_t old, unsigned rights);
