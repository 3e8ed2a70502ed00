/*
 * space.h - address spaces: a PT4, the tables under it, and functions that fill it in units of pages.
 *
 * Tables of the space a thread runs on are read through its recursive window: no crossing. Tables of another space (a
 * child's, a second space of this env) are read by mapping them, read-only, into scratch pages ("peeking").
 *
 * Concurrency: functions here keep no state between calls except in the tables, which the kernel changes atomically.
 * Two threads may fill different pages of a space at once. Who decides what belongs where (mm.c, fault.c) holds the
 * space's lock. The table walk of a foreign space is for one thread at a time.
 *
 * Sizes are pages of 4 KiB, addresses are page-aligned, functions return 0 or -errno unless said otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "batch.h"
#include "frames.h"
#include "machine.h"
#include "plan.h"
#include "sync.h"

/* Rights of a mapping. */
#define RIGHT_R 1u
#define RIGHT_W 2u
#define RIGHT_X 4u
#define RIGHT_LARGE 8u /* in space_map and space_fill: use 2 MiB entries where alignment, length and frames allow */

struct region;

struct space {
	pfn_t root;             /* its PT4 */
	pfn_t env;              /* who owns its tables; 0: this env */
	struct frames *frames;  /* where its frames come from */
	struct lock lock;       /* regions, and decisions about what is mapped */
	struct region **regions; /* sorted by address, the highest first; region.c */
	unsigned nregions, capacity;
	struct region *last, *unused; /* last: what the latest search found, or NULL */
	bool shared;            /* was forked: frames may have references from elsewhere */
	uint64_t faults;        /* page faults answered in it */
	uint64_t tables;        /* page tables made for it */
	struct {                /* foreign spaces: tables mapped for reading, by level 1-4 */
		pfn_t pfn;
		va_t va;
	} peek[5];
};

extern struct space space_main; /* the space this program started in */

/* The space the running thread is in. */
static inline struct space *space_current(void)
{
	return (struct space *)upcall_word(UPCALL_OFFSET(libos[UPCALL_LIBOS_SPACE]));
}

/* Lock s: regions and decisions. See lock_take. */
void space_lock(struct space *);
void space_unlock(struct space *);

/* -- entries -- */
static inline pte_t pte_make(pfn_t pfn, unsigned rights)
{
	return pfn << 12 | FH_P | FH_U | (rights & RIGHT_W ? FH_W : 0) | (rights & RIGHT_X ? 0 : FH_NX);
}
/* AVL bits of present entries. After a fork a frame may have other users: FORKED. Such an entry lacks W, and MAY_WRITE
 * says that the program has the right; its first write copies the frame, or takes it if nobody else has it any more. */
#define PTE_FORKED (1ul << 11)
#define PTE_MAY_WRITE (1ul << 10)
/* Its content is being moved: who writes to it waits (space_hold). */
#define PTE_HELD (1ul << 9)
/* Rights that the program has there. */
static inline unsigned pte_rights(pte_t e)
{
	return e & FH_P ? RIGHT_R | (e & (FH_W | PTE_MAY_WRITE) ? RIGHT_W : 0) | (e & FH_NX ? 0 : RIGHT_X) : 0;
}
/* The entry for both sides of a fork. */
static inline pte_t pte_fork(pfn_t pfn, unsigned rights)
{
	return pte_make(pfn, rights & ~RIGHT_W) | PTE_FORKED | (rights & RIGHT_W ? PTE_MAY_WRITE : 0);
}

/*
 * The kit's own non-present words; a tag in the AVL bits tells them apart.
 *   parked    a page whose frame is kept but may not be touched (PROT_NONE): the pfn in inverted bits, because a
 *             non-present word must not name RAM (L1TF). pte_parked() is the pfn, or 0.
 *   promised  a page not touched yet that will have rights of its own, not its region's.
 */
#define PTE_PARKED (1ul << 9)
#define PTE_PROMISED (1ul << 10)
#define PTE_PARKED_FIELD (((1ul << 28) - 1) << 12)
static inline pte_t pte_park(pfn_t pfn) { return (~pfn << 12 & PTE_PARKED_FIELD) | PTE_PARKED; }
static inline pfn_t pte_parked(pte_t e)
{
	return (e & (FH_P | PTE_PARKED)) == PTE_PARKED ? (~e & PTE_PARKED_FIELD) >> 12 : 0;
}
static inline pte_t pte_promise(unsigned rights) { return PTE_PROMISED | (pte_t)rights << 52; }
static inline bool pte_promised(pte_t e) { return (e & (FH_P | PTE_PROMISED)) == PTE_PROMISED; }
static inline unsigned pte_promised_rights(pte_t e) { return e >> 52 & (RIGHT_R | RIGHT_W | RIGHT_X); }

/* -- a new space: an empty PT4 with its recursive window, owned by env (0: me). space_free gives back its tables and
 *    every frame that nothing else refers to. Not for the current space. -- */
int space_new(struct space *, pfn_t env, struct frames *);
int space_free(struct space *);

/* -- reading -- */
struct leaf {
	va_t va;        /* start of the page, 4 KiB or 2 MiB */
	pte_t pte;      /* its entry; not present but not 0: the libOS's own word */
	unsigned level; /* 1, or 2 for a 2 MiB page */
};
/* The entry that maps va; 0: no table there. 2 MiB entries come as they are, with FH_PS. */
pte_t space_get(struct space *, va_t va);
/* The first non-zero leaf entry in [from, end). False: none. Empty tables are skipped as a whole. */
bool space_next(struct space *, va_t from, va_t end, struct leaf *);
/* Number of pages mapped in [va, va + n pages), in units of 4 KiB. */
uint64_t space_count(struct space *, va_t va, size_t n);
/* Which pages were written since they were mapped or cleaned: bit i of bitmap for page i (may be NULL). Returns how
 * many. In the current space: plain loads, no crossing. */
size_t space_dirty(struct space *, va_t va, size_t n, uint64_t *bitmap);
/* Clear the accessed and dirty bits. */
int space_clean(struct space *, va_t va, size_t n);

/* -- writing -- */
/* pfn of the level-1, 2 or 3 table that covers va, made with all above it if missing; 0: no frame or a 2 MiB page. */
pfn_t space_table(struct space *, va_t va, unsigned level);
/* Map the frames pfn, pfn+1, ... at va. -EEXIST: something is mapped there (what came before stays mapped). */
int space_map(struct space *, va_t va, pfn_t pfn, size_t n, unsigned rights);
/* Claim and map n zeroed frames, owned by the space's env. Pages already mapped are left as they are. */
int space_fill(struct space *, va_t va, size_t n, unsigned rights);
/* Unmap, and free each frame that nothing else refers to; flush. Tables wholly inside the range are freed too. */
int space_drop(struct space *, va_t va, size_t n);
/* Unmap only; flush. */
int space_unmap(struct space *, va_t va, size_t n);
/* Change the rights of what is mapped, at once; 0 takes the pages away and keeps their frames. A page that a fork left
 * shared stays read-only until the first write. */
int space_protect(struct space *, va_t va, size_t n, unsigned rights);
/* The same, and pages not there yet will have these rights too, in a region whose others get `rest`. */
int space_promise(struct space *, va_t va, size_t n, unsigned rights, unsigned rest);
/*
 * Move what is mapped in [from, from + n pages) to `to`, frames and all: no byte is copied. 2 MiB pages and, where nothing
 * else stands in them, whole level-1 tables move in one step, if `to` and `from` are alike modulo 2 MiB. The two ranges
 * don't overlap, and no other thread fills or drops pages in them. -EEXIST: something is mapped at `to`; -ENOMEM: no frame
 * for a table. Then nothing has moved.
 */
int space_move(struct space *, va_t to, va_t from, size_t n);
/* The page at va (mapped, 4 KiB) becomes a second view of the frame of page `of`; its own is freed if nothing else refers
 * to it. */
int space_alias(struct space *, va_t va, va_t of);
/* Hold the page at va (mapped, 4 KiB): reads go on, writes wait in the fault handler until it is let go or replaced. */
int space_hold(struct space *, va_t va, bool hold);
/* Turn the 2 MiB page at va (2 MiB-aligned) into 512 of 4 KiB. 0 also if there is none. */
int space_split(struct space *, va_t va);
/* Free every empty table in [va, end): returns how many. Where others may be filling them: under the space's lock. */
size_t space_trim(struct space *, va_t va, va_t end);
/* FH_FLUSH_* for this env: local while it has one thread, else all. */
uint64_t space_flush(void);

/* -- scratch pages: addresses in this env to map something at for a moment -- */
va_t scratch_get(size_t n); /* n consecutive pages, 1 to 64; 0: none left */
void scratch_put(va_t, size_t n); /* unmaps what is there (without freeing) and gives the addresses back */
/* Map n frames from pfn on at new scratch pages; 0: refused. */
void *scratch_map(pfn_t pfn, size_t n, unsigned rights);

/* Stop peeking into a foreign space: its tables are no longer referred to. */
void space_unpeek(struct space *);
