/*
 * mach.h - machine access in named inlines: the only inline assembly of the kernel. On the host, test/unit/mach.h
 * stands in for it.
 */
#pragma once
#include "../types.h"
#include "../layout.h"
#include "asm.h"

#define FRAME_TABLE ((struct fh_frame *)TABLE_BASE)

static inline void *direct(pa_t p) { return (void *)(DIRECT_BASE + p.a); }
static inline void *frame_address(pfn_t f) { return direct(pa_of(f)); }

static inline void fill(void *at, uint64_t word, uint64_t words)
{
	__asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(word) : "memory");
}
static inline void copy_words(uint64_t *to, const uint64_t *from, uint64_t words)
{
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}
static inline void frame_zero(pfn_t f) { fill(frame_address(f), 0, PAGE / 8); }
/* Debug builds: what a use after free reads. Nobody may hold the frame as a page table. */
static inline void frame_poison(pfn_t f)
{
#ifdef DEBUG
	fill(frame_address(f), 0xa5a5a5a5a5a5a5a5, PAGE / 8);
#else
	(void)f;
#endif
}

static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

struct cpuid { uint32_t eax, ebx, ecx, edx; };
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;
	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}
/* 64 random bits, if the CPU has RDRAND and it delivers. */
static inline bool rdrand(uint64_t *v)
{
	bool ok;
	__asm__ volatile("rdrand %0" : "=r"(*v), "=@ccc"(ok));
	return ok;
}

static inline uint64_t read_cr0(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}
static inline uint64_t read_cr2(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}
static inline uint64_t read_cr4(void)
{
	uint64_t v;
	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
static inline void write_cr0(uint64_t v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline void write_cr4(uint64_t v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }

static inline void fx_save(void *at) { __asm__ volatile("fxsave64 (%0)" : : "r"(at) : "memory"); }
/* The load before it is for AMD CPUs, whose fxrstor leaves the last x87 instruction's address to be read (XSA-52). */
static inline void fx_restore(const void *at)
{
	static const int32_t zero;
	__asm__ volatile("fnclex; emms; fildl %1; fxrstor64 (%0)" : : "r"(at), "m"(zero) : "memory");
}
/* Null every data selector; GS in the user's half of swapgs. */
static inline void clear_selectors(void)
{
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; swapgs; mov %0, %%gs; swapgs"
	                 : : "r"(0) : "memory");
}
static inline void load_gdt(uint16_t limit, const void *base)
{
	struct { uint16_t limit; const void *base; } __attribute__((packed)) d = {limit, base};
	__asm__ volatile("lgdt %0" : : "m"(d) : "memory");
}
static inline void load_idt(uint16_t limit, const void *base)
{
	struct { uint16_t limit; const void *base; } __attribute__((packed)) d = {limit, base};
	__asm__ volatile("lidt %0" : : "m"(d) : "memory");
}
/* No LDT. At reset LDTR says "64 KiB at linear address 0": user code that maps page 0 could put call gates there. */
static inline void clear_ldt(void) { __asm__ volatile("lldt %w0" : : "r"(0)); }
static inline void load_tss(uint16_t selector) { __asm__ volatile("ltr %0" : : "r"(selector)); }

static inline void mach_pause(void) { __asm__ volatile("pause"); }
static inline void mach_invlpg(va_t va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }
static inline void mach_load_root(pfn_t r) { __asm__ volatile("mov %0, %%cr3" : : "r"(pa_of(r).a) : "memory"); }
_Noreturn static inline void mach_stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* i, which is below n; 0 if it isn't, which is so only where the CPU speculates that a check has passed (Spectre v1). No branch. */
static inline uint64_t mach_index(uint64_t i, uint64_t n)
{
	uint64_t mask;
	__asm__ volatile("cmpq %2, %1; sbbq %0, %0" : "=r"(mask) : "r"(i), "re"(n) : "cc");
	return i & mask;
}

/* Eight bytes of the per-CPU area at a constant offset. */
#define percpu_load(offset)                                                                                            \
	({                                                                                                             \
		uint64_t percpu_v;                                                                                     \
		__asm__ volatile("movq %%gs:%c1, %0" : "=r"(percpu_v) : "i"(offset));                                  \
		percpu_v;                                                                                              \
	})

/* One more of an event (enum fh_count), in this CPU's CPU frame. */
static inline void mach_count(unsigned event) { ((struct fh_cpu *)percpu_load(CPU_FRAME))->count[event]++; }

/* This CPU's index: struct cpu begins with it (cpu.h). */
static inline uint32_t mach_cpu(void)
{
	uint32_t id;
	__asm__ volatile("movl %%gs:0, %0" : "=r"(id));
	return id;
}

void mach_flush_ipi(unsigned cpu);
bool mach_interrupt_pending(void);
void mach_fill_root(pfn_t root); /* slot 511, the same entry in every PT4: */
uint64_t mach_kernel_entry(void);
