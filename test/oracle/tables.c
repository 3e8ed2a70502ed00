/* tables.c - the model's pt_set and pt_update. */
#include "parts.h"

/* An entry has left its slot: what it named is stamped. The self-map names nothing that it holds. */
static void gone(struct model *m, struct entry e)
{
	for (uint64_t i = 0; e.what != EMPTY && e.what != SELF && i < e.n; i++)
		m_stamp(m, e.first + i);
}

struct spot { unsigned me, t, owner, level, index; uint64_t *slot; };

static unsigned check_what(struct model *m, unsigned me, uint64_t what, struct spot *at)
{
	unsigned why = 0, count = bits(what, 8, 17), index = bits(what, 18, 26), slots = 512;
	uint64_t t = bits(what, 32, 58);
	if (t >= m->nframes || !m_is_table(m->f[t].type))
		return M_EINVAL;
	*at = (struct spot){.me = me, .t = t, .owner = m->f[t].owner, .level = level_of(m->f[t].type), .index = index};
	if (!m_authority(m, me, at->owner))
		why |= M_EPERM;
	if (at->level == 4) /* INV 6 */
		slots = 511;
	if (count == 0 || index + count > slots)
		why |= M_EINVAL;
	if (bits(what, 0, 3) > FH_OP_UNLINK_FREE || bits(what, 4, 5) == 3)
		why |= M_EINVAL;
	if (bit(what, 7) || bits(what, 30, 31) != 0 || bits(what, 59, 63) != 0)
		why |= M_EINVAL;
	return why;
}

static void look(struct model *m, struct spot *at, unsigned index)
{
	at->index = index;
	if (m_slot(index) < 0)
		abort(); /* the tests name modelled slots only */
	at->slot = &m->f[at->t].slot[m_slot(index)];
}

static struct entry current(const struct spot *at) { return m_read_entry(at->level, at->t, *at->slot); }

/* INV 4: may a leaf with these rights in this table name frame f? */
static unsigned check_leaf(const struct model *m, const struct spot *at, struct entry e, unsigned f)
{
	unsigned why = 0, type = m->f[f].type, owner = m->f[f].owner;
	bool memory = type == FH_DATA || type == FH_DEVICE;
	if (type == FH_FREE || type == FH_KERNEL)
		return M_EPERM;
	if (e.uncached && type != FH_DEVICE)
		why |= M_EINVAL;
	if (memory && (!m_authority(m, at->me, owner) || !m_on_one_line(m, owner, at->owner)))
		why |= M_EPERM;
	if (!memory && e.writable)
		why |= M_EACCES;
	if (!memory && counted(type) && f != at->owner && !m_within(m, owner, at->owner))
		why |= M_EPERM;
	return why;
}

static unsigned check_large(const struct model *m, const struct spot *at, struct entry e)
{
	unsigned type = m->f[e.first].type, owner = m->f[e.first].owner;
	unsigned why = check_leaf(m, at, e, e.first);
	if (type != FH_DATA && type != FH_TABLE)
		why |= M_EACCES;
	if (type == FH_TABLE && !e.no_exec)
		why |= M_EACCES;
	for (uint64_t i = 1; i < 512; i++)
		if (m->f[e.first + i].type != type || (type == FH_DATA && m->f[e.first + i].owner != owner))
			why |= M_EBUSY;
	return why;
}

static unsigned check_refs(const struct model *m, struct entry e)
{
	static unsigned refs[M_FRAMES];
	m_references(m, refs);
	for (uint64_t i = 0; i < e.n; i++)
		if (refs[e.first + i] >= M_REFS_LIMIT)
			return M_ENOSPC;
	return 0;
}

/* INV 5: the tenant links a window into its own table, or somebody has authority over both. */
static bool may_link(const struct model *m, const struct spot *at, unsigned c)
{
	bool tenant = at->me == at->owner && same_name(m->f[c].tenant, m_name_of(m, at->me));
	return m_authority(m, at->me, m->f[c].owner) || tenant;
}

static unsigned check_link(const struct model *m, const struct spot *at, unsigned c)
{
	unsigned why = 0, index;
	if (!m_is_table(m->f[c].type) || level_of(m->f[c].type) != at->level - 1)
		return M_EBUSY;
	if (m->f[c].owner == at->owner)
		return 0;
	if (!may_link(m, at, c))
		why |= M_EPERM;
	if (m_foreign(m, c, &index) != 0)
		why |= M_EBUSY;
	return why;
}

static unsigned set(struct model *m, struct spot *at, uint64_t w)
{
	struct entry e, was = current(at);
	unsigned why = m_check_word(m, at->level, w, &e);
	if (why & M_EINVAL)
		return why;
	if (at->level == 4 && e.what == LINK && e.first == at->t)
		e.what = SELF;
	if ((e.what == LARGE && was.what != EMPTY) || (was.what == LARGE && e.what != EMPTY))
		why |= M_EEXIST;
	if (e.what == LEAF)
		why |= check_leaf(m, at, e, e.first);
	if (e.what == LARGE)
		why |= check_large(m, at, e);
	if (e.what == LINK)
		why |= check_link(m, at, e.first);
	if (e.what == SELF && (e.writable || !e.no_exec))
		why |= M_EACCES;
	if (e.what != EMPTY && e.what != SELF)
		why |= check_refs(m, e);
	if (why)
		return why;
	*at->slot = w;
	gone(m, was);
	return 0;
}

/* PROTECT and NARROW: only W, NX and the AVL bits (9-11, 52-62) change. */
static unsigned change(struct model *m, struct spot *at, unsigned op, uint64_t w)
{
	struct entry was = current(at), is = was;
	unsigned why = 0;
	if (was.what == EMPTY)
		return M_ENOENT;
	is.writable = op == FH_OP_PROTECT ? bit(w, 1) : was.writable && bit(w, 1);
	is.no_exec = op == FH_OP_PROTECT ? bit(w, 63) : was.no_exec || bit(w, 63);
	bool gains = (is.writable && !was.writable) || (!is.no_exec && was.no_exec);
	bool loses = (!is.writable && was.writable) || (is.no_exec && !was.no_exec);
	if (gains && was.what == SELF)
		why |= M_EACCES;
	if (gains && was.what == LINK && !may_link(m, at, was.first))
		why |= M_EPERM;
	if (gains && (was.what == LEAF || was.what == LARGE))
		why |= check_leaf(m, at, is, was.first);
	if (gains && was.what == LARGE && !is.no_exec && (!m->large_exec || m->f[was.first].type == FH_TABLE))
		why |= M_EACCES;
	if (why)
		return why;
	uint64_t n = *at->slot;
	for (unsigned b = 0; b < 64; b++) {
		bool libos = (b >= 9 && b <= 11) || (b >= 52 && b <= 62), to = bit(n, b);
		to = b == 1 ? is.writable : b == 63 ? is.no_exec : libos ? bit(w, b) : to;
		n = to ? n | 1ul << b : n & ~(1ul << b);
	}
	*at->slot = n;
	if (loses)
		gone(m, was);
	return 0;
}

/* CLEAR, UNMAP_FREE and UNLINK_FREE leave a word of the libOS's behind. */
static unsigned check_left(const struct model *m, unsigned level, unsigned op, uint64_t w)
{
	struct entry e;
	if (op != FH_OP_CLEAR && op != FH_OP_UNMAP_FREE && op != FH_OP_UNLINK_FREE)
		return 0;
	return bit(w, 0) || (w != 0 && m_check_word(m, level, w, &e) != 0) ? M_EINVAL : 0;
}

static unsigned unmap(struct model *m, struct spot *at, uint64_t w, bool *kept)
{
	struct entry was = current(at);
	static unsigned refs[M_FRAMES];
	if (was.what == LINK || was.what == SELF)
		return M_EINVAL;
	*at->slot = w;
	gone(m, was);
	m_references(m, refs);
	/* A large page is freed only where all is the caller's own: table and frames. */
	for (uint64_t f = was.first; was.what != EMPTY && f < was.first + was.n; f++)
		if (m->f[f].type == FH_DATA && refs[f] == 0 &&
		    (was.what != LARGE || (at->me == at->owner && m->f[f].owner == at->me)) && m_authority(m, at->me, m->f[f].owner))
			m_release(m, at->me, f);
		else
			*kept = true;
	return 0;
}

static unsigned unlink(struct model *m, struct spot *at, uint64_t w, bool *kept)
{
	struct entry was = current(at);
	unsigned c = was.first;
	if (was.what != LINK && was.what != EMPTY)
		return M_EINVAL;
	*at->slot = w;
	gone(m, was);
	if (was.what == EMPTY)
		return 0;
	if (m_authority(m, at->me, m->f[c].owner) && m_refs(m, c) == 0 && m_present(m, c) == 0)
		m_release(m, at->me, c);
	else
		*kept = true;
	return 0;
}

/* What a round came to: slots done, the last old entry, A and D of all. */
struct step { unsigned done; bool kept; uint64_t old, seen; };

/* CLAIM and LINK_NEW: as many of n slots as can be had at once. */
static unsigned claim_slots(struct model *m, struct spot *at, unsigned op, uint64_t w, unsigned n, bool keep, struct step *d)
{
	struct entry e;
	unsigned why = m_check_word(m, at->level, w, &e), index = at->index, slots = 0;
	bool leaf = op == FH_OP_CLAIM;
	if (at->level == 4 && e.what == LINK && e.first == at->t)
		e.what = SELF;
	if (leaf ? e.what != LEAF && e.what != LARGE : e.what != LINK)
		why |= M_EINVAL;
	if (leaf && e.uncached)
		why |= M_EINVAL;
	for (; slots < (e.what == LARGE ? 1 : n); slots++) {
		look(m, at, index + slots);
		if (current(at).what != EMPTY)
			break;
	}
	if (slots == 0)
		why |= M_EEXIST;
	if (why & M_EINVAL)
		return why;
	uint64_t got;
	why |= m_check_claim(m, at->owner, e.first, (slots ? slots : 1) * e.n, e.n, &got);
	if (why)
		return why;
	m_await_frames(m, e.first, got);
	for (uint64_t i = 0; i < got; i++)
		m_claim(m, e.first + i, leaf ? FH_DATA : FH_PT1 + at->level - 2, at->owner, leaf && keep);
	for (; d->done < got / e.n; d->done++) {
		look(m, at, index + d->done);
		d->old = *at->slot;
		*at->slot = w + d->done * e.n * 4096;
	}
	return 0;
}

/* One round of an operation: up to n slots, of a PT2 one, and one is unlinked at a time. Why it stopped at the first; else
 * d->done says how many were done. */
static unsigned round_of(struct model *m, struct spot *at, uint64_t what, uint64_t w, unsigned n, struct step *d)
{
	unsigned op = bits(what, 0, 3), why = check_left(m, at->level, op, w), index = at->index;
	struct entry named;
	m_check_word(m, at->level, w, &named);
	*d = (struct step){0};
	if (why)
		return why;
	if (op == FH_OP_CLAIM || op == FH_OP_LINK_NEW)
		return claim_slots(m, at, op, w, n, bit(what, 6), d);
	if (at->level == 2 || op == FH_OP_UNLINK_FREE)
		n = 1;
	for (; d->done < n && !why; d->done += !why) {
		look(m, at, index + d->done);
		uint64_t old = *at->slot;
		struct entry was = current(at);
		switch (op) {
		case FH_OP_READ: break;
		case FH_OP_SET: why = set(m, at, w + (bit(w, 0) ? d->done * named.n * 4096 : 0)); break;
		case FH_OP_NARROW:
		case FH_OP_PROTECT: why = change(m, at, op, w); break;
		case FH_OP_CLEAR:
			*at->slot = w;
			gone(m, was);
			break;
		case FH_OP_HARVEST:
			if (was.what != EMPTY)
				*at->slot = old & ~(1ul << 5 | 1ul << 6);
			if (was.what == SELF && was.dirty)
				m_stamp(m, was.first); /* harmless: nobody waits for the self-map */
			if (was.dirty)
				gone(m, was);
			break;
		case FH_OP_UNMAP_FREE: why = unmap(m, at, w, &d->kept); break;
		case FH_OP_UNLINK_FREE: why = unlink(m, at, w, &d->kept); break;
		}
		if (why)
			break;
		d->old = old;
		d->seen |= was.what == EMPTY ? 0 : (was.accessed ? 1ul << 5 : 0) | (was.dirty ? 1ul << 6 : 0);
	}
	return d->done ? 0 : why;
}

struct m_result m_pt_set(struct model *m, unsigned me, uint64_t what, uint64_t entry, uint64_t va)
{
	struct spot at;
	unsigned flush = bits(what, 4, 5), why = check_what(m, me, what, &at);
	if (bits(what, 8, 17) != 1)
		why |= M_EINVAL;
	bool canonical = va < 1ul << 47 || va >= ~0ul << 47;
	if (flush == 1 && (!canonical || va >= 0xffffff8000000000ul))
		why |= M_EINVAL;
	if (flush == 2 && m->ncpus > 1 && m->budget == 0)
		why |= M_EAGAIN;
	if (why)
		return refused(why);
	struct step d;
	why = round_of(m, &at, what, entry, 1, &d);
	if (why)
		return refused(why);
	if (flush == 2)
		m_flush_owner(m, at.owner);
	else if (flush == 1 && va == 0)
		m_reload(m, m->cpu);
	return (struct m_result){.value = d.kept ? FH_OP_KEPT : FH_OP_DONE, .old = d.old};
}

struct m_result m_pt_update(struct model *m, unsigned me, struct fh_op *ops, uint64_t n)
{
	uint64_t done = 0, work = 0;
	unsigned why = 0, flush = 0, local = 0;
	bool stop = false;
	m->forced = 0;
	while (done < n && !stop && !why) {
		struct fh_op *op = &ops[done];
		struct spot at;
		struct step d;
		unsigned count = bits(op->what, 8, 17), code = bits(op->what, 0, 3), mode = bits(op->what, 4, 5);
		why = check_what(m, me, op->what, &at);
		if (mode >= 2 && m->ncpus > 1 && m->budget == 0)
			why |= M_EAGAIN;
		if (why)
			break;
		if ((why = round_of(m, &at, op->what, op->entry, count < M_ROUND ? count : M_ROUND, &d)) != 0)
			break;
		bool claims = code == FH_OP_CLAIM || code == FH_OP_LINK_NEW;
		/* Bits 27-29 are for what earlier rounds saw: A, D, something kept. */
		bool seen_a = bit(op->what, 27) || bit(d.seen, 5), seen_d = bit(op->what, 28) || bit(d.seen, 6);
		bool kept = bit(op->what, 29) || d.kept;
		struct entry named = m_read_entry(at.level, at.t, op->entry);
		op->what -= (uint64_t)d.done << 8;
		if (d.done == count) { /* the index stays where the last round began */
			op->entry = d.old | (seen_a ? 1ul << 5 : 0) | (seen_d ? 1ul << 6 : 0);
			op->what &= ~(7ul << 27);
			op->what |= (uint64_t)(kept ? FH_OP_KEPT : FH_OP_DONE) << 59;
			done++;
		} else {
			if (claims || (code == FH_OP_SET && named.what != EMPTY))
				op->entry += d.done * named.n * 4096;
			op->what += (uint64_t)d.done << 18;
			op->what |= (uint64_t)seen_a << 27 | (uint64_t)seen_d << 28 | (uint64_t)kept << 29;
		}
		if (mode == 2 && flush != at.owner) {
			if (flush)
				m_flush_owner(m, flush);
			flush = at.owner;
		}
		local |= mode;
		work += at.level == 2 ? M_ROUND : d.done;
		stop = m->forced != 0;
		if (work >= M_ROUND && !stop) {
			work = 0;
			stop = m->interrupt;
		}
	}
	if (flush)
		m_flush_owner(m, flush);
	else if (local)
		m_reload(m, m->cpu);
	return (struct m_result){.why = why, .old = done};
}
