/*
 * memory.c - boot-time memory: finds room for the kernel's own things, maps the kernel half, fills the ownership table.
 * Runs once, on the BSP, before any user code.
 */
#include "memory.h"
#include "audit.h"
#include "console.h"
#include "cpu.h"
#include "epoch.h"
#include "frame.h"

struct boot_info boot;

#define MAX_TAKEN 24u
static struct range taken[MAX_TAKEN]; /* the image, and what boot_alloc gave */
static unsigned ntaken;
static uint64_t low_next;             /* small pieces come one after the other from here */

extern char image_text[], image_rodata[], image_data[], image_end[];
extern uint64_t boot_pml4[]; /* a physical address: */
static uint64_t *kernel_pml4(void) { return direct(pa((uint64_t)boot_pml4)); }
static uint64_t image_pa(const char *symbol) { return (uint64_t)symbol - KBASE; }

/* The first thing in the way of r: modules and what is taken. */
static const struct range *obstacle(struct range r)
{
	for (unsigned i = 0; i < ntaken; i++)
		if (overlaps(r, taken[i]))
			return &taken[i];
	for (unsigned i = 0; i < boot.nmodules; i++)
		if (overlaps(r, boot.module[i].where))
			return &boot.module[i].where;
	return NULL;
}

static void take(struct range r)
{
	for (unsigned i = 0; i < ntaken; i++)
		if (taken[i].end == r.start || taken[i].start == r.end) {
			taken[i].start = MIN(taken[i].start, r.start);
			taken[i].end = MAX(taken[i].end, r.end);
			return;
		}
	if (ntaken == MAX_TAKEN)
		refuse_boot("the kernel's memory is in too many pieces");
	taken[ntaken++] = r;
}

static uint64_t alloc_low(uint64_t bytes, uint64_t align)
{
	struct range r = {(low_next + align - 1) & ~(align - 1), 0};
	for (;;) {
		r.end = r.start + bytes;
		const struct range *in_the_way = obstacle(r);
		if (r.end > USER_START || (!in_the_way && !in_ram(&boot, r)))
			return 0;
		if (!in_the_way)
			return r.start;
		r.start = (in_the_way->end + align - 1) & ~(align - 1);
	}
}

static uint64_t alloc_high(uint64_t bytes, uint64_t align, uint64_t limit)
{
	for (unsigned i = boot.nram; i-- > 0;) {
		uint64_t end = MIN(boot.ram[i].end, limit);
		while (end >= bytes && ((end - bytes) & ~(align - 1)) >= boot.ram[i].start) {
			struct range r = {(end - bytes) & ~(align - 1), 0};
			r.end = r.start + bytes;
			const struct range *in_the_way = r.start < USER_START ? &r : obstacle(r);
			if (!in_the_way)
				return r.start;
			end = in_the_way->start;
		}
	}
	return 0;
}

/* `bytes` of RAM (whole pages, aligned), zeroed by nobody: below USER_START if they fit, else as high as possible. */
static uint64_t boot_alloc(uint64_t bytes, uint64_t align, uint64_t limit, const char *what)
{
	uint64_t at = alloc_low(bytes, align);
	if (!at) {
		at = alloc_high(bytes, align, limit);
		if (!at)
			refuse_boot("too little RAM: no %lu KiB for %s", bytes >> 10, what);
		if (bytes > PAGE)
			log_line("%s: %lu KiB at %lx, at the top of RAM", what, bytes >> 10, at);
	}
	take((struct range){at, at + bytes});
	return at;
}

/* ---- The kernel half ---- */

static uint64_t *kernel_pdpt;

static uint64_t *lower_table(uint64_t *slot)
{
	if (!(*slot & FH_P)) {
		uint64_t at = boot_alloc(PAGE, PAGE, 4ul << 30, "the kernel's page tables");
		fill(direct(pa(at)), 0, PAGE / 8);
		*slot = at | FH_P | FH_W;
	}
	return direct(pa(*slot & FH_PFN_FIELD));
}

/* Map in the kernel half; large pages where they fit. `flags` beside P and G. */
static void kernel_map(va_t va, uint64_t at, uint64_t bytes, pte_t flags)
{
	for (uint64_t step; bytes; va += step, at += step, bytes -= step) {
		uint64_t *slot = &kernel_pdpt[va >> 30 & 511], both = va | at;
		step = 1ul << 30;
		bool large = (info->features & FH_HAS_1G) && both % step == 0 && bytes >= step;
		if (!large) {
			slot = &lower_table(slot)[va >> 21 & 511];
			step = 1ul << 21;
			large = both % step == 0 && bytes >= step;
		}
		if (!large) {
			slot = &lower_table(slot)[va >> 12 & 511];
			step = PAGE;
		}
		*slot = at | flags | FH_P | FH_G | (large ? FH_PS : 0);
	}
}

/* The direct map: RAM only; the image's text and rodata read-only. */
static void map_ram(void)
{
	uint64_t text = image_pa(image_text), data = image_pa(image_data);
	for (unsigned i = 0; i < boot.nram; i++) {
		struct range r = boot.ram[i];
		uint64_t at = r.start;
		if (at < text && text < r.end) {
			kernel_map(DIRECT_BASE + at, at, text - at, FH_W | FH_NX);
			kernel_map(DIRECT_BASE + text, text, data - text, FH_NX);
			at = data;
		}
		kernel_map(DIRECT_BASE + at, at, r.end - at, FH_W | FH_NX);
	}
}

static void map_image(void)
{
	kernel_map((va_t)image_text, image_pa(image_text), image_rodata - image_text, 0);
	kernel_map((va_t)image_rodata, image_pa(image_rodata), image_data - image_rodata, FH_NX);
	kernel_map((va_t)image_data, image_pa(image_data), image_end - image_data, FH_W | FH_NX);
}

static void map_piece(va_t va, uint64_t bytes)
{
	uint64_t at = boot_alloc(bytes, PAGE, 4ul << 30, "per-CPU areas");
	fill(direct(pa(at)), 0, bytes / 8);
	kernel_map(va, at, bytes, FH_W | FH_NX);
}

void memory_map_cpu(unsigned id)
{
	va_t area = PERCPU_BASE + id * PERCPU_SIZE;
	for (unsigned i = 0; i < PERCPU_STACKS; i++)
		map_piece(area + percpu_stacks[i].off, percpu_stacks[i].bytes);
	map_piece(area + PERCPU_CPU, PAGE);
}

uint64_t mach_kernel_entry(void) { return kernel_pml4()[FH_KERNEL_SLOT]; }
void mach_fill_root(pfn_t root) { ((uint64_t *)frame_address(root))[FH_KERNEL_SLOT] = mach_kernel_entry(); }

#ifdef DEBUG
void audit_init(void)
{
	uint64_t bytes = (nframes * sizeof *audit_counts + PAGE - 1) & ~(PAGE - 1);
	audit_counts = direct(pa(boot_alloc(bytes, PAGE, ~0ul, "audit counters")));
}

void audit_report(const char *invariant, uint64_t frame, uint64_t found, uint64_t expected)
{
	log_line("audit: frame %lx breaks invariant %s: found %lx, expected %lx", frame, invariant, found, expected);
}
#endif

#define MSR_APIC_BASE 0x1b
#define LARGE (1ul << 21)

void memory_init(void)
{
	take((struct range){LOW_MEMORY, image_pa(image_end)});
	for (unsigned i = 0; i < boot.nmodules; i++)
		if (overlaps(boot.module[i].where, taken[0]))
			refuse_boot("module %u (%s) lies over the kernel", i, boot.module[i].command);
	low_next = image_pa(image_end);
	uint64_t top = boot.ram[boot.nram - 1].end;
	if (top < USER_START + (15ul << 20))
		refuse_boot("too little RAM: it ends at %lu MiB, Freehold needs 96 MiB", top >> 20);
	uint64_t pdpt = boot_alloc(PAGE, PAGE, 4ul << 30, "the kernel's page tables");
	kernel_pdpt = direct(pa(pdpt));
	fill(kernel_pdpt, 0, PAGE / 8);
	nframes = top / PAGE;
	uint64_t bytes = (nframes * sizeof *table + LARGE - 1) & ~(LARGE - 1);
	uint64_t records = boot_alloc(bytes, LARGE, ~0ul, "ownership table");
	info->nframes = nframes;
	info->table_pfn = records / PAGE;
	info->table_frames = bytes / PAGE;
	map_ram();
	map_image();
	kernel_map(TABLE_BASE, records, bytes, FH_W | FH_NX);
	kernel_map(MMIO_BASE, rdmsr(MSR_APIC_BASE) & FH_PFN_FIELD, PAGE, FH_W | FH_NX | FH_PCD | FH_PWT);
	kernel_map(MMIO_BASE + PAGE, 0xb8000, PAGE, FH_W | FH_NX | FH_PCD | FH_PWT);
	memory_map_cpu(0);
	kernel_pml4()[FH_KERNEL_SLOT] = pdpt | FH_P | FH_W; /* the boot PML4 becomes the kernel's root */
	kernel_pml4()[0] = 0;
	kernel_root = pfn((uint64_t)boot_pml4 / PAGE);
	write_cr4(read_cr4() & ~(1ul << 7)); /* PGE off and on (cpu_init): nothing global survives */
	mach_load_root(kernel_root);
	for (unsigned c = 0; c <= FH_MAX_CPUS; c++)
		epoch_cpu[c] = (struct epoch_cpu){.root = kernel_root, .budget = FLUSH_BUDGET};
}

static void set_type(uint64_t first, uint64_t end, unsigned type)
{
	for (uint64_t n = first; n < end && n < nframes; n++)
		table[n].state = type;
}

static void clock_init(void)
{
	tlb_clock = direct(pa(boot_alloc(sizeof *tlb_clock, PAGE, ~0ul, "clock")));
	fill(tlb_clock, 0, sizeof *tlb_clock / 8);
	info->clock_pfn = ((uint64_t)tlb_clock - DIRECT_BASE) / PAGE;
	info->nclock = sizeof *tlb_clock / PAGE;
	tlb_clock->clock = 2; /* above every stamp in the fresh table */
	for (unsigned c = 0; c <= FH_MAX_CPUS; c++)
		tlb_clock->cpu[c].epoch = c == 0 ? tlb_clock->clock : FH_EPOCH_INF;
}

/* The rest of what the kernel keeps for itself, before the table says what is free. */
static void alloc_frames(void)
{
	for (unsigned c = 0; c < ncpus; c++) {
		struct cpu *cpu = cpu_at(c);
		pfn_t frame = pfn(boot_alloc(PAGE, PAGE, ~0ul, "CPU frames") / PAGE);
		cpu->frame = frame_address(frame);
		fill(cpu->frame, 0, PAGE / 8);
		cpu->frame->id = c;
		cpu->frame->apic_id = cpu->apic_id;
		info->cpu_pfn[c] = frame.n;
	}
	clock_init();
	audit_init();
}

void memory_publish(pfn_t first, uint64_t n) { set_type(first.n, first.n + n, FH_TABLE); }

uint64_t memory_fill_table(void)
{
	uint64_t free = 0;
	alloc_frames();
	fill(table, 0, info->table_frames * PAGE / 8);
	for (unsigned i = 0; i < boot.nram; i++)
		if (boot.ram[i].end > USER_START)
			set_type((boot.ram[i].start > USER_START ? boot.ram[i].start : USER_START) / PAGE,
			         boot.ram[i].end / PAGE, FH_FREE);
	for (unsigned i = 0; i < boot.nmodules; i++)
		set_type(boot.module[i].where.start / PAGE, boot.module[i].where.end / PAGE, FH_KERNEL);
	for (unsigned i = 0; i < ntaken; i++)
		set_type(taken[i].start / PAGE, taken[i].end / PAGE, FH_KERNEL);
	memory_publish(pfn(info->table_pfn), info->table_frames);
	memory_publish(pfn(info->clock_pfn), info->nclock);
	for (uint64_t n = 0; n < nframes; n++)
		free += table[n].state == FH_FREE;
	return free;
}
