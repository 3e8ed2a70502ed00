/* SPDX-License-Identifier: MIT */
/*
 * region.c - a sorted array of regions per space. Searching is binary, after a look at where the last search ended;
 * adding and cutting move the tail. The array lies in the kit's own memory: a search never faults.
 *
 * The caller holds the space's lock.
 */
#include "region.h"

#include <errno.h>
#include <string.h>

#include "meta.h"

/* Index of the first region with hi > va; nregions if none. */
static unsigned search(const struct space *s, va_t va)
{
	unsigned lo = 0, hi = s->nregions;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (s->regions[mid].hi > va)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct region *region_after(struct space *s, va_t va)
{
	unsigned i = search(s, va);
	return i < s->nregions ? &s->regions[i] : NULL;
}

struct region *region_find(struct space *s, va_t va)
{
	if (s->last < s->nregions && s->regions[s->last].lo <= va && va < s->regions[s->last].hi)
		return &s->regions[s->last];
	unsigned i = search(s, va);
	if (i == s->nregions || s->regions[i].lo > va)
		return NULL;
	s->last = i;
	return &s->regions[i];
}

bool region_busy(struct space *s, va_t lo, va_t hi)
{
	struct region *r = region_after(s, lo);
	return r && r->lo < hi;
}

/* Room for one more region at index i. False: no memory. */
static bool open_gap(struct space *s, unsigned i)
{
	if (s->nregions == s->capacity) {
		unsigned capacity = s->capacity ? 2 * s->capacity : 64;
		struct region *more = meta_alloc(capacity * sizeof(struct region));
		if (!more)
			return false;
		if (s->regions) {
			memcpy(more, s->regions, s->nregions * sizeof(struct region));
			meta_free(s->regions, s->capacity * sizeof(struct region));
		}
		s->regions = more;
		s->capacity = capacity;
	}
	memmove(&s->regions[i + 1], &s->regions[i], (s->nregions - i) * sizeof(struct region));
	s->nregions++;
	return true;
}

static void remove_at(struct space *s, unsigned i)
{
	s->nregions--;
	memmove(&s->regions[i], &s->regions[i + 1], (s->nregions - i) * sizeof(struct region));
}

/* Can b be had by making a longer? Only plain regions: all of the reservation accessible, nothing of their own. */
static bool mergeable(const struct region *a, const struct region *b)
{
	return a->hi == b->lo && a->end == a->hi && b->base == b->lo && a->base == a->lo && b->end == b->hi &&
	       a->fault == b->fault && !a->arg && !b->arg && a->name == b->name && a->rights == b->rights &&
	       a->grow == REGION_FIXED && b->grow == REGION_FIXED && a->fork == b->fork;
}

/* Merge region i with the next where they are of one kind. */
static void merge_at(struct space *s, unsigned i)
{
	if (i + 1 >= s->nregions || !mergeable(&s->regions[i], &s->regions[i + 1]))
		return;
	s->regions[i].hi = s->regions[i].end = s->regions[i + 1].hi;
	remove_at(s, i + 1);
}

static bool user_range(va_t lo, va_t hi)
{
	bool low = hi <= 0x800000000000ul, high = lo >= 0xffff800000000000ul && hi <= FH_KERNEL_BASE;
	return lo < hi && (low || high);
}

int region_add(struct space *s, const struct region *r)
{
	struct region new = *r;

	if (!new.lo && !new.hi) {
		new.lo = new.base;
		new.hi = new.end;
	}
	if ((new.lo | new.hi | new.base | new.end) % FH_PAGE || !user_range(new.lo, new.hi) || new.base < new.lo ||
	    new.end < new.base || new.hi < new.end)
		return -EINVAL;
	if (region_busy(s, new.lo, new.hi))
		return -EEXIST;
	unsigned i = search(s, new.lo);
	if (!open_gap(s, i))
		return -ENOMEM;
	if (!new.name)
		new.name = "";
	s->regions[i] = new;
	merge_at(s, i);
	if (i > 0)
		merge_at(s, i - 1);
	return 0;
}

/* Cut region i in two at va (lo < va < hi). */
static bool split_at(struct space *s, unsigned i, va_t va)
{
	if (!open_gap(s, i))
		return false;
	struct region *a = &s->regions[i], *b = &s->regions[i + 1];
	*a = *b;
	a->hi = b->lo = va;
	if (a->end > va)
		a->end = va;
	if (a->base > va)
		a->base = va;
	if (b->base < va)
		b->base = va;
	if (b->end < va)
		b->end = va;
	return true;
}

/* Split what straddles lo or hi; *first is the index of the first region in [lo, hi). False: no memory. */
static bool split_ends(struct space *s, va_t lo, va_t hi, unsigned *first)
{
	unsigned i = search(s, lo), j;

	if (i < s->nregions && s->regions[i].lo < lo) {
		if (!split_at(s, i, lo))
			return false;
		i++;
	}
	j = search(s, hi);
	if (j < s->nregions && s->regions[j].lo < hi && !split_at(s, j, hi))
		return false;
	*first = i;
	return true;
}

int region_cut(struct space *s, va_t lo, va_t hi)
{
	unsigned i, n = 0;

	if (!split_ends(s, lo, hi, &i))
		return -ENOMEM;
	while (i + n < s->nregions && s->regions[i + n].hi <= hi)
		n++;
	memmove(&s->regions[i], &s->regions[i + n], (s->nregions - i - n) * sizeof(struct region));
	s->nregions -= n;
	return 0;
}

int region_protect(struct space *s, va_t lo, va_t hi, unsigned rights)
{
	unsigned i;
	va_t covered = lo;

	for (i = search(s, lo); i < s->nregions && s->regions[i].base <= covered && covered < hi; i++)
		covered = s->regions[i].end;
	if (covered < hi)
		return -ENOMEM;
	if (!split_ends(s, lo, hi, &i))
		return -ENOMEM;
	unsigned first = i;
	for (; i < s->nregions && s->regions[i].lo < hi; i++) {
		s->regions[i].rights = (uint8_t)(rights | (s->regions[i].rights & RIGHT_LARGE));
		if (s->regions[i].fault == fault_guard && rights)
			s->regions[i].fault = fault_zero; /* a reservation comes into use */
	}
	while (i-- > first)
		merge_at(s, i);
	if (first > 0)
		merge_at(s, first - 1);
	return 0;
}

va_t region_gap(struct space *s, va_t lo, va_t hi, uint64_t bytes, uint64_t align)
{
	/* From the top down: the gap below each region, until one is large enough. */
	for (unsigned i = search(s, hi - 1);; i--) {
		va_t top = i < s->nregions && s->regions[i].lo < hi ? s->regions[i].lo : hi;
		va_t bottom = i > 0 && s->regions[i - 1].hi > lo ? s->regions[i - 1].hi : lo;
		if (top > bottom && top - bottom >= bytes) {
			va_t va = (top - bytes) & ~(align - 1);
			if (va >= bottom)
				return va;
		}
		if (i == 0 || bottom == lo)
			return 0;
	}
}

int region_copy(struct space *to, const struct space *from)
{
	struct region *copy = meta_alloc(from->capacity * sizeof(struct region));

	if (!copy)
		return -ENOMEM;
	memcpy(copy, from->regions, from->nregions * sizeof(struct region));
	to->regions = copy;
	to->nregions = from->nregions;
	to->capacity = from->capacity;
	return 0;
}

void region_clear(struct space *s)
{
	if (s->regions)
		meta_free(s->regions, s->capacity * sizeof(struct region));
	s->regions = NULL;
	s->nregions = s->capacity = s->last = 0;
}
