/*
 * region.c - an array of pointers to regions per space, sorted by address from the highest down: mappings are placed
 * downward, so that a new one goes near the end, where few pointers have to move. Searching is binary, after a look at
 * what the last search found. All of it lies in the kit's own memory: a search never faults.
 *
 * The caller holds the space's lock.
 */
#include "region.h"

#include <errno.h>
#include <string.h>

#include "commit.h"
#include "meta.h"

/* How many regions end after va: they come first; the last of them is the one that may hold va. */
static unsigned search(const struct space *s, va_t va)
{
	unsigned lo = 0, hi = s->nregions;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (s->regions[mid]->hi > va)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct region *region_after(struct space *s, va_t va)
{
	unsigned i = search(s, va);
	return i > 0 ? s->regions[i - 1] : NULL;
}

struct region *region_find(struct space *s, va_t va)
{
	struct region *r = s->last;

	if (r && r->lo <= va && va < r->hi)
		return r;
	r = region_after(s, va);
	if (!r || r->lo > va)
		return NULL;
	return s->last = r;
}

bool region_busy(struct space *s, va_t lo, va_t hi)
{
	struct region *r = region_after(s, lo);
	return r && r->lo < hi;
}

struct region *region_before(struct space *s, va_t va)
{
	unsigned i = search(s, va);
	return i < s->nregions ? s->regions[i] : NULL;
}

/* Where what has a choice ends below r. */
static va_t floor_of(const struct region *r)
{
	va_t keep = r->grow == REGION_GROW_OPEN ? r->guard * FH_PAGE : 0;
	return r->lo > keep ? r->lo - keep : 0;
}

bool region_free(struct space *s, va_t lo, va_t hi)
{
	struct region *r = region_after(s, lo);
	return !r || hi <= floor_of(r);
}

static int64_t pages_of(const struct region *r) { return (int64_t)((r->end - r->base) / FH_PAGE); }

int region_covers(struct space *s, va_t lo, va_t hi)
{
	for (va_t at = lo; at < hi;) {
		struct region *r = region_find(s, at);
		if (!r || at < r->base || at >= r->end)
			return -ENOMEM;
		if (r->fork == REGION_SKIP)
			return -EINVAL;
		at = r->end;
	}
	return 0;
}

/* Put a copy of *r at index i. NULL: no memory. */
static struct region *insert(struct space *s, unsigned i, const struct region *r)
{
	if (!s->unused && !(s->unused = meta_alloc(sizeof(*r))))
		return NULL;
	if (s->nregions == s->capacity) {
		unsigned capacity = s->capacity ? 2 * s->capacity : 64;
		struct region **more = meta_alloc(capacity * sizeof(*more));
		if (!more)
			return NULL;
		if (s->regions) {
			memcpy(more, s->regions, s->nregions * sizeof(*more));
			meta_free(s->regions, s->capacity * sizeof(*more));
		}
		s->regions = more;
		s->capacity = capacity;
	}
	struct region *new = s->unused;
	s->unused = new->next;
	for (unsigned j = s->nregions++; j > i; j--)
		s->regions[j] = s->regions[j - 1];
	*new = *r;
	return s->regions[i] = new;
}

/* Take n regions out, from index i on. */
static void remove_at(struct space *s, unsigned i, unsigned n)
{
	for (unsigned j = i; j < i + n; j++) {
		s->regions[j]->next = s->unused;
		s->unused = s->regions[j];
	}
	s->nregions -= n;
	for (; i < s->nregions; i++)
		s->regions[i] = s->regions[i + n];
	s->last = NULL;
}

/* All of the reservation accessible, nothing of its own. */
static bool plain(const struct region *r)
{
	return r->lo == r->base && r->hi == r->end && r->grow == REGION_FIXED && !r->arg;
}

/* Can a, below b, be had by making b longer? */
static bool mergeable(const struct region *a, const struct region *b)
{
	return a->hi == b->lo && a->fault == b->fault && a->name == b->name && a->rights == b->rights && a->fork == b->fork && a->charged == b->charged &&
	       plain(a) && plain(b);
}

/* Merge region i with the one below it where they are of one kind. */
static void merge_at(struct space *s, unsigned i)
{
	if (i + 1 >= s->nregions || !mergeable(s->regions[i + 1], s->regions[i]))
		return;
	s->regions[i]->lo = s->regions[i]->base = s->regions[i + 1]->lo;
	remove_at(s, i + 1, 1);
}

static bool user_range(va_t lo, va_t hi)
{
	bool low = hi <= 0x800000000000ul, high = lo >= 0xffff800000000000ul && hi <= FH_KERNEL_BASE;
	return lo < hi && (low || high);
}

int region_add(struct space *s, const struct region *r)
{
	va_t lo = r->lo, hi = r->hi;

	if (!lo && !hi) {
		lo = r->base;
		hi = r->end;
	}
	if ((lo | hi | r->base | r->end) % FH_PAGE || !user_range(lo, hi) || r->base < lo || r->end < r->base || hi < r->end)
		return -EINVAL;
	unsigned i = search(s, lo);
	if (i > 0 && s->regions[i - 1]->lo < hi)
		return -EEXIST;
	struct region *new = insert(s, i, r);
	if (!new)
		return -ENOMEM;
	new->lo = lo;
	new->hi = hi;
	if (!new->name)
		new->name = "";
	if (new->charged)
		commit_count(pages_of(new));
	s->last = new; /* its first touch comes soon */
	merge_at(s, i);
	if (i > 0)
		merge_at(s, i - 1);
	return 0;
}

static va_t clamp(va_t va, va_t lo, va_t hi) { return va < lo ? lo : va > hi ? hi : va; }

/* Cut region i in two at va where va lies inside it: i becomes the upper part. False: no memory. */
static bool split_at(struct space *s, unsigned i, va_t va)
{
	struct region *r = s->regions[i];

	if (va <= r->lo || va >= r->hi)
		return true;
	struct region *lower = insert(s, i + 1, r);
	if (!lower)
		return false;
	lower->hi = r->lo = va;
	lower->base = clamp(r->base, lower->lo, va);
	lower->end = clamp(r->end, lower->lo, va);
	r->base = clamp(r->base, va, r->hi);
	r->end = clamp(r->end, va, r->hi);
	return true;
}

int region_cut(struct space *s, va_t lo, va_t hi)
{
	unsigned i = search(s, hi), n = 0; /* i: the first that ends at hi or below */

	if (i > 0 && s->regions[i - 1]->lo < hi) { /* straddles hi: its upper part stays */
		if (!split_at(s, i - 1, hi))
			return -ENOMEM;
	}
	while (i + n < s->nregions && s->regions[i + n]->hi > lo) {
		if (!split_at(s, i + n, lo))
			return -ENOMEM;
		n++;
	}
	for (unsigned j = i; j < i + n; j++)
		if (s->regions[j]->charged)
			commit_count(-pages_of(s->regions[j]));
	remove_at(s, i, n);
	return 0;
}

unsigned region_page_rights(struct space *s, const struct region *r, va_t va)
{
	pte_t e = space_get(s, va);

	if (e & FH_P)
		return pte_rights(e);
	return pte_parked(e) ? 0 : pte_promised(e) ? pte_promised_rights(e) : r->rights & ~RIGHT_LARGE;
}

/* Cut r so that [lo, hi) of it is a region: at index *i. False: no memory. */
static bool isolate(struct space *s, struct region *r, va_t lo, va_t hi, unsigned *i)
{
	*i = search(s, r->lo) - 1;
	if (!split_at(s, *i, hi))
		return false;
	*i += r->lo == hi; /* r is now the part above */
	s->last = NULL;
	return split_at(s, *i, lo);
}

uint64_t region_charged(struct space *s, va_t lo, va_t hi)
{
	uint64_t pages = 0;

	for (unsigned i = search(s, lo); i-- > 0 && s->regions[i]->lo < hi;) {
		const struct region *r = s->regions[i];
		if (r->charged)
			pages += (clamp(r->end, lo, hi) - clamp(r->base, lo, hi)) / FH_PAGE;
	}
	return pages;
}

struct region *region_charge(struct space *s, struct region *r, va_t lo, va_t hi)
{
	unsigned i;

	if (!isolate(s, r, lo, hi, &i))
		return NULL;
	s->regions[i]->charged = true;
	commit_count(pages_of(s->regions[i]));
	return s->regions[i];
}

struct region *region_protect(struct space *s, struct region *r, va_t lo, va_t hi, unsigned rights)
{
	bool whole = lo == r->lo && hi == r->hi;

	if ((!whole && hi - lo < PLAN_LARGE) || !plain(r))
		return r;
	if (whole) {
		r->rights = (uint8_t)(rights | (r->rights & RIGHT_LARGE));
		return r;
	}
	unsigned i;
	if (!isolate(s, r, lo, hi, &i))
		return NULL;
	s->regions[i]->rights = (uint8_t)(rights | (s->regions[i]->rights & RIGHT_LARGE));
	merge_at(s, i);
	if (i > 0)
		merge_at(s, i - 1);
	return region_find(s, lo);
}

va_t region_gap(struct space *s, va_t lo, va_t hi, uint64_t bytes, uint64_t align)
{
	/* From the top down: the gap below each region, until one is large enough. */
	for (unsigned i = search(s, hi);; i++) {
		va_t top = i > 0 && floor_of(s->regions[i - 1]) < hi ? floor_of(s->regions[i - 1]) : hi;
		va_t bottom = i < s->nregions && s->regions[i]->hi > lo ? s->regions[i]->hi : lo;
		if (top > bottom && top - bottom >= bytes) {
			va_t va = (top - bytes) & ~(align - 1);
			if (va >= bottom)
				return va;
		}
		if (bottom == lo)
			return 0;
	}
}

va_t region_gap_up(struct space *s, va_t lo, va_t hi, uint64_t bytes, uint64_t align)
{
	for (va_t at = lo; at < hi;) {
		va_t va = (at + align - 1) & ~(align - 1);
		struct region *r = region_after(s, at);
		va_t top = r && floor_of(r) < hi ? floor_of(r) : hi;
		if (va < top && top - va >= bytes)
			return va;
		at = r && r->lo < hi ? r->hi : hi;
	}
	return 0;
}

int region_copy(struct space *to, const struct space *from)
{
	int r = commit_may(to, (int64_t)region_charged((struct space *)from, 0, FH_KERNEL_BASE));

	for (unsigned i = 0; i < from->nregions && r == 0; i++) {
		struct region *g = insert(to, i, from->regions[i]);
		if (!g)
			return -ENOMEM;
		g->charged &= g->fork != REGION_SHARE;
		if (g->charged)
			commit_count(pages_of(g));
	}
	return r;
}

void region_clear(struct space *s)
{
	commit_count(-(int64_t)region_charged(s, 0, FH_KERNEL_BASE));
	remove_at(s, 0, s->nregions);
	for (struct region *r = s->unused, *next; r; r = next) {
		next = r->next;
		meta_free(r, sizeof(*r));
	}
	if (s->regions)
		meta_free(s->regions, s->capacity * sizeof(*s->regions));
	s->regions = NULL;
	s->unused = NULL;
	s->capacity = 0;
}
