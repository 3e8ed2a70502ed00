/* frames.c - the model's frame_alloc, frame_free, frame_retype, frame_grant, frame_take and frame_sync. */
#include "parts.h"

/* An ancestor takes f from e, who is told. */
static void repossess(struct model *m, unsigned e, unsigned f)
{
	if (m->f[e].nlost < 4)
		m->f[e].lost[m->f[e].nlost] = f;
	m->f[e].nlost++;
}

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
void m_claim(struct model *m, unsigned f, unsigned type, unsigned owner, bool keep)
{
	if (!keep || !same_name(m->f[f].tenant, m_name_of(m, owner)))
		fill(&m->f[f], 0);
	become(m, f, type, owner);
}

void m_release(struct model *m, unsigned me, unsigned f)
{
	unsigned owner = m->f[f].owner;
	if (me != owner)
		repossess(m, owner, f);
	if (m->f[f].type == FH_DATA)
		fill(&m->f[f], M_POISON);
	become(m, f, FH_FREE, 0);
	m->f[f].tenant = m_name_of(m, owner);
}

unsigned m_check_claim(const struct model *m, unsigned e, uint64_t first, uint64_t n, uint64_t each, uint64_t *got)
{
	unsigned why = m_check_quota(m, e, each);
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
	return why ? why : m_would_wait(m, newest);
}

void m_await_frames(struct model *m, uint64_t first, uint64_t n)
{
	uint64_t newest = 0;
	for (uint64_t i = 0; i < n; i++)
		if (newest < m->f[first + i].stamp)
			newest = m->f[first + i].stamp;
	m_await(m, newest);
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
		why |= m_check_claim(m, e, first, n < M_ROUND ? n : M_ROUND, 1, &got);
	if (why)
		return refused(why);
	m_await_frames(m, first, got);
	for (uint64_t i = 0; i < got; i++)
		m_claim(m, first + i, FH_DATA, e, flags & 1);
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
		m_release(m, me, f);
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
	if (why || (why = m_would_wait(m, m->f[f].stamp)) != 0)
		return refused(why);
	m_await(m, m->f[f].stamp);
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
		m_stamp(m, n);
	}
	if (f->type == FH_THREAD && f->stamp < f->serial)
		f->stamp = f->serial;
	if ((why = m_would_wait(m, f->stamp)) != 0)
		return refused(why);
	m_await(m, f->stamp);
	for (unsigned i = 0; f->type == FH_THREAD && i < 4; i++)
		if (f->pin[i])
			m_stamp(m, f->pin[i]);
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

static void withdraw(struct model *m, unsigned f)
{
	unsigned index, parent;
	m->f[f].tenant = (struct m_name){0, 0};
	if (!window(m->f[f].type) || (parent = m_foreign(m, f, &index)) == 0)
		return;
	if (m_within(m, m->f[f].owner, m->f[parent].owner)) /* an ancestor's: it was never a tenant's */
		return;
	m->f[parent].slot[m_slot(index)] = 0;
	m_stamp(m, f);
}

struct m_result m_grant(struct model *m, unsigned me, uint64_t f, uint64_t name)
{
	if (f >= m->nframes)
		return refused(M_EINVAL);
	unsigned why = 0, type = m->f[f].type, owner = m->f[f].owner;
	if (name != 0 && m_is_table(type)) { /* first of all, and before anything is checked */
		if ((why = m_would_wait(m, m->f[f].stamp)) != 0)
			return refused(why);
		m_await(m, m->f[f].stamp);
	}
	if (!m_authority(m, me, owner))
		why |= M_EPERM;
	else if (!takeable(type) && !window(type))
		why |= M_EBUSY;
	if (name == 0 && !why) {
		withdraw(m, f);
		if (window(type) && (why = m_would_wait(m, m->f[f].stamp)) == 0)
			m_await(m, m->f[f].stamp);
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
	unsigned index, parent = window(type) ? m_foreign(m, f, &index) : 0, by = m->f[parent].owner;
	if (parent != 0 && by != (unsigned)to.value && !m_within(m, owner, by)) /* somebody else reaches it */
		return refused(M_EBUSY);
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
			not |= not & M_EPERM ? 0 : m_check_quota(m, me, 1), why |= not;
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
		if ((why = m_would_wait(m, newest)) != 0)
			return refused(why);
		m_await(m, newest);
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
	why |= why ? 0 : m_would_wait(m, newest);
	if (why)
		return refused(why);
	m_await(m, newest);
	return gives(n);
}
