/*
 * spans.h - what allocators with size classes are built on: spans, equal pieces of memory aligned to their size, so that the
 * span of an object is found by masking its address; and large blocks, a mapping each. Which of the two an address belongs
 * to is told by a range: all spans lie in one arena of reserved addresses. Their places are used again, lowest first.
 *
 * The caller holds a lock.
 */
#pragma once

#include <string.h>

#include "heap.h"
#include "source.h"

#define SPAN (4 * SOURCE_PAGE)
#define ARENA (1ul << 32)

struct large { /* in front of a large block, in its first page */
	size_t bytes, lead; /* of the mapping; from its start to the block */
	struct large *next, *prev;
};

struct spans {
	char *base, *top;  /* the arena; spans lie in [base, top) */
	uint64_t *taken;   /* a bit for each place; in the first pages of the arena, which come as they are needed */
	size_t hint;       /* no place below is free */
	size_t count;      /* spans in use */
	struct large *large;
	size_t nlarge;
};

/* ---- Spans ---- */

#define SPANS_BITMAP (ARENA / SPAN / 8) /* bytes */

static inline void *span_at(const struct spans *s, size_t place) { return s->base + SPANS_BITMAP + place * SPAN; }
static inline bool span_holds(const struct spans *s, const void *p)
{
	const char *base = __atomic_load_n(&s->base, __ATOMIC_RELAXED); /* asked without the lock, too, by who has an object */
	return base && (const char *)p >= base && (const char *)p < base + ARENA;
}
static inline void *span_of(const void *p) { return (void *)((uintptr_t)p & ~(SPAN - 1)); }

/* The next span in use from this place on; NULL: none. For walks. */
static inline void *span_next(const struct spans *s, size_t *place)
{
	size_t places = s->base ? (size_t)(s->top - s->base - SPANS_BITMAP) / SPAN : 0;

	for (; *place < places; ++*place)
		if (s->taken[*place / 64] >> *place % 64 & 1)
			return span_at(s, (*place)++);
	return NULL;
}

/* SPAN bytes, zeroed; NULL: no memory. */
static inline void *span_new(struct spans *s)
{
	if (!s->base) {
		if (!(s->base = source_reserve(ARENA, SPAN)))
			return NULL;
		s->top = s->base + SPANS_BITMAP;
	}
	size_t place = s->hint, places = (size_t)(s->top - s->base - SPANS_BITMAP) / SPAN;
	while (place < places && s->taken[place / 64] >> place % 64 & 1)
		place++;
	if (place == places) {
		if (s->top + SPAN > s->base + ARENA)
			return NULL;
		char *page = s->base + place / 8; /* of the bitmap */
		if ((uintptr_t)page % SOURCE_PAGE == 0 && place % 64 == 0 && source_commit(page, SOURCE_PAGE) < 0)
			return NULL;
		s->taken = (uint64_t *)s->base;
		s->top += SPAN;
	}
	void *span = span_at(s, place);
	s->hint = place;
	if (source_commit(span, SPAN) < 0) {
		if (place == places && place % (8 * SOURCE_PAGE)) /* else the page of the bitmap stays, and so does the place */
			s->top -= SPAN;
		return NULL;
	}
	s->taken[place / 64] |= 1ul << place % 64;
	s->hint = place + 1;
	s->count++;
	return span;
}

static inline void span_free(struct spans *s, void *span)
{
	size_t place = (size_t)((char *)span - s->base - SPANS_BITMAP) / SPAN;

	source_discard(span, SPAN);
	s->taken[place / 64] &= ~(1ul << place % 64);
	s->hint = place < s->hint ? place : s->hint;
	s->count--;
}

/* With no span in use: give up the arena. */
static inline void spans_end(struct spans *s)
{
	if (s->base && !s->count) {
		source_unmap(s->base, ARENA);
		s->base = s->top = NULL;
		s->hint = 0;
	}
}

/* ---- Large blocks ---- */

static inline size_t page_up(size_t n) { return (n + SOURCE_PAGE - 1) & ~(SOURCE_PAGE - 1); }
static inline struct large *large_of(void *p) { return (struct large *)p - 1; }
static inline size_t large_size(void *p) { return large_of(p)->bytes - large_of(p)->lead; }

/* NULL: no memory. */
static inline void *large_new(struct spans *s, size_t n, size_t align)
{
	size_t lead = align < 64 ? 64 : align;

	if (n > 1ul << 45 || align > 1ul << 40)
		return NULL;
	size_t bytes = page_up(lead + n), unused = lead > SOURCE_PAGE ? lead - SOURCE_PAGE : 0; /* of an alignment's lead */
	char *base = source_reserve(bytes, align < SOURCE_PAGE ? SOURCE_PAGE : align);
	if (!base)
		return NULL;
	if (source_commit(base + unused, bytes - unused) < 0) {
		source_unmap(base, bytes);
		return NULL;
	}
	struct large *l = large_of(base + lead);
	*l = (struct large){bytes, lead, s->large, NULL};
	if (s->large)
		s->large->prev = l;
	s->large = l;
	s->nlarge++;
	return base + lead;
}

static inline void large_free(struct spans *s, void *p)
{
	struct large *l = large_of(p);

	if (l->next)
		l->next->prev = l->prev;
	if (l->prev)
		l->prev->next = l->next;
	else
		s->large = l->next;
	s->nlarge--;
	source_unmap((char *)p - l->lead, l->bytes);
}

static inline void large_walk(const struct spans *s, heap_visitor *visit, void *arg)
{
	for (struct large *l = s->large; l; l = l->next)
		visit(arg, l + 1, l->bytes - l->lead, true);
}

static inline int large_check(const struct spans *s)
{
	size_t n = 0;
	int bad = 0;

	for (struct large *l = s->large, *prev = NULL; l && n <= s->nlarge; prev = l, l = l->next, n++)
		bad += l->prev != prev || l->lead >= l->bytes;
	return bad + (n != s->nlarge);
}
