/*
 * machine.h - the few instructions that C does not know, as named inlines. All other inline assembly of the kit is the
 * system call itself (syscall.h).
 *
 * In every kit thread the GS base is the address of the thread's own upcall frame and the FS base that of a block whose
 * first word points to itself (System V TLS; musl's errno and stack canary live there).
 */
#pragma once

#include "abi.h"

/* Words of fh_upcall.libos that the kit uses: the running thread's struct, the root its handlers run on (a pfn), its
 * struct space, what it does in another space (enter.c). */
enum { UPCALL_LIBOS_THREAD, UPCALL_LIBOS_ROOT, UPCALL_LIBOS_SPACE, UPCALL_LIBOS_VISIT };
#define UPCALL_OFFSET(field) __builtin_offsetof(struct fh_upcall, field)

/* Word at byte offset `off` of the running thread's upcall frame. */
static inline uint64_t upcall_word(uint64_t off)
{
	uint64_t value;
	__asm__ volatile("movq %%gs:%a1, %0" : "=r"(value) : "ri"(off) : "memory");
	return value;
}

static inline void upcall_word_set(uint64_t off, uint64_t value)
{
	__asm__ volatile("movq %1, %%gs:%a0" : : "ri"(off), "r"(value) : "memory");
}

/* Exchange a word of the upcall frame in one instruction. Unlocked: only the kernel, on this CPU, competes. */
static inline uint64_t upcall_word_swap(uint64_t off, uint64_t value)
{
	__asm__ volatile("xchgq %0, %%gs:%a1" : "+r"(value) : "ri"(off) : "memory");
	return value;
}

static inline void cpu_pause(void) { __builtin_ia32_pause(); }

/* Time stamp counter: info.tsc_khz ticks a millisecond. */
static inline uint64_t cpu_tsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* 512 bytes, 16-aligned: x87, MMX and SSE state (SDM vol. 1, 10.5.1). */
struct fx_area {
	uint8_t bytes[512];
} __attribute__((aligned(16)));

static inline void cpu_fx_save(struct fx_area *a) { __asm__ volatile("fxsave64 %0" : "=m"(*a)); }
static inline void cpu_fx_restore(const struct fx_area *a) { __asm__ volatile("fxrstor64 %0" : : "m"(*a)); }

/* What a function call keeps of the FPU (System V ABI, 3.2.3): rounding, masks. */
struct fx_control {
	uint32_t mxcsr;
	uint16_t x87;
};
static inline void cpu_fx_control_save(struct fx_control *c)
{
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(c->mxcsr), "=m"(c->x87));
}
static inline void cpu_fx_control_restore(const struct fx_control *c)
{
	__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(c->mxcsr), "m"(c->x87));
}

/* Write to the `bytes` below the stack pointer without changing them: they fault now, not later under a lock. */
static inline void cpu_touch_stack(unsigned long bytes)
{
	char *sp;
	__asm__ volatile("movq %%rsp, %0" : "=r"(sp));
	for (unsigned long off = 0; off <= bytes; off += FH_PAGE)
		__asm__ volatile("lock orb $0, (%0)" : : "r"(sp - off) : "memory", "cc");
}
