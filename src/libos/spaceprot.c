/*
 * spaceprot.c - changing what is mapped: rights, accessed and dirty bits, page sizes; and the scratch pages.
 */
#include <errno.h>

#include "env.h"
#include "machine.h"
#include "region.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

int space_split(struct space *s, va_t va)
{
	const volatile pte_t *large = space_slot(s, va, 2);

	if (!large || !(*large & FH_P) || !(*large & FH_PS))
		return 0;
	pte_t old = *large;
	pfn_t table = frame_get_typed(s->frames, s->env, FH_PT1), above = space_table(s, va, 2);
	if (!table)
		return -ENOMEM;
	/* Fill the table before it is linked; then clear, flush, link. Whoever faults in between waits for our lock. */
	struct batch b;
	pte_t link = table << 12 | FH_P | FH_W | FH_U;
	batch_begin(&b, s->frames);
	batch_add(&b, FH_OP_SET, 0, table, 0, 512, old & ~FH_PS);
	batch_add(&b, FH_OP_CLEAR, FH_FLUSH_ALL, above, pt_index(va, 2), 1, 0);
	batch_add(&b, FH_OP_SET, 0, above, pt_index(va, 2), 1, link);
	s->tables++;
	return batch_end(&b);
}

/* What space_protect and space_promise are asked for. */
struct wish {
	unsigned rights;
	bool promise;   /* also where nothing is mapped yet: */
	pte_t untouched; /* the word there, 0 if the region has these rights anyway */
};

/* PROTECT's argument for a page whose entry is e. */
static pte_t protected_entry(pte_t e, unsigned rights)
{
	return e & PTE_FORKED ? pte_fork(0, rights) : pte_make(0, rights);
}

/* Going from one entry to another, who must hear of it? A right gained needs no other CPU's attention: the worst is a
 * fault that finds everything in order. */
static uint64_t protect_flush(pte_t from, pte_t to)
{
	bool lost = (from & ~to & (FH_W | PTE_MAY_WRITE)) | (to & ~from & FH_NX);
	return lost ? space_flush() : FH_FLUSH_LOCAL;
}

/* Present entries from slot[i] on that are treated alike: one operation. Returns the index after the last. */
static unsigned protect_run(struct batch *b, const volatile pte_t *slot, unsigned i, unsigned count, pfn_t table,
                            unsigned index, unsigned rights)
{
	pte_t first = slot[i], e, some = first, all = first; /* bits that some, that all of them have */
	unsigned j = i + 1;

	for (; j < count && (((e = slot[j]) ^ first) & (FH_P | PTE_FORKED)) == 0; j++) {
		some |= e;
		all &= e;
	}
	pte_t new = protected_entry(first, rights);
	batch_add(b, FH_OP_PROTECT, protect_flush((some & ~FH_NX) | (all & FH_NX), new), table, index + i, j - i, new);
	return j;
}

/* A present page loses all rights but keeps its frame. Parked, the frame has no reference from here: it must be ours
 * alone, or somebody else would free it. */
static void park(struct space *s, struct batch *b, va_t va, pfn_t table, const volatile pte_t *slot)
{
	if (!frame_sole(fh_pte_pfn(*slot)) && !(*slot & PTE_FORKED) && !b->error)
		b->error = -EBUSY; /* shared on purpose: a copy would part the two sides */
	if (!frame_sole(fh_pte_pfn(*slot)) && !b->error)
		b->error = fault_unshare(s, va, *slot, RIGHT_R);
	orphan_forget(fh_pte_pfn(*slot), 1);
	batch_add(b, FH_OP_CLEAR, space_flush(), table, pt_index(va, 1), 1, pte_park(fh_pte_pfn(*slot)));
}

static void protect_chunk(struct space *s, struct batch *b, va_t at, unsigned count, const struct wish *w)
{
	const volatile pte_t *slot = space_slot(s, at, 1);
	pfn_t table = slot ? fh_pte_pfn(*space_slot(s, at, 2)) : 0;
	unsigned index = pt_index(at, 1);

	if (!table && (!w->promise || !w->untouched))
		return;
	if (!table) {
		if (!(table = space_table(s, at, 1))) {
			b->error = -ENOMEM;
			return;
		}
		slot = space_slot(s, at, 1);
	}
	for (unsigned i = 0; i < count;) {
		pte_t e = slot[i];
		if (e & FH_P && w->rights) {
			i = protect_run(b, slot, i, count, table, index, w->rights);
			continue;
		}
		if (e & FH_P)
			park(s, b, at + i * FH_PAGE, table, &slot[i]);
		else if (pte_parked(e) && w->rights)
			batch_add(b, FH_OP_SET, 0, table, index + i, 1, pte_make(pte_parked(e), w->rights));
		else if (!pte_parked(e) && w->promise && e != w->untouched)
			batch_add(b, FH_OP_SET, 0, table, index + i, 1, w->untouched);
		i++;
	}
}

/* One page of the running space, if it is there and keeps some right: most calls are like this. False: they aren't. */
static inline bool protect_page(struct space *s, va_t va, unsigned rights, int *error)
{
	pfn_t table = rights && space_here(s) ? window_table(va) : 0;
	pte_t e = table ? *window_slot(va, 1) : 0, new = protected_entry(e, rights);

	if (!(e & FH_P))
		return false;
	*error = pt_one(s->frames, FH_OP_PROTECT, protect_flush(e, new), table, pt_index(va, 1), &new, va);
	*error = *error < 0 ? *error : 0;
	return true;
}

static __attribute__((noinline)) int protect(struct space *s, va_t va, size_t n, const struct wish *w)
{
	va_t end = va + n * FH_PAGE;
	struct batch b;

	batch_begin(&b, s->frames);
	b.va = n == 1 ? va : 0;
	for (va_t at = va, stop; at < end && !b.error; at = stop) {
		stop = chunk_end(at, end);
		const volatile pte_t *large = space_slot(s, at, 2);
		if (large && *large & FH_P && *large & FH_PS) {
			bool x = !(w->rights & RIGHT_X) || info->features & FH_HAS_LARGE_X;
			if (stop - at == PLAN_LARGE && w->rights && x && !(*large & PTE_FORKED)) {
				batch_add(&b, FH_OP_PROTECT, space_flush(), space_table(s, at, 2), pt_index(at, 2), 1,
				          pte_make(0, w->rights) | FH_PS);
				continue;
			}
			if ((b.error = space_split(s, at & ~(PLAN_LARGE - 1))) < 0)
				break;
		}
		protect_chunk(s, &b, at, (unsigned)((stop - at) / FH_PAGE), w);
	}
	return batch_end(&b);
}

int space_protect(struct space *s, va_t va, size_t n, unsigned rights)
{
	int error;

	if (n == 1 && protect_page(s, va, rights, &error))
		return error;
	return protect(s, va, n, &(struct wish){.rights = rights});
}

int space_promise(struct space *s, va_t va, size_t n, unsigned rights, unsigned rest)
{
	pte_t untouched = rights == rest ? 0 : pte_promise(rights);
	int error;

	if (n == 1 && protect_page(s, va, rights, &error))
		return error;
	return protect(s, va, n, &(struct wish){rights, true, untouched});
}

int space_clean(struct space *s, va_t va, size_t n)
{
	va_t end = va + n * FH_PAGE;
	struct batch b;
	struct leaf leaf;

	batch_begin(&b, s->frames);
	for (; space_next(s, va, end, &leaf); va = leaf.va + pt_span(leaf.level))
		if (leaf.pte & FH_P)
			batch_add(&b, FH_OP_HARVEST, space_flush(), space_table(s, leaf.va, leaf.level), pt_index(leaf.va, leaf.level), 1, 0);
	return batch_end(&b);
}

/* ---- Scratch pages: the first 2 MiB of the scratch area, one bit each ---- */

#define SCRATCH_PAGES 512u

static struct {
	struct lock lock;
	pfn_t table;                         /* the level-1 table of the area */
	uint64_t used[SCRATCH_PAGES / 64];   /* guarded by lock */
} scratch;

void scratch_init(void)
{
	scratch.lock.holder = 0;
	for (unsigned i = 0; i < SCRATCH_PAGES / 64; i++)
		scratch.used[i] = 0;
	scratch.table = space_table(space_current(), SCRATCH_VA, 1);
}

static bool scratch_used(unsigned i) { return scratch.used[i / 64] >> i % 64 & 1; }

static void scratch_mark(unsigned i, size_t n)
{
	for (; n > 0; n--, i++)
		scratch.used[i / 64] ^= 1ul << i % 64;
}

va_t scratch_get(size_t n)
{
	va_t va = 0;

	/* A fork at the end of its quota began without the table. */
	if (!scratch.table && !(scratch.table = space_table(space_current(), SCRATCH_VA, 1)))
		return 0;
	lock_take(&scratch.lock);
	for (unsigned i = 0, run = 0; i < SCRATCH_PAGES && !va; i++) {
		run = scratch_used(i) ? 0 : run + 1;
		if (run == n) {
			scratch_mark(i + 1 - run, n);
			va = SCRATCH_VA + (i + 1 - run) * FH_PAGE;
		}
	}
	lock_give(&scratch.lock);
	return va;
}

void scratch_put(va_t va, size_t n)
{
	unsigned index = pt_index(va, 1);
	struct batch b;

	batch_begin(&b, NULL);
	for (unsigned i = 0; i < n; i++)
		if (*window_slot(va + i * FH_PAGE, 1))
			batch_add(&b, FH_OP_CLEAR, space_flush(), scratch.table, index + i, 1, 0);
	batch_end(&b);
	lock_take(&scratch.lock);
	scratch_mark(index, n);
	lock_give(&scratch.lock);
}

int scratch_set(va_t va, pte_t entry)
{
	int r = pt_one(NULL, FH_OP_SET, space_flush(), scratch.table, pt_index(va, 1), &entry, va);
	return r < 0 ? r : 0;
}

void *scratch_map(pfn_t pfn, size_t n, unsigned rights)
{
	va_t va = scratch_get(n);
	struct batch b;

	if (!va)
		return NULL;
	batch_begin(&b, NULL);
	batch_add(&b, FH_OP_SET, 0, scratch.table, pt_index(va, 1), (unsigned)n, pte_make(pfn, rights));
	if (batch_end(&b) < 0) {
		scratch_put(va, n);
		return NULL;
	}
	return (void *)va;
}
