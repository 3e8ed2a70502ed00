/*
 * cpu.c - what CPUID must and may have, and the set-up of one CPU: descriptor tables, control registers, MSRs.
 */
#include "console.h"
#include "cpu.h"
#include "lapic.h"
#include "pte.h"

#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_SYSENTER_CS 0x174
#define MSR_PAT 0x277
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_GS_BASE 0xc0000101
#define SFMASK 0x67700ul /* TF IF DF IOPL NT VM AC */
#define PAT_RESET 0x0007040600070406ul

#define CR0_MP (1ul << 1)
#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR0_NE (1ul << 5)
#define CR0_WP (1ul << 16)
#define CR0_AM (1ul << 18)
#define CR0_NW (1ul << 29)
#define CR0_CD (1ul << 30) /* set at reset; Bochs' BIOS leaves caches off */
#define CR4_PGE (1ul << 7)
#define CR4_OSFXSR (1ul << 9)
#define CR4_OSXMMEXCPT (1ul << 10)
#define CR4_UMIP (1ul << 11)
#define CR4_SMEP (1ul << 20)
#define CR4_SMAP (1ul << 21)

extern void syscall_entry(void);

/* Intel CPUs have these errata unless a bit of IA32_ARCH_CAPABILITIES says no (SDM vol. 4, table 2-2). */
#define RDCL_NO (1u << 0)         /* Meltdown */
#define PSCHANGE_MC_NO (1u << 6)  /* iTLB multihit: a machine check on executable large pages */
static bool free_of(unsigned erratum)
{
	struct cpuid vendor = cpuid(0, 0);
	if (vendor.ebx != 0x756e6547) /* "Genu" */
		return true;
	return vendor.eax >= 7 && (cpuid(7, 0).edx & 1u << 29) && (rdmsr(MSR_ARCH_CAPABILITIES) & erratum);
}

void cpu_check_features(void)
{
	struct cpuid one = cpuid(1, 0), seven = {0}, ext = cpuid(0x80000001, 0);
	if (cpuid(0, 0).eax >= 7)
		seven = cpuid(7, 0);
	if (!(one.edx & 1 << 24) || !(one.edx & 1 << 9) || !(one.edx & 1 << 13) || !(one.edx & 1 << 16))
		refuse_boot("this CPU lacks FXSAVE, a local APIC, PGE or PAT");
	info->features = (seven.ebx & 1 << 7 ? FH_HAS_SMEP : 0) | (seven.ebx & 1 << 20 ? FH_HAS_SMAP : 0) |
	                 (seven.ecx & 1 << 2 ? FH_HAS_UMIP : 0) | (ext.edx & 1 << 26 ? FH_HAS_1G : 0) |
	                 (free_of(PSCHANGE_MC_NO) ? FH_HAS_LARGE_X : 0);
	large_exec = info->features & FH_HAS_LARGE_X;
	if (!free_of(RDCL_NO))
		log_line("warning: this CPU may have Meltdown: user code could read all of memory");
	unsigned width = cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax & 255 : 36;
	phys_mask = ((1ul << MIN(width, 52u)) - 1) & ~(PAGE - 1);
}

static uint64_t segment(unsigned access, unsigned flags)
{
	return (uint64_t)access << 40 | (uint64_t)flags << 52;
}

static void load_descriptors(struct cpu *cpu, va_t area)
{
	uint64_t tss = (uint64_t)&cpu->tss, limit = sizeof cpu->tss - 1;
	cpu->tss.rsp0 = cpu->stack_top;
	cpu->tss.ist[0] = area + PERCPU_DF + PAGE;
	cpu->tss.ist[1] = area + PERCPU_NMI + PAGE;
	cpu->tss.ist[2] = area + PERCPU_MC + PAGE;
	cpu->tss.ist[3] = area + PERCPU_DB + PAGE;
	cpu->tss.iomap = sizeof cpu->tss; /* no I/O ports for user code */
	cpu->gdt[KERNEL_CS / 8] = segment(0x9b, 2);
	cpu->gdt[KERNEL_DS / 8] = segment(0x93, 0);
	cpu->gdt[USER_DS / 8] = segment(0xf3, 0);
	cpu->gdt[USER_CS / 8] = segment(0xfb, 2); /* the slot for 32-bit code before it stays empty */
	cpu->gdt[TSS_SELECTOR / 8] = limit | (tss & 0xffffff) << 16 | 0x89ul << 40 | (tss >> 24 & 0xff) << 56;
	cpu->gdt[TSS_SELECTOR / 8 + 1] = tss >> 32;
	load_gdt(sizeof cpu->gdt - 1, cpu->gdt);
	load_tss(TSS_SELECTOR);
	clear_ldt();
}

void cpu_init(unsigned id)
{
	va_t area = PERCPU_BASE + id * PERCPU_SIZE;
	struct cpu *cpu = (void *)(area + PERCPU_CPU);
	cpu->id = id;
	cpu->stack_top = area + PERCPU_STACK + PERCPU_STACK_SIZE - 8;
	cpu->fast_calls = FH_NSYSCALLS - SLOW_CALLS;
	for (unsigned i = 0; i < 256; i++)
		cpu->trace[i] = TRACE_NONE;
	load_descriptors(cpu, area);
	wrmsr(MSR_GS_BASE, (uint64_t)cpu);
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS | CR0_AM | CR0_NW | CR0_CD)) | CR0_MP | CR0_NE | CR0_WP);
	write_cr4((read_cr4() & 0x20) | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT |
	          (info->features & FH_HAS_UMIP ? CR4_UMIP : 0) | (info->features & FH_HAS_SMEP ? CR4_SMEP : 0) |
	          (info->features & FH_HAS_SMAP ? CR4_SMAP : 0));
	wrmsr(MSR_STAR, (uint64_t)(USER_DS - 8) << 48 | (uint64_t)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
	wrmsr(MSR_CSTAR, (uint64_t)syscall_entry); /* from code that isn't 64-bit: there is none, but see save_context */
	wrmsr(MSR_SFMASK, SFMASK);
	wrmsr(MSR_PAT, PAT_RESET);
	if (cpuid(1, 0).edx & 1 << 11)
		wrmsr(MSR_SYSENTER_CS, 0); /* sysenter is a #GP */
	lapic_init(id == 0);
	cpu->apic_id = lapic_id();
}
