/* model.c - see model.h. Written from docs/design.md and the comments of abi.h: "INV 4" is invariant 4 there. */
#include "model.h"
#include <stdlib.h>
#include <string.h>

/* ---- Words ---- */

static bool bit(uint64_t w, unsigned n) { return w >> n & 1; }
static uint64_t bits(uint64_t w, unsigned lo, unsigned hi) { return w << (63 - hi) >> (63 - hi + lo); }

static struct m_result refused(unsigned why) { return (struct m_result){.why = why}; }
static struct m_result gives(long value) { return (struct m_result){.value = value}; }

unsigned m_reason(long error)
{
#define FH_X(name, number, text) if (error == -(number)) return M_##name;
	FH_ERRORS(FH_X)
#undef FH_X
	return 0;
}

unsigned m_index(unsigned slot) { return slot < 2 ? slot : slot + 508; }
int m_slot(unsigned index) { return index < 2 ? (int)index : index == 510 || index == 511 ? (int)index - 508 : -1; }

enum what { EMPTY, LEAF, LARGE, LINK, SELF };

struct entry {
	enum what what;
	uint64_t first, n; /* frames named */
	bool writable, no_exec, dirty, accessed, uncached; /* uncached: any cache bit */
};

/* What the CPU makes of a word in slot of a table of this level; t: the table. */
static struct entry read_entry(unsigned level, unsigned t, uint64_t w)
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

/* INV 7: may a user write this word there, whatever it names? */
static unsigned check_word(const struct model *m, unsigned level, uint64_t w, struct entry *e)
{
	unsigned why = 0;
	*e = read_entry(level, ~0u, w); /* a self-map still looks like a link */
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
static unsigned level_of(unsigned type) { return type == FH_PT1 ? 1 : type == FH_PT2 ? 2 : type == FH_PT3 ? 3 : 4; }
static bool counted(unsigned type) { return type != FH_TABLE && type != FH_CPU; }

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
static bool on_one_line(const struct model *m, unsigned a, unsigned b) { return m_within(m, a, b) || m_within(m, b, a); }

/* The entry in a modelled slot; the kernel's own counts as none. */
static struct entry entry_at(const struct model *m, unsigned t, unsigned slot)
{
	if (m->f[t].type == FH_PT4 && m_index(slot) == 511)
		return (struct entry){.what = EMPTY};
	return read_entry(level_of(m->f[t].type), t, m->f[t].slot[slot]);
}

void m_references(const struct model *m, unsigned *refs)
{
	for (unsigned n = 0; n < m->nframes; n++)
		refs[n] = m->f[n].extra;
	for (unsigned n = 0; n < m->special; n++) {
		const struct m_frame *f = &m->f[n];
		for (unsigned s = 0; m_is_table(f->type) && s < M_SLOTS; s++) {
			struct entry e = entry_at(m, n, s);
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
		struct entry e = entry_at(m, t, s);
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
			struct entry e = entry_at(m, t, s);
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
static bool same_name(struct m_name a, struct m_name b) { return a.env == b.env && a.serial == b.serial; }
bool m_lives(const struct model *m, struct m_name name)
{
	return name.env != 0 && m->f[name.env].type == FH_ENV && m->f[name.env].serial == name.serial && !m->f[name.env].dead;
}

/* ---- The TLB clock (DESIGN 4) ---- */

static void load_root(struct model *m, unsigned cpu) { m->epoch[cpu] = m->clock; }

static bool quiet(const struct model *m, uint64_t stamp)
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
	load_root(m, m->cpu);
	for (unsigned c = 0; c < m->ncpus; c++)
		if (m->epoch[c] <= s && (owner == 0 || m->f[m->loaded[c]].owner == owner))
			load_root(m, c);
}

/* What the wait for quiet comes to: nothing, or EAGAIN. */
static unsigned would_wait(const struct model *m, uint64_t stamp) { return quiet(m, stamp) || m->budget ? 0 : M_EAGAIN; }
static void await(struct model *m, uint64_t stamp)
{
	if (!quiet(m, stamp))
		force(m, stamp, 0);
}

static void flush_owner(struct model *m, unsigned owner)
{
	if (m->ncpus > 1)
		force(m, m->clock, owner);
	else
		load_root(m, m->cpu);
}

static void stamp(struct model *m, uint64_t f)
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
	load_root(m, m->cpu);
	if (old != root && old != M_NO_ROOT)
		stamp(m, old);
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
	load_root(m, m->cpu);
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
		stamp(m, old);
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

/* May e own n frames more? */
static unsigned check_quota(const struct model *m, unsigned e, long n)
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

/* An ancestor takes f from e, who is told. */
static void repossess(struct model *m, unsigned e, unsigned f)
{
	if (m->f[e].nlost < 4)
		m->f[e].lost[m->f[e].nlost] = f;
	m->f[e].nlost++;
}

/* ---- Frames ---- */

static unsigned check_run(const struct model *m, uint64_t first, uint64_t n)
{
	return n == 0 || first >= m->nframes || n > m->nframes - first ? M_EINVAL : 0;
}

static void fill(struct m_frame *f, uint64_t word)
{
	for (unsigned s = 0; s < M_SLOTS; s++)
		f->slot[s] = word;
}

/* The same frame with nothing in it but its type and owner; stamp and bytes stay. */
static void become(struct model *m, unsigned n, unsigned type, unsigned owner)
{
	struct m_frame was = m->f[n], *f = &m->f[n];
	*f = (struct m_frame){.type = type, .owner = owner, .stamp = was.stamp};
	memcpy(f->slot, was.slot, sizeof f->slot);
}

/* INV 10 */
static void claim(struct model *m, unsigned f, unsigned type, unsigned owner, bool keep)
{
	if (!keep || !same_name(m->f[f].tenant, m_name_of(m, owner)))
		fill(&m->f[f], 0);
	become(m, f, type, owner);
}

static void release(struct model *m, unsigned me, unsigned f)
{
	unsigned owner = m->f[f].owner;
	if (me != owner)
		repossess(m, owner, f);
	if (m->f[f].type == FH_DATA)
		fill(&m->f[f], M_POISON);
	become(m, f, FH_FREE, 0);
	m->f[f].tenant = m_name_of(m, owner);
}

/* Frames from `first` on that e could claim: how many, at most n, in steps of `each`, or why not even one step. */
static unsigned check_claim(const struct model *m, unsigned e, uint64_t first, uint64_t n, uint64_t each, uint64_t *got)
{
	unsigned why = check_quota(m, e, each);
	uint64_t newest = 0;
	long room = m->f[e].quota - m_owned(m, e);
	for (*got = 0; *got < n && (long)*got < room && first + *got < m->nframes && m->f[first + *got].type == FH_FREE; ++*got)
		if (newest < m->f[first + *got].stamp)
			newest = m->f[first + *got].stamp;
	uint64_t is_free = *got;
	while (is_free < each && first + is_free < m->nframes && m->f[first + is_free].type == FH_FREE)
		is_free++;
	if (is_free < each)
		why |= M_EBUSY;
	*got -= *got % each;
	return why ? why : would_wait(m, newest);
}

static void await_frames(struct model *m, uint64_t first, uint64_t n)
{
	uint64_t newest = 0;
	for (uint64_t i = 0; i < n; i++)
		if (newest < m->f[first + i].stamp)
			newest = m->f[first + i].stamp;
	await(m, newest);
}

struct m_result m_alloc(struct model *m, unsigned me, uint64_t first, uint64_t n, uint64_t name, uint64_t flags)
{
	unsigned why = check_run(m, first, n);
	if (flags != 0 && flags != 1)
		why |= M_EINVAL;
	struct m_result env = m_lookup(m, me, name);
	why |= env.why;
	if (env.why)
		return refused(why);
	unsigned e = env.value;
	if (!m_authority(m, me, e))
		why |= M_EPERM;
	uint64_t got;
	if (!(why & M_EINVAL))
		why |= check_claim(m, e, first, n < M_ROUND ? n : M_ROUND, 1, &got);
	if (why)
		return refused(why);
	await_frames(m, first, got);
	for (uint64_t i = 0; i < got; i++)
		claim(m, first + i, FH_DATA, e, flags & 1);
	return gives(got);
}

struct m_result m_free(struct model *m, unsigned me, uint64_t first, uint64_t n)
{
	unsigned why = check_run(m, first, n), done = 0;
	if (why)
		return refused(why);
	for (; done < n && done < M_ROUND; done++) {
		unsigned f = first + done;
		if (!m_authority(m, me, m->f[f].owner))
			why |= M_EPERM;
		else if (m->f[f].type != FH_DATA || m_refs(m, f) != 0)
			why |= M_EBUSY;
		if (why)
			break;
		release(m, me, f);
	}
	return done ? gives(done) : refused(why);
}

static struct m_result from_data(struct model *m, unsigned f, unsigned type)
{
	unsigned why = 0, owner = m->f[f].owner;
	if (type == FH_ENV && m->f[owner].depth + 1 > 16)
		why |= M_ENOSPC;
	if (m_refs(m, f) != 0)
		why |= M_EBUSY;
	if (why || (why = would_wait(m, m->f[f].stamp)) != 0)
		return refused(why);
	await(m, m->f[f].stamp);
	if ((type == FH_ENV || type == FH_THREAD) && m->clock > M_SERIAL_MAX)
		return refused(M_ENOSPC);
	become(m, f, type, owner);
	fill(&m->f[f], 0);
	if (type == FH_PT4)
		m->f[f].slot[3] = M_KERNEL_ENTRY;
	if (type == FH_ENV || type == FH_THREAD)
		m->f[f].serial = m->clock;
	if (type == FH_ENV)
		m->f[f].depth = m->f[owner].depth + 1;
	return gives(0);
}

static struct m_result to_data(struct model *m, unsigned n)
{
	struct m_frame *f = &m->f[n];
	unsigned why = 0, owner = f->owner;
	if (f->type == FH_ENV && owner == n)
		return refused(M_EPERM);
	if (m_refs(m, n) != 0)
		why |= M_EBUSY;
	if (f->type == FH_ENV && m_owned(m, n) != 0)
		why |= M_ENOTEMPTY;
	if (m_is_table(f->type) && m_present(m, n) != 0)
		why |= M_ENOTEMPTY;
	if (f->type == FH_THREAD && f->run != FH_STOPPED && f->run != FH_FAULTED)
		why |= M_EBUSY;
	if (why)
		return refused(why);
	/* From here on even a refusal has done something: the env is dead, the thread's serial is in the stamp. */
	if (f->type == FH_ENV && !f->dead) {
		m->f[owner].quota += f->quota;
		f->quota = 0;
		f->dead = true;
		f->frozen = false; /* nothing of a dead env is left to freeze */
		stamp(m, n);
	}
	if (f->type == FH_THREAD && f->stamp < f->serial)
		f->stamp = f->serial;
	if ((why = would_wait(m, f->stamp)) != 0)
		return refused(why);
	await(m, f->stamp);
	for (unsigned i = 0; f->type == FH_THREAD && i < 4; i++)
		if (f->pin[i])
			stamp(m, f->pin[i]);
	become(m, n, FH_DATA, owner);
	fill(f, 0);
	return gives(0);
}

struct m_result m_retype(struct model *m, unsigned me, uint64_t f, uint64_t type)
{
	if (f >= m->nframes)
		return refused(M_EINVAL);
	unsigned why = 0, from = m->f[f].type;
	bool made = type == FH_PT1 || type == FH_PT2 || type == FH_PT3 || type == FH_PT4 || type == FH_ENV || type == FH_THREAD;
	if (!made && type != FH_DATA)
		why |= M_EINVAL;
	if (!m_authority(m, me, m->f[f].owner))
		why |= M_EPERM;
	if (why)
		return refused(why);
	if (made && from == FH_DATA)
		return from_data(m, f, type);
	if (type == FH_DATA && (m_is_table(from) || from == FH_ENV || from == FH_THREAD))
		return to_data(m, f);
	return refused(M_EBUSY);
}

/* ---- Grants (DESIGN 5) ---- */

static bool takeable(unsigned type) { return type == FH_DATA || type == FH_DEVICE || type == FH_CPU; }
static bool window(unsigned type) { return type == FH_PT1 || type == FH_PT2; }

/* An entry has left its slot: what it named is stamped. The self-map names nothing that it holds. */
static void gone(struct model *m, struct entry e)
{
	for (uint64_t i = 0; e.what != EMPTY && e.what != SELF && i < e.n; i++)
		stamp(m, e.first + i);
}

static void withdraw(struct model *m, unsigned f)
{
	unsigned index, parent;
	m->f[f].tenant = (struct m_name){0, 0};
	if (!window(m->f[f].type) || (parent = m_foreign(m, f, &index)) == 0)
		return;
	if (m_within(m, m->f[f].owner, m->f[parent].owner)) /* an ancestor's: it was never a tenant's */
		return;
	m->f[parent].slot[m_slot(index)] = 0;
	stamp(m, f);
}

struct m_result m_grant(struct model *m, unsigned me, uint64_t f, uint64_t name)
{
	if (f >= m->nframes)
		return refused(M_EINVAL);
	unsigned why = 0, type = m->f[f].type, owner = m->f[f].owner;
	if (name != 0 && m_is_table(type)) { /* first of all, and before anything is checked */
		if ((why = would_wait(m, m->f[f].stamp)) != 0)
			return refused(why);
		await(m, m->f[f].stamp);
	}
	if (!m_authority(m, me, owner))
		why |= M_EPERM;
	else if (!takeable(type) && !window(type))
		why |= M_EBUSY;
	if (name == 0 && !why) {
		withdraw(m, f);
		if (window(type) && (why = would_wait(m, m->f[f].stamp)) == 0)
			await(m, m->f[f].stamp);
		return why ? refused(why) : gives(0);
	}
	struct m_result to = m_lookup(m, me, name);
	why |= name ? to.why : 0;
	if (!to.why && (unsigned)to.value == owner)
		why |= M_EINVAL;
	if (m_authority(m, me, owner) && m->f[f].tenant.env != 0)
		why |= M_EBUSY;
	if (why)
		return refused(why);
	m->f[f].tenant = m_name_of(m, to.value);
	if (me != owner && takeable(type))
		repossess(m, owner, f);
	return gives(0);
}

struct m_result m_take(struct model *m, unsigned me, uint64_t first, uint64_t n)
{
	unsigned why = check_run(m, first, n), type = why ? FH_KERNEL : m->f[first].type;
	if (why)
		return refused(why);
	long room = m->f[me].quota - m_owned(m, me);
	uint64_t got = 0;
	for (; got < n && got < M_ROUND; got++) {
		const struct m_frame *f = &m->f[first + got];
		unsigned not = 0;
		if (!takeable(f->type) || f->type != type || !same_name(f->tenant, m_name_of(m, me)))
			not |= M_EPERM;
		else if (f->type != FH_CPU && m_refs(m, first + got) != 0)
			not |= M_EBUSY;
		if (got == 0)
			not |= not & M_EPERM ? 0 : check_quota(m, me, 1), why |= not;
		if (not || (long)got >= room)
			break;
	}
	if (why)
		return refused(why);
	uint64_t newest = 0;
	for (uint64_t i = 0; type != FH_CPU && i < got; i++)
		if (newest < m->f[first + i].stamp)
			newest = m->f[first + i].stamp;
	if (type != FH_CPU) {
		if ((why = would_wait(m, newest)) != 0)
			return refused(why);
		await(m, newest);
	}
	for (uint64_t i = 0; i < got; i++) {
		m->f[first + i].owner = me;
		m->f[first + i].tenant = (struct m_name){0, 0};
	}
	return gives(got);
}

struct m_result m_sync(struct model *m, uint64_t first, uint64_t n)
{
	unsigned why = check_run(m, first, n);
	uint64_t newest = 0;
	n = n < M_ROUND ? n : M_ROUND;
	for (uint64_t i = 0; !why && i < n; i++)
		if (newest < m->f[first + i].stamp)
			newest = m->f[first + i].stamp;
	why |= why ? 0 : would_wait(m, newest);
	if (why)
		return refused(why);
	await(m, newest);
	return gives(n);
}

/* ---- Page-table operations ---- */

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

static struct entry current(const struct spot *at) { return read_entry(at->level, at->t, *at->slot); }

/* INV 4: may a leaf with these rights in this table name frame f? */
static unsigned check_leaf(const struct model *m, const struct spot *at, struct entry e, unsigned f)
{
	unsigned why = 0, type = m->f[f].type, owner = m->f[f].owner;
	bool memory = type == FH_DATA || type == FH_DEVICE;
	if (type == FH_FREE || type == FH_KERNEL)
		return M_EPERM;
	if (e.uncached && type != FH_DEVICE)
		why |= M_EINVAL;
	if (memory && (!m_authority(m, at->me, owner) || !on_one_line(m, owner, at->owner)))
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
	unsigned why = check_word(m, at->level, w, &e);
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
	return bit(w, 0) || (w != 0 && check_word(m, level, w, &e) != 0) ? M_EINVAL : 0;
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
	for (uint64_t f = was.first; was.what != EMPTY && f < was.first + was.n; f++)
		if (m->f[f].type == FH_DATA && refs[f] == 0 && m_authority(m, at->me, m->f[f].owner))
			release(m, at->me, f);
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
		release(m, at->me, c);
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
	unsigned why = check_word(m, at->level, w, &e), index = at->index, slots = 0;
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
	why |= check_claim(m, at->owner, e.first, (slots ? slots : 1) * e.n, e.n, &got);
	if (why)
		return why;
	await_frames(m, e.first, got);
	for (uint64_t i = 0; i < got; i++)
		claim(m, e.first + i, leaf ? FH_DATA : FH_PT1 + at->level - 2, at->owner, leaf && keep);
	for (; d->done < got / e.n; d->done++) {
		look(m, at, index + d->done);
		d->old = *at->slot;
		*at->slot = w + d->done * e.n * 4096;
	}
	return 0;
}

/* One round of an operation: up to n slots, of a PT2 one, and one is unlinked at a time. Why it stopped at the first; else how many were done. */
static unsigned round_of(struct model *m, struct spot *at, uint64_t what, uint64_t w, unsigned n, struct step *d)
{
	unsigned op = bits(what, 0, 3), why = check_left(m, at->level, op, w), index = at->index;
	struct entry named;
	check_word(m, at->level, w, &named);
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
				stamp(m, was.first); /* harmless: nobody waits for the self-map */
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
		flush_owner(m, at.owner);
	else if (flush == 1 && va == 0)
		load_root(m, m->cpu);
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
		struct entry named = read_entry(at.level, at.t, op->entry);
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
				flush_owner(m, flush);
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
		flush_owner(m, flush);
	else if (local)
		load_root(m, m->cpu);
	return (struct m_result){.why = why, .old = done};
}

/* ---- Invariants ---- */

static const char *broken_entry(const struct model *m, unsigned t, unsigned slot)
{
	const struct m_frame *table = &m->f[t];
	uint64_t w = table->slot[slot];
	unsigned level = level_of(table->type), index;
	struct entry e, is = entry_at(m, t, slot);
	if (level == 4 && m_index(slot) == 511)
		return w == M_KERNEL_ENTRY ? NULL : "6 PML4[511] is the kernel's";
	if (check_word(m, level, w, &e) != 0)
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
		if (memory && !on_one_line(m, owner, table->owner))
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
		if ((leaves || taken) && a->type != FH_CPU && (refs[n] != 0 || !quiet(after, a->stamp)))
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
