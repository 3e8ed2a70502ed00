/* world.c - the small machine: arena, table, CPUs that obey; snapshots; the audit after every step. */
#include "world.h"
#include "audit.h"

struct machine machine;
pfn_t root;
bool world_shallow, world_no_audit;
pte_t old_entry;

static struct fh_clock clock_frames;
static struct fh_frame *records_before;
static uint8_t *frames_before;
static uint64_t quota_made, next_free, clock_before;
static char report[300];

#define TABLE_ROOM 2560u /* records behind nframes: a mapping of what is not there must not find them */

/* ---- The machine ---- */

void frame_zero(pfn_t f) { fill_frame(f, 0); }
void frame_poison(pfn_t f) { fill_frame(f, 0xa5); }
void mach_invlpg(va_t va) { machine.invlpgs++, machine.invlpg_va = va; }
bool mach_interrupt_pending(void)
{
	machine.checks++;
	if (machine.on_check)
		machine.on_check();
	return machine.checks == machine.interrupt_at;
}
uint64_t mach_kernel_entry(void) { return A_KERNEL << 12 | FH_P | FH_W; }
void mach_fill_root(pfn_t t) { forge(t, FH_KERNEL_SLOT, mach_kernel_entry()); }

void mach_load_root(pfn_t r)
{
	(void)r;
	machine.loads[machine.cpu]++;
	if (machine.on_load)
		machine.on_load(machine.cpu);
	void (*what)(void) = machine.meanwhile;
	machine.meanwhile = NULL;
	if (what) {
		unsigned cpu = machine.cpu;
		machine.cpu = 1;
		what();
		machine.cpu = cpu;
	}
}

static void serve(unsigned cpu)
{
	unsigned me = machine.cpu;
	machine.cpu = cpu;
	serve_flush();
	machine.cpu = me;
}

void mach_flush_ipi(unsigned cpu)
{
	machine.ipis[cpu]++;
	if (!machine.deaf)
		serve(cpu);
}

void mach_pause(void)
{
	if (++machine.pauses > 1000)
		panic("a CPU waits forever");
	if (machine.on_pause)
		machine.on_pause();
	else if (machine.deaf)
		for (unsigned c = 0; c < ncpus; c++)
			if (c != machine.cpu && epoch_cpu[c].request)
				serve(c);
}

/* ---- The world ---- */

static void give(uint64_t first, uint64_t n, unsigned type)
{
	for (uint64_t i = 0; i < n; i++)
		table[first + i].state = make_state(type, root, 0);
	env_at(root)->account += n | n << 31;
}

static void set_types(uint64_t first, uint64_t end, unsigned type)
{
	for (uint64_t n = first; n < end; n++)
		table[n].state = type;
}

void world_make(unsigned cpus)
{
	if (!table) {
		table = calloc(TABLE_ROOM, sizeof *table);
		records_before = calloc(NFRAMES, sizeof *table);
		machine.frames = aligned_alloc(PAGE, NFRAMES * PAGE);
		frames_before = aligned_alloc(PAGE, NFRAMES * PAGE);
		audit_counts = calloc(NFRAMES, sizeof *audit_counts);
	}
	machine = (struct machine){.frames = machine.frames};
	memset(table, 0, TABLE_ROOM * sizeof *table);
	memset(machine.frames, 0, NFRAMES * PAGE);
	memset(epoch_cpu, 0, sizeof epoch_cpu);
	world_shallow = world_no_audit = false;
	nframes = NFRAMES;
	phys_mask = FH_PFN_FIELD;
	large_exec = false;
	next_free = SMALL;
	ncpus = cpus;
	kernel_root = pfn(1);
	tlb_clock = &clock_frames;
	tlb_clock->clock = clock_before = 2;
	for (unsigned c = 0; c <= FH_MAX_CPUS; c++) {
		tlb_clock->cpu[c].epoch = c < ncpus ? 2 : FH_EPOCH_INF;
		epoch_cpu[c] = (struct epoch_cpu){.root = kernel_root, .budget = FLUSH_BUDGET};
	}
	set_types(SMALL, NFRAMES, FH_FREE);
	set_types(TABLE_RUN, RUN, FH_TABLE);
	root = pfn(ROOT_ENV);
	/* Behind the end: what a careless check would take for root's. */
	for (unsigned n = NFRAMES; n < TABLE_ROOM; n++)
		table[n].state = make_state(FH_DATA, root, 0);
	env_at(root)->serial = clock_now();
	env_at(root)->account = (uint64_t)(TABLE_RUN - SMALL + NFRAMES - RUN) << 31;
	give(ROOT_ENV, 1, FH_ENV);
	give(A_DEVICE, 8, FH_DEVICE);
	give(A_CPU, 2, FH_CPU);
	quota_made = quota(root);
}

void world_forge_quota(pfn_t env, uint64_t n)
{
	env_at(env)->account += n << 31;
	quota_made += n;
}

/* ---- Checks ---- */

void audit_report(const char *invariant, uint64_t frame, uint64_t found, uint64_t expected)
{
	if (!report[0])
		snprintf(report, sizeof report, "audit: %s: frame %lu: %#lx, not %#lx", invariant, frame, found, expected);
}

/* What the audit does not look at: a link word without a link, quota made or lost, records behind the end. */
static void check_more(void)
{
	uint64_t sum = 0;
	for (uint64_t n = 0; n < nframes; n++) {
		uint64_t link = table[n].link, parent = link >> 32 & FH_PFN_MASK;
		unsigned type = fh_type(table[n].state), index = link >> 16 & 511;
		if (type == FH_ENV)
			sum += quota(pfn(n));
		if (link >> 16 && (!is_table(type) || type_of(pfn(parent)) != type + 1 ||
		                   fh_pte_pfn(raw(pfn(parent), index)) != n || !(raw(pfn(parent), index) & FH_P) ||
		                   fh_owner(table[parent].state) == fh_owner(table[n].state)))
			audit_report("5 a link word names the slot that links", n, link, 0);
		if (!is_table(type) && fh_count(link))
			audit_report("2 only tables count entries", n, link, 0);
	}
	if (sum != quota_made)
		audit_report("9 quota is moved, never made or lost", 0, sum, quota_made);
	for (unsigned n = NFRAMES; n < TABLE_ROOM; n++)
		if (table[n].state != make_state(FH_DATA, root, 0))
			audit_report("a record behind the end has changed", n, table[n].state, make_state(FH_DATA, root, 0));
	if (clock_now() < clock_before)
		audit_report("the clock only advances", 0, clock_now(), clock_before);
	clock_before = clock_now();
}

const char *world_wrong(void)
{
	report[0] = 0;
	if (!world_no_audit && audit() && !report[0])
		return "the audit counts violations but reports none";
	check_more();
	return report[0] ? report : NULL;
}

static bool compared(uint64_t n, const struct fh_frame *records)
{
	unsigned type = fh_type(records[n].state);
	return !world_shallow || is_table(type) || type == FH_ENV || type == FH_THREAD;
}

void world_before(void)
{
	memcpy(records_before, table, nframes * sizeof *table);
	if (!world_shallow)
		memcpy(frames_before, machine.frames, nframes * PAGE);
	else
		for (uint64_t n = 0; n < nframes; n++)
			if (compared(n, table))
				memcpy(frames_before + n * PAGE, machine.frames + n * PAGE, PAGE);
	suite_forget();
}

const char *world_changed(bool stamps)
{
	static char text[100];
	for (uint64_t n = 0; n < nframes; n++) {
		const struct fh_frame *a = &records_before[n], *b = &table[n];
		const char *what = a->state != b->state ? "state" : a->link != b->link ? "link" :
		                   a->tenant != b->tenant ? "tenant" :
		                   !stamps && (a->stamp ^ b->stamp) & FH_STAMP_MASK ? "stamp" :
		                   compared(n, records_before) &&
		                   memcmp(frames_before + n * PAGE, machine.frames + n * PAGE, PAGE) ? "contents" : NULL;
		if (what) {
			snprintf(text, sizeof text, "%s of frame %lu changed", what, n);
			return text;
		}
	}
	return NULL;
}

long world_step(long r, const char *call, const char *file, int line)
{
	if (r < 0)
		suite_fail(file, line, "%s: refused with %ld: %s", call, r, suite_sentence());
	const char *wrong = world_wrong();
	if (wrong)
		suite_fail(file, line, "after %s: %s", call, wrong);
	return r;
}

long world_gives(long r, long want, const char *call, const char *file, int line)
{
	if (r != want)
		suite_fail(file, line, "%s: %ld, not %ld (%s)", call, r, want, suite_sentence());
	return r < 0 ? r : world_step(r, call, file, line);
}

void world_refused(long r, long error, const char *words, bool stamps, const char *call, const char *file, int line)
{
	const char *changed = world_changed(stamps), *wrong = world_wrong();
	if (r != -error)
		suite_fail(file, line, "%s: %ld, not refused with %ld (%s)", call, r, -error, suite_sentence());
	if (!strstr(suite_sentence(), words))
		suite_fail(file, line, "%s: refused because \"%s\", not \"%s\"", call, suite_sentence(), words);
	if (changed || wrong)
		suite_fail(file, line, "%s: refused (%s), yet: %s", call, suite_sentence(), changed ? changed : wrong);
}

/* ---- Making things ---- */

pfn_t some_free(void)
{
	while (next_free < TABLE_RUN && type_of(pfn(next_free)) != FH_FREE)
		next_free++;
	assert_true(next_free < TABLE_RUN);
	return pfn(next_free++);
}

pfn_t data(pfn_t env)
{
	pfn_t f = some_free();
	gives(frame_alloc(env, f.n, 1, 0, 0), 1);
	return f;
}

pfn_t make(pfn_t env, unsigned type)
{
	pfn_t f = data(env);
	if (type != FH_DATA)
		does(frame_retype(env, f.n, type));
	return f;
}

pfn_t child(pfn_t parent, uint64_t n)
{
	pfn_t e = make(parent, FH_ENV);
	does(env_move_quota(e, n));
	return e;
}

void run(pfn_t env, pfn_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; )
		i += does(frame_alloc(env, first.n + i, n - i, 0, 0));
}

struct tree tree(pfn_t env)
{
	struct tree r = {{{0}}};
	for (unsigned level = 1; level <= 4; level++) {
		r.t[level] = make(env, FH_PT1 + level - 1);
		if (level > 1)
			does(set(env, r.t[level], 0, link_to(r.t[level - 1])));
	}
	return r;
}

void pin(pfn_t thread, uint64_t *field, pfn_t f)
{
	does(ref_get(f, type_of(f), owner_of(state_of(thread))) == 0 ? (long)(*field = f.n) : -1);
}

uint64_t raw(pfn_t t, unsigned index) { return ((uint64_t *)frame_address(t))[index]; }
void forge(pfn_t t, unsigned index, uint64_t word) { ((uint64_t *)frame_address(t))[index] = word; }

long op(pfn_t me, unsigned opcode, pfn_t t, unsigned index, pte_t e)
{
	return pt_set(me, fh_what(opcode, 0, t.n, index, 1), e, 0, &old_entry);
}

bool all_bytes(pfn_t f, uint8_t value)
{
	const uint8_t *bytes = frame_address(f);
	return bytes[0] == value && memcmp(bytes, bytes + 1, PAGE - 1) == 0;
}

void fill_frame(pfn_t f, uint8_t value) { memset(frame_address(f), value, PAGE); }

void meanwhile(pfn_t f, void (*what)(void))
{
	stamp_now(f);
	machine.meanwhile = what;
}

void run_on(unsigned cpu, pfn_t pt4)
{
	unsigned me = machine.cpu;
	machine.cpu = cpu;
	load_root(pt4);
	machine.cpu = me;
	does(0);
}
