/*
 * model.c - words, names, what is looked up, the TLB clock. Written, as frames.c, tables.c and invariants.c are, from
 * docs/design.md and the comments of abi.h: "INV 4" is invariant 4 there.
 */
#include "parts.h"

/* ---- Words ---- */

unsigned m_reason(long error)
{
#define FH_X(name, number, text) if (error == -(number)) return M_##name;
	FH_ERRORS(FH_X)
#undef FH_X
	return 0;
}

unsigned m_index(unsigned slot) { return slot < 2 ? slot : slot + 508; }
int m_slot(unsigned index) { return index < 2 ? (int)index : index == 510 || index == 511 ? (int)index - 508 : -1; }

struct entry m_read_entry(unsigned level, unsigned t, uint64_t w)
{
	struct entry e = {.what = EMPTY};
	if (!bit(w, 0))
		return e;
	e.first = bits(w, 12, 38);
	e.n = 1;
	e.writable = bit(w, 1);
	e.no_exec = bit(w, 63);
	e.accessed = bit(w, 5);
	e.dirty = bit(w, 6);
	e.uncached = bit(w, 3) || bit(w, 4) || (level == 1 && bit(w, 7));
	if (level == 1)
		e.what = LEAF;
	else if (level == 2 && bit(w, 7)) {
		e.what = LARGE;
		e.n = 512;
	} else
		e.what = level == 4 && e.first == t ? SELF : LINK;
	return e;
}

unsigned m_check_word(const struct model *m, unsigned level, uint64_t w, struct entry *e)
{
	unsigned why = 0;
	*e = m_read_entry(level, ~0u, w); /* a self-map still looks like a link */
	if (!bit(w, 0)) {
		uint64_t named = bits(w, 12, m->width - 1), size = 1;
		if (bit(w, 7) && level == 2)
			size = 512;
		if (bit(w, 7) && level == 3)
			size = 512 * 512;
		named -= named % size;
		if ((named != 0 || size > 1) && named < m->nframes)
			why |= M_EINVAL;
		return why;
	}
	if (!bit(w, 2) || bit(w, 8) || bits(w, 39, 51) != 0)
		why |= M_EINVAL;
	if (e->first >= m->nframes)
		return why | M_EINVAL;
	if (level > 1 && e->uncached)
		why |= M_EINVAL;
	if (level > 2 && bit(w, 7))
		why |= M_EINVAL;
	if (e->what == LARGE) {
		if (e->first % 512 != 0 || e->first + 512 > m->nframes)
			why |= M_EINVAL;
		if (!e->no_exec && !m->large_exec)
			why |= M_EACCES;
	}
	return why;
}

/* ---- What is looked up ---- */

bool m_is_table(unsigned type) { return type == FH_PT1 || type == FH_PT2 || type == FH_PT3 || type == FH_PT4; }

/* Owners lead from an env to root, who owns itself. */
bool m_within(const struct model *m, unsigned e, unsigned a)
{
	for (unsigned steps = 0; steps <= 16; steps++) {
		if (e == a)
			return true;
		if (e == 0 || m->f[e].owner == e)
			return false;
		e = m->f[e].owner;
	}
	return false;
}

bool m_authority(const struct model *m, unsigned me, unsigned owner) { return owner != 0 && m_within(m, owner, me); }
bool m_on_one_line(const struct model *m, unsigned a, unsigned b) { return m_within(m, a, b) || m_within(m, b, a); }

struct entry m_entry_at(const struct model *m, unsigned t, unsigned slot)
{
	if (m->f[t].type == FH_PT4 && m_index(slot) == 511)
		return (struct entry){.what = EMPTY};
	return m_read_entry(level_of(m->f[t].type), t, m->f[t].slot[slot]);
}

void m_references(const struct model *m, unsigned *refs)
{
	for (unsigned n = 0; n < m->nframes; n++)
		refs[n] = m->f[n].extra;
	for (unsigned n = 0; n < m->special; n++) {
		const struct m_frame *f = &m->f[n];
		for (unsigned s = 0; m_is_table(f->type) && s < M_SLOTS; s++) {
			struct entry e = m_entry_at(m, n, s);
			for (uint64_t i = 0; e.what != SELF && i < e.n; i++)
				refs[e.first + i]++;
		}
		if (f->type == FH_THREAD) {
			for (unsigned i = 0; i < 4; i++)
				refs[f->pin[i]] += f->pin[i] != 0;
			refs[n] += f->run == FH_RUNNING;
		}
	}
	for (unsigned c = 0; c < m->ncpus; c++)
		refs[m->loaded[c]] += m->loaded[c] != M_NO_ROOT;
	for (unsigned n = 0; n < m->nframes; n++)
		if (!counted(m->f[n].type))
			refs[n] = 0;
}

unsigned m_refs(const struct model *m, unsigned f)
{
	unsigned refs[M_FRAMES];
	m_references(m, refs);
	return refs[f];
}

unsigned m_present(const struct model *m, unsigned t)
{
	unsigned n = 0;
	for (unsigned s = 0; s < M_SLOTS; s++) {
		struct entry e = m_entry_at(m, t, s);
		n += e.what != EMPTY && e.what != SELF;
	}
	return n;
}

void m_foreign_all(const struct model *m, struct m_place *place)
{
	for (unsigned n = 0; n < m->nframes; n++)
		place[n] = (struct m_place){0, 0};
	for (unsigned t = 0; t < m->special; t++)
		for (unsigned s = 0; m_is_table(m->f[t].type) && s < M_SLOTS; s++) {
			struct entry e = m_entry_at(m, t, s);
			if (e.what == LINK && m->f[e.first].owner != m->f[t].owner)
				place[e.first] = (struct m_place){t, m_index(s)};
		}
}

unsigned m_foreign(const struct model *m, unsigned c, unsigned *index)
{
	struct m_place place[M_FRAMES];
	m_foreign_all(m, place);
	*index = place[c].index;
	return place[c].parent;
}

long m_owned(const struct model *m, unsigned e)
{
	long n = 0;
	for (unsigned f = 1; f < m->nframes; f++)
		n += m->f[f].owner == e && m->f[f].type != FH_FREE && m->f[f].type != FH_KERNEL;
	return n;
}

struct m_name m_name_of(const struct model *m, unsigned e) { return (struct m_name){e, m->f[e].serial}; }
bool m_lives(const struct model *m, struct m_name name)
{
	return name.env != 0 && m->f[name.env].type == FH_ENV && m->f[name.env].serial == name.serial && !m->f[name.env].dead;
}

/* ---- The TLB clock (DESIGN 4) ---- */

void m_reload(struct model *m, unsigned cpu) { m->epoch[cpu] = m->clock; }

bool m_quiet(const struct model *m, uint64_t stamp)
{
	for (unsigned c = 0; c < m->ncpus; c++)
		if (m->epoch[c] <= stamp)
			return false;
	return true;
}

/* Every CPU whose epoch isn't past s, and which runs a root of this owner (0: any), loads it again. */
static void force(struct model *m, uint64_t s, unsigned owner)
{
	m->forced++;
	m->budget -= m->budget > 0;
	if (m->clock == s)
		m->clock++;
	m_reload(m, m->cpu);
	for (unsigned c = 0; c < m->ncpus; c++)
		if (m->epoch[c] <= s && (owner == 0 || m->f[m->loaded[c]].owner == owner))
			m_reload(m, c);
}

/* What the wait for quiet comes to: nothing, or EAGAIN. */
unsigned m_would_wait(const struct model *m, uint64_t stamp) { return m_quiet(m, stamp) || m->budget ? 0 : M_EAGAIN; }
void m_await(struct model *m, uint64_t stamp)
{
	if (!m_quiet(m, stamp))
		force(m, stamp, 0);
}

void m_flush_owner(struct model *m, unsigned owner)
{
	if (m->ncpus > 1)
		force(m, m->clock, owner);
	else
		m_reload(m, m->cpu);
}

void m_stamp(struct model *m, uint64_t f)
{
	if (m->f[f].stamp < m->clock)
		m->f[f].stamp = m->clock;
}

void m_leave_idle(struct model *m)
{
	if (m->epoch[m->cpu] == M_IDLE)
		m->epoch[m->cpu] = m->clock;
}

void m_load(struct model *m, unsigned root)
{
	unsigned old = m->loaded[m->cpu];
	m->loaded[m->cpu] = root;
	m_reload(m, m->cpu);
	if (old != root && old != M_NO_ROOT)
		m_stamp(m, old);
}

void m_enter_idle(struct model *m)
{
	m_load(m, M_NO_ROOT);
	m->epoch[m->cpu] = M_IDLE;
}

void m_tick(struct model *m)
{
	if (m->clock == m->epoch[m->cpu])
		m->clock++;
	m->budget = 256;
	m_reload(m, m->cpu);
}

struct m_result m_pin(struct model *m, unsigned t, unsigned which, unsigned f)
{
	unsigned old = m->f[t].pin[which];
	if (f) {
		if (m->f[f].owner != m->f[t].owner || m->f[f].type != (which < 2 ? FH_PT4 : FH_DATA))
			return refused(M_EBUSY);
		if (m_refs(m, f) >= M_REFS_LIMIT)
			return refused(M_ENOSPC);
	}
	m->f[t].pin[which] = f;
	if (old)
		m_stamp(m, old);
	return gives(0);
}

/* ---- Names, quota ---- */

struct m_result m_lookup(const struct model *m, unsigned me, uint64_t name)
{
	unsigned e = bits(name, 0, 26), why = 0;
	uint64_t serial = bits(name, 27, 63);
	if (name == 0)
		return gives(me);
	if (e >= m->nframes || m->f[e].type != FH_ENV)
		return refused(M_ESRCH);
	if (serial != 0 && serial != m->f[e].serial)
		why |= M_ESRCH;
	else if (m->f[e].dead)
		why |= M_ECANCELED;
	if (serial == 0 && !m_authority(m, me, e))
		why |= M_EPERM;
	return why ? refused(why) : gives(e);
}

unsigned m_check_quota(const struct model *m, unsigned e, long n)
{
	unsigned why = 0;
	if (m->f[e].dead || m->f[e].frozen)
		why |= M_ECANCELED;
	if (m_owned(m, e) + n > m->f[e].quota)
		why |= M_EDQUOT;
	return why;
}

struct m_result m_move_quota(struct model *m, unsigned e, long n)
{
	unsigned why = 0, from = m->f[e].owner, to = e;
	if (m->f[e].owner == e)
		return refused(M_EPERM);
	if (n > M_ACCOUNT_MAX || n < -M_ACCOUNT_MAX)
		return refused(M_EINVAL);
	if (n < 0) {
		from = e;
		to = m->f[e].owner;
		n = -n;
	}
	if (m_owned(m, from) + n > m->f[from].quota || m->f[to].quota + n > M_ACCOUNT_MAX)
		why |= M_EDQUOT;
	if (n > 0 && m->f[to].dead)
		why |= M_ECANCELED;
	if (why)
		return refused(why);
	m->f[from].quota -= n;
	m->f[to].quota += n;
	return gives(0);
}
