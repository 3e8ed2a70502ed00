/* invariants.c - the invariants of DESIGN 2, of a state and of a step of the model. */
#include "parts.h"

static const char *broken_entry(const struct model *m, unsigned t, unsigned slot)
{
	const struct m_frame *table = &m->f[t];
	uint64_t w = table->slot[slot];
	unsigned level = level_of(table->type), index;
	struct entry e, is = m_entry_at(m, t, slot);
	if (level == 4 && m_index(slot) == 511)
		return w == M_KERNEL_ENTRY ? NULL : "6 PML4[511] is the kernel's";
	if (m_check_word(m, level, w, &e) != 0)
		return "7 what may stand in an entry";
	if (is.what == SELF)
		return !is.writable && is.no_exec ? NULL : "5 the self-map is read-only and NX";
	if (is.what == LINK) {
		unsigned c = is.first;
		if (!m_is_table(m->f[c].type) || level_of(m->f[c].type) != level - 1)
			return "5 a link names a table one level down";
		unsigned parent = m_foreign(m, c, &index);
		if (m->f[c].owner != table->owner && (parent != t || index != m_index(slot)))
			return "5 one foreign link";
		return NULL;
	}
	for (uint64_t f = is.first; is.what != EMPTY && f < is.first + is.n; f++) {
		unsigned type = m->f[f].type, owner = m->f[f].owner;
		bool memory = type == FH_DATA || (type == FH_DEVICE && is.what == LEAF);
		if (memory && !m_on_one_line(m, owner, table->owner))
			return "4 a frame of the table's line of descent";
		if (memory && is.what == LARGE && owner != m->f[is.first].owner)
			return "7 a large page of one owner";
		if (!memory && is.writable)
			return "7 only memory is writable";
		if (!memory && counted(type) && f != table->owner && (owner == 0 || !m_within(m, owner, table->owner)))
			return "4 what isn't memory is shown to its owner and ancestors";
		if (!memory && is.what == LARGE && (type != FH_TABLE || !is.no_exec))
			return "7 a large page of DATA, or of TABLE, NX";
		if (is.uncached && type != FH_DEVICE)
			return "7 cache bits on DEVICE only";
	}
	return NULL;
}

const char *m_broken(const struct model *m, unsigned *frame)
{
	unsigned refs[M_FRAMES];
	long quota[M_FRAMES];
	m_references(m, refs);
	for (unsigned n = 0; n < m->nframes; n++)
		quota[n] = 0;
	for (unsigned n = 0; n < m->nframes; n++) {
		const struct m_frame *f = &m->f[n];
		bool owned = f->type != FH_FREE && f->type != FH_KERNEL && f->type != FH_TABLE;
		*frame = n;
		if (f->type >= FH_BUSY)
			return "1 one type";
		if (owned != (f->owner != 0) || (owned && m->f[f->owner].type != FH_ENV))
			return "1 one owner, an ENV";
		if (owned && m->f[f->owner].dead)
			return "7 a dead env owns nothing";
		if (f->type == FH_ENV && f->depth > 16)
			return "2 depth of envs";
		if ((f->type == FH_FREE || f->type == FH_KERNEL) && refs[n])
			return "2 nothing refers to what is nobody's";
		if (f->tenant.env && f->type != FH_FREE && !takeable(f->type) && !window(f->type))
			return "1 only memory, devices, CPUs and windows are granted";
		if (owned && f->tenant.env && same_name(f->tenant, m_name_of(m, f->owner)))
			return "1 nothing is granted to its owner";
		if (f->stamp > m->clock)
			return "3 no stamp is ahead of the clock";
		if (owned)
			quota[f->owner]++;
		for (unsigned s = 0; m_is_table(f->type) && s < M_SLOTS; s++) {
			const char *why = broken_entry(m, n, s);
			if (why)
				return why;
		}
		for (unsigned i = 0; f->type == FH_THREAD && i < 4; i++)
			if (f->pin[i] && (m->f[f->pin[i]].owner != f->owner || m->f[f->pin[i]].type != (i < 2 ? FH_PT4 : FH_DATA)))
				return "2 a thread pins frames of its own env";
	}
	for (unsigned n = 0; n < m->nframes; n++)
		if (m->f[n].type == FH_ENV && quota[n] > m->f[n].quota) {
			*frame = n;
			return "9 an env owns at most its quota";
		}
	return NULL;
}

const char *m_bad_step(const struct model *before, const struct model *after, unsigned *frame)
{
	static unsigned refs[M_FRAMES];
	long quota = 0;
	m_references(before, refs);
	for (unsigned n = 0; n < before->nframes; n++) {
		const struct m_frame *a = &before->f[n], *b = &after->f[n];
		*frame = n;
		quota += (b->type == FH_ENV ? b->quota : 0) - (a->type == FH_ENV ? a->quota : 0);
		bool leaves = a->type != b->type && b->type != FH_FREE, taken = a->type == b->type && a->owner != b->owner;
		if ((leaves || taken) && a->type != FH_CPU && (refs[n] != 0 || !m_quiet(after, a->stamp)))
			return "3 what changes type or owner is referred to by nobody, and quiet";
		if (a->type != b->type && b->type != FH_FREE && a->type != FH_FREE && a->type != FH_DATA && b->type != FH_DATA)
			return "3 everything becomes DATA first";
		if (taken && !takeable(a->type))
			return "5 only DATA, DEVICE and CPU frames change hands";
		if (b->stamp < a->stamp)
			return "3 stamps only grow";
	}
	if (quota != 0)
		return "9 quota is moved, never made or lost";
	return after->clock < before->clock ? "3 the clock only advances" : NULL;
}
