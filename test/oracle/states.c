/*
 * states.c - small machines (`plans`), each with its own groups of calls: every one of these from every reachable state, or from
 * the first `limit` of them. Breadth first, states that differ only in which number a frame has, or by how much the clock has
 * advanced, being one. A pair of calls is the call that led to a state and the one made in it, both of the same machine's.
 */
#include "oracle.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT = 2 };
#define MAX_FRAMES 16u

/* What a machine's envs do. */
enum {
	FRAMES = 1, ENVS = 2, GRANTS = 4, ENTRIES = 8, CLAIMS = 16, ROOTS = 32, THREADS = 64, BATCHES = 128, RUNS = 256,
};

struct plan {
	const char *name;
	unsigned frames, long_frames, cpus, does;
	unsigned types;            /* frames become these: bits of enum fh_type */
	unsigned slots, nrights;
	uint64_t rights[4];
	void (*begin)(struct model *m);
	uint64_t limit; /* states looked at */
};

static const struct plan *plan;
static struct model start, now;

/* ---- One state out of all that are alike ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ (b + 0x9e3779b97f4a7c15ul)) * 0xbf58476d1ce4e5b9ul;
	return a ^ a >> 29;
}

/* Names of nobody who lives are one name; what quiet stamps were doesn't matter, nor any time but its order. */
static void forget_history(struct model *m)
{
	uint64_t first = M_IDLE, times[MAX_FRAMES * 2 + 3], n = 0;
	for (unsigned i = 0; i < m->nframes; i++) {
		struct m_frame *f = &m->f[i];
		if (f->tenant.env && !m_lives(m, f->tenant))
			f->tenant = f->type == FH_FREE ? (struct m_name){0, 0} : (struct m_name){1, 1};
	}
	for (unsigned i = 0; i < m->nframes; i++) {
		struct m_frame *f = &m->f[i];
		if (f->tenant.env > 1)
			f->tenant.serial = 2;
		if (f->type == FH_ENV)
			f->serial = 2;
		f->nlost = 0;
		memset(f->lost, 0, sizeof f->lost);
		if (f->type == FH_TABLE || f->type == FH_CPU)
			f->stamp = 0;
		for (unsigned s = 0; s < M_SLOTS && !m_is_table(f->type); s++)
			f->slot[s] = f->type == FH_DATA ? M_MARK : f->type == FH_FREE ? M_POISON : 0;
	}
	for (unsigned c = 0; c < m->ncpus; c++)
		first = m->epoch[c] < first ? m->epoch[c] : first;
	times[n++] = m->clock;
	for (unsigned c = 0; c < m->ncpus; c++)
		times[n++] = m->epoch[c] == M_IDLE ? m->clock : m->epoch[c];
	for (unsigned i = 0; i < m->nframes; i++) {
		struct m_frame *f = &m->f[i];
		f->stamp = f->stamp < first ? 0 : f->stamp;
		if (f->type == FH_THREAD)
			f->serial = f->serial < first ? 2 : f->serial;
		if (f->stamp)
			times[n++] = f->stamp;
		if (f->type == FH_THREAD && f->serial > 2)
			times[n++] = f->serial;
	}
	uint64_t rank = 4, last = 0; /* the smallest becomes 5, above any serial */
	uint64_t from[MAX_FRAMES * 2 + 3], to[MAX_FRAMES * 2 + 3], ranks = 0;
	for (;;) {
		uint64_t next = M_IDLE;
		for (unsigned i = 0; i < n; i++)
			next = times[i] > last && times[i] < next ? times[i] : next;
		if (next == M_IDLE)
			break;
		from[ranks] = last = next;
		to[ranks++] = ++rank;
	}
#define RANKED(t) do { for (unsigned k = 0; k < ranks; k++) if ((t) == from[k]) { (t) = to[k]; break; } } while (0)
	RANKED(m->clock);
	for (unsigned c = 0; c < m->ncpus; c++)
		if (m->epoch[c] != M_IDLE)
			RANKED(m->epoch[c]);
	for (unsigned i = 0; i < m->nframes; i++) {
		struct m_frame *f = &m->f[i];
		if (f->stamp)
			RANKED(f->stamp);
		if (f->type == FH_THREAD && f->serial > 2)
			RANKED(f->serial);
	}
}

static bool names_frame(const struct m_frame *t, unsigned s)
{
	return m_is_table(t->type) && (t->slot[s] & FH_P) && !(t->type == FH_PT4 && s == 3);
}

/* What a frame is and what it is connected with, whatever its number. */
static void describe(const struct model *m, uint64_t *what)
{
	uint64_t next[MAX_FRAMES];
	for (unsigned n = 0; n < m->nframes; n++) {
		const struct m_frame *f = &m->f[n];
		what[n] = mix(f->type | f->dead << 8 | f->frozen << 9 | f->depth << 16, f->stamp);
		what[n] = mix(what[n], (uint64_t)f->quota | f->serial << 32);
		what[n] = mix(what[n], f->run | f->tenant.serial << 8 | (n <= ROOT ? (uint64_t)(n + 1) << 32 : 0));
	}
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned n = 0; n < m->nframes; n++) {
			const struct m_frame *f = &m->f[n];
			next[n] = mix(mix(what[n], what[f->owner]), f->tenant.env ? what[f->tenant.env] : 0);
			for (unsigned s = 0; s < M_SLOTS; s++)
				if (names_frame(f, s))
					next[n] = mix(next[n], mix(f->slot[s] & ~FH_PFN_FIELD, what[fh_pte_pfn(f->slot[s])]) + s);
				else if (m_is_table(f->type))
					next[n] = mix(next[n], f->slot[s] + s);
			for (unsigned i = 0; i < 4; i++)
				next[n] = f->pin[i] ? mix(next[n], what[f->pin[i]] + i) : next[n];
		}
		for (unsigned n = 0; n < m->nframes; n++) { /* and what is said of it elsewhere */
			const struct m_frame *f = &m->f[n];
			next[f->owner] += mix(what[n], 1);
			next[f->tenant.env] += mix(what[n], 2);
			for (unsigned s = 0; s < M_SLOTS; s++)
				if (names_frame(f, s))
					next[fh_pte_pfn(f->slot[s])] += mix(what[n], 3 + s);
			for (unsigned i = 0; i < 4; i++)
				if (f->pin[i])
					next[f->pin[i]] += mix(what[n], 9 + i);
		}
		for (unsigned c = 0; c < m->ncpus; c++)
			next[m->loaded[c]] += mix(c + 1, 20);
		memcpy(what, next, sizeof next);
	}
}

static void renumber(struct model *m)
{
	uint64_t what[MAX_FRAMES];
	unsigned order[MAX_FRAMES], to[MAX_FRAMES];
	static struct m_frame old[MAX_FRAMES];
	describe(m, what);
	for (unsigned n = 0; n < m->nframes; n++) {
		unsigned at = n;
		for (; n > ROOT && at > ROOT + 1 && what[order[at - 1]] > what[n]; at--)
			order[at] = order[at - 1];
		order[at] = n;
	}
	for (unsigned n = 0; n < m->nframes; n++)
		to[order[n]] = n;
	memcpy(old, m->f, m->nframes * sizeof *old);
	for (unsigned n = 0; n < m->nframes; n++) {
		struct m_frame *f = &m->f[n];
		*f = old[order[n]];
		f->owner = to[f->owner];
		f->tenant.env = to[f->tenant.env];
		for (unsigned s = 0; s < M_SLOTS; s++)
			if (names_frame(f, s))
				f->slot[s] = (f->slot[s] & ~FH_PFN_FIELD) | (uint64_t)to[fh_pte_pfn(f->slot[s])] << 12;
		for (unsigned i = 0; i < 4; i++)
			f->pin[i] = to[f->pin[i]];
	}
	for (unsigned c = 0; c < m->ncpus; c++)
		m->loaded[c] = to[m->loaded[c]];
}

/* ---- States, packed ---- */

static uint8_t *store; /* all states found, one behind the other: length, bytes */
static uint64_t stored, store_size, *seen, seen_size, nseen;

static void put(uint8_t **p, uint64_t v, unsigned bytes)
{
	memcpy(*p, &v, bytes);
	*p += bytes;
}
static uint64_t get(const uint8_t **p, unsigned bytes)
{
	uint64_t v = 0;
	memcpy(&v, *p, bytes);
	*p += bytes;
	return v;
}

static unsigned pack(const struct model *m, uint8_t *to)
{
	uint8_t *p = to;
	put(&p, m->clock, 1);
	for (unsigned c = 0; c < m->ncpus; c++) {
		put(&p, m->epoch[c], 1); /* idle: 255 */
		put(&p, m->loaded[c], 1);
	}
	for (unsigned n = ROOT; n < m->nframes; n++) {
		const struct m_frame *f = &m->f[n];
		put(&p, f->type | f->dead << 4 | f->frozen << 5, 1);
		put(&p, f->owner | f->tenant.env << 4, 1);
		put(&p, f->tenant.serial | f->stamp << 4, 1);
		if (f->type == FH_ENV)
			put(&p, f->quota | (uint64_t)f->depth << 8, 2);
		if (f->type == FH_THREAD) {
			put(&p, f->serial | f->run << 4, 1);
			for (unsigned i = 0; i < 4; i++)
				put(&p, f->pin[i], 1);
		}
		if (m_is_table(f->type)) {
			unsigned mask = 0;
			for (unsigned s = 0; s < M_SLOTS; s++)
				mask |= (f->slot[s] != 0) << s;
			put(&p, mask, 1);
			for (unsigned s = 0; s < M_SLOTS; s++)
				if (f->slot[s])
					put(&p, f->slot[s], 8);
		}
	}
	return p - to;
}

static void unpack(struct model *m, const uint8_t *p)
{
	m->clock = get(&p, 1);
	for (unsigned c = 0; c < m->ncpus; c++) {
		m->epoch[c] = get(&p, 1);
		m->epoch[c] = m->epoch[c] == 255 ? M_IDLE : m->epoch[c];
		m->loaded[c] = get(&p, 1);
	}
	for (unsigned n = ROOT; n < m->nframes; n++) {
		struct m_frame *f = &m->f[n];
		memset(f, 0, sizeof *f);
		uint64_t w = get(&p, 1);
		f->type = w & 15, f->dead = w >> 4 & 1, f->frozen = w >> 5;
		w = get(&p, 1);
		f->owner = w & 15, f->tenant.env = w >> 4;
		w = get(&p, 1);
		f->tenant.serial = w & 15, f->stamp = w >> 4;
		if (f->type == FH_ENV) {
			w = get(&p, 2);
			f->quota = w & 255, f->depth = w >> 8, f->serial = 2;
		}
		if (f->type == FH_THREAD) {
			w = get(&p, 1);
			f->serial = w & 15, f->run = w >> 4;
			for (unsigned i = 0; i < 4; i++)
				f->pin[i] = get(&p, 1);
		}
		unsigned mask = m_is_table(f->type) ? get(&p, 1) : 0;
		for (unsigned s = 0; s < M_SLOTS; s++) {
			f->slot[s] = f->type == FH_DATA ? M_MARK : f->type == FH_FREE ? M_POISON : 0;
			if (mask >> s & 1)
				f->slot[s] = get(&p, 8);
		}
	}
}

/* Keep the state if it is a new one. */
static void found(const struct model *state)
{
	static struct model m;
	uint8_t bytes[1024];
	machine_copy(&m, state);
	forget_history(&m);
	renumber(&m);
	unsigned length = pack(&m, bytes);
	uint64_t h = mix(length, 77);
	for (unsigned i = 0; i < length; i += 8) {
		uint64_t w = 0;
		memcpy(&w, bytes + i, length - i < 8 ? length - i : 8);
		h = mix(h, w);
	}
	h += !h;
	if (nseen * 2 >= seen_size) {
		uint64_t *old = seen, size = seen_size;
		seen_size = size ? size * 2 : 1 << 16;
		seen = calloc(seen_size, sizeof *seen);
		for (uint64_t i = 0; i < size; i++)
			if (old[i]) {
				uint64_t at = old[i] % seen_size;
				while (seen[at])
					at = (at + 1) % seen_size;
				seen[at] = old[i];
			}
		free(old);
	}
	uint64_t at = h % seen_size;
	for (; seen[at]; at = (at + 1) % seen_size)
		if (seen[at] == h)
			return;
	seen[at] = h;
	nseen++;
	if (stored + length + 2 > store_size) {
		store_size = store_size ? store_size * 2 : 1 << 20;
		store = realloc(store, store_size);
	}
	uint8_t *p = store + stored;
	put(&p, length, 2);
	memcpy(p, bytes, length);
	stored += length + 2;
}

/* ---- Every call from a state ---- */

static struct call_of calls[20000]; /* where they are only to be listed */
static unsigned ncalls;
static bool listing;

static void step(struct call_of c)
{
	if (listing) {
		c.budget = 9;
		if (ncalls < sizeof calls / sizeof *calls && c.call != PT_UPDATE)
			calls[ncalls++] = c;
		return;
	}
	/* Where nothing is stale nobody waits, and it doesn't matter how many flushes are left. */
	for (unsigned again = 0; again < 2; again++) {
		c.budget = again ? 0 : 9;
		if (machine_step(&now, &c)) {
			found(&now);
			machine_copy(&now, &start);
			machine_install(&now);
		}
		bool stale = start.ncpus > 1 && c.call == PT_UPDATE;
		for (unsigned n = 0; n < start.nframes && !stale; n++)
			for (unsigned e = 0; e < start.ncpus; e++)
				stale |= start.f[n].stamp >= start.epoch[e];
		if (!stale || c.call == TICK)
			break;
	}
}

/* FREE frames that are alike need be named once. */
static bool like_another(unsigned f)
{
	for (unsigned n = ROOT; n < f && f < start.nframes; n++)
		if (start.f[f].type == FH_FREE && memcmp(&start.f[n], &start.f[f], sizeof start.f[n]) == 0)
			return true;
	return false;
}

static bool lives(unsigned e) { return start.f[e].type == FH_ENV && !start.f[e].dead; }
static uint64_t name_of(unsigned e) { return fh_name(e, start.f[e].serial); }

static void frame_calls(struct call_of c, unsigned f)
{
	c.a[0] = f;
	for (c.a[1] = 1; c.a[1] <= (plan->does & RUNS ? 2 : 1); c.a[1]++) {
		c.call = ALLOC, step(c);
		c.a[3] = 1, step(c), c.a[3] = 0;
		for (unsigned e = ROOT; e < start.nframes; e++)
			if (start.f[e].type == FH_ENV)
				c.a[2] = name_of(e), step(c);
		c.a[2] = 0;
		c.call = FREE, step(c);
	}
	c.call = RETYPE;
	for (unsigned type = FH_DATA; type <= FH_THREAD; type++)
		if (type == FH_DATA || plan->types >> type & 1)
			c.a[1] = type, step(c);
}

static void grant_calls(struct call_of c, unsigned f)
{
	c.a[0] = f;
	c.call = GRANT, c.a[1] = 0, step(c);
	for (unsigned e = ROOT; e < start.nframes; e++)
		if (start.f[e].type == FH_ENV)
			c.a[1] = name_of(e), step(c);
	c.a[1] = 1;
	c.call = TAKE, step(c);
	c.call = SYNC, step(c);
	c.a[1] = 2;
	c.call = plan->does & RUNS ? TAKE : SYNC, step(c);
}

static void entry_calls(struct call_of c, unsigned t)
{
	c.call = PT_SET;
	for (unsigned s = 0; s < plan->slots; s++)
		for (unsigned op = FH_OP_SET; op < FH_NOPS; op++) {
			bool names = op == FH_OP_SET || op == FH_OP_CLAIM || op == FH_OP_LINK_NEW;
			bool rights = op == FH_OP_NARROW || op == FH_OP_PROTECT;
			bool claims = op == FH_OP_CLAIM || op == FH_OP_LINK_NEW || op == FH_OP_UNMAP_FREE || op == FH_OP_UNLINK_FREE;
			if (claims && !(plan->does & CLAIMS))
				continue;
			c.a[0] = fh_what(op, 0, t, m_index(s), 1);
			for (unsigned f = 0; f < (names ? start.nframes : 1); f++)
				for (unsigned r = 0; r < (names || rights ? plan->nrights : 1) && !like_another(f); r++) {
					c.a[1] = names ? (uint64_t)f << 12 | plan->rights[r] : rights ? plan->rights[r] : 0;
					step(c);
				}
			if (op == FH_OP_CLAIM && s == 0) /* with a flush */
				c.a[0] |= FH_FLUSH_ALL | FH_KEEP, step(c);
			if (op == FH_OP_CLEAR)
				c.a[0] |= FH_FLUSH_ALL, step(c);
		}
}

/* Two slots at once, two operations at once. */
static void batches(struct call_of c, unsigned t)
{
	static const uint8_t ops[] = {FH_OP_READ, FH_OP_SET, FH_OP_NARROW, FH_OP_CLEAR, FH_OP_HARVEST, FH_OP_CLAIM,
	                              FH_OP_UNMAP_FREE, FH_OP_LINK_NEW, FH_OP_UNLINK_FREE};
	c.call = PT_UPDATE;
	for (unsigned i = 0; i < sizeof ops; i++)
		for (unsigned f = ROOT; f < start.nframes; f++) {
			bool names = ops[i] == FH_OP_SET || ops[i] == FH_OP_CLAIM || ops[i] == FH_OP_LINK_NEW;
			if (f > ROOT && !names)
				break;
			uint64_t e = names ? (uint64_t)f << 12 | plan->rights[0] : ops[i] == FH_OP_NARROW ? FH_NX : 0;
			c.nops = 1;
			c.ops[0] = (struct fh_op){fh_what(ops[i], FH_FLUSH_ALL, t, 0, 2), e};
			step(c);
			c.nops = 2;
			c.ops[0] = (struct fh_op){fh_what(ops[i], FH_FLUSH_LOCAL, t, 0, 1), e};
			c.ops[1] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, t, 1, 1), 0};
			step(c);
			c.ops[1] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_ALL, t, 0, 2), 0};
			step(c);
		}
}

static void thread_calls(struct call_of c, unsigned t)
{
	c.a[0] = t;
	for (unsigned which = 0; which < 4; which += 3) /* root, batch */
		for (unsigned f = 0; f < start.nframes; f++) {
			unsigned type = start.f[f].type;
			if (f == 0 || type == FH_PT4 || type == FH_DATA)
				c.call = PIN, c.a[1] = which, c.a[2] = f, step(c);
		}
	c.call = RUN;
	for (unsigned run = FH_STOPPED; run <= FH_FAULTED; run++)
		if (run != FH_SLEEPING)
			c.a[1] = run, step(c);
}

static void every_call(void)
{
	const unsigned does = plan->does;
	struct call_of c = {.me = ROOT};
	for (c.cpu = 0; c.cpu < start.ncpus; c.cpu++) {
		if (does & ROOTS) {
			c.call = TICK, step(c);
			c.call = IDLE, step(c);
			c.call = LOAD, c.a[0] = M_NO_ROOT, step(c);
		}
		for (unsigned t = ROOT; t < start.nframes; t++) {
			if ((does & ROOTS) && start.f[t].type == FH_PT4)
				c.call = LOAD, c.a[0] = t, step(c);
			if ((does & THREADS) && start.f[t].type == FH_THREAD)
				thread_calls(c, t);
			if ((does & ENVS) && start.f[t].type == FH_ENV) {
				c.call = QUOTA, c.a[0] = t, c.a[1] = 1, step(c);
				c.a[1] = -1, step(c);
				if (t != ROOT && !start.f[t].dead)
					c.call = FREEZE, step(c);
				c.a[1] = 0;
			}
		}
		for (c.me = ROOT; c.me < start.nframes; c.me++)
			for (unsigned f = 0; f <= start.nframes && lives(c.me); f++) {
				if (like_another(f))
					continue;
				if (does & FRAMES)
					frame_calls(c, f);
				if (does & GRANTS)
					grant_calls(c, f);
				bool table = f < start.nframes && m_is_table(start.f[f].type);
				if ((does & ENTRIES) && table)
					entry_calls(c, f);
				if ((does & BATCHES) && table)
					batches(c, f);
			}
	}
}

/* ---- Machines ---- */

static void nothing(struct model *m) { m->f[ROOT].quota = m->nframes - 2; }

/* Root's children A and B; each may own `each` frames. */
static void two_envs(struct model *m, long each)
{
	m->f[ROOT].quota = m->nframes;
	machine_give(m, 3, FH_ENV, ROOT, each);
	machine_give(m, 4, FH_ENV, ROOT, each);
}
static void siblings(struct model *m) { two_envs(m, 3); }
static void window(struct model *m)
{
	two_envs(m, 3);
	machine_give(m, 5, FH_PT1, 3, 0);
	machine_give(m, 6, FH_PT2, 4, 0);
}
static void table_and_page(struct model *m)
{
	two_envs(m, 3);
	machine_give(m, 5, FH_PT1, 3, 0);
	machine_give(m, 6, FH_DATA, 3, 0);
}
/* Root, its child A, A's child B. */
static void line(struct model *m)
{
	m->f[ROOT].quota = m->nframes;
	machine_give(m, 3, FH_ENV, ROOT, 4);
	machine_give(m, 4, FH_ENV, 3, 3);
}
static void line_and_cpu(struct model *m)
{
	line(m);
	machine_give(m, 5, FH_CPU, 3, 0);
	machine_give(m, 6, FH_DEVICE, 3, 0);
}
static void one_env(struct model *m)
{
	m->f[ROOT].quota = m->nframes;
	machine_give(m, 3, FH_ENV, ROOT, 4);
}

#define TYPE(t) (1u << FH_##t)
#define LEAF (FH_P | FH_U)
static const struct plan plans[] = {
	{"envs come and go", 7, 8, 1, FRAMES | ENVS | GRANTS, TYPE(ENV), 0, 0, {0}, nothing, 20000},
	{"pages of two envs", 7, 8, 1, FRAMES | ENTRIES | GRANTS, TYPE(PT1), 1, 1,
	 {LEAF | FH_NX | FH_W}, siblings, 20000},
	{"rights of two envs", 7, 7, 1, ENTRIES | GRANTS, TYPE(PT1), 2, 2,
	 {LEAF | FH_NX | FH_W | FH_D, LEAF}, table_and_page, 5000},
	{"pages claimed and freed", 7, 8, 1, FRAMES | ENTRIES | CLAIMS | BATCHES | RUNS, TYPE(PT1), 2, 1,
	 {LEAF | FH_NX | FH_W}, line, 20000},
	{"windows", 8, 9, 1, ENTRIES | GRANTS, TYPE(PT1) | TYPE(PT2), 2, 2,
	 {LEAF | FH_W, LEAF | FH_NX}, window, 20000},
	{"windows made and freed", 7, 8, 1, FRAMES | ENTRIES | GRANTS | CLAIMS, TYPE(PT1) | TYPE(PT2), 1, 1,
	 {LEAF | FH_W}, window, 30000},
	{"windows on two CPUs", 7, 7, 2, FRAMES | ENTRIES | GRANTS | ROOTS, TYPE(PT1) | TYPE(PT2), 1, 1,
	 {LEAF | FH_W}, window, 5000},
	{"trees", 5, 6, 1, FRAMES | ENTRIES | CLAIMS | BATCHES, TYPE(PT1) | TYPE(PT2) | TYPE(PT3) | TYPE(PT4), 2, 2,
	 {LEAF | FH_W, LEAF | FH_NX}, one_env, 20000},
	{"roots on two CPUs", 6, 7, 2, FRAMES | ENTRIES | CLAIMS | ROOTS, TYPE(PT3) | TYPE(PT4), 1, 1,
	 {LEAF | FH_NX}, one_env, 5000},
	{"threads", 6, 7, 1, FRAMES | THREADS | ROOTS | GRANTS, TYPE(PT4) | TYPE(THREAD), 0, 0, {0}, one_env, 20000},
	{"threads with tables", 6, 7, 1, FRAMES | ENTRIES | CLAIMS | THREADS | GRANTS, TYPE(PT3) | TYPE(PT4) | TYPE(THREAD), 1, 1,
	 {LEAF | FH_NX}, one_env, 5000},
	{"envs with pages", 6, 7, 1, FRAMES | ENTRIES | CLAIMS | ENVS | GRANTS, TYPE(PT1) | TYPE(ENV), 1, 1,
	 {LEAF | FH_NX | FH_W}, one_env, 20000},
	{"CPU and device frames", 8, 8, 1, FRAMES | ENTRIES | GRANTS | RUNS, TYPE(PT1), 1, 2,
	 {LEAF | FH_NX | FH_W, LEAF}, line_and_cpu, 5000},
};
#define LONG_LIMIT 200000u /* states, of the larger machines */

static void explore(const struct plan *p, uint64_t quick_states)
{
	uint64_t at = 0, looked_at = 0, from = transitions, accepted_before = accepted, depth = 0, end_of_depth = 0;
	uint64_t limit = quick ? quick_states : long_form ? LONG_LIMIT : p->limit;
	unsigned frames = long_form ? p->long_frames : p->frames;
	plan = p;
	stored = nseen = 0;
	if (seen)
		memset(seen, 0, seen_size * sizeof *seen);
	machine_begin(&start, frames, p->cpus);
	p->begin(&start);
	found(&start);
	for (; at < stored && looked_at < limit; looked_at++) {
		if (at == end_of_depth) {
			depth++;
			end_of_depth = stored;
		}
		const uint8_t *state = store + at;
		uint64_t length = get(&state, 2);
		unpack(&start, state);
		at += length + 2;
		machine_copy(&now, &start);
		machine_install(&now);
		machine_audit(&now);
		every_call();
	}
	tap("%s: %u frames, %u CPU%s: every call from %s%lu states%s: %lu calls, %lu accepted", p->name, frames - 2, p->cpus,
	    p->cpus > 1 ? "s" : "", at == stored ? "all " : "", looked_at, at == stored ? "" : " of more", transitions - from,
	    accepted - accepted_before);
	printf("# all states that %lu calls lead to; %lu states seen\n", depth - 1, nseen);
}

/* From some of the states found: every call of one CPU that waits, and meanwhile every call of the other. */
static void interleave(const struct plan *p)
{
	uint64_t at = 0, number = 0, from = pairs, used = 0, every = nseen / (quick ? 12 : long_form ? 400 : 40) + 1;
	for (; at < stored; number++) {
		const uint8_t *state = store + at;
		uint64_t length = get(&state, 2);
		at += length + 2;
		if (number % every != 0)
			continue;
		unpack(&start, state);
		ncalls = 0;
		listing = true;
		every_call();
		listing = false;
		used++;
		for (unsigned i = 0; i < ncalls; i++)
			if (calls[i].cpu == 0 && machine_waits(&start, &calls[i]))
				for (unsigned j = 0; j < ncalls; j++) {
					/* a root that is loaded is held by the thread that runs on it */
					bool held = calls[j].call != LOAD || m_refs(&start, calls[j].a[0]);
					if (calls[j].cpu == 1 && held)
						machine_pair(&start, &calls[i], &calls[j]);
				}
	}
	tap("%s: %lu calls in the midst of one that waits, from %lu states, come to one after the other", p->name,
	    pairs - from, used);
}

void test_states(uint64_t quick_states)
{
	for (unsigned i = 0; i < sizeof plans / sizeof *plans; i++)
		if (wanted(plans[i].name)) {
			explore(&plans[i], quick_states);
			if (plans[i].cpus > 1 && !(quick && quick_states < 100))
				interleave(&plans[i]);
		}
}
