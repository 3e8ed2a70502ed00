/*
 * main.c - from the boot loader to root's first instruction, on the boot CPU.
 */
#include "console.h"
#include "cpu.h"
#include "epoch.h"
#include "frame.h"
#include "lapic.h"
#include "memory.h"
#include "root.h"
#include "smp.h"
#include "thread.h"

#define DIRECT_AT_BOOT (4ul << 30) /* boot.asm maps so much */

static union { struct fh_info info; char frame[FH_PAGE]; } info_frame __attribute__((aligned(4096)));
struct fh_info *info = &info_frame.info;

bool boot_read(uint64_t at, void *to, uint64_t n)
{
	if (at > DIRECT_AT_BOOT || n > DIRECT_AT_BOOT - at)
		return false;
	for (uint64_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = *(volatile uint8_t *)direct(pa(at + i));
	return true;
}

/* ---- CMOS clock (MC146818A), to seconds since 1970 ---- */

static unsigned cmos(unsigned reg)
{
	outb(0x70, reg);
	return inb(0x71);
}
static unsigned from_bcd(unsigned v) { return (v >> 4) * 10 + (v & 15); }

static uint64_t read_clock(void)
{
	for (unsigned i = 0; i < 1000000 && (cmos(10) & 0x80); i++)
		mach_pause();
	unsigned reg[6] = {cmos(0), cmos(2), cmos(4), cmos(7), cmos(8), cmos(9)};
	if (!(cmos(11) & 4))
		for (unsigned i = 0; i < 6; i++)
			reg[i] = from_bcd(reg[i]);
	/* days since 1970-01-01 of a date in 2000-2099 (March-based year) */
	unsigned year = 2000 + reg[5], month = reg[4];
	if (month < 3)
		year--, month += 12;
	uint64_t days = 365ul * year + year / 4 - year / 100 + year / 400 + (153 * month - 457) / 5 + reg[3] - 719469;
	return days * 86400 + reg[2] * 3600 + reg[1] * 60 + reg[0];
}

/* 32 bytes nobody should guess: RDRAND where there is one; else clocks, stirred. */
static void fill_random(void)
{
	bool have = cpuid(1, 0).ecx & 1 << 30;
	uint64_t *out = (uint64_t *)info->random, x = rdtsc() ^ info->boot_time << 32;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t v = 0;
		if (have)
			rdrand(&v);
		x += 0x9e3779b97f4a7c15 + rdtsc(); /* splitmix64's step and mix */
		uint64_t z = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		out[i] = v ^ z ^ z >> 31;
	}
}

static uint32_t add_string(const char *s, unsigned *used)
{
	uint32_t at = *used;
	unsigned left = sizeof info->strings - *used, i = 0;
	for (; s[i] && i + 1 < left; i++)
		info->strings[at + i] = s[i];
	info->strings[at + i] = 0;
	*used += MIN(i + 1, left - 1);
	return at;
}

static void publish(void)
{
	unsigned used = 0;
	info->version = FH_VERSION;
	info->first_user = USER_START / PAGE;
	info->nmodules = boot.nmodules;
	info->ncpus = ncpus;
	info->command = add_string(boot.command, &used);
	for (unsigned i = 0; i < boot.nmodules; i++)
		info->module[i] = (struct fh_module){boot.module[i].where.start / PAGE,
		                                     add_string(boot.module[i].command, &used), boot.module[i].bytes};
	info->info_pfn = ((uint64_t)info - KBASE) / PAGE;
	memory_publish(pfn(info->info_pfn), 1);
#ifdef DEBUG
	extern struct fh_refusals *refusals;
	static union { struct fh_refusals r; char frame[FH_PAGE]; } ring __attribute__((aligned(4096)));
	info->debug = 1;
	info->refusals_pfn = ((uint64_t)&ring - KBASE) / PAGE;
	memory_publish(pfn(info->refusals_pfn), 1);
	refusals = &ring.r;
#endif
}

static void announce(uint64_t free)
{
	uint64_t ram = 0;
	for (unsigned i = 0; i < boot.nram; i++)
		ram += boot.ram[i].end - boot.ram[i].start;
	uint32_t f = info->features;
	log_line("Freehold %u%s: %lu MiB RAM in %u pieces, %lu frames free (%lu MiB)", FH_VERSION,
	         info->debug ? " (debug)" : "", ram >> 20, boot.nram, free, free >> 8);
	if (boot.beyond)
		log_line("RAM above 448 GiB is left alone: %lu MiB", boot.beyond >> 20);
	log_line("cpu 0: TSC %lu kHz; NX%s%s%s%s%s", info->tsc_khz, f & FH_HAS_SMEP ? " SMEP" : "",
	         f & FH_HAS_SMAP ? " SMAP" : "", f & FH_HAS_UMIP ? " UMIP" : "", f & FH_HAS_1G ? " 1G" : "",
	         f & FH_HAS_LARGE_X ? "" : "; 2 MiB pages are NX (iTLB multihit)");
	log_line("table: %lu records at %lx; %u modules; command line \"%s\"", nframes,
	         (uint64_t)info->table_pfn * PAGE, boot.nmodules, boot.command);
}

#ifdef DEBUG
/* `crash=` on the command line: bugs on purpose, for the tests of the reports. */
static __attribute__((noinline)) uint64_t overflow(uint64_t n)
{
	volatile char big[512];
	big[0] = n;
	return n ? overflow(n + 1) + big[0] : 0;
}

bool boot_option(const char *word)
{
	for (const char *c = boot.command; *c; c++) {
		unsigned i = 0;
		while (word[i] && c[i] == word[i])
			i++;
		if (!word[i])
			return true;
	}
	return false;
}

static void crash_on_request(void)
{
	flush_broken = boot_option("broken=flush");
	if (boot_option("crash=assert"))
		panic("asked for: crash=assert");
	if (boot_option("crash=null"))
		wrmsr(0, *(volatile uint64_t *)(boot.ram[0].start + 16)); /* unmapped since memory_init */
	if (boot_option("crash=stack"))
		log_line("%lu", overflow(1));
}
#endif

_Noreturn void on_cpu_stack(void); /* entry.asm: cpu_main on the CPU's own stack, then what it returns is run */

struct fh_regs *cpu_main(void)
{
#ifdef DEBUG
	crash_on_request();
#endif
	return schedule();
}

void kernel_main(uint32_t magic, uint32_t at)
{
	console_init();
	const char *wrong = multiboot_parse(magic, at, &boot);
	if (wrong)
		refuse_boot("%s", wrong);
	struct topology topology;
	topology_find(&topology);
	trap_init();
	cpu_check_features();
	memory_init();
	console_map_screen();
	cpu_init(0);
	report_ready();
	pic_init();
	info->boot_time = read_clock();
	info->boot_tsc = rdtsc();
	lapic_calibrate();
	smp_start(&topology);
	fill_random();
	uint64_t free = memory_fill_table();
	publish();
	announce(free);
	root_start(free);
	smp_release();
	on_cpu_stack();
}
