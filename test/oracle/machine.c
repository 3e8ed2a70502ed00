/* machine.c - see machine.h. */
#include "machine.h"
#include "audit.h"
#include "epoch.h"
#include "frame.h"
#include "grant.h"
#include "pt.h"
#include "pte.h"
#include <mach.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct machine machine;
uint64_t transitions, accepted, pairs;
bool check_invariants = true;

static struct fh_clock clock_frames;
static struct model before; /* the step's */
static const struct call_of *current;
static const char *sentence = "";
static unsigned tests;

static const struct call_of *meanwhile; /* what another CPU does at the next CR3 load */
static long meanwhile_result;
static long kernel_call(const struct call_of *c, uint64_t *old, struct fh_op *ops);

/* ---- What the kernel's files need ---- */

void frame_zero(pfn_t f) { memset(frame_address(f), 0, PAGE); }
void frame_poison(pfn_t f)
{
	for (unsigned s = 0; s < M_SLOTS; s++)
		((uint64_t *)frame_address(f))[m_index(s)] = M_POISON;
}
void mach_load_root(pfn_t r)
{
	(void)r;
	const struct call_of *what = meanwhile;
	if (what) {
		unsigned cpu = machine.cpu;
		uint64_t old;
		meanwhile = NULL;
		meanwhile_result = kernel_call(what, &old, NULL);
		machine.cpu = cpu;
	}
}
void mach_invlpg(va_t va) { machine.invlpgs++, machine.invlpg_va = va; }
bool mach_interrupt_pending(void) { return machine.interrupt_at != 0; }
uint64_t mach_kernel_entry(void) { return M_KERNEL_ENTRY; }
void mach_fill_root(pfn_t t) { ((uint64_t *)frame_address(t))[FH_KERNEL_SLOT] = M_KERNEL_ENTRY; }
void mach_pause(void)
{
	if (++machine.pauses > 1000)
		disagree("a CPU waits forever");
}
void mach_flush_ipi(unsigned cpu)
{
	unsigned me = machine.cpu;
	machine.cpu = cpu;
	serve_flush();
	machine.cpu = me;
}
void refusal_note(unsigned error, const char *words) { (void)error, sentence = words; }

/* ---- What is said ---- */

void tap(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	printf("ok %u - ", ++tests);
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
	va_end(args);
}

unsigned tap_count(void) { return tests; }

static const char *const call_names[] = {
	"frame_alloc", "frame_free", "frame_retype", "frame_grant", "frame_take", "frame_sync", "env_lookup", "env_move_quota",
	"pt_set", "pt_update", "load_root", "idle", "tick", "pin", "freeze", "run",
};

static void say_op(uint64_t what, uint64_t entry)
{
	static const char *const names[] = {
#define FH_X(name, number, text) [number] = #name,
		FH_OPS(FH_X)
#undef FH_X
	};
	unsigned op = fh_what_op(what);
	printf("#   %s table %lu, slot %u, count %u, flags %lx, entry %#lx\n", op < FH_NOPS ? names[op] : "?", fh_what_table(what),
	       fh_what_index(what), fh_what_count(what), what & 0xf8000000f80000f0, entry);
}

static void say_state(const struct model *m)
{
	static const char *const types[] = {
#define FH_X(name, number, text) [number] = #name,
		FH_TYPES(FH_X)
#undef FH_X
	};
	unsigned refs[M_FRAMES];
	m_references(m, refs);
	printf("# clock %lu", m->clock);
	for (unsigned c = 0; c < m->ncpus; c++)
		printf(", CPU %u: epoch %ld, root %u", c, (long)m->epoch[c], m->loaded[c]);
	printf("\n");
	for (unsigned n = 0; n < m->nframes && n < 80; n++) {
		const struct m_frame *f = &m->f[n];
		if (f->type == FH_KERNEL)
			continue;
		printf("# %4u %-6s of %u, refs %u, tenant %u.%lu, stamp %lu", n, types[f->type], f->owner, refs[n], f->tenant.env,
		       f->tenant.serial, f->stamp);
		if (f->type == FH_ENV)
			printf(", serial %lu, quota %ld, owns %ld%s%s", f->serial, f->quota, m_owned(m, n), f->dead ? ", dead" : "",
			       f->frozen ? ", frozen" : "");
		for (unsigned s = 0; m_is_table(f->type) && s < M_SLOTS; s++)
			if (f->slot[s])
				printf(", [%u] %#lx", m_index(s), f->slot[s]);
		printf("\n");
	}
}

_Noreturn void disagree(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	printf("not ok %u - ", tests + 1);
	vprintf(format, args);
	va_end(args);
	const struct call_of *c = current;
	if (c) {
		printf(" [%s]\n# CPU %u, env %u, %u flushes left: %s(%#lx, %#lx, %#lx, %#lx)\n", call_names[c->call],
		       c->cpu, c->me, c->budget, call_names[c->call], c->a[0], c->a[1], c->a[2], c->a[3]);
		for (unsigned i = 0; i < c->nops; i++)
			say_op(c->ops[i].what, c->ops[i].entry);
		if (c->call == PT_SET)
			say_op(c->a[0], c->a[1]);
		printf("# the kernel's last refusal: %s\n# before:\n", sentence);
		say_state(&before);
	}
	printf("\n1..%u\n", tests + 1);
	fflush(stdout);
	_Exit(1);
}

_Noreturn void panic(const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	disagree("the kernel panics: %s", text);
}

void audit_report(const char *invariant, uint64_t frame, uint64_t found, uint64_t expected)
{
	disagree("audit: %s: frame %lu: %#lx, not %#lx", invariant, frame, found, expected);
}

/* ---- Both in one state ---- */

static uint64_t word_of(struct m_name name) { return name.env | name.serial << 27; }
static uint64_t *words(unsigned n) { return frame_address(pfn(n)); }

/* What the kernel's records should read, and the accounts of its ENVs. */
static struct fh_frame record_of[M_FRAMES];
static uint64_t account_of[M_FRAMES];

static void expect(const struct model *m)
{
	unsigned refs[M_FRAMES];
	struct m_place place[M_FRAMES];
	m_references(m, refs);
	m_foreign_all(m, place);
	for (unsigned n = 0; n < m->nframes; n++) {
		const struct m_frame *f = &m->f[n];
		record_of[n] = (struct fh_frame){.state = f->type | (uint64_t)refs[n] << 8 | (uint64_t)f->owner << 32,
		                                 .tenant = word_of(f->tenant), .stamp = f->stamp};
		if (m_is_table(f->type))
			record_of[n].link = m_present(m, n) | (uint64_t)place[n].index << 16 | (uint64_t)place[n].parent << 32;
		if (f->type == FH_ENV)
			account_of[n] = (uint64_t)m_owned(m, n) | (uint64_t)f->quota << 31 | (uint64_t)f->dead << 62 |
			                (uint64_t)f->frozen << 63;
	}
}

/* Behind the end stands what a careless check would take for root's. */
static uint64_t behind_the_end(const struct model *m, unsigned n)
{
	return make_state(n == m->nframes ? FH_PT1 : FH_DATA, pfn(2), 0);
}

void machine_install(const struct model *m)
{
	if (!table) {
		table = calloc(M_FRAMES + 600, sizeof *table); /* records behind the end that no call must find */
		machine.frames = aligned_alloc(PAGE, (M_FRAMES + 600) * PAGE);
		memset(machine.frames, 0, (M_FRAMES + 600) * PAGE);
		audit_counts = calloc(M_FRAMES, sizeof *audit_counts);
		tlb_clock = &clock_frames;
		kernel_root = pfn(M_NO_ROOT);
	}
	nframes = m->nframes;
	phys_mask = ((1ul << m->width) - 1) & ~0xffful;
	large_exec = m->large_exec;
	ncpus = m->ncpus;
	machine.interrupt_at = m->interrupt;
	clock_frames.clock = m->clock;
	for (unsigned c = 0; c < M_CPUS; c++) {
		clock_frames.cpu[c].epoch = c < ncpus ? m->epoch[c] : FH_EPOCH_INF;
		epoch_cpu[c] = (struct epoch_cpu){.root = pfn(c < ncpus ? m->loaded[c] : M_NO_ROOT)};
	}
	expect(m);
	for (unsigned n = 0; n < m->nframes; n++) {
		const struct m_frame *f = &m->f[n];
		table[n] = record_of[n];
		if (n < m->special)
			memset(words(n), 0, PAGE);
		if (f->type == FH_ENV) {
			*env_at(pfn(n)) = (struct fh_env){.account = account_of[n], .serial = f->serial, .depth = f->depth};
		} else if (f->type == FH_THREAD) {
			*thread_at(pfn(n)) = (struct fh_thread){.serial = f->serial, .state = f->run, .root = f->pin[0],
			                                       .upcall_root = f->pin[1], .upcall = f->pin[2], .batch = f->pin[3]};
		} else
			for (unsigned s = 0; s < M_SLOTS; s++)
				words(n)[m_index(s)] = f->slot[s];
	}
	for (unsigned n = m->nframes; n < m->nframes + 600; n++)
		table[n].state = behind_the_end(m, n);
}

static void differs(unsigned n, const char *what, uint64_t found, uint64_t expected)
{
	if (found != expected)
		disagree("afterwards frame %u: %s %#lx, not %#lx", n, what, found, expected);
}

static void compare_frame(const struct model *m, unsigned n)
{
	const struct m_frame *f = &m->f[n];
	const struct fh_frame r = record_of[n], *k = &table[n];
	differs(n, "state", k->state, r.state);
	differs(n, "link", k->link, r.link);
	differs(n, "tenant", k->tenant, r.tenant);
	if (f->type != FH_TABLE && f->type != FH_CPU) /* nobody waits for those */
		differs(n, "stamp", k->stamp & FH_STAMP_MASK, r.stamp);
	if ((k->stamp >> 48 & 255) != k->stamp >> 56)
		disagree("afterwards frame %u: its lock's ticket is not passed on", n);
	if (f->type == FH_ENV) {
		struct fh_env *env = env_at(pfn(n));
		differs(n, "account", env->account, account_of[n]);
		differs(n, "serial", env->serial, f->serial);
		differs(n, "depth", env->depth, f->depth);
		differs(n, "frames repossessed", env->repossessed, f->nlost);
		for (unsigned i = 0; f->nlost <= 4 && i < f->nlost; i++)
			differs(n, "repossession", env->repossession[i], f->lost[i] | (uint64_t)i << 32);
	} else if (f->type == FH_THREAD) {
		struct fh_thread *t = thread_at(pfn(n));
		differs(n, "serial", t->serial, f->serial);
		differs(n, "run", t->state, f->run);
		uint64_t pins[] = {t->root, t->upcall_root, t->upcall, t->batch};
		for (unsigned i = 0; i < 4; i++)
			differs(n, "pin", pins[i], f->pin[i]);
	} else
		for (unsigned s = 0; s < M_SLOTS; s++)
			differs(n, "word", words(n)[m_index(s)], f->slot[s]);
}

static void compare(const struct model *m)
{
	for (unsigned n = 0; n < m->nframes; n++)
		compare_frame(m, n);
	for (unsigned n = m->nframes; n < m->nframes + 600; n += n == m->nframes ? 511 : 1)
		if (table[n].state != behind_the_end(m, n))
			disagree("a record behind the end of the table has changed");
	if (clock_frames.clock != m->clock)
		disagree("afterwards the clock is %lu, not %lu", clock_frames.clock, m->clock);
	for (unsigned c = 0; c < m->ncpus; c++) {
		if (clock_frames.cpu[c].epoch != m->epoch[c])
			disagree("afterwards the epoch of CPU %u is %ld, not %ld", c, (long)clock_frames.cpu[c].epoch, (long)m->epoch[c]);
		if (epoch_cpu[c].root.n != m->loaded[c])
			disagree("afterwards the root of CPU %u is %lu, not %u", c, epoch_cpu[c].root.n, m->loaded[c]);
	}
	if (epoch_cpu[m->cpu].budget != m->budget)
		disagree("afterwards %u flushes are left, not %u", epoch_cpu[m->cpu].budget, m->budget);
}

void machine_audit(const struct model *m)
{
	(void)m;
	audit();
}

/* ---- A call ---- */

static long kernel_call(const struct call_of *c, uint64_t *old, struct fh_op *ops)
{
	pfn_t me = pfn(c->me), env;
	long r = 0;
	struct fh_thread *t;
	machine.cpu = c->cpu;
	machine.pauses = 0;
	epoch_cpu[c->cpu].budget = c->budget;
	epoch_leave_idle();
	switch (c->call) {
	case ALLOC: return frame_alloc(me, c->a[0], c->a[1], c->a[2], c->a[3]);
	case FREE: return frame_free(me, c->a[0], c->a[1]);
	case RETYPE: return frame_retype(me, c->a[0], c->a[1]);
	case GRANT: return frame_grant(me, c->a[0], c->a[1]);
	case TAKE: return frame_take(me, c->a[0], c->a[1]);
	case SYNC: return frame_sync(c->a[0], c->a[1]);
	case QUOTA: return env_move_quota(pfn(c->a[0]), c->a[1]);
	case LOOKUP:
		r = env_lookup(me, c->a[0], &env);
		return r < 0 ? r : (long)env.n;
	case PT_SET: return pt_set(me, c->a[0], c->a[1], c->a[2], old);
	case PT_UPDATE: return pt_update(me, ops, c->nops, old);
	case LOAD: load_root(pfn(c->a[0])); return 0;
	case IDLE: epoch_enter_idle(); return 0;
	case TICK: epoch_tick(); return 0;
	case PIN:
		t = thread_at(pfn(c->a[0]));
		uint64_t *field = (uint64_t *[]){&t->root, &t->upcall_root, &t->upcall, &t->batch}[c->a[1]], was = *field;
		if (c->a[2])
			r = ref_get(pfn(c->a[2]), c->a[1] < 2 ? FH_PT4 : FH_DATA, owner_of(state_of(pfn(c->a[0]))));
		if (r < 0)
			return r;
		*field = c->a[2];
		if (was)
			ref_drop(pfn(was));
		return 0;
	case FREEZE: atomic_plus(&env_at(pfn(c->a[0]))->account, FH_ACCOUNT_FROZEN); return 0; /* or thaw: the top bit */
	case RUN:
		t = thread_at(pfn(c->a[0]));
		if (t->state == FH_RUNNING)
			ref_put(pfn(c->a[0]));
		t->state = c->a[1];
		if (t->state == FH_RUNNING)
			ref_hold(pfn(c->a[0]));
		return 0;
	default: abort();
	}
}

static struct m_result model_call(struct model *m, const struct call_of *c, struct fh_op *ops)
{
	struct m_result none = {.value = 0};
	m->cpu = c->cpu;
	m->budget = c->budget;
	m_leave_idle(m);
	switch (c->call) {
	case ALLOC: return m_alloc(m, c->me, c->a[0], c->a[1], c->a[2], c->a[3]);
	case FREE: return m_free(m, c->me, c->a[0], c->a[1]);
	case RETYPE: return m_retype(m, c->me, c->a[0], c->a[1]);
	case GRANT: return m_grant(m, c->me, c->a[0], c->a[1]);
	case TAKE: return m_take(m, c->me, c->a[0], c->a[1]);
	case SYNC: return m_sync(m, c->a[0], c->a[1]);
	case LOOKUP: return m_lookup(m, c->me, c->a[0]);
	case QUOTA: return m_move_quota(m, c->a[0], c->a[1]);
	case PT_SET: return m_pt_set(m, c->me, c->a[0], c->a[1], c->a[2]);
	case PT_UPDATE: return m_pt_update(m, c->me, ops, c->nops);
	case LOAD: m_load(m, c->a[0]); return none;
	case IDLE: m_enter_idle(m); return none;
	case TICK: m_tick(m); return none;
	case PIN: return m_pin(m, c->a[0], c->a[1], c->a[2]);
	case FREEZE: m->f[c->a[0]].frozen = !m->f[c->a[0]].frozen; return none;
	case RUN: m->f[c->a[0]].run = c->a[1]; return none;
	default: abort();
	}
}

void machine_copy(struct model *to, const struct model *from)
{
	memcpy(to, from, offsetof(struct model, f) + from->nframes * sizeof from->f[0]);
}

static bool changed(const struct model *m)
{
	if (m->clock != before.clock || memcmp(m->epoch, before.epoch, sizeof m->epoch) ||
	    memcmp(m->loaded, before.loaded, sizeof m->loaded))
		return true;
	return memcmp(m->f, before.f, m->nframes * sizeof m->f[0]) != 0;
}

bool machine_step(struct model *m, const struct call_of *c)
{
	struct fh_op model_ops[(sizeof c->ops / sizeof *c->ops)], kernel_ops[(sizeof c->ops / sizeof *c->ops)];
	uint64_t old = 0;
	unsigned frame;
	current = c;
	memcpy(model_ops, c->ops, sizeof model_ops);
	memcpy(kernel_ops, c->ops, sizeof kernel_ops);
	machine_copy(&before, m);
	sentence = "";
	long r = kernel_call(c, &old, kernel_ops);
	struct m_result want = model_call(m, c, model_ops);
	transitions++;
	accepted += r >= 0;
	if (r < 0 ? !(want.why & m_reason(r)) : want.why != 0 || r != want.value)
		disagree("returned %ld, not %s %#lx", r, want.why ? "refused for one of" : "",
		         want.why ? want.why : (uint64_t)want.value);
	if (c->call == PT_UPDATE || (c->call == PT_SET && r >= 0))
		if (old != want.old)
			disagree("old entry or operations done: %#lx, not %#lx", old, want.old);
	/* Of a run that is done the index is where the last round began: how many it took is the kernel's affair. */
	for (unsigned i = 0; i < c->nops; i++)
		if ((kernel_ops[i].what ^ model_ops[i].what) & ~(fh_what_status(model_ops[i].what) ? 511ul << 18 : 0) ||
		    kernel_ops[i].entry != model_ops[i].entry)
			disagree("operation %u is written back as %#lx %#lx, not %#lx %#lx", i, kernel_ops[i].what, kernel_ops[i].entry,
			         model_ops[i].what, model_ops[i].entry);
	bool moved = changed(m);
	if (moved)
		expect(m);
	compare(m);
	if (!moved) {
		current = NULL;
		return false;
	}
	const char *broken = m_broken(m, &frame);
	if (!broken)
		broken = m_bad_step(&before, m, &frame);
	if (broken && check_invariants)
		disagree("the model breaks invariant %s: frame %u", broken, frame);
	current = NULL;
	return true;
}

/* ---- One call in the midst of another ---- */

bool machine_waits(const struct model *m, const struct call_of *c)
{
	static struct model copy;
	machine_copy(&copy, m);
	copy.forced = 0;
	model_call(&copy, c, NULL);
	return copy.forced != 0;
}

static bool same_bytes(const struct model *m, unsigned n)
{
	for (unsigned s = 0; s < M_SLOTS; s++)
		if (words(n)[m_index(s)] != m->f[n].slot[s])
			return false;
	return true;
}

/* Is the kernel in this state? But for times, and for what FREE frames remember. */
static bool arrived(const struct model *m)
{
	expect(m);
	for (unsigned n = 0; n < m->nframes; n++) {
		const struct m_frame *f = &m->f[n];
		if (table[n].state != record_of[n].state || table[n].link != record_of[n].link)
			return false;
		if (f->type == FH_FREE)
			continue;
		if (fh_name_pfn(table[n].tenant) != f->tenant.env)
			return false;
		if (f->type == FH_ENV ? env_at(pfn(n))->account != account_of[n] || env_at(pfn(n))->depth != f->depth
		                      : f->type != FH_THREAD && !same_bytes(m, n))
			return false;
	}
	for (unsigned c = 0; c < m->ncpus; c++)
		if (epoch_cpu[c].root.n != m->loaded[c])
			return false;
	return true;
}

void machine_pair(const struct model *m, const struct call_of *first, const struct call_of *second)
{
	static struct model one_way, other_way;
	uint64_t old;
	current = first;
	machine_copy(&before, m);
	machine_install(m);
	machine_copy(&one_way, m);
	machine_copy(&other_way, m);
	meanwhile = second;
	long r1 = kernel_call(first, &old, NULL), r2 = meanwhile_result;
	if (meanwhile)
		disagree("the kernel doesn't wait");
	pairs++;
	/* Who is refused has done nothing. */
	if (r1 >= 0)
		model_call(&one_way, first, NULL);
	if (r2 >= 0) {
		model_call(&one_way, second, NULL);
		model_call(&other_way, second, NULL);
	}
	if (r1 >= 0)
		model_call(&other_way, first, NULL);
	if (!arrived(&one_way) && !arrived(&other_way)) {
		printf("# meanwhile on CPU %u env %u: %s(%#lx, %#lx, %#lx, %#lx): %ld\n", second->cpu, second->me,
		       call_names[second->call], second->a[0], second->a[1], second->a[2], second->a[3], r2);
		if (second->call == PT_SET)
			say_op(second->a[0], second->a[1]);
		disagree("%s at once come to what neither order does: %ld, %ld", "two calls", r1, r2);
	}
	current = NULL;
}
