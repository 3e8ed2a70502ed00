/*
 * smp.c - starts the other CPUs, one after the other (SDM vol. 3A, 8.4.4): each takes the mailbox behind its start-up
 * code by compare-and-swap, so that one that was given up and wakes late touches nothing.
 */
#include "smp.h"
#include "console.h"
#include "cpu.h"
#include "epoch.h"
#include "lapic.h"
#include "memory.h"
#include "thread.h"

#define START_MS 5000u /* a CPU that hasn't answered by then is left out */

extern const char ap_code[], ap_code_end[];
extern char boot_gdt[], boot_pdpt_low[]; /* physical addresses */

/* 0x5000 where the start-up code finds it with paging off, too. Kept for good: one that wakes late must get to the mailbox. */
static uint64_t start_up_root[512] __attribute__((aligned(PAGE)));

static uint32_t started;
static uint64_t started_tsc;

static uint32_t *mailbox(uint64_t at) { return direct(pa(at)); }

static void wait_us(uint64_t us)
{
	for (uint64_t end = rdtsc() + us * info->tsc_khz / 1000; rdtsc() < end;)
		mach_pause();
}

/* First C code of another CPU, on its own stack. */
static _Noreturn void ap_main(unsigned id)
{
	mach_load_root(kernel_root);
	trap_load();
	cpu_init(id);
	started_tsc = rdtsc();
	atomic_set(&started, id);
	wait_idle(); /* until smp_release */
}

static void write_mailbox(void)
{
	char *code = direct(pa(AP_START));
	for (unsigned i = 0; i < ap_code_end - ap_code; i++)
		code[i] = ap_code[i];
	uint16_t *gdtr = direct(pa(AP_GDTR));
	gdtr[0] = 3 * 8 - 1;
	gdtr[1] = (uint64_t)boot_gdt & 0xffff;
	gdtr[2] = (uint64_t)boot_gdt >> 16;
	start_up_root[0] = (uint64_t)boot_pdpt_low | FH_P | FH_W;
	start_up_root[FH_KERNEL_SLOT] = mach_kernel_entry();
	*mailbox(AP_ROOT) = (uint64_t)start_up_root - KBASE;
	*(uint64_t *)mailbox(AP_ENTRY) = (uint64_t)ap_main;
}

static bool start_one(unsigned id, uint8_t apic_id, bool deaf)
{
	uint32_t wanted = AP_WANTED_BIT + apic_id;
	static unsigned mapped;
	if (id > mapped) /* else one that didn't start has left it */
		memory_map_cpu(mapped = id);
	*mailbox(AP_ID) = id;
	*(uint64_t *)mailbox(AP_STACK) = PERCPU_BASE + id * PERCPU_SIZE + PERCPU_STACK + PERCPU_STACK_SIZE;
	atomic_set(mailbox(AP_STATE), wanted);
	uint64_t begin = rdtsc(), end = begin + START_MS * info->tsc_khz;
	for (unsigned i = 0; i < 2 && !deaf; i++) { /* twice, as the SDM says */
		lapic_start_up(apic_id, AP_START);
		wait_us(200);
	}
	while (atomic_get(mailbox(AP_STATE)) == wanted && rdtsc() < end)
		mach_pause();
	if (atomic_cas(mailbox(AP_STATE), &wanted, 0u)) {
		log_line("the CPU with APIC ID %u doesn't start: left out", apic_id);
		return false;
	}
	while (atomic_get(&started) != id)
		mach_pause();
	if (started_tsc < begin || started_tsc > rdtsc())
		log_line("cpu %u: its TSC differs from cpu 0's: deadlines set on one CPU are wrong on the other", id);
	return true;
}

void smp_start(const struct topology *t)
{
	if (t->ncpus <= 1 || !in_ram(&boot, (struct range){AP_START, AP_GDTR + PAGE})) {
		log_line("1 CPU (%s)", t->source ? t->source : "neither ACPI MADT nor MP table found");
		return;
	}
	write_mailbox();
	for (unsigned i = 0; i < t->ncpus; i++)
		if (t->apic_id[i] != lapic_id())
			lapic_init_ipi(t->apic_id[i]);
	wait_us(10000);
	for (unsigned i = 0; i < t->ncpus && ncpus < FH_MAX_CPUS; i++)
		if (t->apic_id[i] != lapic_id())
			ncpus += start_one(ncpus, t->apic_id[i], i + 1 == t->ncpus && boot_option("crash=cpu")); /* [epoch 23] */
	log_line("%u of %u CPUs run (%s)", ncpus, t->ncpus + t->beyond, t->source);
	if (t->beyond)
		log_line("%u CPUs with APIC IDs above 254 need x2APIC: left out", t->beyond);
}

void smp_release(void)
{
	for (unsigned c = 1; c < ncpus; c++)
		lapic_resched_ipi(c);
}

#ifdef DEBUG
/* Kernel code runs with interrupts off: a CPU that takes the interrupt is in no transition. */
static uint32_t stopped, parked;

/* Whoever waits for this CPU's flush must get it, or it will not park. */
static void wait_parked(uint32_t *word, uint32_t value)
{
	while (atomic_get(word) != value) {
		mach_pause();
		if (atomic_get(&epoch_cpu[mach_cpu()].request))
			serve_flush();
	}
}

bool smp_stop_others(void)
{
	uint32_t no = 0;
	if (!atomic_cas(&stopped, &no, 1u))
		return false;
	for (unsigned c = 0; c < ncpus; c++)
		if (c != mach_cpu())
			lapic_park_ipi(c);
	wait_parked(&parked, ncpus - 1);
	return true;
}

void smp_resume_others(void)
{
	atomic_set(&stopped, 2u);
	wait_parked(&parked, 0);
	atomic_set(&stopped, 0u);
}

void smp_park(void)
{
	serve_flush(); /* who asked nobody, because this CPU seemed to idle, may wait for its epoch */
	atomic_plus(&parked, 1u);
	wait_parked(&stopped, 2);
	atomic_minus(&parked, 1u);
}
#endif
