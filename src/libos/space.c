/*
 * space.c - writing page tables. Ranges are cut into 2 MiB chunks, one level-1 table each; within a chunk, runs of
 * consecutive entries become one operation of a batch.
 */
#include "space.h"

#include <errno.h>

#include "enter.h"
#include "env.h"
#include "machine.h"
#include "region.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

struct space space_main;

void space_lock(struct space *s) { lock_take(&s->lock); }
void space_unlock(struct space *s) { lock_give(&s->lock); }

uint64_t space_flush(void) { return thread_count() > 1 ? FH_FLUSH_ALL : FH_FLUSH_LOCAL; }

int space_new(struct space *s, pfn_t env, struct frames *frames)
{
	*s = (struct space){.env = env, .frames = frames};
	s->root = frame_get_typed(frames, env, FH_PT4);
	if (!s->root)
		return -ENOMEM;
	pte_t self = pte_make(s->root, RIGHT_R);
	int r = pt_one(frames, FH_OP_SET, 0, s->root, FH_WINDOW_SLOT, &self, 0);
	if (r < 0)
		frame_put_typed(s->root);
	return r < 0 ? r : 0;
}

int space_free(struct space *s)
{
	int r;

	space_unpeek(s);
	region_clear(s);
	if ((r = space_left(s->root)) < 0 || (r = table_drain(s->root, 4)) < 0)
		return r;
	r = frame_put_typed(s->root);
	orphan_collect();
	return r;
}

pfn_t space_table(struct space *s, va_t va, unsigned level)
{
	pfn_t table = s->root;

	for (unsigned l = 4; l > level; l--) {
		const volatile pte_t *slot = space_slot(s, va, l);
		if (!slot)
			return 0;
		pte_t e = *slot;
		if (!(e & FH_P)) {
			e = s->frames->next(s->frames, 1, 1, 0) << 12 | FH_P | FH_W | FH_U;
			int r = fh_pte_pfn(e) ? pt_one(s->frames, FH_OP_LINK_NEW, 0, table, pt_index(va, l), &e, 0) : -ENOMEM;
			if (r == -EEXIST) /* another thread made it */
				e = *slot;
			else if (r < 0)
				return 0;
			else
				s->tables++;
		}
		if (e & FH_PS && l < 4)
			return 0;
		table = fh_pte_pfn(e);
	}
	return table;
}

/* Nothing in it: neither present entries nor the libOS's own words. */
static bool table_empty(const volatile pte_t *slot)
{
	for (unsigned i = 0; i < 512; i++)
		if (slot[i])
			return false;
	return true;
}

bool table_foreign(const struct space *s, pfn_t table)
{
	return fh_owner(frame_record(table)->state) != (s->env ? s->env : env_self());
}

/* Free the empty tables of `level` in the range. */
static size_t trim_level(struct space *s, va_t va, va_t end, unsigned level)
{
	uint64_t span = pt_span(level + 1);
	size_t freed = 0;

	for (va &= ~(span - 1); va < end; va += span) {
		const volatile pte_t *slot = space_slot(s, va, level + 1);
		if (!slot) {
			va = (va & ~(pt_span(level + 2) - 1)) + pt_span(level + 2) - span;
			continue;
		}
		if (!(*slot & FH_P) || (level == 1 && *slot & FH_PS) || fh_count(frame_record(fh_pte_pfn(*slot))->link))
			continue;
		if (table_foreign(s, fh_pte_pfn(*slot)))
			continue; /* a window that shows nothing just now */
		if (!table_empty(space_slot(s, va, level)))
			continue;
		pte_t none = 0;
		pfn_t table = space_table(s, va, level + 1);
		space_unpeek(s);
		/* The stale translation to get rid of is the window's: it is where we read the table. */
		freed += pt_one(s->frames, FH_OP_UNLINK_FREE, space_flush(), table, pt_index(va, level + 1), &none,
		                (va_t)window_slot(va, level)) == FH_OP_DONE;
	}
	return freed;
}

static bool large_allowed(unsigned rights)
{
	return rights & RIGHT_LARGE && (!(rights & RIGHT_X) || info->features & FH_HAS_LARGE_X);
}

/* Map 512 frames from pfn on by one 2 MiB entry. 0, or -errno: nothing changed (but an empty table may be gone). */
static int map_large(struct space *s, va_t va, pfn_t pfn, unsigned rights)
{
	pfn_t table = space_table(s, va, 2);
	pte_t e = pte_make(pfn, rights) | FH_PS;

	if (!table)
		return -ENOMEM;
	if (*space_slot(s, va, 2))
		trim_level(s, va, va + PLAN_LARGE, 1);
	if (*space_slot(s, va, 2))
		return -EEXIST;
	int r = pt_one(s->frames, FH_OP_SET, 0, table, pt_index(va, 2), &e, 0);
	return r < 0 ? r : 0;
}

int space_map(struct space *s, va_t va, pfn_t pfn, size_t n, unsigned rights)
{
	va_t end = va + n * FH_PAGE;
	struct batch b;

	batch_begin(&b, s->frames);
	for (va_t at = va, stop; at < end; pfn += (stop - at) / FH_PAGE, at = stop) {
		stop = chunk_end(at, end);
		if (stop - at == PLAN_LARGE && pfn % FH_LARGE_FRAMES == 0 && large_allowed(rights) &&
		    map_large(s, at, pfn, rights) == 0)
			continue;
		pfn_t table = space_table(s, at, 1);
		if (!table) {
			batch_end(&b);
			return space_get(s, at) ? -EEXIST : -ENOMEM;
		}
		const volatile pte_t *slot = space_slot(s, at, 1);
		for (unsigned i = 0; i < (stop - at) / FH_PAGE; i++) {
			if (slot[i]) {
				batch_end(&b);
				return -EEXIST;
			}
		}
		batch_add(&b, FH_OP_SET, 0, table, pt_index(at, 1), (unsigned)((stop - at) / FH_PAGE), pte_make(pfn, rights));
	}
	return batch_end(&b);
}

/* A free 2 MiB block, zeroed, mapped at va. 0, or -errno: use small pages. */
static int fill_large(struct space *s, va_t va, unsigned rights)
{
	pfn_t pfn = frame_get(&frames_large, FH_LARGE_FRAMES, FH_LARGE_FRAMES, s->env, 0);

	if (!pfn)
		return -ENOMEM;
	int r = map_large(s, va, pfn, rights);
	if (r < 0)
		frame_put(pfn, FH_LARGE_FRAMES);
	return r;
}

/* Add claims for `count` empty slots from `index` on: in one run of frames if there is one, else in shorter runs. */
static void claim_slots(struct batch *b, pfn_t table, unsigned index, unsigned count, va_t va, unsigned rights)
{
	for (unsigned want = count; count > 0;) {
		if (want > count)
			want = count;
		pfn_t pfn = b->frames->next(b->frames, want, 1, va / FH_PAGE);
		if (!pfn && want > 1) {
			want /= 2;
			continue;
		}
		if (!pfn) {
			b->error = -ENOMEM;
			return;
		}
		batch_add(b, FH_OP_CLAIM, 0, table, index, want, pte_make(pfn, rights));
		index += want;
		count -= want;
		va += want * FH_PAGE;
	}
}

int space_fill(struct space *s, va_t va, size_t n, unsigned rights)
{
	va_t end = va + n * FH_PAGE;
	struct batch b;

	batch_begin(&b, s->frames);
	for (va_t at = va, stop; at < end && !b.error; at = stop) {
		stop = chunk_end(at, end);
		if (stop - at == PLAN_LARGE && large_allowed(rights) && fill_large(s, at, rights) == 0)
			continue;
		pfn_t table = space_table(s, at, 1);
		if (!table && space_get(s, at) & FH_P)
			continue; /* a 2 MiB page is there already */
		if (!table) {
			batch_end(&b);
			return -ENOMEM;
		}
		const volatile pte_t *slot = space_slot(s, at, 1);
		unsigned count = (unsigned)((stop - at) / FH_PAGE);
		for (unsigned i = 0, j; i < count; i = j + (j < count)) {
			for (j = i; j < count && !slot[j]; j++)
				;
			if (j > i)
				claim_slots(&b, table, pt_index(at, 1) + i, j - i, at + i * FH_PAGE, rights);
		}
	}
	return batch_end(&b);
}

/* Clear the run of present entries [i, j) of a table. The frames are freed unless `keep`. */
static void drop_run(struct space *s, struct batch *b, pfn_t table, const volatile pte_t *slot, unsigned i, unsigned j,
                     unsigned index, bool keep)
{
	if (s->shared && !keep)
		for (unsigned k = i; k < j; k++)
			if (fh_refs(frame_record(fh_pte_pfn(slot[k]))->state) > 1)
				orphan_note(fh_pte_pfn(slot[k]));
	batch_add(b, keep ? FH_OP_CLEAR : FH_OP_UNMAP_FREE, space_flush(), table, index + i, j - i, 0);
}

/* All leaves of the chunk [at, stop). */
static void drop_chunk(struct space *s, struct batch *b, va_t at, va_t stop, bool keep)
{
	const volatile pte_t *slot = space_slot(s, at, 1);
	unsigned count = (unsigned)((stop - at) / FH_PAGE), index = pt_index(at, 1);

	if (!slot)
		return;
	pfn_t table = fh_pte_pfn(*space_slot(s, at, 2));
	for (unsigned i = 0, j; i < count; i = j) {
		for (j = i; j < count && slot[j] & FH_P; j++)
			;
		if (j > i)
			drop_run(s, b, table, slot, i, j, index, keep);
		for (; j < count && !(slot[j] & FH_P); j++) {
			pfn_t parked = pte_parked(slot[j]);
			if (slot[j])
				batch_add(b, FH_OP_SET, 0, table, index + j, 1, 0);
			if (parked && !keep)
				frame_put(parked, 1);
		}
	}
}

/* One page of the running space, if it is there and nobody else can have it. False: that isn't so. */
static inline bool drop_page(struct space *s, va_t va, bool keep, int *error)
{
	pfn_t table = !s->shared && space_here(s) ? window_table(va) : 0;
	pte_t none = 0;

	if (!table || !(*window_slot(va, 1) & FH_P))
		return false;
	unsigned op = keep ? FH_OP_CLEAR : FH_OP_UNMAP_FREE;
	*error = pt_one(s->frames, op, space_flush(), table, pt_index(va, 1), &none, va);
	*error = *error < 0 ? *error : 0;
	return true;
}

static __attribute__((noinline)) int drop(struct space *s, va_t va, size_t n, bool keep)
{
	va_t end = va + n * FH_PAGE;
	struct batch b;

	batch_begin(&b, s->frames);
	b.va = n == 1 ? va : 0;
	for (va_t at = va, stop; at < end && !b.error; at = stop) {
		stop = chunk_end(at, end);
		const volatile pte_t *large = space_slot(s, at, 2);
		if (!large) {
			stop = (at & ~(PLAN_GIB - 1)) + PLAN_GIB;
			continue;
		}
		if (!(*large & FH_PS) || !(*large & FH_P)) {
			drop_chunk(s, &b, at, stop, keep);
		} else if (stop - at < PLAN_LARGE) {
			if ((b.error = space_split(s, at & ~(PLAN_LARGE - 1))) == 0)
				drop_chunk(s, &b, at, stop, keep);
		} else {
			batch_add(&b, keep ? FH_OP_CLEAR : FH_OP_UNMAP_FREE, space_flush(), space_table(s, at, 2), pt_index(at, 2), 1,
			          0);
		}
	}
	int r = batch_end(&b);
	if (n >= FH_LARGE_FRAMES && r == 0)
		space_trim(s, (va + PLAN_LARGE - 1) & ~(PLAN_LARGE - 1), end & ~(PLAN_LARGE - 1));
	return r;
}

int space_drop(struct space *s, va_t va, size_t n)
{
	int error;
	return n == 1 && drop_page(s, va, false, &error) ? error : drop(s, va, n, false);
}

int space_unmap(struct space *s, va_t va, size_t n)
{
	int error;
	return n == 1 && drop_page(s, va, true, &error) ? error : drop(s, va, n, true);
}

size_t space_trim(struct space *s, va_t va, va_t end)
{
	size_t freed = 0;

	for (unsigned level = 1; level <= 3 && va < end; level++)
		freed += trim_level(s, va, end, level);
	return freed;
}
