/*
 * region.h - who answers a page fault at which address. A space has any number of regions, ordered, without overlap;
 * a collision is refused with -EEXIST in both directions.
 *
 * A region reserves [lo, hi) and is accessible in [base, end), lo <= base <= end <= hi: a stack reserves the room it may
 * grow into, the heap the room brk may move in. For all others the two ranges are the same.
 *
 * A region's rights are those its pages get when they are touched, and of most of its pages. Single pages may have
 * others: mm_protect writes those into the page-table entries and leaves the region whole (space.h, pte_promise).
 *
 * Callers hold the space's lock. A pointer to a region is good until the region is cut or merged into a neighbour.
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

enum region_grow {
	REGION_FIXED,
	REGION_GROW_UP,   /* on faults, page by page within [lo, hi) */
	REGION_GROW_DOWN,
	REGION_GROW_OPEN, /* downward, past lo into addresses that nobody has: its own fault function decides, and moves lo */
};

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
	bool charged;        /* its accessible pages are counted as promised (commit.h) */
	uint16_t guard;      /* of one that grows: pages next to its limit that it never takes; REGION_GROW_OPEN: pages below
	                      * it where no mapping is put that has a choice */
	struct region *next; /* unused ones */
};

/* Fault functions of the kit. */
region_fault fault_zero;  /* demand-zero; copy-on-write of what a fork left read-only */
region_fault fault_guard; /* whatever touches it is killed */

/* Add a copy of *r. lo and hi 0 mean base and end. Merges with a neighbour of the same kind. Returns 0, -EEXIST
 * (overlap), -EINVAL (unaligned, empty, not a user address), -ENOMEM. */
int region_add(struct space *, const struct region *);
/* The region whose [lo, hi) holds va, or NULL. */
struct region *region_find(struct space *, va_t va);
/* The first region that ends after va (it may hold it), or NULL. The one after r: region_after(s, r->hi). */
struct region *region_after(struct space *, va_t va);
/* The last region that ends at va or before, or NULL. */
struct region *region_before(struct space *, va_t va);
/* Does any region touch [lo, hi)? */
bool region_busy(struct space *, va_t lo, va_t hi);
/* None does, nor does it reach into what a REGION_GROW_OPEN above keeps free. */
bool region_free(struct space *, va_t lo, va_t hi);
/* Pages in [lo, hi) that are counted as promised. */
uint64_t region_charged(struct space *, va_t lo, va_t hi);
/* Count [lo, hi), which r covers, as promised: cut off from r if that is more. NULL: no memory. */
struct region *region_charge(struct space *, struct region *r, va_t lo, va_t hi);
/* Take [lo, hi) out of all regions: removes, shortens, splits. Pages are not touched. 0, -ENOMEM. */
int region_cut(struct space *, va_t lo, va_t hi);
/* Is all of [lo, hi) accessible in regions? 0; -ENOMEM: not all (POSIX); -EINVAL: some of it is the kit's. */
int region_covers(struct space *, va_t lo, va_t hi);
/* Rights of the page at va in region r: those its entry says it has or will have, else the region's. */
unsigned region_page_rights(struct space *, const struct region *r, va_t va);
/* New rights for [lo, hi), which region r covers: r's own if that is all of it; a region cut off from it if that is 2
 * MiB or more; else r stays as it is, and the pages have to say it. The region that now covers it, NULL: no memory. */
struct region *region_protect(struct space *, struct region *r, va_t lo, va_t hi, unsigned rights);
/* Highest free [va, va + bytes) in [lo, hi), va aligned; 0: none. */
va_t region_gap(struct space *, va_t lo, va_t hi, uint64_t bytes, uint64_t align);
/* The lowest one. */
va_t region_gap_up(struct space *, va_t lo, va_t hi, uint64_t bytes, uint64_t align);
/* Copy the list of one space to another (whose list is empty). */
int region_copy(struct space *to, const struct space *from);
void region_clear(struct space *);

/* fault.c: the handler of vector 14. True: the instruction may be retried. */
bool fault_page(struct fh_context *);
/* Say in words why a fault at `address` had no answer: which region it hit, or what lies next to it. */
void fault_explain(va_t address, uint64_t error);
/* Give the page at va its own writable frame: regain W if the frame has no other user, else copy. Lock held. */
int fault_unshare(struct space *, va_t va, pte_t old, unsigned rights);
