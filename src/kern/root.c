/*
 * root.c - the first env and its thread, made through the same transitions that user code calls, so that every
 * invariant holds from the first frame on. After this the kernel only answers.
 */
#include "root.h"
#include "audit.h"
#include "console.h"
#include "elf.h"
#include "epoch.h"
#include "frame.h"
#include "memory.h"
#include "pt.h"
#include "thread.h"

/* Root's own mappings, named in the info page: all but its stack in slot 508, out of the way of what a libOS plans. */
#define INFO_VA 0xfffffe0000000000ul
#define CLOCK_VA 0xfffffe0000010000ul
#define REFUSALS_VA 0xfffffe0000040000ul
#define BATCH_VA 0xfffffe0000050000ul
#define UPCALL_VA 0xfffffe0000051000ul
#define STACK_HI 0x7f0000200000ul
#define STACK_BYTES 0x10000ul
#define TABLE_VA 0xfffffe4000000000ul
#define WINDOW_VA (0xfffful << 48 | (uint64_t)FH_WINDOW_SLOT << 39)

pfn_t root_env;
static pfn_t root_pt4;
static uint64_t next_free = USER_START / PAGE;
static unsigned ntables;

static void must(long r, const char *what)
{
	if (r < 0)
		refuse_boot("root can't be set up: %s (error %ld)", what, r);
}

static pfn_t find_free(void)
{
	while (next_free < nframes && fh_type(state_of(pfn(next_free))) != FH_FREE)
		next_free++;
	if (next_free == nframes)
		refuse_boot("too little RAM for root");
	return pfn(next_free++);
}

static pfn_t new_frame(unsigned type)
{
	pfn_t f = find_free();
	must(frame_alloc(root_env, f.n, 1, 0, 0), "a frame");
	if (type != FH_DATA)
		must(frame_retype(root_env, f.n, type), "a retyped frame");
	return f;
}

static void set(unsigned op, pfn_t t, unsigned index, pte_t e, const char *what)
{
	pte_t old;
	must(pt_set(root_env, fh_what(op, 0, t.n, index, 1), e, 0, &old), what);
}

/* The table of `level` that maps va, made where it is missing. */
static pfn_t table_for(va_t va, unsigned level)
{
	pfn_t t = root_pt4;
	for (unsigned l = 4; l > level; l--) {
		unsigned index = va >> (12 + 9 * (l - 1)) & 511;
		uint64_t *slot = (uint64_t *)frame_address(t) + index;
		if (!(*slot & FH_P)) {
			pfn_t f = find_free();
			set(FH_OP_LINK_NEW, t, index, pa_of(f).a | FH_P | FH_W | FH_U, "a page table");
			if (ntables < sizeof info->tables / 4 - 1)
				info->tables[ntables++] = f.n;
		}
		t = entry_pfn(*slot);
	}
	return t;
}

static void map(va_t va, pfn_t f, pte_t rights)
{
	set(FH_OP_SET, table_for(va, 1), va >> 12 & 511, pa_of(f).a | rights | FH_P | FH_U, "a mapping");
}

static pfn_t map_new(va_t va, pte_t rights)
{
	pfn_t f = find_free();
	set(FH_OP_CLAIM, table_for(va, 1), va >> 12 & 511, pa_of(f).a | rights | FH_P | FH_U, "a page");
	return f;
}

static void load(const struct boot_module *m, const struct elf *elf)
{
	const char *file = direct(pa(m->where.start));
	for (unsigned i = 0; i < elf->nsegments; i++) {
		const struct elf_segment *s = &elf->segment[i];
		pte_t rights = (s->flags & ELF_W ? FH_W : 0) | (s->flags & ELF_X ? 0 : FH_NX);
		for (uint64_t off = 0; off < s->in_memory; off += PAGE) {
			char *page = frame_address(map_new(s->va + off, rights));
			for (uint64_t k = 0; off + k < s->in_file && k < PAGE; k++)
				page[k] = file[s->offset + off + k];
		}
	}
}

/* Frames that belong to root without having been claimed: device memory, modules, CPUs. */
static void give(uint64_t first, uint64_t n, unsigned type)
{
	for (uint64_t i = 0; i < n; i++)
		table[first + i].state = make_state(type, root_env, 0);
	env_at(root_env)->account += n * (1 | 1ul << 31); /* owned, and the quota for it */
}

static void make_env(uint64_t free)
{
	root_env = find_free();
	frame_zero(root_env);
	env_at(root_env)->serial = clock_now();
	env_at(root_env)->account = (free - 1) << 31; /* the FREE ones; give() adds the rest */
	give(root_env.n, 1, FH_ENV);
	give(DEVICE_LO / PAGE, (DEVICE_HI - DEVICE_LO) / PAGE, FH_DEVICE);
	for (unsigned i = 0; i < boot.nmodules; i++)
		give(boot.module[i].where.start / PAGE, (boot.module[i].where.end - boot.module[i].where.start) / PAGE, FH_DATA);
	for (unsigned c = 0; c < ncpus; c++)
		give(info->cpu_pfn[c], 1, FH_CPU);
	info->root_env = env_name(root_env);
}

static void map_public(void)
{
	map(INFO_VA, pfn(info->info_pfn), FH_NX);
	for (uint64_t i = 0; i < info->nclock; i++)
		map(CLOCK_VA + i * PAGE, pfn(info->clock_pfn + i), FH_NX);
	if (info->refusals_pfn)
		map(REFUSALS_VA, pfn(info->refusals_pfn), FH_NX);
	for (uint64_t i = 0; i < info->table_frames; i += FH_LARGE_FRAMES) {
		va_t va = TABLE_VA + i * PAGE;
		set(FH_OP_SET, table_for(va, 2), va >> 21 & 511,
		    (info->table_pfn + i) * PAGE | FH_P | FH_U | FH_PS | FH_NX, "the ownership table");
	}
	set(FH_OP_SET, root_pt4, FH_WINDOW_SLOT, pa_of(root_pt4).a | FH_P | FH_U | FH_NX, "the recursive window");
}

static void fill_info(void)
{
	info->info_va = INFO_VA;
	info->clock_va = CLOCK_VA;
	info->refusals_va = info->refusals_pfn ? REFUSALS_VA : 0;
	info->batch_va = BATCH_VA;
	info->upcall_va = UPCALL_VA;
	info->table_va = TABLE_VA;
	info->window_va = WINDOW_VA;
	info->stack_lo = STACK_HI - STACK_BYTES;
	info->stack_hi = STACK_HI;
}

static pfn_t make_thread(va_t entry)
{
	pfn_t t = new_frame(FH_THREAD), upcall = map_new(UPCALL_VA, FH_W | FH_NX), batch = map_new(BATCH_VA, FH_W | FH_NX);
	struct fh_thread *thread = thread_at(t);
	ref_hold(root_pt4), ref_hold(upcall), ref_hold(batch);
	thread->root = thread->loaded = root_pt4.n;
	thread->upcall = upcall.n;
	thread->batch = batch.n;
	thread->gs_base = UPCALL_VA;
	thread->regs.rip = entry;
	thread->regs.rsp = STACK_HI - 64; /* zeros: no arguments */
	thread->regs.rdi = INFO_VA;
	struct fh_upcall *u = frame_address(upcall);
	u->self_va = UPCALL_VA;
	u->thread = thread_name(t);
	u->env = env_name(root_env);
	thread->state = FH_READY;
	return t;
}

void root_start(uint64_t free)
{
	struct elf elf;
	const struct boot_module *m = &boot.module[0];
	const char *wrong = elf_open(direct(pa(m->where.start)), m->bytes, &elf);
	if (wrong)
		refuse_boot("the first module, root (%s), can't be started: %s", m->command, wrong);
	make_env(free);
	root_pt4 = new_frame(FH_PT4);
	info->tables[ntables++] = root_pt4.n;
	load(m, &elf);
	for (va_t va = STACK_HI - STACK_BYTES; va < STACK_HI; va += PAGE)
		map_new(va, FH_W | FH_NX);
	fill_info();
	map_public();
	pfn_t t = make_thread(elf.entry);
	info->root_thread = thread_name(t);
	info->usable = free;
	struct fh_cpu *cpu = frame_address(pfn(info->cpu_pfn[0]));
	cpu->slice[0] = info->root_thread;
	cpu->nslices = 1;
	thread_at(t)->cpus[0] = 1;
#ifdef DEBUG
	long broken = audit();
	log_line("audit at boot: %ld violations", broken);
	DEBUG_ASSERT(broken == 0, "the invariants hold before root runs");
#endif
}
