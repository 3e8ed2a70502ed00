/*
 * spacemove.c - moving pages without copying: frames keep their contents, page tables change. Done in two passes, so that it
 * can be given up in the middle: first everything is mapped at both places, then the old ones are cleared and flushed once.
 *
 * Where both addresses are alike modulo 2 MiB and nothing else stands in the tables, not entries but the level-1 table
 * itself is linked at the new place and unlinked at the old one.
 */
#include <errno.h>

#include "env.h"
#include "region.h"
#include "spacewalk.h"
#include "thread.h"

struct piece { /* pages under one level-1 table at either place */
	va_t to, from;
	size_t bytes;
};

/* The piece at offset `at` of a move of `bytes`. */
static struct piece piece_at(va_t to, va_t from, uint64_t at, uint64_t bytes)
{
	uint64_t a = chunk_end(to + at, to + bytes) - to - at, b = chunk_end(from + at, from + bytes) - from - at;
	return (struct piece){to + at, from + at, a < b ? a : b};
}

static pte_t link_of(struct space *s, va_t va)
{
	const volatile pte_t *slot = space_slot(s, va, 2);
	return slot ? *slot : 0;
}

/* Is the table linked at both places? */
static bool linked_twice(struct space *s, const struct piece *p)
{
	pte_t a = link_of(s, p->from), b = link_of(s, p->to);
	bool apart = (p->from ^ p->to) >= PLAN_LARGE; /* else it is one link */
	return apart && a & b & FH_P && !((a | b) & FH_PS) && fh_pte_pfn(a) == fh_pte_pfn(b);
}

/* May the whole table (or 2 MiB page) under p->from go? */
static bool moves_whole(struct space *s, const struct piece *p)
{
	pte_t link = link_of(s, p->from);

	if (!(link & FH_P) || (p->to ^ p->from) % PLAN_LARGE)
		return false;
	if (link & FH_PS)
		return p->bytes == PLAN_LARGE;
	if (table_foreign(s, fh_pte_pfn(link)))
		return false;
	const volatile pte_t *slot = space_slot(s, p->from & ~(PLAN_LARGE - 1), 1);
	unsigned first = pt_index(p->from, 1), last = first + (unsigned)(p->bytes / FH_PAGE);
	for (unsigned i = 0; i < first; i++)
		if (slot[i])
			return false;
	for (unsigned i = last; i < 512; i++)
		if (slot[i])
			return false;
	return true;
}

/* A slot for the table at the new place. 0; -EEXIST: it has one, with something in it. */
static int clear_way(struct space *s, va_t to)
{
	if (link_of(s, to) & FH_P)
		space_trim(s, to, to + FH_PAGE);
	return link_of(s, to) ? -EEXIST : 0;
}

/* Map a piece at the new place, if nothing is there: 0, or -errno and nothing of it is added to the batch. */
static int map_entries(struct space *s, struct batch *b, const struct piece *p)
{
	unsigned count = (unsigned)(p->bytes / FH_PAGE);
	int r;

	if (link_of(s, p->from) & FH_PS && (r = space_split(s, p->from & ~(PLAN_LARGE - 1))) < 0)
		return r;
	const volatile pte_t *old = space_slot(s, p->from, 1);
	if (!old)
		return 0;
	pfn_t table = space_table(s, p->to, 1);
	if (!table)
		return link_of(s, p->to) & FH_PS ? -EEXIST : -ENOMEM;
	const volatile pte_t *new = space_slot(s, p->to, 1);
	for (unsigned i = 0; i < count; i++)
		if (new[i])
			return -EEXIST;
	for (unsigned i = 0; i < count; i++)
		if (old[i]) /* they count as written: nobody looked when they were */
			batch_add(b, FH_OP_SET, 0, table, pt_index(p->to, 1) + i, 1, old[i] & FH_P ? old[i] | FH_A | FH_D : old[i]);
	return 0;
}

static int map_piece(struct space *s, struct batch *b, const struct piece *p)
{
	if (!moves_whole(s, p))
		return map_entries(s, b, p);
	pfn_t above = space_table(s, p->to, 2);
	int r = above ? clear_way(s, p->to) : -ENOMEM;
	if (r == -EEXIST && !(link_of(s, p->from) & FH_PS))
		return map_entries(s, b, p);
	if (r < 0)
		return r;
	pte_t link = link_of(s, p->from);
	batch_add(b, FH_OP_SET, 0, above, pt_index(p->to, 2), 1, link & FH_PS ? link | FH_A | FH_D : link & ~(FH_A | FH_D));
	return 0;
}

/* Take away one of the two mappings of all pieces up to `end`: the old one, or if that is to be undone, the new one. */
static int unmap_pieces(struct space *s, va_t to, va_t from, uint64_t end, uint64_t bytes, bool undo)
{
	struct batch b;

	batch_begin(&b, s->frames);
	for (uint64_t at = 0; at < end && !b.error;) {
		struct piece p = piece_at(to, from, at, bytes);
		va_t va = undo ? p.to : p.from;
		if (linked_twice(s, &p))
			batch_add(&b, FH_OP_CLEAR, space_flush(), space_table(s, va, 2), pt_index(va, 2), 1, 0);
		else if (b.error == 0)
			b.error = space_unmap(s, va, p.bytes / FH_PAGE);
		at += p.bytes;
	}
	int r = batch_end(&b);
	space_trim(s, undo ? to : from, (undo ? to : from) + bytes);
	return r;
}

int space_move(struct space *s, va_t to, va_t from, size_t n)
{
	uint64_t bytes = n * FH_PAGE, at = 0;
	struct batch b;
	int r = 0;

	batch_begin(&b, s->frames);
	while (at < bytes && r == 0 && !b.error) {
		struct piece p = piece_at(to, from, at, bytes);
		r = map_piece(s, &b, &p);
		at += r == 0 ? p.bytes : 0;
	}
	int end = batch_end(&b);
	r = r < 0 ? r : end;
	int undone = unmap_pieces(s, to, from, at, bytes, r < 0);
	return r < 0 ? r : undone;
}

int space_alias(struct space *s, va_t va, va_t of)
{
	pte_t old = space_get(s, va), new = space_get(s, of), none = 0;
	pfn_t table = space_table(s, va, 1);

	if (!(old & new & FH_P) || (old | new) & FH_PS || !table)
		return -EINVAL;
	if (fh_pte_pfn(old) == fh_pte_pfn(new))
		return 0;
	new &= ~PTE_HELD;
	if (s->shared && fh_refs(frame_record(fh_pte_pfn(old))->state) > 1)
		orphan_note(fh_pte_pfn(old));
	int r = pt_one(s->frames, FH_OP_UNMAP_FREE, space_flush(), table, pt_index(va, 1), &none, va);
	return r < 0 || (r = pt_one(s->frames, FH_OP_SET, 0, table, pt_index(va, 1), &new, 0)) < 0 ? r : 0;
}

int space_hold(struct space *s, va_t va, bool hold)
{
	pte_t e = space_get(s, va);
	pfn_t table = space_table(s, va, 1);

	if (!(e & FH_P) || e & FH_PS || !table)
		return -EINVAL;
	if (hold) /* MAY_WRITE keeps the right in mind */
		e = (e & ~FH_W) | PTE_HELD | (e & FH_W ? PTE_MAY_WRITE : 0);
	else if (e & PTE_FORKED)
		e &= ~PTE_HELD;
	else
		e = (e & ~(PTE_HELD | PTE_MAY_WRITE)) | (e & PTE_MAY_WRITE ? FH_W : 0);
	e &= ~FH_PFN_FIELD;
	int r = pt_one(s->frames, FH_OP_PROTECT, hold ? space_flush() : 0, table, pt_index(va, 1), &e, va);
	return r < 0 ? r : 0;
}
